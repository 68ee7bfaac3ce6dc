"""The tensor product network keeps the laws: with random and trained parameters, for all that it
gives, also when atoms are told forces that turn with the structure; at the cutoff, in small cells,
and on degenerate structures."""

import copy
import functools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from helpers import perturbed, rotation

import scdlab
from scdlab.nn.nequip import TensorProductNet
from scdlab.objectives import CoordinateDenoising, EnergyForces


def random_net(lmax=2, num_layers=2):
    torch.manual_seed(0)
    net = TensorProductNet(
        hidden_channels=8, num_layers=num_layers, lmax=lmax, num_rbf=5, force_input=True
    )
    net.add_property("dipole", "vector")
    return perturbed(net)


def trained_net():
    net = random_net()
    train = scdlab.load_ethanol().split(50, 0)[0]
    scdlab.fit(
        net,
        CoordinateDenoising(supervised=EnergyForces()),
        train,
        steps=12,
        batch_size=8,
        lr=5e-3,
        progress=False,
    )
    return net


NETS = {
    "random": random_net,
    "trained": trained_net,
    "degree-1": functools.partial(random_net, 1),
    "degree-3": functools.partial(random_net, 3),
}


@pytest.fixture(scope="module", params=NETS)
def net(request):
    return NETS[request.param]().eval()


def answer(net, atoms, dtype, force_input=None):
    """Energies without references, and what turns with structures: forces, noise, a vector
    property. atoms: one structure, or several of the same atoms."""
    net = copy.deepcopy(net).to(dtype).eval()
    net.energy_head.reference.zero_()
    net.trained_elements.zero_()
    several = [atoms] if isinstance(atoms, Atoms) else atoms
    batch = scdlab.AtomStore.from_ase(several).take(range(len(several)))
    batch.pos = torch.as_tensor(np.concatenate([a.positions for a in several]), dtype=dtype)
    if "cell" in batch:
        batch.cell = torch.as_tensor(np.stack([np.asarray(a.cell) for a in several]), dtype=dtype)
    out = net(
        batch,
        forces=True,
        noise=True,
        force_input=None if force_input is None else torch.as_tensor(force_input, dtype=dtype),
    )
    parts = dict(
        energy=out.energy, forces=out.forces, noise=out.noise, dipole=out.properties["dipole"]
    )
    return {name: part.detach().double() for name, part in parts.items()}


@pytest.mark.slow
@pytest.mark.parametrize("told", [False, True], ids=["untold", "told"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-5), (torch.float64, 1e-10)])
def test_turned_structures_have_turned_answers(net, dtype, tolerance, told):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=1)
    force_input = np.random.default_rng(0).normal(size=(len(atoms), 3)) if told else None
    if told:
        force_input[::2] = 0.0  # every other atom is told nothing
    before = answer(net, atoms, dtype, force_input)
    for seed in range(3):
        for mirror in (1, -1):
            q = rotation(seed) * mirror
            turned = atoms.copy()
            turned.positions = atoms.positions @ q.T
            after = answer(net, turned, dtype, force_input @ q.T if told else None)
            for name, x in before.items():
                y = after[name] if name == "energy" else after[name] @ torch.from_numpy(q)
                error = float((y - x).abs().max() / x.abs().max())
                assert error <= tolerance, (name, seed, mirror, error)


def test_a_clue_that_does_not_turn_is_caught(net):
    atoms = molecule("CH3CH2OH")
    q = rotation(0)
    force_input = np.random.default_rng(0).normal(size=(len(atoms), 3))
    turned = atoms.copy()
    turned.positions = atoms.positions @ q.T
    before = answer(net, atoms, torch.float64, force_input)
    after = answer(net, turned, torch.float64, force_input)
    assert abs(float(after["energy"] - before["energy"])) > 1e-5 * abs(float(before["energy"]))


@pytest.mark.slow
def test_the_report_holds(net):
    report = scdlab.symmetry_report(net, molecule("CH3OH"), n_rotations=2)
    assert (
        max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-10
    ), report
    assert report.force_consistency < 1e-5, (
        report
    )  # all of it from the finite differences: it falls as their step²
    assert report.smoothness < 1e-6, report


def test_a_crystal_smaller_than_the_cutoff():
    cell = bulk("MgO", "rocksalt", a=4.2)  # its shortest cell vector is 2.97 Å, the cutoff 5 Å
    cell.rattle(0.1, seed=1)
    report = scdlab.symmetry_report(random_net(), cell, n_rotations=1)
    assert (
        max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-10
    ), report
    assert report.force_consistency < 1e-6, report
    one = answer(random_net(), cell, torch.float64)
    eight = answer(random_net(), cell * 2, torch.float64)
    for name in ("energy", "dipole"):
        torch.testing.assert_close(8 * one[name], eight[name], rtol=1e-9, atol=1e-9)
    for name in ("forces", "noise"):
        torch.testing.assert_close(one[name].repeat(8, 1), eight[name], rtol=1e-9, atol=1e-10)


def test_smooth_at_the_cutoff():
    net = random_net()

    def largest_steps(n):
        """Largest steps of energy, forces and noise while a fourth atom leaves the sphere of
        another."""
        path = [
            Atoms("OCHO", [[0, 0, 0], [1.2, 0, 0], [1.7, 1, 0], [x, 0.3, 0.2]])
            for x in np.linspace(4.8, 5.2, n)
        ]
        answers = answer(net, path, torch.float64).values()
        return torch.stack([part.reshape(n, -1).diff(dim=0).abs().max() for part in answers])

    # ten times finer: a smooth path's steps shrink tenfold
    coarse = largest_steps(11)
    fine = largest_steps(101)
    assert (fine < 0.2 * coarse).all(), (coarse, fine)


@pytest.mark.parametrize(
    "atoms",
    [Atoms("C"), molecule("H2"), molecule("CO2"), Atoms("HH", [[0, 0, 0], [0, 0, 9.0]])],
    ids=["atom", "H2", "CO2", "apart"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_structures(atoms, dtype):
    net = random_net().to(dtype).train()
    batch = scdlab.AtomStore.from_ase([atoms]).take([0])
    batch.pos = batch.pos.to(dtype).requires_grad_()
    for force_input in (None, torch.zeros(len(atoms), 3, dtype=dtype)):
        out = net(batch, forces=True, noise=True, force_input=force_input)
        for part in (out.energy, out.forces, out.noise):
            assert part.isfinite().all()
        if len(atoms) == 1 or np.ptp(atoms.positions) > 5:  # nobody near: no direction to point in
            assert out.forces.abs().max() == 0 and out.noise.abs().max() == 0
        loss = out.energy.sum() + out.forces.square().sum() + out.noise.square().sum()
        gradients = torch.autograd.grad(loss, [batch.pos, *net.parameters()], allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in gradients)
        if len(atoms) == 3:  # along the axis, as everything in a linear molecule must be
            assert out.noise[:, :2].abs().max() < 1e-5 * out.noise.abs().max()
