"""What the rules of claims have in common: from the errors of two arms to a direction, and from a
direction to a verdict."""

import math
from collections.abc import Sequence

import numpy as np
import scipy.special


def direction(better: Sequence[float] | np.ndarray, worse: Sequence[float] | np.ndarray) -> str:
    """Which way the gap between two arms points.

    A direction is seen when every seed shows it and the mean gap exceeds the standard deviation of
    the gap over seeds.

    Parameters
    ----------
    better : array-like [seeds]
        Errors of the arm that should have the lower ones.
    worse : array-like [seeds]
        Errors of the other arm, of the same seeds.

    Returns
    -------
    {"paper", "opposite", "tie"}
        "paper" when `better` is lower.
    """
    gap = np.asarray(worse, float) - np.asarray(better, float)
    spread = gap.std(ddof=1) if len(gap) > 1 else np.inf  # one seed has no spread to compare with
    if abs(gap.mean()) <= spread or not (np.all(gap > 0) or np.all(gap < 0)):
        return "tie"
    return "paper" if gap.mean() > 0 else "opposite"


def paired_direction(
    better: Sequence[float] | np.ndarray, worse: Sequence[float] | np.ndarray
) -> str:
    """Which way the gap between two arms points, by the mean of the paired differences.

    Arms are paired by seed: same split, same batches. A direction is seen when the mean of the n
    differences is further from zero than t(0.975; n - 1) of its standard errors, s / sqrt(n), with
    Student's t: a two-sided test at 5 %.

    Parameters
    ----------
    better : array-like [seeds]
        Errors of the arm that should have the lower ones.
    worse : array-like [seeds]
        Errors of the other arm, of the same seeds.

    Returns
    -------
    {"paper", "opposite", "tie"}
        "paper" when `better` is lower.

    Raises
    ------
    ValueError
        The arms do not have one finite error each for the same seeds.
    """
    low = np.asarray(better, float)
    high = np.asarray(worse, float)
    if low.ndim != 1 or low.shape != high.shape or not np.isfinite([low, high]).all():
        raise ValueError(
            "Paired arms need one finite error for each of the same seeds, got "
            f"{low.tolist()} and {high.tolist()}."
        )
    n = len(low)
    if n < 2:  # one seed has no spread to compare with
        return "tie"
    gap = high - low
    error = gap.std(ddof=1) / math.sqrt(n)
    if not abs(gap.mean()) > scipy.special.stdtrit(n - 1, 0.975) * error:
        return "tie"
    return "paper" if gap.mean() > 0 else "opposite"


def graded(seen: str, at_scale: bool) -> str:
    """The verdict on a `direction`.

    Parameters
    ----------
    seen : {"paper", "opposite", "tie"}
        The direction.
    at_scale : bool
        Whether it was tested at the paper's own scale.

    Returns
    -------
    str
        One of VERDICTS.
    """
    if seen == "paper":
        return "reproduced" if at_scale else "same direction"
    if seen == "opposite":
        return "contradicted" if at_scale else "not seen at this scale"
    return "tie"
