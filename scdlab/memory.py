"""Freed memory kept by the process, for training on large tensors."""

import ctypes
import platform
import sys

import psutil

from scdlab.log import logger

# of glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_KEEP_UP_TO = 1 << 30  # bytes
_kept = False


def tune_malloc() -> None:
    """Keep freed memory for the next tensor instead of handing its pages back to the system.

    A training step frees and allocates the same large tensors over and over. Handed back, every
    page of theirs is cleared and mapped anew each time; kept, it is there. The price: memory stays
    with the process until it ends, and leaves gaps that do not fit the next tensor, so that more is
    resident than is in use: between training steps about what the largest step took, and at the
    peak from nothing to some tens of percent more, as the tensors' sizes fall.

    Call it before the first large tensor. It holds for the whole process and cannot be undone; a
    second call does nothing. The logger "scdlab" gets one line.

    Raises
    ------
    RuntimeError
        Where the C library is not glibc (macOS, Windows, Alpine), and where it refuses.
    """
    global _kept
    if _kept:
        return
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        raise RuntimeError(
            f"tune_malloc() sets glibc's malloc, which this Python on {sys.platform} does not use: "
            "leave the call out."
        )
    libc = ctypes.CDLL("libc.so.6")
    # some versions of glibc allow no threshold above 32 MB: there, no tensor gets pages of its own
    large = libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_UP_TO) or libc.mallopt(_M_MMAP_MAX, 0)
    if not (large and libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_UP_TO)):
        raise RuntimeError(
            "glibc refused mallopt, so freed pages cannot be kept here: leave tune_malloc() out."
        )
    _kept = True
    logger.info(
        "tune_malloc: freed memory stays with this process until it ends, for fewer page faults "
        "(resident now: %.0f MB; what it costs: psutil.Process().memory_info().rss later).",
        psutil.Process().memory_info().rss / 1e6,
    )
