"""Names of earlier versions, and the sentence that an unknown argument is answered with.

There are no aliases: what is called by an old name fails, and the error names the new one.
"""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: Old argument name -> new one, of models, objectives, ECSE and `fit`.
RENAMED: dict[str, str] = {
    # models
    "hidden": "hidden_channels",
    "d": "hidden_channels",
    "layers": "num_layers",
    "attention_layers": "num_attention_layers",
    "heads": "num_heads",
    "n_basis": "num_rbf",
    "n_radial": "num_rbf",
    "n_spherical": "num_spherical",
    "int_emb": "int_emb_size",
    "basis_emb": "basis_emb_size",
    "out_emb": "out_emb_channels",
    "force_encoding": "force_input",
    "clue": "force_input",
    "pool": "kind",
    # objectives
    "main": "supervised",
    "rho": "energy_weight",
    "probability": "prob",
    "ratio": "corrupt_ratio",
    "weight": "denoising_weight",
    "told": "force_encoding",
    "only_below": "max_rms_force",
    "regularize": "reg_sigma",
    "drop": "p_drop_condition",
    "frozen": "freeze_element_embeddings",
    "part": "context",
    # training
    "clip": "grad_clip",
    "ema": "ema_decay",
    # symmetry
    "angle": "sin2_min",
    "angle_width": "sin2_width",
    "outer": "outer_radius",
    "width": "radius_width",
}

#: Old attribute of a model -> new one.
RENAMED_ATTRIBUTES: dict[str, str] = {
    "d": "hidden_channels",
    "hops": "n_hops",
    "seen": "trained_elements",
    "table": "filter_table_size",
}

#: Argument -> old value -> new one.
RENAMED_VALUES: dict[str, dict[str, str]] = {
    "schedule": {"paper": "exponential"},
    "lr": {"body": "backbone"},
    "force_encoding": {"own": "true", "other": "shuffled"},
    "kind": {"sum": "scalar_sum", "mean": "scalar_mean", "atoms": "per_atom"},
}


def unknown_argument(of: str, name: str, known: Iterable[str]) -> TypeError:
    """The error for an argument that a class or function does not have.

    Parameters
    ----------
    of : str
        Name of the class or function that was called.
    name : str
        The argument that it does not have.
    known : iterable of str
        The arguments that it has.

    Returns
    -------
    TypeError
        To be raised by the caller. Its one sentence names the new name of an argument that was
        renamed, else the known name nearest to the unknown one, else all known names.
    """
    known = list(known)
    problem = f"{of} has no argument {name!r}"
    if (new := RENAMED.get(name)) in known:
        return TypeError(f"{problem}: {name} is now {new}.")
    words = {word: word for word in known}  # what may have been meant -> the argument
    words |= {old: new for old, new in RENAMED.items() if new in known}
    if near := difflib.get_close_matches(name, words, n=1):
        return TypeError(f"{problem}; the nearest that it has is {words[near[0]]!r}.")
    if not known:
        return TypeError(f"{problem}; it takes none.")
    return TypeError(f"{problem}; it takes {', '.join(known)}.")


def known_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The function, answering an unknown or an old argument with one sentence.

    Parameters
    ----------
    function : callable
        A function or method without `**kwargs`.

    Returns
    -------
    callable
        The same, raising `unknown_argument` where Python's own TypeError would come.
    """
    known = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                own = [each for each in known if each != "self"]
                raise unknown_argument(function.__name__, name, own)
        return function(*args, **kwargs)

    return checked


def renamed_value(argument: str, value: object, choices: Iterable[str]) -> str:
    """The end of the sentence about a value that cannot be, where it is an old one.

    Parameters
    ----------
    argument : str
        Name of the argument.
    value : object
        What was given.
    choices : iterable of str
        What can be given.

    Returns
    -------
    str
        Such as "; 'paper' is now 'exponential'"; empty for what never was a value, or is now none
        of the choices.
    """
    if not isinstance(value, str):
        return ""
    new = RENAMED_VALUES.get(argument, {}).get(value)
    return "" if new is None or new not in choices else f"; {value!r} is now {new!r}"


def renamed_attribute(of: str, name: str) -> AttributeError:
    """The error for setting an attribute by its old name.

    Parameters
    ----------
    of : str
        Name of the class.
    name : str
        The old name, one of `RENAMED_ATTRIBUTES`.

    Returns
    -------
    AttributeError
        To be raised by the caller.
    """
    new = RENAMED_ATTRIBUTES[name]
    return AttributeError(
        f"{of} has no attribute {name!r}: {name} is now {new} (a class that means something else "
        f"by {name} declares it in its body)."
    )
