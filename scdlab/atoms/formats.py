"""What ase.Atoms, PyTorch Geometric data sets and other stores hold, as the keyword arguments of
`AtomStore.from_arrays`."""

import collections
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scdlab.atoms.validate import all_or_none
from scdlab.log import logger

if TYPE_CHECKING:
    from ase import Atoms

    from scdlab.atoms.view import View


# of a simulation's state, or kept under their own names
_KNOWN_ARRAYS = {"numbers", "positions", "forces", "momenta", "masses"}


# --------------------------------------------------------------------------------------------------
# ase


def ase_arrays(
    atoms: "Atoms | Iterable[Atoms]",
    properties: Sequence[str] | None,
    atom_properties: Sequence[str] | None,
    meta: dict | None,
) -> dict[str, Any]:
    """The arrays of ase.Atoms, as `AtomStore.from_ase` describes them.

    Parameters
    ----------
    atoms : ase.Atoms or iterable of ase.Atoms
        The structures.
    properties : sequence of str or None
        Entries of `info` to keep; None: those that all have.
    atom_properties : sequence of str or None
        Per-atom arrays to keep; None: those that all have.
    meta : dict or None
        Description of the data.

    Returns
    -------
    dict
        Keyword arguments of `AtomStore.from_arrays`.

    Raises
    ------
    ValueError
        For no structures, and where some lack a label or property that others have.
    """
    import ase

    frames = [atoms] if isinstance(atoms, ase.Atoms) else list(atoms)
    if not frames:
        raise ValueError("The list of structures is empty: pass at least one ase.Atoms.")
    labels = [_labels(frame) for frame in frames]
    energy = all_or_none([energy for energy, _ in labels], "energy")
    forces = all_or_none([forces for _, forces in labels], "forces")
    infos = [_info(frame) for frame in frames]
    names = _common(infos) if properties is None else list(properties)
    for name in names:
        if lacking := [k for k, info in enumerate(infos) if name not in info]:
            raise ValueError(
                f"{len(lacking):,} of {len(frames):,} structures have no {name!r} in their "
                f"info (the first is number {lacking[0]}): leave those out, or label them."
            )
    extras = _common_arrays(frames) if atom_properties is None else list(atom_properties)
    extra = {name: np.concatenate([frame.arrays[name] for frame in frames]) for name in extras}
    fixed = [_fixed(frame) for frame in frames]
    if any(mask.any() for mask in fixed):
        extra["fixed"] = np.concatenate(fixed)
    periodic = any(frame.pbc.any() for frame in frames)
    partial = _partial(infos, names) if properties is None else {}
    arrays = {
        "z": np.concatenate([frame.numbers for frame in frames]),
        "pos": np.concatenate([frame.positions for frame in frames]),
        "ptr": np.concatenate([[0], np.cumsum([len(frame) for frame in frames])]),
        "energy": energy,
        "forces": None if forces is None else np.concatenate(forces),
        "properties": {name: [info[name] for info in infos] for name in names},
        "atom_properties": extra,
        "meta": _with_partial(meta, partial),
    }
    if periodic:
        arrays["cell"] = np.stack([frame.cell.array for frame in frames])
        arrays["pbc"] = np.stack([frame.pbc for frame in frames])
    return arrays


