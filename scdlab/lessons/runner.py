"""Run lessons headless: every cell, every slider, within a time limit, and say plainly what failed.

A notebook can fail without failing. An error in a widget's callback ends in an Output widget, in
the kernel's log, or as an error output of a cell that itself "succeeded". So after the cells the
runner moves each slider, menu and box once, as a reader would, and then looks for errors everywhere
they can hide: the cells' outputs, the saved state of Output widgets, tracebacks that a cell
printed, and what the kernel's process wrote to its standard error.
"""

import ast
import contextlib
import logging
import re
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill
import psutil
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers
from traitlets import Type

from scdlab.files import atomic_file, package_dir, write_json
from scdlab.lessons.html import WIDGET, to_html
from scdlab.lessons.metrics import collect

PROFILES = ("quick", "full")
TIME_LIMIT = {
    "quick": 600,
    "full": 6 * 3600,
}  # seconds for one lesson, unless `timeout` says otherwise
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
TRACEBACK = "Traceback (most recent call last)"

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

    cell: the n of the `In [n]` that failed, None when no cell can be named; error: one line.
    """

    name: str
    seconds: float
    notebook: Path
    page: Path
    metrics: dict = field(default_factory=dict)
    cell: int | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def status(self) -> str:
        return "ok" if self.ok else "failed"

    def __str__(self) -> str:
        where = f" in cell [{self.cell}]" if self.cell else ""
        return f"{self.name}: {self.status} after {self.seconds:.0f} s" + (
            "" if self.ok else f"{where}: {self.error}"
        )


def list_lessons(folder=None) -> list[Path]:
    """The lessons' notebooks in order: NN_name.ipynb in `folder`, the kit's own by default."""
    return sorted(Path(folder or package_dir("notebooks")).glob("[0-9][0-9]_*.ipynb"))


def run(
    numbers=None,
    profile: str = "quick",
    out=None,
    parameters: dict | None = None,
    timeout: float | None = None,
    device: str | None = None,
    seed: int | None = None,
    data: str | None = None,
    folder=None,
) -> list[LessonResult]:
    """Run lessons one after the other; a failure is reported in its result, and the next lesson
    still runs.

    numbers: one number or several, None for all lessons. out: folder for NN_name.ipynb (executed),
    NN_name.html (opens offline) and metrics.json; "runs/lessons" by default. parameters: values for
    a lesson's `parameters` cell; device, seed and data are short for DEVICE, SEED and DATA.
    timeout: seconds for each lesson; then its kernel is killed.

    Raises:
        ValueError: an unknown lesson, profile or parameter, or a time limit that is not positive.
            Nothing ran then.
    """
    if profile not in PROFILES:
        raise ValueError(f"There is no profile {profile!r}: choose from {', '.join(PROFILES)}.")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"The time limit must be a positive number of seconds, not {timeout}.")
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


def _choose(numbers, paths: list[Path]) -> list[Path]:
    by_number = {int(path.name[:2]): path for path in paths}
    if numbers is None or numbers == []:
        return paths
    if isinstance(numbers, int | str):
        numbers = [numbers]
    for number in numbers:
        if not str(number).isdigit() or int(number) not in by_number:
            there = ", ".join(map(str, by_number)) or "none"
            raise ValueError(f"There is no lesson {number}: the lessons are {there}.")
    return [by_number[int(number)] for number in numbers]


def parameters_of(path) -> list[str]:
    """The names assigned in a lesson's cell tagged `parameters`."""
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


def _refuse_unknown(path: Path, values: dict) -> None:
    known = parameters_of(path)
    for name in values:
        if name not in known:
            there = ", ".join(known) or "none"
            raise ValueError(
                f"The lesson {path.stem} has no parameter {name}: its parameters are {there}."
            )


def _summary(profile: str, results: list[LessonResult]) -> dict:
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


def _run_one(path: Path, out: Path, values: dict, limit: float) -> LessonResult:
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


