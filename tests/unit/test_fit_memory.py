"""What training reads of a whole set is read piece by piece."""

import numpy as np
import pytest
import torch

import scdlab
from scdlab.objectives import (
    CoordinateDenoising,
    DeNS,
    EnergyForces,
    PropertyRegression,
    SelfConditionedDenoising,
    label_statistics,
)


@pytest.fixture(scope="module")
def mixture():
    """Molecules of different sizes, with made-up labels."""
    rng = np.random.default_rng(0)
    size = rng.integers(2, 12, 300)
    n = int(size.sum())
    ptr = np.concatenate([[0], np.cumsum(size)])
    place = np.arange(n) - np.repeat(ptr[:-1], size)
    return scdlab.AtomStore.from_arrays(
        rng.choice([1, 6, 8], n),
        rng.normal(size=(n, 3)) * 3,
        ptr,
        energy=rng.normal(size=300) * 10,
        forces=rng.normal(size=(n, 3)),
        properties={"number": rng.normal(size=300)},
        atom_properties={"fixed": place == 0},
    )


def prepared(objective, store, **settings):
    torch.manual_seed(0)
    small = dict(hidden_channels=8, num_layers=1, num_heads=2, num_rbf=8)
    model = scdlab.EquivariantTransformer(**(small | settings))
    objective.prepare(model, store)
    return {name: value.clone() for name, value in model.named_buffers()}


@pytest.mark.parametrize(
    "objective, settings",
    [
        (EnergyForces(), {}),
        (EnergyForces(forces=False), {}),
        (DeNS(), dict(force_input=True)),
        (CoordinateDenoising(supervised=EnergyForces(), weight=0.1), {}),
    ],
)
def test_pieces_give_what_the_whole_gives(mixture, monkeypatch, objective, settings):
    whole = prepared(objective, mixture, **settings)
    monkeypatch.setattr(label_statistics, "STRUCTURES", 7)
    monkeypatch.setattr(label_statistics, "_DIRECT", 64)  # triangles, again and again
    pieces = prepared(objective, mixture, **settings)
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, rtol=1e-6, atol=1e-9)


def test_a_rank_deficient_set_has_the_same_references_in_pieces(monkeypatch):
    ethanol = scdlab.load_ethanol()[:40]
    whole = prepared(EnergyForces(), ethanol)["energy_head.reference"]
    monkeypatch.setattr(label_statistics, "STRUCTURES", 7)
    monkeypatch.setattr(label_statistics, "_DIRECT", 64)
    pieces = prepared(EnergyForces(), ethanol)["energy_head.reference"]
    torch.testing.assert_close(pieces, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "objective, settings",
    [
        (EnergyForces(), {}),
        (DeNS(), dict(force_input=True)),
        (PropertyRegression("number"), {}),
        (CoordinateDenoising(), {}),
        (SelfConditionedDenoising(), dict(conditional=True)),
    ],
)
def test_no_batch_of_a_whole_set_is_ever_made(mixture, monkeypatch, objective, settings):
    taken = []
    take = scdlab.AtomStore.take
    monkeypatch.setattr(label_statistics, "ATOMS", 64)

    def noted(self, index):
        batch = take(self, index)
        taken.append(batch.num_nodes)
        return batch

    monkeypatch.setattr(scdlab.AtomStore, "take", noted)
    prepared(objective, mixture, **settings)
    assert max(taken, default=0) <= 64


def test_labels_that_are_missing_are_counted_over_all_pieces(mixture, monkeypatch):
    monkeypatch.setattr(label_statistics, "STRUCTURES", 7)
    arrays = mixture.arrays()
    energy = arrays["energy"].copy()
    energy[[30, 200]] = np.nan
    bad = scdlab.AtomStore.from_arrays(
        arrays["z"],
        arrays["pos"],
        arrays["ptr"],
        energy=energy,
        forces=arrays["forces"],
        validate=False,
    )
    with pytest.raises(ValueError, match=r"2 of 300 .* energies .*\(the first is number 30\)"):
        prepared(EnergyForces(), bad)


def test_elements_of_a_view_are_its_own(mixture):
    view = mixture[::3]
    assert view.elements == sorted({*view.take(range(len(view))).z.tolist()})
    assert mixture.elements == [1, 6, 8]
