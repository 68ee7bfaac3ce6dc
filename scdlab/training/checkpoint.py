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
from pathlib import Path

import safetensors.torch
import torch

import scdlab
from scdlab import nn, symmetry
from scdlab.files import (
    atomic_file,
    content_digest,
    digest,
    has_absolute_path,
    package_dir,
    write_json,
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


def _paths(path) -> tuple[Path, Path]:
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def save(model, path, provenance: dict | None = None) -> Path:
    """Write a model to `path`.safetensors and `path`.json; returns the first. Missing folders are
    made.

    provenance: where the model comes from, for one that is to be handed on (`PROVENANCE` names its
    entries)."""
    weights, description = _paths(path)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    with atomic_file(weights) as new:
        safetensors.torch.save_file(tensors, new)
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "scdlab": scdlab.__version__,
        "model": type(model).__name__,
        "config": model.config,
        "weights_sha256": digest(weights),
    }
    if units := getattr(model, "units", {}):  # of the properties that it learned
        about |= {"units": units}
    about |= {"filter_table_size": model.filter_table_size}
    if provenance is not None:
        about |= {"provenance": provenance}
        about |= {"digest": content_digest(about)}
    write_json(description, about)
    return weights


def build(name: str, config: dict):
    """A fresh model from the name of its class and its config. Raises ValueError for one this
    version does not know."""
    cls = getattr(nn, name, None) if name in nn.__all__ else None
    if name in symmetry.__all__:
        cls = getattr(symmetry, name)
    if not (isinstance(cls, type) and issubclass(cls, nn.AtomisticModel | symmetry.Symmetrized)):
        raise ValueError(
            f"The checkpoint holds a model called {name!r}, which scdlab {scdlab.__version__} does "
            "not have; open it with the version that wrote it."
        )
    config = dict(config)
    properties = config.pop("properties", {})
    for key in ("model", "auxiliary"):  # a model within a model
        if isinstance(config.get(key), dict):
            config[key] = build(config[key]["name"], config[key]["config"])
    try:
        model = cls(**config)
    except TypeError as error:
        raise ValueError(
            f"The checkpoint's settings do not fit {name} of scdlab {scdlab.__version__} "
            f"({error}); open it with the version that wrote it."
        ) from error
    for key, pool in properties.items():
        model.add_property(key, pool)
    return model


def load(path, device="cpu"):
    """Read a model written by `save`, ready for evaluation. Its `provenance` is what `save` was
    given, else None; its `units` are those of the properties that it learned.

    Raises FileNotFoundError when a file is missing, ValueError when the files are of another format
    or version, are damaged or do not belong together, or hold another model.
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
    if digest(weights) != about["weights_sha256"]:
        raise ValueError(
            f"{weights} is damaged or belongs to another {description.name} (its digest differs); "
            "copy both files again."
        )
    model = build(about["model"], about["config"])
    load_tensors(model, safetensors.torch.load_file(weights), weights)
    model.provenance = about.get("provenance")
    model.units = about.get("units", {})
    model.filter_table_size = about.get(
        "filter_table_size", model.filter_table_size
    )  # a file of an older version does not say
    return model.to(device).eval()


def load_pretrained(name: str, device="cpu"):
    """The trained model `name` that comes with the kit. `model.provenance` says how it was made and
    what it has seen.

    Raises ValueError for a name that does not ship, and for a model whose origin cannot be trusted.
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


def provenance_problems(about: dict) -> list[str]:
    """What is wrong with the origin that a checkpoint's json states, most basic first; empty when
    it can be trusted."""
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


def load_tensors(model, tensors: dict, source) -> None:
    """Put named tensors into a model; ValueError when names or shapes are not exactly the model's
    own."""
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
