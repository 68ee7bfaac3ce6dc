"""The single comparisons of the physics campaign. Each gives a `Found`: how far off, and how far it
may be."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import ase
import numpy as np
import physics_models
import torch
from physics_models import STRUCTURES, batch_of, conserves, extra, rotates
from torch import Tensor

import scdlab

H = 2e-5  # Å, or of strain: differences of fourth order, small beside the steepest waves there are
STENCIL = {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}  # times 1 / h


class Found(NamedTuple):
    """What a comparison gave.

    Attributes
    ----------
    kind : str
        What was compared.
    what : str
        Of which structure.
    error, allowed : float
        The difference, and what it may be.
    """

    kind: str
    what: str
    error: float
    allowed: float

    @property
    def good(self) -> bool:
        """Whether it is small enough; NaN is not."""
        return self.error <= self.allowed


def _size(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0


def _repeated(given: dict[str, Tensor], n: int) -> dict[str, Tensor]:
    return {name: x.repeat(n, 1) for name, x in given.items()}


def forces(model: scdlab.nn.Model, name: str, atoms: ase.Atoms) -> Iterator[Found]:
    """F = -∂E/∂x, by a condition and forces as input that stay."""
    if not conserves(model):
        return
    batch = batch_of(atoms)
    given = extra(model, batch)
    found = model(batch, forces=True, **given).forces.detach()
    displaced = []
    for k in range(3 * len(atoms)):
        for step in STENCIL:
            other = atoms.copy()
            other.positions[k // 3, k % 3] += step * H
            displaced.append(other)
    with torch.no_grad():
        e = model(batch_of(*displaced), **_repeated(given, len(displaced))).energy
    weights = torch.tensor(list(STENCIL.values()), dtype=torch.float64) / H
    numeric = -(e.view(-1, len(STENCIL)) * weights).sum(1).view(-1, 3)
    yield Found("forces", name, _size(found - numeric), 2e-6 * (1 + _size(numeric)))


def stress(model: scdlab.nn.Model, name: str, atoms: ase.Atoms) -> Iterator[Found]:
    """σ = ∂E/∂ε / V, of the calculator."""
    if not conserves(model) or not atoms.pbc.all():
        return
    calculator = scdlab.Calculator(model)
    found = calculator.get_property("stress", atoms)
    strained = []
    for row, column in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        for step in STENCIL:
            strain = np.eye(3)
            strain[row, column] += 0.5 * step * H
            strain[column, row] += 0.5 * step * H
            other = atoms.copy()
            other.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            strained.append(other)
    with torch.no_grad():
        e = model(batch_of(*strained)).energy.numpy().reshape(-1, len(STENCIL))
    numeric = e @ np.array(list(STENCIL.values())) / H / atoms.cell.volume
    scale = 1 + np.abs(numeric).max()
    yield Found("stress", name, float(np.abs(found - numeric).max()), 2e-6 * scale)


def symmetry(model: scdlab.nn.Model, name: str, atoms: ase.Atoms, seed: int) -> Iterator[Found]:
    """The same energy, and forces that rotate along, of the structure rotated, mirrored, moved,
    renumbered, and with atoms in other cells."""
    rng = np.random.default_rng(seed)
    batch = batch_of(atoms)
    given = extra(model, batch)
    e, f = _energy_forces(model, batch, given)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = torch.from_numpy(q * np.linalg.det(q))
    for kind, axes in (("rotation", turned), ("reflection", -turned)) if rotates(model) else ():
        other = batch.clone()
        other.pos = batch.pos @ axes.T
        if "cell" in batch:
            other.cell = batch.cell @ axes.T
        found = _energy_forces(model, other, _with_forces(given, axes.T.__rmatmul__))
        yield _same(kind, name, (e, f), found, axes.__rmatmul__)
    shifted = batch.clone()
    shifted.pos = batch.pos + torch.from_numpy(rng.normal(scale=10, size=3))
    yield _same("translation", name, (e, f), _energy_forces(model, shifted, given))
    far = batch.clone()
    far.pos = batch.pos + torch.tensor([1e5, -2e5, 3e5], dtype=torch.float64)
    yield _same("far from the origin", name, (e, f), _energy_forces(model, far, given), loose=1e3)
    order = torch.from_numpy(rng.permutation(len(atoms)))
    renumbered = batch.clone()
    renumbered.z = batch.z[order]
    renumbered.pos = batch.pos[order]
    back = torch.argsort(order)
    found = _energy_forces(model, renumbered, _with_forces(given, lambda x: x[order]))
    yield _same("permutation", name, (e, f), found, lambda x: x[back])
    if atoms.pbc.any():
        elsewhere = batch.clone()
        cells = rng.integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
        elsewhere.pos = batch.pos + torch.from_numpy(cells @ atoms.cell.array)
        yield _same("other cells", name, (e, f), _energy_forces(model, elsewhere, given))


def _with_forces(given: dict[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The input with other forces, where there are any."""
    return {name: change(x) if name == "force_input" else x for name, x in given.items()}


def _energy_forces(model, batch, given) -> tuple[Tensor, Tensor]:
    out = model(batch, forces=True, **given)
    return out.energy.detach(), out.forces.detach()


def _same(
    kind: str,
    name: str,
    before: tuple[Tensor, Tensor],
    after: tuple[Tensor, Tensor],
    back: Callable[[Tensor], Tensor] = lambda x: x,
    loose: float = 1.0,
) -> Found:
    e = _size(before[0] - after[0]) / (1 + _size(before[0]))
    f = _size(before[1] - back(after[1])) / (1 + _size(before[1]))
    return Found(kind, name, max(e, f), 1e-9 * loose)


