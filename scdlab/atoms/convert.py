"""Structures from elsewhere as a store, and back: flat arrays, frames of one molecule, files,
ase.Atoms, PyTorch Geometric data sets, other stores.

How each is read is in `atoms.ase_frames`, `atoms.reading`, `atoms.npz`, `atoms.pyg` and
`atoms.joining`; whatever comes in is checked (`atoms.validate`) and kept in Å, eV and eV/Å.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from scdlab import units
from scdlab.atomic import as_path
from scdlab.atoms import ase_frames, joining, npz, pyg, reading, sites
from scdlab.atoms.arguments import elements, mapping, numeric, row_numbers
from scdlab.atoms.validate import (
    Arrays,
    as_numbers,
    check_elements,
    check_names,
    check_ptr,
    check_shapes,
    check_values,
)
from scdlab.atoms.view import View
from scdlab.log import logger

if TYPE_CHECKING:
    from ase import Atoms

# further keywords of `from_ase`; a reader of ase gets all others
_OF_FROM_ASE = {"energy", "forces", "properties", "atom_properties", "validate"}


class Convertible(View):
    """A set of structures that can be made of what other libraries hold."""

    @classmethod
    def from_arrays(
        cls,
        z: ArrayLike,
        pos: ArrayLike,
        ptr: ArrayLike | None = None,
        *,
        cell: ArrayLike | None = None,
        pbc: ArrayLike | None = None,
        energy: ArrayLike | None = None,
        forces: ArrayLike | None = None,
        properties: Mapping[str, ArrayLike] | None = None,
        atom_properties: Mapping[str, ArrayLike] | None = None,
        energy_unit: str | float = "eV",
        meta: dict | None = None,
        validate: bool = True,
    ) -> Self:
        """A store of flat arrays, or of the frames of one molecule.

        Parameters
        ----------
        z : array_like
            Atomic numbers or symbols of elements, [N]; of frames, those of the molecule, [k].
        pos : array_like
            Positions in Å, [N, 3]; of frames [n, k, 3].
        ptr : array_like, optional
            The rows at which structures start, [n + 1]. Left out for frames.
        cell : array_like, optional
            Cell vectors as rows, [n, 3, 3], Å; for frames also one [3, 3].
        pbc : array_like, optional
            Periodic directions, [n, 3] bool. A cell without pbc is periodic in all three.
        energy : array_like, optional
            Total energies, [n], in `energy_unit`.
        forces : array_like, optional
            Forces of the shape of `pos`, in `energy_unit` per Å.
        properties : mapping, optional
            name -> [n] numbers, or [n, 3] vectors.
        atom_properties : mapping, optional
            name -> [N, …]; of frames [k, …] for all alike or [n, k, …].
        energy_unit : str or float, default "eV"
            Of energy and forces, which are kept in eV and eV/Å: "kcal/mol", "kJ/mol", "Ha", …
            (`scdlab.units.ENERGY`), or the size of the unit in eV.
        meta : dict, optional
            Becomes `meta`.
        validate : bool, default True
            False skips the checks of the values (elements, finite and distinct positions), never
            those of the shapes.

        Raises
        ------
        ValueError
            Names the structure of a value that no model can use, and the array of a shape that does
            not fit.
        """
        given = {"cell": cell, "pbc": pbc, "energy": energy, "forces": forces}
        labels = {name: numeric(name, value) for name, value in given.items() if value is not None}
        extra = mapping("atom_properties", atom_properties)
        extra = {name: numeric(f"Atom property {name!r}", value) for name, value in extra.items()}
        meta = mapping("meta", meta)
        z = elements(z)
        pos = numeric("pos", pos)
        if ptr is None:
            z, pos, ptr, labels, extra = _flat_frames(z, pos, labels, extra)
        ptr = row_numbers("ptr", ptr)
        check_ptr(ptr)
        if validate:
            check_elements(z, ptr)
        arrays: Arrays = {
            "z": np.asarray(z, np.uint8),
            "pos": _single(pos),
            "ptr": np.asarray(ptr, np.int64),
        }
        arrays |= _cells(labels) | _labels_in_ev(labels, energy_unit)
        columns = mapping("properties", properties)
        columns = {name: as_numbers(name, value) for name, value in columns.items()}
        check_shapes(arrays, columns, {})
        numbers = [name for name, value in columns.items() if value.ndim == 1]
        vectors = [name for name, value in columns.items() if value.ndim == 2]
        if numbers:
            arrays["values"] = np.stack([columns[name] for name in numbers], axis=1)  # [n, P]
        if vectors:
            arrays["vectors"] = np.stack([columns[name] for name in vectors], axis=1)  # [n, V, 3]
        check_names([*columns, *extra])
        check_shapes(arrays, {}, extra)
        if validate:
            check_values(arrays)
        return cls(arrays, numbers, extra, meta, vectors=vectors)

    @classmethod
    def geometry(cls, atoms: "Atoms | Iterable[Atoms]") -> Self:
        """A store of the geometry of ase.Atoms alone: elements, positions, cells and periodicity.

        What computes energies or compares structures needs no more, and must not depend on what
        else a structure carries: nothing of its info, arrays, calculator and constraints is read.

        Parameters
        ----------
        atoms : ase.Atoms or iterable of ase.Atoms
            The structures.

        Raises
        ------
        ValueError
            For no structures, and for what no model can use.
        TypeError
            For what is no ase.Atoms.
        """
        return cls.from_arrays(**ase_frames.geometry_arrays(ase_frames.as_frames(atoms)))

    @classmethod
    def from_ase(
        cls,
        atoms: "Atoms | Iterable[Atoms]",
        *,
        energy: str | None = None,
        forces: str | None = None,
        properties: Sequence[str] | None = None,
        atom_properties: Sequence[str] | None = None,
        energy_unit: str | float = "eV",
        meta: dict | None = None,
        validate: bool = True,
    ) -> Self:
        """A store of ase.Atoms.

        Energy and forces come from the attached calculator's stored results (nothing is computed)
        where ase counts these as results for the structure as it is now, else from `info` and
        `arrays`. They are looked for under the usual keys: "energy" and "forces", then those of a
        reference (REF_energy, REF_forces, dft_energy, dft_force, …), energies also as free_energy
        and total_energy, in any case of letters; `meta["labels"]` says which were used. FixAtoms
        becomes the atom property `fixed`, masses other than the elements' standard ones become
        `masses`. `dipole` is looked for in `info`, then among the calculator's results. What a
        store cannot hold is left out: a warning of the logger "scdlab" lists it.

        Parameters
        ----------
        atoms : ase.Atoms or iterable of ase.Atoms
            The structures.
        energy : str, optional
            Key of the energies in `info`; by default a usual one.
        forces : str, optional
            Key of the forces in `arrays`; by default a usual one, of the same origin as the
            energies.
        properties : sequence of str, optional
            Entries of `info`, numbers or vectors of three; by default all that every structure has.
        atom_properties : sequence of str, optional
            Entries of `arrays`; by default all of numbers that every structure has.
        energy_unit : str or float, default "eV"
            Of energies and forces, see `from_arrays`.
        meta : dict, optional
            Becomes `meta`.
        validate : bool, default True
            Whether to check the values, see `from_arrays`.

        Raises
        ------
        ValueError
            When only some structures carry a label, for labels that are none, where several keys
            could be meant, for sites that are occupied in part, and for what no model can use.
        TypeError
            For what is no ase.Atoms.
        """
        arrays = ase_frames.ase_arrays(
            ase_frames.as_frames(atoms),
            energy=energy,
            forces=forces,
            properties=properties,
            atom_properties=atom_properties,
            meta=meta,
            validate=validate,
        )
        return cls.from_arrays(**arrays, energy_unit=energy_unit, validate=validate)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        index: Any = ":",
        *,
        energy_unit: str | float | None = None,
        meta: dict | None = None,
        **keywords: Any,
    ) -> Self:
        """A store of a structure file: any that ase can read (xyz, extxyz, traj, cif, POSCAR, …),
        or an .npz file.

        An .npz file holds z [k] and R [n, k, 3], the frames of one molecule, or z [N], R [N, 3] and
        n_atoms [n], structures of different sizes; Å. It may hold E [n], F (of R's shape), cell and
        pbc. The names of revised MD17 do as well: nuclear_charges, coords, energies, forces. Other
        arrays of numbers, one for each structure or each atom, become properties.

        Alternative positions in a PDB file are refused, or those of the highest occupancy are kept
        of each residue with alternatives="highest"; `meta["notes"]` says what was done. Crystals
        with sites that are occupied in part are refused.

        Parameters
        ----------
        path : str or Path
            The file.
        index : default ":"
            Which structures, as ase takes it (a number, a slice, or text such as "::10"); of .npz
            files also what `subset` takes.
        energy_unit : str or float, optional
            Unit of energies and forces, see `from_arrays`. An .npz file with labels needs it; other
            formats give eV by default.
        meta : dict, optional
            Becomes `meta`; by default {"source": "read from …"}.
        **keywords
            `alternatives`; further ones of `from_ase`, and those of ase's reader: `format`, where
            name and beginning of the file do not say it, and `specorder`, the elements of the types
            1, 2, … of LAMMPS. Of .npz files only `validate`.

        Raises
        ------
        FileNotFoundError
            When there is no such file.
        ValueError
            For a file that cannot be read, and for labels of an .npz file without `energy_unit`.
        """
        path = as_path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no structure file {path}: check the path.")
        meta = {"source": f"read from {path.name}"} if meta is None else meta
        if path.suffix != ".npz":
            alternatives = keywords.pop("alternatives", "refuse")
            own = {name: keywords.pop(name) for name in _OF_FROM_ASE & keywords.keys()}
            frames = reading.read_ase(path, index, **keywords)
            unit = "eV" if energy_unit is None else energy_unit
            try:
                frames, notes = sites.settle(path, frames, index, alternatives)
                arrays = ase_frames.ase_arrays(frames, meta=meta, fresh=True, notes=notes, **own)
                store = cls.from_arrays(
                    **arrays, energy_unit=unit, validate=own.get("validate", True)
                )
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            if notes:
                logger.warning("%s: %s.", path, "; ".join(notes))
            return store
        validate = keywords.pop("validate", True)
        if keywords:
            raise ValueError(
                f"{', '.join(keywords)} cannot be given for the .npz file {path}: its energy unit "
                "is energy_unit, and its arrays are read by their names; leave out the rest."
            )
        arrays = npz.arrays(path, energy_unit)
        meta = arrays.pop("meta") | meta
        store = cls.from_arrays(**arrays, meta=meta, validate=validate)
        return store if index == ":" else store.subset(reading.as_ase_index(index))

    @classmethod
    def from_pyg(
        cls,
        dataset: Any,
        *,
        names: Sequence[str] | None = None,
        energy_unit: str | float = "eV",
        meta: dict | None = None,
        validate: bool = True,
    ) -> Self:
        """A store of a PyTorch Geometric data set.

        Parameters
        ----------
        dataset : Dataset or sequence of Data
            Data with z and pos, and maybe energy, force or forces, cell, pbc and y; one Data is a
            data set of one, a Batch is taken apart. Further numbers become properties where all
            structures have them: rows for each atom (`fixed`, `masses`, …), numbers and vectors of
            three for each structure. A warning of the logger "scdlab" lists what is left out.
        names : sequence of str, optional
            Names of the columns of y, in the data set's own units; by default those of fields of
            the same numbers, else y0, y1, ….
        energy_unit : str or float, default "eV"
            Of energies and forces, see `from_arrays`.
        meta : dict, optional
            Becomes `meta`.
        validate : bool, default True
            Whether to check the values, see `from_arrays`.

        Raises
        ------
        ValueError
            When z or pos is missing, when only some structures carry a label or one of another
            shape, and for what no model can use.
        TypeError
            For what is no Data.
        """
        arrays = pyg.pyg_arrays(dataset, names)
        for name in ("partial", "labels"):
            if found := arrays.pop(name):
                meta = {**(meta or {}), name: found}
        return cls.from_arrays(**arrays, energy_unit=energy_unit, meta=meta, validate=validate)

    @classmethod
    def concat(cls, stores: Iterable["Convertible"], meta: dict | None = None) -> Self:
        """One store, in memory, of the structures of several, in order: molecules, frames, crystals
        and proteins for one run. A store that is given twice counts double.

        It keeps the labels that all of them have, with the units of the first. Where only some say
        which atoms are `fixed`, which `masses` or tags they have, the others have the usual ones.
        What else only some have is left out: a warning of the logger "scdlab" lists it, and
        `meta["partial"]`.

        Parameters
        ----------
        stores : iterable of AtomStore
            At least one.
        meta : dict, optional
            Becomes `meta`; by default the sources and units of the stores.

        Raises
        ------
        ValueError
            Where stores differ in the unit of a label that all of them have, or where it is a
            number in one and a vector in another.
        """
        arrays = joining.joined_arrays(stores, meta)
        return cls.from_arrays(**arrays, validate=False)  # each store has been checked

    def to_ase(self, i: int) -> "Atoms":
        """Structure i of this view as ase.Atoms, its labels in a SinglePointCalculator, its
        properties in `info`.

        Parameters
        ----------
        i : int
            Counted in this view.
        """
        return ase_frames.to_ase(self, i)


def _single(value: Any) -> np.ndarray:
    """Numbers as float32; those that it cannot hold are infinite, which the checks then name."""
    with np.errstate(over="ignore"):
        return np.asarray(value, np.float32)


def _labels_in_ev(labels: Arrays, energy_unit: str | float) -> Arrays:
    """Energies in eV as float64, forces in eV/Å as float32, where they are given."""
    factor = units.energy_in_ev(energy_unit)
    converted = {}
    if "energy" in labels:
        converted["energy"] = np.asarray(labels["energy"], np.float64)
    if "forces" in labels:
        converted["forces"] = labels["forces"]
    if factor != 1.0:
        converted = {name: value * factor for name, value in converted.items()}
    if "forces" in converted:
        converted["forces"] = _single(converted["forces"])
    return converted


def _cells(labels: Arrays) -> Arrays:
    """Cells and their periodicity; a cell without pbc is periodic in all directions."""
    pbc = labels.get("pbc")
    if "cell" in labels:
        cell = _single(labels["cell"])
        return {
            "cell": cell,
            "pbc": np.ones((len(cell), 3), bool) if pbc is None else np.asarray(pbc, bool),
        }
    if pbc is not None and np.any(pbc):
        raise ValueError(
            "pbc is given without a cell: pass cell [n, 3, 3] in Å as well, or leave pbc out."
        )
    return {}


def _flat_frames(
    z: np.ndarray, pos: np.ndarray, labels: Arrays, extra: Arrays
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Arrays, Arrays]:
    """Flat arrays of the n frames of one molecule of k atoms: z [k], pos [n, k, 3], energy [n],
    forces [n, k, 3], atom properties [k, …] or [n, k, …], one cell [3, 3] or [n, 3, 3]."""
    if pos.ndim != 3 or pos.shape[2] != 3:
        raise ValueError(
            f"pos has the shape {pos.shape}: pass pos [n, k, 3], the frames of one molecule, or "
            "pos [N, 3] with ptr [n+1], the rows at which structures start."
        )
    n, k = pos.shape[:2]
    if z.shape not in ((k,), (n, k)):
        raise ValueError(
            f"z has the shape {z.shape}, but pos {pos.shape} holds frames of {k} atoms: pass z "
            f"[{k}]."
        )
    labels = dict(labels)
    if "forces" in labels:
        if labels["forces"].shape != pos.shape:
            raise ValueError(
                f"forces have the shape {labels['forces'].shape}, but pos has {pos.shape}: pass "
                "one force for each position."
            )
        labels["forces"] = labels["forces"].reshape(-1, 3)
    if "energy" in labels and labels["energy"].shape == (n, 1):  # MD17's own files
        labels["energy"] = labels["energy"].reshape(-1)
    if "cell" in labels and labels["cell"].shape == (3, 3):
        labels["cell"] = np.broadcast_to(labels["cell"], (n, 3, 3))
    if "pbc" in labels and labels["pbc"].shape == (3,):
        labels["pbc"] = np.broadcast_to(labels["pbc"], (n, 3))
    flat = {}
    for name, value in extra.items():
        if value.shape[:1] == (k,) and value.shape[:2] != (n, k):  # one for all frames
            value = np.broadcast_to(value, (n, *value.shape))
        if value.shape[:2] != (n, k):
            raise ValueError(
                f"Atom property {name!r} has the shape {value.shape}: pass [{k}, …] for all "
                f"frames, or [{n}, {k}, …]."
            )
        flat[name] = value.reshape(n * k, *value.shape[2:])
    z = np.broadcast_to(z, (n, k)).reshape(-1)
    return z, pos.reshape(-1, 3), np.arange(n + 1) * k, labels, flat
