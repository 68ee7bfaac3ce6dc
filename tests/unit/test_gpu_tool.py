"""`make gpu` without a card: it says so; its plan, what it resumes and what it writes; and its
parts at small sizes on the processor, as far as they mean something there."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gpu
import gpu_parts
import pytest
import torch

ABOUT = {"source": "a", "memory_GiB": 16.0, "versions": {"torch": "2.13.0", "triton": "3.7.1"}}
ABOUT |= {"hardware": {"gpu": "a card"}}


def part(name, code, seconds=1.0, gib=1):
    return gpu.Part(name, seconds, gib, ("-c", code))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.slow
def test_without_a_card_it_says_so_and_fails(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(gpu.ROOT / "tools" / "gpu.py"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and not out.exists()
    assert re.fullmatch(r"torch sees no GPU here, .*\.\n", done.stderr) and not done.stdout


@pytest.fixture
def card(monkeypatch):
    """A machine on which something can be measured."""
    found = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda k: "a card")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda k: found)
    return found


def test_what_keeps_it_from_measuring_is_named(card, monkeypatch):
    assert gpu.unfit() is None
    card.total_memory = 2 * 2**30
    assert "has 2.0 GiB of memory, and 4 are needed" in gpu.unfit()
    card.total_memory = 80 * 2**30
    monkeypatch.setattr(gpu, "wheels", lambda: ["numpy==1", "no-such-package==1.0"])
    assert "Not installed here: no-such-package;" in gpu.unfit()
    monkeypatch.setattr(torch, "__version__", "2.10.1")
    assert "torch 2.10.1 is older than 2.11" in gpu.unfit()
    for good in ("2.11.0+cu128", "3.0"):
        monkeypatch.setattr(torch, "__version__", good)
        assert "older" not in gpu.unfit()


def test_the_plan_is_of_parts_that_are_there():
    names = [each.name for each in gpu.plan()]
    assert len(set(names)) == len(names) and names[0] == "tests"
    assert set(names) - {"tests"} == set(gpu_parts.PARTS)


def test_results_are_kept_part_by_part_and_not_measured_again(tmp_path):
    out = tmp_path / "results" / "gpu.json"
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('x'); print('noise'); print('{{\"ms\": 2}}')"
    parts = [part("one", code), part("two", "print('{}')"), part("three", "raise OSError('full')")]
    lines = []
    left = gpu.measure(parts, out, 1.0, ABOUT, lines.append)
    assert list(left) == ["three"] and left["three"] == "failed: OSError: full"
    found = json.loads(out.read_text())
    one = found["parts"]["one"]
    assert found["format"] == gpu.FORMAT and list(found["parts"]) == ["one", "two"]
    assert one["result"] == {"ms": 2} and one["provenance"] == ABOUT
    assert {"commit", "dirty", "date", "command", "seconds"} <= set(one)
    gpu.measure(parts, out, 1.0, ABOUT, lines.append)
    assert count.read_text() == "x" and "one: measured before" in lines
    gpu.measure(parts[:1], out, 1.0, ABOUT | {"source": "b"}, lines.append)
    assert count.read_text() == "xx"


def test_what_does_not_fit_is_not_started(tmp_path):
    out = tmp_path / "gpu.json"
    now = [0.0]

    def clock():
        now[0] += 10.0
        return now[0]

    parts = [
        part("long", "print('{}')", seconds=70),
        part("large", "print('{}')", gib=40),
        part("small", "print('{}')", seconds=1),
        part("silent", "pass"),
    ]
    lines = []
    left = gpu.measure(parts, out, 1.0, ABOUT, lines.append, clock)
    assert "needs up to 70 s" in left["long"] and "needs a card of 40 GiB" in left["large"]
    assert "gave no result" in left["silent"] or "are left" in left["silent"]
    assert list(json.loads(out.read_text())["parts"]) == ["small"]


def test_a_part_that_takes_too_long_is_stopped():
    slow = part("slow", "import time; time.sleep(60)")
    assert gpu.run(slow, 2.0) == (None, "stopped after 2 s")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "another"}'])
def test_a_result_that_is_none_is_left_alone(tmp_path, text):
    out = tmp_path / "gpu.json"
    out.write_text(text)
    with pytest.raises(SystemExit, match="move it away"):
        gpu.measure([part("one", "print('{}')")], out, 1.0, ABOUT)
    assert out.read_text() == text


@pytest.mark.slow
def test_the_tests_on_a_gpu_are_counted():
    found = gpu.tests()
    assert not found["failed"]
    assert found["passed"] + found["skipped_tests"] > 100
    assert bool(found["passed"]) == torch.cuda.is_available()


def test_the_table_shows_every_side(tmp_path):
    ours = {"ms": 2.0, "MB": 100.0}
    peer = {"ms": 12.0, "MB": None, "ratio": 6.0, "ratio_min": 5.0, "ratio_max": 7.0}
    steps = {"sides": {"ours": ours, "PyG": peer}, "share_of_ceiling": 0.25}
    rate = {"ms": 8.0, "molecules_per_second": 16_000.0}
    entry = {"provenance": ABOUT, "date": "2000-01-01"}
    parts = {"schnet-128": entry | {"result": steps}, "pretraining": entry | {"result": rate}}
    out = tmp_path / "gpu.json"
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- bench: gpu -->\nold\n<!-- end -->\nafter\n")
    out.write_text(json.dumps({"format": gpu.FORMAT, "parts": parts}))
    gpu.show(out, page)
    text = page.read_text()
    line = "| schnet-128 | 2.0 ms | 100 MB | 25 % | PyG | 12.0 ms | not measured | **6.0×** |"
    assert line in text and "| pretraining | 8.0 ms | 16000 |" in text and "old" not in text
    assert text.count("a card, torch 2.13.0, triton 3.7.1, 2000-01-01") == 1
    with pytest.raises(SystemExit, match="Nothing was measured"):
        gpu.show(tmp_path / "none.json", page)


def test_the_page_has_a_place_for_the_results():
    page = (gpu.ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert page.count("<!-- bench: gpu -->\n") == 1
    assert ("Nothing has been measured on a GPU" in page) == (not gpu.RESULT.exists())


def test_the_wheels_are_those_of_the_lock():
    lock = (gpu.ROOT / "requirements.lock").read_text(encoding="utf-8")
    names = {pin.split("==")[0] for pin in gpu.wheels()}
    assert gpu.wheels() == [pin for pin in gpu.wheels() if f"\n{pin}" in lock]
    assert {"torch-geometric", "numba", "torchmd-net", "pytest", "qm9pack", "typer"} <= names
    assert not names & {"torch", "triton"}
    if sys.version_info[:2] == (3, 11) and sys.platform == "linux":
        assert gpu.wheels_text(lock) == gpu.WHEELS.read_text(encoding="utf-8")


def test_ceilings_and_turns_on_the_processor():
    found = gpu_parts.ceilings("cpu", n=64, megabytes=1, repeats=3)
    assert set(found) == {"matmul_GFLOPs", "copy_GBs"} and min(found.values()) > 0
    calls = []
    steps = {"ours": lambda: calls.append("ours"), "peer": lambda: calls.append("peer")}
    rows = gpu_parts.turns(steps, "cpu", rounds=3, seconds=1e-3)
    assert set(calls) == set(steps) and "ratio" not in rows["ours"]
    assert rows["peer"]["ratio_min"] <= rows["peer"]["ratio"] <= rows["peer"]["ratio_max"]


@pytest.mark.slow
def test_steps_beside_peers_on_the_processor(monkeypatch):
    monkeypatch.setattr(
        gpu_parts, "ceilings", lambda *a, **k: {"matmul_GFLOPs": 1.0, "copy_GBs": 1.0}
    )
    found = gpu_parts.schnet(2, True, "cpu", rounds=1)
    assert {"ours", "PyG", "plain torch"} <= set(found["sides"])
    assert max(found["loss_differences"].values()) <= 1e-5 and found["share_of_ceiling"] > 0
    json.dumps(found)
    monkeypatch.setattr(gpu_parts, "find_spec", lambda name: None)
    assert "torchmd-net" in gpu_parts.et(2, True, "cpu", rounds=1)["skipped"]


@pytest.mark.slow
def test_pretraining_is_counted_in_molecules():
    found = gpu_parts.pretraining(16, 1, 4, "cpu", steps=4, every=1)
    assert found["molecules_per_second"] == pytest.approx(4000 / found["ms"])
    assert found["atoms_per_second"] > found["molecules_per_second"]


def test_every_path_of_a_part_is_there():
    for each in gpu.plan():
        assert (gpu.ROOT / Path(each.command[0])).is_file()
