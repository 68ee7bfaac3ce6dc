"""Errors against training: what a recipe leaves of each training it does, for the picture of a
claim.

A recipe calls `keep_curve` after a training. The curve stays beside the model that is kept, so the
models of a claim's measured seeds lead to its curves: `gather` collects them from the folder of the
runs, `write_curves` puts them beside the claim's record, `load_curves` reads them from there.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdlab.training import FitResult

from .claim import get
from .kept import models_folder, read_kept, write_kept
from .record import RECORDS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FILES = "curve.*.json"  # in the folder of a kept model, one for each arm
_TYPES = {"arm": str, "label": str, "told": bool, "unit": str, "steps": list, "values": list}


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm's curves.

    Parameters
    ----------
    label : str
        What it is, for a legend.
    told : bool
        Whether the method's extra input reaches the network: forces, a condition.
    steps : list of list of int
        For each seed: after which steps it was measured.
    values : list of list of float
        For each seed: the error there.
    """

    label: str
    told: bool
    steps: list[list[int]]
    values: list[list[float]]


@dataclasses.dataclass(frozen=True)
class Curves:
    """Errors on validation structures while the arms of a claim were trained.

    Parameters
    ----------
    claim : str
        The claim's id.
    profile : str
        The profile that was run.
    unit : str
        Of the errors.
    seeds : list of int
        Whose curves these are, in order.
    arms : dict of str to Arm
        Name -> curves.
    """

    claim: str
    profile: str
    unit: str
    seeds: list[int]
    arms: dict[str, Arm]

    def figure(
        self,
        arms: Sequence[str] | None = None,
        title: str | None = None,
        quantity: str = "force MAE on validation frames",
    ) -> "Figure":
        """Error against training, as `scdlab.explore.claim_curves` draws it.

        Parameters
        ----------
        arms : sequence of str, optional
            Which arms, in order; all by default.
        title : str, optional
            A line above; the claim's id by default.
        quantity : str, default "force MAE on validation frames"
            The error.

        Returns
        -------
        plotly.graph_objects.Figure
            The figure.

        Raises
        ------
        ValueError
            There is no such arm.
        """
        from scdlab.explore.claim_curves import claim_curves

        names = list(self.arms) if arms is None else list(arms)
        if unknown := [name for name in names if name not in self.arms]:
            raise ValueError(
                f"The curves of {self.claim!r} have the arms {', '.join(self.arms)}, got "
                f"{unknown[0]!r}: choose some of them."
            )
        shown = {self.arms[name].label: self.arms[name] for name in names}
        return claim_curves(
            {label: (arm.told, arm.steps, arm.values) for label, arm in shown.items()},
            quantity=quantity,
            unit=self.unit,
            title=self.claim if title is None else title,
        )


def keep_curve(
    folder: Path | None,
    result: FitResult,
    arm: str,
    label: str,
    told: bool,
    column: str = "val_force_mae",
    unit: str = "meV/Å",
    factor: float = 1e3,
) -> None:
    """Leave the curve of a training beside its model; a training may leave several.

    Parameters
    ----------
    folder : Path or None
        The folder that `keep` gave; nothing is written for None.
    result : FitResult
        What `scdlab.fit` returned, with validation.
    arm : str
        The arm's name.
    label : str
        What it is, for a legend.
    told : bool
        Whether the method's extra input reaches the network.
    column : str, default "val_force_mae"
        The error, a column of the log.
    unit : str, default "meV/Å"
        Of the curve.
    factor : float, default 1e3
        What the column is multiplied by to be in this unit.

    Raises
    ------
    ValueError
        The log has no such column.
    """
    if folder is None:
        return
    history = result.history
    if column not in history:
        raise ValueError(
            f"The log of the training in {folder} must have a column {column!r}, got "
            f"{', '.join(history) or 'none'}: validate it, or name another column."
        )
    pairs = [
        (int(step), factor * value)
        for step, value in zip(history["step"], history[column], strict=True)
        if math.isfinite(value)
    ]
    content = {"arm": arm, "label": label, "told": told, "unit": unit}
    content["steps"] = [step for step, _ in pairs]
    content["values"] = [float(f"{value:.5g}") for _, value in pairs]
    write_kept(folder / FILES.replace("*", arm), content)


def gather(claim_id: str, profile: str, out: str | Path = "runs/claims") -> Curves:
    """The curves of a claim's measured seeds.

    Parameters
    ----------
    claim_id : str
        The claim's id.
    profile : str
        The profile that was run.
    out : path, default "runs/claims"
        Folder of the runs.

    Returns
    -------
    Curves
        Those of all seeds that have been measured.

    Raises
    ------
    ValueError
        No seed was measured there, its models have no curves, or these have different units.
    """
    get(claim_id)
    out = Path(out)
    paths = {
        int(path.name.removesuffix(".json").rpartition("seed")[2]): path
        for path in out.glob(f"{claim_id}.{profile}.seed*.json")
    }
    arms: dict[str, dict[str, Any]] = {}
    units = set()
    for seed in sorted(paths):
        kept = read_kept(paths[seed], {"models": dict})
        for folder in kept["models"].values():
            for path in sorted((models_folder(out) / folder).glob(FILES)):
                curve = read_kept(path, _TYPES)
                units.add(curve["unit"])
                label = {"label": curve["label"], "told": curve["told"]}
                arm = arms.setdefault(curve["arm"], label)
                arm.setdefault("steps", []).append(curve["steps"])
                arm.setdefault("values", []).append(curve["values"])
    if not arms:
        raise ValueError(
            f"{out} must hold measured seeds of {claim_id!r} under the {profile} profile, with "
            f"models that left their curves, got none: `scdlab claims run {claim_id} --profile "
            f"{profile}` measures them."
        )
    if len(units) > 1:
        raise ValueError(
            f"The curves of {claim_id!r} must be of one error, got {', '.join(sorted(units))}: let "
            "the recipe keep one kind."
        )
    return Curves(
        claim_id, profile, units.pop(), sorted(paths), {k: Arm(**a) for k, a in arms.items()}
    )


def curves_path(claim_id: str, profile: str) -> Path:
    """Where a claim's curves are kept.

    Parameters
    ----------
    claim_id : str
        The claim's id.
    profile : str
        The profile.

    Returns
    -------
    Path
        A json file in the folder `curves` of the records.
    """
    return RECORDS / "curves" / f"{claim_id}.{profile}.json"


def write_curves(curves: Curves) -> Path:
    """Put curves beside the claim's record.

    Parameters
    ----------
    curves : Curves
        What `gather` found.

    Returns
    -------
    Path
        The file.
    """
    path = curves_path(curves.claim, curves.profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_kept(path, dataclasses.asdict(curves))
    return path


def load_curves(claim_id: str, profile: str = "night") -> Curves | None:
    """The curves of a claim, as they came with the kit.

    Parameters
    ----------
    claim_id : str
        The claim's id.
    profile : str, default "night"
        The profile.

    Returns
    -------
    Curves or None
        None where there are none.

    Raises
    ------
    ValueError
        An unknown claim, or a damaged file.
    """
    get(claim_id)
    path = curves_path(claim_id, profile)
    if not path.is_file():
        return None
    kinds = {"claim": str, "profile": str, "unit": str, "seeds": list, "arms": dict}
    kept = read_kept(path, kinds)
    arms = {name: Arm(**arm) for name, arm in kept["arms"].items()}
    return Curves(kept["claim"], kept["profile"], kept["unit"], kept["seeds"], arms)
