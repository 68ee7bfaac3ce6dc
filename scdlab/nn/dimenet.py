"""DimeNet++: messages that know the angle between bonds (Gasteiger, Groß, Günnemann, "Directional
message passing", ICLR 2020, arXiv:2003.03123; Gasteiger et al., arXiv:2011.14115).

Features live on directed edges j→i, not on atoms. A message listens to the messages that arrive at
its start, each through a filter of how far that neighbor is and at which angle it stands:

    m_ji ← m_ji + block(m_ji, Σ_{k ≠ i} m_kj ∘ W a(r_kj, α_kji))           a: spherical Bessel
    basis, scdlab.nn.blocks.bessel x_i  = Σ_blocks MLP(Σ_j m_ji ∘ W' e(r_ji))
    e: radial Bessel basis

so distances and angles are enough to tell apart structures that distances within a cutoff cannot.
`k ≠ i` means the reversed edge: another periodic image of atom i counts.

How the sum over triplets k→j→i is done here. It separates into a part of the edge k→j alone and a
part of the angle, a = Σ_l R_l(r_kj) Y_l(α_kji). Give the D edges of atom j numbered slots s = 1 …
D: slot s is both the incoming edge from neighbor s and the outgoing edge to it. Then for every atom

    out_s = Σ_l Σ_t Y_l(û_s · û_t) (m ∘ R_l W_l)_t,       t ≠ s: the diagonal is zero

is n_spherical products of matrices [D, D] @ [D, features], where a list of triplets would gather
and add rows. The angular matrices Y_l are the same in all blocks.

Vectors: v_i = Σ_j f(m_ji) ∘ e(r_ji) r̂_ij turns with the structure. It feeds the noise head and
vector properties.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from scdlab.nn.blocks.bessel import BesselBasis, SphericalBesselBasis, zonal_harmonics
from scdlab.nn.blocks.heads import MAX_Z, NoiseHead
from scdlab.nn.model import AtomisticModel, Features


def glorot_orthogonal_(weight: Tensor, scale: float = 2.0) -> Tensor:
    """Orthogonal rows, rescaled to the variance scale / (fan_in + fan_out) (released DimeNet)."""
    nn.init.orthogonal_(weight)
    with torch.no_grad():
        return weight.mul_(
            (scale / (sum(weight.shape) * weight.var(correction=0).clamp(min=1e-12))).sqrt()
        )


def _linear(d_in: int, d_out: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(d_in, d_out, bias=bias)
    glorot_orthogonal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class Edges:
    """Directed edges of a half list, and the slots that hold the edges of each atom side by side.

    Edge e < P is pair e from j to i, edge e + P the same pair from i to j. to, of [E]: the edge
    brings what `of` says to `to`; reverse [E]. Atom a has the slots a·D … a·D + D - 1; those beyond
    its number of edges are empty.
    """

    def __init__(self, i: Tensor, j: Tensor, n: int):
        p = len(i)
        self.n = n
        self.to = torch.cat([i, j])
        self.of = torch.cat([j, i])
        number = torch.arange(2 * p, device=i.device)
        self.reverse = torch.cat([number[p:], number[:p]])
        order = torch.argsort(self.to, stable=True)
        degree = torch.zeros(n, dtype=torch.long, device=i.device).index_add_(
            0, self.to, torch.ones_like(self.to)
        )
        self.width = max(int(degree.max()), 1) if n else 1  # D
        to = self.to.index_select(0, order)
        rank = number - (degree.cumsum(0) - degree).index_select(
            0, to
        )  # of an edge among those of its atom
        self.slot = torch.empty_like(number).index_copy_(
            0, order, to * self.width + rank
        )  # (E): where edge e arrives
        self.edge = torch.full(
            (n * self.width,), 2 * p, device=i.device
        )  # (N·D): which edge is there; E: none
        self.edge.index_copy_(0, self.slot, number)
        self.pair = torch.where(
            self.edge >= p, self.edge - p, self.edge
        )  # (N·D): its pair; P: none
        self.leaving = self.slot.index_select(
            0, self.reverse
        )  # (E): slot of edge e at the atom it leaves

    def spread(self, x: Tensor, index: Tensor) -> Tensor:
        """Rows of x into slots, zeros where a slot is empty; index: self.edge for [E, …], self.pair
        for [P, …]."""
        return torch.cat([x, x.new_zeros(1, *x.shape[1:])]).index_select(0, index)


class _Geometry:
    """What all blocks read: bases of the pairs and the angular matrices of the atoms."""

    def __init__(self, model, r_ij: Tensor, edges: Edges):
        n = edges.n
        d = edges.width
        r = r_ij.norm(dim=-1)  # (P)
        self.edges = edges
        self.rbf = model.rbf(r)  # (P, n_radial)
        self.radial = [
            edges.spread(a, edges.pair) for a in model.sbf(r).unbind(1)
        ]  # l times (N·D, n_radial)
        unit = r_ij / r.unsqueeze(-1)
        unit = edges.spread(
            torch.cat([unit, -unit]), edges.edge
        )  # (N·D, 3): from the slot's atom to its neighbor
        self.unit = unit.view(n, d, 3)
        cos = self.unit @ self.unit.transpose(1, 2)  # (N, D, D)
        other = 1 - torch.eye(d, dtype=cos.dtype, device=cos.device)  # not the reversed edge
        self.angular = [
            y * other for y in zonal_harmonics(cos, len(self.radial))
        ]  # l times (N, D, D)

    def both(self, x: Tensor) -> Tensor:
        """One row a pair -> one row an edge."""
        return torch.cat([x, x])


class EmbeddingBlock(nn.Module):
    """The first messages: m_ji = act(W [x_j, x_i, act(W' e(r_ji))]); the three parts of W act on
    atoms and pairs."""

    def __init__(self, num_rbf: int, d: int):
        super().__init__()
        self.embedding = nn.Embedding(MAX_Z + 1, d)
        nn.init.uniform_(self.embedding.weight, -(3**0.5), 3**0.5)
        self.rbf = nn.Linear(num_rbf, d)
        self.combine = nn.Linear(3 * d, d)

    def forward(self, z: Tensor, geometry: _Geometry) -> Tensor:
        x = self.embedding(z)
        edges = geometry.edges  # (N, d)
        to, of, pair = self.combine.weight.chunk(3, dim=1)  # (d, d) each
        pair = torch.addmm(self.combine.bias, silu(self.rbf(geometry.rbf)), pair.T)  # (P, d)
        m = (x @ to.T).index_select(0, edges.to) + (x @ of.T).index_select(0, edges.of)
        return silu(m + geometry.both(pair))  # (E, d)


class Residual(nn.Module):
    """x + act(W act(W' x))."""

    def __init__(self, d: int):
        super().__init__()
        self.lin1 = _linear(d, d)
        self.lin2 = _linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        return x + silu(self.lin2(silu(self.lin1(x))))


class InteractionBlock(nn.Module):
    """A message listens to those that arrive at its start: m [E, d] -> [E, d]."""

    def __init__(
        self, d: int, int_emb_size: int, basis_emb_size: int, num_spherical: int, num_rbf: int
    ):
        super().__init__()
        self.rbf1 = _linear(num_rbf, basis_emb_size, bias=False)
        self.rbf2 = _linear(basis_emb_size, d, bias=False)
        self.sbf1 = _linear(num_spherical * num_rbf, basis_emb_size, bias=False)
        self.sbf2 = _linear(basis_emb_size, int_emb_size, bias=False)
        self.kj = _linear(d, d)
        self.ji = _linear(d, d)
        self.down = _linear(d, int_emb_size, bias=False)
        self.up = _linear(int_emb_size, d, bias=False)
        self.before = Residual(d)
        self.lin = _linear(d, d)
        self.after = nn.Sequential(Residual(d), Residual(d))

    def listen(self, m: Tensor, geometry: _Geometry) -> Tensor:
        """Σ_{k ≠ i} m_kj ∘ W a(r_kj, α_kji): [E, int_emb] -> [E, int_emb]."""
        edges = geometry.edges
        w = (self.sbf2.weight @ self.sbf1.weight).view(
            -1, len(geometry.angular), self.rbf1.in_features
        )
        m = edges.spread(m, edges.edge)  # (N·D, int_emb)
        out = m.new_zeros(())
        for y, radial, w_l in zip(
            geometry.angular, geometry.radial, w.unbind(1), strict=True
        ):  # each l by itself
            said = (m * (radial @ w_l.T)).view(
                edges.n, edges.width, -1
            )  # the filter is zero in empty slots
            out = torch.baddbmm(out, y, said)  # (N, D, D) @ (N, D, int_emb)
        return out.flatten(0, 1).index_select(0, edges.leaving)

    def forward(self, m: Tensor, geometry: _Geometry) -> Tensor:
        rbf = geometry.both(self.rbf2(self.rbf1(geometry.rbf)))  # (E, d)
        heard = self.listen(silu(self.down(silu(self.kj(m)) * rbf)), geometry)
        h = self.before(silu(self.ji(m)) + silu(self.up(heard)))
        return self.after(silu(self.lin(h)) + m)


class OutputBlock(nn.Module):
    """What the messages tell their atoms: m [E, d] -> [N, d]."""

    def __init__(self, num_rbf: int, d: int, out_emb_channels: int):
        super().__init__()
        self.rbf = _linear(num_rbf, d, bias=False)
        self.up = _linear(d, out_emb_channels, bias=False)
        self.layers = nn.ModuleList(_linear(out_emb_channels, out_emb_channels) for _ in range(3))
        self.out = _linear(out_emb_channels, d, bias=False)

    def forward(self, m: Tensor, geometry: _Geometry) -> Tensor:
        edges = geometry.edges
        m = m * geometry.both(self.rbf(geometry.rbf))  # (E, d)
        x = self.up(m.new_zeros(edges.n, m.shape[1]).index_add(0, edges.to, m))  # (N, out_emb)
        for layer in self.layers:
            x = silu(layer(x))
        return self.out(x)


class VectorBlock(nn.Module):
    """v_i = Σ_j (W m_ji ∘ W' e(r_ji)) r̂_ij: m [E, d] -> [N, 3, d]. W starts small: no noise is the
    first guess."""

    def __init__(self, num_rbf: int, d: int):
        super().__init__()
        self.rbf = _linear(num_rbf, d, bias=False)
        self.lin = nn.Linear(d, d, bias=False)
        nn.init.normal_(
            self.lin.weight, std=0.01 / d**0.5
        )  # not zero, where the length of a vector has no slope

    def forward(self, m: Tensor, geometry: _Geometry) -> Tensor:
        edges = geometry.edges
        f = self.lin(m) * geometry.both(self.rbf(geometry.rbf))  # (E, d)
        f = edges.spread(f, edges.edge).view(edges.n, edges.width, -1)  # (N, D, d)
        return geometry.unit.transpose(1, 2) @ f


class DimeNet(AtomisticModel):
    """DimeNet++ with energies, forces as their gradient, and vectors along its edges.

    hidden: width d of messages and features; layers: interaction blocks; int_emb: width in which
    messages meet their filters; basis_emb: width through which the basis passes; out_emb: width of
    the output blocks; n_spherical, n_radial: degrees l and roots n of the basis; cutoff in Å;
    noise_head: whether there is one (without it, noise is the gradient of the energy).
    """

    has_vectors = True

    def __init__(
        self,
        hidden_channels: int = 128,
        num_layers: int = 4,
        int_emb_size: int = 64,
        basis_emb_size: int = 8,
        out_emb_channels: int = 256,
        num_spherical: int = 7,
        num_rbf: int = 6,
        cutoff: float = 5.0,
        noise_head: bool = True,
    ):
        super().__init__(hidden_channels, cutoff)
        sizes = dict(
            hidden_channels=hidden_channels,
            num_layers=num_layers,
            int_emb_size=int_emb_size,
            basis_emb_size=basis_emb_size,
            out_emb_channels=out_emb_channels,
            num_spherical=num_spherical,
            num_rbf=num_rbf,
        )
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}.")
        self.rbf = BesselBasis(num_rbf, self.cutoff)
        self.sbf = SphericalBesselBasis(num_spherical, num_rbf, self.cutoff)
        self.embed = EmbeddingBlock(num_rbf, hidden_channels)
        self.blocks = nn.ModuleList(
            InteractionBlock(hidden_channels, int_emb_size, basis_emb_size, num_spherical, num_rbf)
            for _ in range(num_layers)
        )
        self.n_hops = num_layers + 1
        self.outputs = nn.ModuleList(
            OutputBlock(num_rbf, hidden_channels, out_emb_channels) for _ in range(num_layers + 1)
        )
        self.vectors = VectorBlock(num_rbf, hidden_channels)
        self.noise_head = NoiseHead(hidden_channels) if noise_head else None

    def represent(self, batch, pairs, condition=None, vectors=False) -> Features:
        edges = Edges(pairs.i, pairs.j, len(batch.z))
        geometry = _Geometry(self, pairs.vectors(batch.pos, batch), edges)
        m = self.embed(batch.z, geometry)  # (E, d)
        x = self.outputs[0](m, geometry)  # (N, d)
        for block, output in zip(self.blocks, self.outputs[1:], strict=True):
            m = block(m, geometry)
            x = x + output(m, geometry)
        return Features(x, self.vectors(m, geometry) if vectors else None)
