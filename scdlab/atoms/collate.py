"""Batches: ready-made `torch_geometric.data.Batch` objects of gathered arrays, on any device.

`Batch.from_data_list` collates one `Data` object per structure, field by field. Here the arrays of
a whole batch come from one gather each, so the batch is put together from them directly, with what
PyG needs to take it apart again (`to_data_list`).
"""

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scdlab.atoms.batch import Batch, declare_vectors, mark_complete, note_host_ptr
from scdlab.atoms.validate import PER_ATOM
from scdlab.devices import checked_device, sent

if TYPE_CHECKING:
    from scdlab.atoms.view import View

Index = slice | Sequence[int] | Sequence[bool] | range | np.ndarray | Tensor


def as_index(index: Index) -> slice | np.ndarray:
    """An index as numpy takes it.

    Parameters
    ----------
    index : slice or array_like
        Integers, or a boolean mask.

    Returns
    -------
    slice or numpy.ndarray
        The slice, or an integer or boolean array.

    Raises
    ------
    TypeError
        For what is no index.
    """
    if isinstance(index, slice):
        return index
    if isinstance(index, Tensor):
        index = index.detach().cpu().numpy()
    try:
        found = np.asarray(index)
    except (TypeError, ValueError):  # rows of different lengths
        found = np.asarray(None)
    kind = found.dtype.kind
    if kind in "iu":
        return found.astype(np.int64, copy=False)
    if kind == "b" and found.ndim == 1:
        return found
    if found.shape == (0,) and kind == "f":  # numpy's idea of []
        return found.astype(np.int64)
    raise TypeError(
        "Structures are chosen by whole numbers, a slice or a mask [n] of truth values, got "
        f"{index!r:.60} ({type(index).__name__}, {found.dtype}, {found.shape}): correct the index."
    )


def of_own(own: np.ndarray, index: Index) -> np.ndarray:
    """The structures own[index].

    Parameters
    ----------
    own : numpy.ndarray
        Structures of a view, [n].
    index : slice or array_like
        Integers counted in the view, or a boolean mask.

    Returns
    -------
    numpy.ndarray
        Structures, of the shape of the index.

    Raises
    ------
    IndexError
        For an index outside the view, and for a mask of another length.
    TypeError
        For what is no index.
    """
    key = as_index(index)
    try:
        return np.asarray(own[key])
    except IndexError as error:
        entries = np.asarray(key)
        if entries.dtype == bool:
            raise IndexError(
                f"The mask has {len(entries):,} entries, and there are {len(own):,} structures: "
                "give one for each."
            ) from error
        wrong = entries[(entries < -len(own)) | (entries >= len(own))]
        raise IndexError(
            f"There is no structure {wrong.reshape(-1)[0]}, there are {len(own):,}: count from 0, "
            "or from the end with negative numbers."
        ) from error
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{key!r} cannot cut structures ({str(error).rstrip('.')}): use whole numbers."
        ) from error


def chosen_structures(own: np.ndarray, index: Index) -> np.ndarray:
    """The structures own[index].

    Parameters
    ----------
    own : numpy.ndarray
        Structures of a view, [n].
    index : slice or array_like
        Integers counted in the view, or a boolean mask.

    Returns
    -------
    numpy.ndarray
        Structures, [B] int64.

    Raises
    ------
    IndexError
        For an index outside the range.
    ValueError
        When there are none.
    """
    chosen = of_own(own, index)
    if not chosen.size:
        raise ValueError("take() got no structures: pass at least one index.")
    return chosen.reshape(-1)


def per_structure_fields(arrays: Iterable[str], periodic: bool) -> list[str]:
    """Names of the per-structure arrays that go into a batch.

    Parameters
    ----------
    arrays : iterable of str
        Names of the arrays that there are.
    periodic : bool
        Whether any structure is periodic.

    Returns
    -------
    list of str
        Those of the labels, and of the cell where any structure is periodic.
    """
    names = ["energy", "values", "vectors"]
    if periodic:
        names += ["cell", "pbc"]
    arrays = set(arrays)
    return [name for name in names if name in arrays]


