"""Forces as an input (DeNS: Liao, Smidt, Shuaibi and Das, TMLR 2024, arXiv:2403.09549): which
structure is meant.

A structure off equilibrium with noise on it could be many structures. Told the force F on its
atoms, a network can tell them apart. The force becomes features of degrees l = 0 … lmax, which grow
with |F| and turn with the structure:

    x^(l) = W^(l) |F|/√3 Y^(l)(F/|F|)        Y^(l): spherical harmonics, |Y^(l)|² = 2l + 1

Y^(1) of a unit vector is √3 times that vector, so with 1/√3 degree 1 is F itself; degree 0 tells
its length, and from degree 2 on a direction is told ever more sharply. W^(l) mixes no components:
it is one weight per channel, without a bias. So the features turn as F does, and an atom whose
force is zero, or that is told none, gets none. W starts at zero: a network starts as one that is
told nothing, and learns to listen.
"""

import math

import torch
from torch import Tensor, nn

from scdlab.nn.blocks.heads import Float64Buffers


def spherical_degrees(forces: Tensor, lmax: int) -> list[Tensor]:
    """|F|/√3 Y^(l)(F/|F|) of vectors [N, 3], for l = 0 … lmax: a list of [N, 2l + 1], components in
    e3nn's order, which for degree 1 is x, y, z. A vector of zero length has zeros only."""
    from e3nn.o3 import spherical_harmonics  # two seconds of imports, for those who use it

    length = forces.norm(dim=-1, keepdim=True) / math.sqrt(3.0)  # (N, 1)
    unit = forces / (math.sqrt(3.0) * length).clamp(min=torch.finfo(forces.dtype).tiny)
    component = dict(normalize=False, normalization="component")
    return [length * spherical_harmonics(degree, unit, **component) for degree in range(lmax + 1)]


class ForceEncoding(Float64Buffers):
    """Forces [N, 3] in eV/Å -> features of each degree, a list of [N, 2l + 1, d] for l = 0 … lmax.

    scale: what forces are divided by, in eV/Å: their root mean square component in the training
    set, 1 before one was seen.
    """

    def __init__(self, d: int, lmax: int = 1):
        super().__init__()
        if not 0 <= lmax <= 11:  # e3nn's harmonics end there
            raise ValueError(
                f"lmax is the highest degree in which a force is told, from 0 to 11, not {lmax}."
            )
        self.lmax = lmax
        self.weights = nn.ParameterList(torch.zeros(d) for _ in range(lmax + 1))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV/Å

    def forward(self, forces: Tensor) -> list[Tensor]:
        degrees = spherical_degrees(forces / self.scale.to(forces.dtype), self.lmax)
        return [y.unsqueeze(-1) * w.to(y.dtype) for y, w in zip(degrees, self.weights, strict=True)]
