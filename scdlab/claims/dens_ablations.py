"""Lesson 03: what makes the gain of DeNS: the forces, the atoms that stayed, the labels of
corrupted structures; and whether the forces identify the clean structure at all.

The ablations are measured at the length of training of `dens-steps-10000`, whose networks they
share: an ablation shows something only where there is a gain to lose.
"""

from typing import Any

import numpy as np

from .claim import Arrays, Claim, Settings, register
from .common import SEEN_PAIRED
from .dens import clue
from .dens_rules import NIGHT, PAPER, QUICK, SECONDS_OF_ERRORS, claim_on
from .dens_training import ETHANOL
from .directions import graded, paired_direction

ABLATED: Settings = {"seeds": 3, "steps": 10_000}
LENGTH: dict[str, Any] = {"seconds": ETHANOL, "shared": ("dens", "plain")}

claim_on(
    "dens-force-encoding",
    "Without the force input the gain is lost.",
    "without force encoding the gain vanishes",
    ("dens", "untold", "plain"),
    ABLATED,
    worth=8,
    **LENGTH,
)
claim_on(
    "dens-shuffled-forces",
    "The forces make the gain: with another atom's force as input there is none (our control).",
    "not tested in the paper; expected, if the forces do what the paper says",
    ("dens", "shuffled", "plain"),
    ABLATED,
    worth=8,
    **LENGTH,
    source="our control",
)
claim_on(
    "dens-partial",
    "Corrupting a share of the atoms is better than corrupting all of them.",
    "partial corruption beats full corruption",
    ("dens", "full", "plain"),
    ABLATED,
    worth=6,
    **LENGTH,
)
for steps, worth in ((2_500, 4), (10_000, 4)):
    claim_on(
        "dens-labels" if steps == 2_500 else f"dens-labels-{steps}",
        f"Corrupted structures keep their labels, as in the released code ({steps:,} steps).",
        "the released code keeps energies of corrupted structures, and forces of atoms that stayed",
        ("dens", "unlabeled", "plain"),
        {"seeds": 3, "steps": steps},
        worth=worth,
        **LENGTH,
        source=f"{PAPER}, its released code",
    )

QUANTITIES = {
    "noise_left_told_percent": "noise left, with the force input, %",
    "noise_left_untold_percent": "noise left, another network without a force input, %",
    "noise_left_kept_back_percent": "noise left, the first network, no force input, %",
    "noise_left_wrong_percent": "noise left, the first network, other atoms' forces as input, %",
    "noise_left_shuffled_percent": (
        "noise left, a network trained and tested with other atoms' forces as input, %"
    ),
}


def judge_clue(values: Arrays, settings: Settings) -> str:
    """The rule of the claim on the clue, in code.

    Parameters
    ----------
    values : dict of str to numpy.ndarray
        The quantities, [seeds] each.
    settings : dict
        Of the recipe.

    Returns
    -------
    str
        One of VERDICTS.
    """
    told = values["noise_left_told_percent"]
    untold = values["noise_left_untold_percent"]
    seen = paired_direction(told, untold)
    if seen == "opposite":
        return "contradicted"
    return graded(seen, bool(np.all(told < 0.5 * untold)))


CLUE: Settings = {"seeds": 3, "steps": 2_500}
register(
    Claim(
        id="dens-clue",
        lesson=3,
        title="Off equilibrium the noise is ambiguous; the forces identify the clean structure.",
        source=f"{PAPER}, its argument for encoding forces",
        paper="in words: without forces the problem is ill-posed, with them it is not",
        quantities=QUANTITIES,
        rule=(
            "The networks of the other claims. On unseen frames, with a share `corrupt_ratio` of "
            "the atoms of every frame corrupted, compare the mean squared error of the noise, as a "
            "share of that of the blind answer, of the network that is given the forces and of the "
            "one that never was."
        )
        + SEEN_PAIRED
        + "With the paper's direction: reproduced when, in every seed, less than half as much is "
        "left with the forces as without, else same direction. With the opposite direction: "
        "contradicted. No precondition: this is the mechanism itself.",
        judge=judge_clue,
        recipe=clue,
        profiles={"quick": QUICK, "night": NIGHT | CLUE, "full": NIGHT | CLUE | {"steps": 20_000}},
        # dens at this length is trained by dens-steps-2500
        hours={"night": round(3 * (2 * 2_500 * ETHANOL + 5 * SECONDS_OF_ERRORS) / 3600, 2)},
        worth=8,
    )
)
