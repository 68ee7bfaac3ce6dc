"""Checks of the objectives' arguments, each with one sentence for what cannot be."""

import math
from collections.abc import Collection
from numbers import Real

import numpy as np

from scdlab.objectives.base import SupervisedObjective
from scdlab.renames import renamed_value


def check_share(name: str, value: float) -> None:
    """Check that a value is a share, from 0 to 1.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : float
        The argument.

    Raises
    ------
    ValueError
        When it is not.
    """
    if not (isinstance(value, Real) and 0 <= value <= 1):
        raise ValueError(f"{name} must be between 0 and 1, got {value!r}.")


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Check that a value is one of several.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : str
        The argument.
    choices : collection of str
        What it may be, two or more.

    Raises
    ------
    ValueError
        When it is not.
    """
    if value not in choices:
        *others, last = map(repr, choices)
        now = renamed_value(name, value, choices)
        raise ValueError(f"{name} must be {', '.join(others)} or {last}, got {value!r}{now}.")


def check_length(name: str, value: float, example: float, zero: bool = False) -> None:
    """Check that a value is a finite, positive length.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : float
        The argument, in Å.
    example : float
        A sound value in Å, for the error.
    zero : bool, default False
        Allow 0 as well.

    Raises
    ------
    ValueError
        When it is not.
    """
    good = isinstance(value, Real) and math.isfinite(value) and value >= 0
    if not good or (value == 0 and not zero):
        text = "0 or a positive" if zero else "a positive"
        raise ValueError(f"{name} must be {text} length in Å, such as {example}, got {value!r}.")


def check_weight(name: str, value: float) -> None:
    """Check that a value is a finite number of at least 0.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : float
        The argument.

    Raises
    ------
    ValueError
        When it is not.
    """
    if not (isinstance(value, Real) and math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}.")


def check_switch(name: str, value: bool) -> None:
    """Check that a value is True or False.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : bool
        The argument.

    Raises
    ------
    TypeError
        When it is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r:.60}.")


def check_property_name(name: str) -> None:
    """Check that a value can be the name of a property.

    Parameters
    ----------
    name : str
        The argument.

    Raises
    ------
    TypeError
        When it is no text.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be that of one property, such as 'gap', got {name!r:.60}.")


def check_supervised(value: SupervisedObjective | None) -> None:
    """Check that an objective can share the forward pass of another one.

    Parameters
    ----------
    value : SupervisedObjective or None
        The argument `supervised`; None is none.

    Raises
    ------
    ValueError
        When it cannot.
    """
    if value is not None and not isinstance(value, SupervisedObjective):
        raise ValueError(
            "supervised must be an objective that learns from labels in one pass, such as "
            f"PropertyRegression or EnergyForces, got {value!r}."
        )
