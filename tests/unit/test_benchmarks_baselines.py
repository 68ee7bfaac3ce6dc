"""The baselines compute what our models compute, growth is fitted well, and the page of benchmarks
shows what was measured."""

import json
from importlib.util import find_spec
from pathlib import Path

import growth
import numpy as np
import pytest
import schnet
import torch
import two_pass
from obvious_et import ObviousTransformer, two_passes

import scdlab
from scdlab.atoms import neighbor_list
from scdlab.objectives import SelfConditionedDenoising, scd

ROOT = Path(__file__).parents[2]
SMALL = dict(hidden_channels=16, num_layers=3, num_heads=4, num_rbf=12, cutoff=4.0)


@pytest.fixture(scope="module")
def batch():
    return scdlab.load_qm9(limit=3000).take(list(range(0, 3000, 500)))


def both(dtype, conditional=False):
    torch.manual_seed(0)
    ours = scdlab.EquivariantTransformer(**SMALL, conditional=conditional).to(dtype)
    if conditional:
        with torch.no_grad():  # or it would not matter what it is told
            for layer in ours.adaln:
                layer.lin2.weight.normal_(std=0.2)
                layer.lin2.bias.normal_(std=0.2)
    return ours, ObviousTransformer(ours)


def close(own, other, tolerance):
    """Agree to the tolerance, relative to the largest number there is."""
    assert own.shape == other.shape
    assert (own - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize("told", [None, "nothing", "something"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_the_obvious_transformer_is_ours(batch, told, dtype, tolerance):
    ours, obvious = both(dtype, conditional=told is not None)
    c = (
        torch.randn(batch.num_graphs, SMALL["hidden_channels"], dtype=dtype)
        if told == "something"
        else None
    )
    own, other = (model(batch, condition=c, forces=True) for model in (ours, obvious))
    for what in ("energy", "forces", "noise", "embedding", "atoms"):
        close(getattr(own, what), getattr(other, what), tolerance)
    if told == "something":
        assert (ours(batch).noise - own.noise).abs().max() > 1e-3 * own.noise.abs().max()


def losses_of(ours, obvious, batch, **options):
    """Of both sides, from the same random numbers."""
    return (
        SelfConditionedDenoising(**options)(ours, batch, torch.Generator().manual_seed(0))[0],
        two_passes(obvious, batch, torch.Generator().manual_seed(0), **options),
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"p_drop_condition": 0.5}, {"sigma": 0.1, "reg_sigma": 0.02, "p_drop_condition": 0.0}],
)
def test_two_passes_have_one_loss_and_one_gradient_however_they_are_written(batch, options):
    """Ours on one shared list of pairs, the obvious transformer with a search in each pass: all
    parameters, float64."""
    ours, obvious = both(torch.float64, conditional=True)
    own, other = losses_of(ours, obvious, batch, **options)
    own.backward(), other.backward()
    close(own, other, 1e-9)
    untrained = []
    theirs = dict(obvious.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.grad is None:  # elements keep their embeddings, and nobody asked for energies
            assert theirs[name].grad is None and (
                "embedding.weight" in name or "energy_head" in name
            )
            untrained.append(name)
        else:
            close(parameter.grad, theirs[name].grad, 1e-9)
    assert len(untrained) == 2 + len(list(ours.energy_head.parameters()))
    assert ours.embedding_head.mlp[-1].weight.grad.any()  # through the condition


def test_a_weight_in_the_wrong_place_is_noticed(batch):
    ours, obvious = both(torch.float64, conditional=True)
    with torch.no_grad():
        obvious.blocks[1].dv.weight.copy_(
            obvious.blocks[1].dv.weight.roll(SMALL["hidden_channels"], 0)
        )
    with pytest.raises(AssertionError):
        close(ours(batch).noise, obvious(batch).noise, 1e-5)


@pytest.mark.slow
def test_both_sides_of_the_two_pass_benchmark_take_the_same_step():
    loss, gradient = two_pass.check(
        24
    )  # enough pairs for filters read from tables, some of them beyond the cutoff
    assert loss < 1e-5 and gradient < 1e-4


def test_sides_that_differ_are_not_timed(monkeypatch):
    monkeypatch.setattr(
        scd, "shared_pairs", lambda first, second, cutoff: neighbor_list(first, 0.9 * cutoff)
    )
    with pytest.raises(SystemExit, match="nothing was timed"):
        two_pass.check(2)


@pytest.mark.slow
def test_every_step_of_the_two_pass_benchmark_trains_what_it_says():
    steps = two_pass.sides(2)
    assert set(steps) == {"ours", two_pass.PEER, *two_pass.SINGLES, two_pass.ET}
    before = {
        side: {k: p.detach().clone() for k, p in step.model.named_parameters()}
        for side, step in steps.items()
    }
    losses = {side: float(step()) for side, step in steps.items()}
    moved = {
        side: {
            k.split(".")[0]
            for k, p in step.model.named_parameters()
            if (p != before[side][k]).any() and p.grad is not None and p.grad.any()
        }
        for side, step in steps.items()
    }
    assert losses["ours"] == pytest.approx(losses[two_pass.PEER], rel=1e-5)
    assert moved["ours"] == moved[two_pass.PEER] and moved["ours"] >= {
        "adaln",
        "embedding_head",
        "noise_head",
    }
    assert "embedding" not in moved["ours"] and "energy_head" not in moved["ours"]
    for name in ("energies", "energies and forces"):
        assert "energy_head" in moved[name] and "noise_head" not in moved[name]
    assert (
        "noise_head" in moved["noise"]
        and "adaln" in moved["noise"]
        and "adaln" not in moved[two_pass.ET]
    )
    assert losses["energies"] != losses["energies and forces"]


def test_the_report_of_two_passes_says_what_they_cost(tmp_path):
    def row(ms):  # of ours, 300 ms, against another step of so many ms
        return {
            "ours_ms": 300.0,
            "theirs_ms": ms,
            "ratio": ms / 300,
            "ratio_min": ms / 310,
            "ratio_max": ms / 290,
            "ours_MB": 500.0,
            "theirs_MB": None,
            "others": 0.9,
            "busy": True,
        }

    times = {
        two_pass.PEER: 900.0,
        "energies": 150.0,
        "noise": 200.0,
        "energies and forces": 600.0,
        two_pass.ET: 160.0,
    }
    result = two_pass.result({name: row(ms) for name, ms in times.items()})
    assert result["ratio"] == 3 and result["adaln"] == 1.25
    assert {name: single["costs"] for name, single in result["single"].items()} == pytest.approx(
        {"energies": 2, "noise": 1.5, "energies and forces": 0.5, two_pass.ET: 1.875}
    )
    result |= {"batch": 128, "terms": "equal", "floor_ms": 100.0}
    machine = {"cores": 2, "processor": "a toy", "torch": "2", "date": "today"}
    report = {"command": "this", "machine": machine, "results": [result]}
    text = two_pass.table(report)
    assert (
        "| 128 molecules, equal terms | 300 ms | 900 ms | **3.0×** | 100 ms | 500 MB | not "
        "measured |" in text
    )
    assert "| **2.00** of 150 ms | **1.50** of 200 ms | **0.50** of 600 ms | +25% |" in text
    assert "The machine was busy" in text
    two_pass.picture([result], tmp_path / "two_pass.png")
    assert (tmp_path / "two_pass.png").stat().st_size > 5000


# --------------------------------------------------------------------------------------------------
# growth


def test_an_exponent_is_found_in_the_larger_half():
    sizes = np.array([10, 20, 40, 80, 160, 320])
    times = np.where(sizes < 80, 7.0, 3e-3 * sizes**1.7)  # a floor below, a power above
    p, c = growth.exponent(sizes, times)
    assert p == pytest.approx(1.7) and c == pytest.approx(3e-3)
    with pytest.raises(ValueError, match="three or more"):
        growth.exponent(sizes[:2], times[:2])


def test_structures_grow_at_one_density():
    small = growth.crystal(4)
    large = growth.crystal(6)
    assert (small.num_nodes, large.num_nodes) == (64, 216)
    pairs = [len(neighbor_list(batch, 5.0)) / batch.num_nodes for batch in (small, large)]
    assert pairs[0] == pytest.approx(pairs[1], rel=0.03)
    volume = torch.linalg.det(large.cell.double().reshape(3, 3)).item()
    assert large.num_nodes / volume == pytest.approx(0.1, rel=0.01)


def test_a_sweep_is_measured_in_its_own_terms(tmp_path):
    rows = [growth.measure("SchNet", "pairs", (2.5, 3.0, 3.5), rounds=1)]
    expected = [len(neighbor_list(growth.crystal(8), cutoff)) for cutoff in (2.5, 3.0, 3.5)]
    assert rows[0]["sizes"] == expected and all(ms > 0 for ms in rows[0]["ms"])
    assert all(kB > 0 for kB in rows[0]["kB_per_atom"] if kB is not None)
    assert growth.case("SchNet", "batch", 4)[0] == 4
    assert growth.case("EquivariantTransformer", "atoms", 4)[:2] == (64, 64)
    growth.picture(rows, "pairs", tmp_path / "growth_pairs.png")
    assert (tmp_path / "growth_pairs.png").stat().st_size > 5000


# ----------------------------------------------------------------------------------------- the
# peers and the reports


@pytest.mark.skipif(
    find_spec("schnetpack") is None, reason="the peer is not installed: see benchmarks/schnet.py"
)
def test_the_second_peer_of_schnet_takes_the_same_step():
    losses = {side: float(step()) for side, step in schnet.sides(4, True).items()}
    assert set(losses) == {"ours", "PyG", "schnetpack"}
    assert max(losses.values()) - min(losses.values()) < 1e-5 * losses["PyG"]


def test_without_the_second_peer_schnet_goes_on_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr(schnet, "find_spec", lambda name: None)
    called = []
    monkeypatch.setattr(
        schnet, "compare_steps", lambda *arguments, **options: called.append(arguments)
    )
    schnet.main()
    assert capsys.readouterr().out.startswith("not installed: schnetpack")
    assert called and set(schnet.sides(2, False)) == {"ours", "PyG"}


@pytest.mark.parametrize("benchmark", [two_pass, growth])
def test_the_page_shows_the_report_when_there_is_one(benchmark):
    name = benchmark.HERE.stem
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert page.count(f"<!-- bench: {name} -->\n") == 1
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        assert benchmark.shown(report) in page
        if benchmark is two_pass:
            assert [(r["batch"], r["terms"]) for r in report["results"]] == [
                (n, terms) for n in two_pass.BATCHES for terms in two_pass.TERM_NAMES
            ]
            assert all(row["loss_difference"] < 1e-5 for row in report["results"])
            assert all(row["gradient_difference"] < 1e-4 for row in report["results"])
        else:
            assert [(r["sweep"], r["model"]) for r in report["results"]] == [
                (sweep, model) for sweep in growth.SWEEPS for model in growth.MODELS
            ]
