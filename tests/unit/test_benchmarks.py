"""The page of benchmarks shows the report that stands in the repository, and nothing else."""

import json
import subprocess
import sys
import time
from pathlib import Path

import et
import harness
import pytest
import schnet
import torch
import view
from ase.build import bulk

import data
import scdlab
from scdlab.atoms import neighbor_list

ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_report():
    report = json.loads(
        (ROOT / "benchmarks" / "results" / "schnet.json").read_text(encoding="utf-8")
    )
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    peers = {row["peer"] for row in report["results"]}
    assert "PyG" in peers and all(harness.table(report, peer) in page for peer in peers)
    assert len(report["results"]) == 8 * len(peers)
    for row in report["results"]:
        assert row["loss_difference"] < 1e-5  # both sides computed the same thing
        assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"]


def test_both_sides_take_the_same_step():
    assert schnet.check(4, True) < 1e-5


def test_the_transformers_report_when_there_is_one():
    path = ROOT / "benchmarks" / "results" / "et.json"
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert page.count("<!-- bench: et -->\n") == 1
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        assert et.shown(report) in page
        assert len(report["results"]) == 8 and all(
            row["loss_difference"] < 1e-5 for row in report["results"]
        )


@pytest.mark.slow
def test_both_transformers_take_the_same_step():
    pytest.importorskip(
        "torchmdnet", reason='the peer is not installed: pip install "scdlab[bench]"'
    )
    assert et.check(4, True) < 1e-5


TOY = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import torch
import harness

harness.CASES = [(4, True)]
harness.machine = lambda: {{"cores": 2, "processor": "a toy", "torch": "2", "date": "today"}}

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(3, 5), torch.nn.Linear(5, 5)])

    def forward(self, pos):
        for block in self.blocks:
            pos = block(pos).square()
        return pos.sum(1).view(4, -1).sum(1)

def sides(n, forces):
    def step(waste):
        model, pos = Model(), torch.linspace(0, 1, 36).view(12, 3)

        def predict():
            torch.ones(waste)
            x = pos.clone().requires_grad_()
            energy = model(x)
            return energy, -torch.autograd.grad(energy.sum(), x, create_graph=True)[0]

        return harness.training_step(model, predict, n, 12, forces)

    return {{"ours": step(1), "PyG": step(1), "wasteful": step(25_000_000)}}

if __name__ == "__main__":
    harness.compare_steps(Path(__file__), sides, "PyG", "A toy", versions={{"toy": "1"}})
