"""The machine: its processor, kernels, memory, home, disk and encodings."""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scdlab import files
from scdlab.locks import try_hold

from .findings import Finding

GIB = 2**30


def processor() -> Iterator[Finding]:
    """The device and its cores.

    Yields
    ------
    Finding
        One for each line.
    """
    yield Finding("machine", "device", _device())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("machine", "cores", str(cores))


def fused_kernels() -> Iterator[Finding]:
    """Whether the fused kernels compile, for the processor and for GPUs.

    Yields
    ------
    Finding
        One for each line.
    """
    yield _kernels()
    yield from _gpu_kernels()


def memory() -> Iterator[Finding]:
    """Memory that is free.

    Yields
    ------
    Finding
        One for each line.
    """
    import psutil

    found = psutil.virtual_memory()
    yield Finding(
        "machine", "memory", f"{found.available / GIB:.1f} GiB free of {found.total / GIB:.1f}"
    )


def home() -> Iterator[Finding]:
    """The home folder.

    Yields
    ------
    Finding
        One for each line.
    """
    remedy = "set the environment variable HOME to a folder of your own"
    try:
        folder = Path.home()
    except RuntimeError:
        yield Finding("machine", "home", "this user has none", "optional", remedy)
        return
    if folder.is_dir() and os.access(folder, os.W_OK):
        yield Finding("machine", "home", str(folder))
    else:
        yield Finding("machine", "home", f"{folder} cannot be written", "optional", remedy)


def disk() -> Iterator[Finding]:
    """Room for the cache, and whether it can be written and locked.

    Yields
    ------
    Finding
        One for each line.
    """
    remedy = "point the environment variable SCDLAB_CACHE at a folder that can be written"
    try:
        cache = files.cache_dir()
    except OSError as error:
        yield Finding("machine", "disk", str(error), "optional", remedy)
        return
    place = _existing(cache)
    free = shutil.disk_usage(place).free / GIB
    low = free < 2
    more = "make room, or point the environment variable SCDLAB_CACHE at another disk"
    text = f"{free:.1f} GiB free for the cache {cache}"
    yield Finding("machine", "disk", text, "optional" if low else "ok", more if low else "")
    if not place.is_dir() or not os.access(place, os.W_OK):
        text = f"{place} cannot be written: parsed sets and maps are made anew each time"
        yield Finding("machine", "cache", text, "optional", remedy)
        return
    with tempfile.TemporaryFile(dir=place) as file:
        try:
            held = try_hold(file.fileno())
        except OSError as error:
            text = f"none on the disk of {place} ({error.strerror}): run one writer at a time there"
            yield Finding("machine", "locks", text, "optional", remedy)
            return
    yield Finding("machine", "locks", "work" if held else "are held by another process")


def encodings() -> Iterator[Finding]:
    """What signs the output and names of files can hold.

    Yields
    ------
    Finding
        One for each line.
    """
    output = getattr(sys.stdout, "encoding", None) or "none"
    names = sys.getfilesystemencoding()
    text = f"output {output}, names of files {names}"
    try:
        "Å σ ✓".encode(output)
    except (UnicodeEncodeError, LookupError):
        remedy = "set PYTHONIOENCODING=utf-8; until then signs such as Å are printed as ?"
        yield Finding("machine", "encodings", text, "optional", remedy)
    else:
        yield Finding("machine", "encodings", text)


def _device() -> str:
    if importlib.util.find_spec("torch") is None:
        return "unknown without torch"
    import torch

    if not torch.cuda.is_available():
        return f"CPU ({torch.get_num_threads()} threads)"
    return ", ".join(
        f"{p.name} ({p.total_memory / GIB:.0f} GiB)"
        for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    )


def _kernels() -> Finding:
    """Whether numba compiles what the fused kernels are made of and may keep it, and whose threads
    run it."""
    try:
        from numba.core.caching import FunctionCache

        from scdlab.nn.ops import runtime
        from scdlab.nn.ops.loops.sorting import sort

        _try_compiler()
    except Exception as error:  # a compiler that does not work may raise anything
        first = (str(error).splitlines() or [""])[0]
        remedy = (
            "python -m pip install --force-reinstall numba llvmlite; set NUMBA_CACHE_DIR to a "
            "folder of your own"
        )
        text = f"numba does not compile them ({type(error).__name__}: {first})"
        return Finding("machine", "fused kernels", text, "required", remedy)
    try:
        FunctionCache(sort.body)  # finds a folder that can be written
    except RuntimeError:
        remedy = "set NUMBA_CACHE_DIR to a folder of your own"
        return Finding(
            "machine", "fused kernels", "compiled anew in each process", "optional", remedy
        )
    team = (
        "torch's OpenMP threads"
        if runtime.TEAM
        else "threads of their own, because torch's are not to be had here"
    )
    return Finding("machine", "fused kernels", f"numba compiles them; they run on {team}")


def _gpu_kernels() -> Iterator[Finding]:
    """Whether Triton compiles the fused kernels for each GPU, and whether they are right there."""
    import torch

    if not torch.cuda.is_available():
        return
    from scdlab.nn.ops.gpu import available

    for k in range(torch.cuda.device_count()):
        name = "GPU kernels" if k == 0 else f"GPU kernels, cuda:{k}"
        reason = available.trouble(torch.device("cuda", k))
        if reason is None:
            text = f"Triton {available.triton_version()} compiles them"
            yield Finding("machine", name, text)
        else:
            remedy = "sums over neighbors run as plain torch until then: right, but slower"
            yield Finding("machine", name, reason, "optional", remedy)


def _try_compiler() -> None:
    """Compile and run eight products, half a second; RuntimeError when they are wrong."""
    import numpy as np
    from numba import carray, cfunc, types  # pyright: ignore[reportPrivateImportUsage]

    from scdlab.nn.ops.simd import fill, load, store

    def double(data: Any) -> None:
        block = carray(data, (2,), np.int64)
        store(block[1], load(block[0]) * fill(np.float32(2.0)))

    one = np.arange(8, dtype=np.float32)
    two = np.zeros(8, dtype=np.float32)
    options: dict[str, Any] = dict(nopython=True)
    addresses = np.array([one.ctypes.data, two.ctypes.data])
    cfunc(types.void(types.voidptr), **options)(double).ctypes(addresses.ctypes.data)
    if not np.array_equal(two, 2 * one):
        raise RuntimeError(
            f"compiled products are wrong: expected {(2 * one).tolist()}, got {two.tolist()}"
        )


def _existing(path: Path) -> Path:
    """The nearest folder above `path` that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())
