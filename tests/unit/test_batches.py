"""Batches that are not ours: completed, or refused in a sentence; never one big molecule."""

import copy

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.loader import DataLoader

import scdlab
from scdlab.atoms.batch import completed

NAMES = ("CH3CH2OH", "H2O", "CH4")


def data_of(atoms, **fields):
    pos = torch.tensor(atoms.positions, dtype=torch.float32)
    return Data(z=torch.tensor(atoms.numbers), pos=pos, **fields)


@pytest.fixture
def structures():
    return [data_of(molecule(name)) for name in NAMES]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=8, num_layers=2, num_rbf=8).eval()


def ours(*structures):
    return scdlab.AtomStore.from_ase(list(structures)).take(range(len(structures)))


def same(one, two):
    assert torch.allclose(one.energy, two.energy, atol=1e-6)
    assert torch.allclose(one.forces, two.forces, atol=1e-5)


def without(batch, *names):
    batch = copy.copy(batch)
    for name in names:
        del batch[name]
    return batch


# --------------------------------------------------------------------------------------- completed


def test_what_is_missing_is_worked_out(model, structures):
    right = model(ours(*map(molecule, NAMES)), forces=True)
    whole = Batch.from_data_list(structures)
    loaded = next(iter(DataLoader(structures, batch_size=3)))
    plain = Batch(z=whole.z, pos=whole.pos, batch=whole.batch)
    data = Data(z=whole.z, pos=whole.pos, batch=whole.batch)
    column = Batch(z=whole.z.view(-1, 1), pos=whole.pos, ptr=whole.ptr)
    for batch in (
        whole,
        loaded,
        plain,
        data,
        without(whole, "ptr"),
        without(whole, "batch"),
        column,
    ):
        same(model(batch, forces=True), right)
        pairs = scdlab.neighbor_list(batch, 5.0)
        assert torch.equal(whole.batch[pairs.i], whole.batch[pairs.j])
    for z in (whole.z.int(), whole.z.float(), whole.z.to(torch.uint8)):
        same(model(Batch(z=z, pos=whole.pos.double(), batch=whole.batch.int()), forces=True), right)


def test_several_structures_are_never_one_molecule(model, structures):
    whole = without(Batch.from_data_list(structures), "batch", "ptr")
    counted = Data(z=whole.z, pos=whole.pos, natoms=torch.tensor([9, 3, 5]))
    for batch, name in ((whole, "num_graphs"), (counted, "natoms")):
        for use in (model, lambda each: scdlab.neighbor_list(each, 5.0)):
            with pytest.raises(ValueError, match=rf"has 3 structures \(its {name}\) and neither"):
                use(batch)
    lone = without(Batch.from_data_list(structures[:1]), "batch", "ptr")
    same(model(lone, forces=True), model(structures[0], forces=True))


def test_more_atoms_than_a_cell_list_takes_are_still_apart(model):
    of = torch.arange(15).repeat_interleave(20)
    rng = torch.Generator().manual_seed(0)
    z = torch.randint(1, 9, (300,), generator=rng)
    pos = 3 * torch.randn(300, 3, generator=rng)
    ptr = torch.arange(0, 301, 20)
    right = model(Batch(z=z, pos=pos, batch=of, ptr=ptr)).energy
    assert torch.allclose(model(Batch(z=z, pos=pos, batch=of)).energy, right)


def test_one_data_is_a_batch_of_one(structures):
    torch.manual_seed(0)
    exact = scdlab.ECSE(scdlab.PET(hidden_channels=8, num_layers=1, num_heads=2)).eval()
    for data in structures:
        same(exact(data, forces=True), exact(Batch.from_data_list([data]), forces=True))
    assert len(scdlab.neighbor_list(structures[1], 5.0)) == 3


def test_the_callers_batch_stays_as_it_is(model, structures):
    data = structures[0]
    data.pos.requires_grad_()
    out = model(data)
    (gradient,) = torch.autograd.grad(out.energy.sum(), data.pos)
    assert gradient.abs().max() > 0 and data.to_dict().keys() == {"z", "pos"}


