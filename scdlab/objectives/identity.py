"""What an objective is, in full and as json: to recognize it, and to make it again."""

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from scdlab.objectives.base import Objective, description, qualified_name


def identity(value: Any) -> Any:
    """A value as json has it, the same for equal values and in every process.

    Objectives are their class and settings, arrays their digest, functions their name, and of those
    outside the library their code as well.

    Parameters
    ----------
    value : object
        An objective, or one of its settings.
    """
    if isinstance(value, bool | int | str | None):
        return value
    if isinstance(value, float | np.generic):
        number = value.item() if isinstance(value, np.generic) else value
        return number if np.isfinite(number) else repr(number)
    if isinstance(value, Objective):
        return {"objective": _class(type(value)), "settings": identity(settings(value))}
    if isinstance(value, torch.Tensor | np.ndarray):
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return {"array": content, "shape": list(array.shape), "dtype": str(array.dtype)}
    if isinstance(value, Mapping):
        return {str(key): identity(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [identity(each) for each in value]
    if isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
        return {"partial": [identity(each) for each in parts]}
    if inspect.isroutine(value):
        return {"function": qualified_name(value), "code": _code(value)}
    if inspect.isclass(value):
        return {"class": _class(value)}
    return description(value)


def settings(objective: Objective) -> dict[str, Any]:
    """The settings of an objective by name: the fields of a dataclass, else its attributes.

    Parameters
    ----------
    objective : Objective
        The objective.
    """
    if dataclasses.is_dataclass(objective):
        return {
            field.name: getattr(objective, field.name) for field in dataclasses.fields(objective)
        }
    return dict(vars(objective))


def as_text(objective: Objective) -> str | None:
    """An objective as json text from which `from_text` makes it again.

    Parameters
    ----------
    objective : Objective
        The objective.

    Returns
    -------
    str or None
        None where a setting is nothing that json can hold, such as a function.
    """
    try:
        return json.dumps(_plain(objective), allow_nan=False)
    except (TypeError, ValueError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Objective):
        own = {name: _plain(each) for name, each in settings(value).items()}
        return {"objective": type(value).__name__, "settings": own}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def from_text(text: str | None) -> Objective | None:
    """The objective of a text that `as_text` made; None where its class is not known here.

    Parameters
    ----------
    text : str or None
        The text.

    Raises
    ------
    ValueError
        For a text that describes no objective, and settings that its class does not take.
    """
    if text is None:
        return None
    try:
        return _made(json.loads(text))
    except _Unknown:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"It describes no objective ({error}).") from error


def can_be_made_anywhere(objective: Objective) -> bool:
    """Whether `from_text` makes an objective again in any session: its classes are the library's,
    its settings what json can hold.

    Parameters
    ----------
    objective : Objective
        The objective.
    """
    own = [each for each in settings(objective).values() if isinstance(each, Objective)]
    ours = type(objective).__module__.split(".")[0] == "scdlab"
    return ours and as_text(objective) is not None and all(map(can_be_made_anywhere, own))


class _Unknown(Exception):
    """A class of objectives that is not defined in this session."""


def _made(value: Any) -> Any:
    if isinstance(value, dict) and {*value} == {"objective", "settings"}:
        known = {cls.__name__: cls for cls in _subclasses(Objective)}
        if value["objective"] not in known:
            raise _Unknown
        arguments = {name: _made(each) for name, each in value["settings"].items()}
        return known[value["objective"]](**arguments)
    if isinstance(value, list):
        return tuple(_made(each) for each in value)
    return value


def _subclasses(cls: type) -> list[type]:
    """All subclasses that are defined, the library's last: a class of one's own does not take their
    names."""
    found = cls.__subclasses__()
    found += [each for one in found for each in _subclasses(one)]
    return sorted(found, key=lambda each: each.__module__.split(".")[0] == "scdlab")


def _class(cls: type) -> list[str]:
    """Its name; of a class outside the library, digests of its own methods too."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    if name.split(".")[0] == "scdlab":
        return [name]
    own = {key: value for key, value in vars(cls).items() if inspect.isfunction(value)}
    return [name, *(f"{key} {_code(own[key])}" for key in sorted(own) if key != "__init__")]


def _code(function: Any) -> str | None:
    """Digest of the code of a function outside the library."""
    code = getattr(function, "__code__", None)
    if code is None or str(getattr(function, "__module__", "")).split(".")[0] == "scdlab":
        return None
    return hashlib.sha256(_bytes(code, function.__doc__)).hexdigest()[:16]


def _bytes(code: Any, documentation: str | None = None) -> bytes:
    """What a code object does, but for its documentation."""
    kept = [each for each in code.co_consts if documentation is None or each != documentation]
    constants = [_constant(each) for each in kept]
    return b"\0".join([code.co_code, repr(code.co_names).encode(), *constants])


def _constant(value: Any) -> bytes:
    if inspect.iscode(value):
        return _bytes(value)
    if isinstance(value, frozenset):  # in no order of its own
        return repr(sorted(map(repr, value))).encode()
    return repr(value).encode()
