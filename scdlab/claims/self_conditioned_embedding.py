"""Lesson 04: what SCD's embedding holds, and what it is worth as a condition; how the claims are
tested here.

See `self_conditioned` for the paper and for what the claims of the lesson share.
"""

from pathlib import Path
from typing import Any

import scdlab
from scdlab import analysis
from scdlab.atoms import AtomStore
from scdlab.nn.model import Model
from scdlab.objectives import SelfConditionedDenoising
from scdlab.training import FitResult

from .claim import Arrays, Claim, Settings, Values, direction, get, register
from .common import SEEN, draw, molecules, trained
from .kept import keep
from .self_conditioned import CPU, FULL, METHODS, PAPER, QUICK, fresh, pretrained

# How much of the size the embedding holds


def extensivity(settings: Settings, seed: int, device: str) -> Values:
    """R² of the atom count and of the HOMO energy from ten neighbors: features averaged over atoms
    of three networks, and the condition that SCD has learned to make."""
    sample = draw(molecules(settings, seed)[1], settings["n_test"], seed)
    size = sample.n_atoms
    homo = sample.property("homo")
    values = {}
    for method in METHODS:
        model = pretrained(method, settings, seed, device)
        for what, pool in (
            ("mean", "mean"),
            *([("condition", "embedding")] if method == "scd" else []),
        ):
            x, _ = analysis.embed(model, sample, n=None, pool=pool)
            values[f"r2_size_{what}_{method}"] = analysis.extensivity(x, size)
            values[f"r2_homo_neighbors_{what}_{method}"] = analysis.smoothness(x, homo)
    return {name: float(values[name]) for name in get("scd-extensivity").quantities}


