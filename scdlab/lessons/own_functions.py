"""The reader's own function, used by the lesson from the moment when it is right."""

import dis
import html
from collections.abc import Callable
from typing import Any, TypeVar

from scdlab.explore import style
from scdlab.lessons.checks import AnswerCheck
from scdlab.lessons.metrics import show_marked

_NOTHING = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}

F = TypeVar("F", bound=Callable[..., Any])


def yours(own: F, library: F, check: AnswerCheck) -> F:
    """The reader's function when it passes its check, else the library's; a line says which.

    Parameters
    ----------
    own : callable
        What the reader wrote: a function, or `...` where nothing is written yet.
    library : callable
        The function that takes its place until then, with the same arguments.
    check : callable (answer, show) -> Check
        The check of the exercise, as `lessons.check_cfconv`.

    Returns
    -------
    callable
        One of the two.

    Raises
    ------
    TypeError
        For a library's version or a check that cannot be called.
    """
    for what, each in (("library's version", library), ("check", check)):
        if not callable(each):
            raise TypeError(
                f"lessons.yours needs a function as the {what}, got {type(each).__name__}."
            )
    name = getattr(own, "__name__", "function")
    verdict = check(own, show=False)
    if verdict.passed:
        _say(f"From here on the lesson uses your {name}.", style.GREEN)
        return own
    if verdict.pending or own is None or _is_empty(own):
        _say(f"{_start(name)} still to be written: the lesson uses the solution's until then.")
    else:
        _say(
            f"{_start(name)} not right yet, and the lesson uses the solution's until it is. "
            f"{verdict.message}",
            style.VERMILION,
        )
    return library


def _start(name: str) -> str:
    return "Your function is" if name == "function" else f"Your {name} is"


def _is_empty(own: Any) -> bool:
    """Whether a function does nothing but return a constant `None` or `...`."""
    code = getattr(own, "__code__", None)
    if code is None:
        return False
    plain = all(each is None or each is ... or isinstance(each, str) for each in code.co_consts)
    return plain and {each.opname for each in dis.get_instructions(code)} <= _NOTHING


def _say(words: str, color: str = style.GRAY) -> None:
    """Show one line."""
    show_marked(html.escape(words), words, color, "scdlab-yours")
