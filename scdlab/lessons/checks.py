"""Checks of the exercises. Each says what is right, or what is wrong and where to look; none ever
just says False.

A check takes the answer, shows its verdict (green when passed, orange with a hint when not, gray
while the answer is still `...`) and returns it as a `Check`; with show=False it only returns it. A
wrong answer never raises: not even one that crashes when it is called.
"""

import functools
import html
import inspect
import math
from dataclasses import dataclass

import torch

from scdlab.lessons.metrics import show_html
from scdlab.units import KCAL_MOL

_LOOK = {
    True: ("#009E73", "✓ Right."),
    False: ("#D55E00", "✗ Not yet."),
    None: ("#8C8C8C", "… Your turn."),
}


@dataclass(frozen=True)
class Check:
    """The verdict on an answer: whether it passed, a sentence of help, and whether an answer is
    still to come."""

    passed: bool
    message: str
    pending: bool = False

    def __bool__(self) -> bool:
        return self.passed

    def _look(self) -> tuple[str, str]:
        return _LOOK[None if self.pending else self.passed]

    def __str__(self) -> str:
        return f"{self._look()[1]} {self.message}"

    def show(self) -> None:
        """Display the verdict: a colored line in a notebook, plain text elsewhere."""
        color, verdict = self._look()
        box = f"border-left:4px solid {color};padding:4px 12px;margin:4px 0"
        text = (
            f"<div style='{box}'><b style='color:{color}'>{verdict}</b> "
            f"{html.escape(self.message)}</div>"
        )
        show_html(text, str(self))

    def _ipython_display_(self) -> None:
        """Nothing: a check has shown its verdict already, also when it is the last line of a
        cell."""


class Wrong(Exception):
    """Raised inside a check: its text is the hint the reader gets."""


class Pending(Exception):
    """Raised inside a check when the reader has not answered yet."""


def check(function):
    """Make a check of `function(answer)`, which returns praise or raises `Wrong`; the answer `...`
    means "not yet"."""

    @functools.wraps(function)
    def checked(answer=..., show: bool = True) -> Check:
        try:
            if answer is ...:
                raise Pending
            verdict = Check(True, function(answer))
        except Wrong as hint:
            verdict = Check(False, str(hint))
        except Pending:
            verdict = Check(
                False, "Replace the dots by your answer, then run this cell again.", pending=True
            )
        if show:
            verdict.show()
        return verdict

    return checked


def _call(answer, *inputs):
    """The reader's function at work; whatever goes wrong in it becomes a hint."""
    if not callable(answer):
        raise Wrong(f"The answer should be a function, but it is a {type(answer).__name__}.")
    try:
        result = answer(*inputs)
    except Exception as error:
        raise Wrong(f"Your function stopped with {type(error).__name__}: {error}") from None
    if result is ...:
        raise Pending
    if result is None:
        raise Wrong("Your function returns None: is the `return` missing?")
    return result


def _tensor(answer, *inputs, shape=None) -> torch.Tensor:
    """A tensor from the reader's function, of the expected shape and without NaN."""
    result = _call(answer, *inputs)
    if not isinstance(result, torch.Tensor):
        raise Wrong(f"Your function should return a torch tensor, not a {type(result).__name__}.")
    if shape is not None and tuple(result.shape) != tuple(shape):
        raise Wrong(f"Your result has shape {list(result.shape)}; it should be {list(shape)}.")
    if not torch.isfinite(result).all():
        raise Wrong("Your result contains inf or NaN: look for an overflow, or a division by zero.")
    return result


def _number(answer) -> float:
    try:
        value = float(answer)
    except (TypeError, ValueError):
        raise Wrong(f"The answer should be a number, but it is {answer!r}.") from None
    if not math.isfinite(value):
        raise Wrong(f"The answer should be a finite number, but it is {value}.")
    return value


def _distance_matrix(pos: torch.Tensor) -> torch.Tensor:
    return (pos[:, None] - pos[None, :]).norm(dim=-1)


