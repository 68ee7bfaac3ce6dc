"""Copies of clusters, one for each frame: what the model is given, and what comes of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch
from scdlab.atoms.neighbors import repeated
from scdlab.atoms.pairs import Pairs
from scdlab.symmetry.clusters import Clusters, make_batch
from scdlab.symmetry.frames import Frames

CHUNK = 30_000  # nodes and, tenfold, pairs of neighbors that go through the model at a time


@dataclass
class Copies:
    """One copy of a cluster for each of K frames, M nodes in all.

    Attributes
    ----------
    copy, cluster, atom : Tensor [M]
        Which copy, cluster and atom of the batch a node belongs to.
    structure : Tensor [K]
        Which structure of the batch a copy belongs to.
    r : Tensor [M, 3]
        Å, from the origin of the cluster.
    axes : Tensor [M, 3, 3]
        The frame of each node.
    pos : Tensor [M, 3], float64
        r seen in its frame. Without a graph, a leaf.
    box, cell : Tensor [K, 3, 3], float64, optional
        Cell vectors along the axes of space, and seen in the frame; the latter likewise a leaf.
    batch, pairs : Batch, Pairs
        What the model is given: each copy a structure.
    """

    copy: Tensor
    cluster: Tensor
    atom: Tensor
    structure: Tensor
    r: Tensor
    axes: Tensor
    pos: Tensor
    box: Tensor | None
    cell: Tensor | None
    batch: Batch
    pairs: Pairs


@dataclass
class Outputs:
    """What the model gives for copies.

    Attributes
    ----------
    values : dict of str to Tensor
        By name, a row for each of T targets.
    atom, copy : Tensor [T]
        The atom and the copy of each target.
    energy : Tensor [K], float64
        Energies of the copies in eV.
    """

    values: dict[str, Tensor]
    atom: Tensor
    copy: Tensor
    energy: Tensor


def copies_of(
    batch: Batch,
    clusters: Clusters,
    frames: Frames,
    cutoff: float,
    dtype: torch.dtype,
    graph: bool,
    gradient: bool,
) -> Copies:
    """A copy of each frame's cluster, seen in the frame.

    Parameters
    ----------
    batch : Batch
        The structures, in float64.
    clusters : Clusters
        What the frames see.
    frames : Frames
        One copy each.
    cutoff : float
        Of the pairs of `clusters`, Å.
    dtype : torch.dtype
        The model's precision.
    graph : bool
        Whether the way from the positions of `batch` is kept. If not, positions and cells of the
        copies are leaves.
    gradient : bool
        Whether energies of the copies will be differentiated.
    """
    size = clusters.ptr.diff()[frames.cluster]  # (K), nodes of each copy
    n_pairs = clusters.pair_ptr.diff()[frames.cluster]  # (K)
    ptr = nn.functional.pad(size.cumsum(0), (1, 0))  # (K + 1)
    copy, rank = repeated(size)  # (M)
    cluster = frames.cluster[copy]
    node = clusters.ptr[cluster] + rank
    atom = clusters.atom[node]
    structure = clusters.structure[frames.cluster]  # (K)
    box = None
    cell = None
    with torch.set_grad_enabled(graph):
        r = batch.pos.index_select(0, atom) - clusters.origin.index_select(0, cluster)  # (M, 3)
        if clusters.image is not None:
            own_cell = batch.cell.index_select(0, structure[copy])
            r = r + torch.einsum("mk,mkx->mx", clusters.image[node].to(r.dtype), own_cell)
        axes = frames.axes.index_select(0, copy)  # (M, 3, 3)
        pos = (r.unsqueeze(1) @ axes).squeeze(1)  # Fᵀ r
        if clusters.shift is not None:
            box = batch.cell.index_select(0, structure)
            cell = box @ frames.axes  # (K, 3, 3), as positions
    if not graph:
        pos.requires_grad_(gradient)
        if cell is not None:
            cell.requires_grad_(gradient)
    # a change of precision is a step of the gradient's way
    with torch.set_grad_enabled(graph or gradient):
        inner = make_batch(batch.z.index_select(0, atom), pos.to(dtype), copy, ptr)
        if cell is not None:
            inner.cell = cell.to(dtype)
            inner.pbc = batch.pbc.reshape(-1, 3).index_select(0, structure)
    if clusters.hop is not None:
        inner.hop = clusters.hop[node]
    at, rank = repeated(n_pairs)  # (Q)
    pair = clusters.pair_ptr[frames.cluster[at]] + rank
    offset = (ptr[:-1] - clusters.ptr[frames.cluster])[at]
    shift = None if clusters.shift is None else clusters.shift[pair]
    pairs = Pairs(clusters.i[pair] + offset, clusters.j[pair] + offset, shift, cutoff)
    return Copies(copy, cluster, atom, structure, r, axes, pos, box, cell, inner, pairs)


class FirstOrder:
    """Forces without a graph of the model, nor of the copies: energies that are right, and have the
    right slope, to first order in axes, weights, positions and origins."""

    def __init__(self, batch: Batch, clusters: Clusters):
        self.pos = batch.pos
        self.origin = clusters.origin
        self.slope_of_pos = torch.zeros_like(batch.pos, requires_grad=False)
        self.slope_of_origin = torch.zeros_like(clusters.origin, requires_grad=False)
        self.total = batch.pos.new_zeros(batch.num_graphs)

    def add(
        self, frames: Frames, clusters: Clusters, copies: Copies, outputs: Outputs, w: Tensor
    ) -> None:
        """Add weighted copies, and let go of their graph."""
        inputs = (copies.pos,) if copies.cell is None else (copies.pos, copies.cell)
        # copies are independent: each has its own gradient
        slopes = torch.autograd.grad(outputs.energy.sum(), inputs, materialize_grads=True)
        outputs.values = {name: value.detach() for name, value in outputs.values.items()}
        energy = outputs.energy.detach()
        with torch.no_grad():
            each = copies.r.unsqueeze(2) * slopes[0].unsqueeze(1)
            of_axes = torch.zeros_like(frames.axes).index_add(0, copies.copy, each)
            if copies.box is not None:
                of_axes = of_axes + copies.box.mT @ slopes[1]
            moved = (copies.axes @ slopes[0].unsqueeze(2)).squeeze(2)
            moved = moved * w.detach().index_select(0, copies.copy).unsqueeze(1)
            self.slope_of_pos.index_add_(0, copies.atom, moved)
            self.slope_of_origin.index_add_(0, copies.cluster, -moved)
        # zero, with the slope that rotating the axes has
        energy = energy + ((frames.axes - frames.axes.detach()) * of_axes).sum((-2, -1))
        self.total = self.total.index_add(0, clusters.structure[frames.cluster], w * energy)

    def energy(self) -> Tensor:
        """Energies of the structures [B]. What moved with atoms and origins, in sums over all
        copies, is added to the first: only their sum is differentiated."""
        total = self.total
        for x, slope in ((self.pos, self.slope_of_pos), (self.origin, self.slope_of_origin)):
            total = torch.cat([total[:1] + ((x - x.detach()) * slope).sum(), total[1:]])
        return total


def chunks(clusters: Clusters, frames: Frames) -> Iterator[slice]:
    """Frames in ranges that make about CHUNK nodes and 10 CHUNK pairs at most."""
    nodes = clusters.ptr.diff()[frames.cluster]
    pairs = clusters.pair_ptr.diff()[frames.cluster]
    cost = torch.maximum(nodes, pairs // 10).cumsum(0)
    first = 0
    done = 0
    while first < len(frames):
        last = max(int(torch.searchsorted(cost, done + CHUNK, right=True)), first + 1)
        yield slice(first, last)
        first = last
        done = int(cost[last - 1])


def rows(w: Tensor, like: Tensor) -> Tensor:
    """One factor for each row [T] in the shape that multiplies [T, …]."""
    return w.view(-1, *[1] * (like.ndim - 1))


def rotated_back(y: Tensor, axes: Tensor, kind: str) -> Tensor:
    """Outputs seen in frames [T, …] along the axes of space."""
    if kind == "scalar":
        return y
    y = y.double()
    if kind == "vector":
        return (y.unsqueeze(1) @ axes.mT).squeeze(1)
    return axes @ y @ axes.mT
