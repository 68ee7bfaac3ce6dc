"""The state of a run, and its folder: log, checkpoint, splits.

run.json                      settings, versions, sizes of the splits
train_index.npy val_index.npy which structures of the store were used
log.csv, log.json             losses, errors (eV, eV/Å), learning rate, seconds
checkpoint.safetensors        everything needed to resume, written whole or not at all
"""

import csv
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import Parameter

import scdlab
from scdlab.atoms.store import AtomStore
from scdlab.files import atomic_file, write_json
from scdlab.nn import Model
from scdlab.training.checkpoint import load_tensors

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Settings:
    """What decides what a run does; a run is resumed with the same ones. See `fit`."""

    model: str
    objective: str
    structures: int
    val_structures: int
    steps: int
    batch_size: int
    max_atoms: int | None
    lr: float | dict[str, float]
    seed: int
    schedule: str
    warmup: int
    weight_decay: float
    ema_decay: float | None
    grad_clip: float | None
    anneal: dict[str, list[float]] | None
    log_every: int
    val_every: int
    patience: int | None
    devices: int
    nodes: int
    augment: str | None
    optimizer: str | None = None  # None: AdamW


@dataclass
class State:
    """What a run has reached, beside the weights of the model."""

    step: int = 0  # steps done
    seconds: float = 0.0  # spent training
    rows: list[dict[str, float]] = field(default_factory=list)  # of the log
    best: float | None = None  # lowest validation loss
    waited: int = 0  # validations since then
    # of the losses since the last row of the log: sum and weight of each
    sums: dict[str, Tensor | float] = field(default_factory=dict)
    weights: dict[str, Tensor | float] = field(default_factory=dict)
    average: list[Tensor] | None = None  # averaged weights
    best_weights: list[Tensor] | None = None


def start_folder(
    folder: Path, settings: Settings, model: Model, train: AtomStore, val: AtomStore | None
) -> None:
    """Write what is known of a run before it starts; a checkpoint of an earlier run goes away."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    np.save(folder / "train_index.npy", train.index)
    if val is not None:
        np.save(folder / "val_index.npy", val.index)
    versions = {
        "scdlab": scdlab.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    about = {
        "settings": dataclasses.asdict(settings),
        "config": model.config,
        "versions": versions,
    }
    write_json(folder / "run.json", about)


def write_log(folder: Path, state: State) -> None:
    """Write the rows of the log as csv and as json."""
    columns = list(dict.fromkeys(key for row in state.rows for key in row))
    with (
        atomic_file(folder / "log.csv") as new,
        open(new, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(state.rows)
    about = {
        "seconds": state.seconds,
        "steps": state.step,
        "best": state.best,
        "rows": state.rows,
    }
    write_json(folder / "log.json", about)


def write_checkpoint(
    folder: Path,
    settings: Settings,
    model: Model,
    parameters: list[Parameter],
    optimizer: torch.optim.Optimizer,
    state: State,
) -> None:
    """Write all that a run needs to go on, and its log."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    numbers: dict[str, Any] = {}  # of the optimizer's state, what is no tensor
    for k, parameter in enumerate(parameters):
        for name, value in optimizer.state.get(parameter, {}).items():
            where = tensors if isinstance(value, Tensor) else numbers
            where[f"optimizer.{k}.{name}"] = value
    for group, weights in (("average", state.average), ("best", state.best_weights)):
        tensors |= {f"{group}.{k}": value for k, value in enumerate(weights or [])}
    about = {
        "settings": dataclasses.asdict(settings),
        "step": state.step,
        "seconds": state.seconds,
        "rows": state.rows,
        "best": state.best,
        "waited": state.waited,
        "sums": {name: float(value) for name, value in state.sums.items()},
        "weights": {name: float(value) for name, value in state.weights.items()},
        "optimizer": numbers,
        "groups": [_plain(group) for group in optimizer.param_groups],
    }
    # copies: tied weights are one tensor under two names
    copies = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    with atomic_file(folder / CHECKPOINT) as new:
        safetensors.torch.save_file(copies, new, metadata={"scdlab": json.dumps(about)})
    write_log(folder, state)


def _plain(group: dict[str, Any]) -> dict[str, Any]:
    """The numbers and switches of an optimizer's group of parameters."""
    return {k: v for k, v in group.items() if isinstance(v, bool | int | float | str | None)}


def read_checkpoint(
    folder: Path,
    settings: Settings,
    model: Model,
    parameters: list[Parameter],
    optimizer: torch.optim.Optimizer,
    averaged: bool,
) -> State:
    """Put the weights of a checkpoint into the model and its state into the optimizer.

    Returns
    -------
    State
        What the run had reached.

    Raises
    ------
    ValueError
        For a file that is no checkpoint, and for one of a run with other settings.
    """
    path = folder / CHECKPOINT
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["scdlab"])
            # no mapping: it has keys() only
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a readable checkpoint of scdlab.fit; delete it to start anew."
        ) from error
    _check_settings(path, about["settings"], dataclasses.asdict(settings))
    device = parameters[0].device
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "average": {}, "best": {}}
    for key, value in tensors.items():
        group, name = key.split(".", 1)
        # the optimizer moves its own where it wants them
        parts[group][name] = value if group == "optimizer" else value.to(device)
    load_tensors(model, parts["model"], path)
    _restore_optimizer(optimizer, parameters, {**parts["optimizer"], **_numbers(about)})
    for group, values in zip(optimizer.param_groups, about.get("groups", []), strict=False):
        group.update(values)
    several = range(len(parameters))
    return State(
        step=about["step"],
        seconds=about["seconds"],
        rows=about["rows"],
        best=about["best"],
        waited=about["waited"],
        sums=about["sums"],
        weights=about["weights"],
        average=[parts["average"][str(k)] for k in several] if averaged else None,
        best_weights=[parts["best"][str(k)] for k in several] if parts["best"] else None,
    )


def _check_settings(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    for name in {**then, **now}:  # a setting that is younger than the checkpoint was off
        if now.get(name) != then.get(name):
            raise ValueError(
                f"{path} was written with {name}={then.get(name)!r}, and this run has "
                f"{name}={now.get(name)!r}; resume with the same settings or start anew in another "
                "folder."
            )


def _numbers(about: dict[str, Any]) -> dict[str, Any]:
    """Entries of the optimizer's state that are no tensors, by the names of those that are."""
    return {k.removeprefix("optimizer."): v for k, v in about.get("optimizer", {}).items()}


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: list[Parameter], entries: dict[str, Any]
) -> None:
    """Give the optimizer the entries "<number of the parameter>.<name>" of its state."""
    place = {id(parameter): k for k, parameter in enumerate(parameters)}
    state: dict[int, dict[str, Any]] = {}
    numbered = [p for group in optimizer.param_groups for p in group["params"]]
    for number, parameter in enumerate(numbered):
        prefix = f"{place[id(parameter)]}."
        own = {k.removeprefix(prefix): v for k, v in entries.items() if k.startswith(prefix)}
        if own:  # without, the objective does not reach it: it was never stepped
            state[number] = own
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
