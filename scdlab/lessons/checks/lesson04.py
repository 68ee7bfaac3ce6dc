"""Checks of the exercises of lesson 04: self-conditioned denoising (SCD)."""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from scdlab.lessons.checks import Wrong, call, check, number_from, tensor_from
from scdlab.lessons.checks.lesson04_mistakes import modulated_wrongly, normed, wrong_margins


@check
def check_modulate(answer: Callable[..., Any]) -> str:
    """Check the adaptive layer norm.

    Parameters
    ----------
    answer : callable
        A function (x, scale, shift), all [N, d] -> (1 + scale) ∘ LN(x) + shift, LN over channels
        without weights.
    """
    generator = torch.Generator().manual_seed(9)
    x, scale, shift = torch.randn(3, 5, 8, generator=generator).unbind()
    x = (
        x * torch.tensor([0.5, 1.0, 2.0, 3.0, 3e-3])[:, None]
        + torch.tensor([0.0, 2.0, -3.0, 1.0, 1.0])[:, None]
    )
    untouched = x.clone()
    right = normed(x)
    found = tensor_from(answer, x, scale, shift, shape=x.shape)
    if not torch.equal(x, untouched):
        raise Wrong("Your function changes x itself: return a new tensor.")

    def is_near(other, rows=slice(None)):
        return torch.allclose(found[rows], other[rows], atol=1e-3)

    plain = slice(0, 4)  # the last atom's channels are nearly equal: there eps counts
    if is_near((1 + scale) * right + shift):
        return (
            "With scale = shift = 0 it is the plain norm: what an untrained condition does, "
            "nothing."
        )
    if is_near((1 + scale) * right + shift, plain):
        raise Wrong(
            "Atom 4, whose channels are nearly equal, is wrong: divide by √(variance + 1e-5), eps "
            "inside."
        )
    for mistake, hint in modulated_wrongly(x, scale, shift):
        if is_near(mistake, plain):
            raise Wrong(hint)
    value = ((1 + scale) * right + shift)[0, 0]
    raise Wrong(
        f"Atom 0, channel 0: you get {found[0, 0]:.4f}; (1 + scale) · norm + shift is {value:.4f}."
    )


@check
def check_drop_condition(answer: Callable[..., Any]) -> str:
    """Check how conditions are dropped.

    Parameters
    ----------
    answer : callable
        A function (c [B, d], token [d], u [B], p) -> c [B, d], the rows with u < p replaced by the
        token, exactly.
    """
    generator = torch.Generator().manual_seed(10)
    p = 0.25
    # B = d, on purpose
    c = 1000 * torch.randn(6, 6, generator=generator)
    token = torch.randn(6, generator=generator)
    u = torch.tensor([0.1, 0.9, 0.2, 0.25, 0.4, 0.7])
    untouched = c.clone()

    def told(dropped):
        return torch.where(dropped[:, None], token, c)

    right = told(u < p)
    found = tensor_from(answer, c, token, u, p, shape=c.shape)
    if not torch.equal(c, untouched):
        raise Wrong("Your function changes c itself: torch.where makes a new tensor.")
    if torch.equal(found, right):
        for edge, dropped in ((0.0, False), (1.0, True)):
            again = tensor_from(answer, c, token, u, edge, shape=c.shape)
            if not torch.equal(again, told(torch.full((6,), dropped))):
                raise Wrong(
                    f"Right for p = 0.25, but for p = {edge:g} {'all' if dropped else 'no'} rows "
                    "are dropped."
                )
        return "A dropped row is the token as a whole, and every other row is exactly what it was."
    _judge_dropped(found, c, token, u, p)


def _judge_dropped(
    found: torch.Tensor, c: torch.Tensor, token: torch.Tensor, u: torch.Tensor, p: float
) -> NoReturn:
    """Raise Wrong with what is wrong about the rows found [B, d]."""

    def told(dropped):
        return torch.where(dropped[:, None], token, c)

    right = told(u < p)
    if torch.allclose(found, right, atol=1e-2):
        raise Wrong(
            "Nearly: numbers are rounded off. Choose between c and token by torch.where, do not "
            "calculate."
        )
    if torch.equal(found, told(u > p)) or torch.equal(found, told(u >= p)):
        raise Wrong(
            "You drop rows with u > p, three quarters of them; drop those with u < p, a share of p."
        )
    if torch.equal(found, told(u <= p)):
        raise Wrong("Row 3 has u = p = 0.25 and must stay: drop where u < p, not where u ≤ p.")
    if torch.equal(found, torch.where(u < p, token, c)):
        raise Wrong(
            "You drop channels, the same in every row: u belongs to the rows, so compare u[:, "
            "None] with p."
        )
    scaled = c / (1 - p)
    if torch.allclose(found[u >= p], scaled[u >= p]):
        raise Wrong(
            "You scale the kept rows by 1/(1 − p), as dropout does; here a kept condition must "
            "stay as it is."
        )
    if torch.equal(found[u >= p], c[u >= p]) and not found[u < p].any():
        raise Wrong("Dropped rows are zero; they should be the token, which is learned.")
    partly = ((found == token).any(1) & (found == c).any(1)).nonzero().flatten().tolist()
    if partly:
        raise Wrong(
            f"Row {partly[0]} is partly token, partly c: a row is dropped as a whole or not at all."
        )
    if torch.equal(found, c):
        raise Wrong("Nothing was dropped: rows 0 and 2 have u < p = 0.25.")
    k = int((found != right).any(1).nonzero()[0])
    raise Wrong(
        f"Row {k} has u = {u[k]:.2f} and should be {'the token' if u[k] < p else 'as it was'} (p = "
        "0.25)."
    )


