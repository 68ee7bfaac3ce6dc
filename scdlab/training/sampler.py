"""Which structures a training step sees: a function of (seed, step) alone."""

from typing import Protocol

import numpy as np
import torch

from scdlab.atoms.batch import Batch
from scdlab.atoms.collate import pack_batches
from scdlab.atoms.store import AtomStore


class Batches(Protocol):
    """What batches are cut from: a store, or its copy on a device."""

    @property
    def n_atoms(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def take(self, index: np.ndarray) -> Batch: ...


class BatchSampler:
    """The stream of all epochs' permutations, cut into batches.

    Without a budget of atoms every process takes its share of each batch; with one, the stream is
    packed into batches for one process after the other.

    Parameters
    ----------
    n_atoms : ndarray of int, [n]
        Atoms of each structure.
    batch_size : int
        Most structures of a batch.
    max_atoms : int, optional
        Most atoms of a batch of one process.
    seed : int, default 0
        Seed of the permutations.
    rank, world_size : int, default 0 and 1
        Number of this process, and how many there are.
    """

    def __init__(
        self,
        n_atoms: np.ndarray,
        batch_size: int,
        max_atoms: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.n_atoms = n_atoms
        self.batch_size = batch_size
        self.max_atoms = max_atoms
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._epoch = -1
        self._order = np.arange(0)  # the permutation of that epoch
        # where batches of a budget start in the stream, and what the last one holds
        self._starts = [0]
        self._held = (0, 0)
        self._packed = 0  # epochs

    def __call__(self, step: int) -> np.ndarray:
        """Indices of the structures of a step, for this process."""
        if self.max_atoms is None:
            first = step * self.batch_size
            return self._stream(first, first + self.batch_size)[self.rank :: self.world_size]
        return self._packed_batch(step * self.world_size + self.rank)

    def whole(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the structures of a step, for all processes, and which of them are this
        one's."""
        if self.max_atoms is None:
            first = step * self.batch_size
            every = self._stream(first, first + self.batch_size)
            return every, np.arange(self.rank, len(every), self.world_size)
        parts = [
            self._packed_batch(step * self.world_size + rank) for rank in range(self.world_size)
        ]
        first = sum(map(len, parts[: self.rank]))
        return np.concatenate(parts), np.arange(first, first + len(parts[self.rank]))

    def _packed_batch(self, number: int) -> np.ndarray:
        n = len(self.n_atoms)
        while len(self._starts) < number + 2:  # after a resumption, all epochs again
            sizes = self.n_atoms[self._permutation(self._packed)]
            starts, self._held = pack_batches(sizes, self.batch_size, self.max_atoms, self._held)
            self._starts += [self._packed * n + start for start in starts]
            self._packed += 1
        return self._stream(self._starts[number], self._starts[number + 1])

    def _stream(self, first: int, last: int) -> np.ndarray:
        n = len(self.n_atoms)
        parts = [self._permutation(epoch) for epoch in range(first // n, (last - 1) // n + 1)]
        return np.concatenate(parts)[first % n : first % n + last - first]

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._epoch != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self._epoch = epoch
            self._order = rng.permutation(len(self.n_atoms))
        return self._order


def near(store: AtomStore, device: torch.device) -> Batches:
    """What batches for a device are cut from: the store itself, or its copy in a GPU's memory,
    where it takes at most a quarter of what is free there."""
    if device.type != "cuda" or store.nbytes > torch.cuda.mem_get_info(device)[0] / 4:
        return store
    return store.to(device)
