"""Single arrays of a store as .npy files: written and digested piece by piece, opened by a strict
reading of their headers."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

AGAIN = "make or copy the store again"  # the remedy for damage
_PIECE = 1 << 24  # bytes that are read or written at once
# the header of an .npy file as numpy writes it
_HEADER = re.compile(
    rb"\{'descr': '([^'\\]{1,16})', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), \} *\n"
)


def array_digest(value: np.ndarray) -> str:
    """sha256 of the numbers of an array, in order; with its dtype and shape, its content.

    Parameters
    ----------
    value : numpy.ndarray
        The array; one on disk is read piece by piece.

    Returns
    -------
    str
        Hexadecimal.
    """
    found = hashlib.sha256()
    for piece in pieces(value):
        found.update(piece.data)
    return found.hexdigest()


def pieces(value: np.ndarray) -> Iterator[np.ndarray]:
    """An array as runs of bytes, in order, of some megabytes each.

    Parameters
    ----------
    value : numpy.ndarray
        The array.

    Yields
    ------
    numpy.ndarray
        Bytes, [k] uint8.
    """
    rows = max(1, _PIECE // max(1, value[:1].nbytes))
    native = value.dtype.newbyteorder("=")
    for first in range(0, len(value), rows):
        piece = np.ascontiguousarray(value[first : first + rows], native)
        yield piece.reshape(-1).view(np.uint8)


def write_array(path: Path, value: np.ndarray) -> str:
    """Write an array as numpy would, and wait until the disk has it.

    Parameters
    ----------
    path : Path
        The file.
    value : numpy.ndarray
        The array; in any order and of any byte order.

    Returns
    -------
    str
        sha256 of its numbers, see `array_digest`.
    """
    found = hashlib.sha256()
    about = {
        "descr": np.lib.format.dtype_to_descr(value.dtype.newbyteorder("=")),
        "fortran_order": False,
        "shape": value.shape,
    }
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        for piece in pieces(value):
            file.write(piece.data)
            found.update(piece.data)
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def open_array(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """One array, memory-mapped, after checking that the file is complete and as described.

    Parameters
    ----------
    path : Path
        The file.
    dtype : str
        Name of the dtype that it should have.
    shape : tuple of int
        The shape that it should have.

    Returns
    -------
    numpy.ndarray
        The array, read-only.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        For a file that is truncated, longer than described, or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing from the store: {AGAIN}.")
    expected = np.dtype(dtype)
    try:
        with open(path, "rb") as file:
            start = file.read(10)
            if len(start) < 10 or start[:8] != b"\x93NUMPY\x01\x00":
                raise ValueError("it is no .npy file of this version")
            length = int.from_bytes(start[8:10], "little")
            found = _HEADER.fullmatch(file.read(length))
            size = os.fstat(file.fileno()).st_size
            if found is None:
                raise ValueError("its header cannot be read")
            text, fortran, sizes = (group.decode() for group in found.groups())
            there = tuple(int(part) for part in sizes.replace(" ", "").split(",") if part)
            if text != expected.str or there != shape or fortran == "True":
                order = " in Fortran's order" if fortran == "True" else ""
                raise ValueError(
                    f"it holds {text} {there}{order}, not what store.json describes, "
                    f"{expected.str} {shape}"
                )
            needed = expected.itemsize * int(np.prod(shape, dtype=object))
            if size - 10 - length != needed:
                raise ValueError(f"it has {size - 10 - length:,} bytes of numbers, not {needed:,}")
            return np.memmap(file, expected, "r", 10 + length, shape)
    except (ValueError, OSError, OverflowError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}): {AGAIN}.") from error
