"""Claims of lesson 04: trainings that are shared, and the models that are handed on."""

import collections
import dataclasses
import json

import pytest
import torch

import scdlab
from scdlab import claims
from scdlab.claims import provenance, record
from scdlab.claims import self_conditioned as scd
from scdlab.claims import self_conditioned_adaln as adaln
from scdlab.claims import self_conditioned_growth as growth
from scdlab.claims.claim import REGISTRY
from scdlab.objectives import CoordinateDenoising, SelfConditionedDenoising
from scdlab.training import FitResult, checkpoint

QM9 = ("scd-extensivity", "scd-few-labels-homo", "scd-ethanol-forces", "scd-condition", "ct-faults")
FRAMES = ("scd-condition", "scd-frames-transfer", "scd-nonequilibrium", "scd-extensivity-frames")
TINY_STEPS = {
    "pretrain_steps": 2,
    "frames_steps": 2,
    "few_steps": 1,
    "many_steps": 1,
    "force_steps": 1,
    "n_test": 40,
}


@pytest.mark.parametrize(("domain", "ids"), [("qm9", QM9), ("frames", FRAMES)])
def test_claims_share_their_pretraining(domain, ids):
    for profiles in (("cpu", "night"), ("full",)):
        decides = set()
        for claim_id in ids:
            claim = claims.get(claim_id)
            for profile in [p for p in profiles if p in claim.profiles][:1]:
                settings = claim.settings(profile)
                decides.add(json.dumps([settings[name] for name in scd.PRETRAIN[domain]]))
        assert len(decides) == 1


def tiny(monkeypatch, claim_id, profile):
    """Let a profile of the claim train for next to nothing; returns the claim and its settings."""
    claim = claims.get(claim_id)
    settings = claim.settings("quick")
    settings |= {name: value for name, value in TINY_STEPS.items() if name in settings}
    small = dataclasses.replace(claim, profiles=claim.profiles | {profile: settings})
    monkeypatch.setitem(REGISTRY, claim.id, small)
    return small, settings


