"""Loops of attention, F = Σ_{a←b} Σ_heads A_ab (q_a · k_b ∘ w)."""

import numpy as np

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
def logits(data: int) -> None:
    """out_ab = Σ_head q_a ∘ k_b ∘ w.

    Arguments: pairs; taps, heads, d; i, j, node, B, T, q, k [N, d], out [2P, heads].
    """
    args = arguments(data)
    P = args[1]
    taps = args[2]
    heads = args[3]
    row = 4 * args[4]
    i = ints(args[5], P)
    j = ints(args[6], P)
    node = ints(args[7], P)
    B = floats(args[8], P, taps)
    T = args[9]
    q = args[10]
    k = args[11]
    out = floats(args[12], 2 * P, heads)
    width = row // heads
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + PAIRS, P)):
            b = tap_weights(B, p)
            at = T + node[p] * row
            ai = i[p] * row
            aj = j[p] * row
            for head in range(heads):
                there = fill(np.float32(0.0))
                back = fill(np.float32(0.0))
                for c in range(head * width, (head + 1) * width, 32):
                    w = filter_at(at + c, row, taps, b)
                    there = there + w * (load(q + ai + c) * load(k + aj + c))
                    back = back + w * (load(q + aj + c) * load(k + ai + c))
                out[p, head] = total(there)
                out[P + p, head] = total(back)


@Kernel
def attention_sum(data: int) -> None:
    """out_a = Σ_b A_ab w ∘ k_b, with flip = 1 out_b = Σ_a A_ab w ∘ k_a.

    Arguments: atoms; P, taps, heads, d, flip; start, sources, edges, node, B, T, A [2P, heads],
    k [N, d], out [N, d].
    """
    args = arguments(data)
    n = args[1]
    P = args[2]
    taps = args[3]
    heads = args[4]
    row = 4 * args[5]
    flip = args[6]
    start = ints(args[7], n + 1)
    sources = ints(args[8], 2 * P)
    edges = ints(args[9], 2 * P)
    node = ints(args[10], P)
    B = floats(args[11], P, taps)
    T = args[12]
    A = floats(args[13], 2 * P, heads)
    k = args[14]
    out = args[15]
    width = row // heads
    while True:
        first = draw(data, ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + ATOMS, n)):
            target = out + a * row
            fill_zeros(target, row)
            for e in range(start[a], start[a + 1]):
                way = 0 if edges[e] < P else P
                p = edges[e] - way
                by = edges[e] if flip == 0 else p + P - way
                b = tap_weights(B, p)
                at = T + node[p] * row
                source = k + sources[e] * row
                for head in range(heads):
                    weight = fill(A[by, head])
                    for c in range(head * width, (head + 1) * width, 32):
                        store(
                            target + c,
                            load(target + c)
                            + weight * (filter_at(at + c, row, taps, b) * load(source + c)),
                        )


@Kernel
def attention_dot(data: int) -> None:
    """out_p = Σ over both ways of A_ab q_a · k_b ∘ w.

    Arguments: pairs; taps, heads, d; i, j, node, B, T, A [2P, heads], q, k [N, d], out [P].
    """
    args = arguments(data)
    P = args[1]
    taps = args[2]
    heads = args[3]
    row = 4 * args[4]
    i = ints(args[5], P)
    j = ints(args[6], P)
    node = ints(args[7], P)
    B = floats(args[8], P, taps)
    T = args[9]
    A = floats(args[10], 2 * P, heads)
    q = args[11]
    k = args[12]
    out = floats(args[13], P, 1)
    width = row // heads
    while True:
        first = draw(data, PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + PAIRS, P)):
            b = tap_weights(B, p)
            at = T + node[p] * row
            ai = i[p] * row
            aj = j[p] * row
            s = fill(np.float32(0.0))
            for head in range(heads):
                there = fill(A[p, head])
                back = fill(A[P + p, head])
                for c in range(head * width, (head + 1) * width, 32):
                    m = there * (load(q + ai + c) * load(k + aj + c)) + back * (
                        load(q + aj + c) * load(k + ai + c)
                    )
                    s = s + m * filter_at(at + c, row, taps, b)
            out[p, 0] = total(s)


@Kernel
def attention_table(data: int) -> None:
    """The derivative by T.

    Arguments: rows; P, taps, heads, d; i, j, begin, order, B, A [2P, heads], q, k [N, d], out
    [K, d].
    """
    args = arguments(data)
    K = args[1]
    P = args[2]
    taps = args[3]
    heads = args[4]
    row = 4 * args[5]
    i = ints(args[6], P)
    j = ints(args[7], P)
    begin = ints(args[8], K + 1)
    order = ints(args[9], P)
    B = floats(args[10], P, taps)
    A = floats(args[11], 2 * P, heads)
    q = args[12]
    k = args[13]
    out = args[14]
    width = row // heads
    while True:
        first = draw(data, ROWS)
        if first >= K:
            break
        last = min(first + ROWS, K)
        fill_zeros(out + first * row, (last - first) * row)
        for at in range(max(first - taps + 1, 0), last):
            target = out + at * row
            low = max(first - at, 0)
            high = min(last - at, taps)
            for e in range(begin[at], begin[at + 1]):
                p = order[e]
                b = tap_weights(B, p)
                ai = i[p] * row
                aj = j[p] * row
                for head in range(heads):
                    there = fill(A[p, head])
                    back = fill(A[P + p, head])
                    for c in range(head * width, (head + 1) * width, 32):
                        m = there * (load(q + ai + c) * load(k + aj + c))
                        m = m + back * (load(q + aj + c) * load(k + ai + c))
                        add_to_rows(target + c, row, taps, low, high, b, m)
