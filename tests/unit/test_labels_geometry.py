"""A store of the geometry alone: what else a structure carries does not matter."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from scdlab.atoms import AtomStore


def annotate(atoms):
    """Notes, arrays, labels and constraints that a store of labels refuses or keeps."""
    n = len(atoms)
    atoms.info.update(
        {"natoms": n, "config id": 7, "energy": "unknown", "free_energy": np.nan, 3: "three"}
    )
    for name, value in {
        "x": np.zeros(n),
        "ptr": np.zeros(n),
        "forces": np.full((n, 3), np.nan),
        "dft-forces": np.zeros((n, 3)),
        "fixed": np.array(["no"] * n),
    }.items():
        atoms.set_array(name, value)
    atoms.calc = SinglePointCalculator(atoms, energy=np.nan, forces=np.zeros((n, 3)))
    atoms.set_constraint(FixAtoms([0]))
    return atoms


@pytest.mark.parametrize("plain", [molecule("CH3CH2OH"), bulk("Cu", cubic=True)])
def test_the_geometry_is_all_that_is_read(plain):
    noted = AtomStore.geometry(annotate(plain.copy()))
    expected = AtomStore.geometry(plain)
    assert noted.summary().endswith("labels: none")
    assert noted.meta == {}
    assert noted.arrays().keys() == expected.arrays().keys()
    for name, value in expected.arrays().items():
        np.testing.assert_array_equal(noted.arrays()[name], value)
    assert not noted.atom_properties()


def test_a_list_of_structures_keeps_their_order():
    store = AtomStore.geometry([molecule("H2O"), bulk("Cu", cubic=True), molecule("CH4")])
    assert store.n_atoms.tolist() == [3, 4, 5]
    assert store.arrays()["pbc"].any(1).tolist() == [False, True, False]


def test_what_is_no_structure_is_refused():
    with pytest.raises(ValueError, match="list of structures is empty"):
        AtomStore.geometry([])
    with pytest.raises(TypeError, match=r"must be ase\.Atoms or a list of them, got int"):
        AtomStore.geometry(3)
    with pytest.raises(TypeError, match=r"Structure 1 must be ase\.Atoms, got str"):
        AtomStore.from_ase([molecule("H2O"), "water.xyz"])
    atoms = molecule("H2O")
    atoms.positions[1] = np.nan
    with pytest.raises(ValueError, match="Structure 0, atom 1 has a position that is NaN"):
        AtomStore.geometry(atoms)
