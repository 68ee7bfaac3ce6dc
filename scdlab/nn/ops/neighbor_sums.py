"""Sums over neighbors as multilinear forms: everything they compute, and all their derivatives,
from a few loops.

A pair {i, j} is stored once and used in both directions: i receives from j, j from i. Write such a
directed edge as a ← b, target and source; what depends on the distance alone, the filter w, belongs
to the pair and serves both its edges, and r_ab = -r_ba. Then

    cfconv           F(w, g, u)    = Σ_{a←b} w ∘ (g_a · u_b)
    attention        F(w, A, q, k) = Σ_{a←b} Σ_heads A_ab (q_a · k_b ∘ w)
    vector messages  F(w, r, g, s) = Σ_{a←b} Σ_xyz r_ab · g_a ∘ w ∘ s_b

    w [P, d];   u, g [N, d] or [N, 3, d];   A [2, P, heads];   q, k, s [N, d];   r [P, 3]

Each is linear in each argument, so its derivative by one argument is a sum that no longer holds it,
and those are the operations of a layer:

    cfconv           ∂F/∂g:  Σ_b w ∘ u_b              features of the neighbors, filtered
    attention        ∂F/∂A:  Σ_head q_a k_b ∘ w       logits of the edges
                     ∂F/∂q:  Σ_b A_ab w ∘ k_b         what attention sums over neighbors
    vector messages  ∂F/∂g:  Σ_b r_ab w ∘ s_b         new vectors along the edges

The derivative of ∂F/∂x in direction h by another argument y is ∂F/∂y with h put in x's place: forms
stay forms, to any order. Forces need the first derivative, training on forces the second.

Filters come with a look-up (`filter_tables`): w may be read from the rows of a spline,
w_p = c_p Σ_t B_t(r_p) T_{node_p + t}, with a factor c [P]. A form is linear in c and in T as well;
its derivative by r_p replaces B by dB/dr, and c_p is what it is multiplied by. So forms over
splines too stay forms, with one more number, the order of the derivative.

`neighbor_attention` and `vector_update` are what a layer of the equivariant transformer makes of
these, with loops of their own for float32 on a processor, and of these sums everywhere else.

Three implementations: fused loops for float32 on a processor (`dispatch`, `loops`), the same in
Triton for float32 on an NVIDIA GPU (`gpu`), which keep nothing of the size [edges, d], and plain
torch everywhere else (`reference`).
"""

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from scdlab.nn.ops import reference
from scdlab.nn.ops.edges import DirectedEdges, Purpose
from scdlab.nn.ops.filter_tables import FilterRows, PairFilters

_use_fused = True
_interpret = False  # whether Triton's interpreter computes what is on a processor


@contextlib.contextmanager
def reference_kernels() -> Iterator[None]:
    """Within this context no fused kernel runs: what they are tested and timed against."""
    global _use_fused
    before = _use_fused
    _use_fused = False
    try:
        yield
    finally:
        _use_fused = before


@contextlib.contextmanager
def interpreted_kernels() -> Iterator[None]:
    """Within this context the Triton kernels run for tensors on the processor, in Triton's
    interpreter: how they are tested without a GPU.

    Raises
    ------
    RuntimeError
        Where Triton is not there, or compiles instead.
    """
    from scdlab.nn.ops.gpu import available

    global _interpret
    if not available.interpreted():
        raise RuntimeError(
            "Triton does not interpret kernels here: install triton, and set TRITON_INTERPRET=1 "
            "before Python starts."
        )
    before = _interpret
    _interpret = True
    try:
        yield
    finally:
        _interpret = before


def fused_for(d: int, num_heads: int, *tensors: Tensor) -> bool:
    """Whether fused kernels compute a sum.

    Parameters
    ----------
    d : int
        Width of the features.
    num_heads : int
        Heads that they are divided into: on a processor each must have a multiple of eight.
    *tensors : Tensor
        What the sum reads: float32, on one device.

    Returns
    -------
    bool
        False within `reference_kernels` too.
    """
    return _kernels_for(d, num_heads, *tensors) is not None


