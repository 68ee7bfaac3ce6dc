"""`scdlab lab` and `scdlab run`: read the lessons in JupyterLab, or run them without a browser."""

import re
from pathlib import Path
from typing import Annotated

import typer

from .app import LARGEST_SEED, Device, command


def lesson_numbers(given: list[str] | None) -> list[str] | None:
    """Numbers of lessons as they were given on the command line.

    Parameters
    ----------
    given : list of str, optional
        The words.

    Returns
    -------
    list of str, optional
        The same.

    Raises
    ------
    typer.BadParameter
        One of them is no number, such as 2 or 2b.
    """
    for number in given or ():
        if not re.fullmatch(r"[0-9]+[a-z]?", number):
            raise typer.BadParameter(f"A lesson has a number, such as 2 or 2b, got {number!r}.")
    return given


def lesson_number(given: str | None) -> str | None:
    """The number of a lesson as it was given on the command line.

    Parameters
    ----------
    given : str, optional
        The word.

    Returns
    -------
    str, optional
        The same.

    Raises
    ------
    typer.BadParameter
        It is no number, such as 2 or 2b.
    """
    lesson_numbers(None if given is None else [given])
    return given


@command()
def lab(
    folder: Annotated[
        Path, typer.Option(help="A class's copies, or where an installed kit puts its lessons.")
    ] = Path("scdlab-lessons"),
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Port of the server, by default 8888, or the next free one when it is in use; of "
            "an app 8866.",
        ),
    ] = None,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser",
            help="Open a browser, or do not open a browser and print the address.",
        ),
    ] = True,
    as_app: Annotated[
        bool,
        typer.Option("--app", help="Serve one lesson as a page without code, for a booth."),
    ] = False,
    lesson: Annotated[
        str | None,
        typer.Option(
            help="Number of the lesson to open, such as 2b: the first by default, the last as an "
            "app.",
            callback=lesson_number,
        ),
    ] = None,
) -> None:
    """Open the lessons in JupyterLab, or one of them as an app, without any request to the
    network."""
    import threading

    if as_app:
        return _app(lesson, port, browser)
    from jupyterlab.labapp import LabApp

    there = lesson_folder(folder)
    arguments = lab_arguments(there, port or 8888, browser, _named(lesson, there))
    # beside the server: a kernel that never starts would leave the reader with a page that waits
    threading.Thread(target=_report_kernel, daemon=True).start()
    LabApp.launch_instance(arguments)
    return None


def _app(lesson: str | None, port: int | None, browser: bool) -> None:
    """Serve a lesson as an app."""
    from scdlab import lessons
    from scdlab.files import package_dir
    from scdlab.lessons.listed import choose
    from scdlab.lessons.served import PORT, serve
    from scdlab.log import show

    path = choose(lesson, lessons.list_lessons())[-1]
    serve(path, package_dir("notebooks") / "glossary.md", port or PORT, browser, tell=show)


def _named(lesson: str | None, folder: Path) -> str | None:
    """The file of a lesson in a folder."""
    if lesson is None:
        return None
    from scdlab.lessons.listed import choose, list_lessons

    return choose(lesson, list_lessons(folder))[0].name


def _report_kernel() -> None:
    """Print why the lessons' kernel does not start, if it does not."""
    from scdlab.lessons.kernel import start_problem

    problem = start_problem()
    if problem is not None:
        typer.secho(problem, fg="red", err=True)


def lesson_folder(folder: Path) -> Path:
    """The lessons to work in: those made for a class that stand in the folder; else the checkout's
    own, or, for an installed kit, copies in the folder.

    A lesson that already stands in the folder is left as it is: it may hold the learner's work.

    Parameters
    ----------
    folder : Path
        Where a class's copies are, or where to put copies.

    Returns
    -------
    Path
        The folder with the lessons.

    Raises
    ------
    FileNotFoundError
        The installed kit has no lessons.
    """
    import shutil

    from scdlab import files

    source = files.package_dir("notebooks")
    if not (source / "00_start_here.ipynb").is_file():
        raise FileNotFoundError(f"Lesson 00 is missing from {source}: install the kit again.")
    if (Path(folder) / "scdlab_class.json").is_file():  # made by `scdlab class make`
        return folder.resolve()
    if source.name == "notebooks":
        return source
    for path in (path for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        copy = folder / path.relative_to(source)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return folder.resolve()


def lab_arguments(folder: Path, port: int, browser: bool, first: str | None = None) -> list[str]:
    """JupyterLab's arguments: this machine only, and no news, update or extension requests.

    Parameters
    ----------
    folder : Path
        What it shows.
    port : int
        Port of the server.
    browser : bool
        Open a browser.
    first : str, optional
        File of the lesson to open; the first that there is by default.

    Returns
    -------
    list of str
        Words of its command line.
    """
    there = [path.name for path in folder.glob("[0-9][0-9]*_*.ipynb")]
    first = first or min(there, default="00_start_here.ipynb")
    return [
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.allow_root=True",  # containers
        f"--ServerApp.port={port}",
        f"--ServerApp.open_browser={browser}",
        f"--LabApp.default_url=/lab/tree/{first}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        # do not even offer to fetch news
        f"--LabApp.app_settings_dir={Path(__file__).with_name('lab_settings')}",
    ]


@command()
def run(
    numbers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Numbers of lessons, such as 0 1 2b; all when none is given.",
            callback=lesson_numbers,
        ),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="quick (seconds) or full (minutes on a GPU).")
    ] = "quick",
    out: Annotated[Path, typer.Option(help="Folder for notebooks, pages and metrics.json.")] = Path(
        "runs/lessons"
    ),
    device: Annotated[
        Device, typer.Option(help="Where to compute; auto takes a GPU when there is one.")
    ] = Device.auto,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Seed instead of each lesson's own.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that one lesson may take.")] = None,
) -> None:
    """Run lessons without a browser; fails when any cell or widget callback failed."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from scdlab import lessons

    console = Console()
    with console.status(f"running lessons, profile {profile}"):
        results = lessons.run(
            numbers, profile=profile, out=out, device=device.value, seed=seed, timeout=timeout
        )
    table = Table("lesson", "seconds", "metrics", title=f"profile {profile}, results in {out}")
    for result in results:
        shown = Text("\n".join(f"{name} = {value:.4g}" for name, value in result.metrics.items()))
        table.add_row(
            result.name,
            f"{result.seconds:.0f}",
            shown if result.error is None else Text(result.error, style="red"),
        )
    console.print(table)
    if not all(result.ok for result in results):
        raise typer.Exit(1)
