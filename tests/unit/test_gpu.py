"""The same model on a GPU: the same numbers, and training that works; the Triton kernels there, to
the second derivative. Skipped where torch sees no GPU."""

import numpy as np
import pytest
import test_kernels
import torch

import scdlab
from scdlab.nn.ops import neighbor_sums
from scdlab.nn.ops.gpu import available
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


def on_the_card(name, place, graph, d, heads, dtype=torch.float32):
    n, pairs = test_kernels.GRAPHS[graph]
    tensors = test_kernels.draw(name, place, n, len(pairs), d, heads)
    return test_kernels.derivatives(name, place, (n, pairs), tensors, heads, dtype, "cuda")


@pytest.fixture
def kernels():
    """The Triton kernels, or the reason why they do not run here."""
    reason = available.trouble(torch.device("cuda"))
    if reason is not None:
        pytest.fail(f"the kernels do not run on this GPU: {reason}")


@pytest.mark.parametrize(("d", "heads"), [(6, 2), (128, 8), (150, 1), (256, 8)])
@pytest.mark.parametrize(("name", "place"), test_kernels.CASES)
def test_kernels_give_values_and_two_derivatives(name, place, d, heads, kernels):
    for graph in test_kernels.GRAPHS:
        found = on_the_card(name, place, graph, d, heads)
        with neighbor_sums.reference_kernels():
            expected = on_the_card(name, place, graph, d, heads, torch.float64)
        for k, (x, y) in enumerate(zip(found, expected, strict=True)):
            assert x.dtype == torch.float32 and x.shape == y.shape
            if y.numel():
                largest = max(y.abs().max().item(), 1.0)
                assert (x.double() - y).abs().max().item() <= 1e-5 * largest, (graph, k)


@pytest.mark.parametrize(("name", "place"), test_kernels.CASES)
def test_repeats_change_no_bit(name, place, kernels):
    answers = [on_the_card(name, place, "many", 128, 8) for _ in range(3)]
    for other in answers[1:]:
        assert all(torch.equal(x, y) for x, y in zip(answers[0], other, strict=True))


@pytest.mark.parametrize("fused", [True, False])
def test_sums_write_nothing_of_the_size_of_the_edges(fused, kernels, monkeypatch):
    monkeypatch.setattr(neighbor_sums, "_use_fused", fused)
    n, p, d = 1000, 50_000, 128
    i, j = torch.randint(n, (2, p), device="cuda")
    x = torch.randn(n, d, device="cuda", requires_grad=True)
    table = torch.randn(test_kernels.CELLS + 3, d, device="cuda", requires_grad=True)
    r = test_kernels.CUTOFF * torch.rand(p, device="cuda")
    r.requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    place = test_kernels.evaluate("cfconv", "cut", i, j, n, 1, [x, table, r])
    torch.autograd.grad(place.square().sum(), [x, table, r])
    risen = torch.cuda.max_memory_allocated() - before
    assert (risen < 4 * p * d) == fused  # bytes of float32 for the pairs, half of the edges
