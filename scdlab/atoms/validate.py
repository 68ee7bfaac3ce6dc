"""What a store may hold: names, types and shapes of its arrays, and values that a model can use."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from scdlab.atoms.arguments import numeric

# name -> dtype
PER_ATOM = {"z": "uint8", "pos": "float32", "forces": "float32"}
PER_STRUCTURE = {
    "ptr": "int64",
    "cell": "float32",
    "pbc": "bool",
    "energy": "float64",
    "values": "float64",
    "vectors": "float64",
}
# of atom properties: what numpy and torch share
ATOM_DTYPES = {
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *(f"float{bits}" for bits in (16, 32, 64)),
}
# fields of every batch, which name no property
RESERVED = {*PER_ATOM, *PER_STRUCTURE, "y", "batch", "natoms"}
_PIECE = 1 << 20  # atoms whose values are checked at once

Arrays = dict[str, np.ndarray]


@dataclass
class Source:
    """Where a store was opened from, and what its content is.

    Parameters
    ----------
    path : Path
        The folder.
    digest : str
        sha256 of the content of `store.json`.
    digests : dict of str to str or None
        sha256 of each array, by the name of its file; None for a store of an earlier version.
    checked : bool, default False
        Whether the arrays have been compared with the digests, or their values checked.
    """

    path: Path
    digest: str
    digests: dict[str, str] | None
    checked: bool = False


@dataclass(frozen=True)
class Content:
    """The arrays of a store and their names.

    Parameters
    ----------
    arrays : dict
        Per-atom and per-structure arrays, as `AtomStore` documents them.
    properties : tuple of str
        Names of the columns of `values`.
    vectors : tuple of str
        Names of the columns of `vectors`.
    atom_properties : dict
        Further per-atom arrays by name.
    meta : dict
        What json can hold.
    source : Source, optional
        Where they were opened from.
    """

    arrays: Arrays
    properties: tuple[str, ...]
    vectors: tuple[str, ...]
    atom_properties: Arrays
    meta: dict
    source: Source | None = None


def expected_shapes(n: int, n_atoms: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays of a store, but for named columns.

    Parameters
    ----------
    n : int
        Number of structures.
    n_atoms : int
        Number of atoms.

    Returns
    -------
    dict
        By the name of the array.
    """
    return {
        "z": (n_atoms,),
        "pos": (n_atoms, 3),
        "forces": (n_atoms, 3),
        "cell": (n, 3, 3),
        "pbc": (n, 3),
        "energy": (n,),
    }


def check_ptr(ptr: np.ndarray) -> None:
    """Check the rows at which structures start.

    Parameters
    ----------
    ptr : numpy.ndarray
        Where each structure begins, and N, [n + 1].

    Raises
    ------
    ValueError
        For what does not start at 0 and increase, and for a structure without atoms.
    """
    if ptr.ndim != 1 or len(ptr) < 2 or ptr[0] != 0 or (np.diff(ptr) < 0).any():
        raise ValueError(
            "ptr must be [n+1] row numbers that start at 0 and do not decrease, for at least one "
            "structure."
        )
    empty = np.flatnonzero(np.diff(ptr) == 0)
    if len(empty):
        raise ValueError(f"Structure {empty[0]} has no atoms: remove it.")


