"""What a run is trained on and what it trains: a checkpoint is resumed with the same alone."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from scdlab.atoms.store import AtomStore
from scdlab.files import plain
from scdlab.nn import Model
from scdlab.nn.registry import describe
from scdlab.objectives import Objective
from scdlab.objectives.identity import identity


@dataclass(frozen=True)
class Identity:
    """What decides the numbers of a run beside its settings.

    Parameters
    ----------
    model : dict
        Class and arguments of the model, and the precision of its weights.
    objective : dict
        Class and settings of the objective.
    train, val : str or None
        Fingerprints of the structures in their order (`AtomStore.fingerprint`).
    """

    model: dict[str, Any]
    objective: dict[str, Any]
    train: str
    val: str | None

    @classmethod
    def of(
        cls, model: Model, objective: Objective, train: AtomStore, val: AtomStore | None
    ) -> Self:
        """The identity of a run.

        Parameters
        ----------
        model, objective : Model, Objective
            As `prepare` left them.
        train, val : AtomStore
            The structures.
        """
        described = describe(model)
        settings = described.pop("config")
        about = {**described, **settings, "filter_table_size": model.filter_table_size}
        about["precision"] = str(next(model.parameters()).dtype)
        return cls(
            plain(about, "the model"),
            identity(objective),
            train.fingerprint(),
            None if val is None else val.fingerprint(),
        )

    def as_json(self) -> dict[str, Any]:
        """The identity as json has it."""
        return dataclasses.asdict(self)

    def check(self, path: Path, then: Any) -> None:
        """Raise ValueError where a checkpoint is one of another run.

        Parameters
        ----------
        path : Path
            The checkpoint.
        then : dict
            The identity that it holds.
        """
        now = self.as_json()
        remedy = "resume with the same, or start anew in another folder"
        for part in ("model", "objective"):
            before = _flat(then[part])
            after = _flat(now[part])
            for name in {**before, **after}:
                if before.get(name) != after.get(name):
                    raise ValueError(
                        f"{path} was written with another {part} ({name} was "
                        f"{_shown(before, name)} and is {_shown(after, name)}); {remedy}."
                    )
        for part, what in (("train", "training"), ("val", "validation")):
            if then[part] != now[part]:
                raise ValueError(
                    f"{path} was written with other structures or labels in the {what} set, or the "
                    f"same in another order; {remedy}."
                )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested settings by their path, as in "supervised.loss"."""
    if not isinstance(value, dict):
        return {name: value}
    found = {}
    for key, each in value.items():
        inner = name if key == "settings" else f"{name}.{key}" if name else key
        found |= _flat(each, inner)
    return found


def _shown(settings: dict[str, Any], name: str) -> str:
    text = repr(settings[name]) if name in settings else "not there"
    return text if len(text) <= 80 else text[:77] + "…"
