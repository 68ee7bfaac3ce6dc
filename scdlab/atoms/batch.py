"""The type of a batch of structures, as annotations name it.

A batch is a `torch_geometric.data.Batch` of B structures with N atoms in all. torch-geometric sets
its attributes at run time and declares none of them, so to a type checker a `Batch` is `Any`:

    z       [N] int64         atomic numbers
    pos     [N, 3] float32    positions in Å
    batch   [N] int64         the structure of each atom
    ptr     [B + 1] int64     where the atoms of each structure start
    cell    [B, 3, 3]         cell vectors in Å, in rows, where there are any
    pbc     [B, 3] bool       along which of them the structure repeats
    energy  [B] float64       labels in eV, where there are any
    forces  [N, 3] float32    labels in eV/Å, where there are any
"""

import contextlib
import copy
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

Batch: TypeAlias = Any
"""A batch of structures, a `torch_geometric.data.Batch` with the attributes above."""

#: Attribute that holds `vector_names`. To PyG, what starts with an underscore is no field.
_VECTOR_NAMES = "_vector_names"
#: Attribute that holds the fields of a batch that was found to be complete.
_COMPLETE = "_complete"
#: Attribute that holds `ptr` and the same in the processor's memory.
_HOST_PTR = "_host_ptr"
_FIELDS = ("z", "pos", "batch", "ptr", "cell", "pbc", "natoms", "n_atoms")
_HEAVIEST = len(chemical_symbols) - 1
_REMEDY = "AtomStore.from_ase(atoms).take([0]) makes a batch of ase.Atoms"


def vector_names(batch: Batch) -> tuple[str, ...]:
    """Names of the fields [B, 3] of a batch that are vectors of the structures.

    Parameters
    ----------
    batch : Batch
        A batch cut from a store, or from elsewhere.

    Returns
    -------
    tuple of str
        As the store declared them; empty for a batch from elsewhere.
    """
    return getattr(batch, _VECTOR_NAMES, ())


def declare_vectors(batch: Batch, names: Iterable[str]) -> None:
    """Note which fields [B, 3] of a batch are vectors of the structures, for `vector_names`.

    Parameters
    ----------
    batch : Batch
        The batch; it is changed in place.
    names : iterable of str
        Names of the fields.
    """
    setattr(batch, _VECTOR_NAMES, tuple(names))


def note_host_ptr(batch: Batch, ptr: np.ndarray) -> None:
    """Note where the atoms of each structure start, in the processor's memory, for `host_ptr`.

    Parameters
    ----------
    batch : Batch
        The batch; it is changed in place.
    ptr : numpy.ndarray
        Its `ptr`, [B + 1] int64.
    """
    setattr(batch, _HOST_PTR, (batch.ptr, ptr))


def host_ptr(batch: Batch) -> np.ndarray | None:
    """Where the atoms of each structure start, without asking the batch's device.

    Parameters
    ----------
    batch : Batch
        A batch.

    Returns
    -------
    numpy.ndarray or None
        `ptr`, [B + 1] int64; None where it was not noted, or `ptr` is another tensor by now.
    """
    of, ptr = getattr(batch, _HOST_PTR, (None, None))
    return ptr if of is batch.ptr else None


def mark_complete(batch: Batch) -> None:
    """Note that a batch has all fields of the module's table, as they should be.

    Parameters
    ----------
    batch : Batch
        The batch; it is changed in place. Once its `z`, `batch` or `ptr` are other tensors, the
        note counts no more.
    """
    setattr(batch, _COMPLETE, (batch.z, batch.batch, batch.ptr))


def completed(batch: Batch) -> Batch:
    """A batch with all fields of the module's table, from one of torch-geometric's.

    Batches cut from a store are returned as they are. Of others, which may be one `Data` without
    a batch, what is missing is worked out; what is ambiguous is refused.

    Parameters
    ----------
    batch : Batch or torch_geometric.data.Data
        The structures.

    Returns
    -------
    Batch
        The same, or a shallow copy: `pos` stays the caller's own.

    Raises
    ------
    TypeError
        For anything but a batch.
    ValueError
        For fields that are missing, do not fit each other, or hold what cannot be.
    """
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # where it is no batch of ours
        # past PyG's look-up of attributes, which takes longer than the checks
        held = vars(vars(batch)["_store"])
        z, structure, ptr = held[_COMPLETE]
        fields = held["_mapping"]
        same = z is fields["z"] and structure is fields["batch"] and ptr is fields["ptr"]
        if same and fields["pos"].shape == (len(z), 3):
            return batch
    return _Completion(batch).batch


