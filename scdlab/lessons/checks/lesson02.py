"""Checks of the exercises of lesson 02: denoising."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ase.units import kB

from scdlab.lessons.checks import Pending, Wrong, call, check, number_from, tensor_from


def two_molecules(seed: int) -> tuple[torch.Generator, torch.Tensor]:
    """Two small molecules to try answers on.

    Parameters
    ----------
    seed : int
        Of the generator.

    Returns
    -------
    generator : torch.Generator
        Source of their positions.
    batch : Tensor [7]
        The molecule of each of seven atoms: the first has four, the second three.
    """
    return torch.Generator().manual_seed(seed), torch.tensor([0, 0, 0, 0, 1, 1, 1])


def _tensors(answer: Any) -> Any:
    """The answer, with numpy arrays in it as tensors."""
    if isinstance(answer, np.ndarray) and answer.dtype.kind in "fiub":
        return torch.from_numpy(answer.copy())
    return answer


@check
def check_center(answer: Callable[..., Any]) -> str:
    """Check noise that is centered in each molecule.

    Parameters
    ----------
    answer : callable
        A function (eps [N, 3], batch [N]) -> eps minus its mean over the atoms of each molecule.
    """
    generator, batch = two_molecules(4)
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
        found_text = f"For N = {n} you answer {found:.4g}. "
        if math.isclose(found, 1 - right, rel_tol=1e-6, abs_tol=1e-9):
            raise Wrong(
                found_text
                + "That is the share left when the mean is taken off; asked is the mean's own."
            )
        if math.isclose(found, 3 / n, rel_tol=1e-6):
            raise Wrong(
                found_text
                + "That is |mean|² of all three components together; the loss is a mean over "
                "components."
            )
        if math.isclose(found, 1 / (3 * n), rel_tol=1e-6):
            raise Wrong(
                found_text
                + "One factor 3 too many: three hidden numbers among 3N are a share of 3/(3N)."
            )
        if math.isclose(found, n**-0.5, rel_tol=1e-6):
            raise Wrong(
                found_text + "That is the standard deviation of the mean; the loss is a square."
            )
        if math.isclose(found, 2 / n, rel_tol=1e-6):
            raise Wrong(
                found_text + "That is twice as much: the question is what translation alone hides."
            )
        raise Wrong(
            found_text + "The mean of N independent numbers of variance 1 has which variance?"
        )
    return "1/N: three numbers of 3N are hidden. For water that is a third of the loss."


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
    generator, batch = two_molecules(5)
    eps = torch.randn(7, 3, generator=generator)
    forces = (
        -eps * torch.tensor([3.0, 3.0, 3.0, 3.0, 0.1, 0.1, 20.0])[:, None]
    )  # a spring to each atom's place

    right = torch.stack([_cosine(-eps[batch == k], forces[batch == k]) for k in (0, 1)])
    result = _tensors(call(answer, eps, forces, batch))
    if isinstance(result, list | tuple) and len(result) == 2:
        result = torch.tensor([number_from(each) for each in result])
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
    generator, _ = two_molecules(6)
    pos = torch.randn(7, 3, generator=generator)
    sigma = 0.04
    eps = sigma * torch.randn(7, 3, generator=generator)
    mask = torch.tensor([1, 0, 0, 1, 1, 0, 1]).bool()
    untouched = pos.clone()
    result = call(answer, pos, eps, mask, sigma)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Wrong(
            "Return two things: the noisy positions, and the targets of the corrupted atoms."
        )
    if any(part is ... for part in result):
        raise Pending
    if not torch.equal(pos, untouched):
        raise Wrong("Your function moves the clean positions themselves: work on a copy.")
    noisy = tensor_from(lambda *_: _tensors(result[0]), shape=(7, 3))
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
    _judge_targets(_tensors(result[1]), eps[mask], sigma)
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
def check_temperature(answer: Callable[..., Any]) -> str:
    """Check the temperature that belongs to a rise of the energy.

    Parameters
    ----------
    answer : callable
        A function (rise in eV, number of atoms N) -> temperature in K at which heat raises the
        mean potential energy of the 3N - 6 vibrations by as much.
    """
    for rise, n in ((0.9, 11), (0.02, 3)):
        found = number_from(call(answer, rise, n))
        right = 2 * rise / ((3 * n - 6) * kB)
        if math.isclose(found, right, rel_tol=0.01):
            continue
        start = f"For {rise} eV in {n} atoms you answer {found:.4g} K. "
        modes = 3 * n - 6
        mistakes = {
            right / 2: "Heat puts k_B T/2 into the potential energy of a vibration, not k_B T.",
            right / 4: "Heat puts k_B T/2 into the potential energy of a vibration, not 2 k_B T.",
            right / 3: "3/2 k_B T is the kinetic energy of an atom; a spring holds k_B T/2.",
            2
            * rise
            / (3 * n * kB): "Moving and rotating the whole molecule costs nothing: 3N − 6.",
            2 * rise / ((3 * n - 3) * kB): "Rotations cost nothing either: 3N − 6 directions.",
            rise / (3 * n * kB): "It is k_B T/2 in each, and there are 3N − 6 of them.",
            2 * rise / (n * kB): "Count vibrations, not atoms: 3N − 6.",
            2 * rise / kB: "The rise is shared by 3N − 6 vibrations: divide by their number.",
            2 * rise / modes: "That is in eV: divide by k_B = 8.617e-5 eV/K.",
        }
        for value, hint in mistakes.items():
            if math.isclose(found, value, rel_tol=0.01):
                raise Wrong(start + hint)
        raise Wrong(start + "Each of 3N − 6 springs holds k_B T/2; solve for T.")
    return "The same energy in every vibration: that is what heat does, and what noise does not."


@check
def check_rigid(answer: Callable[..., Any]) -> str:
    """Check noise without its rigid part.

    Parameters
    ----------
    answer : callable
        A function (eps [n, 3], pos [n, 3]) -> eps without what moves or rotates the molecule as a
        whole.
    """
    generator = torch.Generator().manual_seed(9)
    pos = torch.randn(5, 3, generator=generator).double() + 2.0
    eps = torch.randn(5, 3, generator=generator).double()
    moves = torch.eye(3).double().repeat(5, 1, 1)  # (n, 3 directions, 3)
    turns = torch.linalg.cross(moves, (pos - pos.mean(0))[:, None].expand(5, 3, 3))
    about_origin = torch.linalg.cross(moves, pos[:, None].expand(5, 3, 3))

    def without(*vectors: torch.Tensor) -> torch.Tensor:
        rigid = torch.cat(vectors, dim=1).transpose(1, 2).reshape(15, -1)
        q, _ = torch.linalg.qr(rigid)
        return (eps.flatten() - q @ (q.T @ eps.flatten())).view(5, 3)

    right = without(moves, turns)
    untouched = eps.clone()
    result = _tensors(call(answer, eps, pos))
    found = tensor_from(lambda *_: result, eps, pos, shape=(5, 3))
    if not torch.equal(eps, untouched):
        raise Wrong("Your function changes eps itself: return a new tensor.")
    if torch.allclose(found, right, atol=1e-4):
        return "What is left changes the shape of the molecule; nothing else can be seen."
    mistakes = (
        (eps, "Nothing was taken off."),
        (eps - right, "That is the rigid part itself: subtract it from eps."),
        (without(moves), "The mean is off; the three rotations are still in it."),
        (without(turns), "The rotations are off; the mean of eps is still in it."),
        (
            without(about_origin),
            "You rotate about the origin and leave the mean in: take off the mean of eps and "
            "measure positions from their center.",
        ),
        (
            (eps.flatten() - _naive(moves, turns) @ eps.flatten()).view(5, 3),
            "The three rotations are not perpendicular to each other, so you cannot take them off "
            "one by one: make them orthonormal first (torch.linalg.qr).",
        ),
    )
    for value, hint in mistakes:
        if torch.allclose(found, value, atol=1e-4):
            raise Wrong(hint)
    if found.mean(0).abs().max() > 1e-4:
        raise Wrong("Your result still moves the molecule as a whole: its mean is not zero.")
    if torch.linalg.cross(pos - pos.mean(0), found).sum(0).abs().max() > 1e-4:
        raise Wrong("Your result still rotates the molecule: Σ (x − x̄) × ε is not zero.")
    raise Wrong("It does not move or rotate the molecule, but more than the rigid part is missing.")


def _naive(*vectors: torch.Tensor) -> torch.Tensor:
    """Projector made of vectors of length 1 as if they were perpendicular."""
    rigid = torch.cat(vectors, dim=1).transpose(1, 2).reshape(15, -1)
    rigid = rigid / rigid.norm(dim=0)
    return rigid @ rigid.T


@check
def check_best_answer(answer: Callable[..., Any]) -> str:
    """Check the best guess of the noise in one dimension.

    Parameters
    ----------
    answer : callable
        A function (noisy, s, sigma) -> mean of the noise of size sigma, where clean values are
        normal with mean 0 and standard deviation s, and their noisy value is known.
    """
    for noisy, s, sigma in ((0.3, 0.5, 0.2), (-1.0, 0.1, 0.4)):
        found = number_from(call(answer, noisy, s, sigma))
        share = sigma**2 / (s**2 + sigma**2)
        if math.isclose(found, share * noisy, rel_tol=1e-4):
            continue
        start = f"For x̃ = {noisy}, s = {s}, σ = {sigma} you answer {found:.4g}. "
        mistakes = {
            (1 - share) * noisy: "That is the best guess of the clean x; the noise is the rest.",
            noisy: "That blames all of x̃ on the noise: right only where s = 0.",
            0.0: "That is the mean of the noise before x̃ is known.",
            sigma / (s + sigma) * noisy: "Variances add up, not standard deviations: use squares.",
            sigma / math.hypot(s, sigma) * noisy: "Covariance over variance: σ² / (s² + σ²).",
            share * noisy / sigma: "That is in units of σ; here the answer is asked in Å.",
            -share * noisy: "The sign: a value far to the right was probably pushed to the right.",
            sigma**2 / s**2 * noisy: "The variance of x̃ is s² + σ²: both widen it.",
            share: "That is the share; times x̃ it is the guess.",
        }
        for value, hint in mistakes.items():
            if math.isclose(found, value, rel_tol=1e-4, abs_tol=1e-9):
                raise Wrong(start + hint)
        raise Wrong(
            start + "Both are normal: the best guess is x̃ times covariance(ε, x̃) / variance(x̃)."
        )
    return (
        "A share σ²/(s² + σ²) of x̃: all of it where the spring is stiff, little where it is soft."
    )


@check
def check_fractional(answer: Callable[..., Any]) -> str:
    """Check the target of fractional denoising.

    Parameters
    ----------
    answer : callable
        A function (start, middle, noisy, sigma), positions [N, 3] before any noise, after the
        torsional noise, and after the Gaussian noise of size sigma -> target [N, 3].
    """
    generator = torch.Generator().manual_seed(10)
    start = torch.randn(6, 3, generator=generator)
    middle = start + 0.4 * torch.randn(6, 3, generator=generator)
    sigma = 0.04
    noisy = middle + sigma * torch.randn(6, 3, generator=generator)
    result = _tensors(call(answer, start, middle, noisy, sigma))
    found = tensor_from(lambda *_: result, start, shape=(6, 3))
    if torch.allclose(found, (noisy - middle) / sigma, atol=1e-3):
        return "The Gaussian part alone: torsions were moved, and nobody asks where they were."
    mistakes = (
        ((noisy - start) / sigma, "That is all of the noise: the torsional part is not asked for."),
        ((middle - start) / sigma, "That is the torsional part, the one that is not asked for."),
        (noisy - middle, "The right part, in Å: divide by sigma."),
        ((middle - noisy) / sigma, "The sign: the target is the noise, not the way back."),
        (noisy - start, "That is all of the noise, in Å; asked is the Gaussian part, over sigma."),
    )
    for value, hint in mistakes:
        if torch.allclose(found, value, atol=1e-3):
            raise Wrong(hint)
    raise Wrong("The target is what the Gaussian noise added to `middle`, in units of sigma.")
