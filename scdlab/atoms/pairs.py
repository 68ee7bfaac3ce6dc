"""Pairs of atoms as a half list, and both directions of it."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from scdlab.atoms.batch import Batch


@dataclass(frozen=True)
class DirectedPairs:
    """Both directions of a half list: edges p and P + p belong to pair p, i ← j and j ← i.

    Parameters
    ----------
    target : Tensor
        The atom that each edge leads to, which receives its message, [2P] int64.
    source : Tensor
        The atom that each edge starts from, which sends its message, [2P] int64.
    """

    target: Tensor
    source: Tensor

    def __len__(self) -> int:
        return len(self.target)

    @functools.cached_property
    def pair(self) -> Tensor:
        """The pair of each edge, [2P] int64."""
        number = torch.arange(len(self) // 2, device=self.target.device)
        return torch.cat([number, number])

    @functools.cached_property
    def reverse(self) -> Tensor:
        """The edge of the same pair in the other direction, [2P] int64."""
        n_pairs = len(self) // 2
        number = torch.arange(len(self), device=self.target.device)
        return torch.cat([number[n_pairs:], number[:n_pairs]])

    @functools.cached_property
    def sign(self) -> Tensor:
        """1 or -1, [2P] int64: r from target to source is sign · r_ij of the pair."""
        one = torch.ones(len(self) // 2, dtype=torch.long, device=self.target.device)
        return torch.cat([one, -one])

    def both(self, x: Tensor) -> Tensor:
        """Give both edges of a pair the pair's row.

        Parameters
        ----------
        x : Tensor [P, …]
            A row for each pair.

        Returns
        -------
        Tensor [2P, …]
            A row for each edge.
        """
        return torch.cat([x, x])

    def both_signed(self, x: Tensor) -> Tensor:
        """Give the edges of a pair its row x and -x, as of vectors r_ij.

        Parameters
        ----------
        x : Tensor [P, …]
            A row for each pair.

        Returns
        -------
        Tensor [2P, …]
            A row for each edge.
        """
        return torch.cat([x, -x])


@dataclass
class Pairs:
    """The pairs of atoms within a cutoff, each once.

    Parameters
    ----------
    i, j : Tensor
        The two atoms of each pair, [P] int64 with i ≤ j, sorted.
    shift : Tensor or None
        Image of j in units of the cell vectors, integers [P, 3]; None when nothing is periodic.
    cutoff : float
        Distance in Å within which pairs were searched.
    """

    i: Tensor
    j: Tensor
    shift: Tensor | None
    cutoff: float

    def __len__(self) -> int:
        return len(self.i)

    def vectors(self, pos: Tensor, batch: Batch) -> Tensor:
        """Vectors r_ij from atom i to the image of atom j.

        Parameters
        ----------
        pos : Tensor
            Positions, [N, 3] Å.
        batch : Batch
            The batch that the pairs belong to; `cell` is read where pairs have images.

        Returns
        -------
        Tensor
            r_ij, [P, 3] Å, differentiable in `pos` and in `batch.cell`.
        """
        r = pos.index_select(0, self.j) - pos.index_select(0, self.i)  # [P, 3]
        if self.shift is None:
            return r
        cell = batch.cell.reshape(-1, 3, 3).to(r.dtype)  # [B, 3, 3], rows are the cell vectors
        cell = cell.index_select(0, structure_of_atoms(batch).index_select(0, self.i))  # [P, 3, 3]
        return r + torch.einsum("pk,pkx->px", self.shift.to(r.dtype), cell)

    def directed(self) -> DirectedPairs:
        """Both directions of every pair.

        Returns
        -------
        DirectedPairs
            `target`, `source`, `sign` and `reverse` of 2P edges: first all i ← j, then all j ← i.
        """
        return both_directions(self.i, self.j)


def both_directions(i: Tensor, j: Tensor) -> DirectedPairs:
    """Both directions of pairs of atoms i and j, [P] each: first all i ← j, then all j ← i."""
    return DirectedPairs(torch.cat([i, j]), torch.cat([j, i]))


def structure_of_atoms(batch: Batch) -> Tensor:
    """The structure of each atom.

    Parameters
    ----------
    batch : Batch
        The structures.

    Returns
    -------
    Tensor
        Indices of structures, [N] int64; 0 for all where the batch is one structure.
    """
    owner = batch.get("batch")
    if owner is not None:
        return owner
    return torch.zeros(len(batch.pos), dtype=torch.long, device=batch.pos.device)
