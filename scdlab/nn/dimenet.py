"""DimeNet++: messages that know the angle between bonds (Gasteiger, Groß, Günnemann, "Directional
message passing", ICLR 2020, arXiv:2003.03123; Gasteiger et al., arXiv:2011.14115).

Features live on directed edges j→i, not on atoms. A message receives the messages that arrive at
its source, each through a filter of how far that neighbor is and at which angle it stands:

    m_ji ← m_ji + block(m_ji, Σ_{k ≠ i} m_kj ∘ W a(r_kj, α_kji))
    x_i  = Σ_blocks MLP(Σ_j m_ji ∘ W' e(r_ji))

    a: spherical Bessel basis, e: radial Bessel basis (`blocks.bessel`)

so distances and angles are enough to tell apart structures that distances within a cutoff cannot.
`k ≠ i` means the reversed edge: another periodic image of atom i counts.

How the sum over triplets k→j→i is done here. It separates into a part of the edge k→j alone and a
part of the angle, a = Σ_l R_l(r_kj) Y_l(α_kji). Give the D edges of atom j numbered slots s = 1 …
D: slot s is both the incoming edge from neighbor s and the outgoing edge to it. Then for every atom

    out_s = Σ_l Σ_t Y_l(û_s · û_t) (m ∘ R_l W_l)_t,       t ≠ s: the diagonal is zero

is num_spherical products of matrices [D, D] @ [D, features], where a list of triplets would gather
and add rows. The angular matrices Y_l are the same in all blocks.

Vectors: v_i = Σ_j f(m_ji) ∘ e(r_ji) r̂_ij rotates with the structure. It feeds the noise head and
vector properties.
"""

import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import DirectedPairs, Pairs
from scdlab.nn.blocks.bessel import BesselBasis, SphericalBesselBasis, zonal_harmonics
from scdlab.nn.blocks.heads import MAX_Z, NoiseHead
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.ops.activations import silu


def glorot_orthogonal_(weight: Tensor, scale: float = 2.0) -> Tensor:
    """Fill a matrix with orthogonal rows of variance scale / (fan_in + fan_out), in place.

    Parameters
    ----------
    weight : Tensor
        The matrix, [d_out, d_in].
    scale : float, default 2.0
        Variance of the entries times the sum of their fans.

    Returns
    -------
    Tensor
        The matrix, drawn as the released DimeNet draws it.
    """
    nn.init.orthogonal_(weight)
    with torch.no_grad():
        variance = weight.var(correction=0).clamp(min=1e-12)
        return weight.mul_((scale / (sum(weight.shape) * variance)).sqrt())


