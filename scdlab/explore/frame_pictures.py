"""Pictures of the frames of ECSE: the molecule around one atom, and the weights of its pairs of
neighbors.
"""

import itertools
from collections.abc import Sequence

import ase
import numpy as np
from numpy.typing import ArrayLike

from scdlab.explore import style, svg
from scdlab.explore.style import PLOTS_WIDTH, VIEW_WIDTH

METHODS = {  # name -> (legend, color, dashes, width)
    "raw": ("raw", style.GRAY, "", 2),
    "rotations": ("8 rotations", style.ORANGE, "7 3", 2),
    "pca": ("PCA frames", style.VERMILION, "2 3", 2.5),
    "ecse": ("ECSE", style.BLUE, "", 2.5),
}
_AXES = (("a", style.BLUE), ("b", style.VERMILION), ("c", style.GREEN))
_POINTER = ((0, 0), (10, 4.5), (10, 1.6))  # the outline of an axis, in pixels
_TOP = 24  # pixels of the title


def frames_picture(
    atoms: ase.Atoms,
    center: int,
    axes: np.ndarray,
    shares: np.ndarray,
    inner: float,
    outer: float,
    half: float,
    title: str = "",
) -> str:
    """A molecule around one of its atoms, with frames.

    It is seen from the side of all still pictures; what is farther off is cut.

    Parameters
    ----------
    atoms : ase.Atoms
        The molecule.
    center : int
        The atom.
    axes : numpy.ndarray
        Frames [k, 3, 3], axes in columns.
    shares : numpy.ndarray
        Their shares [k] of the weight: the larger, the more opaque.
    inner, outer : float
        R_in and R_out in Å, the outlines of two spheres.
    half : float
        Å from the middle to the picture's edge.
    title : str, optional
        A line above.

    Returns
    -------
    str
        The picture as svg text.
    """
    scale = VIEW_WIDTH / 2 / half  # pixels per Å
    middle = np.array([VIEW_WIDTH / 2, _TOP + VIEW_WIDTH / 2])
    flat = (atoms.positions - atoms.positions[center]) @ svg.VIEW.T
    x, y = (middle + scale * flat[:, :2] * [1, -1]).T
    body = [
        f'<circle cx="{middle[0]}" cy="{middle[1]}" r="{scale * outer:.1f}" fill="none" '
        f'stroke="{style.INK}" stroke-dasharray="5 4"/>',
        f'<circle cx="{middle[0]}" cy="{middle[1]}" r="{scale * inner:.1f}" fill="{style.YELLOW}" '
        f'fill-opacity="0.18" stroke="{style.INK}" stroke-width="1.5"/>',
    ]
    balls = svg.balls(atoms, x, y, flat[:, 2], None, center, aside=True)
    body += [part for part in balls if not part.startswith("<text")]
    order = np.argsort(shares)  # the heaviest on top
    for k in order:
        opacity = _opacity(shares[k] / max(shares))
        arrows = _frame(np.asarray(axes)[k], middle, scale, named=k == order[-1])
        body.append(f'<g class="frame" opacity="{opacity:.2f}">{arrows}</g>')
    halo = '<text paint-order="stroke" stroke="white" stroke-width="3" '
    # over the axes
    body += [part.replace("<text ", halo, 1) for part in balls if part.startswith("<text")]
    edge = (
        f'<svg x="0" y="{_TOP}" width="{VIEW_WIDTH}" height="{VIEW_WIDTH}" '
        f'viewBox="0 {_TOP} {VIEW_WIDTH} {VIEW_WIDTH}">{"".join(body)}</svg>'
    )
    y0 = _TOP + VIEW_WIDTH + 14
    about = "no frame: the auxiliary model answers"
    if len(shares):
        about = "axes a, b, c of each frame; the paler, the less it weighs"
    legend = [
        svg.text(8, 16, title, "start"),
        edge,
        f'<circle cx="16" cy="{y0}" r="7" fill="{style.YELLOW}" fill-opacity="0.3" '
        f'stroke="{style.INK}"/>',
        svg.text(30, y0 + 4, f"R_in = {inner:.2f} Å", "start"),
        f'<circle cx="148" cy="{y0}" r="7" fill="none" stroke="{style.INK}" '
        'stroke-dasharray="4 3"/>',
        svg.text(162, y0 + 4, f"R_out = {outer:.2f} Å", "start"),
        svg.text(8, y0 + 24, about, "start"),
    ]
    return svg.document(VIEW_WIDTH, y0 + 34, legend, f"{title}: {len(shares)} frames, {about}")


