"""How long a run will take, from a few steps that change nothing."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from scdlab.training.console import duration

if TYPE_CHECKING:
    from scdlab.training.loop import Run


def step_time(gradient: Callable[[int], Any], optimizer: torch.optim.Optimizer) -> float:
    """Seconds that a step takes, from a few that change nothing.

    Parameters
    ----------
    gradient : function
        Computes loss and gradient of a step.
    optimizer : Optimizer
        Forgets the gradients afterwards.
    """
    rng = torch.get_rng_state()
    gradient(0)  # the first step also allocates memory: not timed
    start = time.perf_counter()
    for k in (1, 2, 3):
        gradient(k)
    each = (time.perf_counter() - start) / 3
    optimizer.zero_grad()
    torch.set_rng_state(rng)
    return each


def announcement(run: "Run", step_time: float) -> str:
    """How long a run will take, for steps of so many seconds, and where.

    Parameters
    ----------
    run : Run
        The run, prepared.
    step_time : float
        Seconds of a step.
    """
    s = run.settings
    left = s.steps - run.state.step
    total = left * step_time
    if run.val is not None:  # an evaluation costs about a third of a training step
        batches = len(run.val.batches(s.batch_size, s.max_atoms))
        total += left / s.val_every * step_time / 3 * batches
    if run.minutes is not None:
        total = min(total, 60 * run.minutes)
    threads = torch.get_num_threads()
    where = f"{threads} CPU thread{'s' if threads > 1 else ''}"
    if run.device.type != "cpu":
        where = "one GPU"
        if run.batches is run.train:
            where += ", batches from the processor's memory"
    if run.fabric.world_size > 1:
        where = f"{run.fabric.world_size} processes"
    size = s.batch_size if s.max_atoms is None else f"up to {s.max_atoms:,} atoms"
    return (
        f"Training {type(run.model).__name__} on {len(run.train):,} structures, {left:,} "
        f"steps of {size}: about {duration(total)} on {where}."
    )
