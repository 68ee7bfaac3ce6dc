"""Freed pages kept: in a process of its own, because it cannot be undone."""

import platform
import subprocess
import sys

import pytest

import scdlab

GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"

SCRIPT = """
import logging, resource, sys
import torch
import scdlab

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(16_000_000)  # 64 MB, freed at once; glibc itself keeps up to 32
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
as_it_comes = faults()
scdlab.memory.tune_malloc()
scdlab.memory.tune_malloc()
faults()  # the first one after has to fetch the pages
print(as_it_comes, faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(not GLIBC, reason="tune_malloc() is for glibc")
def test_freed_pages_stay_and_the_cost_is_logged_once():
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT], text=True, capture_output=True, check=True
    ).stdout
    told, counts = out.splitlines()  # one line, though it was called twice
    assert (
        "freed memory stays with this process" in told and "resident now" in told and " MB" in told
    )
    before, after = map(int, counts.split())
    assert before > 20 * 64 / 2 / 2  # were all of it huge pages of 2 MB, and half of them met again
    assert after < before / 4


def test_without_glibc_it_says_so(monkeypatch):
    monkeypatch.setattr("scdlab.memory.platform.libc_ver", lambda: ("", ""))
    monkeypatch.setattr("scdlab.memory._kept", False)
    with pytest.raises(
        RuntimeError, match=r"which this Python on .* does not use: leave the call out"
    ):
        scdlab.memory.tune_malloc()
