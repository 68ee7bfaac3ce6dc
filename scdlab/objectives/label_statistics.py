"""What `prepare` needs of the labels of a training set, gathered piece by piece: memory grows by a
few numbers for each structure, whatever its size."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from scdlab.atoms.batch import Batch
from scdlab.atoms.collate import pack_batches
from scdlab.atoms.store import AtomStore
from scdlab.log import logger
from scdlab.nn.blocks.heads import MAX_Z
from scdlab.nn.trained_labels import counts_of
from scdlab.objectives.base import free_atoms

STRUCTURES = 8192  # of a piece, at most
ATOMS = 65_536
_DIRECT = 1 << 23  # numbers of a least-squares problem that is solved as it is
_LARGE = 1e15  # eV, eV/Å: the scale of a set with larger labels leaves float32 once it is squared
_NOUN = {"energy": "energies", "forces": "forces"}


def pieces(store: AtomStore) -> Iterator[tuple[int, Batch]]:
    """The structures of a store in order, in batches of bounded size.

    Parameters
    ----------
    store : AtomStore
        The structures.

    Yields
    ------
    int
        Number of the first structure of the piece.
    Batch
        The piece.
    """
    n_atoms = store.n_atoms
    starts, _ = pack_batches(n_atoms, STRUCTURES, max(ATOMS, int(n_atoms.max())))
    bounds = [0, *starts, len(store)]
    for first, last in itertools.pairwise(bounds):
        if last > first:
            yield first, store.take(slice(first, last))


class LabelStatistics:
    """Sums over the labels of a training set.

    Parameters
    ----------
    train : AtomStore
        The training set.
    forces : bool
        Whether forces are learned too.

    Attributes
    ----------
    energy : ndarray, [n]
        Energies in eV.
    gram : ndarray, [119, 119]
        Element counts of the structures, multiplied with each other and added up.
    n_atoms : int
        Number of atoms.

    Raises
    ------
    ValueError
        For labels that are not finite numbers.
    """

    def __init__(self, train: AtomStore, forces: bool):
        self.train = train
        self.energy = np.empty(len(train))
        self.gram = np.zeros((MAX_Z + 1, MAX_Z + 1))
        self.n_atoms = 0
        self._square = 0.0  # of force components, and how many there are
        self._components = 0
        bad: dict[str, list[int]] = {"energy": [], "forces": []}
        large: dict[str, list[int]] = {"energy": [], "forces": []}
        for first, batch in pieces(train):
            self.energy[first : first + batch.num_graphs] = batch.energy.numpy()
            large["energy"] += _places(batch.energy.abs() > _LARGE, first)
            bad["energy"] += _places(~batch.energy.isfinite(), first)
            if forces:
                of = batch.batch[(batch.forces.abs() > _LARGE).any(-1)].unique()
                large["forces"] += (of + first).tolist()
                bad["forces"] += _places(self._add_forces(batch), first)
            self.n_atoms += batch.num_nodes
            counts = _counts(batch)
            present = np.flatnonzero(counts.any(axis=0))
            own = counts[:, present]
            self.gram[np.ix_(present, present)] += own.T @ own
        for name, where in bad.items():
            if where:
                raise ValueError(
                    f"{len(where):,} of {len(train):,} structures of the training set have "
                    f"{_NOUN[name]} that are not finite numbers (the first is number {where[0]}); "
                    "leave them out."
                )
        for name, where in large.items():
            if where:
                logger.warning(
                    "%s of %s structures of the training set have %s beyond %g eV%s (the first is "
                    "number %d), of which losses become infinite: leave them out.",
                    *(f"{len(where):,}", f"{len(train):,}", _NOUN[name], _LARGE),
                    *("/Å" if name == "forces" else "", where[0]),
                )

    @property
    def elements(self) -> np.ndarray:
        """Atomic numbers that occur, sorted."""
        return np.flatnonzero(self.gram.diagonal())

    def _add_forces(self, batch: Batch) -> Tensor:
        """Add the forces of free atoms; the structures that lack some."""
        free = free_atoms(batch)
        missing = ~batch.forces.isfinite().all(-1)
        counted = batch.forces.double() if free is None else batch.forces[free].double()
        self._square += float(counted.square().sum())
        self._components += counted.numel()
        of = batch.batch[missing if free is None else missing & free]
        return torch.zeros(batch.num_graphs, dtype=torch.bool).index_fill_(0, of, True)

    def force_scale(self) -> float:
        """Root mean square force component of the free atoms, eV/Å; NaN where there is none."""
        if not self._components:
            return math.nan
        return math.sqrt(self._square / self._components)

    def energy_scale(self, reference: np.ndarray) -> float:
        """Spread of the energies beside the reference, in eV for each atom's share of it.

        Parameters
        ----------
        reference : ndarray, [119]
            Energies of the elements in eV.
        """
        rest = energies_left(self.train, reference)
        with np.errstate(over="ignore"):  # `check_scale` refuses what overflows
            return float(rest.std() / np.sqrt(self.n_atoms / len(rest)))

    def reference_energies(self) -> np.ndarray:
        """Per-element energies that explain most of the total: least squares on element counts.

        Where a data set cannot distinguish elements (one molecule, say) the solution of smallest
        norm is taken; totals come out the same.

        Returns
        -------
        ndarray, [119]
            Energies in eV by atomic number; 0 for elements that are not there.
        """
        present = self.elements
        rows: list[np.ndarray] = []  # of counts and energy, [·, elements + 1]
        for first, batch in pieces(self.train):
            energy = self.energy[first : first + batch.num_graphs]
            rows.append(np.column_stack([_counts(batch)[:, present], energy]))
            if sum(block.size for block in rows) > _DIRECT:  # its triangle has the same solution
                rows = [np.asarray(np.linalg.qr(np.concatenate(rows), mode="r"))]
        both = np.concatenate(rows)
        solution = np.zeros(MAX_Z + 1)
        solution[present] = np.linalg.lstsq(both[:, :-1], both[:, -1], rcond=None)[0]
        return solution


def energies_left(train: AtomStore, reference: np.ndarray) -> np.ndarray:
    """Energies of the structures less the references of their atoms.

    Parameters
    ----------
    train : AtomStore
        The training set.
    reference : ndarray, [119]
        Energies of the elements in eV.

    Returns
    -------
    ndarray, [n]
        Energies in eV.
    """
    rest = np.empty(len(train))
    for first, batch in pieces(train):
        size = batch.num_graphs
        own = np.bincount(batch.batch.numpy(), reference[batch.z.numpy()], minlength=size)
        rest[first : first + size] = batch.energy.numpy() - own
    return rest


def check_scale(what: str, scale: float, labels: np.ndarray) -> None:
    """Check that a model can hold the scale of its labels, in float32.

    Parameters
    ----------
    what : str
        The labels, in words.
    scale : float
        Their scale.
    labels : ndarray, [n] or [n, 3]
        Labels of the structures.

    Raises
    ------
    ValueError
        For labels so large that their scale is no number; names the structure of the largest.
    """
    if abs(scale) <= np.finfo(np.float32).max:
        return
    size = np.abs(labels).reshape(len(labels), -1).max(axis=1)
    largest = int(size.argmax())
    raise ValueError(
        f"The {what} of the training set are too large to be learned: that of structure {largest} "
        f"is of the size {size[largest]:.3g}; correct it, or leave it out."
    )


def _counts(batch: Batch) -> np.ndarray:
    """How many atoms of each element the structures have, [B, 119]."""
    return counts_of(batch.z.numpy(), batch.batch.numpy(), batch.num_graphs)


def _places(wrong: Tensor, first: int) -> list[int]:
    return (wrong.nonzero().flatten() + first).tolist()
