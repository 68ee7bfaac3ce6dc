"""The baselines compute what our models compute, growth is fitted well, and the README shows what was measured."""

import json
from importlib.util import find_spec
from pathlib import Path

import growth
import numpy as np
import pytest
import schnet
import torch
import two_pass
from obvious_et import ObviousTransformer

import scdlab
from scdlab.atoms import neighbor_list

ROOT = Path(__file__).parents[2]
SMALL = dict(hidden=16, layers=3, heads=4, n_basis=12, cutoff=4.0)


@pytest.fixture(scope="module")
def batch():
    return scdlab.load_qm9(limit=3000).take(list(range(0, 3000, 500)))


def both(dtype):
    torch.manual_seed(0)
    ours = scdlab.EquivariantTransformer(**SMALL).to(dtype)
    return ours, ObviousTransformer(ours)


def close(own, other, tolerance):
    """Agree to the tolerance, relative to the largest number there is."""
    assert own.shape == other.shape
    assert (own - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_the_obvious_transformer_is_ours(batch, dtype, tolerance):
    ours, obvious = both(dtype)
    own, other = ours(batch, forces=True), obvious(batch, forces=True)
    for what in ("energy", "forces", "noise", "embedding", "atoms"):
        close(getattr(own, what), getattr(other, what), tolerance)


def draws_for(batch):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch.pos.shape, generator=generator) for _ in two_pass.SIGMAS]


def test_two_passes_have_one_loss_and_one_gradient_however_they_are_written(batch):
    """Ours on one shared list of pairs, the obvious transformer with a search in each pass: all parameters, float64."""
    ours, obvious = both(torch.float64)
    own = two_pass.loss_of(ours, batch, draws_for(batch), share=True)
    other = two_pass.loss_of(obvious, batch, draws_for(batch), share=False)
    own.backward(), other.backward()
    close(own, other, 1e-9)
    compared = 0
    theirs = dict(obvious.named_parameters())
    for name, parameter in ours.named_parameters():
        if name.startswith("energy_head"):
            assert not (parameter.grad is not None and parameter.grad.any()), "nobody asked for energies"
            continue
        close(parameter.grad, theirs[name].grad, 1e-9)
        compared += 1
    assert compared == len(theirs) - 1 - len(list(obvious.energy_head.parameters()))  # our first layer has no U


def test_the_embedding_carries_gradient_to_the_first_pass(batch):
    ours, _ = both(torch.float64)
    draws = draws_for(batch)
    with_it = torch.autograd.grad(two_pass.loss_of(ours, batch, draws, True), ours.embedding.weight)[0]
    shifts = two_pass.SIGMAS[1] * draws[1]
    error = ours(two_pass.moved(batch, shifts)).noise - draws[1]
    without = torch.autograd.grad(error.square().sum(-1).mean(), ours.embedding.weight)[0]
    assert (with_it - without).abs().max() > 1e-9 * without.abs().max()


def test_a_weight_in_the_wrong_place_is_noticed(batch):
    ours, obvious = both(torch.float64)
    with torch.no_grad():
        obvious.blocks[1].dv.weight.copy_(obvious.blocks[1].dv.weight.roll(SMALL["hidden"], 0))
    with pytest.raises(AssertionError):
        close(ours(batch).noise, obvious(batch).noise, 1e-5)


def test_the_shared_pairs_are_all_that_count_in_either_pass(batch):
    shifts = [sigma * draw for sigma, draw in zip(two_pass.SIGMAS, draws_for(batch), strict=True)]
    pairs = two_pass.shared_pairs(batch, shifts, 3.0)
    shared = set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
    clean = neighbor_list(batch, 3.0)
    assert shared > set(zip(clean.i.tolist(), clean.j.tolist(), strict=True)), "no pair was near enough to matter"
    for by in shifts:
        near = neighbor_list(two_pass.moved(batch, by), 3.0)
        assert shared >= set(zip(near.i.tolist(), near.j.tolist(), strict=True))


