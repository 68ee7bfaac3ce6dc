"""Figures of molecules: in 3-D with arrows, and the surroundings of one atom.

Numbers in, a plotly Figure out, nothing displayed and nothing kept. Distances are in Å. Every
figure carries the template "scdlab" (see `style`).
"""

from collections.abc import Callable

import ase
import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from scdlab.analysis.bonds import bonds_of
from scdlab.analysis.inputs import array, tensor
from scdlab.explore import style
from scdlab.explore.changes import Changes
from scdlab.explore.scene import as_atoms
from scdlab.explore.style import label, marker_size

_HIDDEN = dict(visible=False, showspikes=False)
_CAMERA = dict(eye=dict(x=0.75, y=0.75, z=0.55), projection_type="orthographic")
_SCENE = dict(xaxis=_HIDDEN, yaxis=_HIDDEN, zaxis=_HIDDEN, aspectmode="data", camera=_CAMERA)


def molecule_figure(
    atoms: ase.Atoms,
    arrows: ArrayLike | None = None,
    bonds: bool = True,
    highlight: ArrayLike | None = None,
    center: int | None = None,
    labels: bool = False,
    title: str = "",
    arrow_name: str = "force",
    arrow_unit: str = "eV/Å",
    arrow_scale: float | None = None,
    height: int = 420,
) -> go.Figure:
    """A molecule in 3-D; drag to rotate it.

    Parameters
    ----------
    atoms : ase.Atoms
        The molecule of n atoms.
    arrows : array_like, optional
        Vectors [n, 3] drawn from the atoms, all on one scale that the legend states.
    bonds : bool, default True
        Whether lines join atoms that are near enough to be bonded.
    highlight : array_like, optional
        Indices of atoms that keep their full color while the others fade.
    center : int, optional
        Index of one atom ringed in black, with lines to the highlighted ones.
    labels : bool, default False
        Write element and index.
    title : str, optional
        A line above.
    arrow_name, arrow_unit : str, default "force", "eV/Å"
        What the arrows are, and their unit.
    arrow_scale : float, optional
        Å drawn per arrow_unit; by default the longest arrow is 1.6 Å.
    height : int, default 420
        In pixels.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    atoms = as_atoms(atoms)
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
    shown = _in_full_color(len(z), highlight, center)
    for element in np.unique(z):  # one trace per element, so that the legend names the elements
        for mask, opacity in ((shown & (z == element), 1.0), (~shown & (z == element), 0.25)):
            if mask.any():
                _add_atoms(fig, element, np.flatnonzero(mask), pos, opacity, labels)
    if center is not None:
        joined = shown & (np.arange(len(z)) != center) & (highlight is not None)
        _add_center(fig, pos, z, center, np.flatnonzero(joined))
    if arrows is not None:
        _add_arrows(fig, pos, array(arrows), arrow_name, arrow_unit, arrow_scale)
    fig.update_layout(
        scene=_SCENE,
        margin=dict(l=0, r=0, b=0, t=40 if title else 10),
        legend=dict(x=0.0, y=1.0, itemsizing="constant"),
        uirevision="molecule",  # a new picture keeps the reader's viewpoint
    )
    return fig


def _in_full_color(n: int, highlight: ArrayLike | None, center: int | None) -> np.ndarray:
    """Which of n atoms do not fade [n]: all, or those highlighted and the center."""
    if highlight is None:
        return np.ones(n, bool)
    shown = np.zeros(n, bool)
    shown[np.asarray(highlight, int)] = True
    if center is not None:
        shown[center] = True
    return shown


def _add_center(
    fig: go.Figure, pos: np.ndarray, z: np.ndarray, center: int, others: np.ndarray
) -> None:
    """A ring around one atom, and lines from it to others."""
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
    if len(others):
        ends = _segments(np.repeat(pos[[center]], len(others), axis=0), pos[others])
        fig.add_scatter3d(
            **ends,
            mode="lines",
            name="neighbor pairs",
            hoverinfo="skip",
            line=dict(color=style.BLUE, width=3),
        )


def neighbor_figure(
    atoms: ase.Atoms,
    center: int,
    cutoff: float,
    neighbor: int,
    basis: Callable[[torch.Tensor], torch.Tensor],
) -> go.Figure:
    """What one atom sees: the atoms within its cutoff in 3-D, its distances on a line, and one
    distance in a basis.

    The traces are the same in number and kind for every molecule, so that a widget can change them
    in place (`neighbor_changes`).

    Parameters
    ----------
    atoms : ase.Atoms
        The molecule.
    center : int
        Index of the atom.
    cutoff : float
        In Å.
    neighbor : int
        Index of the atom whose distance is expanded.
    basis : callable
        Radial basis, r [P] in Å -> [P, K].

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    fig = make_subplots(
        rows=2,
        cols=2,
        specs=[[{"type": "scene", "rowspan": 2}, {}], [None, {}]],
        column_widths=[0.5, 0.5],
        row_heights=[0.55, 0.45],
        vertical_spacing=0.24,
        horizontal_spacing=0.1,
    )
    _add_what_it_sees(fig)
    _add_distances(fig)
    fig.add_bar(marker_color=style.VERMILION, row=2, col=2)
    fig.update_xaxes(title_text="index k of the basis function", row=2, col=2)
    fig.update_yaxes(range=[0, 1.1], row=2, col=2)
    fig.update_layout(
        template="scdlab",
        height=480,
        showlegend=False,
        margin=dict(l=10, r=15, t=40, b=50),
        scene=_SCENE,
        uirevision="neighbors",
    )
    neighbor_changes(atoms, center, cutoff, neighbor, basis).put_into(fig)
    return fig


