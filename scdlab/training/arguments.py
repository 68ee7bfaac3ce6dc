"""Checks of the arguments of `fit` and `evaluate`, each with one sentence for what cannot be.

Numbers of numpy are numbers; they come out as Python's, so that json can hold them.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from scdlab.atoms.store import AtomStore
from scdlab.nn import Model
from scdlab.nn.registry import with_article
from scdlab.objectives import Objective
from scdlab.renames import renamed_value

#: Makes an optimizer of groups of parameters, each a dict with "params" and "lr".
MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


def shown(value: object) -> str:
    """What was given, in a few words.

    Parameters
    ----------
    value : object
        An argument.
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, str | None | bool | Real):
        return repr(value.item() if isinstance(value, np.generic) else value)
    return with_article(type(value).__name__)


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """A whole number.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : int
        The argument.
    least : int, default 1
        The smallest that it may be.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For a number that is not whole or too small.
    """
    text = "above 0" if least == 1 else f"at least {least}"
    value = _plain(value)
    if not _is_number(value):
        raise TypeError(f"{name} must be a whole number {text}, got {shown(value)}.")
    if not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number {text}, got {shown(value)}.")
    if value < least:
        raise ValueError(f"{name} must be {text}, got {value}.")
    return int(value)


def number(
    name: str, value: Any, zero: bool = False, below: float = math.inf, none: bool = False
) -> float:
    """A finite number above 0.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : float
        The argument.
    zero : bool, default False
        Allow 0 as well.
    below : float, default infinity
        What it must be below.
    none : bool, default False
        Whether the argument may be None, which the error then says.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For one that is out of range.
    """
    text = "at least 0" if zero else "above 0"
    text += f" and below {below:g}" if below < math.inf else ""
    text += ", or None" if none else ""
    value = _plain(value)
    if not _is_number(value):
        raise TypeError(f"{name} must be a number {text}, got {shown(value)}.")
    good = math.isfinite(value) and (value >= 0 if zero else value > 0) and value < below
    if not good:
        what = "" if math.isfinite(value) else "a finite number "
        raise ValueError(f"{name} must be {what}{text}, got {value}.")
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """An array or tensor of one number, without dimensions, as this number."""
    single = isinstance(value, np.ndarray | torch.Tensor) and value.ndim == 0
    return value.item() if single else value


def rates(lr: Any, objective: Objective) -> float | dict[str, float]:
    """Learning rates as plain numbers.

    Parameters
    ----------
    lr : float or mapping
        As for `fit`.
    objective : Objective
        What is minimized.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For rates out of range, other names, and two rates where no head learns from labels.
    """
    if not isinstance(lr, Mapping):
        return number("lr", lr)
    parts = {"head", "backbone"}
    lr = {name: _plain(value) for name, value in lr.items()}
    good = set(lr) == parts and all(_is_number(v) for v in lr.values())
    if not good or not all(math.isfinite(v) and v >= 0 for v in lr.values()):
        now = "".join(renamed_value("lr", name, parts) for name in lr)
        raise ValueError(
            'lr must be one learning rate or {"head": …, "backbone": …}, each a number of at least '
            f"0, got {lr}{now}."
        )
    if not any(lr.values()):
        raise ValueError(f"lr must be above 0 for the head or the backbone, got {lr}.")
    if objective.labeled is None:
        raise ValueError(
            f"{objective!r} learns from no labels and so has no head of its own; give one learning "
            "rate instead of one for the head and one for the backbone."
        )
    return {name: float(value) for name, value in lr.items()}


def annealing(anneal: Any, model: Model, objective: Objective) -> dict[str, list[float]] | None:
    """What changes over a run, as plain numbers; None where nothing does.

    Parameters
    ----------
    anneal : mapping of str to (float, float), or None
        As for `fit`, beside the objective's own.
    model, objective : Model, Objective
        What the names are numbers of.

    Raises
    ------
    TypeError
        For what is no mapping.
    ValueError
        For a name that neither has, and values that cannot be.
    """
    if not isinstance(anneal, Mapping | None):
        raise TypeError(
            'anneal must be a mapping such as {"weight": (0.1, 0.0)} or None, got '
            f"{shown(anneal)}."
        )
    found = {}
    for name, ends in {**objective.anneal, **(anneal or {})}.items():
        if name == "drop_path":
            there = model.backbone.has_drop_path
            whose = f"this {type(model).__name__}"
            remedy = "use an EquivariantTransformer"
        else:
            there = name in objective.numbers()
            whose = repr(objective)
            remedy = "name a number of the objective, such as the weight of CoordinateDenoising"
        if not there:
            raise ValueError(f"anneal names {name!r}, and {whose} has no such number; {remedy}.")
        above = 1.0 if name == "drop_path" else math.inf
        values: list[Any] = [_plain(end) for end in ends] if isinstance(ends, Iterable) else []
        if not (len(values) == 2 and all(_is_number(v) and 0 <= v < above for v in values)):
            raise ValueError(
                f"anneal[{name!r}] must be the values at the first and at the last step, each at "
                f"least 0{' and below 1' if above == 1 else ''}, got {ends}."
            )
        found[name] = [float(value) for value in values]
    return found or None


