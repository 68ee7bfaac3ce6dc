"""Dynamics of batches: ase's trajectories, structure by structure."""

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin as AseLangevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE as AseFIRE

import scdlab
from scdlab.dynamics import FIRE, NVE, Langevin

SMALL = dict(hidden_channels=16, num_layers=2, num_rbf=12)


@pytest.fixture(scope="module")
def model():
    """A SchNet that has seen ethanol, so that molecules hold together."""
    torch.manual_seed(0)
    net = scdlab.SchNet(**SMALL)
    train, _, _ = scdlab.load_ethanol().split(300, 20)
    objective = scdlab.objectives.EnergyForces()
    scdlab.fit(net, objective, train, steps=150, batch_size=8, lr=5e-3, progress=False)
    return net


@pytest.fixture
def frames():
    """Three molecules of different sizes, moving."""
    names = ("CH3CH2OH", "CH3OH", "H2O")
    found = [molecule(name) for name in names]
    for k, atoms in enumerate(found):
        thermalize_momenta(atoms, temperature_K=200, rng=np.random.default_rng(k))
    return found


def positions(dynamics):
    return [atoms.positions for atoms in dynamics.frames()]


def with_ase(model, atoms, make, steps):
    atoms = atoms.copy()
    atoms.calc = scdlab.Calculator(model)
    make(atoms).run(steps)
    return atoms


