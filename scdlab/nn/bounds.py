"""A bound on the size of models that are built from a file: its tensors are counted meanwhile.

A description of a few bytes can ask for a model of terabytes, or of a billion layers. What a file
holds beside it says how large the model can be.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.modules import module as torch_module

Shapes = Mapping[str, tuple[int, ...]]

# numbers in a description up to it need no look at the file: layers of this width are small
_SMALL = 512
# a constructor may make tensors that others replace, or that are not saved
_SPARE_TENSORS = 1000
_SPARE_NUMBERS = 4_000_000


class TooLarge(Exception):
    """The model that is being built has more tensors than the file of its weights."""


def is_suspicious(settings: object, shapes: Shapes) -> bool:
    """Whether settings hold a number that is larger than any dimension of the weights.

    Parameters
    ----------
    settings : json value
        Settings of a model.
    shapes : mapping of str to tuple of int
        Shapes of the weights by name.
    """
    largest = max((max(shape) for shape in shapes.values() if shape), default=0)
    return _largest_number(settings) > max(_SMALL, largest)


def _largest_number(value: object) -> float:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return max(map(_largest_number, value), default=0)
    return abs(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0


@contextlib.contextmanager
def no_larger_than(shapes: Shapes, name: str) -> Iterator[None]:
    """In this context, a model that has more tensors than a file is not built.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of the weights by name.
    name : str
        The class of the model, for the error.

    Raises
    ------
    ValueError
        When more are built.
    """
    most_tensors = 4 * len(shapes) + _SPARE_TENSORS
    most_numbers = 4 * sum(torch.Size(shape).numel() for shape in shapes.values()) + _SPARE_NUMBERS
    tensors = 0
    numbers = 0
    thread = threading.get_ident()

    def count(module: nn.Module, key: str, value: torch.Tensor | None) -> None:
        nonlocal tensors, numbers
        if value is None or threading.get_ident() != thread:
            return
        tensors += 1
        numbers += value.numel()
        if tensors > most_tensors or numbers > most_numbers:
            raise TooLarge

    hooks = [
        torch_module.register_module_parameter_registration_hook(count),
        torch_module.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    except TooLarge:
        raise ValueError(
            f"The settings ask for a larger {name} than the weights beside them are of "
            f"({len(shapes)} tensors); copy both files again, or save the model again."
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
