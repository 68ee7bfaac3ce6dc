"""The same model on a GPU: the same numbers, and training that works. Skipped where torch sees no
GPU."""

import numpy as np
import pytest
import torch

import scdlab
from scdlab.objectives import EnergyForces

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def model():
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=32, num_layers=3)


def test_energies_and_forces_agree_with_the_cpu():
    net = model().double().eval()
    batch = scdlab.load_ethanol().take(range(16))
    here = net(batch, forces=True)
    there = net.cuda()(batch.to("cuda"), forces=True)
    torch.testing.assert_close(there.energy.cpu(), here.energy, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(there.forces.cpu(), here.forces, rtol=1e-8, atol=1e-10)


def test_training_works_and_resumes(tmp_path):
    train, val, _ = scdlab.load_ethanol().split(40, 10)
    settings = dict(batch_size=8, steps=40, lr=1e-2, device="cuda", progress=False)
    net = model()
    EnergyForces().prepare(net, train)
    start = scdlab.evaluate(net, val)["force_mae"]
    result = scdlab.fit(net, EnergyForces(), train, val, out=tmp_path, **settings)
    assert np.isfinite(result.best) and scdlab.evaluate(net, val)["force_mae"] < start
    again = scdlab.fit(model(), EnergyForces(), train, val, out=tmp_path, resume=True, **settings)
    assert again.steps == 40 and again.best == result.best
    atoms = val.to_ase(0)
    atoms.calc = scdlab.Calculator(scdlab.load(tmp_path / "model"), device="cuda")
    assert np.isfinite(atoms.get_forces()).all()


def test_batches_gathered_on_the_gpu_equal_those_of_the_store():
    store = scdlab.load_ethanol()
    index = np.random.default_rng(0).integers(0, len(store), 64)
    here = store.take(index)
    there = store.to("cuda").take(index)
    assert sorted(here.keys()) == sorted(there.keys())
    for name in here.keys():  # noqa: SIM118 (a batch iterates over its fields)
        assert there[name].device.type == "cuda" and torch.equal(there[name].cpu(), here[name]), (
            name
        )
    assert torch.equal(there.get_example(3).pos.cpu(), here.get_example(3).pos)
