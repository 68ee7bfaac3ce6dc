"""Structure files, read by ase.

Its readers believe what a file says and raise whatever happens to go wrong. Here the file is
compared with its own promises first (`atoms.promises`), only formats that are data are read, and
every failure is one ValueError that names the file, the frame and what was expected.
"""

import io
import operator
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdlab.atoms import promises

if TYPE_CHECKING:
    from ase import Atoms

#: Formats of ase that are data alone. Left out are those whose reader starts a program or connects
#: to a server (castep-cell, castep-param, gpw, mysql, postgresql) or executes a script (py).
FORMATS = frozenset(
    (
        *("abinit-gsr", "abinit-in", "abinit-out", "acemolecule-input", "acemolecule-out", "aims"),
        *("aims-output", "castep-castep", "castep-geom", "castep-md", "cfg", "cif", "cjson"),
        *("cmdft", "cp2k-dcd", "cp2k-restart", "crystal", "cube", "dacapo-text", "db", "dftb"),
        *("dlp-history", "dlp4", "dmol-arc", "dmol-car", "dmol-incoor", "elk", "eon"),
        *("espresso-in", "espresso-out", "extxyz", "gamess-us-out", "gamess-us-punch"),
        *("gaussian-in", "gaussian-out", "gen", "gpaw-out", "gpumd", "gromacs", "gromos", "json"),
        *("jsv", "lammps-data", "lammps-dump-binary", "lammps-dump-text", "magres", "mol"),
        *("mustem", "netcdftrajectory", "nomad-json", "nwchem-in", "nwchem-out", "onetep-in"),
        *("onetep-out", "orca-output", "prismatic", "proteindatabank", "qbox", "res", "rmc6f"),
        *("runnerdata", "sdf", "siesta-xv", "struct", "struct_out", "sys", "traj", "turbomole"),
        *("turbomole-gradient", "v-sim", "vasp", "vasp-out", "vasp-xdatcar", "vasp-xml", "wout"),
        *("xsd", "xsf", "xtd", "xyz"),
    )
)
_LONG = ("extxyz", "xyz", "lammps-dump-text")  # of many frames: read at full speed
_DUMPS = ("lammps-dump-text", "lammps-dump-binary")
_DATABASES = ("db", "json")  # of which an index may be a selection of ase.db


def read_ase(path: str | Path, index: Any = ":", **keywords: Any) -> "list[Atoms]":
    """The structures of a file in a format of ase.

    Parameters
    ----------
    path : str or Path
        The file.
    index : int, slice or str, default ":"
        Which structures, as `ase.io.read` takes it.
    **keywords
        `format`, one of `FORMATS`, by default what the file's name and beginning say; and those of
        the format's reader, such as `specorder`, the elements of the types 1, 2, … of LAMMPS.

    Returns
    -------
    list of ase.Atoms
        The structures, at least one.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        For a file that cannot be read, is in none of `FORMATS`, or has no structure at `index`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no structure file {path}: check the path.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: copy it again.")
    data = promises.content(path)
    kind = _format(path, keywords.pop("format", None), data)
    wanted = _index(path, index, kind)
    promises.check(path, kind, data)
    keywords |= _elements_of_types(path, kind, data, keywords)
    frames: list[Atoms] = []
    try:
        for frame in _frames(path, kind, wanted, data, keywords):
            frames.append(frame)
    except Exception as error:  # ase's readers raise anything from KeyError to StopIteration
        if isinstance(error, TypeError) and "unexpected keyword" in str(error):
            raise TypeError(
                f"{', '.join(keywords)} cannot all be given for {path}, which is read as {kind} "
                f"({promises.reason(error)}): energies are in energy_unit; leave out the rest."
            ) from error
        if isinstance(error, IndexError) and "specorder" in keywords:
            raise ValueError(
                f"{path} cannot be read: {_where(kind, wanted, len(frames))}it seems to have more "
                f"types of atoms than specorder names ({', '.join(keywords['specorder'])}): name "
                "the element of each type."
            ) from error
        raise ValueError(
            f"{path} cannot be read as {kind}: {_where(kind, wanted, len(frames))}"
            f"{promises.reason(error)}; check that the file is complete and in this format, or "
            "pass another format."
        ) from error
    if not frames:
        raise ValueError(
            f"{path} holds no structure at the index {index!r} (read as {kind}): check the index "
            "and that the file is complete."
        )
    if kind == "proteindatabank" and len(frames) > 1 and not len(frames[-1]):
        frames.pop()  # ase takes the END after the last ENDMDL for the end of one more
    empty = next((k for k, frame in enumerate(frames) if len(frame) == 0), None)
    if empty is not None:
        raise ValueError(
            f"{path}, read as {kind}, has no atoms in structure {empty} of those at the index "
            f"{index!r}: check the format and that the file is complete, or leave it out."
        )
    if kind in _DUMPS:
        for frame in frames:  # which ase gives an energy of zero beside the forces
            if frame.calc is not None:
                getattr(frame.calc, "results", {}).pop("energy", None)
    return frames


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

    Raises
    ------
    ValueError
        For text that is no index.
    """
    if isinstance(index, str):
        index = _parsed(index)
    return [index] if isinstance(index, int) else index


def _parsed(text: str) -> int | slice:
    """The number or slice that text stands for. Raises ValueError for other text."""
    parts = text.split(":")
    try:
        if len(parts) == 1:
            return int(text)
        found = slice(*(int(part) if part.strip() else None for part in parts))
        if found.step == 0:
            raise ValueError("a step of 0")
        return found
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{text!r} is no index of structures: give a number, or first:last:step such as "
            "'::10' or '-5:'."
        ) from error


