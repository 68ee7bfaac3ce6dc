"""The ase calculator."""

import ase
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
from scdlab.nn.inference import ForceCall
from scdlab.nn.trained_labels import TrainedLabels


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
    model.trained_labels = TrainedLabels(energy=(1, 6))
    atoms.calc = scdlab.Calculator(model)
    with pytest.raises(ValueError, match="learned energies of H and C only, none of O"):
        atoms.get_potential_energy()
    model.trained_labels = TrainedLabels()
    atoms.calc = scdlab.Calculator(model)
    with pytest.raises(ValueError, match="was trained, but not on energies"):
        atoms.get_forces()


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
    # one that has learned dipole moments alone
    atoms.rotate(-90, "x")
    model.trained_elements[torch.tensor([1, 8])] = True
    model.trained_labels = TrainedLabels(properties={"dipole": (1, 8)})
    atoms.calc = scdlab.Calculator(model)
    np.testing.assert_allclose(atoms.get_dipole_moment(), expected, atol=1e-5)
    assert set(atoms.calc.results) == {"dipole"}
    with pytest.raises(ValueError, match="was trained, but not on energies"):
        atoms.get_potential_energy()
    # and one that has learned energies alone
    model.trained_labels = TrainedLabels(energy=(1, 8))
    atoms.calc = scdlab.Calculator(model)
    with pytest.raises(ValueError, match="was trained, but not on 'dipole'"):
        atoms.get_dipole_moment()
    assert np.isfinite(atoms.get_potential_energy())
    assert "dipole" not in atoms.calc.results


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


class _Uncopyable:
    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


def _two_crystals():
    first = bulk("Cu", cubic=True)
    first.rattle(0.1, seed=0)
    second = first.copy()
    second.rattle(0.3, seed=1)
    return first, second


def test_results_are_never_of_an_earlier_structure(model):
    first, second = _two_crystals()
    calc = scdlab.Calculator(model)
    fresh = {}
    for name in ("energy", "forces", "stress"):
        fresh[name] = scdlab.Calculator(model).get_property(name, second)
    calc.calculate(first, ["energy", "forces", "stress"])
    calc.calculate(second, ["energy"])
    assert calc.results.keys() >= {"energy", "free_energy", "energies"}
    for name in fresh.keys() & calc.results.keys():  # forces and stress cost nothing beside it
        np.testing.assert_allclose(calc.results[name], fresh[name], atol=1e-9)
    for name, right in fresh.items():
        np.testing.assert_allclose(calc.get_property(name, second), right, atol=1e-9)
    assert calc.get_property("forces", first, allow_calculation=False) is None
    first.calc = second.calc = calc  # one calculator of two structures
    for _ in range(2):
        np.testing.assert_allclose(second.get_forces(), fresh["forces"], atol=1e-9)
        assert np.abs(first.get_forces() - fresh["forces"]).max() > 1e-4


@pytest.mark.parametrize("change", ["positions", "cell", "pbc", "numbers", "calc.atoms"])
def test_every_change_of_the_geometry_counts(model, change):
    atoms, _ = _two_crystals()
    calc = atoms.calc = scdlab.Calculator(model)
    before = atoms.get_stress()
    if change == "positions":
        atoms.positions[0, 0] += 0.1
    elif change == "cell":
        atoms.cell[0, 0] += 0.1
    elif change == "pbc":
        atoms.pbc = False
    elif change == "numbers":
        atoms.numbers[0] = 47
    else:  # the calculator's own structure
        calc.atoms.positions[0, 0] += 0.1
        assert np.abs(calc.get_property("stress") - before).max() > 1e-8
        return
    assert calc.calculation_required(atoms, ["energy"])
    assert calc.get_property("energy", atoms, allow_calculation=False) is None
    right = scdlab.Calculator(model).get_property("energy", atoms)
    assert atoms.get_potential_energy() == pytest.approx(right, abs=1e-9)


