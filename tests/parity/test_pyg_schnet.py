"""Our SchNet against PyTorch Geometric's: same weights, same edges, same activation, same
numbers."""

import pytest
import torch
from schnet import same_weights  # of benchmarks/
from torch_geometric.nn.models import SchNet as PygSchNet

import scdlab
from scdlab.atoms import neighbor_list


def both_ways(pairs):
    """The half list as PyG's full edge list [2, 2P]."""
    return torch.stack([torch.cat([pairs.i, pairs.j]), torch.cat([pairs.j, pairs.i])])


def peers(batch, hidden_channels=32, num_layers=3):
    torch.manual_seed(0)
    pairs = neighbor_list(batch, 5.0)
    edges = both_ways(pairs)

    def graph(pos, structure):
        i, j = edges
        return edges, (pos[i] - pos[j]).norm(dim=-1)

    theirs = PygSchNet(
        hidden_channels,
        hidden_channels,
        num_layers,
        num_gaussians=50,
        cutoff=5.0,
        interaction_graph=graph,
    )
    ours = scdlab.SchNet(
        hidden_channels=hidden_channels, num_layers=num_layers, num_rbf=50, cutoff=5.0
    )
    same_weights(ours, theirs)
    return ours.train(), theirs, pairs


@pytest.fixture(scope="module")
def batch():
    return scdlab.load_qm9(limit=64).take(range(40, 56))


def test_energies_forces_and_gradients_agree(batch):
    ours, theirs, pairs = peers(batch)
    out = ours(batch, forces=True, pairs=pairs)
    pos = batch.pos.clone().requires_grad_()
    energy = theirs(batch.z, pos, batch.batch).squeeze(-1)
    forces = -torch.autograd.grad(energy.sum(), pos, create_graph=True)[0]
    torch.testing.assert_close(out.energy.float(), energy, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.forces, forces, rtol=1e-5, atol=1e-5)

    out.forces.square().sum().backward()  # second derivatives: what training on forces uses
    forces.square().sum().backward()
    for own, other in (
        (ours.blocks[0].filter.lin1.weight, theirs.interactions[0].mlp[0].weight),
        (ours.blocks[1].lin_in.weight, theirs.interactions[1].conv.lin1.weight),
        (ours.blocks[2].lin_out2.weight, theirs.interactions[2].lin.weight),
    ):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_the_second_activation_is_a_different_network(batch):
    ours, _, pairs = peers(batch)
    twice = scdlab.SchNet(hidden_channels=32, num_layers=3, filter_activation="twice").train()
    twice.load_state_dict(ours.state_dict())
    assert (twice(batch, pairs=pairs).energy - ours(batch, pairs=pairs).energy).abs().max() > 1e-3