def crystal(**fields):
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.05, seed=1)
    return data_of(atoms, cell=torch.tensor(atoms.cell.array, dtype=torch.float32), **fields)


@pytest.mark.parametrize(
    "pbc",
    [
        {},
        {"pbc": torch.tensor([True, True, True])},
        {"pbc": torch.tensor([[True, True, True]])},
        {"pbc": torch.tensor([1, 1, 1])},
        {"pbc": True},
        {"pbc": torch.tensor(True)},
        {"pbc": [True, True, True]},
    ],
)
def test_cells_of_any_form_are_those_of_their_structures(model, pbc):
    data = crystal(**pbc)
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.05, seed=1)
    two = ours(atoms, atoms)
    right = model(two, forces=True)
    same(model(Batch.from_data_list([data, data]), forces=True), right)  # cell [6, 3]
    stacked = copy.copy(data)
    stacked.cell = data.cell.unsqueeze(0)
    same(model(Batch.from_data_list([stacked, stacked]), forces=True), right)  # cell [2, 3, 3]
    one = model(ours(atoms), forces=True)
    same(model(data, forces=True), one)
    flat = copy.copy(data)
    flat.cell = data.cell.reshape(9).double()
    same(model(flat, forces=True), one)


def test_slabs_repeat_along_the_directions_that_are_named(model):
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.pbc = [True, True, False]
    flags = torch.tensor([True, True, False])
    data = data_of(atoms, cell=torch.tensor(atoms.cell.array), pbc=flags)
    right = model(ours(atoms, atoms), forces=True)
    same(model(Batch.from_data_list([data, data]), forces=True), right)


# ----------------------------------------------------------------------------------------- refused


def altered(**fields):
    batch = Batch.from_data_list([data_of(molecule(name)) for name in NAMES])
    for name, value in fields.items():
        batch[name] = value(batch) if callable(value) else value
    return batch


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"batch": lambda b: b.batch.flip(0)}, "not sorted by structure"),
        ({"batch": lambda b: b.batch - 1}, "not sorted by structure"),
        ({"batch": lambda b: b.batch * 2}, "Structure 1 of the batch has no atoms"),
        ({"batch": lambda b: b.batch + 1}, "Structure 0 of the batch has no atoms"),
        ({"batch": lambda b: b.batch[:-1]}, "must be the structure of each atom"),
        ({"batch": lambda b: b.batch.float()}, "must be integers in one dimension"),
        ({"ptr": lambda b: b.ptr[:-1]}, "ptr and batch of the batch do not belong together"),
        ({"ptr": torch.tensor([0, 5, 12, 17])}, "do not belong together"),
        ({"ptr": torch.tensor([0, 5]), "batch": None}, "must rise from 0 to the number of atoms"),
        ({"z": None}, "atomic numbers of shape.*got none"),
        ({"z": lambda b: torch.eye(9)[b.z]}, r"got torch.float32 of shape \[17, 9\]"),
        ({"z": lambda b: b.z[1:]}, "got torch.int64 of shape"),
        ({"z": lambda b: b.z + 0.5}, "not whole"),
        ({"z": lambda b: b.z > 1}, "got torch.bool"),
        ({"z": lambda b: b.z - 1}, "got 0, which is no element"),
        ({"z": lambda b: b.z - 300}, "which is no element"),
        ({"z": lambda b: b.z + 118}, "which is no element"),
        ({"z": lambda b: b.z.to("meta")}, "z of the batch is on meta and pos on cpu"),
        ({"pos": None}, "pos of the batch must be positions"),
        ({"pos": lambda b: b.pos[:, :2]}, r"got torch.float32 of shape \[17, 2\]"),
        ({"pos": lambda b: b.pos.long()}, "got torch.int64"),
        ({"pos": lambda b: b.pos[None]}, "of shape"),
        ({"pbc": True}, "is periodic .* and has no cell"),
        ({"cell": torch.eye(3)}, r"\[3, 3, 3\], got torch.float32 of shape \[3, 3\]"),
        ({"cell": torch.ones(3, 6)}, "must be the cell vectors"),
        ({"cell": torch.ones(9, 3), "pbc": torch.ones(2, 3)}, "pbc of the batch must be true or f"),
        ({"cell": torch.ones(9, 3), "pbc": torch.full((9,), 0.5)}, "pbc of the batch must be true"),
    ],
)
def test_what_does_not_fit_is_refused(model, fields, complaint):
    batch = altered(**fields)
    for call in (model, lambda b: scdlab.neighbor_list(b, 4.0)):
        with pytest.raises(ValueError, match=complaint):
            call(batch)


