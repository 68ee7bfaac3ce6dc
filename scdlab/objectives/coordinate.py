"""Coordinate denoising (Zaidi et al., ICLR 2023, arXiv:2206.00133): shake the atoms, ask where they
were.

    x̃ = x + ε,   ε ~ N(0, σ² I)            noise
    ε̂ = model(x̃)                           predict
    L = ‖ε̂ - ε/σ‖² per component           compare

No label is needed. Near a minimum of the energy the best answer is proportional to the force that
pulls the atoms back (Vincent 2011: denoising is score matching), so a network that denoises well
has learned something of a force field.

What cannot be seen cannot be answered. The prediction of a translation-invariant network depends on
ε only through ε - ε̄, with ε̄ = 1/N Σ_i ε_i the mean over a structure's N atoms. For Gaussian noise
ε̄ is independent of ε - ε̄, so the best answer is ε - ε̄, and Var ε̄ = σ²/N per component is left
over: a floor of 1/N in units of σ², whatever the network. Centering the noise, ε ← ε - ε̄, removes
the question. Where some atoms stay put, they show the mean, and nothing needs centering. The same
holds for rotations: in a molecule of unknown orientation, the part of ε that turns it as a whole (3
of its 3N directions) is invisible too, centered or not (`noise_floor`).
"""

import copy
import functools
import itertools
import math

import numpy as np
import torch
from torch import Tensor

from scdlab.atoms.molecules import axis_distance, rotatable_bonds
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.objectives.supervised import _mark_seen, free_atoms

KINDS = ("gaussian", "torsional")


def sample_noise(
    batch,
    sigma: float,
    generator=None,
    kind: str = "gaussian",
    centered: bool = True,
    ratio: float = 1.0,
    free=None,
):
    """Displacements eps [N, 3] in Å for the atoms of a batch, and which atoms they corrupt: mask
    [N].

    kind "gaussian": sigma is the standard deviation per component in Å; ratio: share of the atoms
    that are corrupted, drawn atom by atom; free [N]: the atoms that may move, None for all. kind
    "torsional": every bond that can turn (`atoms.rotatable_bonds`) is turned by a normal angle that
    takes the smaller side's atoms about as far, √3 sigma root mean square, and keeps bond lengths
    and angles; ratio: share of the bonds that are turned. A structure without such bonds is not
    corrupted, and `free` cannot be had.

    Centered noise does not move the mean of a structure; Gaussian noise then has variance σ²(1 -
    1/N). Structures in which Gaussian noise leaves some atoms in place are not centered: those
    atoms show the mean. Torsional noise always is, since which of two sides has turned is a
    convention. The generator must live on the batch's device.
    """
    _check(sigma, ratio, kind)
    eps, mask = (_gaussian if kind == "gaussian" else _torsional)(batch, sigma, generator, ratio)
    if free is not None:
        if kind == "torsional":
            raise ValueError(
                "Torsional noise moves whole groups, and some atoms are fixed; use kind='gaussian'."
            )
        mask = mask & free
        eps = eps * mask.unsqueeze(-1)
    if centered:
        size = batch.ptr.diff()
        corrupted = sum_over_atoms(mask.long(), batch)  # (B) atoms of each structure
        center = corrupted == size if kind == "gaussian" else corrupted > 0
        mean = sum_over_atoms(eps, batch) / size.unsqueeze(-1)  # (N, 3) -> (B, 3)
        eps = eps - (mean * center.unsqueeze(-1)).index_select(0, batch.batch)
        mask = (mask | center.index_select(0, batch.batch)) & (size > 1).index_select(
            0, batch.batch
        )
        eps = eps * mask.unsqueeze(-1)  # a lone atom has nowhere to go
    return eps, mask


def _gaussian(batch, sigma, generator, ratio):
    like = dict(device=batch.pos.device, generator=generator)
    eps = sigma * torch.randn(batch.pos.shape, dtype=batch.pos.dtype, **like)
    mask = torch.ones(len(eps), dtype=torch.bool, device=eps.device)
    if ratio < 1:
        mask = torch.rand(len(eps), **like) < ratio
    return eps * mask.unsqueeze(-1), mask


