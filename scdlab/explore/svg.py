"""Small still pictures as svg text: elements, molecules, and pictures below each other.

They are what a widget shows where no kernel runs, such as a code host's preview. Charts are in
`svg_charts` and `svg_curves`.
"""

import logging
import re
import textwrap
from collections.abc import Callable, Sequence

import ase
import numpy as np
from numpy.typing import ArrayLike

from scdlab.analysis.bonds import bonds_of
from scdlab.explore import style

_log = logging.getLogger("scdlab")

# rows: right, up, towards the reader
VIEW = np.array([[-0.71, 0.71, 0.0], [-0.35, -0.35, 0.87], [0.61, 0.61, 0.5]])


def document(width: float, height: float, body: Sequence[str], about: str = "") -> str:
    """An svg picture.

    Parameters
    ----------
    width, height : float
        Its size in pixels.
    body : sequence of str
        Its elements.
    about : str, optional
        The picture in words, for readers who do not see it.

    Returns
    -------
    str
        The picture as svg text.
    """
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" style="max-width: 100%" role="img"'  # a narrow page shrinks it
    )
    if about:
        head += f' aria-label="{escape(about)}"'
    return f'{head} font-family="Helvetica, Arial, sans-serif" font-size="12">{"".join(body)}</svg>'


def escape(words: str) -> str:
    """Text as it may stand in svg, inside elements and attributes.

    Parameters
    ----------
    words : str
        Any text.

    Returns
    -------
    str
        The same, escaped.
    """
    return words.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    """A line of text.

    Parameters
    ----------
    x, y : float
        Where its baseline is, in pixels.
    words : str
        The text, not escaped.
    anchor : {"start", "middle", "end"}, default "middle"
        Which part of it is at x.

    Returns
    -------
    str
        The element.
    """
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" '
        f'fill="{style.INK}">{escape(words)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, color: str = style.INK, more: str = "") -> str:
    """A straight line.

    Parameters
    ----------
    x1, y1, x2, y2 : float
        Its ends in pixels.
    color : str, default `style.INK`
        Its color.
    more : str, optional
        Further attributes.

    Returns
    -------
    str
        The element.
    """
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" {more}/>'
    )


def size_of(picture: str) -> tuple[float, float]:
    """The size of an svg picture.

    Parameters
    ----------
    picture : str
        A picture made by `document`.

    Returns
    -------
    width, height : float
        In pixels.

    Raises
    ------
    ValueError
        For a picture without a viewBox that starts at 0 0.
    """
    found = re.search(r'viewBox="0 0 (\S+) (\S+)"', picture)
    if found is None:
        raise ValueError(
            "size_of needs an svg picture with a viewBox that starts at 0 0, got "
            f"{picture[:60]!r}: make it with `document`."
        )
    return float(found[1]), float(found[2])


def stack(pictures: Sequence[str], lines: Sequence[str] = ()) -> str:
    """Pictures one below the other, and lines of text below them, as one picture.

    Parameters
    ----------
    pictures : sequence of str
        Pictures made by `document`.
    lines : sequence of str, optional
        Lines of text; they are broken where they are too long.

    Returns
    -------
    str
        The picture as svg text.
    """
    body = []
    width = 0.0
    y = 0.0
    for picture in pictures:
        wide, tall = size_of(picture)
        # a nested picture needs both sides
        body.append(picture.replace("<svg ", f'<svg y="{y:g}" height="{tall:g}" ', 1))
        width = max(width, wide)
        y = y + tall
    parts = [
        part
        for each in lines
        for part in textwrap.wrap(each, int(width / 6.7), subsequent_indent="    ")
    ]
    body += [
        text(8 if part[0] != " " else 24, y + 16 + 16 * k, part, "start")
        for k, part in enumerate(parts)
    ]
    return document(width, y + (16 * len(parts) + 12 if parts else 0), body)