def test_nve_follows_ase(model, frames):
    moved = NVE(model, frames, timestep=0.5).run(40)
    for atoms, now, kinetic in zip(frames, moved.frames(), moved.kinetic_energies(), strict=True):
        right = with_ase(model, atoms, lambda a: VelocityVerlet(a, 0.5 * units.fs), 40)
        np.testing.assert_allclose(now.positions, right.positions, atol=1e-9)
        np.testing.assert_allclose(now.get_velocities(), right.get_velocities(), atol=1e-9)
        assert now.get_potential_energy() == pytest.approx(right.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(now.get_forces(), right.get_forces(), atol=1e-7)
        assert kinetic == pytest.approx(right.get_kinetic_energy(), abs=1e-8)
    temperatures = [atoms.get_temperature() for atoms in moved.frames()]
    np.testing.assert_allclose(moved.temperatures(), temperatures, rtol=1e-9)


def test_nve_conserves_energy(model, frames):
    moved = NVE(model, frames, timestep=0.25)
    before = moved.energies + moved.kinetic_energies()
    potential = moved.energies.copy()
    moved.run(200)
    after = moved.energies + moved.kinetic_energies()
    assert np.abs(after - before).max() < 0.02 * np.abs(moved.energies - potential).max()


def test_langevin_follows_ase(model, frames):
    moved = Langevin(model, frames, timestep=0.5, temperature=350, friction=0.02, seed=3).run(30)
    for k, (atoms, now) in enumerate(zip(frames, moved.frames(), strict=True)):

        def make(a, k=k):
            return AseLangevin(
                a, 0.5 * units.fs, temperature_K=350, friction=0.02 / units.fs, fixcm=False,
                rng=np.random.default_rng((3, k)),
            )  # fmt: skip

        right = with_ase(model, atoms, make, 30)
        np.testing.assert_allclose(now.positions, right.positions, atol=1e-9)
        np.testing.assert_allclose(now.get_velocities(), right.get_velocities(), atol=1e-9)


def test_langevin_holds_the_temperature(model):
    frames = [molecule("CH3CH2OH") for _ in range(30)]
    bath = Langevin(model, frames, timestep=0.5, temperature=300, friction=0.1)
    found = []
    bath.run(300).run(200, every=10, call=lambda now: found.append(now.temperatures()))
    assert np.mean(found) == pytest.approx(300, rel=0.1)


def test_fire_follows_ase_until_each_rests(model, frames):
    stretched = [atoms.copy() for atoms in frames]
    for k, atoms in enumerate(stretched):
        atoms.rattle(0.05, seed=k)
    moved = FIRE(model, stretched, fmax=0.05).run(300)
    assert moved.relaxed.all() and moved.steps < 300
    for atoms, now in zip(stretched, moved.frames(), strict=True):
        right = atoms.copy()
        right.calc = scdlab.Calculator(model)
        AseFIRE(right, logfile=None).run(fmax=0.05, steps=300)
        np.testing.assert_allclose(now.positions, right.positions, atol=1e-7)
        assert np.linalg.norm(now.get_forces(), axis=1).max() < 0.05
    again = FIRE(model, moved.frames(), fmax=0.06)
    assert again.run(5).steps == 0  # nothing is left to do


def test_a_crystal_beside_a_molecule(model, frames):
    diamond = bulk("C", cubic=True)
    diamond.rattle(0.02, seed=0)
    moved = NVE(model, [diamond, frames[2]], timestep=0.5).run(20)
    right = with_ase(model, diamond, lambda a: VelocityVerlet(a, 0.5 * units.fs), 20)
    np.testing.assert_allclose(moved.frames()[0].positions, right.positions, atol=1e-9)


def test_models_without_a_force_call_move_too(frames):
    torch.manual_seed(0)
    net = scdlab.EquivariantTransformer(**SMALL, num_heads=2, conditional=True)
    moved = NVE(net, frames, timestep=0.5).run(5)
    right = with_ase(net, frames[1], lambda a: VelocityVerlet(a, 0.5 * units.fs), 5)
    np.testing.assert_allclose(positions(moved)[1], right.positions, atol=1e-9)


def test_frames_given_stay_as_they_are_and_calls_come_in_time(model, frames):
    before = [atoms.positions.copy() for atoms in frames]
    seen = []
    moved = NVE(model, frames).run(10, every=4, call=lambda now: seen.append(now.steps))
    assert seen == [4, 8] and moved.steps == 10 and len(moved) == 3
    for atoms, old in zip(frames, before, strict=True):
        np.testing.assert_array_equal(atoms.positions, old)
    store = scdlab.load_ethanol()[:2]
    assert len(NVE(model, store).run(1).frames()) == 2
    assert len(NVE(model, frames[0]).run(1).frames()) == 1


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda m, f: NVE(m, []), "list of structures is empty"),
        (lambda m, f: NVE(m, f, timestep=0), "timestep must be a positive number in fs"),
        (lambda m, f: Langevin(m, f, temperature=-1), "temperature must be a temperature in K"),
        (lambda m, f: Langevin(m, f, friction=np.nan), "friction must be a positive number"),
        (lambda m, f: FIRE(m, f, fmax=-1), "fmax must be a positive number in eV/Å"),
        (lambda m, f: NVE(m, [ase.Atoms()]), "Structure 0 has no atoms"),
        (lambda m, f: NVE(m, [molecule("SiH4")]), "Si"),
        (lambda m, f: NVE(m, f).run(0), "steps must be a whole number"),
        (lambda m, f: NVE(m, f).run(3, every=0.5), "every must be a whole number"),
        (lambda m, f: FIRE(m, f).run(3, every=0), "every must be a whole number"),
        (lambda m, f: NVE(m, f, dtype=torch.float16), "dtype must be torch.float64"),
    ],
)
def test_what_cannot_be_moved_is_said(model, frames, make, words):
    with pytest.raises(ValueError, match=words):
        make(model, frames)


def test_what_is_no_model_or_structure_is_said(model, frames):
    with pytest.raises(TypeError, match="A model of scdlab is needed, got Linear"):
        NVE(torch.nn.Linear(2, 2), frames)
    with pytest.raises(TypeError, match=r"Structure 1 must be ase\.Atoms, got str"):
        NVE(model, [frames[0], "water"])
    frames[1].set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="Structure 1 has constraints"):
        NVE(model, frames)


def test_atoms_that_fly_apart_are_named(model, frames):
    for atoms in frames:
        atoms.set_velocities(np.full((len(atoms), 3), np.inf))
    with pytest.raises(ValueError, match="finite"):
        NVE(model, frames).run(2)
