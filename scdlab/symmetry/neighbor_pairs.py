"""Two neighbors of an atom at a time: what the frames of ECSE are made from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scdlab.atoms.neighbors import repeated
from scdlab.nn.blocks.radial import smooth_step

# of the smooth largest weight: n equal weights count as n^(1/64) of one, 1.1 for a thousand
NORM = 64


@dataclass
class NeighborEdges:
    """All E neighbors of atoms, those of each atom in a row.

    Attributes
    ----------
    target, source, cluster : Tensor [E]
        The atom, its neighbor, and the cluster that the atom's frames belong to.
    r : Tensor [E], float64
        Distances in Å.
    unit : Tensor [E, 3], float64
        Unit vectors from target to source.
    """

    target: Tensor
    source: Tensor
    cluster: Tensor
    r: Tensor
    unit: Tensor


@dataclass
class NeighborPairs:
    """Q times two neighbors j, j' of an atom, each two once: weights do not depend on their order.

    Attributes
    ----------
    j, k : Tensor [Q]
        The edges to the two.
    cluster : Tensor [Q]
        The cluster that their frames belong to, ascending.
    sin2 : Tensor [Q], float64
        sin² of the angle between them.
    """

    j: Tensor
    k: Tensor
    cluster: Tensor
    sin2: Tensor

    def __getitem__(self, index: Tensor) -> "NeighborPairs":
        return NeighborPairs(
            self.j[index],
            self.k[index],
            self.cluster[index],
            self.sin2.index_select(0, index),
        )


def step_up(s: Tensor, start: float, width: float) -> Tensor:
    """q: 0 for s ≤ start, 1 for s ≥ start + width, smooth.

    Parameters
    ----------
    s : Tensor
        Any numbers.
    start, width : float
        Where it begins to rise, and over how much.
    """
    return smooth_step(-s, -start, width)


def pairs_of_neighbors(edges: NeighborEdges, n_atoms: int) -> NeighborPairs:
    """Every two neighbors of an atom, once.

    Parameters
    ----------
    edges : NeighborEdges
        The neighbors.
    n_atoms : int
        How many atoms there are.
    """
    last = torch.bincount(edges.target, minlength=n_atoms).cumsum(0)
    number = torch.arange(len(edges.target), device=edges.target.device)
    j, rank = repeated(last[edges.target] - number - 1)
    k = j + 1 + rank
    cosine = (edges.unit.index_select(0, j) * edges.unit.index_select(0, k)).sum(-1)
    return NeighborPairs(j, k, edges.cluster[j], 1.0 - cosine.square())


def smooth_maximum(w: Tensor, cluster: Tensor, n_clusters: int) -> Tensor:
    """(Σ w^64)^(1/64) of each cluster, [C]: 0 where there is none. In units of the plain maximum,
    which cancels.

    Parameters
    ----------
    w : Tensor [Q]
        Weights.
    cluster : Tensor [Q]
        The cluster of each.
    n_clusters : int
        How many clusters C there are.
    """
    top = w.new_zeros(n_clusters).scatter_reduce(0, cluster, w.detach(), "amax")
    there = top > 0
    unit = torch.where(there, top, 1.0)
    powers = (w / unit[cluster]).clamp(min=1e-4) ** NORM
    total = w.new_zeros(n_clusters).index_add(0, cluster, powers)
    return torch.where(there, unit * torch.where(there, total, 1.0) ** (1 / NORM), 0.0)
