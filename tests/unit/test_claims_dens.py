"""Claims of lesson 03: verdicts from the rules, arms that differ in what they say they do, frames
nobody has seen."""

import numpy as np
import pytest
import torch

import scdlab
from scdlab import claims
from scdlab.claims import common, dens
from scdlab.objectives import DeNS, EnergyForces

LESSON = [claim for claim in claims.claims() if claim.lesson == 3]
LOW = (1.0, 1.1, 1.2)
HIGH = (2.0, 2.1, 2.2)
ANY = (1.0, 3.0, 0.5)
QUICK = claims.get("dens-clue").settings("quick")


def verdict(claim_id, better, worse, **settings):
    claim = claims.get(claim_id)
    values = [dict.fromkeys(claim.quantities, 1.0) for _ in range(3)]
    for name, arm in zip(claim.arms, (better, worse), strict=True):
        for seed in range(3):
            values[seed][name] = arm[seed]
    return claim.verdict(values, claim.settings("cpu") | settings)


@pytest.mark.parametrize("claim_id", [claim.id for claim in LESSON if claim.id != "dens-clue"])
def test_errors_of_forces_are_judged_by_their_order(claim_id):
    assert verdict(claim_id, LOW, HIGH) == "same direction"
    assert verdict(claim_id, LOW, HIGH, steps=100_000) == "reproduced"
    assert verdict(claim_id, HIGH, LOW) == "not seen at this scale"
    assert verdict(claim_id, HIGH, LOW, steps=100_000) == "contradicted"
    assert verdict(claim_id, LOW, ANY) == verdict(claim_id, ANY, LOW) == "tie"


def test_the_clue_is_judged_by_the_noise_that_is_left():
    assert verdict("dens-clue", LOW, (2.5, 2.6, 2.7)) == "reproduced"  # less than half
    assert verdict("dens-clue", LOW, (1.9, 2.0, 2.1)) == "same direction"
    assert verdict("dens-clue", HIGH, LOW) == "contradicted"
    assert verdict("dens-clue", LOW, ANY) == "tie"


def test_the_arms_differ_in_one_thing_each():
    plain = dens.objective_of("plain", QUICK)
    ours = dens.objective_of("dens", QUICK)
    assert (
        isinstance(plain, EnergyForces)
        and type(ours) is DeNS
        and ours.supervised.loss == plain.loss == "norm"
    )
    assert (ours.force_encoding, ours.corrupt_ratio, ours.prob, ours.sigma) == (
        "true",
        0.25,
        0.25,
        0.05,
    )
    changed = {
        "full": {"corrupt_ratio": 1.0},
        "untold": {"force_encoding": "none"},
        "shuffled": {"force_encoding": "shuffled"},
    }
    for arm, settings in changed.items():
        for name in (
            "corrupt_ratio",
            "force_encoding",
            "prob",
            "sigma",
            "denoising_weight",
            "loss",
        ):
            expected = settings.get(name, getattr(ours, name))
            assert getattr(dens.objective_of(arm, QUICK), name) == expected, (arm, name)
    assert set(dens.WORDS) == {"plain", "dens", *changed}


def test_no_training_sees_a_test_frame_and_every_arm_starts_the_same(monkeypatch):
    train, val, test = dens.frames(QUICK, 1)
    assert len(train) == 40 and len(val) == 8 and len(test) == 16
    assert len(set(np.concatenate([train.index, val.index, test.index]))) == 64
    seen = []

    def noted(model, objective, store, steps, batch_size, lr, seed, device, **options):
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        seen.append((weights, store.index, options["val"].index, steps, batch_size, lr))

    monkeypatch.setattr(common, "trained", noted)
    monkeypatch.setattr(dens, "keep", lambda name, settings, seed, train: train(None))
    for arm in dens.WORDS:
        dens.learned(arm, QUICK, 1, "cpu")
    first = seen[0]
    assert np.array_equal(first[1], train.index) and np.array_equal(first[2], val.index)
    for other in seen[1:]:
        assert (
            torch.equal(first[0], other[0])
            and np.array_equal(first[1], other[1])
            and first[3:] == other[3:]
        )


def test_md17_is_read_when_a_recipe_asks_for_it(monkeypatch):
    asked = []
    monkeypatch.setattr(
        scdlab, "load_md17", lambda name: asked.append(name) or scdlab.load_aspirin(), raising=False
    )
    train, *_ = dens.frames(QUICK | {"data": "md17:aspirin"}, 0)
    assert asked == ["aspirin"] and train.n_atoms[0] == 21


def test_what_is_left_of_the_noise_is_measured_as_each_line_says(monkeypatch):
    told = []

    def evaluate(model, store, objective):
        told.append((model, objective.force_encoding, objective.prob, objective.corrupt_ratio))
        return {"noise_unexplained": len(told) / 10}

    monkeypatch.setattr(dens, "learned", lambda arm, *_: arm)
    monkeypatch.setattr(scdlab, "evaluate", evaluate, raising=False)
    values = dens.noise_left(QUICK, 0, "cpu")
    assert told == [
        ("dens", "true", 1.0, 0.25),
        ("untold", "none", 1.0, 0.25),
        ("dens", "none", 1.0, 0.25),
        ("dens", "shuffled", 1.0, 0.25),
        ("shuffled", "shuffled", 1.0, 0.25),
    ]
    assert list(values.values()) == pytest.approx([10, 20, 30, 40, 50])