def to_ase(store: "View", i: int) -> "Atoms":
    """Structure i of a store as ase.Atoms; see `AtomStore.to_ase`.

    Parameters
    ----------
    store : View
        The store.
    i : int
        Index of the structure.

    Returns
    -------
    ase.Atoms
        The structure, with its labels as results of a calculator.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.constraints import FixAtoms

    one = store.subset([int(i)])
    arrays = one.arrays()
    extra = one.atom_properties()
    atoms = Atoms(arrays["z"], arrays["pos"])
    if one.periodic:
        atoms.set_cell(arrays["cell"][0])
        atoms.set_pbc(arrays["pbc"][0])
    for name in one.property_names:
        atoms.info[name] = float(one.property(name)[0])
    for name in one.vector_names:
        atoms.info[name] = one.property(name)[0].copy()
    for name, value in extra.items():
        atoms.set_array(name, value)
    if "fixed" in extra:
        atoms.set_constraint(FixAtoms(mask=extra["fixed"].astype(bool)))
        del atoms.arrays["fixed"]
    labels: dict[str, Any] = {}
    if one.has_energy:
        labels["energy"] = float(arrays["energy"][0])
    if one.has_forces:
        labels["forces"] = arrays["forces"].astype(float)
    if labels:
        atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def read_ase(path: str | Path, index: Any = ":") -> list:
    """The structures of a file in any format of ase.

    Parameters
    ----------
    path : str or Path
        The file.
    index : int, slice or str, default ":"
        Which structures, as `ase.io.read` takes it.

    Returns
    -------
    list of ase.Atoms
        The structures.

    Raises
    ------
    ValueError
        For a file that ase cannot read.
    """
    import ase.io

    try:
        frames = ase.io.read(path, index=index, do_not_split_by_at_sign=True)
    except Exception as error:  # ase's readers raise anything from KeyError to StopIteration
        raise ValueError(
            f"{path} cannot be read as structures ({type(error).__name__}: {error}): "
            "check that it is complete and in a format of ase."
        ) from error
    return frames if isinstance(frames, list) else [frames]


def as_ase_index(index: Any) -> Any:
    """What `ase.io.read` takes as an index, as an index of a store.

    Parameters
    ----------
    index : int, slice or str
        Text becomes a slice or number, and a number a list of one.

    Returns
    -------
    slice or list of int
        Which structures.
    """
    from ase.utils import string2index

    if isinstance(index, str):
        index = string2index(index)
    return [index] if isinstance(index, int) else index


def _results(atoms: "Atoms") -> dict:
    """What the attached calculator has computed already."""
    return {} if atoms.calc is None else getattr(atoms.calc, "results", {})


def _labels(atoms: "Atoms") -> tuple[Any, Any]:
    """(energy, forces) of `atoms`, each None when it has none; constraints do not change
    the forces."""
    results = _results(atoms)
    energy = results.get("energy", atoms.info.get("energy"))
    return energy, results.get("forces", atoms.arrays.get("forces"))


def _info(atoms: "Atoms") -> dict:
    """What `atoms` holds beside energy and forces: its info, and the calculator's dipole."""
    results = _results(atoms)
    dipole = {"dipole": results["dipole"]} if "dipole" in results else {}
    return dipole | atoms.info


