"""Sums over neighbors of tensor products of features and spherical harmonics, and all their
derivatives, as one multilinear form.

Features of several degrees have rows, one for each component of each degree, of d channels. A
product of features of degree l₁ with harmonics of degree l₂, of degree l₃, a *path*, takes row m₁
to row m₃ by Σ_m₂ C_m₃m₂m₁ Y_m₂: a number of the edge, the same for all channels. Numbers that are
zero for every direction are left out, and the others are counted by q:

    F(R, A, g, x) = Σ_{a←b} Σ_q A_abq g_a[into_q] ∘ R_p[path_q] ∘ x_b[from_q]

    R [P, paths, d]   filters, of a pair;     A [2P, Q]   A = Y M, of an edge
    x [N, rows, d]    features of sources;    g [N, rows, d]   what the sums are multiplied by

∂F/∂g are the sums of the messages. As in `neighbor_sums`, derivatives of derivatives are
derivatives of F with a direction in an argument's place, to any order. The loops
(`loops.tensor_products`) are for float32 on a processor and keep nothing of the size [edges, rows,
d].
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scdlab.nn.ops.edges import DirectedEdges, Purpose
from scdlab.nn.ops.neighbor_sums import single_on_processor


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of a tensor product.

    Parameters
    ----------
    path, into, source : Tensor
        Path of each term, its row of the result, and its row of the features, [Q] int64; every path
        has a term.
    numbers : Tensor
        M, from harmonics Y [P, L] to the numbers A of i ← j, [L, Q].
    mirrored : Tensor
        What the numbers of i ← j are multiplied by for those of j ← i: 1 or -1, [Q].
    paths, rows_in, rows_out : int
        How many paths there are, and rows of the features and of the result.
    """

    path: Tensor
    into: Tensor
    source: Tensor
    numbers: Tensor
    mirrored: Tensor
    paths: int
    rows_in: int
    rows_out: int

    def __len__(self) -> int:
        return len(self.path)

    def of_edges(self, y: Tensor) -> Tensor:
        """The numbers A of all edges, [2P, Q], from the harmonics of the pairs, Y [P, L]."""
        there = y @ self.numbers
        return torch.cat([there, there * self.mirrored])

    @functools.cached_property
    def to_targets(self) -> Tensor:
        """For the loops: term, path, row of the result and row of the features, [4, Q]."""
        return self._listed(self.into, self.source)

    @functools.cached_property
    def to_sources(self) -> Tensor:
        """The same with result and features exchanged."""
        return self._listed(self.source, self.into)

    def _listed(self, into: Tensor, source: Tensor) -> Tensor:
        order = torch.argsort(self.path * max(self.rows_in, self.rows_out) + source, stable=True)
        return torch.stack([order, self.path[order], into[order], source[order]]).contiguous()


def takes(*tensors: Tensor) -> bool:
    """Whether the loops compute a tensor product.

    Parameters
    ----------
    *tensors : Tensor
        What it reads, the features first, [..., d].

    Returns
    -------
    bool
        True for float32 on a processor, d a multiple of eight, outside `reference_kernels`.
    """
    return single_on_processor(tensors[0].shape[-1], 1, *tensors)


def tensor_product(
    x: Tensor, filters: Tensor, numbers: Tensor, terms: Terms, edges: DirectedEdges
) -> Tensor:
    """Σ_b Σ_q A_abq R_p[path_q] ∘ x_b[from_q] for every atom a and every row of the result.

    Parameters
    ----------
    x : Tensor
        Features, [N, rows, d].
    filters : Tensor
        R, [P, paths, d].
    numbers : Tensor
        A, [2P, Q], as `Terms.of_edges` gives them.
    terms : Terms
        The terms.
    edges : DirectedEdges
        The neighbors.

    Returns
    -------
    Tensor
        [N, rows, d].

    Raises
    ------
    ValueError
        For tensors of other pairs, atoms or terms; the loops would read past their ends.
    """
    d = x.shape[-1]
    shapes = [x.shape, filters.shape, numbers.shape]
    wanted = [
        (edges.n_atoms, terms.rows_in, d),
        (edges.n_pairs, terms.paths, d),
        (2 * edges.n_pairs, len(terms)),
    ]
    if [tuple(shape) for shape in shapes] != wanted:
        given = ", ".join(str([*shape]) for shape in shapes)
        raise ValueError(
            f"A tensor product of {len(terms)} terms over {edges.n_pairs} pairs of "
            f"{edges.n_atoms} atoms takes features, filters and numbers of shapes "
            f"{', '.join(str([*shape]) for shape in wanted)}, got {given}."
        )
    return _Derivatives.apply((2,), True, terms, edges, filters, numbers, None, x)[0]


