"""One look for every figure: colors that color-blind readers can distinguish, axes with units, the
same fonts.

The colors are those of Okabe and Ito (Color Universal Design, 2008). Importing this module
registers the plotly template "scdlab"; it does not make it the default of figures that are not
ours.
"""

from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
ORANGE = "#E69F00"
SKY = "#56B4E9"
PURPLE = "#CC79A7"
YELLOW = "#F0E442"
BLACK = "#000000"
GRAY = "#8C8C8C"
LIGHT = "#E6E6E6"
INK = "#262626"
COLORS = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, BLACK)
# lines differ without color too
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
DIVERGING = "RdBu"  # for values around zero, with zero in the middle
# a logarithmic axis, labeled 1, 2, 5, 10, … in full
LOG: dict[str, Any] = dict(type="log", dtick="D2", tickformat="~g")
# Pixels of widgets. In a window of 1,280, beside JupyterLab's file browser, the output of a cell
# has about 845: a molecule and plots fit side by side, and three controls in a row above them.
VIEW_WIDTH = 350
PLOTS_WIDTH = 470
CONTROL_WIDTH = 270
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"

_REMOVED = [
    "select2d",
    "lasso2d",
    "zoomIn2d",
    "zoomOut2d",
    "autoScale2d",
    "tableRotation",
    "resetCameraLastSave3d",
]
_AXIS = dict(
    showline=True,
    linecolor=INK,
    linewidth=1,
    ticks="outside",
    tickcolor=INK,
    gridcolor=LIGHT,
    zeroline=False,
    automargin=True,
    title=dict(standoff=8),
)

pio.templates["scdlab"] = go.layout.Template(
    layout=dict(
        colorway=COLORS,
        font=dict(family=FONT, size=14, color=INK),
        title=dict(font=dict(size=16), x=0.0, xref="paper", xanchor="left"),
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin=dict(l=70, r=20, t=50, b=60),
        xaxis=_AXIS,
        yaxis=_AXIS,
        legend=dict(bgcolor="rgba(255,255,255,0.8)", font=dict(size=13)),
        modebar=dict(orientation="v", remove=_REMOVED),
        hoverlabel=dict(font=dict(family=FONT)),
    ),
)


def label(quantity: str, unit: str | None = None) -> str:
    """The text of an axis: "distance r (Å)"; without a unit, the quantity alone.

    Parameters
    ----------
    quantity : str
        What the axis shows.
    unit : str, optional
        Its unit.

    Returns
    -------
    str
        The text.
    """
    return f"{quantity} ({unit})" if unit else quantity


def figure(
    x: str = "", y: str = "", title: str = "", height: int = 380, **layout: Any
) -> go.Figure:
    """An empty figure in the kit's style.

    Parameters
    ----------
    x, y : str, optional
        Axis titles with units, from `label`.
    title : str, optional
        A line above.
    height : int, default 380
        In pixels.
    **layout
        Further parts of plotly's layout.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    fig = go.Figure(layout=dict(template="scdlab", title_text=title, height=height, **layout))
    fig.update_xaxes(title_text=x)
    fig.update_yaxes(title_text=y)
    return fig


def color(k: int) -> str:
    """The k-th color of the series; after the last it starts again.

    Parameters
    ----------
    k : int
        Which.

    Returns
    -------
    str
        The color, "#RRGGBB".
    """
    return COLORS[k % len(COLORS)]


def line(k: int) -> dict[str, Any]:
    """Color and dash of the k-th line of a figure.

    Parameters
    ----------
    k : int
        Which.

    Returns
    -------
    dict
        As plotly takes it.
    """
    return dict(color=color(k), dash=DASHES[k % len(DASHES)], width=2)


def element_color(z: int) -> str:
    """The chemist's color of an element; hydrogen, which is white by custom, is a light gray on
    our white paper.

    Parameters
    ----------
    z : int
        Atomic number.

    Returns
    -------
    str
        The color, "#RRGGBB".
    """
    if z == 1:
        return "#DADADA"
    return "#" + "".join(f"{round(255 * c):02X}" for c in jmol_colors[z])


def symbol(z: int) -> str:
    """The symbol of an element: 6 -> "C".

    Parameters
    ----------
    z : int
        Atomic number.

    Returns
    -------
    str
        The symbol.
    """
    return chemical_symbols[z]


def marker_size(z: int) -> float:
    """The diameter of an atom in figures.

    Parameters
    ----------
    z : int
        Atomic number.

    Returns
    -------
    float
        In pixels.
    """
    return 9 + 14 * covalent_radii[z]
