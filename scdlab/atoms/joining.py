"""What several stores hold, as the keyword arguments of `AtomStore.from_arrays`."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from scdlab.atoms.arguments import mapping
from scdlab.atoms.columns import usual_values
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
    if isinstance(stores, View) or not isinstance(stores, Iterable):
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
    of_atoms = [store.atom_properties() for store in stores]
    extra = _filled(of_atoms, [each["z"] for each in arrays])
    if any("cell" in each for each in arrays):  # molecules among crystals have a cell of zeros
        for each, store in zip(arrays, stores, strict=True):
            each.setdefault("cell", np.zeros((len(store), 3, 3), np.float32))
            each.setdefault("pbc", np.zeros((len(store), 3), bool))
    owned = [store.property_names + store.vector_names for store in stores]
    names = [name for name in owned[0] if all(name in own for own in owned)]
    extras = [name for name in extra[0] if all(name in own for own in extra)]
    units = _units(stores, of_atoms, [*names, *extras])
    _check_widths(extra, extras)
    labels = [[name for name in ("energy", "forces") if name in each] for each in arrays]
    partial = {}
    for having in (labels, owned, extra):
        partial |= _count_partial(stores, having)
    _log_left_out(stores, partial)

    def joined(name: str) -> np.ndarray | None:
        if not all(name in each for each in arrays):
            return None
        return np.concatenate([each[name] for each in arrays])

    joined_meta = _joined_meta(stores, units, meta, partial)
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


def _units(
    stores: Sequence[View], of_atoms: Sequence[dict[str, np.ndarray]], names: Sequence[str]
) -> dict[str, str]:
    """The unit of each of `names` that has one. Raises ValueError where stores give one in
    different units, or as numbers and as vectors."""
    units = {}
    for name in names:
        vectors = {name in store.vector_names for store in stores}
        if len(vectors) > 1:
            raise ValueError(
                f"The stores give {name!r} as numbers and as vectors: rename one of them first."
            )
        given = {
            store.units(name)
            for store, own in zip(stores, of_atoms, strict=True)
            if name in own or name in store.property_names or name in store.vector_names
        }
        if len(given) > 1:
            raise ValueError(
                f"The stores give {name!r} in different units "
                f"({', '.join(map(repr, sorted(given)))}): convert one of them first."
            )
        units[name] = given.pop()
    return {name: unit for name, unit in units.items() if unit}


def _count_partial(stores: Sequence[View], owned: Sequence[Iterable[str]]) -> dict[str, int]:
    """How many structures have each name that only some of the stores have, names sorted."""
    sets = [set(own) for own in owned]
    partial = set.union(*sets) - set.intersection(*sets)
    return {
        name: sum(len(store) for store, own in zip(stores, sets, strict=True) if name in own)
        for name in sorted(partial)
    }


def _filled(
    extra: list[dict[str, np.ndarray]], numbers: list[np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """Atom properties of the stores, with the usual values where a store lacks what others have:
    atoms that no constraint fixes, standard masses."""
    shapes = {name: value.shape[1:] for own in reversed(extra) for name, value in own.items()}
    filled = []
    for own, z in zip(extra, numbers, strict=True):
        usual = {
            name: values
            for name, shape in shapes.items()
            if name not in own and (values := usual_values(name, z, shape)) is not None
        }
        filled.append(own | usual)
    return filled


def _check_widths(extra: Sequence[dict[str, np.ndarray]], names: Sequence[str]) -> None:
    """Check that the stores give each atom property with rows of one shape. Raises ValueError where
    they do not."""
    for name in names:
        shapes = [own[name].shape[1:] for own in extra]
        for k, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ValueError(
                    f"Store {k} gives {name!r} with rows of the shape {shape} for each atom, store "
                    f"0 with {shapes[0]}: rename one of them first."
                )


def _log_left_out(stores: Sequence[View], partial: dict[str, int]) -> None:
    """One line for what only some of the stores have, and the concatenation thus lacks."""
    if partial:
        total = sum(len(store) for store in stores)
        listed = ", ".join(f"{name} ({count:,} structures)" for name, count in partial.items())
        logger.warning(
            "concat leaves out what not all of the %s structures have: %s.", f"{total:,}", listed
        )


def _joined_meta(
    stores: Sequence[View], units: dict[str, str], meta: dict | None, partial: Collection[str]
) -> dict:
    """The description of several stores; `partial` is left out."""
    if meta is not None:
        return meta
    sources = dict.fromkeys(str(store.meta.get("source", "unknown")) for store in stores)
    joined: dict[str, Any] = {"source": " + ".join(sources)}
    if units:
        joined["units"] = units
    labels: dict[str, dict[str, None]] = {}  # under which keys they were found
    for store in stores:
        for label, key in store.meta.get("labels", {}).items():
            labels.setdefault(label, {})[str(key)] = None
    labels = {label: keys for label, keys in labels.items() if label not in partial}
    if labels:
        joined["labels"] = {label: " + ".join(keys) for label, keys in labels.items()}
    if notes := [note for store in stores for note in store.meta.get("notes", ())]:
        joined["notes"] = list(dict.fromkeys(notes))
    return joined
