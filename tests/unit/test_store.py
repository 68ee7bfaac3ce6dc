"""The store: what goes in comes out, batches equal PyG's own, views share arrays, and bad input is
refused in words."""

import json
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from torch_geometric.data import Batch, Data

import scdlab
from scdlab.atoms import AtomStore, collate, storage
from scdlab.atoms.batch import vector_names


def made(n=12, seed=0, periodic=False):
    """A store of `n` random structures of 1 to 6 atoms with every kind of label."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 7, n)
    total = size.sum()
    return AtomStore.from_arrays(
        rng.choice([1, 6, 7, 8], total),
        rng.normal(size=(total, 3)),
        np.concatenate([[0], np.cumsum(size)]),
        cell=rng.normal(size=(n, 3, 3)) + 5 * np.eye(3) if periodic else None,
        pbc=np.arange(3 * n).reshape(n, 3) % 2 == 0 if periodic else None,
        energy=-11000 + rng.normal(size=n),
        forces=rng.normal(size=(total, 3)),
        properties={"mu": rng.random(n), "homo": rng.random(n)},
        atom_properties={"charge": rng.normal(size=total)},
        meta={"source": "random numbers", "units": {"mu": "D", "homo": "eV"}},
    )


def same(a, b):
    assert len(a) == len(b) and a.property_names == b.property_names
    one = a.take(range(len(a)))
    two = b.take(range(len(b)))
    assert sorted(one.keys()) == sorted(two.keys())
    for key in sorted(one.keys()):
        assert one[key].dtype == two[key].dtype and torch.equal(one[key], two[key]), key


# --------------------------------------------------------------------------------------------------
# batches


@pytest.mark.parametrize("periodic", [False, True])
def test_take_equals_pyg_collation(periodic):
    store = made(periodic=periodic)
    index = [7, 0, 0, 11, 3]
    batch = store.take(index)
    parts = []
    for k in index:
        atoms = store.to_ase(k)
        data = Data(
            z=torch.tensor(atoms.numbers), pos=torch.tensor(atoms.positions, dtype=torch.float32)
        )
        data.forces = torch.tensor(atoms.get_forces(), dtype=torch.float32)
        data.energy = torch.tensor([atoms.get_potential_energy()], dtype=torch.float64)
        data.mu = torch.tensor([atoms.info["mu"]], dtype=torch.float64)
        parts.append(data)
    theirs = Batch.from_data_list(parts)
    for key in sorted(theirs.keys()):
        assert torch.equal(batch[key], theirs[key].to(batch[key].dtype)), key
    assert (
        batch.z.dtype == torch.int64
        and batch.pos.dtype == torch.float32
        and batch.energy.dtype == torch.float64
    )
    assert batch.num_graphs == 5 and batch.num_nodes == len(batch.pos)
    assert torch.equal(batch.natoms, batch.ptr.diff())
    assert torch.equal(batch.y, torch.stack([batch.mu, batch.homo], dim=1))
    assert ("cell" in batch) == periodic == ("pbc" in batch)


def test_a_batch_can_be_taken_apart():
    store = made(periodic=True)
    batch = store.take([5, 2])
    one = batch.to_data_list()[1]
    again = store.take([2])
    for key in ("z", "pos", "forces", "energy", "cell", "pbc", "y", "mu", "charge", "natoms"):
        assert torch.equal(one[key], again[key]), key
    assert torch.equal(batch.get_example(0).pos, batch.pos[: batch.ptr[1]])
    assert (
        batch.to("cpu").num_graphs == 2
        and batch.clone().get_example(1).natoms.item() == again.natoms.item()
    )


def test_batches_own_their_memory():
    store = made()
    first = store.take([0]).pos.clone()
    store.take([0]).pos.add_(1)
    assert torch.equal(store.take([0]).pos, first)


def test_mixed_periodicity_and_indices_of_every_kind():
    store = AtomStore.from_ase([molecule("H2O"), bulk("Cu")])
    assert "cell" not in store.take([0]) and store.take([0, 1]).pbc.tolist() == [
        [False] * 3,
        [True] * 3,
    ]
    assert not store[:1].periodic and store.periodic
    same(store[[1]], store[-1:])
    same(store[np.array([False, True])], store[torch.tensor([1])])
    with pytest.raises(IndexError):
        store.take([2])
    with pytest.raises(ValueError, match="no structures"):
        store.take([])
    with pytest.raises(TypeError, match="to_ase"):
        store[0]


# --------------------------------------------------------------------------------------------------
# views, splits


def test_views_share_arrays_and_know_their_index():
    store = made()
    view = store[2:10].subset([4, 1])
    assert view.index.tolist() == [6, 3]
    assert view._arrays["pos"] is store._arrays["pos"]
    assert view.energy.tolist() == store.energy[[6, 3]].tolist()
    assert view.property("mu").tolist() == store.property("mu")[[6, 3]].tolist()
    assert view.n_atoms.tolist() == store.n_atoms[[6, 3]].tolist()
    assert view.elements == sorted(set(view.take([0, 1]).z.tolist()))


def test_splits_are_disjoint_seeded_and_complete():
    store = made(40)
    train, val, test = store.split(20, 8, seed=3)
    assert [len(part) for part in (train, val, test)] == [20, 8, 12]
    assert sorted(np.concatenate([train.index, val.index, test.index])) == list(range(40))
    assert [p.index.tolist() for p in store.split(20, 8, seed=3)] == [
        p.index.tolist() for p in (train, val, test)
    ]
    assert store.split(20, 8, seed=4)[0].index.tolist() != train.index.tolist()
    assert len(store.split(40, 0)[2]) == 0
    for asked in [(33, 8), (0, 1), (1, -1)]:
        with pytest.raises(ValueError, match="Cannot split 40 structures"):
            store.split(*asked)


# --------------------------------------------------------------------------------------------------
# on disk


@pytest.mark.parametrize("periodic", [False, True])
def test_saved_store_opens_memory_mapped_and_equal(tmp_path, periodic):
    store = made(periodic=periodic)
    store.save(tmp_path / "s")
    opened = AtomStore.open(tmp_path / "s")
    same(store, opened)
    assert isinstance(opened._arrays["pos"], np.memmap)
    assert (
        opened.meta == store.meta and opened.units("mu") == "D" and opened.units("forces") == "eV/Å"
    )
    assert np.load(tmp_path / "s" / "energy.npy").dtype == np.float64
    store[[4, 1]].save(tmp_path / "s")  # replaces the folder
    same(AtomStore.open(tmp_path / "s"), store[[4, 1]])
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_an_interrupted_save_leaves_the_old_store(tmp_path, monkeypatch):
    made().save(tmp_path / "s")
    monkeypatch.setattr(
        storage.files, "write_json", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        made(3).save(tmp_path / "s")
    assert len(AtomStore.open(tmp_path / "s")) == 12
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_damaged_and_foreign_folders_are_refused(tmp_path):
    folder = tmp_path / "s"
    made().save(folder)
    with pytest.raises(FileNotFoundError, match="not a saved AtomStore"):
        AtomStore.open(tmp_path / "nothing")

    def altered(**change):
        head = json.loads((folder / "store.json").read_text())
        (folder / "store.json").write_text(json.dumps(head | change))

    altered(version=99)
    with pytest.raises(ValueError, match="written by version 99"):
        AtomStore.open(folder)
    altered(version=storage.VERSION, format="other")
    with pytest.raises(ValueError, match="format 'other'"):
        AtomStore.open(folder)
    (folder / "store.json").write_text("{")
    with pytest.raises(ValueError, match="no readable description of a store"):
        AtomStore.open(folder)

    made().save(folder)  # only files of a store are at stake
    whole = (folder / "pos.npy").read_bytes()
    for damaged in (whole[:-40], whole[:30], b"", pickle.dumps("no")):
        (folder / "pos.npy").write_bytes(damaged)
        with pytest.raises(ValueError, match="truncated or damaged"):
            AtomStore.open(folder)
    np.save(folder / "pos.npy", np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match="not what store"):
        AtomStore.open(folder)
    (folder / "pos.npy").unlink()
    with pytest.raises(FileNotFoundError, match="missing from the store"):
        AtomStore.open(folder)


def test_an_opened_store_travels_to_other_processes_as_its_path(tmp_path):
    made(400).save(tmp_path / "s")
    opened = AtomStore.open(tmp_path / "s")
    parcel = pickle.dumps(opened[5:9])
    assert len(parcel) < 2000 < len(pickle.dumps(made(400)))
    there = pickle.loads(parcel)
    assert isinstance(there._arrays["pos"], np.memmap) and there.index.tolist() == [5, 6, 7, 8]
    same(there, opened[5:9])
    same(pickle.loads(pickle.dumps(made()[2:4])), made()[2:4])
    loader = torch.utils.data.DataLoader(range(8), batch_size=4, collate_fn=opened.take)
    assert [batch.num_graphs for batch in loader] == [4, 4]


def test_an_empty_view_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="nothing to save"):
        made()[:0].save(tmp_path / "s")
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------
# conversions


def test_ase_round_trip_keeps_labels_cell_and_constraints():
    slab = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    slab.set_constraint(FixAtoms(mask=slab.get_tags() > 2))
    slab.rattle(0.05, seed=1)
    slab.calc = EMT()
    forces = slab.get_forces(apply_constraint=False)
    energy = slab.get_potential_energy()
    slab.info["coverage"] = 0.25
    back = AtomStore.from_ase([slab, slab]).to_ase(1)
    np.testing.assert_allclose(back.positions, slab.positions, atol=1e-5)
    np.testing.assert_allclose(back.cell.array, slab.cell.array, atol=1e-5)
    assert back.pbc.tolist() == slab.pbc.tolist() and back.get_potential_energy() == energy
    np.testing.assert_allclose(back.get_forces(apply_constraint=False), forces, atol=1e-5)
    assert back.constraints[0].index.tolist() == slab.constraints[0].index.tolist()
    assert back.info["coverage"] == 0.25 and back.get_tags().tolist() == slab.get_tags().tolist()
    assert AtomStore.from_ase(slab).take([0]).fixed.tolist() == (slab.get_tags() > 2).tolist()


def test_labels_must_be_complete():
    labeled = molecule("H2O")
    labeled.info["energy"] = -1.0
    assert AtomStore.from_ase([labeled]).energy.tolist() == [-1.0]
    with pytest.raises(ValueError, match="Structure 1 has no energy"):
        AtomStore.from_ase([labeled, molecule("H2O")])
    bare = AtomStore.from_ase(molecule("H2O"))
    assert not bare.has_energy and not bare.has_forces
    with pytest.raises(ValueError, match="no energies"):
        _ = bare.energy
    with pytest.raises(ValueError, match="no property 'gap'"):
        bare.property("gap")
    with pytest.raises(ValueError, match="empty"):
        AtomStore.from_ase([])


def test_files_of_ase(tmp_path):
    import ase.io

    frames = [made(4).to_ase(k) for k in range(4)]
    ase.io.write(tmp_path / "m.extxyz", frames)
    store = AtomStore.from_file(tmp_path / "m.extxyz")
    assert len(store) == 4 and store.has_forces and store.property_names == ("mu", "homo")
    np.testing.assert_allclose(store.energy, made(4).energy, atol=1e-6)
    assert len(AtomStore.from_file(tmp_path / "m.extxyz", index=0)) == 1
    with pytest.raises(FileNotFoundError, match="no structure file"):
        AtomStore.from_file(tmp_path / "none.xyz")
    (tmp_path / "bad.xyz").write_text("7\n\nC 0 0")
    with pytest.raises(ValueError, match=r"bad\.xyz is truncated or damaged: frame 0"):
        AtomStore.from_file(tmp_path / "bad.xyz")


def test_pyg_data_sets():
    store = made(5, periodic=True)
    data = store.take(range(5)).to_data_list()
    for d in data:
        del d.mu, d.homo
    again = AtomStore.from_pyg(data, names=["mu", "homo"])
    assert again.property("homo").tolist() == store.property("homo").tolist()
    assert again.energy.tolist() == store.energy.tolist()
    np.testing.assert_array_equal(again._arrays["cell"], store._arrays["cell"])
    assert AtomStore.from_pyg(data, energy_unit=2.0).energy.tolist() == (2 * store.energy).tolist()
    odd = [d.clone() for d in data]
    odd[3].y = torch.zeros(1, 3)
    with pytest.raises(ValueError, match=r"Structure 3 of the data set has y .* with 3 columns"):
        AtomStore.from_pyg(odd)
    with pytest.raises(ValueError, match="2 columns, but 1 names"):
        AtomStore.from_pyg(data, names=["mu"])
    with pytest.raises(ValueError, match="Structure 0 of the data set lacks z or pos"):
        AtomStore.from_pyg([Data(x=torch.zeros(2, 1))])


def test_summary_is_one_line():
    assert repr(AtomStore.from_ase([molecule("CH4"), molecule("H2O")])) == (
        "AtomStore(2 structures (molecules), 8 atoms, elements H C O, labels: none)"
    )
    assert "labels: energy, forces, mu, homo, charge" in made().summary()


# --------------------------------------------------------------------------------------------------
# bad input

GOOD = {"z": [1, 8, 6], "pos": [[0.0, 0, 0], [1, 0, 0], [0, 0, 0]], "ptr": [0, 2, 3]}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"z": [1, 8, 0]}, "Structure 1 has an atom with atomic number 0"),
        ({"z": [1, 119, 6]}, "Structure 0 has an atom with atomic number 119"),
        ({"z": [300, 8, 6]}, "Structure 0 has an atom with atomic number 300"),
        ({"z": [1, 6.5, 6]}, r"Structure 0 has an atom with atomic number 6\.5"),
        (
            {"pos": [[0, 0, 0], [1, 0, float("nan")], [0, 0, 0]]},
            "Structure 0, atom 1 has a position that is NaN",
        ),
        (
            {"pos": [[0, 0, 0], [1, 0, 0], [0, float("inf"), 0]]},
            "Structure 1, atom 0 has a position that is NaN",
        ),
        (
            {"ptr": [0, 1, 3], "pos": [[0, 0, 0], [1, 0, 0], [1, 0, 0]]},
            "Structure 1 has atoms 0 and 1 at the same",
        ),
        ({"ptr": [0, 0, 3]}, "Structure 0 has no atoms"),
        ({"ptr": [0]}, "at least one structure"),
        ({"ptr": [0, 2, 4]}, r"correct \w+ or ptr"),
        ({"energy": [1.0]}, r"energy must have the shape .* got \(1,\)"),
        ({"energy": [1.0, float("nan")]}, "Structure 1 has an energy"),
        ({"forces": np.zeros((2, 3))}, "forces must have the shape"),
        ({"forces": np.full((3, 3), np.nan)}, "Structure 0, atom 0 has a force"),
        ({"cell": np.zeros((2, 3, 3))}, "Structure 0 is periodic along a cell vector of no length"),
        ({"pbc": np.ones((2, 3))}, "pbc is given without a cell"),
        ({"properties": {"mu": [1.0]}}, "Property 'mu'"),
        (
            {"properties": {"mu": np.zeros((2, 2))}},
            r"Property 'mu' has the shape \(2, 2\).*or a vector of three",
        ),
        (
            {"properties": {"mu": [[1.0, 2, 3], [1.0]]}},
            "Property 'mu' is not one number for each structure",
        ),
        ({"properties": {"vectors": np.zeros((2, 3))}}, "'vectors' cannot name a property"),
        ({"properties": {"pos": [1.0, 2.0]}}, "'pos' cannot name a property"),
        ({"properties": {"size": [1.0, 2.0]}}, "'size' cannot name a property"),
        ({"atom_properties": {"charge": [1.0]}}, "Atom property 'charge'"),
    ],
)
def test_bad_input_is_named(change, message):
    AtomStore.from_arrays(**GOOD)
    with pytest.raises(ValueError, match=message):
        AtomStore.from_arrays(**(GOOD | change))


def test_one_atom_twice_in_different_structures_is_fine():
    assert len(AtomStore.from_ase([Atoms("H"), Atoms("H")])) == 2


# --------------------------------------------------------------------------------------------------
# on a device


@pytest.mark.slow
@pytest.mark.parametrize(
    "which", ["qm9", "ethanol", "periodic", "mixed", "unlabeled", "opened", "view"]
)
def test_batches_gathered_by_torch_equal_those_of_the_store(which, tmp_path):
    if which in ("qm9", "ethanol"):
        store = scdlab.load_qm9(limit=300) if which == "qm9" else scdlab.load_ethanol()[:200]
    elif which in ("mixed", "unlabeled"):
        store = AtomStore.from_ase(
            [molecule("H2O"), bulk("Cu"), fcc111("Al", (1, 1, 3)), molecule("CH4")]
        )
        store = store if which == "mixed" else store[[0, 3]]
    else:
        store = made(40, periodic=True)
        if which == "opened":
            store.save(tmp_path / "store")
            store = AtomStore.open(tmp_path / "store")
        store = store[30:3:-2] if which == "view" else store
    there = store.to("cpu")
    n = len(store)
    assert len(there) == n
    some = np.random.default_rng(0).integers(0, n, 50)
    for index in (some, [0], slice(1, None), torch.tensor([-1, 0, 0]), np.arange(n) % 2 == 0):
        own = store.take(index)
        theirs = there.take(index)
        assert sorted(own.keys()) == sorted(theirs.keys())
        for name in own.keys():  # noqa: SIM118 (a batch iterates over its fields)
            assert own[name].dtype == theirs[name].dtype and torch.equal(own[name], theirs[name]), (
                name
            )
        assert own.num_graphs == theirs.num_graphs
        for one, other in zip(own.to_data_list()[:3], theirs.to_data_list()[:3], strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one.keys())  # noqa: SIM118
    with pytest.raises(ValueError, match="no structures"):
        there.take([])
    with pytest.raises(IndexError):
        there.take([n])


def test_a_copy_on_a_device_owns_its_memory_and_its_size_is_told():
    store = made(periodic=True)
    there = store.to("cpu")
    before = there.take([0, 1])
    there.take([0, 1]).pos.add_(1)
    store._arrays["pos"] += 1
    assert torch.equal(there.take([0, 1]).pos, before.pos)
    for view in (store, store[3:7]):
        copied = sum(value.nbytes for value in view.to("cpu")._arrays.values())
        assert view.nbytes == copied - 8  # ptr has one row more than there are structures


# ----------------------------------------------------------------------------------------- budgets,
# and stores joined


def test_batches_are_filled_as_far_as_their_budget_goes():
    store = made(n=40)
    for batch_size, max_atoms in ((None, 9), (3, 9), (4, None), (None, None)):
        parts = store.batches(batch_size, max_atoms)
        assert np.array_equal(
            np.concatenate([np.arange(40)[part] for part in parts]), np.arange(40)
        )
        for part in parts:
            atoms = store.n_atoms[part].sum()
            next_one = store.n_atoms[part.stop : part.stop + 1].sum()
            assert max_atoms is None or atoms <= max_atoms
            assert batch_size is None or part.stop - part.start <= batch_size
            full = [
                batch_size is not None and part.stop - part.start == batch_size,
                max_atoms is not None and atoms + next_one > max_atoms,
                part.stop == 40,
            ]
            assert any(full)


def test_structures_dealt_in_two_goes_make_the_same_batches():
    size = made(n=50).n_atoms
    whole, _ = collate.pack_batches(size, 5, 11)
    first, held = collate.pack_batches(size[:23], 5, 11)
    rest, _ = collate.pack_batches(size[23:], 5, 11, held)
    assert [*first, *(23 + k for k in rest)] == whole


def test_a_structure_larger_than_the_budget_is_named_with_the_remedy():
    store = AtomStore.from_ase([molecule("H2O"), molecule("C6H6"), molecule("C2H6")])
    with pytest.raises(
        ValueError, match=r"Structure 1 \(C6H6\) has 12 atoms.*max_atoms=8.*allow 12.*n_atoms <= 8"
    ):
        store.batches(max_atoms=8)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        store.batches(max_atoms=0)
    assert [len(store[part]) for part in store.batches(max_atoms=12)] == [1, 1, 1]


def test_joined_stores_give_their_own_structures(tmp_path):
    molecules = made(n=5)
    crystals = made(n=4, seed=1, periodic=True)
    both = AtomStore.concat([molecules, crystals[1:]])
    same(both[:5], AtomStore.concat([molecules]))
    for k in range(3):
        ours = both.take([5 + k])
        theirs = crystals.take([1 + k])
        for key in sorted(theirs.keys()):
            assert torch.equal(ours[key], theirs[key]), key
    mixed = both.take([0, 6])  # a molecule beside a crystal
    assert not mixed.pbc[0].any() and torch.equal(mixed.cell[1], crystals.take([2]).cell[0])
    assert both.units("homo") == "eV" and both.meta["source"] == "random numbers"
    both.save(tmp_path / "both")
    same(AtomStore.open(tmp_path / "both"), both)
    assert len(AtomStore.concat([molecules, molecules])) == 10


def test_a_property_that_only_some_have_is_left_out_and_asking_for_it_says_so():
    some = AtomStore.from_ase([molecule("H2O")])
    both = AtomStore.concat([made(n=5), some])
    assert not both.property_names and not both.has_energy and not both.has_forces
    with pytest.raises(ValueError, match=r"Only 5 of the structures.*'homo'"):
        both.property("homo")
    water = molecule("H2O")
    ethane = molecule("C2H6")
    water.info["gap"] = 7.0
    with pytest.raises(ValueError, match=r"Only 1 of the structures.*'gap'"):
        AtomStore.from_ase([water, ethane]).property("gap")
    with pytest.raises(ValueError, match=r"1 of 2 structures have no 'gap'.*number 1"):
        AtomStore.from_ase([water, ethane], properties=["gap"])


def test_stores_that_do_not_fit_together_are_refused():
    other = made()
    other.meta = {"units": {"mu": "D", "homo": "Ha"}}
    with pytest.raises(ValueError, match=r"'homo' in different units.*'Ha', 'eV'"):
        AtomStore.concat([made(), other])
    with pytest.raises(ValueError, match="at least one"):
        AtomStore.concat([])


# --------------------------------------------------------------------------------------------------
# vectors


def with_vectors(n=12, seed=0, **settings):
    """`made`, with two vectors among the numbers."""
    store = made(n, seed, **settings)
    rng = np.random.default_rng(seed + 1)
    arrays = store.arrays()
    return AtomStore.from_arrays(
        *(arrays[name] for name in ("z", "pos", "ptr")),
        **{name: arrays.get(name) for name in ("cell", "pbc", "energy", "forces")},
        properties={
            "dipole": rng.normal(size=(n, 3)),
            "mu": store.property("mu"),
            "field": rng.normal(size=(n, 3)),
        },
        meta={"source": "random numbers", "units": {"mu": "D", "dipole": "e Å"}},
    )


@pytest.mark.parametrize("where", ["memory", "disk", "device", "process", "joined"])
def test_vectors_are_kept(where, tmp_path):
    store = source = with_vectors(periodic=True)
    dipole = store.property("dipole").copy()
    index = [7, 0, 0, 11, 3]
    if where == "disk":
        store.save(tmp_path / "s")
        store = AtomStore.open(tmp_path / "s")
        assert json.loads((tmp_path / "s/store.json").read_text())["vectors"] == ["dipole", "field"]
        same(AtomStore.open(tmp_path / "s"), source)
    elif where == "device":
        store = store.to("cpu")
    elif where == "process":
        store = pickle.loads(pickle.dumps(store[:]))
    elif where == "joined":
        store = AtomStore.concat([store[:5], store[5:]])
    batch = store.take(index)
    assert vector_names(batch) == vector_names(batch.clone().to("cpu")) == ("dipole", "field")
    assert batch.dipole.dtype == torch.float64 and batch.dipole.shape == batch.field.shape == (5, 3)
    assert np.array_equal(batch.dipole.numpy(), dipole[index])
    assert torch.equal(batch.y, batch.mu[:, None])  # the numbers alone
    assert torch.equal(batch.to_data_list()[3].dipole, batch.dipole[3:4])
    if where != "device":
        assert store.property_names == ("mu",) and store.vector_names == ("dipole", "field")
        assert store.units("dipole") == "e Å" and store.units("field") == ""
        assert "mu, dipole, field" in repr(store)
        assert np.array_equal(store[2:10].subset([4, 1]).property("dipole"), dipole[[6, 3]])
        assert (
            store[3:5].nbytes
            == sum(value.nbytes for value in store[3:5].to("cpu")._arrays.values()) - 8
        )


def test_a_store_without_vectors_says_nothing_of_them(tmp_path):
    made().save(tmp_path / "s")
    assert "vectors" not in json.loads(
        (tmp_path / "s/store.json").read_text()
    )  # as those of earlier versions
    store = AtomStore.open(tmp_path / "s")
    assert store.vector_names == () == vector_names(store.take([0])) == vector_names(Batch())
    with pytest.raises(ValueError, match="no property 'dipole'; it has: mu, homo"):
        store.property("dipole")


def labeled(name="H2O", info=None, results=None):
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = molecule(name)
    atoms.info |= {} if info is None else {"dipole": info}
    if results is not None:
        atoms.calc = SinglePointCalculator(atoms, dipole=np.array(results))
    return atoms


def test_vectors_of_ase_atoms_come_from_info_or_the_calculator(tmp_path):
    import ase.io

    first = [0.1, 0.2, 0.3]
    second = [-1.0, 0.0, 2.0]
    frames = [labeled(info=first), labeled("CH4", results=second)]
    store = AtomStore.from_ase(frames)
    assert store.vector_names == ("dipole",) and store.property("dipole").tolist() == [
        first,
        second,
    ]
    assert AtomStore.from_ase(frames, properties=["dipole"]).property("dipole").tolist() == [
        first,
        second,
    ]
    assert AtomStore.from_ase(frames, properties=[]).vector_names == ()
    back = [store.to_ase(k) for k in range(2)]
    assert back[1].info["dipole"].tolist() == second
    same(AtomStore.from_ase(back), store)
    assert AtomStore.from_ase(labeled(info=first, results=second)).property("dipole").tolist() == [
        first
    ]
    ase.io.write(tmp_path / "m.extxyz", back)
    np.testing.assert_allclose(
        AtomStore.from_file(tmp_path / "m.extxyz").property("dipole"), [first, second]
    )


def test_what_is_no_vector_of_all_is_left_out_and_named():
    frames = [labeled(info=(0.1, 0.2, 0.3)), labeled("CH4")]
    with pytest.raises(ValueError, match=r"Only 1 of the structures.*'dipole'"):
        AtomStore.from_ase(frames).property("dipole")
    with pytest.raises(ValueError, match=r"1 of 2 structures have no 'dipole' in their info"):
        AtomStore.from_ase(frames, properties=["dipole"])
    frames[1].info["dipole"] = 0.7  # a number there, a vector here
    assert not AtomStore.from_ase(frames).property_names + AtomStore.from_ase(frames).vector_names
    with pytest.raises(ValueError, match="Property 'dipole' is not one number"):
        AtomStore.from_ase(frames, properties=["dipole"])
    for other in ([1.0, 2.0], ["a", "b", "c"], "abc", [True, 1.0, 2.0], np.zeros((3, 1))):
        assert AtomStore.from_ase(labeled(info=other)).vector_names == ()
    numbers = AtomStore.from_ase(frames[1:])
    with pytest.raises(ValueError, match="'dipole' as numbers and as vectors"):
        AtomStore.concat([AtomStore.from_ase(frames[:1]), numbers])
    with pytest.raises(ValueError, match=r"Only 12 of the structures.*'field'"):
        AtomStore.concat([with_vectors(), made()]).property("field")
