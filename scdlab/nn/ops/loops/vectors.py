"""Loops of vector messages, F = Σ_{a←b} Σ_xyz r_ab · g_a ∘ w ∘ s_b."""

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
def vectors_vectors(data: int) -> None:
    """out_a = Σ_b r_ab w ∘ s_b.

    Arguments: atoms; P, taps, d; start, sources, edges, node, B, T, r [P, 3], s [N, d], out [N,
    3, d].
    """
    args = arguments(data)
    n = args[1]
    P = args[2]
    taps = args[3]
    row = 4 * args[4]
    start = ints(args[5], n + 1)
    sources = ints(args[6], 2 * P)
    edges = ints(args[7], 2 * P)
    node = ints(args[8], P)
    B = floats(args[9], P, taps)
    T = args[10]
    r = floats(args[11], P, 3)
    s = args[12]
    out = args[13]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + ATOMS, n)):
            x = out + 3 * a * row
            y = x + row
            z = x + 2 * row
            fill_zeros(x, 3 * row)
            for e in range(start[a], start[a + 1]):
                p = edges[e] if edges[e] < P else edges[e] - P
                sign = np.float32(1.0) if edges[e] < P else np.float32(-1.0)
                rx = fill(sign * r[p, 0])
                ry = fill(sign * r[p, 1])
                rz = fill(sign * r[p, 2])
                b = tap_weights(B, p)
                at = T + node[p] * row
                source = s + sources[e] * row
                for c in range(0, row, 32):
                    m = filter_at(at + c, row, taps, b) * load(source + c)
                    store(x + c, load(x + c) + rx * m)
                    store(y + c, load(y + c) + ry * m)
                    store(z + c, load(z + c) + rz * m)


@Kernel
def vectors_scalars(data: int) -> None:
    """out_b = Σ_a w ∘ (r_ab · g_a).

    Arguments: atoms; P, taps, d; start, sources, edges, node, B, T, r [P, 3], g [N, 3, d], out
    [N, d].
    """
    args = arguments(data)
    n = args[1]
    P = args[2]
    taps = args[3]
    row = 4 * args[4]
    start = ints(args[5], n + 1)
    sources = ints(args[6], 2 * P)
    edges = ints(args[7], 2 * P)
    node = ints(args[8], P)
    B = floats(args[9], P, taps)
    T = args[10]
    r = floats(args[11], P, 3)
    g = args[12]
    out = args[13]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + ATOMS, n)):
            target = out + a * row
            fill_zeros(target, row)
            for e in range(start[a], start[a + 1]):
                p = edges[e] if edges[e] < P else edges[e] - P
                # r_ab: this is the edge b ← a, seen from b
                sign = np.float32(-1.0) if edges[e] < P else np.float32(1.0)
                rx = fill(sign * r[p, 0])
                ry = fill(sign * r[p, 1])
                rz = fill(sign * r[p, 2])
                b = tap_weights(B, p)
                at = T + node[p] * row
                x = g + 3 * sources[e] * row
                for c in range(0, row, 32):
                    m = rx * load(x + c) + ry * load(x + row + c) + rz * load(x + 2 * row + c)
                    store(target + c, load(target + c) + m * filter_at(at + c, row, taps, b))


@Kernel
def vectors_pairs(data: int) -> None:
    """out_p = Σ_c w ∘ (g_i ∘ s_j − g_j ∘ s_i).

    Arguments: pairs; taps, d; i, j, node, B, T, g [N, 3, d], s [N, d], out [P, 3].
    """
    args = arguments(data)
    P = args[1]
    taps = args[2]
    row = 4 * args[3]
    i = ints(args[4], P)
    j = ints(args[5], P)
    node = ints(args[6], P)
    B = floats(args[7], P, taps)
    T = args[8]
    g = args[9]
    s = args[10]
    out = floats(args[11], P, 3)
    zero = fill(np.float32(0.0))
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + PAIRS, P)):
            b = tap_weights(B, p)
            at = T + node[p] * row
            si = s + i[p] * row
            sj = s + j[p] * row
            gi = g + 3 * i[p] * row
            gj = g + 3 * j[p] * row
            x = zero
            y = zero
            z = zero
            for c in range(0, row, 32):
                w = filter_at(at + c, row, taps, b)
                wi = w * load(si + c)
                wj = w * load(sj + c)
                x = x + load(gi + c) * wj - load(gj + c) * wi
                y = y + load(gi + row + c) * wj - load(gj + row + c) * wi
                z = z + load(gi + 2 * row + c) * wj - load(gj + 2 * row + c) * wi
            out[p, 0] = total(x)
            out[p, 1] = total(y)
            out[p, 2] = total(z)


@njit(inline="always")
def _along(rx, ry, rz, gi, gj, si, sj, row):
    """Eight features of (r · g_i) ∘ s_j − (r · g_j) ∘ s_i."""
    i = rx * load(gi) + ry * load(gi + row) + rz * load(gi + 2 * row)
    j = rx * load(gj) + ry * load(gj + row) + rz * load(gj + 2 * row)
    return i * load(sj) - j * load(si)


@Kernel
def vectors_dot(data: int) -> None:
    """out_p = w · ((r · g_i) ∘ s_j − (r · g_j) ∘ s_i).

    Arguments: pairs; taps, d; i, j, node, B, T, r, g, s, out [P].
    """
    args = arguments(data)
    P = args[1]
    taps = args[2]
    row = 4 * args[3]
    i = ints(args[4], P)
    j = ints(args[5], P)
    node = ints(args[6], P)
    B = floats(args[7], P, taps)
    T = args[8]
    r = floats(args[9], P, 3)
    g = args[10]
    s = args[11]
    out = floats(args[12], P, 1)
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + PAIRS, P)):
            b = tap_weights(B, p)
            at = T + node[p] * row
            si = s + i[p] * row
            sj = s + j[p] * row
            gi = g + 3 * i[p] * row
            gj = g + 3 * j[p] * row
            rx = fill(r[p, 0])
            ry = fill(r[p, 1])
            rz = fill(r[p, 2])
            m = fill(np.float32(0.0))
            for c in range(0, row, 32):
                m = m + filter_at(at + c, row, taps, b) * _along(
                    rx, ry, rz, gi + c, gj + c, si + c, sj + c, row
                )
            out[p, 0] = total(m)


@Kernel
def vectors_table(data: int) -> None:
    """The derivative by T.

    Arguments: rows; P, taps, d; i, j, begin, order, B, r, g, s, out [K, d].
    """
    args = arguments(data)
    K = args[1]
    P = args[2]
    taps = args[3]
    row = 4 * args[4]
    i = ints(args[5], P)
    j = ints(args[6], P)
    begin = ints(args[7], K + 1)
    order = ints(args[8], P)
    B = floats(args[9], P, taps)
    r = floats(args[10], P, 3)
    g = args[11]
    s = args[12]
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
                si = s + i[p] * row
                sj = s + j[p] * row
                gi = g + 3 * i[p] * row
                gj = g + 3 * j[p] * row
                rx = fill(r[p, 0])
                ry = fill(r[p, 1])
                rz = fill(r[p, 2])
                for c in range(0, row, 32):
                    m = _along(rx, ry, rz, gi + c, gj + c, si + c, sj + c, row)
                    add_to_rows(target + c, row, taps, low, high, b, m)
