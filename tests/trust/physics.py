"""The physics campaign: every model against what it must obey, with random and trained weights.

    python tests/trust/physics.py                    all checks, and 10 ps of dynamics of each model
    python tests/trust/physics.py --cases 60         the first 60 checks, without the long dynamics
    python tests/trust/physics.py --drift 10         dynamics alone

A check is a model with some weights (random, or trained a little by one objective) and one of

    structures   forces and stress against finite differences of the energy; the same when rotated,
                 mirrored, moved, renumbered and with atoms in other cells; alone as in a batch: of
                 one atom, two, a line, molecules, crystals, with cells that are tiny, skewed,
                 left-handed, periodic along one or two vectors, or mostly vacuum
    cutoff       energy and forces while an atom crosses the cutoff
    refused      one sentence for atoms at one place, no atoms, NaN, flat cells
    modes        inference mode, autocast, torch.compile, float32
    losses       the gradient of every objective's loss by the parameters, against differences
    dynamics     the drift of the total energy in NVE

Everything is in float64. What is done is kept in the folder, and the next call goes on from there.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import physics_checks as checks
import physics_dynamics
import torch
from physics_models import MODELS, OBJECTIVES, STRUCTURES, conserves, fresh, quiet, trained

from scdlab import files
from scdlab.claims.provenance import source_digest

NIGHTLY = 100_000  # all of them
PIECE = None
PICOSECONDS = 10.0

Check = tuple[str, Callable[[], Iterator[checks.Found]]]


def all_checks(names: Sequence[str], seed: int) -> list[Check]:
    """Every check but the dynamics, in a fixed order: all kinds for one model after the other."""
    found: list[Check] = []
    for name in names:
        found += _of_weights(name, "random weights", seed)
        for objective, (made, fits) in OBJECTIVES.items():
            if not fits(fresh(name)):
                continue
            found.append(
                (
                    f"{name}: loss of {objective}",
                    lambda name=name, made=made: checks.loss_gradient(fresh(name), made(), seed),
                )
            )
            found += _of_weights(name, objective, seed)
    return found


def _of_weights(name: str, weights: str, seed: int) -> list[Check]:
    def model():
        return fresh(name) if weights == "random weights" else trained(name, weights)

    def of_structure(structure: str) -> Iterator[checks.Found]:
        made = STRUCTURES[structure]
        yield from checks.forces(model(), structure, made())
        yield from checks.stress(model(), structure, made())
        yield from checks.symmetry(model(), structure, made(), seed)

    which = f"{name}, {weights}"
    found: list[Check] = [
        (f"{which}: {structure}", lambda structure=structure: of_structure(structure))
        for structure in STRUCTURES
    ]
    found.append((f"{which}: batch", lambda: checks.batches(model(), list(STRUCTURES))))
    found.append((f"{which}: cutoff", lambda: checks.cutoff(model())))
    if weights == "random weights":
        found.append((f"{which}: refused", lambda: checks.refusals(model())))
        found.append((f"{which}: modes", lambda: checks.modes(model())))
    return found


class Kept:
    """What was found so far, in a file of the folder.

    Parameters
    ----------
    folder : Path
        Where the file is; one of other code is not read.
    seed : int
        Of the checks.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "physics.json"
        own = "".join(
            path.read_text() for path in sorted(Path(__file__).parent.glob("physics*.py"))
        )
        self.key = {
            "code": source_digest(),
            "campaign": hashlib.sha256(own.encode()).hexdigest(),
            "seed": seed,
        }
        self.done: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["key"] == self.key:
                self.done = content["done"]
            else:  # trained models and dynamics are of other code as well
                shutil.rmtree(folder)
                folder.mkdir()

    def put(self, name: str, result: dict[str, Any]) -> None:
        """Keep what a check gave."""
        self.done[name] = result
        files.write_json(self.path, {"key": self.key, "done": self.done})


