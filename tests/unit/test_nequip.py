"""TensorProductNet's parts: coefficients by what defines them, sizes, order of components, who
hears whom, what atoms are told, training, forces, files."""

import math
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from e3nn import o3
from helpers import stored_batch

import scdlab
from scdlab.atoms import neighbor_list
from scdlab.nn.blocks.harmonics import coefficients, product_paths
from scdlab.nn.nequip import TensorProductNet, act
from scdlab.objectives import EnergyForces

SMALL = dict(hidden_channels=8, num_layers=2, num_rbf=5)


def net(**kwargs):
    torch.manual_seed(0)
    model = TensorProductNet(**{**SMALL, **kwargs})
    if model.force_encoding is not None:  # whose weights start at zero
        for weight in model.force_encoding.weights:
            torch.nn.init.normal_(weight)
    return model.double()


def features(model, batch, force_input=None, vectors=True, pairs=None):
    batch.pos = batch.pos.double()
    pairs = neighbor_list(batch, model.cutoff) if pairs is None else pairs
    force_input = None if force_input is None else model.force_encoding(force_input)
    return model.represent(batch, pairs, None, vectors, force_input=force_input)


def test_paths_are_those_that_rotations_and_mirrors_allow():
    assert product_paths(0, 2, 2) == [(0, 0, 0), (0, 1, 1), (0, 2, 2)]
    assert product_paths(2, 2, 1) == [
        (0, 0, 0),
        (1, 1, 0),
        (2, 2, 0),
        (0, 1, 1),
        (1, 0, 1),
        (1, 2, 1),
        (2, 1, 1),
    ]
    assert len(product_paths(2, 2, 2)) == 11


@pytest.mark.parametrize("path", [*product_paths(2, 2, 2), (3, 3, 2), (2, 3, 3)])
def test_products_of_harmonics_are_harmonics(path):
    """[Y^(l₂)(u) ⊗ Y^(l₁)(u)]^(l₃) turns as Y^(l₃)(u) and depends on u alone, so it is a multiple
    of it."""
    unit = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1)
    y1, y2, y3 = (o3.spherical_harmonics(k, unit, False, "component") for k in path)
    out = torch.einsum("nqm,pn,pm->pq", coefficients(*path, torch.float64, unit.device), y2, y1)
    ratio = (out * y3).sum(1) / y3.square().sum(1)
    torch.testing.assert_close(out, ratio[0] * y3, rtol=1e-10, atol=1e-12)
    assert ratio[0].abs() > 0.1


def test_products_and_activations_keep_sizes():
    z, w = (torch.from_numpy(x) for x in np.polynomial.hermite_e.hermegauss(80))
    assert (act(z).square() @ w / w.sum()).item() == pytest.approx(1.0, rel=1e-6)
    for path in product_paths(3, 3, 3):
        c = coefficients(
            *path, torch.float64, z.device
        )  # components of size one, independent of each other
        torch.testing.assert_close(
            c.square().sum((0, 2)), torch.ones(2 * path[2] + 1, dtype=torch.float64)
        )


@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_an_untrained_network_has_features_of_order_one(lmax):
    store = scdlab.load_ethanol()
    for layers in (1, 2, 4):
        torch.manual_seed(0)
        model = TensorProductNet(hidden_channels=32, num_layers=layers, lmax=lmax)
        batch = store.take(range(2))
        out = model.represent(batch, neighbor_list(batch, 5.0), None, True)
        assert 0.2 < out.x.std() < 3 and 0.1 < out.v.std() < 3, (layers, out.x.std(), out.v.std())


def test_vectors_are_in_the_order_x_y_z():
    apart = torch.tensor([0.5, -0.8, 0.2], dtype=torch.float64)
    v = features(
        net(), stored_batch(Atoms("CO", [[0, 0, 0], apart.tolist()]))
    ).v  # [2, 3, d]: along the bond, all channels
    along = torch.einsum("nxc,x->nc", v, apart / apart.norm())
    torch.testing.assert_close(
        v, along.unsqueeze(1) * (apart / apart.norm()).view(1, 3, 1), rtol=1e-6, atol=1e-9
    )
    assert (along.abs() > 1e-4).all()


