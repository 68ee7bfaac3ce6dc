"""The laws, on random structures and on random and trained parameters; and that the report notices
when one is broken."""

import functools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import scdlab
from scdlab.nn.blocks import radial
from scdlab.objectives import EnergyForces


@functools.cache
def model(trained=False, **kwargs):
    torch.manual_seed(0)
    net = scdlab.SchNet(hidden_channels=16, num_layers=2, num_rbf=16, **kwargs)
    if trained:
        scdlab.fit(
            net,
            EnergyForces(),
            scdlab.load_ethanol().split(100, 0)[0],
            steps=60,
            lr=5e-3,
            progress=False,
        )
    else:  # larger than usual weights: errors that initialization hides must show
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(1.5)
    return net


TRAINED = pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])
random_atoms = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([1, 6, 8]), min_size=n, max_size=n),
        hnp.arrays(np.float64, (n, 3), elements=st.floats(-3, 3, width=32)),
    )
)


@pytest.mark.slow
@TRAINED
@given(z_pos=random_atoms, seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_laws_hold_on_any_structure(trained, z_pos, seed):
    z, pos = z_pos
    pos = pos + np.arange(len(z))[:, None] * [0.7, 0.3, 0.1]
    gaps = np.linalg.norm(pos[:, None] - pos, axis=-1)[np.triu_indices(len(z), 1)]
    if gaps.min() < 0.4:  # atoms on top of each other are refused, not predicted
        return
    atoms = Atoms(z, pos)
    report = scdlab.symmetry_report(model(trained), atoms, n_rotations=1, seed=seed)
    for law in ("rotation", "reflection", "translation", "permutation"):
        assert getattr(report, law) < 1e-8, report
    atoms.calc = scdlab.Calculator(model(trained))
    largest = max(abs(atoms.get_forces()).max(), 1e-3)  # eV/Å: what the report divides by
    # Where forces nearly cancel, the differences' own error, of order step², is all that is left.
    assert report.force_consistency * largest < max(1e-5 * largest, 1e-7), report
    assert report.smoothness < 1e-4, report


@TRAINED
def test_laws_hold_on_ethanol(trained):
    report = scdlab.symmetry_report(model(trained), molecule("CH3CH2OH"))
    assert max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-9, (
        report
    )
    assert report.force_consistency < 1e-6, report


def test_laws_hold_in_a_crystal_smaller_than_the_cutoff():
    cell = bulk("MgO", "rocksalt", a=4.2)  # its shortest cell vector is 2.97 Å, the cutoff 5 Å
    cell.rattle(0.1, seed=1)
    report = scdlab.symmetry_report(model(), cell)
    assert max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-9, (
        report
    )
    assert report.force_consistency < 1e-6, report


def test_a_direct_force_model_is_caught():
    report = scdlab.symmetry_report(model(direct_forces=True), molecule("CH3CH2OH"))
    assert report.rotation < 1e-9 and report.force_consistency > 1e-2, report


def test_a_missing_envelope_is_caught(monkeypatch):
    monkeypatch.setattr(
        "scdlab.nn.ops.filter_tables.cosine_cutoff", lambda r, cutoff: torch.ones_like(r)
    )
    assert scdlab.symmetry_report(model(), molecule("CH4")).smoothness > 1e-4
    assert radial.cosine_cutoff is not None


def test_a_model_that_reads_coordinates_is_caught():
    class Leaning(scdlab.SchNet):
        def represent(self, batch, pairs, condition=None, vectors=False):
            features = super().represent(batch, pairs, condition)
            features.x = features.x + 0.01 * batch.pos[:, :1]
            return features

    torch.manual_seed(0)
    report = scdlab.symmetry_report(Leaning(hidden_channels=16, num_layers=2), molecule("CH3CH2OH"))
    assert min(report.rotation, report.reflection, report.translation) > 1e-5, report
    assert report.permutation < 1e-9


def test_the_report_reads_well_and_leaves_the_model_alone():
    net = model()
    report = scdlab.symmetry_report(net, molecule("H2O"))
    assert "SchNet on H2O" in str(report) and "<table>" in report._repr_html_()
    assert next(net.parameters()).dtype == torch.float32
    assert set(report.as_dict()) == {
        "rotation",
        "reflection",
        "translation",
        "permutation",
        "force_consistency",
        "smoothness",
    }
