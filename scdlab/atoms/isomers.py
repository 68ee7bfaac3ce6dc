"""The kit's own trajectories: ethanol, aspirin, and isomers of C7H10O2 with their two tests.

All are GFN2-xTB molecular dynamics at 500 K, in `data/`, made by
`scdlab data make ethanol | aspirin | isomers`.

The isomers pose the question of ISO17 (K. T. Schütt et al., NeurIPS 2017): does a model that has
seen frames of some molecules predict *other frames of the same molecules* (known), and *molecules
it has never seen* of that composition (unknown)? The second needs chemistry, the first only
conformations.
"""

import numpy as np

from scdlab import files
from scdlab.atoms.store import AtomStore


def load_ethanol() -> AtomStore:
    """2,000 frames of ethanol at 500 K with GFN2-xTB energies (eV), forces (eV/Å) and dipole
    moments (e Å), one trajectory in order: `split(blocks=…)` splits it by time."""
    return AtomStore.open(files.package_dir("data") / "ethanol")


def load_aspirin() -> AtomStore:
    """1,000 frames of aspirin at 500 K with GFN2-xTB energies (eV) and forces (eV/Å), one
    trajectory in order."""
    return AtomStore.open(files.package_dir("data") / "aspirin")


def load_isomers() -> AtomStore:
    """50 frames each of 60 isomers of C7H10O2 at 500 K, GFN2-xTB, in order; property `molecule`
    counts the isomers."""
    return AtomStore.open(files.package_dir("data") / "isomers")


def isomer_split(
    store: AtomStore,
    n_train: int | None = None,
    n_val: int | None = None,
    seed: int = 0,
    unknown: float = 0.2,
) -> dict[str, AtomStore]:
    """Training, validation, and two tests: other frames of the same molecules, and molecules never
    seen.

    Parameters
    ----------
    store : AtomStore
        Frames with the property `molecule`.
    n_train : int, optional
        Frames for training; by default 80 % of the known molecules'.
    n_val : int, optional
        Frames for validation; by default 10 % of the known molecules'.
    seed : int, default 0
        Of the molecules set aside and of the frames drawn.
    unknown : float, default 0.2
        Share of the molecules that is set aside whole.

    Returns
    -------
    dict of str to AtomStore
        "train", "val", "known" and "unknown": disjoint views.

    Raises
    ------
    ValueError
        When the store has no property `molecule`, and when the numbers leave a part empty.
    """
    molecule = store.property("molecule")
    molecules = np.unique(molecule)
    aside = round(unknown * len(molecules))
    if not 0 < aside < len(molecules):
        raise ValueError(
            f"A share of {unknown} of {len(molecules)} molecules leaves one side empty: choose "
            "another."
        )
    hidden = np.random.default_rng(seed).permutation(molecules)[:aside]
    of_hidden = np.isin(molecule, hidden)
    seen = store[~of_hidden]
    n_train = int(0.8 * len(seen)) if n_train is None else n_train
    n_val = int(0.1 * len(seen)) if n_val is None else n_val
    if n_train + n_val >= len(seen):
        raise ValueError(
            f"{n_train:,} + {n_val:,} frames leave none of the {len(seen):,} of known molecules "
            "for the test: take fewer."
        )
    train, val, known = seen.split(n_train, n_val, seed)
    return {"train": train, "val": val, "known": known, "unknown": store[of_hidden]}
