"""A store on disk: a folder of one .npy file per array and `store.json`, which describes them.

`store.json` holds the format and its version, the dtype, shape and sha256 of each array, the names
of the properties, the store's `meta`, and a digest of all that. Arrays of atom properties are
called `atom-<name>`. Opened, the arrays are memory-mapped: nothing is read before it is used, and
processes share the pages.

What is checked when. Opening compares `store.json` with its digest, the files with it and the
arrays with each other. A store of up to 64 MB is then read and compared with its digests; of a
larger one, `check` does that when it is asked to. Stores of earlier versions have no digests: their
values are checked instead, as `AtomStore.from_arrays` does.

A store is replaced at one instant, and only a store is: a folder that holds anything else stays.
"""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scdlab import files
from scdlab.atomic import as_path, flush, sentence, target
from scdlab.atoms import npy
from scdlab.atoms.validate import (
    ATOM_DTYPES,
    PER_ATOM,
    PER_STRUCTURE,
    RESERVED,
    Arrays,
    Content,
    Source,
    check_elements,
    check_ptr,
    check_values,
    expected_shapes,
)
from scdlab.locks import Busy, locked
from scdlab.log import logger

FORMAT = "scdlab-atomstore"
VERSION = 1
WHOLE = 64_000_000  # bytes up to which a store is checked whole when it is opened
_ATOM_PREFIX = "atom-"
_TRIES = 100  # of a reader, while writers are at work


def write(path: str | Path, content: Content) -> None:
    """Write a store as a folder, whole or not at all; it replaces an earlier one.

    Parameters
    ----------
    path : str or Path
        The folder.
    content : Content
        What the store holds.

    Raises
    ------
    FileExistsError
        When something else than a saved store stands there; it is left as it is.
    Busy
        When another process writes this store.
    OSError
        Where it cannot be written, in a sentence.
    TypeError, ValueError
        For notes (`meta`) that json cannot hold.
    """
    path = target(path)
    arrays = all_arrays(content.arrays, content.atom_properties)
    head = files.plain(
        {
            "format": FORMAT,
            "version": VERSION,
            "arrays": {
                name: {"dtype": value.dtype.name, "shape": value.shape}
                for name, value in arrays.items()
            },
            "properties": content.properties,
            "atom_properties": list(content.atom_properties),
            "meta": content.meta,
        },
        "store.json",
    )
    if content.vectors:
        head["vectors"] = list(content.vectors)
    try:
        files.content_digest(head)
    except ValueError as error:
        raise ValueError(
            f"The notes (meta) of the store hold what json cannot ({error}): leave it out."
        ) from error
    check_replaced(path)
    with sentence(path), locked(path):
        files.sweep(path)
        with files.atomic_folder(path, check=check_replaced) as folder:
            head["digests"] = {
                name: npy.write_array(folder / f"{name}.npy", value)
                for name, value in arrays.items()
            }
            head["digest"] = files.content_digest(head)
            files.write_json(folder / "store.json", head, sync=True)
            flush(folder)
        flush(path.parent)


def check_replaced(path: Path) -> None:
    """Check that a store may be written to a path: nothing is there, an empty folder, or a saved
    store and nothing else.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    FileExistsError
        Names what is in the way.
    """
    remedy = "choose another path"
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        kind = "link that leads nowhere" if path.is_symlink() else "file"
        raise FileExistsError(f"{path} is a {kind}, not a saved AtomStore: {remedy}.")
    if os.path.samefile(path, os.curdir):
        raise FileExistsError(f"{path} is the working folder of this process: {remedy}.")
    there = sorted(os.listdir(path))
    if not there:
        return
    try:
        head = files.read_json(path / "store.json", finite=False)
    except (OSError, ValueError):
        # a damaged store may be written anew, where nothing but a store's own files is at stake
        head = {"format": FORMAT} if {"store.json", "ptr.npy"}.issubset(there) else {}
    described = head.get("arrays")
    # a description that lacks what every store has is damaged, not another store's
    if isinstance(described, dict) and {"z", "pos", "ptr"}.issubset(described):
        own = {"store.json", *(f"{name}.npy" for name in described)}
    else:
        own = {"store.json", *(name for name in there if _is_array_file(name))}
    if head.get("format") != FORMAT:
        raise FileExistsError(
            f"The folder {path} holds {_listed(there)} and is no saved AtomStore: remove it, or "
            f"{remedy}."
        )
    foreign = [name for name in there if name not in own or (path / name).is_dir()]
    if foreign:
        raise FileExistsError(
            f"The folder {path} holds an AtomStore, and {_listed(foreign)}, which would be lost: "
            f"move that elsewhere, or {remedy}."
        )


