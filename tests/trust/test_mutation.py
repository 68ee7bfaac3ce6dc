"""A small part of the mutation campaign; `make trust` runs all of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("mutation.py")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaign forks its workers")
@pytest.mark.parametrize("seed", [0, 1])
def test_damaged_files_are_refused_or_read_as_they_were(tmp_path, seed):
    # in a process of its own: its targets change what a process holds
    words = ["--cases", "1500", "--seed", str(seed), "--workers", "1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    refused = re.search(r"'refused': (\d+)", done.stdout)
    assert refused is not None and int(refused[1]) > 900
