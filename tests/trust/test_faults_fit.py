"""A part of the campaign of faults in training: whatever happens, all ends as if nothing had."""

import faults_fit
import pytest


@pytest.mark.slow
def test_whatever_happens_to_a_run_it_is_resumed_to_the_very_weights(tmp_path):
    found = faults_fit.run(12, 3, tmp_path)
    assert found["failures"] == []
    assert found["cases"] == 12 and found["counts"]["ended not well"] > 0
