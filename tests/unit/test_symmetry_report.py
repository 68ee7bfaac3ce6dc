"""What the symmetry report takes, reads and warns of."""

import warnings

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from helpers import pet, schnet

import scdlab
from scdlab.symmetry.report import SymmetryReport


def _reported(model, atoms) -> SymmetryReport:
    """The report, in which any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return scdlab.symmetry_report(model, atoms, n_rotations=1)


def test_notes_arrays_and_labels_do_not_matter():
    atoms = molecule("H2O")
    plain = _reported(schnet(), atoms).as_dict()
    atoms.info.update({"natoms": 3, "config id": 7, "energy": "unknown"})
    atoms.set_array("forces", np.full((3, 3), np.nan))
    atoms.set_array("x", np.zeros(3))
    assert _reported(schnet(), atoms).as_dict() == plain
    assert _reported(schnet(), scdlab.AtomStore.geometry(atoms)).rotation < 1e-9


@pytest.mark.parametrize("auxiliary", ["default", None])
@pytest.mark.parametrize("structure", [molecule("H2O"), bulk("Cu")], ids=["water", "copper"])
def test_an_ecse_is_not_warned_of_pairs_that_are_the_reports_own(auxiliary, structure):
    report = _reported(scdlab.ECSE(pet(), auxiliary=auxiliary), structure)
    assert max(report.as_dict().values()) < 1e-6


def test_averages_over_the_axes_of_a_molecule():
    report = _reported(scdlab.symmetry.PCAFrames(pet()), molecule("H2O"))
    assert report.rotation < 1e-9
    assert report.smoothness < 1e-9


def test_a_jump_beside_other_atoms_is_seen(monkeypatch):
    """Of an ECSE without auxiliary model, by the energy of a backbone that jumps at its cutoff."""
    exact = scdlab.ECSE(pet(), auxiliary=None)
    represent = type(exact.model).represent

    def jumping(self, batch, pairs, *args, **kwargs):
        features = represent(self, batch, pairs, *args, **kwargs)
        inside = pairs.vectors(batch.pos, batch).norm(dim=-1) < self.cutoff
        number = torch.zeros(len(batch.z), dtype=batch.pos.dtype)
        number = number.index_add(0, pairs.i, inside.to(number))
        features.x = features.x + 0.1 * number[:, None]
        return features

    monkeypatch.setattr(type(exact.model), "represent", jumping)
    assert _reported(exact, molecule("H2O")).smoothness > 1e-4


def test_small_structures():
    for atoms in (molecule("H"), molecule("H2"), bulk("Cu")):
        assert max(_reported(schnet(), atoms).as_dict().values()) < 1e-6


def test_within_inference_mode():
    right = _reported(schnet(), molecule("H2O")).as_dict()
    with torch.inference_mode():
        assert _reported(schnet(), molecule("H2O")).as_dict() == right


@pytest.mark.parametrize(
    "wrong, said",
    [
        (ase.Atoms(), "got atoms without any"),
        ([molecule("H2O")], "got a list of 1"),
        (scdlab.AtomStore.geometry([molecule("H2O")] * 2), "got a store of 2"),
        (None, "got None"),
    ],
)
def test_anything_but_one_structure_is_refused(wrong, said):
    with pytest.raises(ValueError, match=rf"examines one structure, an ase\.Atoms, {said}"):
        scdlab.symmetry_report(schnet(), wrong)
    with pytest.raises(TypeError, match=r"takes a model of scdlab, got a Linear"):
        scdlab.symmetry_report(torch.nn.Linear(1, 1), molecule("H2O"))
