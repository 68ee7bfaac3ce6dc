"""Claims of lesson 03: verdicts from the rules, preconditions, arms that differ in what they say
they do, frames nobody has seen."""

import numpy as np
import pytest
import torch

import scdlab
from scdlab import claims, files
from scdlab.claims import common, dens, dens_frames, dens_rules
from scdlab.claims.claim import NOT_TESTED
from scdlab.objectives import DeNS, EnergyForces

LESSON = [claim for claim in claims.claims() if claim.lesson == 3]
PAIRED = [claim for claim in LESSON if claim.id != "dens-clue"]
LOW = (1.0, 1.1, 1.2)
HIGH = (2.0, 2.1, 2.2)
ANY = (1.0, 3.0, 0.5)
QUICK = dens_rules.QUICK
ids = pytest.mark.parametrize("claim_id", [claim.id for claim in PAIRED])


def verdict(claim_id, better, worse, changed=None, **settings):
    """The verdict on errors of the first two arms [seeds], where the mechanism is on but for what
    `changed` says: name -> values [seeds]."""
    claim = claims.get(claim_id)
    on = {
        "train_force_mae_plain_meV_per_A": 0.1,
        "noise_left_told_percent": 40.0,
        "noise_left_kept_back_percent": 90.0,
        "noise_left_untold_percent": 60.0,
    }
    values = [{name: on.get(name, 1.0) for name in claim.quantities} for _ in better]
    for seed, row in enumerate(values):
        row |= dict(zip(claim.arms, (better[seed], worse[seed]), strict=True))
        row |= {name: numbers[seed] for name, numbers in (changed or {}).items()}
    return claim.verdict(values, claim.settings("night") | settings)


@ids
def test_errors_of_forces_are_judged_by_their_paired_differences(claim_id):
    assert verdict(claim_id, LOW, HIGH) == "same direction"
    assert verdict(claim_id, HIGH, LOW) == "not seen at this scale"
    assert verdict(claim_id, LOW, ANY) == verdict(claim_id, ANY, LOW) == "tie"
    assert verdict(claim_id, LOW, LOW) == "tie"
    paper = {"steps": 100_000, "n_train": 950}
    assert verdict(claim_id, LOW, HIGH, **paper) == "reproduced"
    assert verdict(claim_id, HIGH, LOW, **paper) == "contradicted"
    assert verdict(claim_id, LOW, HIGH, steps=100_000, n_train=949) == "same direction"


def test_a_gain_in_five_of_six_seeds_is_seen_where_the_mean_is_far_from_zero():
    """Differences 2, 2, 2, 2, 2, -0.2: mean 1.63, standard error 0.37, t(0.975; 5) = 2.57."""
    plain = (42.0, 44.0, 41.0, 45.0, 43.0, 40.0)
    gains = (2.0, 2.0, 2.0, 2.0, 2.0, -0.2)
    dens_ = tuple(p - g for p, g in zip(plain, gains, strict=True))
    on = {"train_force_mae_plain_meV_per_A": [20.0] * 6}
    assert verdict("dens-steps-2500", dens_, plain, on) == "same direction"
    gains = (2.0, 2.0, 2.0, -2.0, -2.0, -1.0)
    dens_ = tuple(p - g for p, g in zip(plain, gains, strict=True))
    assert verdict("dens-steps-2500", dens_, plain, on) == "tie"


@ids
@pytest.mark.parametrize("seed", [0, 2])
def test_nothing_is_judged_where_the_forces_do_not_help_or_nothing_overfits(claim_id, seed):
    name = "noise_left_kept_back_percent"
    if "noise_left_untold_percent" in claims.get(claim_id).quantities:
        name = "noise_left_untold_percent"
    left = [60.0] * 3
    left[seed] = 40.0  # as much as with the forces
    assert verdict(claim_id, LOW, HIGH, {name: left}) == NOT_TESTED
    plain = {"force_mae_plain_meV_per_A": [2.0, 2.0, 2.0]}
    if claims.get(claim_id).arms[1] == "force_mae_plain_meV_per_A":
        plain = {}
    train = [0.5] * 3
    train[seed] = 2.0
    off = plain | {"train_force_mae_plain_meV_per_A": train}
    assert verdict(claim_id, LOW, HIGH, off) == NOT_TESTED
    off["train_force_mae_plain_meV_per_A"] = [1.3] * 3  # at most 2.0 / 1.5
    assert verdict(claim_id, LOW, HIGH, off) == "same direction"


