"""Curves over a coordinate as svg text."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scdlab.explore import style
from scdlab.explore.svg import document, line, text


def curve_chart(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    mark: float,
    dots: Mapping[str, float],
    looks: Mapping[str, tuple[str, str, str, float]],
    x_label: str,
    y_label: str,
    title: str = "",
    low: float = 0.0,
    high: float = 1.0,
    width: float = 470,
) -> str:
    """Curves over one coordinate, and a line at the present place with a dot of each curve.

    Parameters
    ----------
    curves : mapping
        Name -> (x [m], y [m]); NaN are left out, and a curve without a number is named as such in
        the legend.
    mark : float
        The present place, an x.
    dots : mapping
        Name -> the y of its dot there, or NaN.
    looks : mapping
        Name -> (legend, color, dashes, width of the line).
    x_label, y_label : str
        What the axes show, with their units.
    title : str, optional
        A line above.
    low, high : float, default 0.0, 1.0
        The ends of the x axis.
    width : float, default 470
        In pixels.

    Returns
    -------
    str
        The picture as svg text.
    """
    tall = 262
    left = 62
    top = 46
    right = width - 12
    bottom = tall - 42
    heights = [*(y for _, y in curves.values()), np.array(list(dots.values()), float)]
    y_ticks = round_ticks(*_finite_range(np.concatenate(heights)))

    def across(x: Any) -> Any:  # numbers or arrays -> pixels
        return left + (x - low) / (high - low) * (right - left)

    def up(y: Any) -> Any:
        return bottom - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - top)

    body = [text(8, 16, title, "start")]
    body += _height_lines({up(tick): tick for tick in y_ticks}, left, right)
    body += _tick_marks({across(tick): tick for tick in _ticks_within(low, high)}, bottom)
    body.append(line(left, bottom, right, bottom) + line(left, top, left, bottom))
    body.append(text((left + right) / 2, bottom + 35, x_label))
    turn = f'transform="rotate(-90 14 {(top + bottom) / 2:.0f})" '
    body.append(text(14, (top + bottom) / 2, y_label).replace("<text ", f"<text {turn}", 1))
    thin = 'stroke-width="1" opacity="0.5"'
    body.append(line(across(mark), top, across(mark), bottom, style.INK, thin))
    x0: float = left
    for name, (x, y) in curves.items():
        legend, color, dash, thick = looks[name]
        look = f'fill="none" stroke="{color}" stroke-width="{thick}" stroke-dasharray="{dash}"'
        path = _path(across(x), up(y))
        body.append(f'<path class="{name}" d="{path}" {look}/>')
        body.append(f'<line x1="{x0}" y1="32" x2="{x0 + 24}" y2="32" {look}/>')
        legend = legend if path else f"{legend}: none"
        body.append(text(x0 + 29, 36, legend, "start"))
        x0 += 49 + 6.6 * len(legend)
    for name, y in dots.items():
        if np.isfinite(y):
            spot = f'cx="{across(mark):.1f}" cy="{up(y):.1f}" r="4.5" fill="{looks[name][1]}"'
            body.append(f'<circle class="here {name}" {spot} stroke="white"/>')
    return document(width, tall, body, f"{title}: {y_label} against {x_label}")


def _finite_range(values: np.ndarray) -> tuple[float, float]:
    """The ends of the values that are finite; 0 and 1 if none is."""
    known = values[np.isfinite(values)]
    return (known.min(), known.max()) if len(known) else (0.0, 1.0)


def _ticks_within(low: float, high: float) -> list[float]:
    """Round numbers from low to high; quarters of a full turn in degrees."""
    ticks = (0, 90, 180, 270, 360) if (low, high) == (0, 360) else round_ticks(low, high)
    return [tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9]


def _height_lines(ticks: Mapping[float, float], left: float, right: float) -> list[str]:
    """Lines across at some heights in pixels, each with its number at the left."""
    body = []
    for y, tick in ticks.items():
        body.append(line(left, y, right, y, style.LIGHT))
        body.append(text(left - 6, y + 4, f"{tick:.6g}".replace("-", "−"), "end"))
    return body


def _tick_marks(ticks: Mapping[float, float], bottom: float) -> list[str]:
    """Short lines below an axis at some places in pixels, each with its number."""
    body = []
    for x, tick in ticks.items():
        body.append(line(x, bottom, x, bottom + 4))
        body.append(text(x, bottom + 17, f"{tick:.6g}".replace("-", "−")))
    return body


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """The path of a curve through points [m] in pixels, broken where y is NaN."""
    parts = []
    run = False
    for a, b in zip(x, y, strict=True):
        if np.isfinite(b):
            parts.append(f"{'L' if run else 'M'}{a:.1f},{b:.1f}")
        run = bool(np.isfinite(b))
    return "".join(parts)


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers from one not above low to one not below high, four to eight of them.

    Parameters
    ----------
    low, high : float
        The ends of the axis.

    Returns
    -------
    list of float
        The ticks.
    """
    span = max(high - low, 1e-3)
    power = 10.0 ** np.floor(np.log10(span / 5))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if span / (m * power) <= 6)
    first = np.floor(low / step + 1e-9)
    last = np.ceil(high / step - 1e-9)
    return [round(step * k, 9) + 0.0 for k in np.arange(first, max(last, first + 1) + 1)]
