"""Sums of messages over neighbors, and their derivatives: the loops of both networks."""

from typing import Any

import numpy as np

from scdlab.compiling import compiled, within
from scdlab.nn.ops.simd import fill, keep_apart, like, load_like, store, total, word

from .geometry import Geometry
from .radial_tables import read, read_both, taps
from .shares import start_of


@within
def add_to(at: int, one: Any, v: Any) -> None:
    """Add eight numbers to those at an address, of the kind of the number `one`."""
    store(at, load_like(at, one) + v)


@compiled
def messages(
    low: int, high: int, pairs: Geometry, table: np.ndarray, sent: np.ndarray, y: np.ndarray
) -> None:
    """y_i += w(r_ij) ∘ z_j, in both directions of the pairs from low to high; z: `sent`."""
    keep_apart()
    one = table[0, 0, 0]
    eight = 8 * word(one)
    row = table.shape[2] * word(one)
    functions = start_of(table)
    z = start_of(sent)
    out = start_of(y)
    for p in range(low, high):
        at = functions + 3 * row * pairs.node[p]
        following = functions + 3 * row * pairs.node[min(p + 1, high - 1)]
        i = pairs.i[p] * row
        j = pairs.j[p] * row
        w = taps(pairs.weights, p)
        for c in range(0, row, eight):
            filters = read(one, at + c, row, following + c, w)
            add_to(out + i + c, one, filters * load_like(z + j + c, one))
            add_to(out + j + c, one, filters * load_like(z + i + c, one))


@compiled
def messages_back(
    low: int,
    high: int,
    pairs: Geometry,
    table: np.ndarray,
    sent: np.ndarray,
    gy: np.ndarray,
    gz: np.ndarray,
    gr: np.ndarray,
) -> None:
    """gz_j += w(r_ij) ∘ gy_i, and gr_ij += w'(r_ij) · (gy_i ∘ z_j), in both directions."""
    keep_apart()
    one = table[0, 0, 0]
    eight = 8 * word(one)
    row = table.shape[2] * word(one)
    functions = start_of(table)
    z = start_of(sent)
    g = start_of(gy)
    out = start_of(gz)
    for p in range(low, high):
        at = functions + 3 * row * pairs.node[p]
        following = functions + 3 * row * pairs.node[min(p + 1, high - 1)]
        i = pairs.i[p] * row
        j = pairs.j[p] * row
        w = taps(pairs.weights, p)
        s = taps(pairs.slopes, p)
        by_distance = fill(like(0.0, one))
        for c in range(0, row, eight):
            filters, slopes = read_both(one, at + c, row, following + c, w, s)
            g_i = load_like(g + i + c, one)
            g_j = load_like(g + j + c, one)
            add_to(out + j + c, one, filters * g_i)
            add_to(out + i + c, one, filters * g_j)
            along = g_i * load_like(z + j + c, one) + g_j * load_like(z + i + c, one)
            by_distance = by_distance + slopes * along
        gr[p] += total(by_distance)
