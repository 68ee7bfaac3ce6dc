"""Small still pictures as svg text: what a widget shows where no kernel runs, such as a code host's
preview."""

import re
import textwrap

import ase
import numpy as np
from plotly.colors import sample_colorscale

from scdlab.analysis.bonds import bonds_of
from scdlab.analysis.inputs import array
from scdlab.explore import style
from scdlab.explore.plots import marker_size

_VIEW = np.array(
    [[-0.71, 0.71, 0.0], [-0.35, -0.35, 0.87], [0.61, 0.61, 0.5]]
)  # rows: right, up, towards the reader


def _document(width: float, height: float, body: list[str], about: str = "") -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" role="img"'
    )
    if about:
        head += f' aria-label="{_plain(about)}"'
    return f'{head} font-family="Helvetica, Arial, sans-serif" font-size="12">{"".join(body)}</svg>'


def _plain(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" '
        f'fill="{style.INK}">{_plain(words)}</text>'
    )


def molecule(
    atoms: ase.Atoms,
    highlight=None,
    center: int | None = None,
    title: str = "",
    size: int = 320,
    arrows: list | tuple = (),
    small: bool = False,
    about: str = "",
    note: str = "",
    marked: list | tuple = (),
) -> str:
    """A molecule seen from the same side as `plots.molecule_figure`; arguments as there, size in
    pixels.

    arrows: kinds of arrows as in the scene of a `MoleculeView`, each with a line in the legend
    below. small: atoms as dots without names, for large structures. about: the picture in words;
    note: a line below it. marked: kinds of marks as in that scene, a ring around each atom.
    """
    middle = atoms.get_positions().mean(0)
    flat = (atoms.get_positions() - middle) @ _VIEW.T  # (n, 3): right, up, depth
    starts = [(np.reshape(kind["start"], (-1, 3)) - middle) @ _VIEW.T for kind in arrows]
    tips = [
        start + np.reshape(kind["step"], (-1, 3)) @ _VIEW.T
        for start, kind in zip(starts, arrows, strict=True)
    ]
    scale = (size / 2 - 30) / max(
        1.5, *(np.abs(ends[:, :2]).max(initial=0) for ends in (flat, *tips))
    )

    def place(points):  # (n, 3) -> (n, 2) pixels
        return np.stack(
            [size / 2 + scale * points[:, 0], size / 2 + 10 - scale * points[:, 1]], axis=1
        )

    (x, y), body = place(flat).T, [_text(size / 2, 14, title)]
    if small:
        body += _dots(atoms.numbers, np.stack([x, y], axis=1), scale)
    else:
        body += _balls(atoms, x, y, flat[:, 2], highlight, center, aside=bool(arrows))
    looks = ('stroke-width="3"', 'stroke-width="1.5" stroke-dasharray="5 3"')
    rings = [f'fill="none" stroke="{mark["color"]}" {looks[mark["lines"]]}' for mark in marked]
    for mark, ring in zip(marked, rings, strict=True):
        for k in mark["atoms"]:
            radius = (4.0 if small else 0.6 * marker_size(atoms.numbers[k])) + 25 * mark["wider"]
            body.append(f'<circle cx="{x[k]:.1f}" cy="{y[k]:.1f}" r="{radius:.1f}" {ring}/>')
    for kind, start, tip in zip(arrows, starts, tips, strict=True):
        long = np.linalg.norm(np.reshape(kind["step"], (-1, 3)), axis=1)
        profile = np.array(kind["profile"]) * min(
            1.0, 55 / scale
        )  # arrows of a tiny molecule are not thicker
        outlines = [
            _arrow(profile, *ends, scale)
            for ends in zip(place(start), place(tip), long, strict=True)
        ]
        path = "".join(
            f"M{' '.join(f'{a:.1f},{b:.1f}' for a, b in outline)}Z" for outline in outlines
        )
        body.append(f'<path d="{path}" fill="{kind["color"]}" stroke="white" stroke-width="0.6"/>')
    for row, kind in enumerate(arrows):
        unit = 1.8 / kind["profile"][-1][1]  # pixels per Å in the legend
        glyph = " ".join(
            f"{a:.1f},{b:.1f}"
            for a, b in _arrow(kind["profile"], (10, 0), (44, 0), 34 / unit, unit)
        )
        body.append(f'<g transform="translate(0 {size + 12 + 18 * row})">')
        body += [
            f'<polygon points="{glyph}" fill="{kind["color"]}"/>',
            _text(52, 4, kind["legend"], "start"),
            "</g>",
        ]
    for row, (mark, ring) in enumerate(zip(marked, rings, strict=True), len(arrows)):
        y0 = size + 12 + 18 * row
        body += [
            f'<circle cx="27" cy="{y0}" r="6" {ring}/>',
            _text(52, y0 + 4, mark["legend"], "start"),
        ]
    rows = len(arrows) + len(marked)
    height = size + 18 * rows + (8 if rows else 0)
    if note:
        lines = textwrap.wrap(note, width=size // 7)
        body += [_text(10, height + 14 * (k + 1), words, "start") for k, words in enumerate(lines)]
        height += 14 * len(lines) + 8
    return _document(size, height, body, about)


def _balls(atoms: ase.Atoms, x, y, depth, highlight, center, aside: bool) -> list[str]:
    shown = (
        np.ones(len(atoms), bool)
        if highlight is None
        else np.isin(np.arange(len(atoms)), highlight)
    )
    body = []
    for i, j in bonds_of(atoms):
        ends = f'x1="{x[i]:.1f}" y1="{y[i]:.1f}" x2="{x[j]:.1f}" y2="{y[j]:.1f}"'
        body.append(f'<line {ends} stroke="{style.GRAY}" stroke-width="5"/>')
    for k in np.argsort(depth):  # far atoms first
        z = atoms.numbers[k]
        ring = k == center
        look = (
            f'fill="{style.element_color(z)}" stroke="{style.INK}" '
            f'stroke-width="{4 if ring else 1}"'
        )
        faded = 1.0 if shown[k] or ring else 0.3
        disc = (
            f'<circle cx="{x[k]:.1f}" cy="{y[k]:.1f}" r="{0.6 * marker_size(z):.1f}" {look} '
            f'opacity="{faded}"/>'
        )
        name = (
            (x[k] - 14, y[k] - 6) if aside else (x[k], y[k] + 4)
        )  # beside the atom, where an arrow starts in it
        body += [disc, _text(*name, f"{style.symbol(z)}{k}")]
    return body


def _dots(z, places, scale: float) -> list[str]:
    """Atoms as one path per element: a line of no length with round ends is a dot."""
    body = []
    width = min(8.0, max(2.0, 0.9 * scale))
    for element in np.unique(z):
        path = "".join(f"M{a:.0f},{b:.0f}h0" for a, b in places[z == element])
        look = (
            f'stroke="{style.element_color(element)}" stroke-width="{width:.1f}" '
            'stroke-linecap="round"'
        )
        body.append(f'<path d="{path}" fill="none" {look}/>')
    return body


def _arrow(profile, start, tip, long: float, scale: float) -> np.ndarray:
    """The outline [m, 2] of an arrow between two places in pixels.

    profile: (distance behind the tip, radius) in Å, scaled down for an arrow whose length in space,
    `long` Å, is not enough for its head; scale: pixels per Å. An arrow that points at the reader is
    drawn shorter, as it is seen.
    """
    start = np.asarray(start, float)
    tip = np.asarray(tip, float)
    axis = tip - start
    seen = np.linalg.norm(tip - start)
    along = axis / seen if seen > 1e-9 else np.array([1.0, 0.0])
    side = np.array([-along[1], along[0]])
    fit = min(1.0, long / (1.5 * profile[-1][0]))
    points = [(fit * back * seen / long, fit * radius * scale) for back, radius in profile]
    points.append((seen, points[-1][1]))
    upper = [tip - back * along + width * side for back, width in points]
    lower = [tip - back * along - width * side for back, width in reversed(points)]
    return np.array(upper + lower)


def filter_rings(r, values, title: str = "", size: int = 320) -> str:
    """A filter around an atom: r [R] in Å, values [R]; blue is positive, red negative, pale is near
    zero."""
    r = array(r)
    values = array(values)
    strongest = np.abs(values).max() or 1.0
    body = [_text(size / 2, 14, title)]
    scale = (size / 2 - 30) / r.max()
    for radius, value in sorted(zip(r, values, strict=True), reverse=True)[
        :-1
    ]:  # large discs first
        pale = 255 - round(200 * abs(value) / strongest)
        color = f"rgb({pale},{pale},255)" if value > 0 else f"rgb(255,{pale},{pale})"
        body.append(
            f'<circle cx="{size / 2}" cy="{size / 2 + 10}" r="{radius * scale:.1f}" '
            f'fill="{color}"/>'
        )
    body.append(f'<circle cx="{size / 2}" cy="{size / 2 + 10}" r="4"/>')
    body.append(_text(size / 2, size - 2, f"W up to {strongest:.2g}, out to {r.max():g} Å"))
    return _document(size, size, body)


def bars(
    names,
    values,
    errors,
    title: str = "",
    label: str = "",
    strong: int | None = None,
    mark=None,
    notes=(),
    width=520,
) -> str:
    """Horizontal bars from zero, one a name, each with its error bar and its number behind it.

    values, errors [n]: bars and half-lengths of the error bars, in the unit that `label`, the axis,
    states; strong: the bar that is drawn in color, the others being gray; mark: (value, words) of a
    dashed line, drawn if the axis reaches so far; notes: a heading, and a few words for each bar
    below it, at the right.
    """
    values = array(values)
    errors = array(errors)
    left = 58
    top = 32
    pitch = 27
    room = width - left - 92 - (110 if notes else 0)  # pixels of the axis; numbers stand behind it
    ticks = _ticks(float((values + errors).max()))
    mark = mark if mark is not None and mark[0] <= ticks[-1] else None
    scale = room / ticks[-1]  # pixels per unit
    bottom = top + pitch * len(values)
    body = [_text(8, 16, title, "start")]
    for tick in ticks:
        x = left + scale * tick
        body.append(_line(x, top - 4, x, bottom, style.LIGHT))
        body.append(_text(x, bottom + 15, f"{tick:g}"))
    for k, (name, value, error) in enumerate(zip(names, values, errors, strict=True)):
        y = top + pitch * k
        color = style.GREEN if k == strong else "#BDBDBD"
        low, high = (left + scale * end for end in (max(0.0, value - error), value + error))
        body.append(_text(left - 8, y + 14, name, "end"))
        body.append(
            f'<rect x="{left}" y="{y}" width="{scale * value:.1f}" height="19" fill="{color}"/>'
        )
        body += [
            _line(low, y + 9.5, high, y + 9.5),
            *(_line(x, y + 5, x, y + 14) for x in (low, high)),
        ]
        told = _text(
            max(high, left + scale * value) + 6, y + 14, f"{value:.1f} ± {error:.1f}", "start"
        )
        body.append(
            told.replace("<text ", '<text paint-order="stroke" stroke="white" stroke-width="5" ', 1)
        )
    body.append(_line(left, top - 4, left, bottom))
    if notes:
        body += [
            _text(width - 8, 16 if k == 0 else top + pitch * k - 13, words, "end")
            for k, words in enumerate(notes)
        ]
    if mark:
        x = left + scale * mark[0]
        body.insert(
            1, _line(x, top - 4, x, bottom, style.VERMILION, 'stroke-dasharray="4 3"')
        )  # under the numbers
        body.append(_text(x, bottom + 31, mark[1], "end" if mark[0] > ticks[-1] / 2 else "start"))
    body.append(_text(left, bottom + (47 if mark else 31), label, "start"))
    told = ", ".join(
        f"{name} {value:.1f} ± {error:.1f}"
        for name, value, error in zip(names, values, errors, strict=True)
    )
    return _document(width, bottom + (54 if mark else 38), body, f"{title}: {told} ({label})")


def heat_map(
    values,
    rows,
    title: str = "",
    label: str = "",
    middle: float = 0.0,
    reach: float = 1.0,
    ends=("", ""),
    width=520,
) -> str:
    """Numbers [r, c] as colored cells, and the scale of the colors below: white is `middle`, red
    below, blue above.

    rows [r]: names at the left; label: what the columns are; reach: where the colors end, as a
    distance from `middle` (what lies beyond has the last color); ends: words for the two ends of
    the scale.
    """
    values = array(values)
    left = 58
    top = 26
    tall = 26 if len(values) <= 4 else 16
    wide = (width - left - 12) / values.shape[1]
    bottom = top + tall * len(values)
    level = np.rint(_LEVELS * np.clip((values - middle) / (2 * reach) + 0.5, 0.0, 1.0)).astype(
        int
    )  # [r, c]
    body = [_text(8, 16, title, "start")]
    for k in np.unique(level):  # a path per color is a tenth of a rectangle per cell
        cells = "".join(
            f"M{left + wide * c:.1f},{top + tall * r}h{wide:.1f}v{tall}h-{wide:.1f}z"
            for r, c in zip(*np.nonzero(level == k), strict=True)
        )
        body.append(f'<path d="{cells}" fill="{_level_color(k)}"/>')
    body += [
        _text(left - 8, top + tall * (k + 0.5) + 4, name, "end") for k, name in enumerate(rows)
    ]
    side = f'width="{width - left - 12}" height="{bottom - top}" fill="none" stroke="{style.GRAY}"'
    body += [
        f'<rect x="{left}" y="{top}" {side}/>',
        _text((left + width - 12) / 2, bottom + 15, label),
    ]
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
        _text(x0 + long * k / 2, y0 + 25, f"{middle + (k - 1) * reach:.3g}".replace("-", "−"))
        for k in range(3)
    ]
    body += [
        _text(x0 - 8, y0 + 10, ends[0], "end"),
        _text(x0 + long + 8, y0 + 10, ends[1], "start"),
    ]
    return _document(
        width, y0 + 32, body, f"{title}: from {values.min():.2f} to {values.max():.2f}"
    )


