"""Classes of models by name, and the arguments that a model was made with.

A model is rebuilt from the name of its class and the arguments of its constructor. Both are taken
where the class is defined: `scdlab.nn.Model` registers every subclass, and wraps its `__init__` so
that it writes down what it is called with. A model within a model is written down likewise.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scdlab.nn.arguments import checked, checks_of
from scdlab.renames import unknown_argument

#: Entry of a config for what a constructor takes as *args.
POSITIONAL = "*args"

_classes: dict[str, dict[str, type]] = {}  # name -> module -> class, latest last


def is_own(cls: type) -> bool:
    """Whether a class comes with the library."""
    return cls.__module__.split(".")[0] == __name__.split(".")[0]


def register(cls: type) -> None:
    """Make a class known by its name.

    Of classes with the same name in the same module (a cell of a notebook that ran twice) the last
    one counts. A class outside the library never takes the place of one of the library's.
    """
    modules = _classes.setdefault(cls.__name__, {})
    modules.pop(cls.__module__, None)
    modules[cls.__module__] = cls


def registered(name: str, module: str | None = None) -> type | None:
    """The class of a name, or None.

    Parameters
    ----------
    name : str
        The name of the class.
    module : str, optional
        Where it was defined; None for a class of the library. A class of the same name that was
        defined in another module outside the library is taken where this module has none.
    """
    modules = _classes.get(name, {})
    if module is not None and module in modules:
        return modules[module]
    found = [cls for cls in modules.values() if is_own(cls) == (module is None)]
    return found[-1] if found else None


def recording(init: Callable[..., None], own: bool = False) -> Callable[..., None]:
    """A constructor that writes its arguments into `init_arguments` of the object before it runs.

    Of the constructors along a line of base classes, that of the object's own class writes. Unknown
    arguments raise TypeError with one sentence, see `scdlab.renames`.

    Parameters
    ----------
    init : callable
        The constructor.
    own : bool, default False
        Whether it is one of the library's, whose annotations are checked.
    """
    signature = inspect.signature(init)
    parameters = list(signature.parameters.values())[1:]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = [p.name for p in parameters if p.kind in by_name]
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    checks = checks_of(parameters) if own else {}

    @functools.wraps(init)
    def recorded(self, *args, **kwargs) -> None:
        unknown = [name for name in kwargs if name not in known]
        if unknown and not open_ended:
            raise unknown_argument(type(self).__name__, unknown[0], known)
        if type(self).__init__ is recorded:
            bound = _bound(signature, type(self).__name__, self, args, kwargs)
            if checks:
                arguments = checked(checks, type(self).__name__, bound.arguments)
                bound.arguments.update(arguments)
            bound.apply_defaults()
            self.__dict__["init_arguments"] = _flat(parameters, bound.arguments)
            self.__dict__["built_in"] = torch.get_default_dtype()
            args = bound.args[1:]
            kwargs = bound.kwargs
        elif checks:  # of a base class, called by that of a class of somebody's own
            bound = _bound(signature, type(self).__name__, self, args, kwargs)
            bound.arguments.update(checked(checks, type(self).__name__, bound.arguments))
            args = bound.args[1:]
            kwargs = bound.kwargs
        try:
            init(self, *args, **kwargs)
        except AttributeError as error:
            if ".__init__() call" in str(error):  # torch's: a module before its base class is made
                raise without_super(type(self)) from error
            raise
        if type(self).__init__ is recorded and "_parameters" not in self.__dict__:
            raise without_super(type(self))

    return recorded


def without_super(cls: type) -> TypeError:
    """The error for a constructor that does not call that of its base class first.

    Parameters
    ----------
    cls : type
        The class of the model.
    """
    return TypeError(
        f"__init__ of {cls.__name__} must call super().__init__(hidden_channels, cutoff) before it "
        "sets anything."
    )


def check_represent(cls: type) -> None:
    """Raise TypeError where the method `represent` of a class cannot be called as models call it.

    Parameters
    ----------
    cls : type
        A class that defines it.
    """
    method = cls.__dict__["represent"]
    if not inspect.isfunction(method):
        return
    signature = inspect.signature(method)
    try:
        signature.bind(None, None, None, None, vectors=False)
    except TypeError as error:
        given = ", ".join(list(signature.parameters)[1:])
        raise TypeError(
            f"represent of {cls.__name__} must take (batch, pairs, condition, vectors), and "
            f"force_input where the model has one, got ({given})."
        ) from error


def _bound(
    signature: inspect.Signature, cls: str, model: Any, args: Any, kwargs: Any
) -> inspect.BoundArguments:
    """Arguments by name; TypeError, which names the class, where they do not fit."""
    try:
        return signature.bind(model, *args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{cls} cannot be made so: {error}.") from error


def _flat(parameters: list[inspect.Parameter], arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as `cls(*config["*args"], **config)` takes them."""
    starred = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    flat: dict[str, Any] = {}
    for p in parameters:
        value = arguments[p.name]
        if p.kind is inspect.Parameter.VAR_KEYWORD:
            flat |= value
        elif p.kind is inspect.Parameter.VAR_POSITIONAL:
            flat[POSITIONAL] = [*flat.get(POSITIONAL, []), *value]
        elif p.kind is inspect.Parameter.POSITIONAL_ONLY or (
            starred and p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ):
            flat[POSITIONAL] = [*flat.get(POSITIONAL, []), value]
        else:
            flat[p.name] = value
    return flat


