"""The structures that claims on DeNS are tested on: frames of a molecule's dynamics, relaxations of
adsorbates on surfaces, and the kit's own to try the mechanics anywhere."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import scdlab
from scdlab import files
from scdlab.atoms import AtomStore, npz
from scdlab.objectives.label_statistics import LabelStatistics

from .claim import Settings
from .common import draw

LARGEST_FORCE = 10.0  # eV/Å; a relaxation's trial steps can be far above it


def relaxations() -> AtomStore:
    """Relaxations of adsorbates on surfaces, a part of OC20, from the user's own file.

    Energies are those above the last frame of each relaxation: every relaxation has other elements,
    and a handful of compositions cannot determine the energies of atoms. Frames with a force of
    more than LARGEST_FORCE on a free atom are left out.

    Returns
    -------
    AtomStore
        Structures with energies, forces, `fixed` and the property `traj`.

    Raises
    ------
    ValueError
        There is no such file, or it lacks an array.
    """
    folder = files.user_data()
    paths = [] if folder is None else sorted(folder.glob("oc20*.npz"))
    if len(paths) != 1:
        found = ", ".join(path.name for path in paths) or "none"
        raise ValueError(
            "The recipe reads relaxations of OC20 from one file oc20*.npz in the folder that "
            f"SCDLAB_DATA names, got {found}: put one there, with the arrays z, R, n_atoms, cell, "
            "E and F in eV and eV/Å, fixed, and traj, the number of each structure's relaxation."
        )
    found = npz.arrays(paths[0], "eV")
    lacks = [name for name in ("energy", "forces", "cell", "ptr") if name not in found]
    lacks += [] if "traj" in found["properties"] else ["traj"]
    lacks += [] if "fixed" in found["atom_properties"] else ["fixed"]
    if lacks:
        raise ValueError(
            f"{paths[0]} must hold relaxations with energies, forces, cell, n_atoms, fixed and "
            f"traj, got none of {', '.join(lacks)}: add them, or put another file there."
        )
    traj = np.asarray(found["properties"]["traj"])
    # rows of one relaxation are in order
    last = {value: row for row, value in enumerate(traj.tolist())}
    above = found["energy"] - found["energy"][[last[value] for value in traj.tolist()]]
    length = np.linalg.norm(found["forces"], axis=1)
    length[np.asarray(found["atom_properties"]["fixed"], bool)] = 0.0
    largest = np.maximum.reduceat(length, found["ptr"][:-1])
    store = AtomStore.from_arrays(**{**found, "energy": above})
    return store.subset(np.flatnonzero(largest <= LARGEST_FORCE))


def structures(data: str) -> AtomStore:
    """The structures that a recipe draws from.

    Parameters
    ----------
    data : str
        "md17:MOLECULE", "kit:NAME" (the kit's own, to try the mechanics anywhere) or
        "oc20:relaxations".

    Returns
    -------
    AtomStore
        All of them.
    """
    kind, name = data.split(":")
    if kind == "oc20":
        return relaxations()
    return scdlab.load_md17(name) if kind == "md17" else getattr(scdlab, f"load_{name}")()


def frames(settings: Settings, seed: int) -> tuple[AtomStore, AtomStore, AtomStore]:
    """The frames of a seed, drawn at random and disjoint; with groups, whole groups apart.

    Parameters
    ----------
    settings : dict
        With data, n_train, n_val and n_test; perhaps groups, a property whose equals stay on one
        side, and held_out_groups, how many groups are for validation and how many for the test.
    seed : int
        Which frames.

    Returns
    -------
    train, val, test : AtomStore
        The three sets.
    """
    store = structures(settings["data"])
    if "groups" in settings:
        parts = _by_groups(store, settings["groups"], settings["held_out_groups"], seed)
        sizes = (settings[name] for name in ("n_train", "n_val", "n_test"))
        train, val, test = (
            draw(part, min(n, len(part)), seed) for part, n in zip(parts, sizes, strict=True)
        )
        return train, val, test
    train, val, rest = store.split(settings["n_train"], settings["n_val"], seed=seed)
    return train, val, draw(rest, settings["n_test"], seed)


def _by_groups(
    store: AtomStore, groups: str, held_out: Sequence[int], seed: int
) -> tuple[AtomStore, AtomStore, AtomStore]:
    """(train, val, test) of whole groups, drawn at random from those whose elements all occur in
    the groups that are left for training."""
    of = np.asarray(store.property(groups))
    order = np.random.default_rng(seed).permutation(np.unique(of)).tolist()
    elements = {
        group: set(store.take([int(np.flatnonzero(of == group)[0])]).z.tolist()) for group in order
    }
    kept = list(order)
    out: list[Any] = []
    for group in order:
        rest = [other for other in kept if other != group]
        asked = set().union(*(elements[other] for other in (*out, group)))
        if len(out) < sum(held_out) and asked <= set().union(*(elements[o] for o in rest)):
            kept = rest
            out.append(group)
    if len(out) < sum(held_out):
        raise ValueError(
            f"The recipe holds out {sum(held_out)} groups ({groups}) whose elements all occur in "
            f"the others, and the data have {len(out)} such: give more data, or hold out fewer."
        )
    sides = (kept, out[: held_out[0]], out[held_out[0] :])
    train, val, test = (store.subset(np.flatnonzero(np.isin(of, side))) for side in sides)
    return train, val, test


def force_unit(train: AtomStore) -> float:
    """σ_F/σ_E in 1/Å: the root mean square force component over the spread of the energies.

    Parameters
    ----------
    train : AtomStore
        The training set.

    Returns
    -------
    float
        What λ before σ_E is multiplied by to stand before σ_F.
    """
    found = LabelStatistics(train, forces=True)
    share = found.energy_scale(found.reference_energies())  # for each atom's share
    return found.force_scale() / (share * (found.n_atoms / len(train)) ** 0.5)
