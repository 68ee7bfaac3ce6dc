"""What a simulation checks before its dynamics begin."""

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from scdlab.atoms.store import AtomStore

if TYPE_CHECKING:
    from ase import Atoms


def checked_settings(**settings: Any) -> dict[str, Any]:
    """The settings of a simulation as plain numbers.

    Parameters
    ----------
    **settings
        Name -> value, as `simulate` takes them.

    Returns
    -------
    dict
        The same as int and float.

    Raises
    ------
    ValueError
        For those that make no sense.
    """
    plain: dict[str, Any] = {}
    for name, value in settings.items():
        whole = name in ("n_frames", "interval", "equilibration", "seed")
        least_is_zero = name in ("equilibration", "seed")
        if isinstance(value, np.generic):
            value = value.item()
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        sign = "not negative" if least_is_zero else "positive"
        if not number or not math.isfinite(value) or value < 0 or (not value and not least_is_zero):
            raise ValueError(
                f"simulate: {name} is {in_short(value)}, but must be a "
                f"{'whole ' if whole else ''}number, finite and {sign}."
            )
        if whole and value != int(value):
            raise ValueError(
                f"simulate: {name} is {value}, but must be a whole number, and {sign}."
            )
        plain[name] = int(value) if whole else value
    return plain


def whole_count(what: str, name: str, value: Any) -> int:
    """A number of things as an int.

    Parameters
    ----------
    what : str
        What needs it, for the error.
    name : str
        The argument's name.
    value : int
        Its value.

    Returns
    -------
    int
        The same.

    Raises
    ------
    ValueError
        For anything but a whole positive number.
    """
    try:
        count = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(
            f"{what}: {name} is {in_short(value)}, but must be a whole number, and positive."
        )
    return count


def checked_start(atoms: Any) -> "Atoms":
    """A copy of a structure that dynamics can start from and a store can keep.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure; left untouched.

    Returns
    -------
    ase.Atoms
        The copy, without notes in `info`.

    Raises
    ------
    TypeError
        For what is no structure.
    ValueError
        For no atoms, for what no store takes, and where nothing could move.
    """
    from ase import Atoms

    if not isinstance(atoms, Atoms):
        raise TypeError(
            f"simulate: the structure must be ase.Atoms, got {type(atoms).__name__}: pass "
            "store.to_ase(i), or scdlab.from_smiles(text)."
        )
    if not len(atoms):
        raise ValueError("simulate: the structure has no atoms: pass one with at least one atom.")
    try:
        AtomStore.geometry(atoms)
    except ValueError as error:
        raise ValueError(f"simulate: no store takes the structure ({error})") from error
    if fixed_atoms(atoms).all():
        raise ValueError(
            "simulate: every atom of the structure is fixed, and none would move: leave some free."
        )
    masses = atoms.get_masses()
    if not (np.isfinite(masses) & (masses > 0)).all():
        raise ValueError(
            "simulate: every atom needs a positive mass, got "
            f"{masses[~(masses > 0)][:1].tolist() or 'infinity'}: correct atoms.set_masses."
        )
    atoms = atoms.copy()
    atoms.info = {}
    return atoms


def fixed_atoms(atoms: "Atoms") -> np.ndarray:
    """Which atoms FixAtoms holds.

    Parameters
    ----------
    atoms : ase.Atoms
        A structure of n atoms.

    Returns
    -------
    numpy.ndarray
        [n] bool.
    """
    from ase.constraints import FixAtoms

    mask = np.zeros(len(atoms), bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            mask[constraint.index] = True
    return mask


def in_short(thing: Any) -> str:
    """An error or a value in one line.

    Parameters
    ----------
    thing : Exception or any
        What it is about.

    Returns
    -------
    str
        Up to 200 characters.
    """
    text = f"{type(thing).__name__}: {thing}" if isinstance(thing, Exception) else repr(thing)
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:197] + "…"
