"""The benchmark of fused kernels and tables: its sides compute the same, its errors are errors, its
report is shown."""

import json
import subprocess
import sys
from pathlib import Path

import harness
import kernels  # of benchmarks/
import pytest
import torch

import scdlab
from scdlab.nn.ops import neighbor_sums

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(kernels.MODELS))
def test_all_sides_take_the_same_step_each_in_its_own_way(name, monkeypatch):
    differences = kernels.check(name, 32, True)
    assert set(differences) == {"plain", "tables"} and max(differences.values()) < 1e-5
    used = {}
    original = scdlab.nn.model.Filters

    def watched(*arguments):
        filters = original(*arguments)
        used[side] = filters.cells, neighbor_sums._use_fused
        return filters

    monkeypatch.setattr(scdlab.nn.model, "Filters", watched)
    for side, step in kernels.sides(name, 32, False).items():  # noqa: B007 (watched reads it)
        step()
    assert used == {
        "fused": (None, True),
        "plain": (None, False),
        "tables": (kernels.network(name).filter_table_size, True),
    }
    assert set(used) == set(kernels.SIDES)


def test_sides_that_differ_are_not_timed(monkeypatch):
    def wrong(*_):
        return {"fused": lambda: 1.0, "plain": lambda: 1.0, "tables": lambda: 1.1}

    monkeypatch.setattr(kernels, "sides", wrong)
    with pytest.raises(SystemExit, match="tables do not compute the same loss"):
        kernels.timed("SchNet", 4, True, 1, 1)


def test_errors_are_those_of_tables():
    model = kernels.network("SchNet", 32, 2)
    batch = kernels.molecules(32)
    cells = model.filter_table_size
    model.energy_head.reference[:] = torch.linspace(
        -2000, 0, len(model.energy_head.reference), dtype=torch.float64
    )
    rows = kernels.errors(model, batch, (32, 64, 128))
    assert [row["cells"] for row in rows] == [None, 32, 64, 128]
    assert rows[0]["forces"] < 1e-5 and rows[0]["energies"] < 1e-5  # float32
    forces = [row["forces"] for row in rows[1:]]
    assert (
        forces[0] > 4 * forces[1] > 16 * forces[2] > 1e-6
    )  # a spline's error falls with the cells
    assert model.filter_table_size == cells and next(model.parameters()).dtype == torch.float32
    with pytest.raises(SystemExit, match="too small"):
        kernels.errors(model, kernels.molecules(2))


def test_a_short_training_is_one_that_learns():
    model, batch = kernels.trained(kernels.network("SchNet", 16, 2), steps=20)
    fresh = kernels.network("SchNet", 16, 2)
    assert len(batch.natoms) == 128 and bool(model.energy_head.reference.any())
    assert not torch.equal(next(model.parameters()), next(fresh.parameters()))


@pytest.mark.slow
def test_compiling_takes_time_only_with_an_empty_cache(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "kernels.py"), "--compile", "SchNet"]
    warm = float(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    )
    assert kernels.compile_seconds("SchNet") > warm


def report():
    case = dict.fromkeys(("loss_difference", "others"), 0.0) | {
        "busy": False,
        "plain_ms": 600.4,
        "fused_ms": 300.2,
    }
    case |= {
        "tables_ms": 100.1,
        "kernels": 2.0,
        "tables": 3.0,
        "model": "SchNet",
        "batch": 32,
        "forces": True,
    }
    found = [{"cells": c, "energies": 1e-7, "forces": 2e-5} for c in (None, 1024)]
    return {
        "command": "python benchmarks/kernels.py",
        "before": {},
        "compile_s": {"SchNet": 7.2},
        "results": [case],
        "cells": 1024,
        "machine": {"cores": 2, "processor": "a toy", "torch": "2", "date": "today"},
        "errors": [{"model": "SchNet", "parameters": "trained, ethanol", "errors": found}],
    }


def test_a_report_becomes_tables_and_a_picture(tmp_path):
    text = kernels.shown(report())
    assert (
        "| SchNet, 32 molecules, energies and forces | 600 ms | 300 ms | **2.0×** | 100 ms | "
        "**3.0×** |" in text
    )
    assert (
        "| SchNet, trained, ethanol | 1e-07; 2e-05 | 1e-07; 2e-05 |" in text
        and "| 1,024 cells |" in text
    )
    assert "once on a machine: 7 s for SchNet. Medians on 2 cores of a toy" in text
    kernels.picture(report()["results"], tmp_path / "kernels.png")
    assert (tmp_path / "kernels.png").stat().st_size > 1000


def test_gains_are_taken_within_a_round(monkeypatch):
    times = {"fused": [2.0, 4.0, 2.0], "plain": [6.0, 8.0, 6.0], "tables": [1.0, 1.0, 2.0]}

    class Fake:
        peak_MB = None

        def __init__(self, script, worker, side, *case):
            self.left = iter(times[side])

        def time(self, repeats):
            return next(self.left)

        def close(self):
            pass

    monkeypatch.setattr(harness, "Contestant", Fake)
    monkeypatch.setattr(kernels, "check", lambda *case: {"plain": 1e-7, "tables": 2e-7})
    row = kernels.timed("SchNet", 4, True, 3, 1)
    assert (row["kernels_min"], row["kernels"], row["kernels_max"]) == (2, 3, 3)
    assert (row["tables_min"], row["tables"], row["tables_max"]) == (1, 2, 4)
    assert (row["plain_ms"], row["fused_ms"], row["tables_ms"], row["loss_difference"]) == (
        6,
        2,
        1,
        2e-7,
    )


def test_the_page_shows_the_report_when_there_is_one():
    path = ROOT / "benchmarks" / "results" / "kernels.json"
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert page.count("<!-- bench: kernels -->\n") == 1
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        assert kernels.shown(found) in page
        assert len(found["results"]) == 8 and all(
            row["loss_difference"] < 1e-5 for row in found["results"]
        )
        assert len(found["errors"]) == 4
