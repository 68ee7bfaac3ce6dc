"""Where things are on disk, and how files are written: whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent


def package_dir(name: str) -> Path:
    """A folder of the kit's own: beside the package in a checkout, inside it when installed.

    Parameters
    ----------
    name : str
        "data" or "notebooks".

    Returns
    -------
    Path
        The folder.
    """
    in_checkout = (_PACKAGE.parent / "pyproject.toml").is_file()
    return _PACKAGE.parent / name if in_checkout else _PACKAGE / f"_{name}"


def user_data() -> Path | None:
    """The folder of the user's own data sets, from the environment variable SCDLAB_DATA.

    Returns
    -------
    Path or None
        The folder; None when the variable is not set.
    """
    value = os.environ.get("SCDLAB_DATA")
    return Path(value).expanduser() if value else None


def cache_dir() -> Path:
    """Where parsed and downloaded data are kept: SCDLAB_CACHE, else ~/.cache/scdlab. Safe to delete
    at any time."""
    value = os.environ.get("SCDLAB_CACHE")
    return Path(value).expanduser() if value else Path.home() / ".cache" / "scdlab"


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file whole or not at all: moved into place when the block ends well.

    Parameters
    ----------
    path : str or path
        The file.

    Yields
    ------
    Path
        A temporary file beside it, to be written in the block.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes files private; a result is not
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Write a folder whole or not at all: it replaces the old when the block ends well.

    Parameters
    ----------
    path : str or path
        The folder.

    Yields
    ------
    Path
        A temporary folder beside it, to be filled in the block.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield new
        os.chmod(new, 0o777 & ~_umask())
        if path.exists():  # a folder cannot be replaced in one step: put the old one aside first
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")) / "old"
            os.replace(path, old)
            os.replace(new, path)
            shutil.rmtree(old.parent)
        else:
            os.replace(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a value as readable json, whole or not at all.

    Parameters
    ----------
    path : str or path
        The file.
    value : json value
        What is written.
    """
    with atomic_file(path) as new:
        new.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def digest(path: str | os.PathLike) -> str:
    """sha256 of a file.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    str
        Hexadecimal.
    """
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def content_digest(content: Mapping) -> str:
    """sha256 of what a json file holds, in canonical form: sorted keys, no spaces.

    Parameters
    ----------
    content : mapping
        The entries; "digest" is left out.

    Returns
    -------
    str
        Hexadecimal.
    """
    rest = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(
        rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def has_absolute_path(content: Any) -> bool:
    """Whether a value holds a path of some machine, which makes no sense elsewhere.

    Parameters
    ----------
    content : json value
        What is to be published.

    Returns
    -------
    bool
        Whether there is such a path.
    """
    return bool(
        re.search(r'"(/|[A-Za-z]:\\\\|~)|/(home|root|tmp|Users|work)/', json.dumps(content))
    )
