"""Checks of the exercises of lesson 05: equivariance by averaging (ECSE)."""

from collections.abc import Callable
from typing import Any, NoReturn

import torch

from scdlab.lessons.checks import Wrong, call, check, number_from, tensor_from


@check
def check_other_hand(answer: Callable[..., Any]) -> str:
    """Check the frames of the other handedness.

    Parameters
    ----------
    answer : callable
        A function of right-handed frames F [K, 3, 3], columns a, b, c -> those that mirror images
        have: b flipped.
    """
    generator = torch.Generator().manual_seed(11)
    q = torch.linalg.qr(torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)).Q
    frames = q * torch.linalg.det(q).sign()[:, None, None]
    untouched = frames.clone()
    found = tensor_from(answer, frames, shape=(4, 3, 3)).double()
    if not torch.equal(frames, untouched):
        raise Wrong(
            "You change F itself; the right-handed frames are still needed. Work on a copy: "
            "F.clone(), or F * …."
        )
    a, b, c = frames.unbind(-1)
    for other, hint in (
        (torch.stack([a, -b, c], -1), None),
        (frames, "These are the frames that were given: all are right-handed still."),
        (
            -frames,
            "-F is left-handed, but the mirrored molecule has a and c where they are: only b, the "
            "cross product, gets an extra sign.",
        ),
        (
            torch.stack([-a, b, c], -1),
            "You flip a, and a points to the neighbor, in the mirror as well. Which "
            "axis is a cross product of two vectors?",
        ),
        (
            torch.stack([a, b, -c], -1),
            "You flip c. It is a cross product of a and b, and b has an extra sign already: "
            "two signs cancel.",
        ),
        (
            frames * torch.tensor([1.0, -1.0, 1.0])[:, None],
            "You flip a row: the y components of all axes. Columns are axes; flip the second one.",
        ),
    ):
        if torch.allclose(found, other, atol=1e-6):
            if hint is None:
                return "The second column, the one cross product that is left, changes its sign."
            raise Wrong(hint)
    if torch.allclose(found @ found.mT, torch.eye(3, dtype=found.dtype).expand(4, 3, 3), atol=1e-6):
        raise Wrong("These are frames, but not those of the mirror image, [a, -b, c].")
    raise Wrong("These are no frames: their columns should be three unit vectors at right angles.")


@check
def check_force_error(answer: Callable[..., Any]) -> str:
    """Check the error of forces against finite differences.

    Parameters
    ----------
    answer : callable
        A function (energy, forces [N, 3], pos [N, 3], h) -> the largest |F + dE/dx| by central
        differences, a number.
    """
    generator = torch.Generator().manual_seed(12)
    pos = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    untouched = pos.clone()
    asked = []

    def energy(x):
        asked.append(x)
        return float((x**3).sum() / 3 + (x[0] * x[1]).sum() + 0.5 * x[2, 2] ** 2)

    forces = -(pos**2)
    forces[0] -= pos[1]
    forces[1] -= pos[0]
    forces[2, 2] -= pos[2, 2]
    wrong = forces.clone()
    wrong[2, 2] += 0.25  # the last component of the last atom alone

    found = {
        name: number_from(call(answer, energy, f, pos, 1e-3))
        for name, f in (("right", forces), ("wrong", wrong))
    }
    if not torch.equal(pos, untouched):
        raise Wrong(
            "You move pos itself and leave it moved: take pos.clone(), or add a step to it."
        )
    if not asked:
        raise Wrong(
            "You never compute an energy: compare the forces with (E(x + h) - E(x - h)) / 2h."
        )
    if abs(found["wrong"] - 0.25) < 1e-4 and found["right"] < 1e-5:
        return "Right forces pass, and one wrong component in nine is found."
    _judge_force_error(found, float(forces.abs().max()))