@check
def check_other_condition(answer: Callable[..., Any]) -> str:
    """Check how conditions are exchanged.

    Parameters
    ----------
    answer : callable
        A function c [B, d] -> [B, d]: each row that of another structure, none its own, each used
        once.
    """
    generator = torch.Generator().manual_seed(11)
    with torch.random.fork_rng(
        devices=[]
    ):  # an answer may draw: the same verdict every time, and no draw is lost
        torch.manual_seed(0)
        for size in (5, 2, 3, 6) * 6:
            c = torch.randn(size, 4, generator=generator)
            untouched = c.clone()
            found = tensor_from(answer, c, shape=c.shape)
            if not torch.equal(c, untouched):
                raise Wrong("Your function changes c itself: return a new tensor.")
            _judge_other(found, c)
    return (
        "Each structure gets a true description of another one. If that helped, something would be "
        "wrong."
    )


def _judge_other(found, c) -> None:
    size = len(c)
    same = (found[:, None] == c[None]).all(-1)  # [k, j]: structure k gets the condition of j
    told = f"In a batch of {size} "
    if size > 2 and torch.equal(found, found[:1].expand_as(found)):
        raise Wrong(
            told + "all get the same condition; each structure's should be used, each once."
        )
    if not same.any(1).all():
        if torch.equal(found.sort(1).values, c.sort(1).values):
            raise Wrong("You move the channels within each row; move whole rows: dims=0.")
        if torch.equal(found.flatten().sort().values, c.flatten().sort().values):
            raise Wrong(
                "Single numbers move from row to row: roll without dims does that; dims=0 moves "
                "whole rows."
            )
        k = int((~same.any(1)).nonzero()[0])
        raise Wrong(
            told + f"row {k} is no structure's condition: only move rows, calculate nothing."
        )
    if (own := same.diagonal()).any():
        k = int(own.nonzero()[0])
        if own.all():
            raise Wrong(told + "every structure keeps its own condition.")
        raise Wrong(
            told
            + f"structure {k} keeps its own. A random order (torch.randperm) leaves one in its "
            "place on average, and flip the middle one; c.roll leaves none."
        )
    if not (same.sum(0) == 1).all():
        k = int((same.sum(0) > 1).nonzero()[0])
        raise Wrong(
            told
            + f"the condition of structure {k} is used {int(same.sum(0)[k])} times; use each once."
        )


@check
def check_margin(answer: Callable[..., Any]) -> str:
    """Check the margin of a neighbor list for two passes.

    Parameters
    ----------
    answer : callable
        A function (first [N, 3], second [N, 3]) -> the largest move of an atom, max |first_i -
        second_i|.
    """
    generator = torch.Generator().manual_seed(12)
    for s in (0.3, 0.04, 1.0):
        first = torch.randn(6, 3, generator=generator)
        delta = s * torch.randn(6, 3, generator=generator)
        move = delta.norm(dim=1)
        found = number_from(call(answer, first, first + delta))
        right = move.max().item()

        def is_near(other, found=found):
            return math.isclose(found, float(other), rel_tol=1e-3)

        if is_near(right):
            continue
        told = f"You answer {found:.3f} Å, where the largest move is {right:.3f} Å. "
        for mistakes, hint in wrong_margins(delta, move):
            if any(map(is_near, mistakes)):
                raise Wrong(told + hint)
        if found < right:
            raise Wrong(
                told
                + "Too small: let two atoms make that move, one to the left and one to the right."
            )
        raise Wrong(
            told
            + "Too large: how far can two atoms be pulled apart from either pass to the midpoint?"
        )
    still = torch.randn(6, 3, generator=generator)
    if abs(number_from(call(answer, still, still.clone()))) > 1e-6:
        raise Wrong("When nothing moves, the margin should be 0.")
    return "Half a move of one atom and half a move of the other: one list serves both passes."


@check
def check_vector_norm(answer: Callable[..., Any]) -> str:
    """Check a normalization of vectors.

    Parameters
    ----------
    answer : callable
        A function v [N, 3, d] -> [N, 3, d]: lengths below 1, directions kept, smooth and finite at
        0, equivariant.
    """
    generator = torch.Generator().manual_seed(13)
    v = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    v = (
        v
        / v.norm(dim=1, keepdim=True)
        * torch.linspace(0.5, 4, 20, dtype=torch.float64).view(4, 1, 5)
    )
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    untouched = v.clone()
    found = tensor_from(answer, v, shape=v.shape).detach()
    if not torch.equal(v, untouched):
        raise Wrong("Your function changes v itself: return a new tensor.")
    error = (
        (tensor_from(answer, turn @ v, shape=v.shape) - turn @ found).norm()
        / found.norm(dim=1).norm().clamp(min=1e-12)
    ).item()
    _judge_directions(answer, v, found, error)
    _judge_lengths(answer, v, found, error)
    _judge_zero(answer)
    return "Shorter than 1, same direction, smooth; and a rotated vector gives the rotated answer."


