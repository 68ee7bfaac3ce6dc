"""Checks of the exercises of lesson 01: SchNet."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from scdlab.lessons.checks import Wrong, call, check, number_from, tensor_from
from scdlab.units import KCAL_MOL


@check
def check_units(answer: Callable[..., Any]) -> str:
    """Check a conversion of units.

    Parameters
    ----------
    answer : callable
        A function kcal/mol -> meV.
    """
    right = 1000 * KCAL_MOL
    found = number_from(call(answer, 1.0))
    if math.isclose(found, right, rel_tol=2e-3):
        at_three = number_from(call(answer, 3.0))
        if not math.isclose(at_three, 3 * found, rel_tol=1e-6):
            raise Wrong(
                f"1 kcal/mol is right, but 3 kcal/mol gives {at_three:g}: a conversion is one "
                "multiplication."
            )
        return "1 kcal/mol = 43.4 meV. “Chemical accuracy”, 1 kcal/mol, is thus 43 meV."
    if math.isclose(found, KCAL_MOL, rel_tol=2e-3):
        raise Wrong("That is eV; there are 1000 meV in one eV.")
    if math.isclose(found, 1 / KCAL_MOL, rel_tol=2e-3) or math.isclose(
        found, 1e-3 / KCAL_MOL, rel_tol=2e-3
    ):
        raise Wrong("You divide by 0.0433641 eV per kcal/mol; multiply by it.")
    if math.isclose(found, right * 4.184, rel_tol=1e-2) or math.isclose(
        found, right / 4.184, rel_tol=1e-2
    ):
        raise Wrong("A factor of 4.184 too many: that is kJ per kcal. 1 kcal/mol = 0.0433641 eV.")
    raise Wrong(f"1 kcal/mol becomes {found:g} meV; start from 1 kcal/mol = 0.0433641 eV.")


@check
def check_ssp(answer: Callable[..., Any]) -> str:
    """Check the shifted softplus.

    Parameters
    ----------
    answer : callable
        A function x -> ln(½eˣ + ½), safe for large x and differentiable.
    """
    x = torch.linspace(-6, 6, 49, dtype=torch.float64, requires_grad=True)
    found = tensor_from(answer, x, shape=x.shape)
    right = torch.log(0.5 * x.exp() + 0.5)
    zero = found[24].item()
    if abs(zero - math.log(2)) < 1e-4:
        raise Wrong("ssp(0) is 0.693 = ln 2: this is the plain softplus. Shift it down by ln 2.")
    if torch.allclose(found, torch.relu(x)):
        raise Wrong(
            "This is the ReLU: its slope jumps at 0, and a force made of it would jump too."
        )
    if abs(zero) > 1e-4:
        raise Wrong(f"ssp(0) should be 0, yours is {zero:.4g}.")
    if not torch.allclose(found, right, atol=1e-4):
        k = (found - right).abs().argmax()
        raise Wrong(
            f"At x = {x[k].item():.2f} you get {found[k].item():.4f}; ln(½eˣ + ½) is "
            f"{right[k].item():.4f}."
        )
    if not found.requires_grad:
        raise Wrong(
            "Values are right, but autograd cannot pass: stay with torch functions, without "
            ".item() or .detach()."
        )
    slope = torch.autograd.grad(found.sum(), x)[0]
    if not torch.allclose(slope, torch.sigmoid(x), atol=1e-3):
        raise Wrong(
            "Values are right, but the derivative is not 1/(1 + e⁻ˣ): something in it does not "
            "differentiate."
        )
    far = call(answer, torch.tensor([200.0]))
    if not torch.isfinite(far).all():
        raise Wrong(
            "At x = 200 your result is not finite: e²⁰⁰ overflows. torch.nn.functional.softplus(x) "
            "does not."
        )
    return "ssp(0) = 0, smooth everywhere, slope between 0 and 1, and safe for large x."


@check
def check_rbf(answer: Callable[..., Any]) -> str:
    """Check the expansion of distances in Gaussians.

    Parameters
    ----------
    answer : callable
        A function (r [P], centers [K], gamma) -> exp(-gamma (r - center)²) [P, K].
    """
    r = torch.tensor([0.7, 1.1, 1.5, 2.9])
    centers = torch.linspace(0, 3, 7)
    gamma = 10.0
    result = call(answer, r, centers, gamma)
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (7, 4):
        raise Wrong("Your result has shape [7, 4]: centers first. Put distances first: [4, 7].")
    found = tensor_from(lambda *_: result, shape=(4, 7))
    gap = r[:, None] - centers[None, :]
    right = torch.exp(-gamma * gap.square())
    if torch.allclose(found, right, atol=1e-5):
        return "Each distance becomes a bump over the centers: [P] → [P, K]."
    if torch.allclose(found, torch.exp(gamma * gap.square())):
        raise Wrong(
            "The minus sign in the exponent is missing: your bumps are valleys that explode."
        )
    if torch.allclose(found, torch.exp(-gamma * gap.abs()), atol=1e-5):
        raise Wrong("Square the difference r − μ: |r − μ| has a kink at the center.")
    if torch.allclose(found, torch.exp(-gap.square() / gamma), atol=1e-5):
        raise Wrong("You divide by γ; multiply by it.")
    if torch.allclose(found, torch.exp(-gap.square()), atol=1e-5):
        raise Wrong("γ is not used: your Gaussians all have γ = 1 Å⁻².")
    raise Wrong(
        f"For r = 0.70 Å and center 0.50 Å you get {found[0, 1]:.4g}; exp(−γ(r − μ)²) is "
        f"{right[0, 1]:.4g}."
    )


def _loop_over_pairs(x, w, i, j, forward=True, backward=True, self_message=False) -> torch.Tensor:
    """The convolution as a plain loop, as it should be or with a mistake."""
    out = torch.zeros_like(x)
    for p, (a, b) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
        if forward:
            out[a] += (x[a] if self_message else x[b]) * w[p]
        if backward:
            out[b] += (x[b] if self_message else x[a]) * w[p]
    return out


@check
def check_cfconv(answer: Callable[..., Any]) -> str:
    """Check the continuous-filter convolution.

    Parameters
    ----------
    answer : callable
        A function (x [n, d], W [p, d], i [p], j [p]) -> [n, d]: cfconv over a half list, each
        unordered pair once.
    """
    generator = torch.Generator().manual_seed(2)
    # a triangle and a tail; atom 4 has no neighbor
    i = torch.tensor([0, 0, 1, 2])
    j = torch.tensor([1, 2, 2, 3])
    x = torch.randn(5, 3, generator=generator)
    w = torch.randn(4, 3, generator=generator)

    loop = functools.partial(_loop_over_pairs, x, w, i, j)
    untouched = x.clone()
    found = tensor_from(answer, x, w, i, j, shape=x.shape)
    if not torch.equal(x, untouched):
        raise Wrong("Your function changes x itself: add into a fresh tensor of zeros.")
    if torch.allclose(found, loop(), atol=1e-5):
        return "The same as the plain loop over pairs, with every filter used in both directions."
    if any(torch.allclose(found, loop(*way), atol=1e-5) for way in ((True, False), (False, True))):
        raise Wrong(
            "Only one direction is summed. In a half list, pair (i, j) also carries a message from "
            "i to j."
        )
    if torch.allclose(found, loop(self_message=True), atol=1e-5):
        raise Wrong(
            "Atoms receive their own features: atom i must receive x[j], and atom j must receive "
            "x[i]."
        )
    if torch.allclose(found, x + loop(), atol=1e-5):
        raise Wrong(
            "You add x itself: the residual belongs to the interaction block, not to cfconv."
        )
    overwritten = torch.zeros_like(x)
    overwritten[i] = x[j] * w
    overwritten_too = overwritten.clone()
    overwritten_too[j] += x[i] * w
    if torch.allclose(found, overwritten, atol=1e-5) or torch.allclose(
        found, overwritten_too, atol=1e-5
    ):
        raise Wrong(
            "`out[i] += …` keeps one message per atom when an index repeats; use out.index_add_(0, "
            "i, …)."
        )
    if found[4].abs().max() > 1e-6:
        raise Wrong("Atom 4 has no neighbor, so its row should be zero.")
    k = int((found - loop()).abs().sum(1).argmax())
    raise Wrong(
        f"Row {k} differs from a plain loop over the pairs by "
        f"{(found - loop())[k].abs().max():.3g}."
    )


@check
def check_force(answer: Callable[..., Any]) -> str:
    """Check forces as the gradient of an energy.

    Parameters
    ----------
    answer : callable
        A function (energy, pos [n, 3]) -> forces [n, 3] = -∂(energy)/∂pos, energy: a function of
        pos.
    """

    def spring(pos):  # two atoms, E = ½ k (r - r0)², k = 3 eV/Å², r0 = 1 Å
        return 1.5 * ((pos[1] - pos[0]).norm() - 1.0) ** 2

    start = torch.tensor(
        [[0.0, 0.0, 0.0], [1.2, 0.0, 0.0]]
    )  # stretched by 0.2 Å: pulled together with 0.6 eV/Å
    right = torch.tensor([[0.6, 0.0, 0.0], [-0.6, 0.0, 0.0]])
    found = tensor_from(answer, spring, start.clone(), shape=(2, 3)).detach()
    if torch.allclose(found, -right, atol=1e-3):
        raise Wrong(
            "The sign: your forces push a stretched pair further apart. Force = minus the gradient."
        )
    if not torch.allclose(found, right, atol=1e-3):
        raise Wrong(
            f"A stretched spring pulls atom 0 with {right[0, 0]:g} eV/Å along x; yours says "
            f"{found[0, 0]:.3g}."
        )
    generator = torch.Generator().manual_seed(3)
    pos = torch.randn(4, 3, generator=generator)

    def pairwise(p):
        return torch.exp(-torch.pdist(p)).sum()

    leaf = pos.clone().requires_grad_()
    right = -torch.autograd.grad(pairwise(leaf), leaf)[0]
    if not torch.allclose(
        tensor_from(answer, pairwise, pos.clone(), shape=(4, 3)).detach(), right, atol=1e-3
    ):
        raise Wrong("Right for two atoms, wrong for four: are all atoms differentiated?")
    return (
        "Forces are minus the gradient: they pull a stretched pair together, and they sum to zero."
    )
