"""Figures of maps of embeddings: points in two dimensions, colored by a number.

The axes of a map have no units and no meaning of their own, so they carry no ticks. The maps and
the numbers beside them come from `analysis/embeddings.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from scdlab.analysis.inputs import array
from scdlab.explore import style, svg

SCALE = "Cividis"  # the same to color-blind readers, and it stays in order when printed gray
_SHADES = 32  # of the scale of color, in the still picture


def embedding_map(
    xy: ArrayLike,
    color: ArrayLike,
    label: str = "atoms",
    title: str = "",
    formulas: Sequence[str] | None = None,
    height: int = 420,
) -> go.Figure:
    """A map as colored points.

    Parameters
    ----------
    xy : array_like
        The map [n, 2].
    color : array_like
        The number [n] that colors each point.
    label : str, default "atoms"
        What the colors mean, with its unit.
    title : str, optional
        A line above.
    formulas : sequence of str, optional
        Names [n] that appear under the pointer.
    height : int, default 420
        In pixels.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    return compare_maps({title: xy}, color, label, formulas=formulas, height=height)


def compare_maps(
    maps: Mapping[str, ArrayLike],
    color: ArrayLike,
    label: str = "atoms",
    numbers: Mapping[str, Any] | None = None,
    formulas: Sequence[str] | None = None,
    height: int = 420,
) -> go.Figure:
    """Several maps of the same structures side by side, on one scale of color.

    Parameters
    ----------
    maps : mapping
        Name -> xy [n, 2].
    color : array_like
        The number [n] that colors each point, the same in all.
    label : str, default "atoms"
        What the colors mean, with its unit.
    numbers : mapping, optional
        Name -> number or text written beside the name, the extensivity for instance.
    formulas : sequence of str, optional
        Names [n] that appear under the pointer.
    height : int, default 420
        In pixels.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.

    Raises
    ------
    ValueError
        For no map, and for other numbers of points, colors and formulas.
    """
    color = array(color)
    if not maps:
        raise ValueError("There is no map to draw; give at least one as {name: xy}.")
    for name, xy in maps.items():
        if array(xy).shape != (len(color), 2):
            raise ValueError(
                f"Map {name!r} has the shape {array(xy).shape}; {len(color)} colors need [n, 2] "
                "with one row each."
            )
    if formulas is not None and len(formulas) != len(color):
        raise ValueError(
            f"There are {len(color)} points and {len(formulas)} formulas; give one each, or none."
        )
    titles = [_title(name, (numbers or {}).get(name)) for name in maps]
    fig: Any = make_subplots(
        1, len(maps), subplot_titles=titles if any(titles) else None, horizontal_spacing=0.03
    )
    for column, xy in enumerate(map(array, maps.values()), start=1):
        fig.add_scattergl(
            mode="markers",
            showlegend=False,
            row=1,
            col=column,
            marker=dict(coloraxis="coloraxis", size=5, opacity=0.8),
        )
        fig.data[-1].update(points(xy, color, label, formulas))
    frame = dict(showticklabels=False, ticks="", showgrid=False, mirror=True, title_text="")
    fig.update_xaxes(**frame).update_yaxes(**frame)
    bar = dict(title=dict(text=label, side="right"), thickness=14, outlinewidth=0)
    fig.update_layout(
        template="scdlab",
        height=height,
        margin=dict(l=20, r=20, b=20, t=50 if any(titles) else 20),
        coloraxis=dict(colorscale=SCALE, colorbar=bar),
    )
    return fig


def points(
    xy: np.ndarray, color: np.ndarray, label: str, formulas: Sequence[str] | None = None
) -> dict[str, Any]:
    """The data of a map's points.

    Parameters
    ----------
    xy, color, label, formulas
        As for `embedding_map`.

    Returns
    -------
    dict
        Name of a property of the trace -> its value.
    """
    head = "%{text}<br>" if formulas is not None else ""
    return {
        "x": xy[:, 0],
        "y": xy[:, 1],
        "marker": {"color": color},
        "text": None if formulas is None else list(formulas),
        "hovertemplate": f"{head}{label} %{{marker.color:.4~g}}<extra></extra>",
    }


