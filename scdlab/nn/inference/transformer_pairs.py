"""What the pairs of a layer of the equivariant transformer do: the loops of `transformer`.

`linear` holds queries, keys, and the values of y, s¹ and s² of an atom beside one another, a row of
the table dk, and dv of y, s¹ and s². Of two numbers named 0 and 1, the first belongs to the message
from atom j to atom i, the second to the one back.
"""

from typing import Any

import numpy as np

from scdlab.compiling import compiled, within
from scdlab.nn.ops.simd import exp, fill, keep_apart, like, load_like, store, total, word

from .geometry import Geometry
from .messages import add_to
from .radial_tables import read, read_both, taps
from .shares import start_of


@within
def _activate(one: Any, logits: int, size: int, eight: int, actives: int) -> None:
    """x / (1 + e⁻ˣ) of `size` bytes of logits."""
    ones = fill(like(1.0, one))
    for c in range(0, size, eight):
        x = load_like(logits + c, one)
        store(actives + c, x / (ones + exp(fill(like(0.0, one)) - x)))


@compiled
def receive(
    low: int,
    high: int,
    pairs: Geometry,
    table: np.ndarray,
    linear: np.ndarray,
    scaled: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
    heads: int,
    logits: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
) -> None:
    """Add up what each atom receives from its neighbors.

    Parameters
    ----------
    low, high : int
        Which pairs.
    pairs : Geometry
        The pairs, P of them.
    table : ndarray
        Functions of the distance, [nodes, 3, 4d].
    linear : ndarray
        [N, 5d].
    scaled : ndarray
        Vectors times the values of s¹, [N, 3, d].
    has_vectors, gives_vectors : bool
        Whether there are vectors, and whether new ones are needed.
    heads : int
        Number of heads; each is a multiple of eight wide.
    logits : ndarray
        Written: those of both directions, [P, 2 heads or more, a multiple of eight].
    y, w : ndarray
        Added to: scalars [N, d] and vectors [N, 3, d].
    """
    keep_apart()
    one = linear[0, 0]
    eight = 8 * word(one)
    d = scaled.shape[2] * word(one)
    width = d // heads
    functions = start_of(table)
    lines = start_of(linear)
    vectors = start_of(scaled)
    scalars_out = start_of(y)
    vectors_out = start_of(w)
    both = logits.shape[1] * word(one)
    all_logits = start_of(logits)
    active = np.empty(logits.shape[1], logits.dtype)
    actives = start_of(active)
    row = 4 * d
    for p in range(low, high):
        at = functions + 3 * row * pairs.node[p]
        following = functions + 3 * row * pairs.node[min(p + 1, high - 1)]
        i = pairs.i[p]
        j = pairs.j[p]
        line_i = lines + 5 * d * i
        line_j = lines + 5 * d * j
        t = taps(pairs.weights, p)
        for head in range(heads):
            logit_0 = fill(like(0.0, one))
            logit_1 = fill(like(0.0, one))
            for c in range(head * width, (head + 1) * width, eight):
                dk = read(one, at + c, row, following + c, t)
                qk_0 = load_like(line_i + c, one) * load_like(line_j + d + c, one)
                qk_1 = load_like(line_j + c, one) * load_like(line_i + d + c, one)
                logit_0 = logit_0 + qk_0 * dk
                logit_1 = logit_1 + qk_1 * dk
            logits[p, 2 * head] = total(logit_0)
            logits[p, 2 * head + 1] = total(logit_1)
        _activate(one, all_logits + both * p, both, eight, actives)

        at += d
        following += d
        for head in range(heads):
            active_0 = fill(active[2 * head])
            active_1 = fill(active[2 * head + 1])
            for c in range(head * width, (head + 1) * width, eight):
                dv = read(one, at + c, row, following + c, t)
                y_j = load_like(line_j + 2 * d + c, one)
                y_i = load_like(line_i + 2 * d + c, one)
                add_to(scalars_out + d * i + c, one, active_0 * dv * y_j)
                add_to(scalars_out + d * j + c, one, active_1 * dv * y_i)
        if not gives_vectors:
            continue

        at += d
        following += d
        for c in range(0, d, eight):
            dv_2 = read(one, at + d + c, row, following + d + c, t)
            along_0 = dv_2 * load_like(line_j + 4 * d + c, one)
            along_1 = dv_2 * load_like(line_i + 4 * d + c, one)
            if has_vectors:
                dv_1 = read(one, at + c, row, following + c, t)
                for axis in range(3):
                    u = fill(pairs.unit[p, axis])
                    at_i = (3 * i + axis) * d + c
                    at_j = (3 * j + axis) * d + c
                    message_0 = u * along_0 + dv_1 * load_like(vectors + at_j, one)
                    message_1 = dv_1 * load_like(vectors + at_i, one) - u * along_1
                    add_to(vectors_out + at_i, one, message_0)
                    add_to(vectors_out + at_j, one, message_1)
            else:
                for axis in range(3):
                    u = fill(pairs.unit[p, axis])
                    add_to(vectors_out + (3 * i + axis) * d + c, one, u * along_0)
                    add_to(
                        vectors_out + (3 * j + axis) * d + c,
                        one,
                        fill(like(0.0, one)) - u * along_1,
                    )