def test_both_sides_of_the_two_pass_benchmark_take_the_same_step():
    loss, gradient = two_pass.check(24)  # enough pairs for filters read from tables, some of them beyond the cutoff
    assert loss < 1e-5 and gradient < 1e-4


def test_sides_that_differ_are_not_timed(monkeypatch):
    monkeypatch.setattr(two_pass, "shared_pairs", lambda batch, shifts, cutoff: neighbor_list(batch, 0.9 * cutoff))
    with pytest.raises(SystemExit, match="nothing was timed"):
        two_pass.check(2)


# ------------------------------------------------------------------------------------------------------------ growth


def test_an_exponent_is_found_in_the_larger_half():
    sizes = np.array([10, 20, 40, 80, 160, 320])
    times = np.where(sizes < 80, 7.0, 3e-3 * sizes**1.7)  # a floor below, a power above
    p, c = growth.exponent(sizes, times)
    assert p == pytest.approx(1.7) and c == pytest.approx(3e-3)
    with pytest.raises(ValueError, match="three or more"):
        growth.exponent(sizes[:2], times[:2])


def test_structures_grow_at_one_density():
    small, large = growth.crystal(4), growth.crystal(6)
    assert (small.num_nodes, large.num_nodes) == (64, 216)
    pairs = [len(neighbor_list(batch, 5.0)) / batch.num_nodes for batch in (small, large)]
    assert pairs[0] == pytest.approx(pairs[1], rel=0.03)
    volume = torch.linalg.det(large.cell.double().reshape(3, 3)).item()
    assert large.num_nodes / volume == pytest.approx(0.1, rel=0.01)


def test_a_sweep_is_measured_in_its_own_terms(tmp_path):
    rows = [growth.measure("SchNet", "pairs", (2.5, 3.0, 3.5), rounds=1)]
    expected = [len(neighbor_list(growth.crystal(8), cutoff)) for cutoff in (2.5, 3.0, 3.5)]
    assert rows[0]["sizes"] == expected and all(ms > 0 for ms in rows[0]["ms"])
    assert growth.case("SchNet", "batch", 4)[0] == 4
    assert growth.case("EquivariantTransformer", "atoms", 4)[0] == 64
    growth.picture(rows, "pairs", tmp_path / "growth_pairs.png")
    assert (tmp_path / "growth_pairs.png").stat().st_size > 5000


# ----------------------------------------------------------------------------------------- the peers and the reports


@pytest.mark.skipif(find_spec("schnetpack") is None, reason="the peer is not installed: see benchmarks/schnet.py")
def test_the_second_peer_of_schnet_takes_the_same_step():
    losses = {side: float(step()) for side, step in schnet.sides(4, True).items()}
    assert set(losses) == {"ours", "PyG", "schnetpack"}
    assert max(losses.values()) - min(losses.values()) < 1e-5 * losses["PyG"]


def test_without_the_second_peer_schnet_goes_on_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr(schnet, "find_spec", lambda name: None)
    called = []
    monkeypatch.setattr(schnet, "compare_steps", lambda *arguments, **options: called.append(arguments))
    schnet.main()
    assert capsys.readouterr().out.startswith("not installed: schnetpack")
    assert called and set(schnet.sides(2, False)) == {"ours", "PyG"}


@pytest.mark.parametrize("benchmark", [two_pass, growth])
def test_the_readme_shows_the_report_when_there_is_one(benchmark):
    name, readme = benchmark.HERE.stem, (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count(f"<!-- bench: {name} -->\n") == 1
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        assert benchmark.shown(report) in readme
        if benchmark is two_pass:
            assert all(row["loss_difference"] < 1e-5 for row in report["results"])
        else:
            assert [(r["sweep"], r["model"]) for r in report["results"]] == [
                (sweep, model) for sweep in growth.SWEEPS for model in growth.MODELS
            ]
