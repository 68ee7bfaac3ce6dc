"""Direct forces of the equivariant transformer: a head of their own, in all that reads forces."""

import copy

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import scdlab
from scdlab.calculator import Calculator
from scdlab.objectives import CoordinateDenoising, DeNS, EnergyForces


@pytest.fixture(scope="module")
def ethanol():
    return scdlab.load_ethanol()


def transformer(**settings):
    torch.manual_seed(0)
    sizes = dict(hidden_channels=16, num_layers=2, num_heads=2, num_rbf=8)
    return scdlab.EquivariantTransformer(**sizes, **settings)


@pytest.fixture(scope="module")
def trained(ethanol):
    """A little training of DeNS, so that no weight is where it started."""
    net = transformer(force_input=True, direct_forces=True)
    objective = DeNS(prob=0.5, corrupt_ratio=0.5)
    settings = dict(steps=60, batch_size=8, lr=3e-3, device="cpu", progress=False)
    scdlab.fit(net, objective, ethanol[:64], **settings)
    return net.eval()


def rotated(batch, rotation):
    other = copy.copy(batch)
    other.pos = batch.pos @ rotation.T
    return other


@pytest.mark.parametrize("which", ["fresh", "trained"])
def test_forces_and_noise_rotate_with_the_structure(which, trained, ethanol):
    net = trained if which == "trained" else transformer(force_input=True, direct_forces=True)
    net = copy.deepcopy(net).double().eval()
    batch = ethanol.take([0, 500, 1500])
    batch.pos = batch.pos.double()
    forces = batch.forces.double()
    before = net(batch, forces=True, force_input=forces)
    for determinant in (1, -1):
        turn = determinant * torch.from_numpy(Rotation.random(random_state=0).as_matrix())
        after = net(rotated(batch, turn), forces=True, force_input=forces @ turn.T)
        torch.testing.assert_close(after.energy, before.energy, rtol=0, atol=1e-9)
        torch.testing.assert_close(after.forces, before.forces @ turn.T, rtol=0, atol=1e-9)
        torch.testing.assert_close(after.noise, before.noise @ turn.T, rtol=0, atol=1e-9)
    assert before.forces.abs().max() > 1e-3


def test_the_report_finds_forces_that_rotate_and_are_no_gradient(trained, ethanol):
    net = copy.deepcopy(trained).double()
    direct = scdlab.symmetry_report(net, ethanol.to_ase(3))
    assert max(direct.rotation, direct.reflection) < 1e-6
    assert direct.force_consistency > 1e-2
    gradient = transformer().double().eval()
    EnergyForces().prepare(gradient, ethanol[:20])
    assert scdlab.symmetry_report(gradient, ethanol.to_ase(3)).force_consistency < 1e-5


def test_forces_come_from_the_head_in_units_of_the_training_sets(ethanol):
    net = transformer(direct_forces=True)
    assert net.direct_forces and net.force_head is not None
    EnergyForces().prepare(net, ethanol[:50])
    forces = ethanol[:50].take(range(50)).forces
    unit = float(forces.square().mean().sqrt())
    assert float(net.force_head.scale) == pytest.approx(unit, rel=1e-6)
    batch = ethanol.take(range(3))
    before = net(batch, forces=True).forces.detach()
    net.force_head.scale.mul_(2)
    torch.testing.assert_close(net(batch, forces=True).forces.detach(), 2 * before)
    assert net(batch, noise=False).forces is None


def test_other_weights_of_the_seed_are_those_without_the_head():
    for settings in ({}, {"force_input": True, "conditional": True}):
        plain = transformer(**settings).state_dict()
        direct = transformer(**settings, direct_forces=True).state_dict()
        assert all(torch.equal(direct[name], value) for name, value in plain.items())
        assert all(name.startswith("force_head.") for name in set(direct) - set(plain))


@pytest.mark.slow
@pytest.mark.parametrize("objective", [EnergyForces, DeNS])
def test_training_lowers_the_force_error(objective, ethanol):
    net = transformer(force_input=True, direct_forces=True)
    objective = objective()
    objective.prepare(net, ethanol[:16])
    before = scdlab.evaluate(net, ethanol[:16])["force_mae"]
    settings = dict(steps=200, batch_size=8, lr=5e-3, device="cpu", progress=False)
    scdlab.fit(net, objective, ethanol[:16], **settings)
    assert scdlab.evaluate(net, ethanol[:16])["force_mae"] < 0.8 * before


def test_what_it_learned_is_noted_and_asked_for(trained, ethanol):
    assert trained.trained_labels.forces == (1, 6, 8) == trained.trained_labels.energy
    energies = transformer(direct_forces=True)
    EnergyForces(forces=False).prepare(energies, ethanol[:20])
    assert energies.trained_labels.forces == ()
    with pytest.raises(ValueError, match="forces"):
        energies.check_forces(torch.tensor([1, 6, 8]))
    forces = transformer(direct_forces=True)
    EnergyForces(energy_weight=0.0).prepare(forces, ethanol[:20])
    assert forces.trained_labels.energy == ()


def test_the_calculator_gives_them_and_no_stress(trained, ethanol):
    atoms = ethanol.to_ase(5)
    atoms.calc = Calculator(trained)
    expected = trained(ethanol.take([5]), forces=True).forces.detach().numpy()
    np.testing.assert_allclose(atoms.get_forces(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(Exception, match="direct_forces=False"):
        atoms.get_stress()


def test_it_is_saved_and_loaded(trained, ethanol, tmp_path):
    scdlab.save(trained, tmp_path / "net")
    again = scdlab.load(tmp_path / "net")
    assert again.direct_forces and again.config["direct_forces"] is True
    batch = ethanol.take(range(4))
    for net_output in ("energy", "forces", "noise"):
        one = getattr(trained(batch, forces=True), net_output)
        assert torch.equal(one, getattr(again(batch, forces=True), net_output))
    assert torch.equal(again.energy_head.spread, trained.energy_head.spread)
    assert again.trained_labels == trained.trained_labels


def test_noise_without_a_head_is_refused_and_denoising_alone_is_not(ethanol):
    bare = transformer(direct_forces=True, noise_head=False)
    with pytest.raises(ValueError, match="no noise head, and with direct_forces=True"):
        bare(ethanol.take([0]), noise=True)
    net = transformer(direct_forces=True).train()
    objective = CoordinateDenoising(supervised=EnergyForces())
    objective.prepare(net, ethanol[:10])
    loss, parts = objective(net, ethanol.take(range(4)), torch.Generator().manual_seed(0))
    loss.backward()
    assert all(p.grad is not None for p in net.force_head.parameters())
    assert parts["force_mae"] > 0


def test_positions_carry_a_gradient_through_the_head(ethanol):
    net = transformer(direct_forces=True).double().eval()
    batch = ethanol.take([0])
    batch.pos = batch.pos.double().requires_grad_()
    out = net(batch, forces=True).forces[0, 0]
    (slope,) = torch.autograd.grad(out, batch.pos)
    ends = []
    for sign in (1, -1):
        moved = copy.copy(batch)
        moved.pos = batch.pos.detach().clone()
        moved.pos[2, 1] += sign * 1e-4
        ends.append(float(net(moved, forces=True).forces[0, 0].detach()))
    assert float(slope[2, 1]) == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-7)
