"""The forms of `neighbor_sums` by Triton kernels: which kernel gives which derivative.

The counterpart of `scdlab.nn.ops.dispatch`, with the same functions and arguments: the derivatives
of a form by the arguments number `wanted`, of which 0 is the factor c [P] or None and 1 the table
T [K, d].
"""

import contextlib
from typing import Any

import torch
from torch import Tensor

from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.filter_tables import FilterRows
from scdlab.nn.ops.gpu import kernels
from scdlab.nn.ops.gpu.lists import sort_pairs

TILE = 1024  # numbers that a program works on at a time: eight for each of 128 threads
PAIRS_OF_A_SHARE = 64  # of a cell of a table, on average, before another program joins


class _Table:
    """How pairs read their filters: what stands in the kernels' arguments.

    B: weights of the rows [P, 4], or of a pair's own row [P], or None where they are all one.
    """

    def __init__(
        self,
        edges: DirectedEdges,
        lookup: FilterRows,
        order: int,
        factor: Tensor | None,
        values: Tensor | None,
    ) -> None:
        self.edges = edges
        self.lookup = lookup
        self.values = None if values is None else values.contiguous()
        self.node: Tensor | None = None
        self.taps = 1
        self.weights: Tensor | None = None
        if lookup.depends_on is not None:
            self.taps = 4
            self.node = lookup.node
            self.weights = lookup.kept_weights(order)  # (P, 4)
        self.B = self.weights
        if factor is not None:
            self.B = factor if self.weights is None else self.weights * factor.unsqueeze(-1)
            self.B = self.B.contiguous()

    @property
    def by_atom(self) -> tuple[Any, ...]:
        """start, source, edge, node, B, T."""
        return *self.edges.by_target, self.node, self.B, self.values

    @property
    def by_pair(self) -> tuple[Any, ...]:
        """i, j, node, B, T."""
        return self.edges.i, self.edges.j, self.node, self.B, self.values

    @property
    def by_factor(self) -> tuple[Any, ...]:
        """i, j, node, B, T, with weights B that the factor is not in."""
        return self.edges.i, self.edges.j, self.node, self.weights, self.values

    @property
    def by_cell(self) -> tuple[Any, ...]:
        """i, j, begin, order, B: the pairs whose first row is each cell's."""
        kept = self.lookup.kept
        if "cells" not in kept:
            kept["cells"] = sort_pairs(self.lookup.node, self.lookup.n_rows - 3)
        return self.edges.i, self.edges.j, *kept["cells"], self.B


def _contiguous(*tensors: Tensor | None) -> list[Any]:
    return [None if x is None else x.contiguous() for x in tensors]


