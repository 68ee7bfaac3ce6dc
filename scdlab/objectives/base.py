"""The contract of an objective: what one training step minimizes, and all that `fit` reads of it.

    loss, parts = objective(model, batch, generator)

The loss is one number with a gradient; the parts are named means for the log, each with what it is
a mean over, so that means over batches of different sizes can be put together exactly. An objective
of one's own needs `__call__` alone:

    @dataclass
    class EnergyOnly(Objective):
        power: float = 2.0

        def __call__(self, model, batch, generator=None):
            error = (model(batch, noise=False).energy - batch.energy).abs()  # (B) eV
            return (error**self.power).mean(), {"error": Mean(error.mean(), len(error))}

Everything else has a default. Settings are fields of a dataclass, so that the objective's `repr`
holds them: with it a run that is resumed recognizes its objective.
"""

import dataclasses
import functools
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch, completed
from scdlab.atoms.shares import balanced
from scdlab.atoms.store import AtomStore
from scdlab.nn.model import Model, Prediction
from scdlab.renames import unknown_argument

Parts = Mapping[str, "Mean"]  # the named parts of a loss


@functools.total_ordering
@dataclass(frozen=True, eq=False)
class Mean:
    """A mean, and what it is a mean over. `float(mean)` is its value, and so it compares.

    Parameters
    ----------
    value : Tensor
        The mean, 0-dimensional, without a gradient.
    count : int or Tensor
        How many structures, atoms or pairs it is a mean over.
    selected : bool, default False
        Whether these are a selection, such as the corrupted atoms, whose number differs from batch
        to batch. The log of a run weighs its steps by such a count, and alike without one.
    """

    value: Tensor
    count: int | Tensor
    selected: bool = False

    def __float__(self) -> float:
        return float(self.value)

    def __eq__(self, other: object) -> bool:
        return float(self) == float(other)  # pyright: ignore[reportArgumentType]

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # compares as a number that may round


def as_mean(part: "Mean | Tensor | float", count: int) -> Mean:
    """A part as a mean: one that is a plain number is a mean over `count` things."""
    return part if isinstance(part, Mean) else Mean(torch.as_tensor(part).detach(), count)


class Objective(ABC):
    """What one training step minimizes. Subclasses are dataclasses that check their fields in
    `__post_init__`; only `__call__` must be written.

    Attributes
    ----------
    smallest_batch : int
        Structures that a batch must have at least.
    loss_over : str or None
        Name of the part whose count the loss shares; None where the loss is a mean over structures.
    learns : tuple of str or None
        Labels that `prepare` notes as learned: "energy", "forces" and names of properties; None:
        all that the training set has. A model that was trained refuses energies of others.
    balances : bool
        Whether each term of the loss went through `atoms.shares.balanced`, so that several
        processes give the loss of one. Needed where terms are means over different things.
    anneal : mapping of str to (float, float)
        Numbers of the objective that change evenly over a run of `fit`: the values at the first and
        at the last step.
    """

    smallest_batch: int = 1
    loss_over: str | None = None
    learns: tuple[str, ...] | None = None
    balances: bool = False
    anneal: Mapping[str, tuple[float, float]] = MappingProxyType({})

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Check methods and names of arguments: what is missing or unknown gets one sentence.

        Parameters
        ----------
        *args, **kwargs
            Arguments of the subclass.

        Returns
        -------
        Objective
            The new objective, its fields not yet set.

        Raises
        ------
        TypeError
            For a method or an argument that the subclass has not.
        """
        if missing := sorted(cls.__abstractmethods__):
            methods = " and ".join(f"{name}({_parameters(cls, name)})" for name in missing)
            raise TypeError(
                f"{cls.__name__} is an objective without a method: define {methods} as "
                "scdlab.objectives.Objective describes it."
            )
        try:
            inspect.signature(cls.__call__).bind(None, None, None, None)
        except TypeError as error:
            raise TypeError(
                f"__call__ of {cls.__name__} must take (model, batch, generator), got "
                f"({_parameters(cls, '__call__')})."
            ) from error
        made = super().__new__(cls)
        known = inspect.signature(cls).parameters
        if all(p.kind is not p.VAR_KEYWORD for p in known.values()):
            for name in kwargs:
                if name not in known:
                    raise unknown_argument(cls.__name__, name, known)
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep numpy's numbers as Python's, so that settings of one value are written alike."""
        super().__setattr__(name, value.item() if isinstance(value, np.generic) else value)

    def __repr__(self) -> str:
        settings = vars(self)
        if dataclasses.is_dataclass(self):
            settings = {field.name: settings[field.name] for field in dataclasses.fields(self)}
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in settings.items())
        return f"{type(self).__name__}({shown})"

    @abstractmethod
    def __call__(
        self, model: Model, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Parts]:
        """Loss and parts of a batch.

        Parameters
        ----------
        model : Model
            The model in training or evaluation.
        batch : Batch
            The structures.
        generator : torch.Generator, optional
            Source of all random numbers, on the batch's device.

        Returns
        -------
        loss : Tensor
            0-dimensional, with a gradient.
        parts : mapping of str to Mean
            What the log names beside the loss.
        """

    def prepare(self, model: Model, train: AtomStore) -> None:
        """Set in the model what is not learned by gradient; called once before training.

        Parameters
        ----------
        model : Model
            The model that is to be trained.
        train : AtomStore
            The training set.

        Raises
        ------
        ValueError
            Where the model or the training set cannot serve this objective.
        """
        mark_trained_elements(model, train)
        mark_trained_labels(model, train, self.learns)

    @property
    def labeled(self) -> "SupervisedObjective | None":
        """The objective that learns from labels: itself, or what it stands beside; None without."""
        return None

    @property
    def validation_objective(self) -> "Objective":
        """What `fit` validates by."""
        return self

    def numbers(self) -> dict[str, float]:
        """The settings that are numbers, which `fit(anneal=…)` may change."""
        return {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }


