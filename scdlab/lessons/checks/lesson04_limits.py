"""Checks of two exercises of lesson 04: what no denoiser can know, and how much of a condition is
used."""

from collections.abc import Callable
from typing import Any

import torch
from ase.units import kB

from scdlab.analysis import share_left
from scdlab.lessons.checks import Wrong, check, tensor_from


def narrowed(c: torch.Tensor, mean: torch.Tensor, axes: torch.Tensor, k: int) -> torch.Tensor:
    """Conditions of which the numbers along the first k directions are left.

    Parameters
    ----------
    c : Tensor [B, d]
        The conditions.
    mean : Tensor [d]
        Their mean.
    axes : Tensor [d, d]
        Orthonormal directions, one a row.
    k : int
        How many of them are kept.

    Returns
    -------
    Tensor [B, d]
        The mean, and what the conditions differ from it along those directions.
    """
    kept = axes[:k]  # (k, d)
    return mean + (c - mean) @ kept.T @ kept


@check
def check_share_left(answer: Callable[..., Any]) -> str:
    """Check the share of the noise that no answer can remove.

    Parameters
    ----------
    answer : callable
        A function (stiffness [n] in eV/Å², temperature in K, sigma in Å) -> s²/(s² + σ²), [n], with
        s² = k_BT/k.
    """
    stiffness = torch.tensor([0.3, 5.0, 60.0, 1e6], dtype=torch.float64)
    for temperature, sigma in ((500.0, 0.04), (300.0, 0.07)):
        found = tensor_from(answer, stiffness.clone(), temperature, sigma, shape=stiffness.shape)
        right = share_left(stiffness, kB * temperature, sigma)
        if torch.allclose(found, right, rtol=1e-3):
            continue
        for mistake, hint in _shared_wrongly(stiffness, temperature, sigma):
            if torch.allclose(found, mistake, rtol=1e-3):
                raise Wrong(hint)
        raise Wrong(
            f"At {temperature:.0f} K, σ = {sigma:g} Å and k = 5 eV/Å² you get {found[1]:.3g}, and "
            f"{right[1]:.3g} of the noise is left. Two limits to try: a very stiff direction "
            "leaves nothing, a very soft one everything."
        )
    return "Stiff directions leave little of the noise, soft ones nearly all of it."


def _shared_wrongly(
    stiffness: torch.Tensor, temperature: float, sigma: float
) -> list[tuple[torch.Tensor, str]]:
    """What known mistakes give, and what is wrong about each."""
    heat = kB * temperature / stiffness  # s², Å²
    noise = sigma**2
    inverted = stiffness / (kB * temperature)
    bare = temperature / stiffness
    return [
        (
            noise / (heat + noise),
            "That is the share which the best answer explains; what is left is 1 minus it.",
        ),
        (
            heat.sqrt() / (heat.sqrt() + sigma),
            "You add lengths, s + σ; of independent displacements the variances add, s² + σ².",
        ),
        (
            (heat / (heat + noise)).sqrt(),
            "That is the ratio of the lengths; the share of the variance is its square.",
        ),
        (
            heat / (heat + 2 * noise),
            "2σ² is the noise in a distance, both of whose atoms move; along one direction it is "
            "σ².",
        ),
        (
            heat / (heat + sigma),
            "You add a variance and a length: σ is in Å, s² in Å²; take σ².",
        ),
        (
            heat / noise,
            "Beside σ² the heat counts as well: divide by s² + σ², all of what is seen.",
        ),
        (
            inverted / (inverted + noise),
            "A stiff direction moves less, not more: s² = k_BT/k.",
        ),
        (
            bare / (bare + noise),
            "T alone is no energy: k_B is missing, 8.617e-5 eV/K.",
        ),
        (
            2 * heat / (2 * heat + noise),
            "Equipartition: ½ k s² = ½ k_BT for a direction, so s² = k_BT/k.",
        ),
        (
            heat / (2 * heat + 2 * noise),
            "Half of what it should be: s² = k_BT/k stands above and below.",
        ),
    ]


@check
def check_narrow(answer: Callable[..., Any]) -> str:
    """Check how a condition is made narrower.

    Parameters
    ----------
    answer : callable
        A function (c [B, d], mean [d], axes [d, d], k) -> [B, d]: mean + the projections of c −
        mean on the first k rows of axes.
    """
    generator = torch.Generator().manual_seed(14)
    d = 6
    c = torch.randn(d, d, generator=generator) + 3  # B = d, on purpose
    mean = c.mean(0) + 1
    axes = torch.linalg.qr(torch.randn(d, d, generator=generator))[0]
    untouched = c.clone()
    for k in (2, 4, d):
        found = tensor_from(answer, c, mean, axes, k, shape=c.shape)
        if not torch.equal(c, untouched):
            raise Wrong("Your function changes c itself: return a new tensor.")
        if torch.allclose(found, narrowed(c, mean, axes, k), atol=1e-4):
            continue
        for mistake, hint in _narrowed_wrongly(c, mean, axes, k):
            if torch.allclose(found, mistake, atol=1e-4):
                raise Wrong(hint)
        if k == d:
            raise Wrong("With k = d all directions are kept: c should come out as it was.")
        raise Wrong(
            f"For k = {k} the result is not the mean plus two projections: (c − mean) times the "
            "kept rows, transposed, and times the kept rows again."
        )
    return "k numbers for each structure go through, whatever the width of c."


def _narrowed_wrongly(
    c: torch.Tensor, mean: torch.Tensor, axes: torch.Tensor, k: int
) -> list[tuple[torch.Tensor, str]]:
    """What known mistakes give, and what is wrong about each."""
    kept = axes[:k]
    columns = axes[:, :k]
    last = axes[len(axes) - k :]
    first = c.clone()
    first[:, k:] = mean[k:]
    zeroed = c.clone()
    zeroed[:, k:] = 0
    return [
        ((c - mean) @ kept.T @ kept, "The mean is missing: add it again at the end."),
        (
            c @ kept.T @ kept,
            "You project c itself; take off the mean first, and add it again at the end.",
        ),
        (
            mean + c @ kept.T @ kept,
            "You add the mean, but did not take it off before you project.",
        ),
        (
            mean + (c - mean) @ columns @ columns.T,
            "The directions are the rows of axes, so keep axes[:k], not axes[:, :k].",
        ),
        (
            mean + (c - mean) @ last.T @ last,
            "You keep the last k directions; the first ones vary most.",
        ),
        (
            first,
            "You keep the first k channels of c; keep the first k directions, mixtures of all "
            "channels.",
        ),
        (
            zeroed,
            "You keep the first k channels of c and set the others to zero; keep the first k "
            "directions, and the mean along the others.",
        ),
    ]
