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
        Label of the slider's step -> places [m, 3] in Å from the true one.
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
    largest = 1.05 * max(np.abs(places).max() for places in sets)
    fig = go.Figure(layout=dict(template="scdlab", height=520, margin=dict(l=0, r=0, t=80, b=0)))
    for k, places in enumerate(sets):
        fig.add_scatter3d(
            x=places[:, 0],
            y=places[:, 1],
            z=places[:, 2],
            mode="markers",
            name="possible places",
            visible=k == first,
            marker=dict(size=2.5, color=style.VERMILION, opacity=0.7),
        )
    fig.add_scatter3d(
        x=[0],
        y=[0],
        z=[0],
        mode="markers",
        name="where it was",
        marker=dict(size=6, color=style.INK, symbol="x"),
    )
    headings = [f"{title}<br><sub>{finding}</sub>" for finding in findings]
    steps = [
        dict(
            method="update",
            label=label,
            args=[
                {"visible": [k == j for j in range(len(sets))] + [True]},
                {"title.text": headings[k]},
            ],
        )
        for k, label in enumerate(clouds)
    ]
    slider = dict(active=first, steps=steps, x=0.05, len=0.9, currentvalue_prefix="force known to ")
    side = dict(range=[-largest, largest], tickfont=dict(size=11), nticks=5)
    names = zip(("xaxis", "yaxis", "zaxis"), axes, strict=True)
    fig.update_layout(
        title_text=headings[first],
        sliders=[slider],
        legend=dict(x=0.75, y=0.95),
        scene=dict(
            aspectmode="cube",
            camera_eye=dict(x=1.5, y=-1.3, z=0.9),
            **{name: side | dict(title_text=f"{text} (Å)") for name, text in names},
        ),
    )
    return fig
