"""The driver of `make trust`: pieces, what is kept of them, and the pages that quote the report."""

import json
import os
import shutil
from pathlib import Path

import pytest
from trust import report, run

ROOT = Path(__file__).resolve().parents[2]
TOY = """
import os
from pathlib import Path

def run(cases, seed, folder, minutes=None):
    with open(Path(folder).parent / "calls", "a") as file:
        file.write(f"{seed} {cases}\\n")
    if seed == int(os.environ.get("TOY_CRASH", -1)):
        os._exit(9)
    bad = [{"case": seed, "what": "wrong"}] if seed == int(os.environ.get("TOY_BAD", -1)) else []
    return dict(campaign="toy", cases=cases, seconds=1.0, counts={"sentence": cases}, failures=bad,
                settings={"seed": seed})
"""
ORIGIN = {
    "command": "python tests/trust/run.py",
    "commit": "a" * 40,
    "dirty": False,
    "versions": {"torch": "2"},
    "hardware": {"cores": 2, "cpu": "a toy"},
    "date": "2026-01-01T00:00:00Z",
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A campaign of ten cases in pieces of four."""
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setitem(run.SIZES, "toy", (10, 4))
    return tmp_path / "out"


@pytest.mark.slow
def test_a_campaign_goes_on_from_the_pieces_that_are_done(toy, monkeypatch):
    monkeypatch.setenv("TOY_CRASH", "6")
    first = run.campaign("toy", None, 5, toy, None, "code")
    assert first["cases"] == 6 and first["counts"] == {"sentence": 6}
    ((case, what),) = [(each["case"], each["what"]) for each in first["failures"]]
    assert case == "seed 6" and "ended with exit code 9" in what
    assert (toy / "toy" / "calls").read_text().split("\n")[:3] == ["5 4", "6 4", "7 2"]

    again = run.campaign("toy", None, 5, toy, None, "code")
    assert again == first
    assert len((toy / "toy" / "calls").read_text().splitlines()) == 3  # nothing ran again

    monkeypatch.delenv("TOY_CRASH")
    changed = run.campaign("toy", None, 5, toy, None, "other code")
    assert changed["cases"] == 10 and not changed["failures"]
    assert not list((toy / "toy").glob("piece-000*"))  # nothing is left of what went well


@pytest.mark.slow
def test_an_interrupted_campaign_keeps_its_pieces(toy, monkeypatch):
    whole = run.run_piece

    def interrupted(name, cases, seed, *rest):
        if seed == 7:
            raise KeyboardInterrupt
        return whole(name, cases, seed, *rest)

    monkeypatch.setattr(run, "run_piece", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.campaign("toy", None, 5, toy, None, "code")
    monkeypatch.setattr(run, "run_piece", whole)
    assert run.campaign("toy", None, 5, toy, None, "code")["cases"] == 10
    assert (toy / "toy" / "calls").read_text().splitlines() == ["5 4", "6 4", "7 2"]


def test_a_campaign_that_is_named_must_be_there():
    with pytest.raises(SystemExit, match="no campaign 'mutations'"):
        run.available(["mutations"])


def test_the_report_keeps_campaigns_that_did_not_run_now(tmp_path):
    path = tmp_path / "trust.json"
    result = {"cases": 3, "seconds": 1.0, "counts": {}, "failures": [], "settings": {}}
    run.write(path, {"scale": result}, ORIGIN)
    run.write(path, {"mutation": result | {"cases": 4}}, ORIGIN | {"commit": "b" * 40})
    found = json.loads(path.read_text(encoding="utf-8"))["campaigns"]
    assert [(name, each["cases"]) for name, each in found.items()] == [
        ("mutation", 4),
        ("scale", 3),
    ]
    assert found["scale"]["origin"]["commit"] == "a" * 40


def test_the_pages_are_written_from_the_report_and_again(tmp_path):
    result = {"seconds": 1.0, "failures": [], "settings": {}, "origin": ORIGIN}
    written = {
        "campaigns": {
            "mutation": result
            | {"cases": 100_000, "counts": {"sentence": 90_000, "taken": 10_000}},
            "faults": result | {"cases": 312, "counts": {}},
            "scale": result | {"cases": 10_000_000, "counts": {}},
        }
    }
    (tmp_path / "benchmarks").mkdir()
    for name in ("README.md", "benchmarks/README.md"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    for _ in range(2):  # a second time replaces the first
        report.put_into_pages(written, tmp_path)
        readme = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert readme.count("`make trust` |") == 1
        assert report.readme_line(written) in readme.splitlines()
        page = (tmp_path / "benchmarks" / "README.md").read_text(encoding="utf-8")
        assert page.count(report.table(written)) == 1 and page.count(report.START) == 1
    assert "**100,000** damaged inputs, **312** kills and faults" in readme
    assert "10 million structures in one store: 0 failures" in readme
    assert len(readme.splitlines()) <= 90


@pytest.mark.skipif(not run.RESULTS.is_file(), reason="the campaign has not been run yet")
def test_the_pages_quote_the_report_and_nothing_failed():
    found = json.loads(run.RESULTS.read_text(encoding="utf-8"))
    assert report.failures(found["campaigns"]) == 0
    assert report.readme_line(found) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert report.table(found) in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for result in found["campaigns"].values():
        assert result["origin"]["commit"] and result["origin"]["dirty"] is False
