"""Checks of the exercises of lesson 02: pretraining by denoising."""

import math
from collections.abc import Callable
from typing import Any

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


def _two_molecules(seed: int):
    """Generator, and the molecule of each of seven atoms: the first molecule has four, the second
    three."""
    return torch.Generator().manual_seed(seed), torch.tensor([0, 0, 0, 0, 1, 1, 1])


@check
def check_center(answer: Callable[..., Any]) -> str:
    """Check noise that is centered in each molecule.

    Parameters
    ----------
    answer : callable
        A function (eps [N, 3], batch [N]) -> eps minus its mean over the atoms of each molecule.
    """
    generator, batch = _two_molecules(4)
    eps = torch.randn(7, 3, generator=generator) + 1.0
    means = torch.stack([eps[batch == k].mean(0) for k in (0, 1)])
    untouched = eps.clone()
    right = eps - means[batch]
    found = tensor_from(answer, eps, batch, shape=(7, 3))
    if not torch.equal(eps, untouched):
        raise Wrong("Your function changes eps itself: return a new tensor.")
    if torch.allclose(found, right, atol=1e-5):
        return "No molecule as a whole is moved: nothing is asked that the network cannot see."
    if torch.allclose(found, eps - eps.mean(0), atol=1e-5):
        raise Wrong(
            "You take off the mean of the whole batch; each molecule needs its own, from its own "
            "atoms."
        )
    if torch.allclose(found, eps - eps.mean(1, keepdim=True), atol=1e-5):
        raise Wrong(
            "You average over x, y and z of each atom; average over the atoms, for x, y and z each."
        )
    if torch.allclose(found, eps, atol=1e-5):
        raise Wrong("Nothing was taken off: the noise of molecule 0 still has a mean.")
    if torch.allclose(found, means[batch], atol=1e-5):
        raise Wrong("These are the means themselves; subtract them from eps.")
    sums = torch.stack([eps[batch == k].sum(0) for k in (0, 1)])
    if torch.allclose(found, eps - sums[batch], atol=1e-5):
        raise Wrong(
            "You subtract the sum over the molecule; divide it by the molecule's number of atoms."
        )
    left = found[batch == 0].mean(0).abs().max().item()
    if left > 1e-4:
        raise Wrong(
            f"The mean of molecule 0 should be zero in x, y and z; yours is {left:.3g} in one of "
            "them."
        )
    raise Wrong(
        "The means are zero, but differences between atoms of one molecule changed; subtract one "
        "vector only."
    )


