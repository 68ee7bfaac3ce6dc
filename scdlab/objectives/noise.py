"""Noise on positions: how it is drawn, and how an answer to it is measured.

Gaussian noise is the default; torsional noise rotates about bonds and keeps lengths and angles.
"""

import copy
import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scdlab.atoms.batch import Batch
from scdlab.atoms.molecules import axis_distance, rotatable_bonds
from scdlab.atoms.shares import drawn_for_atoms, mean_of_whole, normal_for_atoms, share_of
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.objectives.arguments import check_choice, check_length
from scdlab.objectives.base import Mean, Parts

KINDS = ("gaussian", "torsional")


def check_noise(sigma: float, ratio: float, kind: str) -> None:
    """Check the settings of `sample_noise`.

    Parameters
    ----------
    sigma : float
        Size of the noise in Å.
    ratio : float
        Share of the atoms or bonds.
    kind : str
        "gaussian" or "torsional".

    Raises
    ------
    ValueError
        For a setting that is out of its range.
    """
    check_length("sigma", sigma, example=0.04)
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be above 0 and at most 1, got {ratio!r}.")
    check_choice("kind", kind, KINDS)


def sample_noise(
    batch: Batch,
    sigma: float,
    generator: torch.Generator | None = None,
    kind: str = "gaussian",
    centered: bool = True,
    ratio: float = 1.0,
    free: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw displacements for the atoms of a batch.

    Centered noise does not move the mean of a structure; Gaussian noise then has variance
    σ²(1 - 1/N). Structures in which Gaussian noise leaves some atoms in place are not centered:
    those atoms show the mean. Torsional noise always is, since which of two sides is rotated is a
    convention.

    Parameters
    ----------
    batch : Batch
        The structures.
    sigma : float
        Size of the noise in Å. Of Gaussian noise the standard deviation per component; torsional
        noise takes the smaller side's atoms about as far, √3 sigma root mean square.
    generator : torch.Generator, optional
        Source of the random numbers; it must live on the batch's device.
    kind : str, default "gaussian"
        "gaussian", or "torsional": about every rotatable bond (`atoms.rotatable_bonds`) one side is
        rotated by a normal angle, which keeps bond lengths and angles. A structure without such
        bonds is not corrupted.
    centered : bool, default True
        Whether the mean of a structure stays.
    ratio : float, default 1.0
        Share of the atoms that are corrupted, drawn atom by atom; of torsional noise, share of the
        bonds that are rotated.
    free : Tensor of bool, [N], optional
        The atoms that may move, None for all; Gaussian noise only.

    Returns
    -------
    eps : Tensor, [N, 3]
        Displacements in Å.
    mask : Tensor of bool, [N]
        Which atoms they corrupt.

    Raises
    ------
    ValueError
        For settings that cannot be, and for torsional noise of periodic or partly fixed structures.
    """
    check_noise(sigma, ratio, kind)
    draw = _gaussian if kind == "gaussian" else _torsional
    eps, mask = draw(batch, sigma, generator, ratio)
    if free is not None:
        if kind == "torsional":
            raise ValueError(
                "Torsional noise needs atoms that are all free to move, got some that are fixed: "
                "use kind='gaussian'."
            )
        mask = mask & free
        eps = eps * mask.unsqueeze(-1)
    if centered:
        size = batch.ptr.diff()  # (B)
        corrupted = sum_over_atoms(mask.long(), batch)  # (B) atoms of each structure
        center = corrupted == size if kind == "gaussian" else corrupted > 0
        mean = sum_over_atoms(eps, batch) / size.unsqueeze(-1)  # (N, 3) -> (B, 3)
        eps = eps - (mean * center.unsqueeze(-1)).index_select(0, batch.batch)
        several = (size > 1).index_select(0, batch.batch)  # (N)
        mask = (mask | center.index_select(0, batch.batch)) & several
        eps = eps * mask.unsqueeze(-1)  # a lone atom has nowhere to go
    return eps, mask


def _gaussian(
    batch: Batch, sigma: float, generator: torch.Generator | None, ratio: float
) -> tuple[Tensor, Tensor]:
    eps = sigma * normal_for_atoms(batch, generator)  # (N, 3)
    mask = torch.ones(len(eps), dtype=torch.bool, device=eps.device)  # (N)
    if ratio < 1:
        device = eps.device
        drawn = drawn_for_atoms(
            batch, generator, lambda n, source: torch.rand(n, device=device, generator=source)
        )
        mask = drawn < ratio
    return eps * mask.unsqueeze(-1), mask


def _torsional(
    batch: Batch, sigma: float, generator: torch.Generator | None, ratio: float
) -> tuple[Tensor, Tensor]:
    share = share_of(batch)
    if share is not None:  # how many numbers are drawn depends on the bonds of all structures
        eps, mask = _torsional(share.whole, sigma, share.generator, ratio)
        return eps.index_select(0, share.atoms), mask.index_select(0, share.atoms)
    if batch.get("pbc") is not None and bool(batch.pbc.any()):
        raise ValueError(
            "Torsional noise needs molecules, got a batch of periodic structures: use "
            "kind='gaussian'."
        )
    like: dict[str, Any] = dict(device=batch.pos.device, generator=generator)
    pos = batch.pos.detach().double().cpu().numpy()
    z = batch.z.cpu().numpy()
    pieces = [slice(first, last) for first, last in itertools.pairwise(batch.ptr.tolist())]
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
    for piece, rotatable in zip(pieces, bonds, strict=True):
        for i, j, group, radius in rotatable:
            angle = next(angles) * math.sqrt(3) * sigma / radius
            if angle:
                new[piece][group] = _rotate(new[piece], i, j, group, angle)
                mask[piece][group] = True
    eps = torch.from_numpy(new - pos).to(batch.pos.device, batch.pos.dtype)
    return eps, torch.from_numpy(mask).to(batch.pos.device)


# some 50 MB when full; finding the bonds costs ten times as much as rotating about them
@functools.lru_cache(maxsize=50_000)
def _rotatable_bonds(z: bytes, dtype: str, pos: bytes) -> tuple:
    """(i, j, group, root mean square distance of `group` from the axis in Å) of each rotatable
    bond."""
    numbers = np.frombuffer(z, dtype)
    positions = np.frombuffer(pos).reshape(-1, 3)
    found = []
    for i, j, group in rotatable_bonds(numbers, positions):
        radius = np.sqrt(np.square(axis_distance(positions, i, j, group)).mean())
        found.append((i, j, group, radius))
    return tuple(found)


def _rotate(pos: np.ndarray, i: int, j: int, group: np.ndarray, angle: float) -> np.ndarray:
    """Positions [m, 3] of the atoms `group`, rotated about the axis a from atom i to j:

    R = cos φ 1 + sin φ [a]ₓ + (1 - cos φ) a aᵀ
    """
    axis = (pos[j] - pos[i]) / np.linalg.norm(pos[j] - pos[i])
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = (
        math.cos(angle) * np.eye(3)
        + math.sin(angle) * cross
        + (1 - math.cos(angle)) * np.outer(axis, axis)
    )
    return pos[j] + (pos[group] - pos[j]) @ rotation.T  # (m, 3)


def noise_floor(n_atoms: float, centered: bool = False, rotations: bool = False) -> float:
    """The least mean squared error that denoising can reach: 1/N.

    Of the 3N directions of the noise, the 3 translations are invisible unless the noise is
    centered, and to a network without a fixed frame the 3 rotations of a bent molecule are as well:
    (3 [+ 3]) / 3N. A lower bound: the clean structure is unknown, which leaves more. Averaged over
    the atoms of several structures, 1/N becomes 1 / (mean N).

    Parameters
    ----------
    n_atoms : float
        Number of atoms N.
    centered : bool, default False
        Whether the noise has no mean.
    rotations : bool, default False
        Whether rotations are invisible too, to first order in σ.

    Returns
    -------
    float
        Mean squared error per component in units of σ².
    """
    return (1.0 * (not centered) + 1.0 * rotations) / n_atoms


def displaced(batch: Batch, eps: Tensor) -> Batch:
    """A batch with its atoms displaced.

    Parameters
    ----------
    batch : Batch
        The structures; they keep their positions.
    eps : Tensor, [N, 3]
        Displacements in Å.

    Returns
    -------
    Batch
        A shallow copy with the new positions.
    """
    new = copy.copy(batch)  # shallow: the caller's batch keeps its positions
    new.pos = batch.pos + eps
    return new


def noise_error(
    batch: Batch,
    answer: Tensor,
    eps: Tensor,
    mask: Tensor,
    sigma: float,
    unit: float | None = None,
) -> tuple[Tensor, Parts]:
    """Loss and parts of an answer to the noise, over the corrupted atoms.

    Parameters
    ----------
    batch : Batch
        The structures.
    answer : Tensor, [N, 3]
        Predicted noise.
    eps : Tensor, [N, 3]
        The noise in Å.
    mask : Tensor of bool, [N]
        The corrupted atoms.
    sigma : float
        Size of the noise in Å.
    unit : float, optional
        What the answer is given in, Å; by default σ.

    Returns
    -------
    loss : Tensor
        Mean squared error per component, in units of `unit`².
    parts : mapping of str to Mean
        "noise_mse", the same in units of σ²; "noise_unexplained", the same divided by what the
        blind guess ε̂ = 0 gets.
    """
    unit = sigma if unit is None else unit
    target = (eps / unit).to(answer.dtype)
    loss = _mean_square(answer - target, mask)
    blind = _mean_square(target, mask)
    count = mask.sum()
    blind = mean_of_whole(blind, batch, count)
    values: Mapping[str, Tensor] = {
        "noise_mse": loss.detach() * (unit / sigma) ** 2,
        "noise_unexplained": loss.detach() / blind.clamp(min=torch.finfo(blind.dtype).tiny),
    }
    return loss, {name: Mean(value, count, selected=True) for name, value in values.items()}


def _mean_square(x: Tensor, mask: Tensor) -> Tensor:
    """Mean square per component over the corrupted atoms, [N, 3] -> []; 0 where there are none."""
    return (x.square().sum(-1) * mask).sum() / (3 * mask.sum()).clamp(min=1)
