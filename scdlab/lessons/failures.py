"""Everything that can fail in a lesson without failing it: errors that hide in outputs and logs.

An error in a widget's callback ends in an Output widget, in the kernel's log, or as an error output
of a cell that itself "succeeded".
"""

import re
from typing import Any

import nbformat
from nbformat import NotebookNode

from scdlab.lessons.html import WIDGET
from scdlab.lessons.kernel import LessonKernel

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
TRACEBACK = "Traceback (most recent call last)"
_BANNER = "**This run failed"


def first_failure(
    notebook: NotebookNode, kernel_log: str, kernel: LessonKernel
) -> tuple[int | None, str] | None:
    """The first thing that went wrong in a lesson.

    Parameters
    ----------
    notebook : NotebookNode
        The executed notebook.
    kernel_log : str
        What the kernel's process wrote to its standard error.
    kernel : LessonKernel
        The kernel that ran it.

    Returns
    -------
    tuple of (int or None, str), or None
        The n of the `In [n]` that failed, None when no cell can be named, and one line on the
        error; None when nothing went wrong.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    models = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    started = [cell for cell in code if cell.metadata.papermill.get("start_time")]
    # where a killed kernel was
    last = started[-1].execution_count or len(started) if started else None
    for cell in code:
        if "raises-exception" in cell.metadata.get("tags", ()):
            continue
        for output in cell.outputs:
            view = output.get("data", {}).get(WIDGET, {}).get("model_id")
            for inner in (output, *_outputs_inside(view, models)):
                if line := _error_line(inner):
                    return _place(cell, line)
    if kernel.timed_out:
        return (
            last,
            f"The lesson did not end within its time limit of {kernel.limit:g} s; its kernel was "
            "killed.",
        )
    for key in models:  # also those that no cell shows
        for inner in _outputs_inside(key, models):
            if line := _error_line(inner):
                return None, f"A widget's callback failed: {line}"
    if TRACEBACK in kernel_log:
        return None, f"A widget's callback failed: {_last_line(kernel_log)}"
    if kernel.died:
        return last, "The kernel died: it may have run out of memory."
    return None


def _place(cell: NotebookNode, line: str) -> tuple[int | None, str]:
    """The cell of an error, and its description."""
    if cell.get("id") == "move-inputs":
        return None, f"A widget's callback failed when its input was moved: {line}"
    return cell.execution_count, line


def _error_line(output: dict[str, Any]) -> str | None:
    """The last line of the error that an output shows or of the traceback that it printed; None for
    a sound one."""
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}".splitlines()[0]
    if (
        output["output_type"] == "stream"
        and output["name"] == "stderr"
        and TRACEBACK in output["text"]
    ):
        return _last_line(output["text"])
    return None


def _last_line(printed: str) -> str:
    """The error's own line: the first line after a traceback that is not indented."""
    after = re.sub(r"\x1b\[[0-9;]*m", "", printed).split(TRACEBACK)[-1].splitlines()[1:]
    return next(
        (line for line in after if line.strip() and not line.startswith((" ", "\t"))),
        "an error was printed",
    )


def _outputs_inside(key: str | None, models: dict[str, Any]) -> list[dict[str, Any]]:
    """What the Output widgets within the widget of model id `key` hold, that widget included."""
    if key not in models:
        return []
    state = models[key]["state"]
    found = list(state.get("outputs", ())) if models[key]["model_name"] == "OutputModel" else []
    for child in state.get("children", ()):
        found += _outputs_inside(str(child).removeprefix("IPY_MODEL_"), models)
    return found


def banner(cell: int | None, error: str | None) -> NotebookNode:
    """The cell that a failed lesson begins with.

    Parameters
    ----------
    cell : int, optional
        The n of the `In [n]` that failed; None when no cell can be named.
    error : str or None
        One line on what failed.

    Returns
    -------
    NotebookNode
        A cell of markdown.
    """
    where = f" in cell [{cell}]" if cell else ""
    return nbformat.v4.new_markdown_cell(f"{_BANNER}{where}:**\n\n```\n{error}\n```")


def told_failure(notebook: NotebookNode) -> str:
    """What the banner of an executed lesson says.

    Parameters
    ----------
    notebook : NotebookNode
        The executed lesson.

    Returns
    -------
    str
        The line on what failed; empty for a lesson in which nothing did.
    """
    first = notebook.cells[0].source if notebook.cells else ""
    found = re.fullmatch(rf"{re.escape(_BANNER)}.*?:\*\*\n\n```\n(.*)\n```", first, re.DOTALL)
    return found[1] if found else ""
