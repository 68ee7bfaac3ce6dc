"""The claim on force models: what each network has seen, the rule, and the models handed on."""

import dataclasses

import numpy as np
import pytest

import scdlab
from scdlab import claims
from scdlab.claims import force_models, provenance, record
from scdlab.claims.claim import REGISTRY
from scdlab.training import FitResult, checkpoint

CLAIM = claims.get("pet-et-forces")
QUICK = CLAIM.settings("quick")


@pytest.mark.parametrize(
    ("pet", "et", "verdict"),
    [
        ((20, 21, 22), (20, 20, 20), "same direction"),
        ((23, 24, 25), (20, 20, 20), "not seen at this scale"),
        ((21, 24, 25), (20, 20, 20), "tie"),
    ],
)
def test_the_rule(pet, et, verdict):
    rows = [
        dict.fromkeys(CLAIM.quantities, 1.0) | dict(zip(CLAIM.arms, pair, strict=True))
        for pair in zip(pet, et, strict=True)
    ]
    assert CLAIM.verdict(rows, CLAIM.settings("night")) == verdict


@pytest.mark.parametrize("molecule", force_models.MOLECULES)
def test_both_networks_learn_from_the_same_frames_and_from_no_test_frame(molecule, monkeypatch):
    seen = []

    def noted(model, objective, train, steps, batch_size, lr, seed, device, *, val, **options):
        seen.append((type(model), set(train.index), set(val.index), steps, batch_size))
        return FitResult(model)

    monkeypatch.setattr(force_models, "trained", noted)
    for network in force_models.NETWORKS:
        force_models.learned(network, molecule, QUICK, 0, "cpu")
    test = set(force_models.frames(molecule, QUICK, 0)[2].index)
    pet, et = seen
    assert (pet[0], et[0]) == (scdlab.PET, scdlab.EquivariantTransformer) and pet[1:] == et[1:]
    assert not (pet[1] | pet[2]) & test and not pet[1] & pet[2]
    assert len(pet[1]) == QUICK[f"n_{molecule}"]


def test_the_frames_are_split_as_the_checkpoints_say():
    for molecule, n in (("ethanol", 1500), ("aspirin", 800)):
        store = scdlab.load_ethanol() if molecule == "ethanol" else scdlab.load_aspirin()
        train, val, test = force_models.frames(molecule, CLAIM.settings("night"), 0)
        parts = store.split(n, 50, seed=0)
        assert set(train.index) == set(parts[0].index) and set(val.index) == set(parts[1].index)
        assert set(test.index) <= set(parts[2].index)
        words = CLAIM.checkpoints[f"et-{molecule}-gfn2"]
        assert f"load_{molecule}().split({n}, 50, seed=0)[0]" in words


@pytest.mark.slow
def test_the_recipe_hands_four_models_on(monkeypatch, tmp_path):
    small = QUICK | {"steps_ethanol": 1, "steps_aspirin": 1, "md_steps": 5}
    monkeypatch.setitem(
        REGISTRY,
        CLAIM.id,
        dataclasses.replace(CLAIM, profiles=CLAIM.profiles | {"night": small}),
    )
    monkeypatch.setattr(record, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(provenance, "checkout", lambda: ("a" * 40, False))
    monkeypatch.setattr(checkpoint, "package_dir", lambda folder: tmp_path)
    options = {"device": "cpu", "out": tmp_path, "echo": lambda line: None}
    measured = claims.run(CLAIM.id, "night", checkpoints=tmp_path / "checkpoints", **options)
    (values,) = measured.values
    assert values["turned_force_et_aspirin_meV_per_A"] < 1e-6
    assert values["turned_force_pet_aspirin_meV_per_A"] > 1e-3
    atoms = scdlab.load_aspirin().take(range(2))
    for network in force_models.NETWORKS:
        model = scdlab.load_pretrained(f"{network}-aspirin-gfn2")
        error = values[f"force_mae_{network}_aspirin_meV_per_A"]
        assert model.provenance["test_force_mae_meV_per_A"] == error
        assert np.isfinite(model(atoms, forces=True).forces.numpy()).all()
