"""The equivariant transformer (TorchMD-Net ET: Thölke and De Fabritiis, ICLR 2022, arXiv:2202.02541).

Every atom carries scalars x_i [d], which do not change when the structure turns, and vectors v_i [3, d], which turn
with it. A layer is attention over neighbors, with the distance in both keys and values:

    a_ij = SiLU(Σ_head q_i k_j ∘ dk(r_ij))                       weight of neighbor j, one per head
    (y, s¹, s²)_ij = val_j ∘ dv(r_ij) · c(r_ij)                  what it says; c: cosine cutoff
    y_i = Σ_j a_ij y_ij            w_i = Σ_j v_j ∘ s¹_ij + s²_ij r̂_ij
    x_i ← x_i + (U₁v_i · U₂v_i) ∘ o²(y_i) + o³(y_i)              v_i ← v_i + o¹(y_i) ∘ U₃v_i + w_i

Vectors are only ever added, scaled by scalars and mixed across channels, so the network is exactly equivariant. Atoms
attend to themselves too (r = 0, r̂ = 0). Two departures from the released code: the cutoff multiplies the values, so
that *everything* a neighbor says fades out at r_c (its default leaves the vectors uncut, and forces jump), and the
centers of the basis are not trained.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from scdlab.nn.heads import MAX_Z, NoiseHead
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.pairwise import pair_sum
from scdlab.nn.radial import ExpNormalBasis, cosine_cutoff


def _linear(d_in: int, d_out: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(d_in, d_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class NeighborEmbedding(nn.Module):
    """x_i ← linear([x_i, Σ_j W(r_ij) ∘ emb(z_j)]): who is around, before the first layer (eq. 3)."""

    def __init__(self, n_basis: int, d: int):
        super().__init__()
        self.embedding = nn.Embedding(MAX_Z + 1, d)
        self.filter, self.combine = _linear(n_basis, d), _linear(2 * d, d)

    def forward(self, x: Tensor, z: Tensor, basis: Tensor, envelope: Tensor, pairs) -> Tensor:
        w = self.filter(basis) * envelope.unsqueeze(-1)  # (P, n) -> (P, d)
        return self.combine(torch.cat([x, pair_sum(w, self.embedding(z), pairs.i, pairs.j)], dim=-1))


class Attention(nn.Module):
    """One layer: (x [N, d], v [N, 3, d]) -> changes of both."""

    def __init__(self, n_basis: int, d: int, heads: int):
        super().__init__()
        self.d, self.heads = d, heads
        self.norm = nn.LayerNorm(d)
        self.q, self.k, self.val = _linear(d, d), _linear(d, d), _linear(d, 3 * d)
        self.dk, self.dv = _linear(n_basis, d), _linear(n_basis, 3 * d)
        self.u, self.o = _linear(d, 3 * d, bias=False), _linear(d, 3 * d)

    def forward(self, x: Tensor, v: Tensor, edges, vectors: bool = True) -> tuple[Tensor, Tensor | None]:
        n, head = len(x), self.d // self.heads
        x = self.norm(x)
        q, k, val = self.q(x), self.k(x), self.val(x)
        dk, dv = silu(self.dk(edges.basis)), silu(self.dv(edges.basis))  # (P + 1, d), (P + 1, 3d): last row r = 0
        dk, dv = dk.index_select(0, edges.row), dv.index_select(0, edges.row)  # one row an edge: (E, d), (E, 3d)
        a = (q.index_select(0, edges.to) * k.index_select(0, edges.of) * dk).view(-1, self.heads, head).sum(-1)
        says = (val.index_select(0, edges.of) * dv * edges.envelope.unsqueeze(-1)).view(-1, self.heads, 3 * head)
        y, s1, s2 = (part.reshape(-1, self.d) for part in says.split(head, dim=-1))
        y = (y.view(-1, self.heads, head) * silu(a).unsqueeze(-1)).view(-1, self.d)
        o1, o2, o3 = self.o(x.new_zeros(n, self.d).index_add(0, edges.to, y)).split(self.d, dim=-1)
        u1, u2, u3 = self.u(v).split(self.d, dim=-1)  # (N, 3, d) each
        dx = (u1 * u2).sum(1) * o2 + o3
        if not vectors:
            return dx, None
        w = v.index_select(0, edges.of) * s1.unsqueeze(1) + s2.unsqueeze(1) * edges.unit.unsqueeze(-1)
        return dx, u3 * o1.unsqueeze(1) + torch.zeros_like(v).index_add(0, edges.to, w)


class _Edges:
    """Directed edges from a half list, both ways and every atom to itself: to, of [E]; row [E] of the basis."""

    def __init__(self, basis_of, cutoff, r_ij, pairs, n):
        r = r_ij.norm(dim=-1)  # (P)
        atom, pair = torch.arange(n, device=r.device), torch.arange(len(r), device=r.device)
        self.pairs, self.pair_envelope = pairs, cosine_cutoff(r, cutoff)
        self.basis = basis_of(torch.cat([r, r.new_zeros(1)]))  # (P + 1, n_basis)
        self.to = torch.cat([pairs.i, pairs.j, atom])
        self.of = torch.cat([pairs.j, pairs.i, atom])
        self.row = torch.cat([pair, pair, torch.full_like(atom, len(r))])
        self.envelope = torch.cat([self.pair_envelope, self.pair_envelope, r.new_ones(n)])  # (E)
        unit = r_ij / r.unsqueeze(-1)
        self.unit = torch.cat([unit, -unit, r.new_zeros(n, 3)])  # (E, 3), from `to` towards `of`


class EquivariantTransformer(AtomisticModel):
    """The equivariant transformer with energies, forces as their gradient, and noise from a gated equivariant head.

    hidden: width d; layers: attention layers; heads: attention heads, a divisor of d; n_basis: radial functions; cutoff
    in Å; noise_head: whether there is one (without it, noise is the gradient of the energy).
    """

    has_vectors = True

    def __init__(
        self,
        hidden: int = 128,
        layers: int = 6,
        heads: int = 8,
        n_basis: int = 50,
        cutoff: float = 5.0,
        noise_head: bool = True,
    ):
        config = dict(hidden=hidden, layers=layers, heads=heads, n_basis=n_basis, cutoff=cutoff, noise_head=noise_head)
        super().__init__(hidden, cutoff, config)
        if layers < 1 or heads < 1 or hidden < heads or hidden % heads:
            raise ValueError("EquivariantTransformer needs at least one layer, and hidden to be a multiple of heads, "
                             f"not layers={layers}, hidden={hidden}, heads={heads}.")  # fmt: skip
        self.basis = ExpNormalBasis(n_basis, cutoff)
        self.embedding = nn.Embedding(MAX_Z + 1, hidden)
        self.neighbor_embedding = NeighborEmbedding(n_basis, hidden)
        self.blocks = nn.ModuleList(Attention(n_basis, hidden, heads) for _ in range(layers))
        self.out_norm = nn.LayerNorm(hidden)
        self.noise_head = NoiseHead(hidden) if noise_head else None

    def represent(self, batch, pairs, condition=None, vectors=False) -> Features:
        edges = _Edges(self.basis, self.cutoff, pairs.vectors(batch.pos, batch), pairs, len(batch.z))
        x = self.embedding(batch.z)  # (N, d)
        x = self.neighbor_embedding(x, batch.z, edges.basis[:-1], edges.pair_envelope, pairs)
        v = x.new_zeros(len(x), 3, self.d)  # (N, 3, d)
        for block in self.blocks:
            last = block is self.blocks[-1]
            dx, dv = block(x, v, edges, vectors=vectors or not last)  # nobody asks for the last vectors: not computed
            x, v = x + dx, v if dv is None else v + dv
        return Features(self.out_norm(x), v if vectors else None)
