"""What the pairs of a layer of the equivariant transformer do: the loops of `transformer`."""

import numpy as np

from .compiled import compiled
from .radial_tables import read


@compiled
def receive(
    i: np.ndarray,
    j: np.ndarray,
    node: np.ndarray,
    weights: np.ndarray,
    unit: np.ndarray,
    table: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    value: np.ndarray,
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
    q, k : ndarray
        Queries and keys, [N, d].
    value, scaled : ndarray
        Values, and vectors times those of s¹, [N, 3, d].
    has_vectors, gives_vectors : bool
        Whether there are vectors, and whether new ones are needed.
    logits : ndarray
        Written: those of both directions, [2, P, heads].
    y, w : ndarray
        Added to: scalars [N, d] and vectors [N, 3, d].
    """
    d = q.shape[1]
    heads = logits.shape[2]
    width = d // heads
    row = np.empty(4 * d, q.dtype)
    for p in range(len(i)):
        read(table[node[p]], table[node[p] + 1], weights[p], row)
        for side in range(2):
            a = i[p] if side == 0 else j[p]  # receives
            b = j[p] if side == 0 else i[p]  # sends
            for head in range(heads):
                start = head * width
                logit = row[0] * 0
                for c in range(start, start + width):
                    logit += q[a, c] * k[b, c] * row[c]
                logits[side, p, head] = logit
                active = logit / (1.0 + np.exp(-logit))
                for c in range(start, start + width):
                    y[a, c] += active * value[b, 0, c] * row[d + c]
            if not gives_vectors:
                continue
            for axis in range(3):
                along = unit[p, axis] if side == 0 else -unit[p, axis]
                for c in range(d):
                    w[a, axis, c] += along * value[b, 2, c] * row[3 * d + c]
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
    q: np.ndarray,
    k: np.ndarray,
    value: np.ndarray,
    scaled: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
    logits: np.ndarray,
    gy: np.ndarray,
    gw: np.ndarray,
    gq: np.ndarray,
    gk: np.ndarray,
    gvalue: np.ndarray,
    gscaled: np.ndarray,
    gr: np.ndarray,
    gunit: np.ndarray,
) -> None:
    """The derivatives of `receive`, from those by what it gives: gy [N, d] and gw [N, 3, d].

    Adds to gq and gk [N, d], gvalue and gscaled [N, 3, d], gr [P] and gunit [P, 3]; the other
    arguments are those of `receive`.
    """
    d = q.shape[1]
    heads = logits.shape[2]
    width = d // heads
    row = np.empty(4 * d, q.dtype)
    slope = np.empty(4 * d, q.dtype)
    for p in range(len(i)):
        read(table[node[p]], table[node[p] + 1], weights[p], row)
        read(table[node[p]], table[node[p] + 1], slopes[p], slope)
        by_distance = gr[p]
        for side in range(2):
            a = i[p] if side == 0 else j[p]
            b = j[p] if side == 0 else i[p]
            for head in range(heads):
                start = head * width
                logit = logits[side, p, head]
                sigmoid = 1.0 / (1.0 + np.exp(-logit))
                active = logit * sigmoid
                g_active = row[0] * 0
                for c in range(start, start + width):
                    sent = gy[a, c] * value[b, 0, c]
                    g_active += sent * row[d + c]
                    by_distance += active * sent * slope[d + c]
                    gvalue[b, 0, c] += active * gy[a, c] * row[d + c]
                g_logit = g_active * sigmoid * (1.0 + logit * (1.0 - sigmoid))
                for c in range(start, start + width):
                    gq[a, c] += g_logit * k[b, c] * row[c]
                    gk[b, c] += g_logit * q[a, c] * row[c]
                    by_distance += g_logit * q[a, c] * k[b, c] * slope[c]
            if not gives_vectors:
                continue
            for axis in range(3):
                sign = 1.0 if side == 0 else -1.0
                along = sign * unit[p, axis]
                by_direction = row[0] * 0
                for c in range(d):
                    sent = gw[a, axis, c] * value[b, 2, c]
                    by_direction += sent * row[3 * d + c]
                    by_distance += along * sent * slope[3 * d + c]
                    gvalue[b, 2, c] += along * gw[a, axis, c] * row[3 * d + c]
                gunit[p, axis] += sign * by_direction
                if has_vectors:
                    for c in range(d):
                        gscaled[b, axis, c] += gw[a, axis, c] * row[2 * d + c]
                        by_distance += gw[a, axis, c] * scaled[b, axis, c] * slope[2 * d + c]
        gr[p] = by_distance
