"""Loops of `ops.vector_update`: its value and slopes.

Two parts: products within each atom, and sums over neighbors, which read the row of a table once
for everything that needs it. v_b ∘ s¹_b is formed in registers, and nothing is kept of it.
"""

import numpy as np

from scdlab.nn.ops.loops.rows import (
    ATOMS,
    PAIRS,
    ROWS,
    add_to_rows,
    along,
    arguments,
    dot,
    fill_zeros,
    filter_at,
    signed,
    tap_weights,
)
from scdlab.nn.ops.runtime import Kernel
from scdlab.nn.ops.simd import draw, fill, floats, ints, load, store, total


@Kernel
def products(data: int) -> None:
    """dx = (A · B) ∘ o² + o³ and dv = C ∘ o¹, to which `sums` adds.

    Arguments: atoms; d; A, B, C [N, 3, d], o1, o2, o3 [N, d], dx [N, d], dv [N, 3, d].
    """
    args = arguments(data)
    n = args[1]
    row = 4 * args[2]
    A = args[3]
    B = args[4]
    C = args[5]
    o1 = args[6]
    o2 = args[7]
    o3 = args[8]
    dx = args[9]
    dv = args[10]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for at in range(first * row, min(first + ATOMS, n) * row, row):
            for c in range(at, at + row, 32):
                x = 2 * at + c
                store(dx + c, dot(A + x, B + x, row) * load(o2 + c) + load(o3 + c))
                o = load(o1 + c)
                for k in range(x, x + 3 * row, row):
                    store(dv + k, load(C + k) * o)


@Kernel
def products_slopes(data: int) -> None:
    """The slopes of `products`, from g at dx and G at dv.

    Arguments: atoms; d; A, B, C [N, 3, d], o1, o2, g [N, d], G [N, 3, d]; by A, B, C, o1, o2.
    """
    args = arguments(data)
    n = args[1]
    row = 4 * args[2]
    A = args[3]
    B = args[4]
    C = args[5]
    o1 = args[6]
    o2 = args[7]
    g = args[8]
    G = args[9]
    by_A = args[10]
    by_B = args[11]
    by_C = args[12]
    by_o1 = args[13]
    by_o2 = args[14]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for at in range(first * row, min(first + ATOMS, n) * row, row):
            for c in range(at, at + row, 32):
                x = 2 * at + c
                h = load(g + c)
                store(by_o2 + c, h * dot(A + x, B + x, row))
                store(by_o1 + c, dot(C + x, G + x, row))
                h = h * load(o2 + c)
                o = load(o1 + c)
                for k in range(x, x + 3 * row, row):
                    store(by_A + k, h * load(B + k))
                    store(by_B + k, h * load(A + k))
                    store(by_C + k, o * load(G + k))