def test_a_precondition_that_was_not_measured_is_an_error():
    with pytest.raises(ValueError, match="noise_left_told_percent"):
        verdict("dens-steps-2500", LOW, HIGH, {"noise_left_told_percent": [40.0, np.nan, 40.0]})


def test_the_clue_is_judged_by_the_noise_that_is_left():
    assert verdict("dens-clue", LOW, (2.5, 2.6, 2.7)) == "reproduced"  # less than half
    assert verdict("dens-clue", LOW, (1.9, 2.0, 2.1)) == "same direction"
    assert verdict("dens-clue", HIGH, LOW) == "contradicted"
    assert verdict("dens-clue", LOW, ANY) == "tie"


def test_dens_and_plain_are_compared_in_six_seeds_and_parts_of_dens_in_three():
    for claim in PAIRED:
        settings = claim.settings("night")
        against_plain = claim.arms[1] == "force_mae_plain_meV_per_A"
        assert settings["seeds"] == (6 if against_plain else 3), claim.id
        assert claim.precondition is not None and claim.worth > 0
        assert claim.hours["night"] > 0
        assert "force_mae_plain_meV_per_A" in claim.quantities


def test_arms_of_several_claims_are_one_network(monkeypatch):
    """Settings that say nothing about an arm do not decide its network."""
    long = claims.get("dens-steps-10000").settings("night")
    for other in ("dens-force-encoding", "dens-shuffled-forces", "dens-partial", "dens-tuned"):
        settings = claims.get(other).settings("night")
        for name in (*dens.DECIDES, *dens.OF_NOISE):
            assert settings.get(name) == long.get(name), (other, name)
    names = []

    def kept(name, settings, seed, train):
        names.append((name, settings))

    monkeypatch.setattr(dens, "keep", kept)
    for sigma in (0.05, 0.1):
        dens.learned("plain", QUICK | {"sigma": sigma, "tuned_sigma": sigma}, 0, "cpu")
    dens.learned("dens", QUICK | {"tuned_sigma": 0.1}, 0, "cpu")
    dens.learned("dens", QUICK, 0, "cpu")
    dens.learned("dens", QUICK | {"sigma": 0.1}, 0, "cpu")
    assert names[0] == names[1] and names[2] == names[3] and names[3] != names[4]


def test_the_arms_differ_in_one_thing_each():
    plain = dens.objective_of("plain", QUICK)
    ours = dens.objective_of("dens", QUICK)
    assert isinstance(plain, EnergyForces) and type(ours) is DeNS
    assert ours.supervised == plain and plain.loss == "norm" and plain.energy_weight == 1 / 80
    names = (
        *("corrupt_ratio", "force_encoding", "prob", "sigma", "denoising_weight", "loss"),
        "labels_of_corrupted",
    )
    published = dict(zip(names, (0.25, "true", 0.25, 0.05, 0.0625, "norm", True), strict=True))
    changed = {
        "dens": {},
        "zero": {},
        "full": {"corrupt_ratio": 1.0},
        "untold": {"force_encoding": "none"},
        "shuffled": {"force_encoding": "shuffled"},
        "unlabeled": {"labels_of_corrupted": False},
        "force_unit": {"denoising_weight": 0.0625 * 6.3},
        "zero_force_unit": {"denoising_weight": 0.0625 * 6.3},
        "tuned": {"prob": 0.125, "labels_of_corrupted": False},
    }
    assert set(dens.WORDS) == {"plain", *changed}
    for arm, different in changed.items():
        found = {name: getattr(dens.objective_of(arm, QUICK, 6.3), name) for name in names}
        assert found == pytest.approx(published | different), arm


