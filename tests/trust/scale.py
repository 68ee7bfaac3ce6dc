"""A set of ten million structures: written, opened, read, split, checked and trained on, with the
time and the memory of each.

Water molecules, bent and stretched at random, with energies and forces; each step runs in a process
of its own, whose peak of memory is its own too.
"""

import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import scdlab
from scdlab.atoms import AtomStore, storage
from scdlab.log import logger

NIGHTLY = 10_000_000
PIECE = None
_BATCH = 32
_CHUNK = 1_000_000  # structures that are made at once
# Å: O, H, H of a water molecule
_WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]], np.float32)


def water(n: int, seed: int) -> AtomStore:
    """A store in memory of so many water molecules; forces of springs to the resting geometry."""
    rng = np.random.default_rng(seed)
    pos = np.empty((n, 3, 3), np.float32)
    for first in range(0, n, _CHUNK):
        moved = pos[first : first + _CHUNK]
        moved[:] = _WATER
        moved += 0.05 * rng.standard_normal(moved.shape, np.float32)
    forces = _WATER - pos  # 1 eV/Å²
    energy = 0.5 * np.einsum("nij,nij->n", forces, forces, dtype=np.float64)
    return AtomStore.from_arrays([8, 1, 1], pos, energy=energy, forces=forces)


def write(path: Path, n: int, seed: int) -> dict[str, float]:
    """Make the store, with all checks, and save it."""
    start = time.perf_counter()
    store = water(n, seed)
    made = time.perf_counter()
    store.save(path)
    return {"make s": made - start, "write s": time.perf_counter() - made, "GB": store.nbytes / 1e9}


def opened(path: Path, n: int, seed: int) -> dict[str, float]:
    """Open it, best of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        store = AtomStore.open(path)
        times.append(time.perf_counter() - start)
    assert len(store) == n
    return {"open ms": 1e3 * min(times)}


def batches(path: Path, n: int, seed: int) -> dict[str, float]:
    """Random batches from all over the set, once its pages have been read and before."""
    store = AtomStore.open(path)
    rng = np.random.default_rng(seed)
    found = {}
    for what in ("first", "again"):
        start = time.perf_counter()
        for _ in range(1000):
            batch = store.take(rng.integers(0, n, _BATCH))
        found[f"batch of {_BATCH}, {what} ms"] = time.perf_counter() - start
        assert batch.num_graphs == _BATCH and torch.isfinite(batch.pos).all()
    return found


def split(path: Path, n: int, seed: int) -> dict[str, float]:
    """Split it at random and by blocks."""
    store = AtomStore.open(path)
    found = {}
    for what, options in (("at random", {}), ("by blocks", {"blocks": 100})):
        start = time.perf_counter()
        parts = store.split(8 * n // 10, n // 10, seed=seed, **options)
        found[f"split {what} s"] = time.perf_counter() - start
        assert sum(len(part) for part in parts) == n
    return found


def verify(path: Path, n: int, seed: int) -> dict[str, float]:
    """Compare all of it with its digests."""
    store = AtomStore.open(path)
    start = time.perf_counter()
    store.verify()
    return {"verify s": time.perf_counter() - start}


def identify(path: Path, n: int, seed: int) -> dict[str, float]:
    """The fingerprint of the whole, which its digests give, and of a random half, which is read."""
    store = AtomStore.open(path)
    start = time.perf_counter()
    whole = store.fingerprint()
    between = time.perf_counter()
    half = store.sample(max(1, n // 2), seed=seed).fingerprint()
    end = time.perf_counter()
    assert whole != half
    return {"fingerprint s": between - start, "fingerprint of a random half s": end - between}


def damaged(path: Path, n: int, seed: int) -> dict[str, float]:
    """One bit of the last forces is turned over, found, and turned back."""
    file = path / "forces.npy"
    at = file.stat().st_size - 3
    with open(file, "r+b") as forces:
        forces.seek(at)
        byte = forces.read(1)
        for value in (bytes([byte[0] ^ 1]), byte):
            forces.seek(at)
            forces.write(value)
            forces.flush()
            try:
                AtomStore.open(path).verify()
                found = False
            except ValueError:
                found = True
            assert found == (value != byte), "a flipped bit is not found"
    return {}


def train(path: Path, n: int, seed: int) -> dict[str, float]:
    """Twenty steps of `fit` on nine tenths of it."""
    torch.set_num_threads(1)
    store = AtomStore.open(path)
    train_part, val, _ = store.split(9 * n // 10, min(100, n // 20), seed=seed)
    torch.manual_seed(0)
    model = scdlab.SchNet(hidden_channels=16, num_layers=2, num_rbf=8)
    objective = scdlab.objectives.EnergyForces()
    start = time.perf_counter()
    out = path.with_name("run")
    scdlab.fit(
        model, objective, train_part, val=val, steps=20, batch_size=_BATCH, out=out, progress=False
    )
    return {"fit of 20 steps s": time.perf_counter() - start}


STEPS = (write, opened, batches, split, verify, identify, damaged, train)


def run(cases: int, seed: int, folder: Path, minutes: float | None = None) -> dict[str, Any]:
    """All steps on a set of `cases` structures, which is removed at the end."""
    begin = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "set"
    counts: dict[str, float] = {}
    failures = []
    try:
        for step in STEPS:
            result = _apart(step, path, cases, seed)
            what = result.pop("error", None)
            if what:
                failures.append({"case": step.__name__, "what": what})
                if step is write:
                    break
            counts |= {name: round(value, 4) for name, value in result.items()}
    finally:
        for name in ("set", "run"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return {
        "campaign": "scale",
        "cases": cases,
        "seconds": round(time.monotonic() - begin, 1),
        "counts": counts,
        "failures": failures,
        "settings": {"seed": seed, "batch": _BATCH, "checked when opened, bytes": storage.WHOLE},
    }


def _apart(step: Callable, path: Path, n: int, seed: int) -> dict[str, Any]:
    """A step in a process of its own: what it measured, its peak of memory, or an error."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_step, args=(step, path, n, seed, there))
    child.start()
    there.close()
    try:
        result = here.recv()
    except EOFError:
        child.join()
        result = {"error": f"its process ended with {child.exitcode}"}
    child.join()
    return result


def _step(step: Callable, path: Path, n: int, seed: int, report: Any) -> None:
    logger.setLevel("WARNING")
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        result = dict(step(path, n, seed))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result[f"{step.__name__}: memory GB"] = (peak - base) * 1024 / 1e9
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    report.send(result)
