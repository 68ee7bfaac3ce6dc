"""What functions of the floor analysis take: numbers of any size, structures with notes, lone atoms
and crystals."""

import warnings

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from helpers import ct, pet, schnet

import scdlab
from scdlab import analysis
from scdlab.analysis.inputs import array, scaled

SIZES = [1e-310, 1e-200, 1e-40, 1e-20, 1e20, 3e38, 1e200, 1e305]


def cloud(n=60, d=8):
    return np.random.default_rng(0).normal(size=(n, d)) * np.arange(d, 0, -1)


@pytest.fixture(autouse=True)
def no_overflow():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


@pytest.mark.parametrize("size", SIZES)
def test_maps_and_numbers_of_embeddings_of_any_size(size):
    x = cloud()
    y = x[:, 0] + x[:, 1] ** 2
    flat = analysis.reduce_embedding(x, "pca")
    np.testing.assert_allclose(
        analysis.reduce_embedding(x * size, "pca") / size, flat, rtol=1e-9, atol=1e-9
    )
    assert analysis.extensivity(x * size, y) == pytest.approx(analysis.extensivity(x, y))
    assert analysis.smoothness(x * size, y) == pytest.approx(analysis.smoothness(x, y))
    assert analysis.smoothness(x, y * size) == pytest.approx(analysis.smoothness(x, y))


def test_usual_sizes_are_not_changed():
    x = cloud()
    assert scaled(x)[0] is x
    huge, factor = scaled(x * 2.0**200)
    assert np.array_equal(huge * factor, x * 2.0**200)


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_embeddings_that_are_no_numbers_are_refused(method):
    x = cloud()
    x[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"Row 3 of the embeddings is NaN or infinite"):
        analysis.reduce_embedding(x, method)
    for wrong in (cloud().astype(complex), [["a"] * 8] * 60, [[1, 2], [3]]):
        with pytest.raises(ValueError, match=r"Expected an array of real numbers"):
            analysis.reduce_embedding(wrong, method)


def test_tensors_of_other_precisions_are_arrays():
    x = torch.ones(3, 2, requires_grad=True)
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        assert np.array_equal(array(x.to(dtype)), np.ones((3, 2)))
    assert np.array_equal(array(torch.ones(3, dtype=torch.long)), np.ones(3))


def test_embeddings_that_overflow_are_told():
    model = schnet()
    with torch.no_grad():
        model.embedding.weight.mul_(1e38)
        for parameter in model.parameters():
            parameter.mul_(1e3)
    with pytest.raises(ValueError, match=r"The embedding of structure 0 is NaN or infinite"):
        analysis.embed(model, scdlab.load_ethanol()[:4])


def test_arguments_of_embed_are_named():
    model = schnet()
    store = scdlab.load_ethanol()[:4]
    for arguments, said in (
        ((model, [store.to_ase(0)]), "store must be an AtomStore, got "),
        ((model, None), "store must be an AtomStore, got None"),
        ((store, model), "model must be a model such as"),
        ((model, store, "all"), "n must be a whole number"),
        ((model, store, 2, "mean", 0, 0), "batch_size must be a whole number, at least 1"),
        ((model, store, 2, "mean", 0, "8"), "batch_size must be a whole number, at least 1"),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            analysis.embed(*arguments)
    assert len(analysis.embed(model, store, n=np.int64(2), batch_size=np.int32(1))[0]) == 2


def _with_notes() -> ase.Atoms:
    atoms = molecule("H2O")
    atoms.info.update({"natoms": 3, "config id": 7, "energy": "unknown"})
    atoms.set_array("forces", np.full((3, 3), np.nan))
    atoms.set_array("x", np.zeros(3))
    return atoms


def test_notes_of_a_structure_do_not_matter():
    plain = molecule("H2O")
    noted = _with_notes()
    x = plain.positions
    model = ct().eval()
    for found in (
        lambda atoms: analysis.denoise(model, atoms, x),
        lambda atoms: analysis.displacements(atoms, 0.1),
        lambda atoms: analysis.self_embedding(model, atoms),
        lambda atoms: analysis.energies(model, atoms, x[None]),
    ):
        assert np.array_equal(found(noted), found(plain))


@pytest.mark.parametrize("atoms", [ase.Atoms("He"), bulk("Cu")], ids=["an atom", "a crystal"])
def test_a_lone_atom_and_a_crystal_of_one(atoms):
    model = ct().eval()
    assert analysis.denoise(model, atoms, atoms.positions).shape == (1, 3)
    assert analysis.displacements(atoms, 0.1).shape == (1, 3)
    assert analysis.energies(model, atoms, atoms.positions[None]).shape == (1,)
    pairs = analysis.bonds_of(atoms)
    assert pairs.shape == (0, 2)
    lengths = analysis.bond_lengths(atoms.positions, pairs)
    assert not analysis.length_density(lengths, np.linspace(0, 2, 5), 0.1).any()


def test_paths_and_averages_are_of_molecules():
    crystal = bulk("MgO", "rocksalt", a=4.2)
    with pytest.raises(ValueError, match=r"this structure is periodic: set atoms\.pbc = False"):
        analysis.paths_of(crystal, 0, cutoff=3.5)
    with pytest.raises(ValueError, match=r"this structure is periodic: set atoms\.pbc = False"):
        analysis.AveragedEnergies(pet(), crystal)
    with pytest.raises(ValueError, match=r"A single atom has no neighbors"):
        analysis.paths_of(ase.Atoms("He"), 0, cutoff=3.5)
