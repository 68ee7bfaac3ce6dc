"""Any trained model as an ase calculator: relax, run dynamics, compute phonons with what you
trained.

F = -∂E/∂x,      σ = 1/V · ∂E/∂ε   with positions and cell strained by x ← x(1 + ε), ε symmetric
"""

import copy

import numpy as np
import torch
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from scdlab.atoms import AtomStore


class Calculator(AseCalculator):
    """`atoms.calc = scdlab.Calculator(model)`: energy (eV), forces (eV/Å), and stress (eV/Å³) of
    periodic structures.

    The model is copied, to `device` and in `dtype`; float64 (the default) keeps energy in long
    dynamics as well as the model does, float32 is faster. Raises ValueError for elements the model
    was not trained on, and for a stress that cannot be: of a molecule, or of a model whose forces
    are not the gradient of its energy.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, model, device: str = "cpu", dtype: torch.dtype = torch.float64, **kwargs):
        super().__init__(**kwargs)
        self.device = torch.device(device)
        self.dtype = dtype
        self.model = copy.deepcopy(model).to(self.device, dtype).eval().requires_grad_(False)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        batch = AtomStore.from_ase([self.atoms]).take([0]).to(self.device)
        batch.pos = torch.as_tensor(
            self.atoms.get_positions(), dtype=self.dtype, device=self.device
        )
        if "cell" in batch:
            batch.cell = torch.as_tensor(
                np.asarray(self.atoms.cell), dtype=self.dtype, device=self.device
            )[None]
        if "stress" in properties:
            self._stress(batch)
            return
        with torch.no_grad():
            out = self.model(batch, forces="forces" in properties)
        self._keep(out.energy, out.forces)

    def _stress(self, batch):
        volume = self.atoms.cell.volume
        if not self.atoms.pbc.all() or volume < 1e-9:
            raise ValueError(
                "Stress is defined for structures that are periodic in all three directions; "
                "ask a molecule for energy and forces only."
            )
        if self.model.direct_forces:
            raise ValueError(
                "This model predicts forces that are the gradient of no energy, so it has no "
                "stress; use a model with direct_forces=False."
            )
        strain = torch.zeros(3, 3, dtype=self.dtype, device=self.device, requires_grad=True)
        pos = batch.pos.requires_grad_()
        deform = torch.eye(3, dtype=self.dtype, device=self.device) + 0.5 * (strain + strain.T)
        batch.pos = pos @ deform
        batch.cell = batch.cell @ deform
        energy = self.model(batch).energy
        gradient, virial = torch.autograd.grad(energy.sum(), (pos, strain))
        self._keep(energy, -gradient)
        self.results["stress"] = full_3x3_to_voigt_6_stress((virial / volume).cpu().numpy())

    def _keep(self, energy, forces):
        self.results["energy"] = self.results["free_energy"] = float(energy.detach())
        if forces is not None:
            self.results["forces"] = forces.detach().cpu().double().numpy()
