"""What a lesson asks of its readers: exercises with their checks, and questions to guess."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from scdlab.lessons.guesses import Kept
from scdlab.lessons.notebook import read_notebook
from scdlab.lessons.solutions import TAG
from scdlab.lessons.statements import bound, calls


@dataclass(frozen=True)
class Exercise:
    """An exercise of a lesson.

    Parameters
    ----------
    lesson : str
        The lesson's name, as "01_schnet".
    check : str
        Name of its check, as "check_cfconv".
    answer : str
        Name that the check is called with, as "cfconv".
    section : str
        Heading under which it stands.
    withheld : tuple of str
        Names of the kit's own solution, which is no answer.
    """

    lesson: str
    check: str
    answer: str
    section: str
    withheld: tuple[str, ...] = ()


def exercises_of(path: Path) -> list[Exercise]:
    """The exercises of a lesson in their order.

    Parameters
    ----------
    path : Path
        The kit's own notebook of the lesson.

    Returns
    -------
    list of Exercise
        One for each check that is called with a name.
    """
    found: dict[str, Exercise] = {}
    section = ""
    cells = read_notebook(path).cells
    for n, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            section = _heading(cell.source) or section
        elif not _is_solution(cell):
            for statement in ast.parse(cell.source).body:
                call = _check(statement)
                if call is not None and call[0] not in found:
                    found[call[0]] = Exercise(path.stem, *call, section, _solution(cells[n + 1 :]))
    return list(found.values())


def questions_of(path: Path) -> dict[str, Kept]:
    """The questions that a lesson's readers guess at.

    Parameters
    ----------
    path : Path
        The kit's own notebook of the lesson.

    Returns
    -------
    dict
        Name -> the question with its unit or choices and tolerance, without a guess.
    """
    found: dict[str, Kept] = {}
    for cell in read_notebook(path).cells:
        if cell.cell_type == "code":
            for call in calls(ast.parse(cell.source), "predict"):
                given: dict[str, Any] = {}
                given["question"] = _constant(call.args[0]) if call.args else None
                for name, value in zip(("unit", "choices"), call.args[1:], strict=False):
                    given[name] = _constant(value)
                given |= {word.arg: _constant(word.value) for word in call.keywords if word.arg}
                name = given.pop("name")
                given.pop("stored", None)
                given["question"] = given["question"] or name
                found[name] = Kept(**given)
    return found


def _check(statement: ast.stmt) -> tuple[str, str] | None:
    """(check, answer) of a statement `lessons.check_x(answer)`."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return None
    for call in calls(statement, "check_"):
        if call is statement.value and call.args and isinstance(call.args[0], ast.Name):
            assert isinstance(call.func, ast.Attribute)
            return call.func.attr, call.args[0].id
    return None


def _solution(following: list[NotebookNode]) -> tuple[str, ...]:
    """Names that the solution of an exercise binds, which is the next code cell."""
    for cell in following:
        if cell.cell_type == "code":
            if not _is_solution(cell):
                return ()
            return tuple(sorted(set[str]().union(*map(bound, ast.parse(cell.source).body))))
    return ()


def _is_solution(cell: NotebookNode) -> bool:
    return TAG in cell.metadata.get("tags", ())


def _heading(text: str) -> str:
    """The last heading of a markdown cell; empty without one."""
    lines = [line for line in text.splitlines() if line.startswith("#")]
    return lines[-1].lstrip("# ").strip() if lines else ""


def _constant(node: ast.expr) -> Any:
    """The value of a literal; None for what is computed."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
