"""Lesson 03: DeNS where forces come from a head of their own, as in the paper's largest runs.

With forces as a gradient, energies and forces of a corrupted structure contradict the denoising
inside the network (see `scdlab.objectives.dens`). A network whose forces are the gradient of
nothing has no such conflict. Tested on ethanol, and on relaxations of adsorbates on surfaces, the
paper's own domain, with a part of OC20 that the user has: whole relaxations are held out, those
whose elements all occur in the others.
"""

from typing import Any

from .claim import Settings
from .dens_rules import PAPER, claim_on

DIRECT: Settings = {"direct_forces": True}
ETHANOL: dict[str, Any] = {"seconds": 0.018, "quick": DIRECT}
ABLATED: dict[str, Any] = {
    "night": {**DIRECT, "seeds": 3, "steps": 5_000},
    "worth": 4,
    "shared": ("dens", "plain"),
    **ETHANOL,
}

# the ablations below are of the length of "dens-direct-ethanol", and share its networks
for steps, worth in ((2_500, 8), (5_000, 18)):
    claim_on(
        "dens-direct-ethanol" if steps == 5_000 else f"dens-direct-steps-{steps}",
        "With direct forces, denoising beside the labels makes forces better (ethanol, 100 frames, "
        f"{steps:,} steps).",
        "not tested on MD17 in the paper, whose networks there take forces as a gradient",
        ("dens", "plain"),
        {**DIRECT, "steps": steps},
        worth=worth,
        full=None if steps == 5_000 else {"steps": steps, "n_train": 100},
        source="our question",
        **ETHANOL,
    )
claim_on(
    "dens-direct-force-encoding",
    "With direct forces, without the force input the gain is lost (ethanol).",
    "without force encoding the gain vanishes",
    ("dens", "untold", "plain"),
    **ABLATED,
)
claim_on(
    "dens-direct-shuffled-forces",
    "With direct forces, another atom's force as input gives no gain (ethanol; our control).",
    "not tested in the paper; expected, if the forces do what the paper says",
    ("dens", "shuffled", "plain"),
    source="our control",
    **ABLATED,
)
claim_on(
    "dens-direct-partial",
    "With direct forces, corrupting a share of the atoms is better than all of them (ethanol).",
    "partial corruption beats full corruption",
    ("dens", "full", "plain"),
    **ABLATED,
)
claim_on(
    "dens-direct-surfaces",
    "With direct forces, denoising beside the labels makes forces better (relaxations of OC20).",
    "OC20, EquiformerV2 with direct forces: better energies and forces with DeNS",
    ("dens", "plain"),
    {
        **DIRECT,
        "data": "oc20:relaxations",
        "groups": "traj",
        "held_out_groups": [2, 5],
        "references": "zero",
        "n_train": 600,
        "n_val": 60,
        "n_test": 400,
        "batch_size": 4,
        "steps": 3_000,
        "lr": 1e-3,
    },
    worth=10,
    seconds=0.042,
    quick={**DIRECT, "data": "kit:alloys", "groups": "system", "held_out_groups": [1, 2]},
    full={"n_train": 4_000, "batch_size": 16, "steps": 60_000},
    source=f"{PAPER}, OC20",
)
