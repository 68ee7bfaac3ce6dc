"""What explorers are made of, checked: stores, models, and values of traits. Each error is one
sentence."""

import inspect
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from numpy.typing import ArrayLike


class WrongKind(traitlets.TraitError, ValueError):
    """A trait was given a value of another kind."""


class _Plain(traitlets.TraitType):
    """A trait that refuses values of another kind in the explorer's words."""

    kind = "value"

    def error(self, obj: Any, value: Any, error: Any = None, info: Any = None) -> Any:
        raise WrongKind(
            f"The explorer's {self.name} must be {self.kind}, got {in_short(value)}."
        ) from None


class Whole(_Plain, traitlets.Int):
    """A whole number, numpy's included."""

    kind = "a whole number"

    def validate(self, obj: Any, value: Any) -> int:
        """As an int."""
        try:
            return operator.index(self.error(obj, value) if isinstance(value, bool) else value)
        except TypeError:
            return self.error(obj, value)


class Number(_Plain, traitlets.Float):
    """A number, numpy's included."""

    kind = "a number"

    def validate(self, obj: Any, value: Any) -> float:
        """As a float."""
        if isinstance(value, (str, bool)):
            return self.error(obj, value)
        try:
            return float(value)
        except (TypeError, ValueError):
            return self.error(obj, value)


class Text(_Plain, traitlets.Unicode):
    """A text."""

    kind = "a text"


class Choice(_Plain, traitlets.Enum):
    """One of several values."""

    @property
    def kind(self) -> str:
        """What it must be, in words."""
        return f"one of {', '.join(map(repr, self.values or ()))}"


class Flag(_Plain, traitlets.Bool):
    """True or False."""

    kind = "True or False"


def checked_store(store: Any, who: str, at_least: int = 1, needs: str = "to_ase") -> Any:
    """A store that an explorer can show.

    Parameters
    ----------
    store : AtomStore
        The store, or what has its methods.
    who : str
        The explorer, for the error.
    at_least : int, default 1
        So many structures are needed.
    needs : str, default "to_ase"
        The method that the explorer calls.

    Returns
    -------
    AtomStore
        The same.

    Raises
    ------
    ValueError
        For anything else, and for fewer structures.
    """
    stores = hasattr(store, needs) and hasattr(store, "__len__")
    if not stores or isinstance(store, (type, torch.nn.Module)):
        raise ValueError(
            f"{who} takes an AtomStore, got {in_short(store)}: AtomStore.from_ase(list_of_atoms), "
            "AtomStore.open(folder) and scdlab.load_qm9() give one."
        )
    if len(store) < at_least:
        amount = "at least one structure" if at_least == 1 else f"at least {at_least} structures"
        has = f"has {len(store)} of them" if len(store) else "is empty"
        raise ValueError(f"The store {has}: {who} needs {amount}.")
    return store


def checked_network(model: Any, what: str, output: str = "noise") -> torch.nn.Module:
    """A model that maps batches to predictions.

    Parameters
    ----------
    model : torch.nn.Module
        The model, of scdlab or with the same call.
    what : str
        What the error calls it.
    output : str, default "noise"
        The argument by which the explorer asks for an output.

    Returns
    -------
    torch.nn.Module
        The same.

    Raises
    ------
    ValueError
        For anything else.
    """
    if not isinstance(model, torch.nn.Module):
        raise ValueError(
            f"{what} must be a model, got {in_short(model)}; scdlab.load_pretrained(name) loads "
            "one that ships."
        )
    try:
        inspect.signature(model.forward).bind(None, **{output: False})
    except TypeError:
        raise ValueError(
            f"{what} must be a model that is called as model(batch, {output}=…), such as those of "
            f"scdlab, got {in_short(model)}."
        ) from None
    return model


def checked_mapping(value: Any, what: str) -> dict:
    """A mapping as a dict.

    Parameters
    ----------
    value : mapping or None
        None counts as empty.
    what : str
        What the error calls it.

    Returns
    -------
    dict
        A copy.

    Raises
    ------
    ValueError
        For anything else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a dict {{name: …}}, got {in_short(value)}.")
    return dict(value)


def checked_vectors(value: Any, what: str) -> dict[str, np.ndarray]:
    """A mapping of names to vectors.

    Parameters
    ----------
    value : mapping or None
        None counts as empty.
    what : str
        What the error calls it.

    Returns
    -------
    dict
        The same as arrays.

    Raises
    ------
    ValueError
        For anything else.
    """
    vectors = {}
    for name, vector in checked_mapping(value, what).items():
        try:
            vectors[name] = np.asarray(vector, float)
        except (TypeError, ValueError):
            raise ValueError(
                f"{what} must be vectors of three numbers, got {in_short(vector)} for {name!r}."
            ) from None
    return vectors


def checked_size(size: Any) -> tuple[int, int]:
    """What `view_molecule` accepts as its size.

    Parameters
    ----------
    size : (float, float)
        Width and height in pixels.

    Returns
    -------
    (int, int)
        The same.

    Raises
    ------
    ValueError
        For anything but two numbers from 1 to 10,000.
    """
    try:
        width, height = (float(side) for side in size)
    except (TypeError, ValueError):
        width = height = 0.0
    if not (1 <= width <= 10_000 and 1 <= height <= 10_000):
        raise ValueError(
            f"The size of a view must be its width and height in pixels, such as (520, 400), got "
            f"{size!r}."
        )
    return int(width), int(height)


def checked_indices(which: ArrayLike, name: str) -> list[int]:
    """Indices of atoms as a list.

    Parameters
    ----------
    which : array_like
        The indices.
    name : str
        What the error calls them.

    Returns
    -------
    list of int
        The same.

    Raises
    ------
    ValueError
        For what is no whole number.
    """
    try:
        chosen = np.asarray(which, float).ravel()
    except (TypeError, ValueError):
        chosen = np.array([np.nan])
    if not (chosen == np.floor(chosen)).all():
        raise ValueError(
            f"{name!r} must mark atoms by their numbers, such as [0, 2], got {in_short(which)}."
        )
    return chosen.astype(int).tolist()


def is_positive(scale: Any) -> bool:
    """Whether a value is a positive, finite number.

    Parameters
    ----------
    scale : any
        The value.

    Returns
    -------
    bool
        False for anything else.
    """
    number = isinstance(scale, (int, float, np.number)) and not isinstance(scale, bool)
    return number and bool(np.isfinite(scale) and scale > 0)


def in_short(value: Any) -> str:
    """What an error calls a value.

    Parameters
    ----------
    value : any
        The value.

    Returns
    -------
    str
        A number or a short text as it is, else the name of its type.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}…"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return type(value).__name__
