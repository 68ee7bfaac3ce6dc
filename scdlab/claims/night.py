"""Measure many claims in the hours that there are: `scdlab claims run --profile night --hours 2.5`.

Claims are taken in the order of their worth for an hour. Seeds run side by side, each in a process
of its own with one thread. A seed that would not end in time is not started; one that is still
running at the end is stopped. Each whole seed is kept, and so are the checkpoints of trainings in
`keep`: the next run goes on from there, however the one before ended, and ends with the same
values. A record is written as soon as all seeds of its claim are whole.
"""

import contextlib
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from scdlab.devices import checked_device
from scdlab.locks import locked
from scdlab.log import show
from scdlab.training.console import Interrupts, duration

from . import provenance
from .claim import seeds_of
from .measure import kept_seeds, run, state_of_tree
from .plan import Entry, clock, entries_of, fits, plan_table
from .show import Table

_GRACE = 60.0  # seconds that a stopped process has for its checkpoint
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclasses.dataclass
class Night:
    """What a night came to.

    Parameters
    ----------
    recorded : dict of str to str
        Claim -> its verdict, of those whose seeds are all whole.
    left : dict of str to list of int
        Claim -> seeds that are still to be measured.
    skipped : dict of str to str
        Claim -> why it could not be measured, with the remedy.
    """

    recorded: dict[str, str | None] = dataclasses.field(default_factory=dict)
    left: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Running:
    """A seed that is being measured."""

    entry: Entry
    seed: int
    process: subprocess.Popen[bytes]
    log: Path
    start: float


