"""The campaign behind `make trust`: damaged inputs, faults, large sets, physics, many processes.

    python tests/trust/run.py                          all campaigns, in their nightly size
    python tests/trust/run.py --campaign mutation      one of them
    python tests/trust/run.py --cases 200              a quick look: nothing is written to results
    python tests/trust/run.py --readme                 put the last results into the pages

A campaign is a module of this folder with

    run(cases: int, seed: int, folder: Path, minutes: float | None = None) -> dict

that returns {"campaign", "cases", "seconds", "counts": {kind: int}, "failures": [{"case", "what"}],
"settings"}. It may say how many cases a night has (NIGHTLY) and how many one piece (PIECE, None for
all in one). Each piece runs in a process of its own, so that one that crashes or never ends is a
failure of that piece; what is done is kept in build/trust, and the next run goes on from there as
long as the code, the seed and the sizes are the same.
"""

import argparse
import datetime
import hashlib
import importlib
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the campaigns, and the tests' helpers

import report  # noqa: E402
from tqdm import tqdm  # noqa: E402

from scdlab import files  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "trust.json"
# Name -> (cases of a night, cases of one piece; None: all of them in one).
SIZES: dict[str, tuple[int, int | None]] = {
    "mutation": (100_000, 2_500),
    "faults": (300, 25),
    "faults_fit": (60, 10),
    "scale": (10_000_000, None),
    "physics": (1, None),
    "processes": (1, None),
}
LIMIT = 8 * 3600  # seconds after which a piece is taken for endless
KEYS = {"campaign", "cases", "seconds", "counts", "failures", "settings"}


def available(names: list[str] | None) -> list[str]:
    """The campaigns to run: those that are named, or all whose modules are here.

    Raises
    ------
    SystemExit
        One that is named is not here.
    """
    here = [name for name in SIZES if importlib.util.find_spec(name) is not None]
    if missing := [name for name in names or () if name not in here]:
        there = ", ".join(here) or "none"
        raise SystemExit(f"There is no campaign {missing[0]!r} in {HERE}: those here are {there}.")
    if not here:
        raise SystemExit(f"There is no campaign in {HERE}: this checkout is not whole.")
    return names or here


def sizes(name: str, module: ModuleType) -> tuple[int, int | None]:
    """Cases of a night and of one piece."""
    night, piece = SIZES[name]
    return getattr(module, "NIGHTLY", night), getattr(module, "PIECE", piece)