def test_noise_weighs_by_the_spread_of_forces_where_an_arm_says_so():
    store = scdlab.load_ethanol().sample(200)
    batch = store.take(range(200))
    force = batch.forces.double().square().mean().sqrt().item()
    spread = batch.energy.std(correction=0).item()  # one molecule: references do not matter
    assert dens_frames.force_unit(store) == pytest.approx(force / spread, rel=1e-6)
    assert 2 < force / spread < 12


def test_the_force_input_starts_from_zero_in_these_arms_alone():
    for arm in dens.WORDS:
        weights = dens.network(arm, QUICK, 0).force_encoding.weights
        assert all(bool((w == 0).all()) == (arm in dens.FROM_ZERO) for w in weights), arm


def test_no_training_sees_a_test_frame_and_every_arm_starts_the_same(monkeypatch):
    train, val, test = dens_frames.frames(QUICK, 1)
    assert len(train) == 40 and len(val) == 8 and len(test) == 16
    assert len(set(np.concatenate([train.index, val.index, test.index]))) == 64
    seen = []

    def noted(model, objective, store, steps, batch_size, lr, seed, device, **options):
        weights = torch.cat(
            [
                p.detach().flatten()
                for name, p in model.named_parameters()
                if "force_enc" not in name
            ]
        )
        seen.append((weights, store.index, options["val"].index, steps, batch_size, lr))

    monkeypatch.setattr(common, "trained", noted)
    monkeypatch.setattr(dens, "keep", lambda name, settings, seed, train: train(None))
    for arm in dens.WORDS:
        dens.learned(arm, QUICK, 1, "cpu")
    first = seen[0]
    assert np.array_equal(first[1], train.index) and np.array_equal(first[2], val.index)
    for other in seen[1:]:
        assert torch.equal(first[0], other[0]) and np.array_equal(first[1], other[1])
        assert first[3:] == other[3:]


def test_md17_is_read_when_a_recipe_asks_for_it(monkeypatch):
    asked = []
    monkeypatch.setattr(
        scdlab, "load_md17", lambda name: asked.append(name) or scdlab.load_aspirin(), raising=False
    )
    train, *_ = dens_frames.frames(QUICK | {"data": "md17:aspirin"}, 0)
    assert asked == ["aspirin"] and train.n_atoms[0] == 21


def test_whole_groups_are_held_out_and_their_elements_are_all_trained_on():
    settings = claims.get("dens-direct-surfaces").settings("quick")
    tests = set()
    for seed in range(3):
        parts = dens_frames.frames(settings, seed)
        groups = [set(np.asarray(part.property("system")).tolist()) for part in parts]
        assert len(groups[1]) == 1 and len(groups[2]) == 2
        assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]
        elements = [set(part.take(range(len(part))).z.tolist()) for part in parts]
        assert elements[1] | elements[2] <= elements[0]
        tests.add(tuple(sorted(groups[2])))
    assert len(tests) > 1
    with pytest.raises(ValueError, match=r"holds out 80 groups \(system\)"):
        dens_frames.frames(settings | {"held_out_groups": [30, 50]}, 0)


def relaxations(**changed):
    """Two relaxations of three and two frames of H2 above a fixed Cu, as arrays of a file."""
    pos = np.array([[0, 0, 0], [0, 0, 2], [0, 0.7, 2]], float)
    n = 5
    forces = np.full((n, 3, 3), 0.1)
    forces[:, 0] = 99.0  # of fixed atoms: they do not count
    forces[1, 1] = 11.0
    found = {
        "z": np.tile([29, 1, 1], n),
        "R": np.tile(pos, (n, 1)),
        "n_atoms": np.full(n, 3),
        "cell": np.tile(8 * np.eye(3), (n, 1, 1)),
        "E": np.array([-3.0, -4.0, -5.0, 7.0, 6.5]),
        "F": forces.reshape(-1, 3),
        "fixed": np.tile(np.array([1, 0, 0], np.uint8), n),
        "traj": np.array([4, 4, 4, 9, 9]),
    }
    return {name: value for name, value in (found | changed).items() if value is not None}


