"""What an app shows of a lesson: the same cells, run in their order, with their code hidden.

Exercises cannot be done without code. Their cells run, since later cells use their names, but what
they print is left out, and a sentence says where an exercise stands. Questions to guess are shown
as on any page without a reader's answers, and the summary of these is left out.
"""

import ast
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from scdlab.lessons.html import first_heading
from scdlab.lessons.notebook import read_notebook
from scdlab.lessons.solutions import TAG
from scdlab.lessons.statements import calls

SILENT = "scdlab-silent"
"""Tag of cells that run unseen; the page's style hides them."""

_EXERCISE = (
    "*Here the lesson has an exercise. Open it with its code, by `scdlab lab`, to write it.*"
)
_UNSEEN = ("calibration", "check_")  # calls that speak to a reader who writes


def lesson_page(path: str | Path) -> NotebookNode:
    """The notebook that an app runs for each page.

    Parameters
    ----------
    path : path
        The lesson's notebook, left as it is.

    Returns
    -------
    NotebookNode
        Its cells without outputs, some of them tagged `SILENT`; the title in its metadata.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is no notebook, or holds what is no plain Python, such as a magic.
    """
    notebook = read_notebook(path)
    notebook.metadata["title"] = first_heading(notebook)
    cells = []
    for cell in notebook.cells:
        if cells and _is_heading(cells[-1]) and _is_summary(cell, Path(path)):
            cells.pop()  # nothing would stand below it
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        cell.outputs = []
        cell.execution_count = None
        tags = cell.metadata.setdefault("tags", [])
        is_exercise = TAG not in tags and _speaks_to_writer(cell.source, Path(path), ("check_",))
        if TAG in tags or _speaks_to_writer(cell.source, Path(path), _UNSEEN):
            tags.append(SILENT)
        if is_exercise:
            cells.append(nbformat.v4.new_markdown_cell(_EXERCISE))
    notebook.cells = cells
    return notebook


def _is_heading(cell: NotebookNode) -> bool:
    """Whether a cell is a heading and nothing else."""
    return cell.cell_type == "markdown" and re.fullmatch(r"#+ .*", cell.source.strip()) is not None


def _is_summary(cell: NotebookNode, path: Path) -> bool:
    """Whether a cell sums up the reader's guesses."""
    return cell.cell_type == "code" and _speaks_to_writer(cell.source, path, ("calibration",))


def _speaks_to_writer(source: str, path: Path, names: tuple[str, ...]) -> bool:
    """Whether a statement of a cell is a call of `lessons.` with one of these names."""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        line = (source.splitlines() or [""])[(error.lineno or 1) - 1]
        raise ValueError(
            f"The cells of {path} must be plain Python, got {line.strip()[:60]!r}: an app cannot "
            "show a lesson with magics."
        ) from error
    alone = [each for each in body if isinstance(each, ast.Expr)]
    return any(True for each in alone for name in names for _ in calls(each, name))
