"""Preconditions of claims, verdicts on paired differences, and the profiles a claim may have."""

import dataclasses

import numpy as np
import pytest

from scdlab import claims
from scdlab.claims import provenance
from scdlab.claims import record as records
from scdlab.claims.claim import NOT_TESTED, REGISTRY
from scdlab.claims.claim import Precondition as Condition
from scdlab.claims.directions import graded, paired_direction
from scdlab.claims.show import counts

NAMES = {"a_meV": "error, told", "b_meV": "error, untold", "gain_percent": "gain of the clue, %"}


def _recipe(settings, seed, device):
    return {"a_meV": 1.0 + 0.1 * seed, "b_meV": 2.0 + 0.1 * seed, "gain_percent": settings["gain"]}


def _judge(values, settings):
    return graded(paired_direction(values["a_meV"], values["b_meV"]), False)


CLAIM = claims.Claim(
    id="fake-clue",
    lesson=1,
    title="The clue helps.",
    source="A paper",
    paper="in words",
    quantities=NAMES,
    rule="Compare the errors.",
    judge=_judge,
    recipe=_recipe,
    profiles={
        "quick": {"seeds": 1, "gain": 5},
        "cpu": {"seeds": 3, "gain": 1.5},
        "night": {"seeds": 4, "gain": 5},
    },
    precondition=Condition(
        "The gain of the clue is at least 2 % in every seed.",
        lambda values, settings: (values["gain_percent"] >= 2).all(),
    ),
)


@pytest.fixture
def claim(monkeypatch, tmp_path):
    """The claim in the ledger, its records in a temporary folder, a clean tree."""
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(provenance, "checkout", lambda: ("a" * 40, False))
    monkeypatch.setitem(REGISTRY, CLAIM.id, CLAIM)
    return CLAIM


def changed(monkeypatch, **changes):
    other = dataclasses.replace(CLAIM, **changes)
    monkeypatch.setitem(REGISTRY, CLAIM.id, other)
    return other


def run(tmp_path, profile):
    return claims.run(CLAIM.id, profile, device="cpu", out=tmp_path / "out", echo=lambda line: None)


def row() -> tuple[str, ...]:
    (found,) = (row for row in claims.table().rows if row[0].startswith(CLAIM.id))
    return found


def test_a_claim_whose_mechanism_is_off_is_not_tested(claim, tmp_path):
    assert NOT_TESTED in claims.VERDICTS
    record = run(tmp_path, "cpu")
    assert record.verdict == "not tested: mechanism off"
    assert record == claims.load_record(claim.id)
    assert "Precondition: The gain of the clue" in record.rule and claim.rule in record.rule
    assert "gain of the clue, %: 1.50 ± 0" in row()[2] and "precondition fails" in row()[2]
    assert row()[3] == NOT_TESTED
    assert "precondition fails" in claims.compare(claim.id).note


def test_a_claim_whose_mechanism_is_on_is_judged(claim, tmp_path):
    assert run(tmp_path, "night").verdict == "same direction"
    assert "gain of the clue, %: 5.00" in row()[2] and "precondition holds" in row()[2]


def test_a_changed_precondition_is_a_changed_rule(claim, tmp_path, monkeypatch):
    run(tmp_path, "night")
    weaker = dataclasses.replace(CLAIM.precondition, text="The gain is at least 1 %.")
    changed(monkeypatch, precondition=weaker)
    with pytest.raises(ValueError, match="the rule has changed"):
        claims.load_record(claim.id)


def test_a_claim_without_precondition_keeps_its_rule(claim):
    plain = dataclasses.replace(claim, precondition=None)
    assert plain.written_rule == plain.rule
    assert plain.tested([], {}) == (True, [])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, None])
def test_a_precondition_that_cannot_be_measured_is_no_verdict(claim, wrong):
    seeds = [_recipe({"gain": 5}, seed, "cpu") for seed in range(3)]
    if wrong is None:
        del seeds[1]["gain_percent"]
    else:
        seeds[1]["gain_percent"] = wrong
    for ask in (claim.verdict, claim.tested):
        with pytest.raises(ValueError, match="must measure gain_percent as a finite number"):
            ask(seeds, claim.settings("cpu"))


@pytest.mark.parametrize("wrong", [{"gain": float("nan")}, {"gain": float("inf")}])
def test_a_run_that_cannot_measure_it_writes_nothing(claim, tmp_path, monkeypatch, wrong):
    profiles = CLAIM.profiles | {"cpu": CLAIM.profiles["cpu"]}
    recipe = lambda settings, seed, device: _recipe(wrong, seed, device)  # noqa: E731
    changed(monkeypatch, profiles=profiles, recipe=recipe)
    with pytest.raises(ValueError, match="not finite: gain_percent"):
        run(tmp_path, "cpu")
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize(
    ("holds", "complaint"),
    [
        (lambda values, settings: values["gain"] > 2, "reads 'gain', which is neither a quantity"),
        (lambda values, settings: settings["gian"] > 2, "reads 'gian'"),
        (lambda values, settings: values["gain_percent"] >= 2, "must be true or false"),
        (lambda values, settings: None, "must be true or false, got NoneType"),
        (lambda values, settings: float("nan"), "must be true or false, got float"),
    ],
)
def test_a_precondition_that_gives_no_answer_is_one_sentence(claim, monkeypatch, holds, complaint):
    odd = changed(monkeypatch, precondition=Condition("It holds.", holds))
    seeds = [_recipe({"gain": 5}, seed, "cpu") for seed in range(3)]
    with pytest.raises(ValueError, match=complaint) as caught:
        odd.verdict(seeds, odd.settings("cpu"))
    assert "\n" not in str(caught.value)