class _Completion:
    """The fields of a foreign batch, one after the other."""

    def __init__(self, source: Batch):
        self.fields = _fields_of(source)
        self.pos = self._positions()
        self.n = len(self.pos)
        self.z = self._elements()
        self.structure, self.ptr = self._structures()
        self.n_structures = len(self.ptr) - 1
        new = _as_batch(source)
        new.z = self.z
        new.batch = self.structure
        new.ptr = self.ptr
        new._num_graphs = self.n_structures
        self._add_cell(new)
        mark_complete(new)
        self.batch = new

    def _tensor(self, name: str) -> Tensor | None:
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, Tensor):
            try:
                value = torch.as_tensor(value)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ValueError(
                    f"{name} of the batch must be a tensor, got a {type(value).__name__}."
                ) from error
        if name != "pos" and value.device != self.pos.device:
            raise ValueError(
                f"{name} of the batch is on {value.device} and pos on {self.pos.device}: move the "
                "whole batch with batch.to(device)."
            )
        return value

    def _positions(self) -> Tensor:
        pos = self._tensor("pos")
        if pos is None or pos.ndim != 2 or pos.shape[1] != 3 or not pos.is_floating_point():
            raise ValueError(
                "pos of the batch must be positions in Å, floating-point numbers of shape [N, 3], "
                f"got {_shown(pos)}."
            )
        if not len(pos):
            raise ValueError("The batch has no atoms: give at least one.")
        return pos

    def _elements(self) -> Tensor:
        z = self._tensor("z")
        expected = (
            f"z of the batch must be atomic numbers of shape [{self.n}], one for each row of pos"
        )
        if z is None or z.numel() != self.n or z.ndim not in (1, 2) or z.dtype == torch.bool:
            raise ValueError(f"{expected}, got {_shown(z)}.")
        whole = z.reshape(-1).long()
        if z.is_floating_point() and not bool((whole == z.reshape(-1)).all()):
            raise ValueError(f"{expected}, got numbers that are not whole.")
        wrong = (whole < 1) | (whole > _HEAVIEST)
        if bool(wrong.any()):
            raise ValueError(
                f"{expected}, got {int(whole[wrong][0])}, which is no element: atomic numbers are "
                f"from 1 to {_HEAVIEST}."
            )
        return whole

    def _structures(self) -> tuple[Tensor, Tensor]:
        """The structure of each atom [N], and where structures start [B + 1]."""
        owner = self._whole("batch")
        ptr = self._whole("ptr")
        if owner is None and ptr is None:
            self._check_one()
            owner = torch.zeros(self.n, dtype=torch.long, device=self.pos.device)
        if owner is None and ptr is not None:
            size = ptr.diff()
            if int(ptr[0]) != 0 or int(ptr[-1]) != self.n or bool((size < 0).any()):
                raise ValueError(
                    "ptr of the batch must rise from 0 to the number of atoms, "
                    f"{self.n}, got {_some(ptr)}."
                )
            owner = torch.arange(len(size), device=ptr.device).repeat_interleave(size)
        assert owner is not None
        if owner.shape != (self.n,):
            raise ValueError(
                f"batch of the batch must be the structure of each atom, [{self.n}], got shape "
                f"{list(owner.shape)}."
            )
        if int(owner[0]) < 0 or bool((owner.diff() < 0).any()):
            raise ValueError(
                "The atoms of the batch are not sorted by structure (its field batch falls): sort "
                "them, as torch_geometric.data.Batch.from_data_list does."
            )
        size = torch.bincount(owner)
        found = torch.nn.functional.pad(size.cumsum(0), (1, 0))
        if bool((size == 0).any()):
            raise ValueError(
                f"Structure {int((size == 0).nonzero()[0])} of the batch has no atoms: leave it "
                "out, and number the others from 0 on."
            )
        if ptr is not None and (len(ptr) != len(found) or not torch.equal(ptr, found)):
            raise ValueError(
                f"ptr and batch of the batch do not belong together: ptr is {_some(ptr)}, and by "
                f"batch it would be {_some(found)}."
            )
        return owner, found if ptr is None else ptr

    def _check_one(self) -> None:
        """Check that fields without a word of structures are not those of several."""
        numbers = {"num_graphs": self.fields["num_graphs"]}
        for name in ("natoms", "n_atoms"):
            value = self.fields.get(name)
            if isinstance(value, Tensor) and value.ndim == 1 and int(value.sum()) == self.n:
                numbers[name] = len(value)
        for name, number in numbers.items():
            if number is not None and number > 1:
                raise ValueError(
                    f"The batch has {number} structures (its {name}) and neither batch nor ptr, so "
                    "that nothing says which atoms are whose: keep those fields, as "
                    "torch_geometric.data.Batch.from_data_list gives them."
                )

    def _whole(self, name: str) -> Tensor | None:
        value = self._tensor(name)
        if value is None:
            return None
        if (
            value.is_floating_point()
            or value.dtype == torch.bool
            or value.ndim != 1
            or not len(value)
        ):
            raise ValueError(
                f"{name} of the batch must be integers in one dimension, got {_shown(value)}."
            )
        return value.long()

    def _add_cell(self, new: Batch) -> None:
        """Cells [B, 3, 3] and directions along which structures repeat, [B, 3]."""
        n = self.n_structures
        cell = self._tensor("cell")
        pbc = self._tensor("pbc")
        if pbc is not None:
            pbc = self._directions(pbc)
        if cell is None:
            if pbc is not None and bool(pbc.any()):
                raise ValueError(
                    "The batch is periodic (its pbc is true) and has no cell: give its cell "
                    f"vectors in Å, [{n}, 3, 3], or remove pbc."
                )
            return
        stacked = cell.shape in ((n, 3, 3), (3 * n, 3)) or (n == 1 and cell.shape == (9,))
        if not stacked or not (cell.is_floating_point() or cell.dtype == torch.long):
            raise ValueError(
                f"cell of the batch must be the cell vectors of each structure in Å, [{n}, 3, 3], "
                f"got {_shown(cell)}."
            )
        cell = cell.reshape(n, 3, 3)
        new.cell = cell if cell.is_floating_point() else cell.to(self.pos.dtype)
        if pbc is not None:
            new.pbc = pbc

    def _directions(self, pbc: Tensor) -> Tensor:
        n = self.n_structures
        if pbc.is_floating_point() and not bool(((pbc == 0) | (pbc == 1)).all()):
            raise ValueError("pbc of the batch must be true or false along each cell vector.")
        if pbc.numel() == 3 * n:
            return pbc.reshape(n, 3).bool()
        if pbc.numel() in (1, n):  # one for each structure, or for all
            return pbc.reshape(-1, 1).bool().expand(n, 3)
        raise ValueError(
            f"pbc of the batch must be true or false along each cell vector, [{n}, 3], got shape "
            f"{list(pbc.shape)}."
        )


