"""Averages over rotations that make any model symmetric, each with the flaw that ECSE is meant to
mend.

A model f that knows of no rotations sees a structure r from K frames F, rotation matrices whose
columns are the axes, and its outputs are rotated back and averaged:

    E(r) = Σ_k w_k f(F_kᵀ r) / Σ_k w_k

Frames that are fixed in space (`RandomRotations`, `Quadrature`) keep E smooth, but invariant only
in part. Frames that rotate with the structure (`PCAFrames`, `NearestPair`, `QRFrames`),
F(R r) = R F(r), make E invariant exactly, but it jumps, or grows without bound in its gradient,
where the choice of the frame does: no frames that can be computed efficiently and weigh alike are
continuous (Dym, Lawrence, Siegel 2024, "Equivariant frames and the impossibility of continuous
canonicalization").

Mirror images: a frame of determinant -1 shows the model the mirror image. With one beside each
proper frame E is invariant under O(3), else under SO(3) only.
"""

from abc import abstractmethod

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from scdlab.atoms.batch import Batch
from scdlab.atoms.neighbors import periodic_axes
from scdlab.atoms.rotations import rotation_matrices
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.nn.model import Model
from scdlab.symmetry.frames import Frames
from scdlab.symmetry.symmetrized import Symmetrized

# sine of an angle below which three atoms are on one line: positions are float32 in a store
STRAIGHT = 1e-4
# degree -> weight of a vertex, of the middle of an edge and of a face of the octahedron
_OCTAHEDRAL = {
    3: (1 / 6, 0, 0),
    5: (1 / 15, 0, 3 / 40),
    7: (1 / 21, 4 / 105, 9 / 280),
}


class FixedFrames(Symmetrized):
    """Averages over the same frames for every structure.

    Frames are float64, no parameters and no buffers, so that no change of the model's precision
    rounds them.

    Parameters
    ----------
    model : AtomisticModel
        The backbone.
    axes : ndarray [K, 3, 3]
        The frames.
    weights : ndarray [K]
        Their weights.
    inversion : bool
        Whether each frame has its mirror image -F beside it.
    """

    def __init__(self, model: Model, axes: np.ndarray, weights: np.ndarray, inversion: bool):
        super().__init__(model)
        self._axes = torch.from_numpy(axes)
        self._weights = torch.from_numpy(weights)
        if inversion:
            self._axes = torch.cat([self._axes, -self._axes])
            self._weights = self._weights.repeat(2)

    @property
    def evaluations(self) -> int:
        """How often the model is evaluated for a structure."""
        return len(self._axes)

    def frames(self, batch: Batch) -> Frames:
        """The same frames for every structure, as of any model in frames."""
        n = batch.num_graphs
        axes = self._axes.to(batch.pos.device)
        weights = self._weights.to(batch.pos.device)
        return _frames(axes.expand(n, -1, -1, -1), weights)


class RandomRotations(FixedFrames):
    """The mean over n rotations drawn once, uniformly from SO(3): a Monte Carlo estimate of
    ∫ f(Rᵀ r) dR, whose error falls as n^-½ and is never zero.

    The rotations are fixed by `seed`. Drawn anew in every call, the energy would not be a function
    of the structure.

    Parameters
    ----------
    model : AtomisticModel
        The backbone.
    n : int, default 16
        Evaluations of the model.
    inversion : bool, default True
        Whether half of them are of the other half's mirror images, -F.
    seed : int, default 0
        Of the rotations.

    Raises
    ------
    ValueError
        Unless n is a positive integer, even with inversion.
    """

    def __init__(self, model: Model, n: int = 16, inversion: bool = True, seed: int = 0):
        if not isinstance(n, int) or n < 1 or (inversion and n % 2):
            raise ValueError(
                "RandomRotations takes n evaluations, a positive integer that is even where "
                f"inversion pairs them, got {n!r}; choose another n, or inversion=False."
            )
        half = n // 2 if inversion else n
        x, y, z, w = np.random.default_rng(seed).normal(size=(half, 4)).T
        axes = rotation_matrices(torch.from_numpy(np.stack([w, x, y, z], 1))).numpy()
        super().__init__(model, axes, np.ones(half), inversion)


