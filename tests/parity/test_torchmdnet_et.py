"""Our equivariant transformer against the torchmd-net package's: same weights, same numbers.

Once against the package itself where it is installed, with derivatives, and once against what it
answered when make_torchmdnet_et.py was run, everywhere.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from et import same_weights  # of benchmarks/
from make_torchmdnet_et import CONFIG, MOLECULES, answers, seeded_peer
from torch_geometric.data import Batch

import scdlab
from scdlab.atoms import neighbor_list

REFERENCE = Path(__file__).with_name("torchmdnet_et.npz")


def ours_with(weights):
    net = scdlab.EquivariantTransformer(num_rbf=50, cutoff=5.0, **CONFIG)
    same_weights(net, weights)
    return net


def close(own, other, tolerance=1e-5):
    """Agree to the tolerance, relative to the largest number there is."""
    assert own.shape == other.shape
    assert (own - other).abs().max() <= tolerance * other.abs().max(), (
        own - other
    ).abs().max() / other.abs().max()


def compare(net, batch, expected):
    with torch.no_grad():
        features = net.represent(batch, neighbor_list(batch, 5.0), vectors=True)
        out = net(batch)
    close(features.x, expected["x"])
    close(features.v, expected["v"])
    close(out.energy.float(), expected["energy"])
    close(out.noise, expected["noise"])  # our length of a vector is sqrt(|v|² + 1e-8), theirs |v|


def test_the_stored_answers_of_the_package():
    with np.load(REFERENCE, allow_pickle=False) as data:
        stored = {k: torch.from_numpy(data[k]) for k in data.files if k != "torchmdnet"}
    batch = Batch(**{k: stored[k] for k in ("z", "pos", "batch", "ptr")})
    batch._num_graphs = len(stored["ptr"]) - 1
    compare(ours_with({k[2:]: w for k, w in stored.items() if k.startswith("w/")}), batch, stored)


def test_a_weight_in_the_wrong_place_is_noticed():
    with np.load(REFERENCE, allow_pickle=False) as data:
        stored = {k: torch.from_numpy(data[k]) for k in data.files if k != "torchmdnet"}
    batch = Batch(**{k: stored[k] for k in ("z", "pos", "batch", "ptr")})
    batch._num_graphs = len(stored["ptr"]) - 1
    net = ours_with({k[2:]: w for k, w in stored.items() if k.startswith("w/")})
    with torch.no_grad():
        net.blocks[1].dv.weight.copy_(net.blocks[1].dv.weight.roll(CONFIG["num_heads"], 0))
    with pytest.raises(AssertionError):
        compare(net, batch, stored)


@pytest.fixture(scope="module")
def peers():
    pytest.importorskip(
        "torchmdnet", reason='the peer is not installed: pip install "scdlab[bench]"'
    )
    theirs = seeded_peer()
    return ours_with(theirs.state_dict()), theirs, scdlab.load_qm9(limit=3000).take(MOLECULES)


def test_the_package_itself(peers):
    net, theirs, batch = peers
    with torch.no_grad():
        compare(net, batch, answers(batch, theirs))


def test_forces_and_second_derivatives(peers):
    net, theirs, batch = peers
    out = net.train()(batch, forces=True, noise=False)
    pos = batch.pos.clone().requires_grad_()
    x, v, z, _, owner = theirs["body"](batch.z, pos, batch.batch)
    energy = theirs["energy"].reduce(theirs["energy"].pre_reduce(x, v, z, pos, owner), owner)
    forces = -torch.autograd.grad(energy.sum(), pos, create_graph=True)[0]
    close(out.forces, forces)
    out.forces.square().sum().backward()
    forces.square().sum().backward()
    body = theirs["body"]
    for own, other in (
        (net.blocks[0].q.weight, body.attention_layers[0].q_proj.weight),
        (net.blocks[1].dk.weight, body.attention_layers[1].dk_proj.weight),
        (net.blocks[1].u.weight, body.attention_layers[1].vec_proj.weight),
        (net.blocks[2].o.weight, body.attention_layers[2].o_proj.weight),
        (net.neighbor_embedding.filter.weight, body.neighbor_embedding.distance_proj.weight),
    ):
        close(own.grad, other.grad, 1e-4)
