"""Steps of a network that threads share: atoms and pairs in runs, one to a thread.

Each thread adds up what atoms receive in an array of its own; the next step, which goes over atoms,
adds these up. So results depend on the number of threads, by rounding alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scdlab.compiling import compiled, within
from scdlab.nn.ops.runtime import on_own_threads

_PAIRS = 1000  # of a share: with fewer, threads cost more than they bring
_MOST = 8  # as many arrays are added up


def shares_of(n_pairs: int) -> int:
    """Into how many shares to part the work.

    Parameters
    ----------
    n_pairs : int
        Number of pairs P.
    """
    return max(1, min(torch.get_num_threads(), n_pairs // _PAIRS, _MOST))


@within
def start_of(array: np.ndarray) -> Any:
    """The address of the first number of an array in C order.

    Parameters
    ----------
    array : ndarray
        The array.
    """
    return np.int64(array.ctypes.data)


@within
def bounds(size: int, share: int, shares: int) -> tuple[int, int]:
    """Where a share of `size` items begins and ends.

    Parameters
    ----------
    size, share, shares : int
        How many there are, which one is asked for, and of how many.
    """
    return size * share // shares, size * (share + 1) // shares


@compiled
def collect(low: int, high: int, sums: np.ndarray) -> None:
    """Add up what the shares have, in the first array: atoms from low to high, [S, N, d]."""
    for share in range(1, len(sums)):
        for n in range(low, high):
            for c in range(sums.shape[2]):
                sums[0, n, c] += sums[share, n, c]


@compiled
def clear(low: int, high: int, sums: np.ndarray) -> None:
    """Set the atoms from low to high to zero, [S, N, d]."""
    for share in range(len(sums)):
        for n in range(low, high):
            for c in range(sums.shape[2]):
                sums[share, n, c] = 0


def run(steps: Callable[..., None], n: int, *args: Any) -> None:
    """Run the steps of a network, one after the other.

    Parameters
    ----------
    steps : callable
        (first, last, share, shares, *args): a thread's share of the steps from first to last.
    n : int
        How many steps there are.
    *args
        What they work on; the last one is the state, whose sums have as many arrays as there are
        shares.
    """
    shares = len(args[-1].sums)
    if shares == 1:
        steps(0, n, 0, 1, *args)
        return
    for number in range(n):

        def share_of_step(share: int, number: int = number) -> None:
            steps(number, number + 1, share, shares, *args)

        on_own_threads(share_of_step, shares)
