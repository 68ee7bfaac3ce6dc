"""Label-making by molecular dynamics: Langevin trajectories with any ase calculator, GFN2-xTB by
default.

    m a = F(x) − m γ v + √(2 m γ k_B T) ξ(t)

samples the canonical ensemble at temperature T: the frames are the off-equilibrium structures, with
energies and forces, that a force field learns from. The same seed gives the same trajectory on the
same machine.

GFN2-xTB: C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019), by the
library tblite.
"""

import contextlib
import time

import numpy as np

from scdlab.atoms.store import AtomStore

_BAR_FROM = 5.0  # seconds; shorter runs need no progress bar


def simulate(
    atoms,
    n_frames,
    temperature=500.0,
    calculator="gfn2",
    seed=0,
    *,
    timestep=0.5,
    friction=0.01,
    interval=20,
    equilibration=500,
    dipole=False,
    progress=True,
) -> AtomStore:
    """`n_frames` frames of Langevin dynamics of `atoms` (ase.Atoms, left untouched), with energies
    and forces.

    temperature in K; timestep in fs; friction γ in 1/fs; a frame every `interval` steps, after
    `equilibration` steps. calculator: "gfn2" (GFN2-xTB), "emt" (metals), or any ase calculator.
    Velocities are drawn from Maxwell-Boltzmann with zero total momentum; fixed atoms stay fixed,
    and stand in the store as `fixed`. Stored forces are the calculator's own, also on fixed atoms.
    dipole: also keep the dipole moments, as the property "dipole" in e Å, which of an ion depend on
    the origin. Raises ValueError for settings that make no sense, an unknown calculator, dipole
    moments that the calculator or a periodic structure does not have, and a run that blows up.
    """
    from ase import units
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import Stationary, thermalize_momenta

    numbers = {
        "temperature": temperature,
        "timestep": timestep,
        "friction": friction,
        "interval": interval,
    }
    for name, value in ({"n_frames": n_frames} | numbers).items():
        if not value > 0:
            raise ValueError(f"simulate: {name} is {value}, but must be positive.")
    for name, value in {
        "n_frames": n_frames,
        "interval": interval,
        "equilibration": equilibration,
    }.items():
        if value != int(value) or value < 0:
            raise ValueError(
                f"simulate: {name} is {value}, but must be a whole number, and not negative."
            )
    if not len(atoms):
        raise ValueError("simulate: the structure has no atoms: pass one with at least one atom.")
    atoms = atoms.copy()
    atoms.calc, name, limit = _calculator(calculator)
    if dipole and "dipole" not in atoms.calc.implemented_properties:
        raise ValueError(
            f"simulate: {name} gives no dipole moments: use 'gfn2', or leave dipole=True out."
        )
    if dipole and atoms.pbc.any():
        raise ValueError(
            "simulate: a periodic structure has no dipole moment of its own: leave dipole=True out."
        )
    rng = np.random.default_rng(seed)
    thermalize_momenta(atoms, temperature, rng=rng)
    if (
        len(atoms) > 1 and not atoms.constraints
    ):  # a lone atom would be left without motion, a held one cannot drift
        Stationary(atoms)
    dynamics = Langevin(
        atoms,
        timestep * units.fs,
        temperature_K=temperature,
        friction=friction / units.fs,
        rng=rng,
        # ase deprecates it: it does not sample the canonical ensemble; a drifting molecule is
        # harmless
        fixcm=False,
    )
    frames = []
    with limit(), _progress(equilibration + n_frames * interval, name, progress) as advance:
        for k in range(int(n_frames)):
            for _ in range(interval if k else equilibration + interval):
                dynamics.run(
                    1
                )  # one by one, so that the bar moves and an explosion is seen at once
                _check_alive(atoms, dynamics.nsteps, timestep)
                advance()
            frames.append(_labeled(atoms, dipole))
    settings = numbers | {"equilibration": equilibration, "seed": seed, "calculator": name}
    meta = {"source": "scdlab.simulate", "simulation": settings} | (
        {"units": {"dipole": "e Å"}} if dipole else {}
    )
    return AtomStore.from_ase(frames, meta=meta)


def intact(pos, z, reference, stretch=1.5, contact=1.15) -> np.ndarray:
    """Which frames still have the bonds of `reference` and no others: [F] bool.

    pos [F, n, 3] and reference [n, 3] in Å, z [n]. Atoms are bonded in the reference when closer
    than 1.25 times the sum of their covalent radii; a bond is lost beyond `stretch` times that sum,
    a new one made below `contact` times.
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


def _calculator(calculator):
    """(ase calculator, its name, a context to run it in)."""
    if calculator == "gfn2":
        try:
            from tblite.ase import TBLite
        except ModuleNotFoundError as error:
            raise ValueError(
                "simulate: the calculator 'gfn2' needs tblite, which is not installed (Windows and "
                "ARM Linux have no wheels): install it, from conda-forge where need be, or give "
                "another ase calculator."
            ) from error

        return TBLite(method="GFN2-xTB", verbosity=0), "GFN2-xTB (tblite)", _one_thread
    if calculator == "emt":
        from ase.calculators.emt import EMT

        return EMT(), "EMT (ase)", contextlib.nullcontext
    if not hasattr(calculator, "get_potential_energy"):
        raise ValueError(
            f"simulate: unknown calculator {calculator!r}: use 'gfn2', 'emt' or an ase calculator "
            "object."
        )
    return calculator, type(calculator).__name__, contextlib.nullcontext


@contextlib.contextmanager
def _one_thread():
    """One OpenMP thread for tblite (2 ms per ethanol; threads only make such small systems wait for
    each other).

    The environment variable is read once, when the OpenMP runtime is loaded, and torch has loaded
    it already; torch's own setting reaches the same runtime."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check_alive(atoms, step, timestep):
    if (
        not np.isfinite(atoms.positions).all() or np.abs(atoms.get_velocities()).max() > 10
    ):  # 10 ase units ≈ 1 Å/fs
        raise ValueError(
            f"The simulation blew up at step {step}: start from a relaxed structure, "
            f"or use a timestep below {timestep} fs."
        )


def _labeled(atoms, dipole):
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
def _progress(total, name, wanted):
    """A function to call after each step; it opens a bar once the first steps show that the run
    takes long."""
    from tqdm import tqdm

    start = time.perf_counter()
    done = 0
    bar = None

    def advance():
        nonlocal done, bar
        done += 1
        if bar is not None:
            bar.update(1)
        elif (
            wanted
            and done == min(20, total)
            and (time.perf_counter() - start) / done * total > _BAR_FROM
        ):
            bar = tqdm(total=total, initial=done, desc=f"MD, {name}", unit="step")

    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()
