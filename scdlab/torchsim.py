"""Any trained model in TorchSim: its integrators, optimizers and batching, with what you trained.

    import torch_sim
    from scdlab.torchsim import TorchSimModel

    model = TorchSimModel(scdlab.load_pretrained("schnet-ethanol"))
    state = torch_sim.optimize(system=frames, model=model, optimizer=torch_sim.optimizers.fire)

Energies are in eV, forces in eV/Å, stresses in eV/Å³, as TorchSim's own metal units have them.
For molecules at constant energy, in a bath, or relaxing, `scdlab.dynamics` does the same without
it (extra `torchsim`).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from scdlab import extras
from scdlab.devices import checked_device
from scdlab.nn import Model
from scdlab.nn.inference import Evaluator, Structures

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
    from torch_sim.typing import StateDict
except ModuleNotFoundError as error:
    raise extras.missing("scdlab.torchsim", error) from error

__all__ = ["TorchSimModel"]


class TorchSimModel(ModelInterface):
    """A trained model as TorchSim asks for it.

    Parameters
    ----------
    model : Model
        A model that gives energies and forces; it is read once, and stays as it is.
    dtype : torch.dtype, default torch.float64
        In what precision the network and TorchSim's states are: float64 or float32.
    compute_forces, compute_stress : bool, default True
        What is computed beside the energy. Models with `direct_forces` have no stress.

    Raises
    ------
    ModuleNotFoundError
        On import, where TorchSim is not installed.
    TypeError
        For what is no model.
    ValueError
        For another precision, and for the stress of a model whose forces are the gradient of no
        energy.
    """

    def __init__(
        self,
        model: Model,
        dtype: torch.dtype = torch.float64,
        compute_forces: bool = True,
        compute_stress: bool = True,
    ) -> None:
        super().__init__()
        self._evaluate = Evaluator(model, dtype)
        self._device = checked_device(next(model.parameters()).device)
        self._dtype = dtype
        self._compute_forces = bool(compute_forces)
        self._compute_stress = False
        self.compute_stress = compute_stress
        self._checked: Tensor | None = None  # elements of the states that were computed last

    @property
    def compute_forces(self) -> bool:
        """Whether forces are computed."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, compute_forces: bool) -> None:
        self._compute_forces = bool(compute_forces)

    @property
    def compute_stress(self) -> bool:
        """Whether stresses are computed."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, compute_stress: bool) -> None:
        if compute_stress and self._evaluate.model.direct_forces:
            raise ValueError(
                "This model predicts forces that are the gradient of no energy, so it has no "
                "stress: pass compute_stress=False."
            )
        self._compute_stress = bool(compute_stress)

    def forward(self, state: SimState | StateDict, **kwargs: Any) -> dict[str, Tensor]:
        """Energies, forces and stresses of B structures of N atoms together.

        Parameters
        ----------
        state : SimState or dict
            TorchSim's state, or what one is made of.
        **kwargs
            TorchSim passes none that matter here.

        Returns
        -------
        dict of str to Tensor
            energy [B] eV; forces [N, 3] eV/Å; stress [B, 3, 3] eV/Å³, of structures that are not
            periodic in all directions zero, since they have no volume.

        Raises
        ------
        ValueError
            For elements that the model was not trained on, and for structures that no model can
            use.
        """
        if isinstance(state, dict):
            fields: dict[Any, Any] = state
            state = SimState(**fields)
        structures = _structures(state)
        if self._checked is None or not torch.equal(self._checked, state.atomic_numbers):
            owner = np.repeat(np.arange(len(structures.cell)), np.diff(structures.ptr))
            self._evaluate.check(structures.z, owner)
            self._checked = state.atomic_numbers.clone()
        answers = self._evaluate(structures, virials=self.compute_stress)

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(state.device, state.dtype)

        found = {"energy": tensor(answers.energies)}
        if self.compute_forces:
            found["forces"] = tensor(answers.forces)
        if answers.virials is not None:
            volume = np.abs(np.linalg.det(structures.cell))
            volume[~structures.pbc.all(axis=1)] = np.inf
            found["stress"] = tensor(answers.virials / volume[:, None, None])
        return found


def _structures(state: SimState) -> Structures:
    """The geometry of a state, in our terms: cell vectors are rows here and columns there."""
    sizes = torch.bincount(state.system_idx, minlength=state.n_systems)
    return Structures(
        z=_array(state.atomic_numbers, np.int64),
        pos=_array(state.positions, np.float64),
        ptr=np.concatenate([[0], np.cumsum(_array(sizes, np.int64))]),
        cell=_array(state.row_vector_cell, np.float64),
        pbc=np.full((state.n_systems, 3), bool(state.pbc)),
    )


def _array(tensor: Tensor, dtype: type) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=dtype)
