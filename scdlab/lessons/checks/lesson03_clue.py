"""Checks of three exercises of lesson 03: what noise leaves, what a force narrows down, and the
five numbers of degree 2."""

import math
from collections.abc import Callable
from typing import Any

import torch

from scdlab.analysis.stiffness import share_from_forces
from scdlab.lessons.checks import Wrong, call, check, number_from, tensor_from

# how the five functions of a direction (x, y, z) are called, in the order of the library
DEGREE_TWO = ("xz", "xy", "(2y² − x² − z²)/(2√3)", "yz", "(z² − x²)/2")


def degree_two(force: torch.Tensor) -> torch.Tensor:
    """|F|/√3 Y^(2)(F/|F|), written out.

    Parameters
    ----------
    force : Tensor [N, 3]
        Forces in eV/Å.

    Returns
    -------
    Tensor [N, 5]
        Their five numbers of degree 2; zeros for a force of zero.
    """
    length = force.norm(dim=1, keepdim=True)  # (N, 1)
    x, y, z = (force / length.clamp(min=1e-30)).unbind(1)
    squares = (2 * y**2 - x**2 - z**2) / (2 * math.sqrt(3))
    five = torch.stack([x * z, x * y, squares, y * z, (z**2 - x**2) / 2], dim=1)  # (N, 5)
    return length / math.sqrt(3) * math.sqrt(15) * five


@check
def check_share_from_forces(answer: Callable[..., Any]) -> str:
    """Check the share of the noise that the best answer leaves, from thermal forces.

    Parameters
    ----------
    answer : callable
        A function (forces [T, 3] along three axes in T frames, kT in eV, sigma in Å) -> share left
        along each axis, [3].
    """
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([1.4, 0.45, 0.12], dtype=torch.float64)
    forces = torch.randn(2000, 3, generator=generator, dtype=torch.float64)
    forces = sizes * (forces - forces.mean(0)) / forces.std(0, correction=0)
    for kT, sigma in ((0.043, 0.05), (0.026, 0.1)):
        found = tensor_from(answer, forces.clone(), kT, sigma, shape=(3,))
        if torch.allclose(found, share_from_forces(forces, kT, sigma), rtol=3e-3):
            continue
        for mistake, hint in _shared_wrongly(forces, kT, sigma):
            if torch.allclose(found, mistake, rtol=3e-3):
                raise Wrong(hint)
        right = share_from_forces(forces, kT, sigma)
        raise Wrong(
            f"For forces of {sizes[1]:g} eV/Å (root mean square), kT = {kT:g} eV and σ = {sigma:g} "
            f"Å you get {found[1]:.3g}; {right[1]:.3g} of the noise is left. Two limits to try: no "
            "force at all leaves everything, an enormous one nothing."
        )
    return "Three lines: the stiffness ⟨F²⟩/kT, the thermal spread kT/k, the share s²/(s² + σ²)."


def _shared_wrongly(
    forces: torch.Tensor, kT: float, sigma: float
) -> list[tuple[torch.Tensor, str]]:
    """What known mistakes give, and what is wrong about each."""
    square = forces.square().mean(0)
    noise = sigma**2

    def left(spread: torch.Tensor) -> torch.Tensor:
        return spread / (spread + noise)

    heat = kT / (square / kT)  # s², Å²
    return [
        (
            1 - left(heat),
            "That is the share which the best answer explains; asked is what is left.",
        ),
        (
            left(kT / (forces.abs().mean(0).square() / kT)),
            "You average |F|; the identity is about the mean of the squares, ⟨F²⟩.",
        ),
        (left(kT / square), "A factor kT is missing: k = ⟨F²⟩/kT and s² = kT/k need one each."),
        (left(kT / (square * kT)), "⟨F²⟩ = kT k: divide by kT, do not multiply."),
        (left(square / kT / kT), "You have s² = k/kT; a stiffer spring spreads less: s² = kT/k."),
        (left(heat / 2), "½ks² = ½kT: the halves cancel."),
        (left(2 * heat), "½ks² = ½kT: the halves cancel."),
        (
            heat.sqrt() / (heat.sqrt() + sigma),
            "You add lengths, s + σ; of independent displacements the variances add, s² + σ².",
        ),
        (left(heat).sqrt(), "That is the ratio of the lengths; asked is that of the squares."),
        (
            heat * noise / (heat + noise),
            "That is the variance that is left, in Å²; as a share of the noise, divide by σ².",
        ),
        (heat / noise, "s²/σ² exceeds 1 where the spring is soft: the prior limits it too."),
    ]


