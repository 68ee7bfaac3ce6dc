"""Lesson 06: every model on one molecule; its numbers show what its text says."""

import pytest


@pytest.mark.slow
def test_lesson_06(ran):
    m = ran(6).metrics
    # a small test error elsewhere, and worse than no answer here
    assert m["force_error_schnet_ethanol_meV_per_A"] > 2 * m["no_force_meV_per_A"]
    assert m["force_error_schnet_molecules_meV_per_A"] < 0.5 * m["no_force_meV_per_A"]
    # the inputs could have told
    assert m["outside_schnet_ethanol"] == 19 and m["outside_schnet_molecules"] == 0
    assert m["outside_coord_et"] == 0 < m["outside_pet_ethanol"]
    # at a minimum a description says nothing, and frames teach another noise than minima
    assert abs(m["left_SCD_told_own_percent"] - m["left_SCD_told_none_percent"]) < 3
    assert m["left_Coord_frames_percent"] > 1.3 * m["left_Coord_percent"]
    assert m["left_Coord_percent"] < m["left_SchNet_s_force_percent"] < 100
    # the promise is kept over all, and not where molecules are alone
    assert 88 < m["inside_all_percent"] < 95
    assert m["inside_most_alone_percent"] < m["inside_all_percent"] - 3
    assert m["turned_raw_meV"] > 1e3 * m["turned_ecse_meV"]
    assert m["relaxation_eV"] < 0
    # DeNS, with few steps, denoises too; and the spread puts unseen molecules in order
    assert m["left_DeNS_told_force_percent"] < 60
    assert m["rank_correlation"] > 0.4
