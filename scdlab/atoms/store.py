"""AtomStore: many structures of different sizes in a few flat arrays, and batches cut from them in
one gather.

Layout. Structures are ragged, so nothing is padded: the atoms of structure k are the rows
`ptr[k]:ptr[k+1]` of every per-atom array, and row k of every per-structure array is that
structure's.

    per atom        z [N] uint8 · pos [N, 3] float32, Å · forces [N, 3] float32, eV/Å · named ones,
                    e.g. `fixed` [N]
    per structure   ptr [n+1] int64 · cell [n, 3, 3] float32, Å, rows are vectors · pbc [n, 3] bool
                    energy [n] float64, eV · values [n, P] float64, the named properties, one column
                    each vectors [n, V, 3] float64, those that have a direction, such as a dipole
                    moment

Total energies are float64 everywhere: -11,000 eV to the last meV takes eight digits, and float32
has seven.

On disk a store is a folder: one .npy file per array and `store.json` (format, version, names,
shapes, meta). Opened, its arrays are memory-mapped, so a large set costs nothing until it is read
and processes share its pages. A view (a slice, a subset, a side of a split) shares the arrays and
holds `index`: which structures are its own.
"""

import collections
import copy
import functools
import itertools
import json
from pathlib import Path

import numpy as np

from scdlab import files

FORMAT = "scdlab-atomstore"
VERSION = 1

_ATOM = {"z": "uint8", "pos": "float32", "forces": "float32"}
_STRUCTURE = {"ptr": "int64", "cell": "float32", "pbc": "bool", "energy": "float64"}
_STRUCTURE |= {"values": "float64", "vectors": "float64"}
_UNITS = {"pos": "Å", "cell": "Å", "energy": "eV", "forces": "eV/Å"}


