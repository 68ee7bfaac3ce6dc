"""The grader's side of the processes that answers run in."""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from scdlab.lessons.classroom.answers import Verdict
from scdlab.lessons.classroom.exercises import Exercise
from scdlab.lessons.classroom.fence import MIB, Limits

_START = 300  # s: the imports, on a machine that is busy
_SLACK = 20  # s beyond an answer's own limit, for what surrounds it
_PASSED_ON = (
    "PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "LANG",
    "SYSTEMROOT",
    "SCDLAB_CACHE",
    "SCDLAB_DATA",
)
_ALONE = ["unshare", "--user", "--map-root-user", "--net"]
# from the strictest to nothing: own users, network, processes and files; own users and network
_WORLDS = (
    [*_ALONE, "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"],
    _ALONE,
    [],
)


@cache
def world() -> tuple[str, ...]:
    """The words before a command that run it apart from network, processes and files.

    Returns
    -------
    tuple of str
        The strictest that this system allows; none where it allows nothing.
    """
    for words in _WORLDS:
        if not words or (shutil.which(words[0]) and _works([*words, "true"])):
            return tuple(words)
    return ()


def _works(command: list[str]) -> bool:
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.run(command, timeout=20, check=False, **quiet).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Worker:
    """A supervisor process that is asked for one verdict after the other.

    Parameters
    ----------
    limits : Limits
        What an answer may take.
    arguments : sequence of str, optional
        Further words for the supervisor.
    apart : sequence of str, optional
        Words before its command, as `world` gives them; those by default.
    """

    def __init__(
        self,
        limits: Limits,
        arguments: Sequence[str] = (),
        apart: Sequence[str] | None = None,
    ):
        self.limits = limits
        self.about: dict[str, bool] = {}
        self._arguments = list(arguments)
        self._apart = list(world() if apart is None else apart)
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._scratch = Path(tempfile.mkdtemp(prefix="scdlab-class-"))
        self._memory = 0

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def grade(self, cells: list[str], exercise: Exercise) -> Verdict:
        """The verdict on one answer.

        Parameters
        ----------
        cells : list of str
            Sources of the submitted notebook's code cells.
        exercise : Exercise
            What it answers.

        Returns
        -------
        Verdict
            What came of it.

        Raises
        ------
        OSError
            The supervisor does not start.
        """
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None and process.stdin is not None
        job = {
            "cells": cells,
            "check": exercise.check,
            "answer": exercise.answer,
            "withheld": exercise.withheld,
            "limits": self.limits.as_dict(),
        }
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        told, broken = self._reply(self.limits.wall + _SLACK)
        if told is None:
            self.stop()
            return Verdict("stopped", f"The answer {broken}.")
        return Verdict(told["state"], told["message"])

    def between(self) -> None:
        """Say that the next answer belongs to another submission."""
        if self.about and not self.about["forks"]:
            self.stop()

    def stop(self) -> None:
        """End the supervisor with all that it started."""
        process = self._process
        self._process = None
        if process is None:
            return
        with contextlib.suppress(psutil.Error):
            for each in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    each.kill()
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()

    def _start(self) -> None:
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment = kept | {
            "HOME": str(self._scratch),
            "TMPDIR": str(self._scratch),
            "NUMBA_CACHE_DIR": str(self._scratch),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        module = "scdlab.lessons.classroom.supervisor"
        command = [*self._apart, sys.executable, "-m", module, str(self._scratch)]
        process = subprocess.Popen(
            [*command, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            encoding="utf-8",
            start_new_session=True,
        )
        self._process = process
        self._lines = queue.Queue()
        threading.Thread(target=_read, args=(process, self._lines), daemon=True).start()
        told, _ = self._reply(_START)
        if told is None:
            self.stop()
            raise OSError(
                "The process in which answers run does not start: see what `python -m "
                f"{module} .` prints."
            )
        told.pop("ready")
        self.about = told
        self._memory = 0 if told["forks"] else psutil.Process(process.pid).memory_info().rss

    def _reply(self, limit: float) -> tuple[dict[str, Any] | None, str]:
        """The next line of the supervisor; None with the reason, as a verb, where none comes."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            try:
                line = self._lines.get(timeout=0.2)
            except queue.Empty:
                if self._memory and self._is_too_large():
                    return None, "needed more memory than it may have"
                continue
            try:
                return (json.loads(line), "") if line else (None, "ended the process it ran in")
            except ValueError:
                return None, "wrote between the verdicts"
        return None, f"did not end within {limit:g} s"

    def _is_too_large(self) -> bool:
        """Whether the answers' own process holds more than it may, where there are no forks."""
        assert self._process is not None
        try:
            held = psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:
            return False
        return held > self._memory + self.limits.memory * MIB


def _read(process: "subprocess.Popen[str]", lines: "queue.Queue[str | None]") -> None:
    """Put what a process writes into a queue; None at its end."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):
        for line in process.stdout:
            lines.put(line)
    lines.put(None)
