"""What the loops share: their arguments, and rows of a table read and written eight at a time."""

from typing import Any

import numpy as np
from numba import carray, njit  # pyright: ignore[reportPrivateImportUsage]

from scdlab.nn.ops.simd import fill, load, put, store, total, totals

# items that a thread draws at once
ATOMS = 16
PAIRS = 64
ROWS = 32


@njit(inline="always")
def arguments(data: Any) -> np.ndarray:
    """The block of integers that a kernel is called with, as an array."""
    return carray(data, (32,), np.int64)


@njit(inline="always")
def tap_weights(B: np.ndarray, p: int) -> tuple[Any, Any, Any, Any]:
    """The weights of pair p, each eight times; of one tap, three are not used."""
    if B.shape[1] == 1:
        b = fill(B[p, 0])
        return b, b, b, b
    return fill(B[p, 0]), fill(B[p, 1]), fill(B[p, 2]), fill(B[p, 3])


@njit(inline="always")
def filter_at(at: int, row: int, taps: int, b: tuple[Any, Any, Any, Any]) -> Any:
    """Eight features of w = Σ_t b_t T_t; rows of T follow from address `at`, `row` bytes apart."""
    w = b[0] * load(at)
    if taps == 4:
        w = w + b[1] * load(at + row) + b[2] * load(at + 2 * row) + b[3] * load(at + 3 * row)
    return w


@njit(inline="always")
def fill_zeros(at: int, size: int) -> None:
    """Write zeros to `size` bytes from an address."""
    zero = fill(np.float32(0.0))
    for c in range(0, size, 32):
        store(at + c, zero)


@njit(inline="always")
def add_to_rows(
    target: int, row: int, taps: int, low: int, high: int, b: tuple[Any, Any, Any, Any], m: Any
) -> None:
    """Add b_t m to eight features of the rows t = low … high - 1 that this thread owns.

    The rows follow each other from address `target`, `row` bytes apart.
    """
    if low == 0:
        store(target, load(target) + b[0] * m)
    if taps == 4:
        if low <= 1 < high:
            store(target + row, load(target + row) + b[1] * m)
        if low <= 2 < high:
            store(target + 2 * row, load(target + 2 * row) + b[2] * m)
        if high == 4:
            store(target + 3 * row, load(target + 3 * row) + b[3] * m)


@njit(inline="always")
def add_two_to_rows(
    target: int,
    row: int,
    taps: int,
    low: int,
    high: int,
    b: tuple[Any, Any, Any, Any],
    m: Any,
    b1: tuple[Any, Any, Any, Any],
    m1: Any,
) -> None:
    """Add b_t m + b1_t m1 to eight features of the rows t = low … high - 1, as `add_to_rows`."""
    if low == 0:
        store(target, load(target) + b[0] * m + b1[0] * m1)
    if taps == 4:
        if low <= 1 < high:
            store(target + row, load(target + row) + b[1] * m + b1[1] * m1)
        if low <= 2 < high:
            at = target + 2 * row
            store(at, load(at) + b[2] * m + b1[2] * m1)
        if high == 4:
            at = target + 3 * row
            store(at, load(at) + b[3] * m + b1[3] * m1)


@njit(inline="always")
def padded(n: int) -> int:
    """n, filled up to whole eights with some to spare: an array of n numbers in a block, of the
    size that `ops.neighbor_attention` gives it."""
    return (n + 15) // 8 * 8


@njit(inline="always")
def put_totals(sums: int, out: int, n: int) -> None:
    """Write the sums of n eights, which follow each other from address `sums`, to n numbers."""
    for m in range(0, n - 7, 8):
        at = sums + 32 * m
        store(
            out + 4 * m,
            totals(
                load(at),
                load(at + 32),
                load(at + 64),
                load(at + 96),
                load(at + 128),
                load(at + 160),
                load(at + 192),
                load(at + 224),
            ),
        )
    for m in range(n // 8 * 8, n):
        put(out + 4 * m, total(load(sums + 32 * m)))


@njit(inline="always")
def dot(x: int, y: int, row: int) -> Any:
    """Eight features of x · y, of two vectors."""
    return load(x) * load(y) + load(x + row) * load(y + row) + load(x + 2 * row) * load(y + 2 * row)


@njit(inline="always")
def along(r: tuple[Any, Any, Any], x: int, row: int) -> Any:
    """Eight features of r · x, of a pair's vector and an atom's."""
    return r[0] * load(x) + r[1] * load(x + row) + r[2] * load(x + 2 * row)


@njit(inline="always")
def signed(r: np.ndarray, p: int, sign: Any) -> tuple[Any, Any, Any]:
    """The vector of pair p times a sign, each component eight times."""
    return fill(sign * r[p, 0]), fill(sign * r[p, 1]), fill(sign * r[p, 2])
