"""PyTorch Geometric data sets of any making: read rightly, or refused in a sentence."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from torch_geometric.data import Batch, Data

from scdlab.atoms import AtomStore

Z = torch.tensor([8, 1, 1])
POS = torch.tensor(molecule("H2O").positions)


def waters(n=4, change=None, **fields):
    data = []
    for k in range(n):
        each = {name: value(k) if callable(value) else value for name, value in fields.items()}
        data.append(Data(z=Z.clone(), pos=POS.clone(), **each))
    if change is not None:
        change(data[2])
    return data


@pytest.mark.parametrize(
    "fields, bad",
    [
        ({"energy": torch.tensor(-1.0)}, {"energy": torch.zeros(2)}),
        ({"energy": -1.0}, {"energy": "n/a"}),
        ({"energy": torch.tensor(-1.0)}, {"energy": None}),
        ({"forces": torch.zeros(3, 3)}, {"forces": torch.zeros(2, 3)}),
        ({"force": torch.zeros(3, 3)}, {"force": torch.zeros(3)}),
        ({"y": torch.zeros(1, 1)}, {"y": torch.zeros(1, 2)}),
        ({"y": torch.zeros(1)}, {"y": None}),
        ({"cell": torch.eye(3)[None]}, {"cell": torch.ones(3)}),
        ({"cell": torch.eye(3)[None], "pbc": torch.ones(1, 3)}, {"pbc": torch.ones(1, 2)}),
        ({}, {"pos": POS[:2]}),
        ({}, {"z": None}),
        ({"charges": torch.zeros(3)}, {"charges": torch.zeros(3, 2)}),
    ],
)
def test_a_structure_that_does_not_fit_is_named(fields, bad):
    data = waters(change=lambda each: [each.update({name: v}) for name, v in bad.items()], **fields)
    (name,) = bad
    with pytest.raises(ValueError, match=rf"Structure 2.*{name.rstrip('s')}"):
        AtomStore.from_pyg(data)


def test_what_is_no_data_is_refused():
    with pytest.raises(TypeError, match=r"Structure 1 of the data set must be .*Data, got dict"):
        AtomStore.from_pyg([waters(1)[0], {"z": Z, "pos": POS}])
    joined = Data(z=Z.repeat(2), pos=POS.repeat(2, 1), batch=torch.tensor([0, 0, 0, 1, 1, 1]))
    with pytest.raises(ValueError, match="The Data holds 2 structures in one"):
        AtomStore.from_pyg(joined)


@pytest.mark.parametrize("dataset", [None, 3])
def test_what_is_no_data_set_is_refused(dataset):
    with pytest.raises(TypeError, match=r"must be a sequence of torch_geometric\.data\.Data, got"):
        AtomStore.from_pyg(dataset)


def test_labels_under_usual_keys_are_found():
    store = AtomStore.from_pyg(waters(REF_energy=torch.tensor(-1.0), REF_forces=torch.ones(3, 3)))
    assert store.energy.tolist() == [-1.0] * 4 and store.has_forces
    assert store.meta["labels"] == {"energy": "REF_energy", "forces": "REF_forces"}
    assert not store.property_names and not store.atom_properties()
    both = waters(REF_energy=torch.tensor(-1.0), dft_energy=torch.tensor(-2.0))
    with pytest.raises(ValueError, match=r"several names \(REF_energy, dft_energy\): call one"):
        AtomStore.from_pyg(both)


def test_a_sparse_field_is_read_as_any_other():
    data = waters(bonds=torch.eye(3).to_sparse())
    assert AtomStore.from_pyg(data).atom_properties()["bonds"].shape == (12, 3)


def test_one_data_and_a_batch_are_read():
    assert len(AtomStore.from_pyg(waters(1)[0])) == 1
    data = waters(energy=lambda k: torch.tensor(-1.0 * k))
    assert AtomStore.from_pyg(Batch.from_data_list(data)).energy.tolist() == [0, -1, -2, -3]


def test_tensors_with_gradients_and_of_any_type_are_read():
    data = waters(
        energy=lambda k: torch.tensor([-1.0], requires_grad=True),
        forces=torch.ones(3, 3, dtype=torch.bfloat16),
        y=np.array([[1.0, 2.0]]),
    )
    for each in data:
        each.pos.requires_grad_()
    store = AtomStore.from_pyg(data, names=["a", "b"])
    assert store.energy.tolist() == [-1.0] * 4
    assert store.property("b").tolist() == [2.0] * 4


def test_further_fields_are_kept_or_named(caplog):
    data = waters(
        fixed=torch.tensor([True, False, False]),
        masses=torch.tensor([15.999, 2.014, 2.014], dtype=torch.float64),
        dipole=torch.tensor([[0.0, 0.0, 0.4]]),
        gap=torch.tensor([7.0]),
        smiles="O",
        stress=torch.zeros(1, 3, 3),
        x=torch.zeros(3, 11),
        edge_index=torch.zeros(2, 4, dtype=torch.long),
    )
    store = AtomStore.from_pyg(data)
    assert store.atom_properties()["fixed"].tolist() == [True, False, False] * 4
    np.testing.assert_allclose(store.to_ase(1).get_masses(), [15.999, 2.014, 2.014])
    np.testing.assert_allclose(store.property("dipole"), [[0.0, 0.0, 0.4]] * 4, atol=1e-7)
    assert store.property("gap").tolist() == [7.0] * 4
    (line,) = [record.getMessage() for record in caplog.records]
    for name in ("smiles (text)", "stress (", "x (a field of every batch)"):
        assert name in line
    assert "edge_index" not in line
    del data[0].fixed, data[0].gap
    store = AtomStore.from_pyg(data)
    assert store.atom_properties()["fixed"][:3].tolist() == [0, 0, 0]
    assert store.meta["partial"] == {"gap": 3}


def test_batches_of_a_store_come_back():
    frames = [molecule("H2O"), molecule("CH4")]
    for k, atoms in enumerate(frames):
        atoms.info.update(energy=-1.0 * k, gap=7.0 + k, dipole=np.array([0.0, 0.0, k]))
        atoms.set_array("charge", np.arange(len(atoms)) + 0.5)
    store = AtomStore.from_ase(frames)
    again = AtomStore.from_pyg(store.take([0, 1]))
    assert again.property_names == ("gap",) and again.vector_names == ("dipole",)
    for name in ("gap", "dipole"):
        np.testing.assert_array_equal(again.property(name), store.property(name))
    np.testing.assert_array_equal(
        again.atom_properties()["charge"], store.atom_properties()["charge"]
    )
