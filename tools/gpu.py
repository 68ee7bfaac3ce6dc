"""`make gpu`: everything that a machine with an NVIDIA card can say about the kit, in the minutes
that there are.

    python tools/gpu.py --minutes 9       goes on where it stopped
    python tools/gpu.py --plan            what it would do, and in which order
    python tools/gpu.py show              puts what was measured into benchmarks/README.md
    python tools/gpu.py wheels            writes tools/gpu_wheels.txt

The GPU tests come first, then the ceilings of the card, training steps and their memory beside
peers, molecules of pretraining a second, and at last the `full` recipes of claims, in order of
worth, until the time is over. Each part runs in a process of its own and is written as soon as it
is done, with commit, versions and card; a part that was measured with the same source, versions and
card is not measured again. What does not fit in the time left is not started.

No network: what it needs besides torch 2.11 or newer is listed in tools/gpu_wheels.txt. Where there
is a network, `pip download --no-deps -r tools/gpu_wheels.txt -d wheels`; on the machine with the
card, `pip install --no-index --no-deps --find-links wheels -r tools/gpu_wheels.txt`.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ROOT / "tools" / "gpu_wheels.txt"
RESULT = ROOT / "benchmarks" / "results" / "gpu.json"
FORMAT = "scdlab gpu 1"
OLDEST_TORCH = 2, 11
LEAST_GIB = 4
CLAIMS_LEAST = 120  # seconds


@dataclasses.dataclass(frozen=True)
class Part:
    """One thing to measure.

    Parameters
    ----------
    name : str
        Its name in the result.
    seconds : float
        What it takes at most, about: it is not started with less time left.
    gib : float
        Memory of the card that it needs.
    command : tuple of str
        What runs it, after the interpreter; the last line that it prints is its result as json.
    """

    name: str
    seconds: float
    gib: float
    command: tuple[str, ...]


def plan() -> list[Part]:
    """Everything to measure, in order."""

    def measured(name: str, seconds: float, gib: float) -> Part:
        return Part(name, seconds, gib, ("benchmarks/gpu_parts.py", name))

    parts = [Part("tests", 120, 4, ("tools/gpu.py", "tests")), measured("ceilings", 25, 4)]
    for n, gib in ((128, 8), (1024, 40)):
        for name in (f"schnet-{n}-forces", f"et-{n}-forces", f"two-pass-{n}"):
            parts.append(measured(name, 45, gib))
        for size in ("128x6", "256x8"):
            parts.append(measured(f"pretraining-{size}-{n}", 40, gib))
        for name in (f"schnet-{n}", f"et-{n}"):
            parts.append(measured(name, 40, gib))
    return parts


# --------------------------------------------------------------------------------------------------
# the machine


def unfit() -> str | None:
    """Why nothing can be measured here, in one sentence; None where something can."""
    try:
        import torch
    except ImportError:
        return "torch is not installed here, so nothing was measured: install one for CUDA."
    number = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    oldest = ".".join(map(str, OLDEST_TORCH))
    if number < OLDEST_TORCH:
        return f"torch {torch.__version__} is older than {oldest}, so nothing was measured."
    if not torch.cuda.is_available():
        return (
            "torch sees no GPU here, so nothing was measured: run this on a machine with an NVIDIA "
            "card and a torch for CUDA."
        )
    gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    if gib < LEAST_GIB:
        return (
            f"The card {torch.cuda.get_device_name(0)} has {gib:.1f} GiB of memory, and "
            f"{LEAST_GIB} are needed, so nothing was measured."
        )
    missing = [pin.split("==")[0] for pin in wheels() if not _installed(pin)]
    if missing:
        return (
            f"Not installed here: {', '.join(missing)}; so nothing was measured. Install them with "
            f"pip install --no-index --no-deps --find-links WHEELS -r {WHEELS.relative_to(ROOT)}."
        )
    return None


def wheels() -> list[str]:
    """The pins of tools/gpu_wheels.txt."""
    lines = WHEELS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _installed(pin: str) -> bool:
    try:
        version(pin.split("==")[0])
    except PackageNotFoundError:
        return False
    return True


def provenance() -> dict[str, Any]:
    """What decides a result: source, versions and card."""
    import torch

    from scdlab.claims.provenance import hardware_of, source_digest, versions
    from scdlab.nn.ops.gpu import available

    card = torch.cuda.get_device_properties(0)
    return {
        "source": source_digest(),
        "versions": versions() | {"triton": available.triton_version()},
        "hardware": hardware_of("cuda"),
        "memory_GiB": round(card.total_memory / 2**30, 1),
        "capability": f"{card.major}.{card.minor}",
        "cuda": torch.version.cuda,
        "kernels": available.trouble(torch.device("cuda", 0)) or "Triton",
    }


def commit() -> dict[str, Any]:
    """The commit of this checkout, and whether it has other changes; None where it is none."""
    from scdlab.claims.provenance import checkout

    try:
        found, dirty = checkout()
    except RuntimeError:
        return {"commit": None, "dirty": None}
    return {"commit": found, "dirty": dirty}


# --------------------------------------------------------------------------------------------------
# measuring


def read(path: Path) -> dict[str, Any]:
    """The results so far; of another format or damaged: an error that says what to do."""
    if not path.exists():
        return {"format": FORMAT, "parts": {}}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = {}
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise SystemExit(f"{path} is no result of `make gpu`: move it away, then try again.")
    return found


def is_done(results: dict[str, Any], part: Part, about: dict[str, Any]) -> bool:
    """Whether a part was measured with the same source, versions and card."""
    found = results["parts"].get(part.name, {})
    return "result" in found and found["provenance"] == about


def measure(
    parts: list[Part],
    path: Path,
    minutes: float,
    about: dict[str, Any],
    say: Callable[[str], object] = print,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Measure parts in order, while there is time; why each that has no result has none.

    Parameters
    ----------
    parts : list of Part
        What to measure.
    path : Path
        Results, read first and written after each part.
    minutes : float
        The time that there is.
    about : dict
        The provenance of what is measured now.
    say, clock : callable, optional
        Where lines go, and what says the time in seconds.
    """
    from scdlab.atomic import write_json

    end = clock() + 60 * minutes
    results = read(path)
    left = {}
    for part in parts:
        if is_done(results, part, about):
            say(f"{part.name}: measured before")
            continue
        reason = None
        if part.gib > about["memory_GiB"]:
            reason = f"needs a card of {part.gib:.0f} GiB, this one has {about['memory_GiB']}"
        elif end - clock() < part.seconds:
            reason = f"needs up to {part.seconds:.0f} s, {max(end - clock(), 0):.0f} are left"
        else:
            start = clock()
            result, reason = run(part, end - clock())
            seconds = round(clock() - start, 1)
            if result is not None:
                entry = {"result": result, "seconds": seconds, "date": str(date.today())}
                command = " ".join(("python", *part.command))
                entry |= {"command": command, "provenance": about, **commit()}
                results["parts"][part.name] = entry
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, results)
                say(f"{part.name}: {seconds:.0f} s")
                for name, why in result.get("skipped", {}).items():
                    say(f"{part.name}: without {name}, which {why}")
        if reason is not None:
            left[part.name] = reason
            say(f"{part.name}: not measured: {reason}")
    return left


