"""What ase.Atoms hold, as the keyword arguments of `AtomStore.from_arrays`, and back."""

import collections
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scdlab.atoms.validate import all_or_none

if TYPE_CHECKING:
    from ase import Atoms

    from scdlab.atoms.view import View


# of a simulation's state, or kept under their own names
_KNOWN_ARRAYS = {"numbers", "positions", "forces", "momenta", "masses"}


def as_frames(atoms: "Atoms | Iterable[Atoms]") -> "list[Atoms]":
    """One structure or several as a list.

    Parameters
    ----------
    atoms : ase.Atoms or iterable of ase.Atoms
        The structures.

    Returns
    -------
    list of ase.Atoms
        The structures, not copied.

    Raises
    ------
    ValueError
        For no structures.
    TypeError
        For what is no structure.
    """
    import ase

    if isinstance(atoms, ase.Atoms):
        return [atoms]
    try:
        frames = list(atoms)
    except TypeError as error:
        raise TypeError(
            f"Structures must be ase.Atoms or a list of them, got {type(atoms).__name__}: pass "
            "those."
        ) from error
    if not frames:
        raise ValueError("The list of structures is empty: pass at least one ase.Atoms.")
    for k, frame in enumerate(frames):
        if not isinstance(frame, ase.Atoms):
            raise TypeError(
                f"Structure {k} must be ase.Atoms, got {type(frame).__name__}: pass one ase.Atoms "
                "or a list of them."
            )
    return frames


def geometry_arrays(frames: "Sequence[Atoms]") -> dict[str, Any]:
    """Elements, positions and periodicity of ase.Atoms, and nothing else that they carry.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        The structures.

    Returns
    -------
    dict
        Keyword arguments of `AtomStore.from_arrays`: z, pos and ptr, and where any structure is
        periodic cell and pbc.
    """
    arrays: dict[str, Any] = {
        "z": np.concatenate([frame.numbers for frame in frames]),
        "pos": np.concatenate([frame.positions for frame in frames]),
        "ptr": np.concatenate([[0], np.cumsum([len(frame) for frame in frames])]),
    }
    if any(frame.pbc.any() for frame in frames):
        arrays["cell"] = np.stack([frame.cell.array for frame in frames])
        arrays["pbc"] = np.stack([frame.pbc for frame in frames])
    return arrays


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
    TypeError
        For what is no ase.Atoms.
    """
    frames = as_frames(atoms)
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
    partial = _partial(infos, names) if properties is None else {}
    return {
        **geometry_arrays(frames),
        "energy": energy,
        "forces": None if forces is None else np.concatenate(forces),
        "properties": {name: [info[name] for info in infos] for name in names},
        "atom_properties": extra,
        "meta": {**(meta or {}), "partial": partial} if partial else meta,
    }


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
