"""Energies, forces and virials of many structures by any model: its force call where it has one."""

import copy
from typing import NamedTuple

import numpy as np
import torch

from scdlab.atoms.batch import Batch
from scdlab.nn.model import Model, Prediction

from .force_call import ForceCall, covers
from .skin import SkinList, Structures


class Answers(NamedTuple):
    """What a model says of B structures of N atoms together, in float64."""

    energies: np.ndarray  # [B] eV
    forces: np.ndarray  # [N, 3] eV/Å
    virials: np.ndarray | None  # [B, 3, 3] eV, ∂E/∂ε with x ← x(1 + ε), where they were asked for


class Evaluator:
    """A model whose weights stay as they are, asked about the same structures again and again.

    Parameters
    ----------
    model : Model
        The model; it is read once, and stays as it is.
    dtype : torch.dtype, default torch.float64
        In what precision the network is computed, float64 or float32.

    Raises
    ------
    TypeError
        For what is no model of scdlab.
    ValueError
        For another precision.
    """

    def __init__(self, model: Model, dtype: torch.dtype = torch.float64) -> None:
        if not isinstance(model, Model):
            raise TypeError(
                f"A model of scdlab is needed, got {type(model).__name__}; load one with "
                "scdlab.load."
            )
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float64 or torch.float32, got {dtype!r}.")
        self.model = model
        self.dtype = dtype
        self._pairs = SkinList(model.cutoff)
        self._call: ForceCall | None = None
        if covers(model):
            self._call = ForceCall(model, dtype)
        else:
            self.model = copy.deepcopy(model).to(dtype).eval().requires_grad_(False)

    def check(self, z: np.ndarray, owner: np.ndarray) -> None:
        """Whether the model has learned energies and forces of these elements.

        Parameters
        ----------
        z : ndarray
            Atomic numbers, [N] int64.
        owner : ndarray
            The structure of each atom, [N] int64.

        Raises
        ------
        ValueError
            Where it has not.
        """
        numbers = torch.from_numpy(z)
        self.model.check_energy(numbers, torch.from_numpy(owner))
        self.model.check_forces(numbers)
        self.model.check_elements(numbers)

    def __call__(self, structures: Structures, virials: bool = False) -> Answers:
        """Energies and forces of structures.

        Parameters
        ----------
        structures : Structures
            The structures.
        virials : bool, default False
            Whether the derivatives by a strain of each structure are asked for.

        Raises
        ------
        ValueError
            For structures that no model can use, for a model without energies and forces, and for
            virials of a model whose forces are the gradient of no energy.
        """
        if virials and self.model.direct_forces:
            raise ValueError(
                "This model predicts forces that are the gradient of no energy, so it has no "
                "stress: use a model with direct_forces=False."
            )
        if self._call is None:
            return self._by_the_model(structures, virials)
        n_structures = len(structures.cell)
        owner = np.repeat(np.arange(n_structures), np.diff(structures.ptr))
        got = self._call(structures.z, *self._pairs(structures))
        return Answers(
            energies=np.bincount(owner, got.energies, n_structures),
            forces=got.forces,
            virials=got.virials(owner, n_structures) if virials else None,
        )

    def _by_the_model(self, structures: Structures, virials: bool) -> Answers:
        device = next(self.model.parameters()).device
        batch = structures.batch().to(device)
        if not virials:
            with torch.no_grad():
                out = self.model(batch, forces=True)
            return self._answers(out.energy, out.forces, None)
        out, forces, virial = with_virials(self.model, batch)
        return self._answers(None if out.energy is None else out.energy.detach(), forces, virial)

    def _answers(
        self,
        energies: torch.Tensor | None,
        forces: torch.Tensor | None,
        virials: torch.Tensor | None,
    ) -> Answers:
        if energies is None or forces is None:
            raise ValueError(f"This {type(self.model).__name__} gives no energies and forces.")
        return Answers(
            energies=energies.double().cpu().numpy(),
            forces=forces.double().cpu().numpy(),
            virials=None if virials is None else virials.double().cpu().numpy(),
        )


def with_virials(
    model: Model, batch: Batch
) -> tuple[Prediction, torch.Tensor | None, torch.Tensor | None]:
    """A prediction, and the derivatives of its energies by positions and strains, by autograd.

    Parameters
    ----------
    model : Model
        A model whose forces are the gradient of its energy.
    batch : Batch
        B structures of N atoms together; its positions and cells are strained.

    Returns
    -------
    prediction : Prediction
        What the model says, with the graph of it.
    forces : Tensor or None
        [N, 3] eV/Å; None where the model gives no energy.
    virials : Tensor or None
        ∂E/∂ε with x ← x(1 + ε), ε symmetric, [B, 3, 3] eV; None with the forces.
    """
    pos = batch.pos
    with torch.enable_grad():
        strain = torch.zeros(batch.num_graphs, 3, 3, dtype=pos.dtype, device=pos.device)
        strain.requires_grad_()
        deform = torch.eye(3, dtype=pos.dtype, device=pos.device) + 0.5 * (strain + strain.mT)
        pos = pos.requires_grad_()
        batch.pos = torch.einsum("nx,nxy->ny", pos, deform[batch.batch])
        if "cell" in batch:
            batch.cell = batch.cell @ deform
        out = model(batch)
        if out.energy is None:
            return out, None, None
        gradient, virials = torch.autograd.grad(
            out.energy.sum(), (pos, strain), allow_unused=True, materialize_grads=True
        )
    return out, -gradient, virials
