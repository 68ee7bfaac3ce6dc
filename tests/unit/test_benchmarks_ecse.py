"""The benchmark of ECSE: evaluations predict FLOPs, errors are errors, growth is linear, and its
report is shown."""

import json
from pathlib import Path

import ecse  # of benchmarks/
import harness
import pytest
import torch

ROOT = Path(__file__).parents[2]
SMALL = dict(hidden_channels=16, num_layers=1, num_attention_layers=1, num_heads=2)


@pytest.fixture(scope="module")
def frame():
    return ecse.ethanol(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["64 × 1", "64 × 2"])
def test_flops_are_those_of_the_evaluations(name, frame):
    models = ecse.sides(ecse.network(ecse.NETWORKS[name]))
    flops = {
        side: harness.matrix_products(ecse.call(model, frame, False))
        for side, model in models.items()
    }
    costs = {side: ecse.evaluations(model, frame) for side, model in models.items()}
    for side, cost in costs.items():
        assert (
            0.95 * cost["work"] < flops[side] / flops[ecse.RAW] < 1.05 * cost["work"]
        )  # 1.2 is allowed
    assert costs[ecse.RAW] == {"frames": 1, "work": 1}
    assert costs["quadrature"] == costs["random rotations"] == {"frames": 84, "work": 84}
    assert costs["ECSE, pooled"]["work"] == costs["ECSE, pooled"]["frames"]
    own = costs[ecse.OURS]
    layers = costs[ecse.LAYERS]
    assert layers["work"] == layers["frames"] == own["frames"]
    if name.endswith("1"):
        assert own["work"] == pytest.approx(own["frames"])  # an atom alone
    else:
        assert own["work"] > 2 * own["frames"]  # and its neighbors
    assert costs[ecse.PRUNED]["frames"] < own["frames"] and 5 * costs[ecse.PRUNED]["frames"] < 84


def test_work_of_a_batch_is_the_mean_over_its_structures():
    model = ecse.sides(ecse.network(SMALL), [ecse.OURS])[ecse.OURS]
    batch = ecse.ethanol(2)
    alone = [ecse.evaluations(model, b)["work"] for b in (_one(batch, 0), _one(batch, 1))]
    assert ecse.evaluations(model, batch)["work"] == pytest.approx(sum(alone) / 2)


def _one(batch, k):
    from torch_geometric.data import Batch

    return Batch.from_data_list([batch.get_example(k)])


def test_rotation_errors_are_those_of_rotations(frame):
    models = ecse.sides(ecse.network(SMALL).double(), [ecse.RAW, ecse.OURS, "quadrature"])
    raw, exact, mean = (ecse.rotation_error(model, frame) for model in models.values())
    assert exact < 1e-8 < 10 * mean < raw


def test_exponents_are_those_of_powers():
    assert ecse.exponent([10, 20, 40], [7, 28, 112]) == pytest.approx(2)


def test_sides_take_turns():
    order = []
    times = ecse.take_turns(
        {side: lambda side=side: order.append(side) for side in "ab"}, rounds=2, repeats=2
    )
    assert "".join(order) == "aabbaabb" and [len(t) for t in times.values()] == [2, 2]


@pytest.mark.slow
def test_from_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ecse, "NETWORKS", {"16 × 1": SMALL})
    monkeypatch.setattr(ecse, "CASES", ((1, ecse.SIDES[:5]), (2, ecse.SIDES[:2])))
    monkeypatch.setattr(ecse, "ORIENTATIONS", 2)
    monkeypatch.setattr(ecse, "COPPER", SMALL | {"cutoff": 3.5})
    monkeypatch.setattr(ecse, "BOXES", [(1, 1, 1), (1, 1, 2), (1, 2, 2)])
    monkeypatch.setattr(ecse, "tune", lambda: None)  # for the life of a process
    monkeypatch.setattr(
        ecse, "machine", lambda: {"cores": 2, "processor": "a toy", "torch": "2", "date": "today"}
    )
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(ecse, "warn_if_busy", lambda: {"others": 0.0, "busy": False})
    monkeypatch.setattr(
        "sys.argv", ["ecse.py", "--rounds", "1", "--steps", "0", "--out", str(tmp_path / "out")]
    )
    ecse.main()
    report = json.loads((tmp_path / "out" / "ecse.json").read_text(encoding="utf-8"))
    rows = report["results"]
    assert [(r["structures"], r["forces"], r["side"]) for r in rows] == [
        (n, forces, side) for n, names in ecse.CASES for forces in (False, True) for side in names
    ]
    for r in rows:
        assert (
            r["ratio_min"] <= r["ratio"] <= r["ratio_max"]
            and r["flops_ratio"] <= r["flops_allowed"]
        )
        assert (r["flops_ratio"] == 1) == (r["side"] == ecse.RAW)
    calls = report["calls"]
    assert len(calls) == 8 and min(r["ms"] for r in calls) > 0
    growth = report["growth"]
    text = ecse.shown(report)
    assert growth["atoms"] == [4, 8, 16] and len(growth["ms"]) == len(growth["MB"]) == 3
    assert 0.8 < growth["flops_exponent"] < 1.2
    assert (
        text.count("| PET, 1 snapshot | 16 × 1 | 1.0 | 1.0 | 1 |") == 1
        and "| ECSE, 2 snapshots | 16 × 1 |" in text
    )
    assert (
        f"FLOPs ∝ atoms^{growth['flops_exponent']:.2f}" in text
        and "One thread, processor time. Medians on 2 cores of a toy" in text
    )
    assert ecse.growth_table(report) in capsys.readouterr().out


def test_the_page_shows_the_report_when_there_is_one():
    path = ROOT / "benchmarks" / "results" / "ecse.json"
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        assert ecse.shown(report) in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
        assert len(report["results"]) == 96 and all(
            r["flops_ratio"] <= r["flops_allowed"] for r in report["results"]
        )
        assert 0.9 < report["growth"]["flops_exponent"] < 1.1
