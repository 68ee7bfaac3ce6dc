"""Forces as an input: their features in each degree, and what a model that is told them does."""

import copy

import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

import scdlab
from scdlab.nn.blocks.force_encoding import ForceEncoding, spherical_degrees
from scdlab.objectives import EnergyForces


@pytest.fixture(scope="module")
def batch():
    store = scdlab.load_ethanol()
    batch = store.take([0, 500, 1500])
    batch.pos = batch.pos.double()
    batch.forces = batch.forces.double()
    return batch


@pytest.fixture
def net():
    torch.manual_seed(0)
    return scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=2, num_heads=2, num_rbf=8, force_input=True
    ).double()


def test_degree_one_is_the_force_itself_and_every_degree_has_its_size(batch):
    degrees = spherical_degrees(batch.forces, 3)
    assert [y.shape[-1] for y in degrees] == [1, 3, 5, 7]
    torch.testing.assert_close(degrees[1], batch.forces, rtol=0, atol=1e-12)
    size = batch.forces.norm(dim=-1)
    for degree, y in enumerate(degrees):  # |Y|² = 2l + 1
        torch.testing.assert_close(y.norm(dim=-1), size * ((2 * degree + 1) / 3) ** 0.5)


def test_the_features_turn_as_the_force_does(batch):
    turn = torch.from_numpy(Rotation.random(random_state=0).as_matrix())
    encoding = ForceEncoding(4, lmax=3).double()
    for degree, (before, after) in enumerate(
        zip(encoding(batch.forces), encoding(batch.forces @ turn.T), strict=True)
    ):
        d = o3.Irrep(degree, (-1) ** degree).D_from_matrix(turn)
        torch.testing.assert_close(
            after, torch.einsum("ab,nbd->nad", d, before), rtol=0, atol=1e-4
        )  # D has seven digits


def test_no_force_has_no_features_and_a_tiny_one_keeps_its_direction():
    forces = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1e-15], [0.0, 0.0, 2.0]])
    for y in spherical_degrees(forces, 2):
        assert torch.equal(y[0], torch.zeros_like(y[0]))
        torch.testing.assert_close(y[1] * 2e15, y[2])


def test_forces_are_told_in_units_of_the_training_sets(batch):
    encoding = ForceEncoding(4, lmax=2).double()
    before = encoding(batch.forces)
    encoding.scale.fill_(2.0)
    for a, b in zip(before, encoding(2 * batch.forces), strict=True):
        torch.testing.assert_close(a, b)
    assert encoding.float().scale.dtype == torch.float64


def test_a_model_that_is_told_zero_is_told_nothing(net, batch):
    silent, zero = (
        net(batch, forces=True, noise=True, force_input=force_input)
        for force_input in (None, torch.zeros_like(batch.pos))
    )
    assert torch.equal(silent.energy, zero.energy)
    assert torch.equal(silent.forces, zero.forces) and torch.equal(silent.noise, zero.noise)


@pytest.mark.parametrize("name", ["EquivariantTransformer", "TensorProductNet"])
def test_a_force_changes_all_outputs_of_a_fresh_model(name, batch):
    torch.manual_seed(0)
    fresh = getattr(scdlab, name)(hidden_channels=16, num_layers=2, force_input=True).double()
    EnergyForces().prepare(fresh, scdlab.load_ethanol()[:50])
    fresh.force_encoding.scale.copy_(fresh.energy_head.scale)
    given = fresh(batch, forces=True, force_input=batch.forces)
    without = fresh(batch, forces=True)
    for one, other in ((given.noise, without.noise), (given.forces, without.forces)):
        change = (one - other).square().mean().sqrt()
        assert change > 0.1 * without.noise.square().mean().sqrt()
    assert (given.energy - without.energy).abs().min() > 1e-3  # eV


def test_weights_of_the_encoding_start_with_a_spread_of_one():
    torch.manual_seed(0)
    weights = torch.stack(list(ForceEncoding(4000, lmax=2).weights))
    assert weights.std(dim=1).tolist() == pytest.approx([1.0] * 3, abs=0.05)
    assert weights.mean(dim=1).tolist() == pytest.approx([0.0] * 3, abs=0.06)
    torch.manual_seed(1)
    assert not torch.allclose(weights[0], ForceEncoding(4000).weights[0])


