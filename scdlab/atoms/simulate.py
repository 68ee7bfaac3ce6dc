"""Labels by molecular dynamics: Langevin trajectories with any ase calculator, GFN2-xTB by default.

    m a = F(x) − m γ v + √(2 m γ k_B T) ξ(t)

samples the canonical ensemble at temperature T: the frames are the off-equilibrium structures, with
energies and forces, that a force field learns from. The same seed gives the same trajectory on the
same machine.

GFN2-xTB: `atoms.gfn2`.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from scdlab.atoms import gfn2
from scdlab.atoms.store import AtomStore
from scdlab.renames import known_arguments

if TYPE_CHECKING:
    from ase import Atoms
    from ase.md.langevin import Langevin

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
        Of velocities and noise.
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
    ValueError
        For settings that make no sense, an unknown calculator, dipole moments that the calculator
        or a periodic structure does not have, and a run that blows up.
    """
    settings: dict[str, Any] = {
        "temperature": temperature,
        "timestep": timestep,
        "friction": friction,
        "interval": interval,
        "equilibration": equilibration,
    }
    _check_settings({"n_frames": n_frames} | settings)
    if not len(atoms):
        raise ValueError("simulate: the structure has no atoms: pass one with at least one atom.")
    atoms = atoms.copy()
    calc, name, limit = _calculator(calculator)
    atoms.calc = calc
    if dipole:
        _check_dipole(calc, name, atoms)
    dynamics = _dynamics(atoms, temperature, timestep, friction, np.random.default_rng(seed))
    frames = []
    with limit(), _progress(equilibration + n_frames * interval, name, progress) as advance:
        for k in range(int(n_frames)):
            for _ in range(interval if k else equilibration + interval):
                dynamics.run(1)  # one by one: the bar moves, and an explosion is seen at once
                _check_alive(atoms, dynamics.nsteps, timestep)
                advance()
            frames.append(_labeled(atoms, dipole))
    settings |= {"seed": seed, "calculator": name}
    meta: dict = {"source": "scdlab.simulate", "simulation": settings}
    if dipole:
        meta["units"] = {"dipole": "e Å"}
    return AtomStore.from_ase(frames, meta=meta)


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


def _check_settings(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if name != "equilibration" and not value > 0:
            raise ValueError(f"simulate: {name} is {value}, but must be positive.")
    for name in ("n_frames", "interval", "equilibration"):
        value = settings[name]
        if value != int(value) or value < 0:
            raise ValueError(
                f"simulate: {name} is {value}, but must be a whole number, and not negative."
            )


def _check_dipole(calculator: Any, name: str, atoms: "Atoms") -> None:
    if "dipole" not in calculator.implemented_properties:
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
    if not hasattr(calculator, "get_potential_energy"):
        raise ValueError(
            f"simulate: unknown calculator {calculator!r}: use 'gfn2', 'emt' or an ase calculator "
            "object."
        )
    return calculator, type(calculator).__name__, contextlib.nullcontext


def _check_alive(atoms: "Atoms", step: int, timestep: float) -> None:
    finite = np.isfinite(atoms.positions).all()
    if not finite or np.abs(atoms.get_velocities()).max() > 10:  # 10 ase units ≈ 1 Å/fs
        raise ValueError(
            f"The simulation blew up at step {step}: start from a relaxed structure, "
            f"or use a timestep below {timestep} fs."
        )


def _labeled(atoms: "Atoms", dipole: bool) -> "Atoms":
    """A copy of `atoms` that carries its energy, its (unconstrained) forces and, where wanted, its
    dipole moment."""
    from ase.calculators.singlepoint import SinglePointCalculator

    frame = atoms.copy()
    forces = atoms.get_forces(apply_constraint=False)
    moment = {"dipole": atoms.get_dipole_moment()} if dipole else {}
    frame.calc = SinglePointCalculator(
        frame, energy=atoms.get_potential_energy(), forces=forces, **moment
    )
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
        nonlocal done, bar
        done += 1
        if bar is not None:
            bar.update(1)
        elif wanted and done == min(20, total):
            expected = (time.perf_counter() - start) / done * total  # seconds
            if expected > _BAR_FROM:
                bar = tqdm(total=total, initial=done, desc=f"MD, {name}", unit="step")

    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()
