"""The figures of the lessons, as pure functions: numbers in, a plotly Figure out, nothing displayed
and nothing kept.

Arrays may be numpy arrays, torch tensors or lists. Distances are in Å, energies in eV, forces in
eV/Å unless a `unit` says otherwise. Every figure carries the template "scdlab" (see `style`).
"""

import ase
import numpy as np
import plotly.graph_objects as go
from ase.data import covalent_radii
from plotly.subplots import make_subplots

from scdlab.analysis.bonds import bonds_of
from scdlab.analysis.inputs import array, tensor
from scdlab.explore import style
from scdlab.explore.style import label

_HIDDEN = dict(visible=False, showspikes=False)
_CAMERA = dict(eye=dict(x=0.75, y=0.75, z=0.55), projection_type="orthographic")
_SCENE = dict(xaxis=_HIDDEN, yaxis=_HIDDEN, zaxis=_HIDDEN, aspectmode="data", camera=_CAMERA)


def _segments(start: np.ndarray, end: np.ndarray) -> dict:
    """Many line segments as the x, y, z of one trace: start, end, gap, start, end, gap, … ([n, 3],
    [n, 3])."""
    points = np.stack([start, end, np.full_like(start, np.nan)], axis=1).reshape(-1, 3)
    return dict(zip("xyz", points.T, strict=True))


