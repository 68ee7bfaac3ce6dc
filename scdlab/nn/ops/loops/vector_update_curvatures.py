"""Loops of `ops.vector_update`: its curvatures.

Filters and their directions are w = Σ_t B_t T_t and ẇ = Σ_t Ḃ_t Ṫ_t, over the same rows. Of a
spline Ḃ is the slope of B times the direction of the distance, and Ṫ is T.
"""

import numpy as np

from scdlab.nn.ops.loops.rows import (
    ATOMS,
    ROWS,
    add_two_to_rows,
    along,
    arguments,
    dot,
    fill_zeros,
    filter_at,
    signed,
    tap_weights,
)
from scdlab.nn.ops.runtime import Kernel
from scdlab.nn.ops.simd import draw, fill, floats, ints, load, store


@Kernel
def products_curvatures(data: int) -> None:
    """The curvatures of `products`; what is along G begins here, and `sums_curvatures` adds to it.

    Arguments: atoms; d; A, B, C [N, 3, d], o1, o2, g [N, d], G [N, 3, d]; directions of A, B, C,
    o1, o2, o3; by g, G, A, B, C, o1, o2.
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
    along_A = args[10]
    along_B = args[11]
    along_C = args[12]
    along_o1 = args[13]
    along_o2 = args[14]
    along_o3 = args[15]
    by_g = args[16]
    by_G = args[17]
    by_A = args[18]
    by_B = args[19]
    by_C = args[20]
    by_o1 = args[21]
    by_o2 = args[22]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for at in range(first * row, min(first + ATOMS, n) * row, row):
            for c in range(at, at + row, 32):
                x = 2 * at + c
                o = load(o2 + c)
                turned = load(along_o2 + c)
                changed = dot(along_A + x, B + x, row) + dot(A + x, along_B + x, row)
                product = dot(A + x, B + x, row)
                store(by_g + c, changed * o + product * turned + load(along_o3 + c))
                h = load(g + c)
                store(by_o2 + c, h * changed)
                store(by_o1 + c, dot(along_C + x, G + x, row))
                o = h * o
                turned = h * turned
                u = load(o1 + c)
                turned_u = load(along_o1 + c)
                for k in range(x, x + 3 * row, row):
                    store(by_A + k, o * load(along_B + k) + turned * load(B + k))
                    store(by_B + k, o * load(along_A + k) + turned * load(A + k))
                    store(by_C + k, load(G + k) * turned_u)
                    store(by_G + k, load(along_C + k) * u + load(C + k) * turned_u)


@Kernel
def sums_curvatures(data: int) -> None:
    """The curvatures of `sums` by G, to which it adds, and by what belongs to atoms.

    With z_a = Σ_b w¹ ∘ G_b + w(0) ∘ G_a and ż_a = Σ_b ẇ¹ ∘ G_b: ż ∘ s¹ + z ∘ ṡ¹ by v, and
    ż · v + z · v̇ by s¹. ż is summed where the former goes.

    Arguments: atoms; taps, d; start, sources, edges, node, B1, B2, Ḃ1, Ḃ2, T1, T2, Ṫ1, Ṫ2, w0
    [d], r [P, 3], v [N, 3, d], s1, s2 [N, d], G [N, 3, d]; directions of r, v, s1, s2; by G, v,
    s1, s2, w0 (a row for each run of atoms); room for z [N, 3, d].
    """
    args = arguments(data)
    n = args[1]
    taps = args[2]
    row = 4 * args[3]
    start = ints(args[4], n + 1)
    P = int(start[n]) // 2
    sources = ints(args[5], 2 * P)
    edges = ints(args[6], 2 * P)
    node = ints(args[7], P)
    B1 = floats(args[8], P, taps)
    B2 = floats(args[9], P, taps)
    turned_B1 = floats(args[10], P, taps)
    turned_B2 = floats(args[11], P, taps)
    T1 = args[12]
    T2 = args[13]
    along_T1 = args[14]
    along_T2 = args[15]
    w0 = args[16]
    r = floats(args[17], P, 3)
    v = args[18]
    s1 = args[19]
    s2 = args[20]
    G = args[21]
    along_r = floats(args[22], P, 3)
    along_v = args[23]
    along_s1 = args[24]
    along_s2 = args[25]
    by_G = args[26]
    by_v = args[27]
    by_s1 = args[28]
    by_s2 = args[29]
    by_w0 = args[30]
    z = args[31]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        part = by_w0 + first // ATOMS * row
        fill_zeros(part, row)
        for a in range(first, min(first + ATOMS, n)):
            of_a = a * row
            of_a3 = 3 * a * row
            fill_zeros(z + of_a3, 3 * row)
            fill_zeros(by_v + of_a3, 3 * row)
            fill_zeros(by_s2 + of_a, row)
            for e in range(start[a], start[a + 1]):
                p = edges[e] if edges[e] < P else edges[e] - P
                sign = np.float32(1.0) if edges[e] < P else np.float32(-1.0)
                rx, ry, rz = signed(r, p, sign)
                qx, qy, qz = signed(along_r, p, sign)
                b1 = tap_weights(B1, p)
                b2 = tap_weights(B2, p)
                t1 = tap_weights(turned_B1, p)
                t2 = tap_weights(turned_B2, p)
                at = node[p] * row
                b = sources[e] * row
                for c in range(0, row, 32):
                    w1 = filter_at(T1 + at + c, row, taps, b1)
                    u1 = filter_at(along_T1 + at + c, row, taps, t1)
                    w2 = filter_at(T2 + at + c, row, taps, b2)
                    u2 = filter_at(along_T2 + at + c, row, taps, t2)
                    k = 3 * b + c
                    gx = load(G + k)
                    gy = load(G + k + row)
                    gz = load(G + k + 2 * row)
                    # r_ba = -r_ab, of the edge b ← a
                    m = w2 * (qx * gx + qy * gy + qz * gz) + u2 * (rx * gx + ry * gy + rz * gz)
                    store(by_s2 + of_a + c, load(by_s2 + of_a + c) - m)
                    to = of_a3 + c
                    store(z + to, load(z + to) + w1 * gx)
                    store(z + to + row, load(z + to + row) + w1 * gy)
                    store(z + to + 2 * row, load(z + to + 2 * row) + w1 * gz)
                    turned = by_v + to
                    store(turned, load(turned) + u1 * gx)
                    store(turned + row, load(turned + row) + u1 * gy)
                    store(turned + 2 * row, load(turned + 2 * row) + u1 * gz)
                    m = load(s1 + b + c)
                    u1 = u1 * m + w1 * load(along_s1 + b + c)
                    w1 = w1 * m
                    m = load(s2 + b + c)
                    u2 = u2 * m + w2 * load(along_s2 + b + c)
                    w2 = w2 * m
                    to = by_G + to
                    m = u1 * load(v + k) + w1 * load(along_v + k) + qx * w2 + rx * u2
                    store(to, load(to) + m)
                    to = to + row
                    k = k + row
                    m = u1 * load(v + k) + w1 * load(along_v + k) + qy * w2 + ry * u2
                    store(to, load(to) + m)
                    to = to + row
                    k = k + row
                    m = u1 * load(v + k) + w1 * load(along_v + k) + qz * w2 + rz * u2
                    store(to, load(to) + m)
            for c in range(of_a, of_a + row, 32):
                w = load(w0 + c - of_a)
                s = load(s1 + c)
                changed = load(along_s1 + c)
                of_w0 = part + c - of_a
                m = fill(np.float32(0.0))
                own = m
                for k in range(2 * of_a + c, 2 * of_a + c + 3 * row, row):
                    g = load(G + k)
                    x = load(v + k)
                    y = load(along_v + k)
                    u = y * s + x * changed
                    own = own + g * u
                    store(by_G + k, load(by_G + k) + w * u)
                    g = load(z + k) + w * g
                    turned_z = load(by_v + k)
                    m = m + turned_z * x + g * y
                    store(by_v + k, turned_z * s + g * changed)
                store(by_s1 + c, m)
                store(of_w0, load(of_w0) + own)


@Kernel
def sums_curvatures_tables(data: int) -> None:
    """The curvatures of `sums` by T1 and T2.

    Arguments: rows; P, taps, d; i, j, begin, order, B1, B2, Ḃ1, Ḃ2, r, v, s1, s2, G; directions of
    r, v, s1, s2; by T1, T2 [K, d].
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
    turned_B1 = floats(args[11], P, taps)
    turned_B2 = floats(args[12], P, taps)
    r = floats(args[13], P, 3)
    v = args[14]
    s1 = args[15]
    s2 = args[16]
    G = args[17]
    along_r = floats(args[18], P, 3)
    along_v = args[19]
    along_s1 = args[20]
    along_s2 = args[21]
    by_T1 = args[22]
    by_T2 = args[23]
    one = np.float32(1.0)
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
                t1 = tap_weights(turned_B1, p)
                t2 = tap_weights(turned_B2, p)
                of = signed(r, p, one)
                changed = signed(along_r, p, one)
                for c in range(0, row, 32):
                    at = i[p] * row + c
                    to = j[p] * row + c
                    at3 = 3 * i[p] * row + c
                    to3 = 3 * j[p] * row + c
                    there = dot(G + at3, v + to3, row)
                    back = dot(G + to3, v + at3, row)
                    si = load(s1 + at)
                    sj = load(s1 + to)
                    u = there * sj + back * si
                    m = there * load(along_s1 + to) + back * load(along_s1 + at)
                    m = m + dot(G + at3, along_v + to3, row) * sj
                    m = m + dot(G + to3, along_v + at3, row) * si
                    add_two_to_rows(by_T1 + q * row + c, row, taps, low, high, b1, m, t1, u)
                    there = along(of, G + at3, row)
                    back = along(of, G + to3, row)
                    si = load(s2 + at)
                    sj = load(s2 + to)
                    u = there * sj - back * si
                    m = there * load(along_s2 + to) - back * load(along_s2 + at)
                    m = m + along(changed, G + at3, row) * sj
                    m = m - along(changed, G + to3, row) * si
                    add_two_to_rows(by_T2 + q * row + c, row, taps, low, high, b2, m, t2, u)
