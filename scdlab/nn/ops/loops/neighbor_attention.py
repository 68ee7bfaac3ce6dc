"""Loops of attention over the neighbors and the atom itself: see `ops.neighbor_attention`, whose
symbols these are.

What an edge has for each head stands in rows of the pairs, [P, 2, heads]: of i ← j, then of j ← i.
Arrays of one kind follow each other in a block, each filled up to whole eights (`padded`), since
functions of all heads are computed eight numbers at a time. Arguments that several share:

    start, sources, edges, node, B    as in `loops.attention`
    U, W                              tables of the filters u of keys and w of values
    own                               a block of rows [N, heads]: of each atom for itself
    part                              sums over the atoms that a thread draws, for u(0) and w(0)
"""

import numpy as np
from numba import njit

from scdlab.nn.ops.loops.activations import sigmoid, silu_and_slope
from scdlab.nn.ops.loops.rows import (
    ATOMS,
    PAIRS,
    ROWS,
    add_to_rows,
    arguments,
    fill_zeros,
    filter_at,
    padded,
    put_totals,
    tap_weights,
)
from scdlab.nn.ops.runtime import Kernel
from scdlab.nn.ops.simd import draw, fill, floats, ints, load, store


@Kernel
def attention_weights(data: int) -> None:
    """l_ab = Σ_head q_a ∘ u ∘ k_b and a_ab = SiLU(l_ab) c.

    Arguments: pairs; heads, d, taps; i, j, node, B, U, q, k [N, d], c [P], l, a [P, 2, heads].
    """
    args = arguments(data)
    P = args[1]
    heads = args[2]
    row = 4 * args[3]
    taps = args[4]
    i = ints(args[5], P)
    j = ints(args[6], P)
    node = ints(args[7], P)
    B = floats(args[8], P, taps)
    U = args[9]
    q = args[10]
    k = args[11]
    c = floats(args[12], P, 1)
    logits = args[13]
    weights = args[14]
    a = floats(weights, P, 2 * heads)
    width = row // heads
    line = 8 * heads  # bytes of a pair's numbers
    one = np.float32(1.0)
    scratch = np.zeros(16 * heads, np.float32)
    dots = scratch.ctypes.data
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        last = min(first + PAIRS, P)
        for p in range(first, last):
            b = tap_weights(B, p)
            at = U + node[p] * row
            ai = i[p] * row
            aj = j[p] * row
            for head in range(heads):
                there = fill(np.float32(0.0))
                back = fill(np.float32(0.0))
                for x in range(head * width, (head + 1) * width, 32):
                    u = filter_at(at + x, row, taps, b)
                    there = there + u * (load(q + ai + x) * load(k + aj + x))
                    back = back + u * (load(q + aj + x) * load(k + ai + x))
                store(dots + 32 * head, there)
                store(dots + 32 * (heads + head), back)
            put_totals(dots, logits + p * line, 2 * heads)
        for m in range(first * line, last * line, 32):
            x = load(logits + m)
            store(weights + m, x * sigmoid(x, one))
        for p in range(first, last):
            for m in range(2 * heads):
                a[p, m] *= c[p, 0]
    scratch[0] = 0.0  # it is kept until here


@njit(inline="always")
def _put_products(x: int, y: int, z: int, heads: int, width: int, dots: int, out: int) -> None:
    """Write Σ_head x ∘ y ∘ z to a number for each head; `dots`: room for an eight of each."""
    for head in range(heads):
        s = fill(np.float32(0.0))
        for c in range(head * width, (head + 1) * width, 32):
            s = s + load(x + c) * load(y + c) * load(z + c)
        store(dots + 32 * head, s)
    put_totals(dots, out, heads)


