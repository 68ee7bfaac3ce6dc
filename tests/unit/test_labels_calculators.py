"""Results of calculators are labels of the structure that they were computed for alone."""

import logging

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from scdlab.atoms import AtomStore


def copper(seed=0):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def computed(seed=0):
    atoms = copper(seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


def move(atoms):
    atoms.rattle(0.01, seed=3)


def stretch(atoms):
    atoms.set_cell(atoms.cell * 1.01)


def replace_an_atom(atoms):
    atoms.numbers[0] = 28


def make_a_molecule(atoms):
    atoms.pbc = False


def magnetize(atoms):
    atoms.set_initial_magnetic_moments([1.0, 0.0, 0.0, 0.0])


CHANGES = [move, stretch, replace_an_atom, make_a_molecule, magnetize]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("single_point", [False, True])
def test_a_structure_that_changed_has_no_label(change, single_point, caplog):
    atoms = computed()
    if single_point:
        atoms.calc = SinglePointCalculator(atoms, **atoms.calc.results)
    change(atoms)
    with caplog.at_level(logging.WARNING, logger="scdlab"):
        store = AtomStore.from_ase([atoms])
    assert not store.has_energy and not store.has_forces
    assert "calculators of 1 of 1 structures (the first is number 0)" in caplog.text
    assert "of another geometry" in caplog.text
    with pytest.raises(ValueError, match="Structure 1 has no energy while others have, for its "):
        AtomStore.from_ase([computed(1), atoms])


def test_one_calculator_labels_what_it_computed_last():
    calculator = EMT()
    frames = [copper(k) for k in range(3)]
    for atoms in frames:
        atoms.calc = calculator
        energy = atoms.get_potential_energy()
    with pytest.raises(ValueError, match=r"Structure 0 has no energy .* another geometry; 2 of 3"):
        AtomStore.from_ase(frames)
    assert AtomStore.from_ase(frames[2:]).energy.tolist() == [energy]


def test_copies_of_the_same_geometry_share_results():
    atoms = computed()
    copy = atoms.copy()
    copy.calc = atoms.calc
    store = AtomStore.from_ase([atoms, copy])
    assert store.energy.tolist() == [atoms.get_potential_energy()] * 2


def test_own_labels_of_a_moved_structure_are_taken():
    atoms = computed()
    atoms.rattle(0.01, seed=3)
    atoms.info["energy"] = -3.5
    assert AtomStore.from_ase(atoms).energy.tolist() == [-3.5]


class Bare:
    """A calculator that has results and nothing to say whose they are."""

    def __init__(self, **results):
        self.results = results


class Asked(Bare):
    """A calculator of its own kind, which knows what it computed."""

    def __init__(self, atoms, **results):
        super().__init__(**results)
        self.known = atoms.positions.copy()

    def calculation_required(self, atoms, properties):
        return not (atoms.positions == self.known).all()


def test_calculators_of_other_kinds():
    atoms = molecule("H2O")
    atoms.calc = Bare(energy=-1.0)
    assert not AtomStore.from_ase(atoms).has_energy
    atoms.calc = Bare()
    assert not AtomStore.from_ase(atoms).has_energy
    atoms.calc = Asked(atoms, energy=-1.0)
    assert AtomStore.from_ase(atoms).energy.tolist() == [-1.0]
    atoms.positions += 0.1
    assert not AtomStore.from_ase(atoms).has_energy


def test_a_calculator_that_fails_when_asked_is_named():
    atoms = molecule("H2O")
    atoms.calc = Asked(atoms, energy=-1.0)
    del atoms.calc.known
    with pytest.raises(ValueError, match=r"Structure 1 has a calculator \(Asked\) that cannot say"):
        AtomStore.from_ase([molecule("H2O"), atoms])


def test_forces_that_are_stale_are_told_beside_energies_that_are_not(caplog):
    atoms = computed()
    atoms.rattle(0.01, seed=3)
    atoms.info["energy"] = -3.5
    assert not AtomStore.from_ase(atoms).has_forces
    assert "of another geometry and are not taken" in caplog.text


def test_results_that_do_not_fit_the_atoms_are_refused():
    frames = [computed(k) for k in range(3)]
    frames[2].calc.results["forces"] = np.zeros((5, 3))
    with pytest.raises(ValueError, match=r"Structure 2 has 'forces' .* 4 atoms.* \(4, 3\), got"):
        AtomStore.from_ase(frames)


@pytest.mark.parametrize("suffix", ["traj", "extxyz"])
def test_files_give_the_labels_they_were_written_with(tmp_path, suffix):
    frames = [computed(k) for k in range(3)]
    magnetize(frames[1])  # what was computed before is written nevertheless, or lost by ase
    frames[1].get_potential_energy()
    energies = [atoms.get_potential_energy() for atoms in frames]
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    ase.io.write(tmp_path / f"frames.{suffix}", frames)
    for store in (
        AtomStore.from_file(tmp_path / f"frames.{suffix}"),
        AtomStore.from_ase(ase.io.read(tmp_path / f"frames.{suffix}", ":")),
    ):
        np.testing.assert_allclose(store.energy, energies, atol=1e-6)
        np.testing.assert_allclose(store.arrays()["forces"], forces, atol=1e-6)
