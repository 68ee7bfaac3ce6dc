"""Loops of the second derivatives of attention over the neighbors: see `ops.neighbor_attention`.

Arguments are those of `loops.neighbor_attention`. q', k', v', c' and r' are the directions. Filters
change by u'_p = Σ_t B'_t U'_{node + t}, and w' of W': with a spline, B' are the weights of its taps
differentiated by r, times r', of the same rows; rows of a pair's own have the direction's rows.
Numbers of an edge and head stand in a block [4, P, 2, heads], of an atom for itself in [4, N,
heads]:

    a    = c SiLU(l)               a'  = c SiLU'(l) l' + c' SiLU(l)
    λ    = c SiLU'(l) G            μ   = c (SiLU''(l) l' G + SiLU'(l) G') + c' SiLU'(l) G

with l' = Σ_head (q' u k + q u k' + q u' k), G = Σ_head g w v, G' = Σ_head g (w' v + w v'), each of
target, filter and source.
"""

import numpy as np

from scdlab.nn.ops.loops.activations import silu_to_curvature
from scdlab.nn.ops.loops.rows import (
    ATOMS,
    PAIRS,
    ROWS,
    add_two_to_rows,
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
def curvatures_of_pairs(data: int) -> None:
    """a, a', λ and μ of all edges.

    Arguments: pairs; heads, d, taps; i, j, node, B, B', U, W, U', W', q, k, v, g, q', k', v' [N,
    d], l [P, 2, heads], c, c' [P], a, a', λ and μ [4, P, 2, heads].
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
    turned = floats(args[9], P, taps)
    U = args[10]
    W = args[11]
    U1 = args[12]
    W1 = args[13]
    q = args[14]
    k = args[15]
    v = args[16]
    g = args[17]
    q1 = args[18]
    k1 = args[19]
    v1 = args[20]
    logits = args[21]
    c = floats(args[22], P, 1)
    c1 = floats(args[23], P, 1)
    size = 4 * padded(2 * P * heads)
    at_a = args[24]
    at_a1 = at_a + size
    at_lambda = at_a + 2 * size
    at_mu = at_a + 3 * size
    a = floats(at_a, P, 2 * heads)
    a1 = floats(at_a1, P, 2 * heads)
    lam = floats(at_lambda, P, 2 * heads)
    mu = floats(at_mu, P, 2 * heads)
    width = row // heads
    line = 8 * heads
    one = np.float32(1.0)
    zero = fill(np.float32(0.0))
    scratch = np.zeros(48 * heads, np.float32)
    dots = scratch.ctypes.data
    dots_g = dots + 64 * heads
    dots_g1 = dots + 128 * heads
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        last = min(first + PAIRS, P)
        for p in range(first, last):
            b = tap_weights(B, p)
            b1 = tap_weights(turned, p)
            at_u = U + node[p] * row
            at_w = W + node[p] * row
            at_u1 = U1 + node[p] * row
            at_w1 = W1 + node[p] * row
            ai = i[p] * row
            aj = j[p] * row
            for head in range(heads):
                there = back = there_g = back_g = there_g1 = back_g1 = zero
                for x in range(head * width, (head + 1) * width, 32):
                    u = filter_at(at_u + x, row, taps, b)
                    u1 = filter_at(at_u1 + x, row, taps, b1)
                    w = filter_at(at_w + x, row, taps, b)
                    w1 = filter_at(at_w1 + x, row, taps, b1)
                    s = ai + x
                    t = aj + x
                    m = load(q + s) * load(k + t)
                    m1 = load(q1 + s) * load(k + t) + load(q + s) * load(k1 + t)
                    there = there + u * m1 + u1 * m
                    m = load(q + t) * load(k + s)
                    m1 = load(q1 + t) * load(k + s) + load(q + t) * load(k1 + s)
                    back = back + u * m1 + u1 * m
                    m = load(g + s) * load(v + t)
                    there_g = there_g + w * m
                    there_g1 = there_g1 + w1 * m + w * (load(g + s) * load(v1 + t))
                    m = load(g + t) * load(v + s)
                    back_g = back_g + w * m
                    back_g1 = back_g1 + w1 * m + w * (load(g + t) * load(v1 + s))
                store(dots + 32 * head, there)
                store(dots + 32 * (heads + head), back)
                store(dots_g + 32 * head, there_g)
                store(dots_g + 32 * (heads + head), back_g)
                store(dots_g1 + 32 * head, there_g1)
                store(dots_g1 + 32 * (heads + head), back_g1)
            put_totals(dots, at_a1 + p * line, 2 * heads)
            put_totals(dots_g, at_lambda + p * line, 2 * heads)
            put_totals(dots_g1, at_mu + p * line, 2 * heads)
        for m in range(first * line, last * line, 32):
            active, slope, curvature = silu_to_curvature(load(logits + m), one)
            l1 = load(at_a1 + m)
            gradient = load(at_lambda + m)
            store(at_a + m, active)
            store(at_a1 + m, slope * l1)
            store(at_lambda + m, slope * gradient)
            store(at_mu + m, curvature * l1 * gradient + slope * load(at_mu + m))
        for p in range(first, last):
            for m in range(2 * heads):
                a1[p, m] = c[p, 0] * a1[p, m] + c1[p, 0] * a[p, m]
                mu[p, m] = c[p, 0] * mu[p, m] + c1[p, 0] * lam[p, m]
                a[p, m] *= c[p, 0]
                lam[p, m] *= c[p, 0]
    scratch[0] = 0.0  # it is kept until here


@Kernel
def curvatures_of_atoms(data: int) -> None:
    """The gradients by g, q, k and v, and parts of those by u(0) and w(0).

    Arguments: atoms; P, heads, d, taps; start, sources, edges, node, B, B', U, W, U', W', q, k, v,
    g, q', k', v' [N, d], u(0) and w(0) [2, d], l_aa [N, heads], own [4, N, heads], a, a', λ and μ
    [4, P, 2, heads], gg, gq, gk, gv [N, d], part [·, 2, d].
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
    turned = floats(args[11], P, taps)
    U = args[12]
    W = args[13]
    U1 = args[14]
    W1 = args[15]
    q = args[16]
    k = args[17]
    v = args[18]
    g = args[19]
    q1 = args[20]
    k1 = args[21]
    v1 = args[22]
    u0 = args[23]
    w0 = u0 + row
    logits = args[24]
    size = 4 * padded(n * heads)
    own = args[25]
    own_a1 = own + size
    own_lambda = own + 2 * size
    own_mu = own + 3 * size
    a0 = floats(own, n, heads)
    a01 = floats(own_a1, n, heads)
    lam0 = floats(own_lambda, n, heads)
    mu0 = floats(own_mu, n, heads)
    size = 4 * padded(2 * P * heads)
    a = floats(args[26], P, 2 * heads)
    a1 = floats(args[26] + size, P, 2 * heads)
    lam = floats(args[26] + 2 * size, P, 2 * heads)
    mu = floats(args[26] + 3 * size, P, 2 * heads)
    gg = args[27]
    gq = args[28]
    gk = args[29]
    gv = args[30]
    part = args[31]
    width = row // heads
    line = 4 * heads
    one = np.float32(1.0)
    zero = fill(np.float32(0.0))
    scratch = np.zeros(24 * heads, np.float32)
    dots = scratch.ctypes.data
    dots_g = dots + 32 * heads
    dots_g1 = dots + 64 * heads
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        last = min(first + ATOMS, n)
        for t in range(first, last):
            at = t * row
            for head in range(heads):
                l1 = zero
                s_g = zero
                s_g1 = zero
                for x in range(head * width, (head + 1) * width, 32):
                    y = at + x
                    m = load(q1 + y) * load(k + y) + load(q + y) * load(k1 + y)
                    l1 = l1 + m * load(u0 + x)
                    s_g = s_g + load(g + y) * load(v + y) * load(w0 + x)
                    s_g1 = s_g1 + load(g + y) * load(v1 + y) * load(w0 + x)
                store(dots + 32 * head, l1)
                store(dots_g + 32 * head, s_g)
                store(dots_g1 + 32 * head, s_g1)
            put_totals(dots, own_a1 + t * line, heads)
            put_totals(dots_g, own_lambda + t * line, heads)
            put_totals(dots_g1, own_mu + t * line, heads)
        for m in range(first * line, last * line, 32):
            active, slope, curvature = silu_to_curvature(load(logits + m), one)
            l1 = load(own_a1 + m)
            gradient = load(own_lambda + m)
            store(own + m, active)
            store(own_a1 + m, slope * l1)
            store(own_lambda + m, slope * gradient)
            store(own_mu + m, curvature * l1 * gradient + slope * load(own_mu + m))
        part_u = part + first // ATOMS * 2 * row
        part_w = part_u + row
        fill_zeros(part_u, 2 * row)
        for t in range(first, last):
            at = t * row
            for head in range(heads):
                weight = fill(a0[t, head])
                weight1 = fill(a01[t, head])
                slope = fill(lam0[t, head])
                curvature = fill(mu0[t, head])
                for x in range(head * width, (head + 1) * width, 32):
                    y = at + x
                    filter_u = load(u0 + x)
                    filter_w = load(w0 + x)
                    of_q = load(q + y)
                    of_k = load(k + y)
                    of_g = load(g + y)
                    m = weight1 * load(v + y) + weight * load(v1 + y)
                    store(gg + y, filter_w * m)
                    store(part_w + x, load(part_w + x) + of_g * m)
                    store(gq + y, filter_u * (curvature * of_k + slope * load(k1 + y)))
                    store(gk + y, filter_u * (curvature * of_q + slope * load(q1 + y)))
                    store(gv + y, filter_w * (weight1 * of_g))
                    m = load(q1 + y) * of_k + of_q * load(k1 + y)
                    m = curvature * (of_q * of_k) + slope * m
                    store(part_u + x, load(part_u + x) + m)
            for e in range(start[t], start[t + 1]):
                edge = edges[e]
                p = edge if edge < P else edge - P
                into = 0 if edge < P else heads  # of the edge t ← b; b ← t has the other place
                b = tap_weights(B, p)
                b1 = tap_weights(turned, p)
                at_u = U + node[p] * row
                at_w = W + node[p] * row
                at_u1 = U1 + node[p] * row
                at_w1 = W1 + node[p] * row
                source = sources[e] * row
                for head in range(heads):
                    here = into + head
                    away = heads - into + head
                    weight = fill(a[p, here])
                    weight1 = fill(a1[p, here])
                    slope = fill(lam[p, here])
                    curvature = fill(mu[p, here])
                    weight_out = fill(a[p, away])
                    weight1_out = fill(a1[p, away])
                    slope_out = fill(lam[p, away])
                    curvature_out = fill(mu[p, away])
                    for x in range(head * width, (head + 1) * width, 32):
                        u = filter_at(at_u + x, row, taps, b)
                        u1 = filter_at(at_u1 + x, row, taps, b1)
                        w = filter_at(at_w + x, row, taps, b)
                        w1 = filter_at(at_w1 + x, row, taps, b1)
                        y = at + x
                        s = source + x
                        m = (weight1 * w + weight * w1) * load(v + s)
                        m = m + weight * w * load(v1 + s)
                        store(gg + y, load(gg + y) + m)
                        m = (curvature * u + slope * u1) * load(k + s)
                        m = m + slope * u * load(k1 + s)
                        store(gq + y, load(gq + y) + m)
                        m = (curvature_out * u + slope_out * u1) * load(q + s)
                        m = m + slope_out * u * load(q1 + s)
                        store(gk + y, load(gk + y) + m)
                        m = (weight1_out * w + weight_out * w1) * load(g + s)
                        store(gv + y, load(gv + y) + m)
    scratch[0] = 0.0


@Kernel
def curvatures_of_tables(data: int) -> None:
    """The gradients by U and W.

    Arguments: rows; P, heads, d, taps; i, j, begin, order, B, B', q, k, v, g, q', k', v' [N, d],
    a, a', λ and μ [4, P, 2, heads], gU, gW [K, d].
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
    turned = floats(args[11], P, taps)
    q = args[12]
    k = args[13]
    v = args[14]
    g = args[15]
    q1 = args[16]
    k1 = args[17]
    v1 = args[18]
    size = 4 * padded(2 * P * heads)
    a = floats(args[19], P, 2 * heads)
    a1 = floats(args[19] + size, P, 2 * heads)
    lam = floats(args[19] + 2 * size, P, 2 * heads)
    mu = floats(args[19] + 3 * size, P, 2 * heads)
    gU = args[20]
    gW = args[21]
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
                b1 = tap_weights(turned, p)
                ai = i[p] * row
                aj = j[p] * row
                for head in range(heads):
                    a_there = fill(a[p, head])
                    a_back = fill(a[p, heads + head])
                    a1_there = fill(a1[p, head])
                    a1_back = fill(a1[p, heads + head])
                    l_there = fill(lam[p, head])
                    l_back = fill(lam[p, heads + head])
                    mu_there = fill(mu[p, head])
                    mu_back = fill(mu[p, heads + head])
                    for x in range(head * width, (head + 1) * width, 32):
                        s = ai + x
                        t = aj + x
                        there = load(q + s) * load(k + t)
                        back = load(q + t) * load(k + s)
                        m1 = load(q1 + s) * load(k + t) + load(q + s) * load(k1 + t)
                        m = mu_there * there + l_there * m1
                        m1 = load(q1 + t) * load(k + s) + load(q + t) * load(k1 + s)
                        m = m + mu_back * back + l_back * m1
                        m1 = l_there * there + l_back * back
                        add_two_to_rows(gU + at * row + x, row, taps, low, high, b, m, b1, m1)
                        there = load(g + s) * load(v + t)
                        back = load(g + t) * load(v + s)
                        m = a1_there * there + a_there * (load(g + s) * load(v1 + t))
                        m = m + a1_back * back + a_back * (load(g + t) * load(v1 + s))
                        m1 = a_there * there + a_back * back
                        add_two_to_rows(gW + at * row + x, row, taps, low, high, b, m, b1, m1)
