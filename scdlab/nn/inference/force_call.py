"""Energies and forces of a trained model, as dynamics ask for them thousands of times."""

from typing import Any, NamedTuple

import numpy as np
import torch

from scdlab.compiling import announced
from scdlab.nn.blocks.heads import EnergyHead
from scdlab.nn.et import EquivariantTransformer
from scdlab.nn.model import Model
from scdlab.nn.schnet import SchNet

from .geometry import Geometry, forces_on_atoms, geometry_of
from .schnet import schnet, schnet_state, schnet_weights
from .shares import shares_of
from .transformer import transformer, transformer_state
from .transformer_weights import transformer_weights

_MORE = 64  # pairs that there is always room for


class Evaluation(NamedTuple):
    """What a call gives, in float64."""

    energies: np.ndarray  # [N] eV, of the atoms, references in them
    forces: np.ndarray  # [N, 3] eV/Å
    pairs: Geometry  # those within the cutoff, P of them
    gradient: np.ndarray  # [P, 3], ∂E/∂r_ij, eV/Å

    def virial(self) -> np.ndarray:
        """∂E/∂ε, with positions and cell strained by x ← x(1 + ε): Σ_ij r_ij ⊗ ∂E/∂r_ij.

        Returns
        -------
        ndarray
            [3, 3] eV, symmetric but for rounding.
        """
        return self.virials(np.zeros(len(self.energies), np.int64), 1)[0]

    def virials(self, owner: np.ndarray, n_structures: int) -> np.ndarray:
        """∂E/∂ε of each of several structures.

        Parameters
        ----------
        owner : ndarray
            The structure of each atom, [N] int64.
        n_structures : int
            How many there are, B.

        Returns
        -------
        ndarray
            [B, 3, 3] eV.
        """
        structure = owner[self.pairs.i]
        found = np.empty((n_structures, 3, 3))
        for x in range(3):
            vector = self.pairs.r * self.pairs.unit[:, x]
            for y in range(3):
                found[:, x, y] = np.bincount(structure, vector * self.gradient[:, y], n_structures)
        return found


class ForceCall:
    """Energies and forces of a model whose weights stay as they are, without autograd.

    The networks are written out a second time, with their derivatives, and functions of the
    distance are read from tables (`radial_tables`): the answers are those of the model, to about
    1e-12 for energies and 1e-9 for forces in float64, in a small part of the time. What a call
    computes on its way is written where an earlier call has written it; so a call on 1,000 atoms
    keeps some hundred megabytes until the object goes.

    Parameters
    ----------
    model : Model
        A model that `covers` takes. Weights are copied: what happens to the model afterwards
        changes nothing here.
    dtype : torch.dtype, default torch.float64
        In what precision the network is computed: float64 or float32.

    Raises
    ------
    ValueError
        For a model that is not covered.
    """

    def __init__(self, model: Model, dtype: torch.dtype = torch.float64) -> None:
        if not covers(model):
            raise ValueError(
                f"This {type(model).__name__} has no force call of its own: call the model with "
                "forces=True."
            )
        self.dtype = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
        self.cutoff = model.cutoff
        head: Any = model.energy_head
        self._scale = float(head.scale)
        self._reference = head.reference.cpu().numpy().copy()  # [119] eV
        self._network: Any
        self._weights: Any
        self._state_of: Any
        if isinstance(model, SchNet):
            self._network = schnet
            self._state_of = schnet_state
            self._weights = schnet_weights(model, self.dtype)
        elif isinstance(model, EquivariantTransformer):
            self._network = transformer
            self._state_of = transformer_state
            self._weights = transformer_weights(model, self.dtype)
        self._first = True  # call, which may have to compile
        self._spare: list[Any] = []  # room that is kept from call to call, while nobody uses it

    def _state(self, n_atoms: int, n_pairs: int) -> Any:
        """Room for a call: that of an earlier one if it fits."""
        try:
            state = self._spare.pop()  # at once: calls on several threads never share one
        except IndexError:
            state = None
        if (
            state is not None
            and len(state.energies) == n_atoms
            and n_pairs <= len(state.gr) <= 2 * n_pairs + _MORE
            and len(state.sums) == shares_of(n_pairs)
        ):
            return state
        return self._state_of(self._weights, n_atoms, n_pairs + n_pairs // 8 + _MORE // 2)

    def __call__(
        self, z: np.ndarray, i: np.ndarray, j: np.ndarray, vectors: np.ndarray
    ) -> Evaluation:
        """Energies and forces of atoms whose pairs are known.

        Parameters
        ----------
        z : ndarray
            Atomic numbers, [N] int64.
        i, j : ndarray
            The atoms of the pairs within the cutoff, each pair once, [Q] int64; pairs beyond it do
            no harm.
        vectors : ndarray
            From atom i to atom j, or its image, [Q, 3] Å.

        Returns
        -------
        Evaluation
            Energies and forces of the atoms.
        """
        if not self._first:
            return self._evaluation(z, i, j, vectors)
        self._first = False
        with announced():
            return self._evaluation(z, i, j, vectors)

    def _evaluation(
        self, z: np.ndarray, i: np.ndarray, j: np.ndarray, vectors: np.ndarray
    ) -> Evaluation:
        # numba would compile all loops anew for arrays that cannot be written
        z, i, j = (np.require(array, np.int64, ["C", "W"]) for array in (z, i, j))
        pairs = geometry_of(i, j, vectors.astype(self.dtype, copy=False), self.cutoff)
        state = self._state(len(z), len(pairs.i))
        energies, gradient = self._network(self._weights, z, pairs, state)
        energies = energies.astype(np.float64) * self._scale + self._reference[z]
        self._spare = [state]
        gradient = gradient.astype(np.float64, copy=False) * self._scale
        return Evaluation(
            energies=energies,
            forces=forces_on_atoms(pairs.i, pairs.j, gradient, len(z)),
            pairs=pairs,
            gradient=gradient,
        )


def covers(model: Model) -> bool:
    """Whether a model has a force call of its own.

    Parameters
    ----------
    model : Model
        The model.

    Returns
    -------
    bool
        True for SchNet and the equivariant transformer, on the processor, where forces are the
        gradient of the energy and nothing else is given than the structure.
    """
    if type(model) not in (SchNet, EquivariantTransformer):
        return False
    return (
        type(model.energy_head) is EnergyHead
        and not model.direct_forces
        and model.adaln is None
        and model.force_encoding is None
        and next(model.parameters()).device.type == "cpu"
    )


def compile_force_calls() -> None:
    """Compile all loops now and keep them on disk, so that no first call waits for it."""
    z = np.array([8, 1], dtype=np.int64)
    one = np.ones(1, dtype=np.int64)
    sizes: dict[str, Any] = dict(hidden_channels=2, num_layers=2, num_rbf=2)
    for model in (SchNet(**sizes), EquivariantTransformer(**sizes, num_heads=1)):
        for dtype in (torch.float64, torch.float32):
            ForceCall(model.to(dtype), dtype)._evaluation(z, 0 * one, one, np.eye(3)[:1])
