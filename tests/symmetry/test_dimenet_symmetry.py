"""The laws for DimeNet, on random structures, in a crystal, and on random and trained
parameters."""

import copy
import functools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

import scdlab
from scdlab.objectives import EnergyForces


@functools.cache
def model(trained=False):
    torch.manual_seed(0)
    net = scdlab.DimeNet(
        hidden_channels=16,
        num_layers=2,
        int_emb_size=8,
        basis_emb_size=4,
        out_emb_channels=16,
        num_spherical=5,
        num_rbf=4,
    )
    if trained:
        scdlab.fit(
            net,
            EnergyForces(),
            scdlab.load_ethanol().split(50, 0)[0],
            steps=30,
            batch_size=8,
            progress=False,
        )
    return net


TRAINED = pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])


@pytest.mark.slow
@TRAINED
@given(seed=st.integers(0, 10_000), n=st.integers(2, 6), line=st.booleans())
@settings(max_examples=8)
def test_laws_hold_on_any_structure(trained, seed, n, line):
    rng = np.random.default_rng(seed)
    step = (
        rng.normal(size=3) if line else rng.normal(size=(n, 3))
    )  # atoms in a line: angles of 0 and π
    pos = np.cumsum(
        rng.uniform(0.9, 1.6, (n, 1)) * step / np.linalg.norm(step, axis=-1, keepdims=True), axis=0
    )
    if n > 2 and np.linalg.norm(pos[:, None] - pos, axis=-1)[np.triu_indices(n, 1)].min() < 0.6:
        return  # atoms on top of each other
    report = scdlab.symmetry_report(
        model(trained), Atoms(rng.choice([1, 6, 8], n), pos), n_rotations=1, seed=seed
    )
    for law in ("rotation", "reflection", "translation", "permutation"):
        assert getattr(report, law) < 1e-8, report
    assert report.force_consistency < 1e-4, report
    assert report.smoothness < 1e-4, report


@pytest.mark.slow
@TRAINED
def test_laws_hold_on_ethanol(trained):
    report = scdlab.symmetry_report(model(trained), molecule("CH3CH2OH"), n_rotations=1)
    assert max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-9, (
        report
    )
    assert report.force_consistency < 1e-5, report


def test_laws_hold_in_a_crystal_smaller_than_the_cutoff():
    cell = bulk("MgO", "rocksalt", a=4.2)
    cell.rattle(0.1, seed=1)
    report = scdlab.symmetry_report(model(), cell, n_rotations=1)
    assert max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-9, (
        report
    )
    assert report.force_consistency < 1e-5, report


def test_three_atoms_see_no_jump_as_one_leaves():
    """The angle's share of the energy, too, fades out with its edges."""
    net = copy.deepcopy(model()).double().eval()

    def energy(r):
        atoms = Atoms("OHC", [[0, 0, 0], [0.96, 0, 0], [-r * 0.3, r * np.sqrt(1 - 0.09), 0]])
        batch = scdlab.AtomStore.from_ase([atoms]).take([0])
        batch.pos = torch.as_tensor(atoms.positions)
        out = net(batch, forces=True)
        return out.energy.item(), out.forces

    (inside, f_in), (outside, f_out) = energy(net.cutoff - 1e-4), energy(net.cutoff + 1e-4)
    (far, f_far), (near, _) = energy(net.cutoff + 2e-4), energy(net.cutoff - 0.5)
    assert abs(near - inside) > 1e-6  # it does feel the third atom inside
    assert abs(inside - outside) < abs(outside - far) + 1e-6
    assert (f_in - f_out).abs().max() < (f_out - f_far).abs().max() + 1e-5