def judge_extensivity(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = direction(values["r2_size_mean_scd"], values["r2_size_mean_coord"])
    if seen == "paper":
        names = (f"r2_homo_neighbors_mean_{method}" for method in ("scd", "scratch"))
        smooth, untrained = (values[name] for name in names)
        return "reproduced" if direction(1 - smooth, 1 - untrained) == "paper" else "same direction"
    return "not seen at this scale" if seen == "opposite" else "tie"


register(
    Claim(
        id="scd-extensivity",
        lesson=4,
        title=(
            "SCD's embeddings are smooth and less extensive than plain denoising's: the size is "
            "read off them less well."
        ),
        source=f"{PAPER}, maps of the embeddings of 10,000 molecules of QM9 colored by atom count",
        paper=(
            "untrained: clustered by size; Coord: smooth, but extensive; SCD: smooth, less "
            "extensive (pictures, no number)"
        ),
        quantities={
            "r2_size_mean_scd": "R² of the atom count, mean over atoms, SCD",
            "r2_size_mean_coord": "R² of the atom count, mean over atoms, Coord",
            "r2_size_mean_scratch": "R² of the atom count, mean over atoms, untrained",
            "r2_size_condition_scd": "R² of the atom count, SCD's condition",
            "r2_homo_neighbors_mean_scd": (
                "R² of the HOMO energy from 10 neighbors, mean over atoms, SCD"
            ),
            "r2_homo_neighbors_mean_coord": (
                "R² of the HOMO energy from 10 neighbors, mean over atoms, Coord"
            ),
            "r2_homo_neighbors_mean_scratch": (
                "R² of the HOMO energy from 10 neighbors, mean over atoms, untrained"
            ),
            "r2_homo_neighbors_condition_scd": (
                "R² of the HOMO energy from 10 neighbors, SCD's condition"
            ),
        },
        rule=(
            "A linear fit reads the atom count off the mean of the features over atoms, on "
            "molecules left out of the fit; less extensive is a lower R². Compare SCD with Coord."
        )
        + SEEN
        + "With the paper's direction: reproduced when the 10 nearest neighbors also say more "
        "about the HOMO energy after SCD than in the untrained network, in the same sense; "
        "else same direction. With the opposite one: not seen at this scale.",
        judge=judge_extensivity,
        recipe=extensivity,
        profiles={"quick": QUICK | {"n_test": 100}, "cpu": CPU, "full": FULL},
    )
)


# What the condition is worth, near minima and far from them

FRAMES = (
    "hidden_channels",
    "num_layers",
    "num_rbf",
    "sigma",
    "frames_steps",
    "pretrain_batch",
    "pretrain_lr",
)
ARMS = {
    "own": {},
    "stopped": {"stop_gradient": True},
    "other": {"condition": "other"},
    "atoms": {"condition": "atoms"},
}


def on_frames(arm: str, settings: Settings, seed: int, device: str) -> Model:
    """The network after SCD, or one of its ablations, on frames of ethanol, positions only.

    Parameters
    ----------
    arm : str
        One of ARMS.
    settings : dict
        With those named in FRAMES.
    seed : int
        Of frames, weights and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.

    Returns
    -------
    EquivariantTransformer
        The trained model.
    """
    decides = {name: settings[name] for name in FRAMES} | {"arm": arm}

    def train(folder: Path | None) -> FitResult:
        frames, _ = frames_of_ethanol(seed)
        objective = SelfConditionedDenoising(settings["sigma"], **ARMS[arm])
        return trained(
            fresh(settings, seed),
            objective,
            frames,
            settings["frames_steps"],
            settings["pretrain_batch"],
            settings["pretrain_lr"],
            seed,
            device,
            out=folder,
            resume=folder is not None,
        )

    return keep("scd-ct-frames" if arm == "own" else f"scd-ct-frames-{arm}", decides, seed, train)


def frames_of_ethanol(seed: int) -> tuple[AtomStore, AtomStore]:
    """Frames of ethanol at 500 K, disjoint.

    Parameters
    ----------
    seed : int
        Which frames.

    Returns
    -------
    train : AtomStore
        1,500 frames.
    test : AtomStore
        500 frames.
    """
    frames, _, test = scdlab.load_ethanol().split(1500, 0, seed=seed)
    return frames, test


def noise_left(
    model: Model,
    store: AtomStore,
    settings: Settings,
    batch_size: int = 64,
    **options: Any,
) -> float:
    """Share of the noise that a network leaves unexplained.

    Parameters
    ----------
    model : Model
        The network.
    store : AtomStore
        Clean structures.
    settings : dict
        With sigma.
    batch_size : int, default 64
        Structures of a batch.
    **options
        More arguments of `SelfConditionedDenoising`; p_drop_condition=0: every structure has its
        condition, p_drop_condition=1: none has.

    Returns
    -------
    float
        1 for a network that predicts no noise.
    """
    objective = SelfConditionedDenoising(settings["sigma"], **options)
    return scdlab.evaluate(model, store, objective, batch_size=batch_size)["noise_unexplained"]


def condition(settings: Settings, seed: int, device: str) -> Values:
    """Noise left unexplained with the network's own embedding, with none and with another's: on
    minima, on frames."""
    values = {}
    (_, test) = frames_of_ethanol(seed)
    minima = draw(molecules(settings, seed)[1], settings["n_test"], seed)
    stores = {
        "frames": (test, on_frames("own", settings, seed, device)),
        "minima": (minima, pretrained("scd", settings, seed, device)),
    }
    for where, (store, model) in stores.items():
        # as many structures in each batch: the other's embedding is that of the next one
        size = 2 * min(16, len(store) // 2)
        store = store[: size * (len(store) // size)]
        for given, options in (
            ("own", {"p_drop_condition": 0.0}),
            ("none", {"p_drop_condition": 1.0}),
            ("other", {"p_drop_condition": 0.0, "condition": "other"}),
        ):
            values[f"left_{given}_{where}"] = noise_left(model, store, settings, size, **options)
    for arm in ("stopped", "other", "atoms"):
        model = on_frames(arm, settings, seed, device)
        store = test[: 20 * (len(test) // 20)]
        values[f"left_trained_{arm}"] = noise_left(
            model, store, settings, 20, p_drop_condition=0.0, **ARMS[arm]
        )
    return {name: float(values[name]) for name in get("scd-condition").quantities}


def judge_condition(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = direction(values["left_own_frames"], values["left_none_frames"])
    if seen == "paper":
        control = direction(values["left_own_frames"], values["left_trained_other"])
        return "reproduced" if control == "paper" else "same direction"
    return "contradicted" if seen == "opposite" else "tie"


register(
    Claim(
        id="scd-condition",
        lesson=4,
        title=(
            "Off equilibrium denoising is ambiguous, and the network's own embedding of the clean "
            "structure helps as a condition."
        ),
        source=f"{PAPER}, the third shortcoming of plain denoising, and its answer",
        paper="argued; no number given",
        quantities={
            "left_own_frames": "noise left on frames at 500 K, own embedding as condition",
            "left_none_frames": "noise left on frames, no condition",
            "left_other_frames": "noise left on frames, another frame's embedding as condition",
            "left_own_minima": "noise left on minima (QM9), own embedding as condition",
            "left_none_minima": "noise left on minima, no condition",
            "left_other_minima": "noise left on minima, another molecule's embedding as condition",
            "left_trained_stopped": (
                "noise left on frames, trained with the gradient stopped at the condition"
            ),
            "left_trained_other": "noise left on frames, trained with another frame's embedding",
            "left_trained_atoms": (
                "noise left on frames, trained without the bottleneck: a condition for every atom"
            ),
        },
        rule=(
            "Train SCD on frames of ethanol at 500 K, positions only. On unseen frames compare the "
            "noise left unexplained when the network is told its own embedding of the clean frame "
            "and when it is told nothing."
        )
        + SEEN
        + "With the expected direction: reproduced when SCD's own embedding also leaves less "
        "than a network trained and told with another frame's embedding, in the same sense; "
        "else same direction. With the opposite one: contradicted, since the network may "
        "ignore what it is told. All else is reported and not judged.",
        judge=judge_condition,
        recipe=condition,
        profiles={
            "quick": QUICK | {"frames_steps": 4},
            "cpu": CPU | {"n_test": 2000, "frames_steps": 2000},
            "full": FULL | {"n_test": 4000, "frames_steps": 20_000},
        },
        checkpoints={
            "scd-ct-frames": (
                "1,500 of the 2,000 frames of data/ethanol, positions only, no labels: those of "
                "scdlab.load_ethanol().split(1500, 0, seed=0)[0]."
            )
        },
    )
)
