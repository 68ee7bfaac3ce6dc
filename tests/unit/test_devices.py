"""Names of devices: what this machine has, or one sentence."""

import pytest
import torch

from scdlab.devices import checked_device, seed_torch


def test_the_processor_is_always_there():
    assert checked_device("cpu") == torch.device("cpu")
    assert checked_device(torch.device("cpu")) == torch.device("cpu")
    assert checked_device("cpu:0") == torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert checked_device("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert checked_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "gpu", torch.device("cuda")])
def test_a_gpu_that_torch_does_not_see_is_refused(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"torch sees no GPU; use device='auto' or 'cpu'\."):
        checked_device(name)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert checked_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match=r"torch sees 2 GPUs.*use device='cuda:1'\."):
        checked_device("cuda:2")


@pytest.mark.parametrize("name", ["cdua", "", "cuda:x", "meta", "mps:7", "cuda:-1"])
def test_names_that_are_no_device_are_refused(monkeypatch, name):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    with pytest.raises(ValueError, match=r"device"):
        checked_device(name)


@pytest.mark.parametrize("value", [None, 0, ["cpu"]])
def test_what_is_no_name_is_refused(value):
    with pytest.raises(TypeError, match=r"device must be a name or a torch\.device"):
        checked_device(value)


def test_seeding_gives_the_numbers_of_torchs_own_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345678901234)
        expected = torch.rand(5), torch.randperm(7)
        seed_torch(torch.device("cpu"), 12345678901234)
        found = torch.rand(5), torch.randperm(7)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
