"""Loops of attention among the tokens of each atom, y_i = Σ_j A_ij v_j: see `ops.token_attention`,
whose symbols these are.

Arguments that all share: atoms; T tokens, heads, d, most tokens of an atom; start [atoms + 1], row
[T]: the rows of atom a's tokens are row[start[a] : start[a + 1]]; square [atoms + 1]: where its
weights A start, in units of heads; qkv [T, 3 d], A.

Each loop is written once for both precisions: `one` is the number 1 in the precision that it
computes in, `word` the bytes of a number. Matrices between the w tokens of an atom are given by
their address and the bytes of a row, `line`: whole eights, filled up with zeros in A, with any
finite numbers in others.
"""

from typing import Any

import numpy as np

from scdlab.nn.ops.loops.rows import arguments
from scdlab.nn.ops.runtime import Precisions, shared_part
from scdlab.nn.ops.simd import (
    draw,
    exp,
    fill,
    ints,
    larger,
    largest,
    like,
    load_like,
    number,
    put,
    store,
    total,
    totals,
)

ATOMS = 4  # that a thread draws at once
LOWEST = -1e30  # in the place of -∞


@shared_part
def products(
    S: int,
    line: int,
    w: int,
    rows: np.ndarray,
    x: int,
    x_row: int,
    y: int,
    y_row: int,
    width: int,
    one: Any,
    word: int,
) -> None:
    """S_ij = x_i · y_j of w tokens, over `width` bytes."""
    zero = fill(one - one)
    for first in range(0, w, 8):
        y0 = y + rows[first] * y_row  # what is beyond the last is filled with the last
        y1 = y + rows[min(first + 1, w - 1)] * y_row
        y2 = y + rows[min(first + 2, w - 1)] * y_row
        y3 = y + rows[min(first + 3, w - 1)] * y_row
        y4 = y + rows[min(first + 4, w - 1)] * y_row
        y5 = y + rows[min(first + 5, w - 1)] * y_row
        y6 = y + rows[min(first + 6, w - 1)] * y_row
        y7 = y + rows[min(first + 7, w - 1)] * y_row
        for i in range(w):
            of_i = x + rows[i] * x_row
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
            for c in range(0, width, 8 * word):
                v = load_like(of_i + c, one)
                s0 = s0 + v * load_like(y0 + c, one)
                s1 = s1 + v * load_like(y1 + c, one)
                s2 = s2 + v * load_like(y2 + c, one)
                s3 = s3 + v * load_like(y3 + c, one)
                s4 = s4 + v * load_like(y4 + c, one)
                s5 = s5 + v * load_like(y5 + c, one)
                s6 = s6 + v * load_like(y6 + c, one)
                s7 = s7 + v * load_like(y7 + c, one)
            store(S + i * line + first * word, totals(s0, s1, s2, s3, s4, s5, s6, s7))


@shared_part
def sums(
    C: int,
    next_i: int,
    next_j: int,
    w: int,
    rows: np.ndarray,
    x: int,
    x_row: int,
    out: int,
    out_row: int,
    width: int,
    one: Any,
    word: int,
) -> None:
    """out_i += Σ_j C_ij x_j over `width` bytes; C_ij stands at i next_i + j next_j."""
    step = 8 * word
    for i in range(w):
        target = out + rows[i] * out_row
        weights = C + i * next_i
        whole = width // (4 * step) * (4 * step)
        for c in range(0, whole, 4 * step):
            s0 = load_like(target + c, one)
            s1 = load_like(target + c + step, one)
            s2 = load_like(target + c + 2 * step, one)
            s3 = load_like(target + c + 3 * step, one)
            for j in range(w):
                weight = fill(number(weights + j * next_j, one))
                source = x + rows[j] * x_row + c
                s0 = s0 + weight * load_like(source, one)
                s1 = s1 + weight * load_like(source + step, one)
                s2 = s2 + weight * load_like(source + 2 * step, one)
                s3 = s3 + weight * load_like(source + 3 * step, one)
            store(target + c, s0)
            store(target + c + step, s1)
            store(target + c + 2 * step, s2)
            store(target + c + 3 * step, s3)
        for c in range(whole, width, step):
            s0 = load_like(target + c, one)
            for j in range(w):
                weight = fill(number(weights + j * next_j, one))
                s0 = s0 + weight * load_like(x + rows[j] * x_row + c, one)
            store(target + c, s0)


