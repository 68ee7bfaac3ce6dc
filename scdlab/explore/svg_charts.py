"""Charts as svg text: filters, bars, colored cells and polar curves."""

import functools
from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import ArrayLike
from plotly.colors import sample_colorscale

from scdlab.analysis.inputs import array
from scdlab.explore import style
from scdlab.explore.svg import arrow_outline, corners, document, line, text

_LEVELS = 40  # steps of color
_SIGNS = ((1, style.BLUE, ""), (-1, style.ORANGE, ' stroke-dasharray="4 2"'))
_POINTER = ((0, 0), (9, 4), (9, 0.7))  # the outline of the axis's arrow, in pixels
_HALO = '<text paint-order="stroke" stroke="white" stroke-width="5" '


def filter_rings(r: ArrayLike, values: ArrayLike, title: str = "", size: int = 320) -> str:
    """A filter around an atom: blue is positive, red negative, pale is near zero.

    Parameters
    ----------
    r : array_like
        Distances [R] in Å.
    values : array_like
        The filter [R] there.
    title : str, optional
        A line above.
    size : int, default 320
        Width and height in pixels.

    Returns
    -------
    str
        The picture as svg text.
    """
    r = array(r)
    values = array(values)
    strongest = np.abs(values).max() or 1.0
    body = [text(size / 2, 14, title)]
    scale = (size / 2 - 30) / r.max()
    # large discs first
    for radius, value in sorted(zip(r, values, strict=True), reverse=True)[:-1]:
        pale = 255 - round(200 * abs(value) / strongest)
        color = f"rgb({pale},{pale},255)" if value > 0 else f"rgb(255,{pale},{pale})"
        body.append(
            f'<circle cx="{size / 2}" cy="{size / 2 + 10}" r="{radius * scale:.1f}" '
            f'fill="{color}"/>'
        )
    body.append(f'<circle cx="{size / 2}" cy="{size / 2 + 10}" r="4"/>')
    body.append(text(size / 2, size - 2, f"W up to {strongest:.2g}, out to {r.max():g} Å"))
    return document(size, size, body)


def bars(
    names: Sequence[str],
    values: ArrayLike,
    errors: ArrayLike,
    title: str = "",
    label: str = "",
    strong: int | None = None,
    mark: tuple[float, str] | None = None,
    notes: Sequence[str] = (),
    width: float = 520,
    left: float = 58,
) -> str:
    """Horizontal bars from zero, one a name, each with its error bar and its number behind it.

    Parameters
    ----------
    names : sequence of str
        Names [n].
    values, errors : array_like
        Bars and half-lengths of the error bars [n]; NaN for a bar without one.
    title : str, optional
        A line above.
    label : str, optional
        What the axis shows, with its unit.
    strong : int, optional
        The bar that is drawn in color, the others being gray.
    mark : (float, str), optional
        Value and words of a dashed line, drawn if the axis reaches so far.
    notes : sequence of str, optional
        A heading, and a few words for each bar below it, at the right.
    width : float, default 520
        In pixels.
    left : float, default 58
        Room for the names, in pixels.

    Returns
    -------
    str
        The picture as svg text.
    """
    values = array(values)
    errors = array(errors)
    top = 32
    pitch = 27
    room = width - left - 92 - (110 if notes else 0)  # pixels of the axis; numbers stand behind it
    ticks = ticks_from_zero(float((values + np.nan_to_num(errors)).max()))
    mark = mark if mark is not None and mark[0] <= ticks[-1] else None
    scale = room / ticks[-1]  # pixels per unit
    bottom = top + pitch * len(values)
    body = [text(8, 16, title, "start")]
    if mark:  # under the numbers
        x = left + scale * mark[0]
        body.append(line(x, top - 4, x, bottom, style.VERMILION, 'stroke-dasharray="4 3"'))
    for tick in ticks:
        x = left + scale * tick
        body.append(line(x, top - 4, x, bottom, style.LIGHT))
        body.append(text(x, bottom + 15, f"{tick:g}"))
    for k, (name, value, error) in enumerate(zip(names, values, errors, strict=True)):
        y = top + pitch * k
        color = style.GREEN if k == strong else "#BDBDBD"
        body.append(text(left - 8, y + 14, name, "end"))
        body += _bar(left, y, value, error, scale, color)
    body.append(line(left, top - 4, left, bottom))
    body += [
        text(width - 8, 16 if k == 0 else top + pitch * k - 13, words, "end")
        for k, words in enumerate(notes)
    ]
    if mark:
        x = left + scale * mark[0]
        body.append(text(x, bottom + 31, mark[1], "end" if mark[0] > ticks[-1] / 2 else "start"))
    body.append(text(left, bottom + (47 if mark else 31), label, "start"))
    words = ", ".join(
        f"{name} {_with_error(value, error)}"
        for name, value, error in zip(names, values, errors, strict=True)
    )
    return document(width, bottom + (54 if mark else 38), body, f"{title}: {words} ({label})")