def test_what_a_precondition_read_is_known(claim, monkeypatch):
    both = Condition(
        "Two things hold.", lambda v, s: bool((v["b_meV"] > 0).all() and v["gain_percent"].min())
    )
    odd = changed(monkeypatch, precondition=both)
    seeds = [_recipe({"gain": 5}, seed, "cpu") for seed in range(3)]
    assert odd.tested(seeds, {}) == (True, ["b_meV", "gain_percent"])


def test_the_largest_profile_stands_for_a_claim(claim, tmp_path, monkeypatch):
    run(tmp_path, "cpu")
    assert claims.load_record(claim.id).profile == "cpu"
    run(tmp_path, "night")
    assert claims.load_record(claim.id).profile == "night"
    full = changed(monkeypatch, profiles=CLAIM.profiles | {"full": CLAIM.profiles["night"]})
    run(tmp_path, "full")
    assert claims.load_record(full.id).profile == "full"
    assert claims.load_record(full.id, "night").profile == "night"


def test_a_record_of_a_profile_that_is_gone_is_one_sentence(claim, tmp_path, monkeypatch):
    run(tmp_path, "night")
    changed(monkeypatch, profiles={k: CLAIM.profiles[k] for k in ("quick", "cpu")})
    with pytest.raises(ValueError, match="no settings for the profile 'night' any more"):
        claims.load_record(claim.id)


# paired directions


@pytest.mark.parametrize(
    ("worse", "seen"),
    [
        ([1.5, 1.6, 1.5, 1.7, 1.4, 1.6], "paper"),
        ([1.5, 1.6, 1.5, 1.7, 0.9, 1.6], "paper"),  # one seed against it is not decisive
        ([0.5, 0.6, 0.5, 0.7, 1.1, 0.6], "opposite"),
        ([1.9, 0.5, 1.5, 0.8, 1.4, 0.9], "tie"),
        ([1.0] * 6, "tie"),
        ([2.0] * 6, "paper"),
    ],
)
def test_the_mean_of_paired_differences_decides(worse, seen):
    assert paired_direction([1.0] * 6, worse) == seen
    swapped = {"paper": "opposite", "opposite": "paper", "tie": "tie"}[seen]
    assert paired_direction(worse, [1.0] * 6) == swapped


def test_the_threshold_is_students():
    gap = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    error = gap.std(ddof=1) / np.sqrt(6)
    for factor, seen in ((2.56, "tie"), (2.58, "paper")):  # t(0.975; 5) is 2.571
        assert paired_direction(np.zeros(6), gap + factor * error) == seen


def test_pairs_remove_what_the_arms_share():
    split = np.array([40.0, 31.0, 52.0, 38.0, 45.0, 36.0])
    better = split - np.array([1.0, 1.2, 0.8, 1.1, 0.9, 1.0])
    assert paired_direction(better, split) == "paper"


def test_one_seed_shows_no_paired_direction():
    assert paired_direction([1.0], [5.0]) == "tie"
    assert paired_direction([], []) == "tie"


@pytest.mark.parametrize(
    "arms", [([1, 2], [1]), ([1, np.nan], [1, 2]), ([[1]], [[2]]), ([1], [np.inf]), (1, 2)]
)
def test_arms_that_are_no_pairs_are_one_sentence(arms):
    with pytest.raises(ValueError, match="one finite error for each of the same seeds"):
        paired_direction(*arms)


# counts of verdicts


def test_verdicts_are_counted(claim, tmp_path, monkeypatch):
    for name in set(REGISTRY) - {claim.id}:
        monkeypatch.delitem(REGISTRY, name)
    assert counts() == "**0**: none"
    run(tmp_path, "cpu")
    assert counts() == "**1**: 1 not tested"
    tied = dataclasses.replace(claim, id="fake-tie", judge=lambda v, s: "tie", precondition=None)
    for name in ("fake-tie", "fake-tie-2"):
        monkeypatch.setitem(REGISTRY, name, dataclasses.replace(tied, id=name))
        claims.run(name, "cpu", device="cpu", out=tmp_path / "out", echo=len)
    run(tmp_path, "night")
    assert counts() == "**3**: 1 same direction, 2 ties"
    changed(monkeypatch, rule="Another.")
    with pytest.raises(claims.OutdatedRecord):
        counts()
    assert "scdlab claims withdraw fake-clue" in claims.compare(claim.id, {"a_meV": 1}).note
