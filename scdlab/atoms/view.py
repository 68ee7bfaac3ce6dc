"""Ragged arrays of structures, and views of them that share the arrays.

The layout is documented in `scdlab.atoms.store`.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np

from scdlab.atoms import collate
from scdlab.atoms.collate import Index
from scdlab.atoms.validate import PER_ATOM, PER_STRUCTURE, Arrays, Content, Source

_UNITS = {"pos": "Å", "cell": "Å", "energy": "eV", "forces": "eV/Å"}
_PIECE = 65_536  # atoms, or structures of a view


class View:
    """Structures of shared arrays: what they are, what they are labeled with, and views of some.

    Parameters
    ----------
    arrays : dict
        Per-atom and per-structure arrays.
    properties : sequence of str
        Names of the columns of `values`.
    atom_properties : dict
        Named per-atom arrays.
    meta : dict
        What json can hold: "source", "units" of the properties, "licence", …
    index : ndarray, optional
        The structures that belong to the view, [n] int64; by default all.
    vectors : sequence of str, default ()
        Names of the columns of `vectors`.
    """

    def __init__(
        self,
        arrays: Arrays,
        properties: Sequence[str],
        atom_properties: Arrays,
        meta: dict,
        index: np.ndarray | None = None,
        vectors: Sequence[str] = (),
    ):
        self._arrays = arrays
        self._names = tuple(properties)
        self._extra = atom_properties
        self._vectors = tuple(vectors)
        self.meta = meta
        self._source: Source | None = None  # where it was opened from
        self._whole = index is None
        self.index = np.arange(len(arrays["ptr"]) - 1) if index is None else index

    @classmethod
    def of_content(cls, content: Content) -> Self:
        """The store of arrays that were read or checked already.

        Parameters
        ----------
        content : Content
            Arrays, names of properties, atom properties and notes.
        """
        store = cls(
            content.arrays,
            content.properties,
            content.atom_properties,
            content.meta,
            vectors=content.vectors,
        )
        store._source = content.source
        return store

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_atoms(self) -> np.ndarray:
        """Atoms of each structure, [n] int64."""
        ptr = self._arrays["ptr"]
        return np.asarray(ptr[self.index + 1] - ptr[self.index])

    @property
    def nbytes(self) -> int:
        """Size of this view's own arrays in memory, bytes."""
        n_atoms = int(self.n_atoms.sum())
        total = 0
        for name, value in (self._arrays | self._extra).items():
            rows = len(self) if name in PER_STRUCTURE else n_atoms
            total += rows * value[:1].nbytes
        return total

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that occur, sorted."""
        z = self._arrays["z"]
        count = np.zeros(256, dtype=np.int64)
        n = len(z) if self._whole else len(self)
        for first in range(0, n, _PIECE):  # a part at a time: the set may be large
            rows = slice(first, first + _PIECE)
            own = z[rows] if self._whole else z[self.rows(self.index[rows])[0]]
            count += np.bincount(own, minlength=256)
        return np.flatnonzero(count).tolist()

    @property
    def property_names(self) -> tuple[str, ...]:
        """Names of the properties that are numbers: the columns of y."""
        return self._names

    @property
    def vector_names(self) -> tuple[str, ...]:
        """Names of the properties that are vectors and rotate with the structure, such as a dipole
        moment."""
        return self._vectors

    @property
    def has_energy(self) -> bool:
        """Whether the structures have energies."""
        return "energy" in self._arrays

    @property
    def has_forces(self) -> bool:
        """Whether the atoms have forces."""
        return "forces" in self._arrays

    @property
    def periodic(self) -> bool:
        """Whether any structure of this view is periodic in any direction."""
        return "pbc" in self._arrays and bool(self._arrays["pbc"][self.index].any())

    @property
    def energy(self) -> np.ndarray:
        """Energies in eV, [n] float64.

        Raises
        ------
        ValueError
            When the store has none.
        """
        if not self.has_energy:
            raise ValueError(
                "This store has no energies: label it, for example with scdlab.simulate or an ase "
                "calculator."
            )
        return np.asarray(self._of_structures(self._arrays["energy"]))

    def property(self, name: str) -> np.ndarray:
        """The named property in `units(name)`, [n] float64, of vectors [n, 3].

        Parameters
        ----------
        name : str
            Of a number or a vector that the structures have.

        Raises
        ------
        TypeError
            For what is no name.
        ValueError
            For a name that the store does not have.
        """
        if not isinstance(name, str):
            raise TypeError(f"The name of a property is text, got {name!r:.60}: correct it.")
        if name in self._vectors:
            column = self._arrays["vectors"][:, self._vectors.index(name)]
            return np.asarray(self._of_structures(column))
        if name in self._names:
            column = self._arrays["values"][:, self._names.index(name)]
            return np.asarray(self._of_structures(column))
        if some := self.meta.get("partial", {}).get(name):
            raise ValueError(
                f"Only {some:,} of the structures that this store was made of have the "
                f"property {name!r}: make one of those alone."
            )
        known = ", ".join(self._names + self._vectors) or "none"
        raise ValueError(f"This store has no property {name!r}; it has: {known}.")

    def atom_properties(self) -> Arrays:
        """The named per-atom arrays of this view, each [N, …]."""
        return {name: self._of_atoms(value) for name, value in self._extra.items()}

    def arrays(self) -> Arrays:
        """This view's own arrays but for named per-atom ones, as the module documents them, with a
        `ptr` that starts at 0. Those of a whole store are not copied."""
        if self._whole:
            return dict(self._arrays)
        rows, ptr = self.rows(self.index)
        own = {
            name: value[rows if name in PER_ATOM else self.index]
            for name, value in self._arrays.items()
            if name != "ptr"
        }
        return own | {"ptr": ptr}

    def rows(self, structures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the atoms of structures of the underlying arrays are.

        Parameters
        ----------
        structures : ndarray
            Integers [B], as `index` holds them.

        Returns
        -------
        rows : ndarray
            The rows of their atoms in order, [M].
        ptr : ndarray
            Where each of these structures starts among them, [B + 1].

        Raises
        ------
        ValueError
            Where `ptr` of a store on disk, not checked yet, names rows that there are not.
        """
        pointers = np.asarray(self._arrays["ptr"])  # indexing a memmap itself takes far longer
        start = pointers[structures]
        size = pointers[structures + 1] - start
        if self._source is not None and not self._source.checked:
            self._check_rows(structures, start, size)
        ptr = np.concatenate([[0], np.cumsum(size)])
        # atom a of the result belongs to structure s and is its (a - ptr[s])-th atom: row
        # start[s] + a - ptr[s]
        return np.repeat(start - ptr[:-1], size) + np.arange(ptr[-1]), ptr

    def _check_rows(self, structures: np.ndarray, start: np.ndarray, size: np.ndarray) -> None:
        rows = len(self._arrays["z"])
        if len(size) == 0 or (size.min() > 0 and start.min() >= 0 and (start + size).max() <= rows):
            return
        wrong = np.flatnonzero((size < 1) | (start < 0) | (start + size > rows))[0]
        raise ValueError(
            f"{self._source and self._source.path / 'ptr.npy'} is damaged at structure "
            f"{structures[wrong]}: make or copy the store again."
        )

    def _of_atoms(self, array: np.ndarray) -> np.ndarray:
        return array if self._whole else array[self.rows(self.index)[0]]

    def _of_structures(self, array: np.ndarray) -> np.ndarray:
        return array if self._whole else array[self.index]

    def units(self, name: str) -> str:
        """Unit of a label or property as text; "" when it has none.

        Parameters
        ----------
        name : str
            A label ("energy", "forces") or a property.

        Raises
        ------
        ValueError
            For a name that the store does not have.
        """
        if name not in (*_UNITS, *self._names, *self._vectors, *self._extra):
            known = ", ".join(self._names + self._vectors) or "none"
            raise ValueError(
                f"This store has nothing called {name!r}; its properties are: {known}."
            )
        return self.meta.get("units", {}).get(name, _UNITS.get(name, ""))

    def summary(self) -> str:
        """One line: structures, atoms, elements, labels; of a store on disk, what has been checked
        of it (see `AtomStore.verify`)."""
        from ase.data import chemical_symbols

        labels = [name for name in ("energy", "forces") if name in self._arrays]
        labels += [*self._names, *self._vectors, *self._extra]
        elements = " ".join(chemical_symbols[z] for z in self.elements)
        kind = "periodic" if self.periodic else "molecules"
        return (
            f"{len(self):,} structures ({kind}), {int(self.n_atoms.sum()):,} atoms, elements "
            f"{elements or 'none'}, labels: {', '.join(labels) or 'none'}{self._checked()}"
        )

    def _checked(self) -> str:
        if self._source is None:
            return ""
        if not self._source.checked:
            return "; not checked yet: verify()"
        return f"; {'values' if self._source.digests is None else 'digests'} checked"

    def __repr__(self) -> str:
        return f"AtomStore({self.summary()})"

    def __getitem__(self, key: Index) -> Self:
        """A view: `store[10:20]`, `store[[3, 1, 4]]`, `store[mask]`.

        Parameters
        ----------
        key : slice or array_like
            Integers counted in this view, or a boolean mask.

        Returns
        -------
        AtomStore
            The view.

        Raises
        ------
        TypeError
            For a single number: one structure is `store.to_ase(i)`; for text: a property is
            `store.property(name)`.
        """
        if isinstance(key, str):
            raise TypeError(
                f"store[{key!r:.60}] is not a structure: use store.property(name) for a property, "
                "store.energy for the energies."
            )
        if isinstance(key, (int, np.integer)):
            raise TypeError(
                f"store[{key}] is not a structure: use store.to_ase({key}), or "
                f"store[{key}:{key + 1}] for a view."
            )
        return self.subset(key)

    def subset(self, index: Index) -> Self:
        """The view of the structures `index`: a slice, integers (counted in this view) or a boolean
        mask.

        Parameters
        ----------
        index : slice or array_like
            Integers counted in this view, or a boolean mask.

        Raises
        ------
        IndexError
            For an index outside the view, and for a mask of another length.
        TypeError
            For what is no list of structures.
        """
        own = collate.of_own(self.index, index)
        if own.ndim != 1:
            raise TypeError(
                f"A view is made of a list of structures, [n], got the shape {own.shape}: use "
                "to_ase(i) for a single one, or flatten the index."
            )
        view = type(self)(self._arrays, self._names, self._extra, self.meta, own, self._vectors)
        view._source = self._source
        return view
