"""Tensor products of features and spherical harmonics (NequIP: Batzner et al., Nat. Commun. 13,
2453, 2022, arXiv:2101.03164), after tensor field networks (Thomas et al., arXiv:1802.08219).

Every atom carries features of degree l = 0 … l_max with d channels each, x_i^(l) [2l + 1, d], which
rotate as the spherical harmonics Y^(l) do: numbers, vectors, and from degree 2 on what tells
directions apart more sharply (e3nn's irreps d×0e + d×1o + d×2e). Two of them, of degrees l₁ and l₂,
have a product of every degree from |l₁ - l₂| to l₁ + l₂, with coefficients C that are known
(Wigner's 3j symbols). A layer sends messages by all products that mirror as harmonics do,
l₁ + l₂ + l₃ even, each weighed by the distance:

    x̃_j       = W x_j                                                  each degree by itself
    m_i^(l₃)  = Σ_j Σ_{l₁ l₂} R_{l₁l₂l₃}(r_ij) ∘ [Y^(l₂)(r̂_ij) ⊗ x̃_j^(l₁)]^(l₃) / √n
    s, g      = V m_i^(0)
    u^(l)     = V m_i^(l)
    x_i^(0)   ← (x_i^(0) + act(s)) / √2
    x_i^(l)   ← (x_i^(l) + 2σ(g^(l)) ∘ u^(l)) / √2                     a number gates each channel

with n, a usual number of neighbors.
R(r) = MLP(e(r)), without biases and with act(0) = 0, of Bessel functions e whose envelope vanishes
at the cutoff with two derivatives: so does the whole message. act is SiLU, scaled so that normal
inputs keep their size; σ is the sigmoid.

Departures from the released code: products of one degree are added before V, each after its own R,
not mixed by a V of its own; features stay beside the update as they are, not mixed by a matrix for
each element; gates are sigmoids, half open where g = 0; and what is not read is not there: the
first layer meets degree 0 alone (unless atoms are given forces), the last gives degrees 0 and 1.

With conditional=True a condition modulates what enters an interaction in degree 0, and gates what
it gives in degree 0 (`blocks.adaln`, which reads normalized x^(0)); other degrees meet it through
the products, so that all stays exactly equivariant.

The coefficients and the harmonics are e3nn's. The sum over neighbors is one fused loop in float32
on a processor (`ops.tensor_product`) and a few lines of torch elsewhere, with the same numbers as
e3nn's modules (tests/parity/test_e3nn_nequip.py).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.adaln import Modulate
from scdlab.nn.blocks.bessel import BesselBasis
from scdlab.nn.blocks.harmonics import Harmonics, product_paths, terms_of
from scdlab.nn.blocks.heads import MAX_Z, NoiseHead
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.ops.tensor_product import takes, tensor_product

# n: of a molecule of some twenty atoms within 5 Å; a crystal has a few times as many
NEIGHBORS = 16
_BASIS = 3.0  # about the size of the Bessel functions at the distances between atoms of a molecule
_SILU = 1.6765324703310909  # 1 / sqrt(E[silu(z)²]), z normal


def act(x: Tensor) -> Tensor:
    """SiLU, scaled so that normal inputs keep their size."""
    return _SILU * silu(x)


def _product(matrices: Tensor, x: Tensor) -> Tensor:
    """[2, P, a, b] @ [2, P, b, d] -> [2, P, a, d]; by component, where a or b is 1: faster."""
    if matrices.shape[3] == 1:
        return matrices * x
    if matrices.shape[2] == 1:
        return (matrices.mT * x).sum(2, keepdim=True)
    return matrices @ x


class Convolution(nn.Module):
    """The messages of the neighbors, summed.

    Parameters
    ----------
    hidden_channels : int
        Channels d of each degree.
    num_rbf : int
        Number of radial functions.
    l_in, l_sh, l_out : int
        Highest degrees of the features, of the harmonics, and of the result.
    width : int, default 64
        Width of the radial networks' layer.
    """

    def __init__(
        self, hidden_channels: int, num_rbf: int, l_in: int, l_sh: int, l_out: int, width: int = 64
    ) -> None:
        super().__init__()
        self.paths = product_paths(l_in, l_sh, l_out)
        n_paths = len(self.paths)
        self.hidden = nn.Parameter(torch.randn(num_rbf, width) / (_BASIS * math.sqrt(num_rbf)))
        # one matrix for each path
        self.radial = nn.Parameter(torch.randn(n_paths, width, hidden_channels) / math.sqrt(width))
        results = [l3 for _, _, l3 in self.paths]
        share = [math.sqrt(NEIGHBORS * results.count(l3)) for l3 in results]
        with torch.no_grad():  # several paths into one degree share its size
            self.radial /= torch.tensor(share).view(-1, 1, 1)

    def forward(self, x: list[Tensor | None], harmonics: Harmonics, l_out: int) -> list[Tensor]:
        """Sums of the messages.

        Parameters
        ----------
        x : list of Tensor or None
            Features of each degree, [N, 2l + 1, d]; None for zero.
        harmonics : Harmonics
            What is known about the pairs.
        l_out : int
            Highest degree that is needed.

        Returns
        -------
        list of Tensor
            Sums of each degree, [N, 2l + 1, d].
        """
        given = [k for k, f in enumerate(x) if f is not None]
        used = [k for k, (l1, _, l3) in enumerate(self.paths) if l3 <= l_out and l1 in given]
        h = act(harmonics.basis @ self.hidden)  # (P, width)
        if takes(*(f for f in x if f is not None), h):
            return self._fused(x, h, harmonics, used)
        return self._plain(x, h, harmonics, used)

    def _fused(
        self, x: list[Tensor | None], h: Tensor, harmonics: Harmonics, used: list[int]
    ) -> list[Tensor]:
        """The sums by one loop over the neighbors, of all degrees at once."""
        paths = tuple(self.paths[k] for k in used)
        terms = terms_of(paths, harmonics.lmax)
        radial = self.radial if len(used) == len(self.paths) else self.radial[used]
        filters = h @ radial.transpose(0, 1).flatten(1)  # (P, paths · d)
        filters = filters.unflatten(1, (len(used), self.radial.shape[2]))
        features = torch.cat([f for f in x if f is not None], dim=1)  # (N, rows, d)
        numbers = harmonics.numbers(terms)
        sums = tensor_product(features, filters, numbers, terms, harmonics.edges)
        degrees = sorted({l3 for _, _, l3 in paths})
        return list(sums.split([2 * degree + 1 for degree in degrees], dim=1))

    def _plain(
        self, x: list[Tensor | None], h: Tensor, harmonics: Harmonics, used: list[int]
    ) -> list[Tensor]:
        """The sums in plain torch, path by path."""
        edges = harmonics.directed
        sent = [None if f is None else _at_source(f, edges.source) for f in x]
        sums: dict[int, Tensor] = {}
        for k in used:
            l1, l2, l3 = self.paths[k]
            features = sent[l1]
            assert features is not None
            r = (h @ self.radial[k]).unsqueeze(1)  # (P, 1, d)
            matrices = harmonics.matrices(l1, l2, l3)  # (2, P, 2l₃ + 1, 2l₁ + 1)
            if l1 < l3:
                message = _product(matrices, features * r)  # (2, P, 2l₃ + 1, d)
            else:
                message = _product(matrices, features) * r
            sums[l3] = message if l3 not in sums else sums[l3] + message
        n_atoms = harmonics.edges.n_atoms
        return [_at_target(sums[degree], edges.target, n_atoms) for degree in sorted(sums)]


def _at_source(x: Tensor, source: Tensor) -> Tensor:
    """Features of the edges' sources: [N, a, d] -> [2, P, a, d]."""
    rows = x.flatten(1).index_select(0, source)  # rows are copied faster than matrices
    return rows.view(2, len(source) // 2, *x.shape[1:])


def _at_target(messages: Tensor, target: Tensor, n_atoms: int) -> Tensor:
    """Sums of messages at the edges' targets: [2, P, a, d] -> [N, a, d]."""
    rows = messages.flatten(2).flatten(0, 1)  # (2P, a · d), which index_add adds fastest
    out = messages.new_zeros(n_atoms, rows.shape[1]).index_add(0, target, rows)
    return out.unflatten(1, messages.shape[2:])


def _linear(d_in: int, d_out: int) -> nn.Linear:
    """A linear layer that keeps the size of features, without bias: a bias would not rotate."""
    layer = nn.Linear(d_in, d_out, bias=False)
    nn.init.normal_(layer.weight, std=d_in**-0.5)
    return layer


class Interaction(nn.Module):
    """One layer: features of degrees up to l_in -> of degrees up to l_out.

    Parameters
    ----------
    hidden_channels : int
        Channels d of each degree.
    num_rbf : int
        Number of radial functions.
    l_in, l_sh, l_out : int
        Highest degrees of the features, of the harmonics, and of the result.
    """

    def __init__(
        self, hidden_channels: int, num_rbf: int, l_in: int, l_sh: int, l_out: int
    ) -> None:
        super().__init__()
        d = hidden_channels
        self.hidden_channels = d
        self.before = nn.ModuleList(_linear(d, d) for _ in range(l_in + 1))
        self.convolution = Convolution(d, num_rbf, l_in, l_sh, l_out)
        self.after = nn.ModuleList(_linear(d, d) for _ in range(l_out + 1))
        self.gates = _linear(d, l_out * d)

    def forward(
        self,
        x: list[Tensor | None],
        harmonics: Harmonics,
        l_out: int,
        modulate: Modulate | None = None,
    ) -> list[Tensor]:
        """Features of degrees up to l_out from those up to l_in, [N, 2l + 1, d] each.

        Parameters
        ----------
        x : list of Tensor or None
            Features of each degree; None for zero.
        harmonics : Harmonics
            What is known about the pairs.
        l_out : int
            Highest degree that is needed.
        modulate : function or None, default None
            adaLN: normalized features of degree 0 [N, d] -> scale, shift and gate, [N, d] each.

        Returns
        -------
        list of Tensor
            New features of each degree.
        """
        entering = x
        gate = None
        if modulate is not None and x[0] is not None:
            scalars = x[0].squeeze(1)  # (N, d)
            scale, shift, gate = modulate(layer_norm(scalars, scalars.shape[-1:]))
            entering = [torch.addcmul(shift, scale, scalars).unsqueeze(1), *x[1:]]
        mixed = [
            None if f is None else mix(f) for f, mix in zip(entering, self.before, strict=False)
        ]
        m = self.convolution(mixed, harmonics, l_out)
        update = act(self.after[0](m[0]))  # (N, 1, d)
        updates = [update if gate is None else gate.unsqueeze(1) * update]
        if l_out:
            gates = (2 * self.gates(m[0]).sigmoid()).split(self.hidden_channels, dim=-1)
            for degree in range(1, l_out + 1):
                updates.append(gates[degree - 1] * self.after[degree](m[degree]))
        out = []
        for before, update in zip(x, updates, strict=False):
            out.append((update if before is None else before + update) / math.sqrt(2))
        return out


class TensorProductNet(AtomisticModel):
    """A small NequIP with energies, forces as their gradient, and noise from a gated equivariant
    head.

    Parameters
    ----------
    hidden_channels : int, default 32
        Channels d of each degree.
    num_layers : int, default 2
        Interactions.
    lmax : int, default 2
        Highest degree of features and harmonics, from 1 to 11.
    num_rbf : int, default 8
        Bessel functions.
    cutoff : float, default 5.0
        Distance in Å within which atoms are neighbors.
    noise_head : bool, default True
        Whether there is a head for noise; without it, noise is the gradient of the energy.
    force_input : bool, default False
        Whether atoms can be given forces, in all degrees, for denoising off equilibrium.
    conditional : bool, default False
        Whether the model takes a condition, and has an embedding head to make one.

    Raises
    ------
    ValueError
        For numbers that make no network.

    References
    ----------
    Batzner et al., "E(3)-equivariant graph neural networks for data-efficient and accurate
    interatomic potentials", Nat. Commun. 13, 2453, 2022, arXiv:2101.03164.
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
        conditional: bool = False,
    ) -> None:
        super().__init__(hidden_channels, cutoff)
        if num_layers < 1 or hidden_channels < 1 or num_rbf < 1:
            raise ValueError(
                "num_layers, hidden_channels and num_rbf must be at least 1, got "
                f"num_layers={num_layers}, hidden_channels={hidden_channels} and "
                f"num_rbf={num_rbf}."
            )
        if not 1 <= lmax <= 11:  # e3nn's harmonics end there
            raise ValueError(f"lmax must be from 1 to 11, got {lmax}.")
        self.lmax = lmax
        self.basis = BesselBasis(num_rbf, self.cutoff)
        self.n_hops = num_layers
        self.embedding = nn.Embedding(MAX_Z + 1, hidden_channels)
        l_in = [lmax if force_input else 0] + [lmax] * (num_layers - 1)
        l_out = [lmax] * (num_layers - 1) + [1]
        self.blocks = nn.ModuleList(
            Interaction(hidden_channels, num_rbf, l_first, lmax, l_last)
            for l_first, l_last in zip(l_in, l_out, strict=True)
        )
        self.noise_head = NoiseHead(hidden_channels) if noise_head else None
        if conditional:
            self.make_conditional(num_layers)
        if force_input:
            self.make_force_input(lmax)

    def represent(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None = None,
        vectors: bool = False,
        force_input: list[Tensor] | None = None,
    ) -> Features:
        """Degree 0 [N, d] and, where it is needed, degree 1 [N, 3, d] of the atoms."""
        r_ij = pairs.vectors(batch.pos, batch)  # (P, 3), r_j - r_i
        harmonics = Harmonics(self.basis, r_ij, pairs, len(batch.z), self.lmax)
        first = self.embedding(batch.z).unsqueeze(1)  # (N, 1, d)
        x: list[Tensor | None] = [first] + [None] * self.lmax  # None: zero
        if force_input is not None:
            x = [first + force_input[0], *force_input[1:]]
        last = len(self.blocks) - 1
        for k, block in enumerate(self.blocks[:last]):
            x = block(x, harmonics, self.lmax, self.modulation(k, condition, batch))
        # degrees that are not needed are not computed
        modulate = self.modulation(last, condition, batch)
        x0, *x1 = self.blocks[last](x, harmonics, 1 if vectors else 0, modulate)
        return Features(x0.squeeze(1), x1[0] if vectors else None, edges=harmonics.edges)
