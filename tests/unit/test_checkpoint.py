"""Models on disk."""

import json

import live_models
import pytest
import safetensors.torch
import torch
from ase.build import molecule

import scdlab
from scdlab import claims, files
from scdlab.training import checkpoint


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)
    model.add_property("homo", "scalar_mean")
    model.energy_head.reference[6] = -1027.123456789
    scdlab.save(model, tmp_path / "net")
    return model.eval(), tmp_path / "net"


@pytest.mark.parametrize("suffix", ["", ".safetensors", ".json"])
def test_a_model_comes_back_as_it_was(saved, suffix):
    model, path = saved
    again = scdlab.load(str(path) + suffix)
    batch = scdlab.AtomStore.from_ase([molecule("CH4")]).take([0])
    one = model(batch, forces=True)
    two = again(batch, forces=True)
    assert torch.equal(one.energy, two.energy) and torch.equal(one.forces, two.forces)
    assert torch.equal(one.properties["homo"], two.properties["homo"])
    assert again.config == model.config and not again.training


def test_a_name_with_a_dot_is_kept_whole(saved, tmp_path):
    scdlab.save(saved[0], tmp_path / "net-v1.5")
    assert (tmp_path / "net-v1.5.safetensors").is_file()
    scdlab.load(tmp_path / "net-v1.5")


def rewrite(path, sign=True, **changes):
    """Change entries of a model's json, and its digest with them."""
    about = json.loads(path.with_suffix(".json").read_text()) | changes
    if sign:
        about["digest"] = files.content_digest(about)
    path.with_suffix(".json").write_text(json.dumps(about))


def test_another_version_or_model_is_named(saved):
    path = saved[1]
    rewrite(path, format_version=99)
    with pytest.raises(ValueError, match="format version 99"):
        scdlab.load(path)
    rewrite(path, format_version=2, model="Perceptron")
    with pytest.raises(ValueError, match="a Perceptron, a class that is not registered"):
        scdlab.load(path)
    rewrite(path, model="SchNet", config={"hidden_channels": 8, "flavor": "sweet"})
    with pytest.raises(ValueError, match="flavor"):
        scdlab.load(path)
    rewrite(path, config={"hidden_channels": 8, "num_layers": 2, "num_rbf": 8})
    with pytest.raises(ValueError, match="another model"):
        scdlab.load(path)


def test_damage_is_found(saved):
    path = saved[1]
    whole = path.with_suffix(".safetensors").read_bytes()
    path.with_suffix(".safetensors").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="damaged"):
        scdlab.load(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match="is no readable description of a model"):
        scdlab.load(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="No model at"):
        scdlab.load(path)


def test_some_other_json_is_not_a_model(saved):
    saved[1].with_suffix(".json").write_text('{"name": "something else"}')
    with pytest.raises(ValueError, match="does not describe an scdlab model"):
        scdlab.load(saved[1])


def test_nothing_half_written_remains_when_saving_fails(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError):
        scdlab.save(scdlab.SchNet(hidden_channels=8, num_layers=1), tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


# --- models that come with the kit
# ------------------------------------------------------------------------------

ORIGIN = dict.fromkeys(checkpoint.PROVENANCE, "x") | {"commit": "a" * 40}


@pytest.fixture
def shipped(saved, tmp_path, monkeypatch):
    """A kit in which one trained model ships."""
    monkeypatch.setattr(checkpoint, "package_dir", lambda name: tmp_path / name)
    path = tmp_path / "data" / "checkpoints" / "net"
    scdlab.save(saved[0], path, provenance=ORIGIN)
    return path


def test_a_shipped_model_says_where_it_comes_from(shipped, saved):
    model = scdlab.load_pretrained("net")
    assert model.provenance == ORIGIN and scdlab.load(saved[1]).provenance is None
    batch = scdlab.AtomStore.from_ase([molecule("CH4")]).take([0])
    assert torch.equal(model(batch).energy, saved[0](batch).energy)
    with pytest.raises(ValueError, match="called 'nett' comes with the kit; there are: net"):
        scdlab.load_pretrained("nett")


@pytest.mark.parametrize(
    ("changes", "resign", "complaint"),
    [
        ({"provenance": None}, False, "no provenance"),
        ({"provenance": ORIGIN | {"seen": "nothing"}}, False, "edited by hand"),
        ({"weights_sha256": "0" * 64}, False, "edited by hand"),
        ({"weights_sha256": "0" * 64}, True, "digest differs"),
        ({"provenance": ORIGIN | {"commit": None}}, True, "commit is empty"),
        ({"provenance": ORIGIN | {"commit": "b"}}, True, "names no commit"),
        ({"provenance": ORIGIN | {"hardware": {}}}, True, "hardware is empty"),
        (
            {"provenance": ORIGIN | {"command": "scdlab --out /home/me/x"}},
            True,
            "path of the machine",
        ),
    ],
)
def test_a_shipped_model_without_a_trusted_origin_is_refused(shipped, changes, resign, complaint):
    rewrite(shipped, sign=resign, **changes)
    with pytest.raises(ValueError, match=complaint):
        scdlab.load_pretrained("net")


def test_shipped_weights_that_changed_are_refused(shipped, saved):
    torch.nn.init.zeros_(saved[0].embedding.weight)
    scdlab.save(saved[0], shipped.with_name("other"))
    shipped.with_name("other.safetensors").replace(shipped.with_suffix(".safetensors"))
    with pytest.raises(ValueError, match="digest differs"):
        scdlab.load_pretrained("net")


@pytest.mark.parametrize("name", checkpoint.pretrained_names())
def test_the_kits_models_can_be_trusted(name):
    origin = scdlab.load_pretrained(name).provenance
    assert f"`{name}" in (files.package_dir("data") / "README.md").read_text(encoding="utf-8"), (
        "a row in the data sheet"
    )
    if origin["claim"] == live_models.RECIPE:
        now, seen = live_models.SETTINGS[name], live_models.SEEN[name]
    else:
        claim = claims.get(origin["claim"])
        now, seen = claim.settings(origin["profile"]), claim.checkpoints[name]
    assert origin["settings"] | {"seeds": 0} == now | {"seeds": 0}, (  # a model is of one seed
        "remake it: the recipe's settings have changed"
    )
    assert origin["seen"] == seen


def test_there_is_no_other_file_among_them():
    folder = files.package_dir("data") / "checkpoints"
    there = {path.name for path in folder.glob("*")}
    assert there == {
        f"{name}.{end}" for name in checkpoint.pretrained_names() for end in ("json", "safetensors")
    }


def test_what_a_model_reads_its_filters_from_is_kept(tmp_path):
    model = scdlab.SchNet(hidden_channels=8, num_layers=1)
    for model.filter_table_size in (None, 64):
        scdlab.save(model, tmp_path / "net")
        assert scdlab.load(tmp_path / "net").filter_table_size == model.filter_table_size
    with pytest.raises(ValueError, match="8 cells or more"):
        model.filter_table_size = 0
    assert model.filter_table_size == 64
