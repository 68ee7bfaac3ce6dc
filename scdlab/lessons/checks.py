"""Checks of the exercises. Each says what is right, or what is wrong and where to look; none ever just says False.

A check takes the answer, shows its verdict (green when passed, orange with a hint when not, gray while the answer
is still `...`) and returns it as a `Check`; with show=False it only returns it. A wrong
answer never raises: not even one that crashes when it is called.
"""

import functools
import html
import inspect
import math
from dataclasses import dataclass

import torch

from scdlab.lessons.metrics import show_html
from scdlab.units import KCAL_MOL

_LOOK = {True: ("#009E73", "✓ Right."), False: ("#D55E00", "✗ Not yet."), None: ("#8C8C8C", "… Your turn.")}


@dataclass(frozen=True)
class Check:
    """The verdict on an answer: whether it passed, a sentence of help, and whether an answer is still to come."""

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
        text = f"<div style='{box}'><b style='color:{color}'>{verdict}</b> {html.escape(self.message)}</div>"
        show_html(text, str(self))

    def _ipython_display_(self) -> None:
        """Nothing: a check has shown its verdict already, also when it is the last line of a cell."""


class Wrong(Exception):
    """Raised inside a check: its text is the hint the reader gets."""


class Pending(Exception):
    """Raised inside a check when the reader has not answered yet."""


def check(function):
    """Make a check of `function(answer)`, which returns praise or raises `Wrong`; the answer `...` means "not yet"."""

    @functools.wraps(function)
    def checked(answer=..., show: bool = True) -> Check:
        try:
            if answer is ...:
                raise Pending
            verdict = Check(True, function(answer))
        except Wrong as hint:
            verdict = Check(False, str(hint))
        except Pending:
            verdict = Check(False, "Replace the dots by your answer, then run this cell again.", pending=True)
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


# Lesson 00 -----------------------------------------------------------------------------------------------------------


@check
def check_pair_count(answer) -> str:
    """A function n -> number of unordered pairs among n atoms: n(n - 1)/2."""
    for n in (9, 29, 3, 2, 1):
        found, right = _number(_call(answer, n)), n * (n - 1) // 2
        if found == right:
            continue
        if found == n * (n - 1):
            raise Wrong(f"For n = {n} you count {found:g}: each pair twice, as (i, j) and as (j, i).")
        if found == n * (n + 1) // 2:
            raise Wrong(f"For n = {n} you count {found:g}: an atom is not its own neighbor, leave i = j out.")
        if found == n * n:
            raise Wrong(f"For n = {n} you count {found:g}: that is every (i, j), twice over and with i = j.")
        raise Wrong(f"For n = {n} you count {found:g}, but there are {right} pairs. Draw the case n = 3.")
    return "n(n − 1)/2 pairs: 36 for ethanol's nine atoms. Pairs grow as n², so large systems need a cutoff."


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
        raise Wrong("You add |Δx| + |Δy| + |Δz|, which changes when the molecule turns; use √(Δx² + Δy² + Δz²).")
    if found.diagonal().abs().max() > 1e-3:
        raise Wrong(f"The distance of atom 0 to itself is {found[0, 0]:.3g}; it should be 0.")
    raise Wrong(f"The distance of atoms 0 and 1 is {found[0, 1]:.4f}, but should be {right[0, 1]:.4f}.")


@check
def check_invariant(answer) -> str:
    """A function (z [n], pos [n, 3]) -> one number that no rotation, translation or renumbering of atoms changes."""
    generator = torch.Generator().manual_seed(1)
    z, pos = torch.tensor([6, 6, 8, 1, 1]), torch.randn(5, 3, generator=generator)
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
        raise Wrong("Your number never changes, but it also ignores the shape: stretching the molecule must change it.")
    return "It stays the same under translation, rotation and renumbering, and still depends on the shape."


# Lesson 01 -----------------------------------------------------------------------------------------------------------