def heat_map(
    values: ArrayLike,
    rows: Sequence[str],
    title: str = "",
    label: str = "",
    middle: float = 0.0,
    reach: float = 1.0,
    ends: tuple[str, str] = ("", ""),
    width: float = 520,
    left: float = 58,
) -> str:
    """Numbers as colored cells, and the scale of the colors below: white is `middle`, red below,
    blue above.

    Parameters
    ----------
    values : array_like
        Numbers [r, c].
    rows : sequence of str
        Names [r] at the left.
    title : str, optional
        A line above.
    label : str, optional
        What the columns are.
    middle : float, default 0.0
        What white stands for.
    reach : float, default 1.0
        Where the colors end, as a distance from `middle`; what lies beyond has the last color.
    ends : (str, str), default empty
        Words for the two ends of the scale.
    width : float, default 520
        In pixels.
    left : float, default 58
        Room for the names, in pixels.

    Returns
    -------
    str
        The picture as svg text.
    """
    values = array(values)
    top = 26
    tall = 26 if len(values) <= 4 else 16
    wide = (width - left - 12) / values.shape[1]
    bottom = top + tall * len(values)
    level = np.rint(_LEVELS * np.clip((values - middle) / (2 * reach) + 0.5, 0.0, 1.0)).astype(int)
    body = [text(8, 16, title, "start")]
    for k in np.unique(level):  # a path per color is a tenth of a rectangle per cell
        cells = "".join(
            f"M{left + wide * c:.1f},{top + tall * r}h{wide:.1f}v{tall}h-{wide:.1f}z"
            for r, c in zip(*np.nonzero(level == k), strict=True)
        )
        body.append(f'<path d="{cells}" fill="{_level_color(k)}"/>')
    body += [text(left - 8, top + tall * (k + 0.5) + 4, name, "end") for k, name in enumerate(rows)]
    side = f'width="{width - left - 12}" height="{bottom - top}" fill="none" stroke="{style.GRAY}"'
    body.append(f'<rect x="{left}" y="{top}" {side}/>')
    body.append(text((left + width - 12) / 2, bottom + 15, label))
    x0 = width / 2 - 80
    y0 = bottom + 26
    long = 160
    step = long / (_LEVELS + 1)
    body += [
        f'<rect x="{x0 + k * step:.1f}" y="{y0}" width="{step + 0.3:.1f}" height="11" '
        f'fill="{_level_color(k)}"/>'
        for k in range(_LEVELS + 1)
    ]
    body += [
        text(x0 + long * k / 2, y0 + 25, f"{middle + (k - 1) * reach:.3g}".replace("-", "−"))
        for k in range(3)
    ]
    body.append(text(x0 - 8, y0 + 10, ends[0], "end"))
    body.append(text(x0 + long + 8, y0 + 10, ends[1], "start"))
    about = f"{title}: from {values.min():.2f} to {values.max():.2f}"
    return document(width, y0 + 32, body, about)


