"""What several trained models answer for one structure, beside a reference.

    e_k = mean over atoms and directions of |F_k − F|        error of model k against the reference
    s_i = root mean square over models of ‖F_k,i − F̄_i‖      spread of the models at atom i

The spread needs no reference: it is what a committee of models says of its own doubt. It is small
where all models are right, and also where all are wrong alike.

Forces of different levels of theory can be compared, and so can differences of energies of one
composition. Total energies cannot: each level, and each model, has a zero of its own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import ase
import numpy as np
import torch
from numpy.typing import ArrayLike

from scdlab.analysis.denoising import Reference, displacements
from scdlab.analysis.inputs import array, batch_at
from scdlab.nn.model import AtomisticModel, evaluating

CLIMB = 0.05  # Å: size of the displacement behind `Answer.climb`


class Answer(NamedTuple):
    """What one model says of one structure.

    Attributes
    ----------
    name : str
        The model's.
    forces : numpy.ndarray or None
        Forces [n, 3] in eV/Å; None where the model cannot answer.
    climb : float
        Rise of the energy in eV under a displacement that is the same for all models.
    why : str
        Why there is no answer, in one sentence; empty where there is one.
    """

    name: str
    forces: np.ndarray | None
    climb: float
    why: str


def cannot_answer(model: AtomisticModel, atoms: ase.Atoms, output: str = "forces") -> str:
    """Why a model has no answer for a structure.

    Parameters
    ----------
    model : AtomisticModel
        A trained model.
    atoms : ase.Atoms
        The structure.
    output : {"forces", "noise"}, default "forces"
        What is asked for.

    Returns
    -------
    str
        One sentence; empty where it has one.
    """
    z = torch.as_tensor(atoms.numbers)
    try:
        model.check_elements(z)
        if output == "forces":
            model.check_forces(z)
    except ValueError as error:
        return str(error)
    return ""


def ask(
    models: Mapping[str, AtomisticModel], atoms: ase.Atoms, climb: float = CLIMB, seed: int = 0
) -> list[Answer]:
    """The answers of several models for one structure.

    Parameters
    ----------
    models : mapping
        Name -> model with forces.
    atoms : ase.Atoms
        The structure.
    climb : float, default 0.05
        Size in Å of the displacement behind `Answer.climb`.
    seed : int, default 0
        Its seed.

    Returns
    -------
    list of Answer
        One a model, in order.
    """
    pos = np.stack([atoms.positions, atoms.positions + displacements(atoms, climb, seed)])
    found = []
    for name, model in models.items():
        why = cannot_answer(model, atoms)
        if why:
            found.append(Answer(name, None, np.nan, why))
            continue
        with evaluating(model):
            out = model(batch_at(model, atoms, pos), forces=True)
        forces = out.forces.detach().double().cpu().numpy().reshape(pos.shape)
        energy = out.energy.detach().double().cpu().numpy()
        found.append(Answer(name, forces[0], float(energy[1] - energy[0]), ""))
    return found


def reference_answer(
    reference: Reference, atoms: ase.Atoms, climb: float = CLIMB, seed: int = 0
) -> Answer:
    """The same of a reference, such as GFN2-xTB.

    Parameters
    ----------
    reference : Reference
        Where energies and forces come from.
    atoms : ase.Atoms
        The structure.
    climb, seed
        As of `ask`.

    Returns
    -------
    Answer
        Without forces where the reference cannot treat the structure.
    """
    pos = np.stack([atoms.positions, atoms.positions + displacements(atoms, climb, seed)])
    try:
        energy, forces = reference(atoms, pos)
    except ValueError as error:
        return Answer(reference.name, None, np.nan, str(error))
    if not np.isfinite(forces[0]).all():
        why = f"{reference.name} found no solution for this structure."
        return Answer(reference.name, None, np.nan, why)
    return Answer(reference.name, forces[0], float(energy[1] - energy[0]), "")


def force_error(forces: ArrayLike, true: ArrayLike) -> float:
    """Mean absolute difference of the components of two sets of forces.

    Parameters
    ----------
    forces, true : array_like
        Forces [n, 3].

    Returns
    -------
    float
        In the unit of the forces.
    """
    return float(np.abs(array(forces) - array(true)).mean())


def spread(forces: ArrayLike | Sequence[ArrayLike]) -> np.ndarray:
    """How far models disagree about each atom's force.

    Parameters
    ----------
    forces : array_like
        Forces [m, n, 3] of m models, two or more.

    Returns
    -------
    numpy.ndarray
        The root mean square distance [n] from the models' mean, in the unit of the forces.

    Raises
    ------
    ValueError
        For fewer than two models, and for another shape.
    """
    given = array(forces)
    if given.ndim != 3 or given.shape[2] != 3 or len(given) < 2:
        raise ValueError(
            "A spread needs the forces of two models or more, [m, n, 3], got the shape "
            f"{list(given.shape)}."
        )
    return np.sqrt(((given - given.mean(0)) ** 2).sum(-1).mean(0))