def map_figure(
    xy: np.ndarray,
    color: np.ndarray,
    label: str,
    title: str = "",
    formulas: Sequence[str] | None = None,
    point: int = 0,
) -> go.Figure:
    """A map with one point ringed. A color that is NaN is drawn gray.

    Parameters
    ----------
    xy, color, label, title, formulas
        As for `embedding_map`.
    point : int, default 0
        The point that is ringed.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    fig = embedding_map(xy, color, label, formulas=formulas, height=460)
    ring = dict(type="circle", xref="x", yref="y", xsizemode="pixel", ysizemode="pixel")
    ends = dict(x0=-9, x1=9, y0=-9, y1=9)  # pixels
    for line in (dict(color="white", width=5), dict(color=style.VERMILION, width=3)):
        fig.add_shape(**ring, **ends, line=line)
    fig.update_layout(
        title_text=title,
        width=style.PLOTS_WIDTH,
        margin=dict(l=15, r=10, t=45, b=15),
        hovermode="closest",
        uirevision="map",
        # on a page without a kernel the molecule's picture stands above it
        meta={"with_still": True},
    )
    move_ring(fig, xy, point)
    show_all(fig, xy)
    set_colors(fig, color, label)
    return fig


def move_ring(fig: Any, xy: np.ndarray, point: int) -> None:
    """Put the ring of a `map_figure` around another point.

    Parameters
    ----------
    fig : plotly.graph_objects.Figure
        The figure.
    xy : numpy.ndarray
        The map [n, 2].
    point : int
        The point.
    """
    for shape in fig.layout.shapes:
        shape.update(xanchor=float(xy[point, 0]), yanchor=float(xy[point, 1]))


def show_all(fig: Any, xy: np.ndarray) -> None:
    """All of a map, with a margin: whoever has zoomed into another one sees the whole.

    Parameters
    ----------
    fig : plotly.graph_objects.Figure
        The figure.
    xy : numpy.ndarray
        The map [n, 2].
    """
    low = xy.min(0)
    high = xy.max(0)
    pad = 0.05 * np.maximum(high - low, 1e-9)
    ranges = np.stack([low - pad, high + pad], axis=1).tolist()
    fig.layout.xaxis.range, fig.layout.yaxis.range = ranges


def set_colors(fig: Any, color: np.ndarray, label: str) -> None:
    """What the scale of color of a map stands for.

    Parameters
    ----------
    fig : plotly.graph_objects.Figure
        The figure.
    color : numpy.ndarray
        The number [n] that colors each point.
    label : str
        What it is, with its unit.
    """
    low, high = color_ends(color)
    fig.layout.coloraxis.update(cmin=low, cmax=high, colorbar_title_text=label)


def color_ends(color: ArrayLike) -> tuple[float, float]:
    """What the ends of the scale stand for: all but the lowest and the highest hundredth lie
    between, so that a few strange structures do not leave one color to all others.

    Parameters
    ----------
    color : array_like
        The number [n] that colors each point; NaN are left out.

    Returns
    -------
    low, high : float
        The ends.
    """
    known = array(color)[np.isfinite(array(color))]
    return tuple(np.quantile(known, [0.01, 0.99]).tolist()) if len(known) else (0.0, 1.0)


def map_svg(
    xy: ArrayLike,
    color: ArrayLike,
    label: str,
    title: str = "",
    point: int = 0,
    size: int = 380,
) -> str:
    """The same map as a small svg picture, without names.

    Parameters
    ----------
    xy, color, label, title, point
        As for `map_figure`.
    size : int, default 380
        In pixels.

    Returns
    -------
    str
        The picture as svg text.
    """
    xy = array(xy)
    color = array(color)
    low = xy.min(0)
    high = xy.max(0)
    part = (xy - low) / np.maximum(high - low, 1e-9) * [1, -1] + [0, 1]
    x, y = part.T * (size - 40) + 20  # 20 px on each side
    y = y * (size - 80) / (size - 40) + 20  # and the title above, the scale below
    least, most = color_ends(color)
    shade = np.full(len(color), -1)
    known = np.isfinite(color)
    along = np.clip((color[known] - least) / max(most - least, 1e-12), 0, 1)
    shade[known] = np.round(along * (_SHADES - 1)).astype(int)
    shades = sample_colorscale(SCALE, np.linspace(0, 1, _SHADES).tolist())
    body = [svg.text(size / 2, 14, title)]
    body.append(
        f'<rect x="8" y="22" width="{size - 16}" height="{size - 62}" fill="none" '
        f'stroke="{style.GRAY}"/>'
    )
    for k in np.unique(shade):
        here = shade == k
        path = "".join(f"M{a:.0f},{b:.0f}h0" for a, b in zip(x[here], y[here], strict=True))
        stroke = style.GRAY if k < 0 else shades[k]
        body.append(
            f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="5" '
            'stroke-linecap="round"/>'
        )
    look = f'fill="none" stroke="{style.VERMILION}" stroke-width="3"'
    body.append(f'<circle cx="{x[point]:.0f}" cy="{y[point]:.0f}" r="9" {look}/>')
    step = 120 / _SHADES
    for k, shade_of_bar in enumerate(shades):
        place = (
            f'x="{size / 2 - 60 + k * step:.1f}" y="{size - 30}" width="{step + 0.5:.1f}" '
            'height="10"'
        )
        body.append(f'<rect {place} fill="{shade_of_bar}"/>')
    body.append(svg.text(size / 2 - 66, size - 21, f"≤ {least:.4g}", "end"))
    body.append(svg.text(size / 2 + 66, size - 21, f"≥ {most:.4g}", "start"))
    body.append(svg.text(size / 2, size - 4, label))
    about = f"{title}: a map of {len(xy)} points colored by {label}"
    return svg.document(size, size, body, about)


def _title(name: str, number: Any) -> str:
    if number is None:
        return name
    return f"{name} · {number if isinstance(number, str) else f'{number:.2f}'}"