def check_model(model: Any) -> None:
    """Raise TypeError for a model that is none.

    Parameters
    ----------
    model : Model
        The argument `model`.
    """
    if not isinstance(model, Model):
        raise TypeError(
            "model must be a model such as scdlab.SchNet() (one of your own is a subclass of "
            f"scdlab.nn.AtomisticModel), got {shown(model)}."
        )


def check_objective(objective: Any) -> None:
    """Raise TypeError for an objective that is none.

    Parameters
    ----------
    objective : Objective
        The argument `objective`.
    """
    if not isinstance(objective, Objective):
        raise TypeError(
            "objective must be an objective such as scdlab.objectives.EnergyForces() (one of your "
            f"own is a subclass of scdlab.objectives.Objective), got {shown(objective)}."
        )


def check_store(name: str, store: Any, what: str) -> None:
    """Raise TypeError for what is no store, ValueError for an empty one.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    store : AtomStore
        The argument.
    what : str
        What it is, for the error: "training set".
    """
    if not isinstance(store, AtomStore):
        raise TypeError(
            f"{name}, the {what}, must be an AtomStore, got {shown(store)}; make one of a list of "
            "ase.Atoms with scdlab.AtomStore.from_ase(list_of_atoms)."
        )
    if len(store) == 0:
        other = " or leave val= out" if name == "val" else ""
        raise ValueError(f"The {what} is empty; give a store with at least one structure{other}.")


def check_optimizer(optimizer: Any, weight_decay: float) -> None:
    """Raise TypeError for an optimizer that is no function, ValueError for a weight decay beside
    it.

    Parameters
    ----------
    optimizer : callable or None
        The argument `optimizer`.
    weight_decay : float
        The argument `weight_decay`.
    """
    if optimizer is None:
        return
    if not callable(optimizer):
        raise TypeError(
            "optimizer must be a function of groups of parameters, such as torch.optim.Adam or "
            "functools.partial(torch.optim.SGD, momentum=0.9), or None for AdamW, got "
            f"{shown(optimizer)}."
        )
    if weight_decay:
        raise ValueError(
            "weight_decay is AdamW's; with optimizer= leave it out and set it in there."
        )


def made_optimizer(
    make: MakeOptimizer | None, groups: list[dict[str, Any]], weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer of a run.

    Parameters
    ----------
    make : callable or None
        Makes another than AdamW.
    groups : list of dict
        Groups of parameters, each with "params" and "lr".
    weight_decay : float
        Of AdamW.

    Raises
    ------
    ValueError
        Where there is nothing to train.
    TypeError
        For a function that makes no optimizer.
    """
    if not any(group["params"] for group in groups):
        raise ValueError(
            "The model has no weights that can be trained; set requires_grad of some of its "
            "parameters."
        )
    if make is None:
        return torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)
    optimizer = make(groups)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            "optimizer must return a torch.optim.Optimizer of the groups that it is given, got "
            f"{shown(optimizer)} from it."
        )
    return optimizer


def checked_callbacks(callbacks: Any) -> Sequence[Callable]:
    """The callbacks as a list.

    Parameters
    ----------
    callbacks : sequence of callables
        The argument `callbacks`.

    Raises
    ------
    TypeError
        For what is no sequence of functions.
    """
    several = isinstance(callbacks, Iterable) and not isinstance(callbacks, str | type)
    found: list[Any] = [*callbacks] if several else []
    wrong = [each for each in found if not callable(each) or isinstance(each, type)]
    if not several or wrong:
        got = shown(wrong[0]) + " in it" if wrong else shown(callbacks)
        raise TypeError(
            "callbacks must be a list of functions of (step, row, model), such as "
            f'[scdlab.training.CsvWriter("log.csv")], got {got}.'
        )
    return found


def check_batch_size(
    batch_size: int | None, max_atoms: int | None, objective: Objective, processes: int
) -> None:
    """Raise ValueError for batches too small for the objective or for the processes.

    Parameters
    ----------
    batch_size, max_atoms : int or None
        Most structures and atoms of a batch.
    objective : Objective
        What is minimized.
    processes : int
        How many share a batch.
    """
    least = objective.smallest_batch
    shared = processes if max_atoms is None else 1  # with a budget each of them has its own
    if batch_size is None or batch_size >= least * shared:
        return
    if least > 1:
        raise ValueError(
            f"{objective!r} compares structures of a batch and needs batch_size >= "
            f"{least * shared}, got {batch_size}."
        )
    raise ValueError(
        f"Each of the {processes} processes needs a structure of every batch: batch_size must be "
        f"at least {processes}, got {batch_size}."
    )
