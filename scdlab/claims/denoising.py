"""Lesson 02: what is claimed for pretraining by denoising, and how each claim is tested here.

    S. Zaidi et al., Pre-training via denoising for molecular property prediction, ICLR 2023,
    arXiv:2206.00133 ("Coord"); the paper on self-conditioned denoising ("SCD"), which measures
    Coord again and maps its embeddings; a blog post that pretrains DimeNet by denoising pairwise
    distances of QM9.

No molecule of the kit's QM9 sample (`data/qm9-sample`, 5,000 of them) is ever in a pretraining set,
unless the recipe is "leaky". Labels, tests and relaxed geometries all come from that sample, so
nothing here was seen before. Arms differ in one thing: same network and first weights, batch size,
learning rate and number of steps. Each seed draws its own molecules, weights and noise. The first
two quantities of a claim are its arms, as expected: better, worse.

The pretrained transformer is one per seed, and the three claims that start from it share it
(`keep`); as in every pretraining, the embeddings of the elements stay as they were.
"""

from pathlib import Path

import numpy as np
import torch

import scdlab
from scdlab.atoms import AtomStore
from scdlab.nn import EquivariantTransformer
from scdlab.nn.model import Model
from scdlab.objectives import CoordinateDenoising, PropertyRegression
from scdlab.objectives.noise import noise_floor, sample_noise
from scdlab.training import FitResult

from .claim import Arrays, Claim, Precondition, Settings, Values, register
from .common import SEEN, draw, molecules, trained, trained_as_set
from .directions import direction
from .kept import keep

COORD_PAPER = "Zaidi et al., ICLR 2023 (arXiv:2206.00133)"
SCD_PAPER = "the SCD paper"
# What decides the pretrained transformer; the same in every claim, so that they share it.
COORD = (
    "data",
    "n_pretrain",
    "hidden_channels",
    "num_layers",
    "num_rbf",
    "sigma",
    "pretrain_steps",
    "pretrain_batch",
    "pretrain_lr",
)
QUICK = {
    "seeds": 1,
    "data": "sample",
    "n_pretrain": 1000,
    "hidden_channels": 16,
    "num_layers": 2,
    "num_rbf": 16,
    "sigma": 0.04,
    "pretrain_steps": 10,
    "pretrain_batch": 8,
    "pretrain_lr": 3e-3,
}
CPU = {
    "seeds": 3,
    "data": "qm9",
    "n_pretrain": 100_000,
    "hidden_channels": 64,
    "num_layers": 3,
    "num_rbf": 32,
    "sigma": 0.04,
    "pretrain_steps": 4000,
    "pretrain_batch": 16,
    "pretrain_lr": 3e-3,
}
NIGHT = CPU | {"pretrain_steps": 12_000, "pretrain_batch": 32}
FULL = {
    "seeds": 3,
    "data": "qm9",
    "n_pretrain": 120_000,
    "hidden_channels": 128,
    "num_layers": 6,
    "num_rbf": 50,
    "sigma": 0.04,
    "pretrain_steps": 50_000,
    "pretrain_batch": 64,
    "pretrain_lr": 1e-3,
}


def coord(settings: Settings, seed: int, device: str) -> Model:
    """The transformer after coordinate denoising of this seed's equilibrium geometries.

    Parameters
    ----------
    settings : dict
        With those named in COORD.
    seed : int
        Of molecules, weights and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.

    Returns
    -------
    EquivariantTransformer
        The pretrained model, shared by the claims that start from it.
    """
    settings = {name: settings[name] for name in COORD}

    def train(folder: Path | None) -> FitResult:
        rest, _ = molecules(settings, seed)
        steps, batch, lr = (settings[f"pretrain_{name}"] for name in ("steps", "batch", "lr"))
        return trained(
            transformer(settings, seed),
            CoordinateDenoising(settings["sigma"]),
            rest,
            steps,
            batch,
            lr,
            seed,
            device,
            out=folder,
            resume=folder is not None,
        )

    return keep("coord-et", settings, seed, train)


def transformer(settings: Settings, seed: int) -> EquivariantTransformer:
    """A fresh network.

    Parameters
    ----------
    settings : dict
        With hidden_channels, num_layers and num_rbf.
    seed : int
        Of its first weights.

    Returns
    -------
    EquivariantTransformer
        The network.
    """
    torch.manual_seed(seed)
    return EquivariantTransformer(
        settings["hidden_channels"], settings["num_layers"], num_rbf=settings["num_rbf"]
    )


# Coordinate denoising, then few labels

BESIDE = {"sigma_beside": 0.005, "weight_beside": 0.1}