# Lesson 00
# --------------------------------------------------------------------------------------------------


@check
def check_pair_count(answer) -> str:
    """A function n -> number of unordered pairs among n atoms: n(n - 1)/2."""
    for n in (9, 29, 3, 2, 1):
        found = _number(_call(answer, n))
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
def check_distances(answer) -> str:
    """A function pos [n, 3] -> distances [n, n]."""
    generator = torch.Generator().manual_seed(0)
    pos = torch.randn(5, 3, generator=generator)
    found = _tensor(answer, pos, shape=(5, 5))
    right = _distance_matrix(pos)
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
def check_invariant(answer) -> str:
    """A function (z [n], pos [n, 3]) -> one number that no rotation, translation or renumbering of
    atoms changes."""
    generator = torch.Generator().manual_seed(1)
    z = torch.tensor([6, 6, 8, 1, 1])
    pos = torch.randn(5, 3, generator=generator)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    turn = turn * torch.linalg.det(turn)
    order = torch.tensor([4, 2, 0, 1, 3])
    before = _number(_call(answer, z, pos))
    changed = {
        "the molecule is moved": (z, pos + torch.tensor([3.0, -1.0, 2.0])),
        "the molecule is turned": (z, pos @ turn.T),
        "the atoms are numbered in another order": (z[order], pos[order]),
    }
    for what, (new_z, new_pos) in changed.items():
        after = _number(_call(answer, new_z, new_pos))
        if not math.isclose(before, after, rel_tol=1e-4, abs_tol=1e-5):
            raise Wrong(f"When {what}, your number goes from {before:.5g} to {after:.5g}.")
    if math.isclose(before, _number(_call(answer, z, 1.3 * pos)), rel_tol=1e-6):
        raise Wrong(
            "Your number never changes, but it also ignores the shape: stretching the molecule "
            "must change it."
        )
    return (
        "It stays the same under translation, rotation and renumbering, and still depends on the "
        "shape."
    )


# Lesson 01
# --------------------------------------------------------------------------------------------------


@check
def check_units(answer) -> str:
    """A function kcal/mol -> meV."""
    right = 1000 * KCAL_MOL
    found = _number(_call(answer, 1.0))
    if math.isclose(found, right, rel_tol=2e-3):
        at_three = _number(_call(answer, 3.0))
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
def check_ssp(answer) -> str:
    """A function x -> ln(½eˣ + ½), safe for large x and differentiable."""
    x = torch.linspace(-6, 6, 49, dtype=torch.float64, requires_grad=True)
    found = _tensor(answer, x, shape=x.shape)
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
    far = _call(answer, torch.tensor([200.0]))
    if not torch.isfinite(far).all():
        raise Wrong(
            "At x = 200 your result is not finite: e²⁰⁰ overflows. torch.nn.functional.softplus(x) "
            "does not."
        )
    return "ssp(0) = 0, smooth everywhere, slope between 0 and 1, and safe for large x."


@check
def check_rbf(answer) -> str:
    """A function (r [P], centers [K], gamma) -> exp(-gamma (r - center)²) [P, K]."""
    r = torch.tensor([0.7, 1.1, 1.5, 2.9])
    centers = torch.linspace(0, 3, 7)
    gamma = 10.0
    result = _call(answer, r, centers, gamma)
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (7, 4):
        raise Wrong("Your result has shape [7, 4]: centers first. Put distances first: [4, 7].")
    found = _tensor(lambda *_: result, shape=(4, 7))
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


