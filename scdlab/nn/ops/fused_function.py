"""Functions of many tensors that take a few loops, and whose derivatives do too: written by hand,
up to the second, as training on forces takes them.

A layer that is composed of small operations keeps the result of each, and differentiates each by
itself: twice, where forces are trained on. A fused function keeps its arguments. With y = f(x), g a
gradient at y, and u directions of x:

    value          f(x)
    slopes         ∂⟨g, f⟩/∂x                        forces, and gradients of weights
    curvatures     ∂⟨u, ∂⟨g, f⟩/∂x⟩ / ∂(g, x)        gradients of a loss of forces

The last are the tangent of f along u, and the gradient by x of its product with g. Everything else
(a derivative by positions of a derivative by positions, third derivatives, other precisions, other
devices) is computed by composing the same function of small operations.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scdlab.nn.ops.edges import DirectedEdges

Tensors: TypeAlias = tuple[Tensor, ...]
SomeTensors: TypeAlias = tuple[Tensor | None, ...]


class FusedFunction(ABC):
    """A function of tensors in a pass over a batch.

    Parameters
    ----------
    edges : DirectedEdges
        The neighbors of the batch; their purpose says what a backward pass is for.

    Attributes
    ----------
    of_positions, of_weights : tuple of int
        Which arguments depend on positions alone, and which on weights alone: gradients by the
        former are left out where weights are what a backward pass is for, by the latter where
        positions are.
    """

    of_positions: tuple[int, ...] = ()
    of_weights: tuple[int, ...] = ()

    def __init__(self, edges: DirectedEdges) -> None:
        self.edges = edges

    @abstractmethod
    def composed(self, *args: Tensor) -> Tensors:
        """The function, out of operations that autograd differentiates."""

    @abstractmethod
    def value(self, *args: Tensor) -> tuple[Tensors, Tensors]:
        """The function, and what its derivatives read beside its arguments."""

    @abstractmethod
    def slopes(
        self, args: Tensors, kept: Tensors, grads: Tensors, need: tuple[bool, ...]
    ) -> SomeTensors:
        """Gradients by the arguments, of those that are needed; None for the others."""

    @abstractmethod
    def curvatures(
        self, args: Tensors, kept: Tensors, grads: Tensors, directions: SomeTensors
    ) -> tuple[SomeTensors, SomeTensors]:
        """Gradients of ⟨directions, slopes⟩ by grads, and by the arguments that do not depend on
        positions alone. Directions are None for arguments whose slope was not needed; gradients
        by arguments that need none are dropped."""

    def __call__(self, *args: Tensor) -> Tensors:
        """The function, by its loops."""
        return _Value.apply(self, *(x.contiguous() for x in args))


def _outside_autocast(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward pass runs in its caller's mode, and autocast would round its matrix products."""

    @functools.wraps(backward)
    def outside(ctx: Any, *grads: Any) -> Any:
        device = ctx.saved_tensors[0].device.type
        if not torch.is_autocast_enabled(device):
            return backward(ctx, *grads)
        with torch.autocast(device, enabled=False):
            return backward(ctx, *grads)

    return outside


class _Value(torch.autograd.Function):
    """f(x); its backward pass gives the slopes."""

    @staticmethod
    def forward(ctx: Any, function: FusedFunction, *args: Tensor) -> Tensors:
        outputs, kept = function.value(*args)
        ctx.function = function
        ctx.n_args = len(args)
        ctx.save_for_backward(*args, *kept)
        return outputs

    @staticmethod
    @_outside_autocast
    def backward(ctx: Any, *grads: Tensor) -> Any:
        function = ctx.function
        args = ctx.saved_tensors[: ctx.n_args]
        kept = ctx.saved_tensors[ctx.n_args :]
        purpose = function.edges.purpose
        need = list(ctx.needs_input_grad[1:])
        again = torch.is_grad_enabled()
        if purpose == "positions":
            for m in function.of_weights:
                need[m] = False
        elif purpose == "parameters" and not again:
            for m in function.of_positions:
                need[m] = False
        if not again:
            grads = tuple(g.contiguous() for g in grads)
            return None, *function.slopes(args, kept, grads, tuple(need))
        if purpose != "positions":
            return None, *_composed_slopes(function, args, grads, need)
        found = _Slopes.apply(function, tuple(need), len(args), len(grads), *args, *grads, *kept)
        return None, *_where(need, found)


