"""`fit`: train any model with any objective.

One step draws a batch from the store, asks the objective for a loss, and lets AdamW take a step; an
exponential moving average of the weights is what gets validated and kept. Everything random in step
t is a function of (seed, t) alone, never of what ran before. So a run that was interrupted and
resumed ends, on a CPU, with the very weights of one that was not.

With an output folder a run leaves
    run.json                      settings, versions, sizes of the splits
    train_index.npy val_index.npy which structures of the store were used
    log.csv, log.json             losses, errors (eV, eV/Å), learning rate, seconds
    checkpoint.safetensors        everything needed to resume, written whole or not at all
    model.safetensors model.json  the trained model, for `scdlab.load`
    failed/                       a step whose loss was no number, see `scdlab.training.replay`
"""

import contextlib
import copy
import functools
import math
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from scdlab.atoms.store import AtomStore
from scdlab.files import read_json, write_json
from scdlab.nn import Model
from scdlab.nn.blocks.properties import property_arguments
from scdlab.nn.trained_labels import labels_from_json
from scdlab.objectives import Objective
from scdlab.objectives.arguments import check_choice
from scdlab.objectives.augment import KINDS
from scdlab.objectives.base import description
from scdlab.renames import known_arguments
from scdlab.training.arguments import (
    MakeOptimizer,
    annealing,
    check_batch_size,
    check_model,
    check_objective,
    check_optimizer,
    check_store,
    checked_callbacks,
    number,
    rates,
    whole_number,
)
from scdlab.training.callbacks import Callback
from scdlab.training.evaluate import check_labels
from scdlab.training.failure import FailedStep
from scdlab.training.folder import checked_folder, held
from scdlab.training.loop import Run
from scdlab.training.processes import (
    OneProcess,
    Processes,
    failed_process,
    is_first,
    make_processes,
)
from scdlab.training.schedule import SCHEDULES
from scdlab.training.state import Settings
from scdlab.training.tensors import load_tensors, separated


@dataclass
class FitResult:
    """What a run did. The trained weights are in the model that was given to `fit`.

    Attributes
    ----------
    model : Model
        The trained model.
    steps : int
        Steps done, before a resumption too.
    seconds : float
        Time spent training, likewise.
    best : float or None
        Lowest validation loss.
    stopped : str
        Why the run ended: "steps" (all were done), "minutes", "patience" (the validation loss no
        longer fell) or "interrupted" (by Ctrl-C).
    rows : list of dict
        The rows of the log.
    out : Path or None
        The folder of the run.
    """

    model: Model
    steps: int = 0
    seconds: float = 0.0
    best: float | None = None
    stopped: str = "steps"
    rows: list[dict[str, float]] = field(default_factory=list)
    out: Path | None = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self.stopped == "interrupted"

    @property
    def stopped_early(self) -> bool:
        """Whether the run ended because the validation loss no longer fell."""
        return self.stopped == "patience"

    @property
    def history(self) -> dict[str, list[float]]:
        """The log by column: "step", "loss", "lr", the objective's parts, "val_…"; NaN where
        nothing was measured."""
        columns = dict.fromkeys(key for row in self.rows for key in row)
        return {c: [row.get(c, math.nan) for row in self.rows] for c in columns}

    def __repr__(self) -> str:
        best = "" if self.best is None else f", best validation loss {self.best:.4g}"
        ends = {
            "minutes": ", stopped by time",
            "patience": ", stopped early",
            "interrupted": ", interrupted",
        }
        end = ends.get(self.stopped, "")
        return f"FitResult({self.steps} steps in {self.seconds:.1f} s{best}{end})"