def one(name: str, check: Callable[[], Iterator[checks.Found]]) -> dict[str, Any]:
    """What a check gave: comparisons of each kind, the largest errors, and failures."""
    counts: dict[str, int] = {}
    largest: dict[str, float] = {}
    failures = []
    try:
        with quiet():
            for found in check():
                counts[found.kind] = counts.get(found.kind, 0) + 1
                largest[found.kind] = max(largest.get(found.kind, 0.0), found.error)
                if not found.good:
                    what = f"{found.kind} of {found.what}: {found.error:.1e} > {found.allowed:.1e}"
                    failures.append({"case": name, "what": what})
    except Exception:
        last = traceback.format_exc().strip().splitlines()[-3:]
        failures.append({"case": name, "what": " | ".join(line.strip() for line in last)})
    return {"counts": counts, "largest": largest, "failures": failures}


def one_drift(name: str, picoseconds: float, folder: Path) -> dict[str, Any]:
    """What dynamics with a model gave."""
    slug = "".join(c if c.isalnum() else "-" for c in name)
    found = physics_dynamics.drift(name, picoseconds, folder / slug)
    failures = []
    good = abs(found["drift"]) <= physics_dynamics.ALLOWED and np.isfinite(found["spread"])
    # forces that are the gradient of nothing are measured, not judged
    if not good and conserves(fresh(name)):
        what = f"energy drifts by {found['drift']:.3g} meV per atom and ps"
        failures.append({"case": f"{name}: dynamics", "what": what})
    return {"counts": {"dynamics": 1}, "largest": {}, "failures": failures, "drift": found}


def run(
    cases: int,
    seed: int,
    folder: Path,
    minutes: float | None = None,
    picoseconds: float | None = None,
    models: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Run the campaign, or its first checks.

    Parameters
    ----------
    cases : int
        How many checks; where these are all, dynamics come after them.
    seed : int
        Of random rotations, orders and losses.
    folder : Path
        Where what is done is kept.
    minutes : float, optional
        After which no further check is begun.
    picoseconds : float, optional
        Length of the dynamics; by default 10 where all checks are run, else none.
    models : sequence of str, optional
        Names of the models; by default all.
    """
    torch.set_num_threads(1)
    start = time.monotonic()
    kept = Kept(Path(folder), seed)
    names = list(models or MODELS)
    every = all_checks(names, seed)
    length = picoseconds or (PICOSECONDS if cases >= len(every) else 0.0)
    todo: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        (name, lambda name=name, check=check: one(name, check)) for name, check in every[:cases]
    ]
    if length:
        for name in names:
            key = f"{name}: {length:g} ps"
            todo.append((key, lambda name=name: one_drift(name, length, Path(folder))))
    results = []
    for name, action in todo:
        if name not in kept.done:
            if minutes is not None and time.monotonic() - start > 60 * minutes:
                break
            kept.put(name, action())
        results.append(kept.done[name])
    counts: dict[str, int] = {}
    largest: dict[str, float] = {}
    for result in results:
        for kind, number in result["counts"].items():
            counts[kind] = counts.get(kind, 0) + number
        for kind, error in result["largest"].items():
            largest[kind] = max(largest.get(kind, 0.0), error)
    drifts = {
        name.rpartition(":")[0]: {key: round(value, 5) for key, value in result["drift"].items()}
        for (name, _), result in zip(todo, results, strict=False)
        if "drift" in result
    }
    return {
        "campaign": "physics",
        "cases": sum(counts.values()),
        "seconds": round(time.monotonic() - start, 1),
        "counts": counts,
        "failures": [failure for result in results for failure in result["failures"]],
        "settings": {
            "models": names,
            "objectives": list(OBJECTIVES),
            "structures": list(STRUCTURES),
            "largest_errors": {kind: float(f"{error:.2g}") for kind, error in largest.items()},
            "drift": drifts,
            "drift_unit": "meV per atom and ps, of water at 300 K, 0.5 fs a step",
        },
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=NIGHTLY)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--drift", type=float, metavar="PS", help="dynamics alone, of that length")
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("build/trust/physics"))
    options = parser.parse_args()
    cases = 0 if options.drift else options.cases
    result = run(cases, options.seed, options.out, options.minutes, options.drift, options.models)
    print(json.dumps(result, indent=2))
    sys.exit(bool(result["failures"]))


if __name__ == "__main__":
    main()
