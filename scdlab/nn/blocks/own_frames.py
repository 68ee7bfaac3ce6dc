"""Atoms seen in frames of their own, layer by layer: how PET is symmetrized by
`scdlab.symmetry.ECSE` with layerwise=True.

Every layer sees an atom and its neighbors in each frame of the atom, and passes on means over the
frames. For the frames F of atom i, with weights w:

    c_i^F, t_ij^F = layer(c_i, m_ij, Fᵀ r_ij)
    c_i           ← Σ_F w_F c_i^F
    m_ij          ← ½(m_ij + Σ_F' w_F' t_ji^F')         F' are the frames of j

No sum meets tokens that were seen in different frames before they are means, which do not change
when the structure rotates: two atoms whose frames differ speak in numbers that belong to no frame.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from scdlab.atoms.neighbors import repeated
from scdlab.nn.blocks.tokens import LayerTokens, SortedEdges

CHUNK = 20_000  # tokens that are computed at a time, where no graph is kept


@dataclass
class OwnFrames:
    """K frames of N atoms, and how a mean over them is taken.

    Attributes
    ----------
    atom : Tensor [K]
        The atom that each frame belongs to, ascending.
    axes : Tensor [K, 3, 3], float64
        Columns are the axes.
    weights : Tensor [K], float64
        Those of an atom sum to 1, less the atom's `rest`.
    rest : Tensor [N], float64, optional
        The weight of what stands in for atoms without frames.
    stand_in : Tensor [N, m], optional
        What stands in there, for the m numbers that an atom passes on
        (`AtomisticModel.passes_on`).
    keep_graph : bool
        Whether all that a backward pass needs is kept. If not, layers are computed chunk by chunk,
        and again in a backward pass.
    """

    atom: Tensor
    axes: Tensor
    weights: Tensor
    rest: Tensor | None = None
    stand_in: Tensor | None = None
    keep_graph: bool = True

    def chunks(self, edges: SortedEdges, dtype: torch.dtype) -> list["Stars"]:
        """All atoms seen in all their frames, in chunks of successive atoms.

        Parameters
        ----------
        edges : SortedEdges
            The directed edges, places being atoms.
        dtype : torch.dtype
            The network's precision.
        """
        n = torch.bincount(self.atom, minlength=len(edges.neighbors))  # (N) frames
        cost = (n * (1 + edges.neighbors)).cumsum(0)
        ends = [len(n)] if self.keep_graph else list(_ends(cost))
        last = n.cumsum(0)
        stars = []
        start = 0
        first = 0
        for stop in ends if len(self.atom) else ():
            part = slice(first, int(last[stop - 1]))
            stars.append(Stars(self, edges, start, stop, part, dtype))
            start = stop
            first = part.stop
        return stars

    def with_rest(self, mean: Tensor, k: int, owner: Tensor | None = None) -> Tensor:
        """Means over frames with what stands in for some atoms.

        Parameters
        ----------
        mean : Tensor [N, h] or [E, h]
            Weighted sums over frames.
        k : int
            Which h of the numbers stand in.
        owner : Tensor [E], optional
            The atom of each row, where rows are not atoms.
        """
        if self.rest is None or self.stand_in is None:
            return mean
        h = mean.shape[1]
        stand_in = self.stand_in[:, k * h : (k + 1) * h]
        other = self.rest.to(mean.dtype).unsqueeze(-1) * stand_in
        return mean + (other if owner is None else other.index_select(0, owner))


class Stars:
    """Some atoms and their neighbors, each in all its frames: as many stars as there are frames.

    Parameters
    ----------
    frames : OwnFrames
        All frames.
    edges : SortedEdges
        All edges.
    start, stop : int
        The first atom and the one after the last.
    part : slice
        Their frames.
    dtype : torch.dtype
        The network's precision.

    Attributes
    ----------
    atom : Tensor
        The atom of each of k stars, [k].
    edge : Tensor
        The edge that each of their t arms is, [t].
    tokens : LayerTokens
        Atoms and arms, vectors along the axes of the frames.
    """

    def __init__(
        self,
        frames: OwnFrames,
        edges: SortedEdges,
        start: int,
        stop: int,
        part: slice,
        dtype: torch.dtype,
    ) -> None:
        self.atom = frames.atom[part]
        first = edges.neighbors.cumsum(0) - edges.neighbors  # (N), where edges start
        neighbors = edges.neighbors.index_select(0, self.atom)
        star, rank = repeated(neighbors)  # (t)
        self.edge = first.index_select(0, self.atom.index_select(0, star)) + rank
        axes = frames.axes[part].index_select(0, star)  # (t, 3, 3)
        geometry = edges.geometry.index_select(0, self.edge)  # (t, 4)
        r_ij = (geometry[:, :3].unsqueeze(1) @ axes).squeeze(1)  # Fᵀ r
        geometry = torch.cat([r_ij, geometry[:, 3:]], dim=1).to(dtype)
        f = edges.f.index_select(0, self.edge).to(dtype)
        log_f = edges.log_f.index_select(0, self.edge).to(dtype)
        self.tokens = LayerTokens(neighbors, star, rank, geometry, f, log_f)
        self._weights = frames.weights[part].to(dtype).unsqueeze(-1)  # (k, 1)
        self._arm_weights = self._weights.index_select(0, star)  # (t, 1)
        self._n_atoms = stop - start
        self._local_atom = self.atom - start
        self._local_edge = self.edge - first[start]
        self._n_edges = int(edges.neighbors[start:stop].sum())

    def means(self, center: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted sums over frames.

        Parameters
        ----------
        center, token : Tensor
            Tokens of the stars' atoms [k, h] and arms [t, h].

        Returns
        -------
        tuple of Tensor
            Those of the atoms and of their edges, a row for each.
        """
        h = center.shape[1]
        atoms = center.new_zeros(self._n_atoms, h)
        edges = center.new_zeros(self._n_edges, h)
        return (
            atoms.index_add(0, self._local_atom, self._weights * center),
            edges.index_add(0, self._local_edge, self._arm_weights * token),
        )


