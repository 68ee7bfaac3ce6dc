"""Energy kept in dynamics: a model trained on water, then NVE with it.

The surface that is learned is a Morse bond and a harmonic angle, so that a short training binds the
atoms. Energies are kept where forces are the exact gradient of a smooth energy: what is measured is
the slope of the total energy over time, per atom, which a time step of 0.5 fs leaves well below
1 meV/ps.
"""

import json
from pathlib import Path

import ase
import numpy as np
import physics_models
import torch
from ase import units
from ase.build import molecule
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from torch import Tensor

import scdlab

TIME_STEP = 0.5  # fs
TEMPERATURE = 300.0  # K
EVERY = 10  # steps from one energy that is kept to the next
CHUNK = 1000  # steps from one state on disk to the next
ALLOWED = 1.0  # meV per atom and ps
STEPS = 400  # of training


def surface(pos: Tensor) -> Tensor:
    """Energies [B] in eV of water [B, 3, 3]: O, H, H."""
    bonds = pos[:, 1:] - pos[:, :1]  # (B, 2, 3)
    r = bonds.norm(dim=-1)  # (B, 2)
    stretched = 4.6 * (1 - torch.exp(-2.3 * (r - 0.96))).square().sum(1)
    cosine = (bonds[:, 0] * bonds[:, 1]).sum(-1) / r.prod(1)
    return stretched + 3.0 * (cosine - np.cos(np.radians(104.5))).square()


def water(n: int = 256, seed: int = 0) -> scdlab.AtomStore:
    """Labeled frames around the minimum, some far from it."""
    rng = np.random.default_rng(seed)
    amount = rng.uniform(0.02, 0.15, size=(n, 1, 1))
    pos = torch.from_numpy(
        molecule("H2O").positions + amount * rng.normal(size=(n, 3, 3))
    ).requires_grad_()
    energy = surface(pos)
    (gradient,) = torch.autograd.grad(energy.sum(), pos)
    return scdlab.AtomStore.from_arrays(
        np.tile([8, 1, 1], n),
        pos.detach().numpy().reshape(-1, 3),
        np.arange(0, 3 * n + 1, 3),
        energy=energy.detach().numpy(),
        forces=-gradient.numpy().reshape(-1, 3),
    )


def trained_on_water(name: str, folder: Path, steps: int = STEPS) -> scdlab.nn.Model:
    """The model, trained once and kept."""
    path = folder / "model"
    if path.with_suffix(".json").is_file():
        return scdlab.load(path).double()
    torch.manual_seed(0)
    model = physics_models.MODELS[name]()
    settings = physics_models.TRAINING | dict(batch_size=16, lr=5e-3)
    with physics_models.quiet():
        scdlab.fit(model, scdlab.objectives.EnergyForces(), water(), steps=steps, **settings)
    scdlab.save(model, path)
    return scdlab.load(path).double()


def energies(model: scdlab.nn.Model, picoseconds: float, folder: Path) -> np.ndarray:
    """Total energies in eV, every EVERY steps; what an earlier call did is taken from `folder`."""
    state = folder / "dynamics.json"
    total = round(picoseconds * 1000 / TIME_STEP)
    atoms = molecule("H2O")
    found: list[float] = []
    done = 0
    if state.is_file():
        kept = json.loads(state.read_text(encoding="utf-8"))
        atoms.set_positions(kept["pos"])
        atoms.set_momenta(kept["momenta"])
        found, done = kept["energies"], kept["steps"]
    else:
        rng = np.random.default_rng(0)
        thermalize_momenta(atoms, temperature_K=TEMPERATURE, rng=rng)
        Stationary(atoms)
        ZeroRotation(atoms)
    atoms.calc = scdlab.Calculator(model)
    while done < total:
        steps = min(CHUNK, total - done)
        _run(atoms, steps, found)
        done += steps
        kept = dict(
            pos=atoms.positions.tolist(),
            momenta=atoms.get_momenta().tolist(),
            energies=found,
            steps=done,
        )
        scdlab.files.write_json(state, kept)
    return np.array(found)


def _run(atoms: ase.Atoms, steps: int, found: list[float]) -> None:
    dynamics = VelocityVerlet(atoms, TIME_STEP * units.fs)
    for _ in range(steps // EVERY):
        dynamics.run(EVERY)
        found.append(float(atoms.get_total_energy()))


def drift(name: str, picoseconds: float, folder: Path, steps: int = STEPS) -> dict[str, float]:
    """Slope and spread of the total energy.

    Returns
    -------
    dict
        drift in meV per atom and ps, spread in meV per atom (standard deviation about the line),
        and ps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = trained_on_water(name, folder, steps)
    with physics_models.quiet():
        e = energies(model, picoseconds, folder) * 1000 / 3
    ps = np.arange(1, len(e) + 1) * EVERY * TIME_STEP / 1000
    slope, start = np.polyfit(ps, e, 1)
    spread = float(np.std(e - slope * ps - start))
    return {"drift": float(slope), "spread": spread, "ps": float(ps[-1])}
