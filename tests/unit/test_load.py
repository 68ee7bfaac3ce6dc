"""Models on disk: what is damaged or absurd is refused in a sentence, before it costs anything."""

import json
import resource
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from ase.build import molecule
from torch import nn

import scdlab
from scdlab import files
from scdlab.nn import AtomisticModel, Features
from scdlab.objectives import EnergyForces
from scdlab.symmetry import RandomRotations

BACKBONES = {
    "SchNet": dict(hidden_channels=8, num_layers=1, num_rbf=8),
    "EquivariantTransformer": dict(hidden_channels=8, num_layers=1, num_heads=2, num_rbf=8),
    "DimeNet": dict(hidden_channels=8, num_layers=1, num_rbf=4),
    "PET": dict(hidden_channels=8, num_layers=1, num_heads=2),
    "TensorProductNet": dict(hidden_channels=8, num_layers=1),
}


def small(name="SchNet", **changes):
    torch.manual_seed(0)
    return getattr(scdlab, name)(**(BACKBONES[name] | changes))


def change(path, sign=True, **entries):
    """Change entries of a model's json, or remove those that are ..., and its digest with them."""
    file = path.with_suffix(".json")
    about = json.loads(file.read_text()) | entries
    about = {key: value for key, value in about.items() if value is not ...}
    if sign and "digest" not in entries:
        about["digest"] = files.content_digest(about)
    file.write_text(json.dumps(about))


def change_weights(path, tensors=None, raw=None):
    """Replace the weights; their digest is right."""
    file = path.with_suffix(".safetensors")
    if raw is None:
        safetensors.torch.save_file(tensors, file)
    else:
        file.write_bytes(raw)
    change(path, weights_sha256=files.digest(file))


@pytest.fixture
def path(tmp_path):
    scdlab.save(small(), tmp_path / "net")
    return tmp_path / "net"


def outputs(model, dtype=None):
    batch = scdlab.AtomStore.from_ase([molecule("CH3CH2OH"), molecule("H2O")]).take([0, 1])
    if dtype is not None:
        batch.pos = batch.pos.to(dtype)
    out = model.eval()(batch, forces=True)
    return out.energy.detach(), out.forces.detach()


# ------------------------------------------------------------------------------------ what it holds


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"model": ...}, "must hold a str as 'model', got no such entry"),
        ({"model": 3}, "must hold a str as 'model', got an int"),
        ({"model": "nn.Linear"}, "the class 'nn.Linear', which is no class's name"),
        ({"config": ...}, "must hold a dict as 'config', got no such entry"),
        ({"config": []}, "must hold a dict as 'config', got a list"),
        ({"config": {"properties": 3}}, "do not fit SchNet"),
        ({"config": {"properties": {"a": "round"}}}, "do not fit SchNet"),
        ({"config": {"properties": {"a.b": "scalar_sum"}}}, "do not fit SchNet"),
        ({"config": {"hidden_channels": "8"}}, "do not fit SchNet"),
        ({"config": {"hidden_channels": None}}, "do not fit SchNet"),
        ({"config": {"hidden_channels": -8}}, "do not fit SchNet"),
        ({"config": {"*args": [8, 1, 8, 5.0, "round"]}}, "do not fit SchNet"),
        ({"module": 3}, "must hold a str as 'module'"),
        ({"weights_sha256": ...}, "must hold a str as 'weights_sha256'"),
        ({"weights_sha256": "0" * 64}, "its digest differs"),
        ({"format_version": ...}, "format version None"),
        ({"format_version": True}, "format version True"),
        ({"digest": ...}, "written before scdlab 0.2"),
        ({"digest": "0" * 64}, "was edited or is damaged"),
        ({"trained_labels": ...}, "written before scdlab 0.2"),
        ({"units": ["eV"]}, "must hold a dict as 'units', got a list"),
        ({"units": {"homo": 1}}, "must hold text as the unit"),
        ({"provenance": "mine"}, "must hold a dict as 'provenance'"),
        ({"filter_table_size": "many"}, "filter_table_size must be"),
        ({"filter_table_size": 10**12}, "filter_table_size must be"),
        ({"filter_table_size": 2.5}, "filter_table_size must be"),
        ({"default_dtype": "float3"}, "must name a precision"),
    ],
)
def test_a_damaged_description_is_refused(path, entries, complaint):
    change(path, **entries)
    with pytest.raises(ValueError, match=complaint) as caught:
        scdlab.load(path)
    assert "net.json" in str(caught.value)


def test_an_edit_by_hand_is_found(path):
    change(path, sign=False, units={"homo": "meV"})
    with pytest.raises(ValueError, match="its digest differs"):
        scdlab.load(path)


@pytest.mark.parametrize("text", ["", "null", "[]", "[" * 10_000, '{"a": NaN}', '{"a": 1, "a": 2}'])
def test_what_is_no_description_is_refused(path, text):
    path.with_suffix(".json").write_text(text)
    with pytest.raises(ValueError, match=r"net\.json"):
        scdlab.load(path)


