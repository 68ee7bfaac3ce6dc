"""Lesson 04: what the condition of self-conditioned denoising (SCD) is worth at minima; how the
claim is tested here.

See `self_conditioned` for the paper and for what the claims of the lesson share. Near a minimum of
the energy the ruins say nearly all: bond lengths and angles are those of the elements around, so
there is little left for a condition to say. Whether size of the noise, width of the network or the
set change that is measured one by one, each against the same base.
"""

from .claim import Arrays, Claim, Settings, Values, get, register
from .common import molecules
from .self_conditioned import (
    CPU,
    FULL,
    PAPER,
    QUICK,
    gain_in_domain,
    gain_of,
    pretrained,
)
from .self_conditioned_rules import (
    LEAST_GAIN,
    mechanism_on,
    words_gain,
)

WORDS = {
    "minima": "base",
    "sigma_large": "noise of 0.15 Å",
    "sigma_larger": "noise of 0.3 Å",
    "narrow": "half as many channels",
    "wide": "twice as many channels",
    "small_set": "1,000 molecules to pretrain on",
}


def variants(settings: Settings) -> dict[str, Settings]:
    """Settings of the variants, one of which differs from the base each.

    Parameters
    ----------
    settings : dict
        Those of the base, and variant_steps.

    Returns
    -------
    dict of str to dict
        Name -> settings.
    """
    width = settings["hidden_channels"]
    changed = {
        "sigma_large": {"sigma": 0.15},
        "sigma_larger": {"sigma": 0.3},
        "narrow": {"hidden_channels": width // 2},
        "wide": {"hidden_channels": 2 * width},
        "small_set": {"n_pretrain": min(1000, settings["n_pretrain"] // 2)},
    }
    shorter = settings | {"pretrain_steps": settings["variant_steps"]}
    return {arm: shorter | change for arm, change in changed.items()}


def minima(settings: Settings, seed: int, device: str) -> Values:
    """Gains of the condition on unseen molecules of QM9, for the base and its variants, and on
    frames."""
    held_out = molecules(settings, seed)[1]  # first: QM9 may not be there
    test = held_out.sample(min(1000, settings["n_test"]), seed)
    values = gain_in_domain(settings, seed, device, "frames")
    values |= gain_in_domain(settings, seed, device, "qm9")
    for arm, varied in variants(settings).items():
        values |= gain_of(pretrained("scd", varied, seed, device), test, varied, arm)
    return {name: values[name] for name in get("scd-minima").quantities}


def words() -> dict[str, str]:
    """Descriptions of what `minima` gives, the judged gains first.

    Returns
    -------
    dict of str to str
        Name of a quantity -> description.
    """
    found = words_gain("minima") | words_gain("mixed")
    found |= {f"gain_{arm}": f"gain of the condition on minima, {of}" for arm, of in WORDS.items()}
    return {name: found[name] for name in ("gain_minima", "gain_mixed")} | found


def judge_minima(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    means = [values[f"gain_{arm}"].mean() for arm in WORDS]
    if max(means) < LEAST_GAIN:
        return "reproduced"
    return "same direction" if means[0] < LEAST_GAIN else "contradicted"


register(
    Claim(
        id="scd-minima",
        lesson=4,
        title=(
            "At minima a network makes nothing of its own embedding, whatever noise, width and set."
        ),
        source=f"our question; {PAPER} pretrains on minima and gives no number for it",
        paper="argued for structures off equilibrium; that the condition acts at minima is implied",
        quantities=words(),
        rule=(
            "Pretrain by SCD on minima of QM9: the base, and variants with larger noise, another "
            "width and a smaller set, for variant_steps. Reproduced when the mean gain of the "
            f"condition on unseen molecules is below {100 * LEAST_GAIN:.0f} % in every one, same "
            "direction when it is so in the base and not in some variant, contradicted when it is "
            "not so in the base."
        ),
        judge=judge_minima,
        recipe=minima,
        precondition=mechanism_on("gain_mixed", "frames of each kind, pretrained alike"),
        profiles={
            "quick": QUICK | {"variant_steps": 2},
            "cpu": CPU | {"variant_steps": 1500},
            "full": FULL | {"seeds": 3, "variant_steps": 4000},
        },
        hours={"cpu": 0.8},
        worth=50,
    )
)
