"""Checks of the exercises of lesson 00: structures and what does not change."""

import math
from collections.abc import Callable
from typing import Any

import torch
from ase.units import kB
from torch import Tensor

from scdlab.lessons.checks import Wrong, call, check, distance_matrix, number_from, tensor_from


@check
def check_thermal_spread(answer: Callable[..., Any]) -> str:
    """Check the spread of the potential energy of a molecule of springs.

    Parameters
    ----------
    answer : callable
        A function (n, T) -> standard deviation in eV: √((3n - 6)/2) k_B T.
    """
    for n, temperature in ((9, 500.0), (21, 300.0), (3, 1000.0)):
        kt = kB * temperature
        modes = 3 * n - 6
        right = math.sqrt(modes / 2) * kt
        found = number_from(call(answer, n, temperature))
        if math.isclose(found, right, rel_tol=5e-3):
            continue
        mistakes = {
            modes / 2 * kt: "this is the mean of the potential energy. The spread is the root of "
            "the variance.",
            modes / 2 * kt**2: "this is the variance, in eV²: take its square root.",
            math.sqrt(modes) * kt: "each spring has a variance of ½(k_BT)², and the ½ is missing.",
            modes * kt / math.sqrt(2): "variances of independent springs add; standard deviations "
            "do not.",
            math.sqrt(3 * n / 2) * kt: "translations and rotations cost no energy: take 3n − 6 "
            "springs.",
            math.sqrt((3 * n - 3) / 2) * kt: "rotations cost no energy either: take 3n − 6 "
            "springs.",
            math.sqrt(modes / 2) * temperature: "this is in kelvin: k_B is missing.",
            math.sqrt(modes / 2) * kt * 1.602176634e-19: "this is in joules; take k_B in eV/K.",
            math.sqrt(modes / 2 * kt): "k_B T stands under the root, but (k_BT)² is the variance.",
        }
        start = f"For n = {n} and T = {temperature:g} K you get {found:.3g} eV: "
        for wrong, why in mistakes.items():
            if math.isclose(found, wrong, rel_tol=5e-3):
                raise Wrong(start + why)
        raise Wrong(
            start + "how many springs are there, which variance does each have, and what is the "
            "variance of their sum?"
        )
    return "√((3n − 6)/2) k_B T: for ethanol at 500 K, 21 springs give 0.14 eV."


@check
def check_pair_count(answer: Callable[..., Any]) -> str:
    """Check the number of pairs.

    Parameters
    ----------
    answer : callable
        A function n -> number of unordered pairs among n atoms: n(n - 1)/2.
    """
    for n in (9, 29, 3, 2, 1):
        found = number_from(call(answer, n))
        right = n * (n - 1) // 2
        if found == right:
            continue
        if found == n * (n - 1):
            raise Wrong(
                f"For n = {n} you count {found:g}: each pair twice, as (i, j) and as (j, i)."
            )
        if found == n * (n + 1) // 2:
            raise Wrong(
                f"For n = {n} you count {found:g}: an atom is not its own neighbor, leave i = j "
                "out."
            )
        if found == n * n:
            raise Wrong(
                f"For n = {n} you count {found:g}: that is every (i, j), twice over and with i = j."
            )
        raise Wrong(
            f"For n = {n} you count {found:g}, but there are {right} pairs. Draw the case n = 3."
        )
    return (
        "n(n − 1)/2 pairs: 36 for ethanol's nine atoms. Pairs grow as n², so large systems need a "
        "cutoff."
    )