@check
def check_units(answer) -> str:
    """A function kcal/mol -> meV."""
    right = 1000 * KCAL_MOL
    found = _number(_call(answer, 1.0))
    if math.isclose(found, right, rel_tol=2e-3):
        at_three = _number(_call(answer, 3.0))
        if not math.isclose(at_three, 3 * found, rel_tol=1e-6):
            raise Wrong(f"1 kcal/mol is right, but 3 kcal/mol gives {at_three:g}: a conversion is one multiplication.")
        return "1 kcal/mol = 43.4 meV. “Chemical accuracy”, 1 kcal/mol, is thus 43 meV."
    if math.isclose(found, KCAL_MOL, rel_tol=2e-3):
        raise Wrong("That is eV; there are 1000 meV in one eV.")
    if math.isclose(found, 1 / KCAL_MOL, rel_tol=2e-3) or math.isclose(found, 1e-3 / KCAL_MOL, rel_tol=2e-3):
        raise Wrong("You divide by 0.0433641 eV per kcal/mol; multiply by it.")
    if math.isclose(found, right * 4.184, rel_tol=1e-2) or math.isclose(found, right / 4.184, rel_tol=1e-2):
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
        raise Wrong("This is the ReLU: its slope jumps at 0, and a force made of it would jump too.")
    if abs(zero) > 1e-4:
        raise Wrong(f"ssp(0) should be 0, yours is {zero:.4g}.")
    if not torch.allclose(found, right, atol=1e-4):
        k = (found - right).abs().argmax()
        raise Wrong(f"At x = {x[k].item():.2f} you get {found[k].item():.4f}; ln(½eˣ + ½) is {right[k].item():.4f}.")
    if not found.requires_grad:
        raise Wrong(
            "Values are right, but autograd cannot pass: stay with torch functions, without .item() or .detach()."
        )
    slope = torch.autograd.grad(found.sum(), x)[0]
    if not torch.allclose(slope, torch.sigmoid(x), atol=1e-3):
        raise Wrong("Values are right, but the derivative is not 1/(1 + e⁻ˣ): something in it does not differentiate.")
    far = _call(answer, torch.tensor([200.0]))
    if not torch.isfinite(far).all():
        raise Wrong("At x = 200 your result is not finite: e²⁰⁰ overflows. torch.nn.functional.softplus(x) does not.")
    return "ssp(0) = 0, smooth everywhere, slope between 0 and 1, and safe for large x."


@check
def check_rbf(answer) -> str:
    """A function (r [P], centers [K], gamma) -> exp(-gamma (r - center)²) [P, K]."""
    r, centers, gamma = torch.tensor([0.7, 1.1, 1.5, 2.9]), torch.linspace(0, 3, 7), 10.0
    result = _call(answer, r, centers, gamma)
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (7, 4):
        raise Wrong("Your result has shape [7, 4]: centers first. Put distances first: [4, 7].")
    found = _tensor(lambda *_: result, shape=(4, 7))
    gap = r[:, None] - centers[None, :]
    right = torch.exp(-gamma * gap.square())
    if torch.allclose(found, right, atol=1e-5):
        return "Each distance becomes a bump over the centers: [P] → [P, K]."
    if torch.allclose(found, torch.exp(gamma * gap.square())):
        raise Wrong("The minus sign in the exponent is missing: your bumps are valleys that explode.")
    if torch.allclose(found, torch.exp(-gamma * gap.abs()), atol=1e-5):
        raise Wrong("Square the difference r − μ: |r − μ| has a kink at the center.")
    if torch.allclose(found, torch.exp(-gap.square() / gamma), atol=1e-5):
        raise Wrong("You divide by γ; multiply by it.")
    if torch.allclose(found, torch.exp(-gap.square()), atol=1e-5):
        raise Wrong("γ is not used: your Gaussians all have γ = 1 Å⁻².")
    raise Wrong(f"For r = 0.70 Å and center 0.50 Å you get {found[0, 1]:.4g}; exp(−γ(r − μ)²) is {right[0, 1]:.4g}.")