class AtomStore:
    """A set of structures. Make one with `from_arrays`, `from_ase`, `from_file`, `from_pyg` or
    `open`.

    Attributes: `meta`, a dict that json can hold ("source", "units" of the properties, "licence",
    "partial": how many structures had a property that others lacked, …), and `index` [n], the
    structures of the underlying arrays that this view holds.
    """

    def __init__(
        self,
        arrays: dict,
        properties: tuple,
        atom_properties: dict,
        meta: dict,
        index=None,
        vectors=(),
    ):
        self._arrays = arrays
        self._names = tuple(properties)
        self._extra = atom_properties
        self._vectors = tuple(vectors)
        self.meta = meta
        self._path = None  # the folder it was opened from
        self._whole = index is None
        self.index = np.arange(len(arrays["ptr"]) - 1) if index is None else index

    # ----------------------------------------------------------------------------------------------
    # making a store

    @classmethod
    def from_arrays(
        cls,
        z,
        pos,
        ptr,
        *,
        cell=None,
        pbc=None,
        energy=None,
        forces=None,
        properties=None,
        atom_properties=None,
        meta=None,
        validate=True,
    ):
        """A store from flat arrays: z [N], pos [N, 3] Å, ptr [n+1], cell [n, 3, 3] Å, pbc [n, 3],
        energy [n] eV, forces [N, 3] eV/Å, properties {name: [n], or [n, 3] for vectors},
        atom_properties {name: [N, …]}.

        A cell without pbc is taken as periodic in all three directions. `validate=False` skips the
        checks of the values (elements, finite and distinct positions), never those of the shapes.
        Raises ValueError, naming the structure, for what no model can use.
        """
        if validate:
            _check_elements(np.asarray(z), np.asarray(ptr))
        arrays = {
            "z": np.asarray(z, np.uint8),
            "pos": np.asarray(pos, np.float32),
            "ptr": np.asarray(ptr, np.int64),
        }
        if cell is not None:
            arrays["cell"] = np.asarray(cell, np.float32)
            arrays["pbc"] = (
                np.ones((len(arrays["cell"]), 3), bool) if pbc is None else np.asarray(pbc, bool)
            )
        elif pbc is not None and np.any(pbc):
            raise ValueError(
                "pbc is given without a cell: pass cell [n, 3, 3] in Å as well, or leave pbc out."
            )
        if energy is not None:
            arrays["energy"] = np.asarray(energy, np.float64)
        if forces is not None:
            arrays["forces"] = np.asarray(forces, np.float32)
        columns = {name: _numbers(name, value) for name, value in (properties or {}).items()}
        _check_shapes(arrays, columns, {})
        names, vectors = (
            [name for name, value in columns.items() if value.ndim == d] for d in (1, 2)
        )
        if names:
            arrays["values"] = np.stack([columns[name] for name in names], axis=1)
        if vectors:
            arrays["vectors"] = np.stack([columns[name] for name in vectors], axis=1)
        extra = {name: np.asarray(value) for name, value in (atom_properties or {}).items()}
        _check_names([*columns, *extra])
        _check_shapes(arrays, {}, extra)
        if validate:
            _check_values(arrays)
        return cls(arrays, names, extra, dict(meta or {}), vectors=vectors)

    @classmethod
    def from_ase(cls, atoms, *, properties=None, atom_properties=None, meta=None, validate=True):
        """A store from a list of ase.Atoms (or one).

        Energy and forces come from the attached calculator's stored results (nothing is computed),
        else from `info["energy"]` and `arrays["forces"]`; FixAtoms becomes the atom property
        `fixed`. Other numbers in `info`, vectors of three numbers among them, and per-atom arrays
        that all structures have become properties, or only those named in `properties` and
        `atom_properties`; `dipole` is looked for in `info`, then among the calculator's results.
        Raises ValueError when only some structures carry a label.
        """
        frames = [atoms] if hasattr(atoms, "get_positions") else list(atoms)
        if not frames:
            raise ValueError("The list of structures is empty: pass at least one ase.Atoms.")
        ptr = np.concatenate([[0], np.cumsum([len(a) for a in frames])])
        labels = [_ase_labels(a) for a in frames]
        energy = _all_or_none([e for e, _ in labels], "energy")
        forces = _all_or_none([f for _, f in labels], "forces")
        infos = [_ase_info(a) for a in frames]
        names = _common(infos) if properties is None else list(properties)
        for name in names:
            if lacking := [k for k, info in enumerate(infos) if name not in info]:
                raise ValueError(
                    f"{len(lacking):,} of {len(frames):,} structures have no {name!r} in their "
                    f"info (the first is number {lacking[0]}): leave those out, or label them."
                )
        arrays = _common_arrays(frames) if atom_properties is None else list(atom_properties)
        extra = {name: np.concatenate([a.arrays[name] for a in frames]) for name in arrays}
        fixed = [_fixed(a) for a in frames]
        if any(f.any() for f in fixed):
            extra["fixed"] = np.concatenate(fixed)
        periodic = any(a.pbc.any() for a in frames)
        return cls.from_arrays(
            np.concatenate([a.numbers for a in frames]),
            np.concatenate([a.positions for a in frames]),
            ptr,
            cell=np.stack([a.cell.array for a in frames]) if periodic else None,
            pbc=np.stack([a.pbc for a in frames]) if periodic else None,
            energy=energy,
            forces=None if forces is None else np.concatenate(forces),
            properties={name: [info[name] for info in infos] for name in names},
            atom_properties=extra,
            meta=_with_partial(meta, {} if properties is not None else _partial(infos, names)),
            validate=validate,
        )

    @classmethod
    def concat(cls, stores, meta=None):
        """One store, in memory, of the structures of several, in order: molecules, frames, crystals
        and proteins for one run. A store that is given twice counts double.

        It keeps the labels that all of them have, with the units of the first. What only some have
        is left out, and asking for it says so. Raises ValueError where stores differ in the unit of
        a label that all of them have, or where it is a number in one and a vector in another.
        """
        stores = list(stores)
        if not stores:
            raise ValueError("There are no stores to put together: give at least one.")
        arrays = [s._gathered() for s in stores]
        extra = [s._atom_properties() for s in stores]
        has = [s._names + s._vectors for s in stores]
        names = [name for name in has[0] if all(name in theirs for theirs in has)]
        extras = [name for name in extra[0] if all(name in e for e in extra)]
        for name in (*names, *extras):
            if len(units := sorted({s.units(name) for s in stores})) > 1:
                units = ", ".join(map(repr, units))
                raise ValueError(
                    f"The stores give {name!r} in different units ({units}): convert one of them "
                    "first."
                )
            if len({name in s._vectors for s in stores}) > 1:
                raise ValueError(
                    f"The stores give {name!r} as numbers and as vectors: rename one of them first."
                )

        def joined(name):
            return (
                np.concatenate([a[name] for a in arrays])
                if all(name in a for a in arrays)
                else None
            )

        if any("cell" in a for a in arrays):  # molecules among crystals have a cell of zeros
            for a, s in zip(arrays, stores, strict=True):
                a.setdefault("cell", np.zeros((len(s), 3, 3), np.float32))
                a.setdefault("pbc", np.zeros((len(s), 3), bool))
        some = {name for theirs in has for name in theirs} - set(names)
        partial = {
            name: sum(len(s) for s, own in zip(stores, has, strict=True) if name in own)
            for name in some
        }
        units = {name: unit for name in (*names, *extras) if (unit := stores[0].units(name))}
        sources = list(dict.fromkeys(str(s.meta.get("source", "unknown")) for s in stores))
        meta = (
            {"source": " + ".join(sources), **({"units": units} if units else {})}
            if meta is None
            else meta
        )
        return cls.from_arrays(
            joined("z"),
            joined("pos"),
            np.concatenate([[0], np.cumsum(np.concatenate([s.n_atoms for s in stores]))]),
            cell=joined("cell"),
            pbc=joined("pbc"),
            energy=joined("energy"),
            forces=joined("forces"),
            properties={name: np.concatenate([s.property(name) for s in stores]) for name in names},
            atom_properties={name: np.concatenate([e[name] for e in extra]) for name in extras},
            meta=_with_partial(meta, dict(sorted(partial.items()))),
            validate=False,  # each store has been
        )

    @classmethod
    def from_file(cls, path, index=":", **keywords):
        """A store from any file ase can read (xyz, extxyz, traj, cif, POSCAR, …); keywords go to
        `from_ase`."""
        import ase.io

        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no structure file {path}: check the path.")
        try:
            frames = ase.io.read(path, index=index, do_not_split_by_at_sign=True)
        except Exception as error:  # ase's readers raise anything from KeyError to StopIteration
            raise ValueError(
                f"{path} cannot be read as structures ({type(error).__name__}: {error}): "
                "check that it is complete and in a format ase knows."
            ) from error
        keywords.setdefault("meta", {"source": f"read from {Path(path).name}"})
        return cls.from_ase(frames, **keywords)

    @classmethod
    def from_pyg(cls, dataset, *, names=None, energy_unit=1.0, meta=None, validate=True):
        """A store from a PyTorch Geometric data set whose Data have z and pos, and maybe energy,
        force or forces, cell, pbc and y.

        The columns of y become the properties `names` (default y0, y1, …), in the data set's own
        units; `energy_unit` is the data set's unit of energy in eV. Raises ValueError when z or pos
        is missing.
        """
        data = [dataset[k] for k in range(len(dataset))]
        if not data:
            raise ValueError("The data set is empty: pass one with at least one structure.")
        for k, d in enumerate(data):
            if d.get("z") is None or d.get("pos") is None:
                raise ValueError(
                    f"Structure {k} of the data set lacks z or pos: an AtomStore needs both."
                )

        def column(*keys):  # the first of `keys` that is there, for every structure
            values = [
                next(
                    (d[key].detach().cpu().numpy() for key in keys if d.get(key) is not None), None
                )
                for d in data
            ]
            return _all_or_none(values, keys[0])

        energy = column("energy")
        forces = column("forces", "force")
        cell = column("cell")
        pbc = column("pbc")
        y = column("y")
        properties = {}
        if y is not None:
            values = np.stack([np.asarray(v, np.float64).reshape(-1) for v in y])
            names = [f"y{k}" for k in range(values.shape[1])] if names is None else list(names)
            if len(names) != values.shape[1]:
                raise ValueError(
                    f"y has {values.shape[1]} columns, but {len(names)} names are given: pass one "
                    "name each."
                )
            properties = dict(zip(names, values.T, strict=True))
        return cls.from_arrays(
            np.concatenate([d.z.cpu().numpy() for d in data]),
            np.concatenate([d.pos.detach().cpu().numpy() for d in data]),
            np.concatenate([[0], np.cumsum([len(d.z) for d in data])]),
            cell=None if cell is None else np.stack([c.reshape(3, 3) for c in cell]),
            pbc=None if pbc is None else np.stack([p.reshape(3) for p in pbc]),
            energy=None if energy is None else np.array([e.item() for e in energy]) * energy_unit,
            forces=None if forces is None else np.concatenate(forces) * energy_unit,
            properties=properties,
            meta=meta,
            validate=validate,
        )

    # ----------------------------------------------------------------------------------------------
    # on disk

    def save(self, path) -> None:
        """Write the store (of a view, only its own structures) as a folder: whole or not at all."""
        if not len(self):
            raise ValueError("This view holds no structures: there is nothing to save.")
        arrays = self._gathered()
        arrays |= {f"atom-{name}": value for name, value in self._atom_properties().items()}
        meta = (
            self.meta if self._whole else {k: v for k, v in self.meta.items() if k != "splits"}
        )  # rows have moved
        with files.atomic_folder(path) as folder:
            for name, value in arrays.items():
                np.save(folder / f"{name}.npy", np.ascontiguousarray(value), allow_pickle=False)
            described = {
                name: {"dtype": str(v.dtype), "shape": list(v.shape)} for name, v in arrays.items()
            }
            head = {"format": FORMAT, "version": VERSION, "arrays": described}
            head |= {
                "properties": list(self._names),
                "atom_properties": list(self._extra),
                "meta": meta,
            }
            head |= {"vectors": list(self._vectors)} if self._vectors else {}
            files.write_json(folder / "store.json", head)

    @classmethod
    def open(cls, path):
        """Open a saved store, memory-mapped. Raises FileNotFoundError or ValueError, with the
        remedy, for a folder that is missing, incomplete, truncated, or written by another
        version."""
        path = Path(path)
        if not (path / "store.json").is_file():
            raise FileNotFoundError(
                f"{path} is not a saved AtomStore (it has no store.json): check the path, or save "
                "it again."
            )
        try:
            head = json.loads((path / "store.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path / 'store.json'} is not readable json ({error}): make or copy the store "
                "again."
            ) from error
        if head.get("format") != FORMAT:
            raise ValueError(
                f"{path} has the format {head.get('format')!r}, not {FORMAT!r}: check the path."
            )
        if head.get("version") != VERSION:
            raise ValueError(
                f"{path} was written by version {head.get('version')} of the store format, this "
                f"scdlab reads version {VERSION}: remake it with this scdlab, or read it with the "
                "one that wrote it."
            )
        arrays = {
            name: _open_array(path / f"{name}.npy", about) for name, about in head["arrays"].items()
        }
        extra = {name: arrays.pop(f"atom-{name}") for name in head["atom_properties"]}
        for name, dtype in (_ATOM | _STRUCTURE).items():
            if name in arrays and arrays[name].dtype != dtype:
                raise ValueError(
                    f"{path / name}.npy holds {arrays[name].dtype}, not {dtype}: make the store "
                    "again."
                )
        store = cls(
            arrays, head["properties"], extra, head["meta"], vectors=head.get("vectors", ())
        )
        store._path = path.resolve()
        return store

    def __reduce__(self):
        """A store opened from disk goes to another process as its path and index; that process maps
        the same pages."""
        if self._path is None:
            index = None if self._whole else self.index
            return AtomStore, (
                self._arrays,
                self._names,
                self._extra,
                self.meta,
                index,
                self._vectors,
            )
        return _reopen, (self._path, None if self._whole else self.index, self.meta)

    # ----------------------------------------------------------------------------------------------
    # looking

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_atoms(self) -> np.ndarray:
        """Atoms of each structure, [n] int64."""
        ptr = self._arrays["ptr"]
        return np.asarray(ptr[self.index + 1] - ptr[self.index])

    @property
    def nbytes(self) -> int:
        """Size of this view's own arrays in memory."""
        rows = {True: len(self), False: int(self.n_atoms.sum())}
        arrays = self._arrays | self._extra
        return sum(rows[name in _STRUCTURE] * value[:1].nbytes for name, value in arrays.items())

    @property
    def elements(self) -> list:
        """Atomic numbers that occur, sorted."""
        return np.flatnonzero(np.bincount(self._of_atoms(self._arrays["z"]), minlength=1)).tolist()

    @property
    def property_names(self) -> tuple:
        """Names of the properties that are numbers: the columns of y."""
        return self._names

    @property
    def vector_names(self) -> tuple:
        """Names of the properties that are vectors and turn with the structure, such as a dipole
        moment."""
        return self._vectors

    @property
    def has_energy(self) -> bool:
        return "energy" in self._arrays

    @property
    def has_forces(self) -> bool:
        return "forces" in self._arrays

    @property
    def periodic(self) -> bool:
        """Whether any structure of this view is periodic in any direction."""
        return "pbc" in self._arrays and bool(self._arrays["pbc"][self.index].any())

    @property
    def energy(self) -> np.ndarray:
        """Energies, eV, [n] float64. Raises ValueError when the store has none."""
        if not self.has_energy:
            raise ValueError(
                "This store has no energies: label it, for example with scdlab.simulate or an ase "
                "calculator."
            )
        return np.asarray(self._of_structures(self._arrays["energy"]))

    def property(self, name) -> np.ndarray:
        """The named property, [n] float64, of vectors [n, 3], in `units(name)`. Raises ValueError
        for a name the store does not have."""
        if name in self._vectors:
            return np.asarray(
                self._of_structures(self._arrays["vectors"][:, self._vectors.index(name)])
            )
        if name not in self._names:
            if some := self.meta.get("partial", {}).get(name):
                raise ValueError(
                    f"Only {some:,} of the structures that this store was made of have the "
                    f"property {name!r}: make one of those alone."
                )
            known = ", ".join(self._names + self._vectors) or "none"
            raise ValueError(f"This store has no property {name!r}; it has: {known}.")
        return np.asarray(self._of_structures(self._arrays["values"][:, self._names.index(name)]))

    def units(self, name) -> str:
        """Unit of a label or property as text; "" when nobody said."""
        if name not in (*_UNITS, *self._names, *self._vectors, *self._extra):
            known = ", ".join(self._names + self._vectors) or "none"
            raise ValueError(
                f"This store has nothing called {name!r}; its properties are: {known}."
            )
        return self.meta.get("units", {}).get(name, _UNITS.get(name, ""))

    def published_split(self, k=1):
        """The k-th published split of the data set as (train, test) views. Raises ValueError when
        there is none."""
        splits = self.meta.get("splits", {})
        if not self._whole or f"train{k}" not in splits:
            known = ", ".join(n[5:] for n in splits if n.startswith("train")) if self._whole else ""
            raise ValueError(
                f"This store has no published split {k} (it has: {known or 'none'}): use split() "
                "instead."
            )
        return self.subset(splits[f"train{k}"]), self.subset(splits[f"test{k}"])

    def summary(self) -> str:
        """One line: structures, atoms, elements, labels."""
        from ase.data import chemical_symbols

        n = len(self)
        atoms = int(self.n_atoms.sum())
        elements = " ".join(chemical_symbols[z] for z in self.elements)
        labels = [name for name in ("energy", "forces") if name in self._arrays]
        labels += [*self._names, *self._vectors, *self._extra]
        kind = "periodic" if self.periodic else "molecules"
        labels = ", ".join(labels) or "none"
        return (
            f"{n:,} structures ({kind}), {atoms:,} atoms, elements {elements or 'none'}, labels: "
            f"{labels}"
        )

    def __repr__(self) -> str:
        return f"AtomStore({self.summary()})"

    # ---------------------------------------------------------------------------------------------
    # views and splits

    def __getitem__(self, key):
        """A view: `store[10:20]`, `store[[3, 1, 4]]`, `store[mask]`. One structure is
        `store.to_ase(i)`."""
        if isinstance(key, (int, np.integer)):
            raise TypeError(
                f"store[{key}] is not a structure: use store.to_ase({key}), or "
                f"store[{key}:{key + 1}] for a view."
            )
        return self.subset(key)

    def subset(self, index):
        """The view of the structures `index`: a slice, integers (counted in this view) or a boolean
        mask."""
        index = self.index[_as_index(index)]
        view = AtomStore(self._arrays, self._names, self._extra, self.meta, index, self._vectors)
        view._path = self._path
        return view

    def split(self, n_train, n_val, seed=0):
        """(train, val, test): disjoint views, seeded; test is the rest. Raises ValueError when
        there are too few."""
        if n_train < 1 or n_val < 0 or n_train + n_val > len(self):
            raise ValueError(
                f"Cannot split {len(self):,} structures into {n_train:,} for training and "
                f"{n_val:,} for validation: ask for at least one for training, and no more than "
                "there are."
            )
        order = np.random.default_rng(seed).permutation(len(self))
        parts = order[:n_train], order[n_train : n_train + n_val], order[n_train + n_val :]
        return tuple(self.subset(np.sort(part)) for part in parts)

    # ----------------------------------------------------------------------------------------------
    # batches

    def take(self, index):
        """The structures `index` of this view as a torch_geometric Batch, by one gather per array.

        Fields: z [N] int64, pos [N, 3], batch [N], ptr [B+1], natoms [B]; where there are such:
        cell [B, 3, 3], pbc [B, 3], energy [B] float64, forces [N, 3], y [B, P] float64 and each of
        its columns by name, vectors [B, 3] float64 by name (`vector_names(batch)` says which), atom
        properties. In a DataLoader it is the collate_fn: `DataLoader(range(len(store)),
        batch_size=32, collate_fn=store.take)`.
        """
        import torch

        chosen = _some(self.index[_as_index(index)])
        rows, ptr = self._rows(chosen)
        size = np.diff(ptr)
        gathered = {
            name: np.asarray(self._arrays[name])[rows] for name in _ATOM if name in self._arrays
        }
        gathered["z"] = gathered["z"].astype(np.int64)
        periodic = "pbc" in self._arrays and self._arrays["pbc"][chosen].any()
        for name in _per_structure(self._arrays, periodic):
            gathered[name] = np.asarray(self._arrays[name][chosen])
        gathered |= {name: np.asarray(value)[rows] for name, value in self._extra.items()}
        fields = {name: torch.from_numpy(value) for name, value in gathered.items()}
        of = torch.from_numpy(np.repeat(np.arange(len(size)), size))  # torch's starts a thread team
        ptr = torch.from_numpy(ptr)
        fields |= {"natoms": torch.from_numpy(size)}
        return _batch(fields, self._names, self._vectors, ptr, of, slices=ptr)

    def batches(self, batch_size=None, max_atoms=None):
        """This view in order, cut into batches of at most `batch_size` structures and `max_atoms`
        atoms, each filled as far as it goes: a list of slices for `take`. Raises ValueError for a
        structure that no batch can hold."""
        self.check_max_atoms(max_atoms)
        starts = [0, *pack_batches(self.n_atoms, batch_size, max_atoms)[0], len(self)]
        return [slice(first, last) for first, last in itertools.pairwise(starts) if last > first]

    def check_max_atoms(self, max_atoms) -> None:
        """Raise ValueError, naming the structure and the remedy, where one has more than
        `max_atoms` atoms."""
        if max_atoms is None:
            return
        if max_atoms < 1:
            raise ValueError(
                "max_atoms is the number of atoms that a batch may hold, at least 1, not "
                f"{max_atoms}."
            )
        size = self.n_atoms
        if len(large := np.flatnonzero(size > max_atoms)):
            k = int(large[0])
            others = f" ({len(large):,} structures are too large)" if len(large) > 1 else ""
            raise ValueError(
                f"Structure {k} ({self.to_ase(k).get_chemical_formula()}) has {size[k]:,} atoms, "
                f"and a batch may hold max_atoms={max_atoms:,}{others}: allow {size.max():,}, or "
                f"leave it out with store[store.n_atoms <= {max_atoms}]."
            )

    def to(self, device):
        """A copy of this view in the memory of a torch device: `take(index)` of the copy gives the
        same batches, on that device and gathered there. `nbytes` says how much memory it takes."""
        return _Resident(self, device)

    def to_ase(self, i):
        """Structure i of this view as ase.Atoms, its labels in a SinglePointCalculator, its
        properties in `info`."""
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.constraints import FixAtoms

        one = self.subset([int(i)])
        arrays = one._gathered()
        extra = one._atom_properties()
        periodic = "pbc" in arrays and arrays["pbc"].any()
        atoms = Atoms(
            arrays["z"],
            arrays["pos"],
            **({"cell": arrays["cell"][0], "pbc": arrays["pbc"][0]} if periodic else {}),
        )
        atoms.info |= {name: float(one.property(name)[0]) for name in self._names}
        atoms.info |= {name: one.property(name)[0].copy() for name in self._vectors}
        for name, value in extra.items():
            atoms.set_array(name, value)
        if "fixed" in extra:
            atoms.set_constraint(FixAtoms(mask=extra["fixed"].astype(bool)))
            del atoms.arrays["fixed"]
        labels = {"energy": float(arrays["energy"][0])} if self.has_energy else {}
        labels |= {"forces": arrays["forces"].astype(float)} if self.has_forces else {}
        if labels:
            atoms.calc = SinglePointCalculator(atoms, **labels)
        return atoms

    # ----------------------------------------------------------------------------------------------
    # inside

    def _rows(self, structures):
        """Rows of the atoms of `structures`, in order, and the ptr of the gathered set."""
        start = self._arrays["ptr"][structures]
        size = self._arrays["ptr"][structures + 1] - start
        ptr = np.concatenate([[0], np.cumsum(size)])
        # atom a of the result belongs to structure s and is its (a - ptr[s])-th atom: row start[s]
        # + a - ptr[s]
        return np.repeat(start - ptr[:-1], size) + np.arange(ptr[-1]), ptr

    def _of_atoms(self, array):
        return array if self._whole else array[self._rows(self.index)[0]]

    def _of_structures(self, array):
        return array if self._whole else array[self.index]

    def _gathered(self) -> dict:
        """This view's own arrays, with a ptr that starts at 0."""
        if self._whole:
            return dict(self._arrays)
        rows, ptr = self._rows(self.index)
        out = {
            name: value[rows if name in _ATOM else self.index]
            for name, value in self._arrays.items()
            if name != "ptr"
        }
        return out | {"ptr": ptr}

    def _atom_properties(self) -> dict:
        return {name: self._of_atoms(value) for name, value in self._extra.items()}


class _Resident:
    """What `AtomStore.to` gives: len() and take(). The number of atoms of each structure and which
    are periodic stay with the processor too, so that a batch's shape is known without waiting for
    the device."""

    def __init__(self, store, device):
        import torch

        arrays = store._gathered()
        self.device = torch.device(device)
        self._names = store._names
        self._vectors = store._vectors
        self._index = np.arange(len(store))
        self.n_atoms = store.n_atoms
        self._periodic = arrays["pbc"].any(1) if "pbc" in arrays else np.zeros(len(store), bool)
        extra = store._atom_properties()
        self._atomwise = [name for name in _ATOM if name in arrays] + list(extra)
        self._arrays = {
            name: torch.tensor(value, device=self.device)
            for name, value in (arrays | extra).items()
        }

    def __len__(self) -> int:
        return len(self._index)

    def take(self, index):
        """Like `AtomStore.take`, with all fields on the device."""
        import torch

        chosen = _some(self._index[_as_index(index)])
        slices = torch.from_numpy(np.concatenate([[0], np.cumsum(self.n_atoms[chosen])]))
        periodic = self._periodic[chosen].any()
        n_atoms = int(slices[-1])
        chosen = torch.from_numpy(chosen).to(self.device)
        ptr = slices.to(self.device, copy=True)
        start = self._arrays["ptr"][chosen]
        size = ptr.diff()
        of = torch.repeat_interleave(
            torch.arange(len(chosen), device=self.device), size, output_size=n_atoms
        )
        rows = (start - ptr[:-1])[of] + torch.arange(
            n_atoms, device=self.device
        )  # as in AtomStore._rows
        fields = {name: self._arrays[name][rows] for name in self._atomwise}
        fields |= {
            name: self._arrays[name][chosen] for name in _per_structure(self._arrays, periodic)
        }
        fields |= {"z": fields["z"].long(), "natoms": size}
        return _batch(fields, self._names, self._vectors, ptr, of, slices)


def pack_batches(n_atoms, batch_size=None, max_atoms=None, held=(0, 0)):
    """Deal structures of n_atoms [n] atoms out in order: into each batch as many as `batch_size`
    structures and `max_atoms` atoms allow (None: no bound). Returns where further batches start,
    counted in structures, and what the last one, still open, holds: (structures, atoms). held: what
    the first holds already, from an earlier deal.

    No structure may have more than `max_atoms`: see `AtomStore.check_budget`.
    """
    total = np.concatenate([[0], np.cumsum(n_atoms)])
    n = len(n_atoms)
    starts = []
    k = 0
    (structures, atoms) = held
    while True:
        end = n if batch_size is None else k + batch_size - structures
        if max_atoms is not None:
            end = min(
                end, int(np.searchsorted(total, total[k] + max_atoms - atoms, side="right")) - 1
            )
        if end >= n:
            return starts, (structures + n - k, atoms + int(total[n] - total[k]))
        starts.append(end)
        k = end
        structures = 0
        atoms = 0


def _some(chosen):
    """Indices of structures, flat; ValueError when there are none."""
    if not chosen.size:
        raise ValueError("take() was asked for no structures: pass at least one index.")
    return chosen.reshape(-1)


def _per_structure(arrays, periodic) -> list:
    """Names of the per-structure arrays that go into a batch."""
    names = ("energy", "values", "vectors", *(("cell", "pbc") if periodic else ()))
    return [name for name in names if name in arrays]


def vector_names(batch) -> tuple:
    """Names of the fields [B, 3] of a batch that are vectors of the structures, as the store it was
    cut from declared them; none for a batch from elsewhere."""
    return getattr(batch, "_vector_names", ())


def _batch(fields, names, vectors, ptr, of, slices):
    """A Batch of ready-made tensors, that can be taken apart again, as if collated from single
    Data: `values` and `vectors` under the names of their columns, of [N] the structure of each
    atom, slices: ptr [B+1] in the processor's memory."""
    import torch
    from torch_geometric.data import Batch, Data

    n = len(slices) - 1
    if "values" in fields:
        fields["y"] = y = fields.pop("values")
        fields |= {name: y[:, k] for k, name in enumerate(names)}
    if "vectors" in fields:
        columns = fields.pop("vectors")  # [B, V, 3]
        fields |= {name: columns[:, k] for k, name in enumerate(vectors)}
    batch = copy.copy(_empty(Batch, Data))
    batch._store._mapping.update(fields)
    batch.batch = of
    batch.ptr = ptr
    batch._num_graphs = n
    batch._vector_names = vectors
    one_each = torch.arange(n + 1)
    structurewise = {"natoms", "cell", "pbc", "energy", "y", *names, *vectors}
    batch._slice_dict = {name: one_each if name in structurewise else slices for name in fields}
    batch._inc_dict = dict.fromkeys(fields, torch.zeros(n, dtype=torch.long))
    return batch


@functools.cache
def _empty(batch, data):
    """An empty Batch of Data to copy: PyG inspects signatures and makes a metaclass each time it
    makes one."""
    return batch(_base_cls=data)


def _reopen(path, index, meta):
    store = AtomStore.open(path)
    store = store if index is None else store.subset(index)
    store.meta = meta
    return store


def _as_index(index):
    """A slice stays a slice; anything else becomes an integer array (numpy raises IndexError
    outside the range)."""
    if isinstance(index, slice):
        return index
    if hasattr(index, "detach"):
        index = index.detach().cpu().numpy()
    index = np.asarray(index)
    return index if index.dtype == bool else index.astype(np.int64)


# --------------------------------------------------------------------------------------------------
# checks


def _check_shapes(arrays, columns, extra) -> None:
    ptr = arrays["ptr"]
    if ptr.ndim != 1 or len(ptr) < 2 or ptr[0] != 0 or (np.diff(ptr) < 0).any():
        raise ValueError(
            "ptr must be [n+1] row numbers that start at 0 and do not decrease, for at least one "
            "structure."
        )
    if (np.diff(ptr) == 0).any():
        raise ValueError(
            f"Structure {np.flatnonzero(np.diff(ptr) == 0)[0]} has no atoms: remove it."
        )
    n = len(ptr) - 1
    atoms = int(ptr[-1])
    expected = {
        "z": (atoms,),
        "pos": (atoms, 3),
        "forces": (atoms, 3),
        "cell": (n, 3, 3),
        "pbc": (n, 3),
        "energy": (n,),
    }
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(
                f"{name} has the shape {arrays[name].shape}, but ptr ({n} structures, {atoms} "
                f"atoms) asks for {shape}."
            )
    for name, value in columns.items():
        if value.shape not in ((n,), (n, 3)):
            raise ValueError(
                f"Property {name!r} has the shape {value.shape}, but there are {n} structures: "
                "pass one number each, or a vector of three."
            )
    for name, value in extra.items():
        if value.ndim < 1 or len(value) != atoms or value.dtype.kind not in "biuf":
            raise ValueError(
                f"Atom property {name!r} ({value.dtype}, {value.shape}) must hold one number or "
                f"row of numbers for each of the {atoms} atoms."
            )


def _numbers(name, value):
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Property {name!r} is not one number for each structure, nor a vector of three "
            f"({error}): correct it."
        ) from error


