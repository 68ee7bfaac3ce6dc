"""The equivariant transformer (TorchMD-Net ET: Thölke and De Fabritiis, ICLR 2022,
arXiv:2202.02541).

Every atom carries scalars x_i [d], which do not change when the structure turns, and vectors v_i
[3, d], which turn with it. A layer is attention over neighbors, with the distance in both keys and
values:

    a_ij = SiLU(Σ_head q_i k_j ∘ dk(r_ij))                       weight of neighbor j, one per head
    (y, s¹, s²)_ij = val_j ∘ dv(r_ij) · c(r_ij)                  what it says; c: cosine cutoff
    y_i = Σ_j a_ij y_ij            w_i = Σ_j v_j ∘ s¹_ij + s²_ij r̂_ij
    x_i ← x_i + (U₁v_i · U₂v_i) ∘ o²(y_i) + o³(y_i)              v_i ← v_i + o¹(y_i) ∘ U₃v_i + w_i

Vectors are only ever added, scaled by scalars and mixed across channels, so the network is exactly
equivariant. Atoms attend to themselves too (r = 0, r̂ = 0). Two departures from the released code:
the cutoff multiplies the values, so that *everything* a neighbor says fades out at r_c (its default
leaves the vectors uncut, and forces jump), and the centers of the basis are not trained.

With conditional=True this is CT, the conditional transformer: adaptive layer norm (adaln.py) in
every layer, on the scalars; the vectors are not modulated. With force_encoding=True atoms can be
told forces (force_encoding.py): degree 0 is added to their scalars before the first layer, degree 1
to their vectors after it, where vectors begin (a first layer that met vectors would cost a tenth of
a training step).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from scdlab.nn.blocks.adaln import drop_path as drawn_paths
from scdlab.nn.blocks.heads import MAX_Z, NoiseHead
from scdlab.nn.blocks.radial import ExpNormalBasis
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.ops.neighbor_sums import (
    DirectedEdges,
    attention_sum,
    cfconv,
    logits,
    vector_messages,
)


def _linear(d_in: int, d_out: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(d_in, d_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class NeighborEmbedding(nn.Module):
    """x_i ← linear([x_i, Σ_j W(r_ij) ∘ emb(z_j)]): who is around, before the first layer (eq.
    3)."""

    def __init__(self, num_rbf: int, d: int):
        super().__init__()
        self.embedding = nn.Embedding(MAX_Z + 1, d)
        self.filter = _linear(num_rbf, d)
        self.combine = _linear(2 * d, d)

    def forward(self, x: Tensor, z: Tensor, edges) -> Tensor:
        filters = edges.filters
        w = filters.once(
            self, lambda: filters.rows(self.filter(filters.basis))
        )  # (P, d), or as a table has rows
        heard = cfconv(w, self.embedding(z), edges.both, filters.cut)  # (N, d)
        return self.combine(torch.cat([x, heard], dim=-1))


def _part(layer: nn.Linear, k: int, x: Tensor, d: int) -> Tensor:
    """The k-th block of d outputs of a linear layer: a layer computes only the blocks that somebody
    asks for."""
    rows = slice(k * d, (k + 1) * d)
    return linear(x, layer.weight[rows], None if layer.bias is None else layer.bias[rows])


class Attention(nn.Module):
    """One layer: (x [N, d], v [N, 3, d] or None for zero) -> changes of both. modulation: scale,
    shift and gate of adaLN, [N, d] each.

    The rows of `value` and `dv` stand as (y, s¹, s²), of `u` as (U₁, U₂, U₃), of `o` as (o¹, o²,
    o³), d rows each. The first layer meets v = 0 and has no U.
    """

    def __init__(self, num_rbf: int, d: int, num_heads: int, first: bool = False):
        super().__init__()
        self.hidden_channels = d
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(d)
        self.q = _linear(d, d)
        self.k = _linear(d, d)
        self.value = _linear(d, 3 * d)
        self.dk = _linear(num_rbf, d)
        self.dv = _linear(num_rbf, 3 * d)
        self.u = None if first else _linear(d, 3 * d, bias=False)
        self.o = _linear(d, 3 * d)

    def forward(self, x: Tensor, v: Tensor | None, edges, vectors: bool = True, modulation=None):
        if modulation is None:
            return self.change(self.norm(x), v, edges, vectors)
        scale, shift, gate = modulation
        dx, dv = self.change(torch.addcmul(shift, scale, self.norm(x)), v, edges, vectors)
        return gate * dx, dv

    def change(
        self, x: Tensor, v: Tensor | None, edges, vectors: bool
    ) -> tuple[Tensor, Tensor | None]:
        d = self.hidden_channels
        filters = edges.filters

        def val(k):
            return _part(self.value, k, x, d)  # (N, d)

        def dv(k):
            # (P, n) -> (P, d), or rows of a table
            return filters.once(
                (self, k), lambda: filters.rows(silu(_part(self.dv, k, filters.basis, d)))
            )

        def dv_self(k):
            return filters.once(
                (self, k, 0), lambda: silu(_part(self.dv, k, edges.at_zero, d))
            )  # (1, d)

        def o(k):
            return _part(self.o, k, y, d)  # (N, d)

        def u(k):
            return _part(self.u, k, v, d)  # (N, 3, d)

        y = self.attention_sum(x, val(0), dv(0), dv_self(0), edges)  # (N, d)
        if v is None:
            return o(2), vector_messages(
                edges.r, dv(2), val(2), edges.both, filters.uncut
            ) if vectors else None
        dx = (u(0) * u(1)).sum(1) * o(1) + o(2)
        if not vectors:
            return dx, None
        told = v * val(1).unsqueeze(
            1
        )  # (N, 3, d): v_j ∘ val¹_j, formed per atom rather than per edge
        w = cfconv(dv(1), told, edges.both, filters.cut) + vector_messages(
            edges.r, dv(2), val(2), edges.both, filters.uncut
        )
        return dx, u(2) * o(0).unsqueeze(1) + w + told * dv_self(1)

    def attention_sum(self, x, val, dv, dv_self, edges) -> Tensor:
        """Σ_j a_ij y_ij over neighbors, and the atom itself: (N, d)."""
        filters = edges.filters
        q = self.q(x)  # (N, d)
        k = self.k(x)  # (N, d)
        dk = filters.once((self, "k"), lambda: filters.rows(silu(self.dk(filters.basis))))  # (P, d)
        dk_self = filters.once((self, "k", 0), lambda: silu(self.dk(edges.at_zero)))  # (1, d)
        a = silu(logits(q, k, dk, edges.both, filters.uncut)) * filters.envelope.unsqueeze(
            -1
        )  # (2, P, heads)
        a_self = silu(
            (q * k * dk_self).view(len(x), self.num_heads, -1).sum(-1, keepdim=True)
        )  # (N, heads, 1)
        own = a_self * (val * dv_self).view(len(x), self.num_heads, -1)  # (N, heads, d/heads)
        return attention_sum(a, dv, val, edges.both, filters.uncut) + own.view_as(val)


class _Edges:
    """What the layers read about the pairs: filters, the basis at r = 0 [1, n], c(r) r̂_ij [P,
    3]."""

    def __init__(self, basis, filters, r_ij, r, pairs, n, num_heads):
        self.both = DirectedEdges(pairs.i, pairs.j, n, num_heads)
        self.filters = filters
        self.at_zero = basis(r.new_zeros(1))
        self.r = r_ij * (filters.envelope / r).unsqueeze(-1)


class EquivariantTransformer(AtomisticModel):
    """The equivariant transformer with energies, forces as their gradient, and noise from a gated
    equivariant head.

    hidden: width d; layers: attention layers; heads: attention heads, a divisor of d; n_basis:
    radial functions; cutoff in Å; noise_head: whether there is one (without it, noise is the
    gradient of the energy); conditional: whether it takes a condition (CT), and has an embedding
    head to make one; drop_path: probability with which a structure skips a layer in training,
    scalars and vectors together. `model.drop_path` may be changed between runs. force_encoding:
    whether atoms can be told forces, for denoising off equilibrium.
    """

    has_vectors = True

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
    ):
        config = dict(
            hidden_channels=hidden_channels,
            num_layers=num_layers,
            num_heads=num_heads,
            num_rbf=num_rbf,
            cutoff=cutoff,
            noise_head=noise_head,
            conditional=conditional,
            drop_path=drop_path,
            force_input=force_input,
        )
        super().__init__(hidden_channels, cutoff, config)
        if (
            num_layers < 1
            or num_heads < 1
            or hidden_channels < num_heads
            or hidden_channels % num_heads
        ):
            raise ValueError(
                "EquivariantTransformer needs at least one layer, and hidden to be a multiple of "
                f"heads, not num_layers={num_layers}, hidden_channels={hidden_channels}, "
                f"num_heads={num_heads}."
            )
        if not 0 <= drop_path < 1:
            raise ValueError(
                f"drop_path is a probability from 0 to below 1, such as 0.1, not {drop_path}."
            )
        self.drop_path = drop_path
        self.basis = ExpNormalBasis(num_rbf, cutoff)
        self.embedding = nn.Embedding(MAX_Z + 1, hidden_channels)
        self.n_hops = num_layers + 1
        self.neighbor_embedding = NeighborEmbedding(num_rbf, hidden_channels)
        self.blocks = nn.ModuleList(
            Attention(num_rbf, hidden_channels, num_heads, first=k == 0) for k in range(num_layers)
        )
        self.out_norm = nn.LayerNorm(hidden_channels)
        self.noise_head = NoiseHead(hidden_channels) if noise_head else None
        if conditional:
            self._take_condition(num_layers)
        if force_input:
            self._take_clue(lmax=1)

    def represent(self, batch, pairs, condition=None, vectors=False, force_input=None) -> Features:
        r_ij = pairs.vectors(batch.pos, batch)  # (P, 3), r_j - r_i
        r = r_ij.norm(dim=-1)  # (P)
        edges = _Edges(
            self.basis, self.filters(r), r_ij, r, pairs, len(batch.z), self.config["num_heads"]
        )
        x = self.neighbor_embedding(self.embedding(batch.z), batch.z, edges)  # (N, d)
        v = None  # (N, 3, d), zero before the first layer
        if force_input is not None:
            x = x + force_input[0].squeeze(
                1
            )  # what is told of a force: its length here, the force itself with the vectors
        for k, block in enumerate(self.blocks):
            last = block is self.blocks[-1]
            modulation = (
                None if condition is None else self.adaln[k](condition, batch)
            )  # (N, d) each
            # nobody asks for the last vectors: not computed
            dx, dv = block(x, v, edges, vectors=vectors or not last, modulation=modulation)
            if self.training and self.drop_path:
                path = drawn_paths(batch, self.drop_path, x)  # (N, 1)
                dx = path * dx
                dv = None if dv is None else path.unsqueeze(1) * dv
            x = x + dx
            v = dv if v is None or dv is None else v + dv
            if k == 0 and force_input is not None and v is not None:
                v = v + force_input[1]
        return Features(self.out_norm(x), v if vectors else None, edges=edges.both)
