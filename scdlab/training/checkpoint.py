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
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

import scdlab
import scdlab.symmetry  # registers its models
from scdlab.files import (
    atomic_file,
    content_digest,
    digest,
    has_absolute_path,
    package_dir,
    write_json,
)
from scdlab.nn import Model
from scdlab.nn.registry import POSITIONAL, describe, registered
from scdlab.nn.trained_labels import TrainedLabels, labels_from_json
from scdlab.renames import known_arguments

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


def _paths(path: str | Path) -> tuple[Path, Path]:
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def save(model: Model, path: str | Path, provenance: dict[str, Any] | None = None) -> Path:
    """Write a model to `path`.safetensors and `path`.json. Missing folders are made.

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
        For an argument of the model that cannot be written as json.
    """
    weights, description = _paths(path)
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "scdlab": scdlab.__version__,
    }
    described = describe(model)
    about |= {"model": described.pop("name"), **described}
    check_config(model)
    with atomic_file(weights) as new:
        safetensors.torch.save_file(separated(model.state_dict()), new)
    about |= {"weights_sha256": digest(weights)}
    if model.units:  # of the properties that it learned
        about |= {"units": model.units}
    about |= {
        "filter_table_size": model.filter_table_size,
        "trained_labels": model.trained_labels.as_json(),
    }
    if provenance is not None:
        about |= {"provenance": provenance}
    about |= {"digest": content_digest(about)}
    write_json(description, about)
    return weights


def check_config(model: Model) -> None:
    """Raise TypeError when an argument of the model cannot be written as json.

    Parameters
    ----------
    model : Model
        Any model.
    """
    for name, value in model.config.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise TypeError(
                f"The argument {name!r} of {type(model).__name__} holds what json cannot "
                f"({error}); give numbers, text, lists or models, and build all else inside."
            ) from error


def separated(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the processor, each with memory of its own.

    safetensors refuses tensors that share memory, as tied weights do: each of them is written, and
    they are tied again where the model that is loaded ties them.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Tensors by name, such as a `state_dict`.
    """
    found = {}
    taken = set()
    for name, value in tensors.items():
        tensor = value.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return found


def build(
    name: str, config: dict[str, Any], module: str | None = None, cls: type[Model] | None = None
) -> Model:
    """A fresh model from its description.

    Parameters
    ----------
    name : str
        The name of its class.
    config : dict
        Its `config`. Models within it are built likewise.
    module : str, optional
        Where a class outside the library was defined.
    cls : type, optional
        The class to take for its own name, at any depth, and for a name that is not known.

    Raises
    ------
    ValueError
        For a class that is not known, and for arguments that it does not take.
    """
    made = cls if cls is not None and cls.__name__ == name else registered(name, module)
    if made is None:
        made = cls
    if made is None:
        raise ValueError(
            f"The checkpoint holds a {name}, a class that is not registered; import the module or "
            f"run the cell that defines it, or give the class, scdlab.load(path, cls={name})."
        )
    arguments = dict(config)
    kinds = arguments.pop("properties", {})
    for key, value in arguments.items():
        if isinstance(value, dict) and {"name", "config"} <= {*value}:  # a model within a model
            arguments[key] = build(**value, cls=cls)
    try:
        model = made(*arguments.pop(POSITIONAL, ()), **arguments)
    except TypeError as error:
        raise ValueError(
            f"The arguments in the checkpoint do not fit {made.__name__} of this session, scdlab "
            f"{scdlab.__version__} ({error}); open it with the version that wrote it."
        ) from error
    for key, kind in kinds.items():
        model.add_property(key, kind)
    return model


@known_arguments
def load(
    path: str | Path, device: str | torch.device = "cpu", cls: type[Model] | None = None
) -> Model:
    """Read a model written by `save`, ready for evaluation.

    Its `provenance` is what `save` was given, else None; its `units` are those of the properties
    that it learned.

    Parameters
    ----------
    path : str or Path
        As given to `save`.
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
        when the model's class is not known.
    """
    weights, description = _paths(path)
    for file in (weights, description):
        if not file.is_file():
            raise FileNotFoundError(
                f"No model at {file}; scdlab.save(model, path) writes path.safetensors and "
                "path.json."
            )
    try:
        about = json.loads(description.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{description} is not readable json, so the model cannot be rebuilt; save it again."
        ) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(
            f"{description} does not describe an scdlab model; give a path written by scdlab.save."
        )
    if about["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{description} has format version {about['format_version']}, and scdlab "
            f"{scdlab.__version__} reads version {FORMAT_VERSION}; open it with scdlab "
            f"{about.get('scdlab')}."
        )
    if "digest" not in about or "trained_labels" not in about:
        raise ValueError(
            f"{description} was written before scdlab 0.2: it has no digest, or does not say what "
            "the model has learned; convert it with tools/convert_0_2.py, or save the model again."
        )
    if about["digest"] != content_digest(about):
        raise ValueError(
            f"{description} was edited or is damaged (its digest differs); copy the files again, "
            "or save the model again."
        )
    if digest(weights) != about["weights_sha256"]:
        raise ValueError(
            f"{weights} is damaged or belongs to another {description.name} (its digest differs); "
            "copy both files again."
        )
    model = build(about["model"], about["config"], about.get("module"), cls)
    load_tensors(model, safetensors.torch.load_file(weights), weights)
    model.provenance = about.get("provenance")
    model.units = about.get("units", {})
    model.trained_labels = _labels(about["trained_labels"], description)
    # a file of an older version has no such entry
    model.filter_table_size = about.get("filter_table_size", model.filter_table_size)
    return model.to(device).eval()


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
            f"No trained model called {name!r} comes with the kit; there are: {there}."
        )
    about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    if wrong := provenance_problems(about):
        raise ValueError(
            f"The trained model {name!r} cannot be trusted: {wrong[0]}; install the kit again, or "
            "remake the model with the command in its json."
        )
    return load(folder / name, device)


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


def load_tensors(model: nn.Module, tensors: dict[str, Tensor], source: str | Path) -> None:
    """Put named tensors into a model.

    Parameters
    ----------
    model : nn.Module
        The model; it is changed in place.
    tensors : dict of str to Tensor
        All that its `state_dict` names.
    source : str or Path
        Where they come from, for errors.

    Raises
    ------
    ValueError
        When names or shapes are not exactly the model's own, and for numbers that are not finite.
    """
    own = model.state_dict()
    different = [k for k in own if k in tensors and own[k].shape != tensors[k].shape]
    different += [k for k in own if k not in tensors] + [k for k in tensors if k not in own]
    if different:
        raise ValueError(
            f"The weights in {source} belong to another model than this {type(model).__name__} "
            f"({len(different)} tensors differ, the first is {different[0]!r}); build the model "
            "with the settings it was saved with."
        )
    if any(not bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point()):
        raise ValueError(
            f"The weights in {source} contain NaN or infinity; train again with a smaller learning "
            "rate."
        )
    model.load_state_dict(tensors)
