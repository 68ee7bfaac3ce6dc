"""Checks of the exercises of lesson 03: the objective of DeNS and its ablations."""

import math
from collections.abc import Callable
from typing import Any

import torch

from scdlab.lessons.checks import Wrong, call, check, number_from, tensor_from


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


Losses = dict[str, Callable[[int], float]]


def unchanged_arms(losses: Losses, seeds: int = 12) -> list[str]:
    """The arms that are in truth the method itself: their loss is always the same.

    Parameters
    ----------
    losses : dict
        Arm -> its loss, a function of the random seed; "DeNS" is the method without an ablation.
    seeds : int, default 12
        How many seeds are tried.

    Returns
    -------
    list of str
        The arms whose loss equals that of "DeNS" to the last digit for every seed.
    """
    method = losses["DeNS"]
    return [
        name
        for name, loss in losses.items()
        if name != "DeNS" and all(loss(seed) == method(seed) for seed in range(seeds))
    ]


@check
def check_dead_ablation(answer: Callable[..., Any]) -> str:
    """Check how the reader finds ablations that change nothing.

    Parameters
    ----------
    answer : callable
        A function (losses: dict of arm -> function of a seed) -> the names of the arms whose loss
        is always that of "DeNS".
    """
    for worlds, seldom, tiny in ((0, 1, False), (1, 3, False), (2, 1, True), (3, 2, False)):
        asked: list[tuple[str, int]] = []
        losses, dead, alive = _arms(worlds, seldom, tiny, asked)
        found = call(answer, losses)
        names = {found} if isinstance(found, str) else _names(found)
        if "DeNS" in names:
            raise Wrong('"DeNS" is the method itself: leave it out.')
        if unknown := sorted(names - set(losses)):
            raise Wrong(f"There is no arm {unknown[0]!r}: return names of arms.")
        if not asked:
            raise Wrong("You never ask for a loss: losses[name](seed) computes one.")
        if missed := sorted(dead - names):
            raise Wrong(
                f"You miss {missed[0]!r}, whose loss is always that of DeNS. Two losses can only "
                "be compared for the same seed: another seed is other noise on other atoms."
            )
        if wrong := sorted(names & alive):
            seeds = {seed for name, seed in asked if name == wrong[0]}
            if tiny:
                raise Wrong(
                    f"{wrong[0]!r} differs from DeNS in the sixth digit, and that is a difference: "
                    "compare exactly, with ==. The same computation gives the same last digit."
                )
            raise Wrong(
                f"{wrong[0]!r} does change the loss, but not for each seed: where no atom happens "
                f"to be corrupted, all arms agree. You tried {len(seeds)} seed"
                f"{'' if len(seeds) == 1 else 's'}: try ten."
            )
    return "Same seed, several seeds, exact comparison: an arm that passes all three does nothing."


def _arms(
    worlds: int, seldom: int, tiny: bool, asked: list[tuple[str, int]]
) -> tuple[Losses, set[str], set[str]]:
    """Arms of an invented method, the dead and the living among them; `asked` notes each call."""
    names = ["no clue", "whole structures", "no energies", "another's force"]
    dead = {names[worlds]} if worlds < 3 else set()

    def loss_of(name: str, change: float) -> Callable[[int], float]:
        def loss(seed: int) -> float:
            asked.append((name, seed))
            value = 1 + 0.3 * math.sin(12.9898 * (seed + 1) + worlds)
            return value * (1 + change * (seed % (seldom + 1) == seldom))

        return loss

    losses = {"DeNS": loss_of("DeNS", 0.0)}
    for number, name in enumerate(names):
        change = 0.0 if name in dead else (1e-6 if tiny else 0.01) * (number + 1)
        losses[name] = loss_of(name, change)
    return losses, dead, set(names) - dead


def _names(found: Any) -> set[str]:
    """The names that the reader's function returned."""
    if isinstance(found, dict):
        raise Wrong("Return the names of the arms that change nothing, not a table of all.")
    try:
        names = set(found)
    except TypeError:
        raise Wrong(
            f"Your function should return a list of names, not a {type(found).__name__}."
        ) from None
    if not all(isinstance(name, str) for name in names):
        raise Wrong("Your function should return a list of names, as strings.")
    return names