@check
def check_cfconv(answer) -> str:
    """A function (x [n, d], W [p, d], i [p], j [p]) -> [n, d]: cfconv over a half list, each
    unordered pair once."""
    generator = torch.Generator().manual_seed(2)
    # a triangle and a tail; atom 4 has no neighbor
    i = torch.tensor([0, 0, 1, 2])
    j = torch.tensor([1, 2, 2, 3])
    x = torch.randn(5, 3, generator=generator)
    w = torch.randn(4, 3, generator=generator)

    def loop(forward=True, backward=True, self_message=False):
        out = torch.zeros_like(x)
        for p, (a, b) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
            if forward:
                out[a] += (x[a] if self_message else x[b]) * w[p]
            if backward:
                out[b] += (x[b] if self_message else x[a]) * w[p]
        return out

    untouched = x.clone()
    found = _tensor(answer, x, w, i, j, shape=x.shape)
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
    k = (found - loop()).abs().sum(1).argmax().item()
    raise Wrong(
        f"Row {k} differs from a plain loop over the pairs by "
        f"{(found - loop())[k].abs().max():.3g}."
    )


@check
def check_force(answer) -> str:
    """A function (energy, pos [n, 3]) -> forces [n, 3] = -∂(energy)/∂pos, energy: a function of
    pos."""

    def spring(pos):  # two atoms, E = ½ k (r - r0)², k = 3 eV/Å², r0 = 1 Å
        return 1.5 * ((pos[1] - pos[0]).norm() - 1.0) ** 2

    start = torch.tensor(
        [[0.0, 0.0, 0.0], [1.2, 0.0, 0.0]]
    )  # stretched by 0.2 Å: pulled together with 0.6 eV/Å
    right = torch.tensor([[0.6, 0.0, 0.0], [-0.6, 0.0, 0.0]])
    found = _tensor(answer, spring, start.clone(), shape=(2, 3)).detach()
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
        _tensor(answer, pairwise, pos.clone(), shape=(4, 3)).detach(), right, atol=1e-3
    ):
        raise Wrong("Right for two atoms, wrong for four: are all atoms differentiated?")
    return (
        "Forces are minus the gradient: they pull a stretched pair together, and they sum to zero."
    )


# Lesson 02
# --------------------------------------------------------------------------------------------------


def _two_molecules(seed: int):
    """Generator, and the molecule of each of seven atoms: the first molecule has four, the second
    three."""
    return torch.Generator().manual_seed(seed), torch.tensor([0, 0, 0, 0, 1, 1, 1])


@check
def check_center(answer) -> str:
    """A function (eps [N, 3], batch [N]) -> eps minus its mean over the atoms of each molecule."""
    generator, batch = _two_molecules(4)
    eps = torch.randn(7, 3, generator=generator) + 1.0
    means = torch.stack([eps[batch == k].mean(0) for k in (0, 1)])
    untouched = eps.clone()
    right = eps - means[batch]
    found = _tensor(answer, eps, batch, shape=(7, 3))
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
def check_noise_floor(answer) -> str:
    """A function N -> the smallest loss that a translation-invariant network reaches on uncentered
    noise."""
    for n in (12, 29, 3, 1):
        found = _number(_call(answer, n))
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


