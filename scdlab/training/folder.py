"""The folder of a run: settings, splits, log, checkpoint and model, always those of one run.

    run.json                      settings, versions, what the run is trained on
    train_index.npy val_index.npy which structures of the store were used
    log.csv, log.json             losses, errors (eV, eV/Å), learning rate, seconds
    checkpoint.safetensors        everything needed to resume, written whole or not at all
    model.safetensors model.json  the trained model, for `scdlab.load`
    failed/                       a step whose loss was no number (`training.failure`)

A run that starts anew in the folder of an earlier one puts that aside: its files are first linked
into `previous/`, then removed, then those of the new run are written, run.json last. So whenever a
process is killed, the folder holds files of one run alone, and one whole run can be found.
`previous/` goes away when the new run has its model.
"""

import contextlib
import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch.nn import Parameter

import scdlab
from scdlab.atoms.store import AtomStore
from scdlab.files import atomic_file, atomic_folder, read_json, remove, sweep, write_json
from scdlab.locks import locked
from scdlab.log import logger
from scdlab.nn import Model
from scdlab.objectives import Objective
from scdlab.training import checkpoint, failure
from scdlab.training.identity import Identity
from scdlab.training.state import CHECKPOINT, Settings, State, read_checkpoint, write_checkpoint

PREVIOUS = "previous"
_MODEL = ("model.safetensors", "model.json")  # weights first: they never stay alone
_FILES = (
    CHECKPOINT,
    *_MODEL,
    "log.csv",
    "log.json",
    "train_index.npy",
    "val_index.npy",
    "test_index.npy",  # these two are of `scdlab train`
    "metrics.json",
    "run.json",
)


class RunFolder:
    """Writes and reads the folder of a run.

    Parameters
    ----------
    path : Path
        The folder.
    settings : Settings
        What decides what the run does.
    model, objective, train, val
        As for `fit`, prepared.
    """

    def __init__(
        self,
        path: Path,
        settings: Settings,
        model: Model,
        objective: Objective,
        train: AtomStore,
        val: AtomStore | None,
    ):
        self.path = path
        self.settings = settings
        self.identity = Identity.of(model, objective, train, val)
        self.written: tuple[str, int] | None = None  # the last checkpoint, and its step

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from."""
        return (self.path / CHECKPOINT).is_file()

    def start(self, train: AtomStore, val: AtomStore | None, model: Model) -> None:
        """Write what is known of a run before it starts; an earlier run there is put aside.

        Parameters
        ----------
        train, val : AtomStore
            The structures.
        model : Model
            The model.
        """
        versions = {
            "scdlab": scdlab.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        }
        about = {
            "settings": self.settings.as_json(),
            "config": model.config,
            "identity": self.identity.as_json(),
            "versions": versions,
        }
        self.path.mkdir(parents=True, exist_ok=True)
        self._put_aside()
        for name, store in (("train_index.npy", train), ("val_index.npy", val)):
            if store is not None:
                with atomic_file(self.path / name) as new, open(new, "wb") as file:
                    np.save(file, store.index)
        write_json(self.path / "run.json", about)

    def _put_aside(self) -> None:
        previous = self.path / PREVIOUS
        self._sweep()
        there = [name for name in _FILES if (self.path / name).is_file()]
        # weights of a writer that was killed before it gave them their name
        there += [path.name for path in self.path.glob(".model.*.safetensors")]
        whole = "model.json" in there
        if whole or (CHECKPOINT in there and not (previous / "model.json").is_file()):
            with atomic_folder(previous) as new:
                for name in there:
                    _link(self.path / name, new / name)
            logger.info(
                "The earlier run in %s is kept in %s until this one has a model.",
                self.path,
                previous,
            )
        for name in there:
            (self.path / name).unlink()
        remove(self.path / failure.FOLDER)

    def _sweep(self) -> None:
        """Remove what processes left that were killed while they wrote."""
        for name in (*_FILES, PREVIOUS, failure.FOLDER):
            sweep(self.path / name)

    def read(
        self,
        model: Model,
        parameters: list[Parameter],
        optimizer: torch.optim.Optimizer,
        averaged: bool,
    ) -> State:
        """Go on from the checkpoint: see `read_checkpoint`."""
        state = read_checkpoint(
            self.path / CHECKPOINT,
            self.settings,
            self.identity,
            model,
            parameters,
            optimizer,
            averaged,
        )
        self.written = (str(self.path / CHECKPOINT), state.step)
        return state

    def write(
        self,
        model: Model,
        parameters: list[Parameter],
        optimizer: torch.optim.Optimizer,
        state: State,
    ) -> None:
        """Write a checkpoint and the log; where that fails, the earlier one stays, and training
        goes on."""
        try:
            write_checkpoint(
                self.path / CHECKPOINT,
                self.settings,
                self.identity,
                model,
                parameters,
                optimizer,
                state,
            )
            self.written = (str(self.path / CHECKPOINT), state.step)
            write_log(self.path, state)
        except (OSError, safetensors.SafetensorError) as error:
            stays = "there is none yet"
            if self.written is not None:
                stays = f"that of step {self.written[1]} stays"
            logger.warning(
                "The checkpoint of step %d could not be written (%s); training goes on, and %s.",
                state.step,
                str(error).rstrip("."),
                stays,
            )

    def finish(self, model: Model, state: State) -> None:
        """Write the log and the trained model.

        Raises
        ------
        OSError
            When the model cannot be written.
        """
        weights, description = (self.path / name for name in _MODEL)
        try:
            if not description.is_file():  # of this run, killed while it wrote its model
                weights.unlink(missing_ok=True)
            checkpoint.save(model, self.path / "model")
        except (OSError, safetensors.SafetensorError) as error:
            raise OSError(
                f"The trained model could not be written to {self.path} ({str(error).rstrip('.')});"
                " it is in the model that was given to fit: make room and write it with "
                "scdlab.save(model, path)."
            ) from error
        try:
            write_log(self.path, state)
            remove(self.path / PREVIOUS)
            self._sweep()
        except OSError as error:
            logger.warning("The log of the run could not be written (%s).", error)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Be the only run that writes a folder, while the block runs; one that is new and still empty
    at the end goes away.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    Busy
        When another process writes it.
    """
    new = not path.exists()
    try:
        with locked(path, inside=True):
            yield
    finally:
        if new:
            with contextlib.suppress(OSError):  # there is something in it
                path.rmdir()


