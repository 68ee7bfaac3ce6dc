"""Run lessons headless: every cell, every slider, within a time limit, and report what failed.

A notebook can fail without failing. An error in a widget's callback ends in an Output widget, in
the kernel's log, or as an error output of a cell that itself "succeeded". So after the cells the
runner moves each slider, menu and box once, as a reader would, and then looks for errors everywhere
they can hide: the cells' outputs, the saved state of Output widgets, tracebacks that a cell
printed, and what the kernel's process wrote to its standard error.
"""

import ast
import contextlib
import re
import tempfile
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

from scdlab.files import atomic_file, package_dir, write_json
from scdlab.lessons.failures import first_failure
from scdlab.lessons.html import to_html
from scdlab.lessons.kernel import LessonKernel, quiet_papermill
from scdlab.lessons.metrics import collect

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


def list_lessons(folder: str | Path | None = None) -> list[Path]:
    """The lessons' notebooks in order, NN_name.ipynb.

    Parameters
    ----------
    folder : path, optional
        Where they are; the kit's own by default.

    Returns
    -------
    list of Path
        The notebooks.
    """
    return sorted(Path(folder or package_dir("notebooks")).glob("[0-9][0-9]_*.ipynb"))


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
    numbers : int or sequence of int, optional
        Which lessons; all by default.
    profile : {"quick", "full"}, default "quick"
        The lessons' PROFILE.
    out : path, default "runs/lessons"
        Folder for NN_name.ipynb (executed), NN_name.html (opens offline) and metrics.json.
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
        An unknown lesson, profile or parameter, or a time limit that is not positive. Nothing ran
        then.
    """
    if profile not in PROFILES:
        raise ValueError(f"There is no profile {profile!r}: choose from {', '.join(PROFILES)}.")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"The time limit must be a positive number of seconds, got {timeout}.")
    short = {"DEVICE": device, "SEED": seed, "DATA": data}
    values = (
        {"PROFILE": profile}
        | {k: v for k, v in short.items() if v is not None}
        | (parameters or {})
    )
    paths = _choose(numbers, list_lessons(folder))
    for path in paths:
        _refuse_unknown(path, values)
    out = Path(out or Path("runs") / "lessons").resolve()
    results = []
    for path in paths:
        results.append(_run_one(path, out, values, timeout or TIME_LIMIT[profile]))
        write_json(out / "metrics.json", _summary(profile, results))
    return results


def _choose(numbers: int | str | Sequence[int | str] | None, paths: list[Path]) -> list[Path]:
    """The notebooks of some lessons, of those that there are."""
    by_number = {int(path.name[:2]): path for path in paths}
    if numbers is None:
        return paths
    if isinstance(numbers, int | str):
        numbers = [numbers]
    if not numbers:
        return paths
    for number in numbers:
        if not str(number).isdigit() or int(number) not in by_number:
            there = ", ".join(map(str, by_number)) or "none"
            raise ValueError(f"There is no lesson {number}: the lessons are {there}.")
    return [by_number[int(number)] for number in numbers]


def parameters_of(path: str | Path) -> list[str]:
    """The names assigned in a lesson's cell tagged `parameters`.

    Parameters
    ----------
    path : path
        The notebook.

    Returns
    -------
    list of str
        The names.
    """
    for cell in nbformat.read(path, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", ()):
            nodes = [node for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
            return [
                target.id
                for node in nodes
                for target in node.targets
                if isinstance(target, ast.Name)
            ]
    return []


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


def _run_one(path: Path, out: Path, values: dict[str, Any], limit: float) -> LessonResult:
    """Run one lesson and write its files."""
    start = time.monotonic()
    notebook, trouble = _execute(path, values, limit)
    result = LessonResult(
        path.stem, time.monotonic() - start, out / path.name, out / f"{path.stem}.html"
    )
    result.metrics = collect(notebook)
    if trouble is not None:
        result.cell, result.error = trouble
        where = f" in cell [{result.cell}]" if result.cell else ""
        banner = f"**This run failed{where}:**\n\n```\n{result.error}\n```"
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(banner))
    page = to_html(notebook)
    with atomic_file(result.notebook) as new:
        nbformat.write(notebook, new)
    with atomic_file(result.page) as new:
        new.write_text(page, encoding="utf-8")
    return result


def _execute(
    path: Path, values: dict[str, Any], limit: float
) -> tuple[NotebookNode, tuple[int | None, str] | None]:
    """The executed notebook, and (cell, error line) of the first failure or None."""
    with tempfile.TemporaryDirectory() as folder:
        todo, done, log = (Path(folder) / name for name in ("todo.ipynb", path.name, "kernel.log"))
        notebook = nbformat.read(path, as_version=4)
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
                    cwd=path.parent,
                )
        notebook = nbformat.read(done, as_version=4)  # papermill saves it however the run ends
        printed = log.read_text(encoding="utf-8", errors="replace")
    remove_error_markers(notebook)
    for name in ("input_path", "output_path"):  # names of a folder that is gone
        notebook.metadata.get("papermill", {}).pop(name, None)
    trouble = first_failure(notebook, printed, kernel)
    _settle(notebook)
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != "move-inputs"]
    return notebook, trouble


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