def test_relaxations_are_read_from_the_users_own_file(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "user_data", lambda: tmp_path)
    np.savez(tmp_path / "oc20_some.npz", **relaxations())
    store = dens_frames.structures("oc20:relaxations")
    assert store.property("traj").tolist() == [4, 4, 9, 9]  # one has a force of more than 10 eV/Å
    batch = store.take(range(4))
    assert batch.energy.tolist() == pytest.approx([2.0, 0.0, 0.5, 0.0])  # above its last frame
    assert batch.fixed.bool().tolist() == [True, False, False] * 4


@pytest.mark.parametrize("name", ["E", "F", "cell", "fixed", "traj"])
def test_relaxations_that_lack_an_array_are_refused(monkeypatch, tmp_path, name):
    monkeypatch.setattr(files, "user_data", lambda: tmp_path)
    np.savez(tmp_path / "oc20_some.npz", **relaxations(**{name: None}))
    word = {"E": "energy", "F": "forces"}.get(name, name)
    with pytest.raises(ValueError, match=f"got none of {word}: add them"):
        dens_frames.relaxations()


@pytest.mark.parametrize("files_there", [None, (), ("oc20_a.npz", "oc20_b.npz")])
def test_a_recipe_says_which_data_it_lacks(monkeypatch, tmp_path, files_there):
    monkeypatch.setattr(files, "user_data", lambda: None if files_there is None else tmp_path)
    for name in files_there or ():
        (tmp_path / name).touch()
    found = ", ".join(files_there or ()) or "none"
    settings = claims.get("dens-direct-surfaces").settings("night")
    with pytest.raises(ValueError, match=rf"SCDLAB_DATA names, got {found}: put one there"):
        dens_frames.frames(settings, 0)


def test_what_is_left_of_the_noise_is_measured_as_each_line_says(monkeypatch):
    told = []

    def evaluate(model, store, objective):
        told.append((model, objective.force_encoding, objective.prob, objective.corrupt_ratio))
        return {"noise_unexplained": len(told) / 10}

    monkeypatch.setattr(dens, "learned", lambda arm, *_: arm)
    monkeypatch.setattr(scdlab, "evaluate", evaluate, raising=False)
    values = dens.clue(QUICK, 0, "cpu")
    assert told == [
        ("dens", "true", 1.0, 0.25),
        ("untold", "none", 1.0, 0.25),
        ("dens", "none", 1.0, 0.25),
        ("dens", "shuffled", 1.0, 0.25),
        ("shuffled", "shuffled", 1.0, 0.25),
    ]
    assert list(values.values()) == pytest.approx([10, 20, 30, 40, 50])


def test_a_recipe_measures_every_arm_on_unseen_frames_and_the_plain_one_on_its_own(monkeypatch):
    asked = []

    def evaluate(model, store, objective):
        asked.append((model, len(store), type(objective).__name__))
        if isinstance(objective, DeNS):
            return {"noise_unexplained": 0.4 if objective.force_encoding == "true" else 0.9}
        error = {"dens": 0.03, "untold": 0.05, "plain": 0.04}[model]
        return {"force_mae": error * (1 if len(store) == 16 else 0.25), "energy_mae": 0.002}

    monkeypatch.setattr(dens, "learned", lambda arm, *_: arm)
    monkeypatch.setattr(scdlab, "evaluate", evaluate, raising=False)
    claim = claims.get("dens-force-encoding")
    values = claim.recipe(QUICK, 0, "cpu")
    assert list(values) == list(claim.quantities)
    assert values["gain_percent"] == pytest.approx(40.0)
    assert values["train_force_mae_plain_meV_per_A"] == pytest.approx(10.0)
    assert ("plain", 40, "EnergyForces") in asked and ("untold", 16, "DeNS") in asked
    assert claim.verdict([values] * 2, claim.settings("night")) == "same direction"
