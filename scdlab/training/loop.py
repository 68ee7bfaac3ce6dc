"""The loop of `fit`: one step after the other, validation in between.

Everything random in step t is a function of (seed, t) alone, never of what ran before.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from scdlab.atoms.batch import Batch
from scdlab.atoms.shares import declare_share
from scdlab.atoms.store import AtomStore
from scdlab.devices import seed_torch
from scdlab.log import enabled, logger
from scdlab.nn import Model
from scdlab.objectives import Objective
from scdlab.objectives.answer import balanced_loss, check_gradient, check_reached, checked_answer
from scdlab.objectives.augment import random_rotate
from scdlab.objectives.base import Mean
from scdlab.training import failure
from scdlab.training.arguments import MakeOptimizer, made_optimizer
from scdlab.training.callbacks import Callback
from scdlab.training.console import Interrupts, Stdout
from scdlab.training.estimate import announcement, step_time
from scdlab.training.evaluate import check_learned, mean_parts
from scdlab.training.failure import annealed
from scdlab.training.folder import RunFolder
from scdlab.training.guard import LastGood, NotFinite, Watch, set_weights, skips_by_itself
from scdlab.training.processes import Processes, agree, combined, share, share_gradients
from scdlab.training.sampler import BatchSampler, near
from scdlab.training.schedule import between, factor
from scdlab.training.state import Settings, State, check_weights


class Run:
    """One training run in one process. Called with the run's processes, it trains to its end.

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
        self.folder: RunFolder | None = None
        self.terminated = False  # by SIGTERM
        self._warned = False  # of a validation loss that is no number

    def __call__(self, fabric: Processes) -> str:
        """Train, and leave the best weights in the model; why the run stopped, see `FitResult`."""
        self.fabric = fabric
        self.device = fabric.device
        gpus = [self.device] * (self.device.type == "cuda")
        with torch.random.fork_rng(devices=gpus), self._annealed_back():
            self._prepare()
            # other processes are ended by SIGTERM when one has failed
            with Interrupts(terminate=fabric.world_size == 1) as interrupts:
                try:
                    stopped = self._loop(interrupts)
                except NotFinite as wrong:
                    raise self._failed(wrong) from None
                finally:
                    self._leave_weights()
                if self.folder is not None:
                    self.folder.finish(self.model, self.state)
        self.terminated = interrupts.terminated
        return stopped

    @property
    def shows(self) -> bool:
        """Whether this process shows how the run goes."""
        return self.progress and self.fabric.is_global_zero and enabled("INFO")

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
        place = (self.fabric.global_rank, self.fabric.world_size)
        self.sampler = BatchSampler(self.train.n_atoms, s.batch_size, s.max_atoms, s.seed, *place)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = made_optimizer(self.make_optimizer, self._groups(), s.weight_decay)
        self.watch = Watch(
            self.parameters, self.optimizer, skips_by_itself(self.optimizer, self.device)
        )
        averaged = s.ema_decay is not None
        if averaged:
            self.state.average = [p.detach().clone() for p in self.parameters]
        if self.out is not None:
            self.folder = RunFolder(self.out, s, self.model, self.objective, self.train, self.val)
            if self.resume and self.folder.has_checkpoint:
                self.state = self.folder.read(self.model, self.parameters, self.optimizer, averaged)
        self.good = LastGood(self.model)
        if self.estimate and self.progress and self.state.step < s.steps:
            seconds = step_time(self._gradient, self.optimizer)  # in every process: they share it
            if self.shows:
                logger.info(announcement(self, seconds))
        if not self.fabric.is_global_zero:
            self.folder = None  # the first process writes
        if self.folder is not None and not self.state.step:  # nothing but training can fail now
            self.folder.start(self.train, self.val, self.model)

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

    # ----------------------------------------------------------------------------------------------
    # the loop

    def _loop(self, interrupts: Interrupts) -> str:
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
                interrupted = agree(interrupts.pressed, self.fabric)
                late = self._is_late(state.seconds - before + time.perf_counter() - start)
                validate = last or late or state.step % s.val_every == 0
                validate = validate and self.val is not None
                row = None
                if state.step % s.log_every == 0 or validate or last or interrupted or late:
                    self.watch.settle()
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
                due = state.step % self.checkpoint_every == 0 or last or bool(stopped)
                if due:
                    self._checkpoint()
                if row is not None:
                    self._call_back(row, written=due)
        self.watch.settle()
        check_weights(self.parameters, s, state)
        return stopped or "steps"

    def advance(self) -> dict[str, Any]:
        """Take one step; its loss and parts."""
        s = self.settings
        parts = self._gradient(self.state.step)
        self.watch.look(self.state.step, parts["loss"], s.grad_clip)
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

    def _seed(self, step: int) -> int:
        """The seed of a step."""
        entropy = np.random.SeedSequence([self.settings.seed, step])
        return int(entropy.generate_state(1, np.uint64)[0] >> 1)

    def _gradient(self, step: int) -> dict[str, Any]:
        """Loss and gradient of one step: a function of (weights, seed, step) alone."""
        self._set_annealed(step)
        seed = self._seed(step)
        rank = self.fabric.global_rank
        seed_torch(self.device, seed + rank)
        generator = torch.Generator(self.device).manual_seed(seed + rank)
        batch = self._batch(step, seed)
        if self.settings.augment is not None:
            batch = self._rotated(batch, generator)
        self.optimizer.zero_grad()
        answer = self.objective(self.model, batch, generator)
        loss, parts = checked_answer(self.objective, answer, batch.num_graphs)
        check_gradient(self.objective, loss)
        loss = balanced_loss(self.objective, loss, parts, batch)
        # by the weights alone: the way back to the positions, through all distances, is left out
        self.fabric.backward(loss, inputs=self.parameters)
        check_reached(self.objective, self.parameters)
        share_gradients(self.parameters, self.fabric)
        loss, parts = combined(loss.detach(), parts, self.fabric)
        return {"loss": loss, **parts}

    def _batch(self, step: int, seed: int) -> Batch:
        """The structures of a step, those of this process."""
        batch = self.batches.take(self.sampler(step)).to(self.device)
        if self.fabric.world_size == 1:
            return batch
        every, own = self.sampler.whole(step)

        def whole() -> Batch:
            found = self.batches.take(every).to(self.device)
            if self.settings.augment is None:
                return found
            return self._rotated(found, torch.Generator(self.device).manual_seed(seed))

        declare_share(batch, share(every, own, self.train.n_atoms, seed, self.fabric, whole))
        return batch

    def _rotated(self, batch: Batch, generator: torch.Generator) -> Batch:
        return random_rotate(batch, generator, inversion=self.settings.augment == "O(3)")

    def _add(self, parts: dict[str, Any]) -> None:
        """Add loss and parts of a step to those since the last row of the log."""
        for name, part in parts.items():
            mean = part if isinstance(part, Mean) else Mean(part, 1)
            weight = mean.count if mean.selected else 1
            self.state.sums[name] = self.state.sums.get(name, 0.0) + mean.value * weight
            self.state.weights[name] = self.state.weights.get(name, 0) + weight

    def _row(self) -> dict[str, float]:
        """A row of the log: means since the last one."""
        state = self.state
        row = {"step": state.step, **self._rates(state.step - 1)}
        for name, value in state.sums.items():
            if state.weights[name] > 0:
                mean = float(value) / float(state.weights[name])
                if math.isfinite(mean):  # a part that is no number counts as not measured
                    row[name] = mean
        state.sums = {}
        state.weights = {}
        return row

    def _is_late(self, seconds: float) -> bool:
        return self.minutes is not None and agree(seconds >= 60 * self.minutes, self.fabric)

    def _call_back(self, row: dict[str, float], written: bool) -> None:
        if not (self.callbacks and self.fabric.is_global_zero):
            return
        try:
            for callback in self.callbacks:
                callback(self.state.step, dict(row), self.model)
        except BaseException:
            if not written:
                self._checkpoint()
            raise
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

    def _annealed(self) -> dict[str, Model | Objective]:
        """What has each number that is annealed."""
        names = self.settings.anneal or {}
        return {name: annealed(name, self.model, self.objective) for name in names}

    @contextlib.contextmanager
    def _annealed_back(self) -> Iterator[None]:
        """Afterwards, what is annealed is as it was before."""
        owners = self._annealed()
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
        set_weights(self.parameters, self.state.average)
        try:
            yield
        finally:
            set_weights(self.parameters, current)

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
            numbers = {name: value for name, value in errors.items() if math.isfinite(value)}
            row |= {f"val_{name}": value for name, value in numbers.items()}
            if "loss" not in numbers:
                self._warn_of_validation(errors["loss"])
            if "loss" in numbers and (state.best is None or numbers["loss"] < state.best):
                state.best = numbers["loss"]
                state.waited = 0
                state.best_weights = [p.detach().clone() for p in self.parameters]
            else:
                state.waited += 1
        return s.patience is not None and state.waited >= s.patience

    def _warn_of_validation(self, loss: float) -> None:
        if self.fabric.is_global_zero and not self._warned:
            self._warned = True
            logger.warning(
                "The validation loss is %s at step %d, so these weights do not count as the best; "
                "look for labels of the validation set that are wrong.",
                loss,
                self.state.step,
            )

    def _checkpoint(self) -> None:
        self.watch.settle()
        self.good.keep(self.state.best_weights or self.state.average)
        if self.folder is not None:
            self.folder.write(self.model, self.parameters, self.optimizer, self.state)

    def _leave_weights(self) -> None:
        """Leave the best weights in the model: of the lowest validation loss, else the average."""
        self.good.restore([self.state.best_weights, self.state.average])
        self.model.eval()

    def _failed(self, wrong: NotFinite) -> failure.FailedStep:
        """The error for a step that is no number, which is kept for `replay`."""
        s = self.settings
        self.state.step = wrong.step
        self.good.restore([])  # buffers that the step may have spoiled; weights it left alone
        annealing = {name: vars(owner)[name] for name, owner in self._annealed().items()}
        step = failure.Step(wrong.step + 1, self._seed(wrong.step), s.augment, annealing)
        numbers = self.sampler.whole(wrong.step)[0].tolist()
        first = self.fabric.is_global_zero
        failed = failure.Failed(wrong.what, step, numbers, self.train.index[numbers].tolist())
        if first:
            failed.find_suspects(self.model, self.objective, self.train)
        self.good.restore([])
        if first and self.folder is not None:
            failed.keep(self.folder.path, self.model, self.objective, self.train)
        checkpoint = None if self.folder is None else self.folder.written
        return failure.FailedStep(failed.explained(s.lr, checkpoint))
