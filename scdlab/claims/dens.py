"""Lesson 03: what is claimed for denoising off equilibrium (DeNS), and how each claim is tested
here.

    Y.-L. Liao, T. Smidt, M. Shuaibi, A. Das, TMLR 2024, arXiv:2403.09549 ("DeNS"), its tables and
    its released code

The network is the equivariant transformer with a force input, for every arm alike: same first
weights, frames, batches, steps, learning rate. The arms differ in the objective alone. All learn
energies and forces of one molecule from few frames of its dynamics: frames of revised MD17, or, to
try the mechanics anywhere, the kit's own of ethanol. Errors are those of structures as they are,
without noise and without force input, on frames that no training has seen.

Trained networks are one per seed and arm; the claims share them (`keep`). The first two quantities
of a claim are its arms, as expected: better, worse.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import scdlab
from scdlab.atoms import AtomStore
from scdlab.nn.model import Model
from scdlab.objectives import DeNS, EnergyForces
from scdlab.training import FitResult

from .claim import Arrays, Claim, Recipe, Settings, Values, direction, get, graded, register
from .common import SEEN, draw, trained_as_set
from .kept import keep

PAPER = "the DeNS paper (arXiv:2403.09549)"
DECIDES = (
    "data",
    "n_train",
    "n_val",
    "hidden_channels",
    "num_layers",
    "num_heads",
    "num_rbf",
    "sigma",
    "prob",
    "corrupt_ratio",
    "denoising_weight",
    "energy_weight",
    "steps",
    "batch_size",
    "lr",
)
QUICK = {
    "seeds": 1,
    "data": "kit:ethanol",
    "n_train": 40,
    "n_val": 8,
    "n_test": 16,
    "hidden_channels": 16,
    "num_layers": 2,
    "num_heads": 2,
    "num_rbf": 8,
    "sigma": 0.05,
    "prob": 0.25,
    "corrupt_ratio": 0.25,
    "denoising_weight": 0.0625,
    "energy_weight": 0.02,
    "steps": 5,
    "batch_size": 4,
    "lr": 2e-3,
}
CPU = {
    "seeds": 3,
    "data": "md17:ethanol",
    "n_train": 950,
    "n_val": 50,
    "n_test": 1000,
    "hidden_channels": 64,
    "num_layers": 3,
    "num_heads": 4,
    "num_rbf": 32,
    "sigma": 0.05,
    "prob": 0.25,
    "corrupt_ratio": 0.25,
    "denoising_weight": 0.0625,
    "energy_weight": 0.02,
    "steps": 2000,
    "batch_size": 16,
    "lr": 2e-3,
}
FULL = CPU | {
    "hidden_channels": 128,
    "num_layers": 6,
    "num_heads": 8,
    "num_rbf": 50,
    "steps": 120_000,
    "batch_size": 8,
    "lr": 5e-4,
}


def objective_of(arm: str, settings: Settings) -> EnergyForces | DeNS:
    """What an arm minimizes: lengths of errors in every term.

    Squares would be ruled by the largest errors, and those are of corrupted structures, whose noise
    is in part unpredictable.

    Parameters
    ----------
    arm : str
        One of WORDS.
    settings : dict
        With energy_weight and, for DeNS, prob, corrupt_ratio, sigma and denoising_weight.

    Returns
    -------
    EnergyForces or DeNS
        The objective.
    """
    labels = EnergyForces(settings["energy_weight"], loss="norm")
    if arm == "plain":
        return labels
    changed = {
        "dens": {},
        "full": {"corrupt_ratio": 1.0},
        "untold": {"force_encoding": "none"},
        "shuffled": {"force_encoding": "shuffled"},
    }[arm]
    names = ("prob", "corrupt_ratio", "sigma", "denoising_weight")
    options = {name: settings[name] for name in names} | changed
    return DeNS(**options, supervised=labels)


def frames(settings: Settings, seed: int) -> tuple[AtomStore, AtomStore, AtomStore]:
    """The frames of a seed, drawn at random and disjoint.

    Parameters
    ----------
    settings : dict
        With data ("md17:MOLECULE" or "kit:ethanol"), n_train, n_val and n_test.
    seed : int
        Which frames.

    Returns
    -------
    train, val, test : AtomStore
        The three sets.
    """
    kind, name = settings["data"].split(":")
    store = scdlab.load_md17(name) if kind == "md17" else getattr(scdlab, f"load_{name}")()
    train, val, rest = store.split(settings["n_train"], settings["n_val"], seed=seed)
    return train, val, draw(rest, settings["n_test"], seed)


def learned(arm: str, settings: Settings, seed: int, device: str) -> Model:
    """The network of an arm after training.

    Parameters
    ----------
    arm : str
        One of WORDS.
    settings : dict
        With those named in DECIDES.
    seed : int
        Of frames, weights and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.

    Returns
    -------
    EquivariantTransformer
        The trained model, shared by the claims on that arm.
    """
    settings = {name: settings[name] for name in DECIDES}

    def train(folder: Path | None) -> FitResult:
        torch.manual_seed(seed)
        model = scdlab.EquivariantTransformer(
            settings["hidden_channels"],
            settings["num_layers"],
            settings["num_heads"],
            settings["num_rbf"],
            force_input=True,
        )
        few, val, _ = frames({**settings, "n_test": 1}, seed)
        return trained_as_set(
            model,
            objective_of(arm, settings),
            few,
            settings,
            seed,
            device,
            val=val,
            out=folder,
            resume=folder is not None,
        )

    return keep(f"dens-{arm}", settings, seed, train)


def errors(arms: Sequence[str]) -> Recipe:
    """The recipe of a claim on some arms: errors of forces, then of energies.

    Parameters
    ----------
    arms : sequence of str
        Some of WORDS.

    Returns
    -------
    callable (settings, seed, device) -> dict
        The recipe.
    """

    def recipe(settings: Settings, seed: int, device: str) -> Values:
        test = frames(settings, seed)[2]
        found = {}
        for arm in arms:
            found[arm] = scdlab.evaluate(learned(arm, settings, seed, device), test, EnergyForces())
        values = {f"force_mae_{arm}_meV_per_A": 1e3 * e["force_mae"] for arm, e in found.items()}
        return values | {f"energy_mae_{arm}_meV": 1e3 * e["energy_mae"] for arm, e in found.items()}

    return recipe


def judge(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    better, worse = list(values)[:2]
    return graded(direction(values[better], values[worse]), settings["steps"] >= 100_000)


WORDS = {
    "plain": "energies and forces alone",
    "dens": "DeNS",
    "full": "DeNS, whole structures corrupted",
    "untold": "DeNS without a force input",
    "shuffled": "DeNS with another atom's force as input",
}
RULE = (
    "Train on energies and forces of n_train frames with the same steps; compare the force errors "
    "of the two arms on unseen frames, without noise."
    + SEEN
    + "With the paper's direction: reproduced when training took at least 100,000 steps, as in "
    "the paper, else same direction. With the opposite one: contradicted after so many steps, "
    "else not seen at this scale."
)


def _claim(
    id: str,
    title: str,
    paper: str,
    arms: tuple[str, str],
    source: str = f"{PAPER}, MD17",
    paper_values: dict[str, str] | None = None,
    **settings: Any,
) -> Claim:
    """Register a claim that compares the errors of two arms; settings: those that differ."""
    quantities = {f"force_mae_{arm}_meV_per_A": f"force error, {WORDS[arm]}" for arm in arms}
    quantities |= {f"energy_mae_{arm}_meV": f"energy error, {WORDS[arm]}" for arm in arms}
    profiles = {
        "quick": QUICK,
        "cpu": {**CPU, **settings},
        "full": {**FULL, **settings, "steps": FULL["steps"]},
    }
    return register(
        Claim(
            id=id,
            lesson=3,
            title=title,
            source=source,
            paper=paper,
            quantities=quantities,
            paper_values=paper_values or {},
            rule=RULE,
            judge=judge,
            recipe=errors(arms),
            profiles=profiles,
        )
    )


_claim(
    "dens-ethanol-forces",
    "Denoising beside the labels makes forces better (ethanol).",
    "MD17 ethanol, Equiformer (L = 2): 3.1 meV/Å, with DeNS 2.6",
    ("dens", "plain"),
    paper_values={
        "force_mae_dens_meV_per_A": "2.6 (MD17)",
        "force_mae_plain_meV_per_A": "3.1 (MD17)",
    },
)
_claim(
    "dens-partial",
    "Corrupting a share of the atoms is better than corrupting all of them.",
    "partial corruption beats full corruption",
    ("dens", "full"),
)
_claim(
    "dens-force-encoding",
    "Without the force input the gain is lost.",
    "without force encoding the gain vanishes",
    ("dens", "untold"),
)
_claim(
    "dens-shuffled-forces",
    "The forces make the gain: with another atom's force as input there is none (our control).",
    "not tested in the paper; expected, if the clue works as it says",
    ("dens", "shuffled"),
    source="our control",
)


def noise_left(settings: Settings, seed: int, device: str) -> Values:
    """Share of the noise that each arm leaves on unseen frames, and what the force input is worth
    to the same network."""
    test = frames(settings, seed)[2]
    values = {}
    for name, arm, encoding in (
        ("told", "dens", "true"),
        ("untold", "untold", "none"),
        ("kept_back", "dens", "none"),
        ("wrong", "dens", "shuffled"),
        ("shuffled", "shuffled", "shuffled"),
    ):
        share = {name: settings[name] for name in ("corrupt_ratio", "sigma")}
        objective = DeNS(prob=1.0, force_encoding=encoding, **share)
        found = scdlab.evaluate(learned(arm, settings, seed, device), test, objective)
        values[f"noise_left_{name}_percent"] = 100 * found["noise_unexplained"]
    return {name: values[name] for name in get("dens-clue").quantities}


def judge_noise_left(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = direction(values["noise_left_told_percent"], values["noise_left_untold_percent"])
    if seen == "paper":
        pinned = np.all(
            values["noise_left_told_percent"] < 0.5 * values["noise_left_untold_percent"]
        )
        return "reproduced" if pinned else "same direction"
    return "contradicted" if seen == "opposite" else "tie"


register(
    Claim(
        id="dens-clue",
        lesson=3,
        title="Off equilibrium the noise is ambiguous; the forces identify the clean structure.",
        source=f"{PAPER}, its argument for encoding forces",
        paper="in words: without forces the problem is ill-posed, with them it is not",
        quantities={
            "noise_left_told_percent": "noise left, with the force input, %",
            "noise_left_untold_percent": "noise left, another network without a force input, %",
            "noise_left_kept_back_percent": "noise left, the first network, no force input, %",
            "noise_left_wrong_percent": (
                "noise left, the first network, other atoms' forces as input, %"
            ),
            "noise_left_shuffled_percent": (
                "noise left, a network trained and tested with other atoms' forces as input, %"
            ),
        },
        rule=(
            "The networks of the other claims. On unseen frames, with a share `corrupt_ratio` of "
            "the atoms of every frame corrupted, compare the mean squared error of the noise, as a "
            "share of that of the blind answer, of the network that is told the forces and of the "
            "one that never was."
        )
        + SEEN
        + "With the paper's direction: reproduced when, in every seed, less than half as much is "
        "left with the clue as without, else same direction. With the opposite direction: "
        "contradicted.",
        judge=judge_noise_left,
        recipe=noise_left,
        profiles={"quick": QUICK, "cpu": CPU, "full": FULL},
    )
)
_claim(
    "dens-few-frames",
    "The fewer the frames, the more denoising beside the labels is worth (our question).",
    "not tested in the paper",
    ("dens", "plain"),
    source="our question",
    n_train=100,
    steps=1000,
)
