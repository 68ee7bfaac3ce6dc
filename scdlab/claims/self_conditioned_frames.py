"""Frames of several molecules mixed: what the claims on self-conditioned denoising (SCD) pretrain
on off equilibrium.

"Any domain of atomistic data" (the SCD paper): ethanol, aspirin and isomers of C7H10O2 at 500 K,
and crystals of 28 alloys, positions only. Frames are split at random, which is interpolation; ten
of the isomers are set aside as a whole besides.
"""

import functools
from typing import NamedTuple

import numpy as np

import scdlab
from scdlab.atoms import AtomStore

N_ETHANOL = 1500
N_ISOMERS = 2500  # frames of 50 of the 60 molecules; 2,250 of them for training
SPLITS = {"aspirin": 800, "alloys": 572}
SEEN_FRAMES = (
    "Positions only, no labels: 1,500 of the 2,000 frames of data/ethanol, those of "
    "scdlab.load_ethanol().split(1500, 0, seed=0)[0]; 800 of the 1,000 frames of data/aspirin and "
    "572 of the 672 crystals of data/alloys, likewise; 2,250 frames of 50 of the 60 isomers of "
    "data/isomers, those of "
    "scdlab.load_isomers().split(2500, 0, seed=0, groups='molecule')[0].split(2250, 0, seed=0)[0]."
)


class Frames(NamedTuple):
    """The frames of a seed.

    Attributes
    ----------
    train : AtomStore
        All frames to pretrain on, without labels.
    test : AtomStore
        100 unseen structures of each kind, without labels, in random order.
    ethanol : tuple of AtomStore
        The frames of ethanol with their labels: 1,500 that are among `train`, and 500 unseen.
    isomers : AtomStore
        The frames of the ten isomers set aside, with their labels.
    """

    train: AtomStore
    test: AtomStore
    ethanol: tuple[AtomStore, AtomStore]
    isomers: AtomStore


def unlabeled(store: AtomStore) -> AtomStore:
    """Atoms and places of a store, nothing else.

    Parameters
    ----------
    store : AtomStore
        Structures.

    Returns
    -------
    AtomStore
        The same ones without labels.
    """
    batch = store.take(np.arange(len(store)))
    periodic = batch.get("cell") is not None
    box = {"cell": batch.cell.numpy(), "pbc": batch.pbc.numpy()} if periodic else {}
    return AtomStore.from_arrays(batch.z.numpy(), batch.pos.numpy(), batch.ptr.numpy(), **box)


@functools.lru_cache(maxsize=1)
def mixed_frames(seed: int) -> Frames:
    """The frames of a seed: to pretrain on, and unseen ones.

    Parameters
    ----------
    seed : int
        Which frames, molecules and crystals.

    Returns
    -------
    Frames
        Disjoint sets.
    """
    few, _, unseen = scdlab.load_ethanol().split(N_ETHANOL, 0, seed=seed)
    isomers = scdlab.load_isomers()
    seen_isomers, _, other_isomers = isomers.split(N_ISOMERS, 0, seed=seed, groups="molecule")
    first, _, rest = seen_isomers.split(2250, 0, seed=seed)
    train = [few, first]
    test = [unseen, rest]
    for name, n in SPLITS.items():
        first, _, rest = getattr(scdlab, f"load_{name}")().split(n, 0, seed=seed)
        train.append(first)
        test.append(rest)
    some = [unlabeled(store.sample(100, seed)) for store in test]
    tests = AtomStore.concat(some)
    return Frames(
        train=AtomStore.concat([unlabeled(store) for store in train]),
        test=tests.sample(len(tests), seed),
        ethanol=(few, unseen),
        isomers=other_isomers,
    )