def fused_on_processor(d: int, num_heads: int, *tensors: Tensor) -> bool:
    """Whether fused loops of the processor compute something.

    Parameters
    ----------
    d : int
        Width of the features, or how many numbers there are.
    num_heads : int
        Heads that they are divided into: each must have a multiple of eight.
    *tensors : Tensor
        What is read: all float32 or all float64, on a processor.

    Returns
    -------
    bool
        False within `reference_kernels` too.
    """
    kinds = {(x.dtype, x.device.type) for x in tensors}
    precise = kinds == {(torch.float32, "cpu")} or kinds == {(torch.float64, "cpu")}
    return _use_fused and d % (8 * num_heads) == 0 and precise


def single_on_processor(d: int, num_heads: int, *tensors: Tensor) -> bool:
    """Whether fused loops of the processor that are for float32 alone compute something.

    Parameters
    ----------
    d, num_heads, *tensors
        As of `fused_on_processor`; at least one tensor.

    Returns
    -------
    bool
        False within `reference_kernels` too.
    """
    return tensors[0].dtype == torch.float32 and fused_on_processor(d, num_heads, *tensors)


def _kernels_for(d: int, num_heads: int, *tensors: Tensor) -> ModuleType | None:
    """The module whose kernels compute a sum, None where plain torch does."""
    kinds = {x.device.type for x in tensors}
    if not _use_fused or len(kinds) != 1 or any(x.dtype != torch.float32 for x in tensors):
        return None
    (kind,) = kinds
    if kind == "cuda" or (kind == "cpu" and _interpret):
        from scdlab.nn.ops.gpu import available

        if d % num_heads or not (kind == "cpu" or available.usable(tensors[0].device)):
            return None
        from scdlab.nn.ops.gpu import dispatch as triton_dispatch

        return triton_dispatch
    if kind == "cpu" and d % (8 * num_heads) == 0:
        from scdlab.nn.ops import dispatch

        return dispatch
    return None


def cfconv(x: Tensor, filters: PairFilters | Tensor, edges: DirectedEdges) -> Tensor:
    """Continuous-filter convolution, Σ_b w_ab ∘ x_b for every atom a.

    Parameters
    ----------
    x : Tensor
        Features, [N, d] or [N, 3, d].
    filters : PairFilters or Tensor
        Filters w of the pairs, [P, d].
    edges : DirectedEdges
        The neighbors.

    Returns
    -------
    Tensor
        Sums over the neighbors, of the shape of x.
    """
    return _CFCONV.derivative(1, edges, filters, None, x)


def logits(q: Tensor, k: Tensor, filters: PairFilters | Tensor, edges: DirectedEdges) -> Tensor:
    """Logits of attention, Σ_head q_a k_b ∘ w_ab for every edge a ← b.

    Parameters
    ----------
    q, k : Tensor
        Queries of the targets and keys of the sources, [N, d] each.
    filters : PairFilters or Tensor
        Filters w of the pairs, [P, d].
    edges : DirectedEdges
        The neighbors, and the number of heads.

    Returns
    -------
    Tensor
        [2, P, heads]: edges i ← j of all pairs, then edges j ← i.
    """
    return _ATTENTION.derivative(1, edges, filters, None, q, k)


def attention_sum(
    weights: Tensor, value: Tensor, filters: PairFilters | Tensor, edges: DirectedEdges
) -> Tensor:
    """What attention sums over neighbors, Σ_b A_ab w_ab ∘ v_b for every atom a.

    Parameters
    ----------
    weights : Tensor
        Weights A of the edges, [2, P, heads], in the order of `logits`.
    value : Tensor
        Values v of the sources, [N, d].
    filters : PairFilters or Tensor
        Filters w of the pairs, [P, d].
    edges : DirectedEdges
        The neighbors, and the number of heads.

    Returns
    -------
    Tensor
        Sums over the neighbors, [N, d].
    """
    return _ATTENTION.derivative(2, edges, filters, weights, None, value)


