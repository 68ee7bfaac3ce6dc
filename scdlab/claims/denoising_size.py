"""Lesson 02: how much of the size a pretrained embedding holds, and how the claim is tested here.

See `denoising` for the papers and for what the claims of the lesson share.
"""

import numpy as np

import scdlab
from scdlab import analysis
from scdlab.objectives import CoordinateDenoising

from .claim import Arrays, Claim, Settings, Values, get, register
from .common import SEEN, UNSEEN, draw, molecules
from .denoising import CPU, FULL, NIGHT, QUICK, SCD_PAPER, coord, transformer
from .directions import direction


def extensivity_of_embedding(settings: Settings, seed: int, device: str) -> Values:
    """R² of the atom count from the embedding, untrained and pretrained, summed and averaged over
    atoms; and how well the nearest neighbors in the averaged embedding agree on the HOMO energy,
    which nobody trained on."""
    sample = draw(molecules(settings, seed)[1], settings["n_test"], seed)
    values = {}
    size = sample.n_atoms
    homo = sample.property("homo")
    for name, model in (
        ("coord", coord(settings, seed, device)),
        ("untrained", transformer(settings, seed)),
    ):
        for pool in ("mean", "sum"):
            x, _ = analysis.embed(model, sample, n=None, pool=pool)
            values[f"r2_size_{pool}_{name}"] = analysis.extensivity(x, size)
        values[f"r2_homo_neighbors_{name}"] = analysis.smoothness(
            analysis.embed(model, sample, n=None, pool="mean")[0], homo
        )
        if name == "coord":
            denoising = CoordinateDenoising(settings["sigma"])
            values["noise_unexplained_coord"] = scdlab.evaluate(model, sample, denoising)[
                "noise_unexplained"
            ]
    return {name: float(values[name]) for name in get("coord-extensivity").quantities}


def judge_extensivity_of_embedding(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
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
            "Coordinate denoising orders the embedding by chemistry and leaves it extensive: the "
            "size is read off it."
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
            "noise_unexplained_coord": "denoising loss on the same molecules, 1 is a blind guess",
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
            "night": NIGHT | {"n_test": 4000},
            "full": FULL | {"n_test": 5000},
        },
        checkpoints={
            "coord-et": f"Equilibrium geometries of n_pretrain molecules of QM9, {UNSEEN}"
        },
        checkpoint_tests={"coord-et": {"test_noise_unexplained": "noise_unexplained_coord"}},
        hours={"cpu": 0.2, "night": 0.7},
        worth=60,
    )
)