@check
def check_cfconv(answer) -> str:
    """A function (x [n, d], W [p, d], i [p], j [p]) -> [n, d]: cfconv over a half list, each unordered pair once."""
    generator = torch.Generator().manual_seed(2)
    i, j = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 2, 3])  # a triangle and a tail; atom 4 has no neighbor
    x, w = torch.randn(5, 3, generator=generator), torch.randn(4, 3, generator=generator)

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
        raise Wrong("Only one direction is summed. In a half list, pair (i, j) also carries a message from i to j.")
    if torch.allclose(found, loop(self_message=True), atol=1e-5):
        raise Wrong("Atoms receive their own features: atom i must receive x[j], and atom j must receive x[i].")
    if torch.allclose(found, x + loop(), atol=1e-5):
        raise Wrong("You add x itself: the residual belongs to the interaction block, not to cfconv.")
    overwritten = torch.zeros_like(x)
    overwritten[i] = x[j] * w
    overwritten_too = overwritten.clone()
    overwritten_too[j] += x[i] * w
    if torch.allclose(found, overwritten, atol=1e-5) or torch.allclose(found, overwritten_too, atol=1e-5):
        raise Wrong("`out[i] += …` keeps one message per atom when an index repeats; use out.index_add_(0, i, …).")
    if found[4].abs().max() > 1e-6:
        raise Wrong("Atom 4 has no neighbor, so its row should be zero.")
    k = (found - loop()).abs().sum(1).argmax().item()
    raise Wrong(f"Row {k} differs from a plain loop over the pairs by {(found - loop())[k].abs().max():.3g}.")


@check
def check_force(answer) -> str:
    """A function (energy, pos [n, 3]) -> forces [n, 3] = -∂(energy)/∂pos, energy: a function of pos."""

    def spring(pos):  # two atoms, E = ½ k (r - r0)², k = 3 eV/Å², r0 = 1 Å
        return 1.5 * ((pos[1] - pos[0]).norm() - 1.0) ** 2

    start = torch.tensor([[0.0, 0.0, 0.0], [1.2, 0.0, 0.0]])  # stretched by 0.2 Å: pulled together with 0.6 eV/Å
    right = torch.tensor([[0.6, 0.0, 0.0], [-0.6, 0.0, 0.0]])
    found = _tensor(answer, spring, start.clone(), shape=(2, 3)).detach()
    if torch.allclose(found, -right, atol=1e-3):
        raise Wrong("The sign: your forces push a stretched pair further apart. Force = minus the gradient.")
    if not torch.allclose(found, right, atol=1e-3):
        raise Wrong(f"A stretched spring pulls atom 0 with {right[0, 0]:g} eV/Å along x; yours says {found[0, 0]:.3g}.")
    generator = torch.Generator().manual_seed(3)
    pos = torch.randn(4, 3, generator=generator)

    def pairwise(p):
        return torch.exp(-torch.pdist(p)).sum()

    leaf = pos.clone().requires_grad_()
    right = -torch.autograd.grad(pairwise(leaf), leaf)[0]
    if not torch.allclose(_tensor(answer, pairwise, pos.clone(), shape=(4, 3)).detach(), right, atol=1e-3):
        raise Wrong("Right for two atoms, wrong for four: are all atoms differentiated?")
    return "Forces are minus the gradient: they pull a stretched pair together, and they sum to zero."


# Lesson 02 -----------------------------------------------------------------------------------------------------------


def _two_molecules(seed: int):
    """Generator, and the molecule of each of seven atoms: the first molecule has four, the second three."""
    return torch.Generator().manual_seed(seed), torch.tensor([0, 0, 0, 0, 1, 1, 1])