@check
def check_noise_force(answer) -> str:
    """A function (eps [N, 3], forces [N, 3], batch [N]) -> cos(-eps, forces) of each molecule
    [B]."""
    generator, batch = _two_molecules(5)
    eps = torch.randn(7, 3, generator=generator)
    forces = (
        -eps * torch.tensor([3.0, 3.0, 3.0, 3.0, 0.1, 0.1, 20.0])[:, None]
    )  # a spring to each atom's place

    def cosine(a, b):
        return (a * b).sum() / (a.norm() * b.norm())

    right = torch.stack([cosine(-eps[batch == k], forces[batch == k]) for k in (0, 1)])
    result = _call(answer, eps, forces, batch)
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (7,):
        raise Wrong(
            "One number for each atom: add up over a molecule's atoms, so that large forces count "
            "more."
        )
    if isinstance(result, torch.Tensor) and result.ndim == 0:
        raise Wrong(
            "One number for the whole batch; molecules differ, so each needs its own: shape [2]."
        )
    found = _tensor(lambda *_: result, shape=(2,))
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
def check_corrupt(answer) -> str:
    """A function (pos [N, 3], eps [N, 3], mask [N], sigma) -> (noisy pos [N, 3], targets of masked
    atoms [M, 3])."""
    generator, _ = _two_molecules(6)
    pos = torch.randn(7, 3, generator=generator)
    sigma = 0.04
    eps = sigma * torch.randn(7, 3, generator=generator)
    mask = torch.tensor([1, 0, 0, 1, 1, 0, 1]).bool()
    untouched = pos.clone()
    result = _call(answer, pos, eps, mask, sigma)
    if not isinstance(result, tuple) or len(result) != 2:
        raise Wrong(
            "Return two things: the noisy positions, and the targets of the corrupted atoms."
        )
    if any(part is ... for part in result):
        raise Pending
    if not torch.equal(pos, untouched):
        raise Wrong("Your function moves the clean positions themselves: work on a copy.")
    noisy = _tensor(lambda *_: result[0], shape=(7, 3))
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
    if isinstance(result[1], torch.Tensor) and tuple(result[1].shape) == (7, 3):
        raise Wrong(
            "Targets for all 7 atoms: the loss counts the corrupted ones only, so keep those rows."
        )
    target = _tensor(lambda *_: result[1], shape=(4, 3))
    if torch.allclose(target, eps[mask], atol=1e-6):
        raise Wrong(
            "Your target is in Å, of size 0.04: divide by sigma, so that its components have "
            "variance 1."
        )
    if torch.allclose(target, -eps[mask] / sigma, atol=1e-4):
        raise Wrong("The sign of the target: it is the noise that was added, not the way back.")
    if torch.allclose(target, eps[mask] * sigma, atol=1e-6):
        raise Wrong(
            "You multiply the target by sigma; divide, so that its components have variance 1."
        )
    if not torch.allclose(target, eps[mask] / sigma, atol=1e-4):
        raise Wrong(
            "The positions are right; the target should be eps / sigma of the corrupted atoms, in "
            "their order."
        )
    return "Masked atoms move, the others stay, and the target has variance 1 whatever σ is."


@check
def check_pairwise(answer) -> str:
    """A function (pos [N, 3], corrected [N, 3], batch [N]) -> mean of (d_ij - d'_ij)² over pairs
    within molecules."""
    generator, batch = _two_molecules(7)
    pos = torch.randn(7, 3, generator=generator)
    corrected = pos + 0.3 * torch.randn(7, 3, generator=generator)
    change = _distance_matrix(pos) - _distance_matrix(corrected)
    same = batch[:, None] == batch[None, :]
    other = ~torch.eye(7, dtype=torch.bool)
    right = change[same & other].square().mean().item()
    result = _call(answer, pos, corrected, batch)
    found = _number(result)
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
    squares = _distance_matrix(pos).square() - _distance_matrix(corrected).square()
    if math.isclose(found, squares[same & other].square().mean().item(), rel_tol=1e-4):
        raise Wrong(
            "You compare squared distances: far pairs would dominate. Take the square root first."
        )
    total = change[same & other].square().sum().item()
    if math.isclose(found, total, rel_tol=1e-4) or math.isclose(found, total / 2, rel_tol=1e-4):
        raise Wrong("You add up over pairs; take their mean, or large molecules dominate.")
    raise Wrong(
        f"You get {found:.4g}; the mean over the nine pairs within the two molecules is "
        f"{right:.4g}."
    )


def _slope(answer, pos, corrected, batch) -> torch.Tensor:
    """The gradient of the reader's loss by the corrected positions; zeros when there is none."""
    leaf = corrected.clone().requires_grad_()
    loss = _call(answer, pos, leaf, batch)
    return torch.autograd.grad(loss, leaf)[0] if loss.requires_grad else torch.zeros_like(leaf)


@check
def check_extensivity(answer) -> str:
    """A function (x, n, x_new, n_new) -> R² on new molecules of a linear fit, with constant, from x
    [m, d] to n [m]."""
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
    found = _number(_call(answer, x, n, x_new, n_new))
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


# Lesson 03
# --------------------------------------------------------------------------------------------------


