"""Any trained model as an ase calculator: relax, run dynamics, compute phonons with what you
trained.

F = -∂E/∂x,      σ = 1/V · ∂E/∂ε   with positions and cell strained by x ← x(1 + ε), ε symmetric

    from ase.build import molecule
    from ase.optimize import BFGS

    atoms = molecule("CH3CH2OH")
    atoms.calc = scdlab.Calculator("runs/ethanol/model")
    BFGS(atoms).run(fmax=0.01)
"""

import contextlib
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
from scdlab.devices import checked_device
from scdlab.nn import Model, Prediction
from scdlab.nn.inference import ForceCall, SkinList, Structures, covers, with_virials
from scdlab.nn.modes import ordinary_mode
from scdlab.nn.trained_labels import check_property
from scdlab.training import load, load_pretrained
from scdlab.training.checkpoint import pretrained_names

_NO_ATOMS = "There are no atoms to compute: pass atoms, or set atoms.calc = Calculator(model)."
_NO_VOLUME = 1e-9  # Å³
_DIPOLE_UNITS = {"e Å": 1.0, "D": units.DEBYE}  # in e Å, ase's unit


class _Geometry(NamedTuple):
    """What results depend on; ase's names."""

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray


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
        In what precision: float64 keeps energy in long dynamics as well as the model does, float32
        is faster.
    **kwargs
        Of ase's Calculator.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no model of that path or name; ValueError for a device that this machine
        lacks, and for another precision. While computing, ValueError for elements that the model
        was not trained on, and for the stress of a structure that is not periodic in all
        directions.
    TypeError
        For what is no model, path or name.

    Notes
    -----
    Elements, positions, cell and periodicity are all that is read of a structure. `results` are of
    the structure that was computed last: they are empty while another one is computed, and stay so
    where that fails. SchNet and the equivariant transformer are computed without autograd
    (`scdlab.nn.inference`), forces and stress along with each energy; weights that are changed
    later are not seen.
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
        **kwargs: Any,
    ):
        self._computed: _Geometry | None = None  # what `results` belong to
        super().__init__(**kwargs)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"Calculator computes in dtype=torch.float64 or torch.float32, got {dtype!r}."
            )
        self.device = checked_device(device)
        self.dtype = dtype
        with torch.inference_mode(False), torch.no_grad():  # weights that gradients pass through
            self.model: Model = copy.deepcopy(_opened(model)).to(self.device, dtype)
        self.model.eval().requires_grad_(False)
        self.implemented_properties = ["energy", "free_energy", "energies", "forces"]
        if not self.model.direct_forces:
            self.implemented_properties.append("stress")
        if self._dipole_unit():
            self.implemented_properties.append("dipole")
        self._force_call: ForceCall | None = None  # made at the first call
        self._pairs = SkinList(self.model.cutoff)
        self._elements: np.ndarray | None = None  # that were checked last

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
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError(_NO_ATOMS)
        return super().get_property(name, _geometry_of(atoms), allow_calculation)

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """What of the geometry is not as it was when `results` were computed.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure.
        tol : float, default 1e-15
            Differences that do not count, in Å.

        Returns
        -------
        list of str
            As ase names it; all, where nothing was computed yet.
        """
        if self._computed is None:
            return list(all_changes)
        return [
            name
            for name, old, new in zip(
                _Geometry._fields, self._computed, _arrays_of(atoms), strict=True
            )
            if not _same(old, new, tol)
        ]

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
            For elements that the model was not trained on, for energies or forces that it never
            learned, and for the stress of a structure that is not periodic in all directions.
        """
        self.results = {}  # whatever happens now, none of an earlier structure
        self._computed = None
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError(_NO_ATOMS)
        structure = _geometry_of(atoms)
        self.atoms = structure
        if self._covered():
            self.results = self._by_force_call(structure, properties)
            self._computed = _arrays_of(structure)
            return
        with ordinary_mode(self.device):
            batch = AtomStore.geometry(structure).take([0]).to(self.device)
            batch.pos = self._tensor(structure.get_positions())  # [N, 3], unrounded
            if "cell" in batch:
                batch.cell = self._tensor(structure.cell.array)[None]  # [1, 3, 3]
            if set(properties) == {"dipole"}:
                check_property(self.model, "dipole", batch.z)
                with torch.no_grad():
                    results = self._dipole(self.model(batch))
            else:
                results = self._with_energy(batch, structure, properties)
        self.results = results
        self._computed = _arrays_of(structure)

    def _covered(self) -> bool:
        """Whether there is a force call for all that this calculator gives."""
        if self._force_call is not None:
            return True
        return covers(self.model) and "dipole" not in self.implemented_properties

    def _by_force_call(self, structure: ase.Atoms, properties: Sequence[str]) -> dict[str, Any]:
        """Energy and forces, and the stress with them at no cost worth naming."""
        if "stress" in properties:
            _check_volume(structure)
        z = structure.numbers.astype(np.int64)
        if self._elements is None or not np.array_equal(z, self._elements):
            numbers = torch.from_numpy(z)
            self.model.check_energy(numbers)  # whose gradient the forces are
            self.model.check_elements(numbers)
            self._elements = z
        if self._force_call is None:
            self._force_call = ForceCall(self.model, self.dtype)
        pairs = self._pairs(
            Structures(
                z=z,
                pos=structure.positions,
                ptr=np.array([0, len(z)]),
                cell=structure.cell.array[None],
                pbc=structure.pbc[None],
            )
        )
        evaluation = self._force_call(z, *pairs)
        energy = float(evaluation.energies.sum())
        results: dict[str, Any] = {
            "energy": energy,
            "free_energy": energy,
            "energies": evaluation.energies,
            "forces": evaluation.forces,
        }
        if _has_volume(structure):
            stress = evaluation.virial() / structure.cell.volume
            results["stress"] = full_3x3_to_voigt_6_stress(stress)
        return results

    def _with_energy(
        self, batch: Batch, structure: ase.Atoms, properties: Sequence[str]
    ) -> dict[str, Any]:
        self.model.check_energy(batch.z)
        if "forces" in properties or "stress" in properties:
            self.model.check_forces(batch.z)
        if "stress" in properties:
            return self._with_stress(batch, structure)
        with torch.no_grad():
            out = self.model(batch, forces="forces" in properties)
        return self._as_results(batch, out, out.forces)

    def _with_stress(self, batch: Batch, structure: ase.Atoms) -> dict[str, Any]:
        _check_volume(structure)
        out, forces, virials = with_virials(self.model, batch)
        results = self._as_results(batch, out, forces)
        if virials is not None:  # there is an energy, or as_results has said that there is none
            virial = _numpy(virials[0])
            results["stress"] = full_3x3_to_voigt_6_stress(virial / structure.cell.volume)
        return results

    def _as_results(self, batch: Batch, out: Prediction, forces: Tensor | None) -> dict[str, Any]:
        """The prediction of one structure as ase's results."""
        if out.energy is None:
            raise ValueError(
                "Calculator needs a model that predicts an energy, got a "
                f"{type(self.model).__name__} without one: train a model with an energy head."
            )
        energy = float(out.energy.detach())
        energies = _numpy(out.per_atom["energy"])
        results: dict[str, Any] = {"energy": energy, "free_energy": energy, "energies": energies}
        if forces is not None:
            results["forces"] = _numpy(forces)
        if "dipole" in self.implemented_properties:
            with contextlib.suppress(ValueError):  # that it was not learned: it was not asked for
                check_property(self.model, "dipole", batch.z)
                results |= self._dipole(out)
        return results

    def _dipole(self, out: Prediction) -> dict[str, Any]:
        return {"dipole": _numpy(out.properties["dipole"])[0] * self._dipole_unit()}

    def _dipole_unit(self) -> float:
        """e Å per unit of the dipole moment that the model has learned; 0 without one."""
        heads = self.model.property_heads
        if "dipole" not in heads or heads["dipole"].kind != "vector":
            return 0.0
        return _DIPOLE_UNITS.get(self.model.units.get("dipole", ""), 0.0)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)


