"""Where a record comes from: the commit, the source, the versions and the hardware."""

import ast
import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import torch

import scdlab

_ROOT = Path(scdlab.__file__).resolve().parent
_DECIDING = (
    "analysis",
    "atoms",
    "nn",
    "objectives",
    "symmetry",
    "training",
    "calculator.py",
    "units.py",
)
_LEDGER = {
    "claim",
    "curves",
    "directions",
    "kept",
    "measure",
    "night",
    "plan",
    "provenance",
    "record",
    "show",
    "withdrawn",
    "worker",
}
_PACKAGES = ("torch", "torch-geometric", "numpy", "ase", "lightning-fabric")


def checkout() -> tuple[str, bool]:
    """State of the checkout that this package is imported from.

    Returns
    -------
    commit : str
        Its commit, 40 hexadecimal digits.
    dirty : bool
        Whether it has uncommitted changes; what runs produce (records, checkpoints, results of
        benchmarks) does not count.

    Raises
    ------
    RuntimeError
        The package is in no git checkout, or git is not installed.
    """
    root = Path(scdlab.__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        raise RuntimeError(
            "Records are made in a git checkout of scdlab, with git installed; use the quick "
            "profile here."
        )

    def output_of(*words: str) -> str:
        return subprocess.run(
            [git, "-C", str(root), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    made = ("scdlab/claims/records", "data/checkpoints", "benchmarks/results")
    products = [f":(exclude){folder}" for folder in made]
    status = output_of("status", "--porcelain", "--", ".", *products)
    return output_of("rev-parse", "HEAD"), bool(status)


def source_digest() -> str:
    """Which code gave a result, whatever the commit is.

    Returns
    -------
    str
        sha256 over the package's .py files, line ends normalized.
    """
    return _digest_of(_ROOT.rglob("*.py"))


@functools.lru_cache
def deciding_digest(modules: tuple[str, ...]) -> str:
    """Which code decides the numbers of a recipe.

    That is all that computes (networks, objectives, training, structures, symmetry, analysis) and
    the recipe's own modules with those of `scdlab.claims` that they import. The command line,
    figures, and recipes of other claims change no number, and may be edited while a long
    measurement is under way. It is read once in a process: what is loaded is what was on disk then.

    Parameters
    ----------
    modules : tuple of str
        Names of the modules that hold the recipe, as `modules_of` gives them.

    Returns
    -------
    str
        sha256 over those files, line ends normalized.
    """
    return _deciding(modules)


def is_as_loaded(modules: tuple[str, ...]) -> bool:
    """Whether the code that decides a recipe's numbers is still what this process began with.

    Parameters
    ----------
    modules : tuple of str
        Names of the modules that hold the recipe.

    Returns
    -------
    bool
        False where one of its files was edited since.
    """
    return _deciding(modules) == deciding_digest(modules)


def modules_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """Modules in which a function is written, and those that it encloses.

    Parameters
    ----------
    function : callable
        Such as a recipe.

    Returns
    -------
    tuple of str
        Their names, sorted.
    """
    found: set[str] = set()
    seen: set[int] = set()
    waiting: list[Any] = [function]
    while waiting:
        each = waiting.pop()
        if not callable(each) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, functools.partial):
            waiting += [each.func, *each.args, *each.keywords.values()]
            continue
        found.add(getattr(each, "__module__", None) or type(each).__module__)
        for cell in getattr(each, "__closure__", None) or ():
            try:
                waiting.append(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
    return tuple(sorted(found))


def _deciding(modules: tuple[str, ...]) -> str:
    """The digest of what stands on disk now."""
    paths: set[Path] = set()
    for part in _DECIDING:
        paths.update((_ROOT / part).rglob("*.py") if "." not in part else [_ROOT / part])
    others: list[Path] = []
    recipes = {"common"}
    for name in modules:
        if name.startswith("scdlab.claims."):
            recipes.add(name.removeprefix("scdlab.claims."))
        elif not name.startswith("scdlab."):
            file = getattr(sys.modules.get(name), "__file__", None)
            others += [Path(file)] if file else []
    paths |= {_ROOT / "claims" / f"{name}.py" for name in _with_imported(recipes)}
    total = hashlib.sha256(_digest_of(paths).encode())
    for path in sorted(others):
        total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()


def _with_imported(names: set[str]) -> set[str]:
    """Modules of the claims, and those of them that they import, but for the ledger's own."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        path = _ROOT / "claims" / f"{name}.py"
        if name in found or name in _LEDGER or not path.is_file():
            continue
        found.add(name)
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level == 1 or node.module == "scdlab.claims":
                own = node.module if node.level == 1 else None
                waiting |= {own} if own else {alias.name for alias in node.names}
            elif (node.module or "").startswith("scdlab.claims."):
                waiting.add(str(node.module).removeprefix("scdlab.claims."))
    return found


def _digest_of(paths: Iterable[Path]) -> str:
    """sha256 over files of the package, line ends normalized."""
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.relative_to(_ROOT).as_posix()):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        total.update(f"{path.relative_to(_ROOT).as_posix()}\0{len(text)}\0".encode() + text)
    return total.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that its numbers depend on.

    Returns
    -------
    dict
        Package -> version.
    """
    found = {"python": platform.python_version(), "scdlab": scdlab.__version__}
    return found | {name: importlib.metadata.version(name) for name in _PACKAGES}


def hardware_of(device: str) -> dict[str, Any]:
    """The machine that a run on a device takes place on.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        As in `scdlab.fit`.

    Returns
    -------
    dict
        cpu (its model), cores (usable ones), threads (of torch), memory_GiB, gpu (None when the run
        is on the CPU), system.
    """
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():  # Linux: platform.processor() is empty or only names the architecture
        found = re.search(
            r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE
        )
        model = found.group(1) if found else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if device != "cpu" and torch.cuda.is_available() else None
    memory = round(psutil.virtual_memory().total / 2**30, 1)
    return {
        "cpu": model,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory_GiB": memory,
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }
