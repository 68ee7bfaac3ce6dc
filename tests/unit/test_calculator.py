"""The ase calculator."""

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
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
    with pytest.raises(PropertyNotImplementedError, match="gradient of no energy"):
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


def test_energies_of_atoms_add_up(model):
    atoms = molecule("CH3CH2OH")
    atoms.calc = scdlab.Calculator(model)
    energies = atoms.get_potential_energies()
    assert energies.shape == (9,)
    assert energies.sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    crystal = bulk("MgO", "rocksalt", a=4.2)
    crystal.calc = scdlab.Calculator(model)
    crystal.get_stress()
    assert crystal.calc.results["energies"].sum() == pytest.approx(crystal.get_potential_energy())


def test_a_model_is_opened_by_its_path_or_name(model, tmp_path):
    scdlab.save(model, tmp_path / "model")
    atoms = molecule("H2O")
    energies = []
    for each in (model, tmp_path / "model", str(tmp_path / "model")):
        atoms.calc = scdlab.Calculator(each)
        energies.append(atoms.get_potential_energy())
    assert len(set(energies)) == 1
    named = scdlab.Calculator("pet-ethanol")
    assert named.model.provenance == scdlab.load_pretrained("pet-ethanol").provenance
    with pytest.raises(FileNotFoundError, match=r"no model 'petethanol': .*\(.*pet-ethanol.*\)"):
        scdlab.Calculator("petethanol")


@pytest.mark.parametrize("unit, factor", [("e Å", 1.0), ("D", units.Debye)])
def test_dipole_moments_of_a_model_that_learned_them(unit, factor):
    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(hidden_channels=16, num_layers=1, num_heads=2, num_rbf=8)
    model.add_property("dipole", kind="vector")
    model.units = {"dipole": unit}
    atoms = molecule("H2O")
    atoms.calc = scdlab.Calculator(model)
    assert "dipole" in atoms.calc.implemented_properties
    batch = scdlab.AtomStore.from_ase([molecule("H2O")]).take([0])
    expected = model.double()(batch).properties["dipole"][0].detach() * factor
    np.testing.assert_allclose(atoms.get_dipole_moment(), expected, atol=1e-5)
    before = atoms.get_dipole_moment()
    atoms.rotate(90, "x")
    np.testing.assert_allclose(atoms.get_dipole_moment(), before[[0, 2, 1]] * [1, -1, 1], atol=1e-9)


def test_what_a_model_has_is_listed(model):
    common = ["energy", "free_energy", "energies", "forces"]
    assert scdlab.Calculator(model).implemented_properties == [*common, "stress"]
    direct = scdlab.SchNet(hidden_channels=8, num_layers=1, direct_forces=True)
    assert scdlab.Calculator(direct).implemented_properties == common
    vectors = scdlab.EquivariantTransformer(hidden_channels=16, num_layers=1, num_heads=2)
    vectors.add_property("dipole", kind="vector")  # in a unit that is not known
    assert scdlab.Calculator(vectors).implemented_properties == [*common, "stress"]
    atoms = molecule("H2O")
    atoms.calc = scdlab.Calculator(vectors)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_dipole_moment()
    with pytest.raises(ValueError, match="There are no atoms to compute"):
        scdlab.Calculator(model).calculate()
