"""Lesson 04: how the worth of the condition of self-conditioned denoising (SCD) grows with
training; how the claim is tested here.

See `self_conditioned` for the paper and for what the claims of the lesson share. Frames of ethanol,
positions only. Trainings of three lengths are separate runs, each with its own schedule; the
longest is done three times: as it is, with the gradient stopped at the condition, so that pass 1
goes untrained by pass 2, and with the embedding of another frame, which can help with nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import scdlab
from scdlab.atoms import AtomStore
from scdlab.atoms.batch import Batch
from scdlab.nn.model import Model
from scdlab.objectives import Objective, SelfConditionedDenoising
from scdlab.objectives.base import Parts
from scdlab.training import FitResult

from .claim import Arrays, Claim, Settings, Values, get, register
from .common import SEEN_PAIRED, trained
from .curves import keep_curve
from .directions import paired_direction
from .kept import keep
from .self_conditioned import (
    BODY,
    CPU,
    FULL,
    PAPER,
    QUICK,
    fresh,
    gain_of,
    noise_left,
    unseen,
)
from .self_conditioned_rules import (
    mechanism_on,
)

ARMS: dict[str, dict[str, Any]] = {
    "own": {},
    "stopped": {"stop_gradient": True},
    "other": {"condition": "other"},
    "atoms": {"condition": "atoms"},
}
LENGTHS = ("short", "middle", "long")
CURVES = {"own": "own embedding as condition", "none": "no condition"}


@dataclass(repr=False)
class OwnAndNone(Objective):
    """Noise left with the condition that was trained and with none, under the same noise.

    Parameters
    ----------
    sigma : float
        Size of the noise in Å.
    condition : {"own", "other", "atoms"}, default "own"
        Which condition.
    """

    sigma: float
    condition: str = "own"

    smallest_batch = 2

    def __call__(
        self, model: Model, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Parts]:
        """The loss with the condition, and parts "own" and "none"."""
        source = torch.Generator(batch.pos.device) if generator is None else generator
        state = source.get_state()
        losses = {}
        parts = {}
        for name, p in (("none", 1.0), ("own", 0.0)):
            source.set_state(state)
            each = SelfConditionedDenoising(
                self.sigma, p_drop_condition=p, condition=self.condition
            )
            losses[name], found = each(model, batch, source)
            parts[name] = found["noise_unexplained"]
        return losses["own"], parts


@dataclass(repr=False)
class WatchedDenoising(SelfConditionedDenoising):
    """SCD whose validation gives the noise left with the condition and with none."""

    @property
    def validation_objective(self) -> OwnAndNone:
        """What `fit` validates by."""
        return OwnAndNone(self.sigma, self.condition)


def frames(seed: int) -> tuple[AtomStore, AtomStore, AtomStore]:
    """Frames of ethanol at 500 K, disjoint.

    Parameters
    ----------
    seed : int
        Which frames.

    Returns
    -------
    train, val, test : AtomStore
        1,500, 100 and 400 frames.
    """
    train, val, test = scdlab.load_ethanol().split(1500, 100, seed=seed)
    return train, val, test


def on_frames(
    arm: str, steps: int, settings: Settings, seed: int, device: str, curve: bool = False
) -> Model:
    """The network after SCD, or one of its ablations, on frames of ethanol.

    Parameters
    ----------
    arm : str
        One of ARMS.
    steps : int
        Steps of training.
    settings : dict
        With those named in BODY, and n_unseen, see `unseen`.
    seed : int
        Of frames, weights and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    curve : bool, default False
        Whether the noise left in validation, with the condition and without, is kept as curves.

    Returns
    -------
    Model
        The trained model.
    """
    decides = {name: settings[name] for name in BODY} | {"steps": steps}
    train_on, val, _ = frames(seed)
    val = unseen(val, settings)

    def train(folder: Path | None) -> FitResult:
        result = trained(
            fresh(decides, seed),
            WatchedDenoising(decides["sigma"], **ARMS[arm]),
            train_on,
            steps,
            decides["pretrain_batch"],
            decides["pretrain_lr"],
            seed,
            device,
            grad_clip=decides["pretrain_clip"],
            val=val,
            val_every=max(1, steps // 20),
            out=folder,
            resume=folder is not None,
        )
        for name, label in CURVES.items() if curve else ():
            of = {"column": f"val_{name}", "unit": "share", "factor": 1.0}
            keep_curve(folder, result, name, label, told=name == "own", **of)
        return result

    return keep(f"scd-ct-ethanol-{arm}-{steps}", decides | {"arm": arm}, seed, train)


def growth(settings: Settings, seed: int, device: str) -> Values:
    """Gains of the condition on unseen frames after trainings of three lengths, and what the
    ablations leave."""
    test = unseen(frames(seed)[2], settings)
    steps: dict[str, int] = dict(zip(LENGTHS, settings["lengths"], strict=True))
    values = {}
    for length in LENGTHS:
        curve = length == "long"
        model = on_frames("own", steps[length], settings, seed, device, curve)
        values |= gain_of(model, test, settings, length)
        values[f"ratio_{length}"] = 1 - values[f"gain_{length}"]
    stopped = on_frames("stopped", steps["long"], settings, seed, device)
    values |= gain_of(stopped, test, settings, "stopped")
    # as many structures in each batch: the other's embedding is that of the next one
    test = test[: 20 * (len(test) // 20)]
    for arm, length in (("other", "long"), ("atoms", "short")):
        model = on_frames(arm, steps[length], settings, seed, device)
        options = ARMS[arm] | {"p_drop_condition": 0.0}
        values[f"left_{arm}"] = noise_left(model, test, settings, 20, **options)
    return {name: values[name] for name in get("scd-growth").quantities}


def judge_growth(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = paired_direction(values["ratio_long"], values["ratio_short"])
    if seen != "paper":
        return "contradicted" if seen == "opposite" else "tie"
    controls = (values["left_own_stopped"], values["left_other"])
    ahead = [paired_direction(values["left_own_long"], control) for control in controls]
    return "reproduced" if ahead == ["paper", "paper"] else "same direction"


def words() -> dict[str, str]:
    """Descriptions of what `growth` gives, the judged ones first.

    Returns
    -------
    dict of str to str
        Name of a quantity -> description.
    """
    long, short = (f"own/none, noise left, after the {x} training" for x in ("longest", "shortest"))
    found = {"ratio_long": long, "ratio_short": short}
    for length in LENGTHS:
        after = {"short": "shortest", "middle": "middle", "long": "longest"}[length]
        found |= {
            f"left_own_{length}": f"noise left, own condition, after the {after} training",
            f"left_none_{length}": f"noise left, no condition, after the {after} training",
            f"gain_{length}": f"gain of the condition, 1 - own/none, after the {after} training",
        }
    return found | {
        "left_own_stopped": "noise left, own condition, gradient stopped there, longest training",
        "left_none_stopped": "noise left, no condition, gradient stopped, longest training",
        "gain_stopped": "gain of the condition, gradient stopped, longest training",
        "left_other": "noise left, trained with and given another frame's embedding, longest",
        "left_atoms": "noise left, no bottleneck (a condition for every atom), shortest training",
    }


register(
    Claim(
        id="scd-growth",
        lesson=4,
        title=(
            "Off equilibrium the worth of the condition grows with training, because the embedding "
            "is trained for it."
        ),
        source=f"{PAPER}: gradients flow through both passes; no ablation of it is given",
        paper="argued; no number given",
        quantities=words(),
        rule=(
            "Train SCD on frames of ethanol at 500 K, positions only, for three lengths. On unseen "
            "frames compare own/none, the noise left with the own condition over that with none, "
            "after the longest training with that after the shortest."
        )
        + SEEN_PAIRED
        + "With the expected direction: reproduced when the longest training also leaves less "
        "noise than as long a one with the gradient stopped at the condition, and than one with "
        "another frame's embedding, in the same sense; else same direction. With the opposite "
        "one: contradicted. A condition for every atom is reported and not judged.",
        judge=judge_growth,
        recipe=growth,
        precondition=mechanism_on("gain_long", "frames of ethanol"),
        profiles={
            "quick": QUICK | {"lengths": [2, 3, 4]},
            "night": CPU | {"lengths": [2000, 6000, 20_000], "pretrain_batch": 16},
            "full": FULL | {"seeds": 3, "lengths": [2000, 6000, 20_000], "pretrain_batch": 64},
        },
        hours={"night": 3.0},
        worth=75,
    )
)
