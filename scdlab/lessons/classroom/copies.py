"""Copies of the lessons for students: without solutions and results, and running all the same.

Where the lesson shows a solution, the copy asks the kit for it by name (`lessons.solution`): the
name keeps its meaning, so that the lesson runs from end to end before any exercise is solved.
Students who look for the solution find it in the installed kit; the copies do not put it before
them.
"""

import ast
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

import scdlab
from scdlab.files import atomic_folder, package_dir, write_json
from scdlab.lessons.listed import choose, lesson_number, list_lessons
from scdlab.lessons.notebook import read_notebook
from scdlab.lessons.solutions import TAG
from scdlab.lessons.statements import bound, used

MARK = "scdlab_class.json"  # in a folder of copies
METADATA = "scdlab"  # of a copy: which lesson it is
LEFT_OUT = "left-out"  # tag of a cell in place of a solution

_READ_ME = """\
# The lessons

Open this folder with `scdlab lab --folder .` in it, and start with {first}. Run a cell with Shift +
Enter.

- **Predict.** Write your guess into the box before you run the cells below it. Guesses are kept in
  `scdlab_guesses.json`, beside the lessons.
- **Write it.** Replace the dots by your answer and run the cell; the check below it says what is
  wrong. Solutions are left out here. Until your answer is right, the lesson goes on with the kit's
  own.

Keep the names of the functions. **Hand in** the whole folder, with `scdlab_guesses.json`; it need
not have been run.
"""


def make(folder: str | Path, numbers: int | str | Sequence[int | str] | None = None) -> list[Path]:
    """Copy lessons for students: solutions and results removed, names kept.

    Parameters
    ----------
    folder : path
        Where to put the copies: a folder that is empty or not there yet.
    numbers : int, str or sequence of them, optional
        Which lessons, such as 2 or "2b"; all by default.

    Returns
    -------
    list of Path
        The notebooks in the folder.

    Raises
    ------
    ValueError
        An unknown lesson.
    FileExistsError
        The folder holds something already.
    OSError
        The folder cannot be written.
    """
    paths = choose(numbers, list_lessons())
    folder = Path(folder)
    with atomic_folder(folder, _check_empty) as new:
        for path in paths:
            nbformat.write(copy_of(path), new / path.name)
        glossary = package_dir("notebooks") / "glossary.md"
        (new / glossary.name).write_text(glossary.read_text(encoding="utf-8"), encoding="utf-8")
        (new / "README.md").write_text(_READ_ME.format(first=paths[0].name), encoding="utf-8")
        about = {"format": 1, "kit": scdlab.__version__, "lessons": [path.stem for path in paths]}
        write_json(new / MARK, about)
    return [folder / path.name for path in paths]


def copy_of(path: Path) -> NotebookNode:
    """A lesson as students get it.

    Parameters
    ----------
    path : Path
        The lesson's notebook.

    Returns
    -------
    NotebookNode
        The copy. A solution whose names the lesson uses further down is a line that asks the kit
        for it; one that is there to be read only is gone.
    """
    notebook = read_notebook(path)
    kept = []
    for n, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
        if TAG in cell.metadata.get("tags", ()):
            later = [each for each in notebook.cells[n + 1 :] if each.cell_type == "code"]
            cell = _without_solution(cell, later, lesson_number(path))
        if cell is not None:
            kept.append(cell)
    notebook.cells = kept
    notebook.metadata[METADATA] = {"lesson": path.stem}
    return notebook


def _without_solution(
    cell: NotebookNode, later: list[NotebookNode], number: str
) -> NotebookNode | None:
    """What stands in place of a solution; None where nothing needs it."""
    if cell.cell_type != "code":
        return None
    wanted = set[str]().union(*(used(ast.parse(each.source)) for each in later))
    lines = [
        f'{name} = lessons.solution("{number}", "{name}")'
        for statement in ast.parse(cell.source).body
        for name in sorted(bound(statement) & wanted)
    ]
    if not lines:
        return None
    comment = "# The kit's own, unseen here: the lesson uses it until your answer is right."
    cell.source = "\n".join([comment, *dict.fromkeys(lines)])
    cell.metadata = nbformat.from_dict({"tags": [LEFT_OUT]})
    return cell


def _check_empty(folder: Path) -> None:
    """Refuse a place that holds anything."""
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(
            f"The folder {folder} is not empty: name a new folder for the copies of the lessons."
        )
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(
            f"{folder} is a file, where the copies of the lessons need a folder: name another."
        )
