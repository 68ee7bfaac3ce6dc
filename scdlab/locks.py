"""Advisory locks on files and folders: two writers on one target, and the second is refused.

A lock is held by the process that took it, and the system frees it when that process ends, killed
or not: what is left of a lock file never blocks anybody.
"""

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from scdlab.log import logger

_FAR = 1 << 30  # Windows keeps others from reading locked bytes: lock one behind the content
_HELD: set[int] = set()  # file descriptors of the locks of this process
_WARNED: set[str] = set()  # folders that cannot be locked


class Busy(OSError):
    """Another process, or another thread, writes this target now."""


@contextlib.contextmanager
def locked(path: str | os.PathLike, inside: bool = False) -> Iterator[None]:
    """Hold the lock on a file or folder, as the only writer of it, while the block runs.

    The lock is the file `.NAME.lock` beside the target, or `.lock` in it; it holds who has it, and
    goes away at the end. Where the file system knows no locks, a warning says so, and the block
    runs without one. A process that is forked in the block does not hold the lock.

    Parameters
    ----------
    path : str or path
        The target, which need not exist. A link stands for what it points to.
    inside : bool, default False
        Whether the target is a folder that holds its own lock file.

    Raises
    ------
    Busy
        When another holds the lock: names the process, its host and since when.
    OSError
        Where the lock file cannot be written.
    """
    target = Path(os.path.realpath(path))
    file = target / ".lock" if inside else target.with_name(f".{target.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = _taken(file, target)
    holder = os.getpid()
    _HELD.add(handle)
    try:
        yield
    finally:
        if os.getpid() == holder:
            _HELD.discard(handle)
            _give_back(handle, file)


@contextlib.contextmanager
def locked_in_turn(
    path: str | os.PathLike, waits: Callable[[Busy], object], every: float = 0.5
) -> Iterator[float]:
    """Hold the lock on a file or folder as `locked` does, once others have let go of it.

    Parameters
    ----------
    path : str or path
        The target.
    waits : callable (Busy) -> None
        Called once, with who holds the lock, where it has to be waited for.
    every : float, default 0.5
        Seconds between two attempts.

    Yields
    ------
    float
        Seconds that were waited.
    """
    start = time.perf_counter()
    announced = False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(path))
                break
            except Busy as busy:
                if not announced:
                    waits(busy)
                announced = True
            time.sleep(every)
        yield time.perf_counter() - start if announced else 0.0


def try_hold(handle: int) -> bool:
    """Take the lock of an open file, if nobody has it.

    Parameters
    ----------
    handle : int
        A file descriptor; of a folder where the system has such.

    Returns
    -------
    bool
        False when another has it.

    Raises
    ------
    OSError
        Where the file system knows no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, _FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def keep_to_this_process(handle: int, held: bool) -> None:
    """Close a file descriptor in processes that are forked from this one, or no longer.

    A forked process shares the locks of its parent's open files, and would keep them when the
    parent is killed.

    Parameters
    ----------
    handle : int
        The file descriptor.
    held : bool
        Whether it holds a lock now.
    """
    if held:
        _HELD.add(handle)
    else:
        _HELD.discard(handle)


def _taken(file: Path, target: Path) -> int:
    """The descriptor of the lock file, locked. Raises Busy when another has it."""
    while True:
        handle = _opened(file)
        try:
            free = try_hold(handle)
        except OSError as error:  # no locks here: some network file systems
            _warn_once(file.parent, error)
            free = True
        if not free:
            holder = _holder(handle)
            os.close(handle)
            raise Busy(
                f"{target} is being written by {holder}: wait until that has ended, or choose "
                "another path."
            )
        if _is_still(handle, file):
            break
        os.close(handle)  # its holder removed the file between our opening and our locking it
    about = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv)[:500],
    }
    try:
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(about).encode())
    except OSError as error:  # a full disk: the lock holds, only its holder has no name
        logger.debug("The holder of %s could not be written (%s).", file, error)
    return handle


def _opened(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except PermissionError as error:  # left by another user: it can be locked all the same
        try:
            return os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:  # there is none, and none may be made
            raise error from None


def _is_still(handle: int, file: Path) -> bool:
    """Whether the open file is the one of that name."""
    if sys.platform == "win32":  # an open file cannot be removed there
        return True
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    """Who holds a lock, from the content of its file."""
    text = b""
    for _ in range(20):  # it may have been taken just now, its content on its way
        os.lseek(handle, 0, os.SEEK_SET)
        text = os.read(handle, 4096)
        if text:
            break
        time.sleep(0.01)
    try:
        about = json.loads(text)
        pid = about["pid"]
        host = about["host"]
        since = about["since"]
        command = about["command"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "another process"
    here = " (this very process)" if pid == os.getpid() and host == socket.gethostname() else ""
    return f"process {pid}{here} on {host} since {since} ({command})"


def _warn_once(folder: Path, error: OSError) -> None:
    if str(folder) not in _WARNED:
        _WARNED.add(str(folder))
        logger.warning(
            "%s is on a file system without locks (%s): two processes that write the same target "
            "there are not kept apart.",
            folder,
            error.strerror,
        )


def _give_back(handle: int, file: Path) -> None:
    """Remove the lock file while it is still ours, then let go of it."""
    if sys.platform == "win32":
        os.close(handle)  # open files cannot be removed there
        with contextlib.suppress(OSError):  # the next holder has it open already
            file.unlink(missing_ok=True)
        return
    import fcntl

    try:
        if _is_still(handle, file):
            file.unlink(missing_ok=True)
    except OSError as error:  # its folder has become read-only
        logger.debug("%s could not be removed (%s).", file, error)
    fcntl.flock(handle, fcntl.LOCK_UN)  # a forked process may share the open file
    os.close(handle)


def _forget_in_child() -> None:
    for handle in _HELD:
        with contextlib.suppress(OSError):
            os.close(handle)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
