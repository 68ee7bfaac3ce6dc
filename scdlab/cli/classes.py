"""Models of somebody's own, named on a command line by the file or module that defines them."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scdlab.nn.model import Model


def split_place(text: str) -> tuple[str, str]:
    """The place of a class, and the rest of a text.

    Parameters
    ----------
    text : str
        Such as "net.py:GatedNet(num_layers=2)", "my.module:GatedNet" or "SchNet".

    Returns
    -------
    place : str
        File or module; "" for none.
    rest : str
        What stands behind the colon, or all.
    """
    found = re.fullmatch(r"([^()]+):([A-Za-z_]\w*(?:\(.*\))?)", text.strip(), re.DOTALL)
    return (found[1], found[2]) if found else ("", text)


def own_class(text: str, option: str) -> "type[Model]":
    """The model class of somebody's own.

    Parameters
    ----------
    text : str
        "path.py:Class" or "module:Class".
    option : str
        The option that it was given for.

    Returns
    -------
    type
        The class.

    Raises
    ------
    ValueError
        The text is anything else, its module cannot be imported, or defines no such model.
    FileNotFoundError
        There is no such file.
    """
    from scdlab.nn.model import Model

    place, name = split_place(text)
    if not place or not name.isidentifier():
        raise ValueError(
            f"--{option} must be path.py:Class or module:Class, got {text[:80]!r}: name the file "
            "that defines your model."
        )
    module = _module(place, option)
    cls = getattr(module, name, None)
    if not isinstance(cls, type) or not issubclass(cls, Model):
        there = [key for key, value in vars(module).items() if _is_model(value, module)]
        raise ValueError(
            f"--{option} must name a model, a subclass of scdlab.nn.AtomisticModel, got {name!r} "
            f"of {place}: it defines {', '.join(there) or 'none'}."
        )
    return cls


def _is_model(value: object, module: ModuleType) -> bool:
    from scdlab.nn.model import Model

    return (
        isinstance(value, type) and issubclass(value, Model) and value.__module__ == module.__name__
    )


def _module(place: str, option: str) -> ModuleType:
    """The module of a file or of a name."""
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {place} for --{option}: check the path.")
        spec = importlib.util.spec_from_file_location(path.stem, path)
    else:
        spec = None
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        if spec is None or spec.loader is None:
            return importlib.import_module(place)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses and the model's registry look
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        words = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{place}, named by --{option}, cannot be imported ({type(error).__name__}: {words}): "
            "correct it, or name another file."
        ) from error
