"""A step whose loss or gradient is no number, kept so that it can be repeated.

    RUN/failed/
      step.json                     the step, its seed, the objective, the structures
      structures/                   a store of the structures, before noise and rotation
      model.safetensors model.json  the model before the step

`replay(folder)` computes its loss and gradient again, as `scdlab train --replay RUN/failed` does.
"""

import math
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch

import scdlab
from scdlab.atoms.batch import Batch
from scdlab.atoms.store import AtomStore
from scdlab.devices import checked_device, seed_torch
from scdlab.files import atomic_folder, content_digest, read_json, write_json
from scdlab.log import logger
from scdlab.nn import Model
from scdlab.objectives import Objective
from scdlab.objectives.answer import checked_answer
from scdlab.objectives.augment import random_rotate
from scdlab.objectives.base import description
from scdlab.objectives.identity import as_text, can_be_made_anywhere, from_text
from scdlab.training.checkpoint import load, save

FOLDER = "failed"
FORMAT = "scdlab-failed-step"
FORMAT_VERSION = 1
_NAMED = 8  # structures in an error
_ALONE = 256  # structures of a batch that are looked at one by one


class FailedStep(ValueError):
    """The loss or the gradient of a step is no number: the message has all that is known."""


@dataclass(frozen=True)
class Step:
    """What a training step depends on beside the model, its objective and the structures.

    Parameters
    ----------
    number : int
        The step, counted from 1 as in the log.
    seed : int
        Of all that is random in it.
    augment : str or None
        As for `fit`.
    annealed : dict of str to float
        The values that numbers had which change over a run.
    """

    number: int
    seed: int
    augment: str | None = None
    annealed: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Replay:
    """A step that was computed again.

    Attributes
    ----------
    step : int
        The step, counted from 1.
    loss : float
        Its loss.
    gradient_norm : float
        The norm of its gradient.
    parts : dict of str to float
        The named parts of the loss.
    structures : list of int
        The structures, as counted in the training set.
    index : list of int
        The same by the `index` of that set.
    failed : bool
        Whether loss or gradient is no number, as when the step was kept.
    """

    step: int
    loss: float
    gradient_norm: float
    parts: dict[str, float]
    structures: list[int]
    index: list[int]

    @property
    def failed(self) -> bool:
        """Whether loss or gradient is no number."""
        return not (math.isfinite(self.loss) and math.isfinite(self.gradient_norm))

    def __str__(self) -> str:
        parts = "".join(f", {name} {value:.6g}" for name, value in self.parts.items())
        again = "as when it was kept" if self.failed else "finite now"
        return (
            f"Step {self.step}, {named_structures(self.structures, self.index)}: loss "
            f"{self.loss:.6g}, norm of the gradient {self.gradient_norm:.6g}{parts} ({again})."
        )


def annealed(name: str, model: Model, objective: Objective) -> Model | Objective:
    """What has the number that is annealed: the model its "drop_path", the objective all others.

    Parameters
    ----------
    name : str
        The number.
    model, objective : Model, Objective
        Those of the run.
    """
    return model.backbone if name == "drop_path" else objective


def named_structures(numbers: list[int], index: list[int]) -> str:
    """Structures in words, by their number in the training set and by its `index`.

    Parameters
    ----------
    numbers, index : list of int
        As many of the one as of the other.
    """
    by_index = "" if numbers == index else f" (by its index {_listed(index)})"
    several = "s" if len(numbers) > 1 else ""
    return f"structure{several} {_listed(numbers)} of the training set{by_index}"


def _listed(numbers: list[int]) -> str:
    shown = [str(number) for number in numbers[:_NAMED]]
    more = len(numbers) - len(shown)
    last = f"{more} more" if more else shown.pop() if len(shown) > 1 else ""
    return f"{', '.join(shown)} and {last}" if last else shown[0]


def loss_and_norm(
    model: Model, objective: Objective, batch: Batch, step: Step
) -> tuple[float, float, dict[str, float]]:
    """The loss of a step, the norm of its gradient, and the parts of the loss.

    Parameters
    ----------
    model : Model
        As it was before the step; its gradients are lost.
    objective : Objective
        What was minimized.
    batch : Batch
        The structures, on the model's device.
    step : Step
        What else it depends on.
    """
    owners = {name: annealed(name, model, objective) for name in step.annealed}
    before = {name: vars(owner)[name] for name, owner in owners.items()}
    device = batch.pos.device
    gpus = [device] if device.type == "cuda" else []
    try:
        for name, value in step.annealed.items():
            setattr(owners[name], name, value)
        with torch.random.fork_rng(devices=gpus):
            seed_torch(device, step.seed)
            generator = torch.Generator(device).manual_seed(step.seed)
            if step.augment is not None:
                batch = random_rotate(batch, generator, inversion=step.augment == "O(3)")
            model.zero_grad()
            answer = objective(model, batch, generator)
            loss, parts = checked_answer(objective, answer, batch.num_graphs)
            if loss.requires_grad:
                loss.backward()
    finally:
        for name, owner in owners.items():
            setattr(owner, name, before[name])
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(grads))
    return float(loss.detach()), norm, {name: float(part) for name, part in parts.items()}


