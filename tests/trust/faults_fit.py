"""Faults while a model is trained: whatever happens, all ends as if nothing had.

A run of `fit` is killed at each of its file operations, or at some time; ended by SIGTERM or
Ctrl-C; its files cannot grow; or another process trains in the same folder. It writes into a new
folder, over an earlier run, or goes on with one. After each fault

- what the folder holds is of one run alone: settings, structures, checkpoint and model;
- a model of the earlier run or the new one can be loaded, where there was one;
- the run is resumed, and ends with the very weights of one that nothing happened to.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import killing
import numpy as np
import safetensors
import torch

import scdlab
from scdlab import locks
from scdlab.objectives import EnergyForces

NIGHTLY = 200
PIECE = 10
STEPS = 8
_SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT}
_SIZES = (0, 300, 2000, 9000, 20000)  # bytes that a file may have


def train(folder: Path, version: int, resume: bool = False, slow: float = 0.0) -> torch.Tensor:
    """Train model `version` on its structures, in the folder `run`; its weights."""
    torch.set_num_threads(1)
    frames = scdlab.load_ethanol()[100 * version : 100 * version + 24]
    torch.manual_seed(version)
    model = scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8, cutoff=4.0 + version)
    scdlab.fit(
        model,
        EnergyForces(),
        frames[:16],
        frames[16:],
        steps=STEPS,
        batch_size=4,
        lr=1e-2,
        seed=version,
        out=folder / "run",
        resume=resume,
        device="cpu",
        val_every=4,
        checkpoint_every=3,
        log_every=1,
        progress=False,
        callbacks=[functools.partial(_wait, slow)],
    )
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def _wait(seconds: float, step: int, row: dict[str, float], model: Any) -> None:
    time.sleep(seconds)


@functools.cache
def expected(version: int) -> torch.Tensor:
    """The weights of a run that nothing happens to."""
    with tempfile.TemporaryDirectory() as folder:
        return train(Path(folder), version)


@dataclass(frozen=True)
class Case:
    """One fault, while run 1 is trained."""

    start: str  # "new folder", "earlier run" or "resumed"
    fault: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.start}, {self.fault} {self.number}"


@contextlib.contextmanager
def prepared(start: str) -> Iterator[Path]:
    """A folder of its own: empty, with run 0, or with a part of run 1."""
    folder = Path(tempfile.mkdtemp(prefix="faults-fit-"))
    try:
        if start == "earlier run":
            train(folder, 0)
        elif start == "resumed":
            killing.run(train, (folder, 1, False, 0.05), folder, after=0.25)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def all_cases() -> list[Case]:
    """Every fault, in an order that mixes them."""
    found = []
    for start in ("new folder", "earlier run", "resumed"):
        with prepared("new folder" if start == "resumed" else start) as folder:
            n = killing.operations(train, (folder, 1), folder)
        found += [Case(start, fault, k) for fault in _SIGNALS for k in range(n + 1)]
        found += [Case(start, "random", k) for k in range(10)]
        found += [Case(start, "full", k) for k in range(len(_SIZES))]
        found += [Case(start, "two", k) for k in range(3)]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[k] for k in order]


def try_case(case: Case) -> tuple[str, str]:
    """Do it. How the run ended, and what is wrong, "" if nothing."""
    resume = case.start == "resumed"
    with prepared(case.start) as folder:
        if case.fault == "two":
            return _two(folder, resume)
        part = float(np.random.default_rng(case.number).random())
        disturbed: dict[str, Any] = {"at": case.number, "signum": _SIGNALS.get(case.fault)}
        if case.fault == "random":
            disturbed = {"after": 0.6 * part}
        elif case.fault == "full":
            disturbed = {"file_size": _SIZES[case.number]}
        slow = 0.03 if case.fault == "random" else 0.0
        end = killing.run(train, (folder, 1, resume, slow), folder, **disturbed)
        ended = "well" if end.code == 0 else "not well"
        if end.code is None or not _is_expected(case, end):
            return ended, f"the run ended with {end.code}: {end.error}"
        what = of_one_run(folder / "run")
        if case.start == "earlier run":
            what = what or loadable(folder / "run")
        return ended, what or goes_on(folder)


def _is_expected(case: Case, end: killing.End) -> bool:
    if end.code == 0:
        return True
    if case.fault == "full":
        words = ("could not be written", "cannot be written")
        return end.code == 1 and end.error.endswith(".") and any(w in end.error for w in words)
    if case.fault == "interrupt":
        return end.error.startswith("KeyboardInterrupt")
    return end.code in (-signal.SIGKILL, -signal.SIGTERM)


def of_one_run(run: Path) -> str:
    """What is wrong with a folder whose files are not of one run."""
    found = {}
    if (run / "run.json").is_file():
        found["run.json"] = json.loads((run / "run.json").read_text())["settings"]["seed"]
    if (run / "train_index.npy").is_file():
        found["train_index.npy"] = int(np.load(run / "train_index.npy")[0]) // 100
    if (run / "checkpoint.safetensors").is_file():
        with safetensors.safe_open(run / "checkpoint.safetensors", framework="pt") as file:
            about = json.loads(file.metadata()["scdlab"])
        found["checkpoint"] = about["settings"]["seed"]
    if (run / "model.json").is_file() and (run / "model.safetensors").is_file():
        found["model"] = int(scdlab.load(run / "model").cutoff - 4.0)
    return "" if len({*found.values()}) < 2 else f"files of two runs: {found}"


def loadable(run: Path) -> str:
    """What is wrong where no trained model can be loaded."""
    errors = []
    for place in (run / "model", run / "previous" / "model"):
        try:
            scdlab.load(place)
        except (OSError, ValueError) as error:
            errors.append(str(error))
        else:
            return ""
    return f"no model can be loaded: {errors}"


def goes_on(folder: Path) -> str:
    """Resume run 1; what is wrong with where it ends."""
    try:
        weights = train(folder, 1, resume=True)
    except ValueError as error:
        if "was written with" not in str(error):
            return f"cannot be resumed: {error}"
        weights = train(folder, 1)  # the earlier run is still there, untouched
    if not torch.equal(weights, expected(1)):
        return "resumed, it ends with other weights"
    names = sorted(os.listdir(folder / "run"))
    if left := [name for name in names if name.startswith(".") or name == "previous"]:
        return f"leftovers: {left}"
    return of_one_run(folder / "run") or loadable(folder / "run")


def _two(folder: Path, resume: bool) -> tuple[str, str]:
    """Two runs in one folder: the second is refused, the first ends as if it were alone."""
    first, here = killing.start(train, (folder, 1, resume, 0.1), folder)
    here.recv()
    deadline = time.monotonic() + 60
    while not _holds(folder / "run", first.pid) and first.is_alive():
        if time.monotonic() > deadline:
            return "not well", "the first run never began"
        time.sleep(0.01)
    try:
        train(folder, 0)
    except locks.Busy as error:
        refused = str(error)
    else:
        return "well", "the second run was not refused"
    first.join(120)
    error = here.recv()[1]
    if error or f"process {first.pid}" not in refused:
        return "not well", f"the first run ended with {error!r}; the second said {refused!r}"
    return "well", goes_on(folder)


def _holds(run: Path, pid: int | None) -> bool:
    """Whether a process has the lock of a folder."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((run / ".lock").read_text())["pid"] == pid
    return False


def run(cases: int, seed: int, folder: Path, minutes: float | None = None) -> dict[str, Any]:
    """Try so many faults; another seed goes on where the one before ends."""
    torch.set_num_threads(1)
    everything = all_cases()
    found = killing.tried(
        everything,
        try_case,
        lambda case, ended: (case.fault, case.start, f"ended {ended}"),
        seed * PIECE,
        cases,
        minutes,
    )
    settings = {"seed": seed, "steps": STEPS, "possible": len(everything)}
    return {"campaign": "faults_fit", **found, "settings": settings}
