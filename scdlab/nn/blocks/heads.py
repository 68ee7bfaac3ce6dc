"""Read-outs: from features of atoms to energies, properties of molecules, and forces.

Energy:    E = Σ_i (E_ref[z_i] + s · MLP(x_i))       E_ref: energy of each element, s: scale; both
                                                     from the training set
Property:  y = μ + s · pool_i MLP(x_i)               pool = sum (extensive properties) or mean
                                                     (intensive ones)
Vector:    y = s · Σ_i gated equivariant blocks of (x_i, v_i)        turns with the structure, as a
           dipole moment does
Tensor:    y = s · Σ_i a_i 1 + sym(u_i ⊗ w_i),  (a, u, w) likewise
                                                turns on both sides, as a polarizability does
Noise:     ε̂_i/σ = gated equivariant blocks of (x_i, v_i)     turns with the structure
Embedding: c = MLP(LN(Σ_i LN(SiLU(linear(LN(x_i))))))    one vector a structure, which does not turn
Direct force:  F_i = s · Σ_j f(x_i, x_j, r_ij) r̂_ij     equivariant, but the gradient of nothing:
                                                         kept for comparison

A model that knows nothing of rotations (PET) has plain heads: the numbers along the axes are
MLP(x_i), and nothing makes them turn. What a structure has is a sum of its atoms' shares; heads
give both, `shares` an atom's, `total` the sum.

Total energies are around -10⁴ eV and interesting differences around 10⁻² eV, more than float32's
seven digits hold. So the network predicts only what the reference leaves over, and the sum with the
reference is made in float64.
"""

import torch
from torch import Tensor, nn

from scdlab.nn.blocks.radial import shifted_softplus
from scdlab.nn.ops.neighbor_sums import DirectedEdges, pair_product

MAX_Z = 118  # the heaviest element that has a name
KINDS = ("scalar_sum", "scalar_mean", "vector", "tensor", "per_atom")


class _ShiftedSoftplus(nn.Module):
    def forward(self, x):
        return shifted_softplus(x)


def mlp(d_in: int, d_hidden: int, d_out: int) -> nn.Sequential:
    """Two dense layers with a shifted softplus between them."""
    return nn.Sequential(nn.Linear(d_in, d_hidden), _ShiftedSoftplus(), nn.Linear(d_hidden, d_out))


def sum_over_atoms(x: Tensor, batch) -> Tensor:
    """Sum the rows of each structure: [N, …] -> [B, …]."""
    return x.new_zeros((batch.num_graphs, *x.shape[1:])).index_add(0, batch.batch, x)


class Float64Buffers(nn.Module):
    """A module whose buffers stay float64 whatever the precision of the network (they hold total
    energies)."""

    def _apply(self, fn, recurse=True):
        exact = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in exact.items():
            self._buffers[name] = old.to(self._buffers[name].device)
        return self