def _index(path: Path, index: Any, kind: str) -> slice | str:
    """An index as a slice; a selection of a database stays text."""
    if index is None:
        index = -1
    if isinstance(index, str):
        if kind in _DATABASES and not set(index) <= set("0123456789:- "):
            return index
        index = _parsed(index)
    if not isinstance(index, slice):
        try:
            index = operator.index(index)
        except TypeError as error:
            raise TypeError(
                f"The index of structures must be a number, a slice or text such as '::10', got "
                f"{index!r} for {path}."
            ) from error
        return slice(index, index + 1 or None)
    for part in (index.start, index.stop, index.step):
        if part is not None and not hasattr(part, "__index__"):
            raise TypeError(
                f"The index of structures must be a slice of whole numbers, got {index!r} for "
                f"{path}."
            )
    if index.step is not None and operator.index(index.step) == 0:
        raise ValueError(f"The index of structures of {path} has a step of 0: give another.")
    return index


def _format(path: Path, given: Any, data: promises.Content) -> str:
    """The format of a file, as ase calls it. Raises ValueError for none that is read here."""
    from ase.io.formats import UnknownFileTypeError, filetype

    kind = given
    if kind is None:
        try:
            # the whole path: ase takes "mysql.xyz" for an address
            kind = filetype(str(path.resolve()))
        except (UnknownFileTypeError, OSError, ValueError, EOFError) as error:
            raise ValueError(
                f"Neither the name of {path} nor its beginning says in which format it is: pass "
                "format, such as format='extxyz'."
            ) from error
    if kind not in FORMATS:
        what = "its name says" if given is None else "format is"
        raise ValueError(
            f"{path} is in no format that is read here ({what} {str(kind)[:40]!r}): pass format, "
            "such as 'extxyz', 'traj', 'cif' or 'vasp', or read it by other means and use from_ase."
        )
    return kind


def _frames(
    path: Path, kind: str, wanted: slice | str, data: promises.Content, keywords: dict
) -> "Iterator[Atoms]":
    """The structures, one by one, as ase's reader of this format gives them."""
    import ase
    import ase.io
    from ase.io.formats import ioformats

    about = ioformats[kind]
    # a reader of single structures asserts what it does not take
    index = slice(None) if about.single else wanted
    source: Any = str(path)
    if about.acceptsfd and about.isbinary:
        source = io.BytesIO(data) if isinstance(data, bytes) else promises.BoundedFile(path)
    elif about.acceptsfd and isinstance(data, bytes):
        source = promises.EndingText(io.BytesIO(data), encoding="utf-8")
    elif about.acceptsfd and kind not in _LONG:  # whose counts are compared with their lines
        source = promises.EndingText(path.open("rb"))
    try:
        found = ase.io.iread(
            source, index, format=kind, do_not_split_by_at_sign=True, parallel=False, **keywords
        )
        if about.single:
            found = iter(list(found)[wanted])  # type: ignore[index]
        for frame in found:
            if not isinstance(frame, ase.Atoms):
                raise TypeError(f"it holds a {type(frame).__name__}, which is no structure")
            yield frame
    finally:
        if not isinstance(source, str):
            source.close()


def _where(kind: str, wanted: slice | str, done: int) -> str:
    """Which frame went wrong, where it is known."""
    from ase.io.formats import ioformats

    if ioformats[kind].single or isinstance(wanted, str):
        return ""
    start = wanted.start or 0
    if start < 0 or (wanted.step or 1) < 0:
        return ""
    return f"frame {start + done * (wanted.step or 1)}, "


def _elements_of_types(path: Path, kind: str, data: promises.Content, keywords: dict) -> dict:
    """The keywords by which ase's readers of LAMMPS learn the elements of types. Raises ValueError
    where nothing states them: ase would take type 1 for hydrogen, 2 for helium."""
    from ase.data import atomic_numbers

    if not kind.startswith("lammps"):
        return {}
    given = keywords.pop("specorder", None)
    if given is not None:
        if not isinstance(given, Iterable):
            raise TypeError(
                f"specorder for {path} must be elements, got {given!r}: give one symbol for each "
                "type, such as ['O', 'H']."
            )
        symbols = given.replace(",", " ").split() if isinstance(given, str) else list(given)
        if unknown := [each for each in symbols if atomic_numbers.get(each, 0) < 1]:
            raise ValueError(
                f"specorder for {path} names {unknown[0]!r}, which is no element: give one symbol "
                "for each type, such as ['O', 'H']."
            )
        if kind == "lammps-data":
            numbers = {k: atomic_numbers[each] for k, each in enumerate(symbols, start=1)}
            return {"Z_of_type": numbers}
        return {"specorder": symbols}
    if kind == "lammps-data":
        stated = "Z_of_type" in keywords or data.find(b"Masses") >= 0
        stated = stated or data.find(b"Atom Type Labels") >= 0
    elif kind == "lammps-dump-text":
        at = data.find(b"ITEM: ATOMS")
        end = data.find(b"\n", at)
        columns = bytes(data[at : end if end >= 0 else None]).split()[2:] if at >= 0 else []
        stated = b"type" not in columns or not {b"element", b"mass"}.isdisjoint(columns)
    else:
        stated = False
    if not stated:
        raise ValueError(
            f"{path} has the types of atoms and not their elements: pass specorder, the element of "
            "each type, such as specorder=['O', 'H'] (on the command line --specorder O,H)."
        )
    return {}
