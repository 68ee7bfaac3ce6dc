"""Our DimeNet against PyTorch Geometric's DimeNet++: same weights, same edges and triplets, same
numbers.

Theirs needs torch-sparse to list its triplets, so its blocks are called one by one on a list made
here by hand.
"""

import networks
import pytest
import torch
from torch_geometric.nn.models import DimeNetPlusPlus

import scdlab
from scdlab.atoms import neighbor_list

SIZE = dict(
    hidden_channels=24,
    num_layers=2,
    int_emb_size=12,
    basis_emb_size=5,
    out_emb_channels=20,
    num_spherical=4,
    num_rbf=3,
    cutoff=4.0,
)


def same_weights(ours, theirs):
    """Give ours the weights of theirs."""
    with torch.no_grad():
        for own, other, factor in networks.same_dimenet(ours, theirs):
            own[: len(other)].copy_(other * factor)


def their_features(theirs, z, pos, edges):
    """The forward pass of PyG's model on a given edge list [2, E] (from j, to i), up to the sum
    over atoms."""
    j, i = edges
    listed = list(zip(j.tolist(), i.tolist(), strict=True))
    triplets = [
        (kj, ji)
        for ji, (b, a) in enumerate(listed)
        for kj, (c, to) in enumerate(listed)
        if to == b and c != a
    ]
    kj, ji = torch.tensor(triplets).T
    to_i = pos[i[ji]] - pos[j[ji]]
    from_k = pos[i[kj]] - pos[j[kj]]
    angle = torch.atan2(torch.linalg.cross(to_i, from_k).norm(dim=-1), (to_i * from_k).sum(-1))
    distance = (pos[i] - pos[j]).norm(dim=-1)
    rbf = theirs.rbf(distance)
    sbf = theirs.sbf(distance, angle, kj)
    x = theirs.emb(z, rbf, i, j)
    out = theirs.output_blocks[0](x, rbf, i, num_nodes=len(z))
    for block, output in zip(theirs.interaction_blocks, theirs.output_blocks[1:], strict=True):
        x = block(x, rbf, sbf, kj, ji)
        out = out + output(x, rbf, i, num_nodes=len(z))
    return out


@pytest.fixture(scope="module")
def peers():
    torch.manual_seed(0)
    theirs = DimeNetPlusPlus(
        SIZE["hidden_channels"],
        SIZE["hidden_channels"],
        SIZE["num_layers"],
        SIZE["int_emb_size"],
        SIZE["basis_emb_size"],
        SIZE["out_emb_channels"],
        SIZE["num_spherical"],
        SIZE["num_rbf"],
        SIZE["cutoff"],
        output_initializer="glorot_orthogonal",
    ).double()
    ours = scdlab.DimeNet(**SIZE).double()
    same_weights(ours, theirs)
    return ours, theirs


@pytest.mark.slow
def test_energies_forces_and_gradients_agree(peers):
    ours, theirs = peers
    batch = scdlab.load_qm9(limit=64).take(range(40, 44))
    pairs = neighbor_list(batch, SIZE["cutoff"])
    edges = torch.stack([torch.cat([pairs.j, pairs.i]), torch.cat([pairs.i, pairs.j])])
    out = ours(batch, forces=True, pairs=pairs)

    pos = batch.pos.double().requires_grad_()
    features = their_features(theirs, batch.z, pos, edges)
    energy = ours.energy_head(features, batch)  # both read out by the same head
    forces = -torch.autograd.grad(energy.sum(), pos, create_graph=True)[0]
    torch.testing.assert_close(
        out.atoms, features, rtol=1e-5, atol=1e-5
    )  # their zeros of j_l hold seven digits
    torch.testing.assert_close(out.energy, energy, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.forces, forces, rtol=1e-4, atol=1e-5)

    out.forces.square().sum().backward()  # second derivatives: what training on forces uses
    forces.square().sum().backward()
    for own, other in (
        (ours.blocks[0].kj.weight, theirs.interaction_blocks[0].lin_kj.weight),
        (ours.blocks[1].sbf2.weight, theirs.interaction_blocks[1].lin_sbf2.weight),
        (ours.outputs[2].up.weight, theirs.output_blocks[2].lin_up.weight),
    ):
        scale = other.grad.abs().max()
        torch.testing.assert_close(own.grad / scale, other.grad / scale, rtol=1e-4, atol=1e-5)
