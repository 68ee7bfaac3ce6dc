"""Which lessons there are, and which of them a number names."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from scdlab.files import package_dir

LESSON = re.compile(r"(\d\d)([a-z]?)_.*\.ipynb", re.ASCII)  # 02_name.ipynb, 02b_name.ipynb


def list_lessons(folder: str | Path | None = None) -> list[Path]:
    """The lessons' notebooks in order: NN_name.ipynb, and NNb_name.ipynb for a lesson that goes on
    from lesson NN.

    Parameters
    ----------
    folder : path, optional
        Where they are; the kit's own by default.

    Returns
    -------
    list of Path
        The notebooks.

    Raises
    ------
    FileNotFoundError
        There are none.
    """
    folder = Path(folder or package_dir("notebooks"))
    found = sorted(path for path in folder.glob("*.ipynb") if LESSON.match(path.name))
    if not found:
        raise FileNotFoundError(
            f"There are no lessons (NN_name.ipynb) in {folder}: name their folder, or install the "
            "kit again."
        )
    return found


def lesson_number(path: Path) -> str:
    """The number of a lesson, as its file, its heading and every page have it.

    Parameters
    ----------
    path : Path
        Its notebook.

    Returns
    -------
    str
        Such as "02", or "02b" for 02b_name.ipynb.

    Raises
    ------
    ValueError
        For a name of another form.
    """
    found = LESSON.match(path.name)
    if found is None:
        raise ValueError(f"A lesson's notebook must be called NN_name.ipynb, got {path.name}.")
    return f"{found[1]}{found[2]}"


def choose(numbers: int | str | Sequence[int | str] | None, paths: list[Path]) -> list[Path]:
    """The notebooks of some lessons, of those that there are.

    Parameters
    ----------
    numbers : int, str or sequence of them, optional
        Which lessons; all by default.
    paths : list of Path
        The notebooks of all lessons.

    Returns
    -------
    list of Path
        Those of the lessons wanted, in the order in which they are named.

    Raises
    ------
    ValueError
        For a number that no lesson has.
    TypeError
        For what is neither a number nor several.
    """
    by_number = {lesson_number(path): path for path in paths}
    if isinstance(numbers, int | str):
        numbers = [numbers]
    if not isinstance(numbers, Iterable | None):
        raise TypeError(f"numbers must be a lesson's number or several, got {numbers!r}.")
    wanted = {}
    for number in map(str, numbers or ()):
        found = re.fullmatch(r"0*([0-9]{1,2})([a-z]?)", number)
        name = f"{int(found[1]):02d}{found[2]}" if found else ""  # 02b and 2b are the same lesson
        if name not in by_number:
            there = ", ".join(by_number) or "none"
            raise ValueError(f"There is no lesson {number[:40]}: the lessons are {there}.")
        wanted[name] = by_number[name]
    return list(wanted.values()) or paths