@compiled
def receive_back(
    low: int,
    high: int,
    pairs: Geometry,
    table: np.ndarray,
    linear: np.ndarray,
    scaled: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
    heads: int,
    logits: np.ndarray,
    gy: np.ndarray,
    gw: np.ndarray,
    glinear: np.ndarray,
    gscaled: np.ndarray,
    gr: np.ndarray,
    gunit: np.ndarray,
) -> None:
    """The derivatives of `receive`, from those by what it gives: gy [N, d] and gw [N, 3, d].

    Adds to glinear [N, 5d], gscaled [N, 3, d], gr [P] and gunit [P, 3]; the other arguments are
    those of `receive`.
    """
    keep_apart()
    one = linear[0, 0]
    eight = 8 * word(one)
    d = scaled.shape[2] * word(one)
    width = d // heads
    functions = start_of(table)
    lines = start_of(linear)
    vectors = start_of(scaled)
    glines = start_of(glinear)
    gvectors = start_of(gscaled)
    scalars_in = start_of(gy)
    vectors_in = start_of(gw)
    both = logits.shape[1] * word(one)
    all_logits = start_of(logits)
    active = np.empty(logits.shape[1], logits.dtype)
    actives = start_of(active)
    slope = np.zeros(logits.shape[1], logits.dtype)  # of what becomes of the logits; then times g
    row = 4 * d
    for p in range(low, high):
        at = functions + 3 * row * pairs.node[p] + d
        following = functions + 3 * row * pairs.node[min(p + 1, high - 1)] + d
        i = pairs.i[p]
        j = pairs.j[p]
        line_i = lines + 5 * d * i
        line_j = lines + 5 * d * j
        gline_i = glines + 5 * d * i
        gline_j = glines + 5 * d * j
        t = taps(pairs.weights, p)
        s = taps(pairs.slopes, p)
        by_distance = fill(like(0.0, one))
        _activate(one, all_logits + both * p, both, eight, actives)
        for head in range(heads):
            active_0 = fill(active[2 * head])
            active_1 = fill(active[2 * head + 1])
            g_0 = fill(like(0.0, one))
            g_1 = fill(like(0.0, one))
            for c in range(head * width, (head + 1) * width, eight):
                dv, slopes = read_both(one, at + c, row, following + c, t, s)
                gy_i = load_like(scalars_in + d * i + c, one)
                gy_j = load_like(scalars_in + d * j + c, one)
                part_0 = gy_i * load_like(line_j + 2 * d + c, one)
                part_1 = gy_j * load_like(line_i + 2 * d + c, one)
                g_0 = g_0 + part_0 * dv
                g_1 = g_1 + part_1 * dv
                by_distance = by_distance + (active_0 * part_0 + active_1 * part_1) * slopes
                add_to(gline_j + 2 * d + c, one, active_0 * dv * gy_i)
                add_to(gline_i + 2 * d + c, one, active_1 * dv * gy_j)
            slope[2 * head] = total(g_0)
            slope[2 * head + 1] = total(g_1)
        _times_slope(one, all_logits + both * p, both, eight, actives, start_of(slope))

        at -= d
        following -= d
        for head in range(heads):
            g_0 = fill(slope[2 * head])
            g_1 = fill(slope[2 * head + 1])
            for c in range(head * width, (head + 1) * width, eight):
                dk, slopes = read_both(one, at + c, row, following + c, t, s)
                q_i = load_like(line_i + c, one)
                k_i = load_like(line_i + d + c, one)
                q_j = load_like(line_j + c, one)
                k_j = load_like(line_j + d + c, one)
                add_to(gline_i + c, one, g_0 * dk * k_j)
                add_to(gline_j + d + c, one, g_0 * dk * q_i)
                add_to(gline_j + c, one, g_1 * dk * k_i)
                add_to(gline_i + d + c, one, g_1 * dk * q_j)
                by_distance = by_distance + (g_0 * q_i * k_j + g_1 * q_j * k_i) * slopes
        if not gives_vectors:
            gr[p] += total(by_distance)
            continue

        at += 2 * d
        following += 2 * d
        u_x = fill(pairs.unit[p, 0])
        u_y = fill(pairs.unit[p, 1])
        u_z = fill(pairs.unit[p, 2])
        x = fill(like(0.0, one))
        y = fill(like(0.0, one))
        z = fill(like(0.0, one))
        for c in range(0, d, eight):
            dv_2, slope_2 = read_both(one, at + d + c, row, following + d + c, t, s)
            at_i = 3 * i * d + c
            at_j = 3 * j * d + c
            x_i = load_like(vectors_in + at_i, one)
            y_i = load_like(vectors_in + at_i + d, one)
            z_i = load_like(vectors_in + at_i + 2 * d, one)
            x_j = load_like(vectors_in + at_j, one)
            y_j = load_like(vectors_in + at_j + d, one)
            z_j = load_like(vectors_in + at_j + 2 * d, one)
            along_0 = u_x * x_i + u_y * y_i + u_z * z_i
            along_1 = u_x * x_j + u_y * y_j + u_z * z_j
            s_j = load_like(line_j + 4 * d + c, one)
            s_i = load_like(line_i + 4 * d + c, one)
            add_to(gline_j + 4 * d + c, one, dv_2 * along_0)
            add_to(gline_i + 4 * d + c, one, fill(like(0.0, one)) - dv_2 * along_1)
            by_distance = by_distance + (along_0 * s_j - along_1 * s_i) * slope_2
            x = x + dv_2 * (x_i * s_j - x_j * s_i)
            y = y + dv_2 * (y_i * s_j - y_j * s_i)
            z = z + dv_2 * (z_i * s_j - z_j * s_i)
            if has_vectors:
                dv_1, slope_1 = read_both(one, at + c, row, following + c, t, s)
                along = x_i * load_like(vectors + at_j, one)
                along = along + x_j * load_like(vectors + at_i, one)
                along = along + y_i * load_like(vectors + at_j + d, one)
                along = along + y_j * load_like(vectors + at_i + d, one)
                along = along + z_i * load_like(vectors + at_j + 2 * d, one)
                along = along + z_j * load_like(vectors + at_i + 2 * d, one)
                by_distance = by_distance + along * slope_1
                add_to(gvectors + at_j, one, dv_1 * x_i)
                add_to(gvectors + at_i, one, dv_1 * x_j)
                add_to(gvectors + at_j + d, one, dv_1 * y_i)
                add_to(gvectors + at_i + d, one, dv_1 * y_j)
                add_to(gvectors + at_j + 2 * d, one, dv_1 * z_i)
                add_to(gvectors + at_i + 2 * d, one, dv_1 * z_j)
        gr[p] += total(by_distance)
        gunit[p, 0] += total(x)
        gunit[p, 1] += total(y)
        gunit[p, 2] += total(z)


@within
def _times_slope(one: Any, logits: int, size: int, eight: int, actives: int, g: int) -> None:
    """g times the derivative of x / (1 + e⁻ˣ) by x, of `size` bytes of logits."""
    ones = fill(like(1.0, one))
    for c in range(0, size, eight):
        x = load_like(logits + c, one)
        active = load_like(actives + c, one)
        sigmoid = ones / (ones + exp(fill(like(0.0, one)) - x))
        store(g + c, load_like(g + c, one) * (sigmoid + active * (ones - sigmoid)))
