"""Lesson 04: what is claimed for self-conditioned denoising (SCD), and how each claim is tested
here.

    the paper on self-conditioned denoising, arXiv:2603.17196 ("SCD"), its tables and its released
    code

The network is the conditional transformer (CT) for SCD and for plain coordinate denoising (Coord)
alike. Coord gives it no condition: every structure gets the mask token. A step of SCD runs the
network twice, so there are two fair budgets, and both are measured: *equal passes*, Coord takes
twice as many steps, and *equal updates*, it takes as many. The paper's own table compares something
else, ET after Coord with CT after SCD; that contrast, at equal updates, is measured beside ours.
The same parameters are frozen in either pretraining. From there on all arms are treated alike: same
labels, steps, batches, learning rate and regularizers; one pass, no condition.

*Is the mechanism on?* The gain of the condition, 1 - own/none, is the share by which the network's
own embedding of the clean structure lowers the noise that is left on structures no training has
seen, against the mask token. Claims on what SCD is worth elsewhere are tested only where it is 2 %
or more on the pretraining domain (`mechanism_on` of `self_conditioned_rules`); a network that makes
nothing of its condition is Coord with half the updates.

Pretrained networks are one per seed, method and domain, and claims share them (`keep`). As in
lesson 02, the molecules of `data/qm9-sample` are in no pretraining set. Labels of QM9 are those of
molecules that pretraining may have seen, without labels, as in the paper. The first two quantities
of a claim are its arms, as expected: better, worse.
"""

import copy
from pathlib import Path
from typing import Any

import torch

import scdlab
from scdlab.atoms import AtomStore
from scdlab.nn import EquivariantTransformer
from scdlab.nn.model import Model
from scdlab.objectives import CoordinateDenoising, Objective, SelfConditionedDenoising
from scdlab.training import FitResult

from .claim import Settings, Values
from .common import molecules, trained
from .kept import keep
from .self_conditioned_frames import mixed_frames

PAPER = "the SCD paper (arXiv:2603.17196)"
METHODS = ("scd", "coord", "updates", "scratch")
"""SCD; Coord with as many passes of the network; Coord with as many updates; no pretraining."""
WORDS = {
    "scd": "SCD",
    "coord": "Coord, equal passes",
    "updates": "Coord, equal updates",
    "scratch": "from scratch",
}
DOMAINS = ("qm9", "frames")
BODY = (
    "hidden_channels",
    "num_layers",
    "num_rbf",
    "sigma",
    "pretrain_batch",
    "pretrain_lr",
    "pretrain_clip",
    "pretrain_drop_path",
)
PRETRAIN = {
    "qm9": (*BODY, "data", "n_pretrain", "pretrain_steps"),
    "frames": (*BODY, "frames_steps"),
}

QUICK = {
    "seeds": 1,
    "data": "sample",
    "n_pretrain": 1000,
    "hidden_channels": 16,
    "num_layers": 2,
    "num_rbf": 16,
    "sigma": 0.04,
    "pretrain_steps": 4,
    "frames_steps": 4,
    "pretrain_batch": 8,
    "pretrain_lr": 3e-3,
    "pretrain_clip": 1.0,
    "pretrain_drop_path": 0.0,
    "n_test": 20,
    "n_unseen": 64,
}
CPU = {
    "seeds": 3,
    "data": "qm9",
    "n_pretrain": 100_000,
    "hidden_channels": 64,
    "num_layers": 3,
    "num_rbf": 32,
    "sigma": 0.04,
    "pretrain_steps": 3000,
    "frames_steps": 6000,
    "pretrain_batch": 32,
    "pretrain_lr": 3e-3,
    "pretrain_clip": 1.0,
    "pretrain_drop_path": 0.0,
    "n_test": 2000,
}
SIX = CPU | {"seeds": 6}
"""For SCD against Coord."""
FULL = {
    "seeds": 6,
    "data": "qm9",
    "n_pretrain": 120_000,
    "hidden_channels": 128,
    "num_layers": 6,
    "num_rbf": 50,
    "sigma": 0.04,
    "pretrain_steps": 4000,
    "frames_steps": 10_000,
    "pretrain_batch": 512,
    "pretrain_lr": 1e-3,
    "pretrain_clip": 1.0,
    "pretrain_drop_path": 0.1,
    "n_test": 4000,
}


def objective_of(method: str, settings: Settings) -> SelfConditionedDenoising | CoordinateDenoising:
    """What a method pretrains with; the embeddings of the elements are frozen in either.

    Parameters
    ----------
    method : {"scd", "coord", "updates"}
        The method.
    settings : dict
        With sigma.

    Returns
    -------
    SelfConditionedDenoising or CoordinateDenoising
        The objective.
    """
    cls = SelfConditionedDenoising if method == "scd" else CoordinateDenoising
    return cls(settings["sigma"], freeze_element_embeddings=True)


def budget(method: str, steps: int) -> int:
    """Steps of pretraining: "coord" gets as many passes of the network as SCD, "updates" as many
    steps.

    Parameters
    ----------
    method : {"scd", "coord", "updates"}
        The method.
    steps : int
        The steps of SCD.

    Returns
    -------
    int
        The method's steps.
    """
    return 2 * steps if method == "coord" else steps


def fresh(settings: Settings, seed: int, conditional: bool = True) -> EquivariantTransformer:
    """A new network; the same first weights for every method.

    Parameters
    ----------
    settings : dict
        With hidden_channels, num_layers, num_rbf and pretrain_drop_path.
    seed : int
        Of its first weights.
    conditional : bool, default True
        True for CT, False for ET.

    Returns
    -------
    EquivariantTransformer
        The network.
    """
    torch.manual_seed(seed)
    return EquivariantTransformer(
        settings["hidden_channels"],
        settings["num_layers"],
        num_rbf=settings["num_rbf"],
        conditional=conditional,
        drop_path=settings["pretrain_drop_path"],
    )


