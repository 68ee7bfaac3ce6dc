"""What PyTorch Geometric data sets hold, as the keyword arguments of `AtomStore.from_arrays`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scdlab.atoms.columns import atom_columns, info_columns
from scdlab.atoms.label_keys import parse_key
from scdlab.atoms.validate import all_or_none
from scdlab.log import logger

# fields that are read by name, and those that a store makes anew or that hold no labels
_READ = {"z", "pos", "energy", "force", "forces", "cell", "pbc", "y"}
_MADE_ANEW = {"natoms", "num_nodes", "batch", "ptr", "edge_index", "edge_attr", "edge_weight"}
# fields of the atoms, even where a molecule has as many atoms as a vector has components
_OF_ATOMS = {"fixed", "masses", "tags", "charges", "initial_charges", "initial_magmoms"}

_VECTORS = {"dipole"}  # which three atoms do not make a number for each


def pyg_arrays(dataset: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """The arrays of a PyTorch Geometric data set, as `AtomStore.from_pyg` describes them.

    Parameters
    ----------
    dataset : sequence of Data
        The structures, each with z and pos; or one of them, or a Batch.
    names : sequence of str or None
        Names of the columns of y; None: those of equal fields, else y0, y1, …

    Returns
    -------
    dict
        Keyword arguments of `AtomStore.from_arrays`.

    Raises
    ------
    ValueError
        For an empty data set, structures without z or pos, labels that only some have or that have
        another shape in one, and another number of names than of columns.
    TypeError
        For what is no Data.
    """
    data = _as_list(dataset)
    numbers = []
    positions = []
    for k, each in enumerate(data):
        z = _array(each.get("z"))
        pos = _array(each.get("pos"))
        if z is None or pos is None:
            raise ValueError(
                f"Structure {k} of the data set lacks z or pos: an AtomStore needs both."
            )
        z = z.reshape(-1)
        if pos.shape != (len(z), 3):
            raise ValueError(
                f"Structure {k} of the data set has pos of the shape {pos.shape} for its {len(z)} "
                f"atomic numbers z: give it ({len(z)}, 3)."
            )
        numbers.append(z)
        positions.append(pos)
    sizes = [len(z) for z in numbers]
    fields = [_fields(each) for each in data]
    energy_key = _key(data, fields, "energy", ("energy",))
    forces_key = _key(data, fields, "forces", ("forces", "force"))
    labels = {"energy": energy_key, "forces": forces_key}
    labels = {label: key for label, key in labels.items() if key is not None}
    fields = [{name: v for name, v in own.items() if name not in labels.values()} for own in fields]
    per_atom = _per_atom(fields, sizes)
    infos = [
        {name: _squeezed(v) for name, v in own.items() if name not in per_atom} for own in fields
    ]
    of_atoms = [{name: v for name, v in own.items() if name in per_atom} for own in fields]
    targets = _targets(_column(data, "y"), names, infos)
    structures = info_columns(infos, None, list(targets))
    atoms = atom_columns(of_atoms, numbers, None, ())
    _log_left_out(structures.left_out | atoms.left_out)
    energy = _column(data, energy_key or "energy")
    forces = _column(data, *((forces_key,) if forces_key else ("forces", "force")))
    cell = _column(data, "cell")
    pbc = _column(data, "pbc")
    partial = structures.partial | atoms.partial
    return {
        "z": np.concatenate(numbers),
        "pos": np.concatenate(positions),
        "ptr": np.concatenate([[0], np.cumsum(sizes)]),
        "cell": _shaped("cell", cell, [(3, 3)] * len(data)),
        "pbc": _shaped("pbc", pbc, [(3,)] * len(data)),
        "energy": _shaped("energy", energy, [()] * len(data)),
        "forces": _vectors_of_atoms("forces", forces, sizes),
        "properties": structures.kept | targets,
        "atom_properties": atoms.kept,
        "partial": partial,
        "labels": labels,
    }


def _key(
    data: Sequence, fields: Sequence[Mapping[str, Any]], label: str, plain: tuple[str, ...]
) -> str | None:
    """The usual key under which the structures have a label that none has under its plain name."""
    if any(each.get(name) is not None for each in data for name in plain):
        return None
    there = {name for own in fields for name in own}
    parsed = {name: key for name in there if (key := parse_key(name)) is not None}
    found = sorted(name for name, key in parsed.items() if key.label == label and key.known)
    if len(found) > 1:
        raise ValueError(
            f"The data set has {label} under several names ({', '.join(found)}): call one of them "
            f"{label!r}."
        )
    if found:
        logger.info("Labels: %s from %r.", label, found[0])
    return found[0] if found else None


def _as_list(dataset: Any) -> list:
    """The structures of a data set, of a Batch, or one alone. Raises TypeError for others."""
    from torch_geometric.data import Batch, Data

    if isinstance(dataset, Batch):
        try:
            return list(dataset.to_data_list())
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"The batch cannot be taken apart ({error}): pass the list of Data that it was "
                "made of."
            ) from error
    if isinstance(dataset, Data):
        structure = _array(dataset.get("batch"))
        if structure is not None and structure.size and structure.max() > 0:
            raise ValueError(
                f"The Data holds {int(structure.max()) + 1} structures in one, by its field batch: "
                "pass a list of one Data for each."
            )
        return [dataset]
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(
            f"The data set must be a sequence of torch_geometric.data.Data, got "
            f"{type(dataset).__name__}: pass a list of them."
        )
    data = [dataset[k] for k in range(len(dataset))]
    if not data:
        raise ValueError("The data set is empty: pass one with at least one structure.")
    for k, each in enumerate(data):
        if not isinstance(each, Data):
            raise TypeError(
                f"Structure {k} of the data set must be torch_geometric.data.Data, got "
                f"{type(each).__name__}: pass those."
            )
    return data


def _array(value: Any) -> np.ndarray | None:
    """A field as an array in the memory of the host; None without one."""
    import torch

    if value is None:
        return None
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.layout is not torch.strided:
            value = value.to_dense()
        return (value.float() if value.dtype is torch.bfloat16 else value).numpy()
    try:
        return np.asarray(value)
    except ValueError:  # rows of different lengths
        return np.asarray(value, dtype=object)


def _fields(each: Any) -> dict[str, np.ndarray]:
    """Further fields of a structure, by name."""
    others = {
        name: value
        for name, value in each.to_dict().items()
        if name not in _READ and name not in _MADE_ANEW
    }
    found = {name: _array(value) for name, value in others.items()}
    return {name: value for name, value in found.items() if value is not None}


def _per_atom(fields: Sequence[Mapping[str, np.ndarray]], sizes: Sequence[int]) -> set[str]:
    """Names of fields that have a row for each atom, in every structure that has them."""
    of_atoms: set[str] = set()
    others: set[str] = set()
    for own, size in zip(fields, sizes, strict=True):
        for name, value in own.items():
            fits = value.ndim > 0 and len(value) == size
            (of_atoms if fits else others).add(name)
    if max(sizes) == 1:  # one row is that of the structure as well
        return of_atoms & _OF_ATOMS
    return of_atoms - others - _VECTORS


def _squeezed(value: np.ndarray) -> Any:
    """A field of a structure without the axis of length one that batches join along."""
    if value.ndim and value.shape[0] == 1:
        value = value[0]
    return value if isinstance(value, np.ndarray) and value.ndim else value.item()


def _column(data: Sequence, *keys: str) -> list[np.ndarray] | None:
    """Of every structure the first of `keys` that it has, or None where none has any."""

    def first(each: Any) -> np.ndarray | None:
        return next((value for key in keys if (value := _array(each.get(key))) is not None), None)

    return all_or_none([first(each) for each in data], keys[0])


def _shaped(
    name: str, values: list[np.ndarray] | None, shapes: Sequence[tuple[int, ...]]
) -> np.ndarray | None:
    """Values of one shape for each structure, stacked; axes of length one do not count."""
    if values is None:
        return None
    return np.stack(_reshaped(name, values, shapes))


def _vectors_of_atoms(
    name: str, values: list[np.ndarray] | None, sizes: Sequence[int]
) -> np.ndarray | None:
    """A vector for each atom, [N, 3]."""
    if values is None:
        return None
    return np.concatenate(_reshaped(name, values, [(size, 3) for size in sizes]))


def _reshaped(
    name: str, values: list[np.ndarray], shapes: Sequence[tuple[int, ...]]
) -> list[np.ndarray]:
    """Values in the shapes that are expected. Raises ValueError where they have others."""
    fitting = []
    for k, (value, shape) in enumerate(zip(values, shapes, strict=True)):
        own = tuple(length for length in value.shape if length != 1)
        if (
            own != tuple(length for length in shape if length != 1)
            or value.dtype.kind not in "biuf"
        ):
            raise ValueError(
                f"Structure {k} of the data set has {name} ({value.dtype}) of the shape "
                f"{value.shape}: give it numbers of the shape {shape}."
            )
        fitting.append(value.reshape(shape))
    return fitting


def _targets(
    y: list[np.ndarray] | None, names: Sequence[str] | None, infos: Sequence[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """The columns of y as properties. Raises ValueError for another number of names, and for a
    structure with another number of columns."""
    if y is None:
        return {}
    for k, value in enumerate(y):
        if value.size != y[0].size or value.dtype.kind not in "biuf":
            raise ValueError(
                f"Structure {k} of the data set has y ({value.dtype}) with {value.size} columns, "
                f"structure 0 has {y[0].size}: give each the same targets."
            )
    values = np.stack([np.asarray(value, np.float64).reshape(-1) for value in y])  # [n, P]
    if names is None:
        names = [_name_of(column, infos) or f"y{k}" for k, column in enumerate(values.T)]
    names = list(names)
    if len(names) != values.shape[1]:
        raise ValueError(
            f"y has {values.shape[1]} columns, but {len(names)} names are given: pass one name "
            "each."
        )
    return dict(zip(names, values.T, strict=True))


def _name_of(column: np.ndarray, infos: Sequence[Mapping[str, Any]]) -> str | None:
    """The field that holds the numbers of a column of y, as in batches of an AtomStore."""
    for name in infos[0]:
        if all(_equals(info.get(name), value) for info, value in zip(infos, column, strict=True)):
            return name
    return None


def _equals(value: Any, number: float) -> bool:
    return isinstance(value, (int, float)) and value == number


def _log_left_out(left_out: Mapping[str, str]) -> None:
    if left_out:
        logger.warning(
            "Left out of the store: %s.",
            ", ".join(f"{name} ({reason})" for name, reason in left_out.items()),
        )