def lobes(values, heads, notes, turn: float, title: str = "", faint=(), width=520) -> str:
    """Functions of the angle from an axis as polar curves side by side: where one is positive, and
    (dashed) negative.

    values [k, n]: over n even steps of a full turn that starts on the axis; each is drawn as large
    as the room allows. heads [k]: above each; notes [k]: lines of text below each; turn: the axis's
    angle in the picture, in radians from the right, counterclockwise; faint: indices of those that
    are drawn pale.
    """
    values = array(values)
    wide = width / len(values)
    radius = wide / 2 - 14
    middle = 42 + wide / 2
    angle = turn + np.linspace(0, 2 * np.pi, values.shape[1], endpoint=False)
    along = np.stack([np.cos(angle), -np.sin(angle)], axis=1)  # [n, 2]
    body = [_text(8, 16, title, "start")]
    for k, row in enumerate(values):
        x = wide * (k + 0.5)
        shape = []
        for sign, color, dash in _SIGNS:
            long = radius * np.maximum(sign * row, 0) / (np.abs(row).max() or 1.0)
            if long.max() > 1e-6:
                outline = (long[:, None] * along + [x, middle]).round(1)
                path = " ".join(
                    f"{a},{b}"
                    for a, b in outline[np.any(outline != np.roll(outline, 1, 0), 1)].tolist()
                )
                look = f'fill="{color}" fill-opacity="0.55" stroke="{color}" stroke-width="1.5"'
                shape.append(f'<polygon points="{path}" {look}{dash}/>')
        tail, tip = ([x, middle] + length * along[0] for length in (-radius - 6, radius + 9))
        glyph = " ".join(
            f"{a:.1f},{b:.1f}" for a, b in _arrow(_POINTER, tail, tip, 2 * radius + 15, 1.0)
        )
        shape.append(f'<polygon points="{glyph}" fill="{style.INK}"/>')
        body.append(f'<g class="lobe" opacity="{0.3 if k in faint else 1}">{"".join(shape)}</g>')
        body.append(_text(x, 38, heads[k]))
        body += [
            _text(x, middle + radius + 26 + 15 * line, words) for line, words in enumerate(notes[k])
        ]
    y = middle + radius + 24 + 15 * max(map(len, notes))
    for x, (_, color, dash), words in zip((14, 110), _SIGNS, ("positive", "negative"), strict=True):
        look = f'fill="{color}" fill-opacity="0.55" stroke="{color}" stroke-width="1.5"{dash}'
        body += [
            f'<rect x="{x}" y="{y}" width="22" height="12" {look}/>',
            _text(x + 28, y + 10, words, "start"),
        ]
    about = "; ".join(f"{head}: {', '.join(note)}" for head, note in zip(heads, notes, strict=True))
    return _document(width, y + 20, body, f"{title}: {about}")