@check
def check_width(answer: Callable[..., Any]) -> str:
    """Check how far an atom may move before its force changes by a tolerance.

    Parameters
    ----------
    answer : callable
        A function (force_here, force_there, step, tolerance) -> width in Å, from the force along an
        axis at a place and `step` further along.
    """
    for here, there, step, tolerance in ((-1.1, -1.47, 0.01, 0.3), (0.2, 0.206, 0.02, 0.1)):
        found = number_from(call(answer, here, there, step, tolerance))
        change = there - here
        right = abs(tolerance * step / change)
        if math.isclose(found, right, rel_tol=1e-3):
            continue
        start = f"From {here:g} to {there:g} eV/Å within {step:g} Å you answer {found:.4g} Å. "
        mistakes = {
            -right: "A width has no sign: the force may fall or rise.",
            abs(change / step): "That is the stiffness |ΔF/Δx|; the tolerance is divided by it.",
            change / step: "That is minus the stiffness; the tolerance is divided by it.",
            tolerance
            * abs(change / step): "Stiffer should mean narrower: divide by the stiffness.",
            abs(tolerance / change): "Something is missing: ΔF belongs to a step of Δx.",
            abs(tolerance / here): "A large force is no stiff spring: what counts is its change.",
            abs(tolerance * step / here): "What counts is the change of the force, not its size.",
            abs(tolerance * step / there): "What counts is the change of the force, not its size.",
            2 * right: "To one side, please: as far as the tolerance allows, not from end to end.",
            tolerance * step: "That has the unit eV: divide by the change of the force.",
        }
        for value, hint in mistakes.items():
            if math.isclose(found, value, rel_tol=1e-3):
                raise Wrong(start + hint)
        raise Wrong(
            start + "Within the step the force changes by there - here. How long a step changes it "
            "by the tolerance?"
        )
    return "δF/k: with the same tolerance, ten times stiffer is ten times narrower."


@check
def check_degree_two(answer: Callable[..., Any]) -> str:
    """Check the five numbers of degree 2.

    Parameters
    ----------
    answer : callable
        A function force [N, 3] -> |F|/√3 Y^(2)(F/|F|) [N, 5], in the order of `DEGREE_TWO`.
    """
    force = torch.tensor(
        [[0.4, -1.2, 0.3], [2.0, 0.5, -0.7], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64
    )
    try:
        found = tensor_from(answer, force.clone(), shape=(4, 5))
    except Wrong as wrong:
        if "inf or NaN" in str(wrong):
            raise Wrong(
                "For a force of zero you divide by its length, 0. No force, no features: clamp the "
                "length before you divide."
            ) from None
        raise
    right = degree_two(force)
    if torch.allclose(found, right, rtol=1e-4, atol=1e-9):
        return "Five numbers, quadratic in the direction and linear in the length: F and −F agree."
    size = force.norm(dim=1, keepdim=True)
    mistakes = [
        (right * size, "They should grow with |F|, not with its square: divide by |F| once more."),
        (
            right / size.clamp(min=1e-30),
            "They do not depend on |F| at all: a strong and a weak force would look the same.",
        ),
        (right / math.sqrt(15), "The factor √15 is missing: |Y^(2)|² = 5 for a unit vector."),
        (right * math.sqrt(3), "The factor 1/√3 of the encoding is missing."),
        (right / math.sqrt(5), "Their length should be √(5/3) |F|, as |Y^(2)|² = 5."),
        (right / math.sqrt(5 / 3), "Their length should be √(5/3) |F|, as |Y^(2)|² = 5."),
    ]
    for mistake, hint in mistakes:
        if torch.allclose(found, mistake, rtol=1e-4, atol=1e-9):
            raise Wrong(hint)
    rows = [column for column in range(5) if not torch.allclose(found[:, column], right[:, column])]
    if torch.allclose(found.sort(1).values, right.sort(1).values, rtol=1e-4, atol=1e-9):
        raise Wrong(f"The five are right, their order is not: {', '.join(DEGREE_TWO)}.")
    if torch.allclose(found.norm(dim=1), right.norm(dim=1), rtol=1e-4) and torch.allclose(
        found.abs(), right.abs(), rtol=1e-4, atol=1e-9
    ):
        raise Wrong(f"Number {rows[0] + 1}, {DEGREE_TWO[rows[0]]}, has the wrong sign.")
    k = rows[0]
    raise Wrong(
        f"Number {k + 1}, {DEGREE_TWO[k]}, is {found[0, k]:.4g} for the force (0.4, −1.2, 0.3), "
        f"and should be {right[0, k]:.4g}. Mind that x, y, z are those of the unit vector F/|F|."
    )
