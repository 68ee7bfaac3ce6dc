"""The benchmark of starts: both sides are the same function, and its report is shown."""

import json
import statistics
from pathlib import Path

import pytest
import schnet
import starts  # of benchmarks/
import torch
from et import same_weights as same_as_torchmd

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ethanol():
    return starts.tasks()["ethanol"]


def test_the_page_shows_the_report():
    path = ROOT / "benchmarks" / "results" / "starts.json"
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    report = json.loads(path.read_text(encoding="utf-8"))
    assert starts.shown(report) in page
    compared = {(row["network"], row["peer"]) for row in report["results"]}
    assert {("SchNet", "PyG"), ("EquivariantTransformer", starts.TORCHMD)} <= compared
    for row in report["results"]:
        assert len(row["ours"]) == len(row["theirs"]) == len(starts.SEEDS)
        means = statistics.mean(row["ours"]), statistics.mean(row["theirs"])
        assert row["ratio"] == pytest.approx(means[0] / means[1])
        assert row["ratio"] < starts.WITHIN  # ours is within 5 % of the peer, or better


@pytest.mark.parametrize(
    ("network", "side", "copied"),
    [
        ("SchNet", "PyG", schnet.same_weights),
        (
            "EquivariantTransformer",
            starts.TORCHMD,
            lambda ours, theirs: same_as_torchmd(ours, theirs.state_dict()),
        ),
    ],
)
def test_with_the_same_weights_both_sides_predict_the_same(network, side, copied, ethanol):
    if side not in starts.sides(network):
        pytest.skip(f"{side} is not installed")
    torch.manual_seed(0)
    ours, theirs = starts.model_of(network, "ours"), starts.model_of(network, side)
    copied(ours, theirs)
    batch, pairs, energy, forces = ethanol.batch([0, 700, 1500])
    assert energy.shape == (3,) and forces.shape == batch.pos.shape
    found = starts.predicted(ours.eval(), "ours", batch, pairs, True)
    expected = starts.predicted(theirs.eval(), side, batch, pairs, True)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x.detach(), y.detach(), rtol=1e-3, atol=1e-4)


def test_both_sides_take_the_same_structures(monkeypatch, ethanol):
    taken = {}
    real = starts.Task.batch

    def noted(task, index):
        taken.setdefault(side, []).append([int(k) for k in index])
        return real(task, index)

    monkeypatch.setattr(starts.Task, "batch", noted)
    ethanol.steps, ethanol.n_test = 2, 100
    for side in ("ours", "PyG"):
        errors = starts.trained("SchNet", side, ethanol, seed=1, lr=1e-3)
        assert errors["force_meV_A"] > 0
    assert taken["ours"] == taken["PyG"]
    learned, tested = taken["ours"][:2], taken["ours"][2:]
    assert not {k for b in learned for k in b} & {k for b in tested for k in b}
