"""Lesson 02b: its numbers show what its text says of labels, leaks, distances and maps."""

import pytest


@pytest.mark.slow
def test_lesson_02b(ran):
    m = ran("02b").metrics
    # the composition hardly beats the median; a start from the shipped network beats both
    assert 0.9 < m["homo_mae_composition_meV"] / m["homo_mae_median_meV"] < 1.1
    assert m["homo_mae_shipped_meV"] < m["homo_mae_scratch_meV"]
    # eight molecules are known by heart in part, 64 hardly, and of a large pool nothing is seen
    gap = {
        n: m[f"noise_left_{n}_unseen_percent"] / m[f"noise_left_{n}_seen_percent"] for n in (8, 64)
    }
    assert gap[8] > 1.2 and gap[64] < 1.1
    assert m["noise_left_shipped_pool_percent"] == pytest.approx(
        m["noise_left_shipped_unseen_percent"], rel=0.1
    )
    assert m["cross_pairs_percent"] == pytest.approx(m["cross_pairs_derived_percent"], abs=1)
    # pairs that mean nothing do no harm
    assert m["distance_error_batch_A"] < 1.1 * m["distance_error_molecule_A"]


@pytest.mark.slow
def test_controls_of_lesson_02b(ran):
    m = ran("02b").metrics
    assert m["size_composition"] > 0.7  # most of what looks like size is composition
    assert all(m[f"size_{name}"] > 0.7 for name in ("untrained", "yours", "shipped"))
    near = [m[f"homo_neighbors_{name}"] for name in ("composition", "untrained", "shipped")]
    assert near == sorted(near) and near[0] < 0.15
    linear = [m[f"homo_linear_{name}"] for name in ("composition", "untrained", "shipped")]
    assert linear[0] < 0.15 and linear[2] < linear[1] + 0.05
