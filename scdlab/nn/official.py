"""Published checkpoints of CT, and nothing but their numbers: opened, checked against their layout,
renamed, loaded.

A checkpoint is somebody else's file. Only tensors and plain data are taken from it, memory-mapped,
so that optimizer states beside the weights cost nothing; what would have to be unpickled is
refused. `official_ct` is the model.
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from scdlab.nn.official_ct import SETTINGS, OfficialCT

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
    """
    named = "the state dict"
    content = path_or_state_dict
    if not isinstance(content, Mapping):
        named = Path(content).name
        content = _read(Path(content))
    settings = _settings(content, config)
    for name in ("emb_dim", "num_layers", "num_heads", "num_rbf"):
        if name not in settings:
            raise ValueError(
                f"Nothing states {name!r} of {named}; give the release's settings as config."
            )
    model = OfficialCT(**{k: v for k, v in settings.items() if k in SETTINGS}).eval()
    state = content.get("state_dict", content)
    if any(k.startswith("model.") for k in state):
        # Lightning's; "ema_model." beside it was never trained
        state = {k.removeprefix("model."): t for k, t in state.items() if k.startswith("model.")}
    _put_into(model, state, named)
    return model


def _settings(
    content: Mapping[str, Any], config: str | Path | Mapping[str, Any] | None
) -> Mapping[str, Any]:
    if config is None:
        return content.get("hyper_parameters") or {}
    if isinstance(config, Mapping):
        return config
    return json.loads(Path(config).read_text(encoding="utf-8"))


def _put_into(model: OfficialCT, state: Mapping[str, Tensor], named: str) -> None:
    """Put the release's tensors into a model, after comparing all names and shapes."""
    own = model.state_dict()
    without = ("trained_elements", "energy_head.reference")  # which the release does not have
    ours = {_official_name(k): k for k in own if k not in without}
    shapes = {k: tuple(own[name].shape) for k, name in ours.items()}
    for k in shapes:
        if k.endswith("mask_token"):
            shapes[k] = (1, model.hidden_channels)
    # statistics of noise are not read by anything
    theirs = [k for k in state if not k.startswith("noise_normalizer.")]
    for key in [*shapes, *theirs]:
        want = f"shape {shapes[key]}" if key in shapes else "no such key"
        has = f"shape {tuple(state[key].shape)}" if key in state else "no such key"
        if want != has:
            raise ValueError(
                f"The layout of {named} is not that of its settings: at {key!r} it has {has}, and "
                f"{want} was expected; give the settings it was trained with."
            )
    for key, name in ours.items():
        own[name] = torch.as_tensor(state[key]).reshape(own[name].shape)
    model.load_state_dict(own)


def _official_name(name: str) -> str:
    for our, official in _NAMES:
        name = name.replace(our, official)
    return name


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(
            f"{path.name} is no file of torch.save that holds tensors and plain data only, and "
            "nothing else is opened; save its state dict alone where you trust it."
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path.name} holds a {type(content).__name__}; expected a state dict or a checkpoint."
        )
    return content
