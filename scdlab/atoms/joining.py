"""What several stores hold, as the keyword arguments of `AtomStore.from_arrays`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from scdlab.atoms.arguments import mapping
from scdlab.atoms.view import View
from scdlab.log import logger


def joined_arrays(stores: Iterable[View], meta: dict | None) -> dict[str, Any]:
    """The arrays of several stores, in order, as `AtomStore.concat` describes them.

    Parameters
    ----------
    stores : iterable of View
        The stores.
    meta : dict or None
        Description of the data; None: joined from theirs.

    Returns
    -------
    dict
        Keyword arguments of `AtomStore.from_arrays`.

    Raises
    ------
    TypeError
        For what is no list of stores.
    ValueError
        For no stores, and for stores that disagree on a property's unit or shape.
    """
    if isinstance(stores, View):
        raise TypeError("concat takes a list of stores: AtomStore.concat([a, b]).")
    meta = None if meta is None else mapping("meta", meta)
    stores = list(stores)
    for k, store in enumerate(stores):
        if not isinstance(store, View):
            raise TypeError(
                f"concat takes a list of stores, but item {k} is a {type(store).__name__}: make it "
                "a store first, for example with AtomStore.from_ase."
            )
    if not stores:
        raise ValueError("There are no stores to put together: give at least one.")
    arrays = [store.arrays() for store in stores]
    extra = [store.atom_properties() for store in stores]
    if any("cell" in each for each in arrays):  # molecules among crystals have a cell of zeros
        for each, store in zip(arrays, stores, strict=True):
            each.setdefault("cell", np.zeros((len(store), 3, 3), np.float32))
            each.setdefault("pbc", np.zeros((len(store), 3), bool))
    owned = [store.property_names + store.vector_names for store in stores]
    names = [name for name in owned[0] if all(name in own for own in owned)]
    extras = [name for name in extra[0] if all(name in own for own in extra)]
    _check_alike(stores, [*names, *extras])
    partial = _count_partial(stores, owned)
    _log_left_out(stores, partial, _count_partial(stores, arrays), _count_partial(stores, extra))

    def joined(name: str) -> np.ndarray | None:
        if not all(name in each for each in arrays):
            return None
        return np.concatenate([each[name] for each in arrays])

    joined_meta = _joined_meta(stores, [*names, *extras], meta)
    n_atoms = np.concatenate([store.n_atoms for store in stores])
    return {
        **{name: joined(name) for name in ("z", "pos", "cell", "pbc", "energy", "forces")},
        "ptr": np.concatenate([[0], np.cumsum(n_atoms)]),
        "properties": {
            name: np.concatenate([store.property(name) for store in stores]) for name in names
        },
        "atom_properties": {name: np.concatenate([own[name] for own in extra]) for name in extras},
        "meta": {**joined_meta, "partial": partial} if partial else joined_meta,
    }


def _check_alike(stores: "Sequence[View]", names: Sequence[str]) -> None:
    """Check that the stores give each of `names` in one unit, and all as numbers or as vectors.
    Raises ValueError where they do not."""
    for name in names:
        given = sorted({store.units(name) for store in stores})
        if len(given) > 1:
            raise ValueError(
                f"The stores give {name!r} in different units ({', '.join(map(repr, given))}): "
                "convert one of them first."
            )
        if len({name in store.vector_names for store in stores}) > 1:
            raise ValueError(
                f"The stores give {name!r} as numbers and as vectors: rename one of them first."
            )


def _count_partial(stores: "Sequence[View]", owned: Sequence[Iterable[str]]) -> dict[str, int]:
    """How many structures have each name that only some of the stores have, names sorted."""
    sets = [set(own) for own in owned]
    partial = set.union(*sets) - set.intersection(*sets)
    return {
        name: sum(len(store) for store, own in zip(stores, sets, strict=True) if name in own)
        for name in sorted(partial)
    }


def _log_left_out(
    stores: "Sequence[View]", properties: dict, arrays: dict, atom_properties: dict
) -> None:
    """One line for what only some of the stores have, and the concatenation thus lacks."""
    labels = {name: count for name, count in arrays.items() if name in ("energy", "forces")}
    left_out = labels | properties | atom_properties
    if left_out:
        total = sum(len(store) for store in stores)
        listed = ", ".join(f"{name} ({count:,} structures)" for name, count in left_out.items())
        logger.warning(
            "concat leaves out what not all of the %s structures have: %s.", f"{total:,}", listed
        )


def _joined_meta(stores: "Sequence[View]", names: Sequence[str], meta: dict | None) -> dict:
    if meta is not None:
        return meta
    sources = dict.fromkeys(str(store.meta.get("source", "unknown")) for store in stores)
    joined: dict[str, Any] = {"source": " + ".join(sources)}
    if given := {name: unit for name in names if (unit := stores[0].units(name))}:
        joined["units"] = given
    return joined
