"""The models that come with the kit: each says what it has seen and how good it is."""

import json

import live_models  # of tools/
import pytest

import scdlab
from scdlab import claims, files

FOLDER = files.package_dir("data") / "checkpoints"
SHIPPED = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in live_models.SETTINGS])
def test_a_model_says_what_it_has_seen_and_its_test_error(name):
    (claim,) = (claim for claim in claims.claims() if name in claim.checkpoints)
    origin = origin_of(name)
    assert origin["claim"] == claim.id and origin["seen"] == claim.checkpoints[name]
    assert origin["settings"] | {"seeds": 0} == claim.settings(origin["profile"]) | {"seeds": 0}
    tests = claim.checkpoint_tests[name]
    assert tests and all(entry.startswith("test_") for entry in tests)
    assert all(0 < origin[entry] < float("inf") for entry in tests)


@pytest.mark.parametrize("name", live_models.SETTINGS)
def test_a_model_of_the_live_page_says_the_same(name):
    origin = origin_of(name)
    assert origin["claim"] == live_models.RECIPE and origin["seen"] == live_models.SEEN[name]
    assert origin["settings"] == live_models.SETTINGS[name]
    tests = [entry for entry in origin if entry.startswith("test_")]
    for quantity in ("force", "energy"):
        assert any(entry.startswith(f"test_{quantity}_mae_") for entry in tests)
    assert all(0 < origin[entry] < float("inf") for entry in tests)


def origin_of(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["provenance"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_loads_and_is_on_the_data_sheet(name):
    assert scdlab.load_pretrained(name).provenance["seed"] == 0
    assert f"`{name}`" in (FOLDER.parent / "README.md").read_text(encoding="utf-8")


def test_they_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 40e6


def test_force_models_are_good_enough_for_dynamics():
    for name in SHIPPED:
        if name.endswith("-gfn2"):
            origin = scdlab.load_pretrained(name).provenance
            assert origin["test_force_mae_meV_per_A"] < 60, name