def test_damaged_weights_are_refused(path):
    good = safetensors.torch.load(path.with_suffix(".safetensors").read_bytes())
    with pytest.raises(ValueError, match="is no safetensors file"):
        change_weights(path, raw=b"junk" * 20)
        scdlab.load(path)
    wrong = {
        "embedding.weight": good["embedding.weight"][:-1].clone(),
        "energy_head.scale": torch.ones(2, dtype=torch.float64),
    }
    for name, tensor in wrong.items():
        change_weights(path, good | {name: tensor})
        with pytest.raises(ValueError, match=rf"another model.*'{name}': expected \["):
            scdlab.load(path)
    change_weights(path, {k: v for k, v in good.items() if k != "embedding.weight"})
    with pytest.raises(ValueError, match=r"'embedding.weight': expected .* got no such tensor"):
        scdlab.load(path)
    change_weights(path, good | {"more": torch.zeros(1)})
    with pytest.raises(ValueError, match="'more': expected no such tensor"):
        scdlab.load(path)
    change_weights(path, good | {"energy_head.scale": torch.tensor(float("nan")).double()})
    with pytest.raises(ValueError, match=r"NaN or infinity \(in 'energy_head.scale'\)"):
        scdlab.load(path)
    change_weights(path, good | {"trained_elements": torch.zeros(119)})
    with pytest.raises(ValueError, match=r"'trained_elements' in .* has the type torch.float32"):
        scdlab.load(path)
    change_weights(path, good | {"embedding.weight": torch.zeros(119, 8, dtype=torch.complex64)})
    with pytest.raises(ValueError, match=r"of the type torch.complex64, which no model has"):
        scdlab.load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_channels": 24_000},
        {"hidden_channels": 10**7},
        {"hidden_channels": 10**30},
        {"num_layers": 10**9},
        {"num_rbf": 10**9},
        {"num_spherical": 10**7},
        {"lmax": 10**6},
        {"num_attention_layers": 10**8},
        {"hidden_channels": 512, "num_layers": 512},
    ],
)
def test_more_than_the_weights_hold_is_not_built(name, changes, tmp_path):
    model = small(name)
    if not {*changes} <= {*model.config}:
        pytest.skip("no such setting")
    scdlab.save(model, tmp_path / "net")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    change(tmp_path / "net", config=model.config | changes)
    with pytest.raises(ValueError, match=r"net\.json cannot be opened"):
        scdlab.load(tmp_path / "net")
    scdlab.save(scdlab.ECSE(model), tmp_path / "net")
    inside = {"name": name, "config": model.config | changes}
    config = json.loads((tmp_path / "net.json").read_text())["config"] | {"model": inside}
    change(tmp_path / "net", config=config)
    with pytest.raises(ValueError, match=r"net\.json cannot be opened"):
        scdlab.load(tmp_path / "net")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_large_settings_that_are_right_are_opened(tmp_path):
    model = RandomRotations(small("PET"), n=2, seed=123_456)
    wide = small(hidden_channels=600)
    for each in (model, wide):
        scdlab.save(each, tmp_path / "net")
        again = scdlab.load(tmp_path / "net")
        assert again.config == each.config and torch.equal(outputs(again)[1], outputs(each)[1])


# --------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("name", BACKBONES)
def test_float64_models_come_back_as_float64(name, tmp_path):
    model = small(name).double()
    model.add_property("gap")
    scdlab.save(model, tmp_path / "net")
    again = scdlab.load(tmp_path / "net")
    assert {p.dtype for p in again.parameters()} == {torch.float64}
    for one, two in zip(outputs(model, torch.float64), outputs(again, torch.float64), strict=True):
        assert torch.equal(one, two)


