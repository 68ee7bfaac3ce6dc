"""`scdlab class`: copies of the lessons for a class, grading, and slides."""

from pathlib import Path
from typing import Annotated

import typer

from scdlab.log import show

from .app import Command, app
from .lessons import lesson_numbers

class_app = typer.Typer(
    help="For whoever teaches: copies for students, grading, slides.", no_args_is_help=True
)
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


@class_app.command("grade", cls=Command)
def grade(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder with a folder or a notebook of each student."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tables and report.html.")] = Path(
        "runs/class"
    ),
    lesson: Numbers = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds of processor time for one answer.")
    ] = 10,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="How many answers run at a time.")
    ] = 2,
) -> None:
    """Check the exercises that a class handed in, and read its guesses."""
    from scdlab.lessons import classroom

    limits = classroom.Limits(seconds=seconds, wall=6 * seconds)
    found = classroom.grade(folder, out, lesson, limits, processes)
    right = sum(each.state == "right" for each in found.verdicts.values())
    show(
        f"{len(found.submissions)} submissions: {right} of {len(found.verdicts)} answers are "
        f"right; read {out / 'report.html'}."
    )


@class_app.command("slides", cls=Command)
def slides(
    lesson: Numbers = None,
    out: Annotated[Path, typer.Option(help="Folder for the slides.")] = Path("runs/slides"),
    executed: Annotated[
        Path, typer.Option(help="Where `scdlab run` left executed lessons, which have the figures.")
    ] = Path("runs/lessons"),
) -> None:
    """Make slides of lessons: one html file each, which opens offline."""
    from scdlab.lessons import classroom

    for path in classroom.slides(lesson, out, executed):
        show(str(path))
