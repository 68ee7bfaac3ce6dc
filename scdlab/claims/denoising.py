"""Lesson 02: what is claimed for pretraining by denoising, and how each claim is tested here.

    S. Zaidi et al., Pre-training via denoising for molecular property prediction, ICLR 2023,
    arXiv:2206.00133 ("Coord"); the paper on self-conditioned denoising ("SCD"), which measures
    Coord again and maps its embeddings; a blog post that pretrains DimeNet by denoising pairwise
    distances of QM9.

No molecule of the kit's QM9 sample (`data/qm9-sample`, 5,000 of them) is ever in a pretraining set,
unless the recipe says "leaky". Labels, tests and relaxed geometries all come from that sample, so
nothing here was seen before. Arms differ in one thing: same network and first weights, batch size,
learning rate and number of steps. Each seed draws its own molecules, weights and noise. The first
two quantities of a claim are its arms, as expected: better, worse.

The pretrained transformer is one per seed, and the three claims that start from it share it
(`keep`).
"""

import numpy as np
import torch

import scdlab
from scdlab import files
from scdlab.explore import maps
from scdlab.explore.noise import Reference, cosine, denoise, displacements
from scdlab.objectives import CoordinateDenoising, PairwiseDenoising, PropertyRegression
from scdlab.objectives.coordinate import noise_floor, sample_noise

from .ledger import Claim, direction, get, graded, keep, register

COORD_PAPER = "Zaidi et al., ICLR 2023 (arXiv:2206.00133)"
SCD_PAPER = "the SCD paper"
SEEN = (
    " The direction is seen when every seed shows it and the mean difference exceeds its standard "
    "deviation over seeds; else it is a tie. "
)
HELD_OUT = 5000  # molecules, those of data/qm9-sample
UNSEEN = (
    "drawn at random with the seed, no labels. Not among them, so unseen: the molecules of "
    "data/qm9-sample, which are scdlab.load_qm9().split(5000, 0, seed=0)[0]."
)

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
# The same for DimeNet: a noise of variance 0.02 Å², as published.
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


def all_molecules(settings):
    """All molecules that a recipe may use: QM9, or, to try the mechanics anywhere, the kit's sample
    of it."""
    if settings["data"] == "sample":
        return scdlab.AtomStore.open(files.package_dir("data") / "qm9-sample")
    qm9 = scdlab.load_qm9()
    if len(qm9) <= HELD_OUT:
        raise ValueError(
            "The recipe pretrains on QM9 without the kit's sample, and only that sample is here; "
            "`pip install qm9pack` brings all of QM9."
        )
    return qm9


def molecules(settings, seed):
    """(pretraining set of this seed, the molecules held out from all of them), disjoint."""
    qm9 = all_molecules(settings)
    held_out, _, rest = qm9.split(
        min(HELD_OUT, len(qm9) // 2), 0, seed=0
    )  # of QM9, the kit's sample exactly
    return draw(rest, settings["n_pretrain"], seed), held_out


def coord(settings, seed, device):
    """The equivariant transformer after coordinate denoising of this seed's equilibrium
    geometries."""
    settings = {name: settings[name] for name in COORD}

    def train(folder):
        rest, _ = molecules(settings, seed)
        steps, batch, lr = (settings[f"pretrain_{name}"] for name in ("steps", "batch", "lr"))
        return trained(
            _transformer(settings, seed),
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


def _transformer(settings, seed):
    torch.manual_seed(seed)
    return scdlab.EquivariantTransformer(
        settings["hidden_channels"], settings["num_layers"], num_rbf=settings["num_rbf"]
    )


def trained(model, objective, train, steps, batch_size, lr, seed, device, **options):
    options |= {"steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed, "device": device}
    result = scdlab.fit(model, objective, train, progress=False, **options)
    if result.interrupted:  # half a training is no measurement
        raise KeyboardInterrupt
    return result


def draw(store, n, seed):
    return store.split(n, 0, seed=seed)[0]


# --- coordinate denoising, then few labels
# -----------------------------------------------------------------------


def few_labels_homo(settings, seed, device) -> dict:
    """HOMO energies of few molecules, learned from the pretrained weights and from scratch."""
    few, _, test = molecules(settings, seed)[1].split(settings["n_labels"], 0, seed=seed)
    test = draw(test, settings["n_test"], seed)
    homo = PropertyRegression("homo")
    values = {}
    steps = settings["steps"]
    longer = settings["longer"] * settings["steps"]
    for name, model, n in (
        ("coord", coord(settings, seed, device), steps),
        ("scratch", _transformer(settings, seed), steps),
        ("scratch_longer", _transformer(settings, seed), longer),
    ):
        trained(model, homo, few, n, settings["batch_size"], settings["lr"], seed, device)
        values[f"homo_mae_{name}_meV"] = 1e3 * scdlab.evaluate(model, test, homo)["homo_mae"]
    guess = np.median(few.property("homo"))
    return values | {
        "homo_mae_guess_meV": 1e3 * float(np.abs(test.property("homo") - guess).mean())
    }


def judge_few_labels_homo(values, settings) -> str:
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
            "molecules"
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
            "for the same number of steps."
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
            | {"n_labels": 200, "n_test": 16, "steps": 5, "batch_size": 8, "lr": 1e-3, "longer": 2},
            "cpu": CPU
            | {
                "n_labels": 500,
                "n_test": 2000,
                "steps": 1000,
                "batch_size": 16,
                "lr": 1e-3,
                "longer": 2,
            },
            "full": FULL
            | {
                "n_labels": 1000,
                "n_test": 4000,
                "steps": 10_000,
                "batch_size": 32,
                "lr": 5e-4,
                "longer": 3,
            },
        },
        checkpoints={
            "coord-et": f"Equilibrium geometries of n_pretrain molecules of QM9, {UNSEEN}"
        },
    )
)


