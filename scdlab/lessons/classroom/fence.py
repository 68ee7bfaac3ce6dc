"""What keeps an answer from harm: limits of the system, refusals within Python, and a look at
whether the checks are still what they were.

The refusals are an audit hook, on every system; it stops accidents and pranks by name, and whoever
gets past it meets the limits of the system (`supervisor`). Neither is proof against somebody who
is determined to be graded wrongly.
"""

import builtins
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch

from scdlab.lessons import checks

MIB = 2**20

_ANYWHERE = {
    "os.fork": "start another process",
    "os.forkpty": "start another process",
    "os.posix_spawn": "start another process",
    "os.spawn": "start another process",
    "os.exec": "start another program",
    "os.system": "start another program",
    "os.startfile": "start another program",
    "pty.spawn": "start another program",
    "subprocess.Popen": "start another program",
    "os.kill": "end a process",
    "os.killpg": "end a process",
    "signal.pthread_kill": "end a process",
    "socket.connect": "open a connection",
    "socket.bind": "open a connection",
    "socket.sendto": "open a connection",
    "socket.sendmsg": "open a connection",
    "socket.getaddrinfo": "open a connection",
    "socket.gethostbyname": "open a connection",
    "resource.setrlimit": "change its limits",
    "ctypes.dlopen": "load a library of machine code",
}
_FILES = {
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.utime",
    "shutil.rmtree",
    "shutil.move",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Limits:
    """What one answer may take.

    Parameters
    ----------
    seconds : float, default 10
        Of processor time.
    wall : float, default 60
        Seconds on the clock.
    memory : int, default 2048
        MiB, beside what the kit itself takes.
    file : int, default 16
        MiB in one file, and printed.
    disk : int, default 64
        MiB in all files.
    processes : int, default 16
        Processes and threads of its own.
    """

    seconds: float = 10
    wall: float = 60
    memory: int = 2048
    file: int = 16
    disk: int = 64
    processes: int = 16

    def as_dict(self) -> dict[str, float]:
        """The limits by name.

        Returns
        -------
        dict
            As the class takes them.
        """
        return asdict(self)


def set_limits(limits: Limits) -> None:
    """Give this process the system's limits. Where the system has none of a kind, it is left out.

    Parameters
    ----------
    limits : Limits
        What it may take.
    """
    if sys.platform == "win32":
        return
    import resource

    import psutil

    here = psutil.Process()
    own = sum(
        each.info["num_threads"] or 0
        for each in psutil.process_iter(["uids", "num_threads"])
        if each.info["uids"] and each.info["uids"].real == os.getuid()
    )
    wanted = {
        "RLIMIT_CPU": math.ceil(limits.seconds),
        "RLIMIT_AS": here.memory_info().vms + limits.memory * MIB,
        "RLIMIT_FSIZE": limits.file * MIB,
        "RLIMIT_NPROC": own + limits.processes,
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        most = resource.getrlimit(kind)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        try:
            # the processor's time ends with a signal that says so, and a second later in any case
            resource.setrlimit(kind, (value, value + (name == "RLIMIT_CPU")))
        except (OSError, ValueError):  # macOS takes no limit of the address space
            continue


def refuse(scratch: Path) -> list[str]:
    """From here on refuse, in this process, what no answer needs.

    Parameters
    ----------
    scratch : Path
        The only folder in which files may be written.

    Returns
    -------
    list of str
        Filled with what was tried, as verbs.
    """
    tried: list[str] = []
    inside = os.path.realpath(scratch)
    resolve = os.path.realpath
    own = threading.local()

    def stop(what: str, event: str) -> None:
        tried.append(f"tried to {what} ({event})")
        raise PermissionError(f"While an answer is graded it cannot {what} ({event}).")

    def is_inside(path: Any, folder: Any) -> bool:
        try:
            if isinstance(path, int):
                return True  # a file that is open already
            base = os.getcwd()
            if isinstance(folder, int) and folder >= 0:
                base = os.readlink(f"/proc/self/fd/{folder}")
            found = resolve(os.path.join(base, os.fsdecode(path)))
        except (OSError, TypeError, ValueError):
            return False
        return found == inside or found.startswith(inside + os.sep) or found == os.devnull

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        what = _ANYWHERE.get(event)
        if what is not None:
            stop(what, event)
        if getattr(own, "busy", False):
            return
        own.busy = True
        try:
            if event == "open":
                path, _, flags = arguments
                if isinstance(flags, int) and flags & _WRITING and not is_inside(path, -1):
                    stop("write files elsewhere", "open")
            elif event in _FILES:
                ints = [each for each in arguments[1:] if isinstance(each, int)]
                paths = [each for each in arguments[:2] if isinstance(each, str | bytes)]
                if not paths or not all(is_inside(each, ints[-1:] and ints[-1]) for each in paths):
                    stop("delete or change files", event)
        finally:
            own.busy = False

    sys.addaudithook(hook)
    return tried


def untouched() -> Callable[[], str | None]:
    """Remember what checks are made of.

    Returns
    -------
    callable () -> str or None
        Called later, it names the first of these that was replaced; None where all are as they
        were.
    """
    kept = {where: (value, _inside(value)) for where, value in _parts()}

    def changed() -> str | None:
        now = dict(_parts())
        for where, (value, inside) in kept.items():
            if now.get(where) is not value or _inside(value) is not inside:
                return where
        return None

    return changed


def _parts() -> Iterator[tuple[str, Any]]:
    """(name, object) of all that a check relies on."""
    own: list[ModuleType] = [
        module
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "scdlab" and isinstance(module, ModuleType)
    ]
    others = [builtins, math, torch, torch.linalg, torch.autograd, torch.nn.functional]
    classes = [torch.Tensor, checks.Check, checks.Wrong, checks.Pending]
    for each in [*own, *others, *classes]:
        lead = each.__name__
        yield from ((f"{lead}.{name}", value) for name, value in list(vars(each).items()))
    yield from ((f"scdlab.lessons.{name}", each) for name, each in checks.all_checks().items())


def _inside(value: Any) -> Any:
    """The code of a function, which could be replaced within it."""
    return value.__code__ if isinstance(value, FunctionType) else None
