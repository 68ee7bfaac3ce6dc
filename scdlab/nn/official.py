"""Published checkpoints of CT, and nothing but their numbers: opened, checked against their layout,
renamed, loaded.

A checkpoint is somebody else's file. Only tensors and plain data are taken from it, memory-mapped,
so that optimizer states beside the weights cost nothing; what would have to be unpickled is
refused. `official_ct` is the model.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from scdlab.nn.bounds import TooLarge, is_suspicious, no_larger_than
from scdlab.nn.official_ct import SETTINGS, OfficialCT
from scdlab.nn.registry import first_line
from scdlab.nn.registry import named as named_kind
from scdlab.plain import read_json

_NAMES = [  # ours, the release's
    ("embedding_head.atom.", "embedding_head.pre_proj."),
    ("embedding_head.mlp.", "embedding_head.post_agg_mlp."),
    ("energy_head.mlp.", "scalar_head."),
    ("energy_head.scale", "std"),
    ("energy_head.mean", "mean"),
    ("head.block1.", "head.output_network.0."),
    ("head.block2.", "head.output_network.1."),
    (".length.", ".vec1_proj."),
    (".vector.", ".vec2_proj."),
    (".mlp.", ".update_net.layers."),
    ("condition_norm.", "rep_model.drop_cond.norm."),
    ("mask_token", "rep_model.drop_cond.mask_token"),
]
_OWN = ("trained_elements", "energy_head.reference")  # which the release does not have
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def load_official_ct(
    path_or_state_dict: str | Path | Mapping[str, Any],
    config: str | Path | Mapping[str, Any] | None = None,
) -> OfficialCT:
    """Open a published CT, ready for evaluation.

    Only tensors and plain data are read; no code in the file is run.

    Parameters
    ----------
    path_or_state_dict : str, Path or mapping
        A Lightning .ckpt, a file with a plain state dict (torch's or .safetensors), or the mapping
        itself.
    config : str, Path or mapping, optional
        The release's settings, a dict or a path to json. None: the checkpoint's own
        hyper-parameters. What is left out has the release's default.

    Returns
    -------
    OfficialCT
        The model in evaluation mode.

    Raises
    ------
    ValueError
        For a file that holds anything else, for settings that are missing or not a CT's, and for a
        checkpoint of another layout, naming the first key that differs.
    FileNotFoundError
        When there is no such file.
    TypeError
        For what is neither a path nor a state dict.
    """
    named = "the state dict"
    content = path_or_state_dict
    if not isinstance(content, Mapping):
        if not isinstance(content, str | os.PathLike):
            raise TypeError(
                f"load_official_ct opens a path or a state dict, got {named_kind(content)}."
            )
        named = Path(content).name
        content = _read(Path(content))
    settings = _settings(content, config, named)
    for name in ("emb_dim", "num_layers", "num_heads", "num_rbf"):
        if name not in settings:
            raise ValueError(
                f"Nothing states {name!r} of {named}; give the release's settings as config."
            )
    state = _state(content, named)
    known = {k: v for k, v in settings.items() if k in SETTINGS}
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    with no_larger_than(shapes, "CT"):
        if is_suspicious(known, shapes):  # compare shapes before there is memory for them
            with torch.device("meta"):
                _compare(_build(known, named), state, named)
        model = _build(known, named).eval()
    _put_into(model, state, named)
    return model


def _settings(
    content: Mapping[str, Any], config: str | Path | Mapping[str, Any] | None, named: str
) -> Mapping[str, Any]:
    if config is None:
        found = content.get("hyper_parameters")
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            raise ValueError(
                f"The hyper-parameters of {named} are a {type(found).__name__}, expected entries "
                "by name; give the release's settings as config."
            )
        return found
    if isinstance(config, Mapping):
        return config
    if not isinstance(config, str | os.PathLike):
        raise TypeError(
            f"config must be the release's settings or a path to json, got {named_kind(config)}."
        )
    return read_json(config, "description of a CT", "give the release's settings")


def _state(content: Mapping[str, Any], named: str) -> dict[str, Tensor]:
    """The tensors of the model by the release's names; those beside it are left out."""
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        raise ValueError(
            f"The state dict of {named} is a {type(state).__name__}, expected tensors by name; "
            "save the model's state dict again."
        )
    odd = next((key for key in state if not isinstance(key, str)), None)
    if odd is not None:
        raise ValueError(
            f"The state dict of {named} has the key {str(odd)[:40]!r} of the type "
            f"{type(odd).__name__}, expected names; save the model's state dict again."
        )
    if any(key.startswith("model.") for key in state):
        # Lightning's; "ema_model." beside it was never trained
        state = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    return {
        # statistics of noise are not read by anything
        key: _tensor(key, value, named)
        for key, value in state.items()
        if not key.startswith("noise_normalizer.")
    }


def _tensor(key: str, value: Any, named: str) -> Tensor:
    """One entry of a state dict as a tensor of finite numbers."""
    tensor = None
    if isinstance(value, Tensor):
        tensor = value
    elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiu":
        kind = np.float64 if value.dtype.itemsize > 4 else np.float32
        tensor = torch.from_numpy(np.asarray(value, kind if value.dtype.kind == "f" else np.int64))
    if tensor is None or not (tensor.is_floating_point() or tensor.dtype in _INTEGERS):
        raise ValueError(
            f"The state dict of {named} has at {key[:80]!r} a {type(value).__name__} that holds no "
            "numbers, expected a tensor; save the model's state dict again."
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError(
            f"The tensor {key!r} of {named} contains NaN or infinity; give a checkpoint from "
            "before its training failed, or copy it again."
        )
    return tensor


def _build(settings: Mapping[str, Any], named: str) -> OfficialCT:
    try:
        return OfficialCT(**settings)
    except TooLarge:
        raise
    except Exception as error:  # torch raises anything for sizes that cannot be
        raise ValueError(
            f"The settings of {named} are not those of a CT ({first_line(error)}); give the "
            "settings it was trained with."
        ) from error


def _put_into(model: OfficialCT, state: Mapping[str, Tensor], named: str) -> None:
    """Put the release's tensors into a model, after comparing all names and shapes."""
    ours = _compare(model, state, named)
    own = model.state_dict()
    for key, name in ours.items():
        own[name] = state[key].reshape(own[name].shape)
    model.load_state_dict(own)


def _compare(model: OfficialCT, state: Mapping[str, Tensor], named: str) -> dict[str, str]:
    """The release's name of each tensor -> ours. Raises ValueError where names or shapes
    differ."""
    own = model.state_dict()
    # which the release does not have
    ours = {_official_name(k): k for k in own if k not in _OWN}
    shapes = {k: tuple(own[name].shape) for k, name in ours.items()}
    for k in shapes:
        if k.endswith("mask_token"):
            shapes[k] = (1, model.hidden_channels)
    for key in [*shapes, *state]:
        want = f"shape {shapes[key]}" if key in shapes else "no such key"
        has = f"shape {tuple(state[key].shape)}" if key in state else "no such key"
        if want != has:
            raise ValueError(
                f"The layout of {named} is not that of its settings: at {key[:80]!r} it has {has}, "
                f"and {want} was expected; give the settings it was trained with."
            )
    return ours


def _official_name(name: str) -> str:
    for our, official in _NAMES:
        name = name.replace(our, official)
    return name


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}: check the path.")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # of safetensors, and of torch for types it does not have
            raise ValueError(
                f"{path.name} is no file of safetensors that can be read ({first_line(error)}); "
                "copy it again."
            ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # of pickles and archives that are damaged, anything
        raise ValueError(
            f"{path.name} is no file of torch.save that holds tensors and plain data only, and "
            "nothing else is opened; copy it again, or save its state dict alone where you trust "
            "it."
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path.name} holds a {type(content).__name__}; expected a state dict or a checkpoint."
        )
    return content
