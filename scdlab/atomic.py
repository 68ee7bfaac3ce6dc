"""Files and folders written whole or not at all, moved into place at one instant.

A temporary is called `.NAME.<8 characters>.tmp`, beside the target NAME, and locked by its writer
while that lives; `sweep` removes those of killed writers.
"""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scdlab.locks import keep_to_this_process, try_hold
from scdlab.log import logger
from scdlab.plain import described, plain

_DAY = 86_400  # seconds
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_AT_FDCWD = -100  # of fcntl.h: relative to the working folder
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike, sync: bool = False) -> Iterator[Path]:
    """Write a file whole or not at all: moved into place when the block ends well.

    Parameters
    ----------
    path : str or path
        The file. A link stays: the file that it points to is written.
    sync : bool, default False
        Whether to wait until the disk has it, for what must outlast a power failure.

    Yields
    ------
    Path
        A temporary file beside it, to be written in the block.

    Raises
    ------
    OSError
        Where it cannot be written, in a sentence.
    """
    path = target(path)
    with sentence(path), temporary(path) as new:
        yield new
        os.chmod(new, 0o666 & ~_umask())  # whatever wrote it may have made it anew, and private
        if sync:
            flush(new)
        os.replace(new, path)
        if sync:
            flush(path.parent)


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A new temporary file beside a target, removed at the end if it is still there.

    Parameters
    ----------
    path : Path
        The target, as `target` gives it.

    Yields
    ------
    Path
        The file, which others may read as they may read any result.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    new, handle = _temporary(path, folder=False)
    try:
        os.chmod(new, 0o666 & ~_umask())  # mkstemp makes private ones
        yield new
    finally:
        _let_go(handle)
        new.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any, sync: bool = False) -> None:
    """Write a value as readable json, whole or not at all.

    Parameters
    ----------
    path : str or path
        The file.
    value : object
        What is written; numbers of numpy, paths and the like become plain (`plain`).
    sync : bool, default False
        Whether to wait until the disk has it.

    Raises
    ------
    TypeError
        For what json cannot hold; nothing is written then.
    OSError
        Where the file cannot be written, in a sentence.
    """
    text = json.dumps(plain(value, Path(path).name), indent=1, ensure_ascii=False) + "\n"
    content = text.encode("utf-8")
    with atomic_file(path, sync=sync) as new:
        new.write_bytes(content)


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike, check: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Write a folder whole or not at all: it replaces the old when the block ends well.

    Parameters
    ----------
    path : str or path
        The folder. A link stays: the folder that it points to is written.
    check : callable, optional
        Raises an error where what is there must not be replaced; called with its path before the
        block and before the exchange.

    Yields
    ------
    Path
        A temporary folder beside it, to be filled in the block.

    Raises
    ------
    OSError
        Where it cannot be written, in a sentence.
    """
    path = target(path)
    with sentence(path):
        if check is not None:
            check(path)
        new, handle = _temporary(path, folder=True)
        try:
            yield new
            os.chmod(new, 0o777 & ~_umask())
            if check is not None:
                check(path)
            if not os.path.lexists(path):
                os.rename(new, path)
            elif not _exchanged(new, path):
                # in two steps, the old one aside first; `finish_exchange` mends what is cut short
                aside = new.with_suffix(".old")
                os.rename(path, aside)
                try:
                    os.rename(new, path)
                except OSError:
                    os.rename(aside, path)
                    raise
                _discard(aside)
        finally:
            _let_go(handle)
            _discard(new)  # after an exchange, that is the old one


def sweep(path: str | os.PathLike) -> None:
    """Remove what killed writers of a file or folder left beside it, and finish an exchange of
    folders that was cut short. For the one who holds the lock on it.

    Parameters
    ----------
    path : str or path
        The target.
    """
    path = target(path)
    finish_exchange(path)
    for each in _beside(path, r"\.(tmp|old)"):
        if _is_left(each):
            _discard(each)


def finish_exchange(path: str | os.PathLike) -> None:
    """Put a folder back in place whose replacement was cut short between its two renames. For the
    one who holds the lock on it.

    Parameters
    ----------
    path : str or path
        The folder.
    """
    path = target(path)
    if not os.path.lexists(path) and (aside := _beside(path, r"\.old")):
        os.rename(max(aside, key=lambda each: each.stat().st_mtime_ns), path)


def was_cut_short(path: str | os.PathLike) -> bool:
    """Whether a folder is missing because its replacement was cut short, see `finish_exchange`.

    Parameters
    ----------
    path : str or path
        The folder.

    Returns
    -------
    bool
        Whether it can be put back.
    """
    path = target(path)
    return not os.path.lexists(path) and bool(_beside(path, r"\.old"))


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all it holds, if it is there.

    Parameters
    ----------
    path : Path
        What to remove.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def target(path: str | os.PathLike) -> Path:
    """The path to write: of a link, where it points; absolute, so that it has a name and a folder.

    Parameters
    ----------
    path : str or path
        A file or folder, which need not exist.

    Returns
    -------
    Path
        The same place by its own name.

    Raises
    ------
    TypeError, ValueError
        For what is no path.
    """
    path = Path(os.path.abspath(as_path(path)))
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def as_path(path: str | os.PathLike) -> Path:
    """A path, after checking that it is one.

    Parameters
    ----------
    path : str or path
        The path.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    TypeError
        For anything but text and paths.
    ValueError
        For text with a zero byte, which no name can have.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"A path must be text or a pathlib.Path, got {path!r:.60} ({type(path).__name__})."
        )
    if "\0" in os.fsdecode(path):
        raise ValueError(f"The path {os.fsdecode(path)!r:.80} has a zero byte: correct it.")
    return Path(os.fsdecode(path))