@Kernel
def attended(data: int) -> None:
    """y_a = Σ_b a_ab w ∘ v_b + SiLU(l_aa) w(0) ∘ v_a, with l_aa = Σ_head q_a ∘ u(0) ∘ k_a.

    Arguments: atoms; P, heads, d, taps; start, sources, edges, node, B, W, q, k, v [N, d], u(0),
    w(0) [d], a [P, 2, heads], l_aa [N, heads], own [1, N, heads], out [N, d].
    """
    args = arguments(data)
    n = args[1]
    P = args[2]
    heads = args[3]
    row = 4 * args[4]
    taps = args[5]
    start = ints(args[6], n + 1)
    sources = ints(args[7], 2 * P)
    edges = ints(args[8], 2 * P)
    node = ints(args[9], P)
    B = floats(args[10], P, taps)
    W = args[11]
    q = args[12]
    k = args[13]
    v = args[14]
    u0 = args[15]
    w0 = args[16]
    a = floats(args[17], P, 2 * heads)
    logits = args[18]
    own = args[19]
    out = args[20]
    a0 = floats(own, n, heads)
    width = row // heads
    line = 4 * heads
    one = np.float32(1.0)
    scratch = np.zeros(8 * heads, np.float32)
    dots = scratch.ctypes.data
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        last = min(first + ATOMS, n)
        for t in range(first, last):
            at = t * row
            _put_products(q + at, k + at, u0, heads, width, dots, logits + t * line)
        for m in range(first * line, last * line, 32):
            x = load(logits + m)
            store(own + m, x * sigmoid(x, one))
        for t in range(first, last):
            target = out + t * row
            for head in range(heads):
                weight = fill(a0[t, head])
                for x in range(head * width, (head + 1) * width, 32):
                    store(target + x, weight * load(w0 + x) * load(v + t * row + x))
            for e in range(start[t], start[t + 1]):
                edge = edges[e]
                p = edge if edge < P else edge - P
                into = 0 if edge < P else heads
                b = tap_weights(B, p)
                at = W + node[p] * row
                source = v + sources[e] * row
                for head in range(heads):
                    weight = fill(a[p, into + head])
                    for x in range(head * width, (head + 1) * width, 32):
                        w = filter_at(at + x, row, taps, b)
                        store(target + x, load(target + x) + weight * (w * load(source + x)))
    scratch[0] = 0.0


@Kernel
def slopes_of_pairs(data: int) -> None:
    """From g at y: a_ab, λ_ab = c SiLU'(l_ab) Σ_head g_a ∘ w ∘ v_b, and the gradients by c and r.

    Arguments: pairs; heads, d, taps, of_c and of_r (0 where it is not needed); i, j, node, B, B',
    U, W, q, k, v, g [N, d], c [P], l [P, 2, heads], a and λ [2, P, 2, heads], gc, gr [P], and room
    for [2, P, 2, heads].
    """
    args = arguments(data)
    P = args[1]
    heads = args[2]
    row = 4 * args[3]
    taps = args[4]
    of_c = args[5]
    of_r = args[6]
    i = ints(args[7], P)
    j = ints(args[8], P)
    node = ints(args[9], P)
    B = floats(args[10], P, taps)
    slopes = floats(args[11], P, taps)
    U = args[12]
    W = args[13]
    q = args[14]
    k = args[15]
    v = args[16]
    g = args[17]
    c = floats(args[18], P, 1)
    logits = args[19]
    size = padded(2 * P * heads)
    of_a = args[20]
    of_lambda = of_a + 4 * size
    gc = floats(args[21], P, 1)
    gr = floats(args[22], P, 1)
    by_w = args[23]
    by_u = by_w + 4 * size
    a = floats(of_a, P, 2 * heads)
    lam = floats(of_lambda, P, 2 * heads)
    parts_c = floats(by_u, P, 2 * heads)
    parts_r = floats(by_w, P, 2 * heads)
    width = row // heads
    line = 8 * heads
    one = np.float32(1.0)
    zero = fill(np.float32(0.0))
    scratch = np.zeros(48 * heads, np.float32)
    dots = scratch.ctypes.data
    dots_w = dots + 64 * heads
    dots_u = dots + 128 * heads
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        last = min(first + PAIRS, P)
        for p in range(first, last):
            b = tap_weights(B, p)
            b1 = tap_weights(slopes, p)
            at_u = U + node[p] * row
            at_w = W + node[p] * row
            ai = i[p] * row
            aj = j[p] * row
            for head in range(heads):
                there = back = there_w = back_w = there_u = back_u = zero
                for x in range(head * width, (head + 1) * width, 32):
                    w = filter_at(at_w + x, row, taps, b)
                    m_there = load(g + ai + x) * load(v + aj + x)
                    m_back = load(g + aj + x) * load(v + ai + x)
                    there = there + w * m_there
                    back = back + w * m_back
                    if of_r:
                        w1 = filter_at(at_w + x, row, taps, b1)
                        u1 = filter_at(at_u + x, row, taps, b1)
                        there_w = there_w + w1 * m_there
                        back_w = back_w + w1 * m_back
                        there_u = there_u + u1 * (load(q + ai + x) * load(k + aj + x))
                        back_u = back_u + u1 * (load(q + aj + x) * load(k + ai + x))
                store(dots + 32 * head, there)
                store(dots + 32 * (heads + head), back)
                if of_r:
                    store(dots_w + 32 * head, there_w)
                    store(dots_w + 32 * (heads + head), back_w)
                    store(dots_u + 32 * head, there_u)
                    store(dots_u + 32 * (heads + head), back_u)
            put_totals(dots, of_lambda + p * line, 2 * heads)
            if of_r:
                put_totals(dots_w, by_w + p * line, 2 * heads)
                put_totals(dots_u, by_u + p * line, 2 * heads)
        for m in range(first * line, last * line, 32):
            active, slope = silu_and_slope(load(logits + m), one)
            gradient = load(of_lambda + m)
            store(of_a + m, active)
            store(of_lambda + m, gradient * slope)
            if of_r:
                store(by_w + m, active * load(by_w + m) + gradient * slope * load(by_u + m))
            if of_c:
                store(by_u + m, active * gradient)
        for p in range(first, last):
            if of_c:
                s = np.float32(0.0)
                for m in range(2 * heads):
                    s += parts_c[p, m]
                gc[p, 0] = s
            if of_r:
                s = np.float32(0.0)
                for m in range(2 * heads):
                    s += parts_r[p, m]
                gr[p, 0] = s * c[p, 0]
            for m in range(2 * heads):
                a[p, m] *= c[p, 0]
                lam[p, m] *= c[p, 0]
    scratch[0] = 0.0