def check_shapes(
    arrays: Mapping[str, np.ndarray],
    properties: Mapping[str, np.ndarray],
    atom_properties: Mapping[str, np.ndarray],
) -> None:
    """Check that all arrays fit the numbers of structures and atoms that `ptr` gives.

    Parameters
    ----------
    arrays : mapping
        `ptr` [n + 1], and any of z, pos, forces, cell, pbc and energy.
    properties : mapping
        Arrays of one number [n] or one vector [n, 3] for each structure.
    atom_properties : mapping
        Arrays of one number or one row for each atom, [N, …].

    Raises
    ------
    ValueError
        For the first array that does not fit, with the shape expected.
    """
    ptr = arrays["ptr"]
    check_ptr(ptr)
    n = len(ptr) - 1
    n_atoms = int(ptr[-1])
    expected = expected_shapes(n, n_atoms)
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(
                f"{name} must have the shape {shape} for the {n} structures and {n_atoms} atoms "
                f"of ptr, got {arrays[name].shape}: correct {name} or ptr."
            )
    for name, value in properties.items():
        if value.shape not in ((n,), (n, 3)):
            raise ValueError(
                f"Property {name!r} has the shape {value.shape}, but there are {n} structures: "
                "pass one number each, or a vector of three."
            )
    for name, value in atom_properties.items():
        fits = value.ndim >= 1 and len(value) == n_atoms and value.size > 0
        if not fits or value.dtype.name not in ATOM_DTYPES:
            raise ValueError(
                f"Atom property {name!r} ({value.dtype}, {value.shape}) must hold one number or "
                f"row of numbers for each of the {n_atoms} atoms: correct it or leave it out."
            )


def as_numbers(name: str, value: ArrayLike) -> np.ndarray:
    """The values of a property as float64.

    Parameters
    ----------
    name : str
        The property's name, for the error.
    value : array_like
        Numbers [n] or vectors [n, 3].

    Raises
    ------
    ValueError
        For what holds anything but numbers, or rows of different lengths.
    """
    try:
        return numeric(name, value).astype(np.float64)
    except ValueError as error:
        reason = str(error).removesuffix(": correct it.").removesuffix(".")
        raise ValueError(
            f"Property {name!r} is not one number for each structure, nor a vector of three "
            f"({reason}): correct it."
        ) from error


def check_names(names: Sequence[str]) -> None:
    """Check that properties can be fields of a batch under their names.

    Parameters
    ----------
    names : sequence of str
        Names of the properties.

    Raises
    ------
    ValueError
        For a name that is no identifier, is used twice, or is a field of every batch.
    """
    for name in names:
        if not can_name(name) or names.count(name) > 1:
            raise ValueError(
                f"{name!r} cannot name a property (not an identifier, used twice, or a field of a "
                "batch): rename it."
            )


def can_name(name: str) -> bool:
    """Whether a property can be a field of a batch under a name: an identifier that no field of
    every batch, and nothing else that a batch has, is called.

    Parameters
    ----------
    name : str
        The name.
    """
    from torch_geometric.data import Data

    return str(name).isidentifier() and name not in RESERVED and not hasattr(Data(), name)


def check_elements(z: np.ndarray, ptr: np.ndarray) -> None:
    """Check atomic numbers [N] before they become uint8, in which 300 would become 44.

    Parameters
    ----------
    z : numpy.ndarray
        Atomic numbers, [N].
    ptr : numpy.ndarray
        Where each structure begins, and N, [n + 1].

    Raises
    ------
    ValueError
        For a number that is not an integer from 1 to 118.
    """
    if z.ndim != 1:
        raise ValueError(f"z must be [N], one number for each atom, got the shape {z.shape}.")
    for first, last in _row_pieces(len(z)):
        part = z[first:last]
        bad = np.flatnonzero(~((part >= 1) & (part <= 118) & (part % 1 == 0)))
        if len(bad):
            row = first + int(bad[0])
            k = structure_of_row(row, ptr)
            raise ValueError(
                f"Structure {k} has an atom with atomic number {z[row]}, which is no element: "
                "use 1 to 118, and remove dummy atoms."
            )


def check_values(arrays: Mapping[str, np.ndarray]) -> None:
    """Check that positions, labels and cells are finite, and that no two atoms coincide.

    Parameters
    ----------
    arrays : mapping
        `ptr` and `pos`, and any of forces, energy, cell and pbc, of the shapes that a store has.

    Raises
    ------
    ValueError
        Names the structure, and the atom, of the first value that no model can use.
    """
    ptr = arrays["ptr"]
    for first, last in _row_pieces(len(arrays["pos"])):
        _check_finite_rows(arrays, ptr, first, last)
    if "energy" in arrays and not np.isfinite(arrays["energy"]).all():
        k = np.flatnonzero(~np.isfinite(arrays["energy"]))[0]
        raise ValueError(
            f"Structure {k} has an energy that is NaN or infinite: correct or remove it."
        )
    if "cell" in arrays:
        _check_cells(arrays["cell"], arrays["pbc"])
    # whole structures, as many as have about _PIECE atoms
    bounds = np.searchsorted(ptr, np.arange(0, int(ptr[-1]), _PIECE))
    for first, last in itertools.pairwise(np.unique([0, *bounds, len(ptr) - 1])):
        rows = ptr[first : last + 1]
        _check_distinct(arrays["pos"][rows[0] : rows[-1]], rows - rows[0], int(first))


