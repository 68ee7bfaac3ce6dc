"""The loop of `fit`: one step after the other, validation in between.

Everything random in step t is a function of (seed, t) alone, never of what ran before.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from scdlab.atoms.store import AtomStore
from scdlab.log import logger
from scdlab.nn import Model
from scdlab.objectives import Objective
from scdlab.objectives.augment import random_rotate
from scdlab.objectives.base import as_mean
from scdlab.training.callbacks import Callback
from scdlab.training.checkpoint import save
from scdlab.training.console import CtrlC, Stdout, duration
from scdlab.training.evaluate import check_learned, mean_parts
from scdlab.training.processes import agree, share_gradients
from scdlab.training.sampler import BatchSampler, near
from scdlab.training.schedule import between, factor
from scdlab.training.state import (
    CHECKPOINT,
    Settings,
    State,
    read_checkpoint,
    start_folder,
    write_checkpoint,
    write_log,
)

#: Makes an optimizer of groups of parameters, each a dict with "params" and "lr".
MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class Run:
    """One training run in one process. Called with the process's Fabric, it trains to its end.

    Parameters
    ----------
    model, objective, train, val
        As for `fit`.
    settings : Settings
        What decides what the run does.
    out : Path or None
        Its folder.
    resume : bool
        Whether it goes on from the checkpoint in there.
    checkpoint_every : int
        Steps between checkpoints.
    progress : bool
        Whether a bar is shown.
    callbacks : sequence of callables
        Called with (step, row, model) at each row of the log.
    optimizer : callable, optional
        Makes the optimizer of groups of parameters.
    minutes : float, optional
        The time after which training stops.
    estimate : bool
        Whether a few steps are timed first.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        train: AtomStore,
        val: AtomStore | None,
        settings: Settings,
        *,
        out: Path | None = None,
        resume: bool = False,
        checkpoint_every: int = 1,
        progress: bool = False,
        callbacks: Sequence[Callback] = (),
        optimizer: MakeOptimizer | None = None,
        minutes: float | None = None,
        estimate: bool = True,
    ):
        self.model = model
        self.objective = objective
        self.train = train
        self.val = val
        self.settings = settings
        self.out = out
        self.resume = resume
        self.checkpoint_every = checkpoint_every
        self.progress = progress
        self.callbacks = callbacks
        self.make_optimizer = optimizer
        self.minutes = minutes
        self.estimate = estimate
        self.state = State()

    def __call__(self, fabric: Fabric) -> str:
        """Train, and leave the best weights in the model; why the run stopped, see `FitResult`."""
        self.fabric = fabric
        self.device = fabric.device
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus), self._annealed_back():
            self._prepare()
            with CtrlC() as ctrl_c:
                stopped = self._loop(ctrl_c)
        self._finish()
        return stopped

    @property
    def shows(self) -> bool:
        """Whether this process shows how the run goes."""
        return self.progress and self.fabric.is_global_zero

    # ----------------------------------------------------------------------------------------------
    # before

    def _prepare(self) -> None:
        s = self.settings
        # heads that the objective adds are initialized the same in every process
        torch.manual_seed(s.seed)
        self.model.cpu()
        self.objective.prepare(self.model, self.train)
        if self.val is not None:
            self.model.check_elements(torch.tensor(self.val.elements))
            check_learned(self.model, self.val, self.objective.validation_objective)
        self.model.to(self.device).train()
        self.batches = near(self.train, self.device)
        self.val_batches = None if self.val is None else near(self.val, self.device)
        self.sampler = BatchSampler(
            self.train.n_atoms,
            s.batch_size,
            s.max_atoms,
            s.seed,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        groups = self._groups()
        if self.make_optimizer is None:
            self.optimizer = torch.optim.AdamW(groups, weight_decay=s.weight_decay, fused=True)
        else:
            self.optimizer = self.make_optimizer(groups)
        averaged = s.ema_decay is not None
        if averaged:
            self.state.average = [p.detach().clone() for p in self.parameters]
        if self.out is not None:
            if self.resume and (self.out / CHECKPOINT).is_file():
                self.state = read_checkpoint(
                    self.out, s, self.model, self.parameters, self.optimizer, averaged
                )
            elif self.fabric.is_global_zero:
                start_folder(self.out, s, self.model, self.train, self.val)
        if self.progress and self.estimate and self.state.step < s.steps:
            seconds = self._step_time()  # in every process: they share each gradient
            if self.shows:
                logger.info(self.announcement(seconds))

    def _groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups of parameters, each with its largest learning rate as "peak"."""
        lr = self.settings.lr
        if not isinstance(lr, dict):
            return [{"params": self.parameters, "lr": lr, "peak": lr}]
        modules = []
        if self.objective.labeled is not None:
            modules = self.objective.labeled.label_modules(self.model)
        heads = {p for module in modules for p in module.parameters()}
        parts = {
            "backbone": [p for p in self.parameters if p not in heads],
            "head": [p for p in self.parameters if p in heads],
        }
        return [{"params": own, "lr": lr[name], "peak": lr[name]} for name, own in parts.items()]

    def _step_time(self) -> float:
        """Seconds that a step takes, from a few that change nothing."""
        rng = torch.get_rng_state()
        self._gradient(0)  # the first step also allocates memory: not timed
        start = time.perf_counter()
        for k in (1, 2, 3):
            self._gradient(k)
        each = (time.perf_counter() - start) / 3
        self.optimizer.zero_grad()
        torch.set_rng_state(rng)
        return each

    def announcement(self, step_time: float) -> str:
        """How long the run will take, for steps of so many seconds, and where."""
        s = self.settings
        left = s.steps - self.state.step
        total = left * step_time
        if self.val is not None:  # an evaluation costs about a third of a training step
            batches = len(self.val.batches(s.batch_size, s.max_atoms))
            total += left / s.val_every * step_time / 3 * batches
        if self.minutes is not None:
            total = min(total, 60 * self.minutes)
        threads = torch.get_num_threads()
        where = f"{threads} CPU thread{'s' if threads > 1 else ''}"
        if self.device.type != "cpu":
            where = "one GPU"
            if self.batches is self.train:
                where += ", batches from the processor's memory"
        if self.fabric.world_size > 1:
            where = f"{self.fabric.world_size} processes"
        size = s.batch_size if s.max_atoms is None else f"up to {s.max_atoms:,} atoms"
        return (
            f"Training {type(self.model).__name__} on {len(self.train):,} structures, {left:,} "
            f"steps of {size}: about {duration(total)} on {where}."
        )

    # ----------------------------------------------------------------------------------------------
    # the loop

    def _loop(self, ctrl_c: CtrlC) -> str:
        s = self.settings
        state = self.state
        before = state.seconds
        bar = tqdm(
            total=s.steps,
            initial=state.step,
            disable=not self.shows,
            unit="step",
            file=Stdout(),
            mininterval=0.5,
            dynamic_ncols=False,
            ncols=100,
            leave=True,
        )
        stopped = ""
        with bar:
            while state.step < s.steps and not stopped:
                start = time.perf_counter()
                self._add(self.advance())
                last = state.step == s.steps
                interrupted = agree(ctrl_c.pressed, self.fabric)
                late = self._is_late(state.seconds - before + time.perf_counter() - start)
                validate = last or late or state.step % s.val_every == 0
                validate = validate and self.val is not None
                row = None
                if state.step % s.log_every == 0 or validate or last or interrupted or late:
                    row = self._row()
                    if validate and self._validate(row):
                        stopped = "patience"
                    state.rows.append(row)
                state.seconds += time.perf_counter() - start
                if row is not None:
                    row["seconds"] = round(state.seconds, 3)
                    shown = {k: f"{v:.4g}" for k, v in row.items() if k in ("loss", "val_loss")}
                    bar.set_postfix(shown, refresh=False)
                bar.update()
                if interrupted:
                    stopped = "interrupted"
                elif late and not last:
                    stopped = stopped or "minutes"
                if self.out and (state.step % self.checkpoint_every == 0 or last or stopped):
                    self._checkpoint()
                if row is not None:
                    self._call_back(row)
        return stopped or "steps"

    def advance(self) -> dict[str, Any]:
        """Take one step; its loss and parts."""
        s = self.settings
        parts = self._gradient(self.state.step)
        if s.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, s.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._factor(self.state.step)
        self.optimizer.step()
        if self.state.average is not None and s.ema_decay is not None:
            # a short memory at first, so that the initial weights are forgotten
            decay = min(s.ema_decay, (1 + self.state.step) / (10 + self.state.step))
            weights = [p.detach() for p in self.parameters]
            torch._foreach_lerp_(self.state.average, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        self.state.step += 1
        return parts

    def _gradient(self, step: int) -> dict[str, Any]:
        """Loss and gradient of one step: a function of (weights, seed, step) alone."""
        self._set_annealed(step)
        entropy = np.random.SeedSequence([self.settings.seed, step])
        seed = int(entropy.generate_state(1, np.uint64)[0] >> 1) + self.fabric.global_rank
        torch.manual_seed(seed)
        generator = torch.Generator(self.device).manual_seed(seed)
        batch = self.batches.take(self.sampler(step)).to(self.device)
        if self.settings.augment is not None:
            inversion = self.settings.augment == "O(3)"
            batch = random_rotate(batch, generator, inversion=inversion)
        self.optimizer.zero_grad()
        loss, parts = self.objective(self.model, batch, generator)
        self.fabric.backward(loss)
        share_gradients(self.parameters, self.fabric)
        return {"loss": loss.detach(), **parts}

    def _add(self, parts: dict[str, Any]) -> None:
        """Add loss and parts of a step to those since the last row of the log."""
        for name, part in parts.items():
            mean = as_mean(part, 1)
            weight = mean.count if mean.selected else 1
            self.state.sums[name] = self.state.sums.get(name, 0.0) + mean.value * weight
            self.state.weights[name] = self.state.weights.get(name, 0) + weight

    def _row(self) -> dict[str, float]:
        """A row of the log: means since the last one."""
        state = self.state
        row = {"step": state.step, **self._rates(state.step - 1)}
        for name, value in state.sums.items():
            if state.weights[name] > 0:
                row[name] = float(value) / float(state.weights[name])
        state.sums = {}
        state.weights = {}
        if not math.isfinite(row["loss"]):
            raise ValueError(
                f"The loss is {row['loss']} at step {state.step}; train with a smaller learning "
                f"rate than {self.settings.lr} or look for wrong labels."
            )
        return row

    def _is_late(self, seconds: float) -> bool:
        return self.minutes is not None and agree(seconds >= 60 * self.minutes, self.fabric)

    def _call_back(self, row: dict[str, float]) -> None:
        if self.callbacks and self.fabric.is_global_zero:
            for callback in self.callbacks:
                callback(self.state.step, dict(row), self.model)
            self.model.train()  # one may have evaluated it

    # ----------------------------------------------------------------------------------------------
    # what changes over the run

    def _factor(self, step: int) -> float:
        s = self.settings
        return factor(s.schedule, step, s.steps, s.warmup)

    def _rates(self, step: int) -> dict[str, float]:
        """The learning rates of a step, as the log has them."""
        lr = self.settings.lr
        peaks = (
            {"lr": lr["backbone"], "lr_head": lr["head"]} if isinstance(lr, dict) else {"lr": lr}
        )
        return {name: peak * self._factor(step) for name, peak in peaks.items()}

    def _set_annealed(self, step: int) -> None:
        for name, (start, end) in (self.settings.anneal or {}).items():
            value = between(start, end, step, self.settings.steps)
            setattr(annealed(name, self.model, self.objective), name, value)

    @contextlib.contextmanager
    def _annealed_back(self) -> Iterator[None]:
        """Afterwards, what is annealed is as it was before."""
        owners = {
            name: annealed(name, self.model, self.objective) for name in self.settings.anneal or {}
        }
        before = {name: vars(owner)[name] for name, owner in owners.items()}
        try:
            yield
        finally:
            for name, owner in owners.items():
                setattr(owner, name, before[name])

    # ----------------------------------------------------------------------------------------------
    # validation and the end

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model with its averaged weights, for as long as the block runs."""
        if self.state.average is None:
            yield
            return
        current = [p.detach().clone() for p in self.parameters]
        _set(self.parameters, self.state.average)
        try:
            yield
        finally:
            _set(self.parameters, current)

    def _validate(self, row: dict[str, float]) -> bool:
        """Add validation errors to a row of the log; whether patience has run out."""
        s = self.settings
        state = self.state
        assert self.val_batches is not None
        # the same at every validation, so that losses can be compared
        self._set_annealed(s.steps - 1)
        with self._averaged():
            objective = self.objective.validation_objective
            errors = mean_parts(self.model, self.val_batches, objective, s.batch_size, s.max_atoms)
            row |= {f"val_{name}": value for name, value in errors.items()}
            if state.best is None or row["val_loss"] < state.best:
                state.best = row["val_loss"]
                state.waited = 0
                state.best_weights = [p.detach().clone() for p in self.parameters]
            else:
                state.waited += 1
        return s.patience is not None and state.waited >= s.patience

    def _checkpoint(self) -> None:
        if self.out is not None and self.fabric.is_global_zero:
            write_checkpoint(
                self.out, self.settings, self.model, self.parameters, self.optimizer, self.state
            )

    def _finish(self) -> None:
        weights = self.state.best_weights or self.state.average
        if weights is not None:
            _set(self.parameters, weights)
        self.model.eval()
        if self.out is not None and self.fabric.is_global_zero:
            write_log(self.out, self.state)
            save(self.model, self.out / "model")


def annealed(name: str, model: Model, objective: Objective) -> Model | Objective:
    """What has the number that is annealed: the model its "drop_path", the objective all others."""
    return model.backbone if name == "drop_path" else objective


@torch.no_grad()
def _set(parameters: list[torch.nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