def code_digest() -> str:
    """sha256 of what the campaigns try and of what they consist of."""
    from scdlab.claims.provenance import source_digest

    total = hashlib.sha256(source_digest().encode())
    for path in sorted(HERE.glob("*.py")):
        total.update(path.name.encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()


def one_piece(name: str, cases: int, seed: int, folder: Path, minutes: float | None) -> None:
    """Run a piece in this process, and write what it gave to FOLDER.json."""
    found = importlib.import_module(name).run(cases, seed, folder, minutes)
    if lacking := KEYS - set(found):
        raise SystemExit(f"The campaign {name} gives no {', '.join(sorted(lacking))}.")
    files.write_json(folder.with_suffix(".json"), found)


def run_piece(
    name: str, cases: int, seed: int, folder: Path, minutes: float | None
) -> dict[str, Any]:
    """A piece in a process of its own; one that ends badly is a result with a failure."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    words = ["--piece", name, "--cases", str(cases), "--seed", str(seed), "--out", str(folder)]
    words += [] if minutes is None else ["--minutes", str(minutes)]
    start = time.monotonic()
    with open(log, "wb") as printed:
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *words],
            stdout=printed,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        try:
            code: int | None = child.wait(LIMIT)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    found = folder.with_suffix(".json")
    if code == 0 and found.is_file():
        result = json.loads(found.read_text(encoding="utf-8"))
    else:
        last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
        ended = f"not ended after {LIMIT} s" if code is None else f"ended with exit code {code}"
        what = f"the process of this piece has {ended}: {last[-300:]}"
        result = {"campaign": name, "cases": 0, "counts": {}, "settings": {}}
        result |= {"failures": [{"case": f"seed {seed}", "what": what}]}
        result |= {"seconds": round(time.monotonic() - start, 1)}
    found.unlink(missing_ok=True)
    if not result["failures"]:
        shutil.rmtree(folder, ignore_errors=True)
        log.unlink()
    return result


def merged(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """The result of a campaign from those of its pieces."""
    counts: dict[str, int | float] = {}
    for piece in pieces:
        for kind, number in piece["counts"].items():
            counts[kind] = counts.get(kind, 0) + number
    return {
        "campaign": pieces[-1]["campaign"],
        "cases": sum(piece["cases"] for piece in pieces),
        "seconds": round(sum(piece["seconds"] for piece in pieces), 1),
        "counts": counts,
        "failures": [failure for piece in pieces for failure in piece["failures"]],
        "settings": pieces[-1]["settings"],
    }


def read_state(path: Path, key: dict[str, Any]) -> list[dict[str, Any]]:
    """The pieces that an earlier run of the same code, seed and sizes left."""
    if not path.is_file():
        return []
    state = json.loads(path.read_text(encoding="utf-8"))
    if state["key"] != key:
        print(f"{path.parent.name}: the code or the sizes have changed; it starts anew")
        return []
    return state["pieces"]


def campaign(
    name: str, cases: int | None, seed: int, out: Path, minutes: float | None, code: str
) -> dict[str, Any]:
    """Run a campaign piece by piece, from where an earlier run stopped."""
    night, size = sizes(name, importlib.import_module(name))
    total = night if cases is None else cases
    size = total if size is None else min(size, total)
    n_pieces = -(-total // size)
    key = {"code": code, "cases": total, "piece": size, "seed": seed}
    state = out / name / "state.json"
    pieces = read_state(state, key)
    start = time.monotonic()
    with tqdm(total=total, desc=f"{name:10s}", unit=" cases", file=sys.stdout) as bar:
        for k in range(n_pieces):
            todo = min(size, total - k * size)
            if k >= len(pieces):
                left = None if minutes is None else minutes - (time.monotonic() - start) / 60
                if left is not None and left <= 0:
                    break
                piece = run_piece(name, todo, seed + k, out / name / f"piece-{k:03d}", left)
                pieces.append(piece)
                files.write_json(state, {"key": key, "pieces": pieces})
            bar.update(todo)
            bar.set_postfix(failures=sum(len(piece["failures"]) for piece in pieces))
    return merged(pieces)


def provenance(words: list[str]) -> dict[str, Any]:
    """Command, commit, versions, hardware and date."""
    from scdlab.claims import provenance as origin

    try:
        commit, dirty = origin.checkout()
    except RuntimeError:  # no checkout, or no git
        commit, dirty = None, None
    return {
        "command": " ".join(["python tests/trust/run.py", *words]),
        "commit": commit,
        "dirty": dirty,
        "versions": origin.versions(),
        "hardware": origin.hardware_of("cpu"),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def write(path: Path, results: dict[str, dict[str, Any]], origin: dict[str, Any]) -> None:
    """Add results to a report; campaigns that did not run now keep their earlier ones."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"campaigns": {}}
    new = {name: result | {"origin": origin} for name, result in results.items()}
    both = old["campaigns"] | new
    ordered = {name: both[name] for name in SIZES if name in both}
    files.write_json(path, {"campaigns": ordered})


def options(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--campaign", action="append", metavar="NAME", help="repeat for several")
    parser.add_argument("--cases", type=int, help="instead of the nightly number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="for each campaign; it goes on next time")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "trust")
    parser.add_argument(
        "--results", type=Path, help="the report; benchmarks/results/trust.json for a whole night"
    )
    parser.add_argument("--readme", action="store_true", help="put the report into the pages")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Run the campaigns; 1 when anything failed, 130 when interrupted."""
    chosen = options(words)
    if chosen.piece:
        one_piece(chosen.piece, chosen.cases, chosen.seed, chosen.out, chosen.minutes)
        return 0
    if chosen.readme:
        report.put_into_pages(json.loads((chosen.results or RESULTS).read_text(encoding="utf-8")))
        return 0
    whole_night = chosen.cases is None and chosen.minutes is None
    path = chosen.results or (RESULTS if whole_night else chosen.out / "trust.json")
    origin = provenance(words)
    code = code_digest()
    results: dict[str, dict[str, Any]] = {}
    try:
        for name in available(chosen.campaign):
            results[name] = campaign(
                name, chosen.cases, chosen.seed, chosen.out, chosen.minutes, code
            )
            write(path, {name: results[name]}, origin)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last piece that was done")
        return 128 + signal.SIGINT
    print(report.summary(results))
    print(f"written to {path}")
    return int(any(result["failures"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