def _opened(model: nn.Module | str | Path) -> Model:
    """The model itself, or the one of that path or name."""
    if isinstance(model, Model):
        return model
    if isinstance(model, nn.Module):
        original = getattr(model, "_orig_mod", None)  # of torch.compile
        if isinstance(original, Model):
            return original
    if not isinstance(model, str | Path):
        raise TypeError(
            "Calculator takes a model of scdlab, the path that scdlab.save or fit wrote it to, or "
            f"the name of one that comes with the kit, got {_named(model)}."
        )
    if isinstance(model, str) and model in pretrained_names():
        return load_pretrained(model)
    try:
        return load(model)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no model {str(model)!r}: pass a path that scdlab.save wrote, or the name of "
            f"one that comes with the kit ({', '.join(pretrained_names())})."
        ) from error


def _geometry_of(atoms: ase.Atoms) -> ase.Atoms:
    """Elements, positions, cell and periodicity alone: what else atoms carry need not be copied."""
    return ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _arrays_of(atoms: ase.Atoms) -> _Geometry:
    """What of a structure decides results, copied."""
    return _Geometry(
        atoms.positions.copy(), atoms.numbers.copy(), atoms.cell.array.copy(), atoms.pbc.copy()
    )


def _same(old: np.ndarray, new: np.ndarray, tol: float) -> bool:
    """Whether no number differs by more than `tol`; whole numbers and truth values at all."""
    if old.dtype != np.float64 or old.shape != new.shape:
        return np.array_equal(old, new)
    return bool(np.abs(old - new).max(initial=0.0) <= tol)  # False for what is not a number


def _has_volume(structure: ase.Atoms) -> bool:
    """Whether a stress is defined: the structure fills space."""
    return bool(structure.pbc.all()) and structure.cell.volume >= _NO_VOLUME


def _check_volume(structure: ase.Atoms) -> None:
    """Raise ValueError where no stress is defined."""
    if not _has_volume(structure):
        raise ValueError(
            "Stress is defined for structures that are periodic in all three directions: "
            "compute energy and forces of a molecule only."
        )


def _named(value: object) -> str:
    """An object as an error names it."""
    kind = type(value).__name__
    return f"a {kind}" if isinstance(value, nn.Module) else f"{value!r} ({kind})"


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