@check
def check_unit_factor(answer) -> str:
    """A function l -> the factor that makes Y^(l) of a unit vector one long, where |Y^(l)|² = 2l +
    1."""
    for degree in (1, 2, 0, 5):
        found = _number(_call(answer, degree))
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
def check_labels_kept(answer) -> str:
    """A function (p, r) -> the share of all force labels that a step of DeNS still learns from."""
    for p, r in ((0.5, 0.1), (0.25, 0.25), (0.25, 1.0), (0.0, 0.7), (1.0, 1.0)):
        found = _number(_call(answer, p, r))
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
def check_dens_mask(answer) -> str:
    """A function (chosen [B], u [N], batch [N], fixed [N], r) -> mask [N]: atoms to corrupt.

    An atom is corrupted if its structure was chosen, its u is below r, and it may move.
    """
    batch = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    chosen = torch.tensor([True, False, True])
    u = torch.tensor([0.1, 0.9, 0.3, 0.1, 0.2, 0.05, 0.45, 0.8, 0.2, 0.5])
    fixed = torch.tensor([0, 0, 0, 0, 0, 1, 0, 0, 0, 1]).bool()
    for r in (0.5, 0.25, 1.0, 0.0):
        mask = _tensor(answer, chosen, u, batch, fixed, r, shape=(10,))
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


# Lesson 04
# --------------------------------------------------------------------------------------------------


@check
def check_modulate(answer) -> str:
    """A function (x, scale, shift), all [N, d] -> (1 + scale) ∘ LN(x) + shift, LN over channels
    without weights."""
    generator = torch.Generator().manual_seed(9)
    x, scale, shift = torch.randn(3, 5, 8, generator=generator).unbind()
    x = (
        x * torch.tensor([0.5, 1.0, 2.0, 3.0, 3e-3])[:, None]
        + torch.tensor([0.0, 2.0, -3.0, 1.0, 1.0])[:, None]
    )
    untouched = x.clone()
    mean = x.mean(1, keepdim=True)

    def norm(dim=1, unbiased=False, eps=1e-5):
        return (x - x.mean(dim, keepdim=True)) / (
            x.var(dim, unbiased=unbiased, keepdim=True) + eps
        ).sqrt()

    right = norm()
    found = _tensor(answer, x, scale, shift, shape=x.shape)
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
    if is_near(scale * right + shift, plain):
        raise Wrong(
            "You multiply by scale; multiply by 1 + scale, or an untrained condition (scale = 0) "
            "erases x."
        )
    if is_near((1 + scale) * norm(dim=0) + shift, plain):
        raise Wrong(
            "You average over atoms; take mean and variance of each atom by itself, over its "
            "channels (dim=1)."
        )
    if any(
        is_near((1 + scale) * (x - x.mean()) / x.std(unbiased=u) + shift, plain)
        for u in (False, True)
    ):
        raise Wrong(
            "One mean and one variance for all; each atom has its own, over its channels (dim=1)."
        )
    if is_near((1 + scale) * x + shift, plain):
        raise Wrong(
            "The norm is missing: first take off the mean and divide by the standard deviation."
        )
    if is_near((1 + scale) * (x - mean) + shift, plain):
        raise Wrong("The mean is off, but you do not divide by the standard deviation.")
    if is_near((1 + scale) * norm(unbiased=True) + shift, plain):
        raise Wrong(
            "Your variance divides by d − 1; LayerNorm divides by d: var(dim=1, unbiased=False)."
        )
    if is_near((1 + scale) * (x - mean) / (x - mean).square().mean(1, keepdim=True) + shift, plain):
        raise Wrong("You divide by the variance; divide by its square root.")
    if is_near((1 + shift) * right + scale, plain):
        raise Wrong("Scale and shift have changed places: 1 + scale multiplies, shift is added.")
    if is_near((1 + scale) * right, plain):
        raise Wrong("The shift is missing.")
    if is_near((1 + scale) * (right + shift), plain):
        raise Wrong("You add the shift before you scale; add it last.")
    value = ((1 + scale) * right + shift)[0, 0]
    raise Wrong(
        f"Atom 0, channel 0: you get {found[0, 0]:.4f}; (1 + scale) · norm + shift is {value:.4f}."
    )


