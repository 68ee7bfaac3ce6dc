"""A model's energy of a molecule as it is, and as three averages over frames.

    raw          E(r) as it is
    rotations    the mean over eight rotations, fixed once         `symmetry.RandomRotations`
    pca          the axes of the molecule's extent                 `symmetry.PCAFrames`
    ecse         frames of each atom's neighbors, smoothly weighted    `symmetry.ECSE`

ECSE: S. Pozdnyakov and M. Ceriotti, NeurIPS 2023, arXiv:2305.19302. PCA frames: O. Puny et al.,
ICLR 2022.
"""

from typing import Any

import ase
import numpy as np
import torch
from numpy.typing import ArrayLike

from scdlab.analysis.inputs import batch_at
from scdlab.analysis.rotation import STEP, turn_energies
from scdlab.analysis.scan import Path, Scan, energies, refined
from scdlab.nn.model import AtomisticModel, evaluating
from scdlab.symmetry.averaging import PCAFrames, RandomRotations
from scdlab.symmetry.ecse import ECSE
from scdlab.symmetry.frames import Frames

SKETCHED = 8  # every so many points of a path's grid make a sketch
PRUNINGS = 4  # compared for an ECSE that does not prune: as many as the paper takes


class AveragedEnergies:
    """The energy of a molecule by four methods: raw, rotations, pca, ecse.

    Parameters
    ----------
    model : AtomisticModel or ECSE
        A backbone with an energy, or an ECSE of one.
    atoms : ase.Atoms
        The molecule of n atoms.

    Attributes
    ----------
    backbone : AtomisticModel
        The backbone.
    methods : dict
        Name -> model.
    ecse : ECSE
        The last of them.
    prunings : int
        Those of the ECSE, or 4 if it has none.

    Raises
    ------
    ValueError
        For another model or one that has not learned these energies, an ECSE whose frames are not
        those of single atoms, and a periodic structure.
    """

    def __init__(self, model: Any, atoms: ase.Atoms):
        self.backbone: Any = model.model if isinstance(model, ECSE) else model
        if not isinstance(self.backbone, AtomisticModel):
            raise ValueError(
                "FrameExplorer takes a model of scdlab, such as PET(), or an ECSE of one, got "
                f"{type(model).__name__}."
            )
        if atoms.pbc.any():
            raise ValueError(
                "Energies are averaged over the rotations of a molecule, and this structure is "
                "periodic: set atoms.pbc = False, or choose a molecule."
            )
        if isinstance(model, ECSE) and not model.local:
            raise ValueError(
                "FrameExplorer shows the frames of single atoms, and this ECSE pools those of all; "
                "give ECSE(model, local=True)."
            )
        model.check_energy(torch.from_numpy(atoms.numbers))
        self.model = model
        self.atoms = atoms
        self.ecse: Any = model if isinstance(model, ECSE) else ECSE(model)
        self.methods: dict[str, torch.nn.Module] = {
            "raw": self.backbone,
            "rotations": RandomRotations(self.backbone, 8, inversion=False),
            "pca": PCAFrames(self.backbone),
            "ecse": self.ecse,
        }
        self.prunings = self.ecse.prunings or PRUNINGS
        self._before = self._pruned(0)
        self._after = self._pruned(self.prunings)

    @property
    def auxiliary_is_silent(self) -> bool:
        """Whether the ECSE has an auxiliary model that was never trained."""
        auxiliary = self.ecse.auxiliary
        return auxiliary is not None and not bool(auxiliary.trained_elements.any())

    def variant(self, pruned: bool | None = None) -> ECSE:
        """The ECSE, or the same with or without pruning.

        Parameters
        ----------
        pruned : bool, optional
            With or without pruning; by default the ECSE itself.

        Returns
        -------
        ECSE
            The model.
        """
        if pruned is None:
            return self.ecse
        return self._after if pruned else self._before

    def frames(self, pos: np.ndarray, pruned: bool | None = None) -> Frames:
        """Frames of all atoms.

        Parameters
        ----------
        pos : numpy.ndarray
            Positions [n, 3] in Å.
        pruned : bool, optional
            Those after or before pruning; by default those of the ECSE.

        Returns
        -------
        Frames
            As `ECSE.frames` gives them.
        """
        with torch.no_grad():
            return self.variant(pruned).frames(batch_at(self.backbone, self.atoms, pos[None]))

    def neighbors(self, pos: np.ndarray, center: int) -> tuple[np.ndarray, np.ndarray]:
        """The atoms that can give axes around a center, nearest first.

        Parameters
        ----------
        pos : numpy.ndarray
            Positions [n, 3] in Å.
        center : int
            The atom.

        Returns
        -------
        near : numpy.ndarray
            Their indices [m].
        r : numpy.ndarray
            Their distances [m] in Å.
        """
        r = np.linalg.norm(pos - pos[center], axis=1)
        order = np.argsort(r.round(6), kind="stable")
        near = order[(r[order] < self.ecse.outer_radius) & (order != center)]
        return near, r[near]

    def along(self, path: Path, atom: int, t: ArrayLike) -> np.ndarray:
        """The molecule with an atom displaced along a path.

        Parameters
        ----------
        path : Path
            A path of the atom.
        atom : int
            The atom.
        t : array_like
            How far, [m] in Å.

        Returns
        -------
        numpy.ndarray
            Positions [m, n, 3] in Å.
        """
        t = np.asarray(t, float)
        pos = np.repeat(self.atoms.positions[None], len(t), axis=0)
        pos[:, atom] = path.place(t)
        return pos

    def at(self, pos: np.ndarray) -> dict[str, float]:
        """The energies at one set of positions.

        Parameters
        ----------
        pos : numpy.ndarray
            Positions [n, 3] in Å.

        Returns
        -------
        dict
            Name of a method -> its energy in eV.
        """
        return {name: float(self._energies(name, pos[None])[0]) for name in self.methods}

    def scan(self, path: Path, atom: int) -> dict[str, Scan]:
        """The energies along a path.

        Parameters
        ----------
        path : Path
            A path of the atom.
        atom : int
            The atom.

        Returns
        -------
        dict
            Name of a method -> its scan.
        """
        return {
            name: refined(
                lambda t, name=name: self._energies(name, self.along(path, atom, t)), path.grid
            )
            for name in self.methods
        }

    def sketch(self, path: Path, atom: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The energies at a few of the points where `scan` computes them first.

        Parameters
        ----------
        path : Path
            A path of the atom.
        atom : int
            The atom.

        Returns
        -------
        dict
            Name of a method -> (t [m] in Å along the path, energies [m] in eV); one t is 0.
        """
        t = np.union1d(path.grid[::SKETCHED], 0.0)
        pos = self.along(path, atom, t)
        return {name: (t, self._energies(name, pos)) for name in self.methods}

    def turn(self, pos: np.ndarray, step: int = STEP) -> dict[str, np.ndarray]:
        """The energies in a full rotation about the middle of the molecule as given.

        Parameters
        ----------
        pos : numpy.ndarray
            Positions [n, 3] in Å.
        step : int, default 15
            Degrees between two points; it divides 360.

        Returns
        -------
        dict
            Name of a method -> its energies [360 / step + 1] in eV at 0, step … 360 degrees.
        """
        about = self.atoms.positions.mean(0)
        return {
            name: turn_energies(lambda x, name=name: self._energies(name, x), pos, about, step)
            for name in self.methods
        }

    def _energies(self, name: str, pos: np.ndarray) -> np.ndarray:
        # the averages share the backbone, and each would leave it in its own mode
        with evaluating(self.model):
            return energies(self.methods[name], self.atoms, pos)

    def _pruned(self, prunings: int) -> ECSE:
        own = {"model": self.backbone, "auxiliary": None, "prunings": prunings}
        return ECSE(**self.ecse.config | own)
