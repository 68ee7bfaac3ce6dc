"""Checks of the exercises of lesson 01b: tables of filters."""

from collections.abc import Callable
from typing import Any

import torch

from scdlab.lessons.checks import Wrong, call, check, number_from, tensor_from


@check
def check_look_up(answer: Callable[..., Any]) -> str:
    """Check a table that is read with straight lines.

    Parameters
    ----------
    answer : callable
        A function (values [K, d] at r = 0, h, 2h, …; r [P]; h) -> values at r [P, d].
    """
    values = torch.randn(
        6, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    ).cumsum(0)
    h = 0.4
    r = torch.tensor([0.1, 0.38, 0.5, 1.13, 1.9, 0.8, 0.0], dtype=torch.float64)
    found = tensor_from(answer, values, r, h, shape=(7, 2))
    k = (r / h + 1e-9).floor().long()
    u = (r / h - k)[:, None]
    after = values[(k + 1).clamp(max=5)]
    right = (1 - u) * values[k] + u * after
    if torch.allclose(found, right, atol=1e-6):
        return "Straight lines through the nodes, exact at each of them."
    if torch.allclose(found, values[(r / h).round().long()], atol=1e-6):
        raise Wrong("That is the nearest node: a table of steps. Join the nodes by straight lines.")
    if torch.allclose(found, values[k], atol=1e-6):
        raise Wrong("That is the node below: a table of steps. Join the nodes by straight lines.")
    if torch.allclose(found, u * values[k] + (1 - u) * after, atol=1e-6):
        raise Wrong(
            "The two weights are exchanged: close above a node, that node should count most."
        )
    if torch.allclose(found, 0.5 * (values[k] + after), atol=1e-6):
        raise Wrong("You take the middle of the two nodes, wherever r lies between them.")
    off = (found[3] - right[3]).abs().max().item()
    raise Wrong(
        f"At r = 1.13 with h = 0.4 you are off by {off:.3g}: 1.13 lies between the nodes 2 (0.8) "
        "and 3 (1.2)."
    )


@check
def check_power(answer: Callable[..., Any]) -> str:
    """Check the power of the spacing in the error of a derivative.

    Parameters
    ----------
    answer : callable
        A function m -> 4 - m.
    """
    found = [number_from(call(answer, m)) for m in (0, 1, 2)]
    if found == [4, 3, 2]:
        return "4 − m: each derivative by r is one by u, divided by h."
    if found[0] != 4:
        raise Wrong(f"The value itself (m = 0) errs as h⁴; yours says the power {found[0]:g}.")
    if found == [4, 4, 4]:
        raise Wrong("By u the derivative has no h, but u = (r − r_k)/h: what is du/dr?")
    if found[1] > 4:
        raise Wrong("Derivatives are less exact than values: du/dr = 1/h divides.")
    raise Wrong(
        f"For the slope (m = 1) you say the power {found[1]:g}, for the curvature {found[2]:g}: "
        "each derivative brings one factor du/dr = 1/h."
    )
