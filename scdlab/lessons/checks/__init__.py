"""Checks of the exercises. Each reports what is right, or what is wrong and where to look; none
just returns False.

A check takes the answer, shows its verdict (green when passed, orange with a hint when not, gray
while the answer is still `...`) and returns it as a `Check`; with show=False it only returns it. A
wrong answer never raises: not even one that crashes when it is called.

Here stands what all checks share; the checks of a lesson stand in a module of their own.
"""

import functools
import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from scdlab.lessons.metrics import show_marked

_LOOK = {
    True: ("#009E73", "✓ Right."),
    False: ("#D55E00", "✗ Not yet."),
    None: ("#8C8C8C", "… Your turn."),
}
_CHECKS: dict[str, "AnswerCheck"] = {}


@dataclass(frozen=True)
class Check:
    """The verdict on an answer.

    Parameters
    ----------
    passed : bool
        Whether the answer is right.
    message : str
        A sentence of praise or of help.
    pending : bool, default False
        Whether an answer is still to come.
    """

    passed: bool
    message: str
    pending: bool = False

    def __bool__(self) -> bool:
        return self.passed

    def _look(self) -> tuple[str, str]:
        return _LOOK[None if self.pending else self.passed]

    def __str__(self) -> str:
        return f"{self._look()[1]} {self.message}"

    def show(self) -> None:
        """Display the verdict: a colored line in a notebook, plain text elsewhere."""
        color, verdict = self._look()
        text = f"<b style='color:{color}'>{verdict}</b> {html.escape(self.message)}"
        show_marked(text, str(self), color, "scdlab-check")

    def _ipython_display_(self) -> None:
        """Nothing: a check has shown its verdict already, also when it is the last line of a
        cell."""


class Wrong(Exception):
    """Raised inside a check: its text is the hint the reader gets."""


class Pending(Exception):
    """Raised inside a check when the reader has not answered yet."""


class AnswerCheck(Protocol):
    """What `check` makes of a function: the check of an exercise."""

    __name__: str

    def __call__(self, answer: Any = ..., show: bool = True) -> Check: ...


def check(function: Callable[[Any], str]) -> AnswerCheck:
    """Make a check of a function.

    Parameters
    ----------
    function : callable (answer) -> str
        Returns praise, or raises `Wrong`; the answer `...` means "not yet".

    Returns
    -------
    callable (answer, show) -> Check
        The check, which shows its verdict unless `show` is False, and never raises for an answer.
    """

    @functools.wraps(function)
    def checked(answer: Any = ..., show: bool = True) -> Check:
        try:
            if answer is ...:
                raise Pending
            verdict = Check(True, function(answer))
        except Wrong as hint:
            verdict = Check(False, str(hint))
        except Pending:
            verdict = Check(
                False, "Replace the dots by your answer, then run this cell again.", pending=True
            )
        except Exception as error:  # of arithmetic with an answer of a kind that nobody foresaw
            verdict = Check(
                False, f"Your answer is not of the kind that is asked for: {_text(error)}"
            )
        if show:
            verdict.show()
        return verdict

    _CHECKS[checked.__name__] = checked
    return checked


def all_checks() -> dict[str, AnswerCheck]:
    """Every check by name, of the lessons whose modules are imported.

    Returns
    -------
    dict
        Name of a check -> the check.
    """
    return dict(_CHECKS)


def _text(error: BaseException) -> str:
    """The kind of an error and its first words."""
    try:
        words = " ".join(str(error).split())
    except Exception:  # an error of the reader's own class
        words = ""
    return f"{type(error).__name__}: {words}"[:300]


def _shown(value: Any) -> str:
    """A value as a hint quotes it."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a class of the reader's own
        text = f"of the class {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}…"


def call(answer: Any, *inputs: Any) -> Any:
    """Call the reader's function; whatever goes wrong in it becomes a hint.

    Parameters
    ----------
    answer : callable
        The reader's answer.
    *inputs
        What it is called with.

    Returns
    -------
    Any
        What it returned.

    Raises
    ------
    Wrong
        The answer is no function, stopped with an error or returned nothing.
    Pending
        The function returned `...`.
    """
    if not callable(answer):
        raise Wrong(f"The answer should be a function, but it is a {type(answer).__name__}.")
    try:
        result = answer(*inputs)
    except (Exception, SystemExit) as error:
        raise Wrong(f"Your function stopped with {_text(error)}") from None
    if result is ...:
        raise Pending
    if result is None:
        raise Wrong("Your function returns None: is the `return` missing?")
    return result


def tensor_from(
    answer: Any, *inputs: Any, shape: Sequence[int] | None = None, mask: bool = False
) -> Tensor:
    """A tensor from the reader's function, of the expected shape and without NaN.

    It comes with the precision of the inputs, so that it can be compared with what is right.

    Parameters
    ----------
    answer : callable
        The reader's answer.
    *inputs
        What it is called with.
    shape : sequence of int, optional
        Shape that the result must have; any by default.
    mask : bool, default False
        Whether it should hold booleans: it then comes as it is.

    Returns
    -------
    Tensor
        What the function returned.

    Raises
    ------
    Wrong
        The result is no tensor of real numbers, has another shape, or holds inf or NaN.
    """
    result = call(answer, *inputs)
    if not isinstance(result, Tensor):
        raise Wrong(f"Your function should return a torch tensor, not a {type(result).__name__}.")
    if result.layout != torch.strided or result.device.type != "cpu" or result.is_nested:
        raise Wrong("Your function should return an ordinary (dense) tensor in the CPU's memory.")
    if result.is_complex() or (result.dtype == torch.bool and not mask):
        kind = str(result.dtype).removeprefix("torch.")
        raise Wrong(f"Your result should hold real numbers, but it holds {kind}.")
    if shape is not None and tuple(result.shape) != tuple(shape):
        raise Wrong(f"Your result has shape {list(result.shape)}; it should be {list(shape)}.")
    if not torch.isfinite(result).all():
        raise Wrong("Your result contains inf or NaN: look for an overflow, or a division by zero.")
    given = [x.dtype for x in inputs if isinstance(x, Tensor) and x.is_floating_point()]
    if mask:
        return result
    if given:
        return result.to(given[0])
    return result if result.is_floating_point() else result.to(torch.get_default_dtype())


def number_from(answer: Any) -> float:
    """The answer as a finite number.

    Parameters
    ----------
    answer : float or Tensor
        A number, or a tensor that holds one.

    Returns
    -------
    float
        The number.

    Raises
    ------
    Wrong
        The answer is no number, or not a finite one.
    """
    try:
        if isinstance(answer, str | bytes | bytearray):
            raise TypeError
        value = float(answer)
    # RuntimeError: a tensor of several numbers; OverflowError: an integer too large for a float
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Wrong(f"The answer should be a number, but it is {_shown(answer)}.") from None
    if not math.isfinite(value):
        raise Wrong(f"The answer should be a finite number, but it is {value}.")
    return value


def distance_matrix(pos: Tensor) -> Tensor:
    """Distances between all atoms.

    Parameters
    ----------
    pos : Tensor [N, 3]
        Positions in Å.

    Returns
    -------
    Tensor [N, N]
        Distances in Å.
    """
    return (pos[:, None] - pos[None, :]).norm(dim=-1)
