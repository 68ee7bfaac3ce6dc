"""Lesson 03: how claims on denoising off equilibrium (DeNS) are measured here.

    Y.-L. Liao, T. Smidt, M. Shuaibi, A. Das, TMLR 2024, arXiv:2403.09549 ("DeNS"), its tables and
    its released code

The network is the equivariant transformer with a force input, for every arm alike: same first
weights, frames, batches, steps, learning rate. The arms differ in the objective alone, or in one
thing that WORDS names. All learn energies and forces; errors are those of structures as they are,
without noise and without force input, on frames that no training has seen.

Arms of a seed share everything random, so that they are compared in pairs: a seed's difference
between two arms is free of what its frames and first weights do to both. Trained networks are one
per seed, arm and settings; the claims share them (`keep`).

This module and `dens_frames` decide every number of these claims; `dens_rules` says how they are
judged, `dens_training`, `dens_ablations` and `dens_direct` what is compared.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import scdlab
from scdlab.atoms import AtomStore
from scdlab.nn.blocks.heads import MAX_Z
from scdlab.nn.model import Model
from scdlab.objectives import DeNS, EnergyForces
from scdlab.training import FitResult

from .claim import Recipe, Settings, Values
from .common import trained_as_set
from .curves import keep_curve
from .dens_frames import force_unit, frames
from .kept import keep

WORDS = {
    "plain": "energies and forces alone",
    "dens": "DeNS",
    "tuned": "DeNS with fewer corruptions, not labeled, chosen on validation frames",
    "full": "DeNS, whole structures corrupted",
    "untold": "DeNS without a force input",
    "shuffled": "DeNS with another atom's force as input",
    "unlabeled": "DeNS, no labels for corrupted structures",
    "zero": "DeNS, force input from weights of zero",
    "force_unit": "DeNS, λ before the spread of the forces",
    "zero_force_unit": "DeNS, weights of zero and λ before the spread of the forces",
}
CHANGED: dict[str, dict[str, Any]] = {  # what an arm's objective has that DeNS has not
    "full": {"corrupt_ratio": 1.0},
    "untold": {"force_encoding": "none"},
    "shuffled": {"force_encoding": "shuffled"},
    "unlabeled": {"labels_of_corrupted": False},
}
FROM_ZERO = ("zero", "zero_force_unit")
IN_FORCE_UNITS = ("force_unit", "zero_force_unit")
UNTOLD = ("plain", "untold")  # arms whose network is given no force
# settings that decide a network: of every arm, of those with noise, of the one that was tuned
DECIDES = (
    *("data", "groups", "held_out_groups", "n_train", "n_val"),
    *("hidden_channels", "num_layers", "num_heads", "num_rbf", "direct_forces"),
    *("energy_weight", "references", "steps", "batch_size", "lr"),
)
OF_NOISE = ("sigma", "prob", "corrupt_ratio", "denoising_weight")
OF_TUNED = tuple(f"tuned_{name}" for name in (*OF_NOISE, "labels_of_corrupted"))


def objective_of(arm: str, settings: Settings, unit: float = 1.0) -> EnergyForces | DeNS:
    """What an arm minimizes: lengths of errors in every term.

    Squares would be ruled by the largest errors, and those are of corrupted structures, whose noise
    is in part unpredictable.

    Parameters
    ----------
    arm : str
        One of WORDS.
    settings : dict
        With energy_weight and, for DeNS, prob, corrupt_ratio, sigma and denoising_weight; perhaps
        references: "zero", for energies that are differences.
    unit : float, default 1.0
        `force_unit` of the training set, for arms that weigh noise by the spread of the forces.

    Returns
    -------
    EnergyForces or DeNS
        The objective.
    """
    # energies above another frame of the same atoms owe nothing to the elements
    zero: dict[str | int, float] | None = None
    if settings.get("references") == "zero":
        zero = dict.fromkeys(range(1, MAX_Z + 1), 0.0)
    labels = EnergyForces(settings["energy_weight"], loss="norm", reference_energies=zero)
    if arm == "plain":
        return labels
    names = OF_TUNED if arm == "tuned" else OF_NOISE
    options = {name.removeprefix("tuned_"): settings[name] for name in names}
    if arm in IN_FORCE_UNITS:
        options["denoising_weight"] *= unit
    return DeNS(**{**options, **CHANGED.get(arm, {})}, supervised=labels)


def network(arm: str, settings: Settings, seed: int) -> Model:
    """The network of an arm before training: that of every arm, but for the force input's weights.

    Parameters
    ----------
    arm : str
        One of WORDS.
    settings : dict
        With hidden_channels, num_layers, num_heads, num_rbf and direct_forces.
    seed : int
        Of the weights.

    Returns
    -------
    EquivariantTransformer
        The model.
    """
    torch.manual_seed(seed)
    model = scdlab.EquivariantTransformer(
        settings["hidden_channels"],
        settings["num_layers"],
        settings["num_heads"],
        settings["num_rbf"],
        force_input=True,
        direct_forces=settings["direct_forces"],
    )
    if arm in FROM_ZERO:
        assert model.force_encoding is not None
        with torch.no_grad():
            for weight in model.force_encoding.weights:
                weight.zero_()
    return model


def learned(arm: str, settings: Settings, seed: int, device: str) -> Model:
    """The network of an arm after training.

    Parameters
    ----------
    arm : str
        One of WORDS.
    settings : dict
        With those named in DECIDES, OF_NOISE (but for the plain arm) and, for the tuned arm,
        OF_TUNED.
    seed : int
        Of frames, weights and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.

    Returns
    -------
    EquivariantTransformer
        The trained model, shared by the claims on that arm.
    """
    noise = {"plain": (), "tuned": OF_TUNED}.get(arm, OF_NOISE)
    settings = {name: settings[name] for name in (*DECIDES, *noise) if name in settings}

    def train(folder: Path | None) -> FitResult:
        few, val, _ = frames({**settings, "n_test": 1}, seed)
        unit = force_unit(few) if arm in IN_FORCE_UNITS else 1.0
        result = trained_as_set(
            network(arm, settings, seed),
            objective_of(arm, settings, unit),
            few,
            settings,
            seed,
            device,
            val=val,
            val_every=max(1, settings["steps"] // 25),
            out=folder,
            resume=folder is not None,
        )
        keep_curve(folder, result, arm, WORDS[arm], told=arm not in UNTOLD)
        return result

    return keep(f"dens-{arm}", settings, seed, train)


def noise_left(model: Model, arm: str, settings: Settings, test: AtomStore, encoding: str) -> float:
    """The share of the noise that a network leaves, %, a share of the atoms of every structure
    corrupted as in its training.

    Parameters
    ----------
    model : Model
        The network.
    arm : str
        The arm that it was trained in.
    settings : dict
        Of the recipe.
    test : AtomStore
        Structures it has not seen.
    encoding : {"true", "none", "shuffled"}
        The force input.

    Returns
    -------
    float
        The mean squared error of the noise, as a share of that of the blind answer.
    """
    prefix = "tuned_" if arm == "tuned" else ""
    size = {name: settings[prefix + name] for name in ("corrupt_ratio", "sigma")}
    objective = DeNS(prob=1.0, force_encoding=encoding, **size)
    return 100 * scdlab.evaluate(model, test, objective)["noise_unexplained"]


def measured(arms: Sequence[str]) -> Recipe:
    """The recipe of a claim on some arms, of which the first is compared with the second.

    Parameters
    ----------
    arms : sequence of str
        Some of WORDS, "plain" among them; the first is an arm that is told the forces.

    Returns
    -------
    callable (settings, seed, device) -> dict
        The recipe; it gives what `quantities` lists.
    """

    def recipe(settings: Settings, seed: int, device: str) -> Values:
        train, _, test = frames(settings, seed)
        models = {arm: learned(arm, settings, seed, device) for arm in arms}
        found = {arm: scdlab.evaluate(model, test, EnergyForces()) for arm, model in models.items()}
        values = {f"force_mae_{arm}_meV_per_A": 1e3 * e["force_mae"] for arm, e in found.items()}
        better, worse = arms[:2]
        values["gain_percent"] = 100 * (1 - found[better]["force_mae"] / found[worse]["force_mae"])
        values |= {f"energy_mae_{arm}_meV": 1e3 * e["energy_mae"] for arm, e in found.items()}
        seen = scdlab.evaluate(models["plain"], train, EnergyForces())
        values["train_force_mae_plain_meV_per_A"] = 1e3 * seen["force_mae"]
        for name, encoding in (("told", "true"), ("kept_back", "none")):
            left = noise_left(models[better], better, settings, test, encoding)
            values[f"noise_left_{name}_percent"] = left
        if "untold" in arms:
            left = noise_left(models["untold"], "untold", settings, test, "none")
            values["noise_left_untold_percent"] = left
        return values

    return recipe


def clue(settings: Settings, seed: int, device: str) -> Values:
    """Share of the noise that each arm leaves on unseen frames, and what the force input is worth
    to the same network.

    Parameters
    ----------
    settings : dict
        As `learned` and `dens_frames.frames` take them.
    seed : int
        The seed.
    device : {"auto", "cpu", "cuda"}
        Where to train.

    Returns
    -------
    dict of str to float
        What the claim "dens-clue" asks for.
    """
    test = frames(settings, seed)[2]
    values = {}
    for name, arm, encoding in (
        ("told", "dens", "true"),
        ("untold", "untold", "none"),
        ("kept_back", "dens", "none"),
        ("wrong", "dens", "shuffled"),
        ("shuffled", "shuffled", "shuffled"),
    ):
        model = learned(arm, settings, seed, device)
        left = noise_left(model, arm, settings, test, encoding)
        values[f"noise_left_{name}_percent"] = left
    return values