def _torsional(batch, sigma, generator, ratio):
    if batch.get("pbc") is not None and bool(batch.pbc.any()):
        raise ValueError(
            "Torsional noise turns parts of molecules about bonds, and this batch is periodic; use "
            "kind='gaussian'."
        )
    like = dict(device=batch.pos.device, generator=generator)
    pos = batch.pos.detach().double().cpu().numpy()
    z = batch.z.cpu().numpy()
    ptr = batch.ptr.tolist()
    pieces = [slice(first, last) for first, last in itertools.pairwise(ptr)]
    bonds = [
        _rotatable_bonds(z[piece].tobytes(), z.dtype.str, pos[piece].tobytes()) for piece in pieces
    ]
    count = sum(map(len, bonds))
    angles = torch.randn(count, dtype=torch.float64, **like)  # times √3 σ / radius
    if ratio < 1:
        angles = angles * (torch.rand(count, **like) < ratio)
    angles = iter(angles.tolist())
    new = pos.copy()
    mask = np.zeros(len(pos), dtype=bool)
    for piece, turns in zip(pieces, bonds, strict=True):
        for i, j, group, radius in turns:
            angle = next(angles) * math.sqrt(3) * sigma / radius
            if angle:
                new[piece][group] = _turn(new[piece], i, j, group, angle)
                mask[piece][group] = True
    eps = torch.from_numpy(new - pos)
    mask = torch.from_numpy(mask)
    return eps.to(batch.pos.device, batch.pos.dtype), mask.to(batch.pos.device)


@functools.lru_cache(
    maxsize=50_000
)  # some 50 MB when full; finding the bonds costs ten times turning them
def _rotatable_bonds(z: bytes, dtype: str, pos: bytes) -> tuple:
    """(i, j, group, root mean square distance of `group` from the axis in Å) of each bond that can
    turn."""
    z = np.frombuffer(z, dtype)
    pos = np.frombuffer(pos).reshape(-1, 3)
    found = rotatable_bonds(z, pos)
    return tuple(
        (i, j, group, np.sqrt(np.square(axis_distance(pos, i, j, group)).mean()))
        for i, j, group in found
    )


def _turn(pos, i, j, group, angle):
    """The atoms `group`, turned about the axis a from atom i to j: R = cos φ 1 + sin φ [a]ₓ + (1 -
    cos φ) a aᵀ."""
    x, y, z = axis = (pos[j] - pos[i]) / np.linalg.norm(pos[j] - pos[i])
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = (
        math.cos(angle) * np.eye(3)
        + math.sin(angle) * cross
        + (1 - math.cos(angle)) * np.outer(axis, axis)
    )
    return pos[j] + (pos[group] - pos[j]) @ rotation.T  # (m, 3)


def noise_floor(n_atoms, centered: bool = False, rotations: bool = False):
    """The least mean squared error per component, in units of σ², that denoising N atoms can reach:
    1/N.

    Of the 3N directions of the noise, the 3 translations are invisible unless the noise is
    centered, and to a network without a fixed frame the 3 rotations of a bent molecule are as well
    (rotations=True, to first order in σ): (3 [+ 3]) / 3N. A lower bound: not knowing the clean
    structure leaves more. Averaged over the atoms of several structures, 1/N becomes 1 / (mean N).
    """
    return (1.0 * (not centered) + 1.0 * rotations) / n_atoms


