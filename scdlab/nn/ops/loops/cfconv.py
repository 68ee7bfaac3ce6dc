"""Loops of the continuous-filter convolution, F = Σ_{a←b} Σ_x w ∘ (g_a · u_b), X = 1 or 3."""

import numpy as np
from numba import njit

from scdlab.nn.ops.loops.rows import (
    ATOMS,
    PAIRS,
    ROWS,
    add_to_rows,
    arguments,
    fill_zeros,
    filter_at,
    tap_weights,
)
from scdlab.nn.ops.runtime import Kernel
from scdlab.nn.ops.simd import draw, fill, floats, ints, load, store, total


@Kernel
def cfconv_sum(data: int) -> None:
    """out_a = Σ_b w ∘ u_b.

    Arguments: atoms; P, taps, X, d; start, sources, edges, node, B, T, u [N, X, d], out [N, X,
    d].
    """
    args = arguments(data)
    n = args[1]
    P = args[2]
    taps = args[3]
    X = args[4]
    row = 4 * args[5]
    start = ints(args[6], n + 1)
    sources = ints(args[7], 2 * P)
    edges = ints(args[8], 2 * P)
    node = ints(args[9], P)
    B = floats(args[10], P, taps)
    T = args[11]
    u = args[12]
    out = args[13]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + ATOMS, n)):
            target = out + a * X * row
            fill_zeros(target, X * row)
            for e in range(start[a], start[a + 1]):
                p = edges[e] if edges[e] < P else edges[e] - P
                b = tap_weights(B, p)
                at = T + node[p] * row
                source = u + sources[e] * X * row
                for c in range(0, row, 32):
                    w = filter_at(at + c, row, taps, b)
                    store(target + c, load(target + c) + w * load(source + c))
                    if X == 3:
                        y = c + row
                        z = c + 2 * row
                        store(target + y, load(target + y) + w * load(source + y))
                        store(target + z, load(target + z) + w * load(source + z))


@njit(inline="always")
def _product(gi, gj, ui, uj, row, X):
    """Eight features of Σ_x (g_i ∘ u_j + g_j ∘ u_i), over X = 1 or 3 components, `row` bytes
    apart."""
    m = load(gi) * load(uj) + load(gj) * load(ui)
    if X == 3:
        m = m + load(gi + row) * load(uj + row) + load(gj + row) * load(ui + row)
        m = m + load(gi + 2 * row) * load(uj + 2 * row) + load(gj + 2 * row) * load(ui + 2 * row)
    return m


@Kernel
def cfconv_dot(data: int) -> None:
    """out_p = w · Σ_x (g_i ∘ u_j + g_j ∘ u_i).

    Arguments: pairs; taps, X, d; i, j, node, B, T, g, u [N, X, d], out [P].
    """
    args = arguments(data)
    P = args[1]
    taps = args[2]
    X = args[3]
    row = 4 * args[4]
    i = ints(args[5], P)
    j = ints(args[6], P)
    node = ints(args[7], P)
    B = floats(args[8], P, taps)
    T = args[9]
    g = args[10]
    u = args[11]
    out = floats(args[12], P, 1)
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + PAIRS, P)):
            b = tap_weights(B, p)
            at = T + node[p] * row
            ai = i[p] * X * row
            aj = j[p] * X * row
            s = fill(np.float32(0.0))
            for c in range(0, row, 32):
                m = _product(g + ai + c, g + aj + c, u + ai + c, u + aj + c, row, X)
                s = s + m * filter_at(at + c, row, taps, b)
            out[p, 0] = total(s)


@Kernel
def cfconv_table(data: int) -> None:
    """The derivative by T.

    Arguments: rows; P, taps, X, d; i, j, begin, order, B, g, u [N, X, d], out [K, d].
    """
    args = arguments(data)
    K = args[1]
    P = args[2]
    taps = args[3]
    X = args[4]
    row = 4 * args[5]
    i = ints(args[6], P)
    j = ints(args[7], P)
    begin = ints(args[8], K + 1)
    order = ints(args[9], P)
    B = floats(args[10], P, taps)
    g = args[11]
    u = args[12]
    out = args[13]
    while True:
        first = draw(data, ROWS)
        if first >= K:
            break
        last = min(first + ROWS, K)
        fill_zeros(out + first * row, (last - first) * row)
        for q in range(max(first - taps + 1, 0), last):
            target = out + q * row
            low = max(first - q, 0)
            high = min(last - q, taps)
            for k in range(begin[q], begin[q + 1]):
                p = order[k]
                b = tap_weights(B, p)
                ai = i[p] * X * row
                aj = j[p] * X * row
                for c in range(0, row, 32):
                    m = _product(g + ai + c, g + aj + c, u + ai + c, u + aj + c, row, X)
                    add_to_rows(target + c, row, taps, low, high, b, m)
