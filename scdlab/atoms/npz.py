"""Data sets in .npz files: the frames of one molecule, as MD17 and its kin have them, or structures
of different sizes."""

import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from scdlab import units
from scdlab.atoms import promises
from scdlab.atoms.validate import Arrays

# what the arrays of an .npz file may be called, MD17's own names and those of revised MD17 first
NAMES = {
    "z": ("z", "nuclear_charges", "atomic_numbers", "numbers"),
    "pos": ("R", "coords", "pos", "positions"),
    "energy": ("E", "energies", "energy"),
    "forces": ("F", "forces"),
    "n_atoms": ("n_atoms", "natoms"),
    "cell": ("cell",),
    "pbc": ("pbc",),
}
_HEADERS: dict[tuple[int, int], Callable] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(path: str | Path) -> Arrays:
    """All arrays of an .npz file; nothing is unpickled.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    dict of str to numpy.ndarray
        The arrays by name.

    Raises
    ------
    ValueError
        For a file that is truncated, damaged, no .npz file, or holds Python objects.
    """
    name = ""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".npy"):
                    continue
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    _check_promise(file, member)
                with archive.open(member) as file:
                    found[name] = np.lib.format.read_array(file, allow_pickle=False)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{path} is truncated or damaged, or no .npz file ({promises.reason(error)}): copy or "
            "download it again, or write it with numpy.savez."
        ) from error
    # zipfile and numpy raise whatever a damaged header leads to
    except Exception as error:
        at = f", array {name[:60]!r}" if name else ""
        raise ValueError(
            f"{path} is truncated or damaged{at} ({promises.reason(error)}): copy or download it "
            "again, with arrays of numbers alone."
        ) from error
    return found