def _fixed(atoms: "Atoms") -> np.ndarray:
    from ase.constraints import FixAtoms

    mask = np.zeros(len(atoms), bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            mask[constraint.index] = True
    return mask


def _shape(value: Any) -> tuple | None:
    """() of a number, (3,) of a vector, None of what is neither."""
    if isinstance(value, np.ndarray):
        return (3,) if value.shape == (3,) and value.dtype.kind in "iuf" else None
    if isinstance(value, (list, tuple)):
        return (3,) if [_shape(each) for each in value] == [(), (), ()] else None
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    return () if is_number and not isinstance(value, bool) else None


def _common(infos: Sequence[dict]) -> list[str]:
    """Names of what all structures have, as a number or as a vector."""
    shapes = {name: _shape(value) for name, value in infos[0].items()}
    return [
        name
        for name, shape in shapes.items()
        if shape is not None
        and name != "energy"
        and all(_shape(info.get(name)) == shape for info in infos)
    ]


def _common_arrays(frames: "Sequence[Atoms]") -> list[str]:
    """Names of the per-atom arrays of numbers that all structures have."""
    return [
        name
        for name, value in frames[0].arrays.items()
        if name not in _KNOWN_ARRAYS
        and value.dtype.kind in "biuf"
        and all(name in frame.arrays for frame in frames)
    ]


def _partial(infos: Sequence[dict], common: Sequence[str]) -> dict[str, int]:
    """How many of the structures have each number or vector that not all of them have."""
    counts = collections.Counter(
        name for info in infos for name, value in info.items() if _shape(value) is not None
    )
    return {
        name: count for name, count in sorted(counts.items()) if name not in (*common, "energy")
    }


def _with_partial(meta: dict | None, partial: dict[str, int]) -> dict | None:
    return {**(meta or {}), "partial": partial} if partial else meta


# --------------------------------------------------------------------------------------------------
# PyTorch Geometric


def pyg_arrays(dataset: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """The arrays of a PyTorch Geometric data set, as `AtomStore.from_pyg` describes them.

    Parameters
    ----------
    dataset : sequence of Data
        The structures, each with z and pos.
    names : sequence of str or None
        Names of the columns of y; None: y0, y1, …

    Returns
    -------
    dict
        Keyword arguments of `AtomStore.from_arrays`.

    Raises
    ------
    ValueError
        For an empty data set, structures without z or pos, labels that only some have, and
        another number of names than of columns.
    """
    data = [dataset[k] for k in range(len(dataset))]
    if not data:
        raise ValueError("The data set is empty: pass one with at least one structure.")
    for k, each in enumerate(data):
        if each.get("z") is None or each.get("pos") is None:
            raise ValueError(
                f"Structure {k} of the data set lacks z or pos: an AtomStore needs both."
            )
    energy = _column(data, "energy")
    forces = _column(data, "forces", "force")
    cell = _column(data, "cell")
    pbc = _column(data, "pbc")
    return {
        "z": np.concatenate([each.z.cpu().numpy() for each in data]),
        "pos": np.concatenate([each.pos.detach().cpu().numpy() for each in data]),
        "ptr": np.concatenate([[0], np.cumsum([len(each.z) for each in data])]),
        "cell": None if cell is None else np.stack([each.reshape(3, 3) for each in cell]),
        "pbc": None if pbc is None else np.stack([each.reshape(3) for each in pbc]),
        "energy": None if energy is None else np.array([each.item() for each in energy]),
        "forces": None if forces is None else np.concatenate(forces),
        "properties": _targets(_column(data, "y"), names),
    }


def _column(data: Sequence, *keys: str) -> list[np.ndarray] | None:
    """Of every structure the first of `keys` that it has, or None where none has any."""

    def first(each: Any) -> np.ndarray | None:
        for key in keys:
            if each.get(key) is not None:
                return each[key].detach().cpu().numpy()
        return None

    return all_or_none([first(each) for each in data], keys[0])


def _targets(y: list[np.ndarray] | None, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """The columns of y as properties. Raises ValueError for another number of names."""
    if y is None:
        return {}
    values = np.stack([np.asarray(value, np.float64).reshape(-1) for value in y])  # [n, P]
    names = [f"y{k}" for k in range(values.shape[1])] if names is None else list(names)
    if len(names) != values.shape[1]:
        raise ValueError(
            f"y has {values.shape[1]} columns, but {len(names)} names are given: pass one name "
            "each."
        )
    return dict(zip(names, values.T, strict=True))


# --------------------------------------------------------------------------------------------------
# other stores


def joined_arrays(stores: "Iterable[View]", meta: dict | None) -> dict[str, Any]:
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
    ValueError
        For no stores, and for stores that disagree on a property's unit or shape.
    """
    stores = list(stores)
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

    n_atoms = np.concatenate([store.n_atoms for store in stores])
    return {
        **{name: joined(name) for name in ("z", "pos", "cell", "pbc", "energy", "forces")},
        "ptr": np.concatenate([[0], np.cumsum(n_atoms)]),
        "properties": {
            name: np.concatenate([store.property(name) for store in stores]) for name in names
        },
        "atom_properties": {name: np.concatenate([own[name] for own in extra]) for name in extras},
        "meta": _with_partial(_joined_meta(stores, [*names, *extras], meta), partial),
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
