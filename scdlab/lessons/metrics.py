"""The numbers a lesson stands for: in a notebook nothing of them is seen, and the runner collects
them from the output."""

import math
import numbers
import os
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython
from IPython.display import display

from scdlab.log import show

if TYPE_CHECKING:
    from nbformat import NotebookNode

MIME = "application/vnd.scdlab.metrics+json"
ASKED = "SCDLAB_METRICS"  # in the environment of a kernel that the runner has started


def display_metrics(**values: Any) -> None:
    """Hand named numbers to the runner, which writes them to metrics.json, as in
    `display_metrics(energy_mae_eV=0.012)`.

    Readers of a notebook or a page do not see them, and a notebook that nobody collects from has no
    output of them, for JupyterLab leaves room for it; in plain Python they are printed.

    Parameters
    ----------
    **values
        Name, which carries the unit, = a finite number (0-dim tensors and numpy scalars too) or a
        bool.

    Raises
    ------
    ValueError
        A value is not finite: such a number would pass unseen through most comparisons.
    TypeError
        A value is neither a number nor a bool.
    """
    clean = {name: _plain(name, value) for name, value in values.items()}
    if get_ipython() is None:
        show("\n".join(f"{name}: {_text(value)}" for name, value in clean.items()))
    elif ASKED in os.environ:
        display({MIME: clean}, raw=True)


def show_html(text: str, plain: str, record: dict[str, Any] | None = None) -> None:
    """Display html in a notebook, or print plain text elsewhere.

    Parameters
    ----------
    text : str
        The html.
    plain : str
        The text.
    record : dict, optional
        What else the notebook's output holds, unseen: type -> content.
    """
    if get_ipython() is None:
        show(plain)
    else:
        display({"text/html": text, "text/plain": plain, **(record or {})}, raw=True)


def show_marked(
    text: str, plain: str, color: str, name: str, record: dict[str, Any] | None = None
) -> None:
    """Display a line of html with a colored bar beside it in a notebook, or print plain text.

    Parameters
    ----------
    text : str
        The html.
    plain : str
        The text.
    color : str
        Of the bar.
    name : str
        The html class.
    record : dict, optional
        What else the notebook's output holds, unseen: type -> content.
    """
    look = f"border-left:4px solid {color};padding:4px 12px;margin:4px 0"
    show_html(f"<div class='{name}' style='{look}'>{text}</div>", plain, record)


def collect(notebook: "NotebookNode") -> dict[str, Any]:
    """All metrics of an executed notebook, in order.

    Parameters
    ----------
    notebook : NotebookNode
        The notebook.

    Returns
    -------
    dict
        Name -> value; a name shown twice keeps its last value.
    """
    found: dict[str, Any] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            found |= output.get("data", {}).get(MIME, {})
    return found


def _plain(name: str, value: Any) -> float | int | bool:
    """A value as Python's own number, checked."""
    if hasattr(value, "item"):  # numpy scalars and 0-d tensors
        value = value.item()
    if isinstance(value, bool):
        return value
    if not isinstance(value, numbers.Real):
        raise TypeError(
            f"The metric {name!r} must be a number or a bool, got {type(value).__name__}."
        )
    if not math.isfinite(value):
        raise ValueError(f"The metric {name!r} is {value}: a lesson's number must be finite.")
    return value if isinstance(value, int) else float(value)


def _text(value: float | int | bool) -> str:
    """A value as text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