def _judge_force_error(found: dict[str, float], largest: float) -> NoReturn:
    """Raise Wrong with what is wrong; found: the answers for "right" and for "wrong" forces, whose
    largest component is given."""
    if found["right"] > 1e-1 and abs(found["right"] - 2 * largest) < 1e-2:
        raise Wrong(
            "Right forces fail, by twice their size: a force is *minus* the slope, so add the "
            "slope to it."
        )
    if min(abs(found["right"] - share * largest) for share in (0.5, 1.0)) < 1e-2:
        raise Wrong(
            "The slope comes out half or twice as large as it is: divide by 2h, for a step of h to "
            "each side."
        )
    if 1e-5 < found["right"] < 1e-2:
        raise Wrong(
            "Right forces fail by a little: differences to one side only err by h. Step to both "
            "sides."
        )
    if found["right"] < 1e-5:
        raise Wrong(
            "Right forces pass, but one wrong component, of the last atom along z, is not found as "
            f"it should be: an error of 0.25 eV/Å comes out as {found['wrong']:.3g}. Visit all 3N, "
            "and keep the largest absolute error."
        )
    raise Wrong(
        f"For right forces the error should be almost 0, and it is {found['right']:.3g} eV/Å."
    )


@check
def check_leak(answer: Callable[..., Any]) -> str:
    """Check how much a far molecule changes the energies of the others.

    Parameters
    ----------
    answer : callable
        A function (shares, pos [N, 3], far [N], R [3, 3]) -> the largest change of the others'
        shares [N] when the far atoms rotate by R about their center.
    """
    generator = torch.Generator().manual_seed(13)
    pos = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    far = torch.tensor([0, 0, 1, 1, 1, 0, 1]).bool()
    pos[far] += torch.tensor([30.0, 0.0, 0.0], dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    turn = q * torch.linalg.det(q).sign()
    untouched = pos.clone()

    def shares(x):
        return _shares(x, far)

    found = number_from(call(answer, shares, pos, far, turn))
    if not torch.equal(pos, untouched):
        raise Wrong("You move pos itself and leave it moved: take pos.clone() first.")
    best, mistakes = _leaks(pos, far, turn)
    near = 1e-6 * max(1.0, best)
    if abs(found - best) < near:
        return "Rotated about its own center, and only the other molecule's atoms are compared."
    for value, hint in mistakes:
        if abs(found - value) < near:
            raise Wrong(hint)
    raise Wrong(
        f"The shares of the other atoms change by {best:.4g} at most, and your answer is "
        f"{found:.4g}."
    )


def _shares(x: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
    """Shares [N] of an energy that leaks: those of near atoms change when the far molecule rotates,
    or moves."""
    weight = torch.tensor([-1.0, -2.0, 0.0, 0.0, 0.0, 6.0, 0.0], dtype=x.dtype)
    near = (x - x[~far].mean(0))[:, 0].square()
    pooled = (x[far] - x[~far].mean(0))[:, 0].square().sum()
    return torch.where(far, 1e3 * x[:, 0], near + pooled * weight)


def _leaks(
    pos: torch.Tensor, far: torch.Tensor, turn: torch.Tensor
) -> tuple[float, list[tuple[float, str]]]:
    """The right answer, and those of known mistakes with what is wrong about each."""
    center = pos[far].mean(0)

    def change(by, about, which):  # of all shares, when some atoms rotate about a place
        new = pos.clone()
        new[which] = (pos[which] - about) @ by.T + about
        return (_shares(new, far) - _shares(pos, far)).double()

    def largest(by, about, which):
        return float(change(by, about, which)[~far].abs().max())

    right = change(turn, center, far)
    return largest(turn, center, far), [
        (
            largest(turn.T, center, far),
            "You rotate backwards. Rows are positions, so rotating them by R is x @ R.T.",
        ),
        (
            largest(turn, torch.zeros(3, dtype=pos.dtype), far),
            "The far molecule should rotate about its own center, but it swings about the origin.",
        ),
        (
            float(right.abs().max()),
            "Leave the far molecule's own shares out: they may change. Look at those of ~far.",
        ),
        (
            float(right[~far].max()),
            "Take the absolute value of the changes first: one may be negative.",
        ),
        (float(right[~far].abs().mean()), "That is the mean change; take the largest."),
        (
            largest(turn, pos[~far].mean(0), ~far),
            "You rotate the near molecule; the far one should rotate.",
        ),
    ]
