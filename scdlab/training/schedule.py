"""Learning-rate schedules: factors on the base rate, functions of the step.

    cosine       linear warm-up, then ½(1 + cos πt) down to zero at the last step
    exponential  0.96^(step / 100,000), SchNet's decay (Schütt et al. 2017)
    constant     1 after the warm-up

and what else changes over a run (`between`): drop-path, the weight of an auxiliary loss.
"""

import math

from scdlab.objectives.arguments import check_choice

SCHEDULES = ("cosine", "exponential", "constant")


def factor(schedule: str, step: int, steps: int, warmup: int) -> float:
    """The factor on the learning rate at a step.

    Parameters
    ----------
    schedule : str
        "cosine", "exponential" or "constant".
    step, steps : int
        The step, from 0, and how many there are.
    warmup : int
        Steps over which the rate rises.

    Raises
    ------
    ValueError
        For an unknown schedule.
    """
    check_choice("schedule", schedule, SCHEDULES)
    rise = min(1.0, (step + 1) / (warmup + 1))
    if schedule == "cosine":
        t = max(0, step - warmup) / max(1, steps - warmup)
        return rise * 0.5 * (1.0 + math.cos(math.pi * min(t, 1.0)))
    return rise * (0.96 ** (step / 100_000) if schedule == "exponential" else 1.0)


def between(start: float, end: float, step: int, steps: int) -> float:
    """What changes evenly from `start` at the first step to `end` at the last."""
    return start + (end - start) * step / max(1, steps - 1)
