"""Claims of lesson 02: what pretraining has seen, verdicts from the rules, and what the recipes
measure."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch

import scdlab
from scdlab import claims, files
from scdlab.claims import common, denoising, denoising_pairwise, provenance, record
from scdlab.claims.claim import NOT_TESTED, RECORDED, REGISTRY
from scdlab.objectives import CoordinateDenoising
from scdlab.training import FitResult, checkpoint

SETTINGS = denoising.QUICK
LOW = (1.0, 1.1, 1.2)
HIGH = (2.0, 2.1, 2.2)
ANY = (1.0, 3.0, 0.5)


def values(claim, better, worse, **others):
    """Values of a claim, one dict per seed, for its two arms and the quantities named; 1 for all
    else."""
    arms = dict(zip(claim.arms, (better, worse), strict=True)) | GUESS | others
    return [
        {name: arms.get(name, (1, 1, 1))[seed] for name in claim.quantities} for seed in range(3)
    ]


NEAR = (0.80, 0.81, 0.82)
FAR = (0.60, 0.62, 0.61)
LOST = (0.30, 0.31, 0.32)
FLOORS = {
    f"{what}_{size}": (0.05, 0.05, 0.05)
    for what in ("mean_mse", "floor")
    for size in ("small", "large")
}
ORDERED = {"r2_homo_neighbors_coord": NEAR, "r2_homo_neighbors_untrained": LOST}
LONGER = "homo_mae_scratch_longer_meV"
GUESS = {"homo_mae_guess_meV": (9.0, 9.0, 9.0), "mu_mae_guess_D": (9.0, 9.0, 9.0)}


def measured(claim):
    """The smallest profile of a claim that is recorded."""
    return next(name for name in RECORDED if name in claim.profiles)


@pytest.mark.parametrize(
    ("claim_id", "better", "worse", "others", "verdict"),
    [
        ("coord-few-labels-homo", LOW, HIGH, {LONGER: HIGH}, "same direction"),
        ("coord-few-labels-homo", HIGH, LOW, {}, "not seen at this scale"),
        ("coord-few-labels-homo", LOW, ANY, {}, "tie"),
        ("coord-noise-floor", LOW, HIGH, FLOORS, "reproduced"),
        (
            "coord-noise-floor",
            LOW,
            HIGH,
            FLOORS | {"mean_mse_small": (0.05, 0.05, 0.06)},
            "same direction",
        ),
        ("coord-noise-floor", HIGH, LOW, FLOORS, "contradicted"),
        ("coord-noise-floor", LOW, ANY, FLOORS, "tie"),
        ("coord-noise-force", NEAR, FAR, {}, "reproduced"),
        ("coord-noise-force", (0.40, 0.41, 0.42), LOST, {}, "same direction"),
        ("coord-noise-force", FAR, NEAR, {}, "not seen at this scale"),
        ("coord-noise-force", FAR, (0.9, 0.1, 0.2), {}, "tie"),
        ("dimenet-pairwise-mu", LOW, HIGH, {}, "same direction"),
        ("dimenet-pairwise-mu", HIGH, LOW, {}, "not seen at this scale"),
        ("dimenet-pairwise-mu", LOW, ANY, {}, "tie"),
        ("coord-extensivity", NEAR, NEAR, ORDERED, "reproduced"),
        ("coord-extensivity", NEAR, LOST, {}, "same direction"),
        ("coord-extensivity", LOST, NEAR, ORDERED, "not seen at this scale"),
    ],
)
def test_rules_of_lesson_02(claim_id, better, worse, others, verdict):
    claim = claims.get(claim_id)
    settings = claim.settings(measured(claim))
    assert claim.verdict(values(claim, better, worse, **others), settings) == verdict


@pytest.mark.parametrize(
    ("claim_id", "guess"),
    [("coord-few-labels-homo", "homo_mae_guess_meV"), ("dimenet-pairwise-mu", "mu_mae_guess_D")],
)
def test_arms_that_do_not_halve_the_guess_test_nothing(claim_id, guess):
    claim = claims.get(claim_id)
    close = values(claim, LOW, HIGH, **{guess: (4.3, 4.3, 4.3)})
    assert claim.verdict(close, claim.settings("night")) == NOT_TESTED, "2.2 is above half of 4.3"


def test_the_seed_of_the_trials_is_not_measured():
    homo = claims.get("coord-few-labels-homo")
    assert all(homo.settings(profile)["seeds"] == [1, 2, 3] for profile in ("night", "full"))


def test_with_as_many_labels_as_the_paper_the_verdict_is_final():
    claim = claims.get("coord-few-labels-homo")
    settings = {"n_labels": 110_000}
    assert claim.verdict(values(claim, LOW, HIGH, **{LONGER: HIGH}), settings) == "reproduced"
    assert claim.verdict(values(claim, HIGH, HIGH, **{LONGER: LOW}), settings) == "tie"
    assert (
        claim.verdict(values(claim, LOW, HIGH, **{LONGER: (0.9, 2, 2)}), settings)
        == "same direction"
    )
    assert claim.verdict(values(claim, HIGH, LOW), settings) == "contradicted"
    mu = claims.get("dimenet-pairwise-mu")
    assert mu.verdict(values(mu, LOW, HIGH), settings) == "reproduced"
    assert mu.verdict(values(mu, HIGH, LOW), settings) == "contradicted"


# --- what was seen
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_tested_was_not_pretrained_on(seed):
    rest, held_out = common.molecules(SETTINGS, seed)
    assert len(rest) == SETTINGS["n_pretrain"] and not set(rest.index) & set(held_out.index)


def test_seeds_draw_other_molecules_and_hold_out_the_same():
    one, two = (common.molecules(SETTINGS, seed) for seed in (0, 1))
    assert set(one[0].index) != set(two[0].index) and set(one[1].index) == set(two[1].index)


def test_of_qm9_the_kits_sample_is_held_out():
    if importlib.util.find_spec("qm9pack") is None:
        with (
            pytest.raises(ValueError, match="pip install qm9pack"),
            pytest.warns(UserWarning, match="sample"),
        ):
            common.molecules(denoising.CPU, 0)
        return
    rest, held_out = common.molecules(denoising.CPU, 0)
    sample = scdlab.AtomStore.open(files.package_dir("data") / "qm9-sample")
    assert len(rest) == denoising.CPU["n_pretrain"] and len(held_out) == len(sample)
    assert np.array_equal(held_out.energy, sample.energy) and np.array_equal(
        held_out.n_atoms, sample.n_atoms
    )
    assert not set(rest.index) & set(held_out.index)


def test_the_leak_is_the_test_molecules_and_nothing_else(monkeypatch):
    claim = claims.get("dimenet-pairwise-mu")
    trained = []
    settings = claim.settings("quick")
    monkeypatch.setattr(
        scdlab, "fit", lambda m, o, train, **k: trained.append(train) or FitResult(m)
    )
    rest, held_out = common.molecules(settings, 0)
    test = held_out[:5]
    for leak in (None, test):
        denoising_pairwise.pairwise(settings, 0, "cpu", rest, leak)
    clean, leaky = (set(store.index) for store in trained)
    assert clean == set(rest.index)
    assert (
        leaky - clean == set(test.index)
        and len(clean - leaky) == len(test)
        and len(leaky) == len(clean)
    )


def test_three_claims_start_from_one_pretraining():
    settings = [
        claims.get(c).settings(p)
        for p in ("night", "full")
        for c in ("coord-few-labels-homo", "coord-noise-force", "coord-extensivity")
    ]
    parts = [{name: s[name] for name in denoising.COORD} for s in settings]
    assert parts[0] == parts[1] == parts[2] and parts[3] == parts[4] == parts[5]


# --- what the floor's recipe measures
# ---------------------------------------------------------------------------


class Answers(torch.nn.Module):
    """A "network" that knows the clean positions: answers with the noise, its mean taken away or
    not, plus a bias."""

    def __init__(self, store, sigma, knows_mean, bias=0.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.clean = store.take(range(len(store))).pos
        self.sigma = sigma
        self.knows_mean = knows_mean
        self.bias = bias

    def forward(self, batch, noise):
        eps = (batch.pos - self.clean) / self.sigma
        mean = eps.new_zeros(batch.num_graphs, 3).index_add(
            0, batch.batch, eps
        ) / batch.ptr.diff().unsqueeze(-1)
        answer = eps if self.knows_mean else eps - mean[batch.batch]
        return scdlab.Prediction(noise=answer + self.bias)


def floor_parts(centered, **options):
    store = scdlab.AtomStore.open(files.package_dir("data") / "qm9-sample")[:60]
    losses = [
        denoising.noise_losses(
            Answers(store, 0.04, **options), store, CoordinateDenoising(centered=centered), seed
        )
        for seed in range(20)
    ]
    return np.mean(losses, axis=0), store.n_atoms


def test_the_best_answer_to_uncentered_noise_leaves_one_over_n():
    losses, size = floor_parts(centered=False, knows_mean=False)
    assert np.allclose(losses[:, 0], losses[:, 1], atol=1e-5), "all of it is in the mean"
    assert (losses[:, 1] * size).mean() == pytest.approx(1, rel=0.05)


def test_centered_noise_leaves_nothing_and_a_bias_is_seen():
    losses, _ = floor_parts(centered=True, knows_mean=False)
    assert losses.max() < 1e-5
    losses, _ = floor_parts(centered=True, knows_mean=False, bias=0.5)
    assert losses == pytest.approx(0.25, rel=1e-3), "a constant answer is an error in the mean"
    assert floor_parts(centered=False, knows_mean=True)[0].max() < 1e-5, (
        "the clean positions give the mean away"
    )


# --- checkpoints
# ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coord-et", "dimenet-pairwise"])
def test_the_recipe_hands_its_model_on(name, monkeypatch, tmp_path):
    (claim,) = (claim for claim in claims.claims() if name in claim.checkpoints)
    small = claim.settings("quick") | {"pretrain_steps": 2, "steps": 1}
    small = {key: value for key, value in small.items() if key in claim.settings("quick")}
    profile = measured(claim)
    monkeypatch.setitem(
        REGISTRY,
        claim.id,
        dataclasses.replace(claim, profiles=claim.profiles | {profile: small}),
    )
    monkeypatch.setattr(record, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(provenance, "checkout", lambda: ("a" * 40, False))
    monkeypatch.setattr(checkpoint, "package_dir", lambda folder: tmp_path)
    claims.run(
        claim.id,
        profile,
        device="cpu",
        out=tmp_path,
        checkpoints=tmp_path / "checkpoints",
        echo=lambda line: 0,
    )
    model = scdlab.load_pretrained(name)
    assert not model.property_heads, "the model as pretraining left it, before any label"
    assert model.provenance["claim"] == claim.id and model.provenance["settings"] == small
    (error,) = claim.checkpoint_tests[name]
    assert model.provenance[error] > 0
    unseen = common.molecules(small, 0)[1][:4]
    assert model(unseen.take(range(4)), noise=True).noise.isfinite().all()
