"""Arguments of stores: what is meant works, all else is one sentence."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule

import scdlab
from scdlab.atoms import AtomStore
from scdlab.atoms.arguments import whole

POS = [[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]


def made(n=10):
    return AtomStore.from_arrays(
        [8, 1, 1], np.random.default_rng(0).normal(size=(n, 3, 3)), energy=np.arange(n) * 1.0
    )


@pytest.mark.parametrize(
    "z",
    [["O", "H", "H"], np.array([b"O", b"H", b"H"]), np.array(["O", "H", "H"], object), (8, 1, 1)],
)
def test_symbols_are_elements(z):
    store = AtomStore.from_arrays(z, POS, [0, 3])
    assert store.to_ase(0).get_chemical_formula() == "H2O"
    frames = AtomStore.from_arrays(z, [POS, POS])
    assert len(frames) == 2 and frames.elements == [1, 8]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"z": ["O", "H", "D2"]}, "z has the symbol 'D2'"),
        ({"z": ["O", "H", "X"]}, "z has the symbol 'X'"),
        ({"z": ["O", "H", ""]}, "z has the symbol ''"),
        ({"z": [8, None, 1]}, "z must hold atomic numbers or symbols of elements, got objects"),
        ({"z": [True, True, True]}, "got truth values"),
        ({"z": 8}, "z must be"),
        ({"z": [[8, 1, 1]]}, "z must be"),
        ({"z": [8, 1, float("nan")]}, "Structure 0 has an atom with atomic number nan"),
        ({"pos": "abc"}, "pos must be an array of real numbers, got text"),
        ({"pos": [[0, 0, 0], [1, 0]]}, "pos cannot be made an array of numbers"),
        ({"pos": np.array(POS) + 1j}, "pos must be .* got complex numbers"),
        ({"pos": None}, "pos must be .* got objects"),
        ({"ptr": ["a", "b"]}, "ptr must be an array of real numbers, got text"),
        ({"ptr": [0, 1.5, 3]}, "ptr must hold whole numbers"),
        ({"ptr": 3}, "ptr must be"),
        ({"ptr": [0, 3, 3]}, "Structure 1 has no atoms"),
        ({"energy": ["low"]}, "energy must be an array of real numbers"),
        ({"energy": [None]}, "energy must be an array of real numbers"),
        ({"forces": [[None] * 3] * 3}, "forces must be"),
        ({"cell": "cubic"}, "cell must be"),
        ({"properties": {"gap": ["wide"]}}, "Property 'gap' is not one number"),
        ({"atom_properties": {"charge": ["a", "b", "c"]}}, "Atom property 'charge' must be"),
        ({"atom_properties": {"charge": np.zeros((3, 0))}}, "Atom property 'charge'"),
        ({"atom_properties": {"charge": np.zeros(3, np.longdouble)}}, "Atom property 'charge'"),
    ],
)
def test_arrays_of_the_wrong_kind_are_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        AtomStore.from_arrays(**({"z": [8, 1, 1], "pos": POS, "ptr": [0, 3]} | change))
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("name", ["meta", "properties", "atom_properties"])
@pytest.mark.parametrize("value", ["text", [1, 2], {1: [0.0]}])
def test_mappings_have_names_as_keys(name, value):
    with pytest.raises(TypeError, match=f"{name} must be a mapping with names as keys, got"):
        AtomStore.from_arrays([8, 1, 1], POS, [0, 3], **{name: value})


def test_tensors_that_need_gradients_are_arrays_too():
    pos = torch.tensor(POS, requires_grad=True)
    assert len(AtomStore.from_arrays(torch.tensor([8, 1, 1]), pos, torch.tensor([0, 3]))) == 1


def test_stores_are_put_together_from_a_list():
    with pytest.raises(TypeError, match=r"AtomStore\.concat\(\[a, b\]\)"):
        AtomStore.concat(made(), made())
    with pytest.raises(TypeError, match="item 1 is a Atoms: make it a store first"):
        AtomStore.concat([made(), molecule("H2O")])
    with pytest.raises(TypeError, match="meta must be a mapping"):
        AtomStore.concat([made()], "notes")
    assert len(AtomStore.concat([made(), made(2)], {"a": 1})) == 12


@pytest.mark.parametrize(
    "index",
    [
        [1.5],
        [1.0],
        np.array([0.0, 1.0]),
        ["a"],
        [None],
        {1, 2},
        [[0, 1], [2]],
        ...,
        2.5,
        True,
        None,
    ],
)
def test_what_is_no_index_is_one_sentence(index):
    for call in (made().take, made().__getitem__, made().subset):
        if index is True and call.__name__ == "__getitem__":
            continue  # a whole number, to Python
        with pytest.raises(TypeError, match=r"Structures are chosen by whole numbers.*\."):
            call(index)


@pytest.mark.parametrize(
    "index, message",
    [
        ([10], "no structure 10, there are 10"),
        ([-11], "no structure -11"),
        (np.array([0, 3, 99]), "no structure 99"),
        (torch.tensor([12]), "no structure 12"),
        (range(8, 12), "no structure 10"),
        (np.ones(9, bool), "The mask has 9 entries, and there are 10 structures"),
        ([True, False], "The mask has 2 entries"),
        (torch.ones(11, dtype=torch.bool), "The mask has 11 entries"),
    ],
)
def test_structures_that_are_not_there_are_named(index, message):
    for call in (made().take, made().__getitem__):
        with pytest.raises(IndexError, match=message):
            call(index)


def test_other_ways_to_choose():
    store = made()
    assert store[[]].index.tolist() == [] and store[np.array([], int)].index.tolist() == []
    assert store[-3:].index.tolist() == [7, 8, 9] and store[[-1]].index.tolist() == [9]
    assert store[np.array([1, 2], np.uint8)].index.tolist() == [1, 2]
    assert store.take(3).natoms.tolist() == [3]
    with pytest.raises(TypeError, match=r"store\.property\(name\)"):
        store["energy"]
    with pytest.raises(TypeError, match=r"a list of structures, \[n\], got the shape \(1, 2\)"):
        store[[[0, 1]]]
    with pytest.raises(TypeError, match="cannot cut structures"):
        store[1.5:3]
    with pytest.raises(ValueError, match="no structures"):
        store.take([])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda s: s.split(0.8, 0.1), "n_train must be a whole number, got 0.8"),
        (lambda s: s.split("8", 1), "n_train must be a whole number"),
        (lambda s: s.split(None, 1), "n_train must be a whole number"),
        (lambda s: s.split(8, float("nan")), "n_val must be a whole number"),
        (lambda s: s.split(8, 1, seed=-1), "seed must be a whole number, at least 0, got -1"),
        (lambda s: s.split(8, 1, seed="a"), "seed must be a whole number"),
        (lambda s: s.split(8, 1, blocks=2.5), "blocks must be a whole number"),
        (lambda s: s.split(8, 1, blocks="x"), "blocks must be a whole number"),
        (lambda s: s.split(8, 1, groups=[[1], [2, 3]]), "groups cannot be made an array"),
        (lambda s: s.split(8, 1, groups=[None, "a"] * 5), "groups must hold numbers or text"),
        (lambda s: s.split(8, 1, groups=[1, 2]), "groups must hold one value for each of the 10"),
        (lambda s: s.sample(2.5), "n must be a whole number"),
        (lambda s: s.sample("all"), "n must be a whole number"),
        (lambda s: s.sample(3, seed=1.5), "seed must be a whole number"),
    ],
)
def test_numbers_of_splits_are_whole(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(made())


@pytest.mark.parametrize("size", [0, -1, 2.5, "a"])
def test_a_batch_has_at_least_one_structure(size):
    with pytest.raises(
        (TypeError, ValueError), match="batch_size must be a whole number, at least 1"
    ):
        made().batches(size)
    with pytest.raises((TypeError, ValueError), match=r"max_atoms.* must be"):
        made().batches(max_atoms=size)
    with pytest.raises(TypeError, match="The name of a property is text"):
        made().property(["gap"])


def test_whole_numbers_of_every_kind():
    for value in (3, 3.0, np.int64(3), np.float32(3), torch.tensor(3)):
        assert type(whole("n", value, 0)) is int and whole("n", value, 0) == 3
    for value in (True, "3", None, [3], np.array([1, 2])):
        with pytest.raises(TypeError, match=r"n must be a whole number, at least 0, got"):
            whole("n", value, 0)
    for value in (-1, 2.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"n must be a whole number, at least 0, got"):
            whole("n", value, 0)
    store = made()
    assert [len(part) for part in store.split(8.0, np.int64(1), seed=np.int32(3))] == [8, 1, 1]
    assert len(store.sample(np.int64(2))) == 2
    assert len(store.split(5, 2, groups=np.array(list("aabbccddee"), object))[0]) in (4, 5)


@pytest.mark.parametrize("i", ["1", 1.5, None, True, slice(0, 2)])
def test_to_ase_takes_one_whole_number(i):
    with pytest.raises((TypeError, ValueError), match="the index of a structure, must be a whole"):
        made().to_ase(i)
    assert len(made().to_ase(np.int64(1))) == len(made().to_ase(torch.tensor(1)))


def test_devices_of_a_store_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1", "tpu", None):
        with pytest.raises((TypeError, ValueError), match=r"device.*use|device must be"):
            made().to(device)
    assert len(made().to("auto").take([0, 1]).ptr) == 3


@pytest.mark.parametrize("path", [None, 3, [Path("a")]])
def test_what_is_no_path_is_one_sentence(path):
    readers = [scdlab.AtomStore.from_file, scdlab.AtomStore.open]
    if path is not None:
        readers += [
            lambda root: scdlab.load_qm9(root=root),
            lambda root: scdlab.load_md17("ethanol", root=root),
        ]
    for read in readers:
        with pytest.raises(TypeError, match=r"A path must be text or a pathlib\.Path"):
            read(path)


@pytest.mark.parametrize("name", ["pos", "forces", "cell"])
def test_numbers_beyond_float32_are_one_sentence_without_a_warning(name):
    arrays = {"pos": np.zeros((1, 1, 3)), name: np.full((1, 1, 3), 1e300)}
    if name == "cell":
        arrays |= {"cell": np.eye(3)[None] * 1e300, "pbc": np.ones((1, 3), bool)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"Structure 0.* infinite"):
            AtomStore.from_arrays([1], **arrays)
