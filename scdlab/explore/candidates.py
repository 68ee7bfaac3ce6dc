"""A figure of the places where an atom may have been, in space, with a slider over how well its
force is known."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from scdlab.analysis.inputs import array
from scdlab.explore import style

MOST = 400  # places drawn of each set


def candidate_figure(
    clouds: Mapping[str, ArrayLike],
    findings: Sequence[str],
    axes: Sequence[str],
    first: int = 0,
    title: str = "",
) -> go.Figure:
    """Sets of places around a true one, one at a time: a slider chooses which.

    Parameters
    ----------
    clouds : mapping
        Label of the slider's step -> places [m, 3] in Å from the true one; the first set, of all
        places, stays visible behind the others.
    findings : sequence of str
        A line for each step, shown below the title.
    axes : sequence of str
        Names of the three directions.
    first : int, default 0
        The step shown at first.
    title : str, optional
        A line above.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.

    Raises
    ------
    ValueError
        For another number of findings than of sets.
    """
    if len(findings) != len(clouds):
        raise ValueError(
            f"candidate_figure: each set needs one finding, got {len(findings)} for {len(clouds)}."
        )
    sets = [array(places).reshape(-1, 3)[:MOST] for places in clouds.values()]
    every = np.concatenate(sets)
    low = every.min(axis=0)
    high = every.max(axis=0)
    half = 0.52 * (high - low).max()  # equal axes, so that a ball looks like one
    middle = (low + high) / 2
    fig = go.Figure(layout=dict(template="scdlab", height=560, margin=dict(l=0, r=0, t=70, b=90)))
    for k, places in enumerate([*sets, sets[0]]):
        behind = k == len(sets)  # the first set, pale, behind every other
        fig.add_scatter3d(
            **dict(zip("xyz", places.T, strict=True)),
            mode="markers",
            name="all places" if behind else "possible places",
            visible=behind or k == first,
            marker=dict(
                size=1.5 if behind else 3,
                color=style.GRAY if behind else style.VERMILION,
                opacity=0.35 if behind else 0.8,
            ),
        )
    fig.add_scatter3d(
        x=[0],
        y=[0],
        z=[0],
        mode="markers",
        name="where it was",
        marker=dict(size=7, color=style.BLUE, symbol="diamond"),
    )
    headings = [f"{title}<br><sub>{finding}</sub>" for finding in findings]
    steps = [
        dict(
            method="update",
            label=label,
            args=[
                {"visible": [k == j for j in range(len(sets))] + [True, True]},
                {"title.text": headings[k]},
            ],
        )
        for k, label in enumerate(clouds)
    ]
    shown = dict(prefix="force known: ", font=dict(size=14))
    slider = dict(active=first, steps=steps, x=0.05, len=0.9, pad=dict(t=10), currentvalue=shown)
    sides = {
        name: dict(
            range=[center - half, center + half],
            tickfont=dict(size=10),
            nticks=4,
            title=dict(text=f"{text} (Å)", font=dict(size=12)),
        )
        for name, text, center in zip(("xaxis", "yaxis", "zaxis"), axes, middle, strict=True)
    }
    fig.update_layout(
        title_text=headings[first],
        sliders=[slider],
        legend=dict(x=0.78, y=0.98, itemsizing="constant"),
        scene=dict(
            aspectmode="cube",
            # so far back, and so low, that the titles of the axes are inside
            camera=dict(eye=dict(x=1.55, y=-1.55, z=0.95), center=dict(x=0, y=0, z=-0.15)),
            **sides,
        ),
    )
    return fig