def structure_of_row(row: int, ptr: np.ndarray) -> int:
    """The structure that a row of the per-atom arrays belongs to.

    Parameters
    ----------
    row : int
        Index of the row.
    ptr : numpy.ndarray
        Where each structure begins, and N, [n + 1].

    Returns
    -------
    int
        Index of the structure.
    """
    return int(np.searchsorted(ptr, row, side="right")) - 1


def all_or_none(values: Iterable, name: str) -> list | None:
    """A label's values for all structures, or None where no structure has it.

    Parameters
    ----------
    values : iterable
        The label of each structure; None for one without.
    name : str
        The label's name, for the error.

    Raises
    ------
    ValueError
        When only some structures have the label.
    """
    values = list(values)
    missing = [k for k, value in enumerate(values) if value is None]
    if len(missing) == len(values):
        return None
    if missing:
        raise ValueError(
            f"Structure {missing[0]} has no {name} while others have: label all of them, or none."
        )
    return values


def _row_pieces(n: int) -> Iterable[tuple[int, int]]:
    return ((first, min(first + _PIECE, n)) for first in range(0, n, _PIECE))


def _check_finite_rows(
    arrays: Mapping[str, np.ndarray], ptr: np.ndarray, first: int, last: int
) -> None:
    for name, what in (("pos", "position"), ("forces", "force")):
        if name not in arrays or np.isfinite(arrays[name][first:last]).all():
            continue
        row = first + int(np.flatnonzero(~np.isfinite(arrays[name][first:last]).all(1))[0])
        k = structure_of_row(row, ptr)
        raise ValueError(
            f"Structure {k}, atom {row - ptr[k]} has a {what} that is NaN or infinite: correct "
            "or remove it."
        )


def _check_cells(cell: np.ndarray, pbc: np.ndarray) -> None:
    finite = np.isfinite(cell).all((1, 2))
    if not finite.all():
        raise ValueError(
            f"Structure {np.flatnonzero(~finite)[0]} has a cell that is NaN or infinite: correct "
            "or remove it."
        )
    lost = (pbc & (np.linalg.norm(cell, axis=2) == 0)).any(1)
    if lost.any():
        raise ValueError(
            f"Structure {np.flatnonzero(lost)[0]} is periodic along a cell vector of no length: "
            "give its cell, or unset pbc."
        )


def _check_distinct(pos: np.ndarray, ptr: np.ndarray, structure: int) -> None:
    """Check the atoms of some structures, the first of which has this number."""
    # one number per position, equal for equal positions; a stable sort leaves the atoms of a
    # structure side by side
    key = pos.astype(np.float64) * (1.0, np.sqrt(2), np.pi)
    key = key[:, 0] + key[:, 1] + key[:, 2]
    order = np.argsort(key, kind="stable")
    equal = key[order[:-1]] == key[order[1:]]
    first = order[:-1][equal]
    second = order[1:][equal]
    same = (pos[first] == pos[second]).all(1)
    same &= np.searchsorted(ptr, first, side="right") == np.searchsorted(ptr, second, side="right")
    if same.any():
        found = np.flatnonzero(same)[0]
        a, b = sorted((int(first[found]), int(second[found])))
        k = structure_of_row(a, ptr)
        raise ValueError(
            f"Structure {structure + k} has atoms {a - ptr[k]} and {b - ptr[k]} at the same "
            "position: remove one of them."
        )
