"""Tensor products of features and spherical harmonics (NequIP: Batzner et al., Nat. Commun. 13,
2453, 2022, arXiv:2101.03164), after tensor field networks (Thomas et al., arXiv:1802.08219).

Every atom carries features of degree l = 0 … l_max with d channels each, x_i^(l) [2l + 1, d], which
turn as the spherical harmonics Y^(l) do: numbers, vectors, and from degree 2 on what tells
directions more sharply (e3nn's irreps d×0e + d×1o + d×2e). Two of them, of degrees l₁ and l₂, have
a product of every degree from |l₁ - l₂| to l₁ + l₂, with coefficients C that are known (Wigner's 3j
symbols). A layer lets neighbors speak in all products that mirror as harmonics do, l₁ + l₂ + l₃
even, each weighed by the distance:

    x̃_j = W x_j                                                                        each degree
    by itself m_i^(l₃) = Σ_j Σ_{l₁ l₂} R_{l₁l₂l₃}(r_ij) ∘ [Y^(l₂)(r̂_ij) ⊗ x̃_j^(l₁)]^(l₃) / √n
    n: a usual number of neighbors s, g = V m_i^(0)                   x_i^(0) ← (x_i^(0) + act(s)) /
    √2 u^(l) = V m_i^(l)                  x_i^(l) ← (x_i^(l) + 2σ(g^(l)) ∘ u^(l)) / √2       a
    number gates each channel

R(r) = MLP(e(r)), without biases and with act(0) = 0, of Bessel functions e whose envelope vanishes
at the cutoff with two derivatives: so does all that a neighbor says. act is SiLU, scaled so that
normal inputs keep their size; σ is the sigmoid.

Departures from the released code: products of one degree are added before V, each after its own R,
not mixed by a V of its own; features stay beside the update as they are, not mixed by a matrix for
each element; gates are sigmoids, half open where g = 0; and what is not read is not there: the
first layer meets degree 0 alone (unless atoms are told forces), the last gives degrees 0 and 1.

The coefficients and the harmonics are e3nn's; the contraction is a few lines of torch, which train
several times faster than e3nn's module and give the same numbers
(tests/parity/test_e3nn_nequip.py).
"""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from scdlab.nn.blocks.bessel import BesselBasis
from scdlab.nn.blocks.heads import MAX_Z, NoiseHead
from scdlab.nn.model import AtomisticModel, Features

# n: what an atom of a molecule of some twenty atoms has within 5 Å; a crystal has a few times as
# many
NEIGHBORS = 16
_BASIS = 3.0  # about the size of the Bessel functions at the distances between atoms of a molecule
_SILU = 1.6765324703310909  # 1 / sqrt(E[silu(z)²]), z normal


def act(x: Tensor) -> Tensor:
    return _SILU * silu(x)


def product_paths(l_in: int, l_sh: int, l_out: int) -> list[tuple[int, int, int]]:
    """All (l₁, l₂, l₃) up to these degrees with |l₁ - l₂| ≤ l₃ ≤ l₁ + l₂ and an even sum, so that
    mirrors are kept."""
    every = ((a, b, c) for c in range(l_out + 1) for a in range(l_in + 1) for b in range(l_sh + 1))
    return [(a, b, c) for a, b, c in every if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0]


