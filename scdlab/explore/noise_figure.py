"""The plots of the noise explorer: bond lengths against their bands, the energy against σ, and
cosines against σ.
"""

from typing import Any

import ase
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from scdlab.analysis.bonds import bands_of, bond_lengths, bonds_of, length_density
from scdlab.analysis.denoising import SIGMAS
from scdlab.explore import style
from scdlab.explore.changes import Changes
from scdlab.explore.controls import plain_number
from scdlab.explore.style import PLOTS_WIDTH

# σ in Å -> what noise of about that size does
REGIMES = {0.005: "regularizing", 0.04: "corrupting"}
ORDERS = ("single", "double", "triple")
LANES = 6  # pairs of elements in the histogram
_BAND_COLORS = {1: style.SKY, 2: style.ORANGE, 3: style.PURPLE}
COSINES = {  # key -> (legend, color, dash)
    "cos_back_force": ("cos(−ε, F)", style.VERMILION, "solid"),
    "cos_answer_noise": ("cos(ε̂, ε)", style.GREEN, "dash"),
    "cos_answer_force": ("cos(−ε̂, F)", style.PURPLE, "dot"),
}
ARROWS = {  # trait -> (legend, color)
    "show_noise": ("way back −ε", style.BLUE),
    "show_answer": ("network's way back −ε̂", style.GREEN),
    "show_force": ("force F", style.VERMILION),
}


def lengths_picture(atoms: ase.Atoms, pos: np.ndarray, many: np.ndarray) -> dict[str, Any]:
    """What the histogram shows, one lane for each pair of elements, from the top.

    Parameters
    ----------
    atoms : ase.Atoms
        The clean molecule of n atoms.
    pos : numpy.ndarray
        This displacement's positions [n, 3] in Å.
    many : numpy.ndarray
        Those that the smooth curves are made of [draws, n, 3] in Å.

    Returns
    -------
    dict
        names and heights of the lanes, the x range, and the traces' data.
    """
    pairs = bonds_of(atoms)
    lanes = _lanes(atoms)
    table = {pair: bands_of(*pair.split("–")) for pair in lanes}
    ends = [end for bands in table.values() for band in bands for end in (band.low, band.high)]
    ends = ends or [1.0, 1.6]
    low = min(ends) - 0.04
    high = max(ends) + 0.04
    # beyond what is drawn, as far as smearing reaches
    grid = np.arange(low - 0.2, high + 0.2, 0.002)
    shown = slice(100, -100, 2)
    clean, now, some = (bond_lengths(p, pairs) for p in (atoms.positions, pos, many))
    # adds 3 % to the spread
    width = float(np.clip(0.25 * (some - clean).std(), 0.003, 0.05)) if len(pairs) else 0.003
    height = len(lanes) - 1 - np.arange(len(lanes))  # of each lane's floor
    density = [length_density(some[:, bonds], grid, width)[shown] for bonds in lanes.values()]
    tallest = max((d.max() for d in density), default=1.0) or 1.0
    boxes = {order: ([], []) for order in (3, 2, 1)}
    curve = ([], [])
    marks = ([], [])
    dots = ([], [])
    for at, (pair, bonds), values in zip(height, lanes.items(), density, strict=True):
        for band in table[pair]:
            x, y = boxes[band.order]
            x += [band.low, band.high, band.high, band.low, band.low, None]
            y += [at, at, at + 0.9, at + 0.9, at, None]
        curve[0].extend([*grid[shown].round(3), None])
        curve[1].extend([*(at + 0.85 * values / tallest).round(3), None])
        for r in clean[bonds]:
            marks[0].extend([r, r, None])
            marks[1].extend([at - 0.1, at + 0.12, None])
        dots[0].extend(now[bonds])
        dots[1].extend([at - 0.05] * len(bonds))
    traces = [dict(zip("xy", boxes[order], strict=True)) for order in (3, 2, 1)]
    traces += [dict(zip("xy", each, strict=True)) for each in (curve, marks, dots)]
    return {"names": list(lanes), "heights": height + 0.4, "range": [low, high], "traces": traces}