@Kernel
def slopes_of_atoms(data: int) -> None:
    """The gradients by q, k and v, and parts of those by u(0) and w(0).

    Arguments: atoms; P, heads, d, taps, weights (0 where u(0) and w(0) are not needed); start,
    sources, edges, node, B, U, W, q, k, v, g [N, d], u(0), w(0) [d], l_aa [N, heads], own [2, N,
    heads], a and λ [2, P, 2, heads], gq, gk, gv [N, d], part [·, 2, d].
    """
    args = arguments(data)
    n = args[1]
    P = args[2]
    heads = args[3]
    row = 4 * args[4]
    taps = args[5]
    of_weights = args[6]
    start = ints(args[7], n + 1)
    sources = ints(args[8], 2 * P)
    edges = ints(args[9], 2 * P)
    node = ints(args[10], P)
    B = floats(args[11], P, taps)
    U = args[12]
    W = args[13]
    q = args[14]
    k = args[15]
    v = args[16]
    g = args[17]
    u0 = args[18]
    w0 = args[19]
    logits = args[20]
    own_a = args[21]
    own_lambda = own_a + 4 * padded(n * heads)
    a0 = floats(own_a, n, heads)
    lam0 = floats(own_lambda, n, heads)
    a = floats(args[22], P, 2 * heads)
    lam = floats(args[22] + 4 * padded(2 * P * heads), P, 2 * heads)
    gq = args[23]
    gk = args[24]
    gv = args[25]
    part = args[26]
    width = row // heads
    line = 4 * heads
    one = np.float32(1.0)
    scratch = np.zeros(8 * heads, np.float32)
    dots = scratch.ctypes.data
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        last = min(first + ATOMS, n)
        for t in range(first, last):
            at = t * row
            _put_products(g + at, v + at, w0, heads, width, dots, own_lambda + t * line)
        for m in range(first * line, last * line, 32):
            active, slope = silu_and_slope(load(logits + m), one)
            store(own_a + m, active)
            store(own_lambda + m, load(own_lambda + m) * slope)
        part_u = part + first // ATOMS * 2 * row
        part_w = part_u + row
        if of_weights:
            fill_zeros(part_u, 2 * row)
        for t in range(first, last):
            at = t * row
            for head in range(heads):
                weight = fill(a0[t, head])
                slope = fill(lam0[t, head])
                for x in range(head * width, (head + 1) * width, 32):
                    store(gq + at + x, slope * load(u0 + x) * load(k + at + x))
                    store(gk + at + x, slope * load(u0 + x) * load(q + at + x))
                    store(gv + at + x, weight * load(w0 + x) * load(g + at + x))
                    if of_weights:
                        m_u = slope * load(q + at + x) * load(k + at + x)
                        m_w = weight * load(g + at + x) * load(v + at + x)
                        store(part_u + x, load(part_u + x) + m_u)
                        store(part_w + x, load(part_w + x) + m_w)
            for e in range(start[t], start[t + 1]):
                edge = edges[e]
                p = edge if edge < P else edge - P
                into = 0 if edge < P else heads  # of the edge t ← b; b ← t has the other place
                b = tap_weights(B, p)
                at_u = U + node[p] * row
                at_w = W + node[p] * row
                source = sources[e] * row
                for head in range(heads):
                    slope_in = fill(lam[p, into + head])
                    slope_out = fill(lam[p, heads - into + head])
                    weight_out = fill(a[p, heads - into + head])
                    for x in range(head * width, (head + 1) * width, 32):
                        u = filter_at(at_u + x, row, taps, b)
                        w = filter_at(at_w + x, row, taps, b)
                        y = at + x
                        s = source + x
                        store(gq + y, load(gq + y) + slope_in * (u * load(k + s)))
                        store(gk + y, load(gk + y) + slope_out * (u * load(q + s)))
                        store(gv + y, load(gv + y) + weight_out * (w * load(g + s)))
    scratch[0] = 0.0


