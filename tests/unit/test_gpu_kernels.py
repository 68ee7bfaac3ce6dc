"""The Triton kernels without a GPU: what they compute, in Triton's interpreter against plain torch
in float64, to the second derivative; that they compile, for cards that need not be there, without
spilling; and that what is missing on a GPU is named, once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import test_kernels
import torch

from scdlab.nn.ops import neighbor_sums
from scdlab.nn.ops.dispatch import sort_pairs
from scdlab.nn.ops.gpu import available, lists

TESTS = Path(__file__).resolve().parent.parent
CAPABILITIES = ("80", "90")
needs_triton = pytest.mark.skipif(
    available.triton_version() is None, reason="Triton is not installed (it has wheels for Linux)"
)


def run(program, arguments, **environment):
    """What a program prints, as json; Triton is set up once a process, so it has one of its own."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | environment
    command = [sys.executable, str(TESTS / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def interpreted():
    """Sum -> case -> its error, of all sums, found by one process."""
    return run("interpreted_kernels.py", test_kernels.SHAPES, TRITON_INTERPRET="1")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Capability -> kernels with their registers and what they spill, found by one process."""
    cache = tmp_path_factory.mktemp("triton")
    return run("compiled_kernels.py", CAPABILITIES, TRITON_CACHE_DIR=str(cache))


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("name", list(test_kernels.SHAPES))
def test_values_and_two_derivatives_in_the_interpreter(name, interpreted):
    errors = interpreted[name]
    places = {place for case, place in test_kernels.CASES if case == name}
    assert len(errors) == 4 * len(places) + len(places & {"rows", "cut"})
    for case, error in errors.items():
        assert error <= 1e-5, (case, error)


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_kernels_compile_and_spill_nothing(capability, compiled):
    found = compiled[capability]
    assert len(found) == 16
    for kernel, registers, spilled in found:
        assert not spilled and registers <= 128, (kernel, registers, spilled)


@pytest.mark.parametrize("graph", list(test_kernels.GRAPHS))
def test_lists_are_those_of_the_processor(graph):
    n, pairs = test_kernels.GRAPHS[graph]
    key = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)[:, 0].contiguous()
    for found, expected in zip(lists.sort_pairs(key, n), sort_pairs(key, n), strict=True):
        assert found.dtype == torch.int64 and torch.equal(found, expected)


def test_pairs_of_another_batch_are_refused_on_the_device():
    lists.check_atoms(torch.tensor([0, 2]), 3)
    lists.check_atoms(torch.tensor([], dtype=torch.long), 0)
    for atoms in ([0, 3], [-1, 0]):
        with pytest.raises(RuntimeError, match=r"outside 0 … 2"):
            lists.check_atoms(torch.tensor(atoms), 3)


@pytest.mark.parametrize(
    ("version", "words"),
    [(None, "pip install"), ("2.3.1", "2.3.1 is older than 3.2"), ("3.1", "older than 3.2")],
)
def test_a_triton_that_is_missing_or_old_is_named(version, words):
    assert words in available.wrong_version(version)


def test_versions_and_cards_that_do():
    assert available.wrong_version("3.2.0") is None
    assert available.wrong_version("3.10.0+git1") is None
    assert available.wrong_card("A100", (8, 0)) is None
    assert available.wrong_card("H200", (9, 0)) is None
    assert "T4 has compute capability 7.5" in available.wrong_card("T4", (7, 5))


@pytest.fixture
def on_a_card(monkeypatch):
    """A float32 tensor of a GPU, as far as the choice of kernels looks at it; the card, Triton and
    the probe are those that the test sets."""
    found = SimpleNamespace(version="3.7.1", capability=(9, 0), probe=lambda device: None)
    monkeypatch.setattr(available, "triton_version", lambda: found.version)
    monkeypatch.setattr(available, "probe", lambda device: found.probe(device))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "the card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: found.capability)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    found.tensor = SimpleNamespace(device=torch.device("cuda", 0), dtype=torch.float32)
    available.forget()
    yield found
    available.forget()


@needs_triton
def test_a_card_gets_the_triton_kernels(on_a_card):
    assert neighbor_sums.fused_for(6, 2, on_a_card.tensor)
    assert not neighbor_sums.fused_for(7, 2, on_a_card.tensor)
    on_a_card.tensor.dtype = torch.float64
    assert not neighbor_sums.fused_for(6, 2, on_a_card.tensor)
    on_a_card.tensor.dtype = torch.float32
    with neighbor_sums.reference_kernels():
        assert not neighbor_sums.fused_for(6, 2, on_a_card.tensor)
    assert not neighbor_sums.fused_for(8, 1, on_a_card.tensor, torch.randn(3))  # of two devices


@pytest.mark.parametrize("odd", ["missing", "old", "card", "wrong", "broken", "interpreted"])
def test_what_keeps_the_kernels_from_a_card_is_said_once(on_a_card, odd, caplog, monkeypatch):
    words = {
        "missing": "Triton is not installed",
        "old": "Triton 2.1.0 is older",
        "card": "compute capability 7.0",
        "wrong": "computes a sum wrongly",
        "broken": "does not compile them (RuntimeError: no C compiler)",
        "interpreted": "TRITON_INTERPRET=1 is set",
    }[odd]
    if odd == "missing":
        on_a_card.version = None
    elif odd == "old":
        on_a_card.version = "2.1.0"
    elif odd == "card":
        on_a_card.capability = (7, 0)
    elif odd == "wrong":
        on_a_card.probe = lambda device: "Triton 3.7.1 computes a sum wrongly (1.0e+00)"
    elif odd == "interpreted":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    else:

        def probe(device):
            raise RuntimeError("no C compiler")

        on_a_card.probe = probe
    for _ in range(3):
        assert not neighbor_sums.fused_for(8, 1, on_a_card.tensor)
    assert len(caplog.records) == 1 and words in caplog.text and "plain torch" in caplog.text


def test_the_interpreter_is_refused_where_it_is_not(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    refused = pytest.raises(RuntimeError, match="TRITON_INTERPRET=1")
    with refused, neighbor_sums.interpreted_kernels():
        pass
