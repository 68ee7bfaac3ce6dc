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
"""

import contextlib
import copy
import csv
import itertools
import json
import math
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from lightning_fabric import Fabric
from tqdm import tqdm

import scdlab
from scdlab.atoms.collate import pack_batches
from scdlab.files import atomic_file, write_json
from scdlab.objectives import EnergyForces, PropertyRegression
from scdlab.objectives.augment import KINDS, random_rotate
from scdlab.objectives.base import Mean, as_mean, description
from scdlab.objectives.supervised import finite_expression
from scdlab.training.checkpoint import load_tensors, save
from scdlab.training.schedule import between, factor


@dataclass
class FitResult:
    """What a run did. The trained weights are in the model that was given to `fit`."""

    model: torch.nn.Module
    steps: int = 0  # steps done, before a resumption too
    seconds: float = 0.0  # time spent training, likewise
    best: float | None = None  # lowest validation loss
    interrupted: bool = False  # stopped by Ctrl-C
    stopped_early: bool = False  # the validation loss no longer fell
    rows: list[dict] = field(default_factory=list)
    out: Path | None = None

    @property
    def history(self) -> dict[str, list]:
        """The log by column: "step", "loss", "lr", the objective's parts, "val_…"; NaN where
        nothing was measured."""
        columns = dict.fromkeys(key for row in self.rows for key in row)
        return {c: [row.get(c, math.nan) for row in self.rows] for c in columns}

    def __repr__(self):
        best = "" if self.best is None else f", best validation loss {self.best:.4g}"
        end = (
            ", interrupted" if self.interrupted else ", stopped early" if self.stopped_early else ""
        )
        return f"FitResult({self.steps} steps in {self.seconds:.1f} s{best}{end})"


def fit(
    model,
    objective,
    train,
    val=None,
    *,
    steps: int = 1000,
    batch_size: int | None = None,
    max_atoms: int | None = None,
    lr: float | dict[str, float] = 1e-3,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    out=None,
    resume: bool = False,
    schedule: str = "cosine",
    warmup: int | None = None,
    weight_decay: float = 0.0,
    ema_decay: float | None = 0.99,
    grad_clip: float | None = 10.0,
    anneal: dict[str, tuple[float, float]] | None = None,
    augment: str | None = "auto",
    log_every: int | None = None,
    val_every: int | None = None,
    patience: int | None = None,
    checkpoint_every: int | None = None,
    progress: bool = True,
) -> FitResult:
    """Train `model` on the AtomStore `train` by minimizing `objective`; the model is changed in
    place.

    val: a store to validate on; the weights of the lowest validation loss are kept. batch_size:
    structures in a batch, 32 by default. max_atoms: atoms that a batch may hold in each process; it
    is filled as far as it goes, with `batch_size` structures at most, if that is given too. lr: the
    largest learning rate; {"head": …, "backbone": …} gives the objective's own head for its labels
    one and the pretrained rest another (0 leaves it as it is). schedule: "cosine" (with `warmup`
    steps, by default a twentieth of all), "exponential" (SchNet's decay) or "constant". ema: decay
    of the averaged weights, None for no averaging. clip: largest norm of the gradient. anneal: what
    changes evenly over the run, {name: (at the first step, at the last)}: "drop_path" of the model,
    or a number of the objective such as "weight"; validation uses the last value, and afterwards
    all is as it was. An objective may bring along what it anneals, and another one to be validated
    by (its `anneal` and `judge`). augment: "rotations" turns each structure of a training batch at
    random, "O(3)" also mirrors half of them (`objectives.augment.random_rotate`), None leaves them
    as they are; "auto" is "O(3)" for models that ask for it (their attribute `augment` is True),
    else None. patience: stop after so many validations without a better loss. out: folder for log,
    checkpoint and model; resume: go on from its checkpoint, if any. devices, nodes: processes for
    data-parallel training; each step's batch is shared out among them.

    Ctrl-C ends training after the current step and keeps what was learned. Raises ValueError for
    settings that cannot be, labels that are missing, a checkpoint of another run, and a loss that
    is no longer a number.
    """
    batch_size = (32 if max_atoms is None else None) if batch_size is None else batch_size
    rates = lr if isinstance(lr, dict) else {"backbone": lr}
    positive = dict(
        steps=steps,
        batch_size=batch_size,
        lr=max(rates.values(), default=0),
        devices=devices,
        nodes=nodes,
    )
    for name, value in positive.items():
        if value is not None and not value > 0:
            raise ValueError(f"fit needs {name} > 0, not {value}.")
    if len(train) == 0:
        raise ValueError("The training set is empty; give a store with at least one structure.")
    if resume and out is None:
        raise ValueError("resume=True needs out=, the folder of the run to go on with.")
    if ema_decay is not None and not 0 <= ema_decay < 1:
        raise ValueError(
            "ema_decay is the decay of the averaged weights, from 0 to below 1, or None, not "
            f"{ema_decay}."
        )
    if augment not in ("auto", None, *KINDS):
        raise ValueError(
            f"augment is 'auto', None, {' or '.join(map(repr, KINDS))}, not {augment!r}."
        )
    if augment == "auto":
        augment = "O(3)" if model.augment else None
    anneal = {**objective.anneal, **(anneal or {})}
    _check_rates(lr, objective)
    _check_anneal(anneal, model, objective)
    for store in (train, val):
        if store is not None:
            store.check_max_atoms(max_atoms)
            _check_labels(store, objective)
    least = objective.smallest_batch
    if (
        least > 1 and max_atoms is None
    ):  # processes share a batch; with a budget each of them has its own
        least *= devices * nodes
    if batch_size is not None and batch_size < least:
        raise ValueError(
            f"{objective!r} compares structures of a batch and needs batch_size >= {least}, not "
            f"{batch_size}."
        )
    warmup = min(steps // 20, 1000) if warmup is None else warmup
    factor(schedule, 0, steps, warmup)  # an unknown schedule is found before anything is written
    log_every = max(1, steps // 50) if log_every is None else log_every
    val_every = max(1, steps // 10) if val_every is None else val_every
    settings = dict(
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
        anneal={name: list(ends) for name, ends in anneal.items()} if anneal else None,
        log_every=log_every,
        val_every=val_every,
        patience=patience,
        devices=devices,
        nodes=nodes,
        augment=augment,
    )
    run = _Run(
        model, objective, train, val, settings, out, resume, checkpoint_every or val_every, progress
    )
    fabric = _fabric(device, devices, nodes)
    if devices * nodes == 1:
        return run(fabric)
    state = fabric.launch(
        _in_process, run
    )  # spawned processes train copies: bring the weights and the log home
    for name, pool in state.pop("properties").items():  # heads that the objective added there
        model.add_property(name, pool)
    model.units = state.pop("units")
    load_tensors(model, safetensors.torch.load(state.pop("weights")), "the first process")
    return FitResult(model, **state)


def _fabric(device: str, devices: int, nodes: int) -> Fabric:
    accelerator = {"auto": "cuda" if torch.cuda.is_available() else "cpu"}.get(device, device)
    if accelerator not in ("cpu", "cuda", "gpu"):
        raise ValueError(f"device is 'auto', 'cpu' or 'cuda', not {device!r}.")
    if accelerator != "cpu" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for and torch sees no GPU; use device='auto' or 'cpu'."
        )
    if devices * nodes == 1:
        return Fabric(accelerator=accelerator, devices=1)
    launched = "LOCAL_RANK" in os.environ  # by torchrun, which has made the processes already
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if launched else "ddp_spawn",
    )


def _check_rates(lr, objective) -> None:
    if not isinstance(lr, dict):
        return
    if set(lr) != {"head", "backbone"} or not all(math.isfinite(v) and v >= 0 for v in lr.values()):
        raise ValueError(
            'lr is one learning rate or {"head": …, "backbone": …}, each a number from 0 up, not '
            f"{lr}."
        )
    if objective.labeled is None:
        raise ValueError(
            f"{objective!r} learns from no labels and so has no head of its own; give one learning "
            "rate instead of one for the head and one for the body."
        )


def _check_labels(store, objective) -> None:
    """Raise ValueError, saying how many and which, where structures lack the property that is to be
    learned."""
    if objective.labeled is None or (name := objective.labeled.property_name) is None:
        return
    y = store.property(name)
    there = np.isfinite(y) if y.ndim == 1 else np.isfinite(y).all(1)
    missing = store.index[~there]  # as counted in the set that a split was taken from
    if len(missing):
        which = ", ".join(map(str, sorted(missing)[:5])) + (", …" if len(missing) > 5 else "")
        raise ValueError(
            f"{len(missing):,} of {len(store):,} structures have no {name!r} (number {which}); "
            f"leave them out, as in store[{finite_expression(name, y.ndim == 2)}]."
        )


def _check_anneal(anneal, model, objective) -> None:
    for name, ends in anneal.items():
        now = getattr(_owner(name, model, objective), name, None)
        if isinstance(now, bool) or not isinstance(now, (int, float)):
            whose = repr(objective)
            remedy = "name a number of the objective, such as the weight of CoordinateDenoising"
            if name == "drop_path":
                whose = f"this {type(model).__name__}"
                remedy = "use an EquivariantTransformer"
            raise ValueError(f"anneal names {name!r}, and {whose} has no such number; {remedy}.")
        above = 1.0 if name == "drop_path" else math.inf
        if not (len(ends) == 2 and all(0 <= end < above for end in ends)):
            raise ValueError(
                f"anneal[{name!r}] is its value at the first and at the last step, each from 0 to "
                f"below {above}, not {ends}."
            )


def _owner(name, model, objective):
    return model if name == "drop_path" else objective


def _in_process(fabric: Fabric, run: "_Run") -> dict:
    run.model = copy.deepcopy(
        run.model
    )  # spawning puts tensors into memory that all processes share
    result = run(fabric)
    weights = safetensors.torch.save(
        {k: v.cpu().contiguous() for k, v in result.model.state_dict().items()}
    )
    keep = ("steps", "seconds", "best", "interrupted", "stopped_early", "rows", "out")
    heads = {
        "properties": {k: head.kind for k, head in result.model.property_heads.items()},
        "units": result.model.units,
    }
    return {"weights": weights, **heads, **{name: getattr(result, name) for name in keep}}


class _Run:
    """One training run: the state that a checkpoint holds, and the loop that advances it."""

    def __init__(
        self, model, objective, train, val, settings, out, resume, checkpoint_every, progress
    ):
        self.model = model
        self.objective = objective
        self.train = train
        self.val = val
        self.settings = settings
        self.out = None if out is None else Path(out)
        self.resume = resume
        self.checkpoint_every = checkpoint_every
        self.progress = progress
        self.step = 0
        self.seconds = 0.0
        self.rows = []
        # of the losses since the last line of the log
        self.sums = {}
        self.weights = {}
        self.best = None
        self.best_weights = None
        self.waited = 0
        # where batches of a budget start in the stream
        self._starts = [0]
        self._held = (0, 0)
        self._dealt = 0

    def __call__(self, fabric: Fabric) -> FitResult:
        self.fabric = fabric
        self.device = fabric.device
        with (
            torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []),
            self._annealed(),
        ):
            self._prepare()
            with _CtrlC() as ctrl_c:
                interrupted, early = self._loop(ctrl_c)
        self._finish()
        return FitResult(
            self.model, self.step, self.seconds, self.best, interrupted, early, self.rows, self.out
        )

    @contextlib.contextmanager
    def _annealed(self):
        """Afterwards, what is annealed is as it was before."""
        owners = {
            name: _owner(name, self.model, self.objective) for name in self.settings["anneal"] or {}
        }
        before = {name: getattr(owner, name) for name, owner in owners.items()}
        try:
            yield
        finally:
            for name, owner in owners.items():
                setattr(owner, name, before[name])

    # -- before
    # ----------------------------------------------------------------------------------------------

    def _prepare(self):
        s = self.settings
        torch.manual_seed(
            s["seed"]
        )  # heads that the objective adds are initialized the same in every process
        self.model.cpu()
        self.objective.prepare(self.model, self.train)
        if self.val is not None:
            self.model.check_elements(torch.tensor(self.val.elements))
        self.model.to(self.device).train()
        self.batches = _near(self.train, self.device)
        self.val_batches = None if self.val is None else _near(self.val, self.device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self._groups(), weight_decay=s["weight_decay"], fused=True
        )
        self.average = (
            None if s["ema_decay"] is None else [p.detach().clone() for p in self.parameters]
        )
        checkpoint = self.out / "checkpoint.safetensors" if self.out else None
        if self.resume and checkpoint.is_file():
            self._restore(checkpoint)
        elif self.out and self.fabric.is_global_zero:
            self.out.mkdir(parents=True, exist_ok=True)
            checkpoint.unlink(missing_ok=True)  # of an earlier run in the same folder
            np.save(self.out / "train_index.npy", self.train.index)
            if self.val is not None:
                np.save(self.out / "val_index.npy", self.val.index)
            versions = {
                "scdlab": scdlab.__version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
            }
            write_json(
                self.out / "run.json",
                {"settings": s, "config": self.model.config, "versions": versions},
            )
        if self.progress and self.step < s["steps"]:
            estimate = self._estimate()  # in every process: they share each gradient
            if self.fabric.is_global_zero:
                print(estimate, flush=True)

    def _groups(self) -> list[dict]:
        """The optimizer's groups of parameters, each with its largest learning rate as "peak"."""
        lr = self.settings["lr"]
        if not isinstance(lr, dict):
            return [{"params": self.parameters, "lr": lr, "peak": lr}]
        heads = {
            p
            for module in self.objective.labeled.label_modules(self.model)
            for p in module.parameters()
        }
        parts = {
            "backbone": [p for p in self.parameters if p not in heads],
            "head": [p for p in self.parameters if p in heads],
        }
        return [{"params": own, "lr": lr[name], "peak": lr[name]} for name, own in parts.items()]

    def _estimate(self) -> str:
        """Time a few steps that change nothing, and say how long the run will take."""
        rng = torch.get_rng_state()
        self._gradient(0)  # the first step also allocates memory: not timed
        start = time.perf_counter()
        for k in (1, 2, 3):
            self._gradient(k)
        each = (time.perf_counter() - start) / 3
        self.optimizer.zero_grad()
        torch.set_rng_state(rng)
        left = self.settings["steps"] - self.step
        total = left * each
        b = self.settings["batch_size"]
        budget = self.settings.get("max_atoms")
        if self.val is not None:  # an evaluation costs about a third of a training step
            total += left / self.settings["val_every"] * each / 3 * len(self.val.batches(b, budget))
        threads = torch.get_num_threads()
        gpu = (
            "one GPU, batches from the processor's memory"
            if self.batches is self.train
            else "one GPU"
        )
        where = (
            gpu
            if self.device.type != "cpu"
            else f"{threads} CPU thread{'s' if threads > 1 else ''}"
        )
        where = where if self.fabric.world_size == 1 else f"{self.fabric.world_size} processes"
        size = b if budget is None else f"up to {budget:,} atoms"
        return (
            f"Training {type(self.model).__name__} on {len(self.train):,} structures, {left:,} "
            f"steps of {size}: about {_duration(total)} on {where}."
        )

    # -- the loop
    # ----------------------------------------------------------------------------------------------

    def _loop(self, ctrl_c) -> tuple[bool, bool]:
        s = self.settings
        quiet = not (self.progress and self.fabric.is_global_zero)
        bar = tqdm(
            total=s["steps"],
            initial=self.step,
            disable=quiet,
            unit="step",
            file=_Stdout(),
            mininterval=0.5,
            dynamic_ncols=False,
            ncols=100,
            leave=True,
        )
        early = False
        with bar:
            while self.step < s["steps"] and not early:
                start = time.perf_counter()
                for name, value in self._advance().items():
                    mean = as_mean(value, 1)
                    weight = mean.count if mean.selected else 1
                    self.sums[name] = self.sums.get(name, 0.0) + mean.value * weight
                    self.weights[name] = self.weights.get(name, 0) + weight
                log = self.step % s["log_every"] == 0
                last = self.step == s["steps"]
                validate = self.val is not None and (last or self.step % s["val_every"] == 0)
                stop = self._agree(ctrl_c.pressed)
                if log or validate or last or stop:
                    row = {"step": self.step, **self._rates(self.step - 1)}
                    row |= {
                        k: float(v) / float(self.weights[k])
                        for k, v in self.sums.items()
                        if self.weights[k] > 0
                    }
                    if not math.isfinite(row["loss"]):
                        raise ValueError(
                            f"The loss is {row['loss']} at step {self.step}; train with a smaller "
                            f"learning rate than {s['lr']} or look for wrong labels."
                        )
                    if validate:
                        early = self._validate(row)
                    self.sums = {}
                    self.weights = {}
                    self.seconds += time.perf_counter() - start
                    row["seconds"] = round(self.seconds, 3)
                    self.rows.append(row)
                    bar.set_postfix(
                        {k: f"{v:.4g}" for k, v in row.items() if k in ("loss", "val_loss")},
                        refresh=False,
                    )
                else:
                    self.seconds += time.perf_counter() - start
                bar.update()
                if self.out and (self.step % self.checkpoint_every == 0 or last or stop or early):
                    self._checkpoint()
                if stop:
                    return True, False
        return False, early

    def _advance(self) -> dict:
        parts = self._gradient(self.step)
        if self.settings["grad_clip"] is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.settings["grad_clip"])
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._factor(self.step)
        self.optimizer.step()
        if (
            self.average is not None
        ):  # a short memory at first, so that the initial weights are forgotten
            decay = min(self.settings["ema_decay"], (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        self.step += 1
        return parts

    def _gradient(self, step: int) -> dict:
        """Loss and gradient of one step: a function of (weights, seed, step) alone."""
        self._set_annealed(step)
        seed = int(
            np.random.SeedSequence([self.settings["seed"], step]).generate_state(1, np.uint64)[0]
            >> 1
        )
        torch.manual_seed(seed + self.fabric.global_rank)
        generator = torch.Generator(self.device).manual_seed(seed + self.fabric.global_rank)
        batch = self.batches.take(self._indices(step)).to(self.device)
        if kind := self.settings.get("augment"):
            batch = random_rotate(batch, generator, inversion=kind == "O(3)")
        self.optimizer.zero_grad()
        loss, parts = self.objective(self.model, batch, generator)
        self.fabric.backward(loss)
        self._share_gradients()
        return {"loss": loss.detach(), **parts}

    def _set_annealed(self, step: int):
        for name, ends in (self.settings["anneal"] or {}).items():
            value = between(*ends, step, self.settings["steps"])
            setattr(_owner(name, self.model, self.objective), name, value)

    def _indices(self, step: int) -> np.ndarray:
        """The structures of a step: the stream of all epochs' permutations, cut into batches, and
        into ranks' shares; or, under a budget of atoms, into batches for each rank."""
        n = len(self.train)
        b = self.settings["batch_size"]
        rank = self.fabric.global_rank
        world = self.fabric.world_size
        if self.settings.get("max_atoms") is None:
            return self._stream(step * b, (step + 1) * b)[rank::world]
        number = step * world + rank
        while (
            len(self._starts) < number + 2
        ):  # deal out another epoch; after a resumption, all of them again
            epoch = self._dealt
            further, self._held = pack_batches(
                self.train.n_atoms[self._permutation(epoch)],
                b,
                self.settings["max_atoms"],
                self._held,
            )
            self._starts += [epoch * n + start for start in further]
            self._dealt += 1
        return self._stream(*self._starts[number : number + 2])

    def _stream(self, first: int, last: int) -> np.ndarray:
        n = len(self.train)
        parts = [self._permutation(epoch) for epoch in range(first // n, (last - 1) // n + 1)]
        return np.concatenate(parts)[first % n : first % n + last - first]

    def _permutation(self, epoch: int) -> np.ndarray:
        if getattr(self, "_epoch", None) is None or self._epoch[0] != epoch:
            rng = np.random.default_rng([self.settings["seed"], epoch])
            self._epoch = epoch, rng.permutation(len(self.train))
        return self._epoch[1]

    def _share_gradients(self):
        if self.fabric.world_size == 1:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        there = torch.tensor(
            [float(p.grad is not None) for p in self.parameters], device=self.device
        )
        flat = self.fabric.all_reduce(
            torch.cat([there, *(g.flatten() for g in grads)]), reduce_op="mean"
        )
        there, *means = flat.split([len(grads), *(g.numel() for g in grads)])
        for p, g, some in zip(self.parameters, means, there.tolist(), strict=True):
            p.grad = (
                g.view_as(p) if some else None
            )  # without a gradient anywhere, weight decay leaves it alone as well

    def _agree(self, flag: bool) -> bool:
        """True in every process when it is true in one."""
        if self.fabric.world_size == 1:
            return flag
        return bool(
            self.fabric.all_reduce(torch.tensor(float(flag), device=self.device), reduce_op="max")
        )

    def _factor(self, step: int) -> float:
        s = self.settings
        return factor(s["schedule"], step, s["steps"], s["warmup"])

    def _rates(self, step: int) -> dict[str, float]:
        """The learning rates of a step, as the log has them."""
        lr = self.settings["lr"]
        lr = {"lr": lr["backbone"], "lr_head": lr["head"]} if isinstance(lr, dict) else {"lr": lr}
        return {name: peak * self._factor(step) for name, peak in lr.items()}

    # -- validation and the end
    # -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _averaged(self):
        """The model with its averaged weights, for as long as the block runs."""
        if self.average is None:
            yield
            return
        current = [p.detach().clone() for p in self.parameters]
        _set(self.parameters, self.average)
        try:
            yield
        finally:
            _set(self.parameters, current)

    def _validate(self, row: dict) -> bool:
        s = self.settings
        self._set_annealed(
            s["steps"] - 1
        )  # the same at every validation, so that losses can be compared
        with self._averaged():
            judge = self.objective.validation_objective
            errors = _errors(self.model, self.val_batches, judge, s["batch_size"], s["max_atoms"])
            row |= {f"val_{k}": v for k, v in errors.items()}
            if self.best is None or row["val_loss"] < self.best:
                self.best = row["val_loss"]
                self.waited = 0
                self.best_weights = [p.detach().clone() for p in self.parameters]
            else:
                self.waited += 1
        return self.settings["patience"] is not None and self.waited >= self.settings["patience"]

    def _finish(self):
        weights = self.best_weights or self.average
        if weights is not None:
            _set(self.parameters, weights)
        self.model.eval()
        if self.out and self.fabric.is_global_zero:
            self._write_log()
            save(self.model, self.out / "model")

    # -- on disk
    # ----------------------------------------------------------------------------------------------

    def _write_log(self):
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with (
            atomic_file(self.out / "log.csv") as new,
            open(new, "w", newline="", encoding="utf-8") as f,
        ):
            writer = csv.DictWriter(f, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        write_json(
            self.out / "log.json",
            {"seconds": self.seconds, "steps": self.step, "best": self.best, "rows": self.rows},
        )

    def _checkpoint(self):
        if not self.fabric.is_global_zero:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for k, p in enumerate(self.parameters):
            tensors |= {f"optimizer.{k}.{name}": v for name, v in self.optimizer.state[p].items()}
        for group, weights in (("average", self.average), ("best", self.best_weights)):
            tensors |= {f"{group}.{k}": v for k, v in enumerate(weights or [])}
        sums, weights = (
            {k: float(v) for k, v in some.items()} for some in (self.sums, self.weights)
        )
        about = {
            "settings": self.settings,
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
            "best": self.best,
            "waited": self.waited,
            "sums": sums,
            "weights": weights,
        }
        with atomic_file(self.out / "checkpoint.safetensors") as new:
            copies = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
            safetensors.torch.save_file(copies, new, metadata={"scdlab": json.dumps(about)})
        self._write_log()

    def _restore(self, path: Path):
        try:
            with safetensors.safe_open(path, framework="pt") as f:
                about = json.loads(f.metadata()["scdlab"])
                tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (no mapping: it has keys() only)
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a readable checkpoint of scdlab.fit; delete it to start anew."
            ) from error
        then = about["settings"]
        for name in {
            **then,
            **self.settings,
        }:  # a setting that is younger than the checkpoint was off
            if self.settings.get(name) != then.get(name):
                raise ValueError(
                    f"{path} was written with {name}={then.get(name)!r}, and this run has "
                    f"{name}={self.settings.get(name)!r}; resume with the same settings "
                    "or start anew in another folder."
                )
        parts = {group: {} for group in ("model", "optimizer", "average", "best")}
        for key, value in tensors.items():
            group, name = key.split(".", 1)
            parts[group][name] = value.to(self.device)
        load_tensors(self.model, parts["model"], path)
        for k, p in enumerate(self.parameters):
            prefix = f"{k}."
            state = {
                n.removeprefix(prefix): v
                for n, v in parts["optimizer"].items()
                if n.startswith(prefix)
            }
            if (
                not state
            ):  # the objective does not reach this parameter (an unused head): it was never stepped
                continue
            self.optimizer.state[p] = {
                **state,
                "step": state["step"].cpu() if self.device.type == "cpu" else state["step"],
            }
        if self.average is not None:
            self.average = [parts["average"][str(k)] for k in range(len(self.parameters))]
        if parts["best"]:
            self.best_weights = [parts["best"][str(k)] for k in range(len(self.parameters))]
        self.step = about["step"]
        self.seconds = about["seconds"]
        self.rows = about["rows"]
        self.best = about["best"]
        self.waited = about["waited"]
        self.sums = about["sums"]
        self.weights = about["weights"]


class _CtrlC:
    """Turns the first Ctrl-C into a flag that is looked at between steps; the second one interrupts
    at once."""

    pressed = False

    def __enter__(self):
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.before = signal.signal(signal.SIGINT, self._press)
        return self

    def _press(self, number, frame):
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def __exit__(self, *exception):
        if self.main:
            signal.signal(signal.SIGINT, self.before)


class _Stdout:
    """The standard output of the moment: progress is no error, and notebooks color stderr red."""

    def write(self, text):
        print(text, end="")

    def flush(self):
        print("", end="", flush=True)


def _near(store, device: torch.device):
    """What batches for the device are cut from: the store itself, or its copy in a GPU's memory,
    where it takes at most a quarter of what is free there."""
    if device.type != "cuda" or store.nbytes > torch.cuda.mem_get_info(device)[0] / 4:
        return store
    return store.to(device)


@torch.no_grad()
def _set(parameters, values) -> None:
    for p, v in zip(parameters, values, strict=True):
        p.copy_(v)


def _errors(model, store, objective, batch_size, max_atoms=None) -> dict[str, float]:
    """The objective's loss and parts over a whole store, each averaged over what it is a mean of:
    over structures, over atoms (`atomwise`), or over as many things as the objective says after
    each call (`counted`)."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    sums = {}
    weights = {}
    try:
        with torch.no_grad():
            starts = [0, *pack_batches(store.n_atoms, batch_size, max_atoms)[0], len(store)]
            for first, last in itertools.pairwise(starts):
                batch = store.take(np.arange(first, last)).to(device)
                # one and the same noise at every validation, so that losses can be compared
                loss, parts = objective(model, batch, torch.Generator(device).manual_seed(first))
                means = {name: as_mean(part, batch.num_graphs) for name, part in parts.items()}
                over = objective.loss_over
                count = batch.num_graphs if over is None else means[over].count
                for name, mean in {"loss": Mean(loss, count), **means}.items():
                    weight = float(mean.count)
                    sums[name] = sums.get(name, 0.0) + float(mean) * weight
                    weights[name] = weights.get(name, 0) + weight
    finally:
        model.train(was_training)
    measured = [weight for name, weight in weights.items() if name != "loss"]
    if not weights["loss"] or (measured and not any(measured)):
        raise ValueError(
            f"No structure of the {len(store):,} to evaluate on has anything that {objective!r} "
            "could measure; give others."
        )
    return {name: sums[name] / weights[name] for name in sums if weights[name]}


def evaluate(
    model, store, objective=None, batch_size: int | None = 64, max_atoms: int | None = None
) -> dict[str, float]:
    """Mean absolute errors of a model on a labeled store: "energy_mae" (eV), "force_mae" (eV/Å),
    "<property>_mae", of vectors those of a component.

    objective: what to evaluate, with its loss under "loss"; by default everything the model
    predicts and the store has labels for, from one pass over the structures as they are, without
    noise or condition. max_atoms: as for `fit`. Raises ValueError when there is nothing to compare.
    """
    if len(store) == 0:
        raise ValueError("The store to evaluate on is empty; give at least one labeled structure.")
    store.check_max_atoms(max_atoms)
    if objective is not None:
        _check_labels(store, objective)
        return _errors(model, store, objective, batch_size, max_atoms)
    objectives = (
        [EnergyForces(forces=store.has_forces)]
        if store.has_energy and bool(model.energy_head.reference.any())
        else []
    )
    named = [
        name
        for name in model.property_heads
        if name in (*store.property_names, *store.vector_names)
    ]
    for name in named:
        ours = model.units.get(name, "")
        theirs = store.units(name)
        if ours and theirs and ours != theirs:
            raise ValueError(
                f"The model gives {name!r} in {ours} and the store has it in {theirs}; convert the "
                "labels."
            )
    objectives += [PropertyRegression(name) for name in named]
    if not objectives:
        raise ValueError(
            "The model predicts nothing that the store has labels for; train it or give an "
            "objective."
        )
    found = {}
    for each in objectives:
        _check_labels(store, each)
        found |= {
            k: v
            for k, v in _errors(model, store, each, batch_size, max_atoms).items()
            if k != "loss"
        }
    return found


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
