"""`scdlab doctor`: what this machine has for the kit, what is missing, and how to get it.

`examine()` looks and returns a `Report`; it changes nothing, uses no network, and does without
optional parts. A finding is "ok", "optional" (missing, and the kit works without it) or "required"
(missing or too old).
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

import scdlab
from scdlab import files

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

# State -> mark, the same for outputs of letters alone, color.
MARKS = {
    "ok": ("✓", "ok", "green"),
    "optional": ("–", "-", "yellow"),
    "required": ("✗", "!!", "red"),
}
CHROMIUM = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
)
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    area : str
        One of AREAS.
    name : str
        What was looked for.
    text : str
        What was found.
    state : {"ok", "optional", "required"}, default "ok"
        Whether it is there, or else whether the kit needs it.
    remedy : str, default ""
        How to get what is missing.
    """

    area: str
    name: str
    text: str
    state: str = "ok"
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """What `examine` found; shows itself in a terminal (rich) and as plain text.

    Parameters
    ----------
    findings : tuple of Finding
        One for each line.
    """

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether everything required is there."""
        return all(finding.state != "required" for finding in self.findings)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Table]":
        yield self._table(options.ascii_only)

    def _table(self, letters: bool = False) -> "Table":
        """The findings as a table; `letters`: for an output that shows no other signs."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE, show_header=False)
        for column in ("area", "", "name"):
            table.add_column(column, no_wrap=True)
        table.add_column("found", overflow="fold")
        area = None
        for finding in self.findings:
            sign, word, color = MARKS[finding.state]
            text = Text(finding.text)
            if finding.remedy:
                text.append(f"\n{'>' if letters else '→'} {finding.remedy}", style=color)
            table.add_row(
                finding.area if finding.area != area else "",
                Text(word if letters else sign, style=color),
                finding.name,
                text,
            )
            area = finding.area
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=120, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


def examine(*areas: str) -> Report:
    """Look at what this machine has for the kit.

    Parameters
    ----------
    *areas : {"software", "machine", "data", "tests"}
        Where to look; everywhere by default.

    Returns
    -------
    Report
        What was found.
    """
    return Report(tuple(finding for area in areas or AREAS for finding in AREAS[area]()))


def chromium() -> str | None:
    """Path of a Chromium-like browser.

    Returns
    -------
    str or None
        SCDLAB_CHROMIUM, else the first on the search path; None when there is none.
    """
    named = os.environ.get("SCDLAB_CHROMIUM")
    return named or next((path for name in CHROMIUM if (path := shutil.which(name))), None)


def _software() -> Iterator[Finding]:
    yield Finding(
        "software",
        "python",
        f"{platform.python_version()}, {platform.system()} {platform.machine()}",
    )
    yield Finding("software", "scdlab", f"{scdlab.__version__}, {Path(scdlab.__file__).parent}")
    try:
        lines = importlib.metadata.requires("scdlab") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            "software",
            "packages",
            "scdlab is not installed",
            "required",
            "python -m pip install -e .",
        )
        return
    needed = [each for each in map(Requirement, lines) if "extra" not in str(each.marker)]
    here = [each for each in needed if each.marker is None or each.marker.evaluate()]
    findings = [_package(requirement) for requirement in here]
    good = [finding for finding in findings if finding.state == "ok"]
    yield Finding(
        "software", "packages", ", ".join(f"{finding.name} {finding.text}" for finding in good)
    )
    yield from (finding for finding in findings if finding.state != "ok")
    for requirement in (requirement for requirement in needed if requirement not in here):
        remedy = "conda-forge has builds for more systems; the committed data sets do not need it"
        yield Finding("software", requirement.name, "no wheel for this machine", "optional", remedy)


def _package(requirement: Requirement) -> Finding:
    remedy = f'python -m pip install "{requirement.name}{requirement.specifier}"'
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding("software", requirement.name, "not installed", "required", remedy)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(
            "software",
            requirement.name,
            f"{version}, needed {requirement.specifier}",
            "required",
            remedy,
        )
    return Finding("software", requirement.name, version)