def invariant_mlp(d: int, d_out: int, linear: bool = False) -> nn.Sequential:
    """From features of an atom to numbers: two layers, or one where the features are read-outs
    already."""
    return nn.Sequential(nn.Linear(d, d_out)) if linear else mlp(d, max(d // 2, 1), d_out)


class EnergyHead(Float64Buffers):
    """Atom features [N, d] -> energies [B] in eV, float64. linear: one layer instead of two."""

    def __init__(self, d: int, linear: bool = False):
        super().__init__()
        self.mlp = invariant_mlp(d, 1, linear)
        self.register_buffer(
            "reference", torch.zeros(MAX_Z + 1, dtype=torch.float64)
        )  # eV, by atomic number
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV

    def per_atom(self, x: Tensor, z: Tensor) -> Tensor:
        """Energies of the atoms, [N] eV, float64: references and scale are in them."""
        e = self.mlp(x).squeeze(-1).double()  # (N, d) -> (N), float64 before anything is summed
        return e * self.scale + self.reference[z]

    def total(self, per_atom: Tensor, batch) -> Tensor:
        return sum_over_atoms(per_atom, batch)  # (N) -> (B)

    def forward(self, x: Tensor, batch) -> Tensor:
        return self.total(self.per_atom(x, batch.z), batch)


class PropertyHead(Float64Buffers):
    """Atom features -> a property [B], float64, in the unit of the labels; or a vector [B, 3] or
    tensor [B, 3, 3] (symmetric) that turns with the structure; or, with kind="per_atom", three
    numbers an atom, [N, 3], that do not turn, in the precision of the network.

    plain: the backbone knows nothing of rotations; vectors and tensors are numbers along the axes
    of space, and those of atoms are vectors too. linear: one layer instead of two.
    """

    def __init__(self, d: int, kind: str, equivariant: bool = True, linear: bool = False):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(
                f"The kind of a property must be one of {', '.join(map(repr, KINDS))}, got "
                f"{kind!r}."
            )
        self.kind = kind
        self.reads_vectors = equivariant and kind in ("vector", "tensor")
        turns = NoiseHead(d) if kind == "vector" else TensorHead(d) if kind == "tensor" else None
        numbers = {"vector": 3, "per_atom": 3, "tensor": 9}.get(kind, 1)
        self.mlp = invariant_mlp(d, numbers, linear) if not self.reads_vectors else turns
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("std", torch.ones((), dtype=torch.float64))

    def per_atom(self, x: Tensor, v: Tensor | None = None) -> Tensor:
        """What each atom gives, before mean and spread: [N], [N, 3] or [N, 3, 3]."""
        y = self.mlp(x, v) if self.reads_vectors else self.mlp(x)  # (N, d) (, (N, 3, d)) -> (N, …)
        if self.kind == "tensor" and not self.reads_vectors:
            y = y.view(-1, 3, 3)
            y = 0.5 * (y + y.mT)
        return y.squeeze(-1) if self.kind in ("scalar_sum", "scalar_mean") else y

    def total(self, per_atom: Tensor, batch) -> Tensor:
        if self.kind == "per_atom":
            return per_atom * self.std.to(per_atom.dtype)  # (N, 3)
        y = sum_over_atoms(per_atom.double(), batch)  # (N, …) -> (B, …)
        if self.kind in ("vector", "tensor"):  # no mean: a direction fixed in space would not turn
            return self.std * y
        if self.kind == "scalar_mean":
            y = y / batch.ptr.diff()  # atoms of each structure
        return self.mean + self.std * y

    def forward(self, x: Tensor, batch, v: Tensor | None = None) -> Tensor:
        return self.total(self.per_atom(x, v), batch)


def smooth_norm(v: Tensor) -> Tensor:
    """Length of vector features, [N, 3, d] -> [N, d], smooth at zero: sqrt(|v|² + ε²), above |v| by
    ε²/2|v| at most. It does not turn."""
    eps = 1e-4
    return (v.square().sum(1) + eps**2).sqrt()


class GatedEquivariantBlock(nn.Module):
    """Scalars and vectors exchange what symmetry allows (PaiNN, Schütt et al. 2021, section 3.3;
    TorchMD-Net):

    x', g = MLP([x, |W₁ v|]),   v' = g ∘ W₂ v.   Lengths go into the scalars, scalars scale the
                                                 vectors.
    """

    def __init__(self, d_in: int, d_out: int):
        super().__init__()
        self.length = nn.Linear(d_in, d_in, bias=False)
        self.vector = nn.Linear(d_in, d_out, bias=False)
        self.mlp = nn.Sequential(nn.Linear(2 * d_in, d_in), nn.SiLU(), nn.Linear(d_in, 2 * d_out))

    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        x, gate = self.mlp(torch.cat([x, smooth_norm(self.length(v))], dim=-1)).chunk(
            2, dim=-1
        )  # (N, d_out) each
        return x, gate.unsqueeze(1) * self.vector(v)  # (N, d_out), (N, 3, d_out)


class NoiseHead(nn.Module):
    """Atom features x [N, d], v [N, 3, d] -> noise [N, 3] in units of σ: it turns with the
    structure."""

    def __init__(self, d: int):
        super().__init__()
        half = max(d // 2, 1)
        self.block1 = GatedEquivariantBlock(d, half)
        self.block2 = GatedEquivariantBlock(half, 1)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        x, v = self.block1(x, v)  # (N, d), (N, 3, d) -> (N, d/2), (N, 3, d/2)
        return self.block2(nn.functional.silu(x), v)[1].squeeze(-1)  # (N, 3)


class TensorHead(nn.Module):
    """Atom features x [N, d], v [N, 3, d] -> symmetric tensors [N, 3, 3], a 1 + ½ (u ⊗ w + w ⊗
    u)."""

    def __init__(self, d: int):
        super().__init__()
        half = max(d // 2, 1)
        self.block1 = GatedEquivariantBlock(d, half)
        self.block2 = GatedEquivariantBlock(half, 2)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        x, v = self.block1(x, v)
        x, v = self.block2(nn.functional.silu(x), v)  # (N, 2), (N, 3, 2)
        both = v[:, :, :1] * v[:, :, 1].unsqueeze(1)  # (N, 3, 3)
        return 0.5 * (both + both.mT) + x[:, :1, None] * torch.eye(
            3, dtype=x.dtype, device=x.device
        )


class EmbeddingHead(nn.Module):
    """Atom features [N, d] -> one vector a structure, [B, d]: a dense layer an atom, the sum, a
    two-layer MLP.

    Normalized before each layer and after the first activation, as in the released code of
    self-conditioned denoising. What a geometry adds to such a sum is small beside what its
    composition does, and without the norms it is learned at half the speed.
    """

    def __init__(self, d: int):
        super().__init__()
        self.atom = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.SiLU(), nn.LayerNorm(d))
        self.mlp = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, d), nn.SiLU(), nn.LayerNorm(d), nn.Linear(d, d)
        )

    def forward(self, x: Tensor, batch) -> Tensor:
        return self.mlp(sum_over_atoms(self.atom(x), batch))  # (N, d) -> (B, d)


class DirectForceHead(Float64Buffers):
    """Forces [N, 3] in eV/Å as sums of pair forces along the bonds: f_ij r̂_ij, with f_ij = f_ji,
    so that F_ij = -F_ji.

    Rotates with the molecule and conserves momentum; nothing makes it the gradient of an energy.
    """

    def __init__(self, d: int, num_rbf: int):
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
