"""What structures carry beside geometry and labels: kept, or left out with a word."""

import logging

import ase.io
import numpy as np
import pytest
from ase.build import fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian, FixScaled

from scdlab.atoms import AtomStore


def waters(n=3):
    out = []
    for k in range(n):
        atoms = molecule("H2O")
        atoms.info["energy"] = -10.0 - k
        out.append(atoms)
    return out


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("natoms", 3, "a field of every batch"),
        ("batch", 3.0, "a field of every batch"),
        ("config id", 7, "no identifier"),
        (5, 7, "no identifier"),
        ("config_type", "bulk", "text"),
        ("virial", np.eye(3), "no numbers, nor vectors of three"),
        ("history", [1, [2, 3]], "no numbers, nor vectors of three"),
        ("converged", True, "no numbers, nor vectors of three"),
        ("gap", float("nan"), "NaN everywhere"),
    ],
)
def test_odd_entries_are_left_out_with_one_warning(name, value, reason, caplog):
    frames = waters()
    for atoms in frames:
        atoms.info[name] = value
        atoms.info["charge"] = 0
    store = AtomStore.from_ase(frames)
    assert store.property_names == ("charge",)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"Left out of the store: {name} ({reason})."
    assert len(store.take([0, 1])) == 2


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("x", np.zeros(3), "a field of every batch"),
        ("ptr", np.zeros(3), "a field of every batch"),
        ("dft-charge", np.zeros(3), "no identifier"),
        ("names", np.array(["O", "H", "H"]), "text"),
        ("phase", np.zeros(3, complex), "no real numbers"),
        ("spin", np.array([0.0, np.nan, 0.0]), "NaN in 3 structures"),
    ],
)
def test_odd_arrays_are_left_out_with_one_warning(name, value, reason, caplog):
    frames = waters()
    for atoms in frames:
        atoms.set_array(name, value)
        atoms.set_array("charge", np.zeros(3))
    store = AtomStore.from_ase(frames)
    assert list(store.atom_properties()) == ["charge"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"Left out of the store: {name} ({reason})."


def test_what_some_structures_have_is_counted():
    frames = waters()
    frames[1].info["gap"] = 5.0
    frames[1].set_array("charge", np.zeros(3))
    assert AtomStore.from_ase(frames).meta["partial"] == {"charge": 1, "gap": 1}


def test_missing_values_of_a_property_are_kept_as_such():
    frames = waters()
    for k, atoms in enumerate(frames):
        atoms.info["gap"] = np.nan if k == 1 else 5.0
    assert np.isnan(AtomStore.from_ase(frames).property("gap")).tolist() == [False, True, False]


def test_an_array_of_another_width_is_refused():
    frames = waters()
    for k, atoms in enumerate(frames):
        atoms.set_array("charge", np.zeros((3, 2) if k == 2 else 3))
    with pytest.raises(ValueError, match=r"Structure 2 has an array 'charge' .* \(2,\), struct"):
        AtomStore.from_ase(frames)
    assert AtomStore.from_ase(frames, atom_properties=[]).has_energy


def test_arrays_that_are_asked_for_must_be_there():
    frames = waters()
    frames[0].set_array("charge", np.zeros(3))
    with pytest.raises(ValueError, match="2 of 3 structures have no 'charge' in their arrays"):
        AtomStore.from_ase(frames, atom_properties=["charge"])


def test_results_that_a_store_does_not_hold_are_named(caplog):
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(
        atoms, energy=-1.0, stress=np.zeros(6), magmoms=np.zeros(3), dipole=np.ones(3)
    )
    store = AtomStore.from_ase(atoms)
    assert store.property("dipole").tolist() == [[1.0, 1.0, 1.0]]
    assert "Left out of the store: magmoms (" in caplog.text and "stress (" in caplog.text


def test_constraints_of_whole_atoms_are_kept_and_others_named(caplog):
    slab = fcc111("Cu", (1, 1, 4), vacuum=6)
    slab.set_constraint([FixAtoms([0]), FixCartesian([1]), FixScaled([2], (True, True, False))])
    store = AtomStore.from_ase([slab, molecule("H2O")])
    assert np.flatnonzero(store.atom_properties()["fixed"]).tolist() == [0, 1]
    assert "FixScaled (a constraint that is not of whole atoms)" in caplog.text


def test_masses_are_kept_where_they_are_unusual():
    heavy = molecule("H2O")
    heavy.set_masses([15.999, 2.014, 2.014])
    assert "masses" not in AtomStore.from_ase(waters()).atom_properties()
    usual = molecule("H2O")
    usual.set_masses(usual.get_masses())
    assert "masses" not in AtomStore.from_ase(usual).atom_properties()
    store = AtomStore.from_ase([usual, heavy, molecule("CH4")])
    for k, atoms in enumerate([usual, heavy, molecule("CH4")]):
        np.testing.assert_allclose(store.to_ase(k).get_masses(), atoms.get_masses())


def everything():
    """A slab with all that is kept."""
    slab = fcc111("Cu", (2, 1, 2), vacuum=6)
    slab.set_constraint(FixAtoms([0, 1]))
    slab.set_masses([63.0, 65.0, 63.546, 63.546])
    slab.set_initial_magnetic_moments([1.0, 0.0, 0.0, -1.0])
    slab.set_initial_charges([0.5, 0.0, 0.0, -0.5])
    slab.info["gap"] = 1.5
    slab.calc = SinglePointCalculator(
        slab, energy=-3.0, forces=np.arange(12.0).reshape(4, 3), dipole=[0.0, 0.0, 2.0]
    )
    return slab


def check_everything(store, k=0):
    atoms = store.to_ase(k)
    slab = everything()
    assert atoms.get_potential_energy() == -3.0
    np.testing.assert_allclose(
        atoms.get_forces(apply_constraint=False), slab.calc.results["forces"]
    )
    np.testing.assert_allclose(atoms.info["dipole"], [0.0, 0.0, 2.0])
    assert atoms.info["gap"] == 1.5
    assert atoms.constraints[0].index.tolist() == [0, 1]
    np.testing.assert_allclose(atoms.get_masses(), slab.get_masses())
    np.testing.assert_allclose(atoms.get_tags(), slab.get_tags())
    for name in ("initial_magmoms", "initial_charges"):
        np.testing.assert_allclose(atoms.arrays[name], slab.arrays[name])


@pytest.mark.parametrize("way", ["ase", "again", "extxyz", "traj", "store", "concat"])
def test_nothing_is_lost_on_the_way(way, tmp_path):
    store = AtomStore.from_ase([everything()])
    if way == "again":
        store = AtomStore.from_ase([store.to_ase(0)])
    elif way in ("extxyz", "traj"):
        ase.io.write(tmp_path / f"slab.{way}", store.to_ase(0))
        store = AtomStore.from_file(tmp_path / f"slab.{way}")
    elif way == "store":
        store.save(tmp_path / "store")
        store = AtomStore.open(tmp_path / "store")
    elif way == "concat":
        store = AtomStore.concat([store, store])
    check_everything(store)


def test_stores_that_lack_the_usual_are_put_together_with_it(caplog):
    slab = everything()
    water = molecule("H2O")
    water.info.update(gap=7.0, dipole=np.array([0.0, 0.0, 0.4]))
    water.calc = SinglePointCalculator(water, energy=-1.0, forces=np.zeros((3, 3)))
    caplog.set_level(logging.WARNING)
    for stores in ([slab, water], [water, slab]):
        both = AtomStore.concat([AtomStore.from_ase([atoms]) for atoms in stores])
        together = AtomStore.from_ase(stores)
        assert both.atom_properties().keys() == together.atom_properties().keys()
        for name, value in together.atom_properties().items():
            np.testing.assert_array_equal(both.atom_properties()[name], value)
        check_everything(both, stores.index(slab))
        np.testing.assert_allclose(
            both.to_ase(stores.index(water)).get_masses(), [15.999, 1.008, 1.008]
        )
    assert not caplog.records
    assert both.meta["labels"] == {"energy": "energy", "forces": "forces"}


def test_what_cannot_be_put_together_is_named():
    plain, charged, wide = waters(3)
    charged.set_array("charge", np.zeros(3))
    wide.set_array("charge", np.zeros((3, 2)))
    stores = [AtomStore.from_ase([atoms]) for atoms in (plain, charged, wide)]
    assert AtomStore.concat(stores[:2]).meta["partial"] == {"charge": 1}
    with pytest.raises(ValueError, match=r"Store 1 gives 'charge' with rows of the shape \(2,\)"):
        AtomStore.concat(stores[1:])


def test_a_store_names_no_labels_that_were_left_out():
    labeled, plain = waters(2)
    plain.calc = None
    plain.info.clear()
    plain.arrays.pop("forces", None)
    both = AtomStore.concat([AtomStore.from_ase([labeled]), AtomStore.from_ase([plain])])
    assert "energy" in both.meta["partial"] and "labels" not in both.meta
