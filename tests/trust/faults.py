"""Faults while stores, models and single files are written: whatever happens, the old or the new.

A process writes over what an earlier one wrote (or where nothing is), and is killed at each of its
file operations, or at some time; ended by SIGTERM or Ctrl-C; its disk is full, or read-only; or two
write at once. After each, the target opens and is the old one or the new one, bit by bit; where the
writer ended well, it is the new one; then the next writer works, and leaves nothing of the killed.

Whether the data reach the disk before the power fails is not tried here.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import killing
import numpy as np
import torch

import scdlab
from scdlab import atomic, files
from scdlab.atoms import AtomStore
from scdlab.locks import Busy

NIGHTLY = 300
PIECE = 25
_SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT}


# --------------------------------------------------------------------------------------------------
# what is written: `version` 0 is the old one, 1 the new one, 2 the next one


def structures(version: int) -> AtomStore:
    """A store of some hundred atoms, other ones for each version."""
    rng = np.random.default_rng(version)
    n = 40 + version
    size = rng.integers(1, 9, n)
    total = int(size.sum())
    return AtomStore.from_arrays(
        rng.choice([1, 6, 8], total),
        rng.normal(size=(total, 3)),
        np.concatenate([[0], np.cumsum(size)]),
        energy=rng.normal(size=n),
        forces=rng.normal(size=(total, 3)),
        properties={"mu": rng.normal(size=n)},
        meta={"version": version},
    )


def save_store(folder: Path, version: int) -> None:
    """Write a store."""
    structures(version).save(folder / "target")


def save_in_two_steps(folder: Path, version: int) -> None:
    """Write a store where the system cannot exchange two folders: the old one aside, the new in."""
    exchanged = atomic._exchanged
    atomic._exchanged = lambda one, two: False
    try:
        save_store(folder, version)
    finally:
        atomic._exchanged = exchanged


def read_store(folder: Path) -> int:
    """The version of the store that is there, compared number by number."""
    found = AtomStore.open(folder / "target")
    version = found.meta["version"]
    if found.fingerprint() != structures(version).fingerprint():
        raise AssertionError(f"the store of version {version} holds other numbers")
    return version


def save_view(folder: Path, version: int) -> None:
    """Write a view of the store at the target over this very store: the new version is its end."""
    if version != 1:
        save_store(folder, version)
        return
    AtomStore.open(folder / "target")[20:].save(folder / "target")


def read_view(folder: Path) -> int:
    """The version of the store, where 1 is the end of version 0."""
    found = AtomStore.open(folder / "target")
    if found.meta["version"] == 0 and len(found) == 20:
        if found.fingerprint() != structures(0)[20:].fingerprint():
            raise AssertionError("the view holds other numbers")
        return 1
    return read_store(folder)


def network(version: int) -> scdlab.SchNet:
    """A small model, with other weights for each version."""
    torch.manual_seed(version)
    return scdlab.SchNet(hidden_channels=8 + version, num_layers=1, num_rbf=4)


def save_model(folder: Path, version: int) -> None:
    """Write a model: two files."""
    scdlab.save(network(version), folder / "target")


def read_model(folder: Path) -> int:
    """The version of the model, compared weight by weight."""
    found = scdlab.load(folder / "target")
    version = found.config["hidden_channels"] - 8
    theirs = network(version).state_dict()
    for name, value in found.state_dict().items():
        if not torch.equal(value, theirs[name]):
            raise AssertionError(f"{name} of version {version} differs")
    return version


def save_json(folder: Path, version: int) -> None:
    """Write a record."""
    files.write_json(folder / "target", {"version": version, "rows": list(range(500 * version))})


def read_json(folder: Path) -> int:
    """The version of the record."""
    found = files.read_json(folder / "target")
    if found["rows"] != list(range(500 * found["version"])):
        raise AssertionError("the record holds other rows")
    return found["version"]


@dataclass(frozen=True)
class Target:
    """Something that is written and read, and the names that it has in its folder."""

    save: Callable[[Path, int], None]
    read: Callable[[Path], int]
    names: tuple[str, ...]
    swept: bool = True  # by the next writer; records have no lock, so their leftovers stay


TARGETS = {
    "store": Target(save_store, read_store, ("target",)),
    "store in two steps": Target(save_in_two_steps, read_store, ("target",)),
    "view": Target(save_view, read_view, ("target",)),
    "model": Target(save_model, read_model, ("target.json", "target.safetensors")),
    "record": Target(save_json, read_json, ("target",), swept=False),
}


# --------------------------------------------------------------------------------------------------
# the cases


@dataclass(frozen=True)
class Case:
    """One fault."""

    target: str
    fault: str
    old: bool = True  # whether there is an old version
    number: int = 0  # of the operation; of the random time

    def __str__(self) -> str:
        over = "over an old one" if self.old else "where nothing is"
        return f"{self.target} {over}, {self.fault} {self.number}"


def all_cases() -> list[Case]:
    """Every fault that this machine can make, in an order that mixes them."""
    found = []
    for name, target in TARGETS.items():
        olds = (True,) if name == "view" else (True, False)
        for old in olds:
            with prepared(name, old) as folder:
                n = killing.operations(target.save, (folder, 1), folder)
            found += [
                Case(name, fault, old, k) for fault in _SIGNALS for k in range(n + 1)
            ]  # the last one comes after all is done
            found += [Case(name, "random", old, k) for k in range(10)]
            found += [Case(name, "full", old, k) for k in range(6)]
            found += [Case(name, "two", old, k) for k in range(4)]
            if name != "view":  # which needs a store to be a view of
                found += [Case(name, "blocked", old)]
            if can_mount():
                found += [Case(name, "full disk", old, k) for k in range(3)]
                found += [Case(name, "read-only", old)]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[k] for k in order]


@contextlib.contextmanager
def prepared(name: str, old: bool) -> Iterator[Path]:
    """A folder of its own with the old version, or without."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        if old:
            TARGETS[name].save(folder, 0)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def can_mount() -> bool:
    """Whether small file systems can be mounted here, to fill them: by root, on Linux."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True).returncode:
            return False
        subprocess.run(["umount", place], check=True)
    return True


@contextlib.contextmanager
def mounted(name: str, old: bool) -> Iterator[Path]:
    """The same in a file system of 4 MB."""
    place = tempfile.mkdtemp(prefix="faults-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=True)
    try:
        if old:
            TARGETS[name].save(Path(place), 0)
        yield Path(place)
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        os.rmdir(place)


def try_case(case: Case) -> tuple[str, str]:
    """Do it. What became of the target ("old", "new", "none"), and what is wrong, "" if nothing."""
    target = TARGETS[case.target]
    place = mounted if case.fault in ("full disk", "read-only") else prepared
    with place(case.target, case.old) as folder:
        ended_well, allowed = FAULTS.get(case.fault, signalled)(case, target, folder)
        try:
            version = target.read(folder)
        except FileNotFoundError as error:
            if case.old or ended_well:
                return "none", f"nothing is there any more ({error})"
            version = None
        except Exception as error:
            return "none", f"does not open: {type(error).__name__}: {error}"
        seen = {None: "none", 0: "old", 1: "new", 2: "new"}[version]
        if version not in allowed and version is not None:
            return seen, f"version {version} is there, one of {allowed} was written"
        if ended_well and version == 0:
            return seen, "the writer ended well, and the old one is there"
        if case.target == "view" and version != 0:
            target = TARGETS["store"]
        target.save(folder, 2)
        if target.read(folder) != 2:
            return seen, "the next writer's is not there"
        left = sorted(set(os.listdir(folder)) - {*target.names, "lost+found"})
        if left and target.swept:
            return seen, f"leftovers after the next writer: {left}"
    return seen, ""


def signalled(case: Case, target: Target, folder: Path) -> tuple[bool, tuple[int, ...]]:
    """Ended by a signal just before an operation. Whether the writer ended well, and what may be
    there."""
    signum = _SIGNALS[case.fault]
    end = killing.run(target.save, (folder, 1), folder, at=case.number, signum=signum)
    if signum != signal.SIGINT and end.code not in (0, -signum):
        raise AssertionError(f"ended with {end.code}: {end.error}")
    if end.error and not end.error.startswith("KeyboardInterrupt"):
        raise AssertionError(f"an interrupt became {end.error}")
    return end.code == 0, (0, 1)


def at_some_time(case: Case, target: Target, folder: Path) -> tuple[bool, tuple[int, ...]]:
    """Killed after a part of the time that it takes."""
    part = float(np.random.default_rng(case.number).random())
    end = killing.run(target.save, (folder, 1), folder, after=0.1 * part)
    return end.code == 0, (0, 1)


def full(case: Case, target: Target, folder: Path) -> tuple[bool, tuple[int, ...]]:
    """Files that cannot grow over some size."""
    end = killing.run(
        target.save, (folder, 1), folder, file_size=(0, 1, 100, 500, 2000, 4500)[case.number]
    )
    check_sentence(end, ("make room", "No space", "too large"))
    return end.code == 0, (0, 1)


def full_disk(case: Case, target: Target, folder: Path) -> tuple[bool, tuple[int, ...]]:
    """A disk with room for a part of it."""
    room = (0, 4096, 12288)[case.number]
    free = os.statvfs(folder)
    with open(folder / "filler", "wb") as filler, contextlib.suppress(OSError):
        filler.write(bytes(max(0, free.f_bavail * free.f_frsize - room)))
        filler.flush()
    try:
        end = killing.run(target.save, (folder, 1), folder)
    finally:
        (folder / "filler").unlink()
    check_sentence(end, ("make room", "No space"))
    return end.code == 0, (0, 1)


def read_only(case: Case, target: Target, folder: Path) -> tuple[bool, tuple[int, ...]]:
    """A disk that takes nothing."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        end = killing.run(target.save, (folder, 1), folder)
        if case.old and target.read(folder) != 0:
            raise AssertionError("the old one cannot be read on a read-only disk")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    check_sentence(end, ("read-only",))
    return end.code == 0, (0, 1)


