"""AtomStore: many structures of different sizes in a few flat arrays, and batches cut from them in
one gather.

Layout. Structures are ragged, so nothing is padded: the atoms of structure k are the rows
`ptr[k]:ptr[k+1]` of every per-atom array, and row k of every per-structure array is that
structure's.

    per atom        z       [N]        uint8
                    pos     [N, 3]     float32, Å
                    forces  [N, 3]     float32, eV/Å
                    and named ones, e.g. `fixed` [N]
    per structure   ptr     [n+1]      int64
                    cell    [n, 3, 3]  float32, Å, rows are vectors
                    pbc     [n, 3]     bool
                    energy  [n]        float64, eV
                    values  [n, P]     float64, the named properties, one column each
                    vectors [n, V, 3]  float64, those that have a direction, such as a dipole moment

Total energies are float64 everywhere: -11,000 eV to the last meV takes eight digits, and float32
has seven.

On disk a store is a folder (`atoms.storage`): one .npy file per array and `store.json`. Opened, its
arrays are memory-mapped, so a large set costs nothing until it is read and processes share its
pages. A view (a slice, a subset, a side of a split) shares the arrays and holds `index`: which
structures are its own.
"""

import itertools
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from scdlab.atoms import collate, fingerprint, splits, storage
from scdlab.atoms.arguments import group_values, whole
from scdlab.atoms.batch import Batch
from scdlab.atoms.collate import DeviceStore, Index
from scdlab.atoms.convert import Convertible
from scdlab.atoms.validate import PER_ATOM, Content


