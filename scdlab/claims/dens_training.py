"""Lesson 03: DeNS against plain training, where it starts, how long it trains, on what.

Six seeds for each, three where the question is which part of DeNS matters. A gain may depend on the
length of a training: the schedule of the learning rate and λ's fall to zero end with it, so every
length is a training of its own.
"""

from .dens_rules import PAPER, claim_on

ETHANOL = 0.03  # core seconds of a step: 64 × 3, batches of 8
LENGTHS = {  # steps -> worth of the answer there
    2_500: 20,
    10_000: 32,
    20_000: 16,
}

claim_on(
    "dens-start",
    "DeNS needs a force input that acts from the start, and λ before the spread of the energies.",
    "not tested in the paper; its released code starts and weighs so",
    ("dens", "zero_force_unit", "zero", "force_unit", "plain"),
    {"seeds": 3, "steps": 2_500},
    worth=14,
    seconds=ETHANOL,
    shared=("dens", "plain"),
    source=f"{PAPER}, its released code",
)
for steps, worth in LENGTHS.items():
    claim_on(
        f"dens-steps-{steps}",
        f"DeNS makes forces better within {steps:,} steps on 100 frames (ethanol; our question).",
        "at 177,000 steps on 950 frames: MD17 ethanol, Equiformer (L = 2) 3.1 meV/Å, with DeNS 2.6",
        ("dens", "plain"),
        {"steps": steps},
        worth=worth,
        seconds=ETHANOL,
        full={"steps": steps, "n_train": 100},
    )
claim_on(
    "dens-tuned",
    "With fewer corruptions and without their labels, as chosen on validation frames, DeNS makes "
    "forces better (ethanol, 100 frames).",
    "p 0.125 and σ 0.025 Å for toluene, 0.25 and 0.05 Å for the other molecules",
    ("tuned", "plain", "dens"),
    {"steps": 10_000},
    worth=10,
    seconds=ETHANOL,
    shared=("plain", "dens"),
)
claim_on(
    "dens-ethanol-forces",
    "Denoising beside the labels makes forces better (ethanol).",
    "MD17 ethanol, Equiformer (L = 2): 3.1 meV/Å, with DeNS 2.6",
    ("dens", "plain"),
    {"n_train": 950, "steps": 12_000},
    worth=14,
    seconds=ETHANOL,
    paper_values={
        "force_mae_dens_meV_per_A": "2.6 (MD17)",
        "force_mae_plain_meV_per_A": "3.1 (MD17)",
    },
)
claim_on(
    "dens-aspirin-forces",
    "Denoising beside the labels makes forces better (aspirin, the paper's largest gain).",
    "MD17 aspirin, Equiformer (L = 2): 7.2 meV/Å, with DeNS 5.7",
    ("dens", "plain"),
    {"data": "md17:aspirin", "n_train": 300, "steps": 5_000},
    worth=16,
    seconds=0.05,
    paper_values={
        "force_mae_dens_meV_per_A": "5.7 (MD17)",
        "force_mae_plain_meV_per_A": "7.2 (MD17)",
    },
)