@Kernel
def sums(data: int) -> None:
    """Add Σ_b (w¹ ∘ v_b ∘ s¹_b + r_ab w² ∘ s²_b) + w(0) ∘ v_a ∘ s¹_a to dv.

    Arguments: atoms; P, taps, d; start, sources, edges, node, B1, B2, T1, T2, w0 [d], r [P, 3], v
    [N, 3, d], s1, s2 [N, d], dv [N, 3, d].
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
    B1 = floats(args[9], P, taps)
    B2 = floats(args[10], P, taps)
    T1 = args[11]
    T2 = args[12]
    w0 = args[13]
    r = floats(args[14], P, 3)
    v = args[15]
    s1 = args[16]
    s2 = args[17]
    dv = args[18]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + ATOMS, n)):
            x = dv + 3 * a * row
            y = x + row
            z = x + 2 * row
            own = v + 3 * a * row
            for c in range(0, row, 32):
                w = load(w0 + c) * load(s1 + a * row + c)
                store(x + c, load(x + c) + w * load(own + c))
                store(y + c, load(y + c) + w * load(own + row + c))
                store(z + c, load(z + c) + w * load(own + 2 * row + c))
            for e in range(start[a], start[a + 1]):
                p = edges[e] if edges[e] < P else edges[e] - P
                sign = np.float32(1.0) if edges[e] < P else np.float32(-1.0)
                rx, ry, rz = signed(r, p, sign)
                b1 = tap_weights(B1, p)
                b2 = tap_weights(B2, p)
                at1 = T1 + node[p] * row
                at2 = T2 + node[p] * row
                of1 = s1 + sources[e] * row
                of2 = s2 + sources[e] * row
                u = v + 3 * sources[e] * row
                for c in range(0, row, 32):
                    w = filter_at(at1 + c, row, taps, b1) * load(of1 + c)
                    m = filter_at(at2 + c, row, taps, b2) * load(of2 + c)
                    store(x + c, load(x + c) + w * load(u + c) + rx * m)
                    store(y + c, load(y + c) + w * load(u + row + c) + ry * m)
                    store(z + c, load(z + c) + w * load(u + 2 * row + c) + rz * m)


@Kernel
def sums_slopes(data: int) -> None:
    """The slopes of `sums` by what belongs to atoms, from G at dv.

    With z_a = Σ_b w¹ ∘ G_b + w(0) ∘ G_a: z ∘ s¹, z · v, and Σ_b w² ∘ (r_ba · G_b); and, a row for
    each run of atoms that a thread draws, G · v ∘ s¹.

    Arguments: atoms; P, taps, d; start, sources, edges, node, B1, B2, T1, T2, w0 [d], r [P, 3], v
    [N, 3, d], s1 [N, d], G [N, 3, d]; by v, s1, s2, w0.
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
    B1 = floats(args[9], P, taps)
    B2 = floats(args[10], P, taps)
    T1 = args[11]
    T2 = args[12]
    w0 = args[13]
    r = floats(args[14], P, 3)
    v = args[15]
    s1 = args[16]
    G = args[17]
    by_v = args[18]
    by_s1 = args[19]
    by_s2 = args[20]
    by_w0 = args[21]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        part = by_w0 + first // ATOMS * row
        fill_zeros(part, row)
        for a in range(first, min(first + ATOMS, n)):
            z = by_v + 3 * a * row
            sums_s2 = by_s2 + a * row
            fill_zeros(z, 3 * row)
            fill_zeros(sums_s2, row)
            for e in range(start[a], start[a + 1]):
                p = edges[e] if edges[e] < P else edges[e] - P
                # r_ba: this is the edge b ← a, seen from a
                sign = np.float32(-1.0) if edges[e] < P else np.float32(1.0)
                rx, ry, rz = signed(r, p, sign)
                b1 = tap_weights(B1, p)
                b2 = tap_weights(B2, p)
                at1 = T1 + node[p] * row
                at2 = T2 + node[p] * row
                g = G + 3 * sources[e] * row
                for c in range(0, row, 32):
                    w = filter_at(at1 + c, row, taps, b1)
                    gx = load(g + c)
                    gy = load(g + row + c)
                    gz = load(g + 2 * row + c)
                    k = z + c
                    store(k, load(k) + w * gx)
                    store(k + row, load(k + row) + w * gy)
                    store(k + 2 * row, load(k + 2 * row) + w * gz)
                    m = filter_at(at2 + c, row, taps, b2) * (rx * gx + ry * gy + rz * gz)
                    store(sums_s2 + c, load(sums_s2 + c) + m)
            g = G + 3 * a * row
            u = v + 3 * a * row
            for c in range(0, row, 32):
                w = load(w0 + c)
                k = z + c
                zx = load(k) + w * load(g + c)
                zy = load(k + row) + w * load(g + row + c)
                zz = load(k + 2 * row) + w * load(g + 2 * row + c)
                x = u + c
                m = zx * load(x) + zy * load(x + row) + zz * load(x + 2 * row)
                store(by_s1 + a * row + c, m)
                s = load(s1 + a * row + c)
                store(k, zx * s)
                store(k + row, zy * s)
                store(k + 2 * row, zz * s)
                store(part + c, load(part + c) + dot(g + c, x, row) * s)