@check
def check_distances(answer: Callable[..., Any]) -> str:
    """Check the distances between all atoms.

    Parameters
    ----------
    answer : callable
        A function pos [n, 3] -> distances [n, n], with a gradient.
    """
    generator = torch.Generator().manual_seed(0)
    for n in (5, 2):
        pos = torch.randn(n, 3, generator=generator)
        found = tensor_from(answer, pos, shape=(n, n))
        right = distance_matrix(pos)
        if not torch.allclose(found, right, atol=1e-4):
            raise Wrong(_wrong_distances(pos, found, right))
    pos = torch.randn(4, 3, generator=generator).requires_grad_()
    found = tensor_from(answer, pos, shape=(4, 4))
    if not found.requires_grad:
        raise Wrong(
            "The values are right, but no derivative passes through them, and forces are "
            "derivatives: stay with torch functions, without .item(), .detach() or numpy."
        )
    slope = torch.autograd.grad(found[0, 1] + 0 * found.sum(), pos)[0]
    if not torch.isfinite(slope).all():
        raise Wrong(
            "The values are right, but their derivative is NaN: √x has an infinite slope at 0, "
            "where each atom meets itself. `.norm(dim=-1)` takes the slope 0 there."
        )
    return "Correct distances, and they do not change when the molecule rotates."


def _wrong_distances(pos: Tensor, found: Tensor, right: Tensor) -> str:
    """What is wrong with distances that are."""
    difference = pos[:, None] - pos[None, :]
    if torch.allclose(found, right.square(), atol=1e-4):
        return "These are squared distances: the square root is missing."
    if torch.allclose(found, difference.abs().sum(-1), atol=1e-4):
        return (
            "You add |Δx| + |Δy| + |Δz|, which changes when the molecule rotates; use √(Δx² + Δy² "
            "+ Δz²)."
        )
    if torch.allclose(found, torch.triu(right), atol=1e-4) or torch.allclose(
        found, torch.tril(right), atol=1e-4
    ):
        return "Half of the matrix is zero: fill both [i, j] and [j, i]."
    if found.diagonal().abs().max() > 1e-3:
        return f"The distance of atom 0 to itself is {found[0, 0]:.3g}; it should be 0."
    return f"The distance of atoms 0 and 1 is {found[0, 1]:.4f}, but should be {right[0, 1]:.4f}."


@check
def check_invariant(answer: Callable[..., Any]) -> str:
    """Check a quantity of one's own for its invariances.

    How much it may change is measured by how much it varies from shape to shape: a tiny number is
    not invariant because it is tiny.

    Parameters
    ----------
    answer : callable
        A function (z [n], pos [n, 3]) -> one number that no rotation, translation or renumbering of
        atoms changes, and that differs between shapes.
    """
    generator = torch.Generator().manual_seed(1)
    options: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    z = torch.tensor([6, 6, 8, 1, 1])
    shapes = [1.2 * torch.randn(5, 3, **options) for _ in range(6)]

    def value(numbers: Tensor, pos: Tensor) -> float:
        return number_from(call(answer, numbers.clone(), pos.clone()))

    values = [value(z, pos) for pos in shapes]
    largest = max(map(abs, values))
    spread = max(values) - min(values)
    flat = spread <= 1e-9 * largest
    allowed = 1e-5 * (largest if flat else spread) + 1e-12 * largest
    for pos, before in zip(shapes, values, strict=True):
        turn = torch.linalg.qr(torch.randn(3, 3, **options))[0]
        turn = turn * torch.linalg.det(turn)
        order = torch.randperm(5, generator=generator)
        changed = {
            "the molecule is moved": (z, pos + torch.tensor([3.0, -1.0, 2.0])),
            "the molecule is rotated": (z, pos @ turn.T),
            "the atoms are numbered in another order": (z[order], pos[order]),
        }
        for what, (new_z, new_pos) in changed.items():
            after = value(new_z, new_pos)
            if abs(after - before) > allowed:
                raise Wrong(f"When {what}, your number goes from {before:.5g} to {after:.5g}.")
    if flat:
        raise Wrong(
            f"Your number never changes, but it also ignores the shape: six different shapes of "
            f"the same atoms all give {values[0]:.5g}."
        )
    return (
        "It stays the same under translation, rotation and renumbering, and still depends on the "
        "shape."
    )
