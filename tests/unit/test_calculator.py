"""The ase calculator."""

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, molecule
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

import scdlab


@pytest.fixture
def model():
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=16, num_layers=2, num_rbf=16)


def test_energy_and_forces_are_the_models(model):
    atoms = molecule("CH3CH2OH")
    atoms.calc = scdlab.Calculator(model)
    out = model.double()(scdlab.AtomStore.from_ase([molecule("CH3CH2OH")]).take([0]), forces=True)
    assert atoms.get_potential_energy() == pytest.approx(float(out.energy), abs=1e-5)
    np.testing.assert_allclose(atoms.get_forces(), out.forces.detach(), atol=1e-4)
    np.testing.assert_allclose(
        atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-6
    )


def test_stress_of_a_crystal_against_finite_strains(model):
    atoms = bulk("NaCl", "rocksalt", a=5.4)
    atoms.rattle(0.1, seed=0)
    atoms.calc = scdlab.Calculator(model)
    np.testing.assert_allclose(
        atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-8
    )
    np.testing.assert_allclose(
        atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-6
    )


def test_a_small_cell_agrees_with_its_supercell(model):
    atoms = bulk("MgO", "rocksalt", a=4.2)
    big = atoms * (2, 2, 2)
    atoms.calc = big.calc = scdlab.Calculator(model)
    one = atoms.get_potential_energy()
    assert big.get_potential_energy() == pytest.approx(8 * one, rel=1e-9)


def test_what_cannot_be_is_said(model):
    atoms = molecule("H2O")
    atoms.calc = scdlab.Calculator(model)
    with pytest.raises(ValueError, match="Stress is defined for structures that are periodic"):
        atoms.get_stress()
    crystal = bulk("MgO", "rocksalt", a=4.2)
    crystal.calc = scdlab.Calculator(
        scdlab.SchNet(hidden_channels=8, num_layers=1, direct_forces=True)
    )
    with pytest.raises(ValueError, match="gradient of no energy"):
        crystal.get_stress()
    model.trained_elements[torch.tensor([1, 6])] = True
    atoms.calc = scdlab.Calculator(model)
    with pytest.raises(ValueError, match="cannot predict anything for O"):
        atoms.get_potential_energy()


def test_dynamics_conserve_energy(model):
    atoms = molecule("CH4")
    with torch.no_grad():
        model.energy_head.mlp[2].weight.mul_(10)  # forces of a few eV/Å
    atoms.calc = scdlab.Calculator(model)
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, 0.25 * units.fs)
    totals = []
    dynamics.attach(lambda: totals.append(atoms.get_total_energy()))
    dynamics.run(200)
    assert np.ptp(totals) < 0.02 * atoms.get_kinetic_energy()
