"""What the pairs of a layer of the equivariant transformer do: the loops of `transformer`."""

import numpy as np

from .compiled import compiled
from .radial_tables import read, read_both


@compiled
def receive(
    i: np.ndarray,
    j: np.ndarray,
    node: np.ndarray,
    weights: np.ndarray,
    unit: np.ndarray,
    table: np.ndarray,
    linear: np.ndarray,
    scaled: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
    logits: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
) -> None:
    """Add up what each atom receives from its neighbors.

    Parameters
    ----------
    i, j, node, weights, unit : ndarray
        Of the pairs, P of them, see `Geometry`.
    table : ndarray
        Functions of the distance, [nodes, 3, 4d].
    linear : ndarray
        Queries, keys, and the values of y, s¹ and s², beside one another, [N, 5d].
    scaled : ndarray
        Vectors times the values of s¹, [N, 3, d].
    has_vectors, gives_vectors : bool
        Whether there are vectors, and whether new ones are needed.
    logits : ndarray
        Written: those of both directions, [2, P, heads].
    y, w : ndarray
        Added to: scalars [N, d] and vectors [N, 3, d].
    """
    d = scaled.shape[2]
    heads = logits.shape[2]
    width = d // heads
    row = np.empty(4 * d, scaled.dtype)
    parts = np.empty(d, scaled.dtype)  # of the logits, then what becomes of them
    for p in range(len(i)):
        read(table[node[p]], table[node[p] + 1], weights[p], row)
        for side in range(2):
            a = i[p] if side == 0 else j[p]  # receives
            b = j[p] if side == 0 else i[p]  # sends
            for c in range(d):
                parts[c] = linear[a, c] * linear[b, d + c] * row[c]
            for head in range(heads):
                logit = row[0] * 0
                for c in range(head * width, (head + 1) * width):
                    logit += parts[c]
                logits[side, p, head] = logit
                parts[head * width : (head + 1) * width] = logit / (1.0 + np.exp(-logit))
            for c in range(d):
                y[a, c] += parts[c] * linear[b, 2 * d + c] * row[d + c]
            if not gives_vectors:
                continue
            for axis in range(3):
                along = unit[p, axis] if side == 0 else -unit[p, axis]
                for c in range(d):
                    w[a, axis, c] += along * linear[b, 4 * d + c] * row[3 * d + c]
                if has_vectors:
                    for c in range(d):
                        w[a, axis, c] += scaled[b, axis, c] * row[2 * d + c]


@compiled
def receive_back(
    i: np.ndarray,
    j: np.ndarray,
    node: np.ndarray,
    weights: np.ndarray,
    slopes: np.ndarray,
    unit: np.ndarray,
    table: np.ndarray,
    linear: np.ndarray,
    scaled: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
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
    d = scaled.shape[2]
    heads = logits.shape[2]
    width = d // heads
    row = np.empty(4 * d, scaled.dtype)
    slope = np.empty(4 * d, scaled.dtype)
    parts = np.empty(d, scaled.dtype)  # of the logits
    actives = np.empty(d, scaled.dtype)
    for p in range(len(i)):
        read_both(table[node[p]], table[node[p] + 1], weights[p], slopes[p], row, slope)
        by_distance = gr[p]
        for side in range(2):
            a = i[p] if side == 0 else j[p]
            b = j[p] if side == 0 else i[p]
            for c in range(d):
                parts[c] = gy[a, c] * linear[b, 2 * d + c]
            for head in range(heads):
                logit = logits[side, p, head]
                sigmoid = 1.0 / (1.0 + np.exp(-logit))
                g_active = row[0] * 0
                slopes_of_head = row[0] * 0
                for c in range(head * width, (head + 1) * width):
                    g_active += parts[c] * row[d + c]
                    slopes_of_head += parts[c] * slope[d + c]
                by_distance += logit * sigmoid * slopes_of_head
                actives[head * width : (head + 1) * width] = logit * sigmoid
                g_logit = g_active * sigmoid * (1.0 + logit * (1.0 - sigmoid))
                parts[head * width : (head + 1) * width] = g_logit
            for c in range(d):
                glinear[b, 2 * d + c] += actives[c] * gy[a, c] * row[d + c]
            for c in range(d):
                glinear[a, c] += parts[c] * linear[b, d + c] * row[c]
                glinear[b, d + c] += parts[c] * linear[a, c] * row[c]
                by_distance += parts[c] * linear[a, c] * linear[b, d + c] * slope[c]
            if not gives_vectors:
                continue
            for axis in range(3):
                sign = 1.0 if side == 0 else -1.0
                along = sign * unit[p, axis]
                by_direction = row[0] * 0
                for c in range(d):
                    sent = gw[a, axis, c] * linear[b, 4 * d + c]
                    by_direction += sent * row[3 * d + c]
                    by_distance += along * sent * slope[3 * d + c]
                    glinear[b, 4 * d + c] += along * gw[a, axis, c] * row[3 * d + c]
                gunit[p, axis] += sign * by_direction
                if has_vectors:
                    for c in range(d):
                        gscaled[b, axis, c] += gw[a, axis, c] * row[2 * d + c]
                        by_distance += gw[a, axis, c] * scaled[b, axis, c] * slope[2 * d + c]
        gr[p] = by_distance
