"""The tokens of the Point-Edge Transformer (`scdlab.nn.pet`): which atoms and directed edges its
layers compute, and where their tokens stand.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.radial import step_logit


class SortedEdges:
    """Directed edges within the cutoff, sorted by target; atoms have their place in order of hops.

    Parameters
    ----------
    batch : Batch
        The structures; `hop` where only some atoms' shares are needed.
    pairs : Pairs
        The half list, and possibly pairs beyond the cutoff.
    cutoff, width : float
        Cutoff in Å, and over how much of it neighbors fade.
    num_layers : int
        Number of layers.

    Attributes
    ----------
    atoms : Tensor
        The atom at each place, [N].
    target, source : Tensor
        Places of the two atoms of each edge, [E].
    rank : Tensor
        The neighbor's number among those of the target, [E].
    reverse : Tensor
        The edge in the other direction, [E]; -1 where no layer needs it.
    geometry : Tensor
        r_ij and |r_ij| of each edge, [E, 4] Å.
    f, log_f : Tensor
        The smooth step of each edge and its logarithm, [E].
    layers : list of LayerTokens
        What each layer computes.
    """

    def __init__(
        self, batch: Batch, pairs: Pairs, cutoff: float, width: float, num_layers: int
    ) -> None:
        n_atoms = len(batch.z)
        device = batch.z.device
        r_ij = pairs.vectors(batch.pos, batch)  # (P, 3), r_j - r_i
        r = r_ij.norm(dim=-1)  # (P)
        if pairs.cutoff > cutoff:
            near = (r < cutoff).nonzero().flatten()
            i = pairs.i.index_select(0, near)
            j = pairs.j.index_select(0, near)
            pairs = Pairs(i, j, None, cutoff)
            r = r.index_select(0, near)
            r_ij = r_ij.index_select(0, near)
        directed = pairs.directed()
        target = directed.target
        source = directed.source
        hop = batch.get("hop")
        self.atoms = torch.arange(n_atoms, device=device)
        if hop is not None:
            hop, self.atoms = hop.sort(stable=True)
            place = torch.empty_like(self.atoms)
            place = place.index_copy(0, self.atoms, torch.arange(n_atoms, device=device))
            target = place.index_select(0, target)
            source = place.index_select(0, source)
        # atoms that each layer computes
        computed = [n_atoms] * num_layers
        if hop is not None:
            computed = [int((hop < k).sum()) for k in range(num_layers, 0, -1)]

        self.neighbors = torch.bincount(target, minlength=n_atoms)
        self.target, order = target.sort(stable=True)
        n_edges = len(order)
        if hop is not None:
            n_edges = int(self.neighbors[: computed[0]].sum())
        number = torch.arange(n_edges, device=device)
        self.target = self.target[:n_edges]
        order = order[:n_edges]
        self.source = source.index_select(0, order)
        first = self.neighbors.cumsum(0) - self.neighbors
        self.rank = number - first.index_select(0, self.target)
        sorted_as = order.new_full((len(directed),), -1).index_copy(0, order, number)
        self.reverse = sorted_as.index_select(0, directed.reverse.index_select(0, order))

        pair = directed.pair.index_select(0, order)
        sign = directed.sign.index_select(0, order).to(r.dtype).unsqueeze(-1)  # (E, 1)
        r = r.index_select(0, pair)  # (E)
        r_ij = sign * r_ij.index_select(0, pair)  # (E, 3)
        self.geometry = torch.cat([r_ij, r.unsqueeze(-1)], dim=1)  # (E, 4)
        logit = step_logit(r, cutoff, width)
        self.f = logit.sigmoid()
        self.log_f = logsigmoid(logit)
        layers = {n: LayerTokens(n, self) for n in set(computed)}
        self.layers = [layers[n] for n in computed]


class LayerTokens:
    """Which atoms and edges a layer computes, and where their tokens go.

    Parameters
    ----------
    n_atoms : int
        Number n of atoms, the first in order.
    edges : SortedEdges
        All edges, of which the layer computes the first e.

    Attributes
    ----------
    slot : Tensor
        The row of each flat token among the n · width rows by atom, [n + e].
    atom : Tensor
        The place of the atom that each flat token belongs to, [n + e].
    bias : Tensor
        ln f in these rows, -∞ where there is no token, [n, 1, 1, width].
    """

    def __init__(self, n_atoms: int, edges: SortedEdges) -> None:
        neighbors = edges.neighbors[:n_atoms]
        self.n_atoms = n_atoms
        self.n_edges = int(neighbors.sum())
        self.width = 1 + int(neighbors.max())
        rows = torch.arange(n_atoms, device=neighbors.device) * self.width
        target = edges.target[: self.n_edges]
        rank = edges.rank[: self.n_edges]
        self.slot = torch.cat([rows, rows.index_select(0, target) + 1 + rank])
        self.atom = torch.cat([torch.arange(n_atoms, device=target.device), target])
        log_f = torch.cat([edges.log_f.new_zeros(n_atoms), edges.log_f[: self.n_edges]])
        bias = log_f.new_full((n_atoms * self.width,), -math.inf).index_copy(0, self.slot, log_f)
        self.bias = bias.view(n_atoms, 1, 1, self.width)

    def by_atom(self, x: Tensor) -> Tensor:
        """Flat tokens [n + e, d] -> tokens by atom, [n · width, d], zero where there is none."""
        return x.new_zeros(self.n_atoms * self.width, x.shape[1]).index_copy(0, self.slot, x)
