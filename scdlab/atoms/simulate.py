"""Labels by molecular dynamics: Langevin trajectories with any ase calculator, GFN2-xTB by default.

    m a = F(x) − m γ v + √(2 m γ k_B T) ξ(t)

samples the canonical ensemble at temperature T: the frames are the off-equilibrium structures, with
energies and forces, that a force field learns from. The same seed gives the same trajectory on the
same machine.

GFN2-xTB: `atoms.gfn2`.
"""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from scdlab.atoms import gfn2
from scdlab.atoms.simulation_checks import (
    checked_settings,
    checked_start,
    fixed_atoms,
    in_short,
)
from scdlab.atoms.store import AtomStore
from scdlab.renames import known_arguments

if TYPE_CHECKING:
    from ase import Atoms
    from ase.md.langevin import Langevin

_log = logging.getLogger("scdlab")
# per-atom arrays of a structure that decide energies, forces and motion
_DECIDING = ("initial_charges", "initial_magmoms", "masses", "tags")
_BAR_FROM = 5.0  # seconds; shorter runs need no progress bar


@known_arguments
def simulate(
    atoms: "Atoms",
    n_frames: int,
    temperature: float = 500.0,
    calculator: Any = "gfn2",
    seed: int = 0,
    *,
    timestep: float = 0.5,
    friction: float = 0.01,
    interval: int = 20,
    equilibration: int = 500,
    dipole: bool = False,
    progress: bool = True,
) -> AtomStore:
    """Frames of Langevin dynamics, with energies and forces.

    Velocities are drawn from Maxwell-Boltzmann with zero total momentum. Fixed atoms stay fixed,
    and stand in the store as `fixed`. Stored forces are the calculator's own, also on fixed atoms.
    Of `atoms`, the store keeps geometry, charges, magnetic moments, tags and masses of isotopes;
    other notes in `info` and `arrays` are ignored.

    A run that ends early returns the frames it has made, with a warning and the reason in
    `meta["simulation"]["ended_early"]`: after Ctrl-C or SIGTERM (a second one ends the program),
    when the dynamics blow up, and when the calculator fails.

    Parameters
    ----------
    atoms : ase.Atoms
        Where the dynamics start; left untouched.
    n_frames : int
        How many frames.
    temperature : float, default 500.0
        K.
    calculator : str or ase calculator, default "gfn2"
        "gfn2" (GFN2-xTB), "emt" (metals), or any ase calculator.
    seed : int, default 0
        Of velocities and noise; not negative.
    timestep : float, default 0.5
        fs.
    friction : float, default 0.01
        γ, 1/fs.
    interval : int, default 20
        Steps between frames.
    equilibration : int, default 500
        Steps before the first interval.
    dipole : bool, default False
        Also keep the dipole moments, as the property "dipole" in e Å. Those of an ion depend on the
        origin.
    progress : bool, default True
        Whether to show a bar for a run that takes long.

    Raises
    ------
    TypeError
        For what is no structure.
    ValueError
        Before the dynamics begin: for settings that make no sense, an unknown calculator or one
        that fails for the start, a start that no store takes, and dipole moments that the
        calculator or a periodic structure does not have. For a run that ends before its first
        frame.
    """
    settings = checked_settings(
        n_frames=n_frames,
        temperature=temperature,
        timestep=timestep,
        friction=friction,
        interval=interval,
        equilibration=equilibration,
        seed=seed,
    )
    n_frames = settings.pop("n_frames")
    interval = settings["interval"]
    equilibration = settings["equilibration"]
    atoms = checked_start(atoms)
    calc, name, limit = _calculator(calculator)
    atoms.calc = calc
    if dipole:
        _check_dipole(calc, name, atoms)
    frames: list[dict[str, Any]] = []
    ended = ""
    with _ending() as signals, limit():
        _check_labels(atoms, name, dipole)
        rng = np.random.default_rng(settings["seed"])
        dynamics = _dynamics(atoms, temperature, timestep, friction, rng)
        with _progress(equilibration + n_frames * interval, name, progress) as advance:
            try:
                for k in range(n_frames):
                    for _ in range(interval if k else equilibration + interval):
                        # one by one: the bar moves, and an explosion is seen at once
                        dynamics.run(1)
                        _check_alive(atoms, dynamics.nsteps, timestep)
                        advance()
                    frames.append(_labeled(atoms, dipole))
            except KeyboardInterrupt:
                if not frames:
                    raise
                ended = f"it was interrupted ({signals.last}) at step {dynamics.nsteps}"
            except _Exploded:
                if not frames:
                    raise
                ended = f"the dynamics blew up at step {dynamics.nsteps}"
            except Exception as error:  # of any calculator, of any kind
                ended = f"{name} failed at step {dynamics.nsteps} ({in_short(error)})"
                if not frames:
                    raise ValueError(
                        f"The simulation ended before its first frame: {ended}; start from a "
                        "relaxed structure, or use another calculator."
                    ) from error
    settings["calculator"] = name
    if ended:
        settings["ended_early"] = {"frames": len(frames), "of": n_frames, "why": ended}
        _log.warning(
            "simulate: the first %d of %d frames are returned, because %s",
            *(len(frames), n_frames, ended),
        )
    return _as_store(atoms, frames, settings)


