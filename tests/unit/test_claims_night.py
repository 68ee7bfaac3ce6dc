"""A night: many claims in the hours that there are, stopped at any moment, ending alike."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import night_claims
import pytest

from scdlab import claims, cli
from scdlab.claims import night, plan, provenance
from scdlab.claims import record as records
from scdlab.claims.claim import REGISTRY
from scdlab.locks import Busy, locked

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture
def ledger(monkeypatch, tmp_path):
    """Tiny claims alone in the ledger, records in a temporary folder, a clean tree."""
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(provenance, "checkout", lambda: ("a" * 40, False))
    for name in list(REGISTRY):
        monkeypatch.delitem(REGISTRY, name)

    def add(*names, **others):
        for name in names:
            monkeypatch.setitem(REGISTRY, name, night_claims.ALL[name])
        for name, claim in others.items():
            monkeypatch.setitem(REGISTRY, name, claim)

    return add


def entries(tmp_path, ids=(), profile="night", **options):
    return plan.entries_of(ids, profile, "cpu", tmp_path / "out", **options)


# --- what is taken, and in which order


def test_claims_are_taken_by_their_worth_for_an_hour(ledger, tmp_path):
    ledger("night-low", "night-high", "night-unknown", "night-long")
    found = [entry.claim.id for entry in entries(tmp_path)]
    assert found == ["night-high", "night-low", "night-long", "night-unknown"]
    assert all(entry.left == [0, 1] for entry in entries(tmp_path))


def test_named_claims_alone_are_taken(ledger, tmp_path):
    ledger("night-low", "night-high")
    found = [e.claim.id for e in entries(tmp_path, ["night-low", "night-low"])]
    assert found == ["night-low"]


def test_claims_without_the_profile_are_left_out(ledger, tmp_path):
    other = night_claims.make("night-other", 1)
    day = {"quick": other.profiles["quick"], "cpu": other.profiles["night"]}
    ledger("night-low", **{"night-other": _with(other, profiles=day, hours={})})
    assert [e.claim.id for e in entries(tmp_path)] == ["night-low"]
    with pytest.raises(ValueError, match="no settings for the profile 'night'"):
        entries(tmp_path, ["night-other"])
    with pytest.raises(ValueError, match="No claim has settings for the profile 'full'"):
        entries(tmp_path, profile="full")


def _with(claim, **changes):
    return dataclasses.replace(claim, **changes)


@pytest.mark.parametrize(
    ("profile", "words"), [("quick", "is never recorded"), ("day", "none called day")]
)
def test_a_profile_that_is_not_recorded_is_refused(ledger, tmp_path, profile, words):
    ledger("night-low")
    with pytest.raises(ValueError, match=words):
        claims.run_night(profile=profile, out=tmp_path)


@pytest.mark.parametrize("hours", [0, -1, -0.5, float("nan"), float("inf"), True, "2", [1]])
def test_hours_that_are_none_are_refused(ledger, tmp_path, hours):
    ledger("night-low")
    with pytest.raises(ValueError, match="hours must be a positive number"):
        claims.run_night(hours=hours, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True, None, "2"])
def test_jobs_that_are_none_are_refused(ledger, tmp_path, jobs):
    ledger("night-low")
    with pytest.raises(ValueError, match="jobs must be a positive whole number"):
        claims.run_night(jobs=jobs, out=tmp_path / "out")


def test_an_unknown_claim_is_one_sentence(ledger, tmp_path):
    ledger("night-low")
    with pytest.raises(ValueError, match="the nearest is 'night-low'"):
        claims.run_night(["night-lo"], out=tmp_path / "out")


def test_a_tree_with_changes_is_refused_before_anything_is_measured(ledger, tmp_path, monkeypatch):
    ledger("night-low")
    monkeypatch.setattr(provenance, "checkout", lambda: ("a" * 40, True))
    with pytest.raises(RuntimeError, match="commit your changes"):
        claims.run_night(out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- the estimate


def test_the_estimate_names_what_fits(ledger, tmp_path):
    ledger("night-low", "night-high", "night-unknown", "night-long")
    table = plan.plan_table(entries(tmp_path), "night", 0.5, 2)
    outlook = {row[0]: row[1] for row in table.rows}
    assert outlook["night-high"] == "ends after 2 s" and outlook["night-low"] == "ends after 4 s"
    assert outlook["night-long"] == "does not fit"
    assert outlook["night-unknown"] == "fits, no estimate"
    assert "40.00 core hours and what has no estimate are left; 0.5 h, 2 side by side" in table.note
    hours = {row[0]: row[2] for row in table.rows}
    assert hours["night-long"] == "40.00" and hours["night-unknown"] == "?"


def test_the_forecast_is_that_of_seeds_side_by_side(ledger, tmp_path):
    ledger(**{"a": night_claims.make("a", 9, hours=3.0, n_seeds=3)})
    (entry,) = entries(tmp_path)
    assert entry.seconds == 3600
    assert plan.forecast([entry], None, 1) == [(3, 3 * 3600)]
    assert plan.forecast([entry], None, 2) == [(3, 2 * 3600)]
    assert plan.forecast([entry], 1.5, 2) == [(2, 3600)]
    assert plan.forecast([entry], 1.5, 10**12) == [(3, 3600)]
    assert plan.forecast([entry], 0.5, 2) == [(0, 0)]
    entry.problem = "no data"
    assert plan.forecast([entry], None, 2) == [(0, 0)]


def test_seeds_that_a_claim_names_are_taken(ledger, tmp_path):
    claim = night_claims.make("a", 9, hours=3.0)
    named = claim.profiles | {"night": claim.profiles["night"] | {"seeds": [1, 2, 3]}}
    ledger(**{"a": _with(claim, profiles=named)})
    (entry,) = entries(tmp_path)
    assert entry.left == [1, 2, 3] and entry.seconds == 3600


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (60, "0:01 h"), (3900, "1:05 h")])
def test_durations_are_short(seconds, text):
    assert plan.clock(seconds) == text


def test_measured_seeds_make_the_estimate(ledger, tmp_path):
    ledger("night-long")
    claims.run("night-long", "night", seeds=[1], device="cpu", out=tmp_path / "out", echo=len)
    (entry,) = entries(tmp_path)
    assert entry.left == [0] and entry.seconds < 600
    assert claims.load_record("night-long") is None


def test_a_whole_claim_without_a_record_is_recorded_at_once(ledger, tmp_path):
    ledger("night-low")
    claims.run("night-low", "night", device="cpu", out=tmp_path / "out", echo=len)
    records.record_path("night-low", "night").unlink()
    found = claims.run_night(out=tmp_path / "out", device="cpu", echo=len, draw=len_of)
    assert found.recorded == {"night-low": "same direction"} and not found.left
    assert claims.load_record("night-low").verdict == "same direction"
    assert entries(tmp_path) == [], "a claim with a valid record is not taken again"


def len_of(table):
    """Stands for a picture of the table."""
    return len(table.rows)


def test_a_record_that_no_longer_fits_is_named_and_skipped(ledger, tmp_path, monkeypatch):
    ledger("night-low")
    claims.run("night-low", "night", device="cpu", out=tmp_path / "out", echo=len)
    ledger(**{"night-low": _with(REGISTRY["night-low"], rule="Another rule.")})
    found = claims.run_night(out=tmp_path / "out", device="cpu", echo=len, draw=len_of)
    assert "scdlab claims withdraw night-low" in found.skipped["night-low"]


def test_a_damaged_kept_seed_is_named_and_skipped(ledger, tmp_path):
    ledger("night-low")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "night-low.night.seed0.json").write_text("{}")
    found = claims.run_night(out=tmp_path / "out", device="cpu", echo=len, draw=len_of)
    assert "remove it" in found.skipped["night-low"]


def test_a_seed_that_would_not_end_in_time_is_not_started(ledger, tmp_path):
    ledger("night-long")
    found = claims.run_night(hours=1, out=tmp_path / "out", device="cpu", echo=len, draw=len_of)
    assert found == night.Night(left={"night-long": [0, 1]})
    assert list((tmp_path / "out").iterdir()) == []


def test_a_second_night_in_a_folder_is_refused(ledger, tmp_path):
    ledger("night-long")
    with (
        locked(tmp_path / "out" / "night"),
        pytest.raises(OSError, match="is being written by process"),
    ):
        claims.run_night(hours=1, out=tmp_path / "out", device="cpu", echo=len, draw=len_of)


def test_a_seed_is_measured_by_the_package_that_started_it(tmp_path, monkeypatch):
    decoy = tmp_path / "scdlab"
    decoy.mkdir()
    (decoy / "__init__.py").write_text("raise RuntimeError('another copy')")
    monkeypatch.chdir(tmp_path)
    code = "import importlib.util; print(importlib.util.find_spec('scdlab').origin)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=night.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == ROOT / "scdlab" / "__init__.py"
    assert night.environment()["OMP_NUM_THREADS"] == "1"


# --- seeds in processes


def words_of(tmp_path, *words):
    """The words of the command line that measures a night."""
    night_words = ["--profile", "night", "--device", "cpu", "--out", str(tmp_path / "out")]
    return ["claims", "run", *words, *night_words]


def start(tmp_path, names, *words, delay=0.0, records_in="records"):
    """The command line on tiny claims, in a process of its own that can be killed."""
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        "NIGHT_CLAIMS": names,
        "NIGHT_DELAY": str(delay),
        "NIGHT_RECORDS": str(tmp_path / records_in),
        "COLUMNS": "200",
    }
    code = "import night_claims; night_claims.main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words_of(tmp_path, *words)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def here(ledger, tmp_path, monkeypatch, capsys):
    """here(names, *words) -> (exit code, output) of the command line in this process, whose seeds
    are measured by processes all the same."""

    def run(names, *words, delay=0.0, records_in="records"):
        ledger(*names.split())
        monkeypatch.setattr(records, "RECORDS", tmp_path / records_in)
        monkeypatch.setenv("NIGHT_CLAIMS", names)
        monkeypatch.setenv("NIGHT_DELAY", str(delay))
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.syspath_prepend(HERE)
        monkeypatch.setattr(sys, "argv", ["scdlab", *words_of(tmp_path, *words)])
        capsys.readouterr()
        try:
            cli.app()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, "".join(capsys.readouterr())

    return run


def values_in(folder):
    return {
        path.name: [json.loads(path.read_text())[part] for part in ("values", "verdict")]
        for path in sorted(folder.glob("*.json"))
    }


@pytest.mark.slow
def test_claims_without_data_are_named_and_the_others_measured(here, tmp_path):
    names = "night-nodata night-broken night-low"
    code, output = here(names, "--hours", "1", "--jobs", "2")
    assert code == 1, output
    assert "night-nodata was skipped: There are no frames of gold: set SCDLAB_MD17" in output
    assert "night-broken was skipped: KeyError: 'broken'" in output
    assert "night-low: same direction; recorded." in output
    assert "core hours" in output.split("started")[0], "the estimate comes first"
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["night-low.night.json"]
    kept = (tmp_path / "out").glob("night-low*.json")
    hardware = [json.loads(path.read_text())["hardware"]["threads"] for path in kept]
    assert hardware == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_night_that_is_stopped_goes_on_and_ends_alike(ledger, here, tmp_path, number):
    whole = tmp_path / "whole"
    ledger("night-low")
    claims.run("night-low", "night", device="cpu", out=whole, echo=len)
    expected = claims.load_record("night-low", "night")

    process = start(tmp_path, "night-low", "--hours", "1", delay=1.0, records_in="others")
    models = tmp_path / "out" / "models"
    wait_for(lambda: len(list(models.glob("*/checkpoint.safetensors"))) == 2)
    process.send_signal(number)
    output = process.communicate(timeout=100)[0]
    assert process.returncode != 0
    if number != signal.SIGKILL:
        assert "the same command goes on" in output
    wait_for(lambda: is_left_alone(tmp_path / "out"))  # no process outlives it
    (first, _) = models.glob("*/checkpoint.safetensors")
    assert not list(models.glob("*/kept.json")) and first.is_file()

    code, output = here("night-low", "--hours", "1", records_in="others")
    assert code == 0, output
    found = values_in(tmp_path / "others")
    assert found == {"night-low.night.json": [expected.values, expected.verdict]}


@pytest.mark.slow
def test_running_seeds_are_stopped_at_the_limit(here, tmp_path, monkeypatch):
    models = tmp_path / "out" / "models"

    def clock():
        """An hour later once both seeds are in the middle of their training."""
        begun = len(list(models.glob("*/checkpoint.safetensors")))
        return time.monotonic() + (3600 if begun == 2 else 0)

    clocks = SimpleNamespace(monotonic=clock, sleep=time.sleep)
    monkeypatch.setattr(night, "time", clocks)
    code, output = here("night-low", "--hours", "1", delay=1.0)
    assert code == 0, output
    assert "night-low: seeds 0, 1 are left; the same command goes on with them." in output
    assert not list((tmp_path / "records").glob("*")) and is_left_alone(tmp_path / "out")
    assert not list(models.glob("*/kept.json")), "neither had come to its end"


def is_left_alone(folder):
    """Whether no process measures a seed of night-low."""
    try:
        for seed in range(2):
            with locked(folder / f"night-low.night.seed{seed}"):
                continue
    except Busy:
        return False
    return True


def wait_for(condition, seconds=200):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