def _execute(path: Path, values: dict, limit: float):
    """The executed notebook, and (cell, error line) of the first failure or None."""
    with tempfile.TemporaryDirectory() as folder:
        todo, done, log = (Path(folder) / name for name in ("todo.ipynb", path.name, "kernel.log"))
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell(_MOVE_INPUTS, id="move-inputs"))
        nbformat.write(notebook, todo)
        with open(log, "wb") as stderr:
            kernel = _Kernel(stderr, limit)
            with kernel, _quiet_papermill(), contextlib.suppress(PapermillExecutionError):
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
    trouble = _first_trouble(notebook, printed, kernel)
    _settle(notebook)
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != "move-inputs"]
    return notebook, trouble


def _settle(notebook) -> None:
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


class _ShellChannel(AsyncZMQSocketChannel):
    """The channel on which a cell's reply comes, and on which Output widgets send their state to
    the kernel.

    Such a message may swallow the socket's signal that the reply is there, and the run would wait
    for it for ever.
    """

    def send(self, msg):
        super().send(msg)
        _ = (
            self.socket.events
        )  # asking for them makes the socket look once more for what has arrived


class _Client(AsyncKernelClient):
    shell_channel_class = Type(_ShellChannel)


class _Kernel:
    """The kernel of one lesson: this very interpreter, its standard error kept, its life limited to
    `limit` seconds."""

    def __init__(self, stderr, limit: float):
        self.stderr = stderr
        self.limit = limit
        self.timed_out = self.died = False
        self._pid = None
        self._timer = threading.Timer(limit, self._kill)
        self._timer.daemon = True

    def __enter__(self):
        self._timer.start()
        return self

    def __exit__(self, kind, *_):
        self._timer.cancel()
        self.died = kind is not None and issubclass(kind, DeadKernelError)
        return self.died or (self.timed_out and kind is not None and issubclass(kind, Exception))

    def _kill(self) -> None:
        """End the kernel and what it started. A kill cannot be blocked by a cell; an interrupt
        can."""
        self.timed_out = True
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._pid)
            for each in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()

    def manager_class(self):
        """A kernel manager that starts sys.executable, whatever kernels are installed under the
        name "python3"."""
        kernel = self

        class Manager(AsyncKernelManager):
            client_factory = Type(_Client)

            @property
            def kernel_spec(self):
                argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
                return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python")

            async def _async_launch_kernel(self, kernel_cmd, **options):
                await super()._async_launch_kernel(
                    kernel_cmd, **options | {"stderr": kernel.stderr}
                )
                kernel._pid = self.provisioner.pid
                if kernel.timed_out:  # the limit passed while the kernel was starting
                    kernel._kill()

            _launch_kernel = _async_launch_kernel

        return Manager


@contextlib.contextmanager
def _quiet_papermill():
    """papermill and its kernel client log what we report ourselves."""
    loggers = [logging.getLogger(name) for name in ("papermill", "traitlets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_trouble(notebook, kernel_log: str, kernel: _Kernel) -> tuple[int | None, str] | None:
    """(cell, error line) of the first thing that went wrong, None when nothing did."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    models = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    started = [cell for cell in code if cell.metadata.papermill.get("start_time")]
    last = (
        started[-1].execution_count or len(started) if started else None
    )  # where a killed kernel was
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
    for inner in (
        output for key in models for output in _outputs_inside(key, models)
    ):  # not shown by a cell
        if line := _error_line(inner):
            return None, f"A widget's callback failed: {line}"
    if TRACEBACK in kernel_log:
        return None, f"A widget's callback failed: {_last_line(kernel_log)}"
    if kernel.died:
        return last, "The kernel died: it may have run out of memory."
    return None


def _place(cell, line: str) -> tuple[int | None, str]:
    if cell.get("id") == "move-inputs":
        return None, f"A widget's callback failed when its input was moved: {line}"
    return cell.execution_count, line


def _error_line(output) -> str | None:
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


def _outputs_inside(key: str | None, models: dict) -> list:
    """What the Output widgets within the widget of model id `key` hold, that widget included."""
    if key not in models:
        return []
    state = models[key]["state"]
    found = list(state.get("outputs", ())) if models[key]["model_name"] == "OutputModel" else []
    for child in state.get("children", ()):
        found += _outputs_inside(str(child).removeprefix("IPY_MODEL_"), models)
    return found