def _linear(d_in: int, d_out: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(d_in, d_out, bias=bias)
    glorot_orthogonal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class EdgeSlots:
    """Slots that hold the edges of each atom side by side.

    Atom a has the slots a·D … a·D + D - 1; those beyond its number of edges are empty.

    Parameters
    ----------
    edges : DirectedPairs
        Both directions of the P pairs: E = 2P edges.
    n_atoms : int
        Number of atoms N.

    Attributes
    ----------
    width : int
        The largest number of edges of an atom, D.
    arriving : Tensor
        The slot of each edge at its target, [E].
    leaving : Tensor
        The slot of each edge at its source, [E].
    edge : Tensor
        The edge in each slot, [N·D]; E where it is empty.
    pair : Tensor
        The pair in each slot, [N·D]; P where it is empty.
    """

    def __init__(self, edges: DirectedPairs, n_atoms: int) -> None:
        n_edges = len(edges)
        n_pairs = n_edges // 2
        device = edges.target.device
        number = torch.arange(n_edges, device=device)
        self.target = edges.target
        self.source = edges.source
        self.n_atoms = n_atoms
        order = torch.argsort(edges.target, stable=True)
        degree = torch.zeros(n_atoms, dtype=torch.long, device=device)
        degree = degree.index_add_(0, edges.target, torch.ones_like(edges.target))
        self.width = max(int(degree.max()), 1) if n_atoms else 1
        target = edges.target.index_select(0, order)
        first = (degree.cumsum(0) - degree).index_select(0, target)  # edge of the same atom
        slot = target * self.width + number - first
        self.arriving = torch.empty_like(number).index_copy_(0, order, slot)
        self.leaving = self.arriving.index_select(0, edges.reverse)
        self.edge = torch.full((n_atoms * self.width,), n_edges, device=device)
        self.edge.index_copy_(0, self.arriving, number)
        self.pair = torch.where(self.edge >= n_pairs, self.edge - n_pairs, self.edge)

    def fill(self, x: Tensor, index: Tensor) -> Tensor:
        """Put rows into slots, and zeros where a slot is empty.

        Parameters
        ----------
        x : Tensor
            Rows of the edges, [E, …], or of the pairs, [P, …].
        index : Tensor
            The row in each slot: `edge` or `pair`.

        Returns
        -------
        Tensor
            [N·D, …].
        """
        return torch.cat([x, x.new_zeros(1, *x.shape[1:])]).index_select(0, index)


class Geometry:
    """What all blocks read: bases of the pairs, and the angular matrices of the atoms.

    Parameters
    ----------
    model : DimeNet
        The network, whose bases are evaluated.
    r_ij : Tensor
        Vectors of the pairs, [P, 3] Å.
    edges : DirectedPairs
        Both directions of the pairs.
    n_atoms : int
        Number of atoms N.
    """

    def __init__(self, model: "DimeNet", r_ij: Tensor, edges: DirectedPairs, n_atoms: int) -> None:
        slots = EdgeSlots(edges, n_atoms)
        r = r_ij.norm(dim=-1)  # (P)
        self.edges = edges
        self.slots = slots
        self.rbf = model.rbf(r)  # (P, n)
        # l times (N·D, n)
        self.radial = [slots.fill(a, slots.pair) for a in model.sbf(r).unbind(1)]
        # (N, D, 3): from the slot's atom to its neighbor
        unit = edges.both_signed(r_ij / r.unsqueeze(-1))
        self.unit = slots.fill(unit, slots.edge).view(n_atoms, slots.width, 3)
        cos = self.unit @ self.unit.transpose(1, 2)  # (N, D, D)
        other = 1 - torch.eye(slots.width, dtype=cos.dtype, device=cos.device)  # not the reverse
        # l times (N, D, D)
        self.angular = [y * other for y in zonal_harmonics(cos, len(self.radial))]


class EmbeddingBlock(nn.Module):
    """The first messages: m_ji = act(W [x_j, x_i, act(W' e(r_ji))]).

    The three parts of W act on atoms and pairs.

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
        nn.init.uniform_(self.embedding.weight, -(3**0.5), 3**0.5)
        self.rbf = nn.Linear(num_rbf, hidden_channels)
        self.combine = nn.Linear(3 * hidden_channels, hidden_channels)

    def forward(self, z: Tensor, geometry: Geometry) -> Tensor:
        """The first messages, [E, d], of atoms with numbers z [N]."""
        edges = geometry.edges
        x = self.embedding(z)  # (N, d)
        to_target, to_source, to_pair = self.combine.weight.chunk(3, dim=1)  # (d, d) each
        pair = silu(self.rbf(geometry.rbf))  # (P, d)
        pair = torch.addmm(self.combine.bias, pair, to_pair.T)  # (P, d)
        m = (x @ to_target.T).index_select(0, edges.target)  # (E, d)
        m = m + (x @ to_source.T).index_select(0, edges.source)
        return silu(m + edges.both(pair))  # (E, d)


class Residual(nn.Module):
    """x + act(W act(W' x)).

    Parameters
    ----------
    d : int
        Width of x.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.lin1 = _linear(d, d)
        self.lin2 = _linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        """x [E, d] with its change."""
        return x + silu(self.lin2(silu(self.lin1(x))))


class InteractionBlock(nn.Module):
    """A message receives those that arrive at its source: m [E, d] -> [E, d].

    Parameters
    ----------
    hidden_channels : int
        Width d of messages.
    int_emb_size : int
        Width in which messages meet their filters.
    basis_emb_size : int
        Width through which the basis passes.
    num_spherical, num_rbf : int
        Degrees l and roots n of the basis.
    """

    def __init__(
        self,
        hidden_channels: int,
        int_emb_size: int,
        basis_emb_size: int,
        num_spherical: int,
        num_rbf: int,
    ) -> None:
        super().__init__()
        d = hidden_channels
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

    def directional(self, m: Tensor, geometry: Geometry) -> Tensor:
        """The sum over triplets, Σ_{k ≠ i} m_kj ∘ W a(r_kj, α_kji).

        Parameters
        ----------
        m : Tensor
            Messages m_kj, [E, int_emb].
        geometry : Geometry
            Bases and angles.

        Returns
        -------
        Tensor
            A row for each edge j→i, [E, int_emb].
        """
        slots = geometry.slots
        weight = self.sbf2.weight @ self.sbf1.weight  # (int_emb, l · n)
        weight = weight.view(-1, len(geometry.angular), self.rbf1.in_features)
        m = slots.fill(m, slots.edge)  # (N·D, int_emb)
        out = m.new_zeros(())
        degrees = zip(geometry.angular, geometry.radial, weight.unbind(1), strict=True)
        for y, radial, w in degrees:
            filtered = m * (radial @ w.T)  # (N·D, int_emb); the filter is zero in empty slots
            filtered = filtered.view(slots.n_atoms, slots.width, -1)
            out = torch.baddbmm(out, y, filtered)  # (N, D, D) @ (N, D, int_emb)
        return out.flatten(0, 1).index_select(0, slots.leaving)

    def forward(self, m: Tensor, geometry: Geometry) -> Tensor:
        """The next messages, [E, d], from messages m [E, d]."""
        rbf = geometry.edges.both(self.rbf2(self.rbf1(geometry.rbf)))  # (E, d)
        arriving = silu(self.down(silu(self.kj(m)) * rbf))  # (E, int_emb)
        arriving = self.directional(arriving, geometry)
        h = self.before(silu(self.ji(m)) + silu(self.up(arriving)))  # (E, d)
        return self.after(silu(self.lin(h)) + m)


class OutputBlock(nn.Module):
    """The atoms' sums of their messages: m [E, d] -> [N, d].

    Parameters
    ----------
    num_rbf : int
        Number of radial functions.
    hidden_channels : int
        Width d.
    out_emb_channels : int
        Width of the layers.
    """

    def __init__(self, num_rbf: int, hidden_channels: int, out_emb_channels: int) -> None:
        super().__init__()
        self.rbf = _linear(num_rbf, hidden_channels, bias=False)
        self.up = _linear(hidden_channels, out_emb_channels, bias=False)
        self.layers = nn.ModuleList(_linear(out_emb_channels, out_emb_channels) for _ in range(3))
        self.out = _linear(out_emb_channels, hidden_channels, bias=False)

    def forward(self, m: Tensor, geometry: Geometry) -> Tensor:
        """Features [N, d] from messages m [E, d]."""
        edges = geometry.edges
        m = m * edges.both(self.rbf(geometry.rbf))  # (E, d)
        x = m.new_zeros(geometry.slots.n_atoms, m.shape[1]).index_add(0, edges.target, m)  # (N, d)
        x = self.up(x)  # (N, out_emb)
        for layer in self.layers:
            x = silu(layer(x))
        return self.out(x)


class VectorBlock(nn.Module):
    """v_i = Σ_j (W m_ji ∘ W' e(r_ji)) r̂_ij: m [E, d] -> [N, 3, d].

    W starts small: no noise is the first guess.

    Parameters
    ----------
    num_rbf : int
        Number of radial functions.
    hidden_channels : int
        Width d.
    """

    def __init__(self, num_rbf: int, hidden_channels: int) -> None:
        super().__init__()
        self.rbf = _linear(num_rbf, hidden_channels, bias=False)
        self.lin = nn.Linear(hidden_channels, hidden_channels, bias=False)
        # not zero, where the length of a vector has no slope
        nn.init.normal_(self.lin.weight, std=0.01 / hidden_channels**0.5)

    def forward(self, m: Tensor, geometry: Geometry) -> Tensor:
        """Vectors [N, 3, d] from messages m [E, d]."""
        slots = geometry.slots
        f = self.lin(m) * geometry.edges.both(self.rbf(geometry.rbf))  # (E, d)
        f = slots.fill(f, slots.edge).view(slots.n_atoms, slots.width, -1)  # (N, D, d)
        return geometry.unit.transpose(1, 2) @ f


class DimeNet(AtomisticModel):
    """DimeNet++ with energies, forces as their gradient, and vectors along its edges.

    Parameters
    ----------
    hidden_channels : int, default 128
        Width d of messages and features.
    num_layers : int, default 4
        Interaction blocks.
    int_emb_size : int, default 64
        Width in which messages meet their filters.
    basis_emb_size : int, default 8
        Width through which the basis passes.
    out_emb_channels : int, default 256
        Width of the output blocks.
    num_spherical, num_rbf : int, default 7 and 6
        Degrees l and roots n of the basis.
    cutoff : float, default 5.0
        Distance in Å within which atoms are neighbors.
    noise_head : bool, default True
        Whether there is a head for noise; without it, noise is the gradient of the energy.

    Raises
    ------
    ValueError
        For a number below 1.

    References
    ----------
    Gasteiger, Groß and Günnemann, "Directional message passing for molecular graphs", ICLR 2020,
    arXiv:2003.03123. Gasteiger, Giri, Margraf and Günnemann, "Fast and uncertainty-aware
    directional message passing for non-equilibrium molecules", arXiv:2011.14115.
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
    ) -> None:
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
        if num_spherical > 50 or num_rbf > 500:  # their zeros are searched for one by one
            raise ValueError(
                "num_spherical must be at most 50 and num_rbf at most 500, got "
                f"num_spherical={num_spherical} and num_rbf={num_rbf}."
            )
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

    def represent(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None = None,
        vectors: bool = False,
        force_input: list[Tensor] | None = None,
    ) -> Features:
        """Features [N, d] and, where they are needed, vectors [N, 3, d] of the atoms."""
        r_ij = pairs.vectors(batch.pos, batch)  # (P, 3), r_j - r_i
        geometry = Geometry(self, r_ij, pairs.directed(), len(batch.z))
        m = self.embed(batch.z, geometry)  # (E, d)
        x = self.outputs[0](m, geometry)  # (N, d)
        for block, output in zip(self.blocks, self.outputs[1:], strict=True):
            m = block(m, geometry)
            x = x + output(m, geometry)
        return Features(x, self.vectors(m, geometry) if vectors else None)
