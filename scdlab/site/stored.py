"""The kit's checkpoints as pages read them, taken from their files as they are: without torch, so
that a page is written in a fraction of a second. `export` does the same for any model in memory."""

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from scdlab.files import content_digest, package_dir

FORMAT = "scdlab-web-model"


def export_stored(name: str) -> dict[str, Any]:
    """A checkpoint of the kit as a page reads it, in one piece.

    Parameters
    ----------
    name : str
        Its name in `data/checkpoints`, as for `scdlab.load_pretrained`.

    Returns
    -------
    dict
        As of `scdlab.site.export_model`.

    Raises
    ------
    ValueError
        Where there is no such checkpoint, and where its files are damaged or do not belong
        together.
    """
    about = described(name)
    content = (_folder() / f"{name}.safetensors").read_bytes()
    if hashlib.sha256(content).hexdigest() != about["weights_sha256"]:
        raise ValueError(_damaged(name))
    stored = safetensors.numpy.load(content)
    tensors, numbers = packed(sorted(stored.items()))
    return {
        "format": FORMAT,
        "model": about["model"],
        "config": about["config"],
        "tensors": tensors,
        "filter_table_size": about["filter_table_size"],
        "trained_elements": np.flatnonzero(stored["trained_elements"]).tolist(),
        "trained_labels": about["trained_labels"],
        "units": about.get("units", {}),
        "provenance": about["provenance"],
        "data": base64.b64encode(numbers).decode("ascii"),
    }


def described(name: str) -> dict[str, Any]:
    """What the json of a checkpoint of the kit holds.

    Parameters
    ----------
    name : str
        Its name in `data/checkpoints`.

    Returns
    -------
    dict
        Its entries; `provenance` says what it was trained on and how well it does.

    Raises
    ------
    ValueError
        Where there is no such checkpoint, and where its json is damaged.
    """
    try:
        about = json.loads((_folder() / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"No trained model called {name!r} comes with the kit; name one of data/checkpoints."
        ) from None
    if about.get("digest") != content_digest(about):
        raise ValueError(_damaged(name))
    return about


def _folder() -> Path:
    return package_dir("data") / "checkpoints"


def _damaged(name: str) -> str:
    return (
        f"The trained model {name!r} was edited or is damaged (its digest differs); install the "
        "kit again."
    )


def packed(tensors: Iterable[tuple[str, np.ndarray]]) -> tuple[dict[str, dict[str, Any]], bytes]:
    """Arrays one after another, those of floating-point numbers alone.

    Parameters
    ----------
    tensors : iterable of (str, numpy.ndarray)
        Arrays by name, float32 or float64.

    Returns
    -------
    described : dict
        By name their `dtype`, `shape` and `offset` in bytes.
    numbers : bytes
        The numbers, little-endian; each array begins at a multiple of 8 bytes.
    """
    described: dict[str, dict[str, Any]] = {}
    parts: list[bytes] = []
    offset = 0
    for name, array in tensors:
        if array.dtype.kind != "f":
            continue
        numbers = array.astype(array.dtype.newbyteorder("<")).tobytes()
        numbers += bytes(-len(numbers) % 8)  # typed arrays begin at multiples of their size
        described[name] = {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "offset": offset,
        }
        parts.append(numbers)
        offset += len(numbers)
    return described, b"".join(parts)
