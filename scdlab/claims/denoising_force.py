"""Lesson 02: what a denoising network answers beside the force, and how the claim is tested here.

See `denoising` for the papers and for what the claims of the lesson share.
"""

import numpy as np

import scdlab
from scdlab.analysis import Reference, cosine, denoise, displacements

from .claim import Arrays, Claim, Settings, Values, register
from .common import SEEN, draw, molecules
from .denoising import COORD_PAPER, CPU, FULL, NIGHT, QUICK, coord
from .directions import direction

ASKED = {"n_molecules": 30, "draws": 4, "temperature_K": 500, "md_steps": 500, "far": 4}


def answer_and_force(settings: Settings, seed: int, device: str) -> Values:
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


def judge_answer_and_force(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
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
            "cpu": CPU | ASKED,
            "night": NIGHT | ASKED,
            "full": FULL
            | {"n_molecules": 100, "draws": 8, "temperature_K": 500, "md_steps": 2000, "far": 4},
        },
        hours={"cpu": 0.3, "night": 0.8},
        worth=30,
    )
)
