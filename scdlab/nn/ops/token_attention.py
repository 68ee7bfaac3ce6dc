"""Attention among the tokens of each atom, closed under differentiation.

Tokens of an atom attend to each other, in each head:

    S_ij = q_i · k_j / √d + b_j,   A_ij = softmax_j S_ij,   y_i = Σ_j A_ij v_j

From g at y come the gradients

    γ_ij = A_ij (g_i · v_j - Σ_k A_ik g_i · v_k)                               by S_ij
    by q_i: Σ_j γ_ij k_j / √d    by k_j: Σ_i γ_ij q_i / √d
    by v_j: Σ_i A_ij g_i         by b_j: Σ_i γ_ij

and training on forces differentiates these once more. Fused loops (`loops.tokens`) do each of the
three steps in one pass, over atoms with any number of tokens, and keep nothing but A; they run on a
processor, plain torch everywhere else and beyond the second derivative. PyTorch's own fused
attention cannot be differentiated twice.
"""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from scdlab.nn.ops.neighbor_sums import fused_on_processor


class TokensOfAtoms:
    """Which atom each of T tokens belongs to.

    Parameters
    ----------
    atom : Tensor
        The atom of each token, [T]; each atom has one at least.
    slot : Tensor
        Where each token stands among n · width rows, atom by atom, [T].
    n_atoms : int
        Number of atoms, n.
    width : int
        The most tokens of an atom.
    """

    def __init__(self, atom: Tensor, slot: Tensor, n_atoms: int, width: int) -> None:
        self.atom = atom
        self.slot = slot
        self.n_atoms = n_atoms
        self.width = width
        self.uniform = n_atoms * width == len(atom)

    def by_atom(self, x: Tensor, empty: float = 0.0) -> Tensor:
        """Rows of tokens [T, d] -> rows by atom, [n · width, d].

        Parameters
        ----------
        x : Tensor
            The rows, [T, d] or [T].
        empty : float, default 0.0
            What stands where there is no token.

        Returns
        -------
        Tensor
            [n · width, d] or [n · width].
        """
        if self.uniform:
            return x
        rows = x.new_full((self.n_atoms * self.width, *x.shape[1:]), empty)
        return rows.index_copy(0, self.slot, x)

    def flat(self, x: Tensor) -> Tensor:
        """Rows by atom, [n · width, d] -> rows of tokens, [T, d]."""
        return x if self.uniform else x.index_select(0, self.slot)

    @functools.cached_property
    def lists(self) -> tuple[Tensor, Tensor, Tensor]:
        """For the loops: start [n + 1] and row [T], the tokens of each atom, and square [n + 1],
        where its attention weights start: rows of whole eights."""
        count = torch.bincount(self.atom, minlength=self.n_atoms)
        row = torch.argsort(self.slot)
        first = count.new_zeros(1)
        start = torch.cat([first, count.cumsum(0)])
        return start, row, torch.cat([first, (count * ((count + 7) // 8 * 8)).cumsum(0)])


def attend(qkv: Tensor, bias: Tensor, num_heads: int, tokens: TokensOfAtoms) -> Tensor:
    """Attention among the tokens of each atom.

    Parameters
    ----------
    qkv : Tensor
        Queries, keys and values, [T, 3d].
    bias : Tensor
        What is added to the logits of those that attend to a token, b [T].
    num_heads : int
        Attention heads, a divisor of d.
    tokens : TokensOfAtoms
        Whose tokens they are.

    Returns
    -------
    Tensor
        Sums of the values, y [T, d].
    """
    d = qkv.shape[1] // 3
    if not fused_on_processor(d, num_heads, qkv, bias):
        return attend_plainly(qkv, bias, num_heads, tokens)
    return _Attend.apply(tokens, num_heads, qkv.contiguous(), bias.contiguous())[0]


def attend_plainly(qkv: Tensor, bias: Tensor, num_heads: int, tokens: TokensOfAtoms) -> Tensor:
    """`attend` in plain torch: rows of all atoms made equally long, -∞ in b where there is no
    token.

    Parameters
    ----------
    qkv, bias, num_heads, tokens
        As of `attend`.

    Returns
    -------
    Tensor
        [T, d].
    """
    h = qkv.shape[1] // 3
    n, heads, d = tokens.n_atoms, num_heads, h // num_heads
    qkv = tokens.by_atom(qkv).view(n, tokens.width, 3, heads, d).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.reshape(3, n * heads, tokens.width, d).unbind(0)
    bias = tokens.by_atom(bias, -math.inf).view(n, 1, 1, tokens.width)
    bias = bias.expand(n, heads, 1, -1).reshape(n * heads, 1, -1)
    logits = torch.baddbmm(bias, q, k.mT, alpha=d**-0.5)  # (n · heads, width, width)
    y = softmax_of_few(logits) @ v  # (n · heads, width, d)
    y = y.view(n, heads, tokens.width, d).transpose(1, 2)
    return tokens.flat(y.reshape(-1, h))


def softmax_of_few(logits: Tensor) -> Tensor:
    """The softmax of short rows, [..., width]; each must have a finite entry.

    Without a gradient it is taken apart: torch's own takes the exponentials of a row, which are
    few here, one by one.

    Parameters
    ----------
    logits : Tensor
        The rows; -∞ for what has no part.

    Returns
    -------
    Tensor
        Their softmax, of the same shape.
    """
    if torch.is_grad_enabled():
        return logits.softmax(dim=-1)
    e = (logits - logits.amax(dim=-1, keepdim=True)).exp_()
    return e.div_(e.sum(dim=-1, keepdim=True))


def _shared(tokens: TokensOfAtoms, num_heads: int, qkv: Tensor, weights: Tensor) -> tuple:
    """What the loops have in common."""
    sizes = tokens.n_atoms, len(qkv), num_heads, qkv.shape[1] // 3, tokens.width
    return *sizes, *tokens.lists, qkv, weights


class _Attend(torch.autograd.Function):
    """y, and the weights A of all atoms one after the other, which have no gradient."""

    @staticmethod
    def forward(
        ctx: Any, tokens: TokensOfAtoms, num_heads: int, qkv: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        from scdlab.nn.ops.loops import tokens as loops

        weights = qkv.new_empty(num_heads * int(tokens.lists[2][-1]))
        y = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        loops.attend(*_shared(tokens, num_heads, qkv, weights), bias, y)
        ctx.tokens = tokens
        ctx.num_heads = num_heads
        ctx.save_for_backward(qkv, bias, weights)
        ctx.mark_non_differentiable(weights)
        return y, weights

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, Tensor, Tensor]:
        g, _ = grad_outputs
        inputs = ctx.tokens, ctx.num_heads, g.contiguous(), *ctx.saved_tensors
        return None, None, *_AttendSlope.apply(*inputs)


class _AttendSlope(torch.autograd.Function):
    """The gradients by q, k, v and by b, from g at y."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: TokensOfAtoms,
        num_heads: int,
        g: Tensor,
        qkv: Tensor,
        bias: Tensor,
        weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        from scdlab.nn.ops.loops import tokens as loops

        gqkv = torch.empty_like(qkv)
        gb = torch.empty_like(bias)
        loops.attend_slope(*_shared(tokens, num_heads, qkv, weights), g, gqkv, gb)
        ctx.tokens = tokens
        ctx.num_heads = num_heads
        ctx.save_for_backward(g, qkv, bias, weights)
        return gqkv, gb

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Any, ...]:
        h, hb = grad_outputs
        g, qkv, bias, weights = ctx.saved_tensors
        tokens, num_heads = ctx.tokens, ctx.num_heads
        if torch.is_grad_enabled():
            gradients = attend_curvature(h, hb, g, qkv, bias, num_heads, tokens)
            return None, None, *gradients, None
        from scdlab.nn.ops.loops import tokens as loops

        gg = torch.empty_like(g)
        gqkv = torch.empty_like(qkv)
        gb = torch.empty_like(bias)
        shared = _shared(tokens, num_heads, qkv, weights)
        loops.attend_curvature(*shared, g, h.contiguous(), hb.contiguous(), gg, gqkv, gb)
        return None, None, gg, gqkv, gb, None


def attend_curvature(
    h: Tensor,
    hb: Tensor,
    g: Tensor,
    qkv: Tensor,
    bias: Tensor,
    num_heads: int,
    tokens: TokensOfAtoms,
) -> tuple[Tensor, ...]:
    """The gradients of Σ h · ∂/∂qkv + Σ hb · ∂/∂b of Σ g · y, by autograd through plain torch.

    Parameters
    ----------
    h, hb : Tensor
        What stands at the gradients by qkv and by b, [T, 3d] and [T].
    g : Tensor
        What stands at y, [T, d].
    qkv, bias, num_heads, tokens
        As of `attend`.

    Returns
    -------
    tuple of Tensor
        By g, qkv and b.
    """
    # new names of the same: g may itself depend on qkv, and that way is not this function's
    inputs = tuple(
        x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in (g, qkv, bias)
    )
    g, qkv, bias = inputs
    y = attend_plainly(qkv, bias, num_heads, tokens)
    slopes = torch.autograd.grad(y, (qkv, bias), g, create_graph=True)
    return torch.autograd.grad(slopes, inputs, (h, hb), create_graph=True)