def _is_array_file(name: str) -> bool:
    """Whether a store writes a file of this name."""
    stem = name.removesuffix(".npy")
    known = stem in PER_ATOM or stem in PER_STRUCTURE or stem.startswith(_ATOM_PREFIX)
    return known and stem != name


def read(path: str | Path) -> Content:
    """Open the folder of a store, its arrays memory-mapped.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    Content
        What the store holds.

    Raises
    ------
    FileNotFoundError
        For a folder that is no store, or lacks one of its files.
    ValueError
        For a store that is damaged or contradicts itself, and for another version of the format.
    """
    path = as_path(path)
    for _ in range(_TRIES):
        _finish_exchange(path)
        before = _state(path)
        try:
            content = _read(path)
        except (OSError, ValueError):
            if _state(path) == before:
                raise
            continue  # the store was replaced just now
        if _state(path) == before:
            return content
    raise Busy(f"The store {path} is replaced again and again: wait until that has ended.")


def check(source: Source, arrays: Arrays, atom_properties: Arrays) -> None:
    """Read a whole store and compare it with its digests; without digests, check its values.

    Parameters
    ----------
    source : Source
        Where the arrays come from; it keeps that they have been checked.
    arrays, atom_properties : dict
        The arrays, as `Content` has them.

    Raises
    ------
    ValueError
        Names the file that is damaged, or the structure whose values cannot be used.
    """
    if source.checked:
        return
    everything = all_arrays(arrays, atom_properties)
    size = sum(value.nbytes for value in everything.values())
    if size > 1e9:
        logger.info("Checking the store %s (%.1f GB), once in a process.", source.path, size / 1e9)
    if source.digests is None:
        try:
            check_ptr(arrays["ptr"])
            check_elements(arrays["z"], arrays["ptr"])
            check_values(arrays)
        except ValueError as error:
            text = str(error)
            raise ValueError(
                f"The store {source.path} is damaged: {text[0].lower()}{text[1:]}"
            ) from error
    else:
        if size > WHOLE:
            with ThreadPoolExecutor() as pool:
                found = list(pool.map(npy.array_digest, everything.values()))
        else:
            found = [npy.array_digest(value) for value in everything.values()]
        for name, sha256 in zip(everything, found, strict=True):
            if sha256 != source.digests[name]:
                raise ValueError(
                    f"{source.path / name}.npy is damaged (its digest differs from the one in "
                    f"store.json): {npy.AGAIN}."
                )
    source.checked = True


def all_arrays(arrays: Arrays, atom_properties: Arrays) -> Arrays:
    """The arrays of a store by the names of their files.

    Parameters
    ----------
    arrays, atom_properties : dict
        The arrays, as `Content` has them.

    Returns
    -------
    dict
        All of them; those of atom properties are called `atom-<name>`.
    """
    return arrays | {_ATOM_PREFIX + name: value for name, value in atom_properties.items()}


def _finish_exchange(path: Path) -> None:
    """Mend a replacement that was cut short; wait for one that is going on."""
    for _ in range(_TRIES):
        if not files.was_cut_short(path):
            return
        try:
            with sentence(path), locked(path):
                files.finish_exchange(path)
        except Busy:
            time.sleep(0.05)


def _state(path: Path) -> tuple | None:
    """What changes when a store is replaced; None without a store."""
    try:
        found = os.stat(path / "store.json")
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _read(path: Path) -> Content:
    head = _read_head(path)
    arrays = {}
    for name, about in head["arrays"].items():
        arrays[name] = npy.open_array(path / f"{name}.npy", about["dtype"], tuple(about["shape"]))
    atom_properties = {name: arrays.pop(_ATOM_PREFIX + name) for name in head["atom_properties"]}
    vectors = head.get("vectors", [])
    ptr = arrays["ptr"]
    n = len(ptr) - 1
    n_atoms = len(arrays["z"])
    if n < 1 or ptr[0] != 0 or ptr[-1] != n_atoms:
        raise ValueError(
            f"{path / 'ptr.npy'} does not run from 0 to the {n_atoms} atoms of z.npy: {npy.AGAIN}."
        )
    shapes = expected_shapes(n, n_atoms)
    shapes |= {"values": (n, len(head["properties"])), "vectors": (n, len(vectors), 3)}
    for name, value in arrays.items():
        if name in shapes and value.shape != shapes[name]:
            raise ValueError(
                f"{path / name}.npy has the shape {value.shape}, not {shapes[name]} for the {n} "
                f"structures and {n_atoms} atoms of the store: {npy.AGAIN}."
            )
    for name, value in atom_properties.items():
        if len(value) != n_atoms:
            raise ValueError(
                f"{path / _ATOM_PREFIX}{name}.npy has {len(value)} rows for {n_atoms} atoms: "
                f"{npy.AGAIN}."
            )
    digest = head.get("digest") or files.content_digest(head)
    source = Source(path.resolve(), digest, head.get("digests"))
    if sum(value.nbytes for value in all_arrays(arrays, atom_properties).values()) <= WHOLE:
        check(source, arrays, atom_properties)
        try:
            check_ptr(ptr)
        except ValueError as error:
            raise ValueError(f"{path / 'ptr.npy'} is damaged ({error}): {npy.AGAIN}.") from error
    return Content(
        arrays, tuple(head["properties"]), tuple(vectors), atom_properties, head["meta"], source
    )


