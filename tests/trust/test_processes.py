"""Two processes train as one, for every objective."""

import processes
import pytest


@pytest.mark.slow
def test_two_processes_equal_one_for_every_objective(tmp_path):
    found = processes.run(1, 0, tmp_path)
    assert found["failures"] == []
    assert found["cases"] == found["counts"]["equal"] >= 24
