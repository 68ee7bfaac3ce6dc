"""Checks of the exercises of lesson 00: structures and what does not change."""

import math
from collections.abc import Callable
from typing import Any

import torch

from scdlab.lessons.checks import Wrong, call, check, distance_matrix, number_from, tensor_from


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
        A function pos [n, 3] -> distances [n, n].
    """
    generator = torch.Generator().manual_seed(0)
    pos = torch.randn(5, 3, generator=generator)
    found = tensor_from(answer, pos, shape=(5, 5))
    right = distance_matrix(pos)
    if torch.allclose(found, right, atol=1e-4):
        return "Correct distances, and they do not change when the molecule turns."
    if torch.allclose(found, right.square(), atol=1e-4):
        raise Wrong("These are squared distances: the square root is missing.")
    if torch.allclose(found, (pos[:, None] - pos[None, :]).abs().sum(-1), atol=1e-4):
        raise Wrong(
            "You add |Δx| + |Δy| + |Δz|, which changes when the molecule turns; use √(Δx² + Δy² + "
            "Δz²)."
        )
    if found.diagonal().abs().max() > 1e-3:
        raise Wrong(f"The distance of atom 0 to itself is {found[0, 0]:.3g}; it should be 0.")
    raise Wrong(
        f"The distance of atoms 0 and 1 is {found[0, 1]:.4f}, but should be {right[0, 1]:.4f}."
    )


@check
def check_invariant(answer: Callable[..., Any]) -> str:
    """Check a quantity of one's own for its invariances.

    Parameters
    ----------
    answer : callable
        A function (z [n], pos [n, 3]) -> one number that no rotation, translation or renumbering of
        atoms changes.
    """
    generator = torch.Generator().manual_seed(1)
    z = torch.tensor([6, 6, 8, 1, 1])
    pos = torch.randn(5, 3, generator=generator)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    turn = turn * torch.linalg.det(turn)
    order = torch.tensor([4, 2, 0, 1, 3])
    before = number_from(call(answer, z, pos))
    changed = {
        "the molecule is moved": (z, pos + torch.tensor([3.0, -1.0, 2.0])),
        "the molecule is turned": (z, pos @ turn.T),
        "the atoms are numbered in another order": (z[order], pos[order]),
    }
    for what, (new_z, new_pos) in changed.items():
        after = number_from(call(answer, new_z, new_pos))
        if not math.isclose(before, after, rel_tol=1e-4, abs_tol=1e-5):
            raise Wrong(f"When {what}, your number goes from {before:.5g} to {after:.5g}.")
    if math.isclose(before, number_from(call(answer, z, 1.3 * pos)), rel_tol=1e-6):
        raise Wrong(
            "Your number never changes, but it also ignores the shape: stretching the molecule "
            "must change it."
        )
    return (
        "It stays the same under translation, rotation and renumbering, and still depends on the "
        "shape."
    )