def neighbor_changes(
    atoms: ase.Atoms,
    center: int,
    cutoff: float,
    neighbor: int,
    basis: Callable[[torch.Tensor], torch.Tensor],
) -> Changes:
    """What a `neighbor_figure` owes to the molecule, its atoms and the cutoff.

    Parameters
    ----------
    atoms, center, cutoff, neighbor, basis
        As for `neighbor_figure`.

    Returns
    -------
    Changes
        Data of all traces; the title, and the axes whose range or title they set.
    """
    pos = atoms.get_positions()
    z = atoms.numbers
    r = np.linalg.norm(pos - pos[center], axis=1)
    sees = (r <= cutoff) & (np.arange(len(z)) != center)
    grid = np.linspace(0.0, max(5.0, 1.05 * r.max()), 151).round(3)
    values = array(basis(tensor(np.append(grid, r[neighbor]))))  # (152, K)
    chosen = f"{style.symbol(z[center])}{center}–{style.symbol(z[neighbor])}{neighbor}"
    title = (
        f"{atoms.get_chemical_formula()}: atom {center} sees {sees.sum()} of {len(z) - 1} "
        f"others; {chosen} are {r[neighbor]:.2f} Å apart"
    )
    bars = {"x": np.arange(values.shape[1]), "y": values[-1]}
    return Changes(
        [
            *_what_it_sees(pos, z, center, sees, neighbor, bonds_of(atoms)),
            *_distances(r, sees, center, cutoff, r[neighbor], grid, values[:-1]),
            bars,
        ],
        {
            "title_text": title,
            "xaxis": {"range": [0, grid[-1]]},
            "yaxis2": {"title_text": f"e<sub>k</sub>({r[neighbor]:.2f} Å)"},
        },
    )


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
            f"molecule_figure needs one arrow per atom, of shape {list(pos.shape)}, got "
            f"{list(vectors.shape)}: pass a vector for each atom."
        )
    length = np.linalg.norm(vectors, axis=1)
    if not length.max() > 0:
        return
    scale = float(scale or 1.6 / length.max())
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