def flush(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder.

    Parameters
    ----------
    path : Path
        The file or folder.
    """
    if path.is_dir() and sys.platform == "win32":
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def sentence(path: Path) -> Iterator[None]:
    """Turn the system's errors about a disk that takes no more, or a place that cannot be written,
    into a sentence; errors that are sentences stay.

    Parameters
    ----------
    path : Path
        What is being written, for the sentence.
    """
    try:
        yield
    except Exception as error:
        system = _of_the_system(error)
        if system is None:
            raise
        if system.errno in _FULL:
            remedy = "make room, or choose a place on another disk"
        elif system.errno in _CLOSED:
            remedy = "choose a folder that you may write"
        elif isinstance(system, FileExistsError | NotADirectoryError):
            system.strerror = f"{system.filename} is in the way, or no folder"
            remedy = "choose another path"
        else:
            remedy = "check the path and its folders"
        raise described(system, f"{path} cannot be written ({{}}): {remedy}.") from error


def _of_the_system(error: Exception) -> OSError | None:
    """The system's error that an exception is, or stands for; None for all others."""
    if isinstance(error, OSError) and error.strerror is not None:
        return error
    if isinstance(error, OSError) and error.errno is None and "requested and" in str(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # so numpy puts it
    # libraries in Rust, safetensors among them: "… (os error 28)"
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(found[1]), os.strerror(int(found[1])))
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _temporary(path: Path, folder: bool) -> tuple[Path, int | None]:
    """A new temporary for a target, and the open file by whose lock others see that it is in use
    (None where there are no such)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{_short(path.name)}."
    while True:
        if folder:
            name = tempfile.mkdtemp(dir=path.parent, prefix=prefix, suffix=".tmp")
            handle = None if sys.platform == "win32" else os.open(name, os.O_RDONLY)
        else:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
            if sys.platform == "win32":  # an open file cannot be renamed there
                os.close(handle)
                handle = None
        if handle is None:
            return Path(name), None
        keep_to_this_process(handle, True)
        with contextlib.suppress(OSError):  # a file system without locks
            try_hold(handle)
        if os.path.exists(name):
            return Path(name), handle
        _let_go(handle)  # swept between our making and our locking it


def _let_go(handle: int | None) -> None:
    if handle is not None:
        keep_to_this_process(handle, False)
        with contextlib.suppress(OSError):  # closed already, in a forked process
            os.close(handle)


def _short(name: str) -> str:
    """A name that leaves room for what a temporary adds: file systems allow 255 bytes."""
    if len(os.fsencode(name)) <= 200:
        return name
    return name[:40] + hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _beside(path: Path, ending: str) -> list[Path]:
    """The temporaries of a target with such an ending (a regular expression)."""
    pattern = re.compile(re.escape(f".{_short(path.name)}.") + "[a-z0-9_]{8}" + ending)
    try:
        names = os.listdir(path.parent)
    except OSError:  # no folder, or one that cannot be listed: nothing of ours is seen
        return []
    return [path.with_name(name) for name in names if pattern.fullmatch(name)]


def _is_left(path: Path) -> bool:
    """Whether the writer of a temporary has gone."""
    try:
        old = time.time() - path.lstat().st_mtime > _DAY
        if sys.platform == "win32":
            return old
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return try_hold(handle)
    except OSError:  # a file system without locks
        return old
    finally:
        os.close(handle)


def _discard(path: Path) -> None:
    """Remove what is of no use any more, as far as that goes; the next `sweep` tries again."""
    try:
        remove(path)
    except OSError as error:
        logger.debug("%s could not be removed (%s).", path, error)


def _exchanged(one: Path, two: Path) -> bool:
    """Whether two folders were exchanged in one step, which not every system can."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(two)
    return rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) == 0