class Quadrature(FixedFrames):
    """An exact rule over SO(3): where f(Rᵀ r), as a function of R, holds no degree above `degree`
    (Wigner's D^l with l ≤ degree), the mean is ∫ f(Rᵀ r) dR to rounding, and so invariant. What f
    has in higher degrees stays in part.

    R = Rz(φ) Ry(θ) Rz(γ) and D^l_mn ∝ e^-imφ d^l_mn(θ) e^-inγ. degree + 1 equal steps of γ leave
    n = 0 alone, and D^l_m0 is a spherical harmonic of (θ, φ). So the rule is a product: degree + 1
    angles γ, times a rule for the sphere of that degree. That is Lebedev's of degree 3, 5 or 7
    (1976, "Quadratures on a sphere"; vertices, middles of faces, then of edges of the octahedron:
    6, 14, 26 points), beyond them Gauss-Legendre in cos θ times degree + 1 equal steps of φ. All
    weights are positive. `evaluations`: 12, 18, 24, 70, 84, 182, 208 for degrees 1 … 7, and 405 for
    8.

    Forces are gradients of the mean, so they rotate where the energy is invariant; a vector that f
    gives itself, of degree l, is rotated back with one degree more, and needs degree ≥ l + 1.

    Parameters
    ----------
    model : AtomisticModel
        The backbone.
    degree : int, default 3
        To which the rule is exact.
    inversion : bool, default False
        Whether each frame has its mirror image -F beside it, at twice the cost.

    Raises
    ------
    ValueError
        Unless degree is a positive integer.
    """

    def __init__(self, model: Model, degree: int = 3, inversion: bool = False):
        if not isinstance(degree, int) or not 1 <= degree <= 100:
            raise ValueError(
                "The degree of Quadrature must be a positive integer, at most 100, got "
                f"{degree!r}; 3 takes 24 evaluations."
            )
        axes, weights = _so3_rule(degree)
        super().__init__(model, axes, weights, inversion)