class AtomStore(Convertible):
    """A set of structures.

    Make one with `from_arrays`, `from_ase`, `from_file`, `from_pyg`, `concat` or `open`; the
    parameters are what these give, checked.

    Parameters
    ----------
    arrays : dict of ndarray
        By name, as the module lists them.
    properties : sequence of str
        Names of the properties that are numbers, the columns of "values".
    atom_properties : dict of ndarray
        Further arrays with a row for each atom, by name.
    vectors : sequence of str
        Names of the properties that are vectors.

    Attributes
    ----------
    meta : dict
        What json can hold: "source", "units" of the properties, "licence", "partial" (how many
        structures had a property that others lacked), …
    index : ndarray
        The structures of the underlying arrays that this view holds, [n] int64.
    """

    # ----------------------------------------------------------------------------------------------
    # splits

    def split(
        self,
        n_train: int,
        n_val: int,
        seed: int = 0,
        groups: str | ArrayLike | None = None,
        blocks: int | None = None,
    ) -> tuple[Self, Self, Self]:
        """(train, val, test): disjoint views, drawn at random; test is the rest.

        Structures that resemble each other should not be on two sides: a random split of them
        measures interpolation. Relaxations and other sets of related structures are split by
        `groups`, the frames of one trajectory by time, in `blocks`.

        Parameters
        ----------
        n_train : int
            Structures for training, at least one.
        n_val : int
            Structures for validation.
        seed : int, default 0
            Of the random order of structures, groups or blocks.
        groups : str or array_like, optional
            The property, or one value for each structure [n], whose equals stay together. Train,
            then val, take groups in random order as long as these fit, so they may hold fewer
            structures than that.
        blocks : int, optional
            Cut the frames, in order, into so many runs of about equal length, and deal out whole
            runs in random order; where a side is full within a run, the next goes on there. With 1,
            train is the beginning, test the end. Frames at the ends of neighboring runs are still
            correlated: take few long ones.

        Returns
        -------
        train, val, test : AtomStore
            Views, each in the order of this one.

        Raises
        ------
        ValueError
            When there are too few structures, for a property that the store does not have, and for
            groups of which none fits.
        """
        n_train = whole("n_train", n_train)
        n_val = whole("n_val", n_val)
        if n_train < 1 or n_val < 0 or n_train + n_val > len(self):
            raise ValueError(
                f"Cannot split {len(self):,} structures into {n_train:,} for training and "
                f"{n_val:,} for validation: take at least one for training, and no more than "
                "there are."
            )
        if groups is not None and blocks is not None:
            raise ValueError("split() takes groups or blocks, got both: leave one of them out.")
        rng = np.random.default_rng(whole("seed", seed, 0))
        if groups is not None:
            values = self.property(groups) if isinstance(groups, str) else group_values(groups)
            side = splits.by_groups(values, len(self), n_train, n_val, rng)
        elif blocks is not None:
            side = splits.by_blocks(blocks, len(self), n_train, n_val, rng)
        else:
            side = splits.dealt(rng.permutation(len(self)), n_train, n_val)
        train, val, test = (self.subset(np.flatnonzero(side == k)) for k in range(3))
        return train, val, test

    def sample(self, n: int, seed: int = 0) -> Self:
        """A random part of this view, in random order.

        Parameters
        ----------
        n : int
            Structures, from 1 to the number of them; none is drawn twice.
        seed : int, default 0
            Another seed draws others.

        Raises
        ------
        ValueError
            For fewer than one, and for more than there are.
        """
        n = whole("n", n)
        if not 1 <= n <= len(self):
            raise ValueError(
                f"n must be between 1 and {len(self):,}, the structures that there are, got {n}: "
                "take as many at most."
            )
        return self.subset(np.random.default_rng(whole("seed", seed, 0)).permutation(len(self))[:n])

    def published_split(self, k: int = 1) -> tuple[Self, Self]:
        """The k-th published split of the data set as (train, test) views.

        Parameters
        ----------
        k : int, default 1
            Which of them.

        Raises
        ------
        ValueError
            When there is none, and for a view.
        """
        published = self.meta.get("splits", {}) if self._whole else {}
        sides = splits.published(published, k, len(self))
        return self.subset(sides[0]), self.subset(sides[1])

    # ----------------------------------------------------------------------------------------------
    # batches

    def take(self, index: Index) -> Batch:
        """The structures `index` of this view as a batch, by one gather per array.

        In a DataLoader it is the collate_fn: `DataLoader(range(len(store)), batch_size=32,
        collate_fn=store.take)`.

        Parameters
        ----------
        index : slice, integers or boolean mask
            At least one structure.

        Returns
        -------
        torch_geometric.data.Batch
            z [N] int64, pos [N, 3], batch [N], ptr [B + 1], natoms [B]; where there are such: cell
            [B, 3, 3], pbc [B, 3], energy [B] float64, forces [N, 3], y [B, P] float64 and each of
            its columns by name, vectors [B, 3] float64 by name (`atoms.vector_names(batch)` lists
            them), atom properties.

        Raises
        ------
        IndexError, ValueError
            For an index outside the view, and for none.
        """
        chosen = collate.chosen_structures(self.index, index)
        rows, ptr = self.rows(chosen)
        size = np.diff(ptr)
        gathered = {
            name: np.asarray(self._arrays[name])[rows] for name in PER_ATOM if name in self._arrays
        }
        gathered["z"] = gathered["z"].astype(np.int64)
        periodic = "pbc" in self._arrays and bool(self._arrays["pbc"][chosen].any())
        for name in collate.per_structure_fields(self._arrays, periodic):
            gathered[name] = np.asarray(self._arrays[name][chosen])
        for name, value in self._extra.items():
            gathered[name] = np.asarray(value)[rows]
        gathered["natoms"] = size
        fields = {name: torch.from_numpy(value) for name, value in gathered.items()}
        # torch's own repeat_interleave starts a team of threads
        structure = torch.from_numpy(np.repeat(np.arange(len(size)), size))
        start = torch.from_numpy(ptr)
        return collate.make_batch(fields, self._names, self._vectors, start, structure, ptr)

    def batches(self, batch_size: int | None = None, max_atoms: int | None = None) -> list[slice]:
        """This view in order, cut into batches, each filled as far as it goes.

        Parameters
        ----------
        batch_size : int, optional
            Most structures of a batch; None is no bound.
        max_atoms : int, optional
            Most atoms of a batch; None is no bound.

        Returns
        -------
        list of slice
            For `take`.

        Raises
        ------
        ValueError
            For a structure that no batch can hold.
        """
        if batch_size is not None:
            batch_size = whole("batch_size", batch_size, 1)
        self.check_max_atoms(max_atoms)
        starts, _ = collate.pack_batches(self.n_atoms, batch_size, max_atoms)
        bounds = [0, *starts, len(self)]
        return [slice(first, last) for first, last in itertools.pairwise(bounds) if last > first]

    def check_max_atoms(self, max_atoms: int | None) -> None:
        """Check that every structure fits into a batch of `max_atoms` atoms; None is no bound.

        Parameters
        ----------
        max_atoms : int or None
            Atoms that a batch may hold.

        Raises
        ------
        ValueError
            Names the first structure that does not, and the remedy.
        """
        if max_atoms is None:
            return
        if whole("max_atoms", max_atoms) < 1:
            raise ValueError(
                "max_atoms, the number of atoms that a batch may hold, must be at least 1, got "
                f"{max_atoms}: pass None for no bound."
            )
        size = self.n_atoms
        large = np.flatnonzero(size > max_atoms)
        if len(large):
            k = int(large[0])
            others = f" ({len(large):,} structures are too large)" if len(large) > 1 else ""
            raise ValueError(
                f"Structure {k} ({self.to_ase(k).get_chemical_formula()}) has {size[k]:,} atoms, "
                f"and a batch may hold max_atoms={max_atoms:,}{others}: allow {size.max():,}, or "
                f"leave it out with store[store.n_atoms <= {max_atoms}]."
            )

    def to(self, device: str | torch.device) -> DeviceStore:
        """A copy of this view in the memory of a torch device: `take(index)` of the copy gives the
        same batches, gathered there. It takes `nbytes` of this view.

        Parameters
        ----------
        device : str or torch.device
            Where the copy is made.
        """
        return DeviceStore(self, device)

    # ----------------------------------------------------------------------------------------------
    # on disk

    def save(self, path: str | Path) -> None:
        """Write the store (of a view, only its own structures) as a folder: whole or not at all.

        Parameters
        ----------
        path : str or Path
            The folder. A saved store that is there is replaced, at one instant; of a link, the
            folder that it points to.

        Raises
        ------
        ValueError
            For a view of no structures, and for notes (`meta`) that json cannot hold.
        FileExistsError
            When anything but a saved store stands there: it is left as it is.
        OSError
            Where it cannot be written, and while another process writes it
            (`scdlab.locks.Busy`).
        """
        if not len(self):
            raise ValueError("This view holds no structures: there is nothing to save.")
        meta = dict(self.meta)
        if not self._whole:
            meta.pop("splits", None)  # rows have moved
        content = Content(self.arrays(), self._names, self._vectors, self.atom_properties(), meta)
        storage.write(path, content)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a saved store, memory-mapped.

        A store of up to 64 MB is read and compared with its digests here; a larger one by `verify`.

        Parameters
        ----------
        path : str or Path
            A folder written by `save`.

        Raises
        ------
        FileNotFoundError
            For a folder that is no store, or lacks one of its files.
        ValueError
            For a store that is damaged or contradicts itself, and for another version of the
            format.
        """
        return cls.of_content(storage.read(path))

    def verify(self) -> None:
        """Compare a store on disk with its digests, once in a process; `fit` and `evaluate` do.

        Stores of up to 64 MB are compared when they are opened, and one in memory has been checked
        when it was made. What an earlier version wrote has no digests: its values are checked.

        Raises
        ------
        ValueError
            Names the file that is damaged, or the structure whose values cannot be used.
        """
        if self._source is not None:
            storage.check(self._source, self._arrays, self._extra)

    def fingerprint(self) -> str:
        """sha256 of the structures of this view in their order: of each array, their names, dtypes
        and shapes. It does not depend on where they are, in memory or on disk, nor on `meta`.

        Of a whole store on disk it is made of the stored digests: `verify` first. Else the arrays
        are read, piece by piece.

        Returns
        -------
        str
            Hexadecimal.
        """
        if not len(self):
            raise ValueError("This view holds no structures: it has no fingerprint.")
        known = None if self._source is None else self._source.digests
        if known is not None and self._in_order():
            return fingerprint.of_digests(
                known,
                storage.all_arrays(self._arrays, self._extra),
                self._names,
                self._vectors,
            )
        return fingerprint.of_view(self)

    def _in_order(self) -> bool:
        """Whether this view holds all structures of the underlying arrays, in order."""
        n = len(self._arrays["ptr"]) - 1
        return self._whole or (len(self) == n and bool((self.index == np.arange(n)).all()))

    def __reduce__(self) -> tuple:
        """A store opened from disk goes to another process as its path and index; that process maps
        the same pages."""
        index = None if self._whole else self.index
        if self._source is None:
            parts = (self._arrays, self._names, self._extra, self.meta, index, self._vectors)
            return AtomStore, parts
        return _reopen, (self._source.path, self._source.digest, index, self.meta)


def _reopen(path: Path, digest: str, index: np.ndarray | None, meta: dict) -> AtomStore:
    content = storage.read(path)
    if content.source is None or content.source.digest != digest:
        raise ValueError(
            f"The store {path} was replaced after it was opened: open it again, or save to another "
            "path while it is in use."
        )
    store = AtomStore.of_content(content)
    if index is not None:
        store = store.subset(index)
    store.meta = meta
    return store