class _Exploded(ValueError):
    """The dynamics have left what any calculator can treat."""


class _Ending:
    """Which signal asked the simulation to end."""

    last = "Ctrl-C"


@contextlib.contextmanager
def _ending() -> Iterator[_Ending]:
    """SIGTERM ends a simulation as Ctrl-C does; a second one ends the program as ever."""
    ending = _Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_DFL:  # somebody else takes it
        yield ending
        return

    def end(number: int, frame: object) -> None:
        ending.last = "SIGTERM"
        signal.signal(signal.SIGTERM, before)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        yield ending
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_labels(atoms: "Atoms", name: str, dipole: bool) -> None:
    """Refuse a calculator that fails for the structure at hand, before anything moves."""
    try:
        _labeled(atoms, dipole)
    except Exception as error:  # of any calculator, of any kind
        raise ValueError(
            f"simulate: {name} gives no energy and forces for the structure it would start from "
            f"({in_short(error)}): use another calculator, or correct the structure."
        ) from error


def _as_store(start: "Atoms", frames: list[dict[str, Any]], settings: dict[str, Any]) -> AtomStore:
    """The frames of one structure as a store: geometry and labels, and what of the structure
    decides them."""
    from ase.data import atomic_masses

    n = len(frames)
    kept = {name: start.arrays[name] for name in _DECIDING if name in start.arrays}
    if np.array_equal(start.get_masses(), atomic_masses[start.numbers]):
        kept.pop("masses", None)
    fixed = fixed_atoms(start)
    if fixed.any():
        kept["fixed"] = fixed
    periodic = start.pbc.any()
    meta: dict[str, Any] = {"source": "scdlab.simulate", "simulation": settings}
    properties = None
    if "dipole" in frames[0]:
        properties = {"dipole": [frame["dipole"] for frame in frames]}
        meta["units"] = {"dipole": "e Å"}
    return AtomStore.from_arrays(
        start.numbers,
        np.stack([frame["positions"] for frame in frames]),
        cell=np.stack([start.cell.array] * n) if periodic else None,
        pbc=np.stack([start.pbc] * n) if periodic else None,
        energy=[frame["energy"] for frame in frames],
        forces=np.stack([frame["forces"] for frame in frames]),
        properties=properties,
        atom_properties={name: np.stack([value] * n) for name, value in kept.items()},
        meta=meta,
        validate=False,  # the start was checked, and each frame as it was made
    )


def _dynamics(
    atoms: "Atoms",
    temperature: float,
    timestep: float,
    friction: float,
    rng: np.random.Generator,
) -> "Langevin":
    """Langevin dynamics of the atoms, which get their first velocities here."""
    from ase import units
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import Stationary, thermalize_momenta

    thermalize_momenta(atoms, temperature, rng=rng)
    # a lone atom would be left without motion, a held one cannot drift
    if len(atoms) > 1 and not atoms.constraints:
        Stationary(atoms)
    return Langevin(
        atoms,
        timestep * units.fs,
        temperature_K=temperature,
        friction=friction / units.fs,
        rng=rng,
        # ase deprecates it: it does not sample the canonical ensemble; a drifting molecule is
        # harmless
        fixcm=False,
    )


def _check_dipole(calculator: Any, name: str, atoms: "Atoms") -> None:
    if "dipole" not in getattr(calculator, "implemented_properties", ()):
        raise ValueError(
            f"simulate: {name} gives no dipole moments: use 'gfn2', or leave dipole=True out."
        )
    if atoms.pbc.any():
        raise ValueError(
            "simulate: a periodic structure has no dipole moment of its own: leave dipole=True out."
        )


