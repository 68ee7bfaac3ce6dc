"""Lesson 06: every model on one molecule; its numbers show what its text says."""

import pytest


@pytest.mark.slow
def test_lesson_06(ran):
    m = ran(6).metrics
    # a small test error elsewhere, and worse than no answer here
    assert m["force_error_schnet_ethanol_meV_per_A"] > 2 * m["no_force_meV_per_A"]
    assert m["force_error_schnet_molecules_meV_per_A"] < 0.5 * m["no_force_meV_per_A"]
    # the inputs could have told; half of the atoms inside, and as wrong
    assert m["outside_schnet_ethanol"] == 19 and m["outside_schnet_molecules"] == 0
    assert m["outside_coord_et"] == m["outside_scd_ct_frames"] == 0
    assert 6 <= m["outside_pet_ethanol"] <= 12
    assert m["force_error_pet_ethanol_meV_per_A"] == pytest.approx(
        m["force_error_schnet_ethanol_meV_per_A"], rel=0.1
    )
    # at a minimum a description says nothing, and frames teach another noise than minima
    for told in ("none", "other"):
        assert abs(m["left_SCD_told_own_percent"] - m[f"left_SCD_told_{told}_percent"]) < 1
    assert 1 < m["left_SCD_frames_none_percent"] - m["left_SCD_frames_own_percent"] < 6
    assert m["left_Coord_frames_percent"] > 1.3 * m["left_Coord_percent"]
    assert m["left_Coord_percent"] < m["left_SchNet_s_force_percent"] < 100
    # the promise is kept over all, and not where molecules are alone
    assert 88 < m["inside_all_percent"] < 95
    assert m["inside_most_alone_percent"] < m["inside_all_percent"] - 3
    # symmetry to some µeV, and forces as wrong as before
    assert m["turned_raw_meV"] > 50 and m["turned_rotations_meV"] > 50
    assert m["turned_ecse_meV"] < 0.01 and m["turned_pca_meV"] < 0.01
    assert m["pet_as_it_is_meV_per_A"] == pytest.approx(
        m["force_error_pet_ethanol_meV_per_A"], rel=1e-3
    )
    assert m["pet_within_ECSE_meV_per_A"] > 2 * m["no_force_meV_per_A"]
    assert m["relaxation_eV"] < 0
    # DeNS, with few steps, denoises too
    assert m["left_DeNS_told_force_percent"] < 60
    # the spread puts unseen molecules in order, and better than their size does
    assert m["rank_correlation"] > 0.6
    assert -0.65 < m["size_correlation"] < -0.25
