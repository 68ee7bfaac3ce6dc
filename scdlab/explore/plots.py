"""Figures of errors, trainings, paths and comparisons.

Numbers in, a plotly Figure out, nothing displayed and nothing kept. Arrays may be numpy arrays,
torch tensors or lists. Distances are in Å, energies in eV, forces in eV/Å unless a `unit` is
given. Every figure carries the template "scdlab" (see `style`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from scdlab.analysis.inputs import array
from scdlab.explore import style
from scdlab.explore.style import label


def parity_plot(
    true: ArrayLike,
    predicted: ArrayLike | Mapping[str, ArrayLike],
    unit: str = "eV",
    quantity: str = "energy",
    title: str = "",
) -> go.Figure:
    """Predicted against true values: a perfect model puts every point on the diagonal.

    The legend gives each model's mean absolute error (MAE).

    Parameters
    ----------
    true : array_like
        True values, any shape.
    predicted : array_like or mapping
        Values of the same size, or name -> values.
    unit : str, default "eV"
        Of the values.
    quantity : str, default "energy"
        What they are.
    title : str, optional
        A line above.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.

    Raises
    ------
    ValueError
        For another number of predicted values than of true ones.
    """
    true = array(true).ravel()
    series = predicted if isinstance(predicted, dict) else {"model": predicted}
    fig = style.figure(
        label(f"true {quantity}", unit), label(f"predicted {quantity}", unit), title, height=420
    )
    low = true.min()
    high = true.max()
    for k, (name, values) in enumerate(series.items()):
        values = array(values).ravel()
        if values.shape != true.shape:
            raise ValueError(
                f"parity_plot: {name!r} has {values.size} values, but there are {true.size} true "
                "ones."
            )
        mae = np.abs(values - true).mean()
        low = min(low, values.min())
        high = max(high, values.max())
        fig.add_scatter(
            x=true,
            y=values,
            mode="markers",
            name=f"{name}: MAE {mae:.3g} {unit}",
            marker=dict(size=6, opacity=0.6, color=style.color(k)),
        )
    pad = 0.05 * (high - low or 1.0)
    ends = [low - pad, high + pad]
    fig.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        name="predicted = true",
        line=dict(color=style.INK, width=1, dash="dot"),
    )
    fig.update_xaxes(range=ends, constrain="domain")
    fig.update_yaxes(range=ends, scaleanchor="x", constrain="domain")
    return fig


def learning_curve(
    history: Mapping[str, Any], quantity: str = "energy_mae", unit: str = "eV", title: str = ""
) -> go.Figure:
    """An error while training, on a logarithmic axis: validation thick, training thin beside it.

    Steps without a validation value (None or NaN) are skipped.

    Parameters
    ----------
    history : mapping
        What `fit` returns as `.history` (lists under "step", `quantity` and "val_" + quantity), or
        name -> history to compare several trainings.
    quantity : str, default "energy_mae"
        The error.
    unit : str, default "eV"
        Its unit.
    title : str, optional
        A line above.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.

    Raises
    ------
    ValueError
        For a quantity that the history does not have.
    """
    several = (
        history if history and all(isinstance(h, dict) for h in history.values()) else {"": history}
    )
    fig = style.figure(
        "training step", label(quantity.replace("_mae", " MAE").replace("_", " "), unit), title
    )
    for k, (name, h) in enumerate(several.items()):
        if quantity not in h and f"val_{quantity}" not in h:
            raise ValueError(
                f"learning_curve: the history has no {quantity!r}; it has {', '.join(sorted(h))}."
            )
        beside = f"val_{quantity}" in h
        for key, what, width, opacity in (
            (quantity, "training", 1 if beside else 2, 0.5 if beside else 1.0),
            (f"val_{quantity}", "validation", 2.5, 1.0),
        ):
            if key not in h:
                continue
            y = np.array([np.nan if v is None else v for v in h[key]], float)
            x = np.asarray(h["step"], float)[: len(y)]
            there = np.isfinite(y)
            fig.add_scatter(
                x=x[there],
                y=y[there],
                mode="lines" if there.sum() > 1 else "markers",
                opacity=opacity,
                name=f"{name}, {what}" if name else what,
                line=style.line(k) | dict(width=width),
            )
    fig.update_yaxes(**style.LOG)
    return fig


def path_plot(
    x: ArrayLike,
    energies: Mapping[str, ArrayLike],
    x_label: str = "distance",
    x_unit: str = "Å",
    unit: str = "eV",
    title: str = "",
) -> go.Figure:
    """Energy along a path. Curves are drawn as given; subtract a reference first.

    Parameters
    ----------
    x : array_like
        The coordinate [n] of the path.
    energies : mapping
        Name -> energies [n].
    x_label, x_unit : str, default "distance", "Å"
        What the coordinate is, and its unit.
    unit : str, default "eV"
        Unit of the energies.
    title : str, optional
        A line above.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    fig = style.figure(label(x_label, x_unit), label("energy", unit), title)
    for k, (name, values) in enumerate(energies.items()):
        fig.add_scatter(x=array(x), y=array(values), mode="lines", name=name, line=style.line(k))
    return fig


