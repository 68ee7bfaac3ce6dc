"""The numbers a lesson stands for: shown to the reader as a small table, collected by the runner
from that output."""

import html
import math
import numbers

from IPython import get_ipython
from IPython.display import display

MIME = "application/vnd.scdlab.metrics+json"


def display_metrics(**values) -> None:
    """Show named numbers; the runner writes them to metrics.json.
    `display_metrics(energy_mae_eV=0.012)`.

    Names carry their unit. Values: finite numbers (0-d tensors and numpy scalars too), or bools.

    Raises:
        ValueError: a value is not finite: such a number would pass unseen through most comparisons.
        TypeError: a value is neither a number nor a bool.
    """
    clean = {name: _plain(name, value) for name, value in values.items()}
    rows = "".join(
        f"<tr><td style='text-align:left'>{html.escape(name)}</td><td "
        f"style='text-align:right'>{_text(value)}</td></tr>"
        for name, value in clean.items()
    )
    plain = "\n".join(f"{name}: {_text(value)}" for name, value in clean.items())
    show_html(f"<table>{rows}</table>", plain, {MIME: clean})


def show_html(text: str, plain: str, more: dict | None = None) -> None:
    """Display html in a notebook (with `more` mime types beside it), or print the plain text
    elsewhere."""
    if get_ipython() is None:
        print(plain)
    else:
        display({"text/html": text, "text/plain": plain} | (more or {}), raw=True)


def collect(notebook) -> dict:
    """All metrics of an executed notebook, in order; a name shown twice keeps its last value."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            found |= output.get("data", {}).get(MIME, {})
    return found


def _plain(name, value):
    if hasattr(value, "item"):  # numpy scalars and 0-d tensors
        value = value.item()
    if isinstance(value, bool):
        return value
    if not isinstance(value, numbers.Real):
        raise TypeError(
            f"The metric {name!r} must be a number or a bool, not {type(value).__name__}."
        )
    if not math.isfinite(value):
        raise ValueError(f"The metric {name!r} is {value}: a lesson's number must be finite.")
    return value if isinstance(value, int) else float(value)


def _text(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
