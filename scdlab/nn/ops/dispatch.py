"""The forms of `neighbor_sums` by fused kernels: which loop gives which derivative.

As in `reference`, each function gives the derivatives of its form by the arguments number `wanted`.
Filters are w_p = c_p Σ_t B_pt T_{node_p + t}: argument 0 is the factor c [P] or None, argument 1
the table T [K, d], and the form's own arguments follow.
"""

from typing import Any

import torch
from torch import Tensor

from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.filter_tables import FilterRows, SplineFilters
from scdlab.nn.ops.loops import attention as attention_loops
from scdlab.nn.ops.loops import cfconv as cfconv_loops
from scdlab.nn.ops.loops import vectors as vector_loops
from scdlab.nn.ops.loops.sorting import sort


def sort_pairs(key: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """List pairs by a key, in their old order.

    Parameters
    ----------
    key : Tensor
        A key of each pair, [P] int64, from 0 to n - 1.
    n : int
        Number of keys.

    Returns
    -------
    begin, order : Tensor
        The pairs with key k are order[begin[k] : begin[k + 1]]: [n + 1] and [P] int64.
    """
    begin = key.new_empty(n + 1)
    order = torch.empty_like(key)
    sort(1, len(key), n, key, begin, order)
    return begin, order


def pairs_by_row(lookup: FilterRows) -> tuple[Tensor, Tensor]:
    """List the pairs by the first row that they read, once for each look-up.

    Parameters
    ----------
    lookup : FilterRows
        How pairs read their filters.

    Returns
    -------
    begin, order : Tensor
        As of `sort_pairs`, [rows + 1] and [P] int64.
    """
    if "rows" not in lookup.kept:
        node = lookup.node
        if not isinstance(lookup, SplineFilters):
            lookup.kept["rows"] = torch.arange(len(node) + 1, device="cpu"), node
        else:
            lookup.kept["rows"] = sort_pairs(node, lookup.n_rows)
    return lookup.kept["rows"]


class _Table:
    """How pairs read their filters: tensors in the order of the kernels' arguments."""

    def __init__(
        self,
        edges: DirectedEdges,
        lookup: FilterRows,
        order: int,
        factor: Tensor | None,
        values: Tensor | None,
    ) -> None:
        edges.by_target  # noqa: B018 - checks the pairs, before a kernel reads by them
        weights = lookup.kept_weights(order)  # (P, taps)
        self.weights = weights if factor is None else weights * factor.unsqueeze(-1)
        self.weights_without_factor = weights
        self.edges = edges
        self.lookup = lookup
        self.taps = weights.shape[1]
        self.n_rows = lookup.n_rows
        self.values = None if values is None else values.contiguous()

    @property
    def by_atom(self) -> tuple[Any, ...]:
        """start, sources, edges, node, B, T."""
        return *self.edges.by_target, self.lookup.node, self.weights, self.values

    @property
    def by_pair(self) -> tuple[Any, ...]:
        """i, j, node, B, T."""
        return self.edges.i, self.edges.j, self.lookup.node, self.weights, self.values

    @property
    def by_factor(self) -> tuple[Any, ...]:
        """i, j, node, B, T, with weights B that the factor is not in."""
        node = self.lookup.node
        return self.edges.i, self.edges.j, node, self.weights_without_factor, self.values

    @property
    def by_row(self) -> tuple[Any, ...]:
        """i, j, begin, order, B: the pairs that start at each row."""
        return self.edges.i, self.edges.j, *pairs_by_row(self.lookup), self.weights


def _contiguous(*tensors: Tensor | None) -> list[Any]:
    return [None if x is None else x.contiguous() for x in tensors]


def cfconv(
    wanted: tuple[int, ...],
    edges: DirectedEdges,
    lookup: FilterRows,
    order: int,
    factor: Tensor | None,
    values: Tensor | None,
    g: Any,
    u: Any,
) -> tuple[Tensor, ...]:
    """Derivatives of Σ_{a←b} w ∘ (g_a · u_b), by c [P], T [K, d], g and u [N, d] or [N, 3, d]."""
    g, u = _contiguous(g, u)
    like = u if g is None else g
    table = _Table(edges, lookup, order, factor, values)
    n_atoms = edges.n_atoms
    n_pairs = edges.n_pairs
    taps = table.taps
    d = like.shape[-1]
    components = like.shape[1] if like.dim() == 3 else 1  # vectors or scalars
    results = []
    for m in wanted:
        if m == 0:
            out = like.new_empty(n_pairs)
            cfconv_loops.cfconv_dot(n_pairs, taps, components, d, *table.by_factor, g, u, out)
        elif m == 1:
            out = like.new_empty(table.n_rows, d)
            size = table.n_rows, n_pairs, taps, components, d
            cfconv_loops.cfconv_table(*size, *table.by_row, g, u, out)
        else:
            out = torch.empty_like(like)
            size = n_atoms, n_pairs, taps, components, d
            cfconv_loops.cfconv_sum(*size, *table.by_atom, u if m == 2 else g, out)
        results.append(out)
    return tuple(results)


def attention(
    wanted: tuple[int, ...],
    edges: DirectedEdges,
    lookup: FilterRows,
    order: int,
    factor: Tensor | None,
    values: Tensor | None,
    A: Any,
    q: Any,
    k: Any,
) -> tuple[Tensor, ...]:
    """Derivatives of Σ_{a←b} Σ_heads A_ab (q_a · k_b ∘ w).

    By c [P], T [K, d], A [2, P, heads], q and k [N, d].
    """
    A, q, k = _contiguous(A, q, k)
    like = k if q is None else q
    table = _Table(edges, lookup, order, factor, values)
    n_atoms = edges.n_atoms
    n_pairs = edges.n_pairs
    heads = edges.num_heads
    taps = table.taps
    d = like.shape[1]
    results = []
    for m in wanted:
        if m == 0:
            out = like.new_empty(n_pairs)
            attention_loops.attention_dot(n_pairs, taps, heads, d, *table.by_factor, A, q, k, out)
        elif m == 1:
            out = like.new_empty(table.n_rows, d)
            size = table.n_rows, n_pairs, taps, heads, d
            attention_loops.attention_table(*size, *table.by_row, A, q, k, out)
        elif m == 2:
            out = like.new_empty(2, n_pairs, heads)
            attention_loops.logits(n_pairs, taps, heads, d, *table.by_pair, q, k, out)
        else:
            out = torch.empty_like(like)
            features, flip = (k, 0) if m == 3 else (q, 1)
            size = n_atoms, n_pairs, taps, heads, d, flip
            attention_loops.attention_sum(*size, *table.by_atom, A, features, out)
        results.append(out)
    return tuple(results)


def vector_messages(
    wanted: tuple[int, ...],
    edges: DirectedEdges,
    lookup: FilterRows,
    order: int,
    factor: Tensor | None,
    values: Tensor | None,
    r: Any,
    g: Any,
    s: Any,
) -> tuple[Tensor, ...]:
    """Derivatives of Σ_{a←b} Σ_xyz r_ab · g_a ∘ w ∘ s_b.

    By c [P], T [K, d], r [P, 3], g [N, 3, d] and s [N, d].
    """
    r, g, s = _contiguous(r, g, s)
    table = _Table(edges, lookup, order, factor, values)
    n_atoms = edges.n_atoms
    n_pairs = edges.n_pairs
    taps = table.taps
    d = (g if s is None else s).shape[-1]
    new = table.weights.new_empty
    results = []
    for m in wanted:
        if m == 0:
            out = new(n_pairs)
            vector_loops.vectors_dot(n_pairs, taps, d, *table.by_factor, r, g, s, out)
        elif m == 1:
            out = new(table.n_rows, d)
            vector_loops.vectors_table(table.n_rows, n_pairs, taps, d, *table.by_row, r, g, s, out)
        elif m == 2:
            out = new(n_pairs, 3)
            vector_loops.vectors_pairs(n_pairs, taps, d, *table.by_pair, g, s, out)
        elif m == 3:
            out = new(n_atoms, 3, d)
            vector_loops.vectors_vectors(n_atoms, n_pairs, taps, d, *table.by_atom, r, s, out)
        else:
            out = new(n_atoms, d)
            vector_loops.vectors_scalars(n_atoms, n_pairs, taps, d, *table.by_atom, r, g, out)
        results.append(out)
    return tuple(results)
