"""Rotated structures in training: what a model without symmetry (PET) has to learn from examples.

    r_i → ± R r_i,   F_i → ± R F_i,   cell vectors and μ likewise,   E → E

with a rotation R of its own for each structure, uniform over SO(3) (`scdlab.atoms.rotations`).
"""

import copy

import torch

from scdlab.atoms.batch import Batch, vector_names
from scdlab.atoms.rotations import random_rotations
from scdlab.atoms.shares import drawn_for_structures, uniform_for_structures

KINDS = ("rotations", "O(3)")


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
    device = batch.pos.device
    rotation = drawn_for_structures(
        batch, generator, lambda count, source: random_rotations(count, source, device)
    )  # (B, 3, 3)
    if inversion:
        mirrored = uniform_for_structures(batch, generator) < 0.5
        rotation = torch.where(mirrored.view(n, 1, 1), -rotation, rotation)
    of_atoms = rotation.index_select(0, batch.batch)  # (N, 3, 3)
    for names, own in ((("pos", "forces"), of_atoms), (vector_names(batch), rotation)):
        for name in names:
            if (x := batch.get(name)) is not None:
                rotated[name] = (own.to(x.dtype) @ x.unsqueeze(-1)).squeeze(-1)
    if (cell := batch.get("cell")) is not None:
        rotated.cell = cell.view(n, 3, 3) @ rotation.to(cell.dtype).mT  # of each row, R a
    return rotated
