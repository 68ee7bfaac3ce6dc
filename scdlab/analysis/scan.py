"""Scans: paths of one atom, the energy along them, and how far it jumps.

    E(t) = E(x(t)),  t in Å along a path of one atom                   `paths_of`, `energies`
    jump   what is left of a change of E when the path is cut finer    `refined`

A smooth function leaves next to nothing of a change in an interval that is short enough; a jump
stays. The energies compared here are those of averages over frames (`scdlab.symmetry`); of ECSE's
frames, `weight_matrix` gives the weights around one atom.

ECSE: S. Pozdnyakov and M. Ceriotti, NeurIPS 2023, arXiv:2305.19302.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
import torch
from numpy.typing import ArrayLike

from scdlab.analysis.inputs import batch_at
from scdlab.nn.model import evaluating
from scdlab.symmetry.auxiliary import UNTRAINED
from scdlab.symmetry.averaging import STRAIGHT, PCAFrames
from scdlab.symmetry.frames import Frames

STEPS = 32  # of a path
# Å; a step within that is one in practice, since a time step of dynamics moves an atom farther
WITHIN = 0.001
BOND = "along the bond"
LINE = "in a circle through the line"
CUTOFF = "out through the cutoff"


class Path(NamedTuple):
    """A path of one atom.

    Attributes
    ----------
    place : callable
        Displacement of the atom, t [m] in Å along the path -> where it is, [m, 3] in Å.
    low, high : float
        The ends of t in Å.
    what : str
        The distance or angle that the path changes: start + rate · t.
    unit : str
        Its unit, "Å" or "°".
    start, rate : float
        Its value at t = 0, and its change per Å.
    """

    place: Callable[[ArrayLike], np.ndarray]
    low: float
    high: float
    what: str
    unit: str
    start: float
    rate: float

    @property
    def grid(self) -> np.ndarray:
        """Where curves are computed: 33 values of t in Å. One is 0, the structure as given."""
        return np.linspace(self.low, self.high, STEPS + 1).round(12)

    def read(self, t: ArrayLike) -> Any:
        """The distance or angle at t.

        Parameters
        ----------
        t : array_like
            Å along the path, any shape.

        Returns
        -------
        float or numpy.ndarray
            The coordinate in `unit`, of the same shape.
        """
        return self.start + self.rate * np.asarray(t)


class Scan(NamedTuple):
    """An energy along a path, and its largest jump.

    Attributes
    ----------
    t : numpy.ndarray
        Places [m] in Å along the path.
    e : numpy.ndarray
        The energy [m] there in eV.
    jump : float
        The largest jump in eV.
    at : float
        Where it is, t in Å.
    step : float
        The step within 0.001 Å around there in eV: as large for a function that is smooth but
        steep.
    """

    t: np.ndarray
    e: np.ndarray
    jump: float
    at: float
    step: float


def paths_of(
    atoms: ase.Atoms, atom: int, cutoff: float, own: Mapping[str, ArrayLike] | None = None
) -> dict[str, Path]:
    """The named paths of an atom, each through its place in `atoms` at t = 0.

    "along the bond": 0.2 Å towards its nearest atom j, to 0.6 Å away. "in a circle through the
    line" (from three atoms on): about j, from an angle of some 50° at j, seen from the atom k
    nearest to j, until the three are in line, and beyond. "out through the cutoff": away from j,
    until 0.3 Å beyond the cutoff.

    Parameters
    ----------
    atoms : ase.Atoms
        The molecule.
    atom : int
        The atom that moves.
    cutoff : float
        Cutoff of the model in Å.
    own : mapping, optional
        Further paths, name -> vector [3] in Å: straight from the atom's place, and back the same
        way.

    Returns
    -------
    dict of Path
        By name.

    Raises
    ------
    ValueError
        For a single atom, a periodic structure, and a further path that is no such vector.
    """
    if len(atoms) < 2:
        raise ValueError(
            "A single atom has no neighbors, so it has neither paths nor frames; choose a molecule."
        )
    if atoms.pbc.any():
        raise ValueError(
            "Paths are those of molecules, and this structure is periodic: set atoms.pbc = False, "
            "or choose a molecule."
        )
    x = atoms.positions
    at = x[atom]
    j = nearest_atom(x, atom, [atom])
    u = _unit(at - x[j])
    r = float(np.linalg.norm(at - x[j]))
    bond = f"distance {atom_name(atoms, j)}–{atom_name(atoms, atom)}"
    paths = {BOND: Path(_straight(at, u), -0.2, 0.6, bond, "Å", r, 1.0)}
    if len(atoms) > 2:
        paths[LINE] = _circle(atoms, atom, j)
    paths[CUTOFF] = Path(_straight(at, u), 0.0, max(cutoff + 0.3 - r, 0.6), bond, "Å", r, 1.0)
    for name, given in (own or {}).items():
        vector = np.asarray(given, float)
        if vector.shape != (3,) or not np.isfinite(vector).all() or not vector.any():
            raise ValueError(
                f"The path {name!r} must be a vector of three finite numbers in Å, not all zero, "
                f"got {vector.tolist()}."
            )
        long = float(np.linalg.norm(vector))
        moved = f"{atom_name(atoms, atom)} moved"
        paths[name] = Path(_straight(at, vector / long), -long, long, moved, "Å", 0.0, 1.0)
    return paths


def energies(model: torch.nn.Module, atoms: ase.Atoms, pos: np.ndarray) -> np.ndarray:
    """`model(batch).energy` in evaluation mode.

    No warning that the auxiliary model of an ECSE is untrained: where that matters, it is for the
    caller to show.

    Parameters
    ----------
    model : torch.nn.Module
        A model, or an average over frames of one.
    atoms : ase.Atoms
        The molecule of n atoms.
    pos : numpy.ndarray
        Positions [m, n, 3] in Å.

    Returns
    -------
    numpy.ndarray
        Energies [m] in eV; NaN where `PCAFrames` has no frame, the atoms being on one line.
    """
    batch = batch_at(model, atoms, pos)
    if isinstance(model, PCAFrames):
        there = _planar(batch.pos.view(len(pos), -1, 3))
        if not there.all():
            e = np.full(len(pos), np.nan)
            if there.any():
                e[there] = energies(model, atoms, np.asarray(pos)[there])
            return e
    with evaluating(model), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=UNTRAINED)
        return model(batch).energy.double().cpu().numpy()


def refined(
    energy: Callable[[np.ndarray], np.ndarray],
    t: ArrayLike,
    keep: Sequence[int] = (4, 2, 1, 1, 1, 1, 1),
    enough: float = 1e-6,
) -> Scan:
    """Find the largest jump of an energy: the path is cut finer where it changes most suddenly.

    A smooth function leaves next to nothing of its suddenness in an interval 16,384 times shorter,
    a few 10⁻⁶ Å; a jump stays.

    Parameters
    ----------
    energy : callable
        t [m] in Å -> energies [m] in eV; NaN are passed over.
    t : array_like
        An even grid [m] in Å.
    keep : sequence of int, default (4, 2, 1, 1, 1, 1, 1)
        How many intervals are cut into four, each time.
    enough : float, default 1e-6
        In eV; what has fallen below is cut no finer.

    Returns
    -------
    Scan
        All energies that were computed, and the jump.
    """
    t = np.asarray(t, float)
    e = energy(t)
    pieces = [(t, e)]
    jump = np.nan
    at = np.nan
    for n in (*keep, 0):
        found = [
            (sudden, x[k : k + 2], y[k : k + 2])
            for x, y in pieces
            for k, sudden in enumerate(_suddenness(y))
            if np.isfinite(sudden)
        ]
        if not found:
            break
        found.sort(key=lambda each: -each[0])
        jump = float(found[0][0])
        at = float(found[0][1].mean())
        if jump < enough:
            break
        if n:
            cut = [np.linspace(x[0], x[1], 5) for _, x, _ in found[:n]]
            new = energy(np.concatenate([x[1:-1] for x in cut])).reshape(-1, 3)
            ends = [y for *_, y in found[:n]]
            pieces = [
                (x, np.array([y[0], *mid, y[1]])) for x, y, mid in zip(cut, ends, new, strict=True)
            ]
            t = np.concatenate([t, *(x[1:-1] for x in cut)])
            e = np.concatenate([e, new.ravel()])
    order = t.argsort()
    t = t[order]
    e = e[order]
    known = np.isfinite(e)
    around = np.full(4, np.nan)
    if known.any():
        around = np.interp(at + WITHIN * (np.arange(4) - 1.5), t[known], e[known])
    return Scan(t, e, jump, at, float(_suddenness(around)[1]))


def right_handed(frames: Frames, center: int) -> torch.Tensor:
    """Which frames belong to an atom and are no mirror images.

    Parameters
    ----------
    frames : Frames
        Frames of an ECSE.
    center : int
        The atom.

    Returns
    -------
    Tensor
        Boolean [K].
    """
    return (frames.center == center) & (torch.linalg.det(frames.axes) > 0)


def weight_matrix(frames: Frames, center: int, neighbors: Sequence[int] | np.ndarray) -> np.ndarray:
    """The weights w_jj' of the frames around an atom.

    Parameters
    ----------
    frames : Frames
        Frames of an ECSE.
    center : int
        The atom.
    neighbors : sequence of int
        The neighbors [m] in the matrix.

    Returns
    -------
    numpy.ndarray
        Weights [m, m]; zero where no frame is.

    Raises
    ------
    ValueError
        For frames that are not made of pairs of neighbors.
    """
    if frames.j is None or frames.k is None:
        raise ValueError(
            "weight_matrix needs frames made of pairs of neighbors, got frames without j and k: "
            "pass frames of an ECSE."
        )
    there = right_handed(frames, center)
    place = {int(k): row for row, k in enumerate(neighbors)}
    matrix = np.zeros((len(place), len(place)))
    for j, k, w in zip(
        frames.j[there].tolist(),
        frames.k[there].tolist(),
        frames.weights[there].tolist(),
        strict=True,
    ):
        if j in place and k in place:
            matrix[place[j], place[k]] = w
    return matrix


def nearest_atom(pos: np.ndarray, k: int, but: Sequence[int]) -> int:
    """The atom nearest to another one.

    Parameters
    ----------
    pos : numpy.ndarray
        Positions [n, 3] in Å.
    k : int
        The other atom.
    but : sequence of int
        Atoms that are left out.

    Returns
    -------
    int
        Its index.
    """
    r = np.linalg.norm(pos - pos[k], axis=1)
    r[list(but)] = np.inf
    return int(r.argmin())


def atom_name(atoms: ase.Atoms, k: int) -> str:
    """Element and index of an atom, such as "C3".

    Parameters
    ----------
    atoms : ase.Atoms
        The molecule.
    k : int
        The atom.

    Returns
    -------
    str
        The name.
    """
    return f"{atoms.symbols[k]}{k}"


def _straight(start: np.ndarray, direction: np.ndarray) -> Callable[[ArrayLike], np.ndarray]:
    return lambda t: start + np.multiply.outer(np.asarray(t, float), direction)


def _circle(atoms: ase.Atoms, atom: int, j: int) -> Path:
    """The path of an atom about its neighbor j, through the line of the two with the next atom."""
    x = atoms.positions
    u = _unit(x[atom] - x[j])
    r = float(np.linalg.norm(x[atom] - x[j]))
    k = nearest_atom(x, j, [j, atom])
    v = _unit(x[k] - x[j])
    angle = float(np.arccos(np.clip(u @ v, -1, 1)))
    to_line = r * (np.pi - angle)  # Å
    if to_line < 0.05:  # there already: both ways from it
        low = -r * np.pi / 8
        high = r * np.pi / 8
        side = np.cross(u, np.eye(3)[np.abs(u).argmin()])
    else:  # 0 and the line are among the steps
        whole = np.pi + 0.25 - 50 * np.pi / 180
        step = to_line / max(1, round(STEPS * (np.pi - angle) / whole))
        below = max(0, round(STEPS * (whole + angle - np.pi - 0.25) / whole))
        low = -below * step
        high = (STEPS - below) * step
        side = -v - (u @ -v) * u  # the way to the line
    side = _unit(side)

    def around(t: ArrayLike) -> np.ndarray:
        arc = np.asarray(t, float)[..., None] / r
        return x[j] + r * (np.cos(arc) * u + np.sin(arc) * side)

    names = "–".join(atom_name(atoms, i) for i in (k, j, atom))
    return Path(around, low, high, f"angle {names}", "°", np.degrees(angle), np.degrees(1 / r))


def _suddenness(e: np.ndarray) -> np.ndarray:
    """By how much each step Δ_k of e [m] differs from those beside it, [m - 1].

    From both Δ_(k±1) at least, at an end from the two next. Of long rows: from the value there of
    the cubic through Δ_(k±1) and Δ_(k±2), which lets pass a smooth bend, and no jump that a slope
    happens to hide.
    """
    step = np.pad(np.diff(e), 1, constant_values=np.nan)
    step[0] = step[3]
    step[-1] = step[-4]
    sudden = np.fmin(np.abs(step[1:-1] - step[:-2]), np.abs(step[1:-1] - step[2:]))
    if len(sudden) >= 9:
        d = step[1:-1]
        cubic = np.abs(d[2:-2] - (4 * (d[1:-3] + d[3:-1]) - d[:-4] - d[4:]) / 6)
        sudden[2:-2] = np.where(np.isfinite(cubic), cubic, sudden[2:-2])
    return sudden


def _planar(pos: torch.Tensor) -> np.ndarray:
    """Which of the structures [m, n, 3] have atoms that are not on one line, by the criterion of
    `PCAFrames`: [m]."""
    x = pos.double() - pos.double().mean(1, keepdim=True)
    values = torch.linalg.eigvalsh(x.mT @ x)
    return (values[:, 1] > STRAIGHT**2 * values[:, 2]).cpu().numpy()


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)