def checked_folder(out: Any, model: Model) -> Path:
    """The folder of a run, checked before anything is done.

    Parameters
    ----------
    out : str or Path
        The argument `out`.
    model : Model
        What is to be saved in it.

    Raises
    ------
    TypeError
        For what is no path, and a model that cannot be saved.
    FileExistsError, NotADirectoryError
        Where something else stands.
    """
    if not isinstance(out, str | os.PathLike):
        raise TypeError(f"out must be the path of a folder, or None, got {out!r}.")
    path = Path(out)
    checkpoint.check_config(model)
    for each in (path, *path.parents):
        if os.path.lexists(each):
            if not each.is_dir():
                raise NotADirectoryError(
                    f"out={str(path)!r} must be a folder, and {each} is a file; give another path."
                )
            break
    for name, what, needed in (
        ("run.json", "record of a run", "settings"),
        ("model.json", "description of a model", "config"),
    ):
        if not os.path.lexists(path / name):
            continue
        try:
            about = read_json(path / name, what, finite=False)
        except ValueError:
            about = {}
        if needed not in about:
            raise FileExistsError(
                f"{path / name} stands there already and is no {what}; give another folder as out=."
            )
    alone = (path / _MODEL[0]).is_file() and not (path / _MODEL[1]).is_file()
    if alone and not (path / "run.json").is_file():
        raise FileExistsError(
            f"{path / _MODEL[0]} stands there without a {_MODEL[1]}, so it is no model of a run; "
            "give another folder as out=."
        )
    return path


def write_log(folder: Path, state: State) -> None:
    """Write the rows of the log as csv and as json.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    state : State
        What it has reached.
    """
    columns = list(dict.fromkeys(key for row in state.rows for key in row))
    with (
        atomic_file(folder / "log.csv") as new,
        open(new, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(state.rows)
    about: dict[str, Any] = {
        "seconds": state.seconds,
        "steps": state.step,
        "best": state.best,
        "rows": state.rows,
    }
    write_json(folder / "log.json", about)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; where links are not to be had, copy it."""
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)