@check
def check_noise_floor(answer: Callable[..., Any]) -> str:
    """Check the smallest loss on uncentered noise.

    Parameters
    ----------
    answer : callable
        A function N -> the smallest loss that a translation-invariant network reaches on uncentered
        noise.
    """
    for n in (12, 29, 3, 1):
        found = number_from(call(answer, n))
        right = 1 / n
        if math.isclose(found, right, rel_tol=1e-6):
            continue
        told = f"For N = {n} you answer {found:.4g}. "
        if math.isclose(found, 1 - right, rel_tol=1e-6, abs_tol=1e-9):
            raise Wrong(
                told + "That is the share left when the mean is taken off; asked is the mean's own."
            )
        if math.isclose(found, 3 / n, rel_tol=1e-6):
            raise Wrong(
                told + "That is |mean|² of all three components together; the loss is a mean over "
                "components."
            )
        if math.isclose(found, 1 / (3 * n), rel_tol=1e-6):
            raise Wrong(
                told + "One factor 3 too many: three hidden numbers among 3N are a share of 3/(3N)."
            )
        if math.isclose(found, n**-0.5, rel_tol=1e-6):
            raise Wrong(told + "That is the standard deviation of the mean; the loss is a square.")
        if math.isclose(found, 2 / n, rel_tol=1e-6):
            raise Wrong(
                told + "With rotations you are right. Asked here is what translation alone hides."
            )
        raise Wrong(told + "The mean of N independent numbers of variance 1 has which variance?")
    return (
        "1/N: three hidden numbers among 3N. Rotations hide three more: water's loss in the plot "
        "is near 2/N."
    )


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The cosine of the angle between all numbers of two tensors."""
    return (a * b).sum() / (a.norm() * b.norm())


@check
def check_noise_force(answer: Callable[..., Any]) -> str:
    """Check the cosine between noise and forces.

    Parameters
    ----------
    answer : callable
        A function (eps [N, 3], forces [N, 3], batch [N]) -> cos(-eps, forces) of each molecule [B].
    """
    generator, batch = _two_molecules(5)
    eps = torch.randn(7, 3, generator=generator)
    forces = (
        -eps * torch.tensor([3.0, 3.0, 3.0, 3.0, 0.1, 0.1, 20.0])[:, None]
    )  # a spring to each atom's place

    right = torch.stack([_cosine(-eps[batch == k], forces[batch == k]) for k in (0, 1)])
    result = call(answer, eps, forces, batch)
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (7,):
        raise Wrong(
            "One number for each atom: add up over a molecule's atoms, so that large forces count "
            "more."
        )
    if isinstance(result, torch.Tensor) and result.ndim == 0:
        raise Wrong(
            "One number for the whole batch; molecules differ, so each needs its own: shape [2]."
        )
    found = tensor_from(lambda *_: result, shape=(2,))
    if torch.allclose(found, right, atol=1e-4):
        return (
            "1 where all springs are equally stiff, less where they differ: the force leans "
            "towards the stiff ones."
        )
    if torch.allclose(found, -right, atol=1e-4):
        raise Wrong(
            "The sign: noise pushes away, the force pulls back. Compare the force with −eps, the "
            "way back."
        )
    dots = torch.stack([(eps * forces)[batch == k].sum() for k in (0, 1)])
    if torch.allclose(found.abs(), dots.abs(), atol=1e-4):
        raise Wrong(
            "This is the dot product; divide by the lengths of both, or it measures how large the "
            "forces are."
        )
    shares = torch.nn.functional.cosine_similarity(-eps, forces, dim=1)
    if torch.allclose(found, torch.stack([shares[batch == k].mean() for k in (0, 1)]), atol=1e-4):
        raise Wrong(
            "You average the cosines of single atoms; take one dot product over all 3N numbers of "
            "a molecule."
        )
    if found.abs().max() > 1.001:
        raise Wrong(
            "A cosine lies between −1 and 1; yours reaches "
            f"{found[found.abs().argmax()].item():.3g}."
        )
    raise Wrong(
        f"For molecule 1 you get {found[1].item():.3f}; the cosine is {right[1].item():.3f}."
    )


@check
def check_corrupt(answer: Callable[..., Any]) -> str:
    """Check the corruption of masked atoms.

    Parameters
    ----------
    answer : callable
        A function (pos [N, 3], eps [N, 3], mask [N], sigma) -> (noisy pos [N, 3], targets of masked
        atoms [M, 3]).
    """
    generator, _ = _two_molecules(6)
    pos = torch.randn(7, 3, generator=generator)
    sigma = 0.04
    eps = sigma * torch.randn(7, 3, generator=generator)
    mask = torch.tensor([1, 0, 0, 1, 1, 0, 1]).bool()
    untouched = pos.clone()
    result = call(answer, pos, eps, mask, sigma)
    if not isinstance(result, tuple) or len(result) != 2:
        raise Wrong(
            "Return two things: the noisy positions, and the targets of the corrupted atoms."
        )
    if any(part is ... for part in result):
        raise Pending
    if not torch.equal(pos, untouched):
        raise Wrong("Your function moves the clean positions themselves: work on a copy.")
    noisy = tensor_from(lambda *_: result[0], shape=(7, 3))
    if torch.allclose(noisy, pos + eps, atol=1e-6):
        raise Wrong("Every atom is displaced; those outside the mask must stay where they are.")
    if torch.allclose(noisy[~mask], (pos + eps)[~mask]) and torch.allclose(noisy[mask], pos[mask]):
        raise Wrong("The mask is inverted: True marks the atoms to corrupt.")
    if torch.allclose(noisy, pos - eps * mask[:, None], atol=1e-6):
        raise Wrong(
            "The sign: noisy = clean + noise, or the network learns to push atoms further away."
        )
    if torch.allclose(noisy, pos + sigma * eps * mask[:, None], atol=1e-6):
        raise Wrong("eps is in Å already: do not multiply it by sigma.")
    if not torch.allclose(noisy, pos + eps * mask[:, None], atol=1e-6):
        k = (noisy - pos - eps * mask[:, None]).abs().sum(1).argmax().item()
        raise Wrong(
            f"Atom {k} is not where it should be; corrupted atoms are at pos + eps, the others at "
            "pos."
        )
    _judge_targets(result[1], eps[mask], sigma)
    return "Masked atoms move, the others stay, and the target has variance 1 whatever σ is."


def _judge_targets(answer: Any, eps: torch.Tensor, sigma: float) -> None:
    """Raise Wrong for targets that are not eps / sigma; eps [M, 3]: the noise of masked atoms."""
    if isinstance(answer, torch.Tensor) and tuple(answer.shape) == (7, 3):
        raise Wrong(
            "Targets for all 7 atoms: the loss counts the corrupted ones only, so keep those rows."
        )
    target = tensor_from(lambda *_: answer, shape=(4, 3))
    if torch.allclose(target, eps, atol=1e-6):
        raise Wrong(
            "Your target is in Å, of size 0.04: divide by sigma, so that its components have "
            "variance 1."
        )
    if torch.allclose(target, -eps / sigma, atol=1e-4):
        raise Wrong("The sign of the target: it is the noise that was added, not the way back.")
    if torch.allclose(target, eps * sigma, atol=1e-6):
        raise Wrong(
            "You multiply the target by sigma; divide, so that its components have variance 1."
        )
    if not torch.allclose(target, eps / sigma, atol=1e-4):
        raise Wrong(
            "The positions are right; the target should be eps / sigma of the corrupted atoms, in "
            "their order."
        )


@check
def check_pairwise(answer: Callable[..., Any]) -> str:
    """Check the loss of pairwise denoising.

    Parameters
    ----------
    answer : callable
        A function (pos [N, 3], corrected [N, 3], batch [N]) -> mean of (d_ij - d'_ij)² over pairs
        within molecules.
    """
    generator, batch = _two_molecules(7)
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
        return (
            "Distances within molecules only, and a loss that does not change when a molecule "
            "turns."
        )
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
            "You compare positions: a turned molecule would be punished although it is perfectly "
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
def check_extensivity(answer: Callable[..., Any]) -> str:
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
