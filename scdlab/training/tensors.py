"""Tensors of a model and of a file: compared by name, shape, type and content, then moved over."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from scdlab.nn.blocks.heads import EnergyHead
from scdlab.nn.bounds import Shapes
from scdlab.nn.registry import first_line

_DTYPES = {torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64}
_DTYPES |= {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, mapped into memory.

    Parameters
    ----------
    path : Path
        A safetensors file.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    ValueError
        For a file that is none, and for tensors of a type that models do not have.
    """
    try:
        tensors = safetensors.torch.load_file(path)
    except OSError:
        raise
    except Exception as error:  # of safetensors, and of torch for types that it does not have
        raise ValueError(
            f"{path} is no safetensors file that can be read ({first_line(error)}); save the model "
            "again, or copy it again."
        ) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise ValueError(
                f"The tensor {name!r} in {path} is of the type {tensor.dtype}, which no model has; "
                "save the model again."
            )
    return tensors


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


def check_shapes(name: str, own: Shapes, theirs: Shapes, source: str | Path) -> None:
    """Raise ValueError when names or shapes of tensors are not exactly a model's own.

    Parameters
    ----------
    name : str
        The name of the model's class.
    own, theirs : mapping of str to tuple of int
        Shapes in the model, and in the source.
    source : str or Path
        Where they come from, for the error.
    """
    different = [k for k in own if k in theirs and own[k] != theirs[k]]
    different += [k for k in own if k not in theirs] + [k for k in theirs if k not in own]
    if not different:
        return
    first = different[0]
    has = list(theirs[first]) if first in theirs else "no such tensor"
    wants = list(own[first]) if first in own else "no such tensor"
    raise ValueError(
        f"The weights in {source} belong to another model than this {name} ({len(different)} "
        f"tensors differ, the first is {first!r}: expected {wants}, got {has}); build the model "
        "with the settings it was saved with, or train it anew when an earlier version of scdlab, "
        "whose layers differ, saved it."
    )


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
    # what a model has only once its objective has set it
    spreads = {
        f"{name}.spread": module
        for name, module in model.named_modules()
        if isinstance(module, EnergyHead) and f"{name}.spread" in tensors
    }
    own |= {name: head.scale for name, head in spreads.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_shapes(
        type(model).__name__,
        {name: tuple(tensor.shape) for name, tensor in own.items()},
        shapes,
        source,
    )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise ValueError(
                f"The tensor {name!r} in {source} has the type {tensor.dtype}, expected "
                f"{own[name].dtype}; save the model again."
            )
    check_finite(tensors, source)
    for head in spreads.values():
        head.set_spread(1.0)
    model.load_state_dict(tensors)


def check_finite(tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Raise ValueError for tensors with numbers that are not finite.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Tensors by name.
    source : str or Path
        Where they come from, for the error.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"The weights in {source} contain NaN or infinity (in {name!r}); train again with "
                "a smaller learning rate."
            )


def match_precision(model: nn.Module, dtypes: Mapping[str, torch.dtype]) -> None:
    """Give a model the precision of weights that are to be put into it.

    Parameters
    ----------
    model : nn.Module
        The model; it is changed in place.
    dtypes : mapping of str to torch.dtype
        Types of the weights by name. Buffers that are float64 in every model stay so.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    wanted = {name: dtypes[name] for name in parameters if name in dtypes}
    kinds = {dtype for dtype in wanted.values() if dtype.is_floating_point}
    if len(kinds) == 1 and any(p.dtype not in kinds for p in parameters.values()):
        model.to(kinds.pop())
        return
    for name, parameter in parameters.items():
        if name in wanted and wanted[name].is_floating_point and parameter.dtype != wanted[name]:
            parameter.data = parameter.data.to(wanted[name])
