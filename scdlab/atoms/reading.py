"""Structure files, read by ase."""

from pathlib import Path
from typing import Any


def read_ase(path: str | Path, index: Any = ":") -> list:
    """The structures of a file in any format of ase.

    Parameters
    ----------
    path : str or Path
        The file.
    index : int, slice or str, default ":"
        Which structures, as `ase.io.read` takes it.

    Returns
    -------
    list of ase.Atoms
        The structures.

    Raises
    ------
    ValueError
        For a file that ase cannot read.
    """
    import ase.io

    try:
        frames = ase.io.read(path, index=index, do_not_split_by_at_sign=True)
    except Exception as error:  # ase's readers raise anything from KeyError to StopIteration
        raise ValueError(
            f"{path} cannot be read as structures ({type(error).__name__}: {error}): "
            "check that it is complete and in a format of ase."
        ) from error
    return frames if isinstance(frames, list) else [frames]


def as_ase_index(index: Any) -> Any:
    """What `ase.io.read` takes as an index, as an index of a store.

    Parameters
    ----------
    index : int, slice or str
        Text becomes a slice or number, and a number a list of one.

    Returns
    -------
    slice or list of int
        Which structures.
    """
    from ase.utils import string2index

    if isinstance(index, str):
        index = string2index(index)
    return [index] if isinstance(index, int) else index