def test_both_atoms_of_a_pair_hear_each_other():
    model = net()
    there, back = (
        features(model, stored_batch(Atoms(s, [[0, 0, 0], [0, 0, z]])))
        for s, z in (("CO", 1.1), ("OC", -1.1))
    )
    torch.testing.assert_close(there.x, back.x.flip(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(there.v, back.v.flip(0), rtol=1e-12, atol=1e-12)


def test_nobody_beyond_the_cutoff_matters():
    model = net(cutoff=3.0)
    water = molecule("H2O")
    alone = features(model, stored_batch(water))
    far = water.copy()
    far.append("O")
    far.positions[-1] = [0, 0, 4.5]
    for reach in (3.0, 9.0):  # also when pairs of a longer list name it
        together = features(model, stored_batch(far), pairs=neighbor_list(stored_batch(far), reach))
        torch.testing.assert_close(together.x[:3], alone.x, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(together.v[:3], alone.v, rtol=1e-12, atol=1e-12)


def test_structures_of_a_batch_do_not_hear_each_other():
    model = net()
    atoms = [molecule("CH3OH"), Atoms("C"), molecule("H2O")]
    together = features(model, stored_batch(*atoms)).x
    torch.testing.assert_close(
        together,
        torch.cat([features(model, stored_batch(a)).x for a in atoms]),
        rtol=1e-12,
        atol=1e-12,
    )


def test_energies_do_not_depend_on_what_else_is_asked_for():
    model = net()
    batch = stored_batch(molecule("CH3OH"))
    torch.testing.assert_close(
        features(model, batch, vectors=True).x, features(model, batch, vectors=False).x
    )
    assert features(model, batch, vectors=False).v is None


def test_angles_matter():
    """Two structures in which every atom has the same distances to all others within the cutoff."""
    bent, straight = (
        [[0, 0, 0], [1.9, 0, 0], [1.9 * math.cos(a), 1.9 * math.sin(a), 0]] for a in (2.0, 2.6)
    )
    model = net(cutoff=3.0)
    x, y = (features(model, stored_batch(Atoms("COO", p))).x for p in (bent, straight))
    assert (x - y).abs().max() > 1e-3


def test_forces_have_derivatives():
    model = net(hidden_channels=4, force_input=True)
    batch = stored_batch(Atoms("COH", [[0, 0, 0], [1.2, 0.1, 0], [-0.4, 0.9, 0.3]]))
    force_input = torch.randn(3, 3, dtype=torch.float64)

    def energy(pos):
        batch.pos = pos
        return features(model, batch, force_input, vectors=False).x.square().sum()

    pos = batch.pos.double().requires_grad_()
    assert torch.autograd.gradcheck(energy, pos)
    assert torch.autograd.gradgradcheck(energy, pos)


def test_told_nothing_and_told_of_no_force_are_the_same():
    model = net(force_input=True)
    batch = stored_batch(molecule("CH3OH"))
    zero = torch.zeros(6, 3, dtype=torch.float64)
    untold = features(model, batch)
    told = features(model, batch, zero)
    torch.testing.assert_close(untold.x, told.x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(untold.v, told.v, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_every_degree_carries_the_force(degree):
    """Also degree 2 alone: its sign does not depend on the sign of the force, its axis does."""
    model = net(force_input=True)
    batch = stored_batch(molecule("CH3OH"))
    with torch.no_grad():
        for k, weight in enumerate(model.force_encoding.weights):
            weight.mul_(k == degree)
    force_input = torch.zeros(6, 3, dtype=torch.float64)
    force_input[0] = torch.tensor([0.3, -1.0, 2.0])
    untold, told, opposite = (
        features(model, batch, c).x for c in (None, force_input, -force_input)
    )
    assert (told - untold).abs().max() > 1e-3
    assert ((opposite - told).abs().max() > 1e-3) == (degree == 1)


def test_a_force_that_is_told_reaches_neighbors_of_neighbors_only():
    chain = Atoms("CCCC", [[2.0 * k, 0, 0] for k in range(4)])
    model = net(cutoff=2.5, force_input=True)
    force_input = torch.zeros(4, 3, dtype=torch.float64)
    force_input[0, 1] = 1.0
    with_force = features(model, stored_batch(chain), force_input).x
    without = features(model, stored_batch(chain)).x
    change = (with_force - without).abs().amax(1)
    assert (change[:3] > 1e-6).all() and change[3] == 0  # two layers


def test_what_it_is_told_passes_through_the_model():
    model = net(force_input=True).train()
    batch = stored_batch(molecule("CH3OH"))
    force_input = torch.randn(6, 3)
    assert not torch.equal(model(batch, force_input=force_input).noise, model(batch).noise)
    with pytest.raises(ValueError, match="force_input=True"):
        net()(batch, force_input=force_input)


@pytest.mark.parametrize(
    "wrong", [dict(num_layers=0), dict(lmax=0), dict(lmax=12), dict(num_rbf=0)]
)
def test_what_cannot_be_built(wrong):
    with pytest.raises(ValueError, match=r"must be (at least 1|from 1 to 11)"):
        TensorProductNet(**{**SMALL, **wrong})


def test_it_trains_after_inference_and_without_a_warning():
    coefficients.cache_clear()
    model = TensorProductNet(**SMALL)
    store = scdlab.load_ethanol()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.inference_mode():
            model.eval()(store.take([0]), forces=False)
        out = model.train()(store.take([0, 1]), forces=True)
        (out.energy.sum() + out.forces.square().sum() + out.noise.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_it_learns():
    torch.manual_seed(0)
    train = scdlab.load_ethanol().split(40, 0)[0]
    model = TensorProductNet(hidden_channels=8, num_layers=2, lmax=2)
    scdlab.fit(model, EnergyForces(), train, steps=30, batch_size=8, lr=1e-2, progress=False)
    batch = train.take(range(8))
    error = (model.eval()(batch, forces=True).forces - batch.forces).abs().mean()
    assert error < 0.7 * batch.forces.abs().mean()


def test_files_and_calculator(tmp_path):
    torch.manual_seed(0)
    model = scdlab.TensorProductNet(**SMALL, force_input=True)
    model.add_property("dipole", "vector")
    scdlab.save(model, tmp_path / "net")
    again = scdlab.load(tmp_path / "net")
    batch = stored_batch(molecule("CH3OH"))
    before, after = (
        m.eval()(batch, forces=True, force_input=torch.ones(6, 3)) for m in (model, again)
    )
    for x, y in (
        (before.energy, after.energy),
        (before.forces, after.forces),
        (before.noise, after.noise),
        (before.properties["dipole"], after.properties["dipole"]),
    ):
        torch.testing.assert_close(x, y, rtol=0, atol=0)
    atoms = molecule("CH3OH")
    atoms.calc = scdlab.Calculator(again)
    untold = model(batch, forces=True)
    np.testing.assert_allclose(atoms.get_forces(), untold.forces.detach(), rtol=1e-4, atol=1e-5)