@check
def check_center(answer) -> str:
    """A function (eps [N, 3], batch [N]) -> eps minus its mean over the atoms of each molecule."""
    generator, batch = _two_molecules(4)
    eps = torch.randn(7, 3, generator=generator) + 1.0
    means = torch.stack([eps[batch == k].mean(0) for k in (0, 1)])
    untouched, right = eps.clone(), eps - means[batch]
    found = _tensor(answer, eps, batch, shape=(7, 3))
    if not torch.equal(eps, untouched):
        raise Wrong("Your function changes eps itself: return a new tensor.")
    if torch.allclose(found, right, atol=1e-5):
        return "No molecule as a whole is moved: nothing is asked that the network cannot see."
    if torch.allclose(found, eps - eps.mean(0), atol=1e-5):
        raise Wrong("You take off the mean of the whole batch; each molecule needs its own, from its own atoms.")
    if torch.allclose(found, eps - eps.mean(1, keepdim=True), atol=1e-5):
        raise Wrong("You average over x, y and z of each atom; average over the atoms, for x, y and z each.")
    if torch.allclose(found, eps, atol=1e-5):
        raise Wrong("Nothing was taken off: the noise of molecule 0 still has a mean.")
    if torch.allclose(found, means[batch], atol=1e-5):
        raise Wrong("These are the means themselves; subtract them from eps.")
    sums = torch.stack([eps[batch == k].sum(0) for k in (0, 1)])
    if torch.allclose(found, eps - sums[batch], atol=1e-5):
        raise Wrong("You subtract the sum over the molecule; divide it by the molecule's number of atoms.")
    left = found[batch == 0].mean(0).abs().max().item()
    if left > 1e-4:
        raise Wrong(f"The mean of molecule 0 should be zero in x, y and z; yours is {left:.3g} in one of them.")
    raise Wrong("The means are zero, but differences between atoms of one molecule changed; subtract one vector only.")


@check
def check_noise_floor(answer) -> str:
    """A function N -> the smallest loss that a translation-invariant network reaches on uncentered noise."""
    for n in (12, 29, 3, 1):
        found, right = _number(_call(answer, n)), 1 / n
        if math.isclose(found, right, rel_tol=1e-6):
            continue
        told = f"For N = {n} you answer {found:.4g}. "
        if math.isclose(found, 1 - right, rel_tol=1e-6, abs_tol=1e-9):
            raise Wrong(told + "That is the share left when the mean is taken off; asked is the mean's own.")
        if math.isclose(found, 3 / n, rel_tol=1e-6):
            raise Wrong(told + "That is |mean|² of all three components together; the loss is a mean over components.")
        if math.isclose(found, 1 / (3 * n), rel_tol=1e-6):
            raise Wrong(told + "One factor 3 too many: three hidden numbers among 3N are a share of 3/(3N).")
        if math.isclose(found, n**-0.5, rel_tol=1e-6):
            raise Wrong(told + "That is the standard deviation of the mean; the loss is a square.")
        if math.isclose(found, 2 / n, rel_tol=1e-6):
            raise Wrong(told + "With rotations you are right. Asked here is what translation alone hides.")
        raise Wrong(told + "The mean of N independent numbers of variance 1 has which variance?")
    return "1/N: three hidden numbers among 3N. Rotations hide three more: water's loss in the plot is near 2/N."


@check
def check_noise_force(answer) -> str:
    """A function (eps [N, 3], forces [N, 3], batch [N]) -> cos(-eps, forces) of each molecule [B]."""
    generator, batch = _two_molecules(5)
    eps = torch.randn(7, 3, generator=generator)
    forces = -eps * torch.tensor([3.0, 3.0, 3.0, 3.0, 0.1, 0.1, 20.0])[:, None]  # a spring to each atom's place

    def cosine(a, b):
        return (a * b).sum() / (a.norm() * b.norm())

    right = torch.stack([cosine(-eps[batch == k], forces[batch == k]) for k in (0, 1)])
    result = _call(answer, eps, forces, batch)
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (7,):
        raise Wrong("One number for each atom: add up over a molecule's atoms, so that large forces count more.")
    if isinstance(result, torch.Tensor) and result.ndim == 0:
        raise Wrong("One number for the whole batch; molecules differ, so each needs its own: shape [2].")
    found = _tensor(lambda *_: result, shape=(2,))
    if torch.allclose(found, right, atol=1e-4):
        return "1 where all springs are equally stiff, less where they differ: the force leans towards the stiff ones."
    if torch.allclose(found, -right, atol=1e-4):
        raise Wrong("The sign: noise pushes away, the force pulls back. Compare the force with −eps, the way back.")
    dots = torch.stack([(eps * forces)[batch == k].sum() for k in (0, 1)])
    if torch.allclose(found.abs(), dots.abs(), atol=1e-4):
        raise Wrong("This is the dot product; divide by the lengths of both, or it measures how large the forces are.")
    per_atom = torch.nn.functional.cosine_similarity(-eps, forces, dim=1)
    if torch.allclose(found, torch.stack([per_atom[batch == k].mean() for k in (0, 1)]), atol=1e-4):
        raise Wrong("You average the cosines of single atoms; take one dot product over all 3N numbers of a molecule.")
    if found.abs().max() > 1.001:
        raise Wrong(f"A cosine lies between −1 and 1; yours reaches {found[found.abs().argmax()].item():.3g}.")
    raise Wrong(f"For molecule 1 you get {found[1].item():.3f}; the cosine is {right[1].item():.3f}.")