def _add_what_it_sees(fig: go.Figure) -> None:
    """The 3-D part, empty: bonds, the pairs of the center, the chosen pair, the atoms, a ring
    around the center."""
    place = dict(row=1, col=1)
    for color, width in ((style.GRAY, 7), (style.BLUE, 4), (style.VERMILION, 8)):
        line = dict(color=color, width=width)
        fig.add_scatter3d(mode="lines", hoverinfo="skip", line=line, **place)
    fig.add_scatter3d(
        mode="markers+text",
        textposition="middle center",
        marker=dict(sizeref=0.5, opacity=1.0, line_color=style.INK),
        hovertemplate="%{text}<br>(%{x:.3f}, %{y:.3f}, %{z:.3f}) Å<extra></extra>",
        **place,
    )
    ring = dict(symbol="circle-open", color=style.BLACK, line_width=4)
    fig.add_scatter3d(mode="markers", hoverinfo="skip", marker=ring, **place)


def _what_it_sees(
    pos: np.ndarray,
    z: np.ndarray,
    center: int,
    sees: np.ndarray,
    neighbor: int,
    bonds: np.ndarray,
) -> list[dict]:
    """The data of the 3-D part."""
    shown = sees.copy()
    shown[center] = True
    colors = [
        _rgba(style.element_color(k), 1.0 if s else 0.25) for k, s in zip(z, shown, strict=True)
    ]
    start = np.repeat(pos[[center]], sees.sum(), axis=0)
    sizes = [marker_size(k) for k in z]
    places = dict(zip("xyz", pos.T, strict=True))
    return [
        _segments(pos[bonds[:, 0]], pos[bonds[:, 1]]),
        _segments(start, pos[sees]),
        _segments(pos[[center]], pos[[neighbor]]),
        places
        | {
            "text": [f"{style.symbol(k)}{n}" for n, k in enumerate(z)],
            "marker": {"size": sizes, "color": colors},
        },
        dict(zip("xyz", pos[[center]].T, strict=True)) | {"marker": {"size": sizes[center] + 2}},
    ]


def _add_distances(fig: go.Figure) -> None:
    """The distance axis, empty: basis functions as thin curves, distances as ticks, the cutoff and
    the chosen one."""
    place = dict(row=1, col=2)
    thin = dict(color=style.SKY, width=1)
    fig.add_scatter(mode="lines", line=thin, hoverinfo="skip", **place)
    for color in (style.BLUE, style.GRAY):
        fig.add_scatter(
            mode="markers",
            marker=dict(color=color, size=11, symbol="line-ns", line=dict(width=3, color=color)),
            hovertemplate="r = %{x:.3f} Å<extra></extra>",
            **place,
        )
    for line in (dict(color=style.INK, dash="dot"), dict(color=style.VERMILION, width=2)):
        fig.add_scatter(y=[-0.25, 1.1], mode="lines", line=line, hoverinfo="skip", **place)
    fig.update_xaxes(title_text=label("distance r", "Å"), row=1, col=2)
    fig.update_yaxes(
        title_text="basis e<sub>k</sub>(r)",
        range=[-0.25, 1.1],
        row=1,
        col=2,
    )


def _distances(
    r: np.ndarray,
    sees: np.ndarray,
    center: int,
    cutoff: float,
    chosen: float,
    grid: np.ndarray,
    basis: np.ndarray,
) -> list[dict]:
    """The data of the distance axis."""
    basis = basis.round(3)  # a picture needs no more digits, and travels to the browser as text
    x = np.tile(np.append(grid, np.nan), basis.shape[1])
    y = np.concatenate([basis.T, np.full((basis.shape[1], 1), np.nan)], axis=1).ravel()
    beyond = ~sees & (np.arange(len(r)) != center)
    ticks = [{"x": r[mask], "y": np.full(mask.sum(), -0.13)} for mask in (sees, beyond)]
    return [{"x": x, "y": y}, *ticks, {"x": [cutoff, cutoff]}, {"x": [chosen, chosen]}]


def _rgba(color: str, opacity: float) -> str:
    return "rgba({},{},{},{})".format(*bytes.fromhex(color[1:]), opacity)