@shared_part
def zeros(w: int, rows: np.ndarray, out: int, row: int, one: Any, word: int) -> None:
    """Zeros in the rows of an atom, of `row` bytes."""
    zero = fill(one - one)
    for i in range(w):
        for c in range(0, row, 8 * word):
            store(out + rows[i] * row + c, zero)


@shared_part
def line_of(w: int, word: int) -> int:
    """Bytes of w numbers in whole eights."""
    return (w + 7) // 8 * 8 * word


@shared_part
def softmax(A: int, S: int, line: int, w: int, scale: Any, bias: int, one: Any, word: int) -> None:
    """A_ij = softmax_j(scale S_ij + b_j), from the address of b, `LOWEST` where it is filled up."""
    s = fill(scale)
    for at in range(0, w * line, line):
        highest = fill(like(LOWEST, one))
        for c in range(0, line, 8 * word):
            x = s * load_like(S + at + c, one) + load_like(bias + c, one)
            store(S + at + c, x)
            highest = larger(highest, x)
        top = fill(largest(highest))
        whole = fill(one - one)
        for c in range(0, line, 8 * word):
            e = exp(load_like(S + at + c, one) - top)
            store(A + at + c, e)
            whole = whole + e
        part = fill(one / total(whole))
        for c in range(0, line, 8 * word):
            store(A + at + c, part * load_like(A + at + c, one))
        for c in range(w * word, line, word):
            put(A + at + c, one - one)


@shared_part
def times_softmax(
    A: int, S: int, line: int, w: int, column: int, scale: Any, one: Any, word: int
) -> None:
    """γ_ij = A_ij (S_ij - Σ_k A_ik S_ik), the derivative of the softmax along S; S_ij ← scale γ_ij,
    and Σ_i γ_ij is added at the address `column`."""
    s = fill(scale)
    for at in range(0, w * line, line):
        mean = fill(one - one)
        for c in range(at, at + line, 8 * word):
            mean = mean + load_like(A + c, one) * load_like(S + c, one)
        m = fill(total(mean))
        for c in range(0, line, 8 * word):
            x = load_like(A + at + c, one) * (load_like(S + at + c, one) - m)
            store(S + at + c, s * x)
            store(column + c, load_like(column + c, one) + x)


@shared_part
def logits_change(
    M: int, N: int, line: int, w: int, scale: Any, change: int, one: Any, word: int
) -> None:
    """M_ij ← scale (M_ij + N_ij) + b'_j, how the logits change along h."""
    s = fill(scale)
    for at in range(0, w * line, line):
        for c in range(0, line, 8 * word):
            x = s * (load_like(M + at + c, one) + load_like(N + at + c, one))
            store(M + at + c, x + load_like(change + c, one))


@shared_part
def curvature(
    A: int, G: int, M: int, N: int, line: int, w: int, scale: Any, one: Any, word: int
) -> None:
    """With means over j by A, ⟨G⟩ and ⟨M⟩:

    N_ij ← N_ij + (M_ij - ⟨M⟩)(G_ij - ⟨G⟩),  M_ij ← A_ij (M_ij - ⟨M⟩),
    G_ij ← scale A_ij (G_ij - ⟨G⟩)
    """
    s = fill(scale)
    for at in range(0, w * line, line):
        mean_G = fill(one - one)
        mean_M = fill(one - one)
        for c in range(at, at + line, 8 * word):
            weight = load_like(A + c, one)
            mean_G = mean_G + weight * load_like(G + c, one)
            mean_M = mean_M + weight * load_like(M + c, one)
        g = fill(total(mean_G))
        m = fill(total(mean_M))
        for c in range(at, at + line, 8 * word):
            weight = load_like(A + c, one)
            of_slope = load_like(G + c, one) - g
            of_change = load_like(M + c, one) - m
            store(N + c, load_like(N + c, one) + of_change * of_slope)
            store(M + c, weight * of_change)
            store(G + c, s * (weight * of_slope))


