"""Where an atom may have been before noise moved it, given the force that it felt there.

Noise of a size around σ could have brought the atom to the place where a network sees it from any
place of a ball. A force F, known to within δF, keeps only those places x with |F(x) - F| < δF. To
first order F(x + δ) = F(x) - K δ with the stiffness matrix K (the Hessian of the energy), so along
an axis of K with stiffness k what is kept is about

    |δ| < δF/|k|                                  `width`

wide: nothing of a soft direction is excluded by a tolerance that fixes a stiff one. Where K is
regular and δF goes to zero, a point is left.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHAPES = ("ball", "disc", "needle", "point")


def width(force_here: Any, force_there: Any, step: float, tolerance: float) -> Any:
    """How far an atom can move along an axis before its force changes by a tolerance.

    Parameters
    ----------
    force_here, force_there : float, numpy.ndarray or Tensor
        The force along the axis, eV/Å: at a place, and `step` further along the axis.
    step : float
        In Å.
    tolerance : float
        δF, eV/Å.

    Returns
    -------
    float, numpy.ndarray or Tensor
        δF/|k| in Å, with k = -(force_there - force_here)/step.
    """
    stiffness = abs(force_there - force_here) / step  # |k|, eV/Å²
    return tolerance / stiffness


def kept_places(
    forces_at: Callable[[Tensor], Tensor],
    truth: Tensor,
    picture: Tensor,
    axes: Tensor,
    radius: float,
    tolerance: float | None = None,
    widths: Tensor | None = None,
    n: int = 3000,
    seed: int = 0,
) -> Tensor:
    """Places of a ball around the picture whose force agrees with the true one.

    They are drawn evenly from a box around the true place, one and a half widths to each side where
    that is less than the ball, so that a small tolerance keeps enough of them.

    Parameters
    ----------
    forces_at : callable
        Places [m, 3] -> forces [m, 3] in eV/Å.
    truth, picture : Tensor
        Where the atom was and where it is seen, [3] Å.
    axes : Tensor
        Unit vectors [3, 3], one a column.
    radius : float
        Of the ball, Å.
    tolerance : float, optional
        δF in eV/Å; by default all places are kept.
    widths : Tensor, optional
        About how far the tolerance lets the atom move along each axis, [3] Å; needed with a
        tolerance.
    n : int, default 3000
        How many places are drawn.
    seed : int, default 0
        Which.

    Returns
    -------
    Tensor
        [m, 3] Å along the axes, from the true place.

    Raises
    ------
    ValueError
        For a tolerance without widths.
    """
    reach = (axes.T @ (picture - truth)).abs() + radius  # (3) Å, to the far side of the ball
    if tolerance is not None:
        if widths is None:
            raise ValueError("A tolerance needs widths, how far it lets the atom move; give both.")
        reach = torch.minimum(reach, 1.5 * widths.to(reach.dtype))
    generator = torch.Generator().manual_seed(seed)
    steps = reach * (2 * torch.rand(n, 3, generator=generator, dtype=reach.dtype) - 1)
    places = truth + steps @ axes.T
    kept = (places - picture).norm(dim=1) < radius
    steps = steps[kept]
    if tolerance is None or not len(steps):
        return steps
    target = forces_at(truth.unsqueeze(0))[0]
    forces = torch.cat([forces_at(some) for some in places[kept].split(200)])
    return steps[(forces - target).norm(dim=1) < tolerance]


def shape_of(steps: Tensor, ball: Tensor) -> str:
    """The shape of a set of places, by the number of directions in which it is thin.

    Parameters
    ----------
    steps : Tensor
        The places [m, 3].
    ball : Tensor
        Those of the whole ball.

    Returns
    -------
    str
        One of SHAPES: thin, with less than a quarter of the ball's spread, in none, one, two or
        all three directions.

    Raises
    ------
    ValueError
        For fewer than two places.
    """
    if len(steps) < 2:
        raise ValueError(
            f"A shape needs two places at least, got {len(steps)}; draw more, or allow more."
        )
    thin = steps.std(dim=0, correction=0) < ball.std(dim=0, correction=0) / 4
    return SHAPES[int(thin.sum())]


def spreads(steps: Tensor) -> np.ndarray:
    """Standard deviation along each axis.

    Parameters
    ----------
    steps : Tensor
        Places [m, 3].

    Returns
    -------
    numpy.ndarray
        [3].
    """
    return steps.std(dim=0, correction=0).numpy()
