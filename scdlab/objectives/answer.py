"""What an objective returned, checked: a loss and named parts, as the contract has them."""

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from scdlab.atoms.batch import Batch
from scdlab.atoms.shares import balanced, share_of
from scdlab.objectives.base import Mean, Objective, as_mean


def checked_answer(objective: Objective, answer: Any, count: int) -> tuple[Tensor, dict[str, Mean]]:
    """Loss and parts of an objective.

    Parameters
    ----------
    objective : Objective
        What was called.
    answer : object
        What it returned.
    count : int
        Structures of the batch: what a part is a mean over that comes as a plain number.

    Returns
    -------
    loss : Tensor
        0-dimensional.
    parts : dict of str to Mean
        The parts.

    Raises
    ------
    TypeError
        For anything but a loss and its parts.
    ValueError
        For a loss or a part that is not one number, and where `loss_over` names no part.
    """
    name = type(objective).__name__
    if not (isinstance(answer, tuple | list) and len(answer) == 2):
        raise TypeError(
            f"{name} must return a loss and its parts, two in all, got {_kind(answer)}; end it "
            'with return loss, {"name": Mean(value, count)}, or {} for no parts.'
        )
    loss, parts = answer
    if not isinstance(loss, Tensor):
        raise TypeError(f"The loss of {name} must be a 0-dimensional tensor, got {_kind(loss)}.")
    if loss.ndim != 0:
        raise ValueError(
            f"The loss of {name} must be one number, a 0-dimensional tensor, got a tensor of shape "
            f"{list(loss.shape)}; take its mean."
        )
    if loss.is_complex():
        raise ValueError(f"The loss of {name} must be a real number, got one in {loss.dtype}.")
    if not isinstance(parts, Mapping):
        raise TypeError(
            f'The parts of {name} must be a mapping such as {{"error": Mean(value, count)}}, got '
            f"{_kind(parts)}."
        )
    found = {key: _part(name, key, part, count) for key, part in parts.items()}
    if objective.loss_over is not None and objective.loss_over not in found:
        raise ValueError(
            f"{name}.loss_over names the part {objective.loss_over!r}, and it returned "
            f"{', '.join(map(repr, found)) or 'none'}; name one of these, or None where the loss "
            "is a mean over structures."
        )
    return loss, found


def _part(objective: str, name: Any, part: Any, count: int) -> Mean:
    value = part.value if isinstance(part, Mean) else part
    if not (isinstance(name, str) and isinstance(value, Tensor | Real)):
        raise TypeError(
            f"The part {name!r} of {objective} must be a Mean under a name in text, got "
            f"{_kind(part)}."
        )
    if isinstance(value, Tensor) and value.ndim != 0:
        raise ValueError(
            f"The part {name!r} of {objective} must be one number, got a tensor of shape "
            f"{list(value.shape)}; take its mean."
        )
    if name == "loss":
        raise ValueError(
            f"{objective} has a part named 'loss', which the log keeps for the loss itself; give "
            "it another name."
        )
    size = part.count if isinstance(part, Mean) else count
    if not (isinstance(size, Real) or (isinstance(size, Tensor) and size.ndim == 0)):
        raise TypeError(
            f"The count of the part {name!r} of {objective} must be one number: of how many "
            f"structures, atoms or pairs it is a mean, got {_kind(size)}."
        )
    if isinstance(part, Mean) and isinstance(value, Tensor):
        return part
    if isinstance(part, Mean):
        return Mean(torch.as_tensor(value), part.count, part.selected)
    return as_mean(value if isinstance(value, Tensor) else float(value), count)


def balanced_loss(
    objective: Objective, loss: Tensor, parts: Mapping[str, Mean], batch: Batch
) -> Tensor:
    """The loss of a process's share of a batch, weighted so that its mean over the processes is the
    loss of the whole batch.

    Parameters
    ----------
    objective : Objective
        What gave the loss.
    loss : Tensor
        The loss of the share.
    parts : mapping of str to Mean
        Its parts.
    batch : Batch
        The share.
    """
    if objective.balances or share_of(batch) is None:
        return loss
    over = objective.loss_over
    count = batch.num_graphs if over is None else parts[over].count
    return balanced(loss, batch, count)


def check_gradient(objective: Objective, loss: Tensor) -> None:
    """Raise ValueError for a loss that nothing can be learned from.

    Parameters
    ----------
    objective : Objective
        What gave the loss.
    loss : Tensor
        The loss of a batch in training.
    """
    if not loss.requires_grad:
        raise _without_weights(objective)


def check_reached(objective: Objective, parameters: Iterable[Tensor]) -> None:
    """Raise ValueError where the gradient of a loss has reached none of the model's weights.

    Parameters
    ----------
    objective : Objective
        What gave the loss.
    parameters : iterable of Tensor
        The weights that are trained.
    """
    if all(parameter.grad is None for parameter in parameters):
        raise _without_weights(objective)


def _without_weights(objective: Objective) -> ValueError:
    return ValueError(
        f"The loss of {type(objective).__name__} depends on no weight of the model, so nothing can "
        "be learned from it; compute it from what the model returns, without detach() or no_grad()."
    )


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
