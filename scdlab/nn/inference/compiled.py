"""Functions that numba compiles when they are first called, and keeps on disk."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from numba import njit

from scdlab.log import logger
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


@contextlib.contextmanager
def announced(function: Any, seconds: float = 3.0) -> Iterator[None]:
    """Within this context, say once that a compiled function is still being compiled.

    Parameters
    ----------
    function : callable
        numba's dispatcher.
    seconds : float, default 3.0
        After which time it is said.
    """

    def say() -> None:
        if function.is_compiling:
            logger.info(
                "Compiling the force call for this machine, which happens once; with a large "
                "network it takes about a minute."
            )

    timer = threading.Timer(seconds, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
