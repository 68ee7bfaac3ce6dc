"""The steps of the campaign of scale, on a small set."""

import pytest
import scale


@pytest.mark.slow
def test_the_steps_on_a_small_set(tmp_path, monkeypatch):
    # without a process for each step
    monkeypatch.setattr(scale, "_apart", lambda step, *args: dict(step(*args)))
    found = scale.run(3000, 0, tmp_path)
    assert found["failures"] == []
    assert {"open ms", "verify s", "fit of 20 steps s"} <= set(found["counts"])
    assert not list(tmp_path.iterdir())
