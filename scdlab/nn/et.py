"""The equivariant transformer (TorchMD-Net ET: Thölke and De Fabritiis, ICLR 2022,
arXiv:2202.02541).

Every atom carries scalars x_i [d], which do not change when the structure rotates, and vectors v_i
[3, d], which rotate with it. A layer is attention over neighbors, with the distance in both keys
and values:

    a_ij = SiLU(Σ_head q_i k_j ∘ dk(r_ij))           weight of neighbor j, one per head
    (y, s¹, s²)_ij = val_j ∘ dv(r_ij) · c(r_ij)      its message; c: cosine cutoff
    y_i = Σ_j a_ij y_ij
    w_i = Σ_j v_j ∘ s¹_ij + s²_ij r̂_ij
    x_i ← x_i + (U₁v_i · U₂v_i) ∘ o²(y_i) + o³(y_i)
    v_i ← v_i + o¹(y_i) ∘ U₃v_i + w_i

Vectors are only ever added, scaled by scalars and mixed across channels, so the network is exactly
equivariant. Atoms attend to themselves too (r = 0, r̂ = 0). Two departures from the released code:
the cutoff multiplies the values, so that *all* of a message fades out at r_c (its default leaves
the vectors uncut, and forces jump), and the centers of the basis are not trained.

With conditional=True this is CT, the conditional transformer: adaptive layer norm (`blocks.adaln`)
in every layer, on the scalars; the vectors are not modulated. With force_input=True atoms can be
given forces (`blocks.force_encoding`): degree 0 is added to their scalars before the first layer,
degree 1 to their vectors after it, where vectors begin. A third departure: the released network for
DeNS adds all degrees before its first layer. Here a first layer that met vectors would cost 6 % of
a training step with 6 layers of width 128, and 9 % with 3 of width 64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.adaln import Modulate
from scdlab.nn.blocks.adaln import drop_path as drawn_paths
from scdlab.nn.blocks.heads import MAX_Z, GatedForceHead, NoiseHead
from scdlab.nn.blocks.linear import StackedLinear, xavier_linear
from scdlab.nn.blocks.radial import ExpNormalBasis
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.ops.filter_tables import Filters, NetworkFilters
from scdlab.nn.ops.linears import linears, silu_linears
from scdlab.nn.ops.neighbor_attention import neighbor_attention
from scdlab.nn.ops.neighbor_sums import DirectedEdges, cfconv, vector_messages
from scdlab.nn.ops.vector_update import vector_update


@dataclass(frozen=True)
class Neighbors:
    """What the layers read about the pairs: edges, filters W(r_ij), and c(r_ij) r̂_ij [P, 3]."""

    edges: DirectedEdges
    filters: Filters
    directions: Tensor


class NeighborEmbedding(nn.Module):
    """x_i ← linear([x_i, Σ_j W(r_ij) ∘ emb(z_j)]): the neighbors' elements (eq. 3).

    Parameters
    ----------
    num_rbf : int
        Number of radial functions.
    hidden_channels : int
        Width d.
    """

    def __init__(self, num_rbf: int, hidden_channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(MAX_Z + 1, hidden_channels)
        self.filter = xavier_linear(num_rbf, hidden_channels)
        self.combine = xavier_linear(2 * hidden_channels, hidden_channels)

    def forward(self, x: Tensor, z: Tensor, neighbors: Neighbors) -> Tensor:
        """Scalars [N, d] of the first layer, from x [N, d] and atomic numbers z [N]."""
        filters = neighbors.filters(self.filter)  # (P, d)
        around = cfconv(self.embedding(z), filters, neighbors.edges)  # (N, d)
        return self.combine(torch.cat([x, around], dim=-1))  # (N, d)


class Attention(nn.Module):
    """One layer: the changes of scalars and vectors.

    Parameters
    ----------
    num_rbf : int
        Number of radial functions.
    hidden_channels : int
        Width d.
    first : bool, default False
        Whether this is the first layer, which meets v = 0 and has no U.
    """

    def __init__(self, num_rbf: int, hidden_channels: int, first: bool = False) -> None:
        super().__init__()
        d = hidden_channels
        self.norm = nn.LayerNorm(d)
        self.q = xavier_linear(d, d)
        self.k = xavier_linear(d, d)
        self.value = StackedLinear(d, d, ("y", "s1", "s2"))
        self.dk = xavier_linear(num_rbf, d)
        self.dv = StackedLinear(num_rbf, d, ("y", "s1", "s2"))
        self.u = None if first else StackedLinear(d, d, ("U1", "U2", "U3"), bias=False)
        self.o = StackedLinear(d, d, ("o1", "o2", "o3"))

    def forward(
        self,
        x: Tensor,
        v: Tensor | None,
        neighbors: Neighbors,
        vectors: bool = True,
        modulate: Modulate | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The changes of x and v.

        Parameters
        ----------
        x : Tensor
            Scalars, [N, d].
        v : Tensor or None
            Vectors, [N, 3, d]; None for zero, in the first layer.
        neighbors : Neighbors
            Edges, filters and directions.
        vectors : bool, default True
            Whether the change of the vectors is needed.
        modulate : function or None, default None
            adaLN: normalized scalars [N, d] -> scale, shift and gate, [N, d] each.

        Returns
        -------
        dx : Tensor
            Change of the scalars, [N, d].
        dv : Tensor or None
            Change of the vectors, [N, 3, d]; None where it is not needed.
        """
        h = self.norm(x)  # (N, d)
        if modulate is None:
            return self.changes(h, v, neighbors, vectors)
        scale, shift, gate = modulate(h)
        dx, dv = self.changes(torch.addcmul(shift, scale, h), v, neighbors, vectors)
        return gate * dx, dv

    def changes(
        self, x: Tensor, v: Tensor | None, neighbors: Neighbors, vectors: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The changes of x and v, from normalized scalars: as `forward`."""
        edges = neighbors.edges
        directions = neighbors.directions
        parts = ("y",)
        if vectors:
            parts = ("y", "s2") if v is None or self.u is None else ("y", "s1", "s2")
        layers = [(self.q.weight, self.q.bias), (self.k.weight, self.k.bias)]
        q, k, *values = linears(x, layers + self.value.layers(*parts), edges)  # (N, d) each
        value = dict(zip(parts, values, strict=True))
        dk, dv = self.filters(neighbors, parts)
        y = neighbor_attention(
            q,
            k,
            value["y"],
            dk.without_cutoff,
            dv["y"].without_cutoff,
            dk.at_zero,
            dv["y"].at_zero,
            neighbors.filters.envelope,
            edges,
        )  # (N, d)
        if v is None or self.u is None:
            (dx,) = linears(y, self.o.layers("o3"), edges)  # (N, d)
            if not vectors:
                return dx, None
            return dx, vector_messages(value["s2"], dv["s2"].without_cutoff, directions, edges)
        if not vectors:
            u1, u2 = linears(v, self.u.layers("U1", "U2"), edges)  # (N, 3, d) each
            o2, o3 = linears(y, self.o.layers("o2", "o3"), edges)  # (N, d) each
            return (u1 * u2).sum(1) * o2 + o3, None
        u1, u2, u3 = linears(v, self.u.layers("U1", "U2", "U3"), edges)  # (N, 3, d) each
        o1, o2, o3 = linears(y, self.o.layers("o1", "o2", "o3"), edges)  # (N, d) each
        return vector_update(
            v,
            value["s1"],
            value["s2"],
            u1,
            u2,
            u3,
            o1,
            o2,
            o3,
            dv["s1"].with_cutoff,
            dv["s2"].without_cutoff,
            dv["s1"].at_zero,
            directions,
            edges,
        )

    def filters(
        self, neighbors: Neighbors, parts: tuple[str, ...]
    ) -> tuple[NetworkFilters, dict[str, NetworkFilters]]:
        """The filters dk, and those of parts of dv.

        Tables that two passes share have the edges of the first. Its purpose leaves out gradients
        by the basis alone, and on the grid of a table these are of nothing.
        """
        layers = [(self.dk.weight, self.dk.bias), *self.dv.layers(*parts)]

        def networks(basis: Tensor, which: Sequence[int]) -> Sequence[Tensor]:
            return silu_linears(basis, [layers[k] for k in which], neighbors.edges)

        keys = [(self, part) for part in ("dk", *parts)]
        dk, *dv = neighbors.filters.together(networks, keys)
        return dk, dict(zip(parts, dv, strict=True))


class EquivariantTransformer(AtomisticModel):
    """The equivariant transformer: energies, forces as their gradient or from a head of their own,
    and noise from a gated equivariant head.

    Parameters
    ----------
    hidden_channels : int, default 128
        Width d of scalars and vectors.
    num_layers : int, default 6
        Attention layers.
    num_heads : int, default 8
        Attention heads, a divisor of `hidden_channels`. On a processor attention is fastest where
        each head has a multiple of eight channels.
    num_rbf : int, default 50
        Radial functions.
    cutoff : float, default 5.0
        Distance in Å within which atoms are neighbors.
    noise_head : bool, default True
        Whether there is a head for noise; without it, noise is the gradient of the energy.
    conditional : bool, default False
        Whether the model takes a condition (CT), and has an embedding head to make one.
    drop_path : float, default 0.0
        Probability with which a structure skips a layer in training, scalars and vectors together.
        The attribute `drop_path` may be changed between runs.
    force_input : bool, default False
        Whether atoms can be given forces, for denoising off equilibrium.
    direct_forces : bool, default False
        Whether forces come from a gated equivariant head of their own and not from the gradient of
        the energy: they rotate with the structure, and are the gradient of nothing.

    Raises
    ------
    ValueError
        For numbers that make no network, and a probability outside [0, 1).

    References
    ----------
    Thölke and De Fabritiis, "TorchMD-NET: Equivariant transformers for neural network based
    molecular potentials", ICLR 2022, arXiv:2202.02541.
    """

    has_vectors = True
    has_drop_path = True
    takes_all_pairs = True

    def __init__(
        self,
        hidden_channels: int = 128,
        num_layers: int = 6,
        num_heads: int = 8,
        num_rbf: int = 50,
        cutoff: float = 5.0,
        noise_head: bool = True,
        conditional: bool = False,
        drop_path: float = 0.0,
        force_input: bool = False,
        direct_forces: bool = False,
    ) -> None:
        super().__init__(hidden_channels, cutoff)
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}.")
        if num_heads < 1 or hidden_channels < 1 or hidden_channels % num_heads:
            raise ValueError(
                "hidden_channels must be a multiple of num_heads, got "
                f"hidden_channels={hidden_channels} and num_heads={num_heads}."
            )
        if not 0 <= drop_path < 1:
            raise ValueError(
                f"drop_path must be a probability from 0 to below 1, such as 0.1, got {drop_path}."
            )
        self.drop_path = drop_path
        self.num_heads = num_heads
        self.basis = ExpNormalBasis(num_rbf, cutoff)
        self.embedding = nn.Embedding(MAX_Z + 1, hidden_channels)
        self.n_hops = num_layers + 1
        self.neighbor_embedding = NeighborEmbedding(num_rbf, hidden_channels)
        self.blocks = nn.ModuleList(
            Attention(num_rbf, hidden_channels, first=k == 0) for k in range(num_layers)
        )
        self.out_norm = nn.LayerNorm(hidden_channels)
        self.noise_head = NoiseHead(hidden_channels) if noise_head else None
        if conditional:
            self.make_conditional(num_layers)
        if force_input:
            self.make_force_input(lmax=1)
        # drawn last, so that all other weights are those of a seed without it
        self.force_head = GatedForceHead(hidden_channels) if direct_forces else None

    def represent(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None = None,
        vectors: bool = False,
        force_input: list[Tensor] | None = None,
    ) -> Features:
        """Scalars [N, d] and, where they are needed, vectors [N, 3, d] of the atoms."""
        r_ij = pairs.vectors(batch.pos, batch)  # (P, 3), r_j - r_i
        r = r_ij.norm(dim=-1)  # (P)
        filters = self.filters(r)
        edges = DirectedEdges(pairs, len(batch.z), self.num_heads)
        directions = r_ij * (filters.envelope / r).unsqueeze(-1)  # (P, 3)
        neighbors = Neighbors(edges, filters, directions)
        x = self.neighbor_embedding(self.embedding(batch.z), batch.z, neighbors)  # (N, d)
        v = None  # (N, 3, d), zero before the first layer
        if force_input is not None:
            x = x + force_input[0].squeeze(1)  # the length of a force; its vector follows below
        for k, block in enumerate(self.blocks):
            modulate = self.modulation(k, condition, batch)
            # the last layer computes vectors only on request
            needed = vectors or block is not self.blocks[-1]
            dx, dv = block(x, v, neighbors, needed, modulate)
            if self.training and self.drop_path:
                path = drawn_paths(batch, self.drop_path, x)  # (N, 1)
                dx = path * dx
                dv = None if dv is None else path.unsqueeze(1) * dv
            x = x + dx
            v = dv if v is None or dv is None else v + dv
            if k == 0 and force_input is not None and v is not None:
                v = v + force_input[1]
        return Features(self.out_norm(x), v if vectors else None, edges=edges)
