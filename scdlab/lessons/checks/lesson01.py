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

    def near(value: float) -> bool:
        return math.isclose(found, value, rel_tol=1.2e-2)  # 43 is right, to two digits

    if near(right):
        at_three = number_from(call(answer, 3.0))
        if not math.isclose(at_three, 3 * found, rel_tol=1e-6):
            raise Wrong(
                f"1 kcal/mol is right, but 3 kcal/mol gives {at_three:g}: a conversion is one "
                "multiplication."
            )
        return (
            f"1 kcal/mol is {found:.4g} meV, so 0.31 kcal/mol, the paper's error on QM9, is 13 meV."
        )
    if near(KCAL_MOL):
        raise Wrong("That is in eV; there are 1000 meV in one eV.")
    if near(1 / KCAL_MOL) or near(1e-3 / KCAL_MOL):
        raise Wrong("You divide where you should multiply: 1 kcal/mol is less than 1 eV.")
    if near(right * 4.184) or near(right / 4.184):
        raise Wrong("A factor of 4.184 is wrong: that is how many kJ are one kcal. Use it once.")
    if found > 1e20:
        raise Wrong("That is the energy of a whole mole: divide by Avogadro's number, 6.022e23.")
    if 0 < found < 1e-10:
        raise Wrong("That looks like joules: divide by 1.602e-19 J, which is one eV.")
    raise Wrong(
        f"1 kcal/mol becomes {found:g} meV. One kcal is 4184 J, a mole holds 6.022e23 molecules, "
        "and one eV is 1.602e-19 J."
    )


@check
def check_ssp(answer: Callable[..., Any]) -> str:
    """Check the shifted softplus.

    Parameters
    ----------
    answer : callable
        A function x -> ln(½eˣ + ½), safe far from zero on both sides, and its derivative too.
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
    for far in (200.0, -200.0):
        _check_far(answer, far)
    return "ssp(0) = 0, smooth everywhere, slope between 0 and 1, and safe far from zero."


def _check_far(answer: Callable[..., Any], far: float) -> None:
    """Look at the shifted softplus and its slope far from zero, in single precision."""
    x = torch.tensor([far], requires_grad=True)
    found = call(answer, x)
    overflow = "e²⁰⁰" if far > 0 else "e⁻ˣ"
    right = far - math.log(2) if far > 0 else -math.log(2)
    if not torch.isfinite(found).all():
        raise Wrong(
            f"At x = {far:g} your result is not finite: {overflow} overflows. "
            "torch.nn.functional.softplus(x) does not."
        )
    if abs(found.item() - right) > 1e-3:
        raise Wrong(f"At x = {far:g} you get {found.item():.4g}; it should be {right:.4g}.")
    slope = torch.autograd.grad(found.sum(), x)[0].item()
    if not abs(slope - (far > 0)) < 1e-3:
        raise Wrong(
            f"At x = {far:g} the value is right, but its slope is {slope:.3g}, not {far > 0:d}: a "
            "branch that torch.where does not choose is differentiated too, and where it "
            "overflows, its slope times zero is NaN. torch.nn.functional.softplus(x) is safe."
        )


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
        A function (energy [B] or a number, made of pos; pos [n, 3]) -> forces [n, 3] =
        -∂(sum of energies)/∂pos, which can be differentiated again.
    """
    stiffness = torch.tensor(3.0, requires_grad=True)  # eV/Å²

    def forces_of(pos: torch.Tensor, energy: Callable[..., Any]) -> torch.Tensor:
        pos = pos.clone().requires_grad_()
        return tensor_from(answer, energy(pos), pos, shape=pos.shape)

    def spring(pos: torch.Tensor) -> torch.Tensor:  # two atoms, E = ½ k (r - 1 Å)²
        return 0.5 * stiffness * ((pos[1] - pos[0]).norm() - 1.0) ** 2

    # stretched by 0.2 Å: pulled together with 0.6 eV/Å
    start = torch.tensor([[0.0, 0.0, 0.0], [1.2, 0.0, 0.0]])
    right = torch.tensor([[0.6, 0.0, 0.0], [-0.6, 0.0, 0.0]])
    found = forces_of(start, spring)
    if torch.allclose(found, -right, atol=1e-3):
        raise Wrong(
            "The sign: your forces push a stretched pair further apart. Force = minus the gradient."
        )
    if not torch.allclose(found, right, atol=1e-3):
        raise Wrong(
            f"A stretched spring pulls atom 0 with {right[0, 0]:g} eV/Å along x; yours says "
            f"{found[0, 0].item():.3g}."
        )
    many = torch.randn(4, 3, generator=torch.Generator().manual_seed(3))

    def pairs(pos: torch.Tensor) -> torch.Tensor:  # a batch of two molecules: two energies
        return torch.stack(
            [stiffness * torch.exp(-torch.pdist(half)).sum() for half in pos.split(2)]
        )

    leaf = many.clone().requires_grad_()
    right = -torch.autograd.grad(pairs(leaf).sum(), leaf)[0]
    if not torch.allclose(forces_of(many, pairs), right, atol=1e-3):
        raise Wrong(
            "Right for one molecule, wrong for a batch of two with two energies: sum the energies "
            "first. An atom's force is the slope of its own molecule's energy alone."
        )
    if not found.requires_grad:
        raise Wrong(
            "Right values, but nothing can be learned from them: the loss holds these forces, and "
            "its gradient must pass through them. Give autograd create_graph=True."
        )
    return (
        "Forces are minus the gradient, they pull a stretched pair together, and a loss of them "
        "can be differentiated again."
    )