def matrices(
    before: ArrayLike, after: ArrayLike, names: Sequence[str], title: str, prunings: int
) -> str:
    """The weights of pairs of neighbors before and after pruning, as colored cells with their
    numbers.

    Parameters
    ----------
    before, after : array_like
        Weights [m, m]; rows are j, which gives the axis a, and columns j'.
    names : sequence of str
        Names [m] of the neighbors.
    title : str
        A line above.
    prunings : int
        Number of prunings between the two.

    Returns
    -------
    str
        The picture as svg text.
    """
    m = len(names)
    top = 62
    left = 40
    if not m:
        none = svg.text(8, 16, f"{title}: there are none", "start")
        return svg.document(PLOTS_WIDTH, 40, [none], title)
    cell = min(28.0, 172.0 / m)
    most = max(float(np.max(before)), float(np.max(after)), 1e-9)
    body = [svg.text(8, 16, title, "start")]
    for x0, head, given in (
        (left, "before pruning", before),
        (left + 235, f"after {prunings} prunings", after),
    ):
        values = np.asarray(given)
        body.append(svg.text(x0, 38, head, "start"))
        for row, column in itertools.product(range(m), range(m)):
            x = x0 + cell * column
            y = top + cell * row
            w = values[row, column]
            color = style.LIGHT if row == column else _shade(w / most)
            body.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" '
                f'fill="{color}" stroke="#BDBDBD" stroke-width="0.5"/>'
            )
            if w > 0 and cell >= 14:
                ink = "white" if w > 0.55 * most else style.INK
                size = 10 if cell >= 20 else 8
                body.append(_label(x + cell / 2, y + cell / 2 + 3.5, _short(w), ink, size))
        small = 11 if cell >= 20 else 9
        for k, name in enumerate(names):
            body.append(_label(x0 - 4, top + cell * (k + 0.5) + 4, name, style.INK, small, "end"))
            body.append(_label(x0 + cell * (k + 0.5), top - 5, name, style.INK, small))
    return svg.document(PLOTS_WIDTH, top + cell * m + 10, body, f"{title}: up to {most:.2f}")


def _frame(axes: np.ndarray, middle: np.ndarray, scale: float, named: bool) -> str:
    """The three axes of a frame [3, 3] as arrows from `middle`."""
    arrows = ""
    for (name, color), axis in zip(_AXES, axes.T, strict=True):
        tip = middle + 1.3 * scale * (svg.VIEW @ axis)[:2] * [1, -1]
        outline = svg.corners(svg.arrow_outline(_POINTER, middle, tip, 1.3 * scale, 1.0))
        arrows += f'<polygon points="{outline}" fill="{color}" stroke="white" stroke-width="0.5"/>'
        if named:
            x, y = tip + 9 * _direction(tip - middle) + [0, 4]
            arrows += _label(x, y, name, color)
    return arrows


def _label(
    x: float, y: float, words: str, color: str, size: int = 13, anchor: str = "middle"
) -> str:
    halo = ""
    if size == 13:
        halo = ' paint-order="stroke" stroke="white" stroke-width="3" font-weight="bold"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}"'
        f"{halo}>{svg.escape(words)}</text>"
    )


def _direction(v: np.ndarray) -> np.ndarray:
    return v / max(np.linalg.norm(v), 1e-9)


def _opacity(share: float) -> float:
    """Of the heaviest frame 1; faint ones stay visible."""
    return 0.12 + 0.88 * share


def _shade(part: float) -> str:
    """White at 0, the kit's blue at 1."""
    blue = [int(style.BLUE[k : k + 2], 16) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(255 + (b - 255) * min(max(part, 0.0), 1.0)):02X}" for b in blue)


def _short(w: float) -> str:
    return f"{w:.1f}" if w >= 0.05 else "<.1"
