"""Checks of the exercises of lesson 02b: what pretraining is worth."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scdlab.lessons.checks import (
    Pending,
    Wrong,
    call,
    check,
    distance_matrix,
    number_from,
    tensor_from,
)
from scdlab.lessons.checks.lesson02 import two_molecules


@check
def check_pairwise(answer: Callable[..., Any]) -> str:
    """Check the loss of pairwise denoising.

    Parameters
    ----------
    answer : callable
        A function (pos [N, 3], corrected [N, 3], batch [N]) -> mean of (d_ij - d'_ij)² over pairs
        within molecules.
    """
    generator, batch = two_molecules(7)
    pos = torch.randn(7, 3, generator=generator)
    corrected = pos + 0.3 * torch.randn(7, 3, generator=generator)
    change = distance_matrix(pos) - distance_matrix(corrected)
    same = batch[:, None] == batch[None, :]
    other = ~torch.eye(7, dtype=torch.bool)
    right = change[same & other].square().mean().item()
    result = call(answer, pos, corrected, batch)
    found = number_from(result)
    if math.isclose(found, right, rel_tol=1e-4):
        if (
            isinstance(result, torch.Tensor)
            and not torch.isfinite(_slope(answer, pos, corrected, batch)).all()
        ):
            raise Wrong(
                "The value is right, its gradient is NaN: √0 of an atom's distance to itself. "
                "Leave i = j out."
            )
        return "Distances within molecules only: rotating a molecule changes nothing."
    _judge_pairs(found, pos, corrected, same, other)
    raise Wrong(
        f"You get {found:.4g}; the mean over the nine pairs within the two molecules is "
        f"{right:.4g}."
    )


def _judge_pairs(
    found: float,
    pos: torch.Tensor,
    corrected: torch.Tensor,
    same: torch.Tensor,
    other: torch.Tensor,
) -> None:
    """Raise Wrong for a loss that is a known mistake; same and other [N, N]: pairs of atoms of one
    molecule, and of two atoms."""
    change = distance_matrix(pos) - distance_matrix(corrected)
    if math.isclose(found, change[other].square().mean().item(), rel_tol=1e-4):
        raise Wrong(
            "You compare all pairs of the batch: atoms of different molecules stand in no relation."
        )
    if math.isclose(found, change[same].square().mean().item(), rel_tol=1e-4):
        raise Wrong("Your mean counts the zeros of i = j; only pairs of two atoms are pairs.")
    if math.isclose(found, change.square().mean().item(), rel_tol=1e-4):
        raise Wrong(
            "You average over the whole matrix, pairs of different molecules and i = j included."
        )
    if math.isclose(found, (pos - corrected).square().mean().item(), rel_tol=1e-4):
        raise Wrong(
            "You compare positions: a rotated molecule would be punished although it is perfectly "
            "right."
        )
    if math.isclose(found, change[same & other].abs().mean().item(), rel_tol=1e-4):
        raise Wrong("You average absolute differences; square them.")
    squares = distance_matrix(pos).square() - distance_matrix(corrected).square()
    if math.isclose(found, squares[same & other].square().mean().item(), rel_tol=1e-4):
        raise Wrong(
            "You compare squared distances: far pairs would dominate. Take the square root first."
        )
    total = change[same & other].square().sum().item()
    if math.isclose(found, total, rel_tol=1e-4) or math.isclose(found, total / 2, rel_tol=1e-4):
        raise Wrong("You add up over pairs; take their mean, or large molecules dominate.")


def _slope(answer, pos, corrected, batch) -> torch.Tensor:
    """The gradient of the reader's loss by the corrected positions; zeros when there is none."""
    leaf = corrected.clone().requires_grad_()
    loss = call(answer, pos, leaf, batch)
    return torch.autograd.grad(loss, leaf)[0] if loss.requires_grad else torch.zeros_like(leaf)


@check
def check_read_off(answer: Callable[..., Any]) -> str:
    """Check how well the size can be read off an embedding.

    Parameters
    ----------
    answer : callable
        A function (x, n, x_new, n_new) -> R² on new molecules of a linear fit, with constant, from
        x [m, d] to n [m].
    """
    generator = torch.Generator().manual_seed(8)
    x = torch.randn(60, 4, generator=generator).double()
    x_new = torch.randn(40, 4, generator=generator).double()
    weight = torch.tensor([2.0, -1.0, 0.5, 0.0], dtype=torch.float64)
    n, n_new = (
        18 + y @ weight + 1.5 * torch.randn(len(y), generator=generator).double()
        for y in (x, x_new)
    )

    def fit(constant: bool = True):
        rows = [
            torch.cat([y, torch.full((len(y), 1), float(constant), dtype=y.dtype)], 1)
            for y in (x, x_new)
        ]
        w = torch.linalg.pinv(rows[0]) @ n
        return rows[0] @ w, rows[1] @ w

    def r2(y, guess):
        return (1 - (y - guess).square().sum() / (y - y.mean()).square().sum()).item()

    known, new = fit()
    found = number_from(call(answer, x, n, x_new, n_new))
    right = r2(n_new, new)
    if math.isclose(found, right, rel_tol=1e-3):
        return (
            "Fitted on some, judged on others: 1 means that size can be read off, 0 that it cannot."
        )
    if math.isclose(found, r2(n, known), rel_tol=1e-3):
        raise Wrong(
            "You judge the fit on the molecules it was fitted to; with many features that is "
            "always near 1."
        )
    if math.isclose(found, r2(n_new, fit(constant=False)[1]), rel_tol=1e-3):
        raise Wrong("The fit has no constant term: append a column of ones to x and to x_new.")
    if math.isclose(
        found, torch.corrcoef(torch.stack([n_new, new]))[0, 1].square().item(), rel_tol=1e-3
    ):
        raise Wrong(
            "That is the squared correlation, which forgives a wrong slope; R² = 1 − residual / "
            "spread."
        )
    if math.isclose(found, 1 - right, rel_tol=1e-3):
        raise Wrong("That is the share *not* explained; R² is one minus it.")
    if math.isclose(found, (n_new - new).square().mean().item(), rel_tol=1e-3):
        raise Wrong(
            "That is the mean squared error; divide by the variance of n_new and take it from 1."
        )
    raise Wrong(f"You get {found:.3f}, R² is {right:.3f}: least squares on x, errors on x_new.")


@check
def check_paired(answer: Callable[..., Any]) -> str:
    """Check the difference between two models on the same molecules, and its standard error.

    Parameters
    ----------
    answer : callable
        A function (a [n], b [n]), absolute errors of two models on the same n molecules -> (mean
        of b - a, standard error of that mean).
    """
    generator = torch.Generator().manual_seed(11)
    common = 0.3 * torch.rand(50, generator=generator, dtype=torch.float64)
    a = common + 0.05 * torch.rand(50, generator=generator, dtype=torch.float64)
    b = common + 0.02 + 0.05 * torch.rand(50, generator=generator, dtype=torch.float64)
    result = call(answer, a, b)
    try:
        mean, error = (number_from(each) for each in result)
    except (TypeError, ValueError):
        raise Wrong("Return two numbers: the mean difference, and its standard error.") from None
    gap = b - a
    n = len(gap)
    if math.isclose(mean, -gap.mean().item(), rel_tol=1e-6):
        raise Wrong("The sign: b − a, so that a positive number means that a is better.")
    if not math.isclose(mean, gap.mean().item(), rel_tol=1e-6):
        raise Wrong(f"The mean of b − a is {gap.mean().item():.4f}; you get {mean:.4f}.")
    for ddof in (0, 1):
        spread = gap.std(correction=ddof).item()
        if math.isclose(error, spread / math.sqrt(n), rel_tol=1e-6):
            return "Paired: what makes a molecule hard for both models drops out of the difference."
        if math.isclose(error, spread, rel_tol=1e-6):
            raise Wrong("That is the spread of the differences; that of their mean is √n smaller.")
        if math.isclose(error, spread / n, rel_tol=1e-6):
            raise Wrong("Divide the spread by √n, not by n.")
        if math.isclose(error, spread**2 / n, rel_tol=1e-6):
            raise Wrong("That is the variance of the mean; the standard error is its root.")
        apart = math.sqrt((a.var(correction=ddof) + b.var(correction=ddof)).item() / n)
        if math.isclose(error, apart, rel_tol=1e-6):
            raise Wrong(
                "You add the variances of a and b as if they were errors on different molecules. "
                "They are on the same ones: take the spread of the differences."
            )
    raise Wrong("The standard error is the standard deviation of b − a, divided by √n.")


@check
def check_composition(answer: Callable[..., Any]) -> str:
    """Check features that hold the composition and nothing else.

    Parameters
    ----------
    answer : callable
        A function (z [N], batch [N]) -> share of H, C, N, O and F among each molecule's atoms
        [B, 5].
    """
    z = torch.tensor([6, 1, 1, 1, 1, 8, 1, 1, 7, 7, 9, 6])
    batch = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    elements = torch.tensor([1, 6, 7, 8, 9])
    count = torch.stack(
        [(z[batch == k, None] == elements).sum(0) for k in range(3)]
    ).double()  # (B, 5)
    right = count / count.sum(1, keepdim=True)
    result = call(answer, z, batch)
    if isinstance(result, np.ndarray):
        result = torch.from_numpy(result.copy())
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (12, 5):
        raise Wrong("You return one row per atom; average over the atoms of each molecule.")
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (5, 3):
        raise Wrong("The axes have changed places: molecules first, then elements.")
    found = tensor_from(lambda *_: result, shape=(3, 5)).double()
    if torch.allclose(found, right, atol=1e-5):
        return "Shares of the elements: no geometry, no network, and not even the size."
    if torch.allclose(found, count, atol=1e-5):
        raise Wrong(
            "Those are numbers of atoms, which hold the size; divide by the atoms of the molecule."
        )
    if torch.allclose(found, count / count.sum(0), atol=1e-5):
        raise Wrong("You divide by the atoms of an element; divide by those of the molecule.")
    if torch.allclose(found, count / len(z), atol=1e-5):
        raise Wrong("You divide by the atoms of the batch; divide by those of the molecule.")
    if torch.allclose(found.sort(1).values, right.sort(1).values, atol=1e-5):
        raise Wrong("The right shares in another order; it should be H, C, N, O, F.")
    raise Wrong(
        "Molecule 0 is methane: its shares are 0.8 of H and 0.2 of C, in the order H, C, N, O, F."
    )


@check
def check_cross_pairs(answer: Callable[..., Any]) -> str:
    """Check the share of pairs of a batch that join two molecules.

    Parameters
    ----------
    answer : callable
        A function (B, N) -> share of all pairs of atoms of a batch of B molecules of N atoms each
        whose atoms belong to different molecules.
    """
    for b, n in ((16, 18), (2, 3), (1, 5)):
        found = number_from(call(answer, b, n))
        total = b * n * (b * n - 1) / 2
        within = b * n * (n - 1) / 2
        right = 1 - within / total
        if math.isclose(found, right, rel_tol=1e-6, abs_tol=1e-9):
            continue
        start = f"For {b} molecules of {n} atoms you answer {found:.4g}. "
        if math.isclose(found, within / total, rel_tol=1e-6):
            raise Wrong(start + "That is the share *within* molecules.")
        if math.isclose(found, 1 - 1 / b, rel_tol=1e-6, abs_tol=1e-9):
            raise Wrong(
                start + "Close: but no atom is paired with itself, which favors other molecules."
            )
        if math.isclose(found, 100 * right, rel_tol=1e-6):
            raise Wrong(start + "A share, please, not per cent.")
        if math.isclose(found, total - within, rel_tol=1e-6):
            raise Wrong(start + "That is their number; divide by the number of all pairs.")
        raise Wrong(start + "Of M atoms there are M(M − 1)/2 pairs: once for all, once within.")
    return "(BN − N)/(BN − 1): with 16 molecules, some 94 % of the pairs mean nothing."


@check
def check_verdict(answer: Any) -> str:
    """Check a verdict on two arms of several seeds.

    Parameters
    ----------
    answer : tuple
        (errors of the pretrained arm, errors from scratch, verdict), one error a seed, the verdict
        "pretraining helps", "pretraining hurts" or "tie".
    """
    words = ("pretraining helps", "pretraining hurts", "tie")
    if callable(answer):
        answer = call(answer)
    if isinstance(answer, tuple | list) and any(each is ... for each in answer):
        raise Pending
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        raise Wrong("Give three things: the errors of both arms, and your verdict.")
    arms = [[number_from(each) for each in arm] for arm in answer[:2]]
    if answer[2] not in words:
        raise Wrong(f"The verdict is one of {', '.join(words)}.")
    if len(arms[0]) != len(arms[1]):
        raise Wrong("Both arms need the same seeds: one error of each for every seed.")
    if len(arms[0]) < 3:
        raise Wrong("Fewer than three seeds have no spread to speak of: run some more.")
    gap = np.subtract(arms[1], arms[0])
    if min(arms[0] + arms[1]) <= 0 or not np.ptp(gap):
        raise Wrong("Errors are positive and differ between seeds: enter what you measured.")
    spread = gap.std(ddof=1)
    seen = "tie"
    if np.all(gap > 0) and gap.mean() > spread:
        seen = words[0]
    if np.all(gap < 0) and -gap.mean() > spread:
        seen = words[1]
    numbers = f"the gaps have mean {gap.mean():.3g} and standard deviation {spread:.3g}"
    if answer[2] == seen:
        return f"As the rule has it: {numbers}."
    if seen == "tie":
        raise Wrong(f"That is more than the seeds say: {numbers}, or they differ in sign.")
    raise Wrong(f"The seeds say more than that, or the opposite: {numbers}, all of one sign.")