def few_labels_homo(settings: Settings, seed: int, device: str) -> Values:
    """HOMO energies of few molecules, learned from the pretrained weights and from scratch, with a
    little denoising beside them."""
    few, val, test = molecules(settings, seed)[1].split(
        settings["n_labels"], settings["n_val"], seed=seed
    )
    test = draw(test, settings["n_test"], seed)
    homo = PropertyRegression("homo")
    beside = CoordinateDenoising(
        settings["sigma_beside"], supervised=homo, weight=settings["weight_beside"]
    )
    values = {}
    steps = settings["steps"]
    longer = settings["longer"] * settings["steps"]
    for name, model, n in (
        ("coord", coord(settings, seed, device), steps),
        ("scratch", transformer(settings, seed), steps),
        ("scratch_longer", transformer(settings, seed), longer),
    ):
        trained_as_set(model, beside, few, settings, seed, device, steps=n, val=val)
        values[f"homo_mae_{name}_meV"] = 1e3 * scdlab.evaluate(model, test, homo)["homo_mae"]
    guess = np.median(few.property("homo"))
    return values | {
        "homo_mae_guess_meV": 1e3 * float(np.abs(test.property("homo") - guess).mean())
    }


def learned_homo(values: Arrays, settings: Settings) -> bool:
    """Whether both arms halve the error of the median of the labels, in every seed."""
    guess = values["homo_mae_guess_meV"]
    arms = ("homo_mae_coord_meV", "homo_mae_scratch_meV")
    return all(bool(np.all(values[arm] < 0.5 * guess)) for arm in arms)