def _check_names(names) -> None:
    from torch_geometric.data import Data

    for name in names:
        taken = name in {*_ATOM, *_STRUCTURE, "y", "batch", "natoms"} or hasattr(Data(), name)
        if taken or not str(name).isidentifier() or names.count(name) > 1:
            raise ValueError(
                f"{name!r} cannot name a property (not an identifier, used twice, or a field of a "
                "batch): rename it."
            )


def _check_elements(z, ptr) -> None:
    bad = np.flatnonzero(
        ~((z >= 1) & (z <= 118) & (z % 1 == 0))
    )  # before z becomes uint8, where 300 turns into 44
    if len(bad):
        k = int(np.searchsorted(ptr, bad[0], side="right")) - 1
        raise ValueError(
            f"Structure {k} has an atom with atomic number {z[bad[0]]}, which is no element: "
            "use 1 to 118, and remove dummy atoms."
        )


def _check_values(arrays) -> None:
    pos = arrays["pos"]
    ptr = arrays["ptr"]

    def structure(row):
        return int(np.searchsorted(ptr, row, side="right")) - 1

    for name, what in (("pos", "position"), ("forces", "force")):
        if name in arrays and not np.isfinite(arrays[name]).all():
            row = np.flatnonzero(~np.isfinite(arrays[name]).all(1))[0]
            k = structure(row)
            raise ValueError(
                f"Structure {k}, atom {row - ptr[k]} has a {what} that is NaN or infinite: correct "
                "or remove it."
            )
    if "energy" in arrays and not np.isfinite(arrays["energy"]).all():
        k = np.flatnonzero(~np.isfinite(arrays["energy"]))[0]
        raise ValueError(
            f"Structure {k} has an energy that is NaN or infinite: correct or remove it."
        )
    if "cell" in arrays:
        lost = (arrays["pbc"] & ~(np.linalg.norm(arrays["cell"], axis=2) > 0)).any(
            1
        )  # also True where the cell is NaN
        if lost.any():
            k = np.flatnonzero(lost)[0]
            raise ValueError(
                f"Structure {k} is periodic along a cell vector of no length: give its cell, or "
                "unset pbc."
            )
    # one number per position, equal for equal positions; a stable sort leaves the atoms of a
    # structure side by side
    key = pos.astype(np.float64) * (1.0, np.sqrt(2), np.pi)
    key = key[:, 0] + key[:, 1] + key[:, 2]
    order = np.argsort(key, kind="stable")
    order = np.stack([order[:-1], order[1:]])[
        :, key[order[:-1]] == key[order[1:]]
    ]  # [2, candidates]
    same = (pos[order[0]] == pos[order[1]]).all(1)
    same &= np.searchsorted(ptr, order[0], side="right") == np.searchsorted(
        ptr, order[1], side="right"
    )
    if same.any():
        a, b = sorted(order[:, np.flatnonzero(same)[0]])
        k = structure(a)
        raise ValueError(
            f"Structure {k} has atoms {a - ptr[k]} and {b - ptr[k]} at the same position: remove "
            "one of them."
        )