@check
def check_corrupt(answer) -> str:
    """A function (pos [N, 3], eps [N, 3], mask [N], sigma) -> (noisy pos [N, 3], targets of masked atoms [M, 3])."""
    generator, _ = _two_molecules(6)
    pos, sigma = torch.randn(7, 3, generator=generator), 0.04
    eps, mask = sigma * torch.randn(7, 3, generator=generator), torch.tensor([1, 0, 0, 1, 1, 0, 1]).bool()
    untouched = pos.clone()
    result = _call(answer, pos, eps, mask, sigma)
    if not isinstance(result, tuple) or len(result) != 2:
        raise Wrong("Return two things: the noisy positions, and the targets of the corrupted atoms.")
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
        raise Wrong("The sign: noisy = clean + noise, or the network learns to push atoms further away.")
    if torch.allclose(noisy, pos + sigma * eps * mask[:, None], atol=1e-6):
        raise Wrong("eps is in Å already: do not multiply it by sigma.")
    if not torch.allclose(noisy, pos + eps * mask[:, None], atol=1e-6):
        k = (noisy - pos - eps * mask[:, None]).abs().sum(1).argmax().item()
        raise Wrong(f"Atom {k} is not where it should be; corrupted atoms are at pos + eps, the others at pos.")
    if isinstance(result[1], torch.Tensor) and tuple(result[1].shape) == (7, 3):
        raise Wrong("Targets for all 7 atoms: the loss counts the corrupted ones only, so keep those rows.")
    target = _tensor(lambda *_: result[1], shape=(4, 3))
    if torch.allclose(target, eps[mask], atol=1e-6):
        raise Wrong("Your target is in Å, of size 0.04: divide by sigma, so that its components have variance 1.")
    if torch.allclose(target, -eps[mask] / sigma, atol=1e-4):
        raise Wrong("The sign of the target: it is the noise that was added, not the way back.")
    if torch.allclose(target, eps[mask] * sigma, atol=1e-6):
        raise Wrong("You multiply the target by sigma; divide, so that its components have variance 1.")
    if not torch.allclose(target, eps[mask] / sigma, atol=1e-4):
        raise Wrong("The positions are right; the target should be eps / sigma of the corrupted atoms, in their order.")
    return "Masked atoms move, the others stay, and the target has variance 1 whatever σ is."


@check
def check_pairwise(answer) -> str:
    """A function (pos [N, 3], corrected [N, 3], batch [N]) -> mean of (d_ij - d'_ij)² over pairs within molecules."""
    generator, batch = _two_molecules(7)
    pos = torch.randn(7, 3, generator=generator)
    corrected = pos + 0.3 * torch.randn(7, 3, generator=generator)
    change = _distance_matrix(pos) - _distance_matrix(corrected)
    same, other = batch[:, None] == batch[None, :], ~torch.eye(7, dtype=torch.bool)
    right = change[same & other].square().mean().item()
    result = _call(answer, pos, corrected, batch)
    found = _number(result)
    if math.isclose(found, right, rel_tol=1e-4):
        if isinstance(result, torch.Tensor) and not torch.isfinite(_slope(answer, pos, corrected, batch)).all():
            raise Wrong("The value is right, its gradient is NaN: √0 of an atom's distance to itself. Leave i = j out.")
        return "Distances within molecules only, and a loss that does not change when a molecule turns."
    if math.isclose(found, change[other].square().mean().item(), rel_tol=1e-4):
        raise Wrong("You compare all pairs of the batch: atoms of different molecules stand in no relation.")
    if math.isclose(found, change[same].square().mean().item(), rel_tol=1e-4):
        raise Wrong("Your mean counts the zeros of i = j; only pairs of two atoms are pairs.")
    if math.isclose(found, change.square().mean().item(), rel_tol=1e-4):
        raise Wrong("You average over the whole matrix, pairs of different molecules and i = j included.")
    if math.isclose(found, (pos - corrected).square().mean().item(), rel_tol=1e-4):
        raise Wrong("You compare positions: a turned molecule would be punished although it is perfectly right.")
    if math.isclose(found, change[same & other].abs().mean().item(), rel_tol=1e-4):
        raise Wrong("You average absolute differences; square them.")
    squares = _distance_matrix(pos).square() - _distance_matrix(corrected).square()
    if math.isclose(found, squares[same & other].square().mean().item(), rel_tol=1e-4):
        raise Wrong("You compare squared distances: far pairs would dominate. Take the square root first.")
    total = change[same & other].square().sum().item()
    if math.isclose(found, total, rel_tol=1e-4) or math.isclose(found, total / 2, rel_tol=1e-4):
        raise Wrong("You add up over pairs; take their mean, or large molecules dominate.")
    raise Wrong(f"You get {found:.4g}; the mean over the nine pairs within the two molecules is {right:.4g}.")


