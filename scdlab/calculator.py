"""Any trained model as an ase calculator: relax, run dynamics, compute phonons with what you
trained.

F = -∂E/∂x,      σ = 1/V · ∂E/∂ε   with positions and cell strained by x ← x(1 + ε), ε symmetric

    from ase.build import molecule
    from ase.optimize import BFGS

    atoms = molecule("CH3CH2OH")
    atoms.calc = scdlab.Calculator("runs/ethanol/model")
    BFGS(atoms).run(fmax=0.01)
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor, nn

from scdlab import units
from scdlab.atoms import AtomStore
from scdlab.atoms.batch import Batch
from scdlab.nn import Prediction
from scdlab.training import load, load_pretrained
from scdlab.training.checkpoint import pretrained_names

_DIPOLE_UNITS = {"e Å": 1.0, "D": units.DEBYE}  # in e Å, ase's unit


class Calculator(AseCalculator):
    """A trained model as an ase calculator: `atoms.calc = scdlab.Calculator(model)`.

    It gives energy, free_energy and energies (eV; of each atom, which add up to the energy but for
    the constant of released CT models), forces (eV/Å), stress of periodic structures (eV/Å³) where
    forces are the gradient of the energy, and dipole (e Å) where the model has learned a vector
    "dipole" in e Å or D. `implemented_properties` lists those that this model has.

    Parameters
    ----------
    model : model, str or Path
        A model, which is copied; a path that `scdlab.save` or `scdlab.fit` wrote; or the name of
        one that comes with the kit, see `scdlab.load_pretrained`.
    device : str or torch.device, default "cpu"
        Where it computes.
    dtype : torch.dtype, default torch.float64
        In what precision. float64 keeps energy in long dynamics as well as the model does, float32
        is faster.
    **kwargs
        Of ase's Calculator.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no model of that path or name. While computing, ValueError for elements that
        the model was not trained on, and for the stress of a structure that is not periodic in all
        directions.
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.device = torch.device(device)
        self.dtype = dtype
        self.model: Any = copy.deepcopy(_opened(model)).to(self.device, dtype)
        self.model.eval().requires_grad_(False)
        self.implemented_properties = ["energy", "free_energy", "energies", "forces"]
        if not self.model.direct_forces:
            self.implemented_properties.append("stress")
        if self._dipole_unit() is not None:
            self.implemented_properties.append("dipole")

    def get_property(
        self, name: str, atoms: ase.Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """The property `name` of `atoms`, computed if need be.

        Parameters
        ----------
        name : str
            As ase names it.
        atoms : ase.Atoms, optional
            The structure; by default the last one.
        allow_calculation : bool, default True
            Whether it may be computed now.

        Raises
        ------
        PropertyNotImplementedError
            For what this model does not have.
        """
        if name == "stress" and self.model.direct_forces:
            raise PropertyNotImplementedError(
                "This model predicts forces that are the gradient of no energy, so it has no "
                "stress: use a model with direct_forces=False."
            )
        return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute `properties` of `atoms` into `results`; ase calls it.

        Parameters
        ----------
        atoms : ase.Atoms, optional
            The structure; by default the calculator's own.
        properties : sequence of str
            As ase names them.
        system_changes : sequence of str
            What has changed since the last call.

        Raises
        ------
        ValueError
            For elements that the model was not trained on, and for the stress of a structure that
            is not periodic in all directions.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        structure = self.atoms
        if structure is None:
            raise ValueError(
                "There are no atoms to compute: pass atoms, or set atoms.calc = Calculator(model)."
            )
        batch = AtomStore.from_ase(structure).take([0]).to(self.device)
        batch.pos = self._tensor(structure.get_positions())  # [N, 3], unrounded
        if "cell" in batch:
            batch.cell = self._tensor(structure.cell.array)[None]  # [1, 3, 3]
        if "stress" in properties:
            self._calculate_stress(batch, structure)
            return
        with torch.no_grad():
            out = self.model(batch, forces="forces" in properties)
        self._keep(out, out.forces)

    def _calculate_stress(self, batch: Batch, structure: ase.Atoms) -> None:
        volume = structure.cell.volume
        if not structure.pbc.all() or volume < 1e-9:
            raise ValueError(
                "Stress is defined for structures that are periodic in all three directions: "
                "compute energy and forces of a molecule only."
            )
        strain = torch.zeros(3, 3, dtype=self.dtype, device=self.device, requires_grad=True)
        pos = batch.pos.requires_grad_()
        deform = torch.eye(3, dtype=self.dtype, device=self.device) + 0.5 * (strain + strain.T)
        batch.pos = pos @ deform
        batch.cell = batch.cell @ deform
        out = self.model(batch)
        gradient, virial = torch.autograd.grad(out.energy.sum(), (pos, strain))
        self._keep(out, -gradient)
        self.results["stress"] = full_3x3_to_voigt_6_stress(_numpy(virial / volume))

    def _keep(self, out: Prediction, forces: Tensor | None) -> None:
        """The prediction of one structure as ase's results."""
        if out.energy is None:
            raise ValueError(
                "Calculator needs a model that predicts an energy, got a "
                f"{type(self.model).__name__} without one: train a model with an energy head."
            )
        energy = float(out.energy.detach())
        self.results["energy"] = energy
        self.results["free_energy"] = energy
        self.results["energies"] = _numpy(out.per_atom["energy"])
        if forces is not None:
            self.results["forces"] = _numpy(forces)
        factor = self._dipole_unit()
        if factor is not None:
            self.results["dipole"] = _numpy(out.properties["dipole"])[0] * factor

    def _dipole_unit(self) -> float | None:
        """e Å per unit of the dipole moment that the model has learned; None without one."""
        heads = self.model.property_heads
        if "dipole" not in heads or heads["dipole"].kind != "vector":
            return None
        return _DIPOLE_UNITS.get(self.model.units.get("dipole", ""))

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)


def _opened(model: nn.Module | str | Path) -> nn.Module:
    """The model itself, or the one of that path or name."""
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, str) and model in pretrained_names():
        return load_pretrained(model)
    try:
        return load(model)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no model {str(model)!r}: pass a path that scdlab.save wrote, or the name of "
            f"one that comes with the kit ({', '.join(pretrained_names())})."
        ) from error


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