@check
def check_drop_condition(answer) -> str:
    """A function (c [B, d], token [d], u [B], p) -> c [B, d], the rows with u < p replaced by the
    token, exactly."""
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
    found = _tensor(answer, c, token, u, p, shape=c.shape)
    if not torch.equal(c, untouched):
        raise Wrong("Your function changes c itself: torch.where makes a new tensor.")
    if torch.equal(found, right):
        for edge, dropped in ((0.0, False), (1.0, True)):
            again = _tensor(answer, c, token, u, edge, shape=c.shape)
            if not torch.equal(again, told(torch.full((6,), dropped))):
                raise Wrong(
                    f"Right for p = 0.25, but for p = {edge:g} {'all' if dropped else 'no'} rows "
                    "are dropped."
                )
        return "Whole structures are told nothing, the others exactly what they were told before."
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
def check_other_condition(answer) -> str:
    """A function c [B, d] -> [B, d]: each row that of another structure, none its own, each used
    once."""
    generator = torch.Generator().manual_seed(11)
    with torch.random.fork_rng(
        devices=[]
    ):  # an answer may draw: the same verdict every time, and no draw is lost
        torch.manual_seed(0)
        for size in (5, 2, 3, 6) * 6:
            c = torch.randn(size, 4, generator=generator)
            untouched = c.clone()
            found = _tensor(answer, c, shape=c.shape)
            if not torch.equal(c, untouched):
                raise Wrong("Your function changes c itself: return a new tensor.")
            _judge_other(found, c)
    return (
        "Everybody is told something true of somebody else. It cannot help, unless something is "
        "wrong."
    )


