"""The picture of a claim: error against training, a thin line for each seed, a thick one for their
mean."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from scdlab.explore import style
from scdlab.explore.style import label

Arm = tuple[bool, Sequence[Sequence[float]], Sequence[Sequence[float]]]
"""Whether the method's extra input reaches the network; for each seed steps; for each seed errors
there."""


def claim_curves(
    arms: Mapping[str, Arm],
    quantity: str = "validation force MAE",
    unit: str = "meV/Å",
    title: str = "",
    log_steps: bool = False,
) -> go.Figure:
    """Error against training steps, on a logarithmic axis, of each seed and of their mean.

    Arms that are given the method's extra input (forces, a condition) are drawn with full lines,
    the others with broken ones. The mean is drawn where the seeds have the same steps.

    Parameters
    ----------
    arms : mapping
        Legend -> (whether it is given the extra input, steps for each seed, errors for each seed).
    quantity : str, default "validation force MAE"
        The error.
    unit : str, default "meV/Å"
        Its unit.
    title : str, optional
        A line above.
    log_steps : bool, default False
        Whether the axis of steps is logarithmic too.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.

    Raises
    ------
    ValueError
        There is no arm, an arm has no curve, or a curve has another number of steps than of errors.
    """
    if not arms:
        raise ValueError("claim_curves needs at least one arm, got none: give legend -> curves.")
    fig = style.figure("training step", label(quantity, unit), title, height=420)
    for k, (name, (told, steps, values)) in enumerate(arms.items()):
        if not len(values) or len(steps) != len(values):
            raise ValueError(
                f"claim_curves: {name!r} must have one list of steps and one of errors for each "
                f"seed, got {len(steps)} and {len(values)}: give both."
            )
        color = style.color(k)
        dash = "solid" if told else "dash"
        for seed, (x, y) in enumerate(zip(steps, values, strict=True)):
            if len(x) != len(y) or not len(x):
                raise ValueError(
                    f"claim_curves: curve {seed} of {name!r} must have an error for each step, got "
                    f"{len(y)} for {len(x)}: give as many."
                )
            fig.add_scatter(
                x=list(x),
                y=list(y),
                mode="lines" if len(x) > 1 else "markers",
                line=dict(color=color, dash=dash, width=1),
                opacity=0.4,
                name=f"{name}, seed {seed}",
                legendgroup=name,
                showlegend=False,
            )
        alike = all(list(x) == list(steps[0]) for x in steps)
        mean = np.mean(np.asarray(values, float), axis=0) if alike else np.array([np.nan])
        many = f" (mean of {len(values)} seeds)" if alike and len(values) > 1 else ""
        fig.add_scatter(
            x=list(steps[0]) if alike else [None],
            y=mean.tolist() if alike else [None],
            mode="lines+markers",
            line=dict(color=color, dash=dash, width=2.5),
            marker=dict(size=5),
            name=f"{name}{many}",
            legendgroup=name,
        )
    fig.update_yaxes(**style.LOG)
    fig.update_xaxes(tickformat=",")
    if log_steps:
        fig.update_xaxes(**style.LOG)
    fig.update_layout(legend=dict(orientation="h", yanchor="top", y=-0.2, x=0.0, xanchor="left"))
    return fig