def drift_plot(
    runs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    per_atom: int | None = None,
    title: str = "",
) -> go.Figure:
    """Total energy in constant-energy dynamics, minus its first value: a model with exact forces
    keeps it near zero.

    Parameters
    ----------
    runs : mapping
        Name -> (time [n] in fs, total energy [n] in eV).
    per_atom : int, optional
        Number of atoms, to show eV per atom.
    title : str, optional
        A line above.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    unit = "eV/atom" if per_atom else "eV"
    fig = style.figure(label("time", "fs"), label("total energy − start", unit), title)
    fig.add_hline(y=0, line=dict(color=style.INK, width=1, dash="dot"))
    for k, (name, (time, energy)) in enumerate(runs.items()):
        energy = array(energy)
        fig.add_scatter(
            x=array(time),
            y=(energy - energy[0]) / (per_atom or 1),
            mode="lines",
            name=name,
            line=style.line(k),
        )
    return fig


def compare_bars(
    values: Mapping[str, ArrayLike],
    quantity: str,
    unit: str = "",
    title: str = "",
    log: bool = False,
) -> go.Figure:
    """One bar per name: the mean over seeds, every single run as a dot, and the spread (lowest to
    highest) as a line.

    Parameters
    ----------
    values : mapping
        Name -> number or [seeds].
    quantity : str
        What the numbers are.
    unit : str, optional
        Their unit.
    title : str, optional
        A line above.
    log : bool, default False
        A logarithmic axis, which suits errors that differ by factors.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    fig = style.figure("", label(quantity, unit), title)
    for k, (name, runs) in enumerate(values.items()):
        runs = np.atleast_1d(array(runs))
        mean = runs.mean()
        spread = dict(
            type="data",
            symmetric=False,
            array=[runs.max() - mean],
            arrayminus=[mean - runs.min()],
            color=style.INK,
            visible=len(runs) > 1,
        )
        fig.add_bar(
            x=[name],
            y=[mean],
            error_y=spread,
            marker_color=style.color(k),
            showlegend=False,
            opacity=0.85,
        )
        if len(runs) > 1:
            fig.add_scatter(
                x=[name] * len(runs),
                y=runs,
                mode="markers",
                hoverinfo="y",
                showlegend=False,
                marker=dict(color="white", size=7, line=dict(color=style.INK, width=1.5)),
            )
    if log:
        fig.update_yaxes(**style.LOG)
    return fig


def compare_curves(
    x: ArrayLike,
    values: Mapping[str, ArrayLike],
    x_label: str,
    quantity: str,
    x_unit: str = "",
    unit: str = "",
    title: str = "",
    log: str = "xy",
) -> go.Figure:
    """Curves with their spread: line = mean, band = lowest to highest.

    Parameters
    ----------
    x : array_like
        The coordinate [n].
    values : mapping
        Name -> [n] or [seeds, n].
    x_label, quantity : str
        What the axes show.
    x_unit, unit : str, optional
        Their units.
    title : str, optional
        A line above.
    log : {"", "x", "y", "xy"}, default "xy"
        Which axes are logarithmic.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.

    Raises
    ------
    ValueError
        For values of another length than x.
    """
    x = array(x)
    fig = style.figure(label(x_label, x_unit), label(quantity, unit), title)
    for k, (name, runs) in enumerate(values.items()):
        runs = np.atleast_2d(array(runs))
        if runs.shape[1] != len(x):
            raise ValueError(
                f"compare_curves: {name!r} has {runs.shape[1]} values, but x has {len(x)}."
            )
        if len(runs) > 1:
            fig.add_scatter(
                x=np.concatenate([x, x[::-1]]),
                y=np.concatenate([runs.max(0), runs.min(0)[::-1]]),
                fill="toself",
                fillcolor=style.color(k),
                opacity=0.2,
                line_width=0,
                hoverinfo="skip",
                showlegend=False,
            )
        marker = dict(size=8, symbol=k)
        fig.add_scatter(
            x=x, y=runs.mean(0), mode="lines+markers", name=name, line=style.line(k), marker=marker
        )
    fig.update_xaxes(**style.LOG if "x" in log else {})
    fig.update_yaxes(**style.LOG if "y" in log else {})
    return fig
