"""Models from their description: built no larger than the file of their weights says.

A json of a few bytes can ask for a model of terabytes, or of a billion layers. So the numbers in it
are compared with the shapes in the header of the weights, and while the model is built its tensors
are counted.
"""

from typing import Any

import torch

import scdlab
from scdlab.nn import Model
from scdlab.nn.blocks.properties import property_arguments
from scdlab.nn.bounds import Shapes, TooLarge, is_suspicious, no_larger_than
from scdlab.nn.registry import POSITIONAL, first_line, is_own, registered, with_article
from scdlab.training.tensors import check_shapes

_LONGEST_NAME = 200  # characters in the name of a class


def build(
    name: str,
    config: dict[str, Any],
    module: str | None = None,
    cls: type[Model] | None = None,
    shapes: Shapes | None = None,
) -> Model:
    """A fresh model from its description.

    Parameters
    ----------
    name : str
        The name of its class.
    config : dict
        Its `config`. Models within it are built likewise.
    module : str, optional
        Where a class outside the library was defined.
    cls : type, optional
        The class to take for its own name, at any depth, and for a name that is not known.
    shapes : mapping of str to tuple of int, optional
        Shapes of the weights that it is to have, by name: a larger model is not built.

    Raises
    ------
    ValueError
        For a class that is not known, for arguments that it does not take, and for a model that is
        larger than its weights.
    """
    description = {"name": name, "config": config}
    if module is not None:
        description["module"] = module
    if cls is not None:
        _check_wanted(description, cls)
    if shapes is None:
        return _build(description, cls)
    with no_larger_than(shapes, name):
        if is_suspicious(config, shapes):
            _build_without_memory(description, cls, shapes)
        return _build(description, cls)


def _build(description: dict[str, Any], cls: type[Model] | None) -> Model:
    made = _class_of(description, cls)
    arguments = dict(description["config"])
    heads = arguments.pop("properties", {})
    for key, value in arguments.items():
        if _is_description(value):  # a model within a model
            arguments[key] = _build(value, cls)
    try:
        model = made(*arguments.pop(POSITIONAL, ()), **arguments)
        for key, head in heads.items():
            model.add_property(key, **property_arguments(head))
    except TooLarge:
        raise
    except Exception as error:  # whatever a constructor raises for settings that are not its own
        raise ValueError(
            f"The settings in the checkpoint do not fit {made.__name__} of this session, scdlab "
            f"{scdlab.__version__} ({first_line(error)}); open it with the version that wrote it."
        ) from error
    return model


def _class_of(description: dict[str, Any], cls: type[Model] | None) -> type[Model]:
    name = description["name"]
    if not name.isidentifier() or len(name) > _LONGEST_NAME:
        raise ValueError(
            f"The checkpoint holds a model of the class {name[:40]!r}, which is no class's name; "
            "copy both of its files again."
        )
    module = description.get("module")
    known = registered(name, module)
    if cls is not None and (cls.__name__ == name or known is None or issubclass(cls, known)):
        return cls
    if known is None:
        raise ValueError(
            f"The checkpoint holds {with_article(name)}, a class that is not registered; "
            "import the module or run the cell that defines it, or give the class, "
            f"scdlab.load(path, cls={name})."
        )
    return known


def _check_wanted(description: dict[str, Any], cls: type[Model]) -> None:
    """Raise ValueError for a class that nothing in a description is built of."""
    if not isinstance(cls, type) or not issubclass(cls, Model):
        kind = f"the class {cls.__name__}" if isinstance(cls, type) else repr(cls)[:80]
        raise TypeError(
            f"cls must be the class of a model, such as cls=MyNet, a subclass of AtomisticModel, "
            f"got {kind}."
        )
    names = []
    pending = [description]
    while pending:
        each = pending.pop()
        if _class_of(each, cls) is cls:
            return
        names.append(each["name"])
        pending += [value for value in each["config"].values() if _is_description(value)]
    raise ValueError(
        f"The checkpoint holds {', '.join(map(with_article, names))}, and cls is "
        f"{cls.__name__}; leave cls out, or give the path of {with_article(cls.__name__)}."
    )


def _is_description(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and {"name", "config"} <= {*value} <= {"name", "config", "module"}
        and isinstance(value["name"], str)
        and isinstance(value["config"], dict)
        and isinstance(value.get("module"), str | None)
    )


def _build_without_memory(
    description: dict[str, Any], cls: type[Model] | None, shapes: Shapes
) -> None:
    """Build a model whose tensors have shapes alone, and compare them with those of the file."""
    try:
        with torch.device("meta"):
            model = _build(description, cls)
    except ValueError:
        made = _class_of(description, cls)
        if is_own(made):
            raise
        return  # a class of somebody's own that computes with its tensors
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    check_shapes(type(model).__name__, own, shapes, "the file")