def _cones(base: np.ndarray, tip: np.ndarray, radius: float, sides: int = 8) -> dict:
    """Arrow heads as one mesh: for each a ring of `sides` points around `base` [n, 3], joined to
    its `tip` [n, 3]."""
    axis = tip - base
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    helper = np.where(np.abs(axis[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    u = np.cross(axis, helper)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(axis, u)
    phi = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None, :, None]
    ring = base[:, None] + radius * (
        np.cos(phi) * u[:, None] + np.sin(phi) * v[:, None]
    )  # (n, sides, 3)
    points = np.concatenate([ring, tip[:, None], base[:, None]], axis=1)  # (n, sides + 2, 3)
    k = np.arange(sides)
    here = np.tile(k, 2)
    there = np.tile((k + 1) % sides, 2)
    apex = np.repeat([sides, sides + 1], sides)
    faces = np.stack([here, there, apex], axis=1)  # side faces, then the bottom
    faces = (faces[None] + (sides + 2) * np.arange(len(base))[:, None, None]).reshape(-1, 3)
    return dict(zip("xyzijk", [*points.reshape(-1, 3).T, *faces.T], strict=True))


def molecule_figure(
    atoms: ase.Atoms,
    arrows=None,
    bonds: bool = True,
    highlight=None,
    center: int | None = None,
    labels: bool = False,
    title: str = "",
    arrow_name: str = "force",
    arrow_unit: str = "eV/Å",
    arrow_scale: float | None = None,
    height: int = 420,
) -> go.Figure:
    """A molecule in 3-D; drag to turn it.

    arrows: [n, 3] vectors drawn from the atoms, all on one scale that the legend states;
    arrow_scale: Å drawn per arrow_unit (by default the longest arrow is 1.6 Å). highlight: indices
    of atoms that keep their full color while the others fade; center: index of one atom ringed in
    black, with lines to the highlighted ones. labels: write element and index.
    """
    pos = atoms.get_positions()
    z = atoms.numbers
    fig = style.figure(title=title, height=height)
    if bonds and len(pairs := bonds_of(atoms)):
        ends = _segments(pos[pairs[:, 0]], pos[pairs[:, 1]])
        fig.add_scatter3d(
            **ends,
            mode="lines",
            line=dict(color=style.GRAY, width=7),
            hoverinfo="skip",
            showlegend=False,
        )
    shown = np.ones(len(z), bool)
    if highlight is not None:
        shown[:] = False
        shown[np.asarray(highlight, int)] = True
        if center is not None:
            shown[center] = True
    for element in np.unique(z):  # one trace per element, so that the legend names the elements
        for mask, opacity in ((shown & (z == element), 1.0), (~shown & (z == element), 0.25)):
            if mask.any():
                _add_atoms(fig, element, np.flatnonzero(mask), pos, opacity, labels)
    if center is not None:
        fig.add_scatter3d(
            **dict(zip("xyz", pos[[center]].T, strict=True)),
            mode="markers",
            name="this atom",
            hoverinfo="skip",
            marker=dict(
                symbol="circle-open",
                size=marker_size(z[center]) + 8,
                color=style.BLACK,
                line_width=4,
            ),
        )
        others = [k for k in np.flatnonzero(shown) if k != center]
        if highlight is not None and others:
            ends = _segments(np.repeat(pos[[center]], len(others), axis=0), pos[others])
            fig.add_scatter3d(
                **ends,
                mode="lines",
                name="neighbor pairs",
                hoverinfo="skip",
                line=dict(color=style.BLUE, width=3),
            )
    if arrows is not None:
        _add_arrows(fig, pos, array(arrows), arrow_name, arrow_unit, arrow_scale)
    fig.update_layout(
        scene=_SCENE,
        margin=dict(l=0, r=0, b=0, t=40 if title else 10),
        legend=dict(x=0.0, y=1.0, itemsizing="constant"),
        uirevision="molecule",  # a new picture keeps the reader's viewpoint
    )
    return fig


def marker_size(z: int) -> float:
    """The diameter of an atom of element z, in pixels."""
    return 9 + 14 * covalent_radii[z]


def _add_atoms(
    fig: go.Figure, z: int, index: np.ndarray, pos: np.ndarray, opacity: float, labels: bool
) -> None:
    names = [f"{style.symbol(z)}{k}" for k in index]
    fig.add_scatter3d(
        **dict(zip("xyz", pos[index].T, strict=True)),
        mode="markers+text" if labels else "markers",
        text=names,
        textposition="middle center",
        name=style.symbol(z),
        legendgroup=style.symbol(z),
        showlegend=opacity == 1.0,
        opacity=opacity,
        marker=dict(
            size=marker_size(z), color=style.element_color(z), line=dict(color=style.INK, width=1)
        ),
        hovertemplate="%{text}<br>(%{x:.3f}, %{y:.3f}, %{z:.3f}) Å<extra></extra>",
    )


def _add_arrows(
    fig: go.Figure, pos: np.ndarray, vectors: np.ndarray, name: str, unit: str, scale: float | None
) -> None:
    if vectors.shape != pos.shape:
        raise ValueError(
            f"molecule_figure needs one arrow per atom, shape {pos.shape}, not {vectors.shape}."
        )
    length = np.linalg.norm(vectors, axis=1)
    if not length.max() > 0:
        return
    scale = scale or 1.6 / length.max()
    keep = length * scale > 0.02  # shorter arrows would be dots
    if not keep.any():
        return
    start = pos[keep]
    step = vectors[keep] * scale
    drawn = length[keep, None] * scale
    tip = start + step
    base = tip - step / drawn * np.minimum(0.25, 0.5 * drawn)
    text = [f"atom {k}: |{name}| = {length[k]:.3g} {unit}" for k in np.flatnonzero(keep)]
    legend = f"{name} (1 Å drawn = {1 / scale:.2g} {unit})"
    fig.add_scatter3d(
        **_segments(start, base),
        mode="lines",
        name=legend,
        legendgroup="arrows",
        hoverinfo="text",
        hovertext=np.repeat(text, 3),
        line=dict(color=style.VERMILION, width=6),
    )
    fig.add_mesh3d(
        **_cones(base, tip, radius=0.09),
        color=style.VERMILION,
        flatshading=True,
        hoverinfo="skip",
        name=name,
        legendgroup="arrows",
        showlegend=False,
    )


def parity_plot(
    true, predicted, unit: str = "eV", quantity: str = "energy", title: str = ""
) -> go.Figure:
    """Predicted against true values: a perfect model puts every point on the diagonal.

    predicted: an array like `true`, or a dict name -> array. The legend gives each model's mean
    absolute error (MAE).
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
    history, quantity: str = "energy_mae", unit: str = "eV", title: str = ""
) -> go.Figure:
    """An error while training, on a logarithmic axis: training thin, validation thick.

    history: what `fit` returns as `.history` (lists under "step", `quantity` and "val_" +
    quantity), or a dict name -> history to compare several trainings. Steps without a validation
    value (None or NaN) are skipped.
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
        for key, what, width, opacity in (
            (quantity, "training", 1, 0.5),
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


def filter_curves(r, W, cutoff: float | None = None, channels=None, title: str = "") -> go.Figure:
    """Filters as functions of distance: r [R] in Å, W [R, d] (one curve per channel). channels:
    which to draw."""
    r = array(r)
    W = array(W)
    if W.ndim != 2 or len(W) != len(r):
        raise ValueError(
            f"filter_curves needs W of shape [{len(r)}, channels], not {list(W.shape)}."
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


def cut_values(model, interaction: int, channel: int, cutoff: float | None = None, n: int = 91):
    """One filter on the plane z = 0 around an atom at the origin: axis [n] in Å, values [n, n], NaN
    beyond the cutoff.

    model: anything with `filter_curves(distances [R]) -> [layers, R, d]`, such as `scdlab.SchNet`.
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


def _add_cut(fig: go.Figure, axis: np.ndarray, values: np.ndarray, **place) -> None:
    """A cut as a heat map. NaN becomes None: a two-dimensional array travels to the browser as
    json, without NaN."""
    holes = np.where(np.isnan(values), None, values).tolist()
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


def filter_cuts(
    model, interaction: int = 0, channel: int = 0, cutoff: float | None = None
) -> go.Figure:
    """A filter's value at each place around an atom at the origin (plane z = 0): rings, since only
    distance counts."""
    axis, values = cut_values(model, interaction, channel, cutoff)
    fig = style.figure(
        label("x", "Å"), label("y", "Å"), f"Layer {interaction}, channel {channel}", height=420
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


def path_plot(
    x,
    energies: dict,
    x_label: str = "distance",
    x_unit: str = "Å",
    unit: str = "eV",
    title: str = "",
) -> go.Figure:
    """Energy along a path: x [n], energies name -> [n]. Curves are drawn as given; subtract a
    reference first."""
    fig = style.figure(label(x_label, x_unit), label("energy", unit), title)
    for k, (name, values) in enumerate(energies.items()):
        fig.add_scatter(x=array(x), y=array(values), mode="lines", name=name, line=style.line(k))
    return fig


def drift_plot(runs: dict, per_atom: int | None = None, title: str = "") -> go.Figure:
    """Total energy in constant-energy dynamics, minus its first value: a model with exact forces
    keeps it near zero.

    runs: name -> (time [n] in fs, total energy [n] in eV). per_atom: number of atoms, to show eV
    per atom.
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
    values: dict, quantity: str, unit: str = "", title: str = "", log: bool = False
) -> go.Figure:
    """One bar per name: the mean over seeds, every single run as a dot, and the spread (lowest to
    highest) as a line.

    values: name -> number or [seeds]. A logarithmic axis suits errors that differ by factors.
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
    x,
    values: dict,
    x_label: str,
    quantity: str,
    x_unit: str = "",
    unit: str = "",
    title: str = "",
    log: str = "xy",
) -> go.Figure:
    """Curves with their spread: x [n], values name -> [n] or [seeds, n]; line = mean, band = lowest
    to highest.

    log: which axes are logarithmic: "", "x", "y" or "xy".
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


def neighbor_figure(
    atoms: ase.Atoms, center: int, cutoff: float, neighbor: int, basis
) -> go.Figure:
    """What one atom sees: the atoms within its cutoff in 3-D, its distances on a line, and one
    distance in a basis.

    center: index of the atom; cutoff in Å; neighbor: index of the atom whose distance is expanded;
    basis: radial basis, a function r [P] -> [P, K]. The traces are the same in number and kind for
    every molecule, so that a widget can change them in place.
    """
    pos = atoms.get_positions()
    z = atoms.numbers
    r = np.linalg.norm(pos - pos[center], axis=1)
    sees = (r <= cutoff) & (np.arange(len(z)) != center)
    fig = make_subplots(
        rows=2,
        cols=2,
        specs=[[{"type": "scene", "rowspan": 2}, {}], [None, {}]],
        column_widths=[0.5, 0.5],
        row_heights=[0.55, 0.45],
        vertical_spacing=0.24,
        horizontal_spacing=0.1,
    )
    _add_what_it_sees(fig, pos, z, center, sees, neighbor, bonds_of(atoms))
    grid = np.linspace(0.0, max(5.0, 1.05 * r.max()), 151).round(3)
    _add_distances(
        fig,
        r,
        sees,
        center,
        cutoff,
        r[neighbor],
        grid,
        array(basis(tensor(grid))),
    )
    values = array(basis(tensor(r[[neighbor]])))[0]
    fig.add_bar(x=np.arange(len(values)), y=values, marker_color=style.VERMILION, row=2, col=2)
    chosen = f"{style.symbol(z[center])}{center}–{style.symbol(z[neighbor])}{neighbor}"
    fig.update_xaxes(title_text="index k of the basis function", row=2, col=2)
    fig.update_yaxes(title_text=f"e<sub>k</sub>({r[neighbor]:.2f} Å)", range=[0, 1.1], row=2, col=2)
    fig.update_layout(
        template="scdlab",
        height=480,
        showlegend=False,
        margin=dict(l=10, r=15, t=40, b=50),
        title_text=(
            f"{atoms.get_chemical_formula()}: atom {center} sees {sees.sum()} of {len(z) - 1} "
            f"others; {chosen} are {r[neighbor]:.2f} Å apart"
        ),
        scene=_SCENE,
        uirevision="neighbors",
    )
    return fig


def _add_what_it_sees(fig, pos, z, center, sees, neighbor, bonds) -> None:
    """The 3-D part: bonds, the pairs of `center`, the chosen pair, the atoms, a ring around
    `center`."""
    shown = sees.copy()
    shown[center] = True
    colors = [
        _rgba(style.element_color(k), 1.0 if s else 0.25) for k, s in zip(z, shown, strict=True)
    ]
    names = [f"{style.symbol(k)}{n}" for n, k in enumerate(z)]
    start = np.repeat(pos[[center]], sees.sum(), axis=0)
    lines = (
        (_segments(pos[bonds[:, 0]], pos[bonds[:, 1]]), style.GRAY, 7),
        (_segments(start, pos[sees]), style.BLUE, 4),
        (_segments(pos[[center]], pos[[neighbor]]), style.VERMILION, 8),
    )
    for ends, color, width in lines:
        fig.add_scatter3d(
            **ends,
            mode="lines",
            hoverinfo="skip",
            line=dict(color=color, width=width),
            row=1,
            col=1,
        )
    fig.add_scatter3d(
        **dict(zip("xyz", pos.T, strict=True)),
        mode="markers+text",
        text=names,
        textposition="middle center",
        marker=dict(
            size=[marker_size(k) for k in z],
            sizeref=0.5,
            opacity=1.0,
            color=colors,
            line_color=style.INK,
        ),
        hovertemplate="%{text}<br>(%{x:.3f}, %{y:.3f}, %{z:.3f}) Å<extra></extra>",
        row=1,
        col=1,
    )
    fig.add_scatter3d(
        **dict(zip("xyz", pos[[center]].T, strict=True)),
        mode="markers",
        hoverinfo="skip",
        row=1,
        col=1,
        marker=dict(
            symbol="circle-open", size=marker_size(z[center]) + 2, color=style.BLACK, line_width=4
        ),
    )


def _add_distances(fig, r, sees, center, cutoff, chosen, grid, basis) -> None:
    """The distance axis: basis functions as thin curves, distances as ticks, the cutoff and the
    chosen one."""
    basis = basis.round(3)  # a picture needs no more digits, and travels to the browser as text
    x = np.tile(np.append(grid, np.nan), basis.shape[1])
    y = np.concatenate([basis.T, np.full((basis.shape[1], 1), np.nan)], axis=1).ravel()
    thin = dict(color=style.SKY, width=1)
    fig.add_scatter(x=x, y=y, mode="lines", line=thin, hoverinfo="skip", row=1, col=2)
    beyond = ~sees & (np.arange(len(r)) != center)
    for mask, color in ((sees, style.BLUE), (beyond, style.GRAY)):
        fig.add_scatter(
            x=r[mask],
            y=np.full(mask.sum(), -0.13),
            mode="markers",
            row=1,
            col=2,
            marker=dict(color=color, size=11, symbol="line-ns", line=dict(width=3, color=color)),
            hovertemplate="r = %{x:.3f} Å<extra></extra>",
        )
    for at, line in (
        (cutoff, dict(color=style.INK, dash="dot")),
        (chosen, dict(color=style.VERMILION, width=2)),
    ):
        fig.add_scatter(
            x=[at, at], y=[-0.25, 1.1], mode="lines", line=line, hoverinfo="skip", row=1, col=2
        )
    fig.update_xaxes(title_text=label("distance r", "Å"), range=[0, grid[-1]], row=1, col=2)
    fig.update_yaxes(title_text="basis e<sub>k</sub>(r)", range=[-0.25, 1.1], row=1, col=2)


def _rgba(color: str, opacity: float) -> str:
    return "rgba({},{},{},{})".format(*bytes.fromhex(color[1:]), opacity)


def filter_figure(model, layer: int, channel: int, cutoff: float | None = None) -> go.Figure:
    """One filter twice, as a curve over the distance and on a plane around an atom: arguments as
    `filter_cuts`."""
    cutoff = float(cutoff or model.cutoff)
    r = np.linspace(0, cutoff, 200)
    curve = array(model.filter_curves(tensor(r)))[layer, :, channel]
    axis, values = cut_values(model, layer, channel, cutoff)
    fig = make_subplots(rows=1, cols=2, column_widths=[0.52, 0.48], horizontal_spacing=0.12)
    fig.add_hline(y=0, line=dict(color=style.INK, width=1, dash="dot"), row=1, col=1)
    fig.add_scatter(x=r, y=curve, mode="lines", line=style.line(0) | dict(width=3), row=1, col=1)
    _add_cut(fig, axis, values, row=1, col=2)
    fig.update_layout(
        template="scdlab",
        height=400,
        showlegend=False,
        title_text=f"Layer {layer}, channel {channel}",
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
