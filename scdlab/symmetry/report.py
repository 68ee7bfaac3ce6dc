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

A jump and a steep slope look alike at one step size. So the path is walked twice, with steps h and
h/10: the largest step of a smooth function shrinks tenfold, s(h) ≈ J + L h, and
J = (10 s(h/10) - s(h)) / 9 is the jump that remains (`remaining_jump`).
"""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import ase
import numpy as np
import torch
from torch import Tensor

from scdlab.atoms import AtomStore
from scdlab.nn.model import Model
from scdlab.nn.modes import ordinary_mode
from scdlab.symmetry.auxiliary import UNTRAINED
from scdlab.symmetry.averaging import PCAFrames
from scdlab.symmetry.ecse import ECSE

# Å: an atom, and two that give it frames wherever it goes
_BESIDE = np.array([[0.0, 0.0, 0.0], [0.4, 1.0, 0.0], [0.5, -0.3, 1.1]])
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
    """Errors, 0 where a law holds exactly; relative, but for `smoothness`, which is in eV.

    NaN for a law that was not examined.

    Parameters
    ----------
    rotation : float
        Energy, forces and noise of rotated structures against rotated answers.
    reflection : float
        The same of a mirror image.
    translation : float
        The same of a structure that is moved as a whole.
    permutation : float
        The same in another order of the atoms.
    force_consistency : float
        Forces against finite differences of the energy.
    smoothness : float
        The largest jump of the energy along paths, eV.
    subject : str
        What was examined.
    """

    rotation: float
    reflection: float
    translation: float
    permutation: float
    force_consistency: float
    smoothness: float
    subject: str = ""

    def __str__(self) -> str:
        rows = [f"  {k:<18} {value:9.1e}   {_MEANING[k]}" for k, value in self.as_dict().items()]
        return "\n".join([f"Symmetry report: {self.subject}", *rows])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><td {left}>{k.replace('_', ' ')}</td><td>{value:.1e}</td>"
            f"<td {left}>{_MEANING[k]}</td></tr>"
            for k, value in self.as_dict().items()
        )
        return f"<table><caption>Symmetry report: {self.subject}</caption>{rows}</table>"

    def as_dict(self) -> dict[str, float]:
        """The errors by name, of the laws that were examined."""
        return {k: v for k, v in asdict(self).items() if k in _MEANING and not math.isnan(v)}


class Subject:
    """A float64 copy of a model, evaluated for one structure at changing positions.

    Parameters
    ----------
    model : Model
        Any model; it is not changed.
    atoms : ase.Atoms
        The structure.
    """

    def __init__(self, model: Model, atoms: ase.Atoms):
        with torch.inference_mode(False), torch.no_grad():  # weights that gradients pass through
            self.model = copy.deepcopy(model).cpu().double().eval()
        self.batch = AtomStore.geometry(atoms).take([0])
        self.batch.pos = torch.as_tensor(atoms.get_positions(), dtype=torch.float64)
        if "cell" in self.batch:
            self.batch.cell = torch.as_tensor(np.asarray(atoms.cell), dtype=torch.float64)[None]
        self.offset = float(self.model.energy_head.reference[self.batch.z].sum())

    @torch.no_grad()
    def __call__(
        self,
        pos: Tensor,
        cell: Tensor | None = None,
        z: Tensor | None = None,
        vectors: bool = True,
    ) -> tuple[float, list[Tensor]]:
        """Outputs at other positions, cell or numbering.

        Parameters
        ----------
        pos : Tensor [N, 3]
            Å.
        cell : Tensor [1, 3, 3], optional
            Å; None: that of the structure.
        z : Tensor [N], optional
            Atomic numbers; None: those of the structure.
        vectors : bool, default True
            Whether to compute what rotates with the structure.

        Returns
        -------
        energy : float
            Without its reference, in eV.
        vectors : list of Tensor [N, 3]
            Forces in eV/Å, and noise in units of σ when the model has a head for it.
        """
        batch = copy.copy(self.batch)
        batch.pos = pos
        if cell is not None:
            batch.cell = cell
        if z is not None:
            batch.z = z
        noise = vectors and self.model.noise_head is not None
        out = self.model(batch, forces=vectors, noise=noise)
        found = [v for v in (out.forces, out.noise) if v is not None]
        return float(out.energy) - self.offset, found

    def compare(
        self,
        change: Callable[[Tensor], Tensor],
        back: Callable[[Tensor], Tensor],
        cell: Tensor | None = None,
        z: Tensor | None = None,
    ) -> float:
        """Largest relative error of the energy, and of forces and noise, for a change of the
        positions.

        Parameters
        ----------
        change : callable
            Positions -> changed positions.
        back : callable
            Forces or noise of the changed structure -> what they should be of the unchanged one.
        cell, z : Tensor, optional
            Changed likewise.
        """
        e0, before = self(self.batch.pos)
        e1, after = self(change(self.batch.pos), cell, z)
        errors = [abs(e1 - e0) / max(abs(e0), 1e-3)]
        for v0, v1 in zip(before, after, strict=True):
            errors.append(float((back(v1) - v0).abs().max() / v0.abs().max().clamp(min=1e-3)))
        return max(errors)


def _rotations(n: int, rng: np.random.Generator) -> Tensor:
    """n random rotation matrices, uniform over SO(3). Drawn as from the first, so that the numbers
    of a report stay."""
    q, r = np.linalg.qr(rng.normal(size=(n, 3, 3)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    return torch.from_numpy(q * np.sign(np.linalg.det(q))[:, None, None])


def _under(subject: Subject, q: Tensor) -> float:
    """The error under an orthogonal matrix [3, 3]."""
    cell = subject.batch.cell @ q.T if "cell" in subject.batch else None
    return subject.compare(lambda x: x @ q.T, lambda v: v @ q, cell)


def _permutation(subject: Subject, rng: np.random.Generator) -> float:
    z = subject.batch.z.numpy()
    order = rng.permutation(len(z))
    back = torch.from_numpy(np.argsort(order))
    order = torch.from_numpy(order)
    return subject.compare(lambda x: x[order], lambda f: f[back], z=subject.batch.z[order])


def force_consistency(subject: Subject, h: float = 1e-4) -> float:
    """Forces against central differences of the energy, relative to the largest force.

    Parameters
    ----------
    subject : Subject
        The model and its structure.
    h : float, default 1e-4
        Step in Å.
    """
    pos = subject.batch.pos
    forces = subject(pos)[1][0]
    numeric = torch.empty_like(forces)
    for k in range(pos.numel()):
        step = torch.zeros(pos.numel(), dtype=pos.dtype)
        step[k] = h
        step = step.view_as(pos)
        before, _ = subject(pos - step, vectors=False)
        after, _ = subject(pos + step, vectors=False)
        numeric.view(-1)[k] = (before - after) / (2 * h)
    return float((forces - numeric).abs().max() / forces.abs().max().clamp(min=1e-3))


def remaining_jump(coarse: float, fine: float) -> float:
    """The jump of a function, from its largest steps at two step sizes.

    Parameters
    ----------
    coarse, fine : float
        The largest change in a step h, and in a step h/10.

    Returns
    -------
    float
        What is left of it as h goes to zero; 0 where all is smooth.
    """
    return max((10 * fine - coarse) / 9, 0.0)


def _largest_step(model: Model, z: int, distances: np.ndarray) -> float:
    """Largest step of the energy of two atoms z that are pulled apart through the given
    distances.

    Two atoms are in a line, which makes no frame: where the model has nothing that stands in there,
    each has two more beside it.
    """
    n = len(distances)
    beside = isinstance(model, PCAFrames) or (isinstance(model, ECSE) and model.auxiliary is None)
    away = _BESIDE if beside else _BESIDE[:1]
    size = 2 * len(away)
    pos = np.empty((n, size, 3))
    pos[:, : len(away)] = -away
    pos[:, len(away) :] = away
    pos[:, len(away) :, 0] += distances[:, None]
    ptr = np.arange(0, size * n + 1, size)
    store = AtomStore.from_arrays(np.full(size * n, z), pos.reshape(-1, 3), ptr)
    batch = store.take(np.arange(n))
    batch.pos = torch.from_numpy(pos.reshape(-1, 3))  # float64, finer than the store keeps
    energy = model(batch, noise=False).energy.detach()
    return float(energy.diff().abs().max())


def _smoothness(model: Model, z: list[int]) -> float:
    near = model.cutoff - 0.05
    far = model.cutoff + 0.05
    jumps = [0.0]
    with warnings.catch_warnings():
        # of pairs that are ours, not the caller's
        warnings.filterwarnings("ignore", message=UNTRAINED)
        for element in sorted(set(z)):
            coarse = _largest_step(model, element, np.linspace(near, far, 101))
            fine = _largest_step(model, element, np.linspace(near, far, 1001))
            jumps.append(remaining_jump(coarse, fine))
    return max(jumps)


def _one_structure(atoms: "ase.Atoms | AtomStore") -> ase.Atoms:
    """The structure that is examined."""
    if isinstance(atoms, AtomStore) and len(atoms) == 1:
        return atoms.to_ase(0)
    if isinstance(atoms, ase.Atoms) and len(atoms):
        return atoms
    what = repr(atoms)
    if isinstance(atoms, AtomStore):
        what = f"a store of {len(atoms)}"
    elif isinstance(atoms, ase.Atoms):
        what = "atoms without any"
    elif isinstance(atoms, Sequence):
        what = f"a {type(atoms).__name__} of {len(atoms)}"
    raise ValueError(
        f"symmetry_report examines one structure, an ase.Atoms, got {what}; pass one of them, such "
        "as store.to_ase(0)."
    )


def symmetry_report(
    model: Model,
    atoms: "ase.Atoms | AtomStore",
    n_rotations: int = 4,
    seed: int = 0,
    laws: Sequence[str] = tuple(_MEANING),
) -> SymmetryReport:
    """Measure how well a model keeps the symmetries on one structure.

    Direct forces show in `force_consistency`; a cutoff without an envelope in `smoothness`,
    measured on pairs of atoms of each element of the structure. Finite differences take 6 N energy
    evaluations.

    Parameters
    ----------
    model : Model
        Any model; it is not changed.
    atoms : ase.Atoms
        The structure, periodic or not, of which geometry alone is read; or a store of one.
    n_rotations : int, default 4
        Random rotations, each also with a reflection.
    seed : int, default 0
        Of rotations, translation and permutation.
    laws : sequence of str, default all six
        Which to examine, in any order; the entries of the others are NaN. Of the six,
        "force_consistency" takes longest.

    Returns
    -------
    SymmetryReport
        The error of each law.

    Raises
    ------
    ValueError
        For anything but one structure, for elements that the model was not trained on, and for an
        unknown law.
    TypeError
        For what is no model.
    """
    unknown = [law for law in laws if law not in _MEANING]
    if isinstance(laws, str) or unknown:
        raise ValueError(
            f"laws must be some of {', '.join(_MEANING)}, as a list or tuple, got {laws!r}."
        )
    # what is called like a model will do: one with its condition given, say
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "cutoff"):
        raise TypeError(
            f"symmetry_report takes a model of scdlab, got a {type(model).__name__}; load one with "
            "scdlab.load, or wrap yours in an AtomisticModel."
        )
    with ordinary_mode(torch.device("cpu")), torch.no_grad():
        return _report(model, _one_structure(atoms), n_rotations, seed, frozenset(laws))


def _report(
    model: Model, atoms: ase.Atoms, n_rotations: int, seed: int, laws: frozenset[str]
) -> SymmetryReport:
    subject = Subject(model, atoms)
    rng = np.random.default_rng(seed)
    rotations = _rotations(n_rotations, rng)
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    shift = torch.from_numpy(rng.normal(scale=10.0, size=3))
    z = subject.batch.z.tolist()
    formula = ase.Atoms(z).get_chemical_formula()
    measured: dict[str, Callable[[], float]] = {
        "rotation": lambda: max(_under(subject, q) for q in rotations),
        "reflection": lambda: max(_under(subject, q @ mirror) for q in rotations),
        "translation": lambda: subject.compare(lambda x: x + shift, lambda f: f),
        "permutation": lambda: _permutation(subject, rng),
        "force_consistency": lambda: force_consistency(subject),
        "smoothness": lambda: _smoothness(subject.model, z),
    }
    errors = {law: run() if law in laws else math.nan for law, run in measured.items()}
    return SymmetryReport(**errors, subject=f"{type(model).__name__} on {formula}")
