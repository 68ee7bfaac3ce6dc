"""Two processes train as one does: the same losses and the same weights, for every objective.

Each case trains a small model in float64 on molecules of different sizes by plain gradient descent,
in one process and in two that share its batches. The change of the weights may differ by a
millionth of its length, and each number of the log by a millionth of itself.

Two settings compare what lies in different processes, and are left out: distances between molecules
(`PairwiseDenoising(scope="batch")`) and the embedding of another structure
(`SelfConditionedDenoising(condition="other")`). With a budget of atoms (`max_atoms`) each process
has a batch of its own, so that one process sees other batches than two do.
"""

import functools
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

import scdlab
from scdlab.atoms.batch import Batch
from scdlab.objectives import (
    CoordinateDenoising,
    DeNS,
    EnergyForces,
    Objective,
    PairwiseDenoising,
    PropertyRegression,
    SelfConditionedDenoising,
)
from scdlab.objectives.base import description
from scdlab.training.loop import Run
from scdlab.training.processes import make_processes
from scdlab.training.state import Settings

NIGHTLY = 1
PIECE = None
TOLERANCE = 1e-6
STEPS = 3
DATA = Path(__file__).resolve().parents[2] / "data"


@functools.cache
def molecules() -> scdlab.AtomStore:
    """Molecules of different sizes with made-up labels, some atoms fixed, some marked."""
    sample = scdlab.AtomStore.open(DATA / "qm9-sample")[:24]
    batch = sample.take(range(len(sample)))
    n_atoms = len(batch.z)
    rng = np.random.default_rng(0)
    place = np.arange(n_atoms) - batch.ptr.numpy()[batch.batch.numpy()]
    return scdlab.AtomStore.from_arrays(
        batch.z.numpy(),
        batch.pos.numpy(),
        batch.ptr.numpy(),
        energy=rng.normal(size=len(sample)),
        forces=rng.normal(size=(n_atoms, 3)),
        properties={"number": rng.normal(size=len(sample)), "arrow": rng.normal(size=(24, 3))},
        atom_properties={"fixed": place == 1, "part": place < 2},
    )


@functools.cache
def free_molecules() -> scdlab.AtomStore:
    """The same without fixed atoms."""
    found = molecules()
    arrays = found.arrays()
    return scdlab.AtomStore.from_arrays(
        arrays["z"],
        arrays["pos"],
        arrays["ptr"],
        energy=arrays["energy"],
        forces=arrays["forces"],
        properties={"number": found.property("number")},
    )


def first_half(batch: Batch) -> torch.Tensor:
    """The first two atoms of each structure."""
    place = torch.arange(len(batch.z), device=batch.z.device) - batch.ptr[batch.batch]
    return place < 2


def schnet() -> scdlab.SchNet:
    """A small SchNet."""
    return scdlab.SchNet(hidden_channels=8, num_layers=2, num_rbf=8)


def transformer(**settings: Any) -> scdlab.EquivariantTransformer:
    """A small transformer."""
    small = dict(hidden_channels=8, num_layers=2, num_heads=2, num_rbf=8)
    return scdlab.EquivariantTransformer(**(small | settings))


@dataclass(frozen=True)
class Case:
    """What is trained by what."""

    objective: Callable[[], Objective]
    model: Callable[[], Any] = schnet
    settings: dict[str, Any] = field(default_factory=dict)
    fixed: bool = True


_conditional = functools.partial(transformer, conditional=True)
_takes_forces = functools.partial(transformer, force_input=True)
_labels = functools.partial(EnergyForces, energy_weight=0.5)
CASES = {
    "EnergyForces": Case(_labels, fixed=False),
    "EnergyForces, fixed atoms": Case(_labels),
    "EnergyForces, norm": Case(functools.partial(EnergyForces, loss="norm")),
    "EnergyForces, energies alone": Case(functools.partial(EnergyForces, forces=False)),
    "EnergyForces, O(3)": Case(_labels, transformer, {"augment": "O(3)"}),
    "EnergyForces, drop-path": Case(_labels, functools.partial(transformer, drop_path=0.4)),
    "EnergyForces, one structure more": Case(_labels, settings={"batch_size": 5}),
    "PropertyRegression": Case(functools.partial(PropertyRegression, "number")),
    "PropertyRegression, vector": Case(
        functools.partial(PropertyRegression, "arrow", "vector"), transformer, {"augment": "O(3)"}
    ),
    "CoordinateDenoising": Case(CoordinateDenoising, fixed=False),
    "CoordinateDenoising, fixed atoms": Case(functools.partial(CoordinateDenoising, ratio=0.5)),
    "CoordinateDenoising, torsional": Case(
        functools.partial(CoordinateDenoising, kind="torsional"),
        settings={"augment": "rotations"},
        fixed=False,
    ),
    "CoordinateDenoising, supervised": Case(
        lambda: CoordinateDenoising(supervised=_labels(), weight=0.3)
    ),
    "CoordinateDenoising, supervised property": Case(
        lambda: CoordinateDenoising(supervised=PropertyRegression("number"), weight=0.3)
    ),
    "PairwiseDenoising": Case(PairwiseDenoising),
    "PairwiseDenoising, coordinates": Case(
        functools.partial(PairwiseDenoising, output="coordinates")
    ),
    "DeNS": Case(functools.partial(DeNS, prob=0.6, corrupt_ratio=0.5), _takes_forces),
    "DeNS, several sizes": Case(
        functools.partial(DeNS, prob=0.6, sigma=(0.01, 0.1), loss="squared"), _takes_forces
    ),
    "DeNS, shuffled": Case(
        functools.partial(DeNS, prob=1, corrupt_ratio=1, force_encoding="shuffled"),
        _takes_forces,
        fixed=False,
    ),
    "DeNS, direct forces, no labels of corrupted structures": Case(
        functools.partial(DeNS, prob=0.6, labels_of_corrupted=False),
        functools.partial(transformer, force_input=True, direct_forces=True),
    ),
    "SelfConditionedDenoising": Case(SelfConditionedDenoising, _conditional),
    "SelfConditionedDenoising, atoms": Case(
        functools.partial(SelfConditionedDenoising, condition="atoms"), _conditional
    ),
    "SelfConditionedDenoising, context": Case(
        functools.partial(SelfConditionedDenoising, context="part"), _conditional
    ),
    "SelfConditionedDenoising, context as a function": Case(
        functools.partial(SelfConditionedDenoising, context=first_half), _conditional
    ),
    "SelfConditionedDenoising, supervised": Case(
        lambda: SelfConditionedDenoising(supervised=_labels(), weight=0.3), _conditional
    ),
}