def test_a_failed_calculation_leaves_no_results(model, monkeypatch):
    first, second = _two_crystals()
    calc = scdlab.Calculator(model)
    calc.calculate(first, ["energy", "forces", "stress"])
    forward = type(calc.model).forward

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    compute = ForceCall.__call__
    monkeypatch.setattr(type(calc.model), "forward", interrupted)
    monkeypatch.setattr(ForceCall, "__call__", interrupted)  # of models that have one
    with pytest.raises(KeyboardInterrupt):
        calc.calculate(second, ["energy"])
    assert calc.results == {}
    assert calc.get_property("energy", second, allow_calculation=False) is None
    monkeypatch.setattr(type(calc.model), "forward", forward)
    monkeypatch.setattr(ForceCall, "__call__", compute)
    right = scdlab.Calculator(model).get_property("energy", second)
    assert calc.get_property("energy", second) == pytest.approx(right, abs=1e-9)


def test_results_that_are_changed_by_a_caller_are_its_own(model):
    atoms, _ = _two_crystals()
    atoms.calc = scdlab.Calculator(model)
    forces = atoms.get_forces()
    forces *= 0
    assert np.abs(atoms.get_forces()).max() > 0


@pytest.mark.parametrize(
    "notes, arrays",
    [
        ({"natoms": 3, "config id": 7, "energy": float("nan"), 5: "five"}, {}),
        ({"energy": "unknown", "stress": "none", "dft-energy": -1.0}, {}),
        ({"process": _Uncopyable()}, {}),
        ({}, {"x": np.zeros(3), "forces": np.full((3, 3), np.nan), "names": np.array(["a"] * 3)}),
        ({}, {"initial_charges": np.full(3, np.nan)}),
    ],
)
def test_geometry_alone_matters(model, notes, arrays):
    plain = molecule("H2O")
    atoms = molecule("H2O")
    atoms.info.update(notes)
    for name, values in arrays.items():
        atoms.set_array(name, values)
    plain.calc = scdlab.Calculator(model)
    atoms.calc = scdlab.Calculator(model)
    assert atoms.get_potential_energy() == plain.get_potential_energy()
    assert np.array_equal(atoms.get_forces(), plain.get_forces())


def test_within_modes_of_torch(model):
    crystal, _ = _two_crystals()
    right = scdlab.Calculator(model).get_property("stress", crystal)
    for context in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with context():
            crystal.calc = scdlab.Calculator(model)
            assert np.array_equal(crystal.get_stress(), right)
    single = scdlab.Calculator(model, dtype=torch.float32)
    right = single.get_property("stress", crystal)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = scdlab.Calculator(model, dtype=torch.float32).get_property("stress", crystal)
    assert np.array_equal(again, right)


def test_what_is_no_model_device_or_precision_is_refused(model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device='cuda' was asked for and torch sees no GPU"):
        scdlab.Calculator(model, device="cuda")
    with pytest.raises(
        ValueError, match=r"dtype=torch\.float64 or torch\.float32, got torch\.float1"
    ):
        scdlab.Calculator(model, dtype=torch.float16)
    for wrong, said in ((torch.nn.Linear(1, 1), "a Linear"), (None, "None"), (3, r"3 \(int\)")):
        with pytest.raises(TypeError, match=f"Calculator takes a model of scdlab, .* got {said}"):
            scdlab.Calculator(wrong)
    with pytest.raises(ValueError, match=r"There are no atoms to compute"):
        scdlab.Calculator(model).get_property("energy")


def test_small_structures(model):
    lone = molecule("H")
    lone.calc = scdlab.Calculator(model)
    assert np.isfinite(lone.get_potential_energy())
    assert np.array_equal(lone.get_forces(), np.zeros((1, 3)))
    crystal = bulk("Cu")  # one atom, whose neighbors are its own images
    crystal.calc = scdlab.Calculator(model)
    np.testing.assert_allclose(
        crystal.get_stress(), calculate_numerical_stress(crystal, eps=1e-5), atol=1e-8
    )
    assert np.abs(crystal.get_forces()).max() < 1e-12
    twice = molecule("H2O")
    twice.positions[1] = twice.positions[0]
    twice.calc = scdlab.Calculator(model)
    with pytest.raises(ValueError, match="atoms 0 and 1 at the same position"):
        twice.get_potential_energy()
    empty = ase.Atoms()
    empty.calc = scdlab.Calculator(model)
    with pytest.raises(ValueError, match=r"no atoms"):
        empty.get_potential_energy()
