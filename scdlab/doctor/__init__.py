"""`scdlab doctor`: what this machine has for the kit, what is missing, and how to get it.

`examine()` looks and returns a `Report`; it changes nothing, uses no network, and does without
optional parts. A finding is "ok", "optional" (missing, and the kit works without it) or "required"
(missing or too old).
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from packaging.requirements import Requirement

import scdlab
from scdlab import files

from . import machine
from .findings import MARKS as MARKS
from .findings import Finding, Report

CHROMIUM = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
)


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

    Raises
    ------
    ValueError
        There is no such area.
    """
    if unknown := [area for area in areas if area not in AREAS]:
        raise ValueError(f"There is no area {unknown[0]!r} to look at: name {', '.join(AREAS)}.")
    return Report(tuple(each for area in areas or AREAS for each in _looked_at(area)))


def _looked_at(area: str) -> Iterator[Finding]:
    """The findings of an area. A check that fails is one: what is broken is what the report is
    for."""
    for check in AREAS[area]:
        try:
            yield from check()
        except Exception as error:  # a broken installation may raise anything
            words = " ".join(str(error).split())[:200]
            yield Finding(
                area,
                check.__name__.strip("_").replace("_", " "),
                f"cannot be examined ({type(error).__name__}: {words})",
                "optional",
                "the error says what to mend; nothing else depends on this line",
            )


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


def _lesson_kernel() -> Iterator[Finding]:
    """Whether JupyterLab has a kernel for the lessons, and its program is there."""
    if importlib.util.find_spec("jupyter_client") is None:
        return
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    remedy = "python -m ipykernel install --sys-prefix"
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        yield Finding("software", "kernel", "no 'python3'", "optional", remedy)
        return
    program = str(spec.argv[0]) if spec.argv else ""
    if shutil.which(program) is None:
        text = f"'python3' names a program that is not there: {program or 'none'}"
        yield Finding("software", "kernel", text, "optional", remedy)
    else:
        yield Finding("software", "kernel", f"'python3', {program}")


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


def _lessons() -> Iterator[Finding]:
    notebooks = files.package_dir("notebooks")
    lessons = sorted(path.stem for path in notebooks.glob("[0-9][0-9]*_*.ipynb"))
    if lessons:
        yield Finding("data", "lessons", ", ".join(lessons))
    else:
        yield Finding(
            "data", "lessons", f"none in {notebooks}", "required", "install the kit again"
        )


def _committed_sets() -> Iterator[Finding]:
    yield _stores("committed sets", files.package_dir("data"), "required", "install the kit again")


def _published_sets() -> Iterator[Finding]:
    yield _qm9()
    yield _md17()


def _checkpoints() -> Iterator[Finding]:
    checkpoints = sorted(path.stem for path in files.package_dir("data").rglob("*.safetensors"))
    yield Finding(
        "data", "checkpoints", ", ".join(checkpoints) or "none yet: the lessons train their own"
    )


def _cache() -> Iterator[Finding]:
    try:
        yield _stores("cache", files.cache_dir())
    except FileNotFoundError:  # a user without a home; the disk's line says so
        yield Finding("data", "cache", "none")


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
    places = [files.user_data()]
    with contextlib.suppress(FileNotFoundError):  # a user without a home
        places.append(files.cache_dir() / "rmd17")
    there = [place for place in places if place is not None and place.is_dir()]
    found = sorted(path.name for place in there for path in place.rglob("rmd17_*.npz"))
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


AREAS: dict[str, tuple[Callable[[], Iterator[Finding]], ...]] = {
    "software": (_software, _lesson_kernel),
    "machine": (
        machine.processor,
        machine.fused_kernels,
        machine.memory,
        machine.home,
        machine.disk,
        machine.encodings,
    ),
    "data": (_lessons, _committed_sets, _published_sets, _checkpoints, _cache),
    "tests": (_browser,),
}
