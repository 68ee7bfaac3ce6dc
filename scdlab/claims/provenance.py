"""Where a record comes from: the commit, the source, the versions and the hardware."""

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
import torch

import scdlab

_PACKAGES = ("torch", "torch-geometric", "numpy", "ase", "lightning-fabric")


def checkout() -> tuple[str, bool]:
    """State of the checkout that this package is imported from.

    Returns
    -------
    commit : str
        Its commit, 40 hexadecimal digits.
    dirty : bool
        Whether it has uncommitted changes; records and checkpoints do not count.

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

    products = [":(exclude)scdlab/claims/records", ":(exclude)data/checkpoints"]
    status = output_of("status", "--porcelain", "--", ".", *products)
    return output_of("rev-parse", "HEAD"), bool(status)


def source_digest() -> str:
    """Which code gave a result, whatever the commit is.

    Returns
    -------
    str
        sha256 over the package's .py files, line ends normalized.
    """
    root = Path(scdlab.__file__).resolve().parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        total.update(f"{path.relative_to(root).as_posix()}\0{len(text)}\0".encode() + text)
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
