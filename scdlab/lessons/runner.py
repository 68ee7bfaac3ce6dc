"""Run lessons headless: every cell, every slider, within a time limit, and report what failed.

A notebook can fail without failing. An error in a widget's callback ends in an Output widget, in
the kernel's log, or as an error output of a cell that itself "succeeded". So after the cells the
runner moves each slider, menu and box once, as a reader would, and then looks for errors everywhere
they can hide: the cells' outputs, the saved state of Output widgets, tracebacks that a cell
printed, and what the kernel's process wrote to its standard error.
"""

import contextlib
import math
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers

from scdlab.files import atomic_file, write_json
from scdlab.lessons.failures import banner, first_failure
from scdlab.lessons.html import markdown_to_html, to_html
from scdlab.lessons.kernel import START_LIMIT, LessonKernel, quiet_papermill
from scdlab.lessons.listed import choose, list_lessons
from scdlab.lessons.metrics import collect
from scdlab.lessons.notebook import parameters_of, read_notebook
from scdlab.locks import locked

PROFILES = ("quick", "full")
# seconds for one lesson, unless `timeout` is given
TIME_LIMIT = {"quick": 600, "full": 6 * 3600}

# Run in the lesson's kernel after its last cell: each input moves to its other end and back.
_MOVE_INPUTS = """\
def _move_inputs():
    from ipywidgets.widgets import widget as registry
    from ipywidgets import Checkbox
    from ipywidgets.widgets.widget_float import _BoundedFloat, _BoundedLogFloat
    from ipywidgets.widgets.widget_int import _BoundedInt
    from ipywidgets.widgets.widget_selection import _Selection
    for each in list(getattr(registry, "_instances", {}).values()):
        if getattr(each, "disabled", True):  # progress bars have no such trait, and are no inputs
            continue
        before = getattr(each, "value", None)
        if isinstance(each, (_BoundedInt, _BoundedFloat)):
            other = each.max if before != each.max else each.min
        elif isinstance(each, _BoundedLogFloat):
            other = each.base ** (each.max if before != each.base**each.max else each.min)
        elif isinstance(each, _Selection) and each.options:
            other = each._options_values[-1 if each.index == 0 else 0]
        elif isinstance(each, Checkbox):
            other = not before
        else:
            continue
        each.value = other
        each.value = before
import sys as _sys
if "ipywidgets" in _sys.modules:
    _move_inputs()
"""


@dataclass
class LessonResult:
    """What came of one lesson: its numbers, its files, and when it failed where and why.

    Parameters
    ----------
    name : str
        The notebook's name, without suffix.
    seconds : float
        How long it took.
    notebook : Path
        The executed notebook.
    page : Path
        The page made of it.
    metrics : dict
        The lesson's numbers by name.
    cell : int, optional
        The n of the `In [n]` that failed; None when no cell can be named.
    error : str, optional
        One line on what failed; None when nothing did.
    """

    name: str
    seconds: float
    notebook: Path
    page: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    cell: int | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.error is None

    @property
    def status(self) -> str:
        """ "ok" or "failed"."""
        return "ok" if self.ok else "failed"

    def __str__(self) -> str:
        where = f" in cell [{self.cell}]" if self.cell else ""
        return f"{self.name}: {self.status} after {self.seconds:.0f} s" + (
            "" if self.ok else f"{where}: {self.error}"
        )


def run(
    numbers: int | str | Sequence[int | str] | None = None,
    profile: str = "quick",
    out: str | Path | None = None,
    parameters: dict[str, Any] | None = None,
    timeout: float | None = None,
    device: str | None = None,
    seed: int | None = None,
    data: str | None = None,
    folder: str | Path | None = None,
) -> list[LessonResult]:
    """Run lessons one after the other; a failure is reported in its result, and the next lesson
    still runs.

    Parameters
    ----------
    numbers : int, str or sequence of them, optional
        Which lessons, such as 2 or "2b"; all by default.
    profile : {"quick", "full"}, default "quick"
        The lessons' PROFILE.
    out : path, default "runs/lessons"
        Folder for NN_name.ipynb (executed), NN_name.html (opens offline), glossary.html and
        metrics.json.
    parameters : dict, optional
        Values for the lessons' `parameters` cells.
    timeout : float, optional
        Seconds for each lesson, after which its kernel is killed; TIME_LIMIT by default.
    device : {"auto", "cpu", "cuda"}, optional
        Short for the parameter DEVICE.
    seed : int, optional
        Short for the parameter SEED.
    data : str, optional
        Short for the parameter DATA.
    folder : path, optional
        Where the lessons are; the kit's own by default.

    Returns
    -------
    list of LessonResult
        One for each lesson.

    Raises
    ------
    ValueError
        An unknown lesson, profile or parameter, a time limit that is not positive, or a lesson that
        is no notebook. Nothing ran then.
    TypeError
        An argument of another kind.
    OSError
        The folder cannot be written, or another run writes it (Busy).
    """
    if profile not in PROFILES:
        raise ValueError(f"There is no profile {profile!r}: choose from {', '.join(PROFILES)}.")
    _check_limit(timeout)
    if parameters is not None and not isinstance(parameters, dict):
        raise TypeError(f"parameters must be a dict of names and values, got {parameters!r}.")
    short = {"DEVICE": device, "SEED": seed, "DATA": data}
    values = (
        {"PROFILE": profile}
        | {k: v for k, v in short.items() if v is not None}
        | (parameters or {})
    )
    paths = choose(numbers, list_lessons(folder))
    for path in paths:
        _refuse_unknown(path, values)
    out = Path(out or Path("runs") / "lessons").resolve()
    results: list[LessonResult] = []
    no_kernel = None  # why none starts: each further lesson would wait for it again
    with locked(out, inside=True):  # also: what cannot be written is known before anything runs
        _write_glossary(paths[0].parent, out)
        for path in paths:
            limit = timeout or TIME_LIMIT[profile]
            result, no_kernel = _run_one(path, out, values, limit, no_kernel)
            results.append(result)
            write_json(out / "metrics.json", _summary(profile, results))
    return results


