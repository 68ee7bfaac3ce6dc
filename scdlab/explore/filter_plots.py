"""Figures of learned filters: as curves over the distance, and on a plane around an atom.

Numbers in, a plotly Figure out, nothing displayed and nothing kept. Distances are in Å. Every
figure carries the template "scdlab" (see `style`).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from scdlab.analysis.inputs import array, tensor
from scdlab.explore import style
from scdlab.explore.style import label


def filter_curves(
    r: ArrayLike,
    W: ArrayLike,
    cutoff: float | None = None,
    channels: Iterable[int] | None = None,
    title: str = "",
) -> go.Figure:
    """Filters as functions of distance, one curve per channel.

    Parameters
    ----------
    r : array_like
        Distances [R] in Å.
    W : array_like
        Filters [R, d].
    cutoff : float, optional
        In Å; marked by a line.
    channels : iterable of int, optional
        Which to draw; by default all.
    title : str, optional
        A line above.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.

    Raises
    ------
    ValueError
        When W has not one row for each distance.
    """
    r = array(r)
    W = array(W)
    if W.ndim != 2 or len(W) != len(r):
        raise ValueError(
            f"filter_curves needs W of shape [{len(r)}, channels], got {list(W.shape)}: evaluate "
            "the filters at the distances r."
        )
    fig = style.figure(label("distance r", "Å"), "filter W(r)", title)
    for k, channel in enumerate(range(W.shape[1]) if channels is None else channels):
        fig.add_scatter(
            x=r, y=W[:, channel], mode="lines", name=f"channel {channel}", line=style.line(k)
        )
    if cutoff is not None:
        fig.add_vline(
            x=cutoff, line=dict(color=style.INK, dash="dot", width=1), annotation_text="cutoff"
        )
    return fig


def cut_values(
    model: Any, interaction: int, channel: int, cutoff: float | None = None, n: int = 91
) -> tuple[np.ndarray, np.ndarray]:
    """One filter on the plane z = 0 around an atom at the origin.

    Parameters
    ----------
    model : object
        Anything with `filter_curves(distances [R]) -> [layers, R, d]`, such as `scdlab.SchNet`.
    interaction, channel : int
        Which filter.
    cutoff : float, optional
        In Å; by default that of the model.
    n : int, default 91
        Places along each axis.

    Returns
    -------
    axis : numpy.ndarray
        Places [n] in Å.
    values : numpy.ndarray
        The filter [n, n]; NaN beyond the cutoff.
    """
    cutoff = float(cutoff or model.cutoff)
    axis = np.linspace(-cutoff, cutoff, n)
    radius = np.hypot(axis[:, None], axis[None, :])
    curve_r = np.linspace(0, cutoff, 200)  # one scalar: a curve, spread over the plane
    curve = array(model.filter_curves(tensor(curve_r)))[interaction, :, channel]
    digits = 4 - int(
        np.floor(np.log10(np.abs(curve).max() or 1.0))
    )  # figures travel as text: keep four digits
    return axis.round(4), np.where(
        radius <= cutoff, np.interp(radius, curve_r, curve), np.nan
    ).round(digits)


def filter_cuts(
    model: Any, interaction: int = 0, channel: int = 0, cutoff: float | None = None
) -> go.Figure:
    """A filter's value at each place around an atom at the origin (plane z = 0): rings, since
    only distance counts.

    Parameters
    ----------
    model, interaction, channel, cutoff
        As for `cut_values`.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    axis, values = cut_values(model, interaction, channel, cutoff)
    fig = style.figure(
        label("x", "Å"), label("y", "Å"), f"Block {interaction}, channel {channel}", height=420
    )
    _add_cut(fig, axis, values)
    fig.add_scatter(
        x=[0],
        y=[0],
        mode="markers",
        hoverinfo="skip",
        marker=dict(color=style.BLACK, size=9),
        showlegend=False,
    )
    fig.update_xaxes(showgrid=False, constrain="domain")
    fig.update_yaxes(showgrid=False, scaleanchor="x", constrain="domain")
    return fig


def filter_figure(model: Any, layer: int, channel: int, cutoff: float | None = None) -> go.Figure:
    """One filter twice, as a curve over the distance and on a plane around an atom.

    Parameters
    ----------
    model : object
        As for `filter_cuts`.
    layer, channel : int
        Which filter.
    cutoff : float, optional
        In Å; by default that of the model.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    cutoff = float(cutoff or model.cutoff)
    r = np.linspace(0, cutoff, 200)
    curve = array(model.filter_curves(tensor(r)))[layer, :, channel]
    axis, values = cut_values(model, layer, channel, cutoff)
    fig: Any = make_subplots(rows=1, cols=2, column_widths=[0.52, 0.48], horizontal_spacing=0.12)
    fig.add_hline(y=0, line=dict(color=style.INK, width=1, dash="dot"), row=1, col=1)
    fig.add_scatter(x=r, y=curve, mode="lines", line=style.line(0) | dict(width=3), row=1, col=1)
    _add_cut(fig, axis, values, row=1, col=2)
    fig.update_layout(
        template="scdlab",
        height=400,
        showlegend=False,
        title_text=f"Block {layer}, channel {channel}",
    )
    fig.update_xaxes(title_text=label("distance r", "Å"), row=1, col=1)
    fig.update_yaxes(title_text="filter W(r)", row=1, col=1)
    fig.update_xaxes(title_text=label("x", "Å"), showgrid=False, constrain="domain", row=1, col=2)
    fig.update_yaxes(
        title_text=label("y", "Å"),
        showgrid=False,
        scaleanchor="x2",
        constrain="domain",
        row=1,
        col=2,
    )
    return fig


def _add_cut(fig: go.Figure, axis: np.ndarray, values: np.ndarray, **place) -> None:
    """A cut as a heat map. NaN becomes None: a two-dimensional array travels to the browser as
    json, without NaN."""
    holes = [[None if np.isnan(value) else value for value in row] for row in values.tolist()]
    fig.add_heatmap(
        x=axis,
        y=axis,
        z=holes,
        colorscale=style.DIVERGING,
        zmid=0,
        colorbar=dict(title="W(r)", thickness=14),
        hovertemplate="x %{x:.2f} Å, y %{y:.2f} Å<br>W = %{z:.3g}<extra></extra>",
        **place,
    )