def _slope(answer, pos, corrected, batch) -> torch.Tensor:
    """The gradient of the reader's loss by the corrected positions; zeros when there is none."""
    leaf = corrected.clone().requires_grad_()
    loss = _call(answer, pos, leaf, batch)
    return torch.autograd.grad(loss, leaf)[0] if loss.requires_grad else torch.zeros_like(leaf)


@check
def check_extensivity(answer) -> str:
    """A function (x, n, x_new, n_new) -> R² on new molecules of a linear fit, with constant, from x [m, d] to n [m]."""
    generator = torch.Generator().manual_seed(8)
    x, x_new = torch.randn(60, 4, generator=generator).double(), torch.randn(40, 4, generator=generator).double()
    weight = torch.tensor([2.0, -1.0, 0.5, 0.0], dtype=torch.float64)
    n, n_new = (18 + y @ weight + 1.5 * torch.randn(len(y), generator=generator).double() for y in (x, x_new))

    def fit(constant: bool = True):
        rows = [torch.cat([y, torch.full((len(y), 1), float(constant), dtype=y.dtype)], 1) for y in (x, x_new)]
        w = torch.linalg.pinv(rows[0]) @ n
        return rows[0] @ w, rows[1] @ w

    def r2(y, guess):
        return (1 - (y - guess).square().sum() / (y - y.mean()).square().sum()).item()

    known, new = fit()
    found, right = _number(_call(answer, x, n, x_new, n_new)), r2(n_new, new)
    if math.isclose(found, right, rel_tol=1e-3):
        return "Fitted on some, judged on others: 1 means that size can be read off, 0 that it cannot."
    if math.isclose(found, r2(n, known), rel_tol=1e-3):
        raise Wrong("You judge the fit on the molecules it was fitted to; with many features that is always near 1.")
    if math.isclose(found, r2(n_new, fit(constant=False)[1]), rel_tol=1e-3):
        raise Wrong("The fit has no constant term: append a column of ones to x and to x_new.")
    if math.isclose(found, torch.corrcoef(torch.stack([n_new, new]))[0, 1].square().item(), rel_tol=1e-3):
        raise Wrong("That is the squared correlation, which forgives a wrong slope; R² = 1 − residual / spread.")
    if math.isclose(found, 1 - right, rel_tol=1e-3):
        raise Wrong("That is the share *not* explained; R² is one minus it.")
    if math.isclose(found, (n_new - new).square().mean().item(), rel_tol=1e-3):
        raise Wrong("That is the mean squared error; divide by the variance of n_new and take it from 1.")
    raise Wrong(f"You get {found:.3f}, R² is {right:.3f}: least squares on x, errors on x_new.")


def all_checks() -> dict:
    """Every check by name, for tests that each has a right answer and wrong ones."""
    return {name: value for name, value in globals().items() if name.startswith("check_") and inspect.isfunction(value)}


__all__ = ["Check", "Wrong", "all_checks", "check", *all_checks()]