@functools.lru_cache
def coefficients(l1: int, l2: int, l3: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """√(2l₃ + 1) C, [2l₂ + 1, 2l₃ + 1, 2l₁ + 1]: components of size one have products of size
    one."""
    from e3nn.o3 import wigner_3j

    with torch.inference_mode(False):  # it is kept, and may be needed for training later
        c = wigner_3j(l1, l2, l3, dtype=torch.float64, device=device) * math.sqrt(2 * l3 + 1)
        return c.permute(1, 2, 0).to(dtype).contiguous()


class _Edges:
    """What all layers read about the pairs, walked both ways: edge p is i ← j, edge P + p is j ← i.

    to, of [2P]: who hears and who is heard; basis [P, n], the same both ways; y^(l) [P, 2l + 1],
    from i towards j.
    """

    def __init__(self, basis, r_ij: Tensor, pairs, lmax: int):
        from e3nn.o3 import spherical_harmonics

        self.to = torch.cat([pairs.i, pairs.j])
        self.of = torch.cat([pairs.j, pairs.i])
        r = r_ij.norm(dim=-1)  # (P)
        self.basis = basis(r)
        degrees = list(range(lmax + 1))
        unit = r_ij / r.unsqueeze(-1)
        y = spherical_harmonics(degrees, unit, normalize=False, normalization="component")
        self.y = y.split([2 * k + 1 for k in degrees], dim=1)
        self.kept = {}

    def matrices(self, l1: int, l2: int, l3: int) -> Tensor:
        """What takes degree l₁ to degree l₃ in the product with Y^(l₂)(r̂): [2, P, 2l₃ + 1, 2l₁ +
        1]."""
        if (l1, l2, l3) not in self.kept:
            y = self.y[l2]
            k = (y @ coefficients(l1, l2, l3, y.dtype, y.device).flatten(1)).view(
                len(y), 2 * l3 + 1, 2 * l1 + 1
            )
            self.kept[l1, l2, l3] = torch.stack([k, (-1) ** l2 * k])  # Y(-r̂) = (-1)^l Y(r̂)
        return self.kept[l1, l2, l3]


def _product(k: Tensor, x: Tensor) -> Tensor:
    """k @ x, [2, P, a, b] and [2, P, b, d] -> [2, P, a, d]; by component where one of a and b is 1,
    which is faster."""
    if k.shape[3] == 1:
        return k * x
    return (k.mT * x).sum(2, keepdim=True) if k.shape[2] == 1 else k @ x


class Convolution(nn.Module):
    """What neighbors say: features of degrees up to l_in, [N, 2l + 1, d] each or None for zero ->
    of degrees up to l_out, likewise. `radial` holds one matrix for each path, in the order of
    `paths`."""

    def __init__(self, d: int, num_rbf: int, l_in: int, l_sh: int, l_out: int, width: int = 64):
        super().__init__()
        self.paths = product_paths(l_in, l_sh, l_out)
        self.hidden = nn.Parameter(torch.randn(num_rbf, width) / (_BASIS * math.sqrt(num_rbf)))
        self.radial = nn.Parameter(torch.randn(len(self.paths), width, d) / math.sqrt(width))
        into = [c for _, _, c in self.paths]
        with torch.no_grad():  # several paths into one degree share its size
            self.radial /= torch.tensor([math.sqrt(NEIGHBORS * into.count(c)) for c in into]).view(
                -1, 1, 1
            )

    def forward(self, x: list[Tensor | None], edges: _Edges, l_out: int) -> list[Tensor]:
        n, _, d = x[0].shape
        h = act(edges.basis @ self.hidden)  # (P, width)
        said = [
            None
            if f is None
            else f.flatten(1).index_select(0, edges.of).view(2, len(h), f.shape[1], d)
            for f in x
        ]
        m = [0.0] * (l_out + 1)
        for (l1, l2, l3), radial in zip(self.paths, self.radial.unbind(), strict=True):
            if l3 <= l_out and said[l1] is not None:
                r = (h @ radial).unsqueeze(1)  # (P, 1, d)
                k = edges.matrices(l1, l2, l3)
                m[l3] = m[l3] + (
                    _product(k, said[l1] * r) if l1 < l3 else _product(k, said[l1]) * r
                )
        flat = [
            f.flatten(2).flatten(0, 1) for f in m
        ]  # (2P, (2l + 1) d): rows, which index_add adds fastest
        return [
            f.new_zeros(n, f.shape[1]).index_add(0, edges.to, f).unflatten(1, (-1, d)) for f in flat
        ]


def _linear(d_in: int, d_out: int) -> nn.Linear:
    """A linear layer without bias (a vector that is added to all would not turn) that keeps the
    size of features."""
    layer = nn.Linear(d_in, d_out, bias=False)
    nn.init.normal_(layer.weight, std=d_in**-0.5)
    return layer


class Interaction(nn.Module):
    """One layer: features of degrees up to l_in -> of degrees up to l_out."""

    def __init__(self, d: int, num_rbf: int, l_in: int, l_sh: int, l_out: int):
        super().__init__()
        self.hidden_channels = d
        self.before = nn.ModuleList(_linear(d, d) for _ in range(l_in + 1))
        self.convolution = Convolution(d, num_rbf, l_in, l_sh, l_out)
        self.after = nn.ModuleList(_linear(d, d) for _ in range(l_out + 1))
        self.gates = _linear(d, l_out * d)

    def forward(self, x: list[Tensor | None], edges: _Edges, l_out: int) -> list[Tensor]:
        told = [None if f is None else linear(f) for f, linear in zip(x, self.before, strict=False)]
        m = self.convolution(told, edges, l_out)
        out = [act(self.after[0](m[0]))]  # (N, 1, d)
        if l_out:
            gates = (2 * self.gates(m[0]).sigmoid()).split(
                self.hidden_channels, dim=-1
            )  # (N, 1, d) each
            out += [gates[k - 1] * self.after[k](m[k]) for k in range(1, l_out + 1)]
        return [(f if x[k] is None else x[k] + f) / math.sqrt(2) for k, f in enumerate(out)]


class TensorProductNet(AtomisticModel):
    """A small NequIP with energies, forces as their gradient, and noise from a gated equivariant
    head.

    hidden: channels d of each degree; layers: interactions; lmax: highest degree of features and
    harmonics; n_basis: Bessel functions; cutoff in Å; noise_head: whether there is one (without it,
    noise is the gradient of the energy); force_encoding: whether atoms can be told forces, in all
    degrees, for denoising off equilibrium.
    """

    has_vectors = True

    def __init__(
        self,
        hidden_channels: int = 32,
        num_layers: int = 2,
        lmax: int = 2,
        num_rbf: int = 8,
        cutoff: float = 5.0,
        noise_head: bool = True,
        force_input: bool = False,
    ):
        super().__init__(hidden_channels, cutoff)
        if num_layers < 1 or hidden_channels < 1 or num_rbf < 1 or not 1 <= lmax <= 11:
            raise ValueError(
                "TensorProductNet needs at least one layer, channel and basis function, and lmax "
                f"from 1 to 11, not num_layers={num_layers}, hidden_channels={hidden_channels}, "
                f"num_rbf={num_rbf}, lmax={lmax}."
            )
        self.basis = BesselBasis(num_rbf, self.cutoff)
        self.n_hops = num_layers
        self.lmax = lmax
        self.embedding = nn.Embedding(MAX_Z + 1, hidden_channels)
        l_in = [lmax if force_input else 0] + [lmax] * (num_layers - 1)
        l_out = [lmax] * (num_layers - 1) + [1]
        self.blocks = nn.ModuleList(
            Interaction(hidden_channels, num_rbf, a, lmax, c)
            for a, c in zip(l_in, l_out, strict=True)
        )
        self.noise_head = NoiseHead(hidden_channels) if noise_head else None
        if force_input:
            self.make_force_input(lmax)

    def represent(self, batch, pairs, condition=None, vectors=False, force_input=None) -> Features:
        lmax = self.lmax
        edges = _Edges(self.basis, pairs.vectors(batch.pos, batch), pairs, lmax)  # r_j - r_i
        x = [self.embedding(batch.z).unsqueeze(1)] + [None] * lmax  # None: zero
        if force_input is not None:
            x = [x[0] + force_input[0], *force_input[1:]]
        for block in self.blocks:
            last = block is self.blocks[-1]
            x = block(
                x, edges, lmax if not last else int(vectors)
            )  # degrees that nobody asks for are not computed
        return Features(x[0].squeeze(1), x[1] if vectors else None)
