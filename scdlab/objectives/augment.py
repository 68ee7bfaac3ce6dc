"""Rotated structures in training: what a model without symmetry (PET) has to learn from examples.

    r_i → ± R r_i,   F_i → ± R F_i,   cell vectors and μ likewise,   E → E

with a rotation R of its own for each structure, uniform over SO(3): a unit quaternion q = (w, v),
uniform on the sphere in four dimensions (Shoemake 1992, "Uniform random rotations"), rotates by

    R = (w² - |v|²) 1 + 2 v vᵀ + 2 w [v]ₓ
"""

import copy

import torch
from torch import Tensor

from scdlab.atoms.batch import Batch
from scdlab.atoms.collate import vector_names

KINDS = ("rotations", "O(3)")


def random_rotations(
    n: int,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """n rotations R [n, 3, 3], float64, uniform over SO(3).

    Parameters
    ----------
    n : int
        How many.
    generator : torch.Generator, optional
        Source of the random numbers; it must live on the device.
    device : torch.device or str, optional
        Where the matrices are made.
    """
    # (n, 4) of any length: it has no direction
    q = torch.randn(n, 4, dtype=torch.float64, device=device, generator=generator)
    w, v = (q / q.norm(dim=1, keepdim=True)).split([1, 3], dim=1)  # (n, 1), (n, 3)
    one = torch.eye(3, dtype=q.dtype, device=q.device)
    # rows v × e_k: [v]ₓ transposed
    cross = torch.linalg.cross(v.unsqueeze(1), one.expand(n, 3, 3), dim=2)
    w = w.unsqueeze(2)  # (n, 1, 1)
    square = v.square().sum(1).view(n, 1, 1)
    return (w.square() - square) * one + 2 * v.unsqueeze(2) * v.unsqueeze(1) + 2 * w * cross.mT


def random_rotate(
    batch: Batch, generator: torch.Generator | None = None, inversion: bool = True
) -> Batch:
    """Rotate each structure of a batch about the origin by a random rotation of its own.

    Rotated are pos [N, 3], forces [N, 3], cell [B, 3, 3] (rows are vectors), and the vectors [B, 3]
    that the store declared (`atoms.collate.vector_names`), which must change their sign under
    inversion, as dipole moments do. All else stays: numbers, and atom properties, even if they are
    three numbers an atom. Each field keeps its precision. The batch that was given keeps what it
    has.

    Parameters
    ----------
    batch : Batch
        The structures.
    generator : torch.Generator, optional
        Source of the random numbers; it must live on the batch's device.
    inversion : bool, default True
        Whether half of the structures, drawn at random, are mirrored at the origin too.

    Returns
    -------
    Batch
        The rotated structures.
    """
    rotated = copy.copy(batch)  # shallow
    n = batch.num_graphs
    rotation = random_rotations(n, generator, batch.pos.device)  # (B, 3, 3)
    if inversion:
        mirrored = torch.rand(n, device=batch.pos.device, generator=generator) < 0.5
        rotation = torch.where(mirrored.view(n, 1, 1), -rotation, rotation)
    of_atoms = rotation.index_select(0, batch.batch)  # (N, 3, 3)
    for names, own in ((("pos", "forces"), of_atoms), (vector_names(batch), rotation)):
        for name in names:
            if (x := batch.get(name)) is not None:
                rotated[name] = (own.to(x.dtype) @ x.unsqueeze(-1)).squeeze(-1)
    if (cell := batch.get("cell")) is not None:
        rotated.cell = cell.view(n, 3, 3) @ rotation.to(cell.dtype).mT  # of each row, R a
    return rotated