@Kernel
def sums_slopes_pairs(data: int) -> None:
    """The slopes of `sums` by r [P, 3], and by what the weights B of the tables depend on [P].

    D1, D2: how B1, B2 change with the latter.

    Arguments: pairs; taps, d; i, j, node, D1, B2, D2, T1, T2, r, v, s1, s2, G; by r, by it.
    """
    args = arguments(data)
    P = args[1]
    taps = args[2]
    row = 4 * args[3]
    i = ints(args[4], P)
    j = ints(args[5], P)
    node = ints(args[6], P)
    D1 = floats(args[7], P, taps)
    B2 = floats(args[8], P, taps)
    D2 = floats(args[9], P, taps)
    T1 = args[10]
    T2 = args[11]
    r = floats(args[12], P, 3)
    v = args[13]
    s1 = args[14]
    s2 = args[15]
    G = args[16]
    by_r = floats(args[17], P, 3)
    by_weights = floats(args[18], P, 1)
    zero = fill(np.float32(0.0))
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + PAIRS, P)):
            d1 = tap_weights(D1, p)
            b2 = tap_weights(B2, p)
            d2 = tap_weights(D2, p)
            rx, ry, rz = signed(r, p, np.float32(1.0))
            at1 = T1 + node[p] * row
            at2 = T2 + node[p] * row
            ai = i[p] * row
            aj = j[p] * row
            x = zero
            y = zero
            z = zero
            m = zero
            for c in range(0, row, 32):
                gi = G + 3 * ai + c
                gj = G + 3 * aj + c
                si = load(s2 + ai + c)
                sj = load(s2 + aj + c)
                fx = load(gi) * sj - load(gj) * si
                fy = load(gi + row) * sj - load(gj + row) * si
                fz = load(gi + 2 * row) * sj - load(gj + 2 * row) * si
                w = filter_at(at2 + c, row, taps, b2)
                x = x + w * fx
                y = y + w * fy
                z = z + w * fz
                m = m + filter_at(at2 + c, row, taps, d2) * (rx * fx + ry * fy + rz * fz)
                there = dot(gi, v + 3 * aj + c, row) * load(s1 + aj + c)
                back = dot(gj, v + 3 * ai + c, row) * load(s1 + ai + c)
                m = m + filter_at(at1 + c, row, taps, d1) * (there + back)
            by_r[p, 0] = total(x)
            by_r[p, 1] = total(y)
            by_r[p, 2] = total(z)
            by_weights[p, 0] = total(m)


@Kernel
def sums_slopes_tables(data: int) -> None:
    """The slopes of `sums` by T1 and T2.

    Arguments: rows; P, taps, d; i, j, begin, order, B1, B2, r, v, s1, s2, G; by T1, T2 [K, d].
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
    B1 = floats(args[9], P, taps)
    B2 = floats(args[10], P, taps)
    r = floats(args[11], P, 3)
    v = args[12]
    s1 = args[13]
    s2 = args[14]
    G = args[15]
    by_T1 = args[16]
    by_T2 = args[17]
    while True:
        first = draw(data, ROWS)
        if first >= K:
            break
        last = min(first + ROWS, K)
        fill_zeros(by_T1 + first * row, (last - first) * row)
        fill_zeros(by_T2 + first * row, (last - first) * row)
        for q in range(max(first - taps + 1, 0), last):
            low = max(first - q, 0)
            high = min(last - q, taps)
            for k in range(begin[q], begin[q + 1]):
                p = order[k]
                b1 = tap_weights(B1, p)
                b2 = tap_weights(B2, p)
                of = signed(r, p, np.float32(1.0))
                ai = i[p] * row
                aj = j[p] * row
                for c in range(0, row, 32):
                    gi = G + 3 * ai + c
                    gj = G + 3 * aj + c
                    m = dot(gi, v + 3 * aj + c, row) * load(s1 + aj + c)
                    m = m + dot(gj, v + 3 * ai + c, row) * load(s1 + ai + c)
                    add_to_rows(by_T1 + q * row + c, row, taps, low, high, b1, m)
                    m = along(of, gi, row) * load(s2 + aj + c)
                    m = m - along(of, gj, row) * load(s2 + ai + c)
                    add_to_rows(by_T2 + q * row + c, row, taps, low, high, b2, m)