@check
def check_independent_labels(answer: Callable[..., Any]) -> str:
    """Check how many independent numbers the labels of one frame hold.

    Parameters
    ----------
    answer : callable
        A function n -> 3n - 6 independent force components and one energy: 3n - 5.
    """
    for n in (9, 21, 4):
        found = number_from(call(answer, n))
        if found == 3 * n - 5:
            continue
        start = f"For n = {n} you count {found:g}: "
        mistakes = {
            3 * n: "all force components. They sum to zero (three conditions), and so does their "
            "torque (three more); and the energy is a label too.",
            3 * n + 1: "all force components and the energy. But the forces sum to zero (three "
            "conditions), and so does their torque (three more).",
            3 * n - 6: "the independent forces. Add the energy.",
            3 * n
            - 3: "the net force is zero, but so is the torque; and the energy is a label too.",
            3 * n - 2: "the net force is zero, but so is the torque: three more conditions.",
        }
        raise Wrong(
            start + mistakes.get(int(found), "count components, conditions, and the energy.")
        )
    return "3n − 6 forces and one energy: 22 numbers for ethanol, where its energy alone is one."


@check
def check_loop_work(answer: Callable[..., Any]) -> str:
    """Check the work of forces along a closed path.

    Parameters
    ----------
    answer : callable
        A function (path [m, n, 3], forces [m, n, 3] at its points) -> ∮ F·dr, a number; the last
        point is joined to the first.
    """
    t = torch.arange(64, dtype=torch.float64) * 2 * math.pi / 64
    circle = torch.stack([torch.cos(t), torch.sin(t), 0 * t], dim=1)  # (m, 3)
    path = torch.stack([circle, 2 * circle + 1.0], dim=1)  # (m, 2, 3)
    swirl = torch.stack([-path[..., 1], path[..., 0], 0 * path[..., 2]], dim=-1)
    spring = -path
    right = 2 * math.pi * (1 + 4)  # twice the areas of the two circles
    found = number_from(call(answer, path.clone(), swirl.clone()))
    calm = number_from(call(answer, path.clone(), spring.clone()))
    if math.isclose(found, right, rel_tol=2e-2):
        if abs(calm) > 1e-6:
            raise Wrong(
                f"Springs do no work around a loop, but yours do {calm:.2g} eV: take the mean of "
                "the forces at the two ends of each step, (F_k + F_{k+1})/2."
            )
        return "A swirl does work at every round, springs do none: those come from an energy."
    if math.isclose(found, -right, rel_tol=2e-2):
        raise Wrong("The sign: work is F·dr with dr = r_{k+1} − r_k along the path.")
    step = (path[1:] - path[:-1], 0.5 * (swirl[1:] + swirl[:-1]))
    if math.isclose(found, float((step[0] * step[1]).sum()), rel_tol=1e-3):
        raise Wrong("The path is not closed: the step from the last point to the first is missing.")
    if math.isclose(found, right / 64, rel_tol=3e-2):
        raise Wrong("You average over the steps; work is their sum.")
    if abs(found) < 1e-6:
        raise Wrong(
            "A swirl that drives the atoms around gives 0: multiply forces by the *step* between "
            "points, not by the positions."
        )
    raise Wrong(f"A swirl does {right:.2f} eV of work on this loop; yours says {found:.4g}.")