def make_batch(
    fields: Mapping[str, Tensor],
    properties: Sequence[str],
    vectors: Sequence[str],
    ptr: Tensor,
    structure: Tensor,
    slices: np.ndarray,
) -> Batch:
    """A Batch of ready-made tensors that can be taken apart again, as if collated from single Data.

    Parameters
    ----------
    fields : mapping of str to Tensor
        Per-atom fields [N, …] and per-structure fields [B, …]. `values` [B, P] and `vectors`
        [B, V, 3] go in under the names of their columns, `values` also as `y`.
    properties, vectors : sequence of str
        The names of those columns.
    ptr : Tensor
        Rows at which the structures start, [B + 1] int64.
    structure : Tensor
        The structure of each atom, [N] int64.
    slices : numpy.ndarray
        `ptr` in the processor's memory.
    """
    from torch_geometric import data

    fields = dict(fields)
    if "values" in fields:
        y = fields.pop("values")  # [B, P]
        fields["y"] = y
        fields |= {name: y[:, k] for k, name in enumerate(properties)}
    if "vectors" in fields:
        columns = fields.pop("vectors")  # [B, V, 3]
        fields |= {name: columns[:, k] for k, name in enumerate(vectors)}
    n = len(slices) - 1
    batch = copy.copy(_empty(data.Batch, data.Data))
    batch._store._mapping.update(fields)  # setting them one by one takes longer than the gather
    batch.batch = structure
    batch.ptr = ptr
    batch._num_graphs = n
    declare_vectors(batch, vectors)
    mark_complete(batch)
    note_host_ptr(batch, slices)
    one_each = torch.arange(n + 1)
    rows = torch.from_numpy(slices)
    per_structure = {"natoms", "cell", "pbc", "energy", "y", *properties, *vectors}
    batch._slice_dict = {name: one_each if name in per_structure else rows for name in fields}
    batch._inc_dict = dict.fromkeys(fields, torch.zeros(n, dtype=torch.long))
    return batch


@functools.cache
def _empty(batch: Any, data: Any) -> Any:
    """An empty Batch of Data to copy: PyG inspects signatures and makes a metaclass each time it
    makes one."""
    return batch(_base_cls=data)


class DeviceStore:
    """A copy of a store in the memory of a device, which `AtomStore.to` returns: `len` and `take`.

    The number of atoms of each structure and which are periodic stay in the processor's memory too,
    so that a batch's shape needs no waiting for the device.

    Parameters
    ----------
    store : AtomStore
        What is copied; of a view, only its own structures.
    device : str or torch.device
        Where to.
    """

    def __init__(self, store: "View", device: str | torch.device):
        self.device = checked_device(device)
        arrays = store.arrays()
        extra = store.atom_properties()
        self.n_atoms = store.n_atoms
        self._properties = store.property_names
        self._vectors = store.vector_names
        self._index = np.arange(len(store))
        self._periodic: np.ndarray = np.zeros(len(store), bool)
        if "pbc" in arrays:
            self._periodic = np.asarray(arrays["pbc"].any(axis=1))
        self._per_atom = [name for name in PER_ATOM if name in arrays] + list(extra)
        self._arrays = {
            name: torch.tensor(value, device=self.device)
            for name, value in (arrays | extra).items()
        }

    def __len__(self) -> int:
        return len(self._index)

    def take(self, index: Index) -> Batch:
        """As `AtomStore.take`, with all fields on the device."""
        numbers = chosen_structures(self._index, index)
        sizes = self.n_atoms[numbers]
        slices = np.concatenate([[0], np.cumsum(sizes)])
        periodic = bool(self._periodic[numbers].any())
        n_atoms = int(slices[-1])
        chosen = sent(torch.from_numpy(numbers), self.device)
        ptr = sent(torch.from_numpy(slices), self.device)  # [B + 1]
        size = ptr.diff()  # [B]
        structure = torch.repeat_interleave(
            torch.arange(len(chosen), device=self.device), size, output_size=n_atoms
        )  # [N]
        # row of an atom: as in AtomStore.rows
        offset = self._arrays["ptr"][chosen] - ptr[:-1]
        rows = offset[structure] + torch.arange(n_atoms, device=self.device)
        fields = {name: self._arrays[name][rows] for name in self._per_atom}
        for name in per_structure_fields(self._arrays, periodic):
            fields[name] = self._arrays[name][chosen]
        fields["z"] = fields["z"].long()
        fields["natoms"] = size
        return make_batch(fields, self._properties, self._vectors, ptr, structure, slices)


def pack_batches(
    n_atoms: np.ndarray,
    batch_size: int | None = None,
    max_atoms: int | None = None,
    held: tuple[int, int] = (0, 0),
) -> tuple[list[int], tuple[int, int]]:
    """Pack structures, in order, into batches that are as full as two bounds allow.

    Parameters
    ----------
    n_atoms : ndarray
        Atoms of each structure, [n]. None may have more than `max_atoms`: see
        `AtomStore.check_max_atoms`.
    batch_size : int, optional
        Most structures of a batch; None is no bound.
    max_atoms : int, optional
        Most atoms of a batch; None is no bound.
    held : (int, int), default (0, 0)
        Structures and atoms that the first batch holds already, from an earlier call.

    Returns
    -------
    starts : list of int
        Where further batches start, counted in structures.
    held : (int, int)
        Structures and atoms that the last batch, still open, holds.
    """
    total = np.concatenate([[0], np.cumsum(n_atoms)])
    n = len(n_atoms)
    starts = []
    start = 0
    structures, atoms = held
    while True:
        end = n
        if batch_size is not None:
            end = start + batch_size - structures
        if max_atoms is not None:
            room = total[start] + max_atoms - atoms
            end = min(end, int(np.searchsorted(total, room, side="right")) - 1)
        if end >= n:
            return starts, (structures + n - start, atoms + int(total[n] - total[start]))
        starts.append(end)
        start = end
        structures = 0
        atoms = 0
