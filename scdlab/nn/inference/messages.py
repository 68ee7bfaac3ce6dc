"""Sums of messages over neighbors, and their derivatives: the loops of both networks."""

import numpy as np

from .compiled import compiled
from .radial_tables import read, read_both


@compiled
def messages(
    i: np.ndarray,
    j: np.ndarray,
    node: np.ndarray,
    weights: np.ndarray,
    table: np.ndarray,
    sent: np.ndarray,
    y: np.ndarray,
) -> None:
    """y_i += w(r_ij) ∘ z_j, in both directions of each pair; z: `sent`."""
    row = np.empty(y.shape[1], y.dtype)
    for p in range(len(i)):
        read(table[node[p]], table[node[p] + 1], weights[p], row)
        for c in range(len(row)):
            y[i[p], c] += row[c] * sent[j[p], c]
            y[j[p], c] += row[c] * sent[i[p], c]


@compiled
def messages_back(
    i: np.ndarray,
    j: np.ndarray,
    node: np.ndarray,
    weights: np.ndarray,
    slopes: np.ndarray,
    table: np.ndarray,
    sent: np.ndarray,
    gy: np.ndarray,
    gz: np.ndarray,
    gr: np.ndarray,
) -> None:
    """gz_j += w(r_ij) ∘ gy_i, and gr_ij += w'(r_ij) · (gy_i ∘ z_j), in both directions."""
    row = np.empty(gy.shape[1], gy.dtype)
    slope = np.empty(gy.shape[1], gy.dtype)
    for p in range(len(i)):
        a = i[p]
        b = j[p]
        read_both(table[node[p]], table[node[p] + 1], weights[p], slopes[p], row, slope)
        total = gr[p]
        for c in range(len(row)):
            gz[b, c] += row[c] * gy[a, c]
            gz[a, c] += row[c] * gy[b, c]
            total += slope[c] * (gy[a, c] * sent[b, c] + gy[b, c] * sent[a, c])
        gr[p] = total
