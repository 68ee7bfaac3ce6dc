"""Clusters: what a model is shown at a time, a whole structure or the part of one that a single
atom depends on.

Every frame makes a copy of its cluster (symmetrized.py). Each cluster has its targets, the atoms
whose outputs are kept: all of them, or the one in the middle. Nodes of a cluster are atoms of the
batch or, in periodic structures, their images; its pairs are neighbors among them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch, mark_complete
from scdlab.atoms.neighbors import repeated
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.heads import sum_over_atoms


@dataclass
class Clusters:
    """C clusters of a batch, with M nodes and P pairs in all.

    Attributes
    ----------
    atom : Tensor [M]
        Which atom of the batch a node is.
    ptr : Tensor [C + 1]
        Where the nodes of each cluster start.
    i, j : Tensor [P]
        Pairs of neighbors among the nodes.
    pair_ptr : Tensor [C + 1]
        Where the pairs of each cluster start.
    structure : Tensor [C]
        The structure of the batch that a cluster is, or is a part of.
    origin : Tensor [C, 3]
        The point in Å that a cluster is rotated about.
    image : Tensor [M, 3], optional
        Which periodic image of its atom a node is.
    shift : Tensor [P, 3], optional
        Periodic images of pairs, of whole periodic structures only.
    center : bool, default False
        Whether the first node of a cluster alone is a target.
    hop : Tensor [M], optional
        How many neighbors away from the center each node is.
    """

    atom: Tensor
    ptr: Tensor
    i: Tensor
    j: Tensor
    pair_ptr: Tensor
    structure: Tensor
    origin: Tensor
    image: Tensor | None = None
    shift: Tensor | None = None
    center: bool = False
    hop: Tensor | None = None

    def __len__(self) -> int:
        return len(self.structure)


def whole_structures(batch: Batch, pairs: Pairs) -> Clusters:
    """Each structure as a cluster, rotated about the mean of its atoms (about 0 where it is
    periodic).

    Parameters
    ----------
    batch : Batch
        The structures.
    pairs : Pairs
        Their neighbors.
    """
    structure = batch.batch.index_select(0, pairs.i)
    order = torch.argsort(structure, stable=True)
    origin = sum_over_atoms(batch.pos, batch) / batch.ptr.diff().unsqueeze(-1)
    shift = None
    if pairs.shift is not None:
        origin = origin * ~batch.pbc.reshape(-1, 3).any(1, keepdim=True)
        shift = pairs.shift.index_select(0, order)
    return Clusters(
        atom=torch.arange(len(batch.z), device=batch.z.device),
        ptr=batch.ptr,
        i=pairs.i.index_select(0, order),
        j=pairs.j.index_select(0, order),
        pair_ptr=starts(structure, batch.num_graphs),
        structure=torch.arange(batch.num_graphs, device=batch.z.device),
        origin=origin,
        shift=shift,
    )


@dataclass
class _Nodes:
    """Nodes of clusters: [M] the cluster of each, its atom, and the image [M, 3] of that."""

    cluster: Tensor
    atom: Tensor
    image: Tensor | None

    def __len__(self) -> int:
        return len(self.atom)

    def __getitem__(self, index: Tensor) -> "_Nodes":
        image = None if self.image is None else self.image[index]
        return _Nodes(self.cluster[index], self.atom[index], image)

    @staticmethod
    def joined(parts: list["_Nodes"]) -> "_Nodes":
        images = [part.image for part in parts if part.image is not None]
        return _Nodes(
            torch.cat([part.cluster for part in parts]),
            torch.cat([part.atom for part in parts]),
            torch.cat(images) if images else None,
        )


class _Graph:
    """The pairs of a batch in both directions, sorted by the atom where an edge starts."""

    def __init__(self, batch: Batch, pairs: Pairs, n_hops: int | None):
        self.n = len(batch.z)
        edges = pairs.directed()
        order = torch.argsort(edges.target, stable=True)
        self.end = edges.source[order]
        self.degree = torch.bincount(edges.target, minlength=self.n)
        self.first = self.degree.cumsum(0) - self.degree
        self.shift = None
        self.reach = 0  # images go from -reach to reach in each direction
        if pairs.shift is not None and n_hops is not None:
            self.shift = edges.both_signed(pairs.shift).round().long()[order]
            if len(self.shift):
                self.reach = int(self.shift.abs().max()) * n_hops

    def key(self, nodes: _Nodes) -> Tensor:
        """One number for each node that there can be."""
        number = nodes.cluster * self.n + nodes.atom
        if nodes.image is not None:
            for k in range(3):
                number = number * (2 * self.reach + 1) + nodes.image[:, k] + self.reach
        return number

    def neighbors(self, nodes: _Nodes) -> tuple[Tensor, _Nodes]:
        """All nodes that are one edge away, and from which of `nodes` each was reached."""
        origin, rank = repeated(self.degree[nodes.atom])
        edge = self.first[nodes.atom][origin] + rank
        image = None
        if nodes.image is not None and self.shift is not None:
            image = nodes.image[origin] + self.shift[edge]
        return origin, _Nodes(nodes.cluster[origin], self.end[edge], image)


@torch.no_grad()
def receptive_fields(batch: Batch, pairs: Pairs, n_hops: int | None) -> Clusters:
    """Each atom's cluster: the atoms that its outputs depend on, itself first.

    Of periodic structures a cluster holds atoms and their images: it is open.

    Parameters
    ----------
    batch : Batch
        The structures.
    pairs : Pairs
        Their neighbors.
    n_hops : int or None
        How many steps from neighbor to neighbor messages take; None: any number.

    Raises
    ------
    ValueError
        For periodic structures with n_hops=None, where an atom depends on infinitely many images.
    """
    if n_hops is None and pairs.shift is not None:
        raise ValueError(
            "An atom of a periodic structure depends on infinitely many images of the others when "
            "messages take any number of steps; give the model an attribute `n_hops`, the number "
            "of its layers that pass messages."
        )
    n = len(batch.z)
    graph = _Graph(batch, pairs, n_hops)
    nodes, hop = _reachable(graph, batch, n_hops)
    i, j = _pairs_towards_centers(graph, nodes, hop, n_hops)
    return Clusters(
        atom=nodes.atom,
        ptr=starts(nodes.cluster, n),
        i=i,
        j=j,
        pair_ptr=starts(nodes.cluster[i], n),
        structure=batch.batch,
        origin=batch.pos,
        image=nodes.image,
        center=True,
        hop=hop,
    )


def _reachable(graph: _Graph, batch: Batch, n_hops: int | None) -> tuple[_Nodes, Tensor]:
    """The nodes of every atom's cluster, by cluster, then by hop; and the hop of each."""
    atoms = torch.arange(graph.n, device=batch.z.device)
    image = None
    if graph.shift is not None:
        image = torch.zeros(graph.n, 3, dtype=torch.long, device=batch.z.device)
    nodes = _Nodes(atoms, atoms, image)
    levels = [nodes]
    known = graph.key(nodes)
    while len(nodes) and (n_hops is None or len(levels) <= n_hops):
        _, reached = graph.neighbors(nodes)
        keys, first = _unique(graph.key(reached))
        new = ~torch.isin(keys, known)
        nodes = reached[first[new]]
        known = torch.cat([known, keys[new]])
        levels.append(nodes)
    hop = torch.cat([torch.full_like(level.atom, k) for k, level in enumerate(levels)])
    nodes = _Nodes.joined(levels)
    order = torch.argsort(nodes.cluster * len(levels) + hop, stable=True)
    return nodes[order], hop[order]


