"""The Triton kernels: sums over the neighbors of an atom, over the features of a pair, and over the
pairs of a table's row.

A program works on a tile of E edges or pairs times D features. A pair's filter w_p [d] is a
weighted sum of TAPS consecutive rows of a table T [K, d],

    w_p = Σ_t B_pt T_{node_p + t},

a spline over distance (four taps), or its own row p times B_p, or the row alone (one tap, B None).
Directed edges are numbered so that edge p < P is i ← j (i receives from j) and edge P + p is j ← i;
`start`, `source`, `edge` list for every atom its sources, and by which edge. All features are
float32, all indices int64, and everything is contiguous. Widths are known when a kernel is
compiled, so that rows are read four numbers at a time; the number of pairs is not, so that batches
of every size share one compiled kernel.

The three forms are told apart by FORM: CFCONV, ATTENTION, VECTORS, with arguments

    CFCONV      Σ w ∘ (g_a · u_b)            x: none;  g, u [N, X, d], X = 1 or 3
    ATTENTION   Σ A_ab (g_a · u_b ∘ w)       x: A [2P, heads];  g, u [N, d]
    VECTORS     Σ r_ab · g_a ∘ w ∘ u_b       x: r [P, 3];  g [N, 3, d], u [N, d]
"""

# pyright: reportGeneralTypeIssues=false
# the bodies of kernels are read by Triton, not by Python: there a static_range can be iterated

import triton
import triton.language as tl

CFCONV = tl.constexpr(0)
ATTENTION = tl.constexpr(1)
VECTORS = tl.constexpr(2)


@triton.jit
def _filters(B, T, p, c, inside, row, mask, d, TAPS: tl.constexpr):
    """w [E, D] of pairs p [E] at features c [D]; row [E]: their first rows.

    inside [E], mask [E, D]: what is there.
    """
    if TAPS == 1:
        w = tl.load(T + p[:, None] * d + c[None, :], mask=mask, other=0.0)
        if B is not None:
            w = w * tl.load(B + p, mask=inside, other=0.0)[:, None]
    else:
        at = T + row[:, None] * d + c[None, :]
        w = tl.load(B + p * 4, mask=inside, other=0.0)[:, None] * tl.load(at, mask=mask, other=0.0)
        for t in tl.static_range(1, 4):
            b = tl.load(B + p * 4 + t, mask=inside, other=0.0)[:, None]
            w += b * tl.load(at + t * d, mask=mask, other=0.0)
    return w


@triton.jit
def _first_rows(node, p, inside, TAPS: tl.constexpr):
    """First rows of the pairs p in the table; of one tap, they are not used."""
    if TAPS == 1:
        row = p
    else:
        row = tl.load(node + p, mask=inside, other=0)
    return row


@triton.jit
def _along(g, x, p, i, c, inside, mask, d):
    """r · g_i, [E, D]."""
    at = g + i[:, None] * (3 * d) + c[None, :]
    rx = tl.load(x + p * 3, mask=inside, other=0.0)[:, None]
    ry = tl.load(x + p * 3 + 1, mask=inside, other=0.0)[:, None]
    rz = tl.load(x + p * 3 + 2, mask=inside, other=0.0)[:, None]
    along = rx * tl.load(at, mask=mask, other=0.0)
    along += ry * tl.load(at + d, mask=mask, other=0.0)
    along += rz * tl.load(at + 2 * d, mask=mask, other=0.0)
    return along