class SupervisedObjective(Objective):
    """An objective that learns from labels by one pass of the model, and that others can therefore
    take as `supervised=` and compute from a pass of theirs.

    Attributes
    ----------
    property_name : str or None
        The property of the structures that it learns, if it is one that not all may have.
    """

    property_name: str | None = None

    @property
    def model_outputs(self) -> dict[str, bool]:
        """What is requested of the model in the pass, as its keyword arguments."""
        return {}

    @abstractmethod
    def compare(self, model: Model, prediction: Prediction, batch: Batch) -> tuple[Tensor, Parts]:
        """Loss and parts of a prediction.

        Parameters
        ----------
        model : Model
            The model that made the prediction.
        prediction : Prediction
            What it returned for the keyword arguments `model_outputs`.
        batch : Batch
            The structures with their labels.

        Returns
        -------
        loss : Tensor
            0-dimensional, with a gradient.
        parts : mapping of str to Mean
            What the log names beside the loss.
        """

    def compare_balanced(
        self, model: Model, prediction: Prediction, batch: Batch
    ) -> tuple[Tensor, Parts]:
        """As `compare`, the loss balanced over the processes that share a batch.

        Parameters
        ----------
        model : Model
            The model that made the prediction.
        prediction : Prediction
            What it returned for the keyword arguments `model_outputs`.
        batch : Batch
            The structures with their labels.
        """
        loss, parts = self.compare(model, prediction, batch)
        if self.balances:
            return loss, parts
        over = self.loss_over
        count = batch.num_graphs if over is None else as_mean(parts[over], batch.num_graphs).count
        return balanced(loss, batch, count), parts

    @abstractmethod
    def label_modules(self, model: Model) -> list[nn.Module]:
        """The modules of a model that give the labels: `fit(lr={"head": …, "backbone": …})` has a
        learning rate for them.

        Parameters
        ----------
        model : Model
            A model that was prepared.
        """

    def __call__(
        self, model: Model, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Parts]:
        batch = completed(batch)
        return self.compare(model, model(batch, noise=False, **self.model_outputs), batch)

    @property
    def labeled(self) -> "SupervisedObjective":
        return self


def description(value: object) -> str:
    """The `repr` of an objective or a function without addresses in memory.

    It is the same in every process, so that a run that is resumed recognizes it.

    Parameters
    ----------
    value : object
        The objective or function.

    Returns
    -------
    str
        The text.
    """
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _shown(value: object) -> str:
    """A setting as `repr` shows it: a function by its qualified name."""
    if callable(value) and (inspect.isroutine(value) or inspect.isclass(value)):
        return qualified_name(value)
    return repr(value)


def _parameters(cls: type, method: str) -> str:
    """Names of the parameters of a method, as in "model, batch, generator"."""
    return ", ".join(list(inspect.signature(getattr(cls, method)).parameters)[1:])


def qualified_name(function: Callable) -> str:
    """The name of a function or class with its module; of another callable, that of its class.

    Parameters
    ----------
    function : callable
        The function, class or other callable.

    Returns
    -------
    str
        Such as "torch.nn.functional.silu".
    """
    named = function if inspect.isroutine(function) or inspect.isclass(function) else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def required(output: Tensor | None, name: str) -> Tensor:
    """An output of a model that must be there.

    Parameters
    ----------
    output : Tensor or None
        The output.
    name : str
        Its name, for the error.

    Returns
    -------
    Tensor
        The same output.

    Raises
    ------
    ValueError
        When it is missing.
    """
    if output is None:
        raise ValueError(
            f"The objective needs a prediction with {name}, got one without it: train a model that "
            "gives it."
        )
    return output


def mark_trained_elements(model: Model, store: AtomStore) -> None:
    """Note in a model that it is trained on the elements of a store: it refuses others.

    Parameters
    ----------
    model : Model
        The model.
    store : AtomStore
        The training set.
    """
    elements = torch.tensor(store.elements, device=model.trained_elements.device)
    model.trained_elements[elements] = True


def mark_trained_labels(
    model: Model, store: AtomStore, labels: Iterable[str] | None = None
) -> None:
    """Note in a model that it is trained on labels of a store.

    Parameters
    ----------
    model : Model
        The model.
    store : AtomStore
        The training set.
    labels : iterable of str, optional
        "energy", "forces" and names of properties; None: all that the store has.
    """
    there = {"energy": store.has_energy, "forces": store.has_forces}
    there |= dict.fromkeys((*store.property_names, *store.vector_names), True)
    chosen = [name for name, has in there.items() if has] if labels is None else [*labels]
    elements = store.elements
    learned = model.trained_labels
    both = {
        name: tuple(sorted({*getattr(learned, name), *elements}))
        for name in ("energy", "forces")
        if name in chosen
    }
    # mean and spread of a property are those of the last training set
    own = {name: tuple(elements) for name in chosen if name not in both}
    model.trained_labels = learned.replaced(**both, properties={**learned.properties, **own})


def free_atoms(batch: Batch) -> Tensor | None:
    """Which atoms of a batch may move.

    Parameters
    ----------
    batch : Batch
        The structures.

    Returns
    -------
    Tensor of bool, [N], or None
        The atoms that are not marked as `fixed`; None where the batch marks none.
    """
    fixed = batch.get("fixed")
    return None if fixed is None else ~fixed.bool()
