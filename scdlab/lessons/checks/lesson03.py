"""Checks of the exercises of lesson 03: denoising off equilibrium (DeNS)."""

import math
from collections.abc import Callable
from typing import Any

import torch

from scdlab.lessons.checks import Wrong, call, check, number_from, tensor_from


@check
def check_unit_factor(answer: Callable[..., Any]) -> str:
    """Check the factor that normalizes spherical harmonics.

    Parameters
    ----------
    answer : callable
        A function l -> the factor that makes Y^(l) of a unit vector one long, where |Y^(l)|² = 2l +
        1.
    """
    for degree in (1, 2, 0, 5):
        found = number_from(call(answer, degree))
        right = (2 * degree + 1) ** -0.5
        if math.isclose(found, right, rel_tol=1e-3):
            continue
        told = f"For l = {degree} you answer {found:.4g}. "
        if math.isclose(found, 1 / right, rel_tol=1e-3):
            raise Wrong(told + "That is the length itself: divide by it.")
        if math.isclose(found, right**2, rel_tol=1e-3):
            raise Wrong(told + "The sum of squares is 2l + 1, the length is its square root.")
        if math.isclose(found, 3**-0.5, rel_tol=1e-3):
            raise Wrong(
                told + "Right for l = 1; the other degrees have another number of components."
            )
        if math.isclose(found, (4 * math.pi / (2 * degree + 1)) ** 0.5, rel_tol=1e-3):
            raise Wrong(
                told
                + "That belongs to harmonics whose square integrates to 1; ours have |Y|² = 2l + 1."
            )
        raise Wrong(
            told + "Y^(l) of a unit vector has squares that add up to 2l + 1. How long is it?"
        )
    return (
        "1/√(2l + 1), so 1/√3 for l = 1: there |F|/√3 · Y is F itself. The paper uses this one for "
        "all degrees."
    )


@check
def check_labels_kept(answer: Callable[..., Any]) -> str:
    """Check the share of labels that DeNS keeps.

    Parameters
    ----------
    answer : callable
        A function (p, r) -> the share of all force labels that a step of DeNS still learns from.
    """
    for p, r in ((0.5, 0.1), (0.25, 0.25), (0.25, 1.0), (0.0, 0.7), (1.0, 1.0)):
        found = number_from(call(answer, p, r))
        right = 1 - p * r
        if math.isclose(found, right, rel_tol=1e-3, abs_tol=1e-6):
            continue
        told = f"For p = {p:g}, r = {r:g} you answer {found:.4g}. "
        for other, hint in (
            (p * r, "That is the share that is lost; asked is what is kept."),
            (
                1 - p,
                "That is for r = 1: in a corrupted structure the atoms that stayed keep their "
                "labels.",
            ),
            (
                1 - r,
                "That is the share in a corrupted structure; most structures are not corrupted.",
            ),
            (
                (1 - p) * (1 - r),
                "Structures that were not chosen keep all of their labels, not a share of 1 - r.",
            ),
            (
                1 - p - r,
                "An atom is corrupted when its structure is chosen *and* it is: multiply the two.",
            ),
        ):
            if math.isclose(found, other, rel_tol=1e-3, abs_tol=1e-6):
                raise Wrong(told + hint)
        raise Wrong(
            told
            + "How likely is it that a given atom is corrupted? Its label is the one that is lost."
        )
    return "1 - p·r: 94 % at p = r = 1/4, and only 75 % when whole structures are corrupted."


@check
def check_dens_mask(answer: Callable[..., Any]) -> str:
    """Check which atoms DeNS corrupts.

    Parameters
    ----------
    answer : callable
        A function (chosen [B], u [N], batch [N], fixed [N], r) -> mask [N]: atoms to corrupt. An
        atom is corrupted if its structure was chosen, its u is below r, and it may move.
    """
    batch = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    chosen = torch.tensor([True, False, True])
    u = torch.tensor([0.1, 0.9, 0.3, 0.1, 0.2, 0.05, 0.45, 0.8, 0.2, 0.5])
    fixed = torch.tensor([0, 0, 0, 0, 0, 1, 0, 0, 0, 1]).bool()
    for r in (0.5, 0.25, 1.0, 0.0):
        mask = tensor_from(answer, chosen, u, batch, fixed, r, shape=(10,), mask=True)
        if mask.dtype != torch.bool:
            raise Wrong(
                "The mask should hold booleans, but it holds "
                f"{str(mask.dtype).removeprefix('torch.')}."
            )
        below = u < r
        of = chosen[batch]
        right = of & below & ~fixed
        if torch.equal(mask, right):
            continue
        for other, hint in (
            (~right, "The mask is inverted: True marks the atoms to corrupt."),
            (
                of & below,
                "Fixed atoms are corrupted too: in a slab the lower layers must stay where they "
                "are.",
            ),
            (
                below & ~fixed,
                "Atoms of structures that were not chosen are corrupted: look up chosen[batch].",
            ),
            (
                of & ~fixed,
                "All free atoms of the chosen structures are corrupted: compare u with r.",
            ),
            (
                of & (u > r) & ~fixed,
                "The comparison is the wrong way round: u < r is true for a share r of the atoms.",
            ),
            (
                (of | below) & ~fixed,
                "Either is not enough: structure *and* atom must have been drawn.",
            ),
        ):
            if torch.equal(mask, other):
                raise Wrong(f"For r = {r:g}: {hint}")
        k = int((mask != right).nonzero()[0])
        raise Wrong(
            f"For r = {r:g} atom {k} should be {'corrupted' if right[k] else 'left alone'}: its "
            f"structure was {'' if of[k] else 'not '}chosen, u = {u[k]:g}, "
            f"{'fixed' if fixed[k] else 'free'}."
        )
    return "Chosen structure, drawn atom, free to move: these three and no other."
