"""Structures from elsewhere: frames of one molecule, units of energy, .npz files, stores put
together."""

import logging

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from scdlab import units
from scdlab.atoms import AtomStore


def water(n=5):
    """z [3], R [5, 3, 3], E [5], F [5, 3, 3]."""
    rng = np.random.default_rng(0)
    return {
        "z": np.array([8, 1, 1], np.uint8),
        "R": rng.normal(size=(n, 3, 3)),
        "E": rng.normal(size=n) - 47_000,
        "F": rng.normal(size=(n, 3, 3)),
    }


# --------------------------------------------------------------------------------------------------
# frames of one molecule


def test_frames_of_one_molecule_equal_flat_arrays():
    w = water()
    flat = AtomStore.from_arrays(
        np.tile(w["z"], 5),
        w["R"].reshape(-1, 3),
        np.arange(6) * 3,
        energy=w["E"],
        forces=w["F"].reshape(-1, 3),
        atom_properties={"charge": np.tile([-0.8, 0.4, 0.4], 5), "spin": np.arange(15)},
    )
    store = AtomStore.from_arrays(
        w["z"],
        w["R"],
        energy=w["E"][:, None],  # as MD17's own files have it
        forces=w["F"],
        atom_properties={"charge": [-0.8, 0.4, 0.4], "spin": np.arange(15).reshape(5, 3)},
    )
    assert store.energy.tolist() == flat.energy.tolist()
    for name, value in flat.arrays().items():
        np.testing.assert_array_equal(store.arrays()[name], value)
    for name, value in flat.atom_properties().items():
        np.testing.assert_array_equal(store.atom_properties()[name], value)


def test_one_cell_serves_all_frames():
    w = water()
    store = AtomStore.from_arrays(w["z"], w["R"], cell=9 * np.eye(3), pbc=[True, True, False])
    assert store.arrays()["cell"].shape == (5, 3, 3)
    assert store.arrays()["pbc"].tolist() == [[True, True, False]] * 5


@pytest.mark.parametrize(
    "change, message",
    [
        ({"pos": np.zeros((15, 3))}, r"pos has the shape \(15, 3\).*with ptr"),
        ({"z": [8, 1]}, r"z has the shape \(2,\).*frames of 3 atoms: pass z \[3\]"),
        ({"forces": np.zeros((5, 2, 3))}, r"forces have the shape \(5, 2, 3\)"),
        ({"energy": np.zeros(4)}, r"energy must have the shape .* got \(4,\)"),
        ({"atom_properties": {"spin": np.zeros(4)}}, r"'spin' has the shape \(4,\): pass \[3, …\]"),
        ({"ptr": [0, 3]}, "pos must have the shape"),
    ],
)
def test_frames_that_do_not_fit_are_refused(change, message):
    w = water()
    with pytest.raises(ValueError, match=message):
        AtomStore.from_arrays(**({"z": w["z"], "pos": w["R"]} | change))


# --------------------------------------------------------------------------------------------------
# units of energy


@pytest.mark.parametrize(
    "unit, factor",
    [("eV", 1.0), ("kcal/mol", units.KCAL_MOL), ("Ha", units.HARTREE), (2.5, 2.5)],
)
def test_energies_and_forces_are_converted(unit, factor):
    w = water()
    store = AtomStore.from_arrays(
        w["z"], w["R"], energy=w["E"], forces=w["F"], energy_unit=unit, properties={"gap": w["E"]}
    )
    np.testing.assert_allclose(store.energy, w["E"] * factor, rtol=1e-15)
    np.testing.assert_allclose(store.take([2]).forces, w["F"][2] * factor, rtol=1e-6)
    assert store.property("gap").tolist() == w["E"].tolist()  # a property keeps its unit


def test_units_of_ase_structures_are_converted():
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]])
    atoms.calc = SinglePointCalculator(atoms, energy=-2.0, forces=np.ones((2, 3)))
    assert AtomStore.from_ase(atoms, energy_unit="Ha").energy.tolist() == [-2 * units.HARTREE]


def test_sizes_of_units_agree_with_ase():
    import ase.units

    for name, size in units.ENERGY.items():
        theirs = {
            "kcal/mol": ase.units.kcal / ase.units.mol,
            "kJ/mol": ase.units.kJ / ase.units.mol,
        }
        theirs |= {"eV": 1.0, "meV": 1e-3, "Ha": ase.units.Ha, "Ry": ase.units.Ry}
        assert size == pytest.approx(theirs[name], rel=1e-5), name


@pytest.mark.parametrize("unit", ["kcal", "", "EV", 0.0, -1.0, float("nan"), float("inf")])
def test_an_unknown_unit_is_refused_with_those_there_are(unit):
    w = water()
    with pytest.raises(ValueError, match=r"energy_unit must be .*kcal/mol"):
        AtomStore.from_arrays(w["z"], w["R"], energy=w["E"], energy_unit=unit)


# --------------------------------------------------------------------------------------------------
# .npz files