def _write_glossary(folder: Path, out: Path) -> None:
    """The page that links of the lessons' pages lead to, where the lessons have a glossary."""
    source = folder / "glossary.md"
    if source.is_file():
        page = markdown_to_html(source.read_text(encoding="utf-8"))
        with atomic_file(out / "glossary.html") as new:
            new.write_text(page, encoding="utf-8")


def _check_limit(timeout: Any) -> None:
    """Raise ValueError or TypeError for a time limit that is none."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, got {timeout!r}.")
    if not (math.isfinite(timeout) and 0 < timeout <= threading.TIMEOUT_MAX):
        raise ValueError(
            f"The time limit must be a positive number of seconds, got {timeout}; leave it out for "
            "that of the profile."
        )


def _refuse_unknown(path: Path, values: Iterable[str]) -> None:
    """Raise ValueError for names that are no parameters of a lesson."""
    known = parameters_of(path)
    for name in values:
        if name not in known:
            there = ", ".join(known) or "none"
            raise ValueError(
                f"The lesson {path.stem} has no parameter {name}: its parameters are {there}."
            )


def _summary(profile: str, results: list[LessonResult]) -> dict[str, Any]:
    """What metrics.json holds."""
    lessons = {
        r.name: {
            "status": r.status,
            "seconds": round(r.seconds, 1),
            "metrics": r.metrics,
            "error": r.error,
        }
        for r in results
    }
    return {"profile": profile, "lessons": lessons}


def _run_one(
    path: Path, out: Path, values: dict[str, Any], limit: float, no_kernel: str | None
) -> tuple[LessonResult, str | None]:
    """Run one lesson and write its files; its result, and why no kernel starts (None where one
    does). A reason that is known already is the lesson's error, and it does not run."""
    start = time.monotonic()
    if no_kernel is None:
        notebook, trouble, no_kernel = _execute(path, values, limit)
    else:
        notebook = read_notebook(path)
        trouble = None, no_kernel
    result = LessonResult(
        path.stem, time.monotonic() - start, out / path.name, out / f"{path.stem}.html"
    )
    result.metrics = collect(notebook)
    if trouble is not None:
        result.cell, result.error = trouble
        notebook.cells.insert(0, banner(result.cell, result.error))
    page = to_html(notebook)
    with atomic_file(result.notebook) as new:
        nbformat.write(notebook, new)
    with atomic_file(result.page) as new:
        new.write_text(page, encoding="utf-8")
    return result, no_kernel


def _execute(
    path: Path, values: dict[str, Any], limit: float
) -> tuple[NotebookNode, tuple[int | None, str] | None, str | None]:
    """The executed notebook, (cell, error line) of the first failure or None, and why its kernel
    did not start or None."""
    with tempfile.TemporaryDirectory() as folder:
        todo, done, log = (Path(folder) / name for name in ("todo.ipynb", path.name, "kernel.log"))
        notebook = read_notebook(path)
        notebook.cells.append(nbformat.v4.new_code_cell(_MOVE_INPUTS, id="move-inputs"))
        nbformat.write(notebook, todo)
        with open(log, "wb") as stderr:
            kernel = LessonKernel(stderr, limit)
            with kernel, quiet_papermill(), contextlib.suppress(PapermillExecutionError):
                papermill.execute_notebook(
                    todo,
                    done,
                    values,
                    kernel_name="python3",
                    language="python",
                    kernel_manager_class=kernel.manager_class(),
                    progress_bar=False,
                    start_timeout=START_LIMIT,
                    cwd=path.parent,
                )
        printed = log.read_text(encoding="utf-8", errors="replace")
        if not kernel.started:
            problem = kernel.start_problem(printed)
            return read_notebook(path), (None, problem), problem
        notebook = nbformat.read(done, as_version=4)  # papermill saves it however the run ends
    remove_error_markers(notebook)
    for name in ("input_path", "output_path"):  # names of a folder that is gone
        notebook.metadata.get("papermill", {}).pop(name, None)
    trouble = first_failure(notebook, printed, kernel)
    _settle(notebook)
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != "move-inputs"]
    return notebook, trouble, None


def _settle(notebook: NotebookNode) -> None:
    """Leave of a progress bar what a screen shows at the end: its last state, not those that were
    overwritten."""
    for cell in notebook.cells:
        merged = []
        for output in cell.get("outputs", ()):
            if (
                merged
                and output.output_type == merged[-1].output_type == "stream"
                and output.name == merged[-1].name
            ):
                merged[-1].text += output.text
            else:
                merged.append(output)
        for output in merged:
            if output.output_type == "stream":
                output.text = re.sub(r"[^\n]*\r(?!\n)(?=[^\n])", "", output.text)
        if "outputs" in cell:
            cell.outputs = merged