def sigma_traces(
    curves: dict[str, np.ndarray], values: dict[str, Any], sigma: float
) -> list[dict[str, Any]]:
    """Data of the lower panels: ∝ σ² through the first point, energy, three cosines, and the
    present σ in both.

    Parameters
    ----------
    curves : dict
        rise and cosines at `SIGMAS`, [s] each.
    values : dict
        energy_rise and cosines at the present σ.
    sigma : float
        The present σ in Å.

    Returns
    -------
    list of dict
        One for each trace.
    """
    x = SIGMAS.tolist()
    rise = [e if np.isfinite(e) and e > 0 else None for e in curves["rise"].tolist()]
    start = next(((s, e) for s, e in zip(x, rise, strict=True) if e), None)
    guide = [None if start is None else start[1] * (s / start[0]) ** 2 for s in x]
    cosines = [[plain_number(value) for value in curves[name]] for name in COSINES]
    now = values["energy_rise"] if (values["energy_rise"] or 0) > 0 else None
    traces = [dict(x=x, y=y) for y in (guide, rise, *cosines)]
    colors = [color for _, color, _ in COSINES.values()]
    at = [values[name] for name in COSINES]
    return [*traces, dict(x=[sigma], y=[now]), dict(x=[sigma] * 3, y=at, marker_color=colors)]