class _Slopes(torch.autograd.Function):
    """The slopes that are needed; its backward pass gives the curvatures."""

    @staticmethod
    def forward(
        ctx: Any,
        function: FusedFunction,
        need: tuple[bool, ...],
        n_args: int,
        n_grads: int,
        *tensors: Tensor,
    ) -> Tensors:
        ctx.function = function
        ctx.need = need
        ctx.n_args = n_args
        ctx.n_grads = n_grads
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        args = tensors[:n_args]
        grads = tuple(g.contiguous() for g in tensors[n_args : n_args + n_grads])
        found = function.slopes(args, tensors[n_args + n_grads :], grads, need)
        return tuple(x for x in found if x is not None)

    @staticmethod
    @_outside_autocast
    def backward(ctx: Any, *directions: Tensor | None) -> Any:
        function = ctx.function
        tensors = ctx.saved_tensors
        n = ctx.n_args
        args = tensors[:n]
        grads = tensors[n : n + ctx.n_grads]
        kept = tensors[n + ctx.n_grads :]
        along = _where(ctx.need, [None if u is None else u.contiguous() for u in directions])
        if function.edges.purpose == "parameters" and not torch.is_grad_enabled():
            grads = tuple(g.contiguous() for g in grads)
            by_grads, by_args = function.curvatures(args, kept, grads, tuple(along))
        else:
            by_grads, by_args = _composed_curvatures(function, args, grads, ctx.need, along)
        return None, None, None, None, *by_args, *by_grads, *(None for _ in kept)


def _where(need: Any, found: Any) -> list[Tensor | None]:
    """What was found for the arguments that need it, None for the others."""
    rest = iter(found)
    return [next(rest) if needed else None for needed in need]


def _aliases(tensors: Any) -> list[Tensor]:
    """The same tensors as inputs of their own: what one of them has from another is not seen."""
    return [x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in tensors]


def _composed_slopes(
    function: FusedFunction, args: Any, grads: Any, need: Any
) -> list[Tensor | None]:
    """Slopes for what the loops do not differentiate twice: passes without a purpose."""
    args = _aliases(args)
    wanted = [x for x, needed in zip(args, need, strict=True) if needed]
    outputs = function.composed(*args)
    found = torch.autograd.grad(outputs, wanted, grads, create_graph=True, allow_unused=True)
    return _where(need, found)


def _composed_curvatures(
    function: FusedFunction, args: Any, grads: Any, need: Any, along: list[Tensor | None]
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Curvatures that the loops do not give: by positions, or to be differentiated once more."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        args = _aliases(args)
        grads = _aliases(grads)
        slopes = _composed_slopes(function, args, grads, need)
        pairs = [(s, u) for s, u in zip(slopes, along, strict=True) if u is not None]
        pairs = [(s, u) for s, u in pairs if s is not None and s.requires_grad]
        found = torch.autograd.grad(
            [s for s, _ in pairs],
            [*grads, *args],
            [u for _, u in pairs],
            create_graph=again,
            allow_unused=True,
        )
    return list(found[: len(grads)]), list(found[len(grads) :])


def zeros_where_none(tensors: SomeTensors, patterns: Tensors) -> Tensors:
    """The tensors, with zeros for those that are None.

    Parameters
    ----------
    tensors : tuple of Tensor or None
        Such as directions.
    patterns : tuple of Tensor
        Tensors of their shapes.

    Returns
    -------
    tuple of Tensor
        All of them.
    """
    pairs = zip(tensors, patterns, strict=True)
    return tuple(torch.zeros_like(pattern) if x is None else x for x, pattern in pairs)
