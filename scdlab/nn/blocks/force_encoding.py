"""Forces as an input (DeNS: Liao, Smidt, Shuaibi and Das, TMLR 2024, arXiv:2403.09549): which
structure is meant.

A structure off equilibrium with noise on it could be many structures. Given the force F on its
atoms, a network can tell them apart. The force becomes features of degrees l = 0 … lmax, which grow
with |F| and rotate with the structure:

    x^(l) = W^(l) |F|/√3 Y^(l)(F/|F|)        Y^(l): spherical harmonics, |Y^(l)|² = 2l + 1

Y^(1) of a unit vector is √3 times that vector, so with 1/√3 degree 1 is F itself; degree 0 is its
length, and from degree 2 on directions are told apart ever more sharply. W^(l) mixes no components:
it is one weight per channel, without a bias. So the features rotate as F does, and an atom whose
force is zero, or not given, gets none. W starts as N(0, 1), as the embeddings of elements do: a
network depends on the forces from its first step.
"""

import math

import torch
from torch import Tensor, nn

from scdlab.nn.blocks.heads import Float64Buffers


def spherical_degrees(forces: Tensor, lmax: int) -> list[Tensor]:
    """|F|/√3 Y^(l)(F/|F|) for l = 0 … lmax.

    Parameters
    ----------
    forces : Tensor
        Vectors F, [N, 3].
    lmax : int
        Highest degree.

    Returns
    -------
    list of Tensor
        [N, 2l + 1] each, components in e3nn's order, which for degree 1 is x, y, z. A vector of
        zero length has zeros only.
    """
    from e3nn.o3 import spherical_harmonics  # two seconds of imports, for those who use it

    length = forces.norm(dim=-1, keepdim=True) / math.sqrt(3.0)  # (N, 1)
    unit = forces / (math.sqrt(3.0) * length).clamp(min=torch.finfo(forces.dtype).tiny)
    return [
        length * spherical_harmonics(degree, unit, normalize=False, normalization="component")
        for degree in range(lmax + 1)
    ]


class ForceEncoding(Float64Buffers):
    """Features of each degree from forces.

    Parameters
    ----------
    d : int
        Channels of each degree.
    lmax : int, default 1
        Highest degree, from 0 to 11.

    Attributes
    ----------
    weights : nn.ParameterList
        W^(l), [d] each.
    scale : Tensor
        What forces are divided by, in eV/Å: their root mean square component in the training set,
        1 before training.

    Raises
    ------
    ValueError
        For a degree outside 0 … 11.

    References
    ----------
    Liao, Smidt, Shuaibi and Das, "Generalizing denoising to non-equilibrium structures improves
    equivariant force fields", TMLR 2024, arXiv:2403.09549.
    """

    scale: Tensor

    def __init__(self, d: int, lmax: int = 1) -> None:
        super().__init__()
        if not 0 <= lmax <= 11:  # e3nn's harmonics end there
            raise ValueError(f"lmax, the highest degree, must be from 0 to 11, got {lmax}.")
        self.lmax = lmax
        # from a generator of their own: heads that are added later keep their first weights
        with torch.random.fork_rng(devices=[]):
            seed = int(torch.randint(2**62, (), device="cpu"))
            torch.default_generator.manual_seed(seed)
            self.weights = nn.ParameterList(torch.randn(d) for _ in range(lmax + 1))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV/Å

    def forward(self, forces: Tensor) -> list[Tensor]:
        """Features x^(l), [N, 2l + 1, d] for l = 0 … lmax, of forces [N, 3] in eV/Å.

        Parameters
        ----------
        forces : Tensor
            [N, 3] eV/Å.
        """
        degrees = spherical_degrees(forces / self.scale.to(forces.dtype), self.lmax)
        return [y.unsqueeze(-1) * w.to(y.dtype) for y, w in zip(degrees, self.weights, strict=True)]
