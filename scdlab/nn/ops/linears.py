"""Several linear layers of the same input: y_m = W_m x + b_m, as one function with two derivatives.

Autograd differentiates each layer by itself, and adds up what each gives for x. Here those are
sums that the products themselves take; and since y is linear in x and in W, the second derivative
is made of the same products, with a direction u of x in the place of x or of the gradients:

    ∂/∂x = Σ_m W_mᵀ g_m     ∂/∂W_m = g_m xᵀ     of ⟨u, ∂/∂x⟩: by g_m  W_m u, by W_m  g_m uᵀ

Filter networks have a SiLU f behind, y_m = f(z_m), z_m = W_m x + b_m: g_m is g_m ∘ f'(z_m) then,
and of ⟨u, ∂/∂x⟩ there is by z_m  g_m ∘ f''(z_m) ∘ W_m u.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.fused_function import FusedFunction, SomeTensors, Tensors
from scdlab.nn.ops.neighbor_sums import fused_on_processor

Layer: TypeAlias = tuple[Tensor, Tensor | None]


def linears(x: Tensor, layers: Sequence[Layer], edges: DirectedEdges) -> Tensors:
    """Linear layers of the same input.

    Parameters
    ----------
    x : Tensor
        Features, [..., d_in].
    layers : sequence of (Tensor, Tensor or None)
        Weight [d_out, d_in] and bias [d_out] of each; either all have a bias or none.
    edges : DirectedEdges
        The neighbors of the batch, which know what backward passes are for.

    Returns
    -------
    tuple of Tensor
        [..., d_out] of each layer.

    Raises
    ------
    ValueError
        Where some layers have a bias and others have none.
    """
    weights = [weight for weight, _ in layers]
    biases = [bias for _, bias in layers if bias is not None]
    if len(biases) not in (0, len(weights)):
        raise ValueError(
            "Linear layers of one input have a bias each, or none has: give all of them or leave "
            "all of them out."
        )
    args = x, *weights, *biases
    function = _Linears(edges, len(weights), bool(biases))
    return function(*args) if fused_on_processor(8, 1, *args) else function.composed(*args)


def silu_linears(
    x: Tensor, layers: Sequence[tuple[Tensor, Tensor]], edges: DirectedEdges
) -> Tensors:
    """SiLU of linear layers of the same input, which depends on positions alone.

    Parameters
    ----------
    x : Tensor
        What filter networks read, [n, d_in].
    layers : sequence of (Tensor, Tensor)
        Weight [d_out, d_in] and bias [d_out] of each.
    edges : DirectedEdges
        The neighbors of the batch, which know what backward passes are for.

    Returns
    -------
    tuple of Tensor
        [n, d_out] of each layer.
    """
    args = x, *(weight for weight, _ in layers), *(bias for _, bias in layers)
    function = _SiLULinears(edges, len(layers), with_biases=True)
    fused = all(fused_on_processor(len(bias), 1, *args) for _, bias in layers)
    return function(*args) if fused else function.composed(*args)


class _Linears(FusedFunction):
    """Of x, all weights, and all biases."""

    def __init__(self, edges: DirectedEdges, n: int, with_biases: bool) -> None:
        super().__init__(edges)
        self.n = n
        self.with_biases = with_biases
        self.of_weights = tuple(range(1, 1 + (2 * n if with_biases else n)))

    def composed(self, *args: Tensor) -> Tensors:
        x, weights, biases = self._parts(args)
        return tuple(F.linear(x, w, b) for w, b in zip(weights, biases, strict=True))

    def value(self, *args: Tensor) -> tuple[Tensors, Tensors]:
        return self.composed(*args), ()

    def slopes(
        self, args: Tensors, kept: Tensors, grads: Tensors, need: tuple[bool, ...]
    ) -> SomeTensors:
        x, weights, _ = self._parts(args)
        rows = x.reshape(-1, x.shape[-1])  # (rows, d_in)
        flat = [g.reshape(-1, g.shape[-1]) for g in grads]  # (rows, d_out) each
        found: list[Tensor | None] = [None] * len(args)
        if need[0]:
            total = flat[0].mm(weights[0])  # (rows, d_in)
            for g, w in zip(flat[1:], weights[1:], strict=True):
                total.addmm_(g, w)
            found[0] = total.view_as(x)
        for m, g in enumerate(flat):
            if need[1 + m]:
                found[1 + m] = g.t().mm(rows)  # (d_out, d_in)
            if self.with_biases and need[1 + self.n + m]:
                found[1 + self.n + m] = g.sum(0)  # (d_out)
        return tuple(found)

    def curvatures(
        self, args: Tensors, kept: Tensors, grads: Tensors, directions: SomeTensors
    ) -> tuple[SomeTensors, SomeTensors]:
        _, weights, _ = self._parts(args)
        by_args: list[Tensor | None] = [None] * len(args)
        along = directions[0]
        if along is None:
            return (None,) * self.n, tuple(by_args)
        rows = along.reshape(-1, along.shape[-1])  # (rows, d_in)
        for m, g in enumerate(grads):
            by_args[1 + m] = g.reshape(-1, g.shape[-1]).t().mm(rows)  # (d_out, d_in)
        return tuple(F.linear(along, w) for w in weights), tuple(by_args)

    def _parts(self, args: Tensors) -> tuple[Tensor, Tensors, SomeTensors]:
        weights = args[1 : 1 + self.n]
        return args[0], weights, args[1 + self.n :] if self.with_biases else (None,) * self.n


class _SiLULinears(_Linears):
    """Of x, all weights, and all biases; z_m are kept."""

    of_positions = (0,)

    def composed(self, *args: Tensor) -> Tensors:
        return tuple(F.silu(z) for z in super().composed(*args))

    def value(self, *args: Tensor) -> tuple[Tensors, Tensors]:
        from scdlab.nn.ops.loops import activations

        kept = super().composed(*args)
        found = tuple(torch.empty_like(z) for z in kept)
        for z, y in zip(kept, found, strict=True):
            activations.silu(z.numel() // 8, z, y)
        return found, kept

    def slopes(
        self, args: Tensors, kept: Tensors, grads: Tensors, need: tuple[bool, ...]
    ) -> SomeTensors:
        return super().slopes(args, (), self._at_z(kept, grads), need)

    def curvatures(
        self, args: Tensors, kept: Tensors, grads: Tensors, directions: SomeTensors
    ) -> tuple[SomeTensors, SomeTensors]:
        from scdlab.nn.ops.loops import activations

        x, weights, _ = self._parts(args)
        along = directions[0]
        if along is None:
            return (None,) * self.n, (None,) * len(args)
        by_grads = []
        by_weights = []
        by_biases = []
        for w, z, g in zip(weights, kept, grads, strict=True):
            change = F.linear(along, w)  # of z, (n, d_out)
            by_g = torch.empty_like(z)
            by_z = torch.empty_like(z)
            activations.silu_curvature(z.numel() // 8, change, g, z, by_g, by_z)
            (at_z,) = self._at_z((z,), (g,))
            by_grads.append(by_g)
            by_weights.append(torch.addmm(by_z.t() @ x, at_z.t(), along))  # (d_out, d_in)
            by_biases.append(by_z.sum(0))  # (d_out)
        return tuple(by_grads), (None, *by_weights, *by_biases)

    def _at_z(self, kept: Tensors, grads: Tensors) -> Tensors:
        """The gradients at z_m, from those at y_m."""
        from scdlab.nn.ops.loops import activations

        found = tuple(torch.empty_like(z) for z in kept)
        for z, g, at_z in zip(kept, grads, found, strict=True):
            activations.silu_slope(z.numel() // 8, g, z, at_z)
        return found
