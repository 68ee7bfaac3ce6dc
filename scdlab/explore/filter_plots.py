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
from scdlab.explore.changes import Changes
from scdlab.explore.style import label

_CUT = dict(  # the look of a cut
    colorscale=style.DIVERGING,
    zmid=0,
    colorbar=dict(title="W(r)", thickness=14),
    hovertemplate="x %{x:.2f} Å, y %{y:.2f} Å<br>W = %{z:.3g}<extra></extra>",
)


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
    return _spread(*_curve(model, interaction, channel, cutoff), n)


def _curve(
    model: Any, layer: int, channel: int, cutoff: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """200 distances up to the cutoff in Å, and a filter there."""
    r = np.linspace(0, float(cutoff or model.cutoff), 200)
    return r, array(model.filter_curves(tensor(r)))[layer, :, channel]


def _spread(r: np.ndarray, curve: np.ndarray, n: int = 91) -> tuple[np.ndarray, np.ndarray]:
    """A curve over the distance, spread over a plane: places along each axis, and values [n, n]."""
    axis = np.linspace(-r[-1], r[-1], n)
    radius = np.hypot(axis[:, None], axis[None, :])
    # figures travel as text: keep four digits
    digits = 4 - int(np.floor(np.log10(np.abs(curve).max() or 1.0)))
    values = np.where(radius <= r[-1], np.interp(radius, r, curve), np.nan)
    return axis.round(4), values.round(digits)


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
    fig.add_heatmap(**_CUT, **_cut(axis, values))
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
    fig: Any = make_subplots(rows=1, cols=2, column_widths=[0.52, 0.48], horizontal_spacing=0.12)
    fig.add_hline(y=0, line=dict(color=style.INK, width=1, dash="dot"), row=1, col=1)
    fig.add_scatter(mode="lines", line=style.line(0) | dict(width=3), row=1, col=1)
    fig.add_heatmap(**_CUT, row=1, col=2)
    fig.update_layout(template="scdlab", height=400, showlegend=False)
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
    filter_changes(model, layer, channel, cutoff).put_into(fig)
    return fig


def filter_changes(model: Any, layer: int, channel: int, cutoff: float | None = None) -> Changes:
    """What a `filter_figure` owes to the filter.

    Parameters
    ----------
    model, layer, channel, cutoff
        As for `filter_figure`.

    Returns
    -------
    Changes
        Data of the curve and of the plane, and the title.
    """
    r, curve = _curve(model, layer, channel, cutoff)
    traces = [{"x": r, "y": curve}, _cut(*_spread(r, curve))]
    return Changes(traces, {"title_text": f"Block {layer}, channel {channel}"})


def _cut(axis: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """The data of a heat map. NaN becomes None: a two-dimensional array travels to the browser as
    json, without NaN."""
    holes = values.astype(object)
    holes[np.isnan(values)] = None
    return {"x": axis, "y": axis, "z": holes}
