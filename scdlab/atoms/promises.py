"""What a structure file promises, against the bytes that it has.

The readers of ase believe a file's counts: a line that announces 10¹⁸ atoms keeps them busy forever
or takes all memory. So counts are compared with the file before they read it, and binary files are
read through `BoundedFile`, which never takes more memory than the file has bytes.
"""

import bz2
import gzip
import io
import lzma
import math
import mmap
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
#: A compressed file may unpack to so many times its size, and to UNPACKED bytes in any case.
RATIO = 200
UNPACKED = 1 << 27

# digits of any script, as Python's int() takes them
_WIDE = re.compile(
    r":[SRIL]:0*[^\D0]\d{4,}", re.IGNORECASE
)  # columns of one property of an extended xyz
_DUMP_COUNT = re.compile(rb"ITEM: NUMBER OF ATOMS[^\n]*\n\s*(\S+)")
_NDARRAY = re.compile(rb'"__ndarray__"\s*:\s*\[\s*\[?([\d\s,+\-eE.]+)')
_INTEGER = re.compile(r"(?<![\w.+-])\d{6,}(?![\w.])")
_LONGEST = 2_000  # characters of a line, for readers that search lines with patterns
_ASKED = 10_000  # times that a reader may read a line after the last
_BLOCKS = 16  # of a magres file, whose reader compares each with all others; they have two or three
_HEADER = 64  # lines in which a text format announces its counts
Content = bytes | mmap.mmap


class BoundedFile(io.BufferedReader):
    """A binary file that reads no further than its end, whatever it is asked for.

    `read(10**12)` of Python's own files first takes 10¹² bytes of memory, and numpy does so where
    it can reach the file behind the object; here it cannot.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, and no more than there are."""
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))

    def fileno(self) -> int:
        """Raises, so that numpy reads through this object."""
        raise io.UnsupportedOperation("a bounded file is read through its own methods")


class EndingText(io.TextIOWrapper):
    """A text file that ends: a reader that goes on and on reading lines after the last, waiting for
    one that never comes, gets an EOFError."""

    _asked = 0

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        """The next line; "" after the last."""
        line = super().readline(size)
        if not line:
            self._asked += 1
            if self._asked > _ASKED:
                raise EOFError("the file ends where more is expected")
        return line


def is_compressed(path: Path) -> bool:
    """Whether a file's name says that it is compressed.

    Parameters
    ----------
    path : Path
        The file.
    """
    return path.suffix in _OPENERS


