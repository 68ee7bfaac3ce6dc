"""DimeNet's parts: bases by what defines them, slots and triplets by brute force, vectors, forces,
files."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from helpers import stored_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from scipy.special import spherical_jn

import scdlab
from scdlab.atoms import neighbor_list
from scdlab.nn.blocks.bessel import (
    BesselBasis,
    SphericalBesselBasis,
    polynomial_envelope,
    spherical_bessel,
    spherical_bessel_zeros,
    zonal_harmonics,
)
from scdlab.nn.dimenet import EdgeSlots, Geometry
from scdlab.objectives import EnergyForces, PropertyRegression

SMALL = dict(
    hidden_channels=16,
    num_layers=2,
    int_emb_size=8,
    basis_emb_size=4,
    out_emb_channels=16,
    num_spherical=4,
    num_rbf=3,
)


def net(**kwargs):
    """A small DimeNet in float64 whose vectors are not zero, as they are at the start of
    training."""
    torch.manual_seed(0)
    model = scdlab.DimeNet(**{**SMALL, **kwargs})
    torch.nn.init.normal_(model.vectors.lin.weight, std=0.3)
    return model.double()


# -- bases
# --------------------------------------------------------------------------------------------------


def ball():
    """Nodes and weights of a quadrature on [0, 1]."""
    x, w = leggauss(80)
    return torch.from_numpy((x + 1) / 2), torch.from_numpy(w / 2)


def test_radial_bessel_functions_are_orthonormal_in_the_ball():
    x, w = ball()
    basis = BesselBasis(6, cutoff=5.0).double()
    with torch.no_grad():
        basis.frequencies.copy_(math.pi * torch.arange(1, 7, dtype=torch.float64))
        e = basis.waves(x)
    gram = (e * (w * x**2)[:, None]).T @ e
    torch.testing.assert_close(gram, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-9)


def test_the_spherical_basis_is_orthonormal_over_distance_and_angle():
    x, w = ball()
    basis = SphericalBesselBasis(7, 6, cutoff=5.0).double()
    cos, v = (torch.from_numpy(t) for t in leggauss(40))
    y = torch.stack(zonal_harmonics(cos, 7))  # (l, angle)
    a = basis.waves(x)[:, None] * y.T[None, :, :, None]  # (x, angle, l, n)
    weight = 2 * math.pi * (w * x**2)[:, None] * v
    a = a.flatten(2).flatten(0, 1)
    gram = (a * weight.reshape(-1, 1)).T @ a
    torch.testing.assert_close(
        gram, torch.eye(42, dtype=torch.float64), rtol=0, atol=1e-5
    )  # zeros held in float32


def test_zeros_are_zeros_and_none_is_left_out():
    zeros = spherical_bessel_zeros(7, 6)
    for order, row in enumerate(zeros):
        assert np.abs(spherical_jn(order, row)).max() < 1e-12
        sign = np.sign(spherical_jn(order, np.linspace(0.5 + order / 2, row[-1] + 1e-3, 20_000)))
        assert (np.diff(sign) != 0).sum() == 6


@pytest.mark.parametrize("order", [0, 1, 2, 6, 10])
def test_spherical_bessel_functions_and_their_derivative(order):
    x = (
        torch.cat([torch.tensor([1e-8, 1e-3]), torch.linspace(0.01, 40, 4001)])
        .double()
        .requires_grad_()
    )
    j = spherical_bessel(order, x)
    (slope,) = torch.autograd.grad(j.sum(), x)
    points = x.detach().numpy()
    np.testing.assert_allclose(j.detach(), spherical_jn(order, points), rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        slope, spherical_jn(order, points, derivative=True), rtol=0, atol=1e-12
    )
    near = x[2:600].detach().float()
    np.testing.assert_allclose(
        spherical_bessel(order, near), spherical_jn(order, near.double()), rtol=0, atol=1e-5
    )


def test_bases_have_first_and_second_derivatives():
    r = torch.tensor([0.3, 0.9, 1.7, 3.3, 4.9], dtype=torch.float64, requires_grad=True)
    for basis in (BesselBasis(4, 5.0).double(), SphericalBesselBasis(5, 3, 5.0).double()):
        assert torch.autograd.gradcheck(basis, r)
        assert torch.autograd.gradgradcheck(basis, r)


def test_value_slope_and_curvature_vanish_at_the_cutoff():
    x = torch.tensor([1 - 1e-6, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    u = polynomial_envelope(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    assert u.abs().max() < 1e-12 and slope.abs().max() < 1e-9 and curvature.abs().max() < 1e-3
    assert polynomial_envelope(torch.zeros(1)) == 1


# -- edges and triplets
# -------------------------------------------------------------------------------------------


def brute_force(atoms, cutoff):
    """Neighbors (atom, image) of every atom, by trying all images."""
    images = [range(-3, 4) if periodic else (0,) for periodic in atoms.pbc]
    found = [set() for _ in atoms]
    for a, b, image in itertools.product(
        range(len(atoms)), range(len(atoms)), itertools.product(*images)
    ):
        away = atoms.positions[b] + image @ atoms.cell.array - atoms.positions[a]
        if (a, image) != (b, (0, 0, 0)) and np.linalg.norm(away) < cutoff:
            found[a].add((b, image))
    return found


def triplets(slots, pairs):
    """Every k→j→i that the slots stand for: (j, slot's neighbor i, slot's neighbor k), neighbors
    with their image."""
    zero = torch.zeros(len(pairs), 3)
    shift = (zero if pairs.shift is None else pairs.shift).round().long()
    shift = torch.cat([shift, -shift]).tolist()
    e = len(slots.target)
    holds = [
        None if k == e else (int(slots.source[k]), tuple(shift[k])) for k in slots.edge.tolist()
    ]
    for k in range(e):
        row = int(slots.leaving[k])
        j = int(slots.source[k])
        assert row // slots.width == j and holds[row] == (
            int(slots.target[k]),
            tuple(-s for s in shift[k]),
        )
        for slot in range(j * slots.width, (j + 1) * slots.width):
            if slot != row and holds[slot] is not None:
                yield j, holds[row], holds[slot]


def check_triplets(atoms, cutoff):
    batch = stored_batch(atoms)
    pairs = neighbor_list(batch, cutoff)
    ours = list(triplets(EdgeSlots(pairs.directed(), len(atoms)), pairs))
    near = brute_force(atoms, cutoff)
    expected = {
        (j, i, k) for j, around in enumerate(near) for i in around for k in around if i != k
    }
    assert len(ours) == len(set(ours)) and set(ours) == expected


@given(seed=st.integers(0, 10_000), n=st.integers(1, 8), cutoff=st.floats(1.5, 4.0))
@settings(max_examples=25)
def test_triplets_of_molecules(seed, n, cutoff):
    rng = np.random.default_rng(seed)
    check_triplets(Atoms(["C"] * n, rng.normal(size=(n, 3)).astype(np.float32) * 1.5), cutoff)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 3), pbc=st.tuples(*[st.booleans()] * 3))
@settings(max_examples=15)
def test_triplets_of_cells_smaller_than_the_cutoff(seed, n, pbc):
    rng = np.random.default_rng(seed)
    cell = 2.6 * np.eye(3) + rng.normal(
        scale=0.15, size=(3, 3)
    )  # an atom meets images of itself, at both ends
    positions = (rng.random((n, 3)) @ cell).astype(np.float32)
    check_triplets(Atoms(["C"] * n, positions, cell=cell, pbc=pbc), 3.0)


@pytest.mark.parametrize("atoms", ["CH3CH2OH", "CO2", bulk("MgO", "rocksalt", a=4.2)])
def test_the_directional_part_is_the_sum_over_triplets(atoms):
    model = net(cutoff=3.2)
    batch = stored_batch(atoms)
    pairs = neighbor_list(batch, model.cutoff)
    edges = pairs.directed()
    r_ij = pairs.vectors(batch.pos, batch).double()
    geometry = Geometry(model, r_ij, edges, len(batch.z))
    block = model.blocks[0]
    m = torch.randn(len(edges), SMALL["int_emb_size"], dtype=torch.float64)
    out = torch.zeros_like(m)
    away = torch.cat([r_ij, -r_ij])
    waves = model.sbf(away.norm(dim=-1))  # (E, l, n)
    for kj, ji in itertools.product(range(len(m)), repeat=2):
        if edges.target[kj] == edges.source[ji] and kj != edges.reverse[ji]:
            cos = torch.cosine_similarity(away[kj], -away[ji], dim=0)
            basis = waves[kj] * torch.stack(zonal_harmonics(cos, SMALL["num_spherical"])).unsqueeze(
                -1
            )
            out[ji] += m[kj] * block.sbf2(block.sbf1(basis.flatten()))
    torch.testing.assert_close(block.directional(m, geometry), out)


# -- the model
# --------------------------------------------------------------------------------------------------


def test_a_line_of_atoms_has_finite_forces_and_trainable_ones():
    model = net().train()
    batch = stored_batch("CO2")
    forces = model(batch, forces=True).forces
    forces.square().sum().backward()
    assert torch.isfinite(forces).all() and forces[:, :2].abs().max() < 1e-9  # along the axis only
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_it_tells_apart_what_distances_to_neighbors_cannot():
    """Six atoms as one hexagon and as two triangles: within the cutoff each atom has two neighbors
    at 1.4 Å in both. Only the angle differs."""
    turn = np.arange(6) * math.pi / 3
    hexagon = 1.4 * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    triangle = (
        1.4
        / math.sqrt(3)
        * np.stack([np.cos(2 * turn[:3]), np.sin(2 * turn[:3]), 0 * turn[:3]], axis=1)
    )
    triangles = np.concatenate([triangle, triangle + np.array([0, 0, 9.0])])
    batches = [stored_batch(Atoms("C6", positions)) for positions in (hexagon, triangles)]
    torch.manual_seed(0)
    schnet = scdlab.SchNet(hidden_channels=16, num_layers=2, cutoff=2.3).double()
    dimenet = net(cutoff=2.3)
    torch.testing.assert_close(
        schnet(batches[0]).energy, schnet(batches[1]).energy, rtol=1e-6, atol=1e-6
    )
    assert (dimenet(batches[0]).energy - dimenet(batches[1]).energy).abs() > 1e-3


def test_vectors_turn_with_the_structure():
    model = net()
    batch = stored_batch("CH3CH2OH")
    model.add_property("dipole", "vector").double()
    model.property_heads["dipole"].std.fill_(2.0)
    q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))  # a reflection or a rotation
    turned = copy.copy(batch)
    turned.pos = batch.pos.double() @ torch.from_numpy(q).T
    a = model(batch)
    b = model(turned)
    assert a.properties["dipole"].shape == (1, 3) and a.properties["dipole"].abs().max() > 1e-4
    torch.testing.assert_close(
        b.properties["dipole"], a.properties["dipole"] @ torch.from_numpy(q).T, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(b.noise, a.noise @ torch.from_numpy(q).T, rtol=1e-5, atol=1e-6)
    methane = model(stored_batch("CH4"))
    assert methane.properties["dipole"].abs().max() < 1e-4  # by symmetry none
    with torch.no_grad():
        assert not model(batch, forces=True).properties["dipole"].requires_grad


def test_a_backbone_without_vectors_has_no_vector_property():
    with pytest.raises(ValueError, match="no vector features"):
        scdlab.SchNet(hidden_channels=16, num_layers=1).add_property("dipole", "vector")
    scdlab.EquivariantTransformer(hidden_channels=16, num_layers=1, num_heads=2).add_property(
        "dipole", "vector"
    )


def test_the_length_of_a_vector_is_learned_from_labels_without_direction():
    """Water's dipole moment points along its axis, towards the hydrogens or away; the label is the
    length alone."""
    train = scdlab.load_qm9(limit=30)
    model = scdlab.DimeNet(**{**SMALL, "num_layers": 1})
    objective = PropertyRegression("mu", kind="vector")
    scdlab.fit(model, objective, train, steps=80, batch_size=10, lr=5e-3, progress=False)
    spread = np.abs(train.property("mu") - np.median(train.property("mu"))).mean()
    assert scdlab.evaluate(model, train)["mu_mae"] < 0.7 * spread
    water = molecule("H2O")
    axis = water.positions[1:].mean(0) - water.positions[0]
    dipole = model(stored_batch(water)).properties["mu"][0].detach().numpy()
    assert abs(dipole @ axis) > 0.999 * np.linalg.norm(dipole) * np.linalg.norm(axis) > 0
    with pytest.raises(ValueError, match="'per_atom'"):
        PropertyRegression("mu", kind="per_atom")


def test_batching_changes_nothing_and_lone_atoms_are_fine():
    store = scdlab.AtomStore.from_ase([molecule(m) for m in ("CH4", "O", "C6H6", "H2")])
    model = net()
    together = model(store.take(range(4)), forces=True)
    alone = [model(store.take([k]), forces=True) for k in range(4)]
    torch.testing.assert_close(together.energy, torch.cat([a.energy for a in alone]))
    torch.testing.assert_close(together.forces, torch.cat([a.forces for a in alone]))
    assert alone[1].forces.abs().max() == 0 and torch.isfinite(alone[1].energy).all()


def test_training_on_forces_lowers_their_error():
    torch.manual_seed(0)
    train, _, test = scdlab.load_ethanol().split(40, 0)
    model = scdlab.DimeNet(**SMALL)
    objective = EnergyForces()
    objective.prepare(model, train)
    test = test[:20]
    before = scdlab.evaluate(model, test, objective)
    scdlab.fit(model, objective, train, steps=30, batch_size=10, lr=3e-3, progress=False)
    after = scdlab.evaluate(model, test, objective)
    assert after["force_mae"] < 0.8 * before["force_mae"]


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = net(noise_head=False).float().eval()
    model.add_property("dipole", "vector")
    model.add_property("mu")
    scdlab.save(model, tmp_path / "dimenet")
    again = scdlab.load(tmp_path / "dimenet")
    batch = stored_batch("C6H6")
    assert again.config == model.config and again.noise_head is None
    for name in ("dipole", "mu"):
        assert torch.equal(again(batch).properties[name], model(batch).properties[name])


def test_no_subnormal_number_leaves_the_bases():
    r = torch.linspace(0.3, 5.5, 4000)
    for basis in (BesselBasis(6, 5.0), SphericalBesselBasis(7, 6, 5.0)):
        out = basis(r).detach()
        assert not ((out != 0) & (out.abs() < torch.finfo(torch.float32).tiny)).any()


@pytest.mark.parametrize(
    "arguments, named",
    [
        (dict(num_layers=0), "num_layers"),
        (dict(num_rbf=0), "num_rbf"),
        (dict(cutoff=-1.0), "cutoff"),
        (dict(int_emb_size=0), "int_emb_size"),
    ],
)
def test_bad_settings_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        scdlab.DimeNet(**arguments)
