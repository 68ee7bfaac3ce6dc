"""Counting where a program waits for its device: what reads a number, or a number of elements, back
from it. On a processor nothing waits, but the same calls can be counted."""

import collections
import traceback
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_OPERATIONS = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
_METHODS = {"cpu", "numpy", "tolist", "__array__"}
_COPIES = {"tensor", "as_tensor"}  # of Python's numbers: a GPU is waited for until they are there


class Syncs:
    """Within this context, what would wait for a GPU is counted by the lines of scdlab that call.

    Attributes
    ----------
    places : collections.Counter
        "operation at file:line" -> how often.
    """

    def __init__(self) -> None:
        self.places: collections.Counter[str] = collections.Counter()
        self._modes = [_Operations(self._note), _Methods(self._note)]

    def _note(self, name: str) -> None:
        frames = [each for each in traceback.extract_stack() if "/scdlab/" in each.filename]
        where = "elsewhere"
        if frames:
            where = f"{frames[-1].filename.split('/scdlab/')[-1]}:{frames[-1].name}"
        self.places[f"{name} at {where}"] += 1

    def __enter__(self) -> "Syncs":
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Operations(TorchDispatchMode):
    def __init__(self, note: Any) -> None:
        super().__init__()
        self.note = note

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        name = function._overloadpacket.__name__
        if name in _OPERATIONS or (name.startswith("index") and _by_mask(args)):
            self.note(name)
        return function(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, note: Any) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        name = getattr(function, "__name__", "")
        if name in _METHODS | _COPIES:
            self.note(name)
        return function(*args, **(kwargs or {}))


def _by_mask(args: Any) -> bool:
    """Whether an element is chosen by truth values: their number must be known."""
    index = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else []
    return any(torch.is_tensor(x) and x.dtype == torch.bool for x in index)