@pytest.mark.slow
def test_what_is_shared_is_trained_once_and_not_changed_by_those_who_use_it(monkeypatch, tmp_path):
    """Claims in the same folder: pretraining that both name is done by the first, and a run that
    begins anew trains nothing at all."""
    done = collections.Counter()
    trained = scd.trained

    def counted(model, objective, *args, **options):
        labeled = objective.labeled is not None
        done["tuned" if labeled else type(objective).__name__] += 1
        return trained(model, objective, *args, **options)

    monkeypatch.setattr(scd, "trained", counted)
    options = dict(profile="quick", device="cpu", out=tmp_path, echo=lambda line: None)
    first, second = "scd-frames-transfer", "scd-nonequilibrium"
    for claim_id in (first, second):
        tiny(monkeypatch, claim_id, "quick")
    values = claims.run(first, **options).values[0]
    assert done == {"SelfConditionedDenoising": 1, "CoordinateDenoising": 2, "tuned": 16}
    claims.run(second, **options)
    assert done == {"SelfConditionedDenoising": 1, "CoordinateDenoising": 2, "tuned": 20}
    (tmp_path / f"{first}.quick.seed0.json").unlink()  # as a night that was ended before its end
    assert claims.run(first, **options).values[0] == values
    assert sum(done.values()) == 23, "all that was trained is kept"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim_id", "names", "shared"),
    [
        ("scd-extensivity", ["scd-ct", "coord-ct"], "minima"),
        ("scd-condition", ["scd-ct-frames", "coord-ct-frames"], "mixed"),
    ],
)
def test_the_recipe_hands_its_models_on(claim_id, names, shared, monkeypatch, tmp_path):
    claim, settings = tiny(monkeypatch, claim_id, "cpu")
    assert list(claim.checkpoints) == names
    monkeypatch.setattr(record, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(provenance, "checkout", lambda: ("a" * 40, False))
    monkeypatch.setattr(checkpoint, "package_dir", lambda folder: tmp_path)
    made = claims.run(
        claim_id,
        "cpu",
        device="cpu",
        out=tmp_path,
        checkpoints=tmp_path / "checkpoints",
        echo=lambda line: 0,
    )
    for name in names:
        model = scdlab.load_pretrained(name)
        assert not model.property_heads, "the model as pretraining left it, before any label"
        assert model.mask_token is not None and not model.energy_head.reference.any()
        about = model.provenance
        assert about["claim"] == claim_id and about["settings"] == settings
        assert about["seen"] == claim.checkpoints[name]
        left = about["test_noise_left_own" if name.startswith("scd") else "test_noise_left"]
        which = "own" if name.startswith("scd") else "coord"
        assert left == made.values[0][f"left_{which}_{shared}"]
        batch = scdlab.load_ethanol().take(range(4))
        c = model(batch, noise=False).embedding
        assert model(batch, condition=c, noise=True).noise.isfinite().all()
        start = scd.fresh(settings, 0).state_dict()
        assert any(
            not torch.equal(a, b)
            for a, b in zip(model.state_dict().values(), start.values(), strict=True)
        )


def test_the_checkpoints_are_those_of_their_methods(monkeypatch):
    """What is kept as "scd-…" was trained by SCD, as "coord-…" by Coord, with the same frozen."""
    kept = {}

    def keep(name, settings, seed, train):
        kept[name] = train(None)

    def trained(model, objective, store, steps, *args, **options):
        return objective, len(store), steps

    for module in (scd, growth):
        monkeypatch.setattr(module, "keep", keep)
        monkeypatch.setattr(module, "trained", trained)
    for domain in scd.DOMAINS:
        for method in ("scd", "coord", "updates"):
            scd.pretrained(method, scd.QUICK, 0, "cpu", domain)
    scd.pretrained("updates", scd.QUICK, 0, "cpu", kind="et")
    denoising = SelfConditionedDenoising(0.04, freeze_element_embeddings=True)
    plain = CoordinateDenoising(0.04, freeze_element_embeddings=True)
    for end, size in (("", 1000), ("-frames", 5122)):
        for name, objective, steps in (
            ("scd-ct", denoising, 4),
            ("coord-ct", plain, 8),
            ("updates-ct", plain, 4),
        ):
            assert repr(kept[name + end]) == repr((objective, size, steps))
    assert repr(kept["updates-et"]) == repr((plain, 1000, 4))
    for arm in growth.ARMS:
        growth.on_frames(arm, 7, scd.QUICK, 0, "cpu")
    found = {arm: kept[f"scd-ct-ethanol-{arm}-7"] for arm in growth.ARMS}
    assert all(steps == 7 and size == 1500 for _, size, steps in found.values())
    assert [arm for arm in found if found[arm][0].stop_gradient] == ["stopped"]
    conditions = {arm: objective.condition for arm, (objective, _, _) in found.items()}
    assert conditions == {"own": "own", "stopped": "own", "other": "other", "atoms": "atoms"}


# --- the arms of adaptive layer norm, and the picture of growth
# ------------------------------------------------------------------------------------------


def test_arms_of_adaln_differ_in_what_they_are_named_for():
    settings = scd.QUICK
    batch = scdlab.load_ethanol().take(range(4))
    noisy = scdlab.load_ethanol().take(range(4, 8))
    bodies = {}
    for arm in adaln.WORDS:
        model = adaln.network(arm, settings, 0).eval()
        c = model(noisy, noise=False).embedding
        none = model(batch, noise=True).noise
        changed = not torch.equal(model(batch, condition=c, noise=True).noise, none)
        assert changed == ("zero" not in arm), f"{arm}: acts from the first step on"
        if arm == "released":
            continue
        modulation = model.adaln[0]
        x = torch.randn(len(batch.z), settings["hidden_channels"])
        with torch.no_grad():
            modulation.last.weight.normal_()
        one, other = (modulation(c, each, batch) for each in (x, x.flip(1)))
        assert torch.equal(one[0], other[0]) == arm.startswith("c_"), f"{arm}: reads the atom"
        assert (one[2].min() < 0) == arm.endswith("tanh"), f"{arm}: the gate"
        bodies[arm] = model.blocks.state_dict()
    first, *rest = bodies.values()
    assert all(torch.equal(first[name], body[name]) for body in rest for name in first)


def test_watched_trainings_validate_with_the_condition_and_without():
    train, val, test = growth.frames(0)
    assert (len(train), len(val), len(test)) == (1500, 100, 400)
    model = scd.fresh(scd.QUICK, 0)
    watched = growth.WatchedDenoising(0.04)
    result = scdlab.fit(
        model, watched, train[:64], val[:32], steps=4, batch_size=8, val_every=2, progress=False
    )
    assert isinstance(result, FitResult)
    for name, p in (("own", 0.0), ("none", 1.0)):
        assert sum(x == x for x in result.history[f"val_{name}"]) == 2
        found = scdlab.evaluate(model, val[:32], watched.validation_objective)
        assert found[name] == scd.noise_left(model, val[:32], scd.QUICK, p_drop_condition=p)


@pytest.mark.slow
def test_the_longest_training_leaves_the_curves_of_the_picture(monkeypatch, tmp_path):
    claim = claims.get("scd-growth")
    claims.run(claim.id, "quick", device="cpu", out=tmp_path, echo=lambda line: None)
    found = claims.curves.gather(claim.id, "quick", tmp_path)
    assert set(found.arms) == {"own", "none"} and found.seeds == [0]
    steps = claim.settings("quick")["lengths"][-1]
    for name, arm in found.arms.items():
        assert arm.told == (name == "own") and arm.steps[0][-1] == steps
        assert len(arm.values[0]) == len(arm.steps[0]) and all(x > 0 for x in arm.values[0])
    figure = found.figure(quantity="noise left on validation frames")
    assert figure.layout.yaxis.title.text == "noise left on validation frames (share)"
    assert [trace.line.dash for trace in figure.data] == ["dash", "dash", "solid", "solid"]