def _open_array(path, about):
    """One array, memory-mapped, after checking that the file is what store.json says and is all
    there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing from the store: make or copy the store again.")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is truncated or damaged ({error}): make or copy the store again."
        ) from error
    if list(array.shape) != about["shape"] or str(array.dtype) != about["dtype"]:
        raise ValueError(
            f"{path} holds {array.dtype} {array.shape}, not what store.json says: make or copy the "
            "store again."
        )
    return array


# --------------------------------------------------------------------------------------------------
# reading ase


def _ase_labels(atoms):
    """(energy, forces) already known for `atoms`, each None when unknown; constraints do not touch
    the forces."""
    results = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    energy = results.get("energy", atoms.info.get("energy"))
    return energy, results.get("forces", atoms.arrays.get("forces"))


def _all_or_none(values, name):
    missing = [k for k, value in enumerate(values) if value is None]
    if len(missing) == len(values):
        return None
    if missing:
        raise ValueError(
            f"Structure {missing[0]} has no {name} while others have: label all of them, or none."
        )
    return values


def _fixed(atoms):
    from ase.constraints import FixAtoms

    mask = np.zeros(len(atoms), bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            mask[constraint.index] = True
    return mask


def _ase_info(atoms) -> dict:
    """What is known of `atoms` beside energy and forces: its info, and the calculator's dipole."""
    results = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    return {name: results[name] for name in ("dipole",) if name in results} | atoms.info