@Kernel
def slopes_of_tables(data: int) -> None:
    """The gradients by U and W.

    Arguments: rows; P, heads, d, taps; i, j, begin, order, B, q, k, v, g [N, d], a and λ [2, P, 2,
    heads], gU, gW [K, d].
    """
    args = arguments(data)
    K = args[1]
    P = args[2]
    heads = args[3]
    row = 4 * args[4]
    taps = args[5]
    i = ints(args[6], P)
    j = ints(args[7], P)
    begin = ints(args[8], K + 1)
    order = ints(args[9], P)
    B = floats(args[10], P, taps)
    q = args[11]
    k = args[12]
    v = args[13]
    g = args[14]
    a = floats(args[15], P, 2 * heads)
    lam = floats(args[15] + 4 * padded(2 * P * heads), P, 2 * heads)
    gU = args[16]
    gW = args[17]
    width = row // heads
    while True:
        first = draw(data, ROWS)
        if first >= K:
            break
        last = min(first + ROWS, K)
        fill_zeros(gU + first * row, (last - first) * row)
        fill_zeros(gW + first * row, (last - first) * row)
        for at in range(max(first - taps + 1, 0), last):
            low = max(first - at, 0)
            high = min(last - at, taps)
            for e in range(begin[at], begin[at + 1]):
                p = order[e]
                b = tap_weights(B, p)
                ai = i[p] * row
                aj = j[p] * row
                for head in range(heads):
                    a_there = fill(a[p, head])
                    a_back = fill(a[p, heads + head])
                    l_there = fill(lam[p, head])
                    l_back = fill(lam[p, heads + head])
                    for x in range(head * width, (head + 1) * width, 32):
                        m = l_there * (load(q + ai + x) * load(k + aj + x))
                        m = m + l_back * (load(q + aj + x) * load(k + ai + x))
                        add_to_rows(gU + at * row + x, row, taps, low, high, b, m)
                        m = a_there * (load(g + ai + x) * load(v + aj + x))
                        m = m + a_back * (load(g + aj + x) * load(v + ai + x))
                        add_to_rows(gW + at * row + x, row, taps, low, high, b, m)
