"""The settings and the state of a run, and its checkpoint: everything needed to resume."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import Parameter

from scdlab.files import atomic_file, plain
from scdlab.nn import Model
from scdlab.training.guard import all_finite
from scdlab.training.identity import Identity
from scdlab.training.tensors import load_tensors

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

    def as_json(self) -> dict[str, Any]:
        """The settings as json has them."""
        return dataclasses.asdict(self)


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


def check_weights(parameters: list[Parameter], settings: Settings, state: State) -> None:
    """Raise ValueError for weights that are no longer finite.

    Parameters
    ----------
    parameters : list of Parameter
        What is trained.
    settings, state : Settings, State
        Those of the run.
    """
    if not all_finite([*parameters, *(state.average or []), *(state.best_weights or [])]):
        raise ValueError(
            f"The weights are no longer finite numbers after step {state.step}, so they are not "
            f"kept; train with a smaller learning rate than {settings.lr} (the model has earlier "
            "weights, which were)."
        )


def write_checkpoint(
    path: Path,
    settings: Settings,
    identity: Identity,
    model: Model,
    parameters: list[Parameter],
    optimizer: torch.optim.Optimizer,
    state: State,
) -> None:
    """Write all that a run needs to go on.

    Raises
    ------
    ValueError
        For weights that are no longer finite; nothing is written then.
    OSError, SafetensorError
        Where the file cannot be written.
    """
    check_weights(parameters, settings, state)
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    numbers: dict[str, Any] = {}  # of the optimizer's state, what is no tensor
    for k, parameter in enumerate(parameters):
        for name, value in optimizer.state.get(parameter, {}).items():
            where = tensors if isinstance(value, Tensor) else numbers
            where[f"optimizer.{k}.{name}"] = value
    for group, values in (("average", state.average), ("best", state.best_weights)):
        tensors |= {f"{group}.{k}": value for k, value in enumerate(values or [])}
    about = {
        "settings": settings.as_json(),
        "identity": identity.as_json(),
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
    text = json.dumps(plain(about))
    metadata = {"scdlab": text, "digest": _digest(copies, text)}
    with atomic_file(path, sync=True) as new:
        safetensors.torch.save_file(copies, new, metadata=metadata)


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    """sha256 over all tensors of a checkpoint, and what describes it."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _plain(group: dict[str, Any]) -> dict[str, Any]:
    """The numbers and switches of an optimizer's group of parameters."""
    return {k: v for k, v in group.items() if isinstance(v, bool | int | float | str | None)}


def read_checkpoint(
    path: Path,
    settings: Settings,
    identity: Identity,
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
        For a file that is damaged or no checkpoint, and for one of another run; the model is left
        as it was.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # no mapping: it has keys() only
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        about = json.loads(metadata["scdlab"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a readable checkpoint of scdlab.fit; delete it to start anew."
        ) from error
    if metadata.get("digest") != _digest(tensors, metadata["scdlab"]):
        raise ValueError(
            f"{path} is damaged, or of another version of scdlab (its digest differs); copy it "
            "again, or delete it to start anew."
        )
    _check_settings(path, about["settings"], settings.as_json())
    identity.check(path, about["identity"])
    device = parameters[0].device
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "average": {}, "best": {}}
    for key, value in tensors.items():
        group, name = key.split(".", 1)
        # the optimizer moves its own where it wants them
        parts[group][name] = value if group == "optimizer" else value.to(device)
    load_tensors(model, parts["model"], path)
    _restore_optimizer(optimizer, parameters, {**parts["optimizer"], **_numbers(about)})
    for group, values in zip(optimizer.param_groups, about["groups"], strict=True):
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
