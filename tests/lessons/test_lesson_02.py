"""Lesson 02: its numbers show what its text says of noise, floors, forces and curl."""

import pytest


@pytest.mark.slow
def test_lesson_02(ran):
    m = ran(2).metrics
    assert 0.02 < m["sigma_one_misread_A"] < 0.06  # about the size used for pretraining
    if "kelvin_at_004_A" in m:  # tblite is there
        assert 400 < m["kelvin_at_004_A"] < 1200  # several hundred kelvin …
        assert m["kelvin_at_0005_A"] < 20  # … and some ten kelvin at 0.005 Å
        assert m["kelvin_at_014_A"] > 5772  # the surface of the sun, at 0.14 Å
    assert m["rotation_error"] < 1e-4
    assert 0.9 < m["floor_mean_times_N"] < 1.1  # what the mean of the noise costs …
    assert 0.9 < m["water_centered_times_N"] < 1.5  # … and rotations as much again:
    assert 0.9 < m["water_rotations_times_N"] < 1.1
    assert max(m["noise_left_yours"], m["noise_left_schnet"]) < 0.8
    assert m["noise_left_shipped"] < 0.6 * min(m["noise_left_yours"], m["noise_left_schnet"])


@pytest.mark.slow
def test_forces_of_lesson_02(ran):
    m = ran(2).metrics
    assert m["score_force_cosine"] > 0.85
    # one derived number is the size of the force along a bond, and the noise left along it
    assert m["bond_force_size"] == pytest.approx(m["bond_predicted"], abs=0.06)
    assert m["bond_noise_left"] == pytest.approx(m["bond_predicted"], abs=0.06)
    assert m["score_force_slope"] == pytest.approx(m["bond_predicted"], abs=0.06)
    # nearly a gradient, and none; one of an energy has no curl but rounding
    assert m["curl_schnet_percent"] < 1e-6 < 0.05 < m["curl_field_percent"] < 2
    assert m["curl_field_percent"] < 0.2 * m["curl_untrained_percent"]


@pytest.mark.slow
def test_where_the_forces_of_lesson_02_end(ran):
    m = ran(2).metrics
    assert m["stiffness_whole"] == pytest.approx(1, abs=1e-3)
    assert m["stiffness_fractional"] == pytest.approx(0.04**2 / (0.04**2 + 0.15**2), abs=5e-3)
    assert m["noise_left_off_equilibrium"] > 1  # worse than no answer
    if "cos_answer_force_near" in m:
        assert m["cos_answer_force_near"] > m["cos_visible_force_near"] > m["cos_noise_force_near"]
        assert 0.5 < m["cos_noise_force_near"] < 0.8
        assert m["cos_answer_noise_near"] > m["cos_answer_noise_far"] + 0.1
