"""Products of features and weights, made for few rows: C = S + A W.

The weights of a molecule's network are read from memory once a call, so what a product of nine rows
costs is the reading. A matrix is laid out once in the order in which it is read, and kept in
float32 where all its numbers are: a model that was trained in float32 loses nothing, and half as
many bytes come in. Rows of A are taken a dozen at a time, with all their sums in registers.
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types

from scdlab.compiling import compiled, within
from scdlab.nn.ops.simd import ask, keep_apart, typed_intrinsic, word

from .shares import start_of

_LARGE = "+avx512f" in binding.get_host_cpu_features().flatten().split(",")
_BYTES = 64 if _LARGE else 32  # of a register
_ROWS = 12 if _LARGE else 6  # whose sums fit into registers, two of each row
_AHEAD = 2048  # bytes by which weights are asked for before they are read
_LLVM = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_INT = ir.IntType(64)
WIDTH = 16  # features are padded to a multiple of it


def padded(d: int) -> int:
    """The next multiple of `WIDTH`.

    Parameters
    ----------
    d : int
        A number of features.
    """
    return -(-d // WIDTH) * WIDTH


def lanes(dtype: np.dtype) -> int:
    """How many numbers of a kind a register holds.

    Parameters
    ----------
    dtype : numpy dtype
        float32 or float64.
    """
    return _BYTES // np.dtype(dtype).itemsize


def storage(matrices: list[np.ndarray], dtype: np.dtype) -> np.dtype:
    """In what precision matrices are kept for products in `dtype`: float32 where nothing is lost.

    Parameters
    ----------
    matrices : list of ndarray
        In float64.
    dtype : numpy dtype
        float32 or float64.
    """
    single = np.dtype(np.float32)
    exact = all(np.array_equal(m, m.astype(single)) for m in matrices)
    return single if exact else np.dtype(dtype)


def packed(matrix: np.ndarray, dtype: np.dtype, kept: np.dtype) -> np.ndarray:
    """A matrix in the order in which `product` reads it.

    Parameters
    ----------
    matrix : ndarray
        [k, n], n a multiple of `WIDTH`.
    dtype : numpy dtype
        Of the products.
    kept : numpy dtype
        Of what is kept, see `storage`.

    Returns
    -------
    ndarray
        Its columns, two registers at a time, [k n].
    """
    two = 2 * lanes(dtype)
    parts = [matrix[:, c : c + two].ravel() for c in range(0, matrix.shape[1], two)]
    return np.concatenate(parts).astype(kept)


@typed_intrinsic
def _tile(
    typing: Any, one: Any, weight: Any, rows: Any, wide: Any, a: Any, a_row: Any, w: Any, s: Any,
    s_row: Any, c: Any, c_row: Any, k: Any,
) -> Any:  # fmt: skip
    """C = S + A W for at most `_ROWS` rows and one or two registers of columns; addresses, and
    distances of rows in bytes."""
    number = _LLVM[one]
    kept = _LLVM[weight]
    word = one.bitwidth // 8
    kept_word = weight.bitwidth // 8
    size = _BYTES // word
    vector = ir.VectorType(number, size)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, wide, a, a_row, w, s, s_row, c, c_row, k = args[2:]

        def integer(x: int) -> Any:
            return ir.Constant(_INT, x)

        def address(base: Any, row: int, distance: Any, more: int) -> Any:
            at = builder.add(base, builder.mul(distance, integer(row)))
            return builder.add(at, integer(more))

        def pointer(at: Any, kind: Any) -> Any:
            return builder.inttoptr(at, kind.as_pointer())

        def loop(n: int, m: int) -> None:
            sums = []
            for row in range(n):
                for v in range(m):
                    at = address(s, row, s_row, v * _BYTES)
                    sums.append(builder.load(pointer(at, vector)))
                    sums[-1].align = word
            before = builder.block
            body = builder.append_basic_block()
            end = builder.append_basic_block()
            builder.branch(body)
            builder.position_at_end(body)
            at = builder.phi(_INT)
            at.add_incoming(integer(0), before)
            totals = [builder.phi(vector) for _ in sums]
            weights = []
            first = builder.add(w, builder.mul(at, integer(m * size * kept_word)))
            for v in range(m):
                where = builder.add(first, integer(v * size * kept_word))
                read = builder.load(pointer(where, ir.VectorType(kept, size)))
                read.align = kept_word
                weights.append(read if kept == number else builder.fpext(read, vector))
            for more in range(0, m * size * kept_word, 64):
                ask(builder, builder.add(first, integer(_AHEAD + more)))
            after = []
            for row in range(n):
                where = builder.add(address(a, row, a_row, 0), builder.mul(at, integer(word)))
                x = builder.load(pointer(where, number))
                first_lane = builder.insert_element(
                    ir.Constant(vector, ir.Undefined), x, ir.Constant(ir.IntType(32), 0)
                )
                lanes_ = ir.Constant(ir.VectorType(ir.IntType(32), size), [0] * size)
                everywhere = builder.shuffle_vector(first_lane, first_lane, lanes_)
                for v in range(m):
                    product = builder.fmul(everywhere, weights[v], flags=["contract"])
                    total = totals[row * m + v]
                    after.append(builder.fadd(total, product, flags=["contract"]))
            following = builder.add(at, integer(1))
            at.add_incoming(following, body)
            for total, start, more in zip(totals, sums, after, strict=True):
                total.add_incoming(start, before)
                total.add_incoming(more, body)
            builder.cbranch(builder.icmp_signed("<", following, k), body, end)
            builder.position_at_end(end)
            for row in range(n):
                for v in range(m):
                    where = pointer(address(c, row, c_row, v * _BYTES), vector)
                    builder.store(after[row * m + v], where).align = word

        end = builder.append_basic_block()
        case = builder.add(builder.mul(rows, integer(2)), wide)
        switch = builder.switch(case, end)
        for n in range(1, _ROWS + 1):
            for m in (1, 2):
                block = builder.append_basic_block()
                switch.add_case(integer(2 * n + m), block)
                builder.position_at_end(block)
                loop(n, m)
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(one, weight, *[types.int64] * 10), code


@compiled
def product(
    one: Any,
    weight: Any,
    rows: int,
    a: int,
    a_row: int,
    w: int,
    k_all: int,
    k: int,
    n: int,
    s: int,
    s_row: int,
    c: int,
    c_row: int,
) -> None:
    """C = S + A W, C [rows, n] written.

    Parameters
    ----------
    one, weight : float
        Numbers of the kinds of A and W.
    rows, k, n : int
        Sizes: A is [rows, k], W [k, n]; n a multiple of `WIDTH`, none of them zero.
    a, a_row : int
        A.
    w : int
        W, `packed` from a matrix of at least n columns, and k_all rows.
    s, s_row : int
        S; it may be C. A distance of zero: one row for all.
    c, c_row : int
        C.

    Notes
    -----
    Matrices are given by addresses, and distances of rows in bytes.
    """
    keep_apart()
    size = _BYTES // word(one)
    tiles = (rows + _ROWS - 1) // _ROWS
    for column in range(0, n, 2 * size):
        wide = 1 if column + size == n else 2
        here = w + column * k_all * word(weight)
        beside = column * word(one)
        for tile in range(tiles):
            low = rows * tile // tiles
            high = rows * (tile + 1) // tiles
            _tile(
                one, weight, high - low, wide, a + low * a_row, a_row, here,
                s + low * s_row + beside, s_row, c + low * c_row + beside, c_row, k,
            )  # fmt: skip


@within
def multiplied(
    low: int, high: int, a: np.ndarray, k: int, w: np.ndarray, n: int, s: np.ndarray, c: np.ndarray
) -> None:
    """C = s + A W for the rows from low to high.

    Parameters
    ----------
    low, high : int
        Which rows.
    a : ndarray
        A, [N, k or more].
    k, n : int
        How much is used of the columns of A, and written of those of C, or a few more.
    w : ndarray
        W, packed from a matrix of as many rows as A has columns.
    s : ndarray
        One row for all, [n or more].
    c : ndarray
        C, [N, n or more]; written.
    """
    a_row = a.shape[1] * a.itemsize
    c_row = c.shape[1] * c.itemsize
    two = 2 * _BYTES // c.itemsize  # columns that lie together in W
    n = min((n + two - 1) // two * two, c.shape[1])
    product(
        a[0, 0], w[0], high - low, start_of(a) + low * a_row, a_row, start_of(w), a.shape[1], k, n,
        start_of(s), np.int64(0), start_of(c) + low * c_row, c_row,
    )  # fmt: skip


@within
def added(low: int, high: int, a: np.ndarray, k: int, w: np.ndarray, n: int, c: np.ndarray) -> None:
    """C ← C + A W; the arguments are those of `multiplied`."""
    a_row = a.shape[1] * a.itemsize
    c_row = c.shape[1] * c.itemsize
    at = start_of(c) + low * c_row
    product(
        a[0, 0], w[0], high - low, start_of(a) + low * a_row, a_row, start_of(w), a.shape[1], k, n,
        at, c_row, at, c_row,
    )  # fmt: skip