def _judge_directions(
    answer: Callable[..., Any], v: torch.Tensor, found: torch.Tensor, error: float
) -> None:
    """Raise Wrong unless each vector keeps its direction, whatever the others are."""
    length = v.norm(dim=1)
    new = found.norm(dim=1)  # (N, d)
    across = v.norm(dim=2, keepdim=True)
    if torch.allclose(found, v * torch.tanh(across) / across, atol=1e-4):
        raise Wrong(
            f"You take the norm over the d channels (rotation error {error:.0%}); x, y and z are "
            "dim=1."
        )
    stretched = v.clone()
    stretched[:, 0] *= 1.5
    alone = torch.allclose(
        tensor_from(answer, stretched, shape=v.shape)[:, 1:], found[:, 1:], atol=1e-9
    )
    if error > 1e-6 and alone:
        raise Wrong(
            "x, y and z are bounded one by one: to rotate and then bound differs from bounding and "
            f"then rotating by {error:.0%} (rotation error). Use the length of the vector."
        )
    if new.min() < 1e-6:
        raise Wrong(
            f"A vector of length {length.flatten()[new.argmin()].item():.2f} comes out as zero."
        )
    cosine = (found * v).sum(1) / (new * length)
    if cosine.min() < 1 - 1e-6:
        angle = math.degrees(math.acos(cosine.min().clamp(-1, 1).item()))
        raise Wrong(
            f"A direction changes by {angle:.0f}° (rotation error {error:.0%}): multiply v by one "
            "number only."
        )
    one = v.clone()
    one[0, :, 0] *= 2
    if not torch.allclose(
        tensor_from(answer, one, shape=v.shape)[1:], found[1:], atol=1e-9
    ) or not torch.allclose(
        tensor_from(answer, one, shape=v.shape)[0, :, 1:], found[0, :, 1:], atol=1e-9
    ):
        raise Wrong(
            "When one vector grows, others change too; each must be bounded by its own length: "
            "dim=1."
        )


def _judge_lengths(
    answer: Callable[..., Any], v: torch.Tensor, found: torch.Tensor, error: float
) -> None:
    """Raise Wrong unless lengths stay below 1, longer vectors come out longer, and a rotated vector
    gives the rotated answer."""
    length = v.norm(dim=1)
    new = found.norm(dim=1)  # (N, d)
    if torch.allclose(new, length * torch.tanh(length), atol=1e-4):
        raise Wrong(
            "v · tanh(|v|) has the length |v| tanh(|v|), which is not bounded: divide by |v|."
        )
    if new.max() >= 1 - 1e-12:
        worst = new.argmax()
        raise Wrong(
            f"A vector of length {length.flatten()[worst]:.2f} gets length {new.max():.4g}, not "
            "below 1."
        )
    order = length.flatten().argsort()
    if (new.flatten()[order].diff() < 1e-9).any():
        raise Wrong(
            "Not every longer vector comes out longer, so its length is lost: bound it smoothly, "
            "as tanh does."
        )
    if not error < 1e-6:
        raise Wrong(
            f"To rotate and then bound differs from bounding and then rotating by {error:.0%} "
            "(rotation error)."
        )
    if tensor_from(answer, 300 * v, shape=v.shape).norm(dim=1).max() > 1 + 1e-9:
        raise Wrong("A vector of length 1000 comes out longer than 1.")


def _judge_zero(answer) -> None:
    zero = torch.zeros(2, 3, 4, dtype=torch.float64, requires_grad=True)
    at_zero = call(answer, zero)
    if not torch.isfinite(at_zero).all():
        raise Wrong(
            "At v = 0 you divide 0 by 0 and get NaN; all vectors start at zero. Put a tiny 1e-12 "
            "under the √."
        )
    if at_zero.abs().max() > 1e-6:
        raise Wrong("At v = 0 the answer should be 0: any other has a direction of its own.")
    if not at_zero.requires_grad:
        raise Wrong(
            "Autograd cannot pass: stay with torch functions, without .item() or .detach()."
        )
    slope = torch.autograd.grad(at_zero[:, 0].sum(), zero)[0][0, 0, 0].item()  # ∂x/∂x
    if not math.isfinite(slope):
        raise Wrong(
            "At v = 0 the value is right, but its gradient is NaN: the slope of √ at 0. Put 1e-12 "
            "under the √."
        )
    near = torch.zeros(2, 3, 4, dtype=torch.float64)
    near[:, 0] = 1e-3
    beside = (call(answer, near)[0, 0, 0] / 1e-3).item()
    if abs(slope - beside) > 0.01:
        raise Wrong(
            f"The slope is {slope:.3g} at v = 0 and {beside:.3g} right beside it: the length in "
            "tanh(|v|) and the one you divide by must be the same, tiny number included."
        )
