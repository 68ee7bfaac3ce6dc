"""Alternative texts: what a figure shows, and what is to be seen in it, for who does not see it.

    fig = explore.described(fig, "Energy against angle: the fit on coordinates wanders by 3 eV.")

The text goes with the figure: in JupyterLab screen readers find it before the figure, on an
exported page it is the figure's `aria-label`.
"""

from typing import Any, TypeVar

import plotly.graph_objects as go
from IPython.core.getipython import get_ipython
from IPython.display import display

from scdlab.explore.section import Section
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import Explorer
from scdlab.explore.words import DESCRIPTION, unseen

T = TypeVar("T")


def described(figure: T, text: str) -> T:
    """Give a figure its alternative text: what is drawn, and the finding with its numbers.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure, MoleculeView, Explorer or Section
        The figure; it keeps the text.
    text : str
        One to three sentences.

    Returns
    -------
    object
        The same figure.

    Raises
    ------
    ValueError
        For an empty text.
    TypeError
        For a text or a figure of another kind.
    """
    if not isinstance(text, str):
        raise TypeError(f"An alternative text must be text, got {type(text).__name__}.")
    words = " ".join(text.split())
    if not words:
        raise ValueError(
            "An alternative text must say what the figure shows, got an empty text: write one or "
            "two sentences with the finding."
        )
    if isinstance(figure, MoleculeView | Explorer | Section):
        figure.describe(words)
    elif isinstance(figure, go.Figure | go.FigureWidget):
        layout: Any = figure.layout
        about = dict(layout.meta) if isinstance(layout.meta, dict) else {}
        layout.meta = about | {"alt": " ".join([words, *about.get("remarks", [])])}
        _show_with_text()
    else:
        raise TypeError(
            "An alternative text belongs to a plotly figure, a molecule view or an explorer, got "
            f"{type(figure).__name__}."
        )
    return figure


def remark(figure: Any, text: str) -> None:
    """Add what was drawn into a plotly figure to its alternative text, now or when it gets one.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The figure.
    text : str
        A sentence.
    """
    layout: Any = figure.layout
    about = dict(layout.meta) if isinstance(layout.meta, dict) else {}
    about["remarks"] = [*about.get("remarks", []), text]
    if about.get("alt"):
        about["alt"] = f"{about['alt']} {text}"
    layout.meta = about


def alternative_text(figure: Any) -> str:
    """The alternative text of a figure.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure, MoleculeView, Explorer or Section
        The figure.

    Returns
    -------
    str
        The text; empty for a figure that `described` has not given one.
    """
    if isinstance(figure, MoleculeView | Explorer | Section):
        return figure.described_as
    meta = getattr(getattr(figure, "layout", None), "meta", None)
    return str(meta.get("alt", "")) if isinstance(meta, dict) else ""


def _show_with_text() -> None:
    """In a notebook, figures are shown with their text from now on."""
    shell = get_ipython()
    formatter = getattr(shell, "display_formatter", None)
    if formatter is not None:
        formatter.ipython_display_formatter.for_type(go.Figure, show_figure)


def show_figure(figure: go.Figure) -> None:
    """Show a plotly figure in a notebook, its alternative text before it.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The figure.
    """
    if text := alternative_text(figure):
        display({"text/html": unseen(text), DESCRIPTION: text}, raw=True)
    figure.show()