def polar_plot(
    values: ArrayLike,
    heads: Sequence[str],
    notes: Sequence[Sequence[str]],
    turn: float,
    title: str = "",
    faint: Container[int] = (),
    width: float = 520,
) -> str:
    """Functions of the angle from an axis as polar curves side by side: where one is positive, and
    (dashed) negative.

    Parameters
    ----------
    values : array_like
        Functions [k, n] at n even steps of a full circle that starts on the axis; each is drawn as
        large as the room allows.
    heads : sequence of str
        Words [k] above each.
    notes : sequence of sequence of str
        Lines of text [k] below each.
    turn : float
        The axis's angle in the picture, in radians from the right, counterclockwise.
    title : str, optional
        A line above.
    faint : container of int, optional
        Indices of those that are drawn pale.
    width : float, default 520
        In pixels.

    Returns
    -------
    str
        The picture as svg text.
    """
    values = array(values)
    wide = width / len(values)
    radius = wide / 2 - 14
    middle = 42 + wide / 2
    angle = turn + np.linspace(0, 2 * np.pi, values.shape[1], endpoint=False)
    along = np.stack([np.cos(angle), -np.sin(angle)], axis=1)  # [n, 2]
    body = [text(8, 16, title, "start")]
    for k, row in enumerate(values):
        x = wide * (k + 0.5)
        shape = []
        for sign, color, dash in _SIGNS:
            long = radius * np.maximum(sign * row, 0) / (np.abs(row).max() or 1.0)
            if long.max() > 1e-6:
                outline = (long[:, None] * along + [x, middle]).round(1)
                differs = np.any(outline != np.roll(outline, 1, 0), 1)
                path = " ".join(f"{a},{b}" for a, b in outline[differs].tolist())
                look = f'fill="{color}" fill-opacity="0.55" stroke="{color}" stroke-width="1.5"'
                shape.append(f'<polygon points="{path}" {look}{dash}/>')
        tail = [x, middle] + (-radius - 6) * along[0]
        tip = [x, middle] + (radius + 9) * along[0]
        glyph = corners(arrow_outline(_POINTER, tail, tip, 2 * radius + 15, 1.0))
        shape.append(f'<polygon points="{glyph}" fill="{style.INK}"/>')
        body.append(f'<g class="lobe" opacity="{0.3 if k in faint else 1}">{"".join(shape)}</g>')
        body.append(text(x, 38, heads[k]))
        body += [
            text(x, middle + radius + 26 + 15 * row_of_text, words)
            for row_of_text, words in enumerate(notes[k])
        ]
    y = middle + radius + 24 + 15 * max(map(len, notes))
    for x, (_, color, dash), words in zip((14, 110), _SIGNS, ("positive", "negative"), strict=True):
        look = f'fill="{color}" fill-opacity="0.55" stroke="{color}" stroke-width="1.5"{dash}'
        body.append(f'<rect x="{x}" y="{y}" width="22" height="12" {look}/>')
        body.append(text(x + 28, y + 10, words, "start"))
    about = "; ".join(f"{head}: {', '.join(note)}" for head, note in zip(heads, notes, strict=True))
    return document(width, y + 20, body, f"{title}: {about}")


def _bar(left: float, y: float, value: float, error: float, scale: float, color: str) -> list[str]:
    """A bar from `left`, its error bar, and its number behind; `scale` in pixels per unit."""
    half = float(np.nan_to_num(error))
    low = left + scale * max(0.0, value - half)
    high = left + scale * (value + half)
    number_x = max(high, left + scale * value) + 6
    number = text(number_x, y + 14, _with_error(value, error), "start")
    whiskers = [
        line(low, y + 9.5, high, y + 9.5),
        line(low, y + 5, low, y + 14),
        line(high, y + 5, high, y + 14),
    ]
    return [
        f'<rect x="{left}" y="{y}" width="{scale * value:.1f}" height="19" fill="{color}"/>',
        *(whiskers if np.isfinite(error) else []),
        number.replace("<text ", _HALO, 1),
    ]


def _with_error(value: float, error: float) -> str:
    """A number, with its error where it has one."""
    return f"{value:.1f} ± {error:.1f}" if np.isfinite(error) else f"{value:.1f}"


def ticks_from_zero(highest: float) -> list[float]:
    """Round numbers from 0 to the first that is not below `highest`, four to seven of them.

    Parameters
    ----------
    highest : float
        The largest number on the axis.

    Returns
    -------
    list of float
        The ticks.
    """
    power = 10.0 ** np.floor(np.log10(highest)) if highest > 0 else 1.0
    step = next(m * power for m in (0.2, 0.25, 0.5, 1, 2, 2.5) if m * power * 6 >= highest)
    return [step * k for k in range(max(2, int(np.ceil(highest / step - 1e-9)) + 1))]


@functools.cache  # plotly looks a scale up among all that it has, which takes a millisecond
def _level_color(k: int) -> str:
    return str(sample_colorscale(style.DIVERGING, [k / _LEVELS])[0]).replace(" ", "")