@shared_part
def common(args: np.ndarray) -> tuple:
    """The arguments that all share: atoms, heads, d, most, start, row, square, qkv, A."""
    n = args[1]
    start = ints(args[6], n + 1)
    square = ints(args[8], n + 1)
    return n, args[3], args[4], args[5], start, ints(args[7], args[2]), square, args[9], args[10]


@shared_part
def gather(out: int, rows: np.ndarray, x: int, one: Any, word: int) -> None:
    """out_j = x_row(j), a number for each token of an atom."""
    for j in range(len(rows)):
        put(out + word * j, number(x + word * rows[j], one))


@shared_part
def scatter(out: int, rows: np.ndarray, x: int, one: Any, word: int) -> None:
    """out_row(j) = x_j."""
    for j in range(len(rows)):
        put(out + word * rows[j], number(x + word * j, one))


@shared_part
def constant(out: int, line: int, value: Any, word: int) -> None:
    """The same number in a whole line, of `line` bytes."""
    for c in range(0, line, 8 * word):
        store(out + c, fill(value))


@shared_part
def _attend(data: int, one: Any, word: int) -> None:
    args = arguments(data)
    n, heads, d, most, start, row, square, qkv, weights = common(args)
    b = args[11]
    y = args[12]
    width = word * (d // heads)
    scale = like(1 / np.sqrt(d // heads), one)
    size = line_of(most, word)
    scratch = np.zeros((most + 1) * size // 8, np.float64)
    bias = scratch.ctypes.data
    S = bias + size
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + ATOMS, n)):
            rows = row[start[a] : start[a + 1]]
            w = len(rows)
            line = line_of(w, word)
            constant(bias, line, like(LOWEST, one), word)
            gather(bias, rows, b, one, word)
            zeros(w, rows, y, word * d, one, word)
            for head in range(heads):
                q = qkv + head * width
                k = q + word * d
                v = k + word * d
                A = weights + word * heads * square[a] + head * w * line
                products(S, line, w, rows, q, 3 * word * d, k, 3 * word * d, width, one, word)
                softmax(A, S, line, w, scale, bias, one, word)
                out = y + head * width
                sums(A, line, word, w, rows, v, 3 * word * d, out, word * d, width, one, word)
    scratch[0] = 0.0  # it is kept until here


@shared_part
def _attend_slope(data: int, one: Any, word: int) -> None:
    args = arguments(data)
    n, heads, d, most, start, row, square, qkv, weights = common(args)
    g = args[11]
    gqkv = args[12]
    gb = args[13]
    width = word * (d // heads)
    scale = like(1 / np.sqrt(d // heads), one)
    short = word * d
    long = 3 * short
    size = line_of(most, word)
    scratch = np.zeros((most + 1) * size // 8, np.float64)
    column = scratch.ctypes.data
    S = column + size
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + ATOMS, n)):
            rows = row[start[a] : start[a + 1]]
            w = len(rows)
            line = line_of(w, word)
            zeros(w, rows, gqkv, long, one, word)
            constant(column, line, one - one, word)
            for head in range(heads):
                at = head * width
                q = qkv + at
                k = q + short
                v = k + short
                gq = gqkv + at
                gk = gq + short
                gv = gk + short
                gy = g + at
                A = weights + word * heads * square[a] + head * w * line
                products(S, line, w, rows, gy, short, v, long, width, one, word)
                times_softmax(A, S, line, w, column, scale, one, word)
                sums(A, word, line, w, rows, gy, short, gv, long, width, one, word)
                sums(S, line, word, w, rows, k, long, gq, long, width, one, word)
                sums(S, word, line, w, rows, q, long, gk, long, width, one, word)
            scatter(gb, rows, column, one, word)
    scratch[0] = 0.0  # it is kept until here


@shared_part
def _attend_curvature(data: int, one: Any, word: int) -> None:
    args = arguments(data)
    n, heads, d, most, start, row, square, qkv, weights = common(args)
    g = args[11]
    h = args[12]
    hb = args[13]
    gg = args[14]
    gqkv = args[15]
    gb = args[16]
    width = word * (d // heads)
    scale = like(1 / np.sqrt(d // heads), one)
    short = word * d
    long = 3 * short
    size = line_of(most, word)
    scratch = np.zeros((3 * most + 2) * size // 8, np.float64)
    column = scratch.ctypes.data
    change = column + size
    G = change + size
    M = G + size * most
    N = M + size * most
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + ATOMS, n)):
            rows = row[start[a] : start[a + 1]]
            w = len(rows)
            line = line_of(w, word)
            zeros(w, rows, gqkv, long, one, word)
            zeros(w, rows, gg, short, one, word)
            constant(column, line, one - one, word)
            gather(change, rows, hb, one, word)
            for head in range(heads):
                at = head * width
                q = qkv + at
                k = q + short
                v = k + short
                hq = h + at
                hk = hq + short
                hv = hk + short
                gq = gqkv + at
                gk = gq + short
                gv = gk + short
                gy = g + at
                A = weights + word * heads * square[a] + head * w * line
                products(N, line, w, rows, hq, long, k, long, width, one, word)
                products(M, line, w, rows, q, long, hk, long, width, one, word)
                products(G, line, w, rows, gy, short, v, long, width, one, word)
                logits_change(M, N, line, w, scale, change, one, word)
                products(N, line, w, rows, gy, short, hv, long, width, one, word)
                curvature(A, G, M, N, line, w, scale, one, word)
                times_softmax(A, N, line, w, column, scale, one, word)
                out = gg + at
                sums(M, line, word, w, rows, v, long, out, short, width, one, word)
                sums(A, line, word, w, rows, hv, long, out, short, width, one, word)
                sums(M, word, line, w, rows, gy, short, gv, long, width, one, word)
                sums(N, line, word, w, rows, k, long, gq, long, width, one, word)
                sums(G, line, word, w, rows, hk, long, gq, long, width, one, word)
                sums(N, word, line, w, rows, q, long, gk, long, width, one, word)
                sums(G, word, line, w, rows, hq, long, gk, long, width, one, word)
            scatter(gb, rows, column, one, word)
    scratch[0] = 0.0  # it is kept until here


def attend_single(data: int) -> None:
    """A = softmax_j(s q_i · k_j + b_j) and y_i = Σ_j A_ij v_j.

    Arguments: the shared ones; b [T], y [T, d].
    """
    _attend(data, np.float32(1.0), 4)


def attend_double(data: int) -> None:
    """The same in float64."""
    _attend(data, np.float64(1.0), 8)


def slope_single(data: int) -> None:
    """From g at y: gradients by q, k, v and b.

    Arguments: the shared ones; g [T, d], gqkv [T, 3 d], gb [T].
    """
    _attend_slope(data, np.float32(1.0), 4)


def slope_double(data: int) -> None:
    """The same in float64."""
    _attend_slope(data, np.float64(1.0), 8)


def curvature_single(data: int) -> None:
    """From h at the gradients by q, k, v and hb at that by b: gradients by g, q, k, v and b.

    Arguments: the shared ones; g [T, d], h [T, 3 d], hb [T], gg [T, d], gqkv [T, 3 d], gb [T].
    """
    _attend_curvature(data, np.float32(1.0), 4)


def curvature_double(data: int) -> None:
    """The same in float64."""
    _attend_curvature(data, np.float64(1.0), 8)


attend = Precisions(attend_single, attend_double)
attend_slope = Precisions(slope_single, slope_double)
attend_curvature = Precisions(curvature_single, curvature_double)