# --- the floor of 1/N
# --------------------------------------------------------------------------------------------


def floor_of_noise(settings, seed, device) -> dict:
    """Noise with its mean over each molecule and without, learned and tested: loss per component,
    in units of σ²."""
    rest, sample = molecules(settings, seed)
    sample = sample[np.argsort(sample.n_atoms, kind="stable")]
    n = min(settings["n_test"], len(sample) // 2)
    groups = {"small": sample[:n], "large": sample[-n:]}
    values = {}
    losses = {}
    for name, centered in (("centered", True), ("uncentered", False)):
        model = _transformer(settings, seed)
        objective = CoordinateDenoising(settings["sigma"], centered=centered)
        trained(
            model,
            objective,
            rest,
            settings["steps"],
            settings["batch_size"],
            settings["lr"],
            seed,
            device,
        )
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
        values[f"floor_{size}"] = float(noise_floor(store.n_atoms).mean())
    return values


def noise_losses(model, store, objective, seed) -> np.ndarray:
    """Per structure (loss, its share in the mean): squared error per component in units of σ², [n,
    2].

    With d_i = ε̂_i - ε_i/σ and d̄ its mean over the N atoms, 1/3N Σ|d_i|² = 1/3N Σ|d_i - d̄|² + 1/3
    |d̄|². The last term is what the network gets wrong about the mean of the noise.
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


def judge_floor_of_noise(values, settings) -> str:
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
            f"released code of {COORD_PAPER} and its followers does not center it"
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
    )
)


# --- the answer and the force, near a minimum and far from one
# ---------------------------------------------------


def answer_and_force(settings, seed, device) -> dict:
    """cos(-ε̂, F): the network's way back against the GFN2-xTB force, where the noise is put on a
    minimum, and where the same noise is put on a frame of dynamics of the same molecule."""
    model = coord(settings, seed, device)
    gfn2 = Reference("gfn2")
    rows = []
    sample = draw(molecules(settings, seed)[1], settings["n_molecules"], seed)
    sigma = settings["sigma"]
    draws = settings["draws"]
    for k in range(len(sample)):
        minimum = gfn2.relax(sample.to_ase(k))
        eps = displacements(minimum, sigma, seed=seed, draws=draws)  # (draws, n, 3) Å
        frame = scdlab.simulate(
            minimum,
            1,
            settings["temperature_K"],
            seed=seed,
            interval=1,
            equilibration=settings["md_steps"],
            progress=False,
        ).to_ase(0)
        row = []
        for start, noise in ((minimum, eps), (frame, eps), (minimum, settings["far"] * eps)):
            pos = start.positions + noise
            answer = denoise(model, start, pos)
            force = gfn2(start, pos)[1]
            row += [
                np.nanmean(cosine(-answer, force)),
                np.nanmean(cosine(-noise, force)),
                np.nanmean(cosine(answer, noise)),
            ]
        rows.append(row)
    names = [
        f"{what}_{where}"
        for where in ("near", "far", "large")
        for what in ("cos_answer_force", "cos_noise_force", "cos_answer_noise")
    ]
    values = dict(zip(names, np.mean(rows, axis=0), strict=True))
    first = ("cos_answer_force_near", "cos_answer_force_far")
    return {name: float(values[name]) for name in (*first, *(n for n in names if n not in first))}


def judge_answer_and_force(values, settings) -> str:
    near = values["cos_answer_force_near"]
    far = values["cos_answer_force_far"]
    seen = direction(1 - near, 1 - far)
    if seen == "paper":
        return "reproduced" if np.all(near > 0.5) else "same direction"
    return "not seen at this scale" if seen == "opposite" else "tie"


register(
    Claim(
        id="coord-noise-force",
        lesson=2,
        title=(
            "Near a minimum, what a denoising network answers points along the force; away from "
            "minima, less so."
        ),
        source=(
            f"{COORD_PAPER}, denoising as learning a force field; DeNS, on structures off "
            "equilibrium"
        ),
        paper=(
            "at a minimum the best answer is proportional to the force; away from one the target "
            "is ambiguous (argued, no number given)"
        ),
        quantities={
            "cos_answer_force_near": "cosine of -answer and force, noise put on the minimum",
            "cos_answer_force_far": "the same, noise put on a frame of dynamics",
            "cos_noise_force_near": "cosine of -noise and force, on the minimum",
            "cos_answer_noise_near": "cosine of answer and noise, on the minimum",
            "cos_noise_force_far": "cosine of -noise and force, on the frame",
            "cos_answer_noise_far": "cosine of answer and noise, on the frame",
            "cos_answer_force_large": (
                "cosine of -answer and force, several times the noise on the minimum"
            ),
            "cos_noise_force_large": "cosine of -noise and force, several times the noise",
            "cos_answer_noise_large": "cosine of answer and noise, several times the noise",
        },
        rule=(
            "Unseen molecules are relaxed with GFN2-xTB. The same noise of 0.04 Å is put on the "
            "minimum (near) and on a frame of dynamics of the same molecule (far); compare the "
            "mean cosine of the network's way back, minus its answer, with the GFN2-xTB force at "
            "the same positions."
            + SEEN
            + "With near above far: reproduced when in every seed the cosine near the minimum "
            "exceeds 0.5, else same direction. With far above near: not seen at this scale, "
            "since the network is far from the optimum that the argument is about."
        ),
        judge=judge_answer_and_force,
        recipe=answer_and_force,
        profiles={
            "quick": QUICK
            | {"n_molecules": 2, "draws": 2, "temperature_K": 500, "md_steps": 10, "far": 4},
            "cpu": CPU
            | {"n_molecules": 30, "draws": 4, "temperature_K": 500, "md_steps": 500, "far": 4},
            "full": FULL
            | {"n_molecules": 100, "draws": 8, "temperature_K": 500, "md_steps": 2000, "far": 4},
        },
    )
)


# --- pairwise denoising, then the dipole moment
# ------------------------------------------------------------------


def pairwise_mu(settings, seed, device) -> dict:
    """The dipole moment from few labels: from scratch, and after denoising distances without and
    with a leak."""
    rest, sample = molecules(settings, seed)
    few, _, test = sample.split(settings["n_labels"], 0, seed=seed)
    test = draw(test, settings["n_test"], seed)
    mu = PropertyRegression("mu")
    values = {}
    for name, model in (
        ("clean", pairwise(settings, seed, device, rest)),
        ("scratch", _dimenet(settings, seed)),
        ("leaky", pairwise(settings, seed, device, rest, test)),
    ):
        trained(
            model, mu, few, settings["steps"], settings["batch_size"], settings["lr"], seed, device
        )
        values[f"mu_mae_{name}_D"] = scdlab.evaluate(model, test, mu)["mu_mae"]
    guess = np.median(few.property("mu"))
    return values | {"mu_mae_guess_D": float(np.abs(test.property("mu") - guess).mean())}


def pairwise(settings, seed, device, rest, test=None):
    """DimeNet after denoising distances of this seed's molecules; those of `test`, if given,
    replace as many."""
    decides = {name: settings[name] for name in PAIRWISE} | {
        "leaked": 0 if test is None else len(test)
    }
    if test is not None:
        rest = all_molecules(settings).subset(np.concatenate([rest.index[len(test) :], test.index]))

    def train(folder):
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


def _dimenet(settings, seed):
    torch.manual_seed(seed)
    sizes = ("hidden_channels", "num_layers", "int_emb_size", "out_emb_channels", "num_spherical")
    return scdlab.DimeNet(**{name: settings[name] for name in sizes})


def judge_pairwise_mu(values, settings) -> str:
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
            "cpu": CPU
            | DIMENET
            | {
                "hidden_channels": 48,
                "num_layers": 2,
                "n_pretrain": 10_000,
                "pretrain_steps": 1500,
                "pretrain_lr": 1e-3,
            }
            | {"n_labels": 1000, "n_test": 1000, "steps": 1000, "batch_size": 16, "lr": 1e-3},
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
        checkpoints={"dimenet-pairwise": f"Geometries of n_pretrain molecules of QM9, {UNSEEN}"},
    )
)


# --- how much the embedding says about size
# ----------------------------------------------------------------------


def extensivity_of_embedding(settings, seed, device) -> dict:
    """R² of the atom count from the embedding, untrained and pretrained, summed and averaged over
    atoms; and how well the nearest neighbors in the averaged embedding agree on the HOMO energy,
    which nobody trained on."""
    sample = draw(molecules(settings, seed)[1], settings["n_test"], seed)
    values = {}
    size = sample.n_atoms
    homo = sample.property("homo")
    for name, model in (
        ("coord", coord(settings, seed, device)),
        ("untrained", _transformer(settings, seed)),
    ):
        for pool in ("mean", "sum"):
            x, _ = maps.embed(model, sample, n=None, pool=pool)
            values[f"r2_size_{pool}_{name}"] = maps.extensivity(x, size)
        values[f"r2_homo_neighbors_{name}"] = maps.smoothness(
            maps.embed(model, sample, n=None, pool="mean")[0], homo
        )
    return {name: float(values[name]) for name in get("coord-extensivity").quantities}


def judge_extensivity_of_embedding(values, settings) -> str:
    if not np.all(values["r2_size_mean_coord"] > 0.5):
        return "not seen at this scale"
    seen = direction(
        1 - values["r2_homo_neighbors_coord"], 1 - values["r2_homo_neighbors_untrained"]
    )
    return "reproduced" if seen == "paper" else "same direction"


register(
    Claim(
        id="coord-extensivity",
        lesson=2,
        title=(
            "Coordinate denoising orders the embedding by chemistry and leaves it extensive: it "
            "tells the size."
        ),
        source=(
            f"{SCD_PAPER}, maps of the embeddings of 10,000 molecules of QM9 colored by atom count"
        ),
        paper=(
            "untrained: clustered by size; after Coord: smooth, but extensive (a picture, no "
            "number)"
        ),
        quantities={
            "r2_size_mean_coord": "R² of the atom count, mean over atoms, pretrained",
            "r2_size_mean_untrained": "R² of the atom count, mean over atoms, untrained",
            "r2_size_sum_coord": "R² of the atom count, sum over atoms, pretrained",
            "r2_size_sum_untrained": "R² of the atom count, sum over atoms, untrained",
            "r2_homo_neighbors_coord": "R² of the HOMO energy from 10 neighbors, pretrained",
            "r2_homo_neighbors_untrained": "R² of the HOMO energy from 10 neighbors, untrained",
        },
        rule=(
            "Extensive: a linear fit of the atom count explains more than half of its variance on "
            "molecules left out of the fit, in every seed, from the mean of the pretrained "
            "features over atoms; their sum, the embedding that models give, grows with size by "
            "construction and is reported beside it. Ordered: the 10 nearest neighbors say more "
            "about the HOMO energy after pretraining than before."
            + SEEN
            + "Reproduced when both hold, same direction when it is only extensive, else not "
            "seen at this scale."
        ),
        judge=judge_extensivity_of_embedding,
        recipe=extensivity_of_embedding,
        profiles={
            "quick": QUICK | {"n_test": 100},
            "cpu": CPU | {"n_test": 4000},
            "full": FULL | {"n_test": 5000},
        },
    )
)
