"""`scdlab class`: copies of the lessons for a class, and grading of what it hands in."""

from pathlib import Path
from typing import Annotated

import typer

from scdlab.log import show

from .app import Command, app
from .lessons import lesson_numbers

class_app = typer.Typer(help="For whoever teaches: copies for students.", no_args_is_help=True)
app.add_typer(class_app, name="class")

Numbers = Annotated[
    list[str] | None,
    typer.Option(
        "--lesson",
        help="Number of a lesson, such as 2b; may be given several times; all by default.",
        callback=lesson_numbers,
    ),
]


@class_app.command("make", cls=Command)
def make(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that is empty or not there yet.")
    ],
    lesson: Numbers = None,
) -> None:
    """Copy lessons for students: solutions and results removed, names kept."""
    from scdlab.lessons import classroom

    made = classroom.make(folder, lesson)
    words = "lesson stands" if len(made) == 1 else "lessons stand"
    show(f"{len(made)} {words} in {folder}, without solutions: hand out the folder.")
