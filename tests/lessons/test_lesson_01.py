"""The numbers of lesson 01 show what its text says."""

import pytest


@pytest.mark.slow
def test_lesson_01(ran):
    m = ran(1).metrics
    # what the reader writes is SchNet, and its training loop that of the library
    assert m["cfconv_difference"] < 1e-6
    assert max(m["energy_difference"], m["force_difference"]) < 1e-6
    assert m["first_loss_difference"] < 1e-6 and m["last_loss_difference"] < 1e-5
    assert m["plateau_ratio"] > 2  # the raw distance lags behind the basis
    assert m["force_mae_meV_per_A"] < 0.3 * m["no_force_meV_per_A"]
    assert m["energy_mae_meV"] < 0.6 * m["mean_energy_meV"]
    # forces are worth more than ten times as many energies, and both arms have learned
    assert m["worth_of_forces"] < 1
    assert m["forces_100_meV"] < m["energies_1000_meV"] < 0.6 * m["mean_held_meV"]
    # depth adds angles, where the cutoff holds the distances that they need
    assert m["angle_after_one"] == m["angle_short_cutoff"] == 0 < 1e-6 < m["angle_after_two"]
    assert m["rings_short_cutoff"] < 1e-5 < 1e-3 < m["rings_long_cutoff"]
    assert m["qm9_U0_mae_meV"] < 0.8 * m["qm9_references_alone_meV"]
    assert m["isomers_known_meV"] < m["isomers_unknown_meV"]
    assert m["rotation_error"] < 1e-9 and m["force_consistency"] < 1e-4
    assert m["loop_gradient_meV"] < 1e-3 < 0.1 < m["loop_direct_meV"]


@pytest.mark.slow
def test_lesson_01b(ran):
    m = ran("01b").metrics
    assert 2.5 < m["order_of_forces"] < 3.5  # the slope of a cubic spline: third order
    assert 50 < m["intervals_for_a_thousandth"] < 250
    assert m["values_error_512"] < 1e-4
    assert m["pairs_per_node"] > 2