def _shape(value):
    """() of a number, (3,) of a vector, None of what is neither."""
    if isinstance(value, np.ndarray):
        return (3,) if value.shape == (3,) and value.dtype.kind in "iuf" else None
    if isinstance(value, (list, tuple)):
        return (3,) if [_shape(each) for each in value] == [(), (), ()] else None
    numbers = (int, float, np.integer, np.floating)
    return () if isinstance(value, numbers) and not isinstance(value, bool) else None


def _common(infos):
    """Names of what all structures have, as a number or as a vector."""
    shapes = {
        name: shape for name, value in infos[0].items() if (shape := _shape(value)) is not None
    }
    return [
        k
        for k, shape in shapes.items()
        if k != "energy" and all(_shape(i.get(k)) == shape for i in infos)
    ]


def _partial(infos, common):
    """How many of the structures have each number or vector that not all of them have."""
    counts = collections.Counter(
        name for info in infos for name, v in info.items() if _shape(v) is not None
    )
    return {
        name: count for name, count in sorted(counts.items()) if name not in (*common, "energy")
    }


def _with_partial(meta, partial):
    return {**(meta or {}), "partial": partial} if partial else meta


def _common_arrays(frames):
    known = {
        "numbers",
        "positions",
        "forces",
        "momenta",
        "masses",
    }  # the state of a simulation, or kept elsewhere
    names = [k for k, v in frames[0].arrays.items() if k not in known and v.dtype.kind in "biuf"]
    return [name for name in names if all(name in a.arrays for a in frames)]
