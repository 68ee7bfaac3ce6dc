"""Training on a GPU waits for it only where the log is written: here on a processor that is taken
for one, with every call counted that would wait; and what it does instead gives the same."""

import pytest
import torch
from syncs import Syncs

import scdlab
from scdlab import devices
from scdlab.atoms import neighbor_list
from scdlab.atoms.neighbors import all_pairs
from scdlab.objectives import CoordinateDenoising, EnergyForces, SelfConditionedDenoising
from scdlab.training import loop

STEPS = 3
CASES = {
    "SchNet, energies and forces": (scdlab.SchNet, {}, EnergyForces),
    "transformer, noise": (scdlab.EquivariantTransformer, {"num_heads": 2}, CoordinateDenoising),
    "transformer, two passes": (
        scdlab.EquivariantTransformer,
        {"num_heads": 2, "conditional": True},
        SelfConditionedDenoising,
    ),
}


@pytest.fixture(scope="module")
def train():
    return scdlab.load_qm9(limit=200).sample(24, seed=0)


@pytest.fixture
def as_a_gpu(monkeypatch):
    """The processor taken for a GPU, and its steps looked at one later, as there."""
    monkeypatch.setattr(devices, "reads_freely", lambda device: False)
    monkeypatch.setattr(loop, "skips_by_itself", lambda optimizer, device: True)


def trained(case, train, cells=None):
    """Weights after some steps, and what waited in each of them."""
    network, arguments, objective = CASES[case]
    torch.manual_seed(0)
    model = network(hidden_channels=16, num_layers=2, **arguments)
    model.filter_table_size = cells
    goal = objective(**({"forces": False} if objective is EnergyForces else {}))
    counted = []
    advance = loop.Run.advance

    def watched(self):
        with Syncs() as syncs:
            parts = advance(self)
        counted.append(syncs.places)
        return parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "advance", watched)
        settings = dict(steps=STEPS, batch_size=8, lr=1e-4, device="cpu", progress=False)
        scdlab.fit(model, goal, train, log_every=STEPS, **settings)
    assert len(counted) == STEPS
    return model, counted


def waits(counted):
    """Places that wait, but for the look at the step before, which a GPU has done by then."""
    return [{k: v for k, v in places.items() if "guard.py:settle" not in k} for places in counted]


@pytest.mark.slow
@pytest.mark.parametrize("case", list(CASES))
def test_a_step_of_training_waits_for_nothing(case, train, as_a_gpu):
    _, counted = trained(case, train, cells=32)
    assert waits(counted) == [{}] * STEPS
    assert all(sum(places.values()) <= 1 for places in counted)


def test_the_same_step_on_a_processor_reads_what_it_likes(train):
    _, counted = trained("transformer, two passes", train)
    assert all(any("neighbors.py" in place for place in places) for places in waits(counted))


@pytest.mark.slow
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("cells", [None, 128])
def test_training_without_waiting_learns_the_same(case, train, cells, monkeypatch):
    waiting, _ = trained(case, train, cells)
    monkeypatch.setattr(devices, "reads_freely", lambda device: False)
    free, _ = trained(case, train, cells)
    for (name, x), y in zip(waiting.named_parameters(), free.parameters(), strict=True):
        torch.testing.assert_close(y, x, rtol=1e-3, atol=2e-5, msg=name)


def test_all_pairs_are_those_of_a_search_without_end(train):
    batch = train.take(range(6))
    found = all_pairs(batch, 5.0)
    far = neighbor_list(batch, 1e3)
    assert torch.equal(found.i, far.i) and torch.equal(found.j, far.j) and found.shift is None


@pytest.mark.parametrize("kind", ["single atoms", "large", "cell", "another ptr", "foreign"])
def test_all_pairs_of_other_batches(kind, train):
    from ase import Atoms
    from ase.build import bulk, molecule
    from torch_geometric.data import Batch, Data

    frames = {"cell": [bulk("Cu")], "large": [molecule("C60")], "single atoms": [Atoms("H")] * 2}
    store = scdlab.AtomStore.from_ase(frames[kind]) if kind in frames else train
    batch = store.take(range(min(len(store), 2)))
    if kind == "another ptr":
        batch.ptr = batch.ptr.clone()
    elif kind == "foreign":
        batch = Batch.from_data_list([Data(z=batch.z, pos=batch.pos)])
    found = all_pairs(batch, 5.0)
    if kind == "single atoms":
        assert len(found) == 0
    else:
        assert found is None


def test_only_training_goes_without_a_search(train, as_a_gpu):
    model = scdlab.SchNet(hidden_channels=16, num_layers=1)
    batch = train.take(range(3))
    assert model.train().unread_pairs(batch) is not None
    assert model.eval().unread_pairs(batch) is None
    assert scdlab.DimeNet(hidden_channels=16, num_layers=1).train().unread_pairs(batch) is None


def test_what_waits_is_counted():
    x = torch.arange(4.0)
    with Syncs() as syncs:
        x.sum().item()
        bool(x[0] > 1)
        x[x > 1]
        x.nonzero()
        x.tolist()
        x.numpy()
        x.cpu()
        torch.tensor([1.0])
    assert len(syncs.places) >= 7 and sum(syncs.places.values()) >= 8
    index = torch.tensor([0, 1])
    with Syncs() as syncs:
        x.where(x > 1, x)[index].sum()
    assert not syncs.places
