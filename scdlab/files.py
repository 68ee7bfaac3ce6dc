"""Where things are on disk, and how they are read and written.

Files and folders are written whole or not at all (`scdlab.atomic`), pairs of files at one instant
(`scdlab.pairs`), json checked and plain (`scdlab.plain`); their names are here as well.
"""

import os
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeVar

from scdlab.atomic import atomic_file as atomic_file
from scdlab.atomic import atomic_folder as atomic_folder
from scdlab.atomic import finish_exchange as finish_exchange
from scdlab.atomic import remove as remove
from scdlab.atomic import sweep as sweep
from scdlab.atomic import was_cut_short as was_cut_short
from scdlab.atomic import write_json as write_json
from scdlab.locks import Busy
from scdlab.log import logger
from scdlab.pairs import read_pair as read_pair
from scdlab.pairs import write_pair as write_pair
from scdlab.plain import content_digest as content_digest
from scdlab.plain import described as described
from scdlab.plain import digest as digest
from scdlab.plain import has_absolute_path as has_absolute_path
from scdlab.plain import plain as plain
from scdlab.plain import read_json as read_json

_PACKAGE = Path(__file__).resolve().parent
_WARNED: set[tuple] = set()  # caches that are not written, and why

T = TypeVar("T")


@cache
def package_text(package: str, *parts: str) -> str:
    """The text of a file that comes with a package.

    Parameters
    ----------
    package : str
        The package, as "scdlab.explore".
    *parts : str
        Folders within it, and the name of the file.

    Returns
    -------
    str
        Its text.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    """
    return resources.files(package).joinpath(*parts).read_text(encoding="utf-8")


def inside_script(text: str) -> str:
    """Text as it may stand between script tags.

    Parameters
    ----------
    text : str
        A script, or json.

    Returns
    -------
    str
        The same, with nothing in it that ends the script for an html parser.
    """
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


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

    Raises
    ------
    FileNotFoundError
        Where it begins with a home folder that is not there.
    """
    value = os.environ.get("SCDLAB_DATA")
    try:
        return Path(value).expanduser() if value else None
    except RuntimeError as error:
        raise FileNotFoundError(
            f"SCDLAB_DATA is {value}, and there is no such home folder: give the whole path."
        ) from error


def cache_dir() -> Path:
    """Where parsed and downloaded data are kept: SCDLAB_CACHE, else ~/.cache/scdlab. Safe to delete
    at any time.

    Returns
    -------
    Path
        The folder, which need not exist.

    Raises
    ------
    FileNotFoundError
        Where the user has no home folder and SCDLAB_CACHE is not set.
    """
    value = os.environ.get("SCDLAB_CACHE")
    try:
        return Path(value).expanduser() if value else Path.home() / ".cache" / "scdlab"
    except RuntimeError as error:
        raise FileNotFoundError(
            "There is no home folder for the cache: set SCDLAB_CACHE to a folder that can be "
            "written."
        ) from error


def cached(
    name: str,
    make: Callable[[], T],
    read: Callable[[Path], T | None],
    write: Callable[[Path, T], None],
) -> T:
    """What the cache holds under a name, else what is made now and kept there if that can be.

    A cache that cannot be read or written costs time, never the result: one warning of the logger
    "scdlab" says why nothing is kept. An entry that is damaged is made again.

    Parameters
    ----------
    name : str
        The entry: a path below `cache_dir()`.
    make : callable
        Makes the value.
    read : callable
        The value from the path of the entry; None for an entry that is of no use any more. An
        OSError, EOFError or ValueError means that it is damaged.
    write : callable
        Writes the value (second argument) to the path of the entry (first), whole or not at all.

    Returns
    -------
    object
        The value.
    """
    damaged = False
    try:
        path = cache_dir() / name
        if os.path.lexists(path):
            found = read(path)
            if found is not None:
                return found
    except (OSError, EOFError, ValueError) as error:
        logger.debug("The cache entry %s cannot be used, it is made again (%s).", name, error)
        damaged = True
    value = make()
    try:
        path = cache_dir() / name
        if damaged:
            remove(path)
        write(path, value)
    except Busy:
        logger.debug("Another process writes the cache entry %s.", name)
    except (OSError, ValueError) as error:
        _warn_once(error)
    return value


def _warn_once(error: OSError | ValueError) -> None:
    """Say why nothing is kept in the cache; once for each cache and kind of reason."""
    kind = (os.environ.get("SCDLAB_CACHE"), type(error), getattr(error, "errno", None))
    if kind in _WARNED:
        return
    _WARNED.add(kind)
    logger.warning(
        "Nothing is kept in the cache, and what it was for will be made again next time (%s): set "
        "SCDLAB_CACHE to a folder that can be written and has room.",
        str(error).rstrip("."),
    )