@triton.jit
def _product(x, g, u, p, i, j, c, inside, mask, P, d, heads, FORM: tl.constexpr, X: tl.constexpr):
    """What stands beside w_p in a form, summed over both edges of pairs p [E]: [E, D]."""
    if FORM == CFCONV:
        gi = g + i[:, None] * (X * d) + c[None, :]
        gj = g + j[:, None] * (X * d) + c[None, :]
        ui = u + i[:, None] * (X * d) + c[None, :]
        uj = u + j[:, None] * (X * d) + c[None, :]
        m = tl.load(gi, mask=mask, other=0.0) * tl.load(uj, mask=mask, other=0.0)
        m += tl.load(gj, mask=mask, other=0.0) * tl.load(ui, mask=mask, other=0.0)
        for k in tl.static_range(1, X):
            m += tl.load(gi + k * d, mask=mask, other=0.0) * tl.load(
                uj + k * d, mask=mask, other=0.0
            )
            m += tl.load(gj + k * d, mask=mask, other=0.0) * tl.load(
                ui + k * d, mask=mask, other=0.0
            )
    else:
        ui = tl.load(u + i[:, None] * d + c[None, :], mask=mask, other=0.0)
        uj = tl.load(u + j[:, None] * d + c[None, :], mask=mask, other=0.0)
        if FORM == ATTENTION:
            gi = tl.load(g + i[:, None] * d + c[None, :], mask=mask, other=0.0)
            gj = tl.load(g + j[:, None] * d + c[None, :], mask=mask, other=0.0)
            head = c // (d // heads)
            at = x + p[:, None] * heads + head[None, :]
            m = tl.load(at, mask=mask, other=0.0) * (gi * uj)
            m += tl.load(at + P * heads, mask=mask, other=0.0) * (gj * ui)
        else:
            m = _along(g, x, p, i, c, inside, mask, d) * uj
            m -= _along(g, x, p, j, c, inside, mask, d) * ui
    return m


# --------------------------------------------------------------------------------------------------
# sums over the neighbors of an atom: one program an atom and D features


