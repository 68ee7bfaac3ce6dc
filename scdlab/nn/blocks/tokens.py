"""The tokens of the Point-Edge Transformer (`scdlab.nn.pet`): which atoms and directed edges its
layers compute, and where their tokens stand.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.radial import step_logit
from scdlab.nn.ops.token_attention import TokensOfAtoms


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
    neighbors : Tensor
        Number of edges that lead to the atom at each place, [N].
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
        layers = {n: self._layer(n) for n in set(computed)}
        self.layers = [layers[n] for n in computed]

    def _layer(self, n_atoms: int) -> "LayerTokens":
        """The tokens of the first atoms in order, and of their edges."""
        neighbors = self.neighbors[:n_atoms]
        e = int(neighbors.sum())
        return LayerTokens(
            neighbors, self.target[:e], self.rank[:e], self.geometry[:e], self.f[:e], self.log_f[:e]
        )


class LayerTokens(TokensOfAtoms):
    """Which atoms and edges a layer computes, and where their tokens go.

    Where all atoms have equally many neighbors, flat tokens are ordered by atom, each atom's own
    token first, and attention needs no copies of them; else the n atoms come first, then the e
    edges.

    Parameters
    ----------
    neighbors : Tensor
        Number of edges of each atom, [n].
    target : Tensor
        The atom of each edge, ascending, [e].
    rank : Tensor
        The edge's number among those of its atom, [e].
    geometry : Tensor
        r_ij and |r_ij| of each edge, [e, 4] Å.
    f, log_f : Tensor
        The smooth step of each edge and its logarithm, [e].

    Attributes
    ----------
    n_atoms, n_edges : int
        How many there are: n and e.
    width : int
        The most tokens of an atom.
    uniform : bool
        Whether all atoms have as many.
    slot : Tensor
        The row of each flat token among the n · width rows by atom, [n + e].
    atom : Tensor
        The atom that each flat token belongs to, [n + e].
    bias : Tensor
        ln f of each flat token, 0 of an atom's own, [n + e].
    """

    def __init__(
        self,
        neighbors: Tensor,
        target: Tensor,
        rank: Tensor,
        geometry: Tensor,
        f: Tensor,
        log_f: Tensor,
    ) -> None:
        n = len(neighbors)
        device = neighbors.device
        width = 1 + int(neighbors.max())
        self.n_edges = len(target)
        self.target = target
        self.geometry = geometry
        self.f = f
        if n * width == n + len(target):  # uniform
            slot = torch.arange(n * width, device=device)
            atom = torch.div(slot, width, rounding_mode="floor")
            own = log_f.new_zeros(n, 1)
            self.bias = torch.cat([own, log_f.view(n, width - 1)], dim=1).flatten()
        else:
            rows = torch.arange(n, device=device) * width
            slot = torch.cat([rows, rows.index_select(0, target) + 1 + rank])
            atom = torch.cat([torch.arange(n, device=device), target])
            self.bias = torch.cat([log_f.new_zeros(n), log_f])
        super().__init__(atom, slot, n, width)

    def merged(self, center: Tensor, token: Tensor) -> Tensor:
        """Tokens of atoms [n, d] and of edges [e, d] -> flat tokens, [n + e, d]."""
        if not self.uniform:
            return torch.cat([center, token])
        shape = self.n_atoms, self.width - 1, center.shape[1]
        return torch.cat([center.unsqueeze(1), token.view(shape)], dim=1).flatten(0, 1)

    def centers(self, x: Tensor) -> Tensor:
        """Flat tokens [n + e, d] -> those of the atoms, [n, d]."""
        return x[:: self.width] if self.uniform else x[: self.n_atoms]

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Flat tokens [n + e, d] -> those of the atoms [n, d] and of the edges [e, d]."""
        if not self.uniform:
            return x[: self.n_atoms], x[self.n_atoms :]
        x = x.view(self.n_atoms, self.width, -1)
        return x[:, 0], x[:, 1:].flatten(0, 1)

    def sum_over_edges(self, x: Tensor) -> Tensor:
        """Rows of the edges [e, d] -> their sums for each atom, [n, d]."""
        return x.new_zeros(self.n_atoms, x.shape[1]).index_add(0, self.target, x)