def noise_figure(numbers: dict[str, Any]) -> go.Figure:
    """Bond lengths against their bands, the energy against σ, and the cosines against σ.

    Parameters
    ----------
    numbers : dict
        `NoiseExplorer.numbers()`.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    fig: Any = make_subplots(rows=3, cols=1, row_heights=[0.4, 0.27, 0.33], vertical_spacing=0.14)
    _add_lengths(fig)
    _add_against_sigma(fig)
    sigma_axis = style.LOG | dict(range=np.log10([0.0026, 0.58]).tolist())
    fig.update_xaxes(**sigma_axis, row=2, col=1)
    fig.update_xaxes(**sigma_axis, title_text=style.label("σ", "Å"), row=3, col=1)
    fig.update_xaxes(title_text=style.label("bond length", "Å"), title_standoff=2, row=1, col=1)
    rise = dict(title_text=style.label("energy rise", "eV"), type="log", dtick=2, tickformat="~g")
    fig.update_yaxes(**rise, row=2, col=1)
    fig.update_yaxes(title_text="cosine", dtick=0.5, row=3, col=1)
    small = dict(
        orientation="h",
        x=0.0,
        xanchor="left",
        yanchor="bottom",
        font_size=12,
        bgcolor="rgba(0,0,0,0)",
    )
    tops = [fig.layout[axis].domain[1] for axis in ("yaxis", "yaxis2", "yaxis3")]
    fig.update_layout(
        template="scdlab",
        width=PLOTS_WIDTH,
        height=590,
        margin=dict(l=70, r=15, t=45, b=50),
        font_size=13,
        uirevision="noise",
        # on a page without a kernel the molecule's picture stands above it
        meta={"with_still": True},
        legend=small | dict(y=tops[0]),
        legend2=small | dict(y=tops[1], entrywidth=130),
        legend3=small | dict(y=tops[2], entrywidth=80),
    )
    fig.update_xaxes(title_font_size=13).update_yaxes(title_font_size=13)
    _add_regimes(fig)
    noise_changes(numbers).put_into(fig)
    return fig


def noise_changes(numbers: dict[str, Any]) -> Changes:
    """What a `noise_figure` owes to the state: the data of all traces, the lanes' names, the range
    of lengths, the range of the cosines.

    Parameters
    ----------
    numbers : dict
        `NoiseExplorer.numbers()`.

    Returns
    -------
    Changes
        Of the traces and of the axes.
    """
    lengths = numbers["lengths"]
    lanes = max(1, len(lengths["names"]))
    drawn = [y for trace in numbers["traces"][8:11] for y in trace["y"] if y is not None]
    axes = {
        "xaxis": dict(range=lengths["range"]),
        "yaxis": dict(
            tickvals=lengths["heights"],
            ticktext=lengths["names"],
            range=[-0.2, lanes],
            showgrid=False,
        ),
        "yaxis3": dict(range=[min([-0.05, *(y - 0.1 for y in drawn)]), 1.08]),
    }
    return Changes(numbers["traces"], axes)


def _lanes(atoms: ase.Atoms) -> dict[str, list[int]]:
    """Pair of elements -> its bonds: of pairs that can have several orders, else (methane) of all
    that have bands."""
    symbols = atoms.get_chemical_symbols()
    lanes = {}
    for k, (i, j) in enumerate(bonds_of(atoms)):
        if bands := bands_of(symbols[i], symbols[j]):
            lanes.setdefault(bands[0].pair, []).append(k)
    several = {pair: bonds for pair, bonds in lanes.items() if len(bands_of(*pair.split("–"))) > 1}
    # those with the most bonds first
    most = sorted((several or lanes).items(), key=lambda lane: (-len(lane[1]), lane[0]))
    return dict(most[:LANES])


def _add_lengths(fig: Any) -> None:
    """The upper panel: bands, smooth curve, clean lengths, this draw."""
    fill = dict(mode="lines", fill="toself", line_width=0, opacity=0.45, hoverinfo="skip")
    here = dict(legend="legend", row=1, col=1)
    for order in (3, 2, 1):
        color = _BAND_COLORS[order]
        fig.add_scatter(**fill, fillcolor=color, line_color=color, name=ORDERS[order - 1], **here)
    line = dict(color=style.INK, width=2)
    fig.add_scatter(mode="lines", line=line, name="many draws", hoverinfo="skip", **here)
    line = dict(color=style.INK, width=3)
    fig.add_scatter(mode="lines", line=line, name="clean", hovertemplate="%{x:.3f} Å", **here)
    marker = dict(color=style.VERMILION, size=7, symbol="circle", line=dict(color="white", width=1))
    fig.add_scatter(
        mode="markers", marker=marker, name="this draw", hovertemplate="%{x:.3f} Å", **here
    )


def _add_against_sigma(fig: Any) -> None:
    """The lower panels: energy and cosines against σ, and the present σ."""
    dashed = dict(color=style.GRAY, dash="dash", width=1.5)
    energy = dict(legend="legend2", row=2, col=1)
    fig.add_scatter(mode="lines", line=dashed, name="∝ σ²", hoverinfo="skip", **energy)
    dots = dict(
        mode="lines+markers",
        marker_size=5,
        hovertemplate="%{y:.3g} at σ = %{x:.3g} Å<extra></extra>",
    )
    fig.add_scatter(**dots, line=dict(color=style.INK), name="E(x + ε) − E(x)", **energy)
    for name, color, dash in COSINES.values():
        line = dict(color=color, dash=dash)
        fig.add_scatter(**dots, line=line, name=name, legend="legend3", row=3, col=1)
    here = dict(color=[style.INK], size=11, symbol="diamond", line=dict(color="white", width=1))
    for row in (2, 3):
        fig.add_scatter(
            mode="markers", marker=here, showlegend=False, row=row, col=1, hovertemplate="%{y:.3g}"
        )


def _add_regimes(fig: Any) -> None:
    """Where σ regularizes and where it corrupts."""
    for sigma, what in REGIMES.items():
        for row in (2, 3):
            fig.add_vline(x=sigma, line=dict(color=style.GRAY, width=1, dash="dot"), row=row, col=1)
        fig.add_annotation(
            x=np.log10(sigma),
            y=1,
            xref="x2",
            yref="y2 domain",
            text=what,
            font=dict(size=12, color=style.GRAY),
            xanchor="left",
            yanchor="top",
            xshift=4,
            showarrow=False,
        )
