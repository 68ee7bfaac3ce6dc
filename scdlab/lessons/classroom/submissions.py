"""What students handed in: a folder with a folder for each, or with files named by them."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scdlab.files import read_json
from scdlab.lessons.classroom.copies import MARK, METADATA
from scdlab.lessons.guesses import FILE, RECORD, Kept, entries
from scdlab.lessons.notebook import read_notebook

_LARGEST = 20_000_000  # bytes of a notebook
_MOST = 500  # files of one student
_NOT_WORK = {MARK, "README.md", "glossary.md"}


@dataclass
class Submission:
    """What one student handed in.

    Parameters
    ----------
    student : str
        Name of the folder or the file.
    cells : dict
        Name of a lesson -> sources of the code cells.
    guesses : dict
        Name of a question -> the guess.
    notes : list of str
        Sentences on what could not be read.
    """

    student: str
    cells: dict[str, list[str]] = field(default_factory=dict)
    guesses: dict[str, Kept] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def submissions(
    folder: Path, lessons: Iterable[str], questions: dict[str, Kept]
) -> list[Submission]:
    """Read what a class handed in.

    Each folder in the folder is a student's, each notebook beside them too: `ada.ipynb`, or
    `ada_01_schnet.ipynb` where there are several lessons.

    Parameters
    ----------
    folder : Path
        The folder.
    lessons : iterable of str
        Names of the lessons, as "01_schnet".
    questions : dict
        The lessons' questions, as `questions_of` gives them.

    Returns
    -------
    list of Submission
        One for each student, by name.

    Raises
    ------
    FileNotFoundError
        There is no such folder, or nothing is in it.
    NotADirectoryError
        It is a file.
    """
    if not folder.exists():
        raise FileNotFoundError(f"There is no folder {folder} of submissions: check its name.")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name the folder of the submissions.")
    names = list(lessons)
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")) or path.name in _NOT_WORK:
            continue
        whole = path.is_dir() and not path.is_symlink()
        student = path.name if whole else _student(path, names)
        found.setdefault(student, []).extend(_files(path) if whole else [path])
    if not found:
        raise FileNotFoundError(
            f"The folder {folder} holds no submissions: put a folder or a notebook of each student "
            "into it."
        )
    return [_read(student, paths, names, questions) for student, paths in sorted(found.items())]


def _student(path: Path, lessons: list[str]) -> str:
    """Whose file it is: its name, without that of the lesson."""
    stem = path.stem
    for part in (*lessons, Path(FILE).stem):
        stem = re.sub(rf"[ _.-]*{re.escape(part)}[ _.-]*", "", stem, count=1) or stem
    return stem


def _files(folder: Path) -> list[Path]:
    """The files of a student's folder, those nearest to it first."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in sorted(folders) if not each.startswith((".", "__"))]
        found += [Path(place) / name for name in sorted(names) if not name.startswith(".")]
        if len(found) > _MOST:
            break
    return sorted(found[:_MOST], key=lambda path: len(path.parts))


def _read(
    student: str, paths: list[Path], lessons: list[str], questions: dict[str, Kept]
) -> Submission:
    """One student's notebooks and guesses."""
    mine = Submission(student)
    recorded: dict[str, Kept] = {}
    for path in paths:
        if path.name in _NOT_WORK:
            continue
        if path.is_symlink():
            mine.notes.append(f"{path.name} is a link, which is not followed.")
        elif path.name.endswith(FILE):
            _take(mine, path.name, lambda path=path: entries(read_json(path, "file of guesses")))
        elif path.suffix == ".ipynb":
            recorded |= _notebook(mine, path, lessons)
        elif path.parent.name != student:
            mine.notes.append(f"{path.name} is no notebook (.ipynb).")
    mine.guesses = {
        name: _as_asked(kept, questions[name])
        for name, kept in (recorded | mine.guesses).items()
        if name in questions and _is_of(kept, questions[name])
    }
    if not mine.cells and not mine.notes:
        mine.notes.append("There is no notebook.")
    return mine


def _take(mine: Submission, name: str, read: Any) -> None:
    """Add guesses, or the sentence on why they cannot be read."""
    try:
        mine.guesses |= read()
    except (OSError, ValueError) as error:
        mine.notes.append(f"The guesses in {name} cannot be read ({_short(error)}).")


def _notebook(mine: Submission, path: Path, lessons: list[str]) -> dict[str, Kept]:
    """Add a notebook's cells; the guesses that its outputs hold."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, more than any lesson")
        notebook = read_notebook(path)
    except (OSError, ValueError, RecursionError) as error:
        mine.notes.append(f"{path.name} cannot be read as a notebook ({_short(error)}).")
        return {}
    said = notebook.metadata.get(METADATA)
    name = said.get("lesson") if isinstance(said, dict) else None
    if name not in lessons:
        name = next((each for each in sorted(lessons) if each in path.stem), None)
    if name is None:
        mine.notes.append(f"{path.name} is none of the lessons that are graded.")
        return {}
    if name in mine.cells:
        mine.notes.append(f"{path.name} is another {name}: the first one was graded.")
        return {}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    mine.cells[name] = [cell.source for cell in code]
    recorded: dict[str, Kept] = {}
    for cell in code:
        for output in cell.get("outputs", ()):
            record = output.get("data", {}).get(RECORD)
            if isinstance(record, dict):
                try:
                    recorded |= entries({"guesses": record})
                except ValueError:
                    mine.notes.append(f"{path.name} holds a guess that cannot be read.")
    return recorded


def _is_of(kept: Kept, asked: Kept) -> bool:
    """Whether a guess answers what the lesson asks now."""
    if asked.choices is None:
        return kept.choices is None and kept.unit == asked.unit
    return kept.choices == asked.choices and (kept.guess is None or kept.guess in asked.choices)


def _as_asked(kept: Kept, asked: Kept) -> Kept:
    """A guess with the question and the tolerance of the lesson."""
    return replace(kept, question=asked.question, within=asked.within)


def _short(error: BaseException) -> str:
    """What an error says, without the path that it names."""
    text = " ".join(str(error).split()).rstrip(".")
    found = re.search(r"\((.*)\)", text)
    return (found[1] if found else text)[:160]