@dataclass
class Failed:
    """A step that is no number.

    Parameters
    ----------
    what : str
        What is no number.
    step : Step
        What the step depends on.
    numbers, index : list of int
        Its structures, in the training set and by its `index`.
    """

    what: str
    step: Step
    numbers: list[int]
    index: list[int]
    suspects: list[int] = field(default_factory=list)  # places in `numbers`
    repeatable: str = "out= would have kept the step in a folder, to be repeated"

    def find_suspects(self, model: Model, objective: Objective, train: AtomStore) -> None:
        """Find the structures whose loss is no number even alone, if these are not all.

        Parameters
        ----------
        model, objective, train : Model, Objective, AtomStore
            Those of the run.
        """
        if objective.smallest_batch > 1 or not 1 < len(self.numbers) <= _ALONE:
            return
        device = next(model.parameters()).device
        found = []
        for place, number in enumerate(self.numbers):
            batch = train.take([number]).to(device)
            try:
                loss, norm, _ = loss_and_norm(model, objective, batch, self.step)
            except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
                logger.debug("Structure %d alone has no loss (%s).", number, error)
                return
            if not (math.isfinite(loss) and math.isfinite(norm)):
                found.append(place)
        if len(found) < len(self.numbers):
            self.suspects = found

    def keep(self, run: Path, model: Model, objective: Objective, train: AtomStore) -> None:
        """Write the step into the folder of a run so that `replay` can repeat it.

        Parameters
        ----------
        run : Path
            The folder of the run.
        model, objective : Model, Objective
            As they were before the step.
        train : AtomStore
            The training set.
        """
        about: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scdlab": scdlab.__version__,
            "step": self.step.number,
            "seed": self.step.seed,
            "augment": self.step.augment,
            "annealed": self.step.annealed,
            "objective": description(objective),
            "objective_json": as_text(objective),
            "structures": self.numbers,
            "index": self.index,
            "suspects": [self.numbers[place] for place in self.suspects],
        }
        try:
            with atomic_folder(run / FOLDER) as new:
                save(model, new / "model")
                train.subset(self.numbers).save(new / "structures")
                write_json(new / "step.json", about | {"digest": content_digest(about)})
        except (OSError, TypeError, ValueError, safetensors.SafetensorError) as error:
            logger.warning("The step could not be kept in %s (%s).", run / FOLDER, error)
            self.repeatable = f"the step could not be kept in {run / FOLDER}"
        else:
            kept = str(run / FOLDER)
            command = f"scdlab.training.replay({kept!r}, objective=…)"
            if can_be_made_anywhere(objective):
                command = f"scdlab train --replay {shlex.quote(kept)}"
            self.repeatable = f"{command} repeats the step"

    def explained(self, lr: float | dict[str, float], checkpoint: tuple[str, int] | None) -> str:
        """The error, in one sentence.

        Parameters
        ----------
        lr : float or dict
            The learning rate.
        checkpoint : (str, int), optional
            The last checkpoint, and its step.
        """
        places = self.suspects or range(len(self.numbers))
        places = sorted(places, key=self.numbers.__getitem__)
        whose = named_structures([self.numbers[k] for k in places], [self.index[k] for k in places])
        reached = ""
        if checkpoint is not None:
            reached = f", as {checkpoint[0]} has those of step {checkpoint[1]}"
        return (
            f"The {self.what} at step {self.step.number}, for {whose}, so this step was not taken; "
            f"train with a smaller learning rate than {lr} or look for wrong labels (the model has "
            f"the last good weights{reached}; {self.repeatable})."
        )


def replay(folder: str | Path, objective: Objective | None = None, device: str = "cpu") -> Replay:
    """Compute a step again whose loss was no number, as `fit` kept it in the folder of a run.

    Parameters
    ----------
    folder : str or Path
        The folder `failed` of the run.
    objective : Objective, optional
        What was minimized; needed for one of a class of one's own that this session does not know,
        or with settings that json cannot hold.
    device : str, default "cpu"
        Where to compute.

    Returns
    -------
    Replay
        Loss, gradient and structures.

    Raises
    ------
    FileNotFoundError
        When a file is missing.
    ValueError
        For files that are damaged, and for an objective that has to be given.
    """
    folder = Path(folder)
    about = read_json(folder / "step.json", "record of a failed step", "run fit again")
    if about.get("format") != FORMAT or about.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{folder / 'step.json'} is no failed step that scdlab {scdlab.__version__} reads; "
            "give the folder 'failed' of a run of fit."
        )
    if about.get("digest") != content_digest(about):
        raise ValueError(
            f"{folder / 'step.json'} is damaged (its digest differs); run fit again to have it."
        )
    if objective is None:
        objective = from_text(about["objective_json"])
    if objective is None:
        raise ValueError(
            f"The step in {folder} was one of {about['objective']}, which this session cannot make "
            "again; give it, scdlab.training.replay(folder, objective=…)."
        )
    where = checked_device(device)
    model = load(folder / "model", where).train()
    step = Step(about["step"], about["seed"], about["augment"], about["annealed"])
    structures = AtomStore.open(folder / "structures")
    batch = structures.take(range(len(structures))).to(where)
    loss, norm, parts = loss_and_norm(model, objective, batch, step)
    return Replay(about["step"], loss, norm, parts, about["structures"], about["index"])