def _machine() -> Iterator[Finding]:
    import psutil

    yield Finding("machine", "device", _device())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("machine", "cores", str(cores))
    yield _kernels()
    memory = psutil.virtual_memory()
    yield Finding(
        "machine", "memory", f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f}"
    )
    yield _disk()


def _cache() -> Path | None:
    """The folder of the cache; None for a user without a home."""
    try:
        return files.cache_dir()
    except FileNotFoundError:
        return None


def _disk() -> Finding:
    cache = _cache()
    if cache is None:
        text = "no home folder for the cache: what is parsed is not kept"
        remedy = "set the environment variable SCDLAB_CACHE to a folder that can be written"
        return Finding("machine", "disk", text, "optional", remedy)
    free = shutil.disk_usage(_existing(cache)).free / GIB
    low = free < 2
    remedy = "make room, or point the environment variable SCDLAB_CACHE at another disk"
    text = f"{free:.1f} GiB free for the cache {cache}"
    return Finding("machine", "disk", text, "optional" if low else "ok", remedy if low else "")


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


def _data() -> Iterator[Finding]:
    notebooks = files.package_dir("notebooks")
    lessons = sorted(path.stem for path in notebooks.glob("[0-9][0-9]_*.ipynb"))
    if lessons:
        yield Finding("data", "lessons", ", ".join(lessons))
    else:
        yield Finding(
            "data", "lessons", f"none in {notebooks}", "required", "install the kit again"
        )
    yield _stores("committed sets", files.package_dir("data"), "required", "install the kit again")
    yield _qm9()
    yield _md17()
    checkpoints = sorted(path.stem for path in files.package_dir("data").rglob("*.safetensors"))
    yield Finding(
        "data", "checkpoints", ", ".join(checkpoints) or "none yet: the lessons train their own"
    )
    cache = _cache()
    if cache is not None:
        yield _stores("cache", cache)


def _stores(name: str, folder: Path, state: str = "ok", remedy: str = "") -> Finding:
    """The AtomStores below `folder`."""
    found = sorted(
        path.parent.relative_to(folder).as_posix() for path in folder.rglob("store.json")
    )
    if found:
        return Finding("data", name, ", ".join(found))
    return Finding("data", name, f"nothing in {folder}", state, remedy if state != "ok" else "")


def _qm9() -> Finding:
    if importlib.util.find_spec("qm9pack") is not None:
        return Finding(
            "data", "QM9", f"all of it (qm9pack {importlib.metadata.version('qm9pack')})"
        )
    remedy = "python -m pip install qm9pack (90 MB): the whole set inside a wheel"
    return Finding("data", "QM9", "the sample of 5,000 molecules", "optional", remedy)


def _md17() -> Finding:
    cache = _cache()
    places = [files.user_data(), None if cache is None else cache / "rmd17"]
    places = [place for place in places if place is not None and place.is_dir()]
    found = sorted(path.name for place in places for path in place.rglob("rmd17_*.npz"))
    if found:
        return Finding("data", "rMD17", ", ".join(found))
    where = f"none in {files.user_data()}" if files.user_data() else "none: SCDLAB_DATA is not set"
    remedy = (
        "scdlab data get md17 ethanol, or set SCDLAB_DATA to the folder of your own "
        "rmd17_<name>.npz"
    )
    return Finding("data", "rMD17", where, "optional", remedy)


def _browser() -> Iterator[Finding]:
    path = chromium()
    if path:
        yield Finding("tests", "Chromium", path)
    else:
        remedy = (
            "install Chromium or Chrome, or name it in SCDLAB_CHROMIUM; only the browser tests "
            "need it"
        )
        yield Finding("tests", "Chromium", "none", "optional", remedy)


def _existing(path: Path) -> Path:
    """The nearest folder above `path` that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


AREAS = {"software": _software, "machine": _machine, "data": _data, "tests": _browser}
