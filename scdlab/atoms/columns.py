"""Optional columns of ase.Atoms: what `info` and `arrays` hold beside geometry and labels.

Numbers and vectors of three in `info` become properties, numeric arrays become properties of the
atoms. What no store can hold is left out and listed; it vetoes nothing.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scdlab.atoms.validate import Arrays, can_name

if TYPE_CHECKING:
    from ase import Atoms

# of the structure itself, of a simulation's state, or kept in another way
_GEOMETRY = {"numbers", "positions", "momenta", "masses"}
# what ase's readers and builders of crystals note
_NOTES = {"spacegroup", "unit_cell", "occupancy", "adsorbate_info"}
# what atoms have that have no such array, as ase counts it
_DEFAULTS = {"tags": 0, "initial_charges": 0.0, "initial_magmoms": 0.0, "fixed": False}
_NUMBERS = {float, int, np.float64, np.float32, np.int64, np.int32}


@dataclass
class Columns:
    """Optional columns.

    Parameters
    ----------
    kept : dict
        name -> values of all structures or atoms.
    left_out : dict
        name -> why it is not kept.
    partial : dict
        name -> how many of the structures have it, where it is not all of them.
    """

    kept: Arrays = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    partial: dict[str, int] = field(default_factory=dict)


def info_columns(
    infos: Sequence[dict], asked: Sequence[str] | None, labels: Sequence[str]
) -> Columns:
    """The entries of `info` of all structures as properties.

    Parameters
    ----------
    infos : sequence of dict
        One for each structure.
    asked : sequence of str or None
        Names to keep; None: those that all have, as numbers or as vectors of three.
    labels : sequence of str
        Names that are labels.

    Returns
    -------
    Columns
        Values [n] or [n, 3] by name.

    Raises
    ------
    ValueError
        For names that were asked for and that a structure lacks, or has as something else.
    """
    columns = Columns()
    n = len(infos)
    if asked is not None:
        for name in asked:
            columns.kept[name] = _asked_info(name, [info.get(name) for info in infos])
        return columns
    names = _keys(infos)
    for name in names:
        if name in labels or name in _NOTES:
            continue
        values = [info.get(name) for info in infos]
        shapes = [()] if _all_numbers(values) else list({_shape(value) for value in values})
        there = [value for value in values if value is not None]
        if not there:
            continue
        reason = _no_column(name, {s for s in shapes if s != "lacking"}, there)
        if reason:
            columns.left_out[str(name)] = reason
        elif "lacking" in shapes:
            columns.partial[name] = len(there)
            columns.left_out[name] = f"{len(there):,} of {n:,} structures have it"
        else:
            columns.kept[name] = np.asarray(values, np.float64)
    return columns


def array_columns(
    frames: "Sequence[Atoms]", asked: Sequence[str] | None, labels: Sequence[str]
) -> Columns:
    """The per-atom arrays of all structures as properties of the atoms, with `fixed` of their
    constraints and `masses` where they are not the elements' standard ones.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        The structures.
    asked : sequence of str or None
        Names to keep; None: those that all have.
    labels : sequence of str
        Names that are labels.

    Returns
    -------
    Columns
        Values [N, …] by name.

    Raises
    ------
    ValueError
        For names that were asked for and that a structure lacks, and for an array that is wider in
        one structure than in another.
    """
    arrays = [frame.arrays for frame in frames]
    numbers = [frame.numbers for frame in frames]
    columns = atom_columns(arrays, numbers, asked, {*_GEOMETRY, *labels})
    constrained, other = _constraints(frames)
    if constrained is not None:
        columns.kept["fixed"] = constrained
    masses = _unusual_masses(frames)
    if masses is not None and np.isfinite(masses).all():
        columns.kept["masses"] = masses
    elif masses is not None:
        columns.left_out["masses"] = "NaN in some structures"
    columns.left_out |= other
    return columns


def atom_columns(
    arrays: Sequence[Mapping[str, np.ndarray]],
    numbers: Sequence[np.ndarray],
    asked: Sequence[str] | None,
    skipped: Collection[str],
) -> Columns:
    """Per-atom arrays of structures as properties of the atoms.

    Parameters
    ----------
    arrays : sequence of mapping
        For each structure name -> values of its atoms.
    numbers : sequence of ndarray
        The atomic numbers of each structure.
    asked : sequence of str or None
        Names to keep; None: those that all have.
    skipped : collection of str
        Names that are kept in another way.

    Returns
    -------
    Columns
        Values [N, …] by name.

    Raises
    ------
    ValueError
        For names that were asked for and that a structure lacks, and for an array that is wider in
        one structure than in another.
    """
    columns = Columns()
    n = len(arrays)
    for name in [key for key in _keys(arrays) if key not in skipped] if asked is None else asked:
        values = [own.get(name) for own in arrays]
        there = [value for value in values if value is not None]
        lacking = [k for k, value in enumerate(values) if value is None]
        if asked is not None and lacking:
            raise ValueError(
                f"{len(lacking):,} of {n:,} structures have no {name!r} in their arrays (the "
                f"first is number {lacking[0]}): leave those out, or give it to them."
            )
        if asked is None and (reason := _no_array(name, there)):
            columns.left_out[name] = reason
            continue
        _check_widths(name, values)
        filled = [
            usual_values(name, numbers[k], there[0].shape[1:]) if value is None else value
            for k, value in enumerate(values)
        ]
        complete = [value for value in filled if value is not None]
        if len(complete) < n:
            columns.partial[name] = len(there)
            columns.left_out[name] = f"{len(there):,} of {n:,} structures have it"
            continue
        columns.kept[name] = np.concatenate(complete)
    return columns


def usual_values(name: str, numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """What atoms have that were given no values of a property: of `fixed`, `masses` and of ase's
    own arrays.

    Parameters
    ----------
    name : str
        The property.
    numbers : ndarray
        Atomic numbers, [N].
    shape : tuple of int
        Shape of an atom's value.

    Returns
    -------
    ndarray or None
        [N, *shape]; None for a property of which nothing is usual.
    """
    if name == "masses" and shape == ():
        from ase.data import atomic_masses

        return atomic_masses[numbers]
    if name not in _DEFAULTS:
        return None
    return np.full((len(numbers), *shape), _DEFAULTS[name])


def _keys(mappings: Iterable[Mapping]) -> dict[Any, None]:
    """All keys of some mappings in order, many of which have the same."""
    distinct = dict.fromkeys(tuple(each) for each in mappings)
    return dict.fromkeys(itertools.chain.from_iterable(distinct))


def no_column_name(name: Any) -> str | None:
    """Why a name cannot be that of a property; None where it can.

    Parameters
    ----------
    name : Any
        A key of `info` or `arrays`.
    """
    if not isinstance(name, str) or not name.isidentifier():
        return "no identifier"
    return None if can_name(name) else "a field of every batch"


def _no_column(name: Any, shapes: set, there: Sequence) -> str | None:
    """Why entries of `info` make no property; None where they do."""
    if all(isinstance(value, str) for value in there):
        return "text"
    if None in shapes:
        return "no numbers, nor vectors of three"
    if len(shapes) > 1:
        return "numbers in some structures, vectors in others"
    if shapes and not any(np.isfinite(value).all() for value in there):
        return "NaN everywhere"
    return no_column_name(name)


def _no_array(name: str, there: Sequence[np.ndarray]) -> str | None:
    """Why arrays make no property of the atoms; None where they do."""
    kinds = {value.dtype.kind for value in there}
    if kinds <= {"U", "S", "O"}:
        return "text"
    if not kinds <= set("biuf"):
        return "no real numbers"
    if bad := sum(not np.isfinite(value).all() for value in there if value.dtype.kind == "f"):
        return f"NaN in {bad:,} structures"
    return no_column_name(name)


def _check_widths(name: str, values: Sequence[np.ndarray | None]) -> None:
    """Check that arrays of one name have rows of one shape."""
    shapes = {k: value.shape[1:] for k, value in enumerate(values) if value is not None}
    first, expected = next(iter(shapes.items()))
    for k, shape in shapes.items():
        if shape != expected:
            raise ValueError(
                f"Structure {k} has an array {name!r} with rows of the shape {shape}, "
                f"structure {first} one with {expected}: make them alike, rename one, or choose "
                "others with atom_properties=."
            )


def _asked_info(name: str, values: Sequence) -> np.ndarray:
    """The entries of `info` that were asked for, of all structures."""
    if lacking := [k for k, value in enumerate(values) if value is None]:
        raise ValueError(
            f"{len(lacking):,} of {len(values):,} structures have no {name!r} in their "
            f"info (the first is number {lacking[0]}): leave those out, or label them."
        )
    expected = _shape(values[0])
    for k, value in enumerate(values):
        shape = _shape(value)
        if shape is None or shape != expected:
            raise ValueError(
                f"Property {name!r} is not one number for each structure, nor a vector of three: "
                f"structure {k} has {value!r:.60}; correct it, or leave the structure out."
            )
    return np.asarray(values, np.float64)


def _all_numbers(values: Sequence) -> bool:
    return set(map(type, values)) <= _NUMBERS


def _shape(value: Any) -> tuple | str | None:
    """() of a number, (3,) of a vector, "lacking" without a value, None of what is neither."""
    if value is None:
        return "lacking"
    if isinstance(value, np.ndarray):
        fits = value.shape in ((), (3,)) and value.dtype.kind in "iuf"
        return value.shape if fits else None
    if isinstance(value, (list, tuple)):
        return (3,) if [_shape(each) for each in value] == [(), (), ()] else None
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    return () if is_number and not isinstance(value, bool) else None


def _constraints(frames: "Sequence[Atoms]") -> tuple[np.ndarray | None, dict[str, str]]:
    """Which atoms are fixed [N] (None without constraints of this kind), and constraints of other
    kinds, with why they are not kept."""
    if not any(frame.constraints for frame in frames):
        return None, {}
    masks = []
    other: dict[str, int] = {}
    for frame in frames:
        own = frame.arrays.get("fixed")
        mask = np.zeros(len(frame), bool) if own is None else own.astype(bool)
        for constraint in frame.constraints:
            kind = type(constraint).__name__
            directions = getattr(constraint, "mask", None)
            if kind == "FixAtoms" or (
                kind in ("FixCartesian", "FixScaled") and np.all(np.asarray(directions))
            ):
                mask[constraint.index] = True
            else:
                other[kind] = other.get(kind, 0) + 1
        masks.append(mask)
    left_out = dict.fromkeys(other, "a constraint that is not of whole atoms")
    fixed = np.concatenate(masks)
    return (fixed if fixed.any() else None), left_out


def _unusual_masses(frames: "Sequence[Atoms]") -> np.ndarray | None:
    """Masses [N] in u where any differs from the standard one of its element, else None."""
    if not any("masses" in frame.arrays for frame in frames):
        return None
    from ase.data import atomic_masses

    masses = np.concatenate([frame.get_masses() for frame in frames])
    numbers = np.concatenate([frame.numbers for frame in frames])
    usual = np.allclose(masses, atomic_masses[numbers], rtol=1e-9, atol=0)
    return None if usual else masses
