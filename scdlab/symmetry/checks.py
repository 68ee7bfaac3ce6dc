"""The symmetry report: does a model obey the laws it should, and by how much does it break them?

    rotation            E(Rx) = E(x) and F(Rx) = R F(x), for random rotations R; and so the noise,
                        if there is a head
    reflection          the same for mirror images
    translation         E(x + t) = E(x), F(x + t) = F(x)
    permutation         atoms renumbered: same energy, forces renumbered alike
    force_consistency   F = -∂E/∂x against central finite differences
    smoothness          no jump of the energy while a neighbor crosses the cutoff

All is computed in float64, so that a law that holds shows as ~1e-12 and a law that is broken stands
out. Energies are compared in eV after the references are taken off, forces in eV/Å, noise in units
of σ; each error is divided by the size of what is compared.

A jump cannot be told from a steep slope at one step size. So the path is walked twice, with steps h
and h/10: the largest step of a smooth function shrinks tenfold, s(h) ≈ J + L h, and J = (10 s(h/10)
- s(h)) / 9 is the jump that remains.
"""

import copy
from dataclasses import asdict, dataclass

import numpy as np
import torch
from ase.data import chemical_symbols

from scdlab.atoms import AtomStore

_MEANING = {
    "rotation": "largest relative error of energy, forces and noise under rotation",
    "reflection": "the same under mirror reflection",
    "translation": "the same under translation",
    "permutation": "the same when the atoms are renumbered",
    "force_consistency": "forces against finite differences of the energy, relative",
    "smoothness": "jump of the energy as a neighbor crosses the cutoff, eV",
}


@dataclass(frozen=True)
class SymmetryReport:
    """Errors, 0 where a law holds exactly; relative, but for `smoothness`, which is in eV."""

    rotation: float
    reflection: float
    translation: float
    permutation: float
    force_consistency: float
    smoothness: float
    subject: str = ""

    def __str__(self):
        rows = [f"  {k:<18} {getattr(self, k):9.1e}   {meaning}" for k, meaning in _MEANING.items()]
        return "\n".join([f"Symmetry report: {self.subject}", *rows])

    def __repr__(self):
        return str(self)

    def _repr_html_(self):
        rows = "".join(
            "<tr><td "
            f"style='text-align:left'>{k.replace('_', ' ')}</td><td>{getattr(self, k):.1e}</td><td "
            f"style='text-align:left'>{meaning}</td></tr>"
            for k, meaning in _MEANING.items()
        )
        return f"<table><caption>Symmetry report: {self.subject}</caption>{rows}</table>"

    def as_dict(self) -> dict[str, float]:
        return {k: v for k, v in asdict(self).items() if k in _MEANING}


class _Subject:
    """A float64 copy of the model, asked about one structure at changing positions."""

    def __init__(self, model, atoms):
        self.model = copy.deepcopy(model).cpu().double().eval()
        self.batch = AtomStore.from_ase([atoms]).take([0])
        self.batch.pos = torch.as_tensor(atoms.get_positions(), dtype=torch.float64)
        if "cell" in self.batch:
            self.batch.cell = torch.as_tensor(np.asarray(atoms.cell), dtype=torch.float64)[None]
        self.offset = float(self.model.energy_head.reference[self.batch.z].sum())

    @torch.no_grad()
    def __call__(self, pos, cell=None, z=None, vectors=True):
        """Energy without its reference (eV) at other positions, cell or numbering; and, if asked
        for, what turns with the structure: forces (eV/Å), and noise (units of σ) when the model has
        a head for it, [N, 3] each."""
        batch = copy.copy(self.batch)
        batch.pos = pos
        if cell is not None:
            batch.cell = cell
        if z is not None:
            batch.z = z
        out = self.model(batch, forces=vectors, noise=vectors and self.model.noise_head is not None)
        return float(out.energy) - self.offset, [
            v for v in (out.forces, out.noise) if v is not None
        ]

    def compare(self, change, back, cell=None, z=None) -> float:
        """Largest relative error of the energy, and of forces and noise brought back, for a change
        of the positions."""
        e0, before = self(self.batch.pos)
        e1, after = self(change(self.batch.pos), cell, z)
        pairs = zip(before, after, strict=True)
        errors = [
            float((back(v1) - v0).abs().max() / v0.abs().max().clamp(min=1e-3)) for v0, v1 in pairs
        ]
        return max(abs(e1 - e0) / max(abs(e0), 1e-3), *errors)


