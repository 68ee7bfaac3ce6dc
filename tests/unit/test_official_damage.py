"""Settings of published checkpoints that cannot be: a sentence each, in bounded time and memory."""

import pytest
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


@pytest.mark.parametrize("given", [3, None, [1], OfficialCT])
def test_what_is_no_path_and_no_settings(given):
    with pytest.raises(TypeError, match="opens a path or a state dict, got"):
        scdlab.load_official_ct(given, CONFIG)
    if given is not None:
        with pytest.raises(TypeError, match="config must be the release's settings or a path"):
            scdlab.load_official_ct(state(), given)
