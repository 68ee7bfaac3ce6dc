"""The numbers of lesson 00 show what its text says."""

import pytest


@pytest.mark.slow
def test_lesson_00(ran):
    m = ran(0).metrics
    assert m["distance_change_A"] < 1e-12
    assert m["spread_ratio"] == pytest.approx(1, abs=0.1)  # springs at 500 K
    # coordinates work where all molecules lie alike, and there alone
    assert 0.5 < m["coordinates_mae_eV"] / m["guess_mae_eV"] < 0.7
    assert m["coordinates_rotated_mae_eV"] > 100 * m["guess_mae_eV"]
    # distances do not notice a rotation, but another numbering
    assert m["distances_mae_eV"] < 0.6 * m["coordinates_mae_eV"]
    assert m["distances_rotated_mae_eV"] == pytest.approx(m["distances_mae_eV"], rel=1e-3)
    assert m["distances_renumbered_mae_eV"] > 10 * m["distances_mae_eV"]
    # sums over pairs notice neither, and know less; one number alone knows nothing
    assert m["sums_renumbered_mae_eV"] == pytest.approx(m["sums_mae_eV"], rel=1e-3)
    assert 1.5 * m["distances_mae_eV"] < m["sums_mae_eV"] < 0.8 * m["guess_mae_eV"]
    assert m["descriptor_mae_eV"] > 0.9 * m["guess_mae_eV"]
    # few frames from the beginning of a trajectory have not seen what comes later
    assert m["time_ratio_few"] > 1.4
    assert m["time_ratio_many"] < 1.2
    assert m["schnet_force_mae_eV_per_A"] < 0.3 * m["zero_force_mae_eV_per_A"]
    assert m["schnet_energy_mae_eV"] < 0.6 * m["guess_mae_eV"]
    assert max(m["rotation_error_eV"], m["mirror_error_eV"]) < 1e-9
