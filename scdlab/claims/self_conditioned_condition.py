"""Lesson 04: what the condition of self-conditioned denoising (SCD) is worth, where, and from which
length of training on; how the claims are tested here.

See `self_conditioned` for the paper and for what the claims of the lesson share.
"""

from .claim import Arrays, Claim, Settings, Values, get, register
from .common import SEEN_PAIRED, molecules
from .directions import paired_direction
from .self_conditioned import (
    CPU,
    FULL,
    PAPER,
    QUICK,
    gain_in_domain,
    gain_of,
    pretrained,
)
from .self_conditioned_frames import SEEN_FRAMES, mixed_frames
from .self_conditioned_rules import (
    LEAST_GAIN,
    words_gain,
)

# What the condition is worth off equilibrium, and near minima


def condition(settings: Settings, seed: int, device: str) -> Values:
    """Noise left with the network's own embedding, with none and with another's, on frames and on
    minima; and what plain denoising leaves on the same frames."""
    held_out = molecules(settings, seed)[1]  # first: QM9 may not be there
    values = gain_in_domain(settings, seed, device, "frames", coord=True)
    unseen = mixed_frames(seed).ethanol[1]
    scd, coord = (pretrained(m, settings, seed, device, "frames") for m in ("scd", "coord"))
    values |= gain_of(scd, unseen, settings, "frames", other=True)
    values["left_coord_frames"] = gain_of(coord, unseen, settings, "frames")["left_none_frames"]
    minima = held_out.sample(min(1000, settings["n_test"]), seed)
    on_minima = pretrained("scd", settings, seed, device)
    values |= gain_of(on_minima, minima, settings, "minima", other=True)
    return {name: values[name] for name in get("scd-condition").quantities}


def judge_condition(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = paired_direction(values["left_own_mixed"], values["left_none_mixed"])
    if seen == "paper":
        if values["gain_mixed"].mean() < LEAST_GAIN:
            return "tie"
        control = paired_direction(values["left_own_mixed"], values["left_coord_mixed"])
        return "reproduced" if control == "paper" else "same direction"
    return "contradicted" if seen == "opposite" else "tie"


register(
    Claim(
        id="scd-condition",
        lesson=4,
        title=(
            "Off equilibrium denoising is ambiguous, and the network's own embedding of the clean "
            "structure helps as a condition."
        ),
        source=f"{PAPER}, the third shortcoming of plain denoising, and its answer",
        paper="argued; no number given",
        quantities={
            **words_gain("mixed", coord=True),
            "left_own_frames": "noise left on unseen frames of ethanol, own embedding",
            "left_none_frames": "noise left on frames of ethanol, no condition",
            "left_other_frames": "noise left on frames of ethanol, another frame's embedding",
            "left_coord_frames": "noise left on frames of ethanol, Coord, equal passes",
            "gain_frames": "gain of the condition on frames of ethanol, 1 - own/none",
            **words_gain("minima"),
            "left_other_minima": "noise left on minima, another molecule's embedding as condition",
        },
        rule=(
            "Train SCD on frames of ethanol, aspirin, isomers of C7H10O2 and alloys mixed, "
            "positions only. On unseen structures of all kinds compare the noise left unexplained "
            "when the network is given its own embedding of the clean structure and when it is "
            "given none."
        )
        + SEEN_PAIRED
        + f"With the expected direction: a tie where the mean gain is below {100 * LEAST_GAIN:.0f} "
        "%; reproduced when SCD's own embedding also leaves less than Coord after as many passes, "
        "in the same sense; else same direction. With the opposite one: contradicted, since the "
        "network may ignore the condition. All else is reported and not judged.",
        judge=judge_condition,
        recipe=condition,
        profiles={
            "quick": QUICK,
            "cpu": CPU,
            "night": CPU | {"frames_steps": 20_000},
            "full": FULL | {"seeds": 3},
        },
        checkpoints={
            "scd-ct-frames": SEEN_FRAMES,
            "coord-ct-frames": SEEN_FRAMES,
        },
        checkpoint_tests={
            "scd-ct-frames": {
                "test_noise_left_own": "left_own_mixed",
                "test_noise_left_none": "left_none_mixed",
            },
            "coord-ct-frames": {"test_noise_left": "left_coord_mixed"},
        },
        hours={"cpu": 1.3, "night": 4.5},
        worth=100,
    )
)
