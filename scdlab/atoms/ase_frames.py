"""What ase.Atoms hold, as the keyword arguments of `AtomStore.from_arrays`, and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scdlab.atoms.arguments import whole
from scdlab.atoms.calculators import results_of
from scdlab.atoms.columns import array_columns, info_columns
from scdlab.atoms.labels import find_labels
from scdlab.atoms.sites import WHOLE
from scdlab.log import logger

if TYPE_CHECKING:
    from ase import Atoms

    from scdlab.atoms.view import View


_NOT_KEPT = {"stress", "stresses", "charges", "magmom", "magmoms", "polarization"}


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
    pbc = np.array([frame.pbc for frame in frames])
    if pbc.any():
        arrays["cell"] = np.stack([frame.cell.array for frame in frames])
        arrays["pbc"] = pbc
    return arrays


def ase_arrays(
    frames: "Sequence[Atoms]",
    *,
    energy: str | None = None,
    forces: str | None = None,
    properties: Sequence[str] | None = None,
    atom_properties: Sequence[str] | None = None,
    meta: dict | None = None,
    validate: bool = True,
    fresh: bool = False,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The arrays of ase.Atoms, as `AtomStore.from_ase` describes them.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        The structures.
    energy : str, optional
        Key of the energies.
    forces : str, optional
        Key of the forces.
    properties : sequence of str, optional
        Entries of `info` to keep; None: those that all have.
    atom_properties : sequence of str, optional
        Per-atom arrays to keep; None: those that all have.
    meta : dict, optional
        Description of the data.
    validate : bool, default True
        Whether to check that labels are finite.
    fresh : bool, default False
        Whether the results of all calculators belong to the structures, as in a file just read.
    notes : sequence of str, default ()
        What was changed before, for `meta`.

    Returns
    -------
    dict
        Keyword arguments of `AtomStore.from_arrays`.

    Raises
    ------
    ValueError
        Where some structures lack a label or property that others have, for labels that are none,
        and for sites that are occupied in part.
    """
    check_occupancies(frames)
    results = results_of(frames, check=not fresh)
    found = find_labels(frames, results, energy, forces, validate)
    used = list(found.keys.values())
    infos = [
        _info(frame, own) if "dipole" in own else frame.info
        for frame, own in zip(frames, results.found, strict=True)
    ]
    per_structure = info_columns(infos, properties, used)
    per_atom = array_columns(frames, atom_properties, used)
    left_out = per_structure.left_out | per_atom.left_out
    left_out |= _other_results(results.found)
    if left_out:
        logger.warning(
            "Left out of the store: %s.",
            ", ".join(f"{name} ({reason})" for name, reason in left_out.items()),
        )
    meta = dict(meta or {})
    if found.keys:
        meta["labels"] = found.keys
    if notes:
        meta["notes"] = list(notes)
    if partial := per_structure.partial | per_atom.partial:
        meta["partial"] = dict(sorted(partial.items()))
    return {
        **geometry_arrays(frames),
        "energy": found.energy,
        "forces": found.forces,
        "properties": per_structure.kept,
        "atom_properties": per_atom.kept,
        "meta": meta,
    }


def check_occupancies(frames: "Sequence[Atoms]") -> None:
    """Check that every site of crystals and proteins holds one whole atom.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        The structures; ase's readers note occupancies in `info` (CIF) and `arrays` (PDB).

    Raises
    ------
    ValueError
        Names the structure and the occupancies of the first that does not.
    """
    for k, frame in enumerate(frames):
        if "occupancy" not in frame.info and "occupancy" not in frame.arrays:
            continue
        if partial := _partial_sites(frame):
            raise ValueError(
                f"Structure {k} has sites that are occupied in part ({', '.join(partial[:4])}), "
                "and a model has whole atoms: give an ordered structure instead, for example a "
                "supercell with the atoms dealt out."
            )


def _partial_sites(frame: "Atoms") -> list[str]:
    """Sites of a structure that are occupied in part, as text."""
    found = []
    noted = frame.info.get("occupancy")
    if isinstance(noted, Mapping):
        for site in noted.values():
            if not isinstance(site, Mapping):
                continue
            numbers = [share for share in site.values() if isinstance(share, (int, float))]
            if len(site) > 1 or any(share < WHOLE for share in numbers):
                found.append(" + ".join(f"{name} {share:g}" for name, share in site.items()))
    array = frame.arrays.get("occupancy")
    if array is not None and array.dtype.kind == "f" and array.ndim == 1:
        # programs write 0 for what they do not know
        for row in np.flatnonzero((array > 0) & (array < WHOLE)):
            found.append(f"{frame.symbols[row]} {array[row]:g}")
    return found


def _other_results(found: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Results of calculators that a store does not hold."""
    names = set().union(*{tuple(own) for own in found})
    reason = "a store holds energies, forces and dipoles of calculators"
    return dict.fromkeys(sorted(names & _NOT_KEPT), reason)


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

    one = store.subset([whole("i, the index of a structure,", i)])
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


def _info(atoms: "Atoms", results: Mapping[str, Any]) -> dict:
    """What `atoms` holds beside energy and forces: its info, and the calculator's dipole."""
    if results.get("dipole") is None:
        return atoms.info
    return {"dipole": results["dipole"]} | atoms.info
