"""Executed lessons: those that are there and still match their source, and the others, run now."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from scdlab.lessons import runner
from scdlab.lessons.failures import WIDGET_STATE, told_failure
from scdlab.lessons.listed import lesson_number
from scdlab.lessons.notebook import read_notebook
from scdlab.log import show

from .course import COURSE, OTHER

PROFILE = "quick"
KEPT = Path("runs") / "site"
"""Where lessons that were run for the site stay, for the next time."""


@dataclass(frozen=True)
class Executed:
    """An executed lesson.

    Parameters
    ----------
    number : str
        Such as "02b".
    notebook : NotebookNode
        The executed notebook, as it was read.
    widgets : dict
        Id of a widget -> what it holds.
    """

    number: str
    notebook: NotebookNode
    widgets: dict[str, dict[str, Any]]

    @property
    def seconds(self) -> float | None:
        """How long its cells took; None where the notebook does not say."""
        duration = self.notebook.metadata.get("papermill", {}).get("duration")
        return float(duration) if isinstance(duration, int | float) else None

    @property
    def day(self) -> str:
        """When it was run, "2026-11-30"; empty where the notebook does not say."""
        return str(self.notebook.metadata.get("papermill", {}).get("end_time") or "")[:10]


def executed_lessons(
    paths: Iterable[Path],
    folders: Iterable[Path],
    kept: Path = KEPT,
    may_run: bool = True,
    say: Callable[[str], None] = show,
) -> list[Executed]:
    """Every lesson, executed in the quick profile.

    Parameters
    ----------
    paths : iterable of Path
        The lessons' notebooks.
    folders : iterable of Path
        Where executed ones may be, as `scdlab run --out FOLDER` writes them.
    kept : Path, default KEPT
        Where those stay that are run now; it is looked through as well.
    may_run : bool, default True
        Whether lessons without an executed notebook that matches are run.
    say : callable (str), optional
        Is told what happens; printed by default.

    Returns
    -------
    list of Executed
        In the order of the lessons.

    Raises
    ------
    ValueError
        A lesson failed, or one is missing and may not be run.
    OSError
        The folder for what is run cannot be written.
    """
    paths = list(paths)
    places = [*map(Path, folders), kept]
    found = {path: _first_match(path, places) for path in paths}
    missing = [path for path in paths if found[path] is None]
    if missing and not may_run:
        numbers = " ".join(lesson_number(path) for path in missing)
        raise ValueError(
            f"There is no executed notebook that matches the source of lesson {numbers} in "
            f"{', '.join(str(place) for place in places)}: make it with `scdlab run {numbers} "
            f"--out {places[0]}`, or let the site run it."
        )
    _run(missing, kept, say)
    return [found[path] or _needed(path, kept) for path in paths]


def _run(paths: list[Path], kept: Path, say: Callable[[str], None]) -> None:
    """Run lessons one after the other, and say how long the rest will take."""
    expected = [COURSE.get(lesson_number(path), OTHER).seconds for path in paths]
    pace = 1.0  # seconds here for one of two idle cores
    done = 0.0
    taken = 0.0
    for k, path in enumerate(paths):
        left = pace * sum(expected[k:])
        number = lesson_number(path)
        say(
            f"running lesson {number}, {k + 1} of {len(paths)}: about "
            f"{_span(pace * expected[k])}, {_span(left)} for all that are left"
        )
        (result,) = runner.run(number, profile=PROFILE, out=kept, folder=path.parent)
        if not result.ok:
            raise ValueError(
                f"Lesson {number} failed{_where(result.cell)} ({result.error}): mend it, "
                "then make the site again."
            )
        done += expected[k]
        taken += result.seconds
        pace = taken / done


def _where(cell: int | None) -> str:
    return f" in cell [{cell}]" if cell else ""


def _span(seconds: float) -> str:
    """A time to wait, in words."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _first_match(path: Path, places: list[Path]) -> Executed | None:
    """The executed notebook of a lesson in the first place that has one that matches."""
    for place in places:
        found = _match(path, place / path.name)
        if found is not None:
            return found
    return None


def _needed(path: Path, place: Path) -> Executed:
    """The executed notebook of a lesson that was just run."""
    found = _match(path, place / path.name)
    if found is None:
        raise ValueError(
            f"The executed notebook {place / path.name} does not match its source, although it was "
            "just run: the source has changed meanwhile, so make the site again."
        )
    return found


def _match(path: Path, done: Path) -> Executed | None:
    """An executed notebook where it belongs to the lesson as it stands and was run in the quick
    profile; ValueError where the run had failed."""
    if not done.is_file():
        return None
    lesson = read_notebook(path)
    notebook = _executed_notebook(done)
    failure = told_failure(notebook)
    about = notebook.metadata.get("papermill", {})
    profile = about.get("parameters", {}).get("PROFILE")
    cells = [cell for cell in notebook.cells if "injected-parameters" not in _tags(cell)]
    if failure:
        cells = cells[1:]
    if profile != PROFILE or list(map(_text, cells)) != list(map(_text, lesson.cells)):
        return None
    if failure:
        number = lesson_number(path)
        raise ValueError(
            f"The run of lesson {number} in {done.parent} failed ({failure}): mend the lesson, "
            f"and run it again with `scdlab run {number} --out {done.parent}`."
        )
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    widgets = {name: dict(each.get("state", {})) for name, each in state.items()}
    return Executed(lesson_number(path), notebook, widgets)


def _executed_notebook(path: Path) -> NotebookNode:
    """An executed notebook with the states of its widgets, checked as every notebook is."""
    notebook = read_notebook(path)
    whole = json.loads(path.read_text(encoding="utf-8"))
    notebook.metadata.update(nbformat.from_dict(whole["metadata"]))
    return notebook


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _text(cell: NotebookNode) -> tuple[str, str]:
    return cell.cell_type, cell.source.strip()