def intact(
    pos: ArrayLike,
    z: ArrayLike,
    reference: ArrayLike,
    stretch: float = 1.5,
    contact: float = 1.15,
) -> np.ndarray:
    """Which frames still have the bonds of a reference and no others.

    Atoms are bonded in the reference when closer than 1.25 times the sum of their covalent radii.

    Parameters
    ----------
    pos : array_like
        Frames, [F, n, 3], Å.
    z : array_like
        Atomic numbers, [n].
    reference : array_like
        Positions, [n, 3], Å.
    stretch : float, default 1.5
        A bond is lost beyond so many times the sum of the radii.
    contact : float, default 1.15
        A new bond is made below so many times the sum.

    Returns
    -------
    ndarray
        [F] bool.
    """
    from ase.data import covalent_radii

    radii = covalent_radii[np.asarray(z)]
    i, j = np.triu_indices(len(radii), 1)
    unit = radii[i] + radii[j]  # [P]
    reference = np.asarray(reference, float)
    pos = np.asarray(pos, float)
    bonded = np.linalg.norm(reference[j] - reference[i], axis=-1) < 1.25 * unit
    ratio = np.linalg.norm(pos[:, j] - pos[:, i], axis=-1) / unit  # [F, P]
    return np.where(bonded, ratio < stretch, ratio > contact).all(1)


def _calculator(calculator: Any) -> tuple[Any, str, Callable[[], AbstractContextManager]]:
    """(ase calculator, its name, a context to run it in)."""
    if calculator == "gfn2":
        try:
            method = gfn2.gfn2()
        except ImportError as error:
            raise ValueError(
                "simulate: the calculator 'gfn2' needs tblite, which is not installed (Windows and "
                "ARM Linux have no wheels): install it, from conda-forge where need be, or give "
                "another ase calculator."
            ) from error

        return method, "GFN2-xTB (tblite)", gfn2.one_thread
    if calculator == "emt":
        from ase.calculators.emt import EMT

        return EMT(), "EMT (ase)", contextlib.nullcontext
    from ase import Atoms

    if isinstance(calculator, (type, Atoms)) or not hasattr(calculator, "get_potential_energy"):
        raise ValueError(
            f"simulate: unknown calculator {in_short(calculator)}: use 'gfn2', 'emt', or an "
            "object that is an ase calculator, such as scdlab.Calculator(model)."
        )
    return calculator, type(calculator).__name__, contextlib.nullcontext


def _check_alive(atoms: "Atoms", step: int, timestep: float) -> None:
    finite = np.isfinite(atoms.positions).all()
    if not finite or np.abs(atoms.get_velocities()).max() > 10:  # 10 ase units ≈ 1 Å/fs
        raise _Exploded(
            f"The simulation blew up at step {step}: start from a relaxed structure, "
            f"or use a timestep below {timestep} fs."
        )


def _labeled(atoms: "Atoms", dipole: bool) -> dict[str, Any]:
    """The positions of a frame with its energy, its (unconstrained) forces and, where wanted, its
    dipole moment. Raises ValueError for what is no number."""
    frame = {
        "positions": atoms.positions.copy(),
        "energy": float(atoms.get_potential_energy()),
        "forces": np.array(atoms.get_forces(apply_constraint=False), float),
    }
    if dipole:
        frame["dipole"] = np.array(atoms.get_dipole_moment(), float)
    for what, value in frame.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{what} that are not finite numbers")
    return frame


@contextlib.contextmanager
def _progress(total: int, name: str, wanted: bool) -> Iterator[Callable[[], None]]:
    """A function to call after each step; it opens a bar once the first steps show that the run
    takes long."""
    from tqdm import tqdm

    start = time.perf_counter()
    done = 0
    bar = None

    def advance() -> None:
        nonlocal done, bar, wanted
        done += 1
        if not wanted:
            return
        try:
            if bar is not None:
                bar.update(1)
            elif done == min(20, total):
                expected = (time.perf_counter() - start) / done * total  # seconds
                if expected > _BAR_FROM:
                    bar = tqdm(total=total, initial=done, desc=f"MD, {name}", unit="step")
        except (OSError, ValueError, AttributeError) as error:  # stderr is closed, or full
            wanted = False
            bar = None
            _log.warning("simulate: no progress can be shown (%s)", error)

    try:
        yield advance
    finally:
        if bar is not None:
            with contextlib.suppress(OSError, ValueError):  # what was done is worth more than a bar
                bar.close()
