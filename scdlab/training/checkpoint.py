"""Models on disk: `name.safetensors` holds the weights, `name.json` what rebuilds the model around
them.

Nothing is unpickled. Both files are written beside their final names first and moved there when
complete; the json carries the digest of the weights, so a pair that does not belong together is
found when it is opened.

The models in `data/checkpoints` are products of the claims' recipes. Their json also holds
`provenance` (which recipe, settings and commit, and which molecules they have seen) and a digest of
itself, so that an edit by hand is found.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

import scdlab
import scdlab.symmetry  # registers its models
from scdlab.devices import checked_device
from scdlab.files import package_dir
from scdlab.nn import Model
from scdlab.nn.registry import describe, named
from scdlab.nn.trained_labels import TrainedLabels, labels_from_json
from scdlab.pairs import read_pair, write_pair
from scdlab.plain import content_digest, has_absolute_path
from scdlab.renames import known_arguments
from scdlab.training.building import build
from scdlab.training.tensors import (
    check_finite,
    load_tensors,
    match_precision,
    read_tensors,
    separated,
)

FORMAT = "scdlab-model"
FORMAT_VERSION = 2
PROVENANCE = (
    "claim",
    "profile",
    "seed",
    "settings",
    "command",
    "commit",
    "source",
    "versions",
    "hardware",
    "date",
    "seen",
)


#: Entries of the json of a model, and their types.
ENTRIES = {
    "model": str,
    "config": dict,
    "weights_sha256": str,
    "digest": str,
    "trained_labels": dict,
}
OPTIONAL_ENTRIES = {"module": str, "units": dict, "provenance": dict, "default_dtype": str}


def _paths(path: str | os.PathLike) -> tuple[Path, Path]:
    """The files of the weights and of the json."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"The path of a model must be a str or a Path, such as 'runs/net', got {named(path)}."
        )
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    if not stem.name or "\0" in str(path):
        raise ValueError(
            f"The path {str(path)!r} names no file; give one with a name, such as 'runs/net'."
        )
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def save(model: Model, path: str | os.PathLike, provenance: dict[str, Any] | None = None) -> Path:
    """Write a model to `path`.safetensors and `path`.json. Missing folders are made.

    Both files change at one instant: whatever happens meanwhile, the old model can be loaded or the
    new one.

    Parameters
    ----------
    model : Model
        Any model, of a class of one's own too.
    path : str or Path
        Where to, with or without one of the two suffixes.
    provenance : dict, optional
        Where the model comes from, for one that is to be handed on (`PROVENANCE` names its
        entries).

    Returns
    -------
    Path
        The file of the weights.

    Raises
    ------
    TypeError
        For anything but a model, and for an argument of the model that cannot be written as json.
    ValueError
        For weights that are not finite numbers.
    OSError
        When the files cannot be written, are being written by another process, or when something
        else than a model stands there.
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"save writes a model, an AtomisticModel or one around it, got {named(model)}; save "
            "the state_dict of other modules with torch.save."
        )
    weights, description = _paths(path)
    check_config(model)
    tensors = separated(model.state_dict())
    check_finite(tensors, f"this {type(model).__name__}")
    described = describe(model)
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "scdlab": scdlab.__version__,
        "model": described.pop("name"),
        **described,
    }
    if model.built_in != torch.float32:
        about |= {"default_dtype": str(model.built_in).removeprefix("torch.")}

    def whole(sha256: str) -> dict[str, Any]:
        content = {**about, "weights_sha256": sha256}
        if model.units:  # of the properties that it learned
            content |= {"units": model.units}
        content |= {"filter_table_size": model.filter_table_size}
        content |= {"trained_labels": model.trained_labels.as_json()}
        if provenance is not None:
            content |= {"provenance": provenance}
        return content | {"digest": content_digest(content)}

    write_pair(weights, description, lambda new: _write(tensors, new), whole)
    return weights


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    safetensors.torch.save_file(tensors, path)


def check_config(model: Model) -> None:
    """Raise TypeError when an argument of the model cannot be written as json.

    Parameters
    ----------
    model : Model
        Any model.
    """
    for name, value in model.config.items():
        try:
            text = json.dumps(value, allow_nan=False)
            if json.loads(text) != _lists(value):
                raise ValueError("its keys are no text")
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(
                f"The argument {name!r} of {type(model).__name__} holds what json cannot "
                f"({error}); give numbers, text, lists or models, and build all else inside."
            ) from error


def _lists(value: Any) -> Any:
    """The value with lists for tuples, as json has them."""
    if isinstance(value, list | tuple):
        return [_lists(each) for each in value]
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return value


@known_arguments
def load(
    path: str | os.PathLike,
    device: str | torch.device = "cpu",
    cls: type[Model] | None = None,
) -> Model:
    """Read a model written by `save`, ready for evaluation, in the precision it was saved in.

    Its `provenance` is what `save` was given, else None; its `units` are those of the properties
    that it learned.

    Parameters
    ----------
    path : str or Path
        As given to `save`; or the folder of a run of `fit`, for the model in it.
    device : str or torch.device, default "cpu"
        Where to put the model.
    cls : type, optional
        The class of a model of one's own, or of the one within it. Not needed where the class was
        defined in this session: classes are found by name.

    Raises
    ------
    FileNotFoundError
        When a file is missing.
    ValueError
        When the files are of another format or version, are damaged or do not belong together, and
        when the model's class is not known or the device is not there.
    TypeError
        For what is no path, and for what is no class of a model.
    """
    device = checked_device(device)
    weights, description = _found(path)
    return _opened(weights, description, device, cls, _check(description)).eval()


def _opened(
    weights: Path,
    description: Path,
    device: torch.device,
    cls: type[Model] | None,
    check: Callable[[dict[str, Any]], None],
) -> Model:
    """The model of two files, on a device."""

    def read(about: dict[str, Any], file: Path) -> Model:
        return _read(about, file, description, cls)

    model = read_pair(weights, description, read, check=check)
    return model if device.type == "cpu" else model.to(device)


def _found(path: str | os.PathLike) -> tuple[Path, Path]:
    """The files of a model, which are there."""
    folder = isinstance(path, str | os.PathLike) and os.path.isdir(path)
    if folder and not Path(f"{os.fspath(path).rstrip(os.sep)}.json").is_file():
        path = Path(path)
        if not (path / "model.json").is_file():
            raise FileNotFoundError(
                f"{path} is a folder without a model.json, so it is no run of scdlab.fit; give the "
                "path of a model in it, as scdlab.save was given."
            )
        path = path / "model"
    weights, description = _paths(path)
    if not description.is_file():
        hint = ""
        if str(path) in pretrained_names():
            hint = f" scdlab.load_pretrained({str(path)!r}) opens the one that comes with the kit;"
        missing = description if weights.is_file() else weights
        raise FileNotFoundError(
            f"No model at {missing};{hint} scdlab.save(model, path) writes path.safetensors and "
            "path.json."
        )
    return weights, description


def _check(description: Path, signed: bool = True) -> Callable[[dict[str, Any]], None]:
    """A check of the json, before the weights are read."""

    def check(about: dict[str, Any]) -> None:
        if about.get("format") != FORMAT:
            raise ValueError(
                f"{description} does not describe an scdlab model; give a path written by "
                "scdlab.save."
            )
        version = about.get("format_version")
        if version != FORMAT_VERSION or isinstance(version, bool):
            raise ValueError(
                f"{description} has format version {version!r}, and scdlab {scdlab.__version__} "
                f"reads version {FORMAT_VERSION}; open it with scdlab {about.get('scdlab')}, or "
                "convert it with tools/convert_0_2.py."
            )
        if "digest" not in about or "trained_labels" not in about:
            raise ValueError(
                f"{description} was written before scdlab 0.2: it lacks its digest or what the "
                "model has learned; convert it with tools/convert_0_2.py, or save the model again."
            )
        if signed and about["digest"] != content_digest(about):
            raise ValueError(
                f"{description} was edited or is damaged (its digest differs); copy both files "
                "again, or save the model again."
            )
        for key, kind in (ENTRIES | OPTIONAL_ENTRIES).items():
            if key not in about and key in OPTIONAL_ENTRIES:
                continue
            if not isinstance(about.get(key), kind):
                raise ValueError(
                    f"{description} must hold a {kind.__name__} as {key!r}, got "
                    f"{named(about.get(key)) if key in about else 'no such entry'}; save the model "
                    "again."
                )

    return check


def _read(
    about: dict[str, Any], weights: Path, description: Path, cls: type[Model] | None
) -> Model:
    """The model of a checked json and the file of its weights."""
    tensors = read_tensors(weights)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(_default_dtype(about, description))
        model = build(about["model"], about["config"], about.get("module"), cls, shapes)
    except ValueError as error:
        raise ValueError(f"{description} cannot be opened: {error}") from error
    finally:
        torch.set_default_dtype(before)
    match_precision(model, {name: tensor.dtype for name, tensor in tensors.items()})
    load_tensors(model, tensors, weights)
    units = about.get("units", {})
    if not all(isinstance(unit, str) for unit in units.values()):
        raise ValueError(
            f"{description} must hold text as the unit of each property, got {units!r}; save the "
            "model again."
        )
    model.provenance = about.get("provenance")
    model.units = units
    model.trained_labels = _labels(about["trained_labels"], description)
    try:
        model.filter_table_size = about.get("filter_table_size", model.filter_table_size)
    except ValueError as error:
        raise ValueError(f"{description} cannot be opened: {error}") from error
    return model


def _default_dtype(about: dict[str, Any], description: Path) -> torch.dtype:
    """The precision that was torch's default when the model was built."""
    name = about.get("default_dtype", "float32")
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(
            f"{description} must name a precision as 'default_dtype', such as 'float64', got "
            f"{name!r}; save the model again."
        )
    return found


