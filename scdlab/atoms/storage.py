"""A store on disk: a folder of one .npy file per array and `store.json`, which describes them.

`store.json` holds the format and its version, the dtype and shape of each array, the names of the
properties, and the store's `meta`. Arrays of atom properties are called `atom-<name>`. Opened, the
arrays are memory-mapped: nothing is read before it is used, and processes share the pages.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scdlab import files
from scdlab.atoms.validate import PER_ATOM, PER_STRUCTURE, Content

FORMAT = "scdlab-atomstore"
VERSION = 1
_ATOM_PREFIX = "atom-"


def write(path: str | Path, content: Content) -> None:
    """Write a store as a folder, whole or not at all; it replaces an earlier one.

    Parameters
    ----------
    path : str or Path
        The folder.
    content : Content
        What the store holds.
    """
    arrays = dict(content.arrays)
    for name, value in content.atom_properties.items():
        arrays[_ATOM_PREFIX + name] = value
    described = {
        name: {"dtype": str(value.dtype), "shape": list(value.shape)}
        for name, value in arrays.items()
    }
    head = {
        "format": FORMAT,
        "version": VERSION,
        "arrays": described,
        "properties": list(content.properties),
        "atom_properties": list(content.atom_properties),
        "meta": content.meta,
    }
    if content.vectors:
        head["vectors"] = list(content.vectors)
    with files.atomic_folder(path) as folder:
        for name, value in arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(value), allow_pickle=False)
        files.write_json(folder / "store.json", head)


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
        For a file that is truncated or damaged, and for another version of the format.
    """
    path = Path(path)
    head = _read_head(path)
    arrays = {
        name: _open_array(path / f"{name}.npy", about) for name, about in head["arrays"].items()
    }
    atom_properties = {name: arrays.pop(_ATOM_PREFIX + name) for name in head["atom_properties"]}
    for name, dtype in (PER_ATOM | PER_STRUCTURE).items():
        if name in arrays and arrays[name].dtype != dtype:
            raise ValueError(
                f"{path / name}.npy holds {arrays[name].dtype}, not {dtype}: make the store again."
            )
    return Content(
        arrays,
        tuple(head["properties"]),
        tuple(head.get("vectors", ())),
        atom_properties,
        head["meta"],
    )


def _read_head(path: Path) -> dict:
    """store.json, after checking its format and version. Raises FileNotFoundError where there is
    none, and ValueError where it cannot be read or is of another format."""
    file = path / "store.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{path} is not a saved AtomStore (it has no store.json): check the path, or save "
            "it again."
        )
    try:
        head = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{file} is not readable json ({error}): make or copy the store again."
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
    return head


def _open_array(path: Path, about: Mapping) -> np.ndarray:
    """One array, memory-mapped, after checking that the file is complete and as store.json
    describes it. Raises FileNotFoundError where there is none, else ValueError."""
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
            f"{path} holds {array.dtype} {array.shape}, not what store.json describes: make or "
            "copy the store again."
        )
    return array