class CoordinateDenoising:
    """Noise on the positions, to be predicted from the noisy structure.

    sigma: size of the noise in Å (0.04 disturbs bond orders, 0.005 merely regularizes); centered:
    no noise in the mean of a structure; normalized: the target is ε/σ, otherwise ε in Å; ratio:
    share of atoms corrupted, the loss is over these alone; kind: "gaussian" or "torsional", where
    structures without a bond that turns are left out of the loss (all of it as in `sample_noise`);
    main: another objective, computed from the same pass over the noisy structure, with loss = main
    + weight · denoising. Its labels are those of the clean structure, so σ should then be small.

    Atoms that the batch marks as `fixed` stay where they are.

    Parts: "noise_mse", mean squared error per component in units of σ²; "noise_unexplained", the
    same divided by what the blind guess ε̂ = 0 gets: 1 has learned nothing, 0 is perfect. Both are
    means over the corrupted atoms, and `counted` says after each call how many those were.
    """

    def __init__(
        self,
        sigma: float = 0.04,
        centered: bool = True,
        normalized: bool = True,
        ratio: float = 1.0,
        kind: str = "gaussian",
        supervised=None,
        weight: float = 1.0,
    ):
        _check(sigma, ratio, kind)
        check_main(supervised)
        check_weight(weight)
        self.sigma = float(sigma)
        self.centered = centered
        self.normalized = normalized
        self.ratio = float(ratio)
        self.kind = kind
        self.supervised = supervised
        self.weight = float(weight)
        self.atomwise = supervised.atomwise if supervised else frozenset()
        self.counted = {}

    def __repr__(self):
        supervised = (
            f", supervised={self.supervised!r}, weight={self.weight}" if self.supervised else ""
        )
        return (
            f"CoordinateDenoising(sigma={self.sigma}, centered={self.centered}, "
            f"normalized={self.normalized}, ratio={self.ratio}, kind={self.kind!r}{supervised})"
        )

    def prepare(self, model, train) -> None:
        """Prepare for the main objective, if there is one, and check that the model can denoise at
        all.

        Raises ValueError when it cannot, and when no structure has a bond for torsional noise to
        turn. The scale of the energy stays: noise by gradient is free of it.
        """
        if self.supervised:
            self.supervised.prepare(model, train)
        _mark_seen(model, train)
        with torch.no_grad():
            model(train.take([0]).to(next(model.parameters()).device), noise=True)
        if self.kind == "torsional":
            chunks = (
                train.take(np.arange(k, min(k + 64, len(train)))) for k in range(0, len(train), 64)
            )
            if not any(
                bool(sample_noise(chunk, self.sigma, kind=self.kind)[1].any()) for chunk in chunks
            ):
                raise ValueError(
                    "No structure of the training set has a bond that can turn, so torsional noise "
                    "leaves all of them as they are; use kind='gaussian'."
                )

    def __call__(self, model, batch, generator=None):
        # eps (N, 3) Å, mask (N)
        eps, mask = sample_noise(
            batch, self.sigma, generator, self.kind, self.centered, self.ratio, free_atoms(batch)
        )
        noisy = displaced(batch, eps)  # x̃ = x + ε
        out = model(
            noisy, noise=True, **(self.supervised.asks if self.supervised else {})
        )  # ε̂ (N, 3)
        loss, parts = noise_error(
            out.noise, eps, mask, self.sigma, self.sigma if self.normalized else 1.0
        )
        self.counted = dict.fromkeys((*parts, *(() if self.supervised else ("loss",))), mask.sum())
        if self.supervised is None:
            return loss, parts
        supervised, main_parts = self.supervised.compare(model, out, batch)
        self.counted |= getattr(self.supervised, "counted", {})
        return supervised + self.weight * loss, {**main_parts, **parts}


def displaced(batch, eps: Tensor):
    """The batch with its atoms moved by eps [N, 3] Å."""
    batch = copy.copy(batch)  # shallow: the caller's batch keeps its positions
    batch.pos = batch.pos + eps
    return batch


def noise_error(answer: Tensor, eps: Tensor, mask: Tensor, sigma: float, unit: float | None = None):
    """The loss of an answer [N, 3] to the noise eps [N, 3] Å over the atoms of mask [N], and its
    parts. unit: what the answer is given in, Å; by default σ."""
    unit = sigma if unit is None else unit
    target = (eps / unit).to(answer.dtype)
    loss = _mean(answer - target, mask)
    blind = _mean(target, mask)
    return loss, {
        "noise_mse": loss.detach() * (unit / sigma) ** 2,
        "noise_unexplained": loss.detach() / blind.clamp(min=torch.finfo(blind.dtype).tiny),
    }


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean square per component over the corrupted atoms, [N, 3] -> []; 0 where there are none."""
    return (x.square().sum(-1) * mask).sum() / (3 * mask.sum()).clamp(min=1)


def check_main(supervised) -> None:
    if supervised is not None and not hasattr(supervised, "compare"):
        raise ValueError(
            "main must be an objective that can share a forward pass, such as PropertyRegression "
            f"or EnergyForces, not {supervised!r}."
        )


def check_weight(weight) -> None:
    if not math.isfinite(weight) or weight < 0:
        raise ValueError(f"The weight of denoising must be a number from 0 up, not {weight}.")


def _check(sigma, ratio, kind) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(
            "sigma is the size of the noise and must be a positive length in Å, such as 0.04, not "
            f"{sigma}."
        )
    if not 0 < ratio <= 1:
        raise ValueError(
            "ratio is the share of atoms to corrupt and must be above 0 and at most 1, not "
            f"{ratio}."
        )
    if kind not in KINDS:
        raise ValueError(f"The kind of noise must be one of {', '.join(KINDS)}, not {kind!r}.")
