"""Models that recipes share: one that several claims start from is trained once for each seed."""

import contextlib
import contextvars
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import scdlab
from scdlab import files
from scdlab.locks import locked_in_turn
from scdlab.log import show
from scdlab.nn.model import Model

from . import provenance


@dataclasses.dataclass
class Bench:
    """What `run` lends to the recipe that it measures.

    Parameters
    ----------
    out : Path
        Folder whose subfolder `models` holds the models.
    key : dict
        What a result depends on beside settings and source: torch, device.
    models : dict of str to str
        Models that the recipe used so far: name -> folder in out/models.
    seconds : float, default 0
        Seconds that earlier runs took to train them.
    counted : set of str
        Folders of models whose time is in this seed's seconds already.
    waited : float, default 0
        Seconds that were spent waiting for a model which another process trained.
    echo : callable (str) -> None
        Called with each line of progress; printed by default.
    """

    out: Path
    key: dict[str, Any]
    models: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    counted: set[str] = dataclasses.field(default_factory=set)
    waited: float = 0.0
    echo: Callable[[str], object] = show


_BENCH: contextvars.ContextVar[Bench | None] = contextvars.ContextVar("bench", default=None)


@contextlib.contextmanager
def lend(bench: Bench) -> Iterator[Bench]:
    """Let `keep` use a bench inside a `with` block.

    Parameters
    ----------
    bench : Bench
        Where models are kept.

    Yields
    ------
    Bench
        The same.
    """
    token = _BENCH.set(bench)
    try:
        yield bench
    finally:
        _BENCH.reset(token)


def models_folder(out: Path) -> Path:
    """Where the models of a folder of runs stand.

    Parameters
    ----------
    out : Path
        The folder that `run` was given.

    Returns
    -------
    Path
        Its subfolder for models.
    """
    return out / "models"


def keep(
    name: str, settings: dict[str, Any], seed: int, train: Callable[[Path | None], Any]
) -> Model:
    """A model of a seed, trained now, or as an earlier recipe left it in the same folder.

    It is trained again when its settings change, or the code that decides its numbers
    (`provenance.deciding_digest`). A process that finds another one training it waits for it. The
    time of a model found ready counts in the seconds of every seed that uses it. Outside of `run`
    the model is trained, the folder is None, and nothing is kept.

    Parameters
    ----------
    name : str
        The model's name.
    settings : dict
        All that decides what the model becomes.
    seed : int
        The seed.
    train : callable (folder) -> FitResult
        Trains it and returns the result of `scdlab.fit`; the folder is for
        `fit(out=folder, resume=True)`, so that an interrupted training goes on.

    Returns
    -------
    Model
        The trained model.

    Raises
    ------
    KeyboardInterrupt
        The training was interrupted: half a training is no measurement.
    """
    bench = _BENCH.get()
    if bench is None:
        return train(None).model
    about = {"name": name, "settings": settings, "seed": seed}
    about["source"] = provenance.deciding_digest(provenance.modules_of(train))
    about |= {part: bench.key[part] for part in ("torch", "device")}
    folder = f"{name}.seed{seed}.{files.content_digest(about)[:12]}"
    bench.models[name] = folder
    path = models_folder(bench.out) / folder
    counted = folder in bench.counted
    bench.counted.add(folder)
    if not (path / "kept.json").is_file():
        with locked_in_turn(
            path, lambda busy: bench.echo(f"{name}, seed {seed}: {busy}")
        ) as waited:
            bench.waited += waited
            if not (path / "kept.json").is_file():
                start = time.perf_counter()
                result = train(path)
                earlier = result.seconds - (time.perf_counter() - start)
                bench.seconds += max(0.0, earlier)  # of a training that was resumed
                if result.interrupted:
                    raise KeyboardInterrupt
                write_kept(path / "kept.json", about | {"seconds": round(result.seconds, 1)})
                return result.model
    seconds = read_kept(path / "kept.json", {"seconds": float})["seconds"]
    bench.seconds += 0.0 if counted else seconds
    return scdlab.load(path / "model")


def write_kept(path: Path, content: dict[str, Any]) -> None:
    """Write a result that a later run may take, with a digest over all of it.

    Parameters
    ----------
    path : Path
        The json file.
    content : dict
        What it holds.
    """
    files.write_json(path, content | {"digest": files.content_digest(content)})


def read_kept(path: Path, kinds: dict[str, type]) -> dict[str, Any]:
    """A result that an earlier run left, checked.

    Parameters
    ----------
    path : Path
        The json file.
    kinds : dict of str to type
        Entries that it must have, and their types.

    Returns
    -------
    dict
        What it holds.

    Raises
    ------
    ValueError
        It is damaged, was edited by hand, or lacks an entry.
    """
    again = "remove it, and it will be measured again"
    content = files.read_json(path, "result of an earlier run", again)
    if content.get("digest") != files.content_digest(content):
        raise ValueError(
            f"The result {path} of an earlier run does not match its digest, so it was damaged or "
            f"edited: {again}."
        )
    for name, kind in kinds.items():
        if not isinstance(content.get(name), (kind, int) if kind is float else kind):
            raise ValueError(f"The result {path} of an earlier run has no {name}: {again}.")
    return content
