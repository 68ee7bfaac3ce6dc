"""A guess, drawn into the figure that shows the answer."""

import math
import numbers
import re
from typing import Any

import plotly.graph_objects as go

from scdlab.explore import style
from scdlab.explore.described import remark
from scdlab.lessons.guess_words import answer_text


def mark(
    figure: Any, guess: float | str | None, unit: str | None, axis: str, headless: bool
) -> None:
    """Draw a guess into a figure: a number as a line across it, a choice as a mark at the bar or
    curve of that name.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The figure, changed in place.
    guess : float or str or None
        The guess; nothing is drawn without one.
    unit : str or None
        Of a number.
    axis : str
        Which axis a number lies on, as "x" or "y2".
    headless : bool
        Whether it is the stored guess.

    Raises
    ------
    TypeError
        For a figure that is none of plotly's.
    ValueError
        For an unknown axis.
    """
    if not isinstance(figure, go.Figure | go.FigureWidget):
        raise TypeError(
            f"A guess is drawn into a plotly figure, got {type(figure).__name__}: leave `figure` "
            "out, or give an explorer's `.figure`."
        )
    if not re.fullmatch(r"[xy]([2-9]|[1-9]\d)?", axis):
        raise ValueError(
            f"The axis must be 'x', 'y' or one of another panel as 'x2', got {axis!r}."
        )
    if guess is None:
        return
    whose = "stored guess" if headless else "your guess"
    said = answer_text(guess, unit)
    if isinstance(guess, str):
        drawn = _mark_choice(figure, guess, whose)
    else:
        drawn = _mark_number(figure, guess, axis, whose)
    if not drawn:
        _note(figure, f"{whose}: {said}")
    remark(figure, f"Marked: {whose}, {said}.")


def _mark_number(figure: Any, guess: float, axis: str, whose: str) -> bool:
    """A line across the panel at the guess; False where its axis cannot hold it."""
    letter = axis[0]
    number = axis[1:]
    scale = figure.layout[f"{letter}axis{number}"]
    if scale.type == "log" and guess <= 0:
        return False
    if scale.range is not None:
        at = math.log10(guess) if scale.type == "log" else guess
        low, high = sorted(scale.range)
        if not low <= at <= high:  # the range makes room
            room = 0.05 * (max(high, at) - min(low, at))
            ends = [min(low, at - room), max(high, at + room)]
            scale.range = ends if scale.range[0] <= scale.range[1] else ends[::-1]
    other = "y" if letter == "x" else "x"
    at_the_end = letter == "x" and _is_at_the_end(figure, guess, axis)
    figure.add_shape(
        type="line",
        **{
            f"{letter}ref": axis,
            f"{letter}0": guess,
            f"{letter}1": guess,
            f"{other}ref": f"{other}{number} domain",
            f"{other}0": 0,
            f"{other}1": 1,
        },
        line=dict(color=style.PURPLE, width=2, dash="dash"),
        label=dict(
            text=whose,
            textposition="end",
            textangle=0,
            xanchor="left" if letter == "x" and not at_the_end else "right",
            yanchor="top" if letter == "x" else "bottom",
            padding=4,
            font=dict(color=style.INK, size=13),
        ),
        name=whose,
    )
    return True


def _is_at_the_end(figure: Any, guess: float, axis: str) -> bool:
    """Whether a number lies in the last quarter of what is drawn along a horizontal axis."""
    scale = figure.layout[f"xaxis{axis[1:]}"]
    shown: list[float] = [guess]
    for trace in figure.data:
        if (getattr(trace, "xaxis", None) or "x") == axis and getattr(trace, "x", None) is not None:
            real = [float(x) for x in trace.x if isinstance(x, numbers.Real)]
            shown += [x for x in real if math.isfinite(x)]
    if scale.type == "log":
        shown = [math.log10(x) for x in shown if x > 0]
    ends = shown if scale.range is None else [float(end) for end in scale.range]
    return shown[0] > min(ends) + 0.75 * (max(ends) - min(ends))


def _mark_choice(figure: Any, guess: str, whose: str) -> bool:
    """A mark above the bar or at the end of the curve that is called like the guess, or like the
    guess and a word behind a comma ("SchNet, training"); False where there is none."""
    for trace in figure.data:
        places = [] if getattr(trace, "x", None) is None else list(trace.x)
        heights = [] if getattr(trace, "y", None) is None else list(trace.y)
        if len(places) != len(heights):
            continue
        if guess in places:
            at = places.index(guess)
        elif places and (trace.name == guess or (trace.name or "").startswith(f"{guess}, ")):
            at = len(places) - 1
        else:
            continue
        figure.add_annotation(
            x=_on_axis(figure, trace.xaxis or "x", places[at]),
            y=_on_axis(figure, trace.yaxis or "y", heights[at]),
            xref=trace.xaxis or "x",
            yref=trace.yaxis or "y",
            text=f"▼ {whose}",
            showarrow=False,
            yshift=16,
            font=dict(color=style.INK, size=13),
            bgcolor="rgba(255,255,255,0.8)",
        )
        return True
    return False


def _on_axis(figure: Any, axis: str, value: Any) -> Any:
    """Where an annotation finds a value: logarithmic axes count its powers of ten."""
    log = figure.layout[f"{axis[0]}axis{axis[1:]}"].type == "log"
    return math.log10(value) if log and value > 0 else value


def _note(figure: Any, words: str) -> None:
    """A line in the upper right corner."""
    figure.add_annotation(
        x=1,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="right",
        yanchor="bottom",
        text=words,
        showarrow=False,
        font=dict(color=style.INK, size=13),
    )