def _read_head(path: Path) -> dict[str, Any]:
    """store.json, checked. Raises FileNotFoundError where there is none, and ValueError where it
    cannot be read, is of another format or contradicts itself."""
    file = path / "store.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{path} is not a saved AtomStore (it has no store.json): check the path, or save "
            "it again."
        )
    head = files.read_json(file, "description of a store", npy.AGAIN)
    if head.get("format") != FORMAT:
        raise ValueError(
            f"{path} has the format {str(head.get('format'))[:80]!r}, not {FORMAT!r}: check the "
            "path."
        )
    if head.get("version") != VERSION:
        raise ValueError(
            f"{path} was written by version {str(head.get('version'))[:80]} of the store format, "
            f"this scdlab reads version {VERSION}: remake it with this scdlab, or read it with the "
            "one that wrote it."
        )
    if wrong := _contradiction(head):
        raise ValueError(f"{file} is damaged ({wrong}): {npy.AGAIN}.")
    return head


def _contradiction(head: Mapping[str, Any]) -> str:
    """What is wrong with the entries of store.json; "" where nothing is."""
    kinds = {"arrays": dict, "properties": list, "atom_properties": list, "meta": dict}
    for entry, kind in (kinds | {"vectors": list, "digests": dict, "digest": str}).items():
        if entry not in head:
            if entry in kinds:
                return f"it lacks {entry!r}"
        elif not isinstance(head[entry], kind):
            return f"{entry!r} is a {type(head[entry]).__name__}, not a {kind.__name__}"
    arrays = head["arrays"]
    vectors = head.get("vectors", [])
    names = [*head["properties"], *vectors, *head["atom_properties"]]
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
            return f"{str(name)[:80]!r} cannot name a property"
    if len(set(names)) < len(names):
        return "one name stands for two properties"
    dtypes = PER_ATOM | PER_STRUCTURE
    allowed = {name: {dtype} for name, dtype in dtypes.items()}
    allowed |= {_ATOM_PREFIX + name: ATOM_DTYPES for name in head["atom_properties"]}
    for name, about in arrays.items():
        if name not in allowed:
            return f"{name[:80]!r} is no array of a store"
        dtype = about.get("dtype") if isinstance(about, dict) else None
        shape = about.get("shape") if isinstance(about, dict) else None
        if not isinstance(dtype, str) or dtype not in allowed[name]:
            expected = " or ".join(sorted(allowed[name]))
            return f"{name!r} has the dtype {str(dtype)[:80]!r}, not {expected}"
        if (
            not isinstance(shape, list)
            or not shape
            or not all(type(size) is int and size > 0 for size in shape)
        ):
            return f"{name!r} has no shape that an array can have"
    needed = {"z", "pos", "ptr"} | {_ATOM_PREFIX + name for name in head["atom_properties"]}
    needed |= {"values"} if head["properties"] else set()
    needed |= {"vectors"} if vectors else set()
    if not {"cell", "pbc"}.isdisjoint(arrays):
        needed |= {"cell", "pbc"}
    if missing := sorted(needed - set(arrays)):
        return f"it lacks the array {missing[0]!r}"
    for name, of in (("values", head["properties"]), ("vectors", vectors)):
        if name in arrays and not of:
            return f"it has an array {name!r} without names"
    if "digests" in head and set(head["digests"]) != set(arrays):
        return "it has no digest for each array"
    if ("digests" in head) != ("digest" in head):
        return "it has only a part of its digests"
    if "digest" in head and head["digest"] != files.content_digest(head):
        return "its digest differs from its content"
    return ""


def _listed(names: list[str]) -> str:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{others}"