def _fields_of(source: Batch) -> dict[str, Any]:
    """The fields of a batch or a single Data, by name."""
    from torch_geometric.data import Data

    if isinstance(source, Data):
        fields = {name: source.get(name) for name in _FIELDS}
        # what PyG noted when it made the batch; of a single Data nothing
        return {**fields, "num_graphs": getattr(source, "_num_graphs", None)}
    kind = type(source).__name__
    got = f"the class {source.__name__}" if isinstance(source, type) else f"a value of type {kind}"
    remedy = "store.take([0, 1]) cuts one from a store" if hasattr(source, "take") else _REMEDY
    raise TypeError(
        f"A batch must be a torch_geometric Batch or Data with z and pos, got {got}: {remedy}."
    )


def _as_batch(source: Batch) -> Batch:
    """A shallow copy of a batch; a Batch of the same fields, where it is a single Data."""
    from torch_geometric.data import Batch as PygBatch

    if isinstance(source, PygBatch):
        return copy.copy(source)
    return PygBatch(**source.to_dict())


def _some(values: Tensor) -> str:
    shown = values[:6].tolist()
    return f"{shown}" if len(values) <= 6 else f"{str(shown)[:-1]}, …]"


def _shown(value: Tensor | None) -> str:
    return "none" if value is None else f"{value.dtype} of shape {list(value.shape)}"
