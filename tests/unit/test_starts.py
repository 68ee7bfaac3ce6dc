"""The weights that networks start from are those of their peers."""

import math

import pytest
import torch
from torch import nn

import scdlab


def schnet(**settings):
    torch.manual_seed(0)
    sizes = dict(hidden_channels=64, num_layers=3, num_rbf=50)
    return scdlab.SchNet(**(sizes | settings))


def layers(module):
    return {name: one for name, one in module.named_modules() if isinstance(one, nn.Linear)}


def is_xavier(layer):
    """Whether weights are spread evenly up to the bound of Xavier's uniform start, biases zero."""
    bound = math.sqrt(6 / (layer.in_features + layer.out_features))
    largest = float(layer.weight.detach().abs().max())
    spread = float(layer.weight.detach().std())
    few = layer.weight.numel() < 1_000  # whose largest and spread vary
    fills = (0.8 if few else 0.99) * bound < largest <= bound
    even = math.isclose(spread, bound / math.sqrt(3), rel_tol=0.25 if few else 0.05)
    return fills and even and (layer.bias is None or not layer.bias.any())


@pytest.mark.parametrize("settings", [{}, {"filter_activation": "twice"}, {"direct_forces": True}])
def test_schnet_starts_as_pyg_and_schnetpack_start(settings):
    model = schnet(**settings)
    found = layers(model.blocks)
    assert len(found) == 3 * 5 and all(map(is_xavier, found.values()))
    assert 0.95 < float(model.embedding.weight.detach().std()) < 1.05


def test_its_heads_start_smaller():
    """Unlike the peers': see scdlab/nn/schnet.py."""
    model = schnet()
    model.add_property("homo")
    heads = layers(model.energy_head) | layers(model.property_heads)
    assert heads and not any(map(is_xavier, heads.values()))


def test_pyg_starts_so():
    """What is asked of ours holds for the peer."""
    models = pytest.importorskip("torch_geometric.nn.models")
    torch.manual_seed(0)
    peer = models.SchNet(64, 64, 3, 50, 5.0)
    assert all(is_xavier(one) for one in layers(peer).values())


def test_another_start_is_told_from_it():
    assert not is_xavier(nn.Linear(64, 64))
    assert not is_xavier(nn.Linear(64, 1))
