"""Lesson 04: whether self-conditioned denoising (SCD) depends on the backbone; how the claim is
tested here.

See `self_conditioned` for the paper and for what the claims of the lesson share. Four backbones
with adaptive layer norm, on frames of ethanol: the equivariant transformer (CT), SchNet, which has
no vectors and denoises by the gradient of its energy, the Point-Edge Transformer (PET), which
learns rotations from rotated data, and tensor products of spherical harmonics (NequIP).
"""

from collections.abc import Callable

import torch

import scdlab
from scdlab.nn import PET, EquivariantTransformer, SchNet, TensorProductNet
from scdlab.nn.model import Model

from .claim import Arrays, Claim, Settings, Values, get, register
from .common import SEEN_PAIRED, trained
from .directions import paired_direction
from .self_conditioned import (
    CPU,
    FULL,
    PAPER,
    QUICK,
    budget,
    gain_of,
    objective_of,
)
from .self_conditioned_rules import (
    LEAST_GAIN,
    mechanism_on,
)

NETWORKS: dict[str, Callable[[Settings], Model]] = {
    "schnet": lambda s: SchNet(
        s["hidden_channels"], s["num_layers"], num_rbf=s["num_rbf"], conditional=True
    ),
    "ct": lambda s: EquivariantTransformer(
        s["hidden_channels"], s["num_layers"], num_rbf=s["num_rbf"], conditional=True
    ),
    "pet": lambda s: PET(s["hidden_channels"], num_layers=1, conditional=True),
    "tensor": lambda s: TensorProductNet(s["hidden_channels"] // 2, num_layers=2, conditional=True),
}
WORDS = {"schnet": "SchNet", "ct": "CT", "pet": "PET", "tensor": "TensorProductNet"}


def backbones(settings: Settings, seed: int, device: str) -> Values:
    """Noise left on unseen frames of ethanol by four backbones: after SCD, with the own condition
    and with none, and after Coord with as many passes."""
    frames, _, test = scdlab.load_ethanol().split(1500, 0, seed=seed)
    values = {}
    for name, make in NETWORKS.items():
        for method in ("scd", "coord"):
            torch.manual_seed(seed)
            model = make(settings)
            trained(
                model,
                objective_of(method, settings),
                frames,
                budget(method, settings["backbone_steps"]),
                settings["pretrain_batch"],
                settings["pretrain_lr"],
                seed,
                device,
                grad_clip=settings["pretrain_clip"],
            )
            left = gain_of(model, test, settings, name)
            if method == "scd":
                values |= left
            else:
                values[f"left_coord_{name}"] = left[f"left_none_{name}"]
    return {name: values[name] for name in get("scd-backbones").quantities}


def words() -> dict[str, str]:
    """Descriptions of what `backbones` gives.

    Returns
    -------
    dict of str to str
        Name of a quantity -> description.
    """
    found = {}
    for name, word in WORDS.items():
        found |= {
            f"left_own_{name}": f"noise left, own condition, {word}",
            f"left_none_{name}": f"noise left, no condition, {word}",
            f"left_coord_{name}": f"noise left, Coord, equal passes, {word}",
            f"gain_{name}": f"gain of the condition, 1 - own/none, {word}",
        }
    return found


def judge_backbones(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = {b: paired_direction(values[f"left_own_{b}"], values[f"left_none_{b}"]) for b in WORDS}
    used = [b for b in WORDS if seen[b] == "paper" and values[f"gain_{b}"].mean() >= LEAST_GAIN]
    if len(used) == len(WORDS):
        return "reproduced"
    if "opposite" in seen.values():
        return "not seen at this scale"
    return "same direction" if len(used) >= 3 else "tie"


register(
    Claim(
        id="scd-backbones",
        lesson=4,
        title="SCD does not depend on the backbone: any with adaLN uses its own embedding.",
        source=f"{PAPER}, adaptive layer norm fits any backbone",
        paper="claimed as backbone-agnostic; measured there with one family of transformers",
        quantities=words(),
        rule=(
            "Train SCD on frames of ethanol, positions only, with four backbones. For each compare "
            "the noise left on unseen frames with the own condition and with none."
        )
        + SEEN_PAIRED
        + "A backbone uses its condition when the former is lower and the mean gain is at least "
        f"{100 * LEAST_GAIN:.0f} %. Reproduced when all four do; else not seen at this scale when "
        "one is better without, same direction when three do, and a tie with fewer. Coord with as "
        "many passes is reported and not judged.",
        judge=judge_backbones,
        recipe=backbones,
        precondition=mechanism_on("gain_ct", "frames of ethanol (CT)"),
        profiles={
            "quick": QUICK | {"backbone_steps": 2},
            "cpu": CPU | {"backbone_steps": 1000},
            "full": FULL | {"seeds": 3, "backbone_steps": 4000, "pretrain_batch": 64},
        },
        hours={"cpu": 0.6},
        worth=70,
    )
)
