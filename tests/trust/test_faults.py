"""A part of the campaign of faults: the old or the new is there, whatever happens to its writer."""

import faults
import pytest


@pytest.mark.slow
def test_whatever_happens_to_a_writer_the_old_or_the_new_is_there(tmp_path):
    found = faults.run(48, 0, tmp_path)
    assert found["failures"] == []
    assert found["cases"] == 48 and found["counts"]["old one there"] > 0
    assert found["counts"]["new one there"] > 0