def pretrained(
    method: str, settings: Settings, seed: int, device: str, domain: str = "qm9", kind: str = "ct"
) -> Model:
    """The network after a method's pretraining on this seed's structures of a domain.

    Parameters
    ----------
    method : str
        One of METHODS; "scratch": no pretraining.
    settings : dict
        With those named in PRETRAIN.
    seed : int
        Of structures, weights and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    domain : {"qm9", "frames"}, default "qm9"
        Minima of QM9, or frames of several molecules mixed.
    kind : {"ct", "et"}, default "ct"
        The conditional transformer, or the plain one.

    Returns
    -------
    EquivariantTransformer
        The pretrained model, shared by the claims that start from it.
    """
    decides = {name: settings[name] for name in PRETRAIN[domain]}
    model = fresh(decides, seed, kind == "ct")
    if method == "scratch":
        return model

    def train(folder: Path | None) -> FitResult:
        frames = domain == "frames"
        return trained(
            model,
            objective_of(method, decides),
            mixed_frames(seed).train if frames else molecules(decides, seed)[0],
            budget(method, decides["frames_steps" if frames else "pretrain_steps"]),
            decides["pretrain_batch"],
            decides["pretrain_lr"],
            seed,
            device,
            grad_clip=decides["pretrain_clip"],
            out=folder,
            resume=folder is not None,
        )

    name = f"{method}-{kind}" + ("" if domain == "qm9" else f"-{domain}")
    return keep(name, decides, seed, train)


def tuned(
    name: str,
    model: Model,
    objective: Objective,
    store: AtomStore,
    settings: Settings,
    seed: int,
    device: str,
    steps: int,
    **options: Any,
) -> Model:
    """A copy of a model after training on labels, kept so that a night that is cut goes on here.

    Parameters
    ----------
    name : str
        Which arm and which labels.
    model : Model
        Where it starts; stays as it is.
    objective : Objective
        What it learns.
    store : AtomStore
        Labeled structures.
    settings : dict
        With tune_batch and tune_lr; all of them decide what it becomes.
    seed : int
        Of batches and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    steps : int
        Batches to learn from.
    **options
        More arguments of `scdlab.fit`.

    Returns
    -------
    Model
        The trained copy.
    """

    def train(folder: Path | None) -> FitResult:
        return trained(
            copy.deepcopy(model),
            objective,
            store,
            steps,
            settings["tune_batch"],
            settings["tune_lr"],
            seed,
            device,
            out=folder,
            resume=folder is not None,
            **options,
        )

    return keep(name, settings | {"n": len(store), "steps": steps}, seed, train)


def unseen(store: AtomStore, settings: Settings) -> AtomStore:
    """The structures that noise is measured on: all of a store, or `n_unseen` of them.

    Parameters
    ----------
    store : AtomStore
        Structures that no training has seen.
    settings : dict
        With n_unseen where a few are enough, as for the profile "quick".

    Returns
    -------
    AtomStore
        The same ones at every call.
    """
    n = settings.get("n_unseen", len(store))
    return store if n >= len(store) else store.sample(n, seed=0)


def noise_left(
    model: Model, store: AtomStore, settings: Settings, batch_size: int = 64, **options: Any
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


def gain_of(
    model: Model, store: AtomStore, settings: Settings, where: str, other: bool = False
) -> Values:
    """Noise left with the network's own condition and with none, under the same noise.

    Parameters
    ----------
    model : Model
        A conditional network.
    store : AtomStore
        Structures that no training has seen.
    settings : dict
        With sigma, and n_unseen, see `unseen`.
    where : str
        Ends the names.
    other : bool, default False
        Whether the condition of another structure is tried as well.

    Returns
    -------
    dict of str to float
        left_own_*, left_none_*, gain_* = 1 - own/none, and left_other_*.
    """
    store = unseen(store, settings)
    # as many structures in each batch: the other's embedding is that of the next one
    size = 2 * min(16, len(store) // 2)
    store = store[: size * (len(store) // size)]
    given: dict[str, dict[str, Any]] = {
        "own": {"p_drop_condition": 0.0},
        "none": {"p_drop_condition": 1.0},
    }
    if other:
        given["other"] = {"p_drop_condition": 0.0, "condition": "other"}
    left = {name: noise_left(model, store, settings, size, **o) for name, o in given.items()}
    values = {f"left_{name}_{where}": value for name, value in left.items()}
    return values | {f"gain_{where}": 1 - left["own"] / left["none"]}


def gain_in_domain(
    settings: Settings, seed: int, device: str, domain: str, coord: bool = False
) -> Values:
    """What the condition is worth to the network after SCD, on unseen structures of its domain.

    Parameters
    ----------
    settings : dict
        With those named in PRETRAIN, n_test, and n_unseen, see `unseen`.
    seed : int
        Of structures, weights and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    domain : {"qm9", "frames"}
        The domain.
    coord : bool, default False
        Whether Coord, after as many passes, is measured under the same noise.

    Returns
    -------
    dict of str to float
        left_own_*, left_none_* and gain_*, as `gain_of`, and left_coord_*.
    """
    where = {"qm9": "minima", "frames": "mixed"}[domain]
    if domain == "frames":
        store = mixed_frames(seed).test
    else:
        store = molecules(settings, seed)[1].sample(min(1000, settings["n_test"]), seed)
    values = gain_of(pretrained("scd", settings, seed, device, domain), store, settings, where)
    if coord:
        plain = gain_of(pretrained("coord", settings, seed, device, domain), store, settings, where)
        values[f"left_coord_{where}"] = plain[f"left_none_{where}"]
    return values
