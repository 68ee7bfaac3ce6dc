"""Functions that numba compiles when they are first called, and keeps on disk."""

from collections.abc import Callable
from typing import Any

from numba import njit

from scdlab.nn.ops.runtime import warn_once

_FLAGS: dict[str, Any] = dict(
    error_model="numpy", fastmath={"contract", "reassoc", "nsz"}, nogil=True
)
within = njit(inline="always", **_FLAGS)  # a part that others take in


def compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled for the types of its arguments when it is called.

    Parameters
    ----------
    function : callable
        What numba can compile.

    Returns
    -------
    callable
        numba's dispatcher.
    """
    try:
        return njit(cache=True, **_FLAGS)(function)
    except RuntimeError as error:  # there is no folder that can be written
        warn_once(error)
        return njit(**_FLAGS)(function)