def _judge_other(found, c) -> None:
    size = len(c)
    same = (found[:, None] == c[None]).all(-1)  # [k, j]: structure k is told the condition of j
    told = f"In a batch of {size} "
    if size > 2 and torch.equal(found, found[:1].expand_as(found)):
        raise Wrong(
            told + "all are told the same; each structure's condition should be used, each once."
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
            raise Wrong(told + "everybody keeps its own condition.")
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
def check_margin(answer) -> str:
    """A function (first [N, 3], second [N, 3]) -> the largest move of an atom, max |first_i -
    second_i|."""
    generator = torch.Generator().manual_seed(12)
    scale = (0.3, 0.04, 1.0)
    for s in scale:
        first = torch.randn(6, 3, generator=generator)
        delta = s * torch.randn(6, 3, generator=generator)
        move = delta.norm(dim=1)
        found = _number(_call(answer, first, first + delta))
        right = move.max().item()

        def is_near(other, found=found):
            return math.isclose(found, float(other), rel_tol=1e-3)

        if is_near(right):
            continue
        told = f"You answer {found:.3f} Å, where the largest move is {right:.3f} Å. "
        if is_near(2 * right):
            raise Wrong(
                told
                + "Twice too large: at the midpoint each atom is half its move away from either "
                "pass."
            )
        if is_near(right / 2):
            raise Wrong(
                told
                + "Half of what is needed: both atoms of a pair may move, in opposite directions."
            )
        if is_near(move.mean()) or is_near(move.square().mean().sqrt()) or is_near(move.median()):
            raise Wrong(
                told + "An average: a pair of two atoms that moved farther would be lost. Take the "
                "maximum."
            )
        if is_near(delta.abs().max()):
            raise Wrong(
                told + "That is the largest component; the length of a move is √(Δx² + Δy² + Δz²)."
            )
        if is_near(right**2):
            raise Wrong(told + "That is its square: the square root is missing.")
        if is_near(delta.norm()):
            raise Wrong(
                told + "That is the length of all moves together; take the norm of each row: dim=1."
            )
        if is_near(move.sum()):
            raise Wrong(told + "You add up all moves; a pair has two atoms only.")
        if is_near(move.sort().values[-2:].mean()) or is_near(torch.pdist(delta).max() / 2):
            raise Wrong(
                told + "Enough, and even sharper! But asked is what the largest move alone tells."
            )
        if found < right:
            raise Wrong(
                told
                + "Too small: let two atoms make that move, one to the left and one to the right."
            )
        raise Wrong(
            told
            + "Too large: how far can two atoms be pulled apart from either pass to the midpoint?"
        )
    if abs(_number(_call(answer, first, first.clone()))) > 1e-6:
        raise Wrong("When nothing moves, the margin should be 0.")
    return "Half a move of one atom and half a move of the other: one list serves both passes."


@check
def check_vector_norm(answer) -> str:
    """A function v [N, 3, d] -> [N, 3, d]: lengths below 1, directions kept, smooth and finite at
    0, equivariant."""
    generator = torch.Generator().manual_seed(13)
    v = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    v = (
        v
        / v.norm(dim=1, keepdim=True)
        * torch.linspace(0.5, 4, 20, dtype=torch.float64).view(4, 1, 5)
    )
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    untouched = v.clone()
    length = v.norm(dim=1)
    found = _tensor(answer, v, shape=v.shape).detach()
    if not torch.equal(v, untouched):
        raise Wrong("Your function changes v itself: return a new tensor.")
    new = found.norm(dim=1)  # (N, d)
    error = (
        (_tensor(answer, turn @ v, shape=v.shape) - turn @ found).norm()
        / new.norm().clamp(min=1e-12)
    ).item()
    across = v.norm(dim=2, keepdim=True)
    if torch.allclose(found, v * torch.tanh(across) / across, atol=1e-4):
        raise Wrong(
            f"You take the norm over the d channels (rotation error {error:.0%}); x, y and z are "
            "dim=1."
        )
    stretched = v.clone()
    stretched[:, 0] *= 1.5
    alone = torch.allclose(
        _tensor(answer, stretched, shape=v.shape)[:, 1:], found[:, 1:], atol=1e-9
    )
    if error > 1e-6 and alone:
        raise Wrong(
            "x, y and z are bounded one by one: turn, then bound, and bound, then turn, differ by "
            f"{error:.0%} (rotation error). Use the length of the vector."
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
        _tensor(answer, one, shape=v.shape)[1:], found[1:], atol=1e-9
    ) or not torch.allclose(
        _tensor(answer, one, shape=v.shape)[0, :, 1:], found[0, :, 1:], atol=1e-9
    ):
        raise Wrong(
            "When one vector grows, others change too; each must be bounded by its own length: "
            "dim=1."
        )
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
            f"Turn, then bound, and bound, then turn, differ by {error:.0%} (rotation error)."
        )
    if _tensor(answer, 300 * v, shape=v.shape).norm(dim=1).max() > 1 + 1e-9:
        raise Wrong("A vector of length 1000 comes out longer than 1.")
    _judge_zero(answer)
    return "Shorter than 1, same direction, smooth; and a turned vector gives the turned answer."


def _judge_zero(answer) -> None:
    zero = torch.zeros(2, 3, 4, dtype=torch.float64, requires_grad=True)
    at_zero = _call(answer, zero)
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
    beside = (_call(answer, near)[0, 0, 0] / 1e-3).item()
    if abs(slope - beside) > 0.01:
        raise Wrong(
            f"The slope is {slope:.3g} at v = 0 and {beside:.3g} right beside it: the length in "
            "tanh(|v|) and the one you divide by must be the same, tiny number included."
        )


# Lesson 05
# --------------------------------------------------------------------------------------------------