def molecule(
    atoms: ase.Atoms,
    highlight: ArrayLike | None = None,
    center: int | None = None,
    title: str = "",
    size: int = 320,
    arrows: Sequence[dict] = (),
    small: bool = False,
    about: str = "",
    note: str = "",
    marked: Sequence[dict] = (),
) -> str:
    """A molecule seen from the same side as `molecule_figure`.

    Parameters
    ----------
    atoms : ase.Atoms
        The molecule.
    highlight : array_like, optional
        Indices of atoms that keep their full color while the others fade.
    center : int, optional
        Index of one atom that is ringed.
    title : str, optional
        A line above.
    size : int, default 320
        Width in pixels.
    arrows : sequence of dict, optional
        Kinds of arrows as in the scene of a `MoleculeView`, each with a line in the legend below.
    small : bool, default False
        Atoms as dots without names, for large structures.
    about : str, optional
        The picture in words.
    note : str, optional
        A line below.
    marked : sequence of dict, optional
        Kinds of marks as in that scene, a ring around each atom.

    Returns
    -------
    str
        The picture as svg text.
    """
    middle = atoms.get_positions().mean(0)
    flat = (atoms.get_positions() - middle) @ VIEW.T  # (n, 3): right, up, depth
    starts = [(np.reshape(kind["start"], (-1, 3)) - middle) @ VIEW.T for kind in arrows]
    tips = [
        start + np.reshape(kind["step"], (-1, 3)) @ VIEW.T
        for start, kind in zip(starts, arrows, strict=True)
    ]
    reach = max(1.5, *(np.abs(ends[:, :2]).max(initial=0) for ends in (flat, *tips)))
    scale = (size / 2 - 30) / reach  # pixels per Å

    def place(points: np.ndarray) -> np.ndarray:  # (n, 3) -> (n, 2) pixels
        return np.stack(
            [size / 2 + scale * points[:, 0], size / 2 + 10 - scale * points[:, 1]], axis=1
        )

    x, y = place(flat).T
    body = [text(size / 2, 14, title)]
    if small:
        body += _dots(atoms.numbers, np.stack([x, y], axis=1), scale)
    else:
        body += balls(atoms, x, y, flat[:, 2], highlight, center, aside=bool(arrows))
    for mark in marked:
        body += _rings(mark, atoms.numbers, x, y, small)
    for kind, start, tip in zip(arrows, starts, tips, strict=True):
        body.append(_arrows(kind, place(start), place(tip), scale))
    for row, kind in enumerate(arrows):
        body.append(_arrow_legend(kind, size + 12 + 18 * row))
    for row, mark in enumerate(marked, len(arrows)):
        y0 = size + 12 + 18 * row
        body.append(f'<circle cx="27" cy="{y0}" r="6" {_ring(mark)}/>')
        body.append(text(52, y0 + 4, mark["legend"], "start"))
    rows = len(arrows) + len(marked)
    height = size + 18 * rows + (8 if rows else 0)
    if note:
        lines = textwrap.wrap(note, width=size // 7)
        body += [text(10, height + 14 * (k + 1), words, "start") for k, words in enumerate(lines)]
        height += 14 * len(lines) + 8
    return document(size, height, body, about)


def _rings(mark: dict, z: np.ndarray, x: np.ndarray, y: np.ndarray, small: bool) -> list[str]:
    """The rings around the atoms of a kind of marks."""
    rings = []
    for k in mark["atoms"]:
        radius = 4.0 if small else 0.6 * style.marker_size(int(z[k]))
        spot = f'cx="{x[k]:.1f}" cy="{y[k]:.1f}" r="{radius + 25 * mark["wider"]:.1f}"'
        rings.append(f"<circle {spot} {_ring(mark)}/>")
    return rings


def _ring(mark: dict) -> str:
    """The look of a kind of marks: thick, or thin and dashed."""
    looks = ('stroke-width="3"', 'stroke-width="1.5" stroke-dasharray="5 3"')
    return f'fill="none" stroke="{mark["color"]}" {looks[mark["lines"]]}'


def balls(
    atoms: ase.Atoms,
    x: np.ndarray,
    y: np.ndarray,
    depth: np.ndarray,
    highlight: ArrayLike | None,
    center: int | None,
    aside: bool,
) -> list[str]:
    """Atoms as named balls, with lines between those that are near enough to be bonded.

    Parameters
    ----------
    atoms : ase.Atoms
        The molecule of n atoms.
    x, y : numpy.ndarray
        Where the atoms are [n], in pixels.
    depth : numpy.ndarray
        How near to the reader each atom is [n].
    highlight : array_like, optional
        Indices of atoms that keep their full color while the others fade.
    center : int, optional
        Index of one atom that is ringed.
    aside : bool
        Whether names stand beside the atoms, where arrows start in them.

    Returns
    -------
    list of str
        The elements.
    """
    shown = np.ones(len(atoms), bool)
    if highlight is not None:
        shown = np.isin(np.arange(len(atoms)), np.asarray(highlight))
    body = []
    for i, j in bonds_of(atoms):
        ends = f'x1="{x[i]:.1f}" y1="{y[i]:.1f}" x2="{x[j]:.1f}" y2="{y[j]:.1f}"'
        body.append(f'<line {ends} stroke="{style.GRAY}" stroke-width="5"/>')
    for k in np.argsort(depth).tolist():  # far atoms first
        z = int(atoms.numbers[k])
        ring = k == center
        look = (
            f'fill="{style.element_color(z)}" stroke="{style.INK}" '
            f'stroke-width="{4 if ring else 1}"'
        )
        faded = 1.0 if shown[k] or ring else 0.3
        body.append(
            f'<circle cx="{x[k]:.1f}" cy="{y[k]:.1f}" r="{0.6 * style.marker_size(z):.1f}" {look} '
            f'opacity="{faded}"/>'
        )
        right, down = (-14, -6) if aside else (0, 4)
        body.append(text(float(x[k]) + right, float(y[k]) + down, f"{style.symbol(z)}{k}"))
    return body


def arrow_outline(
    profile: Sequence[Sequence[float]] | np.ndarray,
    start: ArrayLike,
    tip: ArrayLike,
    long: float,
    scale: float,
) -> np.ndarray:
    """The outline of an arrow. One that points at the reader is drawn shorter, as it is seen.

    Parameters
    ----------
    profile : sequence of (float, float)
        (distance behind the tip, radius) in Å, from the tip to the shaft.
    start, tip : array_like
        The two ends [2] in pixels.
    long : float
        Its length in space in Å; where that is not enough for its head, the profile is scaled down.
    scale : float
        Pixels per Å.

    Returns
    -------
    numpy.ndarray
        The corners [m, 2] in pixels.
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


def corners(points: np.ndarray) -> str:
    """Points as svg writes them.

    Parameters
    ----------
    points : numpy.ndarray
        Places [m, 2] in pixels.

    Returns
    -------
    str
        "x,y x,y …".
    """
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def _arrows(kind: dict, starts: np.ndarray, tips: np.ndarray, scale: float) -> str:
    """All arrows of a kind, between places [k, 2] in pixels, as one path."""
    long = np.linalg.norm(np.reshape(kind["step"], (-1, 3)), axis=1)
    # arrows of a tiny molecule are not thicker
    profile = np.array(kind["profile"]) * min(1.0, 55 / scale)
    outlines = [
        arrow_outline(profile, *ends, scale) for ends in zip(starts, tips, long, strict=True)
    ]
    path = "".join(f"M{corners(outline)}Z" for outline in outlines)
    return f'<path d="{path}" fill="{kind["color"]}" stroke="white" stroke-width="0.6"/>'


def _arrow_legend(kind: dict, y: float) -> str:
    unit = 1.8 / kind["profile"][-1][1]  # pixels per Å in the legend
    glyph = corners(arrow_outline(kind["profile"], (10, 0), (44, 0), 34 / unit, unit))
    return (
        f'<g transform="translate(0 {y})"><polygon points="{glyph}" fill="{kind["color"]}"/>'
        f"{text(52, 4, kind['legend'], 'start')}</g>"
    )


def _dots(z: np.ndarray, places: np.ndarray, scale: float) -> list[str]:
    """Atoms as one path per element: a line of no length with round ends is a dot."""
    body = []
    width = min(8.0, max(2.0, 0.9 * scale))
    for element in np.unique(z).tolist():
        path = "".join(f"M{a:.0f},{b:.0f}h0" for a, b in places[z == element])
        look = (
            f'stroke="{style.element_color(element)}" stroke-width="{width:.1f}" '
            'stroke-linecap="round"'
        )
        body.append(f'<path d="{path}" fill="none" {look}/>')
    return body


def still_picture(make: Callable[[], str]) -> dict[str, str]:
    """A still picture for the output of a cell; without it the live widget is shown all the same.

    Parameters
    ----------
    make : callable
        Makes the svg text.

    Returns
    -------
    dict
        The picture by its type; empty, with a warning, where it cannot be made.
    """
    try:
        return {"image/svg+xml": make()}
    except Exception as error:  # whatever it is, it is told, and the widget is worth more
        _log.warning("The still picture of a widget failed (%s: %s).", type(error).__name__, error)
        return {}
