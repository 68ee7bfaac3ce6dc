"""The process that answers are run from: it runs none itself, but forks for each.

    python -m scdlab.lessons.classroom.supervisor SCRATCH

It reads jobs from its standard input, a json object a line, and writes a verdict a line. The
imports, seconds of them, are made once; what an answer does to its own process is gone with it.
Started by `unshare`, it is the first process of its own world: without a network, with all files
read-only but for a small disk of its own, and whatever an answer leaves running ends with it.

Where the system cannot fork safely (Windows, macOS), the answers of one submission share a process,
and the grader starts a new one for the next.
"""

import contextlib
import io
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from scdlab.lessons import checks
from scdlab.lessons.classroom.answers import Verdict, limit_named, verdict
from scdlab.lessons.classroom.fence import MIB, Limits, refuse, set_limits, untouched
from scdlab.lessons.own_functions import yours as yours  # imported once, not in each fork

TICK = 0.05  # s between two looks at a process
_LONGEST = 64 * 1024  # bytes of a verdict
_MANY = 20  # answers of one submission


def main() -> None:
    """Serve jobs until the input ends."""
    scratch = Path(sys.argv[1])
    bare = io.BufferedWriter(io.FileIO(os.dup(1), "w"))
    channel = io.TextIOWrapper(bare, encoding="utf-8")
    os.dup2(2, 1)  # nothing that is printed gets between the verdicts
    forks = sys.platform == "linux" and "--no-fork" not in sys.argv
    _say(channel, {"ready": True, "forks": forks, **_world(scratch)})
    tried: list[str] | None = None
    for line in sys.stdin:
        job = json.loads(line)
        limits = Limits(**job.pop("limits"))
        if forks:
            found = _in_fork(job, limits, scratch, channel)
        else:
            if tried is None:
                os.chdir(scratch)
                set_limits(replace(limits, seconds=_MANY * limits.wall))
                tried = refuse(scratch)
            tried.clear()
            found = _here(job, tried)
        _say(channel, {"state": found.state, "message": found.message})


def _say(channel: io.TextIOWrapper, value: dict[str, Any]) -> None:
    channel.write(json.dumps(value) + "\n")
    channel.flush()


def _world(scratch: Path) -> dict[str, bool]:
    """What the system gives: no network, files that cannot be changed, processes that end."""
    first = os.getpid() == 1
    read_only = False
    if first:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            _mount("-t", "tmpfs", "-o", "size=80m,mode=700", "answers", str(scratch))
            places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
            for place in dict.fromkeys(places):
                if place != str(scratch):
                    with contextlib.suppress(subprocess.CalledProcessError):
                        _mount("-o", "remount,bind,ro", place.encode().decode("unicode_escape"))
            read_only = not os.access(Path(__file__).parent, os.W_OK)
    alone = sys.platform == "linux" and not any(
        name != "lo" and stats.isup for name, stats in psutil.net_if_stats().items()
    )
    return {"offline": alone, "read_only": read_only, "contained": first}


def _mount(*words: str) -> None:
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["mount", *words], check=True, **quiet)


def _here(job: dict[str, Any], tried: list[str]) -> Verdict:
    """The verdict on one answer, in this process."""
    changed = untouched()
    check = checks.all_checks()[job["check"]]
    found = verdict(job["cells"], job["answer"], check, job["check"], job["withheld"])
    if tried:
        return Verdict("stopped", f"The answer {tried[0]}, which is not allowed.")
    if broken := limit_named(found.message):
        return Verdict("stopped", f"The answer {broken}.")
    replaced = changed()
    if replaced is not None:
        return Verdict("tampered", f"The answer replaced {replaced}, which its check relies on.")
    return found


def _in_fork(
    job: dict[str, Any], limits: Limits, scratch: Path, channel: io.TextIOWrapper
) -> Verdict:
    """The verdict on one answer, from a process of its own."""
    ours, theirs = os.pipe()
    token = secrets.token_hex(16)
    folder = scratch / token[:8]
    folder.mkdir()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        channel.detach()
        _child(job, limits, folder, theirs, token)
    os.close(theirs)
    text, status, broken = _wait(pid, ours, limits, folder)
    os.close(ours)
    _clear(folder)
    if broken:
        return Verdict("stopped", f"The answer {broken}.")
    try:
        told = json.loads(text)
        assert told["token"] == token
        return Verdict(str(told["state"]), str(told["message"]))
    except (ValueError, KeyError, TypeError, AssertionError):
        return Verdict(*_ended(status, limits))


def _child(job: dict[str, Any], limits: Limits, folder: Path, out: int, token: str) -> None:
    """Run an answer and end this process."""
    os.setsid()
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    printed = os.open("printed.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for target, source in ((0, nothing), (1, printed), (2, printed)):
        os.dup2(source, target)
    os.closerange(3, out)
    os.closerange(out + 1, 256)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="replace", closefd=False)
    set_limits(limits)
    found = _here(job, refuse(folder))
    told = {"token": token, "state": found.state, "message": found.message}
    os.write(out, json.dumps(told).encode())
    os._exit(0)


def _wait(pid: int, out: int, limits: Limits, folder: Path) -> tuple[bytes, int, str | None]:
    """Wait for a process: what it wrote, its status, and the limit that it broke."""
    start = time.monotonic()
    text = b""
    broken = None
    seen: dict[int, psutil.Process] = {}
    is_open = True
    while True:
        if is_open and select.select([out], [], [], TICK)[0]:
            more = os.read(out, _LONGEST)
            text += more[: _LONGEST - len(text)]
            is_open = bool(more)
        elif not is_open:
            time.sleep(TICK / 10)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done or broken:
            break
        broken = over_limit(pid, limits, folder, seen)
        if time.monotonic() - start > limits.wall:
            broken = f"did not end within {limits.wall:g} s"
    _end(pid, seen, reap=not done)
    return text, status, broken


def over_limit(
    pid: int, limits: Limits, folder: Path, seen: dict[int, psutil.Process]
) -> str | None:
    """Look at a process from outside.

    Parameters
    ----------
    pid : int
        The process.
    limits : Limits
        What it may take.
    folder : Path
        Where it writes.
    seen : dict
        Gets the processes that it started.

    Returns
    -------
    str or None
        What it did beyond its limits, as a verb.
    """
    with contextlib.suppress(psutil.Error):
        seen |= {each.pid: each for each in psutil.Process(pid).children(recursive=True)}
    if len(seen) > limits.processes:
        return f"started more than {limits.processes} processes"
    used = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                used += os.lstat(os.path.join(place, name)).st_size
    if used > limits.disk * MIB:
        return f"wrote more than {limits.disk} MiB"
    return None


def _end(pid: int, seen: dict[int, psutil.Process], reap: bool) -> None:
    """End a process with all that it started."""
    for kill, which in ((os.killpg, pid), (os.kill, pid)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if reap or kill is os.killpg:
                kill(which, signal.SIGKILL)
    for each in seen.values():
        with contextlib.suppress(psutil.Error):
            each.kill()
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # all of this world but its first process
    if reap:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _clear(folder: Path) -> None:
    """Remove what an answer wrote."""
    shutil.rmtree(folder, ignore_errors=True)


def _ended(status: int, limits: Limits) -> tuple[str, str]:
    """What a process says that ended without a verdict."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return "stopped", f"The answer took more than {limits.seconds:g} s of processor time."
        name = signal.Signals(number).name
        return "stopped", f"The answer ended the process that it ran in ({name})."
    return "stopped", "The answer ended the process that it ran in before its check was done."


if __name__ == "__main__":
    main()