def _labels(content: object, description: Path) -> TrainedLabels:
    try:
        return labels_from_json(content)
    except ValueError as error:
        raise ValueError(
            f"{description} has 'trained_labels' that cannot be: {error}; save the model again."
        ) from error


def load_pretrained(name: str, device: str | torch.device = "cpu") -> Model:
    """A trained model that comes with the kit.

    `model.provenance` holds how it was made and what it was trained on.

    Parameters
    ----------
    name : str
        One of `pretrained_names()`.
    device : str or torch.device, default "cpu"
        Where to put the model.

    Raises
    ------
    ValueError
        For a name that does not ship, and for a model whose origin cannot be trusted.
    """
    folder = package_dir("data") / "checkpoints"
    if name not in pretrained_names():
        there = ", ".join(pretrained_names()) or "none"
        raise ValueError(
            f"No trained model called {name!r} comes with the kit; there are: {there}. A path is "
            "opened by scdlab.load."
        )
    weights, description = _paths(folder / name)
    check = _check(description, signed=False)  # its digest is among the problems below

    def check_origin(about: dict[str, Any]) -> None:
        if wrong := provenance_problems(about):
            raise ValueError(
                f"The trained model {name!r} cannot be trusted: {wrong[0]}; install the kit "
                "again, or remake the model with the command in its json."
            )
        check(about)

    return _opened(weights, description, checked_device(device), None, check_origin).eval()


def pretrained_names() -> list[str]:
    """Names of the trained models that come with the kit, for `load_pretrained`."""
    return sorted(path.stem for path in (package_dir("data") / "checkpoints").glob("*.json"))


def provenance_problems(about: dict[str, Any]) -> list[str]:
    """What is wrong with the origin that a checkpoint states, most basic first.

    Parameters
    ----------
    about : dict
        The content of its json.

    Returns
    -------
    list of str
        Empty when the origin can be trusted.
    """
    origin = about.get("provenance")
    wrong = []
    if not isinstance(origin, dict):
        return ["its json has no provenance"]
    if about.get("digest") != content_digest(about):
        return ["the digest does not match the content of its json: it was edited by hand"]
    wrong += [f"its {part} is empty" for part in PROVENANCE if origin.get(part) in (None, "", {})]
    if not re.fullmatch(r"[0-9a-f]{40}", str(origin.get("commit"))):
        wrong.append("it names no commit")
    if has_absolute_path(about):
        wrong.append("it holds a path of the machine it was made on")
    return wrong
