"""Adaptive layer norm (adaLN: DiT, Peebles and Xie, ICCV 2023, arXiv:2212.09748): a network that
depends on a vector.

A condition c [d] of the whole structure, or of each atom, sets in every layer how the scalar
features enter the block and how much of its result is kept:

    β, γ, α = Linear(SiLU(Linear(LN(c))))           shift, scale and gate, d numbers each
    x ← x + (1 + tanh α) ∘ block((1 + γ) ∘ LN(x) + β)

The last linear layer starts at zero, so a conditional network starts as the unconditional one, gate
open. The gate is attenuated: no condition can scale a block by more than two, and at -1 it is
closed. Vector features are not modulated: they are scaled only through the scalars that they
meet inside the block. All of it depends on c and on nothing else, and nothing is detached, so the
network stays exactly equivariant, and forces stay the gradient of the energy at a given c.

A structure without a condition gets the learned `mask_token`.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from scdlab.atoms.batch import Batch
from scdlab.atoms.shares import drawn_for_model


class AdaLN(nn.Module):
    """Scale, shift and gate of one layer, from conditions.

    Parameters
    ----------
    d : int
        Width of conditions and features.

    References
    ----------
    Peebles and Xie, "Scalable diffusion models with transformers", ICCV 2023, arXiv:2212.09748.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(d, d)
        self.lin2 = nn.Linear(d, 3 * d)
        nn.init.zeros_(self.lin2.weight)
        nn.init.zeros_(self.lin2.bias)

    def forward(self, c: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The modulation of a layer.

        Parameters
        ----------
        c : Tensor
            Conditions of structures, [B, d], or of atoms, [N, d].
        batch : Batch
            The structures.

        Returns
        -------
        scale, shift, gate : Tensor
            1 + γ, β and 1 + tanh α, [N, d] each.
        """
        modulation = self.lin2(silu(self.lin1(c)))  # (B, 3d), or (N, 3d)
        scale, shift, gate = modulation.chunk(3, dim=-1)
        out = torch.cat([1 + scale, shift, 1 + torch.tanh(gate)], dim=-1)
        if len(out) != len(batch.batch):
            out = out.index_select(0, batch.batch)  # (B, 3d) -> (N, 3d)
        scale, shift, gate = out.chunk(3, dim=-1)
        return scale, shift, gate


def check_condition(condition: Tensor, batch: Batch, d: int) -> None:
    """Check the shape of a condition.

    Parameters
    ----------
    condition : Tensor
        The condition.
    batch : Batch
        The structures it belongs to.
    d : int
        Width of the model's features.

    Raises
    ------
    ValueError
        Where it is neither [B, d], one a structure, nor [N, d], one an atom.
    """
    b = batch.num_graphs
    n = len(batch.z)
    if condition.ndim != 2 or condition.shape[1] != d or len(condition) not in (b, n):
        raise ValueError(
            f"The condition must have shape [{b}, {d}], one of the model's width for each "
            f"structure, or [{n}, {d}], one for each atom, got {list(condition.shape)}."
        )


def drop_path(batch: Batch, p: float, like: Tensor) -> Tensor:
    """Factors for the residuals of a block that some structures skip.

    Parameters
    ----------
    batch : Batch
        The structures.
    p : float
        Probability with which a structure skips the block, scalars and vectors together.
    like : Tensor
        A tensor of the precision and on the device of the residuals.

    Returns
    -------
    Tensor
        [N, 1]: 0 for the atoms of structures that skip it, 1 / (1 - p) for others, so that the
        mean stays.
    """
    device = like.device
    drawn = drawn_for_model(
        batch, lambda n, source: torch.rand(n, 1, device=device, generator=source)
    )
    kept = drawn >= p
    return (kept.to(like.dtype) / (1 - p)).index_select(0, batch.batch)