def batches(model: scdlab.nn.Model, structures: Sequence[str]) -> Iterator[Found]:
    """Alone as in one batch with the others."""
    atoms = [STRUCTURES[name]() for name in structures]
    together = batch_of(*atoms)
    given = extra(model, together)
    e, f = _energy_forces(model, together, given)
    for k, name in enumerate(structures):
        part = slice(int(together.ptr[k]), int(together.ptr[k + 1]))
        own = {key: x[part] if key == "force_input" else x[k : k + 1] for key, x in given.items()}
        alone = _energy_forces(model, batch_of(atoms[k]), own)
        yield _same("batch", name, (e[k : k + 1], f[part]), alone)


def cutoff(model: scdlab.nn.Model) -> Iterator[Found]:
    """Energy and forces while an atom crosses the cutoff of another, whose own neighbors are
    near."""
    step = 1e-6
    away = model.cutoff + step * np.arange(-2, 3)
    line = []
    for d in away:
        near = [[0, 0, 0], [-0.3, 0.9, 0.2], [-0.4, -0.3, 0.95]]
        line.append(ase.Atoms("OHHC", positions=[*near, [d, 0, 0]]))
    e, f = _energy_forces(model, batch_of(*line), _repeated(extra(model, batch_of(line[0])), 5))
    f = f.view(5, -1)
    scale = 1 + _size(f)
    yield Found("energy at the cutoff", "a molecule", _size(e.diff()), 4 * step * scale)
    yield Found("forces at the cutoff", "a molecule", _size(f.diff(dim=0)), 1e-4 * scale)


def refusals(model: scdlab.nn.Model) -> Iterator[Found]:
    """One sentence for what is no structure."""
    twice = ase.Atoms("OHH", positions=[[0, 0, 0], [0, 0, 1], [0, 0, 1]])
    crystal = ase.Atoms("OH", positions=[[0, 0, 0], [3.0, 0, 0]], cell=[3.0] * 3, pbc=True)
    broken = batch_of(STRUCTURES["a molecule"]())
    broken.pos = broken.pos.clone()
    broken.pos[1, 2] = float("nan")
    flat = batch_of(STRUCTURES["a crystal"]())
    flat.cell = torch.tensor([[[4.0, 0, 0], [4.0, 0, 0], [0, 0, 4.0]]], dtype=torch.float64)
    cases = {
        "atoms at one place": lambda: batch_of(twice),
        "atoms at one place of a crystal": lambda: batch_of(crystal),
        "a position that is NaN": lambda: broken,
        "cell vectors in one plane": lambda: flat,
        "no atoms": lambda: batch_of(ase.Atoms()),
    }
    for name, made in cases.items():
        try:
            batch = made()
            model(batch, forces=True, **extra(model, batch))
        except ValueError as error:
            said = str(error)
            plain = said.endswith(".") and "\n" not in said and len(said) > 30
            yield Found("refused", f"{name}: {said}", float(not plain), 0.0)
        except Exception as error:
            yield Found("refused", f"{name}: {type(error).__name__}: {error}", 1.0, 0.0)
        else:
            yield Found("refused", f"{name}: taken", 1.0, 0.0)


def modes(model: scdlab.nn.Model) -> Iterator[Found]:
    """The same in inference mode, within autocast, compiled, and in float32 but for rounding."""
    names = ("a molecule", "a crystal")
    batch = batch_of(*(STRUCTURES[name]() for name in names))
    given = extra(model, batch)
    what = " and ".join(names)
    with torch.no_grad():
        right = _energy_forces(model, batch, given)
    with torch.inference_mode():
        yield _same("inference mode", what, right, _energy_forces(model, batch, given))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield _same("autocast", what, right, _energy_forces(model, batch, given))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(model, backend="eager")
        for _ in range(2):
            yield _same("torch.compile", what, right, _energy_forces(compiled, batch, given))
    single = copy.deepcopy(model).float()
    given = {name: x.float() for name, x in given.items()}
    found = tuple(x.double() for x in _energy_forces(single, batch, given))
    yield _same("float32", what, right, found, loose=1e6)


def loss_gradient(
    model: scdlab.nn.Model, objective: scdlab.objectives.Objective, seed: int
) -> Iterator[Found]:
    """The derivative of a loss along a random direction of the parameters."""
    model.train()
    store = physics_models.ethanol()
    objective.prepare(model, store)
    batch = store.take(range(3))
    batch.pos = batch.pos.double()
    if model.config.get("detach", False):  # the loss has no gradient by what it is detached from
        return

    def loss() -> Tensor:
        torch.manual_seed(seed)
        return objective(model, batch, torch.Generator().manual_seed(seed))[0]

    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(seed)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    length = sum(float(v.square().sum()) for v in direction) ** 0.5
    slope = sum(
        float((g * v).sum()) for g, v in zip(gradients, direction, strict=True) if g is not None
    )
    h = 1e-3 / length
    numeric = 0.0
    for step, weight in STENCIL.items():
        with torch.no_grad():
            for p, v in zip(parameters, direction, strict=True):
                p.add_(v, alpha=step * h)
        value = float(loss().detach())
        numeric += weight / h * value
        with torch.no_grad():
            for p, v in zip(parameters, direction, strict=True):
                p.sub_(v, alpha=step * h)
    norm = sum(float(g.square().sum()) for g in gradients if g is not None) ** 0.5
    error = abs(slope - numeric) / (norm + abs(numeric) + 1e-12)
    yield Found("gradient of the loss", repr(objective).split("(")[0], error, 1e-6)