@pytest.mark.parametrize(
    "names", [("z", "R", "E", "F"), ("nuclear_charges", "coords", "energies", "forces")]
)
def test_npz_files_in_both_layouts(tmp_path, names):
    w = water()
    np.savez(
        tmp_path / "w.npz", **dict(zip(names, w.values(), strict=True)), train1=[0, 1], test1=[4]
    )
    store = AtomStore.from_file(tmp_path / "w.npz", energy_unit="kcal/mol")
    np.testing.assert_allclose(store.energy, w["E"] * units.KCAL_MOL, rtol=1e-15)
    np.testing.assert_allclose(store.take([1]).forces, w["F"][1] * units.KCAL_MOL, rtol=1e-6)
    assert [part.index.tolist() for part in store.published_split()] == [[0, 1], [4]]
    assert store.meta["source"] == "read from w.npz"
    for index, rows in ((slice(2, 4), [2, 3]), ("2:", [2, 3, 4]), (-1, [4]), ([3, 1], [3, 1])):
        some = AtomStore.from_file(tmp_path / "w.npz", index=index, energy_unit="eV")
        assert some.energy.tolist() == w["E"][rows].tolist()


def test_npz_files_of_structures_of_different_sizes(tmp_path):
    np.savez(
        tmp_path / "slabs.npz",
        z=[29, 29, 8],
        R=np.arange(9.0).reshape(3, 3),
        n_atoms=[2, 1],
        E=[-1.0, -2.0],
        cell=[np.eye(3) * 9] * 2,
        traj=np.array([4, 5], np.int16),
        fixed=np.array([1, 0, 0], np.uint8),
        names=np.array(["a", "b"]),
    )
    store = AtomStore.from_file(tmp_path / "slabs.npz", energy_unit="eV")
    assert store.n_atoms.tolist() == [2, 1] and store.periodic
    assert store.property_names == ("traj",) and store.property("traj").tolist() == [4, 5]
    assert store.atom_properties()["fixed"].tolist() == [1, 0, 0]
    assert len(store.split(1, 1, groups="traj")[0]) == 1


def test_npz_files_without_labels_need_no_unit(tmp_path):
    w = water()
    np.savez(tmp_path / "w.npz", z=w["z"], R=w["R"])
    assert len(AtomStore.from_file(tmp_path / "w.npz")) == 5


@pytest.mark.parametrize("left_out", ["E", "F"])
def test_labels_without_their_unit_are_refused(tmp_path, left_out):
    w = water()
    del w[left_out]
    np.savez(tmp_path / "w.npz", **w)
    with pytest.raises(ValueError, match=r"w\.npz gives energies or forces without their unit"):
        AtomStore.from_file(tmp_path / "w.npz")


def test_npz_files_that_are_no_data_set_are_refused(tmp_path):
    w = water()
    np.savez(tmp_path / "none.npz", R=w["R"], element=["O", "H", "H"])
    with pytest.raises(ValueError, match=r"the arrays R, element: .* at least z"):
        AtomStore.from_file(tmp_path / "none.npz")
    np.savez(tmp_path / "flat.npz", z=np.tile(w["z"], 5), R=w["R"].reshape(-1, 3))
    with pytest.raises(ValueError, match=r"flat positions .* without n_atoms"):
        AtomStore.from_file(tmp_path / "flat.npz")
    np.savez(tmp_path / "one.npz", z=w["z"], R=np.zeros(9))
    with pytest.raises(ValueError, match=r"positions of the shape \(9,\): give R as \[n, k, 3\]"):
        AtomStore.from_file(tmp_path / "one.npz")
    np.savez(tmp_path / "objects.npz", z=np.array([{}], dtype=object), R=w["R"])
    with pytest.raises(ValueError, match=r"objects\.npz is truncated or damaged"):
        AtomStore.from_file(tmp_path / "objects.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "none.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut\.npz is truncated or damaged"):
        AtomStore.from_file(tmp_path / "cut.npz")
    np.savez(tmp_path / "w.npz", z=w["z"], R=w["R"])
    with pytest.raises(ValueError, match=r"properties cannot be given for the \.npz file"):
        AtomStore.from_file(tmp_path / "w.npz", properties=["gap"])
    with pytest.raises(FileNotFoundError, match="no structure file"):
        AtomStore.from_file(tmp_path / "other.npz")


# --------------------------------------------------------------------------------------------------
# stores put together


def test_putting_together_reports_what_it_leaves_out(caplog):
    w = water()
    labeled = AtomStore.from_arrays(
        w["z"],
        w["R"],
        energy=w["E"],
        forces=w["F"],
        properties={"gap": w["E"]},
        atom_properties={"charge": [0.0, 0.0, 0.0]},
    )
    energies = AtomStore.from_arrays(w["z"], w["R"][:2], energy=w["E"][:2])
    with caplog.at_level(logging.WARNING, logger="scdlab"):
        both = AtomStore.concat([labeled, energies])
    assert both.has_energy and not both.has_forces
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "concat leaves out what not all of the 7 structures have: forces (5 structures), gap (5 "
        "structures), charge (5 structures)."
    )
    caplog.clear()
    crystal = AtomStore.from_arrays(w["z"], w["R"], cell=9 * np.eye(3), energy=w["E"])
    AtomStore.concat([energies, crystal])
    assert not caplog.records  # a molecule among crystals lacks nothing