class StructureFrames(Symmetrized):
    """Averages over frames that rotate with the structure and all weigh alike.

    Parameters
    ----------
    model : AtomisticModel
        The backbone.
    proper : bool, default False
        Whether there are no mirrored frames, so that E is invariant under SO(3) only.
    """

    def __init__(self, model: Model, proper: bool = False):
        super().__init__(model)
        self.proper = proper

    @property
    def evaluations(self) -> int:
        """How often the model is evaluated for a structure."""
        return 1 if self.proper else 2

    @abstractmethod
    def axes(self, batch: Batch, r: Tensor) -> Tensor:
        """The frames of structures, [B, k, 3, 3] float64.

        Parameters
        ----------
        batch : Batch
            The structures.
        r : Tensor [N, 3]
            Positions relative to the centroids, Å.
        """

    def frames(self, batch: Batch) -> Frames:
        """The frames of open structures.

        Raises
        ------
        ValueError
            For a structure that is periodic, or has no frame.
        """
        r = batch.pos.double()
        pbc = periodic_axes(batch, batch.num_graphs)
        if pbc is not None:
            self._refuse(
                pbc.any(-1),
                f"is periodic, and {type(self).__name__} takes its frames from open structures; "
                "use RandomRotations, Quadrature or ECSE",
            )
        centroid = sum_over_atoms(r, batch) / batch.ptr.diff().unsqueeze(-1)
        axes = self.axes(batch, r - centroid[batch.batch])
        return _frames(axes, axes.new_ones(axes.shape[1]))

    def _with_mirror(self, axes: Tensor) -> Tensor:
        """Axes [B, 3, 3] -> [B, k, 3, 3]: for O(3) also those with b reversed. Under a mirror a and
        c transform as vectors do and b = a × r' takes the other sign, so the two frames change
        places and their mean stays."""
        signs = [[1.0, 1.0, 1.0]] if self.proper else [[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]
        return axes.unsqueeze(1) * axes.new_tensor(signs)[:, None]  # signs of the columns

    def _refuse(self, bad: Tensor, why: str) -> None:
        """Raise ValueError for the first structure that `bad` [B] marks."""
        if bad.any():
            raise ValueError(f"Structure {int(bad.nonzero()[0])} of the batch {why}.")

    def _no_frame(self, bad: Tensor, which: str) -> None:
        self._refuse(
            bad,
            f"gives {type(self).__name__} no frame, for lack of {which}; leave it out, or use "
            "ECSE, whose auxiliary model handles it",
        )


class PCAFrames(StructureFrames):
    """Frame averaging (Puny et al. 2022, "Frame averaging for invariant and equivariant network
    design"): the axes are the eigenvectors of the covariance of the positions,

        C = Σ_i (r_i - r̄)(r_i - r̄)ᵀ / n
        C = V diag(λ) Vᵀ, λ ascending
        F = V diag(±1, ±1, ±1)

    with every choice of signs: 8 frames, or the 4 of determinant +1 with proper=True, which leaves
    mirror images apart. Masses and elements play no part.

    Flaw: where two eigenvalues cross, two axes change places and the energy jumps. Where they are
    equal (methane), the axes are whatever the eigensolver gives, which does not rotate with the
    structure. The gradient holds 1/(λ_a - λ_b): it is exact away from crossings, grows without
    bound toward them, and is no number at them.

    Parameters
    ----------
    model : AtomisticModel
        Any model of the kit.
    proper : bool, default False
        Rotations alone, so that mirror images stay apart; else reflections too.
    """

    @property
    def evaluations(self) -> int:
        """How often the model is evaluated for a structure."""
        return 4 if self.proper else 8

    def axes(self, batch: Batch, r: Tensor) -> Tensor:
        """The frames of structures, see the class."""
        n = batch.ptr.diff()[:, None, None]
        covariance = sum_over_atoms(r[:, :, None] * r[:, None, :], batch) / n  # [B, 3, 3]
        values, axes = torch.linalg.eigh(covariance)  # [B, 3], [B, 3, 3]
        straight = ~(values[:, 1] > STRAIGHT**2 * values[:, 2])
        self._no_frame(straight, "three atoms that are not on one line")
        signs = torch.cartesian_prod(*[axes.new_tensor([1.0, -1.0])] * 3)  # [8, 3]
        if self.proper:
            signs = signs[signs.prod(-1) > 0].expand(len(axes), -1, -1).clone()  # [B, 4, 3]
            signs[..., 2] *= torch.linalg.det(axes.detach()).sign()[:, None]
        return axes.unsqueeze(1) * signs.unsqueeze(-2)


class NearestPair(StructureFrames):
    """One frame, from the atom 0 nearest to the centroid, its nearest neighbor 1, and the nearest 2
    that is not on their line (to 1e-4 rad):

        a = r̂_01
        b = a × r̂_02 / |a × r̂_02|
        c = a × b
        F = [a b c]

    and for O(3) its mirror, F diag(1, -1, 1); with proper=True the frame alone. Atoms at equal
    distances go by their place in the file.

    Flaw: where two atoms change places in that order, the frame rotates at once and the energy
    jumps; where atoms are at equal distances by symmetry (methane), it depends on rounding and on
    the order of the file.

    Parameters
    ----------
    model : AtomisticModel
        Any model of the kit.
    proper : bool, default False
        Rotations alone, so that mirror images stay apart; else reflections too.
    """

    def axes(self, batch: Batch, r: Tensor) -> Tensor:
        """The frames of structures, see the class."""
        from torch_geometric.utils import to_dense_batch

        x, there = to_dense_batch(r.detach(), batch.batch)  # [B, n, 3], [B, n]
        rows = torch.arange(len(x), device=x.device)
        inf = float("inf")
        center = torch.where(there, x.square().sum(-1), inf).argmin(-1)  # [B], the first of equals
        x = x - x[rows, center].unsqueeze(1)
        d2 = x.square().sum(-1)
        usable = there.clone()
        usable[rows, center] = False
        first = torch.where(usable, d2, inf).argmin(-1)
        along = x[rows, first].unsqueeze(1).expand_as(x)
        cross = torch.linalg.cross(along, x).square().sum(-1)  # [B, n]
        usable &= cross > STRAIGHT**2 * d2[rows, first].unsqueeze(-1) * d2
        self._no_frame(~usable.any(-1), "three atoms that are not on one line")
        second = torch.where(usable, d2, inf).argmin(-1)
        start = batch.ptr[:-1]
        origin = r[start + center]
        return self._with_mirror(_axes_of(r[start + first] - origin, r[start + second] - origin))


class QRFrames(StructureFrames):
    """One frame by Gram and Schmidt from the first three atoms of the file, 0, 1, 2:

        [r_01 r_02] = Q U, U upper triangular with a positive diagonal
        a = q_1
        c = -q_2
        b = c × a
        F = [a b c]

    the axes of `NearestPair` for these atoms, and for O(3) the mirror, F diag(1, -1, 1), too; with
    proper=True the frame alone.

    Flaw: the energy depends on the order of the file. It is continuous while the three stay off one
    line; toward a line its gradient grows without bound, and across it the frame jumps.

    Parameters
    ----------
    model : AtomisticModel
        Any model of the kit.
    proper : bool, default False
        Rotations alone, so that mirror images stay apart; else reflections too.
    """

    def axes(self, batch: Batch, r: Tensor) -> Tensor:
        """The frames of structures, see the class."""
        self._no_frame(batch.ptr.diff() < 3, "three atoms")
        first = batch.ptr[:-1]
        u = r[first + 1] - r[first]
        v = r[first + 2] - r[first]
        sine = torch.linalg.cross(u, v).norm(dim=-1) / (u.norm(dim=-1) * v.norm(dim=-1))
        self._no_frame(~(sine > STRAIGHT), "three atoms that come first and are not on one line")
        return self._with_mirror(_axes_of(u, v))


def _frames(axes: Tensor, weights: Tensor) -> Frames:
    """Axes [B, k, 3, 3] and weights [k] that are the same for every structure, as frames of the
    batch."""
    n, k = axes.shape[:2]
    structure = torch.arange(n, device=axes.device).repeat_interleave(k)
    return Frames(axes=axes.flatten(0, 1), weights=weights.repeat(n), cluster=structure)


def _axes_of(u: Tensor, v: Tensor) -> Tensor:
    """Axes [B, 3, 3], columns a = û, b = a × v / |·|, c = a × b, from vectors u and v [B, 3] that
    span a plane."""
    a = u / u.norm(dim=-1, keepdim=True)
    b = torch.linalg.cross(a, v)
    b = b / b.norm(dim=-1, keepdim=True)
    return torch.stack([a, b, torch.linalg.cross(a, b)], dim=-1)


def _so3_rule(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [K, 3, 3] and weights [K], which sum to 1, of the rule that `Quadrature`
    describes."""
    theta, phi, w = _sphere_rule(degree)
    n = degree + 1
    gamma = 2 * np.pi * np.arange(n) / n
    angles = [np.repeat(phi, n), np.repeat(theta, n), np.tile(gamma, len(w))]
    rotations = Rotation.from_euler("ZYZ", np.stack(angles, axis=-1))
    return rotations.as_matrix(), np.repeat(w, n) / n


def _sphere_rule(degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles θ, φ and weights, [P] each, of a rule for the sphere that is exact to a degree;
    weights sum to 1."""
    lebedev = next((by_kind for known, by_kind in _OCTAHEDRAL.items() if known >= degree), None)
    if lebedev is None:
        z, w = np.polynomial.legendre.leggauss(degree // 2 + 1)  # exact to 2 (degree // 2) + 1
        n = degree + 1
        steps = 2 * np.pi * np.arange(n) / n
        theta, phi = np.meshgrid(np.arccos(z), steps, indexing="ij")
        return theta.ravel(), phi.ravel(), np.repeat(w / 2, n) / n
    grid = np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij")
    x = np.stack(grid, axis=-1).reshape(-1, 3)
    # 1, 2, 3: a vertex, the middle of an edge or of a face, seen from the center
    kind = np.abs(x).sum(-1)
    w = np.array([0, *lebedev])[kind]
    x = x[w > 0]
    theta = np.arctan2(np.hypot(x[:, 0], x[:, 1]), x[:, 2])
    return theta, np.arctan2(x[:, 1], x[:, 0]), w[w > 0]