def _rotations(n: int, rng) -> torch.Tensor:
    """n random rotation matrices, uniform over SO(3)."""
    q, r = np.linalg.qr(rng.normal(size=(n, 3, 3)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    return torch.from_numpy(q * np.sign(np.linalg.det(q))[:, None, None])


def _linear(subject, q) -> float:
    cell = subject.batch.cell @ q.T if "cell" in subject.batch else None
    return subject.compare(lambda x: x @ q.T, lambda v: v @ q, cell)


def _permutation(subject, rng) -> float:
    z = subject.batch.z.numpy()
    order = rng.permutation(len(z))
    back = torch.from_numpy(np.argsort(order))
    order = torch.from_numpy(order)
    return subject.compare(lambda x: x[order], lambda f: f[back], z=subject.batch.z[order])


def _force_consistency(subject, h: float = 1e-4) -> float:
    pos = subject.batch.pos
    forces = subject(pos)[1][0]
    numeric = torch.empty_like(forces)
    for k in range(pos.numel()):
        step = torch.zeros(pos.numel(), dtype=pos.dtype)
        step[k] = h
        step = step.view_as(pos)
        numeric.view(-1)[k] = (
            subject(pos - step, vectors=False)[0] - subject(pos + step, vectors=False)[0]
        ) / (2 * h)
    return float((forces - numeric).abs().max() / forces.abs().max().clamp(min=1e-3))


def _largest_step(model, z: int, distances) -> float:
    """Largest step of the energy of two atoms z that are pulled apart through the given
    distances."""
    pos = np.zeros((len(distances), 2, 3))
    pos[:, 1, 0] = distances
    ptr = np.arange(0, 2 * len(distances) + 1, 2)
    batch = AtomStore.from_arrays(np.full(2 * len(distances), z), pos.reshape(-1, 3), ptr).take(
        np.arange(len(distances))
    )
    batch.pos = torch.from_numpy(pos.reshape(-1, 3))  # float64, finer than the store keeps
    energy = model(batch, noise=False).energy.detach()
    return float(energy.diff().abs().max())


def _smoothness(model, z) -> float:
    cutoff = model.cutoff
    worst = 0.0
    for element in sorted(set(z)):
        coarse = _largest_step(model, element, np.linspace(cutoff - 0.05, cutoff + 0.05, 101))
        fine = _largest_step(model, element, np.linspace(cutoff - 0.05, cutoff + 0.05, 1001))
        worst = max(worst, (10 * fine - coarse) / 9)
    return max(worst, 0.0)


def symmetry_report(model, atoms, n_rotations: int = 4, seed: int = 0) -> SymmetryReport:
    """Measure how well a model keeps the symmetries on one structure (ase.Atoms; periodic ones
    too).

    The model is not changed. A direct-force model shows in `force_consistency`; a cutoff without an
    envelope in `smoothness`, measured on pairs of atoms of each element at hand. Finite differences
    take 6 N energy evaluations.
    """
    subject = _Subject(model, atoms)
    rng = np.random.default_rng(seed)
    rotations = _rotations(n_rotations, rng)
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    shift = torch.from_numpy(rng.normal(scale=10.0, size=3))
    z = subject.batch.z.tolist()
    formula = "".join(
        f"{chemical_symbols[k]}{n if n > 1 else ''}"
        for k, n in zip(*np.unique(z, return_counts=True), strict=True)
    )
    return SymmetryReport(
        rotation=max(_linear(subject, q) for q in rotations),
        reflection=max(_linear(subject, q @ mirror) for q in rotations),
        translation=subject.compare(lambda x: x + shift, lambda f: f),
        permutation=_permutation(subject, rng),
        force_consistency=_force_consistency(subject),
        smoothness=_smoothness(subject.model, z),
        subject=f"{type(model).__name__} on {formula}",
    )