def test_a_head_that_is_added_later_starts_as_without_the_encoding():
    heads = []
    for force_input in (False, True):
        torch.manual_seed(0)
        model = scdlab.EquivariantTransformer(
            hidden_channels=16, num_layers=1, num_heads=2, force_input=force_input
        )
        heads.append(model.add_property("homo").state_dict())
    assert all(torch.equal(heads[0][name], value) for name, value in heads[1].items())


def test_the_same_first_weights_with_and_without_the_encoding(net):
    torch.manual_seed(0)
    plain = scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=2, num_heads=2, num_rbf=8
    ).double()
    own = net.state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.state_dict().items())
    assert sorted(set(own) - set(plain.state_dict())) == [
        "force_encoding.scale",
        "force_encoding.weights.0",
        "force_encoding.weights.1",
    ]


def test_what_is_told_matters_turns_with_the_structure_and_leaves_forces_a_gradient(net, batch):
    net.eval()
    force_input = batch.forces * (torch.arange(len(batch.z)) % 3 == 0).unsqueeze(-1)
    told = net(batch, forces=True, force_input=force_input)
    silent = net(batch, forces=True)
    assert (told.noise - silent.noise).abs().max() > 1e-3
    turn = torch.from_numpy(Rotation.random(random_state=0).as_matrix())
    turned = copy.copy(batch)
    turned.pos = batch.pos @ turn.T
    after = net(turned, forces=True, force_input=force_input @ turn.T)
    torch.testing.assert_close(after.energy, told.energy, rtol=0, atol=1e-9)
    torch.testing.assert_close(after.forces, told.forces @ turn.T, rtol=0, atol=1e-9)
    torch.testing.assert_close(after.noise, told.noise @ turn.T, rtol=0, atol=1e-9)
    assert (
        net(turned, force_input=force_input).noise - told.noise @ turn.T
    ).abs().max() > 1e-4  # a clue that did not turn
    atom = 4
    axis = 1
    step = 1e-4
    ends = []
    for sign in (1, -1):
        moved = copy.copy(batch)
        moved.pos = batch.pos.clone()
        moved.pos[atom, axis] += sign * step
        ends.append(net(moved, force_input=force_input).energy.sum().item())
    assert -(ends[0] - ends[1]) / (2 * step) == pytest.approx(
        float(told.forces[atom, axis]), abs=1e-6
    )


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_gradients_reach_the_encoding(net, batch, start):
    net.train()
    with torch.no_grad():
        for w in net.force_encoding.weights:
            w.mul_(start)
    out = net(batch, forces=True, force_input=batch.forces)
    (out.noise.square().sum() + out.forces.square().sum()).backward()
    assert all(w.grad.abs().max() > 1e-6 for w in net.force_encoding.weights)


def test_what_cannot_be_told(net, batch):
    plain = scdlab.EquivariantTransformer(hidden_channels=16, num_layers=1, num_heads=2).double()
    with pytest.raises(ValueError, match="takes no force input; build it with force_input=True"):
        plain(batch, force_input=batch.forces)
    with pytest.raises(ValueError, match=r"must have shape \[27, 3\].*got \[26, 3\]"):
        net(batch, force_input=batch.forces[1:])
    wrong = batch.forces.clone()
    wrong[5, 1] = float("nan")
    with pytest.raises(ValueError, match="force input of atom 5 of the batch is not finite"):
        net(batch, force_input=wrong)
    with pytest.raises(ValueError, match="lmax, the highest degree, must be from 0 to 11, got -1"):
        ForceEncoding(4, lmax=-1)


def test_it_is_saved_with_the_model(net, batch, tmp_path):
    net.force_encoding.scale.fill_(1.7)
    scdlab.save(net.eval(), tmp_path / "net")
    again = scdlab.load(tmp_path / "net").double()
    out, other = (each(batch, force_input=batch.forces).noise for each in (net, again))
    torch.testing.assert_close(out, other, rtol=1e-5, atol=1e-6)