def _check_promise(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """Raise ValueError where an array states more bytes than the archive has for it: numpy takes
    the memory before it looks."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"a format of arrays, {version}, that is not read here")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not unpickled")
    stated = math.prod(shape) * dtype.itemsize
    # deflated data are at least a thousandth of what they hold
    if stated > member.file_size or member.file_size > 1100 * member.compress_size + 1100:
        raise ValueError(f"{shape} of {dtype} do not fit into {member.compress_size:,} bytes")


def column(data: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """The array of an .npz file that holds a quantity under any of its usual names.

    Parameters
    ----------
    data : mapping of str to numpy.ndarray
        The arrays of the file.
    name : str
        The quantity, a key of `NAMES`.

    Returns
    -------
    numpy.ndarray or None
        The array; None where there is none.
    """
    return next((data[key] for key in NAMES[name] if key in data), None)


def arrays(path: str | Path, energy_unit: str | float | None) -> dict[str, Any]:
    """The arrays of one .npz file, as `AtomStore.from_file` describes them.

    Parameters
    ----------
    path : str or Path
        The file.
    energy_unit : str, float or None
        Unit of its energies.

    Returns
    -------
    dict
        Keyword arguments of `AtomStore.from_arrays`.

    Raises
    ------
    ValueError
        For a file that is damaged or lacks z, R or n_atoms, and for labels without a unit.
    """
    data = read(path)
    check_kinds(path, data)
    columns = {name: column(data, name) for name in NAMES}
    found = {name: value for name, value in columns.items() if value is not None}
    if "z" not in found or "pos" not in found:
        raise ValueError(
            f"{path} has the arrays {', '.join(sorted(data)) or 'none'}: a data set needs at least "
            "z (or nuclear_charges) and R (or coords)."
        )
    if energy_unit is None:
        if "energy" in found or "forces" in found:
            raise ValueError(
                f"{path} gives energies or forces without their unit: pass energy_unit (on the "
                f"command line --energy-unit), one of {', '.join(units.ENERGY)}; forces are then "
                "in this unit per Å."
            )
        energy_unit = "eV"
    n_atoms = found.pop("n_atoms", None)
    if found["z"].ndim not in (1, 2):
        raise ValueError(
            f"{path} has atomic numbers of the shape {found['z'].shape}: give z as [k] for frames, "
            "or as [N] with n_atoms [n]."
        )
    if found["pos"].ndim not in (2, 3):
        raise ValueError(
            f"{path} has positions of the shape {found['pos'].shape}: give R as [n, k, 3], or as "
            "[N, 3] with n_atoms [n]."
        )
    shape = found["pos"].shape[:-1]  # (n, k) of frames, (N,) of structures of different sizes
    n = shape[0]
    if len(shape) == 1:
        if n_atoms is None:
            raise ValueError(
                f"{path} has flat positions {found['pos'].shape} without n_atoms, the number of "
                "atoms of each structure: add n_atoms [n], or give R as [n, k, 3]."
            )
        if n_atoms.ndim != 1 or n_atoms.dtype.kind not in "iu" or not (n_atoms > 0).all():
            raise ValueError(
                f"{path} has n_atoms ({n_atoms.dtype}, {n_atoms.shape}) that are not one positive "
                "whole number for each structure: correct them."
            )
        if sum(map(int, n_atoms)) != shape[0]:
            raise ValueError(
                f"{path} has n_atoms that add up to {sum(map(int, n_atoms)):,} atoms, and positions"
                f" of {shape[0]:,}: correct n_atoms or R."
            )
        n = len(n_atoms)
        found["ptr"] = np.concatenate([[0], np.cumsum(n_atoms)])
    splits = {name: value.tolist() for name, value in data.items() if _is_split(name, value, n)}
    known = {*splits, *(key for keys in NAMES.values() for key in keys)}
    rest = {name: value for name, value in data.items() if name not in known and _is_label(value)}
    return {
        **found,
        "properties": {name: value for name, value in rest.items() if value.shape == (n,)},
        "atom_properties": {
            name: value for name, value in rest.items() if value.shape == shape != (n,)
        },
        "energy_unit": energy_unit,
        "meta": {"splits": splits} if splits else {},
    }


def check_kinds(path: str | Path, data: Mapping[str, np.ndarray]) -> None:
    """Check that the arrays of known names hold numbers.

    Parameters
    ----------
    path : str or Path
        The file, for errors.
    data : mapping of str to numpy.ndarray
        Its arrays.

    Raises
    ------
    ValueError
        For the first that holds something else.
    """
    for key in (key for keys in NAMES.values() for key in keys if key in data):
        if data[key].dtype.kind not in "biuf":
            raise ValueError(
                f"{path} holds {data[key].dtype} under {key!r}, where numbers are expected: "
                "correct or rename this array."
            )


def check_splits(path: str | Path, splits: Mapping[str, Iterable[int]], n: int) -> None:
    """Check the published splits that stand beside n frames.

    Parameters
    ----------
    path : str or Path
        Where they are, for errors.
    splits : mapping
        "train1", "test1", … -> the rows of one side.
    n : int
        Number of frames.

    Raises
    ------
    ValueError
        For a split that lacks a side, has a row that does not exist, or has one on both sides.
    """
    for name, rows in splits.items():
        k = name.lstrip("abcdefghijklmnopqrstuvwxyz")
        other = f"test{k}" if name.startswith("train") else f"train{k}"
        if other not in splits:
            raise ValueError(
                f"{path} has the split {name!r} without {other!r}: add that side, or remove this "
                "one."
            )
        rows = np.asarray(rows)
        outside = np.flatnonzero((rows < 0) | (rows >= n))
        if len(outside):
            raise ValueError(
                f"{path} has the split {name!r} with the row {rows[outside[0]]}, and there are "
                f"{n:,} frames: correct or remove it."
            )
        if not len(rows) or len(np.unique(rows)) != len(rows):
            raise ValueError(
                f"{path} has the split {name!r} that is empty or names a row twice: correct or "
                "remove it."
            )
        both = np.intersect1d(rows, np.asarray(splits[other]))
        if len(both):
            raise ValueError(
                f"{path} has the row {both[0]} in {name!r} and in {other!r}: a published split has "
                "disjoint sides; correct or remove it."
            )


def _is_label(value: np.ndarray) -> bool:
    return value.dtype.kind in "biuf"


def _is_split(name: str, value: np.ndarray, n: int) -> bool:
    """Whether an array of an .npz file is one side of a published split: train1, test1, …"""
    side = name.rstrip("0123456789")
    if side not in ("train", "test") or side == name or value.dtype.kind not in "iu":
        return False
    return value.ndim == 1 and len(value) > 0 and 0 <= value.min() <= value.max() < n
