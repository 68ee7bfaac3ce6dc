"""A network of torch-geometric as a backbone, by the adapter of the guide."""

import re
from pathlib import Path

import pytest
import torch
from ase.build import molecule

import scdlab
from scdlab.objectives import EnergyForces

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "backbone.md"


@pytest.fixture(scope="module")
def adapted():
    text = GUIDE.read_text(encoding="utf-8").split("## A network of torch-geometric")[1]
    names = {"__name__": "guide"}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    return names["Adapted"]


def test_it_trains_saves_loads_and_goes_into_ecse(adapted, tmp_path):
    torch.manual_seed(0)
    net = adapted(16, 2, cutoff=4.0)
    train = scdlab.load_ethanol()[::50]
    run = scdlab.fit(net, EnergyForces(), train, steps=8, batch_size=8, lr=3e-3, progress=False)
    assert run.history["loss"][-1] < run.history["loss"][0]
    scdlab.save(net, tmp_path / "net")
    again = scdlab.load(tmp_path / "net")
    exact = scdlab.ECSE(again).eval()
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=0)
    batch = scdlab.AtomStore.from_ase([atoms]).take([0])
    out = net.eval()(batch, forces=True)
    assert torch.equal(again(batch, forces=True).forces, out.forces)
    torch.testing.assert_close(exact(batch, forces=True).forces, out.forces, rtol=1e-3, atol=1e-4)


def test_its_features_are_those_of_torch_geometric(adapted):
    torch.manual_seed(0)
    net = adapted(16, 2, cutoff=4.0)
    batch = scdlab.AtomStore.from_ase([molecule("CH3CH2OH"), molecule("H2O")]).take([0, 1])
    r = torch.cdist(batch.pos, batch.pos)
    near = (r < 4.0) & (batch.batch[:, None] == batch.batch) & ~torch.eye(len(r), dtype=torch.bool)
    index = near.nonzero().T
    del net.net.interaction_graph
    net.net.interaction_graph = lambda pos, batch: (index, r[near])
    energy = net.net.lin2(net.net.act(net.net.lin1(net(batch).atoms))).squeeze(-1)
    total = torch.zeros(2).index_add(0, batch.batch, energy)
    torch.testing.assert_close(net.net(batch.z, batch.pos, batch.batch).squeeze(-1), total)
