"""What the recipes of several lessons share: molecules of QM9, a random part, training."""

from typing import Any

import scdlab
from scdlab import files
from scdlab.atoms import AtomStore
from scdlab.nn.model import Model
from scdlab.objectives import Objective
from scdlab.training import FitResult

from .claim import Settings

SEEN = (
    " The direction is seen when every seed shows it and the mean difference exceeds its standard "
    "deviation over seeds; else it is a tie. "
)
SEEN_PAIRED = (
    " Arms are paired by seed: same split, same batches. The direction is seen when the mean of "
    "the n paired differences is further from zero than t(0.975; n - 1) of its standard errors "
    "(Student's t); else it is a tie. "
)
HELD_OUT = 5000  # molecules, those of data/qm9-sample
UNSEEN = (
    "drawn at random with the seed, no labels. Not among them, so unseen: the molecules of "
    "data/qm9-sample, which are scdlab.load_qm9().split(5000, 0, seed=0)[0]."
)


def all_molecules(settings: Settings) -> AtomStore:
    """All molecules that a recipe may use.

    Parameters
    ----------
    settings : dict
        With data: "qm9", or, to try the mechanics anywhere, "sample", the kit's sample of it.

    Returns
    -------
    AtomStore
        QM9 or the sample.

    Raises
    ------
    ValueError
        The recipe needs QM9, and only the sample is here.
    """
    if settings["data"] == "sample":
        return AtomStore.open(files.package_dir("data") / "qm9-sample")
    qm9 = scdlab.load_qm9()
    if len(qm9) <= HELD_OUT:
        raise ValueError(
            "The recipe pretrains on QM9 without the kit's sample, and only that sample is here; "
            "`pip install qm9pack` brings all of QM9."
        )
    return qm9


def molecules(settings: Settings, seed: int) -> tuple[AtomStore, AtomStore]:
    """The molecules of a seed, those to pretrain on and those held out, disjoint.

    Parameters
    ----------
    settings : dict
        With data and n_pretrain, the number of molecules to pretrain on.
    seed : int
        Which of them are drawn.

    Returns
    -------
    pretraining : AtomStore
        This seed's pretraining set.
    held_out : AtomStore
        Those held out from the pretraining sets of all seeds.
    """
    qm9 = all_molecules(settings)
    n_held_out = min(HELD_OUT, len(qm9) // 2)  # of QM9, the kit's sample exactly
    held_out, _, rest = qm9.split(n_held_out, 0, seed=0)
    return draw(rest, settings["n_pretrain"], seed), held_out


def draw(store: AtomStore, n: int, seed: int) -> AtomStore:
    """A random part of a store: neighboring frames of a trajectory are nearly the same.

    Parameters
    ----------
    store : AtomStore
        Where to draw from.
    n : int
        How many structures.
    seed : int
        Which of them.

    Returns
    -------
    AtomStore
        The n structures.
    """
    return store.split(n, 0, seed=seed)[0]


def trained(
    model: Model,
    objective: Objective,
    train: AtomStore,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    device: str,
    **options: Any,
) -> FitResult:
    """Train a model to the end.

    Parameters
    ----------
    model : Model
        The model, trained in place.
    objective : Objective
        What it learns.
    train : AtomStore
        Training structures.
    steps : int
        Batches to learn from.
    batch_size : int
        Structures of a batch.
    lr : float
        Largest learning rate.
    seed : int
        Of batches and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    **options
        More arguments of `scdlab.fit`.

    Returns
    -------
    FitResult
        What `scdlab.fit` returned.

    Raises
    ------
    KeyboardInterrupt
        The training was interrupted: half a training is no measurement.
    """
    options |= {"steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed, "device": device}
    result = scdlab.fit(model, objective, train, progress=False, **options)
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def trained_as_set(
    model: Model,
    objective: Objective,
    train: AtomStore,
    settings: Settings,
    seed: int,
    device: str,
    steps: int | None = None,
    **options: Any,
) -> FitResult:
    """Train a model to the end with the settings' steps, batch_size and lr.

    Parameters
    ----------
    model : Model
        The model, trained in place.
    objective : Objective
        What it learns.
    train : AtomStore
        Training structures.
    settings : dict
        With steps, batch_size and lr.
    seed : int
        Of batches and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    steps : int, optional
        Batches to learn from, if others than the settings'.
    **options
        More arguments of `scdlab.fit`.

    Returns
    -------
    FitResult
        What `scdlab.fit` returned.
    """
    return trained(
        model,
        objective,
        train,
        settings["steps"] if steps is None else steps,
        settings["batch_size"],
        settings["lr"],
        seed,
        device,
        **options,
    )
