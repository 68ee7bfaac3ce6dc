"""A function in a process of its own that is ended at its k-th file operation, or at some time.

    end = killing.run(save, (folder, 3), folder, at=7)                      killed at the seventh
    end = killing.run(save, (folder, 3), folder, at=7, signum=SIGINT)       as by Ctrl-C
    end = killing.run(save, (folder, 3), folder, after=0.05)                killed in its midst
    end = killing.run(save, (folder, 3), folder, file_size=4000)            files cannot grow on
    n = killing.operations(save, (folder, 3), folder)                       undisturbed, counted

The function is one of a module that can be imported by name. Processes are forked from a server
that has imported scdlab once. An operation is what opens a file for writing, renames, removes,
makes or syncs anything in the folder: the signal comes just before it, so also just after the one
before.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import scdlab

# audit events of the interpreter, for what is changed on disk; `ctypes.dlsym`: the exchange of two
# folders is a call of the system's library
_EVENTS = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.truncate",
    "os.symlink",
    "os.link",
    "shutil.rmtree",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NEVER = 1 << 60
# what each process would load for itself otherwise, torch-geometric with its first batch
_PRELOADED = ["scdlab", "scdlab.training", "torch_geometric.data", "killing"]


@dataclass(frozen=True)
class End:
    """How a process ended.

    Parameters
    ----------
    code : int or None
        Its exit code, minus the signal for one that was killed; None for one that did not end.
    operations : int or None
        File operations, of one that ended by itself.
    error : str
        What it raised, with the name of the class.
    seconds : float
        How long the function ran.
    """

    code: int | None
    operations: int | None
    error: str
    seconds: float


def run(
    action: Callable[..., Any],
    args: tuple,
    folder: Path,
    *,
    at: int = _NEVER,
    signum: int = signal.SIGKILL,
    after: float | None = None,
    file_size: int | None = None,
    limit: float = 120.0,
) -> End:
    """Call a function in a process of its own, and end it.

    Parameters
    ----------
    action : callable
        A function of a module.
    args : tuple
        Its arguments.
    folder : Path
        Operations in this folder count.
    at : int, optional
        The number of the operation, from 0, just before which the signal comes.
    signum : int, default SIGKILL
        The signal.
    after : float, optional
        Seconds after its start at which the signal comes, instead.
    file_size : int, optional
        Bytes that a file may have, as on a disk that is full.
    limit : float, default 120
        Seconds after which it is taken for endless, and killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    here, there = context.Pipe(duplex=False)
    child = context.Process(
        target=_call, args=(action, args, str(folder), at, int(signum), file_size, there)
    )
    child.start()
    there.close()
    start = time.monotonic()
    with contextlib.suppress(EOFError):
        here.recv()  # it has imported all, and starts now
        start = time.monotonic()
        if after is not None:
            child.join(after)
            if child.is_alive() and child.pid is not None:
                os.kill(child.pid, signum)
    child.join(limit)
    seconds = time.monotonic() - start
    if child.is_alive():
        child.kill()
        child.join()
        return End(None, None, f"not ended after {limit} s", seconds)
    operations = None
    error = ""
    with contextlib.suppress(EOFError):
        operations, error, seconds = here.recv()
    return End(child.exitcode, operations, error, seconds)


def start(
    action: Callable[..., Any], args: tuple, folder: Path
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """The same, undisturbed and without waiting: the process, and where its end is to be read."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    here, there = context.Pipe(duplex=False)
    never = (action, args, str(folder), _NEVER, int(signal.SIGKILL), None, there)
    child = context.Process(target=_call, args=never)
    child.start()
    there.close()
    return child, here


def operations(action: Callable[..., Any], args: tuple, folder: Path) -> int:
    """The number of file operations of a call that is not disturbed.

    Raises
    ------
    RuntimeError
        When it fails by itself.
    """
    end = run(action, args, folder)
    if end.code != 0 or end.operations is None:
        raise RuntimeError(f"{action.__name__}{args} ended with {end.code}: {end.error}")
    return end.operations


def _call(
    action: Callable[..., Any],
    args: tuple,
    folder: str,
    at: int,
    signum: int,
    file_size: int | None,
    report: Connection,
) -> None:
    """The process: arm, call, report."""
    log = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(log, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    report.send(scdlab.__file__)
    counted = _arm(os.path.realpath(folder), at, signum)
    if file_size is not None:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, hard))
    begin = time.monotonic()
    error = ""
    try:
        action(*args)
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
    seconds = time.monotonic() - begin
    n = counted[0]
    counted[0] = -_NEVER  # what Python does at its end is not of the function
    report.send((n, error, seconds))
    report.close()
    sys.stdout.flush()
    os._exit(1 if error else 0)


def _arm(folder: str, at: int, signum: int) -> list[int]:
    """Count the operations in a folder, and send the signal just before one of them."""
    counted = [0]

    def operation() -> None:
        counted[0] += 1
        if counted[0] == at + 1:
            os.kill(os.getpid(), signum)

    def inside(path: Any) -> bool:
        if isinstance(path, int) or path is None:
            return False
        text = os.fsdecode(path)
        return not os.path.isabs(text) or text.startswith(folder)

    def hook(event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & _WRITES and inside(path):
                operation()
        elif event in _EVENTS:
            if inside(args[0]):
                operation()
        elif event == "ctypes.dlsym" and args[1] == "renameat2":
            operation()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **keywords: Any) -> Any:
            operation()
            return function(*args, **keywords)

        return called

    for name in ("fsync", "ftruncate", "write"):
        setattr(os, name, counting(getattr(os, name)))
    sys.addaudithook(hook)
    return counted


def tried(
    everything: Sequence[Any],
    try_case: Callable[[Any], tuple[str, str]],
    kinds: Callable[[Any, str], Sequence[str]],
    first: int,
    cases: int,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Try so many of all faults, from the first on and round again: cases, seconds, counts of their
    kinds, and failures."""
    start = time.monotonic()
    counts: dict[str, int] = {}
    failures = []
    done = 0
    for case in itertools.islice(itertools.cycle(everything), first, first + cases):
        if minutes is not None and time.monotonic() - start > 60 * minutes:
            break
        try:
            ended, what = try_case(case)
        except Exception as error:
            ended = "error"
            what = f"{type(error).__name__}: {error}"
        done += 1
        for kind in kinds(case, ended):
            counts[kind] = counts.get(kind, 0) + 1
        if what:
            failures.append({"case": str(case), "what": what})
    return {
        "cases": done,
        "seconds": round(time.monotonic() - start, 1),
        "counts": counts,
        "failures": failures,
    }
