"""Data sets in .npz files: the frames of one molecule, as MD17 and its kin have them, or structures
of different sizes."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scdlab import units
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
        For a file that is truncated, damaged, or holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is truncated or damaged ({error}): copy or download it again."
        ) from error


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


def _is_label(value: np.ndarray) -> bool:
    return value.dtype.kind in "biuf"


def _is_split(name: str, value: np.ndarray, n: int) -> bool:
    """Whether an array of an .npz file is one side of a published split: train1, test1, …"""
    side = name.rstrip("0123456789")
    if side not in ("train", "test") or side == name or value.dtype.kind not in "iu":
        return False
    return value.ndim == 1 and len(value) > 0 and 0 <= value.min() <= value.max() < n