def run(part: Part, seconds: float) -> tuple[dict[str, Any] | None, str | None]:
    """A part's result, or why there is none.

    Parameters
    ----------
    part : Part
        What to measure.
    seconds : float
        When it is stopped.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, *part.command]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return None, f"stopped after {seconds:.0f} s"
    lines = done.stdout.strip().splitlines()
    words = (done.stderr.strip().splitlines() or lines or ["it said nothing"])[-1][:300]
    if done.returncode:
        return None, f"failed: {words}"
    try:
        return json.loads(lines[-1]), None
    except (IndexError, ValueError):
        return None, f"gave no result: {words}"


def tests() -> dict[str, Any]:
    """Counts of the GPU tests, and the names of those that fail."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", *options, "tests/unit/test_gpu.py"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if not report.exists():
            raise SystemExit(f"pytest gave no report: {(done.stdout + done.stderr)[-300:]}")
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = [
        case.get("name")
        for case in cases
        for kind in ("failure", "error")
        if case.find(kind) is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "passed": len(cases) - len(failed) - skipped,
        "skipped_tests": skipped,
        "failed": failed,
    }


def full_claims(seconds: float) -> int:
    """Run the `full` recipes in order of worth; the command's exit status."""
    hours = f"{seconds / 3600:.4f}"
    options = ["--profile", "full", "--hours", hours, "--jobs", "1", "--device", "cuda"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "scdlab", "claims", "run", *options]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}).returncode


# --------------------------------------------------------------------------------------------------
# showing