def vector_messages(
    x: Tensor, filters: PairFilters | Tensor, r: Tensor, edges: DirectedEdges
) -> Tensor:
    """New vectors along the edges, Σ_b r_ab w_ab ∘ x_b for every atom a.

    Parameters
    ----------
    x : Tensor
        Features of the sources, [N, d].
    filters : PairFilters or Tensor
        Filters w of the pairs, [P, d].
    r : Tensor
        A vector of each pair, from i towards j, [P, 3].
    edges : DirectedEdges
        The neighbors.

    Returns
    -------
    Tensor
        Sums over the neighbors, [N, 3, d].
    """
    return _VECTOR_MESSAGES.derivative(2, edges, filters, r, None, x)


def pair_product(x: Tensor, y: Tensor, edges: DirectedEdges) -> Tensor:
    """The symmetric product x_i ∘ y_j + x_j ∘ y_i of the two atoms of each pair.

    Parameters
    ----------
    x, y : Tensor
        Features, [N, d] each.
    edges : DirectedEdges
        The pairs.

    Returns
    -------
    Tensor
        [P, d].
    """
    return _CFCONV.derivative(0, edges, None, x, y)


class _Form:
    """A multilinear form: its name in `dispatch`, the same in plain torch (`reference`), and its
    own arguments.

    rows: what each of the form's own arguments has one row of, "atom" or "pair", or "edge" for
    [2, P, heads].
    """

    def __init__(
        self,
        name: str,
        reference: Callable[..., tuple[Tensor, ...]],
        *rows: Literal["atom", "pair", "edge"],
    ) -> None:
        self.name = name
        self.reference = reference
        self.rows = rows

    def derivative(
        self,
        wanted: int,
        edges: DirectedEdges,
        filters: PairFilters | Tensor | None,
        *args: Tensor | None,
    ) -> Tensor:
        """The derivative by the filters (0), or by the form's own argument number `wanted`."""
        if isinstance(filters, PairFilters):
            values = filters.values
            lookup = filters.lookup
        else:
            values = filters
            lookup = edges.own_rows
        given = [x for x in args if x is not None]
        d = (given[-1] if values is None else values).shape[-1]
        self._check(edges, lookup, values, d, args)
        read = [x for x in (values, *args, lookup.depends_on, lookup.factor) if x is not None]
        # features are scalars, or vectors of three components
        flat = all(x.dim() < 3 or x.shape[1] == 3 or self is _ATTENTION for x in read)
        heads = edges.num_heads if self is _ATTENTION else 1
        kernels = _kernels_for(d, heads, *read) if flat else None
        if kernels is not None:
            r = lookup.depends_on
            inputs = (True, edges, kernels, lookup, 0, r, lookup.factor, values, *args)
        else:
            values = None if values is None else lookup.read(values)
            inputs = (True, edges, None, None, 0, None, None, values, *args)
        return _Derivatives.apply(self, (wanted + 1,), *inputs)[0]

    def _check(
        self,
        edges: DirectedEdges,
        lookup: FilterRows,
        values: Tensor | None,
        d: int,
        args: tuple[Tensor | None, ...],
    ) -> None:
        """Raise ValueError for arguments of another batch or width; the kernels would read past
        their ends."""
        n_pairs = edges.n_pairs
        factor = lookup.factor
        fits = lookup.n_pairs == n_pairs and (factor is None or len(factor) == n_pairs)
        fits = fits and (values is None or values.shape == (lookup.n_rows, d))
        for rows, x in zip(self.rows, args, strict=True):
            if x is None:
                continue
            if rows == "edge":
                shape = 2, n_pairs, edges.num_heads
                fits = fits and x.shape == shape and d % edges.num_heads == 0
            elif rows == "pair":
                fits = fits and len(x) == n_pairs and x.shape[-1] == 3
            else:
                fits = fits and len(x) == edges.n_atoms and x.shape[-1] == d
        if not fits:
            shapes = ", ".join(str([*x.shape]) for x in (values, *args) if x is not None)
            raise ValueError(
                f"A sum over {n_pairs} pairs of {edges.n_atoms} atoms does not go with tensors of "
                f"shapes {shapes}: filters have a row for each pair, features one for each atom, "
                "and all are of one width."
            )