def as_json(value: Any) -> Any:
    """A recorded argument as json has it, where there is a way: models as their name and config."""
    if isinstance(value, torch.nn.Module) and "init_arguments" in value.__dict__:
        return describe(value)
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {name: as_json(each) for name, each in value.items()}
    if isinstance(value, np.generic | np.ndarray | torch.Tensor) and value.ndim == 0:
        return value.item()
    return value


def describe(model: Any) -> dict[str, Any]:
    """What rebuilds a model but for its weights: the `name` of its class, its `config` and, of a
    class outside the library, the `module` where that was defined."""
    cls = type(model)
    module = {} if is_own(cls) else {"module": cls.__module__}
    return {"name": cls.__name__, **module, "config": model.config}


def first_line(error: Exception) -> str:
    """The first line of an error's text, without its period, for another error's sentence.

    Parameters
    ----------
    error : Exception
        Any error.
    """
    text = str(error) or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:300]


def with_article(name: str) -> str:
    """A name with its article, as in "an EquivariantTransformer".

    Parameters
    ----------
    name : str
        The name of a class.
    """
    return f"{'an' if name[:1] in 'AEIOaeio' and name else 'a'} {name}"


def named(value: Any) -> str:
    """What a value is, for errors: "a dict", "an Atoms", "the class SchNet".

    Parameters
    ----------
    value : object
        What was given.
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else with_article(type(value).__name__)


def with_argument(model: type, argument: str) -> str:
    """How to get a model that was made with `argument=True`, for an error's remedy.

    Parameters
    ----------
    model : type
        The class of the model that was not.
    argument : str
        A switch of some constructors, such as "conditional".

    Returns
    -------
    str
        Of a class with that switch, to build it so; else which of the kit's classes have it.
    """
    if argument in inspect.signature(model.__init__).parameters:
        return f"build it with {argument}=True"
    known = [cls for modules in _classes.values() for cls in modules.values() if is_own(cls)]
    having = sorted(
        cls.__name__ for cls in known if argument in inspect.signature(cls.__init__).parameters
    )
    return f"use one that can be built with {argument}=True: {', '.join(having)}"


def declares(cls: type, name: str) -> bool:
    """Whether a class has an attribute, or an annotation for one.

    Parameters
    ----------
    cls : type
        The class.
    name : str
        Name of the attribute.
    """
    return hasattr(cls, name) or any(name in inspect.get_annotations(c) for c in cls.__mro__)
