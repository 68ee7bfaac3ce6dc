"""Loops of tensor products, F = Σ_{a←b} Σ_q A_abq g_a[into_q] ∘ R_p[path_q] ∘ x_b[from_q].

Features have several rows of d channels, one for each component of each degree. A term q of the
product takes row from_q of the source to row into_q of the target, by a number A of the edge and by
the filter R of its path, which belongs to the pair. Terms are listed as rows of `terms` [4, Q]
(number of the term in A, path, into, from), in an order in which equal paths and rows follow each
other.
"""

import numpy as np

from scdlab.nn.ops.loops.rows import ATOMS, PAIRS, arguments, fill_zeros
from scdlab.nn.ops.runtime import Kernel
from scdlab.nn.ops.simd import draw, fill, floats, ints, load, store, total


@Kernel
def products_sum(data: int) -> None:
    """out_a[into] = Σ_b Σ_q A_abq R_p[path] ∘ x_b[from], or with `flip`, A of the edge b ← a.

    Arguments: atoms; P, Q, d, paths, rows of x, rows of out, flip; start, sources, edges, terms
    [4, Q], A [2P, Q], R [P, paths, d], x [N, rows, d], out [N, rows, d].
    """
    args = arguments(data)
    n = args[1]
    P = args[2]
    Q = args[3]
    row = 4 * args[4]
    filters = args[5] * row
    of_source = args[6] * row
    of_target = args[7] * row
    flip = args[8]
    start = ints(args[9], n + 1)
    sources = ints(args[10], 2 * P)
    edges = ints(args[11], 2 * P)
    terms = ints(args[12], 4 * Q)
    A = floats(args[13], 2 * P, Q)
    R = args[14]
    x = args[15]
    out = args[16]
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + ATOMS, n)):
            target = out + a * of_target
            fill_zeros(target, of_target)
            for k in range(start[a], start[a + 1]):
                edge = edges[k]
                p = edge if edge < P else edge - P
                if flip:
                    edge = edge + P if edge < P else p
                w = R + p * filters
                source = x + sources[k] * of_source
                for c in range(0, row, 32):
                    m = fill(np.float32(0.0))
                    path = -1
                    held = -1
                    for q in range(Q):
                        if terms[Q + q] != path or terms[3 * Q + q] != held:
                            path = terms[Q + q]
                            held = terms[3 * Q + q]
                            m = load(w + path * row + c) * load(source + held * row + c)
                        at = target + terms[2 * Q + q] * row + c
                        store(at, load(at) + fill(A[edge, terms[q]]) * m)


@Kernel
def products_filters(data: int) -> None:
    """out_p[path] = Σ_q A_ijq g_i[into] ∘ x_j[from] + A_jiq g_j[into] ∘ x_i[from].

    Arguments: pairs; Q, d, paths, rows of g, rows of x; i, j, terms, A [2P, Q], g, x, out [P,
    paths, d].
    """
    args = arguments(data)
    P = args[1]
    Q = args[2]
    row = 4 * args[3]
    filters = args[4] * row
    of_target = args[5] * row
    of_source = args[6] * row
    i = ints(args[7], P)
    j = ints(args[8], P)
    terms = ints(args[9], 4 * Q)
    A = floats(args[10], 2 * P, Q)
    g = args[11]
    x = args[12]
    out = args[13]
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + PAIRS, P)):
            w = out + p * filters
            gi = g + i[p] * of_target
            gj = g + j[p] * of_target
            xi = x + i[p] * of_source
            xj = x + j[p] * of_source
            for c in range(0, row, 32):
                m = fill(np.float32(0.0))
                for q in range(Q):
                    to = terms[2 * Q + q] * row + c
                    at = terms[3 * Q + q] * row + c
                    m = m + fill(A[p, terms[q]]) * load(gi + to) * load(xj + at)
                    m = m + fill(A[P + p, terms[q]]) * load(gj + to) * load(xi + at)
                    if q == Q - 1 or terms[Q + q + 1] != terms[Q + q]:  # the path's last term
                        store(w + terms[Q + q] * row + c, m)
                        m = fill(np.float32(0.0))


@Kernel
def products_numbers(data: int) -> None:
    """out_abq = Σ_c g_a[into] ∘ R_p[path] ∘ x_b[from].

    Arguments: pairs; Q, d, paths, rows of g, rows of x; i, j, terms, R, g, x, out [2P, Q].
    """
    args = arguments(data)
    P = args[1]
    Q = args[2]
    row = 4 * args[3]
    filters = args[4] * row
    of_target = args[5] * row
    of_source = args[6] * row
    i = ints(args[7], P)
    j = ints(args[8], P)
    terms = ints(args[9], 4 * Q)
    R = args[10]
    g = args[11]
    x = args[12]
    out = floats(args[13], 2 * P, Q)
    zero = fill(np.float32(0.0))
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + PAIRS, P)):
            w = R + p * filters
            gi = g + i[p] * of_target
            gj = g + j[p] * of_target
            xi = x + i[p] * of_source
            xj = x + j[p] * of_source
            for q in range(Q):
                of_path = w + terms[Q + q] * row
                to = terms[2 * Q + q] * row
                at = terms[3 * Q + q] * row
                there = zero
                back = zero
                for c in range(0, row, 32):
                    r = load(of_path + c)
                    there = there + r * load(gi + to + c) * load(xj + at + c)
                    back = back + r * load(gj + to + c) * load(xi + at + c)
                out[p, terms[q]] = total(there)
                out[P + p, terms[q]] = total(back)