@known_arguments
def fit(
    model: Model,
    objective: Objective,
    train: AtomStore,
    val: AtomStore | None = None,
    *,
    steps: int = 1000,
    batch_size: int | None = None,
    max_atoms: int | None = None,
    lr: float | dict[str, float] = 1e-3,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    schedule: str = "cosine",
    warmup: int | None = None,
    optimizer: MakeOptimizer | None = None,
    weight_decay: float = 0.0,
    grad_clip: float | None = 10.0,
    ema_decay: float | None = 0.99,
    anneal: Mapping[str, tuple[float, float]] | None = None,
    augment: str | None = "auto",
    patience: int | None = None,
    minutes: float | None = None,
    log_every: int | None = None,
    val_every: int | None = None,
    checkpoint_every: int | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    estimate: bool = True,
) -> FitResult:
    """Train `model` on the structures `train` by minimizing `objective`.

    The model is changed in place. Ctrl-C ends training after the current step and keeps what was
    learned; SIGTERM does so too, and then ends the process as it would have. Whatever ends a run,
    the model is left with the best weights it had, all of them finite.

    Parameters
    ----------
    model : Model
        What is trained.
    objective : Objective
        What is minimized. It may bring along what it anneals, and another one to be validated by
        (its `anneal` and `validation_objective`).
    train : AtomStore
        The structures.
    val : AtomStore, optional
        Structures to validate on; the weights of the lowest validation loss are kept.
    steps : int, default 1000
        Steps of training.
    batch_size : int, optional
        Structures in a batch, 32 by default.
    max_atoms : int, optional
        Atoms that a batch may hold in each process; it is filled as far as it goes, with
        `batch_size` structures at most, if that is given too.
    lr : float or dict, default 1e-3
        The largest learning rate; {"head": …, "backbone": …} gives the objective's own head for its
        labels one and the pretrained rest another (0 leaves it as it is).
    seed : int, default 0
        Seed of all that is random.
    out : str or Path, optional
        Folder for log, checkpoint and model. An earlier run in there is replaced: its files stay in
        `previous/` until this one has a model.
    resume : bool, default False
        Go on from the checkpoint in `out`, if there is one. It must be one of the same structures
        in the same order, the same objective, model and settings.

    Other Parameters
    ----------------
    device : str, default "auto"
        "cpu", "cuda", or "auto" for a GPU where there is one.
    devices, nodes : int, default 1
        Processes for data-parallel training, on each machine, and machines; each step's batch is
        shared out among them.
    schedule : str, default "cosine"
        "cosine", "exponential" (SchNet's decay) or "constant".
    warmup : int, optional
        Steps over which the learning rate rises; by default a twentieth of all, 1000 at most.
    optimizer : callable, optional
        Makes another optimizer than AdamW: a function of groups of parameters (dicts with "params"
        and "lr"), such as `functools.partial(torch.optim.SGD, momentum=0.9)`.
    weight_decay : float, default 0.0
        Weight decay of AdamW.
    grad_clip : float, default 10.0
        Largest norm of the gradient, None for any.
    ema_decay : float, default 0.99
        Decay of the averaged weights, None for no averaging.
    anneal : dict of str to (float, float), optional
        What changes evenly over the run, {name: (at the first step, at the last)}: "drop_path" of
        the model, or a number of the objective such as "weight". Validation uses the last value,
        and afterwards all is as it was.
    augment : str, default "auto"
        "rotations" rotates each structure of a training batch at random, "O(3)" also mirrors half
        of them (`objectives.augment.random_rotate`), None leaves them as they are; "auto" is "O(3)"
        for models whose `augment` is True, else None.
    patience : int, optional
        Stop after so many validations without a better loss.
    minutes : float, optional
        Stop after so many minutes of training, with a validation; the schedule is still one of
        `steps`, and the run can be resumed.
    log_every, val_every, checkpoint_every : int, optional
        Steps between rows of the log (a fiftieth of all), validations (a tenth) and checkpoints (as
        validations).
    callbacks : sequence of callables
        Called with (step, row, model) at each row of the log, in the first process; see
        `scdlab.training.callbacks`.
    progress : bool, default True
        Whether messages and a bar are shown.
    estimate : bool, default True
        Whether four steps that change nothing are timed first, for the message that says how long
        the run will take.

    Returns
    -------
    FitResult
        Steps, time, the lowest validation loss and the log.

    Raises
    ------
    ValueError
        For settings that cannot be, labels that are missing, a checkpoint of another run, and a
        loss or gradient that is no number: that step is not taken, the error names it and its
        structures, and `scdlab.training.replay` repeats it.
    TypeError
        For an unknown argument, and for one of the wrong kind.
    OSError
        When another process writes `out`, and when the model cannot be written there.
    """
    check_model(model)
    check_objective(objective)
    if not torch.is_grad_enabled():
        raise ValueError(
            "Training needs gradients, and none are kept within torch.no_grad or "
            "torch.inference_mode: call fit outside of them."
        )
    check_store("train", train, "training set")
    if val is not None:
        check_store("val", val, "validation set")
    batch_size = (32 if max_atoms is None else None) if batch_size is None else batch_size
    steps = whole_number("steps", steps)
    devices = whole_number("devices", devices)
    nodes = whole_number("nodes", nodes)
    seed = whole_number("seed", seed, least=0)
    batch_size, max_atoms, patience, log_every, val_every, checkpoint_every = (
        None if value is None else whole_number(name, value)
        for name, value in (
            ("batch_size", batch_size),
            ("max_atoms", max_atoms),
            ("patience", patience),
            ("log_every", log_every),
            ("val_every", val_every),
            ("checkpoint_every", checkpoint_every),
        )
    )
    minutes = None if minutes is None else number("minutes", minutes)
    grad_clip = None if grad_clip is None else number("grad_clip", grad_clip, none=True)
    weight_decay = number("weight_decay", weight_decay, zero=True)
    if ema_decay is not None:
        ema_decay = number("ema_decay", ema_decay, zero=True, below=1, none=True)
    lr = rates(lr, objective)
    check_optimizer(optimizer, weight_decay)
    callbacks = checked_callbacks(callbacks)
    if augment is not None:
        check_choice("augment", augment, ("auto", *KINDS))
    if augment == "auto":
        augment = "O(3)" if model.augment else None
    changing = annealing(anneal, model, objective)
    for store in (train, val):
        if store is not None:
            store.check_max_atoms(max_atoms)
            store.verify()
            check_labels(store, objective)
    check_batch_size(batch_size, max_atoms, objective, devices * nodes)
    warmup = min(steps // 20, 1000) if warmup is None else whole_number("warmup", warmup, least=0)
    check_choice("schedule", schedule, SCHEDULES)
    val_every = max(1, steps // 10) if val_every is None else val_every
    if resume and out is None:
        raise ValueError("resume=True needs out=, the folder of the run to go on with.")
    folder = None if out is None else checked_folder(out, model)
    fabric = make_processes(device, devices, nodes)
    settings = Settings(
        model=type(model).__name__,
        objective=description(objective),
        structures=len(train),
        val_structures=0 if val is None else len(val),
        steps=steps,
        batch_size=min(batch_size or len(train), len(train)),
        max_atoms=max_atoms,
        lr=lr,
        seed=seed,
        schedule=schedule,
        warmup=warmup,
        weight_decay=weight_decay,
        ema_decay=ema_decay,
        grad_clip=grad_clip,
        anneal=changing,
        log_every=max(1, steps // 50) if log_every is None else log_every,
        val_every=val_every,
        patience=patience,
        devices=devices,
        nodes=nodes,
        augment=augment,
        optimizer=None if optimizer is None else description(optimizer),
    )
    run = Run(
        model,
        objective,
        train,
        val,
        settings,
        out=folder,
        resume=resume,
        checkpoint_every=checkpoint_every or val_every,
        progress=progress,
        callbacks=callbacks,
        optimizer=optimizer,
        minutes=minutes,
        estimate=estimate,
    )
    writes = folder is not None and is_first()
    with held(folder) if writes and folder is not None else contextlib.nullcontext():
        result = _trained(fabric, run)
    if run.terminated:  # all is written: now it takes its course
        signal.raise_signal(signal.SIGTERM)
    return result


def _trained(fabric: Processes, run: Run) -> FitResult:
    """The result of a run, in this process or in others."""
    if isinstance(fabric, OneProcess):
        stopped = run(fabric)
        return FitResult(run.model, **_reached(run, stopped), out=run.out)
    # spawned processes train copies: bring the weights and the log home, in files, since the queue
    # that launch() reads when they have ended holds some kilobytes alone
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        try:
            fabric.launch(functools.partial(_in_process, run=run, home=home))
        except ProcessRaisedException as error:
            raise failed_process(error) from error
        found = read_json(home / "found.json", "result of the first process")
        model = run.model
        for name, head in found["properties"].items():  # heads that the objective added there
            model.add_property(name, **property_arguments(head))
        model.units = found["units"]
        model.trained_labels = labels_from_json(found["trained_labels"])
        load_tensors(model, safetensors.torch.load_file(home / "weights"), "the first process")
    if found["error"] is not None:
        raise FailedStep(found["error"])
    return FitResult(model.eval(), **found["reached"], out=run.out)


def _in_process(fabric: Processes, run: Run, home: Path) -> None:
    # spawning puts tensors into memory that all processes share
    run.model = copy.deepcopy(run.model)
    stopped = ""
    error = None
    try:
        stopped = run(fabric)
    except FailedStep as wrong:  # in all processes alike; the weights are good
        error = str(wrong)
    if fabric.local_rank:
        return
    model = run.model
    found = {
        "properties": {name: head.settings for name, head in model.property_heads.items()},
        "units": model.units,
        "trained_labels": model.trained_labels.as_json(),
        "reached": _reached(run, stopped),
        "error": error,
    }
    safetensors.torch.save_file(separated(model.state_dict()), home / "weights")
    write_json(home / "found.json", found)


def _reached(run: Run, stopped: str) -> dict[str, Any]:
    """What a `FitResult` says beside the model."""
    return {
        "steps": run.state.step,
        "seconds": run.state.seconds,
        "best": run.state.best,
        "stopped": stopped,
        "rows": run.state.rows,
    }
