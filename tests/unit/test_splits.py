"""Splits and samples: who is on which side, and what cannot be split."""

import numpy as np
import pytest

import scdlab
from scdlab.atoms import AtomStore


def frames(n=40, k=3, **more):
    """A store of n frames of one molecule of k atoms."""
    pos = np.random.default_rng(0).normal(size=(n, k, 3))
    return AtomStore.from_arrays([8, 1, 1][:k], pos, energy=np.arange(n), **more)


def sides(parts):
    return [part.index.tolist() for part in parts]


# --------------------------------------------------------------------------------------------------
# groups


def test_members_of_a_group_are_on_one_side():
    traj = np.repeat([7, 3, 5, 9, 1, 4], [10, 4, 6, 8, 5, 7])
    store = frames(properties={"traj": np.random.default_rng(1).permutation(traj)})
    train, val, test = store.split(20, 8, seed=2, groups="traj")
    groups = [set(part.property("traj")) for part in (train, val, test)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert 0 < len(train) <= 20 and 0 < len(val) <= 8
    assert sorted(np.concatenate(sides((train, val, test))).tolist()) == list(range(40))
    assert train.index.tolist() == sorted(train.index)


def test_groups_come_as_a_property_or_as_an_array_of_anything():
    names = np.repeat(["a", "b", "c", "d"], 10)
    numbers = np.repeat([0, 1, 2, 3], 10)
    store = frames(properties={"relaxation": numbers})
    by_name = store.split(20, 10, seed=1, groups="relaxation")
    assert [len(part) for part in by_name] == [20, 10, 10]
    assert sides(by_name) == sides(store.split(20, 10, seed=1, groups=numbers))
    assert sides(by_name) == sides(store.split(20, 10, seed=1, groups=names))
    others = [sides(store.split(20, 10, seed=k, groups="relaxation")) for k in range(8)]
    assert len({str(each) for each in others}) > 1


def test_groups_of_a_view_are_those_of_its_structures():
    store = frames(properties={"traj": np.repeat([0, 1, 2, 3], 10)})
    train, _, test = store[10:].split(20, 0, groups="traj")
    assert len(train) == 20 and len(test) == 10 and min(train.index.tolist()) >= 10


def test_groups_that_cannot_be_split_are_refused():
    store = frames(properties={"traj": np.repeat([0, 1], 20)})
    with pytest.raises(ValueError, match="no property 'trajectory'; it has: traj"):
        store.split(20, 10, groups="trajectory")
    with pytest.raises(ValueError, match=r"No whole group fits into 10 structures for training"):
        store.split(10, 0, groups="traj")
    with pytest.raises(ValueError, match=r"into 10 structures for validation \(the smallest of 2"):
        store.split(20, 10, groups="traj")
    with pytest.raises(ValueError, match=r"one value for each of the 40 structures.*\(3,\)"):
        store.split(20, 10, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="Structure 4 belongs to the group NaN"):
        store.split(20, 10, groups=np.where(np.arange(40) == 4, np.nan, 1.0))
    with pytest.raises(ValueError, match="groups or blocks, got both"):
        store.split(20, 10, groups="traj", blocks=2)


# --------------------------------------------------------------------------------------------------
# blocks


def runs(index):
    """How many runs of neighboring numbers an increasing index has."""
    return 1 + int((np.diff(index) > 1).sum())


def test_one_block_splits_by_time():
    train, val, test = frames().split(25, 5, seed=3, blocks=1)
    assert train.index.tolist() == list(range(25))
    assert val.index.tolist() == list(range(25, 30))
    assert test.index.tolist() == list(range(30, 40))


@pytest.mark.parametrize("blocks", [2, 4, 7])
def test_blocks_are_contiguous_and_sides_as_large_as_asked_for(blocks):
    store = frames()
    for seed in range(5):
        parts = store.split(20, 10, seed=seed, blocks=blocks)
        assert [len(part) for part in parts] == [20, 10, 10]
        assert sorted(np.concatenate(sides(parts)).tolist()) == list(range(40))
        assert sum(runs(part.index) for part in parts) <= blocks + 2
    assert sides(store.split(20, 10, blocks=4)) == sides(store.split(20, 10, blocks=4))


@pytest.mark.parametrize("blocks", [0, -1, 41, 2.5])
def test_a_number_of_blocks_that_is_none_is_refused(blocks):
    with pytest.raises(ValueError, match=r"blocks must be a whole number between 1 and 40.*got"):
        frames().split(20, 10, blocks=blocks)


def test_without_groups_or_blocks_the_draw_is_what_it_was():
    order = np.random.default_rng(3).permutation(40)
    expected = [np.sort(order[:20]), np.sort(order[20:28]), np.sort(order[28:])]
    assert sides(frames().split(20, 8, seed=3)) == [part.tolist() for part in expected]


# --------------------------------------------------------------------------------------------------
# samples


def test_a_sample_is_random_in_random_order():
    store = scdlab.load_ethanol()
    some = store.sample(200, seed=1)
    index = some.index
    assert len(some) == len(set(index.tolist())) == 200
    assert 80 < (np.diff(index) > 0).sum() < 120  # neither sorted nor reversed
    assert index.max() > 1800 and index.min() < 200  # not cut off the front
    assert index.tolist() == store.sample(200, seed=1).index.tolist()
    assert index.tolist() != store.sample(200, seed=2).index.tolist()
    assert sorted(store.sample(len(store)).index.tolist()) == list(range(len(store)))
    assert set(store[:50].sample(10).index.tolist()) <= set(range(50))


@pytest.mark.parametrize("n", [0, -3, 41])
def test_a_sample_of_none_or_of_too_many_is_refused(n):
    with pytest.raises(ValueError, match=f"n must be between 1 and 40.*got {n}"):
        frames().sample(n)