def content(path: Path) -> Content:
    """What is in a file: mapped into memory, or unpacked.

    Parameters
    ----------
    path : Path
        The file, of at least one byte.

    Returns
    -------
    bytes or mmap
        The content.

    Raises
    ------
    ValueError
        For a compressed file that is damaged or unpacks to far more than it has.
    """
    if not is_compressed(path):
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    most = max(UNPACKED, RATIO * path.stat().st_size)
    try:
        with _OPENERS[path.suffix](path, "rb") as file:
            found = file.read(most + 1)
    except (OSError, EOFError, lzma.LZMAError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked ({reason(error)}): copy it again.") from error
    if len(found) > most:
        raise ValueError(
            f"{path} unpacks to more than {most:,} bytes, {RATIO} times what it has: unpack it "
            "yourself if you trust it."
        )
    return found


def check(path: Path, kind: str, data: Content) -> None:
    """Compare the counts that a structure file states with the bytes it has.

    Parameters
    ----------
    path : Path
        The file, for errors.
    kind : str
        Its format, as ase calls it.
    data : bytes or mmap
        Its content.

    Raises
    ------
    ValueError
        For a count that the file cannot hold, naming the frame where there are several.
    """
    if kind in ("extxyz", "xyz"):
        _check_xyz(path, data)
    elif kind == "lammps-dump-text":
        for frame, found in enumerate(_DUMP_COUNT.finditer(data)):
            stated = found[1].decode("utf-8", "replace")
            _refuse_many(path, f"frame {frame}", stated, (len(data) - found.end()) // 2)
    elif kind in ("json", "db"):
        for found in _NDARRAY.finditer(data):
            _check_ndarray(path, found[1], len(data))
    elif kind in _PATTERNS | _COUNTED:
        _check_lines(path, data)
    if kind == "magres" and (blocks := bytes(data).count(b"[/")) > _BLOCKS:
        raise ValueError(
            f"{path} is damaged: it ends {blocks:,} blocks, and up to {_BLOCKS} are read in this "
            "format; copy it again."
        )
    if kind in _COUNTED:
        end = 0
        for _ in range(_HEADER):
            end = data.find(b"\n", end) + 1 or len(data)
        head = bytes(data[:end]).decode("utf-8", "replace")
        start = head.find("\n") + 1 if kind in _TITLED else 0
        for found in _INTEGER.finditer(head, start):
            _refuse_many(path, "it", found[0], len(data))


# formats whose readers search lines with patterns, which take forever over very long ones; those
# of counts have no such lines either
_PATTERNS = frozenset(
    (
        *("abinit-in", "abinit-out", "acemolecule-input", "acemolecule-out", "aims-output"),
        *("castep-castep", "cp2k-restart", "espresso-in", "espresso-out", "gamess-us-out"),
        *("gaussian-in", "gaussian-out", "gpaw-out", "magres", "nwchem-in", "nwchem-out"),
        *("onetep-in", "onetep-out", "orca-output", "proteindatabank", "vasp-out", "wout"),
    )
)
# formats whose header consists of counts and lengths, so that no integer of it exceeds the file
_COUNTED = frozenset(
    (
        *("cfg", "crystal", "cube", "dlp4", "eon", "gen", "gromacs", "gromos", "lammps-data"),
        *("rmc6f", "v-sim", "vasp", "vasp-xdatcar", "xsf"),
    )
)
# those of them whose first line is a comment, in which any number may stand
_TITLED = frozenset(
    ("cube", "dlp4", "eon", "gromacs", "lammps-data", "v-sim", "vasp", "vasp-xdatcar")
)


def _refuse_many(path: Path, what: str, stated: str, most: int) -> None:
    """Raise ValueError where a count is larger than `most`."""
    try:
        n = int(stated)
    except ValueError:  # no number: the reader says what it expected
        return
    if n > most:
        raise ValueError(
            f"{path} is truncated or damaged: {what} states {_short(stated)} atoms or values, and "
            f"no more than {max(0, most):,} fit into the file; copy it again."
        )


def _check_ndarray(path: Path, shape: bytes, most: int) -> None:
    """An array within json holds no more numbers than the file has bytes."""
    try:
        n = math.prod(int(float(each)) for each in shape.split(b",") if each.strip())
    except (ValueError, OverflowError):
        return
    if n > most:
        raise ValueError(
            f"{path} is truncated or damaged: an array of the shape ({_short(shape)}) does not fit "
            f"into a file of {most:,} bytes; copy it again."
        )


def _check_lines(path: Path, data: Content) -> None:
    """Raise ValueError for a line that no program writes."""
    start = _line_starts(data)
    length = np.diff(start)
    if len(length) and length.max() > _LONGEST:
        k = int(length.argmax())
        raise ValueError(
            f"{path} is damaged: line {k + 1} has {length[k]:,} characters, and up to {_LONGEST:,} "
            "are read in this format; copy it again."
        )


def _check_xyz(path: Path, data: Content) -> None:
    """Walk from frame to frame: each begins with a count of lines that are there."""
    start = _line_starts(data)
    n_lines = len(start) - 1
    line = 0
    frame = 0
    while line < n_lines:
        text = bytes(data[start[line] : start[line + 1]]).strip()
        if not text:
            if bytes(data[start[line] :]).strip():
                raise ValueError(
                    f"{path} has an empty line {line + 1} before frame {frame}, and a reader would "
                    "stop there: remove the line, or what follows it."
                )
            return
        try:
            n = int(text)
        except ValueError as error:
            raise ValueError(
                f"{path} has {_short(text)!r} in line {line + 1}, where frame {frame} states its "
                "number of atoms: check the frame before it, or pass format if it is no xyz file."
            ) from error
        if not 0 <= n <= n_lines - line - 2:
            raise ValueError(
                f"{path} is truncated or damaged: frame {frame} (line {line + 1}) states "
                f"{_short(text)} atoms, and {max(0, n_lines - line - 2):,} lines follow its "
                "comment; copy it again, or correct the number."
            )
        if _WIDE.search(bytes(data[start[line + 1] : start[line + 2]]).decode("utf-8", "replace")):
            raise ValueError(
                f"{path} is damaged: line {line + 2}, of frame {frame}, states a property of more "
                "columns than a line has; correct its Properties."
            )
        line += n + 2
        while line < n_lines and data[start[line] : start[line] + 3] == b"VEC":
            line += 1
        frame += 1


def _line_starts(data: Content) -> np.ndarray:
    """Where lines begin, and the end of the last, whichever way they end."""
    piece = 1 << 24  # bytes looked at together
    returns = data.find(b"\r") >= 0
    ends = []
    for first in range(0, len(data), piece):
        part = np.frombuffer(data[first : first + piece], np.uint8)
        is_end = part == 10
        if returns:  # "\r" alone ends a line as well, "\r\n" once
            after = data[first + len(part) : first + len(part) + 1]
            follows = np.append(is_end[1:], after == b"\n")
            is_end = is_end | ((part == 13) & ~follows)
        ends.append(np.flatnonzero(is_end) + first)
    found = np.concatenate([[-1], *ends]) + 1
    return found if found[-1] == len(data) else np.append(found, len(data))


def reason(error: BaseException) -> str:
    """What another library's exception says, in one short line.

    Parameters
    ----------
    error : BaseException
        The exception.

    Returns
    -------
    str
        Its kind, and the beginning of its message.
    """
    text = _short(str(error), 200)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _short(text: bytes | str, length: int = 30) -> str:
    """The beginning of some text of a file, printable."""
    text = text[: 4 * length]
    plain = " ".join((text if isinstance(text, str) else text.decode("utf-8", "replace")).split())
    plain = "".join(c if c.isprintable() else "?" for c in plain)
    return plain if len(plain) <= length else f"{plain[:length]}…"
