"""The benchmark of the other networks: e3nn's computes the same, and its report is shown."""

import json
from pathlib import Path

import harness  # of benchmarks/
import networks
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_network_of_e3nn_is_ours(monkeypatch):
    monkeypatch.setattr(networks, "N", 2)
    small = dict(hidden_channels=4, num_layers=3, lmax=2)
    monkeypatch.setitem(networks.SIZES, "TensorProductNet", small)
    steps = networks.sides("TensorProductNet")
    assert [*steps] == ["ours", "e3nn"]
    assert harness.loss_differences(steps)["e3nn"] < 1e-5
    assert networks.gradient_difference(steps["e3nn"].same) < 1e-4


@pytest.mark.slow
def test_the_dimenet_of_pyg_is_ours(monkeypatch):
    monkeypatch.setattr(networks, "N", 2)
    small = dict(hidden_channels=16, num_layers=2, num_spherical=3, num_rbf=3)
    monkeypatch.setitem(networks.SIZES, "DimeNet", small)
    steps = networks.sides("DimeNet")
    assert [*steps] == ["ours", "PyG"]
    assert harness.loss_differences(steps)["PyG"] < 1e-5
    same = steps["PyG"].same
    assert len(same) > 50
    assert networks.gradient_difference(same) < 1e-4


def test_the_page_shows_the_report_when_there_is_one():
    path = ROOT / "benchmarks" / "results" / "networks.json"
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
        assert networks.table(report) in page
        for row in report["results"]:
            known = row["loss_difference"]
            assert (known is None) == (row["network"] == "PET")
            assert known is None or known <= 1e-5