@triton.jit(do_not_specialize=["P"])
def cfconv_sum(
    start, source, edge, node, B, T, u, out, P, d: tl.constexpr,
    TAPS: tl.constexpr, X: tl.constexpr, E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """out_a = Σ_b w ∘ u_b, [N, X, d]."""
    a = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * D + tl.arange(0, D)
    first = tl.load(start + a)
    last = tl.load(start + a + 1)
    sum0 = tl.zeros([E, D], dtype=tl.float32)
    sum1 = tl.zeros([E, D], dtype=tl.float32)
    sum2 = tl.zeros([E, D], dtype=tl.float32)
    for e in range(first, last, E):
        n = e + tl.arange(0, E)
        inside = n < last
        mask = inside[:, None] & (c < d)[None, :]
        b = tl.load(source + n, mask=inside, other=0)
        p = tl.load(edge + n, mask=inside, other=0)
        p = tl.where(p < P, p, p - P)
        row = _first_rows(node, p, inside, TAPS)
        w = _filters(B, T, p, c, inside, row, mask, d, TAPS)
        at = u + b[:, None] * (X * d) + c[None, :]
        sum0 += w * tl.load(at, mask=mask, other=0.0)
        if X == 3:
            sum1 += w * tl.load(at + d, mask=mask, other=0.0)
            sum2 += w * tl.load(at + 2 * d, mask=mask, other=0.0)
    to = out + a * X * d + c
    tl.store(to, tl.sum(sum0, axis=0), mask=c < d)
    if X == 3:
        tl.store(to + d, tl.sum(sum1, axis=0), mask=c < d)
        tl.store(to + 2 * d, tl.sum(sum2, axis=0), mask=c < d)


@triton.jit(do_not_specialize=["P"])
def attention_sum(
    start, source, edge, node, B, T, A, k, out, P, d: tl.constexpr, heads: tl.constexpr,
    FLIP: tl.constexpr, TAPS: tl.constexpr, E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """out_a = Σ_b A_ab w ∘ k_b, with FLIP = 1 out_b = Σ_a A_ab w ∘ k_a: [N, d]."""
    a = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * D + tl.arange(0, D)
    head = c // (d // heads)
    first = tl.load(start + a)
    last = tl.load(start + a + 1)
    total = tl.zeros([E, D], dtype=tl.float32)
    for e in range(first, last, E):
        n = e + tl.arange(0, E)
        inside = n < last
        mask = inside[:, None] & (c < d)[None, :]
        b = tl.load(source + n, mask=inside, other=0)
        there = tl.load(edge + n, mask=inside, other=0)
        p = tl.where(there < P, there, there - P)
        by = there
        if FLIP == 1:
            by = tl.where(there < P, there + P, there - P)
        row = _first_rows(node, p, inside, TAPS)
        w = _filters(B, T, p, c, inside, row, mask, d, TAPS)
        weight = tl.load(A + by[:, None] * heads + head[None, :], mask=mask, other=0.0)
        total += weight * (w * tl.load(k + b[:, None] * d + c[None, :], mask=mask, other=0.0))
    tl.store(out + a * d + c, tl.sum(total, axis=0), mask=c < d)


@triton.jit(do_not_specialize=["P"])
def vectors_vectors(
    start, source, edge, node, B, T, r, s, out, P, d: tl.constexpr,
    TAPS: tl.constexpr, E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """out_a = Σ_b r_ab w ∘ s_b, [N, 3, d]."""
    a = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * D + tl.arange(0, D)
    first = tl.load(start + a)
    last = tl.load(start + a + 1)
    x = tl.zeros([E, D], dtype=tl.float32)
    y = tl.zeros([E, D], dtype=tl.float32)
    z = tl.zeros([E, D], dtype=tl.float32)
    for e in range(first, last, E):
        n = e + tl.arange(0, E)
        inside = n < last
        mask = inside[:, None] & (c < d)[None, :]
        b = tl.load(source + n, mask=inside, other=0)
        there = tl.load(edge + n, mask=inside, other=0)
        p = tl.where(there < P, there, there - P)
        sign = tl.where(there < P, 1.0, -1.0)
        row = _first_rows(node, p, inside, TAPS)
        w = _filters(B, T, p, c, inside, row, mask, d, TAPS)
        m = w * tl.load(s + b[:, None] * d + c[None, :], mask=mask, other=0.0)
        x += (sign * tl.load(r + p * 3, mask=inside, other=0.0))[:, None] * m
        y += (sign * tl.load(r + p * 3 + 1, mask=inside, other=0.0))[:, None] * m
        z += (sign * tl.load(r + p * 3 + 2, mask=inside, other=0.0))[:, None] * m
    to = out + a * 3 * d + c
    tl.store(to, tl.sum(x, axis=0), mask=c < d)
    tl.store(to + d, tl.sum(y, axis=0), mask=c < d)
    tl.store(to + 2 * d, tl.sum(z, axis=0), mask=c < d)


@triton.jit(do_not_specialize=["P"])
def vectors_scalars(
    start, source, edge, node, B, T, r, g, out, P, d: tl.constexpr,
    TAPS: tl.constexpr, E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """out_b = Σ_a w ∘ (r_ab · g_a), [N, d]."""
    b = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * D + tl.arange(0, D)
    first = tl.load(start + b)
    last = tl.load(start + b + 1)
    total = tl.zeros([E, D], dtype=tl.float32)
    for e in range(first, last, E):
        n = e + tl.arange(0, E)
        inside = n < last
        mask = inside[:, None] & (c < d)[None, :]
        a = tl.load(source + n, mask=inside, other=0)
        there = tl.load(edge + n, mask=inside, other=0)
        p = tl.where(there < P, there, there - P)
        # r_ab: this is the edge b ← a, seen from b
        sign = tl.where(there < P, -1.0, 1.0)
        row = _first_rows(node, p, inside, TAPS)
        w = _filters(B, T, p, c, inside, row, mask, d, TAPS)
        total += w * (sign[:, None] * _along(g, r, p, a, c, inside, mask, d))
    tl.store(out + b * d + c, tl.sum(total, axis=0), mask=c < d)


# --------------------------------------------------------------------------------------------------
# sums over the features of a pair: one program E pairs


@triton.jit(do_not_specialize=["P"])
def pair_dot(
    i, j, node, B, T, x, g, u, out, P, d: tl.constexpr, heads: tl.constexpr,
    FORM: tl.constexpr, X: tl.constexpr, TAPS: tl.constexpr, E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """out_p = w · m_p with the product m of the form: its derivative by the factor, [P]."""
    p = tl.program_id(0).to(tl.int64) * E + tl.arange(0, E)
    inside = p < P
    pi = tl.load(i + p, mask=inside, other=0)
    pj = tl.load(j + p, mask=inside, other=0)
    row = _first_rows(node, p, inside, TAPS)
    total = tl.zeros([E, D], dtype=tl.float32)
    for first in range(0, d, D):
        c = first + tl.arange(0, D)
        mask = inside[:, None] & (c < d)[None, :]
        m = _product(x, g, u, p, pi, pj, c, inside, mask, P, d, heads, FORM, X)
        total += m * _filters(B, T, p, c, inside, row, mask, d, TAPS)
    tl.store(out + p, tl.sum(total, axis=1), mask=inside)


@triton.jit(do_not_specialize=["P"])
def logits(
    i, j, node, B, T, q, k, out, P, width: tl.constexpr, heads: tl.constexpr,
    TAPS: tl.constexpr, E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """out_ab = Σ_head q_a ∘ k_b ∘ w, [2P, heads]; a program works on one head, `width` wide."""
    p = tl.program_id(0).to(tl.int64) * E + tl.arange(0, E)
    head = tl.program_id(1)
    d = width * heads
    inside = p < P
    pi = tl.load(i + p, mask=inside, other=0)
    pj = tl.load(j + p, mask=inside, other=0)
    row = _first_rows(node, p, inside, TAPS)
    there = tl.zeros([E, D], dtype=tl.float32)
    back = tl.zeros([E, D], dtype=tl.float32)
    for first in range(0, width, D):
        within = first + tl.arange(0, D)
        c = head * width + within
        mask = inside[:, None] & (within < width)[None, :]
        w = _filters(B, T, p, c, inside, row, mask, d, TAPS)
        qi = tl.load(q + pi[:, None] * d + c[None, :], mask=mask, other=0.0)
        kj = tl.load(k + pj[:, None] * d + c[None, :], mask=mask, other=0.0)
        there += w * (qi * kj)
        qj = tl.load(q + pj[:, None] * d + c[None, :], mask=mask, other=0.0)
        ki = tl.load(k + pi[:, None] * d + c[None, :], mask=mask, other=0.0)
        back += w * (qj * ki)
    tl.store(out + p * heads + head, tl.sum(there, axis=1), mask=inside)
    tl.store(out + (P + p) * heads + head, tl.sum(back, axis=1), mask=inside)


@triton.jit(do_not_specialize=["P"])
def vectors_pairs(
    i, j, node, B, T, g, s, out, P, d: tl.constexpr,
    TAPS: tl.constexpr, E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """out_p = Σ_c w ∘ (g_i ∘ s_j − g_j ∘ s_i), [P, 3]."""
    p = tl.program_id(0).to(tl.int64) * E + tl.arange(0, E)
    inside = p < P
    pi = tl.load(i + p, mask=inside, other=0)
    pj = tl.load(j + p, mask=inside, other=0)
    row = _first_rows(node, p, inside, TAPS)
    x = tl.zeros([E, D], dtype=tl.float32)
    y = tl.zeros([E, D], dtype=tl.float32)
    z = tl.zeros([E, D], dtype=tl.float32)
    for first in range(0, d, D):
        c = first + tl.arange(0, D)
        mask = inside[:, None] & (c < d)[None, :]
        w = _filters(B, T, p, c, inside, row, mask, d, TAPS)
        wi = w * tl.load(s + pi[:, None] * d + c[None, :], mask=mask, other=0.0)
        wj = w * tl.load(s + pj[:, None] * d + c[None, :], mask=mask, other=0.0)
        gi = g + pi[:, None] * (3 * d) + c[None, :]
        gj = g + pj[:, None] * (3 * d) + c[None, :]
        x += tl.load(gi, mask=mask, other=0.0) * wj - tl.load(gj, mask=mask, other=0.0) * wi
        y += tl.load(gi + d, mask=mask, other=0.0) * wj
        y -= tl.load(gj + d, mask=mask, other=0.0) * wi
        z += tl.load(gi + 2 * d, mask=mask, other=0.0) * wj
        z -= tl.load(gj + 2 * d, mask=mask, other=0.0) * wi
    tl.store(out + p * 3, tl.sum(x, axis=1), mask=inside)
    tl.store(out + p * 3 + 1, tl.sum(y, axis=1), mask=inside)
    tl.store(out + p * 3 + 2, tl.sum(z, axis=1), mask=inside)


# --------------------------------------------------------------------------------------------------
# the derivative by the rows of filters


@triton.jit(do_not_specialize=["P"])
def own_rows(
    i, j, B, x, g, u, out, P, d: tl.constexpr, heads: tl.constexpr,
    FORM: tl.constexpr, X: tl.constexpr, E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """out_p = B_p m_p: the derivative by rows of the pairs' own, [P, d]."""
    p = tl.program_id(0).to(tl.int64) * E + tl.arange(0, E)
    c = tl.program_id(1) * D + tl.arange(0, D)
    inside = p < P
    mask = inside[:, None] & (c < d)[None, :]
    pi = tl.load(i + p, mask=inside, other=0)
    pj = tl.load(j + p, mask=inside, other=0)
    m = _product(x, g, u, p, pi, pj, c, inside, mask, P, d, heads, FORM, X)
    if B is not None:
        m = m * tl.load(B + p, mask=inside, other=0.0)[:, None]
    tl.store(out + p[:, None] * d + c[None, :], m, mask=mask)


@triton.jit(do_not_specialize=["P", "cells", "shares"])
def table_cells(
    i, j, begin, order, B, x, g, u, out, P, cells, shares, d: tl.constexpr, heads: tl.constexpr,
    FORM: tl.constexpr, X: tl.constexpr, E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """What a share of the pairs of one cell gives to its four rows, Σ_p B_pt m_p.

    out [shares, cells, 4, d]. Distances crowd at bond lengths, so one cell may hold most pairs:
    that many programs go over it, E pairs at a time in turns.
    """
    q = tl.program_id(0).to(tl.int64)
    share = tl.program_id(1)
    c = tl.program_id(2) * D + tl.arange(0, D)
    first = tl.load(begin + q)
    last = tl.load(begin + q + 1)
    row0 = tl.zeros([E, D], dtype=tl.float32)
    row1 = tl.zeros([E, D], dtype=tl.float32)
    row2 = tl.zeros([E, D], dtype=tl.float32)
    row3 = tl.zeros([E, D], dtype=tl.float32)
    for e in range(first + share * E, last, shares * E):
        n = e + tl.arange(0, E)
        inside = n < last
        mask = inside[:, None] & (c < d)[None, :]
        p = tl.load(order + n, mask=inside, other=0)
        pi = tl.load(i + p, mask=inside, other=0)
        pj = tl.load(j + p, mask=inside, other=0)
        m = _product(x, g, u, p, pi, pj, c, inside, mask, P, d, heads, FORM, X)
        row0 += tl.load(B + p * 4, mask=inside, other=0.0)[:, None] * m
        row1 += tl.load(B + p * 4 + 1, mask=inside, other=0.0)[:, None] * m
        row2 += tl.load(B + p * 4 + 2, mask=inside, other=0.0)[:, None] * m
        row3 += tl.load(B + p * 4 + 3, mask=inside, other=0.0)[:, None] * m
    to = out + (share * cells + q) * 4 * d + c
    tl.store(to, tl.sum(row0, axis=0), mask=c < d)
    tl.store(to + d, tl.sum(row1, axis=0), mask=c < d)
    tl.store(to + 2 * d, tl.sum(row2, axis=0), mask=c < d)
    tl.store(to + 3 * d, tl.sum(row3, axis=0), mask=c < d)
