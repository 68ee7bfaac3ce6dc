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

from collections.abc import Iterable
from typing import Any, TypeAlias

Batch: TypeAlias = Any
"""A batch of structures, a `torch_geometric.data.Batch` with the attributes above."""

#: Attribute that holds `vector_names`. To PyG, what starts with an underscore is no field.
_VECTOR_NAMES = "_vector_names"


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
