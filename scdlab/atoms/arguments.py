"""Arguments of stores as the arrays and numbers that are meant, or a sentence that says why not."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def numeric(name: str, value: ArrayLike) -> np.ndarray:
    """An argument as an array of numbers or truth values.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : array_like or Tensor
        The argument.

    Returns
    -------
    numpy.ndarray
        The array, in its own dtype.

    Raises
    ------
    ValueError
        For text, objects, complex numbers, and rows of different lengths.
    """
    found = _as_array(name, value)
    if found.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must be an array of real numbers, got {_described(found)}: correct it."
        )
    return found


def elements(z: ArrayLike) -> np.ndarray:
    """Atomic numbers, also of chemical symbols.

    Parameters
    ----------
    z : array_like
        Atomic numbers or symbols.

    Returns
    -------
    numpy.ndarray
        Atomic numbers, of the same shape.

    Raises
    ------
    ValueError
        For text that is no symbol of an element, and for what is neither.
    """
    found = _as_array("z", z)
    if found.dtype.kind == "O" and all(isinstance(value, str) for value in found.reshape(-1)):
        found = found.astype(str)
    if found.dtype.kind in "SU" and found.size:
        from ase.data import atomic_numbers

        symbols = np.char.decode(found, "ascii", "replace") if found.dtype.kind == "S" else found
        names, place = np.unique(symbols, return_inverse=True)
        for name in names:
            if not atomic_numbers.get(str(name)):
                raise ValueError(
                    f"z has the symbol {str(name)[:20]!r}, which is no element's: use symbols such "
                    "as 'C', or atomic numbers."
                )
        numbers = np.array([atomic_numbers[str(name)] for name in names])
        return numbers[place].reshape(found.shape)
    if found.dtype.kind not in "iuf":
        raise ValueError(
            f"z must hold atomic numbers or symbols of elements, got {_described(found)}: correct "
            "it."
        )
    return found


def row_numbers(name: str, value: ArrayLike) -> np.ndarray:
    """An argument as whole numbers, int64.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : array_like
        Whole numbers.

    Returns
    -------
    numpy.ndarray
        The numbers.

    Raises
    ------
    ValueError
        For anything else.
    """
    found = numeric(name, value)
    if found.dtype.kind == "b" or (found.dtype.kind == "f" and (found % 1 != 0).any()):
        raise ValueError(f"{name} must hold whole numbers, got {_described(found)}: correct it.")
    return found.astype(np.int64)


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A whole number within bounds.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : int
        The argument; 3.0 and numpy's numbers are whole as well.
    least : int, optional
        The smallest allowed.
    most : int, optional
        The largest allowed, with `least`.

    Returns
    -------
    int
        The number.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For one that is not whole, or outside the bounds.
    """
    bound = "" if least is None else f", at least {least}"
    bound = bound if most is None else f" between {least} and {most}"
    wrong = f"{name} must be a whole number{bound}, got {value!r:.60}"
    if isinstance(value, str | bytes | bool | np.bool_):
        raise TypeError(f"{wrong} ({type(value).__name__}): correct it.")
    try:
        number = int(value)
    except TypeError as error:
        raise TypeError(f"{wrong} ({type(value).__name__}): correct it.") from error
    except (OverflowError, ValueError) as error:  # of infinity, NaN
        raise ValueError(f"{wrong}: correct it.") from error
    too_small = least is not None and number < least
    if number != value or too_small or (most is not None and number > most):
        raise ValueError(f"{wrong}: correct it.")
    return number


def group_values(groups: ArrayLike) -> np.ndarray:
    """The group of each structure, as values that can be compared.

    Parameters
    ----------
    groups : array_like
        Numbers or text.

    Returns
    -------
    numpy.ndarray
        The values.

    Raises
    ------
    ValueError
        For values of several kinds, and for rows of different lengths.
    """
    found = _as_array("groups", groups)
    if found.dtype.kind == "O" and all(isinstance(value, str) for value in found.reshape(-1)):
        return found.astype(str)
    if found.dtype.kind not in "biufUSmM":
        raise ValueError(
            f"groups must hold numbers or text, got {_described(found)}: give every structure its "
            "group."
        )
    return found


def mapping(name: str, value: Any) -> dict:
    """A mapping with text as keys, empty for None.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : mapping or None
        The argument.

    Returns
    -------
    dict
        A copy.

    Raises
    ------
    TypeError
        For anything else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(
            f"{name} must be a mapping with names as keys, got {_kind(value)}: correct it."
        )
    return dict(value)


def _as_array(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu()
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{name} cannot be made an array of numbers ({str(error).splitlines()[0].rstrip('.')}):"
            " give one of rows of equal length."
        ) from error


def _described(found: np.ndarray) -> str:
    kinds = {"U": "text", "S": "bytes", "O": "objects", "c": "complex numbers", "b": "truth values"}
    kind = kinds.get(found.dtype.kind, str(found.dtype))
    first = f", such as {found.reshape(-1)[0]!r:.60}" if found.size else ""
    return f"{kind}{first}"


def _kind(value: Any) -> str:
    return f"{value!r:.60} ({type(value).__name__})"