def trained(name: str, fabric: Fabric) -> tuple[np.ndarray, list[dict[str, float]]]:
    """The change of the weights, and the log."""
    case = CASES[name]
    train = molecules() if case.fixed else free_molecules()
    torch.manual_seed(0)
    model = case.model().double()
    model.filter_table_size = None  # a table is used from a number of pairs on
    objective = case.objective()
    processes = fabric.world_size
    settings = Settings(
        **{
            "model": type(model).__name__,
            "objective": description(objective),
            "structures": len(train),
            "val_structures": 0,
            "steps": STEPS,
            "batch_size": 6,
            "max_atoms": None,
            "lr": 1e-3,
            "seed": 0,
            "schedule": "constant",
            "warmup": 0,
            "weight_decay": 0.0,
            "ema_decay": None,
            "grad_clip": 10.0,
            "anneal": {k: list(v) for k, v in objective.anneal.items()} or None,
            "log_every": 1,
            "val_every": STEPS,
            "patience": None,
            "devices": processes,
            "nodes": 1,
            "augment": None,
        }
        | case.settings
    )
    run = Run(
        model,
        objective,
        train,
        None,
        settings,
        out=None,
        resume=False,
        checkpoint_every=STEPS,
        progress=False,
        callbacks=[],
        optimizer=functools.partial(torch.optim.SGD, momentum=0.9),
    )
    before: list[torch.Tensor] = []
    optimizer = run.make_optimizer

    def noted(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        before.extend(p.detach().clone() for p in run.parameters)
        assert optimizer is not None
        return optimizer(groups)

    run.make_optimizer = noted
    run(fabric)
    change = [(p - b).flatten() for p, b in zip(run.parameters, before, strict=True)]
    return torch.cat(change).detach().numpy(), run.state.rows


def _trained_in_process(fabric: Fabric, names: list[str], file: Path) -> None:
    torch.set_num_threads(1)
    found = {name: trained(name, fabric) for name in names}
    if fabric.is_global_zero:
        file.write_bytes(pickle.dumps(found))


def compare(one: tuple, two: tuple) -> tuple[float, str]:
    """The largest relative difference, and what is wrong, "" if nothing."""
    change, rows = one
    other, other_rows = two
    worst = float(np.linalg.norm(change - other) / np.linalg.norm(change))
    what = "" if worst <= TOLERANCE else f"the weights differ by {worst:.1e} of their change"
    for row, other_row in zip(rows, other_rows, strict=True):
        names = {*row} - {"seconds"}
        if names != {*other_row} - {"seconds"}:
            return worst, f"the log has {sorted(row)} and {sorted(other_row)}"
        for key in names:
            size = abs(row[key] - other_row[key]) / max(abs(row[key]), 1e-12)
            worst = max(worst, size)
            if size > TOLERANCE and not what:
                what = f"{key} of step {row['step']} is {row[key]:.9g} and {other_row[key]:.9g}"
    return worst, what


def run(cases: int, seed: int, folder: Path, minutes: float | None = None) -> dict[str, Any]:
    """Train every case in one process and in two; `cases` and `seed` change nothing."""
    start = time.monotonic()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        names = list(CASES)
        alone = {name: trained(name, make_processes("cpu", 1, 1)) for name in names}
        with tempfile.TemporaryDirectory(dir=folder) as place:
            file = Path(place) / "found"
            work = functools.partial(_trained_in_process, names=names, file=file)
            make_processes("cpu", 2, 1).launch(work)
            shared = pickle.loads(file.read_bytes())
    finally:
        torch.set_num_threads(threads)
    failures = []
    worst = 0.0
    for name in names:
        size, what = compare(alone[name], shared[name])
        worst = max(worst, size)
        if what:
            failures.append({"case": name, "what": what})
    return {
        "campaign": "processes",
        "cases": len(names),
        "seconds": round(time.monotonic() - start, 1),
        "counts": {"equal": len(names) - len(failures), "different": len(failures)},
        "failures": failures,
        "settings": {"tolerance": TOLERANCE, "largest difference": worst, "steps": STEPS},
    }
