"""Lesson 02: pretraining DimeNet by denoising pairwise distances, and how the claim is tested here.

See `denoising` for the source and for what the claims of the lesson share.
"""

from pathlib import Path

import numpy as np
import torch

import scdlab
from scdlab.atoms import AtomStore
from scdlab.nn.model import Model
from scdlab.objectives import PairwiseDenoising, PropertyRegression
from scdlab.training import FitResult

from .claim import Arrays, Claim, Precondition, Settings, Values, get, register
from .common import SEEN, UNSEEN, all_molecules, draw, molecules, trained, trained_as_set
from .denoising import FULL, NIGHT, QUICK
from .directions import direction, graded
from .kept import keep

# What decides the pretrained network; a noise of variance 0.02 Å², as published.
PAIRWISE = (
    "data",
    "n_pretrain",
    "hidden_channels",
    "num_layers",
    "int_emb_size",
    "out_emb_channels",
    "num_spherical",
    "sigma",
    "pretrain_steps",
    "pretrain_batch",
    "pretrain_lr",
)
DIMENET = {"int_emb_size": 32, "out_emb_channels": 64, "num_spherical": 5, "sigma": 0.14}


def pairwise_mu(settings: Settings, seed: int, device: str) -> Values:
    """The dipole moment from few labels: from scratch, and after denoising distances without and
    with a leak."""
    rest, sample = molecules(settings, seed)
    few, _, test = sample.split(settings["n_labels"], 0, seed=seed)
    test = draw(test, settings["n_test"], seed)
    mu = PropertyRegression("mu")
    clean = pairwise(settings, seed, device, rest)
    left = scdlab.evaluate(clean, test, PairwiseDenoising(settings["sigma"]))
    values = {
        "distance_mae_clean_A": left["distance_mae"],
        "distance_mae_noisy_A": left["blind_mae"],
    }
    for name, model in (
        ("clean", clean),
        ("scratch", _dimenet(settings, seed)),
        ("leaky", pairwise(settings, seed, device, rest, test)),
    ):
        trained_as_set(model, mu, few, settings, seed, device)
        values[f"mu_mae_{name}_D"] = scdlab.evaluate(model, test, mu)["mu_mae"]
    guess = np.median(few.property("mu"))
    values["mu_mae_guess_D"] = float(np.abs(test.property("mu") - guess).mean())
    return {name: values[name] for name in get("dimenet-pairwise-mu").quantities}


def pairwise(
    settings: Settings, seed: int, device: str, rest: AtomStore, test: AtomStore | None = None
) -> Model:
    """DimeNet after denoising distances of this seed's molecules.

    Parameters
    ----------
    settings : dict
        With those named in PAIRWISE.
    seed : int
        Of weights and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    rest : AtomStore
        Molecules to pretrain on.
    test : AtomStore, optional
        Molecules that replace as many of them, for a pretraining that leaks.

    Returns
    -------
    DimeNet
        The pretrained model.
    """
    decides = {name: settings[name] for name in PAIRWISE} | {
        "leaked": 0 if test is None else len(test)
    }
    if test is not None:
        rest = all_molecules(settings).subset(np.concatenate([rest.index[len(test) :], test.index]))

    def train(folder: Path | None) -> FitResult:
        steps, batch, lr = (settings[f"pretrain_{name}"] for name in ("steps", "batch", "lr"))
        return trained(
            _dimenet(settings, seed),
            PairwiseDenoising(settings["sigma"]),
            rest,
            steps,
            batch,
            lr,
            seed,
            device,
            out=folder,
            resume=folder is not None,
        )

    return keep(
        "dimenet-pairwise" if test is None else "dimenet-pairwise-leaky", decides, seed, train
    )


def _dimenet(settings: Settings, seed: int) -> Model:
    torch.manual_seed(seed)
    sizes = ("hidden_channels", "num_layers", "int_emb_size", "out_emb_channels", "num_spherical")
    return scdlab.DimeNet(**{name: settings[name] for name in sizes})


def learned_mu(values: Arrays, settings: Settings) -> bool:
    """Whether both arms halve the error of the median of the labels, in every seed."""
    guess = values["mu_mae_guess_D"]
    arms = ("mu_mae_clean_D", "mu_mae_scratch_D")
    return all(bool(np.all(values[arm] < 0.5 * guess)) for arm in arms)


def judge_pairwise_mu(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = direction(values["mu_mae_clean_D"], values["mu_mae_scratch_D"])
    return graded(seen, settings["n_labels"] >= 100_000)


register(
    Claim(
        id="dimenet-pairwise-mu",
        lesson=2,
        title="Denoising pairwise distances first makes DimeNet better at the dipole moment.",
        source=(
            "a blog post on DimeNet and QM9, the README of its code: one target, one fold, one run"
        ),
        paper=(
            "QM9: 0.0285 D without, 0.0261 D with pretraining on all of QM9's geometries, those of "
            "the test too, by distances over the whole batch"
        ),
        quantities={
            "mu_mae_clean_D": "error of the dipole moment, pretrained without the test molecules",
            "mu_mae_scratch_D": "error of the dipole moment, from scratch",
            "mu_mae_leaky_D": "error of the dipole moment, pretrained on the test geometries too",
            "mu_mae_guess_D": "error of the median of the labels",
            "distance_mae_clean_A": "error of distances after denoising, the test molecules",
            "distance_mae_noisy_A": "error of distances before it",
        },
        paper_values={"mu_mae_scratch_D": "0.0285", "mu_mae_leaky_D": "0.0261"},
        rule=(
            "Compare the test errors with pretraining that saw no test molecule and from scratch, "
            "both trained on the labels for the same number of steps; distances are those within "
            "each molecule."
            + SEEN
            + "With the blog's direction: reproduced with at least 100,000 labels, as there, "
            "else same direction. With the opposite one: contradicted with so many labels, "
            "else not seen at this scale. The leaky arm, in which the test geometries replace "
            "as many others in pretraining, is reported and not judged."
        ),
        judge=judge_pairwise_mu,
        recipe=pairwise_mu,
        profiles={
            "quick": QUICK
            | DIMENET
            | {"n_labels": 200, "n_test": 16, "steps": 5, "batch_size": 8, "lr": 1e-3},
            "night": NIGHT
            | DIMENET
            | {
                "hidden_channels": 48,
                "num_layers": 2,
                "n_pretrain": 10_000,
                "pretrain_steps": 4000,
                "pretrain_batch": 16,
                "pretrain_lr": 1e-3,
            }
            | {"n_labels": 2000, "n_test": 1000, "steps": 2500, "batch_size": 16, "lr": 3e-3},
            "full": FULL
            | DIMENET
            | {
                "hidden_channels": 128,
                "num_layers": 4,
                "int_emb_size": 64,
                "out_emb_channels": 256,
                "num_spherical": 7,
                "pretrain_steps": 20_000,
            }
            | {"n_labels": 4000, "n_test": 1000, "steps": 20_000, "batch_size": 32, "lr": 1e-3},
        },
        precondition=Precondition(
            "In every seed the errors with pretraining and from scratch are below half that of "
            "the median of the labels.",
            learned_mu,
        ),
        hours={"night": 1.0},
        worth=45,
        checkpoint_tests={"dimenet-pairwise": {"test_distance_mae_A": "distance_mae_clean_A"}},
        checkpoints={"dimenet-pairwise": f"Geometries of n_pretrain molecules of QM9, {UNSEEN}"},
    )
)