def below(pictures: list[str], lines: list[str] | tuple = ()) -> str:
    """Pictures one below the other, and lines of text, broken where they are too long, below them:
    as one."""
    body = []
    width = 0.0
    y = 0.0
    for picture in pictures:
        wide, tall = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', picture).groups())
        body.append(
            picture.replace("<svg ", f'<svg y="{y:g}" height="{tall:g}" ', 1)
        )  # a nested one needs both sides
        width = max(width, wide)
        y = y + tall
    lines = [
        part
        for line in lines
        for part in textwrap.wrap(line, int(width / 6.7), subsequent_indent="    ")
    ]
    body += [
        _text(8 if line[0] != " " else 24, y + 16 + 16 * k, line, "start")
        for k, line in enumerate(lines)
    ]
    return _document(width, y + (16 * len(lines) + 12 if lines else 0), body)


_LEVELS = 40  # steps of color
_SIGNS = ((1, style.BLUE, ""), (-1, style.ORANGE, ' stroke-dasharray="4 2"'))
_POINTER = ((0, 0), (9, 4), (9, 0.7))  # the outline of the axis's arrow, in pixels


def _level_color(k: int) -> str:
    return sample_colorscale(style.DIVERGING, [k / _LEVELS])[0].replace(" ", "")


def _line(
    x1: float, y1: float, x2: float, y2: float, color: str = style.INK, more: str = ""
) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" {more}/>'
    )


def _ticks(highest: float) -> list[float]:
    """Round numbers from 0 to the first that is not below `highest`, four to seven of them."""
    power = 10.0 ** np.floor(np.log10(highest)) if highest > 0 else 1.0
    step = next(m * power for m in (0.2, 0.25, 0.5, 1, 2, 2.5) if m * power * 6 >= highest)
    return [step * k for k in range(max(2, int(np.ceil(highest / step - 1e-9)) + 1))]
