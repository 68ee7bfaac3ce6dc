"""The README shows the benchmark that stands in the repository, and nothing else."""

import json
from pathlib import Path

import et
import harness
import pytest
import schnet
import view

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_the_report():
    report = json.loads((ROOT / "benchmarks" / "results" / "schnet.json").read_text(encoding="utf-8"))
    assert harness.table(report) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(report["results"]) == 8
    for row in report["results"]:
        assert row["loss_difference"] < 1e-5  # both sides computed the same thing
        assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"]


def test_both_sides_take_the_same_step():
    assert schnet.check(4, True) < 1e-5


def test_the_transformers_report_when_there_is_one():
    path, readme = ROOT / "benchmarks" / "results" / "et.json", (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("<!-- bench: et -->\n") == 1
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        assert et.shown(report) in readme
        assert len(report["results"]) == 8 and all(row["loss_difference"] < 1e-5 for row in report["results"])


def test_both_transformers_take_the_same_step():
    pytest.importorskip("torchmdnet", reason='the peer is not installed: pip install "scdlab[bench]"')
    assert et.check(4, True) < 1e-5


def test_a_missing_peer_is_told_and_the_other_benchmarks_go_on(monkeypatch, capsys):
    monkeypatch.setattr(et, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["et.py"])
    et.main()  # returns: `scdlab bench` takes an exit status of zero and continues
    assert "torchmd-net, which is not installed" in capsys.readouterr().out


def test_the_readme_shows_how_fast_the_view_follows_a_slider():
    report = json.loads((ROOT / "benchmarks" / "results" / "view.json").read_text(encoding="utf-8"))
    assert view.table(report) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert [row["atoms"] for row in report["results"]] == list(view.CASES)
    for row in report["results"]:
        assert row["python_ms"] < row["trait_ms"] < row["slider_ms"] <= row["slider_ms_90"]
