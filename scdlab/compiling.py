"""Functions that numba compiles when they are first called, and keeps on disk."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from numba import njit
from numba.core import event

from scdlab.log import logger

_FLAGS: dict[str, Any] = dict(
    error_model="numpy", fastmath={"contract", "reassoc", "nsz"}, nogil=True
)
_WARNED: list[Exception] = []  # why functions are not kept
within = njit(inline="always", **_FLAGS)  # a part that others take in
part = njit(**_FLAGS)  # a part that others call


def warn_once(error: Exception) -> None:
    """Say why functions are compiled anew in each process; once in this one."""
    if not _WARNED:
        _WARNED.append(error)
        logger.warning(
            "Compiled functions cannot be kept, each process compiles them anew (%s): set "
            "NUMBA_CACHE_DIR to a folder of your own that can be written and has room.",
            (str(error).splitlines() or [type(error).__name__])[0].rstrip("."),
        )


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


class _Compilations(event.Listener):
    """How many functions numba is compiling; those that it reads from disk do not count."""

    def __init__(self) -> None:
        self.running = 0

    def on_start(self, event: Any) -> None:
        self.running += 1

    def on_end(self, event: Any) -> None:
        self.running -= 1


@contextlib.contextmanager
def announced(seconds: float = 3.0) -> Iterator[None]:
    """Within this context, say once that numba is compiling, should it take its time.

    Parameters
    ----------
    seconds : float, default 3.0
        After which time it is said.
    """
    compilations = _Compilations()

    def say() -> None:
        if compilations.running:
            logger.info(
                "Compiling the force call for this machine, which happens once; for a transformer "
                "it takes about half a minute."
            )

    timer = threading.Timer(seconds, say)
    timer.daemon = True
    timer.start()
    try:
        with event.install_listener("numba:compile", compilations):
            yield
    finally:
        timer.cancel()
