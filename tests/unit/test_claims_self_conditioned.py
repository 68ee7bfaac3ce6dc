"""Claims of lesson 04: verdicts from the rules, and where nothing is tested."""

import numpy as np
import pytest

from scdlab import claims
from scdlab.claims import self_conditioned_rules as rules
from scdlab.claims.claim import NOT_TESTED

LESSON = [claim for claim in claims.claims() if claim.lesson == 4]
FEW = "scd-few-labels-homo"
EXTENT = "scd-extensivity"
EXTENT_FRAMES = "scd-extensivity-frames"
CONDITION = "scd-condition"
FRAMES = "scd-nonequilibrium"
TRANSFER = "scd-frames-transfer"
FORCES = "scd-ethanol-forces"
ADALN = "scd-adaln"
GROWTH = "scd-growth"
MINIMA = "scd-minima"
BACKBONES = "scd-backbones"
COST = "scd-cost"
FAULTS = "ct-faults"

LOW = (1.0, 1.1, 1.2)
HIGH = (2.0, 2.1, 2.2)
ANY = (1.0, 3.0, 0.5)
NEAR = (0.80, 0.81, 0.82)
FAR = (0.60, 0.62, 0.61)
LOST = (0.30, 0.31, 0.32)
ONE = (1.0, 1.0, 1.0)
ON = (0.02, 0.03, 0.025)
OFF = (0.02, 0.019, 0.02)
ORDERED = {
    FEW: ("n_many", "homo_mae_coord_many_meV", "homo_mae_scratch_many_meV"),
    FRAMES: ("n_few", "homo_mae_coord_few_meV", "homo_mae_scratch_few_meV"),
    TRANSFER: (
        None,
        "force_mae_coord_other_few_meV_per_A",
        "force_mae_scratch_other_few_meV_per_A",
    ),
}
SMOOTH = {"r2_homo_neighbors_condition_scd": FAR, "r2_homo_neighbors_condition_scratch": LOST}
ROUGH = {"r2_homo_neighbors_condition_scd": LOST, "r2_homo_neighbors_condition_scratch": FAR}
LARGE = (0.10, 0.11, 0.09)
ALL_USE = {f"left_own_{b}": FAR for b in ("ct", "pet", "tensor")}
ALL_USE |= {f"left_none_{b}": NEAR for b in ("ct", "pet", "tensor")}
MINIMA_GAINS = tuple(
    f"gain_{arm}" for arm in ("sigma_large", "sigma_larger", "narrow", "wide", "small_set")
)
TINY = (1e-15, 2e-15, 1e-15)
SOUND = {
    "rotation_ours": TINY,
    "force_error_ours": (1e-8, 1e-8, 2e-8),
    "rotation_cured": TINY,
    "force_error_cured": (3e-7, 2e-7, 3e-7),
    "rotation_tanh_steep": (0.1, 0.2, 0.1),
    "rotation_tanh": (1e-4, 2e-4, 1e-4),
    "rotation_whitened": (0.02, 0.03, 0.02),
    "force_error_detached": (0.3, 0.4, 0.5),
}


def settings_of(claim, **settings):
    """The settings under which a claim is recorded, and these."""
    profile = next(p for p in ("cpu", "night") if p in claim.profiles)
    return claim.settings(profile) | settings


def verdict(claim_id, better, worse, others=None, **settings):
    """The verdict on the claim's two arms and the quantities named: gains are on, all else is 1."""
    claim = claims.get(claim_id)
    arms = dict(zip(claim.arms, (better, worse), strict=True)) | (others or {})
    assert set(arms) <= set(claim.quantities)
    given = {n: arms.get(n, ON if n.startswith("gain_") else ONE) for n in claim.quantities}
    values = [{name: given[name][seed] for name in given} for seed in range(3)]
    return claim.verdict(values, settings_of(claim, **settings))


