"""Read-outs: from features of atoms to energies, noise, embeddings and forces. Those of properties
are in `blocks.properties`.

    Energy:        E = Σ_i (E_ref[z_i] + s · MLP(x_i))
                   E_ref: energy of each element, s: scale; both from the training set
    Noise:         ε̂_i/σ = gated equivariant blocks of (x_i, v_i)
                   rotates with the structure
    Embedding:     c = MLP(LN(Σ_i LN(SiLU(linear(LN(x_i))))))
                   one vector a structure, which does not rotate
    Direct force:  F_i = s · Σ_j f(x_i, x_j, r_ij) r̂_ij, or
                   F_i = s · gated equivariant blocks of (x_i, v_i)
                   equivariant, but the gradient of nothing: kept for comparison

A model that knows nothing of rotations (PET) has Cartesian heads: the numbers along the axes
are MLP(x_i), and nothing makes them rotate. What a structure has is a sum over its atoms; heads
give both, `per_atom` and `total`.

Total energies are around -10⁴ eV and interesting differences around 10⁻² eV, more than float32's
seven digits hold. So the network predicts only what the reference leaves over, and the sum with the
reference is made in float64.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch
from scdlab.nn.blocks.radial import shifted_softplus
from scdlab.nn.ops.neighbor_sums import DirectedEdges, pair_product

MAX_Z = 118  # the heaviest element that has a name


class _ShiftedSoftplus(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return shifted_softplus(x)


def mlp(d_in: int, d_hidden: int, d_out: int) -> nn.Sequential:
    """Two dense layers with a shifted softplus between them: [N, d_in] -> [N, d_out]."""
    return nn.Sequential(nn.Linear(d_in, d_hidden), _ShiftedSoftplus(), nn.Linear(d_hidden, d_out))


def sum_over_atoms(x: Tensor, batch: Batch) -> Tensor:
    """Sum the rows of each structure.

    Parameters
    ----------
    x : Tensor
        A row for each atom, [N, …].
    batch : Batch
        The structures.

    Returns
    -------
    Tensor
        A row for each structure, [B, …].
    """
    return x.new_zeros((batch.num_graphs, *x.shape[1:])).index_add(0, batch.batch, x)


class Float64Buffers(nn.Module):
    """A module whose buffers stay float64 whatever the precision of the network.

    They hold total energies.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Float64Buffers":
        exact = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in exact.items():
            new = self._buffers[name]
            if old is not None and new is not None:
                self._buffers[name] = old.to(new.device)
        return self