_CFCONV = _Form("cfconv", reference.cfconv, "atom", "atom")
_ATTENTION = _Form("attention", reference.attention, "edge", "atom", "atom")
_VECTOR_MESSAGES = _Form("vector_messages", reference.vector_messages, "pair", "atom", "atom")


class _Derivatives(torch.autograd.Function):
    """The derivatives of a form by its arguments number `wanted`, at the other arguments.

    The arguments are the factor c, the values of the filters, and the form's own. kernels: the
    module of fused kernels, None for plain torch, where filters are the pairs' own; lookup: how
    pairs read the values; order: how many times its spline has been differentiated; r [P]:
    distances that it depends on, or None.

    shortened: whether a backward pass may leave out what `edges.purpose` does not need. The product
    rule puts the gradient of a result in the place of an argument. So in what a backward pass for
    parameters leaves for further differentiation, c and r stand for gradients that do depend on
    parameters, and nothing is left out.
    """

    @staticmethod
    def forward(
        ctx: Any,
        form: _Form,
        wanted: tuple[int, ...],
        shortened: bool,
        edges: DirectedEdges,
        kernels: ModuleType | None,
        lookup: FilterRows | None,
        order: int,
        r: Tensor | None,
        *args: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.form = form
        ctx.wanted = wanted
        ctx.shortened = shortened
        ctx.edges = edges
        ctx.kernels = kernels
        ctx.lookup = lookup
        ctx.order = order
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(r, *args)
        if kernels is None:
            return form.reference(tuple(m - 1 for m in wanted), edges, *args[1:])
        return getattr(kernels, form.name)(wanted, edges, lookup, order, *args)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        r, *args = ctx.saved_tensors
        purpose = ctx.edges.purpose if ctx.shortened else None
        if purpose == "parameters" and torch.is_grad_enabled():
            purpose = None
        shortened = ctx.shortened and purpose == ctx.edges.purpose
        need_r, *need = _needed(ctx, purpose, of_table=r is not None)
        gradients: list[Tensor | None] = [None] * len(args)
        gradient_r = None

        def derivatives(wanted: tuple[int, ...], order: int, c: Tensor | None, *rest: Any) -> Any:
            inputs = (ctx.edges, ctx.kernels, ctx.lookup, order, r, c, *rest)
            return _Derivatives.apply(ctx.form, wanted, shortened, *inputs)

        for k, direction in zip(ctx.wanted, grad_outputs, strict=True):  # the product rule
            if direction is None:
                continue
            replaced = [direction if m == k else x for m, x in enumerate(args)]
            others = tuple(m for m, needed in enumerate(need) if needed and m != k)
            if others:
                found = derivatives(others, ctx.order, *replaced)
                for m, g in zip(others, found, strict=True):
                    gradients[m] = _added(gradients[m], g)
            if need_r:
                c, *rest = replaced
                (slope,) = derivatives((0,), ctx.order + 1, None, *rest)
                gradient_r = _added(gradient_r, slope if c is None else c * slope)
        return None, None, None, None, None, None, None, gradient_r, *gradients


def _needed(ctx: Any, purpose: Purpose, of_table: bool) -> tuple[bool, ...]:
    """Which gradients a backward pass must give: by r, c, the values, and the form's arguments.

    For forces, tables need none: they do not depend on positions. For parameters, distances,
    cutoffs and the vectors along the pairs need none.
    """
    need_r, need_c, need_values, *need_args = ctx.needs_input_grad[7:]
    if purpose == "positions":
        need_values = need_values and not of_table
    elif purpose == "parameters":
        need_r = False
        need_c = False
        if ctx.form is _VECTOR_MESSAGES:
            need_args[0] = False
    return need_r, need_c, need_values, *need_args


def _added(total: Tensor | None, x: Tensor) -> Tensor:
    return x if total is None else total + x