@check
def check_other_hand(answer) -> str:
    """A function of right-handed frames F [K, 3, 3], columns a, b, c -> those that mirror images
    have: b flipped."""
    generator = torch.Generator().manual_seed(11)
    q = torch.linalg.qr(torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)).Q
    frames = q * torch.linalg.det(q).sign()[:, None, None]
    untouched = frames.clone()
    found = _tensor(answer, frames, shape=(4, 3, 3)).double()
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
def check_force_error(answer) -> str:
    """A function (energy, forces [N, 3], pos [N, 3], h) -> the largest |F + dE/dx| by central
    differences, a number."""
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
        name: _number(_call(answer, energy, f, pos, 1e-3))
        for name, f in (("right", forces), ("wrong", wrong))
    }
    if not torch.equal(pos, untouched):
        raise Wrong(
            "You move pos itself and leave it moved: take pos.clone(), or add a step to it."
        )
    if not asked:
        raise Wrong(
            "You never ask for an energy: compare the forces with (E(x + h) - E(x - h)) / 2h."
        )
    if abs(found["wrong"] - 0.25) < 1e-4 and found["right"] < 1e-5:
        return "Right forces pass, and one wrong component in nine is found."
    if found["right"] > 1e-1 and abs(found["right"] - 2 * float(forces.abs().max())) < 1e-2:
        raise Wrong(
            "Right forces fail, by twice their size: a force is *minus* the slope, so add the "
            "slope to it."
        )
    if min(abs(found["right"] - share * float(forces.abs().max())) for share in (0.5, 1.0)) < 1e-2:
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
def check_leak(answer) -> str:
    """A function (shares, pos [N, 3], far [N], R [3, 3]) -> the largest change of the others'
    shares [N] when the far atoms turn by R about their center."""
    generator = torch.Generator().manual_seed(13)
    pos = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    far = torch.tensor([0, 0, 1, 1, 1, 0, 1]).bool()
    pos[far] += torch.tensor([30.0, 0.0, 0.0], dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    turn = q * torch.linalg.det(q).sign()
    untouched = pos.clone()
    weight = torch.tensor([-1.0, -2.0, 0.0, 0.0, 0.0, 6.0, 0.0], dtype=pos.dtype)

    def shares(x):
        near = (x - x[~far].mean(0))[:, 0].square()
        pooled = (
            (x[far] - x[~far].mean(0))[:, 0].square().sum()
        )  # changes when the far molecule turns, or moves
        return torch.where(far, 1e3 * x[:, 0], near + pooled * weight)

    found = _number(_call(answer, shares, pos, far, turn))
    if not torch.equal(pos, untouched):
        raise Wrong("You move pos itself and leave it moved: take pos.clone() first.")
    center = pos[far].mean(0)

    def moved(by, about, which):
        new = pos.clone()
        new[which] = (pos[which] - about) @ by.T + about
        return new

    def change(new):
        return (shares(new) - shares(pos)).double()

    right = change(moved(turn, center, far))
    best = float(right[~far].abs().max())
    for value, hint in (
        (best, None),
        (
            float(change(moved(turn.T, center, far))[~far].abs().max()),
            "You turn backwards. Rows are positions, so turning them by R is x @ R.T.",
        ),
        (
            float(change(moved(turn, torch.zeros(3, dtype=pos.dtype), far))[~far].abs().max()),
            "The far molecule should turn about its own center, but it swings about the origin.",
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
            float(change(moved(turn, pos[~far].mean(0), ~far))[~far].abs().max()),
            "You turn the near molecule; the far one should turn.",
        ),
    ):
        if abs(found - value) < 1e-6 * max(1.0, best):
            if hint is None:
                return (
                    "Turned about its own center, and nothing but the other molecule is looked at."
                )
            raise Wrong(hint)
    raise Wrong(
        f"The shares of the other atoms change by {best:.4g} at most, and your answer is "
        f"{found:.4g}."
    )


def all_checks() -> dict:
    """Every check by name, for tests that each has a right answer and wrong ones."""
    return {
        name: value
        for name, value in globals().items()
        if name.startswith("check_") and inspect.isfunction(value)
    }


__all__ = ["Check", "Wrong", "all_checks", "check", *all_checks()]
