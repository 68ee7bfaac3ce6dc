"""The kit's own solution of an exercise, for lessons that do not show it.

Copies for a class (`scdlab class make`) hold no solutions, but go on from each exercise with one
until the reader's function is right. This is where they get it from.
"""

import ast
import sys
from typing import Any

from scdlab.lessons.listed import choose, list_lessons
from scdlab.lessons.notebook import read_notebook
from scdlab.lessons.statements import bound

TAG = "solution"  # of the cells that hold one
WITHHELD: set[str] = set()  # names that cannot be had while an answer is graded


def solution(lesson: str | int, name: str) -> Any:
    """The kit's own solution of an exercise, made with the names of the notebook that asks for it.

    Parameters
    ----------
    lesson : str or int
        The lesson's number, as "02", 2 or "02b".
    name : str
        The solution's name in the lesson, as "cfconv_solution".

    Returns
    -------
    Any
        The function or the value.

    Raises
    ------
    ValueError
        The lesson has no solution of that name, or an answer is being graded.
    """
    if name in WITHHELD:
        raise ValueError(f"While its exercise is graded, {name} is not to be had: write your own.")
    path = choose(str(lesson), list_lessons())[0]
    names: list[str] = []
    for cell in read_notebook(path).cells:
        if cell.cell_type != "code" or TAG not in cell.metadata.get("tags", ()):
            continue
        here = set[str]().union(*map(bound, ast.parse(cell.source).body))
        if name in here:
            namespace = sys._getframe(1).f_globals
            exec(compile(cell.source, f"<the kit's {name}>", "exec"), namespace)
            return namespace[name]
        names += sorted(here)
    raise ValueError(
        f"The lesson {path.stem} has no solution {name}: it has {', '.join(names) or 'none'}. Make "
        "the copies for the class again, with the installed version of the kit."
    )
