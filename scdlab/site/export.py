"""Trained models as pages read them (`web/checkpoint.js`): a description in json, and the numbers
of all tensors one after another, little-endian, in base64 or in a file of their own.

Weights are float32, which is what networks are trained in. Buffers that are float64 in the model,
energies of elements and scales, stay so: total energies are around -10⁴ eV, and float32 would round
them to a thousandth.
"""

import base64
import json
import os
from pathlib import Path
from typing import Any

from torch.nn import Module

from scdlab.files import atomic_file, inside_script
from scdlab.nn.blocks.heads import Float64Buffers
from scdlab.nn.model import Model
from scdlab.nn.registry import describe, with_article
from scdlab.symmetry.auxiliary import is_trained_alone
from scdlab.symmetry.ecse import ECSE

from .stored import FORMAT, packed

MODELS = ("SchNet", "EquivariantTransformer", "PET")  # those that `web/` runs


def export_model(model: Model) -> dict[str, Any]:
    """A model as a page reads it, in one piece.

    Parameters
    ----------
    model : Model
        A model of one of the classes `MODELS`, or an ECSE of a PET.

    Returns
    -------
    dict
        What json can hold: `model` and `config` that rebuild it; `tensors`, by name their `dtype`,
        `shape` and `offset` in bytes; `data`, the numbers in base64; and what is known of the
        training: `trained_elements`, `trained_labels`, `units`, `provenance`.

    Raises
    ------
    ValueError
        For a class that no page runs, and for weights that are not finite.
    """
    about, numbers = _described(model)
    return {**about, "data": base64.b64encode(numbers).decode("ascii")}


def write_export(model: Model, path: str | os.PathLike, name: str | None = None) -> Path:
    """Write a model as a page loads it.

    Parameters
    ----------
    model : Model
        As of `export_model`.
    path : str or Path
        A file that ends in ".js": a classic script that puts the model into
        `globalThis.scdlabWeights[name]`, which pages opened from disk can load too. Or one that
        ends in ".json", for pages that fetch it: the numbers then stand beside it, in ".bin".
    name : str, optional
        The model's name in the page; by default that of the file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        As `export_model`, and for a file that ends otherwise.
    """
    path = Path(path)
    name = path.stem if name is None else name
    if path.suffix == ".js":
        content = json.dumps(export_model(model), allow_nan=False)
        key = json.dumps(name)
        text = f"(globalThis.scdlabWeights ??= {{}})[{key}] = {content};\n"
        with atomic_file(path) as new:
            new.write_text(inside_script(text), encoding="utf-8")
        return path
    if path.suffix != ".json":
        raise ValueError(
            f"The file of an exported model must end in .js or .json, got {path.name!r}: name it "
            f"{path.stem + '.js'!r} for a page that is opened from disk."
        )
    about, numbers = _described(model)
    with atomic_file(path.with_suffix(".bin")) as new:
        new.write_bytes(numbers)
    text = json.dumps({**about, "buffer": path.with_suffix(".bin").name}, allow_nan=False)
    with atomic_file(path) as new:
        new.write_text(text, encoding="utf-8")
    return path


def _described(model: Model) -> tuple[dict[str, Any], bytes]:
    """The description of a model, and the numbers of its tensors."""
    described = describe(model)
    units = {}
    if isinstance(model, ECSE):
        _check_class(model.backbone, ("PET",))
        if model.layerwise and model.backbone.passes_on:
            raise ValueError(
                "No page runs an ECSE layer by layer; export one with layerwise=False, or around a "
                "PET of one layer."
            )
        if model.auxiliary is not None:
            _check_class(model.auxiliary, ("EquivariantTransformer",))
            units = {"auxiliary_has_units": is_trained_alone(model.auxiliary)}
    else:
        _check_class(model, MODELS)
    arrays = []
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                f"The weights {name} are not finite numbers; export a model whose training ended "
                "well."
            )
        dtype = "float64" if is_double(model, name) else "float32"
        arrays.append((name, tensor.detach().cpu().numpy().astype(dtype)))
    tensors, numbers = packed(arrays)
    about = {
        "format": FORMAT,
        "model": described["name"],
        "config": described["config"],
        "tensors": tensors,
        "filter_table_size": model.filter_table_size,
        "trained_elements": model.trained_elements.nonzero().flatten().tolist(),
        "trained_labels": model.trained_labels.as_json(),
        "units": model.units,
        "provenance": model.provenance,
        **units,
    }
    return about, numbers


def _check_class(model: Model, classes: tuple[str, ...]) -> None:
    """Raise ValueError for a model that is of none of these classes of the library."""
    described = describe(model)
    if described["name"] not in classes or "module" in described:
        raise ValueError(
            f"No page runs {with_article(described['name'])} here; export a model of "
            f"{' or '.join(classes)}."
        )


def is_double(model: Module, name: str) -> bool:
    """Whether a tensor of a model is kept in float64 whatever the model's precision.

    Parameters
    ----------
    model : Module
        The model.
    name : str
        The tensor's name in its state.
    """
    owner, _, own = name.rpartition(".")
    module = model.get_submodule(owner)
    return isinstance(module, Float64Buffers) and own in dict(module.named_buffers(recurse=False))