@pytest.mark.parametrize("claim_id", ORDERED)
@pytest.mark.parametrize(
    ("better", "worse", "scratch", "expected"),
    [
        (LOW, HIGH, HIGH, "same direction"),
        (LOW, HIGH, LOW, "tie"),
        (LOW, HIGH, ANY, "tie"),
        (HIGH, LOW, HIGH, "not seen at this scale"),
        (LOW, ANY, HIGH, "tie"),
    ],
)
def test_scd_must_beat_coord_and_scratch(claim_id, better, worse, scratch, expected):
    labels, second, third = ORDERED[claim_id]
    claim = claims.get(claim_id)
    assert claim.arms == [claim.arms[0], second]
    assert verdict(claim_id, better, worse, {third: scratch}) == expected
    if labels is not None:  # the paper's number of labels
        final = {"same direction": "reproduced", "not seen at this scale": "contradicted"}
        at_scale = verdict(claim_id, better, worse, {third: scratch}, **{labels: 100_000})
        assert at_scale == final.get(expected, expected)
        almost = verdict(claim_id, better, worse, {third: scratch}, **{labels: 99_999})
        assert almost == expected


@pytest.mark.parametrize(
    ("claim_id", "better", "worse", "others", "expected"),
    [
        *(
            (claim_id, *rest)
            for claim_id in (EXTENT, EXTENT_FRAMES)
            for rest in (
                (FAR, NEAR, SMOOTH, "reproduced"),
                (FAR, NEAR, ROUGH, "same direction"),
                (FAR, NEAR, {}, "same direction"),
                (NEAR, FAR, SMOOTH, "not seen at this scale"),
                (FAR, (0.9, 0.1, 0.2), SMOOTH, "tie"),
            )
        ),
        (CONDITION, FAR, NEAR, {"left_coord_mixed": NEAR}, "reproduced"),
        (CONDITION, FAR, NEAR, {"left_coord_mixed": FAR}, "same direction"),
        (CONDITION, FAR, NEAR, {"left_coord_mixed": LOST}, "same direction"),
        (CONDITION, FAR, NEAR, {"left_coord_mixed": NEAR, "gain_mixed": OFF}, "tie"),
        (CONDITION, NEAR, FAR, {"gain_mixed": OFF}, "contradicted"),
        (CONDITION, FAR, (0.9, 0.1, 0.2), {"left_coord_mixed": NEAR}, "tie"),
        (ADALN, NEAR, FAR, {"gain_both_loud": LARGE, "gain_released": LARGE}, "reproduced"),
        (ADALN, FAR, NEAR, {"gain_both_loud": LARGE, "gain_released": ON}, "same direction"),
        (ADALN, FAR, NEAR, {"gain_both_loud": ON, "gain_c_zero": LARGE}, "contradicted"),
        (ADALN, FAR, NEAR, {"gain_both_loud": (0.02, 0.2, 0.1), "gain_c_zero": ON}, "tie"),
        (GROWTH, FAR, NEAR, {"left_own_long": LOST}, "reproduced"),
        (GROWTH, FAR, NEAR, {"left_own_long": LOST, "left_own_stopped": LOST}, "same direction"),
        (GROWTH, FAR, NEAR, {"left_own_long": NEAR, "left_other": LOST}, "same direction"),
        (GROWTH, NEAR, FAR, {"left_own_long": LOST}, "contradicted"),
        (GROWTH, FAR, (0.9, 0.1, 0.2), {"left_own_long": LOST}, "tie"),
        (MINIMA, OFF, ON, dict.fromkeys(MINIMA_GAINS, OFF), "reproduced"),
        (MINIMA, OFF, ON, dict.fromkeys(MINIMA_GAINS, OFF) | {"gain_wide": ON}, "same direction"),
        (MINIMA, ON, ON, dict.fromkeys(MINIMA_GAINS, OFF), "contradicted"),
        (BACKBONES, FAR, NEAR, ALL_USE, "reproduced"),
        (BACKBONES, FAR, NEAR, ALL_USE | {"left_own_pet": NEAR}, "same direction"),
        (BACKBONES, FAR, NEAR, ALL_USE | {"gain_tensor": OFF}, "same direction"),
        (BACKBONES, FAR, NEAR, ALL_USE | {"gain_tensor": OFF, "gain_pet": OFF}, "tie"),
        (BACKBONES, NEAR, FAR, ALL_USE, "not seen at this scale"),
        (FORCES, LOW, HIGH, {}, "same direction"),
        (FORCES, HIGH, LOW, {}, "not seen at this scale"),
        (FORCES, LOW, ANY, {}, "tie"),
        (COST, (0.70, 0.71, 0.72), ONE, {}, "reproduced"),
        (COST, (0.70, 0.71, 0.84), ONE, {}, "same direction"),
        (COST, (1.3, 1.4, 1.2), ONE, {}, "contradicted"),
        (COST, (0.9, 1.1, 0.9), ONE, {}, "tie"),
        (FAULTS, TINY, (0.1, 0.2, 0.1), SOUND, "reproduced"),
        (FAULTS, TINY, (0.1, 0.2, 1e-14), SOUND, "same direction"),
        (
            FAULTS,
            TINY,
            (0.1, 0.2, 0.1),
            SOUND | {"force_error_detached": (0.3, 0.4, 1e-6)},
            "same direction",
        ),
        (FAULTS, (1e-15, 1e-8, 1e-15), (0.1, 0.2, 0.1), SOUND, "contradicted"),
        (
            FAULTS,
            TINY,
            (0.1, 0.2, 0.1),
            SOUND | {"force_error_ours": (1e-8, 1e-3, 1e-8)},
            "contradicted",
        ),
        (FAULTS, TINY, TINY, dict.fromkeys(SOUND, TINY), "contradicted"),
    ],
)
def test_rules_of_lesson_04(claim_id, better, worse, others, expected):
    arms = dict(zip(claims.get(claim_id).arms, (better, worse), strict=True))
    assert verdict(claim_id, better, worse, others | arms) == expected