def _ends(cost: Tensor) -> Iterator[int]:
    """Where chunks of atoms end, from the tokens up to and with each atom [N]; in each there is an
    atom that has frames."""

    def atoms_within(tokens: int) -> int:
        return int(torch.searchsorted(cost, tokens, right=True))

    end = 0
    done = 0
    while end < len(cost):
        end = max(atoms_within(done + CHUNK), min(atoms_within(done) + 1, len(cost)))
        done = int(cost[end - 1])
        end = atoms_within(done)
        yield end


def layer_by_layer(
    hear: Callable[[int, Tensor], Tensor],
    layer: Callable[[int, Tensor, Tensor, Stars], tuple[Tensor, ...]],
    num_layers: int,
    center: Tensor,
    message: Tensor,
    edges: SortedEdges,
    frames: OwnFrames,
) -> Tensor:
    """Run layers that pass on means over frames.

    Parameters
    ----------
    hear : function
        (k, m) -> what layer k reads of messages m, [E, h]: the same in all frames.
    layer : function
        (k, c, m, stars) -> tokens of the stars' atoms [k, h] and arms [t, h], and read-outs
        [k, 2h], of layer k, from c [k, h] and what it reads of messages, [t, h].
    num_layers : int
        How many there are.
    center, message : Tensor
        c of atoms [N, h] and m of edges [E, h] at first.
    edges : SortedEdges
        The edges.
    frames : OwnFrames
        K frames and their weights.

    Returns
    -------
    Tensor
        Read-outs of all layers, [K, 2h num_layers].
    """
    h = center.shape[1]
    chunks = frames.chunks(edges, center.dtype)

    def seen(k: int, stars: Stars, center: Tensor, heard: Tensor) -> tuple[Tensor, ...]:
        center = center.index_select(0, stars.atom)
        heard = heard.index_select(0, stars.edge)
        own, token, readout = layer(k, center, heard, stars)
        return (readout,) if k + 1 == num_layers else (readout, *stars.means(own, token))

    readouts = []
    for k in range(num_layers):
        heard = hear(k, message)  # (E, h)
        parts = []
        for stars in chunks:
            inputs = k, stars, center, heard
            if len(chunks) > 1 and torch.is_grad_enabled():
                part = checkpoint(seen, *inputs, use_reentrant=False, preserve_rng_state=False)
            else:
                part = seen(*inputs)
            parts.append(part)
        if not parts:  # no atom has a frame
            empty = center.new_zeros(0, 2 * h)
            parts = [(empty, torch.zeros_like(center), torch.zeros_like(message))]
        readouts.append(torch.cat([part[0] for part in parts]))  # (K, 2h)
        if k + 1 < num_layers:
            center = frames.with_rest(torch.cat([part[1] for part in parts]), 2 * k)
            token = torch.cat([part[2] for part in parts])
            token = frames.with_rest(token, 2 * k + 1, edges.target)
            message = 0.5 * (message + token.index_select(0, edges.reverse))
    return torch.cat(readouts, dim=1)
