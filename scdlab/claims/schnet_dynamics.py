"""Lesson 01: whether forces conserve the energy in dynamics, and how the claim is tested here.

See `schnet` for the paper and for what the claims of the lesson share.
"""

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet

import scdlab
from scdlab.nn.model import Model
from scdlab.objectives import EnergyForces

from .claim import Arrays, Claim, Settings, Values, register
from .common import SEEN, draw, trained_as_set
from .directions import direction
from .schnet import CPU, FULL, PAPER, QUICK, errors_of, schnet


def nve_conservative(settings: Settings, seed: int, device: str) -> Values:
    """Dynamics at constant energy with forces as the energy's gradient, and with forces of a head
    of their own."""
    train, _, rest = scdlab.load_ethanol().split(settings["n_train"], 0, seed=seed)
    test = draw(rest, settings["n_test"], seed)
    values = {}
    for name, direct in (("gradient", False), ("direct", True)):
        model = schnet(settings, seed, direct_forces=direct)
        trained_as_set(model, EnergyForces(), train, settings, seed, device)
        drift, change, length = nve(model, test.to_ase(0), settings, seed)
        values[f"drift_{name}_meV_per_atom_per_ps"] = drift
        values[f"kinetic_change_{name}_meV_per_atom"] = change
        values[f"simulated_{name}_ps"] = length
        values[f"force_mae_{name}_meV_per_A"] = errors_of(model, test)[1]
    return values


def nve(model: Model, atoms: Atoms, settings: Settings, seed: int) -> tuple[float, float, float]:
    """How well dynamics at constant energy conserve it.

    The total energy is the model's own energy and the kinetic one. The kinetic energy alone needs
    no model energy: it grows without end when forces do work around closed loops. A trajectory
    hotter than 10,000 K is stopped.

    Parameters
    ----------
    model : Model
        Gives energies and forces.
    atoms : Atoms
        Where the dynamics start; their positions are changed.
    settings : dict
        With temperature_K, timestep_fs and md_steps.
    seed : int
        Of the velocities.

    Returns
    -------
    drift : float
        |slope| of the total energy, meV/atom/ps.
    change : float
        Mean kinetic energy of the last fifth minus that of the first fifth, meV/atom.
    time : float
        Simulated time, ps.
    """
    atoms.calc = scdlab.Calculator(model)
    thermalize_momenta(atoms, settings["temperature_K"], rng=np.random.default_rng(seed))
    Stationary(atoms)
    ZeroRotation(atoms)
    dynamics = VelocityVerlet(atoms, settings["timestep_fs"] * units.fs)
    every = 5
    rows = []
    for step in range(0, settings["md_steps"] + 1, every):
        kinetic = atoms.get_kinetic_energy()
        rows.append(
            (1e-3 * step * settings["timestep_fs"], atoms.get_potential_energy() + kinetic, kinetic)
        )
        if kinetic > 1.5 * len(atoms) * units.kB * 1e4:
            break
        if step < settings["md_steps"]:
            dynamics.run(every)
    time, total, kinetic = np.array(rows).T
    per_atom = 1e3 / len(atoms)
    fifth = max(1, len(time) // 5)
    slope = np.polyfit(time, (total - total[0]) * per_atom, 1)[0]
    return abs(slope), (kinetic[-fifth:].mean() - kinetic[:fifth].mean()) * per_atom, time[-1]


def judge_nve_conservative(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    gradient = values["drift_gradient_meV_per_atom_per_ps"]
    direct = values["drift_direct_meV_per_atom_per_ps"]
    seen = direction(np.log10(gradient), np.log10(direct))
    if seen == "paper":
        return (
            "reproduced"
            if np.all(gradient < 1) and np.all(direct > 10 * gradient)
            else "same direction"
        )
    return "contradicted" if seen == "opposite" else "tie"


register(
    Claim(
        id="schnet-nve-conservative",
        lesson=1,
        title=(
            "Forces that are the gradient of an energy conserve it in dynamics; directly predicted "
            "forces do not."
        ),
        source=f"{PAPER}, the section on training with forces",
        paper="the force field is energy-conserving by construction (no number given)",
        quantities={
            "drift_gradient_meV_per_atom_per_ps": "drift of the total energy, forces as gradient",
            "drift_direct_meV_per_atom_per_ps": "drift of the total energy, direct forces",
            "kinetic_change_gradient_meV_per_atom": (
                "kinetic energy, last fifth minus first, forces as gradient"
            ),
            "kinetic_change_direct_meV_per_atom": (
                "kinetic energy, last fifth minus first, direct forces"
            ),
            "simulated_gradient_ps": "simulated time, forces as gradient",
            "simulated_direct_ps": "simulated time, direct forces (shorter when it exploded)",
            "force_mae_gradient_meV_per_A": "force error on test frames, forces as gradient",
            "force_mae_direct_meV_per_A": "force error on test frames, direct forces",
        },
        rule=(
            "Compare the logarithms of the drift, the absolute slope of a line through the total "
            "energy."
            + SEEN
            + "With the paper's direction: reproduced when in every seed the drift with gradient "
            "forces is below 1 meV/atom/ps and that with direct forces more than ten times as "
            "large, else same direction. With the opposite one: contradicted, since the claim "
            "holds by construction, at any scale."
        ),
        judge=judge_nve_conservative,
        recipe=nve_conservative,
        profiles={
            "quick": QUICK
            | {
                "n_train": 100,
                "steps": 20,
                "temperature_K": 300,
                "timestep_fs": 0.5,
                "md_steps": 20,
            },
            "cpu": CPU
            | {
                "n_train": 1000,
                "steps": 3000,
                "temperature_K": 300,
                "timestep_fs": 0.5,
                "md_steps": 2000,
            },
            "full": FULL
            | {
                "n_train": 1000,
                "steps": 10000,
                "temperature_K": 300,
                "timestep_fs": 0.5,
                "md_steps": 10000,
            },
        },
        hours={"cpu": 0.1},
        worth=32,
    )
)