class _Progress:
    """Lines of what happened, and one on how it goes: rewritten at a terminal, else once in a
    while."""

    def __init__(self, echo: Callable[[str], object]) -> None:
        self.echo = echo
        self.rewrites = echo is show and sys.stdout is not None and sys.stdout.isatty()
        self.every = 1.0 if self.rewrites else 60.0
        self._next = 0.0
        self._width = 0

    def event(self, text: str) -> None:
        """A line that stays."""
        if self._width:
            show("\r" + " " * self._width + "\r", end="")
            self._width = 0
        self.echo(text)

    def status(self, text: Callable[[], str]) -> None:
        """The line on how it goes, where its time has come."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.every
        if not self.rewrites:
            self.echo(text())
            return
        line = text()[:118]
        show("\r" + line.ljust(self._width), end="")
        self._width = len(line)


def run_night(
    ids: Iterable[str] = (),
    profile: str = "night",
    hours: float | None = None,
    jobs: int = 2,
    device: str = "auto",
    out: str | Path = "runs/claims",
    allow_dirty: bool = False,
    echo: Callable[[str], object] = show,
    draw: Callable[[Table], object] | None = None,
) -> Night:
    """Measure claims side by side, the worthiest for an hour first, and stop in time.

    Parameters
    ----------
    ids : iterable of str, default ()
        The claims; when empty, all that have the profile and no valid record of it.
    profile : {"cpu", "night", "full"}, default "night"
        Which settings.
    hours : float, optional
        How long it may take; no limit by default.
    jobs : int, default 2
        Seeds that are measured side by side, one process with one thread each.
    device : {"auto", "cpu", "cuda"}, default "auto"
        As in `scdlab.fit`.
    out : path, default "runs/claims"
        Folder where each seed's result is kept, as in `run`.
    allow_dirty : bool, default False
        Measure although the working tree has uncommitted changes, and write no records.
    echo : callable (str) -> None, optional
        Called with each line of progress; printed by default.
    draw : callable (Table) -> None, optional
        Called with the estimate before anything is measured; printed by default.

    Returns
    -------
    Night
        What was recorded, what is left, what was skipped and why.

    Raises
    ------
    ValueError
        Unknown claim or profile, a claim without settings for it, hours or jobs that are no
        positive number.
    OSError
        The folder cannot be written, or another night runs in it (Busy).
    RuntimeError
        The tree has uncommitted changes, or is no git checkout.
    KeyboardInterrupt
        Ctrl-C: what was running has been stopped, and goes on next time.
    """
    if hours is not None and not (_is_number(hours) and hours > 0):
        raise ValueError(f"hours must be a positive number, got {hours!r}: give such as 2.5.")
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ValueError(f"jobs must be a positive whole number, got {jobs!r}: give such as 2.")
    if device != "auto":
        checked_device(device)
    start = time.monotonic()
    deadline = math.inf if hours is None else start + 3600 * hours
    folder = Path(out)
    ids = list(ids)
    entries_of(ids, profile, device, folder, allow_dirty)  # what is wrong is known before a lock
    _, dirty = state_of_tree(allow_dirty)
    with locked(folder / "night"):
        entries = entries_of(ids, profile, device, folder, dirty)
        table = plan_table(entries, profile, hours, jobs)
        show(str(table)) if draw is None else draw(table)
        shift = _Shift(entries, profile, deadline, jobs, device, folder, dirty, _Progress(echo))
        with shift.ended(), Interrupts() as interrupts:
            stopped = shift.work(interrupts)
        shift.conclude(stopped)
    if interrupts.terminated:
        signal.raise_signal(signal.SIGTERM)
    if interrupts.pressed:
        raise KeyboardInterrupt
    return shift.found


class _Shift:
    """The work of one night."""

    def __init__(
        self,
        entries: list[Entry],
        profile: str,
        deadline: float,
        jobs: int,
        device: str,
        out: Path,
        dirty: bool,
        progress: _Progress,
    ) -> None:
        self.entries = entries
        self.profile = profile
        self.deadline = deadline
        self.jobs = jobs
        self.device = device
        self.out = out
        self.dirty = dirty
        self.progress = progress
        self.found = Night()
        self.running: list[_Running] = []
        self.waiting = {entry.claim.id: list(entry.left) for entry in entries}
        self.start = time.monotonic()

    def work(self, interrupts: Interrupts) -> str:
        """Measure until all is done, the time is over, or a signal came; why it ended."""
        for entry in self.entries:
            if entry.problem:
                self._skip(entry, entry.problem)
            elif not entry.left:
                self._record(entry)
        while not interrupts.pressed and time.monotonic() < self.deadline:
            self._collect()
            while len(self.running) < self.jobs and self._start_next():
                continue
            if not self.running:
                return "done" if not any(self.waiting.values()) else "time"
            self.progress.status(self._status)
            time.sleep(0.2)
        return "interrupted" if interrupts.pressed else "time"

    @contextlib.contextmanager
    def ended(self) -> Iterator[None]:
        """Leave no process behind, whatever ends the block."""
        try:
            yield
        finally:
            for each in self.running:
                if each.process.poll() is None:
                    each.process.terminate()
            for each in self.running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    each.process.wait(_GRACE)
                if each.process.poll() is None:
                    each.process.kill()
                    each.process.wait()

    def conclude(self, stopped: str) -> None:
        """Take what the processes left, and say what was done."""
        for each in self.running:  # one may have ended at the same moment
            if each.process.returncode != 0:
                self.waiting.setdefault(each.entry.claim.id, []).append(each.seed)
        self._collect()
        for entry in self.entries:
            left = self.waiting.get(entry.claim.id)
            if left and entry.claim.id not in self.found.skipped:
                self.found.left[entry.claim.id] = sorted(left)
        took = duration(time.monotonic() - self.start)
        found = self.found
        self.progress.event(
            f"{len(found.recorded)} claims measured, {len(found.left)} left, "
            f"{len(found.skipped)} skipped, in {took}."
        )
        for claim_id, seeds in found.left.items():
            self.progress.event(
                f"{claim_id}: seeds {', '.join(map(str, seeds))} are left; the same command goes "
                "on with them."
            )
        for claim_id, why in found.skipped.items():
            self.progress.event(f"{claim_id} was skipped: {why}")
        if stopped == "interrupted":
            self.progress.event("Stopped; the same command goes on from here.")

    def _start_next(self) -> bool:
        """Start the next seed that would end in time; False when there is none."""
        remaining = self.deadline - time.monotonic()
        for entry in self.entries:
            waiting = self.waiting.get(entry.claim.id)
            if waiting and fits(entry.seconds, remaining):
                self.running.append(self._started(entry, waiting.pop(0)))
                return True
        return False

    def _started(self, entry: Entry, seed: int) -> _Running:
        """The process of a seed."""
        about = {
            "claim": entry.claim.id,
            "profile": self.profile,
            "seed": seed,
            "device": self.device,
            "out": str(self.out.resolve()),
            "modules": provenance.modules_of(entry.claim.recipe),
        }
        log = self.out / f"{entry.claim.id}.{self.profile}.seed{seed}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "scdlab.claims.worker", json.dumps(about)],
                stdin=subprocess.PIPE,  # its end is the sign to stop: see `worker`
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,  # Ctrl-C reaches this process alone, which stops the others
            )
        self.progress.event(f"{entry.claim.id}, seed {seed}: started, {log.name} holds its output")
        return _Running(entry, seed, process, log, time.monotonic())

    def _collect(self) -> None:
        """Take the results of processes that have ended."""
        for each in [each for each in self.running if each.process.poll() is not None]:
            self.running.remove(each)
            if each.process.stdin is not None:
                each.process.stdin.close()
            self._take(each)

    def _take(self, each: _Running) -> None:
        entry = each.entry
        claim = entry.claim
        if claim.id in self.found.skipped or claim.id in self.found.recorded:
            return
        if each.process.returncode != 0:
            if each.seed not in self.waiting.get(claim.id, []):  # it was not we who stopped it
                self._skip(entry, self._failure(each))
            return
        try:
            kept = kept_seeds(claim, self.profile, self.device, self.out)
        except ValueError as error:
            self._skip(entry, str(error))
            return
        if each.seed not in kept:
            self._skip(entry, "The source was edited while it was measured: run it again.")
            return
        entry.seconds = sum(result["took"] for result in kept.values()) / len(kept)
        took = duration(time.monotonic() - each.start)
        self.progress.event(f"{claim.id}, seed {each.seed}: measured in {took}")
        if len(kept) == len(seeds_of(claim.settings(self.profile))):
            self._record(entry)

    def _record(self, entry: Entry) -> None:
        """Write the record of a claim whose seeds are all whole."""
        try:
            record = run(
                entry.claim.id,
                self.profile,
                device=self.device,
                out=self.out,
                allow_dirty=self.dirty,
                echo=lambda line: None,
            )
        except (ValueError, OSError, RuntimeError) as error:
            self._skip(entry, " ".join(str(error).split()))
            return
        self.found.recorded[entry.claim.id] = record.verdict
        end = "not recorded, since the tree has uncommitted changes" if record.dirty else "recorded"
        self.progress.event(f"{entry.claim.id}: {record.verdict}; {end}.")

    def _skip(self, entry: Entry, why: str) -> None:
        self.waiting.pop(entry.claim.id, None)
        self.found.skipped[entry.claim.id] = why
        self.progress.event(f"{entry.claim.id} is skipped: {why}")

    def _failure(self, each: _Running) -> str:
        """Why a process ended without a result."""
        code = each.process.returncode
        if code < 0:
            return f"Its process was killed (signal {-code}); {each.log} holds its output."
        lines = each.log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else f"Its process ended with code {code} and no output."

    def _status(self) -> str:
        """The line on how it goes."""
        now = time.monotonic()
        running = ", ".join(
            f"{each.entry.claim.id} seed {each.seed} ({clock(now - each.start)}"
            + (f" of {clock(each.entry.seconds)})" if each.entry.seconds else ")")
            for each in self.running
        )
        limit = "" if math.isinf(self.deadline) else f" of {clock(self.deadline - self.start)}"
        return f"{clock(now - self.start)}{limit}, {self._left(now)}: {running}"

    def _left(self, now: float) -> str:
        """An estimate of what is left of all work."""
        seeds = sum(map(len, self.waiting.values())) + len(self.running)
        known = sum(
            (entry.seconds or 0.0) * len(self.waiting.get(entry.claim.id, []))
            for entry in self.entries
        )
        known += sum(
            max(0.0, (each.entry.seconds or 0.0) - (now - each.start)) for each in self.running
        )
        unknown = any(
            entry.seconds is None and self.waiting.get(entry.claim.id) for entry in self.entries
        )
        more = " or more" if unknown else ""
        return f"{seeds} seeds left, about {clock(known / self.jobs)}{more}"


def environment() -> dict[str, str]:
    """Variables of a seed's process: one thread, and modules from where this process has them.

    Returns
    -------
    dict
        Name -> value.
    """
    own = {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONSAFEPATH": "1",  # `python -m` would look into the folder of the moment first
    }
    return os.environ | own | dict.fromkeys(_THREADS, "1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