def test_the_precision_is_that_of_the_file_whatever_torchs_default(tmp_path):
    single = small("DimeNet")
    scdlab.save(single, tmp_path / "single")
    try:
        torch.set_default_dtype(torch.float64)
        double = small("DimeNet")
        scdlab.save(double, tmp_path / "double")
        again = scdlab.load(tmp_path / "single")
        assert torch.get_default_dtype() == torch.float64
        assert next(again.parameters()).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(outputs(again)[1], outputs(single)[1])
    again = scdlab.load(tmp_path / "double")
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(outputs(again, torch.float64)[1], outputs(double, torch.float64)[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_back(dtype, tmp_path):
    model = small().to(dtype)
    scdlab.save(model, tmp_path / "net")
    again = scdlab.load(tmp_path / "net")
    assert all(
        one.dtype == two.dtype and torch.equal(one, two)
        for one, two in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert again.energy_head.reference.dtype == torch.float64


def test_mixed_precision_comes_back(tmp_path):
    model = small()
    model.embedding.double()
    scdlab.save(model, tmp_path / "net")
    again = scdlab.load(tmp_path / "net")
    for (name, one), two in zip(
        model.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert one.dtype == two.dtype and torch.equal(one, two), name


# -------------------------------------------------------------------------------- paths and classes


def test_the_folder_of_a_run_opens_its_model(tmp_path):
    store = scdlab.load_ethanol()[:8]
    scdlab.fit(small(), EnergyForces(), store, steps=2, progress=False, out=tmp_path / "run")
    for given in (tmp_path / "run", str(tmp_path / "run") + "/"):
        assert type(scdlab.load(given)) is scdlab.SchNet
    with pytest.raises(FileNotFoundError, match="is a folder without a model"):
        scdlab.load(tmp_path)
    scdlab.save(small("PET"), tmp_path / "run")  # a model beside a folder of its name
    assert type(scdlab.load(tmp_path / "run")) is scdlab.PET


@pytest.mark.parametrize("given", ["", ".", "/", "a\0b"])
def test_a_path_without_a_name_is_refused(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (scdlab.load, lambda p: scdlab.save(small(), p)):
        with pytest.raises((ValueError, FileNotFoundError), match=r"names no file|is a folder"):
            call(given)


def test_what_is_no_path_no_model_or_no_device_is_refused(path):
    for given in (None, 3, small()):
        with pytest.raises(TypeError, match="path of a model must be"):
            scdlab.load(given)
    for given in (None, nn.Linear(2, 2), scdlab.SchNet):
        with pytest.raises(TypeError, match="save writes a model"):
            scdlab.save(given, path)
    with pytest.raises(FileNotFoundError, match=r"scdlab\.load_pretrained\('pet-ethanol'\) opens"):
        scdlab.load("pet-ethanol")
    with pytest.raises(ValueError, match="device"):
        scdlab.load(path, device="gpu7")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no GPU"):
            scdlab.load(path, device="cuda")
        with pytest.raises(ValueError, match="torch sees no GPU"):
            scdlab.load_pretrained("pet-ethanol", device="cuda")


class Mine(AtomisticModel):
    """A class of one's own."""

    def __init__(self, hidden_channels: int = 4, cutoff: float = 4.0, shift: float = 0.0):
        super().__init__(hidden_channels, cutoff)
        self.shift = shift
        self.embedding = nn.Embedding(119, hidden_channels)

    def represent(self, batch, pairs, condition=None, vectors=False, force_input=None):
        return Features(self.embedding(batch.z) + self.shift)


def test_a_class_that_is_not_in_the_checkpoint_is_refused(path, tmp_path):
    with pytest.raises(ValueError, match="holds a SchNet, and cls is PET; leave cls out"):
        scdlab.load(path, cls=scdlab.PET)
    assert type(scdlab.load(path, cls=scdlab.SchNet)) is scdlab.SchNet
    for wrong in ("SchNet", small(), nn.Linear):
        with pytest.raises(TypeError, match="cls must be the class of a model"):
            scdlab.load(path, cls=wrong)
    scdlab.save(scdlab.ECSE(Mine()), tmp_path / "exact")
    assert type(scdlab.load(tmp_path / "exact", cls=Mine).model) is Mine
    with pytest.raises(ValueError, match=r"holds an ECSE, .*a Mine.*, and cls is SchNet"):
        scdlab.load(tmp_path / "exact", cls=scdlab.SchNet)


def test_a_class_with_the_name_of_one_of_the_kit_is_not_taken_for_it(tmp_path):
    mine = type("SchNet", (Mine,), {"__module__": "lesson"})
    scdlab.save(mine(shift=0.5), tmp_path / "net")
    assert type(scdlab.load(tmp_path / "net")) is mine
    change(tmp_path / "net", module="another")  # nothing of that name there
    assert type(scdlab.load(tmp_path / "net")) is mine
    change(tmp_path / "net", module=...)
    with pytest.raises(ValueError, match="do not fit SchNet"):
        scdlab.load(tmp_path / "net")


# --------------------------------------------------------------------------------------------- save


def test_settings_that_are_numpys_are_numbers(tmp_path):
    model = scdlab.SchNet(
        hidden_channels=np.int64(8),
        num_layers=np.int32(1),
        num_rbf=np.uint8(8),
        cutoff=np.float32(4.5),
        conditional=np.bool_(False),
    )
    scdlab.save(model, tmp_path / "net")
    again = scdlab.load(tmp_path / "net")
    assert again.config == model.config and again.cutoff == 4.5
    assert torch.equal(outputs(again)[1], outputs(model)[1])


@pytest.mark.parametrize("value", [{1: 2.0}, float("nan"), {1, 2}, b"x", np.ones(2), print])
def test_a_failed_save_leaves_what_was_there(value, tmp_path):
    class Odd(Mine):
        def __init__(self, value=None):
            super().__init__()

    scdlab.save(small(), tmp_path / "net")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(TypeError, match="argument 'value' of Odd holds what json cannot"):
        scdlab.save(Odd(value), tmp_path / "net")
    with pytest.raises(ValueError, match="contain NaN or infinity"):
        broken = small()
        nn.init.constant_(broken.embedding.weight, float("inf"))
        scdlab.save(broken, tmp_path / "net")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
