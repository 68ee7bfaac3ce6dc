"""Callbacks of `fit`: called with (step, row, model) at each row of the log, in the first process.

A callback of one's own is any function of these three:

    def watch(step, row, model):
        print(step, row["loss"])

    scdlab.fit(model, objective, train, callbacks=[watch])
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scdlab.nn import Model

Callback = Callable[[int, dict[str, float], Model], Any]
"""What `fit(callbacks=…)` takes: a function of steps done, the row of the log, and the model."""


class CsvWriter:
    """Writes the log as a csv file while the run goes on.

    A run that is resumed goes on in its file.

    Parameters
    ----------
    path : str or Path
        The file; missing folders are made.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._rows: list[dict[str, Any]] | None = None
        self._columns: list[str] = []

    def __call__(self, step: int, row: dict[str, float], model: Model) -> None:
        if self._rows is None:
            self._rows = self._earlier(step)
        self._rows.append({"step": step, **row})
        columns = list(dict.fromkeys(key for each in self._rows for key in each))
        if columns == self._columns:
            self._write(self._rows[-1:], "a")
        else:  # a column more, such as that of the first validation
            self._columns = columns
            self._write(self._rows, "w")

    def _earlier(self, step: int) -> list[dict[str, Any]]:
        """The rows of an earlier part of the run."""
        if step == 1 or not self.path.is_file():
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = [dict(row) for row in csv.DictReader(file)]
        return [row for row in rows if int(row["step"]) < step]

    def _write(self, rows: list[dict[str, Any]], mode: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, mode, newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, restval="")
            if mode == "w":
                writer.writeheader()
            writer.writerows(rows)


class TensorBoard:
    """Writes the log for TensorBoard, which `tensorboard --logdir FOLDER` shows.

    Parameters
    ----------
    folder : str or Path
        Where the event files go.

    Raises
    ------
    ImportError
        When it is first called, without the package tensorboard.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._writer: Any = None

    def __call__(self, step: int, row: dict[str, float], model: Model) -> None:
        if self._writer is None:
            self._writer = _summary_writer(self.folder)
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, step)
        self._writer.flush()


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "The TensorBoard callback needs the package tensorboard: pip install tensorboard."
        ) from error
    return SummaryWriter(str(folder))
