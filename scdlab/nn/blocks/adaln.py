"""Adaptive layer norm (adaLN: DiT, Peebles and Xie, ICCV 2023, arXiv:2212.09748): how a vector
tells a network what to do.

A condition c [d] of the whole structure, or of each atom, sets in every layer how the scalar
features enter the block and how much of what it answers is kept:

    β, γ, α = Linear(SiLU(Linear(LN(c))))           shift, scale and gate, d numbers each
    x ← x + (1 + tanh α) ∘ block((1 + γ) ∘ LN(x) + β)

The last linear layer starts at zero, so a conditional network starts as the unconditional one, gate
open. The gate is attenuated: no condition can make a block louder than twice itself, and at -1 it
is closed. Vector features are not modulated: they are scaled only through the scalars that they
meet inside the block. All of it depends on c and on nothing else, and nothing is detached, so the
network stays exactly equivariant, and forces stay the gradient of the energy at a given c.

What was not told is told by a token: a structure without a condition gets the learned `mask_token`.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu


class AdaLN(nn.Module):
    """Conditions [B, d] of structures, or [N, d] of atoms, to a layer's 1 + γ, β and 1 + tanh α,
    [N, d] each."""

    def __init__(self, d: int):
        super().__init__()
        self.lin1 = nn.Linear(d, d)
        self.lin2 = nn.Linear(d, 3 * d)
        nn.init.zeros_(self.lin2.weight)
        nn.init.zeros_(self.lin2.bias)

    def forward(self, c: Tensor, batch) -> tuple[Tensor, Tensor, Tensor]:
        scale, shift, gate = self.lin2(silu(self.lin1(c))).chunk(
            3, dim=-1
        )  # (B, d) each, or (N, d)
        out = torch.cat([1 + scale, shift, 1 + torch.tanh(gate)], dim=-1)
        if len(out) != len(batch.batch):
            out = out.index_select(0, batch.batch)  # (B, 3d) -> (N, 3d)
        return out.chunk(3, dim=-1)


def check_condition(condition: Tensor, batch, d: int) -> None:
    """Raise ValueError for a condition that is neither [B, d], one a structure, nor [N, d], one an
    atom."""
    b = batch.num_graphs
    n = len(batch.z)
    if condition.ndim != 2 or condition.shape[1] != d or len(condition) not in (b, n):
        raise ValueError(
            f"The condition has shape {list(condition.shape)}, and this batch needs [{b}, {d}], "
            f"one of the model's width for each structure, or [{n}, {d}], one for each atom."
        )


def drop_path(batch, p: float, like: Tensor) -> Tensor:
    """Factors [N, 1] for the residuals of a block: with probability p a structure skips the block,
    scalars and vectors together; the others are scaled by 1 / (1 - p), so that the mean stays."""
    kept = torch.rand(batch.num_graphs, 1, device=like.device) >= p
    return (kept.to(like.dtype) / (1 - p)).index_select(0, batch.batch)