def test_a_batch_of_ours_that_was_changed_is_looked_at_again(model):
    batch = ours(*map(molecule, NAMES))
    assert completed(batch) is batch and completed(copy.copy(batch)) is not None
    order = torch.randperm(len(batch.z), generator=torch.Generator().manual_seed(0))
    batch.batch = batch.batch[order]
    with pytest.raises(ValueError, match="not sorted"):
        model(batch)
    batch = ours(*map(molecule, NAMES))
    batch.pos = batch.pos[:-1]
    with pytest.raises(ValueError, match="one for each row of pos"):
        model(batch)
    moved = copy.copy(ours(*map(molecule, NAMES)))
    moved.pos = moved.pos + 1
    assert completed(moved) is moved


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (molecule("H2O"), r"got a value of type Atoms: AtomStore\.from_ase\(atoms\)"),
        (None, "got a value of type NoneType"),
        ([1, 2], "got a value of type list"),
        ({"z": np.ones(3)}, "got a value of type dict"),
        (HeteroData(), "got a value of type HeteroData"),
        (Data, "got the class Data"),
    ],
)
def test_what_is_no_batch_is_refused(model, given, complaint):
    for call in (model, lambda b: scdlab.neighbor_list(b, 4.0)):
        with pytest.raises(TypeError, match=complaint):
            call(given)


def test_a_store_is_no_batch(model):
    with pytest.raises(TypeError, match=r"store\.take\(\[0, 1\]\) cuts one"):
        model(scdlab.load_ethanol())


def test_a_batch_without_atoms_is_refused(model):
    with pytest.raises(ValueError, match="has no atoms"):
        model(Data(z=torch.zeros(0, dtype=torch.long), pos=torch.zeros(0, 3)))


def test_objectives_complete_batches(structures):
    kw = dict(hidden_channels=8, num_layers=1, num_rbf=8)
    torch.manual_seed(0)
    schnet = scdlab.SchNet(**kw)
    conditional = scdlab.EquivariantTransformer(num_heads=2, conditional=True, **kw)
    forced = scdlab.EquivariantTransformer(num_heads=2, force_input=True, **kw)
    for data in structures:
        data.energy = torch.tensor([-1.0])
        data.forces = torch.ones(data.num_nodes, 3)
    whole = Batch.from_data_list(structures)
    methods = scdlab.objectives
    for objective, net in (
        (methods.EnergyForces(), schnet),
        (methods.CoordinateDenoising(0.05), schnet),
        (methods.PairwiseDenoising(), schnet),
        (methods.SelfConditionedDenoising(), conditional),
        (methods.DeNS(prob=1.0), forced),
    ):

        def loss(batch, objective=objective, net=net):
            torch.manual_seed(0)
            return objective(net, batch, torch.Generator().manual_seed(0))[0].item()

        right = pytest.approx(loss(whole), rel=1e-5)
        assert loss(without(whole, "ptr")) == right
        assert loss(structures[0]) == pytest.approx(loss(Batch.from_data_list(structures[:1])))
        with pytest.raises(ValueError, match="has 3 structures"):
            loss(without(whole, "ptr", "batch"))
