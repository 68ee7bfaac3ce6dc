"""The `scdlab` command: lab, live, run, class, data, train, evaluate, claims, bench, site, doctor.

Every command imports what it needs when it runs, so that `scdlab --help` is instant. An error that
a person can mend is one sentence and exit code 1 (`scdlab --debug …` shows where it arose); a
command line that cannot be read, 2.
"""

# Each of these modules adds its commands to the app.
from . import checks as checks
from . import claims as claims
from . import classroom as classroom
from . import data as data
from . import home, streams
from . import lessons as lessons
from . import live as live
from . import site as site
from . import training as training
from .app import app
from .choices import make_model, make_objective, open_data, open_model, parse_call
from .lessons import lab_arguments, lesson_folder

__all__ = [
    "app",
    "lab_arguments",
    "lesson_folder",
    "main",
    "make_model",
    "make_objective",
    "open_data",
    "open_model",
    "parse_call",
]


def main() -> None:
    """Entry point of the `scdlab` command."""
    streams.prepare()
    home.prepare()
    app()
