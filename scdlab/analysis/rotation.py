"""The error of an energy under rotation: how much it varies while the molecule rotates.

x(φ) = R(φ) (x − c) + c        rotated about a fixed axis through c        `rotated`
E(φ) = E(x(φ)),  φ = 0 … 360°                                              `turn_energies`
error = max_φ E − min_φ E      0 for an invariant energy                   `rotation_error`
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

AXIS = np.array([1.0, 2.0, 3.0]) / 14**0.5  # of the rotation: skew to every bond, one hopes
STEP = 15  # degrees between two points of a full rotation


def rotated(pos: ArrayLike, degrees: float, about: ArrayLike) -> np.ndarray:
    """Positions rotated around the axis (1, 2, 3) through a point.

    Parameters
    ----------
    pos : array_like
        Positions [..., n, 3] in Å.
    degrees : float
        The angle. Whole rotations leave the positions as they are, to the last bit.
    about : array_like
        The point [3] in Å.

    Returns
    -------
    numpy.ndarray
        Positions of the same shape.
    """
    x = np.asarray(pos, float)
    if not degrees % 360:
        return x
    center = np.asarray(about, float)
    return (x - center) @ Rotation.from_rotvec(degrees * AXIS, degrees=True).as_matrix().T + center


def turn_angles(step: int = STEP) -> np.ndarray:
    """The angles of a full rotation, both ends included.

    Parameters
    ----------
    step : int, default 15
        Degrees between two of them; it divides 360.

    Returns
    -------
    numpy.ndarray
        Angles [360 / step + 1] in degrees.
    """
    return np.arange(0, 361, step)


def turn_energies(
    energy: Callable[[np.ndarray], np.ndarray], pos: ArrayLike, about: ArrayLike, step: int = STEP
) -> np.ndarray:
    """The energy of a molecule in a full rotation.

    Parameters
    ----------
    energy : callable
        Energies [m] in eV of positions [m, n, 3] in Å.
    pos : array_like
        Positions [n, 3] in Å.
    about : array_like
        The point [3] in Å that stays in place.
    step : int, default 15
        Degrees between two points.

    Returns
    -------
    numpy.ndarray
        Energies at `turn_angles(step)` in eV; the last is the first.
    """
    around = np.stack([rotated(pos, angle, about) for angle in turn_angles(step)[:-1]])
    e = energy(around)
    return np.append(e, e[0])


def rotation_error(energies: np.ndarray) -> float:
    """The highest minus the lowest energy of a full rotation.

    Parameters
    ----------
    energies : numpy.ndarray
        Energies [m] in eV.

    Returns
    -------
    float
        The difference in eV; NaN where an energy is NaN.
    """
    return float(np.ptp(energies))
