"""Arguments of the constructors of models, checked by their annotations."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

#: Integers that may be 0; all others are sizes and numbers of things.
FROM_ZERO = frozenset({"prunings", "seed"})
#: The largest size; a larger one is a mistake, and would need terabytes.
LARGEST = 100_000
_ANY_SIZE = frozenset({"seed", "max_num_neighbors"})

Check = Callable[[str, str, Any], Any]

_LARGEST_NUMBER = float(np.finfo(np.float32).max)  # NaN is not below it either


def checks_of(parameters: Iterable[inspect.Parameter]) -> dict[str, tuple[Check, bool]]:
    """What to check of the arguments of a constructor.

    Parameters
    ----------
    parameters : iterable of inspect.Parameter
        Its parameters, without `self`.

    Returns
    -------
    dict of str to (callable, bool)
        By name: a function of (class, name, value) that gives the value as it is passed on, and
        whether the argument may be None. Parameters with other annotations than a number, a switch
        or text are left out.
    """
    kinds: dict[Any, tuple[Check, bool]] = {
        int: (whole_number, False),
        float: (number, False),
        bool: (switch, False),
        str: (text, False),
        int | None: (whole_number, True),
        float | None: (number, True),
        str | None: (text, True),
    }
    named = {p.name: p.annotation for p in parameters if p.kind is not p.VAR_KEYWORD}
    return {name: kinds[kind] for name, kind in named.items() if _hashable(kind) and kind in kinds}


def _hashable(value: Any) -> bool:
    return getattr(value, "__hash__", None) is not None


def whole_number(cls: str, name: str, value: Any) -> int:
    """An integer of a size that can be.

    Parameters
    ----------
    cls, name : str
        The class and the argument, for errors.
    value : object
        What was given.

    Raises
    ------
    TypeError
        For anything but an integer.
    ValueError
        For one that is too small or too large.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} of {cls} must be an integer, got {_shown(value)}.")
    value = int(value)
    least = 0 if name in FROM_ZERO else 1
    if value < least:
        raise ValueError(f"{name} of {cls} must be at least {least}, got {_shown(value)}.")
    if value > LARGEST and name not in _ANY_SIZE:
        raise ValueError(f"{name} of {cls} must be at most {LARGEST:,}, got {_shown(value)}.")
    return value


def number(cls: str, name: str, value: Any) -> float:
    """A finite number. See `whole_number`.

    Parameters
    ----------
    cls, name : str
        The class and the argument, for errors.
    value : object
        What was given.
    """
    numbers = int | float | np.integer | np.floating
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers):
        raise TypeError(f"{name} of {cls} must be a number, got {_shown(value)}.")
    if not abs(value) <= _LARGEST_NUMBER:
        raise ValueError(
            f"{name} of {cls} must be a finite number that float32 can hold, got {_shown(value)}."
        )
    return value.item() if isinstance(value, np.generic) else value


def switch(cls: str, name: str, value: Any) -> bool:
    """True or False. See `whole_number`.

    Parameters
    ----------
    cls, name : str
        The class and the argument, for errors.
    value : object
        What was given.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} of {cls} must be True or False, got {_shown(value)}.")
    return bool(value)


def text(cls: str, name: str, value: Any) -> str:
    """Text. See `whole_number`.

    Parameters
    ----------
    cls, name : str
        The class and the argument, for errors.
    value : object
        What was given.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} of {cls} must be text, got {_shown(value)}.")
    return value


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except ValueError:  # more digits than Python prints
        shown = "a number of many digits"
    return f"{shown[:60]} ({type(value).__name__})"


def checked(
    checks: dict[str, tuple[Check, bool]], cls: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Arguments by name, checked.

    Parameters
    ----------
    checks : dict
        As `checks_of` gives it.
    cls : str
        Name of the class, for errors.
    arguments : dict of str to object
        What was given.
    """
    found = dict(arguments)
    for name, (check, optional) in checks.items():
        if name in found and not (optional and found[name] is None):
            found[name] = check(cls, name, found[name])
    return found