def table(results: dict[str, Any]) -> str:
    """The results as markdown: steps beside peers, pretraining, and what it was measured on."""
    parts = {name: entry["result"] for name, entry in results["parts"].items()}
    steps = [
        "| training step | scdlab | memory | of a ceiling | peer | | memory | ratio |",
        "|---|--:|--:|--:|---|--:|--:|--:|",
    ]
    rates = ["| pretraining | step | molecules/s |", "|---|--:|--:|"]
    for name, result in parts.items():
        if "molecules_per_second" in result:
            rates.append(
                f"| {name} | {result['ms']:.1f} ms | {result['molecules_per_second']:.0f} |"
            )
        for peer, row in result.get("sides", {}).items():
            if peer == "ours":
                continue
            ours = result["sides"]["ours"]
            share = result.get("share_of_ceiling")
            cells = [
                name,
                f"{ours['ms']:.1f} ms",
                _megabytes(ours["MB"]),
                "" if share is None else f"{100 * share:.0f} %",
                peer,
                f"{row['ms']:.1f} ms",
                _megabytes(row["MB"]),
                f"**{row['ratio']:.1f}×**",
            ]
            steps.append(f"| {' | '.join(cells)} |")
    about = sorted({_about(entry) for entry in results["parts"].values()})
    return "\n".join([*steps, "", *rates, "", *about])


def _megabytes(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.0f} MB"


def _about(entry: dict[str, Any]) -> str:
    where = entry["provenance"]
    packages = ", ".join(f"{name} {where['versions'][name]}" for name in ("torch", "triton"))
    return f"{where['hardware']['gpu']}, {packages}, {entry['date']}: `make gpu`."


def show(path: Path = RESULT, page: Path = ROOT / "benchmarks" / "README.md") -> None:
    """Put the results into benchmarks/README.md."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from harness import put_into

    results = read(path)
    if not results["parts"]:
        raise SystemExit("Nothing was measured on a GPU yet, so there is nothing to show.")
    put_into(page, "gpu", table(results))


# --------------------------------------------------------------------------------------------------
# wheels


def wheels_text(lock: str) -> str:
    """The text of tools/gpu_wheels.txt: pins of what the parts import, torch's own needs aside.

    Parameters
    ----------
    lock : str
        The text of requirements.lock.
    """
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = {"typer", "rich", "packaging", "torchmd-net", "pytest", "hypothesis"}
    lines = project["dependencies"] + extras["qm9"]
    lines += [
        line for extra in extras.values() for line in extra if Requirement(line).name in names
    ]
    pins = {line.split("==")[0]: line.split(" ;")[0] for line in lock.splitlines() if "==" in line}
    queue = [canonicalize_name(Requirement(line).name) for line in lines]
    seen = {"torch", "triton"}
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        for text in requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                queue.append(canonicalize_name(needed.name))
    head = (
        "# What `make gpu` needs besides torch, exactly, as in requirements.lock. Made by\n"
        "# `python tools/gpu.py wheels`.\n"
    )
    return head + "".join(f"{pins[name]}\n" for name in sorted(seen - {"torch", "triton"}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["measure", "tests", "show", "wheels"])
    parser.add_argument("--minutes", type=float, default=9.0, help="the time that there is")
    parser.add_argument("--out", type=Path, default=RESULT, help="where results are kept")
    parser.add_argument("--plan", action="store_true", help="say what would be done")
    parser.add_argument("--no-claims", action="store_true", help="leave the full recipes out")
    options = parser.parse_args()
    if not 0 < options.minutes < 60 * 24:
        raise SystemExit(f"--minutes must be positive, less than a day, not {options.minutes}.")
    if options.plan:
        for part in plan():
            print(f"{part.name:24s} up to {part.seconds:4.0f} s, {part.gib:3.0f} GiB")
        return
    sys.path.insert(0, str(ROOT))
    if options.what == "tests":
        print(json.dumps(tests()))
        return
    if options.what == "show":
        show(options.out)
        return
    if options.what == "wheels":
        lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        WHEELS.write_text(wheels_text(lock), encoding="utf-8", newline="\n")
        return
    if reason := unfit():
        raise SystemExit(reason)
    start = time.monotonic()
    about = provenance()
    if about["kernels"] != "Triton":
        print(f"The fused kernels do not run on this card: {about['kernels']}.")
    left = measure(plan(), options.out, options.minutes, about)
    rest = 60 * options.minutes - (time.monotonic() - start)
    if not left and not options.no_claims and rest >= CLAIMS_LEAST:
        raise SystemExit(full_claims(rest))
    failed = [
        name for name, reason in left.items() if reason.startswith(("failed", "gave", "stop"))
    ]
    if left:
        print(f"Not measured: {', '.join(left)}. The same command goes on from here.")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