class _Derivatives(torch.autograd.Function):
    """The derivatives of F by its arguments number `wanted`, of R, A, g and x, at the others.

    shortened: as in `neighbor_sums`: whether a backward pass for parameters may leave out the
    numbers A, which depend on positions alone. In what such a pass leaves for further
    differentiation, A may stand for a gradient, which depends on parameters.
    """

    @staticmethod
    def forward(
        ctx: Any,
        wanted: tuple[int, ...],
        shortened: bool,
        terms: Terms,
        edges: DirectedEdges,
        *args: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.wanted = wanted
        ctx.shortened = shortened
        ctx.terms = terms
        ctx.edges = edges
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*args)
        given = [None if x is None else x.contiguous() for x in args]
        return tuple(_derivative(m, terms, edges, *given) for m in wanted)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        args = ctx.saved_tensors
        purpose: Purpose = ctx.edges.purpose if ctx.shortened else None
        if purpose == "parameters" and torch.is_grad_enabled():
            purpose = None
        shortened = ctx.shortened and purpose == ctx.edges.purpose
        need = list(ctx.needs_input_grad[4:])
        if purpose == "parameters":
            need[1] = False
        gradients: list[Tensor | None] = [None] * len(args)
        for k, direction in zip(ctx.wanted, grad_outputs, strict=True):  # the product rule
            others = tuple(m for m, needed in enumerate(need) if needed and m != k)
            if direction is None or not others:
                continue
            replaced = [direction if m == k else x for m, x in enumerate(args)]
            found = _Derivatives.apply(others, shortened, ctx.terms, ctx.edges, *replaced)
            for m, g in zip(others, found, strict=True):
                before = gradients[m]
                gradients[m] = g if before is None else before + g
        return None, None, None, None, *gradients


def _derivative(
    m: int, terms: Terms, edges: DirectedEdges, R: Any, A: Any, g: Any, x: Any
) -> Tensor:
    """The derivative of F by R (0), A (1), g (2) or x (3)."""
    from scdlab.nn.ops.loops import tensor_products as loops

    n = edges.n_atoms
    P = edges.n_pairs
    Q = len(terms)
    like = x if g is None else g
    d = like.shape[-1]
    rows = terms.rows_out, terms.rows_in
    if m == 0:
        out = like.new_empty(P, terms.paths, d)
        size = Q, d, terms.paths, *rows
        loops.products_filters(P, *size, edges.i, edges.j, terms.to_targets, A, g, x, out)
    elif m == 1:
        out = like.new_empty(2 * P, Q)
        size = Q, d, terms.paths, *rows
        loops.products_numbers(P, *size, edges.i, edges.j, terms.to_targets, R, g, x, out)
    elif m == 2:
        out = like.new_empty(n, terms.rows_out, d)
        size = P, Q, d, terms.paths, terms.rows_in, terms.rows_out, 0
        loops.products_sum(n, *size, *edges.by_target, terms.to_targets, A, R, x, out)
    else:
        out = like.new_empty(n, terms.rows_in, d)
        size = P, Q, d, terms.paths, terms.rows_out, terms.rows_in, 1
        loops.products_sum(n, *size, *edges.by_target, terms.to_sources, A, R, g, out)
    return out
