"""Published checkpoints that are damaged, or none: a sentence each, in bounded time and memory."""

import json
import pickle

import pytest
import safetensors.torch
import torch

import scdlab
from scdlab.nn.official import _official_name
from scdlab.nn.official_ct import OfficialCT

CONFIG = dict(emb_dim=8, num_layers=1, num_heads=2, num_rbf=6)


def state(**changes):
    torch.manual_seed(0)
    model = OfficialCT(**CONFIG)
    without = ("trained_elements", "energy_head.reference")
    found = {_official_name(k): t for k, t in model.state_dict().items() if k not in without}
    token = next(k for k in found if k.endswith("mask_token"))
    found[token] = found[token].view(1, -1)
    return found | changes


def test_an_undamaged_one_opens(tmp_path):
    torch.save({"state_dict": state(), "hyper_parameters": CONFIG}, tmp_path / "ct.ckpt")
    assert type(scdlab.load_official_ct(tmp_path / "ct.ckpt")) is OfficialCT
    assert type(scdlab.load_official_ct(state(), CONFIG)) is OfficialCT


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"state_dict": {1: 2}}, "1 is the name of an int"),
        ({"state_dict": {1: torch.ones(1)}}, "1 is the name of a Tensor"),
        ({"state_dict": {"mean": 2}}, "'mean' is the name of an int"),
        ({"state_dict": [1, 2]}, "holds no state dict, but a list"),
        ({"state_dict": None}, "holds no state dict, but None"),
        ({}, "holds no state dict"),
        ({"mean": torch.zeros(2)}, "is not that of its settings"),
        (state(mean=torch.tensor(float("nan"))), "'mean' of the state dict must hold finite"),
        (state(mean=torch.tensor(1)), "'mean' of the state dict must hold finite"),
        (state(more=torch.zeros(1)), "at 'more' it has shape"),
    ],
)
def test_state_dicts_that_are_none(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        scdlab.load_official_ct(given, CONFIG)


@pytest.mark.parametrize(
    "changes",
    [
        {"emb_dim": 10**9},
        {"emb_dim": 24_000},
        {"num_layers": 10**9},
        {"num_layers": 90_000},
        {"num_rbf": 10**12},
        {"max_z": 10**9},
        {"emb_dim": "8"},
        {"emb_dim": None},
        {"num_heads": 3},
        {"num_heads": 0},
        {"cutoff_upper": float("nan")},
        {"cutoff_upper": "far"},
        {"trainable_rbf": "yes"},
        {"model": "ET"},
        {"rbf_type": ["expnorm"]},
    ],
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(ValueError, match=r"state dict|larger CT"):
        scdlab.load_official_ct(state(), CONFIG | changes)


@pytest.mark.parametrize("config", [[1], 3, b"x"])
def test_settings_that_are_none(config):
    with pytest.raises(ValueError, match="must be a mapping of names to values"):
        scdlab.load_official_ct(state(), config)


def test_files_that_are_none(tmp_path):
    contents = {
        "junk": b"junk" * 10,
        "empty": b"",
        "zip": b"PK\x03\x04" + bytes(100),
        "pickle": pickle.dumps(print),
        "text": b"{}",
    }
    for name, content in contents.items():
        for suffix in (".ckpt", ".safetensors"):
            path = tmp_path / (name + suffix)
            path.write_bytes(content)
            with pytest.raises(ValueError, match=rf"{name}\{suffix} is no "):
                scdlab.load_official_ct(path, CONFIG)
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="holds a list"):
        scdlab.load_official_ct(tmp_path / "list.ckpt", CONFIG)
    torch.save({"state_dict": state(), "hyper_parameters": 3}, tmp_path / "n.ckpt")
    with pytest.raises(ValueError, match="must be a mapping"):
        scdlab.load_official_ct(tmp_path / "n.ckpt")
    for missing in (tmp_path / "gone.ckpt", tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
            scdlab.load_official_ct(missing, CONFIG)
    with pytest.raises(TypeError, match="opens a path or a state dict, got an int"):
        scdlab.load_official_ct(3, CONFIG)


def test_settings_of_a_file(tmp_path):
    path = tmp_path / "settings.json"
    for text in ("{", "[]", "[" * 10_000, '{"emb_dim": NaN}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"settings\.json"):
            scdlab.load_official_ct(state(), path)
    with pytest.raises(FileNotFoundError):
        scdlab.load_official_ct(state(), tmp_path / "gone.json")
    path.write_text(json.dumps(CONFIG))
    safetensors.torch.save_file(state(), tmp_path / "ct.safetensors")
    assert type(scdlab.load_official_ct(tmp_path / "ct.safetensors", path)) is OfficialCT
