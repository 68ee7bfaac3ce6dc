"""Submissions of a class, made from the kit's own lessons."""

import ast
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from scdlab import lessons
from scdlab.lessons.classroom.copies import copy_of
from scdlab.lessons.classroom.exercises import Exercise, exercises_of
from scdlab.lessons.notebook import read_notebook
from scdlab.lessons.statements import bound

PATHS = {path.stem: path for path in lessons.list_lessons()}


def right_answers(path: Path) -> dict[str, str]:
    """Check -> a cell with the right answer: the kit's solution under the answer's name."""
    cells = [c.source for c in read_notebook(path).cells if c.cell_type == "code"]
    found = {}
    for task in exercises_of(path):
        (name,) = task.withheld
        source = next(s for s in cells if any(name in bound(each) for each in ast.parse(s).body))
        lines = [line for line in source.splitlines() if not line.startswith("assert ")]
        answer = "\n".join(lines)
        if task.check == "check_takes_over":
            answer += f"\nmy_takes_over = {name}()"
        found[task.check] = answer.replace(name, f"{task.answer}_made")
        if task.check != "check_takes_over":
            found[task.check] = answer.replace(name, task.answer)
    return found


def submitted(path: Path, answers: dict[str, str]) -> NotebookNode:
    """A copy for students in which exercises are answered: check -> source of the cell."""
    notebook = copy_of(path)
    for task in exercises_of(path):
        if task.check in answers:
            cell = _cell_of(notebook, task)
            statements = ast.parse(cell.source).body
            others = [each for each in statements if not is_answer(each, task)]
            kept = [ast.unparse(each) for each in others]
            call = f"lessons.{task.check}({task.answer})"
            cell.source = "\n\n".join([*kept, answers[task.check], call])
    return notebook


def is_answer(statement: ast.stmt, task: Exercise) -> bool:
    """Whether a statement gives the answer, or calls the check."""
    return task.answer in bound(statement) or isinstance(statement, ast.Expr)


def code_of(notebook: NotebookNode) -> list[str]:
    """Sources of the code cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def _cell_of(notebook: NotebookNode, task: Exercise) -> NotebookNode:
    call = f"lessons.{task.check}({task.answer})"
    return next(c for c in notebook.cells if c.cell_type == "code" and call in c.source)
