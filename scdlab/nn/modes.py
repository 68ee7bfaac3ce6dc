"""Modes of torch around a forward pass, and what models do with them.

Forces are gradients and read graphs, which `torch.inference_mode` forbids; positions and energies
need all their digits, of which `torch.autocast` drops most. So models compute outside both, and
give what they give without them. What `torch.compile` makes has no second derivative, which
training on forces needs, and would be made anew for most sizes; so models run as they are within
it. `torch.jit.trace` would keep the neighbors of one structure for all others, and is refused.
"""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs

_FIELDS = ("z", "pos", "batch", "ptr", "cell", "pbc")  # what models read of a batch
_PRECISIONS = (torch.float32, torch.float64)


def is_ordinary(device: torch.device) -> bool:
    """Whether neither inference mode nor autocast is on.

    Parameters
    ----------
    device : torch.device
        Where the computation is.
    """
    return not (torch.is_inference_mode_enabled() or torch.is_autocast_enabled(device.type))


@contextlib.contextmanager
def ordinary_mode(device: torch.device) -> Iterator[None]:
    """Within this context torch computes without inference mode and autocast.

    Whether gradients are kept stays as it was: within inference mode they are not.

    Parameters
    ----------
    device : torch.device
        Where the computation is.
    """
    keep_graph = torch.is_grad_enabled()
    with (
        torch.inference_mode(False),
        torch.set_grad_enabled(keep_graph),
        torch.autocast(device.type, enabled=False),
    ):
        yield


def check_weights(weight: Tensor, name: str, differentiated: bool) -> None:
    """Raise ValueError for weights and modes that positions or gradients do not go with.

    Parameters
    ----------
    weight : Tensor
        One of the model's weights, for all of them.
    name : str
        What the model is called.
    differentiated : bool
        Whether a gradient will be taken.
    """
    if weight.dtype not in _PRECISIONS:
        raise ValueError(
            f"The weights of this {name} are {weight.dtype}, which does not tell positions apart "
            "that matter: compute in torch.float32 or torch.float64, with model.float() or "
            "model.double()."
        )
    if differentiated and weight.is_inference():
        raise ValueError(
            f"The weights of this {name} were made within torch.inference_mode, so no gradient "
            "passes through them: make, convert or copy.deepcopy the model outside of it."
        )
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        raise ValueError(
            f"torch.jit.trace would keep the neighbors of the structures that this {name} is given "
            "now, for all others: call the model itself, or use torch.compile."
        )


def built_outside_inference(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor whose weights carry gradients wherever it is called.

    Parameters
    ----------
    init : callable
        An `__init__`.
    """

    @functools.wraps(init)
    def build(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        if not torch.is_inference_mode_enabled():
            return init(self, *args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return init(self, *args, **kwargs)

    return build


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a moment; then each of its modules is in its own mode
    again.

    Parameters
    ----------
    model : nn.Module
        Any model.
    """
    modes = {module: module.training for module in model.modules()}
    if any(modes.values()):  # to set what is set already takes as long as to evaluate a molecule
        model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            if module.training != training:
                module.training = training


def checked_input(
    batch: Batch,
    pairs: Pairs | None,
    condition: Tensor | None,
    force_input: Tensor | None,
    device: torch.device,
    differentiated: bool,
) -> tuple[Batch, Pairs | None, Tensor | None, Tensor | None]:
    """The input of a model, for gradients in tensors that were not made within inference mode.

    Parameters
    ----------
    batch, pairs, condition, force_input
        As given to a model; they stay as they are.
    device : torch.device
        Where the model's weights are.
    differentiated : bool
        Whether a gradient will be taken.

    Returns
    -------
    tuple
        The same, or copies.

    Raises
    ------
    TypeError
        For a condition or force input that is no tensor.
    ValueError
        For input on another device than the weights.
    """
    given = {"pos": batch.pos, "condition": condition, "force_input": force_input}
    for name, x in given.items():
        if x is None:
            continue
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name} must be a tensor, got {x!r:.60} ({type(x).__name__}): make one of it with "
                "torch.as_tensor."
            )
        if x.device != device:
            raise ValueError(
                f"{name} is on {x.device} and the weights of the model on {device}: bring both to "
                "one device with .to(device)."
            )
    if not differentiated:
        return batch, pairs, condition, force_input
    found = {name: batch.get(name) for name in _FIELDS}
    made = {name: x for name, x in found.items() if isinstance(x, Tensor) and x.is_inference()}
    if made:
        batch = copy.copy(batch)
        for name, x in made.items():
            batch[name] = _ordinary(x)
    if pairs is not None and (pairs.i.is_inference() or pairs.j.is_inference()):
        shift = None if pairs.shift is None else _ordinary(pairs.shift)
        pairs = Pairs(_ordinary(pairs.i), _ordinary(pairs.j), shift, pairs.cutoff)
    condition = None if condition is None else _ordinary(condition)
    force_input = None if force_input is None else _ordinary(force_input)
    return batch, pairs, condition, force_input


def _ordinary(x: Tensor) -> Tensor:
    """A tensor itself, or a copy of one that was made within inference mode."""
    if not x.is_inference():
        return x
    with torch.no_grad():
        return x.clone()