def judge_few_labels_homo(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = direction(values["homo_mae_coord_meV"], values["homo_mae_scratch_meV"])
    as_in_the_paper = settings["n_labels"] >= 100_000
    if seen == "paper":
        better = np.all(values["homo_mae_coord_meV"] < values["homo_mae_scratch_longer_meV"])
        return "reproduced" if as_in_the_paper and better else "same direction"
    if seen == "opposite":
        return "contradicted" if as_in_the_paper else "not seen at this scale"
    return "tie"


register(
    Claim(
        id="coord-few-labels-homo",
        lesson=2,
        title=(
            "Denoising coordinates of unlabeled molecules first makes few labels of the HOMO "
            "energy go further."
        ),
        source=(
            f"{COORD_PAPER}; the numbers are of {SCD_PAPER}'s table of QM9 (transformer, the same "
            "pretraining set)"
        ),
        paper=(
            "QM9, 110,000 labels: 20.3 meV from scratch, 17.7 meV after Coord on 3.4 million "
            "molecules; the README of Coord's own code gives 15.5 meV for it"
        ),
        quantities={
            "homo_mae_coord_meV": "HOMO error, pretrained",
            "homo_mae_scratch_meV": "HOMO error, from scratch, as many steps",
            "homo_mae_scratch_longer_meV": "HOMO error, from scratch, several times as many steps",
            "homo_mae_guess_meV": "HOMO error of the median of the labels",
        },
        paper_values={
            "homo_mae_coord_meV": "17.7 (110,000 labels)",
            "homo_mae_scratch_meV": "20.3 (110,000 labels)",
        },
        rule=(
            "Compare the test errors with pretraining and from scratch, both trained on the labels "
            "for the same number of steps, with denoising at 0.005 Å beside it (weight 0.1), the "
            "weights of the lowest error on further labels kept. This protocol was chosen by "
            "trials with seed 0, which is not among the seeds measured."
            + SEEN
            + "With the paper's direction: reproduced when there are at least 100,000 labels, as "
            "in the paper, and in every seed pretraining also beats the longer training from "
            "scratch; else same direction. With the opposite one: contradicted with so many "
            "labels, else not seen at this scale."
        ),
        judge=judge_few_labels_homo,
        recipe=few_labels_homo,
        profiles={
            "quick": QUICK
            | BESIDE
            | {
                "n_labels": 200,
                "n_val": 16,
                "n_test": 16,
                "steps": 5,
                "batch_size": 8,
                "lr": 1e-3,
                "longer": 2,
            },
            "night": NIGHT
            | BESIDE
            | {
                "seeds": [1, 2, 3],
                "n_labels": 1000,
                "n_val": 200,
                "n_test": 3800,
                "steps": 1000,
                "batch_size": 32,
                "lr": 1e-3,
                "longer": 2,
            },
            "full": FULL
            | BESIDE
            | {
                "seeds": [1, 2, 3],
                "n_labels": 1000,
                "n_val": 200,
                "n_test": 3800,
                "steps": 10_000,
                "batch_size": 32,
                "lr": 5e-4,
                "longer": 3,
            },
        },
        precondition=Precondition(
            "In every seed the errors with pretraining and from scratch are below half that of "
            "the median of the labels.",
            learned_homo,
        ),
        hours={"night": 0.9},
        worth=50,
    )
)


# The floor of 1/N


def floor_of_noise(settings: Settings, seed: int, device: str) -> Values:
    """Noise with its mean over each molecule and without, learned and tested: loss per component,
    in units of σ²."""
    rest, sample = molecules(settings, seed)
    sample = sample[np.argsort(sample.n_atoms, kind="stable")]
    n = min(settings["n_test"], len(sample) // 2)
    groups = {"small": sample[:n], "large": sample[-n:]}
    values = {}
    losses = {}
    for name, centered in (("centered", True), ("uncentered", False)):
        model = transformer(settings, seed)
        objective = CoordinateDenoising(settings["sigma"], centered=centered)
        trained_as_set(model, objective, rest, settings, seed, device)
        losses[name] = {
            size: noise_losses(model, store, objective, seed) for size, store in groups.items()
        }
        values[f"noise_mse_{name}"] = float(
            np.mean([losses[name][size][:, 0].mean() for size in groups])
        )
    for size, store in groups.items():
        values[f"gap_{size}"] = float(
            (losses["uncentered"][size][:, 0] - losses["centered"][size][:, 0]).mean()
        )
        values[f"mean_mse_{size}"] = float(losses["uncentered"][size][:, 1].mean())
        values[f"floor_{size}"] = float(np.mean([noise_floor(float(n)) for n in store.n_atoms]))
    return values


def noise_losses(
    model: Model, store: AtomStore, objective: CoordinateDenoising, seed: int
) -> np.ndarray:
    """Denoising losses of single structures, and the part of them that lies in the mean.

    With d_i = ε̂_i - ε_i/σ and d̄ its mean over the N atoms,

        1/3N Σ|d_i|² = 1/3N Σ|d_i - d̄|² + 1/3 |d̄|²

    and the last term is what the network gets wrong about the mean of the noise.

    Parameters
    ----------
    model : Model
        Predicts noise.
    store : AtomStore
        Clean structures, n of them.
    objective : CoordinateDenoising
        Its sigma and whether its noise is centered are used.
    seed : int
        Of the noise.

    Returns
    -------
    ndarray [n, 2]
        Loss and its part in the mean: squared error per component in units of σ².
    """
    rows = []
    device = next(model.parameters()).device
    for first in range(0, len(store), 64):
        batch = store.take(range(first, min(first + 64, len(store)))).to(device)
        generator = torch.Generator(device).manual_seed(1000 * seed + first)
        eps, _ = sample_noise(batch, objective.sigma, generator, centered=objective.centered)
        batch.pos = batch.pos + eps
        with torch.no_grad():
            d = (model(batch, noise=True).noise - eps / objective.sigma).double()  # (N, 3)
        size = batch.ptr.diff().unsqueeze(-1)
        whole, mean = (
            d.new_zeros(len(size), 3).index_add(0, batch.batch, x) / size for x in (d.square(), d)
        )
        rows.append(torch.stack([whole.mean(-1), mean.square().mean(-1)], dim=-1))
    return torch.cat(rows).cpu().numpy()


def judge_floor_of_noise(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = direction(values["noise_mse_centered"], values["noise_mse_uncentered"])
    if seen == "paper":
        ratio = np.concatenate(
            [values[f"mean_mse_{size}"] / values[f"floor_{size}"] for size in ("small", "large")]
        )
        return "reproduced" if np.all((ratio > 0.9) & (ratio < 1.1)) else "same direction"
    return "contradicted" if seen == "opposite" else "tie"


register(
    Claim(
        id="coord-noise-floor",
        lesson=2,
        title=(
            "Noise that is not centered leaves a loss of 1/N per component that no network can "
            "remove."
        ),
        source=(
            "derived: a translation-invariant network cannot see the mean of the noise; the "
            f"released code of {COORD_PAPER} does not center it"
        ),
        paper=(
            "the best loss per component, in units of σ², is 1/N for N atoms, and centering "
            "removes it (derived)"
        ),
        quantities={
            "noise_mse_centered": "denoising loss, centered noise",
            "noise_mse_uncentered": "denoising loss, noise not centered",
            "gap_small": "difference of the two, smallest molecules",
            "mean_mse_small": "loss in the mean of the noise (not centered), smallest molecules",
            "floor_small": "1/N, smallest molecules",
            "gap_large": "difference of the two, largest molecules",
            "mean_mse_large": "loss in the mean of the noise (not centered), largest molecules",
            "floor_large": "1/N, largest molecules",
        },
        rule=(
            "Train two networks, one with centered and one with uncentered noise, and compare "
            "their losses on unseen molecules, as many of the smallest as of the largest."
            + SEEN
            + "With the expected direction: reproduced when in every seed, for small and for "
            "large molecules, the part of the uncentered loss that lies in the mean of the "
            "noise is within 10 % of 1/N; else same direction. With the opposite one: "
            "contradicted, since the floor is derived and holds at any scale."
        ),
        judge=judge_floor_of_noise,
        recipe=floor_of_noise,
        profiles={
            "quick": QUICK | {"n_test": 16, "steps": 10, "batch_size": 8, "lr": 3e-3},
            "cpu": CPU
            | {
                "hidden_channels": 32,
                "num_layers": 2,
                "n_test": 1000,
                "steps": 1200,
                "batch_size": 16,
                "lr": 3e-3,
            },
            "full": FULL | {"n_test": 1000, "steps": 20_000, "batch_size": 64, "lr": 1e-3},
        },
        hours={"cpu": 0.1},
        worth=20,
    )
)