def _pairs_towards_centers(
    graph: _Graph, nodes: _Nodes, hop: Tensor, n_hops: int | None
) -> tuple[Tensor, Tensor]:
    """Pairs i ≤ j of nodes, sorted: those with an end whose messages still reach the center."""
    senders = torch.arange(len(nodes), device=hop.device)
    if n_hops is not None:
        senders = (hop < n_hops).nonzero().flatten()
    origin, others = graph.neighbors(nodes[senders])
    keys, place = graph.key(nodes).sort()
    u = senders[origin]
    v = place[torch.searchsorted(keys, graph.key(others))]
    once = u < v  # the edge is met from its other end too,
    if n_hops is not None:
        once |= hop[v] == n_hops  # but not from an end that sends nothing
    low = torch.minimum(u[once], v[once])
    high = torch.maximum(u[once], v[once])
    order = torch.argsort(low * len(nodes) + high)
    return low[order], high[order]


def _unique(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The different keys, ascending, and where each stands first."""
    found, inverse = torch.unique(keys, return_inverse=True)
    first = torch.full_like(found, len(keys))
    place = torch.arange(len(keys), device=keys.device)
    return found, first.scatter_reduce(0, inverse, place, "amin")


def starts(owner: Tensor, n: int) -> Tensor:
    """Where the entries of each of n owners start, owners ascending: [n + 1].

    Parameters
    ----------
    owner : Tensor [M]
        The owner of each entry.
    n : int
        How many owners there are.
    """
    return nn.functional.pad(torch.bincount(owner, minlength=n).cumsum(0), (1, 0))


def make_batch(z: Tensor, pos: Tensor, structure: Tensor, ptr: Tensor) -> Batch:
    """A batch of structures from their arrays.

    Parameters
    ----------
    z : Tensor [N]
        Atomic numbers.
    pos : Tensor [N, 3]
        Positions in Å.
    structure : Tensor [N]
        The structure that each atom belongs to.
    ptr : Tensor [B + 1]
        Where the atoms of each structure start.
    """
    from torch_geometric import data

    batch = data.Batch(z=z, pos=pos, batch=structure, ptr=ptr)
    mark_complete(batch)
    return batch