def test_with_as_many_frames_as_the_paper_the_verdict_is_final():
    assert verdict(FORCES, LOW, HIGH, n_frames=950) == "reproduced"
    assert verdict(FORCES, HIGH, LOW, n_frames=950) == "contradicted"
    assert verdict(FORCES, LOW, HIGH, n_frames=949) == "same direction"


def test_every_claim_of_the_lesson_has_its_rules_tested():
    assert {claim.id for claim in LESSON} == {
        *ORDERED,
        *(EXTENT, EXTENT_FRAMES, CONDITION, GROWTH, ADALN, MINIMA, BACKBONES, FORCES, COST, FAULTS),
    }


@pytest.mark.parametrize(
    "claim", [c for c in LESSON if c.precondition is not None], ids=lambda c: c.id
)
def test_where_the_condition_is_not_used_nothing_is_tested(claim):
    (gain,) = claim.tested(_values(claim, {}), settings_of(claim))[1]
    assert gain.startswith("gain_")
    arms = ((LOW, HIGH), (HIGH, LOW)) if gain not in claim.arms else ()
    for better, worse in arms:
        assert verdict(claim.id, better, worse, {gain: OFF}) == NOT_TESTED
        assert verdict(claim.id, better, worse, {gain: (0.5, 0.5, -0.97)}) == NOT_TESTED
        assert verdict(claim.id, better, worse, {gain: (0.02, 0.02, 0.02)}) != NOT_TESTED
    assert "2 %" in claim.written_rule and rules.LEAST_GAIN == 0.02
    with pytest.raises(ValueError, match=gain):
        claim.verdict(_values(claim, {gain: np.nan}), settings_of(claim))


def _values(claim, others):
    gains = dict.fromkeys(claim.quantities, 1.0)
    return [gains | others for _ in range(3)]


def test_scd_is_compared_with_coord_on_six_seeds_where_the_condition_acts():
    at_minima = ("scd-few-labels-homo", EXTENT, FORCES)  # off there, so that nothing is judged
    for claim in LESSON:
        if claim.id in (*ORDERED, EXTENT, EXTENT_FRAMES, FORCES):
            assert settings_of(claim)["seeds"] == (3 if claim.id in at_minima else 6), claim.id


def test_every_claim_says_what_it_costs_and_is_worth():
    for claim in LESSON:
        recorded = set(claim.profiles) - {"quick", "full"}
        assert set(claim.hours) == recorded and claim.worth > 0, claim.id
        assert "full" in claim.profiles
