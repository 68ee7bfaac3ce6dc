"""Maps of embeddings: many dimensions drawn in two, and the numbers that say what a map shows.

PCA keeps straight lines straight and shows the directions of largest variance. UMAP (McInnes et al.
2018, arXiv:1802.03426) keeps neighbors together and says little about distances between groups. A
picture persuades easily, so two numbers stand beside it:

    extensivity   R² of a linear fit, embedding -> number of atoms, on structures held out
    smoothness    R² of the mean property of the k nearest neighbors, as a prediction of the
                  property
"""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from scdlab.analysis.inputs import array

SCALE = "Cividis"  # the same to color-blind readers, and it stays in order when printed gray


def embedding_map(
    xy, color, label: str = "atoms", title: str = "", formulas=None, height: int = 420
) -> go.Figure:
    """A map [n, 2] as points colored by `color` [n]; label: what the colors mean, with its unit;
    formulas [n]: names that appear under the pointer."""
    return compare_maps({title: xy}, color, label, formulas=formulas, height=height)


def compare_maps(
    maps: dict, color, label: str = "atoms", numbers=None, formulas=None, height: int = 420
) -> go.Figure:
    """Several maps of the same structures side by side, on one scale of color.

    maps: name -> xy [n, 2]; color [n], the same in all; numbers: name -> number or text written
    beside the name, the extensivity for instance; formulas [n]: names under the pointer. The axes
    of a map have no units and no meaning of their own, so they carry no ticks.
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
    fig = make_subplots(
        1, len(maps), subplot_titles=titles if any(titles) else None, horizontal_spacing=0.03
    )
    head = "%{text}<br>" if formulas is not None else ""
    for column, xy in enumerate(maps.values(), start=1):
        xy = array(xy)
        fig.add_scattergl(
            x=xy[:, 0],
            y=xy[:, 1],
            mode="markers",
            showlegend=False,
            row=1,
            col=column,
            marker=dict(color=color, coloraxis="coloraxis", size=5, opacity=0.8),
            text=None if formulas is None else list(formulas),
            hovertemplate=f"{head}{label} %{{marker.color:.4~g}}<extra></extra>",
        )
    frame = dict(showticklabels=False, ticks="", showgrid=False, mirror=True, title_text="")
    fig.update_xaxes(**frame).update_yaxes(**frame)
    bar = dict(title=dict(text=label, side="right"), thickness=14, outlinewidth=0)
    margin = dict(l=20, r=20, b=20, t=50 if any(titles) else 20)
    fig.update_layout(
        template="scdlab",
        height=height,
        margin=margin,
        coloraxis=dict(colorscale=SCALE, colorbar=bar),
    )
    return fig


def _title(name: str, number) -> str:
    if number is None:
        return name
    return f"{name} · {number if isinstance(number, str) else f'{number:.2f}'}"
