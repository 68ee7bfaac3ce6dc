"""Checks of the exercises of lesson 06: every method on one molecule."""

import math
from collections.abc import Callable
from typing import Any

import torch

from scdlab.lessons.checks import Wrong, call, check, number_from


@check
def check_interval(answer: Callable[..., Any]) -> str:
    """Check half the width of an interval with a promise.

    Parameters
    ----------
    answer : callable
        A function (residuals [n], miss) -> the ⌈(n + 1)(1 − miss)⌉-th smallest absolute residual,
        infinite where n is too small.
    """
    generator = torch.Generator().manual_seed(21)
    residuals = torch.randn(94, generator=generator, dtype=torch.float64)
    untouched = residuals.clone()
    sizes = residuals.abs().sort().values

    def right(r: torch.Tensor, miss: float) -> float:
        rank = math.ceil((len(r) + 1) * (1 - miss) - 1e-9)
        return float(r.abs().sort().values[rank - 1]) if rank <= len(r) else math.inf

    found = _width(answer, residuals, 0.1)
    if not torch.equal(residuals, untouched):
        raise Wrong("You change the residuals in place, and they are still needed. Work on a copy.")
    if abs(found - float(sizes[84])) < 1e-6:
        raise Wrong(
            "This is the 85th of 94, a place too low: the new molecule counts as well, so the rank "
            "is taken of n + 1."
        )
    if abs(found - float(sizes[86])) < 1e-6:
        raise Wrong(
            "This is the 87th of 94, a place too high. Indices start at 0: the 86th has the index "
            "85."
        )
    signed = residuals.sort().values
    if any(abs(found - float(signed[k])) < 1e-6 for k in (84, 85, 86)):
        raise Wrong(
            "You sort the residuals with their signs. An interval misses on both sides, so their "
            "sizes count."
        )
    if abs(found - 1.645 * float(residuals.std())) < 0.05:
        raise Wrong(
            "You assume that residuals follow a Gaussian. The ranks promise the same without that."
        )
    if abs(found - float(sizes[9])) < 1e-6:
        raise Wrong(
            "This interval holds one molecule in ten: 0.1 is the share that may lie outside."
        )
    if abs(found - right(residuals, 0.1)) > 1e-6:
        raise Wrong(
            f"Of 94 residuals and a share of 0.1 the 86th smallest is {right(residuals, 0.1):.3f}, "
            f"and your function gives {found:.3f}."
        )
    if _width(answer, residuals[:5], 0.1) != math.inf:
        raise Wrong(
            "Five residuals cannot promise nine in ten: the rank is 6, which none of them has. The "
            "honest answer is math.inf."
        )
    if abs(_width(answer, residuals[:9], 0.1) - right(residuals[:9], 0.1)) > 1e-6:
        raise Wrong(
            "Nine residuals can just promise nine in ten: the rank is 9, which the largest of them "
            "has."
        )
    if abs(_width(answer, residuals[:19], 0.25) - right(residuals[:19], 0.25)) > 1e-6:
        raise Wrong("Right for 94 and 0.1, but not for 19 residuals and a share of 0.25.")
    return "The 86th of 94, with no word on what the network is or how errors are distributed."


def _width(answer: Callable[..., Any], residuals: torch.Tensor, miss: float) -> float:
    """A width from the reader's function, which may be infinite."""
    result = call(answer, residuals, miss)
    try:
        if math.isinf(result):
            return float(result)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass  # no number at all: explained below
    return number_from(result)


def _number(answer: Callable[..., Any], *inputs: Any) -> float:
    """A finite number from the reader's function."""
    result = call(answer, *inputs)
    if hasattr(result, "statistic"):
        raise Wrong("This is a result of scipy with two numbers; return its .statistic.")
    return number_from(result)


@check
def check_rank_correlation(answer: Callable[..., Any]) -> str:
    """Check the correlation of ranks.

    Parameters
    ----------
    answer : callable
        A function (a [n], b [n]) -> the correlation of their ranks, without ties.
    """
    generator = torch.Generator().manual_seed(22)
    a = torch.rand(12, generator=generator, dtype=torch.float64)
    b = a**2 + 0.3 * torch.rand(12, generator=generator, dtype=torch.float64)
    if _number(answer, a, a**9) < 0.999:
        plain = float(torch.corrcoef(torch.stack([a, a**9]))[0, 1])
        if abs(_number(answer, a, a**9) - plain) < 1e-6:
            raise Wrong(
                "This correlates the numbers. For a and a⁹, which have one order, ranks give "
                f"exactly 1, and the numbers {plain:.2f}: one large value decides."
            )
        raise Wrong("For a and a⁹, which have one order, the answer should be exactly 1.")
    orders = torch.stack([a.argsort().double(), (-a).argsort().double()])
    opposite = _number(answer, a, -a)
    if abs(opposite - float(torch.corrcoef(orders)[0, 1])) < 1e-6:
        raise Wrong(
            "argsort gives which element comes first, not the rank of each element. Applied "
            "twice, it gives the ranks."
        )
    if abs(opposite + 1) > 1e-6:
        raise Wrong("For a and −a, in opposite order, the answer should be −1.")

    def ranks(x: torch.Tensor) -> torch.Tensor:
        return x.argsort().argsort().double()

    right = float(torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1])
    found = _number(answer, a, b)
    if abs(found - right) > 1e-6:
        raise Wrong(
            f"For two sets of twelve numbers the ranks correlate by {right:.3f}, yours {found:.3f}."
        )
    return "1 wherever the order is the same, however uneven the steps."
