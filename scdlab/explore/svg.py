"""Small still pictures as svg text: what a widget shows where no kernel runs, such as a code host's preview."""

import textwrap

import ase
import numpy as np

from scdlab.explore import style
from scdlab.explore.plots import array, bonds_of, marker_size

_VIEW = np.array([[-0.71, 0.71, 0.0], [-0.35, -0.35, 0.87], [0.61, 0.61, 0.5]])  # rows: right, up, towards the reader


def _document(width: float, height: float, body: list[str], about: str = "") -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img"'
    if about:
        head += f' aria-label="{_plain(about)}"'
    return f'{head} font-family="Helvetica, Arial, sans-serif" font-size="12">{"".join(body)}</svg>'


def _plain(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{style.INK}">{_plain(words)}</text>'


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
) -> str:
    """A molecule seen from the same side as `plots.molecule_figure`; arguments as there, size in pixels.

    arrows: kinds of arrows as in the scene of a `MoleculeView`, each with a line in the legend below. small: atoms as
    dots without names, for large structures. about: the picture in words; note: a line below it.
    """
    middle = atoms.get_positions().mean(0)
    flat = (atoms.get_positions() - middle) @ _VIEW.T  # (n, 3): right, up, depth
    starts = [(np.reshape(kind["start"], (-1, 3)) - middle) @ _VIEW.T for kind in arrows]
    tips = [start + np.reshape(kind["step"], (-1, 3)) @ _VIEW.T for start, kind in zip(starts, arrows, strict=True)]
    scale = (size / 2 - 30) / max(1.5, *(np.abs(ends[:, :2]).max(initial=0) for ends in (flat, *tips)))

    def place(points):  # (n, 3) -> (n, 2) pixels
        return np.stack([size / 2 + scale * points[:, 0], size / 2 + 10 - scale * points[:, 1]], axis=1)

    (x, y), body = place(flat).T, [_text(size / 2, 14, title)]
    if small:
        body += _dots(atoms.numbers, np.stack([x, y], axis=1), scale)
    else:
        body += _balls(atoms, x, y, flat[:, 2], highlight, center, aside=bool(arrows))
    for kind, start, tip in zip(arrows, starts, tips, strict=True):
        long = np.linalg.norm(np.reshape(kind["step"], (-1, 3)), axis=1)
        profile = np.array(kind["profile"]) * min(1.0, 55 / scale)  # arrows of a tiny molecule are not thicker
        outlines = [_arrow(profile, *ends, scale) for ends in zip(place(start), place(tip), long, strict=True)]
        path = "".join(f"M{' '.join(f'{a:.1f},{b:.1f}' for a, b in outline)}Z" for outline in outlines)
        body.append(f'<path d="{path}" fill="{kind["color"]}" stroke="white" stroke-width="0.6"/>')
    for row, kind in enumerate(arrows):
        unit = 1.8 / kind["profile"][-1][1]  # pixels per Å in the legend
        glyph = " ".join(f"{a:.1f},{b:.1f}" for a, b in _arrow(kind["profile"], (10, 0), (44, 0), 34 / unit, unit))
        body.append(f'<g transform="translate(0 {size + 12 + 18 * row})">')
        body += [f'<polygon points="{glyph}" fill="{kind["color"]}"/>', _text(52, 4, kind["legend"], "start"), "</g>"]
    height = size + 18 * len(arrows) + (8 if arrows else 0)
    if note:
        lines = textwrap.wrap(note, width=size // 7)
        body += [_text(10, height + 14 * (k + 1), words, "start") for k, words in enumerate(lines)]
        height += 14 * len(lines) + 8
    return _document(size, height, body, about)


def _balls(atoms: ase.Atoms, x, y, depth, highlight, center, aside: bool) -> list[str]:
    shown = np.ones(len(atoms), bool) if highlight is None else np.isin(np.arange(len(atoms)), highlight)
    body = []
    for i, j in bonds_of(atoms):
        ends = f'x1="{x[i]:.1f}" y1="{y[i]:.1f}" x2="{x[j]:.1f}" y2="{y[j]:.1f}"'
        body.append(f'<line {ends} stroke="{style.GRAY}" stroke-width="5"/>')
    for k in np.argsort(depth):  # far atoms first
        z, ring = atoms.numbers[k], k == center
        look = f'fill="{style.element_color(z)}" stroke="{style.INK}" stroke-width="{4 if ring else 1}"'
        faded = 1.0 if shown[k] or ring else 0.3
        disc = f'<circle cx="{x[k]:.1f}" cy="{y[k]:.1f}" r="{0.6 * marker_size(z):.1f}" {look} opacity="{faded}"/>'
        name = (x[k] - 14, y[k] - 6) if aside else (x[k], y[k] + 4)  # beside the atom, where an arrow starts in it
        body += [disc, _text(*name, f"{style.symbol(z)}{k}")]
    return body


def _dots(z, places, scale: float) -> list[str]:
    """Atoms as one path per element: a line of no length with round ends is a dot."""
    body, width = [], min(8.0, max(2.0, 0.9 * scale))
    for element in np.unique(z):
        path = "".join(f"M{a:.0f},{b:.0f}h0" for a, b in places[z == element])
        look = f'stroke="{style.element_color(element)}" stroke-width="{width:.1f}" stroke-linecap="round"'
        body.append(f'<path d="{path}" fill="none" {look}/>')
    return body


def _arrow(profile, start, tip, long: float, scale: float) -> np.ndarray:
    """The outline [m, 2] of an arrow between two places in pixels.

    profile: (distance behind the tip, radius) in Å, scaled down for an arrow whose length in space, `long` Å, is not
    enough for its head; scale: pixels per Å. An arrow that points at the reader is drawn shorter, as it is seen.
    """
    start, tip = np.asarray(start, float), np.asarray(tip, float)
    axis, seen = tip - start, np.linalg.norm(tip - start)
    along = axis / seen if seen > 1e-9 else np.array([1.0, 0.0])
    side = np.array([-along[1], along[0]])
    fit = min(1.0, long / (1.5 * profile[-1][0]))
    points = [(fit * back * seen / long, fit * radius * scale) for back, radius in profile]
    points.append((seen, points[-1][1]))
    upper = [tip - back * along + width * side for back, width in points]
    lower = [tip - back * along - width * side for back, width in reversed(points)]
    return np.array(upper + lower)


def filter_rings(r, values, title: str = "", size: int = 320) -> str:
    """A filter around an atom: r [R] in Å, values [R]; blue is positive, red negative, pale is near zero."""
    r, values = array(r), array(values)
    strongest = np.abs(values).max() or 1.0
    body = [_text(size / 2, 14, title)]
    scale = (size / 2 - 30) / r.max()
    for radius, value in sorted(zip(r, values, strict=True), reverse=True)[:-1]:  # large discs first
        pale = 255 - round(200 * abs(value) / strongest)
        color = f"rgb({pale},{pale},255)" if value > 0 else f"rgb(255,{pale},{pale})"
        body.append(f'<circle cx="{size / 2}" cy="{size / 2 + 10}" r="{radius * scale:.1f}" fill="{color}"/>')
    body.append(f'<circle cx="{size / 2}" cy="{size / 2 + 10}" r="4"/>')
    body.append(_text(size / 2, size - 2, f"W up to {strongest:.2g}, out to {r.max():g} Å"))
    return _document(size, size, body)