def invariant_mlp(d: int, d_out: int, linear: bool = False) -> nn.Sequential:
    """From features of an atom to numbers.

    Parameters
    ----------
    d, d_out : int
        Number of features and of numbers.
    linear : bool, default False
        Whether there is one layer, for features that are read-outs already, instead of two.

    Returns
    -------
    nn.Sequential
        [N, d] -> [N, d_out].
    """
    return nn.Sequential(nn.Linear(d, d_out)) if linear else mlp(d, max(d // 2, 1), d_out)


class EnergyHead(Float64Buffers):
    """Energies in eV, float64.

    Parameters
    ----------
    d : int
        Number of features.
    linear : bool, default False
        Whether there is one layer instead of two.

    Attributes
    ----------
    reference : Tensor
        Energy of each element by its atomic number, [119] eV.
    scale : Tensor
        Unit of what the network adds to them, in eV.
    spread : Tensor or None
        Standard deviation, over the training set, of the energies of structures beside their
        references, in eV. Only of models whose objective needs it (`set_spread`).
    """

    mlp: Any  # of features; subclasses have their own
    reference: Tensor
    scale: Tensor
    spread: Tensor | None

    def __init__(self, d: int, linear: bool = False) -> None:
        super().__init__()
        self.mlp = invariant_mlp(d, 1, linear)
        self.register_buffer("reference", torch.zeros(MAX_Z + 1, dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV
        self.register_buffer("spread", None)  # not kept by `save` where there is none

    def set_spread(self, spread: float) -> None:
        """Set the spread of the energies; from then on it is kept by `save`.

        Parameters
        ----------
        spread : float
            The spread in eV.
        """
        self.spread = torch.full_like(self.scale, spread)

    def per_atom(self, x: Tensor, z: Tensor) -> Tensor:
        """Energies of the atoms, references and scale in them.

        Parameters
        ----------
        x : Tensor
            Features, [N, d].
        z : Tensor
            Atomic numbers, [N].

        Returns
        -------
        Tensor
            [N] eV, float64.
        """
        e = self.mlp(x).squeeze(-1).double()  # (N, d) -> (N), float64 before anything is summed
        return e * self.scale + self.reference[z]

    def total(self, per_atom: Tensor, batch: Batch) -> Tensor:
        """Energies of the structures, [B] eV, from those of their atoms, [N] eV."""
        return sum_over_atoms(per_atom, batch)  # (N) -> (B)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Energies [B] in eV from features x [N, d]."""
        return self.total(self.per_atom(x, batch.z), batch)


def smooth_norm(v: Tensor) -> Tensor:
    """Length of vector features, smooth at zero: sqrt(|v|² + ε²), above |v| by ε²/2|v| at most.

    Parameters
    ----------
    v : Tensor
        Vectors, [N, 3, d].

    Returns
    -------
    Tensor
        [N, d], which does not rotate.
    """
    eps = 1e-4
    return (v.square().sum(1) + eps**2).sqrt()


class GatedEquivariantBlock(nn.Module):
    """Scalars and vectors exchange what symmetry allows.

        x', g = MLP([x, |W₁ v|])        lengths go into the scalars
        v'    = g ∘ W₂ v                scalars scale the vectors

    Parameters
    ----------
    d_in, d_out : int
        Number of scalars and vectors, before and after.

    References
    ----------
    PaiNN: Schütt, Unke and Gastegger, ICML 2021, section 3.3. TorchMD-Net: Thölke and De
    Fabritiis, ICLR 2022.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.length = nn.Linear(d_in, d_in, bias=False)
        self.vector = nn.Linear(d_in, d_out, bias=False)
        self.mlp = nn.Sequential(nn.Linear(2 * d_in, d_in), nn.SiLU(), nn.Linear(d_in, 2 * d_out))

    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Scalars [N, d_in] and vectors [N, 3, d_in] -> [N, d_out] and [N, 3, d_out]."""
        length = smooth_norm(self.length(v))  # (N, d_in)
        x, gate = self.mlp(torch.cat([x, length], dim=-1)).chunk(2, dim=-1)  # (N, d_out) each
        return x, gate.unsqueeze(1) * self.vector(v)  # (N, d_out), (N, 3, d_out)


class NoiseHead(nn.Module):
    """Noise in units of σ, which rotates with the structure: x [N, d], v [N, 3, d] -> [N, 3].

    Parameters
    ----------
    d : int
        Number of scalars and vectors.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        half = max(d // 2, 1)
        self.block1 = GatedEquivariantBlock(d, half)
        self.block2 = GatedEquivariantBlock(half, 1)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """Noise [N, 3] in units of σ."""
        x, v = self.block1(x, v)  # (N, d), (N, 3, d) -> (N, d/2), (N, 3, d/2)
        return self.block2(nn.functional.silu(x), v)[1].squeeze(-1)  # (N, 3)


class TensorHead(nn.Module):
    """Symmetric tensors a 1 + ½ (u ⊗ w + w ⊗ u): x [N, d], v [N, 3, d] -> [N, 3, 3].

    Parameters
    ----------
    d : int
        Number of scalars and vectors.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        half = max(d // 2, 1)
        self.block1 = GatedEquivariantBlock(d, half)
        self.block2 = GatedEquivariantBlock(half, 2)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """Tensors [N, 3, 3]."""
        x, v = self.block1(x, v)
        x, v = self.block2(nn.functional.silu(x), v)  # (N, 2), (N, 3, 2)
        both = v[:, :, :1] * v[:, :, 1].unsqueeze(1)  # (N, 3, 3)
        one = torch.eye(3, dtype=x.dtype, device=x.device)
        return 0.5 * (both + both.mT) + x[:, :1, None] * one


class EmbeddingHead(nn.Module):
    """One vector a structure: a dense layer an atom, the sum, a two-layer MLP; [N, d] -> [B, d].

    Normalized before each layer and after the first activation, as in the released code of
    self-conditioned denoising. What a geometry adds to such a sum is small beside what its
    composition does, and without the norms it is learned at half the speed.

    Parameters
    ----------
    d : int
        Number of features.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.atom = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.SiLU(), nn.LayerNorm(d))
        self.mlp = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, d), nn.SiLU(), nn.LayerNorm(d), nn.Linear(d, d)
        )

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Vectors [B, d] from features x [N, d]."""
        return self.mlp(sum_over_atoms(self.atom(x), batch))  # (N, d) -> (B, d)


class DirectForceHead(Float64Buffers):
    """Forces in eV/Å as sums of pair forces along the bonds.

    These are f_ij r̂_ij, with f_ij = f_ji, so that F_ij = -F_ji. They rotate with the molecule and
    conserve momentum; nothing makes them the gradient of an energy.

    Parameters
    ----------
    d : int
        Number of features.
    num_rbf : int
        Number of radial functions.
    """

    scale: Tensor

    def __init__(self, d: int, num_rbf: int) -> None:
        super().__init__()
        self.left = nn.Linear(d, d, bias=False)
        self.right = nn.Linear(d, d, bias=False)
        self.filter = nn.Linear(num_rbf, d)
        self.mlp = mlp(d, d, 1)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV/Å

    def forward(
        self, x: Tensor, basis: Tensor, envelope: Tensor, unit: Tensor, edges: DirectedEdges
    ) -> Tensor:
        """Forces of the atoms.

        Parameters
        ----------
        x : Tensor
            Features of the atoms, [N, d].
        basis, envelope, unit : Tensor
            Radial basis [P, n], cutoff [P] and unit vectors [P, 3] of the pairs.
        edges : DirectedEdges
            The pairs.

        Returns
        -------
        Tensor
            [N, 3] eV/Å.
        """
        h = pair_product(self.left(x), self.right(x), edges) * self.filter(basis)  # (P, d)
        f = self.mlp(h) * envelope.unsqueeze(-1) * unit  # (P, 3): force on i, pushing away from j
        forces = x.new_zeros(x.shape[0], 3)
        forces = forces.index_add(0, edges.i, -f).index_add(0, edges.j, f)
        return forces * self.scale.to(x.dtype)


class GatedForceHead(Float64Buffers):
    """Forces in eV/Å from vector features: x [N, d], v [N, 3, d] -> [N, 3].

    They rotate with the structure; nothing makes them the gradient of an energy, and nothing makes
    them conserve momentum.

    Parameters
    ----------
    d : int
        Number of scalars and vectors.
    """

    scale: Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        self.blocks = NoiseHead(d)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV/Å

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """Forces [N, 3] in eV/Å."""
        return self.blocks(x, v) * self.scale.to(x.dtype)
