"""SiLU and normalization of rows, closed under differentiation: one pass over memory for the
function, one for its gradient, one for the gradient of that, as training on forces takes them.

    SiLU        f(x) = x σ(x)
    normalize   y = (x - mean) s,  s = (variance + ε)^-1/2

torch's own gradients of gradients are made of a dozen operations, and each keeps its result. Fused
loops (`loops.activations`) run on a processor, and plain torch everywhere else and for derivatives
beyond the second; what they compute is written in plain torch beside them. (The mean and variance
are written out: the third derivative of `layer_norm` in torch 2.13 differs from finite
differences.)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scdlab.nn.ops.neighbor_sums import fused_on_processor

EPSILON = 1e-5  # torch's, of layer normalization


def silu(x: Tensor) -> Tensor:
    """x σ(x), of each number.

    Parameters
    ----------
    x : Tensor
        Of any shape.

    Returns
    -------
    Tensor
        Of the shape of x.
    """
    if not fused_on_processor(x.numel(), 1, x):
        return functional.silu(x)
    return _SiLU.apply(x.contiguous())


def normalize(x: Tensor) -> Tensor:
    """Rows less their mean, over their standard deviation: layer normalization without weights.

    Parameters
    ----------
    x : Tensor
        Rows, [n, d].

    Returns
    -------
    Tensor
        [n, d].
    """
    if not fused_on_processor(x.shape[1], 1, x):
        return functional.layer_norm(x, x.shape[1:], eps=EPSILON)
    return _Normalize.apply(x.contiguous())[0]


class _SiLU(torch.autograd.Function):
    """f(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        from scdlab.nn.ops.loops import activations

        ctx.save_for_backward(x)
        y = torch.empty_like(x)
        activations.silu(x.numel() // 8, x, y)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (g,) = grad_outputs
        return _SiLUSlope.apply(g.contiguous(), *ctx.saved_tensors)


class _SiLUSlope(torch.autograd.Function):
    """g f'(x)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        from scdlab.nn.ops.loops import activations

        ctx.save_for_backward(g, x)
        gx = torch.empty_like(x)
        activations.silu_slope(x.numel() // 8, g, x, gx)
        return gx

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        (h,) = grad_outputs
        g, x = ctx.saved_tensors
        if torch.is_grad_enabled():
            return silu_curvature(h, g, x)
        from scdlab.nn.ops.loops import activations

        gg = torch.empty_like(x)
        gx = torch.empty_like(x)
        activations.silu_curvature(x.numel() // 8, h.contiguous(), g, x, gg, gx)
        return gg, gx


def silu_curvature(h: Tensor, g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of Σ h g f'(x) by g and by x, in plain torch.

    Parameters
    ----------
    h, g, x : Tensor
        Of one shape.

    Returns
    -------
    tuple of Tensor
        h f'(x) and h g f''(x).
    """
    s = x.sigmoid()
    both = s * (1 - s)
    return h * (s + x * both), h * g * both * (2 + x * (1 - 2 * s))


class _Normalize(torch.autograd.Function):
    """y and s."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        from scdlab.nn.ops.loops import activations

        y = torch.empty_like(x)
        s = x.new_empty(len(x), 1)
        activations.normalize(len(x), x.shape[1], x, y, s)
        ctx.save_for_backward(y, s)
        ctx.set_materialize_grads(False)
        return y, s

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Tensor | None:
        g, gs = grad_outputs
        y, s = ctx.saved_tensors
        if g is None:
            g = torch.zeros_like(y)
        if torch.is_grad_enabled():
            gx = _NormalizeSlope.apply(g.contiguous(), y, s)
            return gx if gs is None else gx - s.square() * gs * y / y.shape[1]
        gs = torch.zeros_like(s) if gs is None else gs
        return _slope(g.contiguous(), y, s, gs.contiguous())


def _slope(g: Tensor, y: Tensor, s: Tensor, gs: Tensor) -> Tensor:
    from scdlab.nn.ops.loops import activations

    gx = torch.empty_like(y)
    activations.normalize_slope(len(y), y.shape[1], g, y, s, gs, gx)
    return gx


class _NormalizeSlope(torch.autograd.Function):
    """s (g - mean(g) - y mean(g ∘ y)), from g at y."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor, s: Tensor) -> Tensor:
        ctx.save_for_backward(g, y, s)
        return _slope(g, y, s, torch.zeros_like(s))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (h,) = grad_outputs
        g, y, s = ctx.saved_tensors
        if torch.is_grad_enabled():
            return normalize_curvature(h, g, y, s)
        from scdlab.nn.ops.loops import activations

        gg = torch.empty_like(y)
        gy = torch.empty_like(y)
        gs = torch.empty_like(s)
        inputs = h.contiguous(), g, y, s
        activations.normalize_curvature(len(y), y.shape[1], *inputs, gg, gy, gs)
        return gg, gy, gs


def normalize_curvature(
    h: Tensor, g: Tensor, y: Tensor, s: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of Σ h ∘ s (g - mean(g) - y mean(g ∘ y)) by g, y and s, in plain torch.

    Parameters
    ----------
    h, g, y : Tensor
        Rows, [n, d].
    s : Tensor
        The scale of each, [n, 1].

    Returns
    -------
    tuple of Tensor
        [n, d], [n, d] and [n, 1].
    """
    h_y = (h * y).mean(1, keepdim=True)
    g_y = (g * y).mean(1, keepdim=True)
    across = h - h.mean(1, keepdim=True) - y * h_y  # (n, d)
    gg = s * across
    gy = -s * (h * g_y + g * h_y)
    return gg, gy, (across * g).sum(1, keepdim=True)
