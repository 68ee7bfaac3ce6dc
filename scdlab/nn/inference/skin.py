"""Neighbor lists that are kept while atoms have moved little.

A list of all pairs within cutoff + skin holds every pair within the cutoff until two atoms have
come closer by the skin. Where the cell is strained as well, by x ← x F since the list was made, a
pair that was farther than cutoff + skin is at least σ(cutoff + skin) - 2m away, where σ is the
smallest singular value of F and m the farthest that an atom has moved beside the strain.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from scdlab.atoms import AtomStore
from scdlab.atoms.batch import Batch
from scdlab.atoms.neighbors import neighbor_list

_COINCIDENT = 1e-6  # Å


class Structures(NamedTuple):
    """The geometry of B structures of N atoms together."""

    z: np.ndarray  # [N] int64
    pos: np.ndarray  # [N, 3] Å, float64
    ptr: np.ndarray  # [B + 1] int64, where the atoms of each begin
    cell: np.ndarray  # [B, 3, 3] Å, rows are the cell vectors; read where periodic
    pbc: np.ndarray  # [B, 3] bool

    def batch(self) -> Batch:
        """The structures as models read them, positions in float64.

        Returns
        -------
        Batch
            As `AtomStore.take` gives it.

        Raises
        ------
        ValueError
            For what no model can use.
        """
        arrays: dict[str, Any] = {"z": self.z, "pos": self.pos, "ptr": self.ptr}
        if self.pbc.any():
            arrays |= {"cell": self.cell, "pbc": self.pbc}
        batch = AtomStore.from_arrays(**arrays).take(np.arange(len(self.cell)))
        batch.pos = torch.from_numpy(self.pos)  # unrounded
        if self.pbc.any():
            batch.cell = torch.from_numpy(self.cell)
        return batch


class SkinList:
    """The pairs of structures that move, searched only when they have moved far.

    Parameters
    ----------
    cutoff : float
        Distance in Å within which pairs are needed.
    skin : float, default 0.5
        By how much more they are searched, in Å.

    Attributes
    ----------
    searches : int
        How often pairs have been searched.
    """

    def __init__(self, cutoff: float, skin: float = 0.5) -> None:
        self.cutoff = cutoff
        self.skin = skin
        self.searches = 0
        self._made_for: Structures | None = None
        self._i = np.empty(0, np.int64)
        self._j = np.empty(0, np.int64)
        self._shift: np.ndarray | None = None  # [Q, 3], of periodic structures
        self._structure = np.empty(0, np.int64)  # of each pair, [Q]

    def __call__(self, structures: Structures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs within the cutoff, and some beyond it.

        Parameters
        ----------
        structures : Structures
            The structures.

        Returns
        -------
        i, j : ndarray
            The two atoms of each pair, [Q] int64.
        vectors : ndarray
            From atom i to atom j, or its image, [Q, 3] Å.

        Raises
        ------
        ValueError
            For atoms that coincide or have no finite position, for periodic cell vectors that span
            no volume, and for what no model can use.
        """
        if not self._holds(structures):
            self._search(structures)
        vectors = self._vectors(structures)
        closest = np.einsum("px,px->p", vectors, vectors).min(initial=np.inf)
        if closest < _COINCIDENT**2:
            self._search(structures)  # says which
        return self._i, self._j, vectors

    def _holds(self, now: Structures) -> bool:
        then = self._made_for
        if then is None or not all(
            np.array_equal(a, b)
            for a, b in ((now.z, then.z), (now.ptr, then.ptr), (now.pbc, then.pbc))
        ):
            return False
        moved = now.pos - then.pos
        smallest = 1.0
        if self._shift is not None and not np.array_equal(now.cell, then.cell):
            periodic: np.ndarray = np.any(now.pbc, axis=1)  # [B]
            if not now.pbc[periodic].all():  # strained along an axis that a slab does not have
                return False
            strain = np.repeat(np.eye(3)[None], len(periodic), axis=0)  # [B, 3, 3]
            strain[periodic] = np.linalg.solve(then.cell[periodic], now.cell[periodic])
            smallest = np.linalg.svd(strain, compute_uv=False).min()
            owner = np.repeat(np.arange(len(periodic)), np.diff(now.ptr))
            moved = now.pos - np.einsum("nx,nxy->ny", then.pos, strain[owner])
        farthest = np.sqrt(np.einsum("nx,nx->n", moved, moved).max(initial=0.0))
        return bool(smallest * (self.cutoff + self.skin) - 2.0 * farthest >= self.cutoff)

    def _search(self, structures: Structures) -> None:
        pairs = neighbor_list(structures.batch(), self.cutoff + self.skin)
        self.searches += 1
        self._i = pairs.i.numpy()
        self._j = pairs.j.numpy()
        self._shift = None if pairs.shift is None else pairs.shift.double().numpy()
        owner = np.repeat(np.arange(len(structures.cell)), np.diff(structures.ptr))
        self._structure = owner[self._i]
        self._made_for = Structures(*(array.copy() for array in structures))

    def _vectors(self, structures: Structures) -> np.ndarray:
        pos = structures.pos
        vectors = pos[self._j] - pos[self._i]
        if self._shift is None:
            return vectors
        if len(structures.cell) == 1:
            return vectors + self._shift @ structures.cell[0]
        return vectors + np.einsum("pk,pkx->px", self._shift, structures.cell[self._structure])