"""


@pytest.mark.slow
def test_a_comparison_with_two_peers_from_end_to_end(tmp_path):
    script = tmp_path / "toy.py"
    script.write_text(TOY.format(folder=str(ROOT / "benchmarks")), encoding="utf-8")
    command = [
        sys.executable,
        str(script),
        "--rounds",
        "3",
        "--repeats",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    printed = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    report = json.loads((tmp_path / "out" / "toy.json").read_text(encoding="utf-8"))
    assert (tmp_path / "out" / "toy.png").stat().st_size > 1000
    rows = report["results"]
    assert [(r["peer"], r["terms"]) for r in rows] == [
        (p, t) for t in harness.TERMS for p in ("PyG", "wasteful")
    ]
    assert rows[0]["ours_ms"] == rows[1]["ours_ms"]  # timed once, against both
    assert all(r["loss_difference"] == 0 for r in rows)
    if sys.platform == "linux":
        assert all(
            r["theirs_MB"] > 95 for r in rows if r["peer"] == "wasteful"
        )  # 25 million floats are 100 MB
        assert all(r["ours_MB"] < 50 for r in rows)
    machine = report["machine"]
    assert machine["toy"] == "1" and machine["matmul_GFLOPs"] > 0 and machine["copy_GBs"] > 0
    # 12 atoms × 5 features × 2 blocks, written and read in 4 passes; 3·5 + 5 + 5·5 + 5 parameters
    assert rows[0]["bytes"] == 4 * (9 * 50 + 2 * 4 * 120) and rows[0]["flops"] > 4 * 2 * 12 * (
        15 + 25
    )
    expected = (
        max(rows[0]["flops"] / machine["matmul_GFLOPs"], rows[0]["bytes"] / machine["copy_GBs"])
        / 1e6
    )
    assert rows[0]["floor_ms"] == pytest.approx(expected)
    busy = any(r["busy"] for r in (report["before"], *rows))
    assert report["busy"] == busy == (" The machine was busy" in harness.table(report))
    assert ("BUSY" in printed or "Other processes use" in printed) == busy
    assert "wasteful" not in harness.table(report) and "| wasteful |" in harness.table(
        report, "wasteful"
    )


def test_every_matrix_product_is_counted():
    x = torch.randn(5, 3)
    w = torch.randn(3, 7)
    out = torch.randn(5, 7)
    ways = [lambda: x @ w, lambda: torch.addmm(out, x, w), lambda: out.addmm_(x, w)]
    assert [harness.matrix_products(way) for way in ways] == [2 * 5 * 3 * 7] * 3


def test_a_busy_machine_is_told(monkeypatch, capsys):
    import psutil

    cores = psutil.cpu_count()
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    used = iter([0.0, 0.5])  # seconds of all processors
    monkeypatch.setattr(harness, "_busy_seconds", lambda: next(used))
    monkeypatch.setattr(harness, "_own_seconds", lambda: 0.0)
    load = harness.warn_if_busy(0.2)
    assert load["busy"] and load["others"] > 0.15
    assert f"Other processes use {load['others']} cores" in capsys.readouterr().out
    report = {"results": [{"busy": False, "others": 0.0}], "before": load}
    assert (
        harness.load_of(report)
        == f" The machine was busy: other processes used up to {load['others']} cores."
    )
    assert harness.load_of({"results": report["results"]}) == ""


def test_others_are_not_our_own_children():
    watch = harness.Others()
    spin = (
        "import time\n"
        "end = time.process_time() + 0.5\n"
        "while time.process_time() < end: pass\n"
        "print(1, flush=True)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", f"{spin}\ninput()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    running = harness._own_seconds() - watch.own
    child.communicate(b"\n")
    ended = harness._own_seconds() - watch.own
    assert running >= 0.4 and ended >= 0.4


@pytest.mark.parametrize("side", ["ours", "PyG"])
def test_gradients_asked_for_the_parameters_only_are_the_same(side, monkeypatch):
    step = schnet.sides(4, True)[side]
    backward = torch.Tensor.backward
    found = []

    def both(loss, inputs):
        for arguments in ({"inputs": inputs}, {}):
            step.model.zero_grad()
            backward(loss, retain_graph=True, **arguments)
            found.append([p.grad.clone() for p in step.model.parameters() if p.grad is not None])

    monkeypatch.setattr(torch.Tensor, "backward", both)
    step()
    asked, plain = found
    assert len(asked) == len(plain) > 10
    for a, b in zip(asked, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_batches_and_neighbor_lists_are_those_of_the_peers():
    tasks = data.tasks(n_molecules=6, repeat=2, cells=2)  # raises where they differ
    assert [set(sides) for sides in tasks.values()] == [
        {"ours", "PyG", "PyG, fewer fields"}
    ] + 4 * [{"ours", "vesin", "ase"}]
    rows = data.race({"ours": lambda: time.sleep(0.001), "slower": lambda: time.sleep(0.01)}, 3, 1)
    assert len(rows) == 1 and rows[0]["ratio"] == pytest.approx(
        rows[0]["theirs_ms"] / rows[0]["ours_ms"], rel=0.5
    )


def test_neighbor_lists_that_differ_are_not_timed(monkeypatch):
    def one_less(batch, cutoff):
        pairs = neighbor_list(batch, cutoff)
        return type(pairs)(pairs.i[1:], pairs.j[1:], pairs.shift[1:], cutoff)

    monkeypatch.setattr(scdlab, "neighbor_list", one_less, raising=False)
    with pytest.raises(
        SystemExit, match="vesin and scdlab do not find the same pairs; nothing was timed"
    ):
        data.same_neighbors([bulk("Cu", cubic=True)])


def test_the_report_of_batches_and_neighbor_lists_when_there_is_one():
    path = ROOT / "benchmarks" / "results" / "data.json"
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert page.count("<!-- bench: data -->\n") == 1
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        assert data.table(report) in page
        assert len(report["results"]) == 10 and all(
            r["ratio_min"] <= r["ratio"] for r in report["results"]
        )


def test_sides_that_differ_are_not_timed():
    with pytest.raises(SystemExit, match="scdlab and other do not compute the same loss"):
        harness.loss_differences({"ours": lambda: 1.0, "other": lambda: 1.1})
    with pytest.raises(SystemExit, match="nothing timed"):
        harness.loss_differences({"ours": lambda: float("nan"), "other": lambda: 1.0})
    energies = torch.ones(3)
    forces = torch.randn(5, 3)
    sides = {"ours": lambda: (energies, forces), "other": lambda: (energies, 1.001 * forces)}
    with pytest.raises(SystemExit, match="scdlab and other do not predict the same forces"):
        harness.same_predictions(sides)
    harness.same_predictions(sides | {"other": lambda: (energies, forces * (1 + 1e-6))})


def test_a_missing_peer_is_named_and_the_other_benchmarks_go_on(monkeypatch, capsys):
    monkeypatch.setattr(et, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["et.py"])
    et.main()  # returns: `scdlab bench` takes an exit status of zero and continues
    assert "torchmd-net, which is not installed" in capsys.readouterr().out


def test_the_page_shows_how_fast_the_view_follows_a_slider():
    report = json.loads((ROOT / "benchmarks" / "results" / "view.json").read_text(encoding="utf-8"))
    assert view.table(report) in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert [row["atoms"] for row in report["results"]] == list(view.CASES)
    for row in report["results"]:
        assert row["python_ms"] < row["trait_ms"] < row["slider_ms"] <= row["slider_ms_90"]
