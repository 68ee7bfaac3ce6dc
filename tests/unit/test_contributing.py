"""The backbone and the objective of CONTRIBUTING.md do what the page and its guides say of them."""

import copy

import code_blocks
import pytest
import torch

import scdlab

SMALL = {"hidden_channels": 16, "num_layers": 2}


@pytest.fixture(scope="module")
def defined():
    """The names that the page's blocks define."""
    page = (code_blocks.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = {"__name__": "contributing"}
    for _, code in code_blocks.blocks(page):
        exec(code, names)
    return names


@pytest.fixture(scope="module")
def parts():
    return scdlab.load_ethanol().split(24, 8, seed=0)


def test_they_are_short(defined):
    page = (code_blocks.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    backbone, objective = (code for _, code in code_blocks.blocks(page))
    assert len(backbone[backbone.index("class ") :].splitlines()) <= 25
    assert len(objective[objective.index("@dataclass") :].splitlines()) <= 20


@pytest.mark.slow
def test_the_backbone_learns_and_is_stored(defined, parts, tmp_path):
    train, val, test = parts
    torch.manual_seed(0)
    model = defined["GatedNet"](**SMALL)
    forces = scdlab.objectives.EnergyForces()
    result = scdlab.fit(model, forces, train, val, steps=40, batch_size=8, progress=False)
    losses = result.history["loss"]
    assert losses[-1] < losses[0]
    scdlab.save(model, tmp_path / "model")
    batch = test.take([0, 1])
    for loaded in (
        scdlab.load(tmp_path / "model"),
        scdlab.load(tmp_path / "model", cls=defined["GatedNet"]),
    ):
        assert loaded.config == model.config
        assert torch.equal(loaded(batch).energy, model.eval()(batch).energy)


def test_the_backbone_is_symmetric_and_smooth(defined, parts):
    torch.manual_seed(0)
    model = defined["GatedNet"](**SMALL).double()
    report = scdlab.symmetry_report(model, parts[2].to_ase(0))
    errors = report.as_dict()
    for law in ("rotation", "reflection", "translation", "permutation"):
        assert errors[law] < 1e-9
    assert errors["force_consistency"] < 1e-5
    assert errors["smoothness"] < 1e-4


def test_the_backbone_goes_into_ecse(defined, parts):
    torch.manual_seed(0)
    exact = scdlab.ECSE(defined["GatedNet"](**SMALL))
    assert exact(parts[2].take([0]), forces=True).forces.shape == (9, 3)


@pytest.mark.slow
def test_the_objective_trains_and_resumes(defined, parts, tmp_path):
    train, val, _ = parts
    settings = {"steps": 6, "batch_size": 8, "progress": False, "checkpoint_every": 3}
    settings["out"] = tmp_path / "two"
    torch.manual_seed(0)
    start = scdlab.SchNet(**SMALL)
    objective = defined["CosineDenoising"](sigma=0.05)

    whole = copy.deepcopy(start)
    scdlab.fit(whole, objective, train, val, **{**settings, "out": tmp_path / "whole"})
    assert "cosine" in (tmp_path / "whole" / "log.csv").read_text()

    halves = copy.deepcopy(start)

    class Stop(Exception):
        pass

    def stop(model, inputs):
        if (tmp_path / "two" / "checkpoint.safetensors").exists():
            raise Stop

    hook = halves.register_forward_pre_hook(stop)
    with pytest.raises(Stop):
        scdlab.fit(halves, objective, train, val, **settings)
    hook.remove()
    again = defined["CosineDenoising"](sigma=0.05)
    scdlab.fit(halves, again, train, val, resume=True, **settings)
    for name, weight in whole.state_dict().items():
        assert torch.equal(halves.state_dict()[name], weight), name


def test_an_unknown_setting_of_the_objective_is_named(defined):
    with pytest.raises(TypeError, match="sigma"):
        defined["CosineDenoising"](sigm=0.05)
