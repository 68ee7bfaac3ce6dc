"""The isomers and their two tests: the same formula, whole molecules, disjoint parts, nothing
leaks."""

import numpy as np
import pytest

from scdlab.atoms import AtomStore, isomer_split, load_isomers
from scdlab.atoms.simulate import intact


def test_sixty_isomers_of_fifty_whole_frames():
    store = load_isomers()
    molecule = store.property("molecule").astype(int)
    assert len(store) == 3000 and np.bincount(molecule).tolist() == [50] * 60
    batch = store.take(range(3000))
    z = batch.z.reshape(3000, 19).numpy()
    assert (np.sort(z, 1) == [1] * 10 + [6] * 7 + [8] * 2).all()
    pos = batch.pos.reshape(3000, 19, 3).numpy()
    for k in range(
        60
    ):  # against the molecule's first frame, whose own bonds are stretched: a little looser
        frames = pos[molecule == k]
        assert intact(frames, z[molecule == k][0], frames[0], stretch=1.7, contact=1.0).all(), k
    assert len(set(store.meta["qm9_rows"])) == 60
    assert (
        store.has_forces and np.abs(batch.forces.reshape(3000, 19, 3).sum(1).numpy()).max() < 5e-3
    )


def test_known_and_unknown_are_disjoint_and_seeded():
    store = load_isomers()
    parts = isomer_split(store, seed=1)
    indices = [parts[name].index for name in ("train", "val", "known", "unknown")]
    assert sorted(np.concatenate(indices)) == list(range(len(store)))
    molecules = {name: set(part.property("molecule")) for name, part in parts.items()}
    assert len(molecules["unknown"]) == 12 and not molecules["unknown"] & molecules["train"]
    assert molecules["known"] <= molecules["train"] and molecules["val"] <= molecules["train"]
    again = isomer_split(store, seed=1)
    assert all(np.array_equal(parts[name].index, again[name].index) for name in parts)
    assert set(isomer_split(store, seed=2)["unknown"].property("molecule")) != molecules["unknown"]
    asked = isomer_split(store, 1000, 100)
    assert len(asked["train"]) == 1000 and len(asked["val"]) == 100 and len(asked["known"]) == 1300


def test_senseless_splits_are_refused():
    store = load_isomers()
    with pytest.raises(ValueError, match="leave none of the 2,400"):
        isomer_split(store, 2400, 0)
    with pytest.raises(ValueError, match="leaves one side empty"):
        isomer_split(store, unknown=0.0)
    plain = AtomStore.from_arrays([1], [[0, 0, 0]], [0, 1])
    with pytest.raises(ValueError, match="no property 'molecule'"):
        isomer_split(plain)
