"""The energies of the frame explorer as curves: along the path of an atom, and in a rotation."""

from collections.abc import Mapping

import numpy as np

from scdlab.analysis.rotation import turn_angles
from scdlab.analysis.scan import Path
from scdlab.explore import style, svg_curves
from scdlab.explore.frame_pictures import METHODS
from scdlab.explore.style import PLOTS_WIDTH


def path_chart(
    path: Path,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    dots: Mapping[str, float],
    moved: float,
    title: str,
) -> str:
    """Energies along a path, relative to those of the molecule as given.

    Parameters
    ----------
    path : Path
        The path.
    curves : mapping
        Name of a method -> (t [m] in Å along the path, energies [m] in eV).
    dots : mapping
        Name -> the energy in eV of the structure that is shown.
    moved : float
        Where on the path it is, t in Å.
    title : str
        A line above.

    Returns
    -------
    str
        The picture as svg text.
    """
    zero = {name: _first(e[np.abs(t).argmin()], e) for name, (t, e) in curves.items()}
    read = {name: (path.read(t), e) for name, (t, e) in curves.items()}
    x_label = style.label(path.what, path.unit)
    low, high = sorted(path.read([path.low, path.high]))
    return _chart(read, zero, dots, float(path.read(moved)), x_label, title, low, high)


def turn_chart(
    turns: Mapping[str, np.ndarray], dots: Mapping[str, float], rotation: float, title: str
) -> str:
    """Energies in a full rotation, relative to those at its start.

    Parameters
    ----------
    turns : mapping
        Name of a method -> energies [m] in eV at even steps from 0 to 360 degrees.
    dots : mapping
        Name -> the energy in eV of the structure that is shown.
    rotation : float
        Its rotation in degrees.
    title : str
        A line above.

    Returns
    -------
    str
        The picture as svg text.
    """
    zero = {name: e[0] for name, e in turns.items()}
    curves = {name: (turn_angles(360 // (len(e) - 1)), e) for name, e in turns.items()}
    x_label = style.label("rotation", "°")
    return _chart(curves, zero, dots, rotation, x_label, title, 0, 360)


def _chart(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    zero: Mapping[str, float],
    dots: Mapping[str, float],
    mark: float,
    x_label: str,
    title: str,
    low: float,
    high: float,
) -> str:
    """Curves and dots in eV above `zero`, in meV."""
    above = {name: (x, 1000 * (e - zero[name])) for name, (x, e) in curves.items()}
    here = {name: 1000 * (e - zero[name]) for name, e in dots.items()}
    y_label = style.label("energy, relative", "meV")
    return svg_curves.curve_chart(
        above, mark, here, METHODS, x_label, y_label, title, low, high, width=PLOTS_WIDTH
    )


def _first(value: float, others: np.ndarray) -> float:
    """A number to subtract: `value`, or the first of the others where that is NaN; 0 where all
    are."""
    finite = [each for each in (value, *others) if np.isfinite(each)]
    return float(finite[0]) if finite else 0.0