def blocked(case: Case, target: Target, folder: Path) -> tuple[bool, tuple[int, ...]]:
    """A file where the folder should be."""
    (folder / "file").write_text("mine")
    end = killing.run(target.save, (folder / "file", 1), folder)
    check_sentence(end, ("in the way",))
    if (folder / "file").read_text() != "mine":
        raise AssertionError("the file was changed")
    (folder / "file").unlink()
    return False, (0, 1)


def two_at_once(case: Case, target: Target, folder: Path) -> tuple[bool, tuple[int, ...]]:
    """Two writers at the same time: each succeeds, or is told that the other is at work."""
    versions = (2, 2) if case.target == "view" else (1, 2)
    both = [killing.start(target.save, (folder, version), folder) for version in versions]
    errors = []
    for child, here in both:
        child.join(120)
        here.recv()
        errors.append(here.recv()[1])
    wrong = [error for error in errors if error and not error.startswith(Busy.__name__)]
    if wrong or all(errors):
        raise AssertionError(f"two writers ended with {errors}")
    return True, tuple(
        version for version, error in zip(versions, errors, strict=True) if not error
    )


def check_sentence(end: killing.End, words: tuple[str, ...]) -> None:
    """A writer that could not write says so in one sentence."""
    if end.code == 0:
        return
    if end.code != 1 or not end.error.endswith(".") or not any(w in end.error for w in words):
        raise AssertionError(f"ended with {end.code} and no sentence: {end.error}")


FAULTS = {
    "random": at_some_time,
    "full": full,
    "full disk": full_disk,
    "read-only": read_only,
    "blocked": blocked,
    "two": two_at_once,
}


def run(cases: int, seed: int, folder: Path, minutes: float | None = None) -> dict[str, Any]:
    """Try so many faults; another seed goes on where the one before ends."""
    torch.set_num_threads(1)
    everything = all_cases()
    found = killing.tried(
        everything,
        try_case,
        lambda case, seen: (case.fault, f"{seen} one there"),
        seed * PIECE,
        cases,
        minutes,
    )
    settings = {"seed": seed, "targets": list(TARGETS), "possible": len(everything)}
    return {"campaign": "faults", **found, "settings": settings}