def tile(d: int) -> tuple[int, int]:
    """How many edges E and features D of rows of width d a program works on at a time.

    Parameters
    ----------
    d : int
        Width of the features, or of a head.

    Returns
    -------
    tuple of int
        E and D, powers of two.
    """
    features = min(_power_of_two(d), 128)
    return min(TILE // features, 64), features


def _over(n: int, size: int) -> int:
    """How many pieces of a size cover n."""
    return -(-n // size)


def _power_of_two(n: int) -> int:
    """The smallest power of two that is n or more."""
    return 1 << max(n - 1, 0).bit_length()


def _launch(kernel: Any, grid: tuple[int, ...], *args: Any) -> None:
    """Start a program of a kernel for every place of a grid. Triton gives its kernels the types of
    what is inside of them, so a type checker misreads a call."""
    kernel[grid](*args)


def _here(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Kernels start on the current GPU: make it that of a tensor."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def _pair_sum(form: Any, X: int, heads: int, table: _Table, x: Any, g: Any, u: Any) -> Tensor:
    """The derivative by the factor, [P]."""
    P = table.edges.n_pairs
    d = g.shape[-1]
    out = g.new_empty(P)
    E, D = tile(d)
    if P:
        given = *table.by_factor, x, g, u, out, P, d, heads, form, X, table.taps, E, D
        _launch(kernels.pair_dot, (_over(P, E),), *given)
    return out


def _rows(form: Any, X: int, heads: int, table: _Table, x: Any, g: Any, u: Any) -> Tensor:
    """The derivative by the rows of filters, [K, d]."""
    edges = table.edges
    P = edges.n_pairs
    d = g.shape[-1]
    E, D = tile(d)
    if table.taps == 1:
        out = g.new_empty(P, d)
        if P:
            grid = _over(P, E), _over(d, D)
            own = edges.i, edges.j, table.B, x, g, u, out, P, d, heads
            _launch(kernels.own_rows, grid, *own, form, X, E, D)
        return out
    out = g.new_zeros(table.lookup.n_rows, d)
    cells = table.lookup.n_rows - 3
    if not P:
        return out
    E = max(E // 2, 1)  # a program holds four sums
    shares = min(_power_of_two(_over(P, PAIRS_OF_A_SHARE * cells)), 16)
    parts = g.new_empty(shares, cells, 4, d)
    grid = cells, shares, _over(d, D)
    given = *table.by_cell, x, g, u, parts, P, cells, shares, d, heads
    _launch(kernels.table_cells, grid, *given, form, X, E, D)
    parts = parts.sum(0)  # (cells, 4, d)
    for t in range(4):
        out[t : t + cells] += parts[:, t]
    return out


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
    d = like.shape[-1]
    X = like[:1].numel() // d if len(like) else like.shape[1:].numel() // d
    E, D = tile(d)
    results = []
    with _here(like):
        for m in wanted:
            if m == 0:
                out = _pair_sum(kernels.CFCONV, X, 1, table, None, g, u)
            elif m == 1:
                out = _rows(kernels.CFCONV, X, 1, table, None, g, u)
            else:
                out = torch.zeros_like(like)
                if edges.n_pairs:
                    given = *table.by_atom, u if m == 2 else g, out, edges.n_pairs, d
                    grid = edges.n_atoms, _over(d, D)
                    _launch(kernels.cfconv_sum, grid, *given, table.taps, X, E, D)
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
    P = edges.n_pairs
    heads = edges.num_heads
    d = like.shape[1]
    E, D = tile(d)
    results = []
    with _here(like):
        for m in wanted:
            if m == 0:
                out = _pair_sum(kernels.ATTENTION, 1, heads, table, A, q, k)
            elif m == 1:
                out = _rows(kernels.ATTENTION, 1, heads, table, A, q, k)
            elif m == 2:
                out = like.new_empty(2, P, heads)
                width = d // heads
                of_head = tile(width)
                if P:
                    given = *table.by_pair, q, k, out, P, width, heads, table.taps
                    _launch(kernels.logits, (_over(P, of_head[0]), heads), *given, *of_head)
            else:
                out = torch.zeros_like(like)
                features, flip = (k, 0) if m == 3 else (q, 1)
                if P:
                    given = *table.by_atom, A, features, out, P, d, heads, flip, table.taps
                    grid = edges.n_atoms, _over(d, D)
                    _launch(kernels.attention_sum, grid, *given, E, D)
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
    like = g if s is None else s
    table = _Table(edges, lookup, order, factor, values)
    P = edges.n_pairs
    n = edges.n_atoms
    d = like.shape[-1]
    E, D = tile(d)
    results = []
    with _here(like):
        for m in wanted:
            if m == 0:
                out = _pair_sum(kernels.VECTORS, 1, 1, table, r, g, s)
            elif m == 1:
                out = _rows(kernels.VECTORS, 1, 1, table, r, g, s)
            elif m == 2:
                out = like.new_empty(P, 3)
                if P:
                    given = *table.by_pair, g, s, out, P, d, table.taps, E, D
                    _launch(kernels.vectors_pairs, (_over(P, E),), *given)
            else:
                shape = (n, 3, d) if m == 3 else (n, d)
                out = like.new_zeros(shape)
                kernel = kernels.vectors_vectors if m == 3 else kernels.vectors_scalars
                if P:
                    given = *table.by_atom, r, s if m == 3 else g, out, P, d, table.taps, E, D
                    _launch(kernel, (n, _over(d, D)), *given)
            results.append(out)
    return tuple(results)
