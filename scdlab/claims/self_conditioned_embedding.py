"""Lesson 04: what the embedding of self-conditioned denoising (SCD) holds; how the claims are
tested here.

See `self_conditioned` for the paper and for what the claims of the lesson share.
"""

import numpy as np

from scdlab import analysis
from scdlab.atoms import AtomStore
from scdlab.nn.model import Model

from .claim import Arrays, Claim, Settings, Values, get, register
from .common import SEEN_PAIRED, UNSEEN, all_molecules, molecules
from .directions import paired_direction
from .self_conditioned import (
    CPU,
    FULL,
    PAPER,
    QUICK,
    SIX,
    gain_in_domain,
    pretrained,
)
from .self_conditioned_homo import only
from .self_conditioned_rules import (
    mechanism_on,
    words_gain,
)

ARMS = {"scd": "SCD", "coord": "Coord", "scratch": "untrained"}
POOLS = {"condition": "embedding", "mean": "mean"}


def unseen(settings: Settings, seed: int) -> AtomStore:
    """Molecules of QM9 that this seed does not pretrain on: those held out from every seed, and as
    many others as are needed.

    Parameters
    ----------
    settings : dict
        With data, n_pretrain and n_map, the number of molecules.
    seed : int
        Which of them are drawn.

    Returns
    -------
    AtomStore
        The molecules.
    """
    everything = all_molecules(settings)
    seen = molecules(settings, seed)[0].index
    rest = everything.subset(np.setdiff1d(everything.index, seen))
    return rest.sample(min(settings["n_map"], len(rest)), seed)


def numbers(model: Model, sample: AtomStore, arm: str) -> Values:
    """R² of the atom count and of the HOMO energy, from the output of the embedding head and from
    the mean over atoms.

    Parameters
    ----------
    model : Model
        A conditional network.
    sample : AtomStore
        Molecules that it has not seen.
    arm : str
        Ends the names.

    Returns
    -------
    dict of str to float
        What was measured.
    """
    values = {}
    size = sample.n_atoms
    homo = sample.property("homo")
    for what, pool in POOLS.items():
        x, rows = analysis.embed(model, sample, n=None, pool=pool)
        values[f"r2_size_{what}_{arm}"] = float(analysis.extensivity(x, size[rows]))
        values[f"r2_homo_neighbors_{what}_{arm}"] = float(analysis.smoothness(x, homo[rows]))
    return values


def extensivity(settings: Settings, seed: int, device: str) -> Values:
    """Size and HOMO energy read off the embeddings of three networks, pretrained on QM9."""
    sample = unseen(settings, seed)
    values = gain_in_domain(settings, seed, device, "qm9", coord=True)
    for arm in ARMS:
        values |= numbers(pretrained(arm, settings, seed, device), sample, arm)
    return {name: values[name] for name in get("scd-extensivity").quantities}


def extensivity_frames(settings: Settings, seed: int, device: str) -> Values:
    """The same of networks that were pretrained on mixed frames, of molecules of H, C and O."""
    sample = only(unseen(settings, seed), (1, 6, 8))  # first: QM9 may not be there
    values = gain_in_domain(settings, seed, device, "frames")
    for arm in ARMS:
        model = pretrained(arm, settings, seed, device, "frames")
        values |= numbers(model, sample, arm)
    return {name: values[name] for name in get("scd-extensivity-frames").quantities}


def words() -> dict[str, str]:
    """Descriptions of what `numbers` gives for each arm, the judged ones first.

    Returns
    -------
    dict of str to str
        Name of a quantity -> description.
    """
    found = {}
    for what, of in (("condition", "embedding head"), ("mean", "mean over atoms")):
        for arm, named in ARMS.items():
            head = ", untrained head" if what == "condition" and arm != "scd" else ""
            found[f"r2_size_{what}_{arm}"] = f"R² of the atom count, {of}, {named}{head}"
            found[f"r2_homo_neighbors_{what}_{arm}"] = (
                f"R² of the HOMO energy from 10 neighbors, {of}, {named}{head}"
            )
    judged = ("r2_size_condition_scd", "r2_size_condition_coord")
    return {name: found[name] for name in judged} | found


def judge_extensivity(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    seen = paired_direction(values["r2_size_condition_scd"], values["r2_size_condition_coord"])
    if seen == "paper":
        smooth = 1 - values["r2_homo_neighbors_condition_scd"]
        untrained = 1 - values["r2_homo_neighbors_condition_scratch"]
        return "reproduced" if paired_direction(smooth, untrained) == "paper" else "same direction"
    return "not seen at this scale" if seen == "opposite" else "tie"


FIGURE = (
    "untrained: clustered by size; Coord: smooth, but extensive; SCD: smooth, less extensive "
    "(pictures, no number). Points are outputs of the embedding head, which is trained in SCD alone"
)
RULE = (
    (
        "A linear fit reads the atom count off the output of the embedding head, on molecules left "
        "out of the fit; less extensive is a lower R². Compare SCD with Coord, whose head is "
        "untrained, as in the paper's figure."
    )
    + SEEN_PAIRED
    + "With the paper's direction: reproduced when the 10 nearest neighbors also say more about "
    "the HOMO energy after SCD than in the untrained network, in the same sense; else same "
    "direction. With the opposite one: not seen at this scale. Means over atoms are reported and "
    "not judged."
)

register(
    Claim(
        id="scd-extensivity",
        lesson=4,
        title=(
            "SCD's embeddings are smooth and less extensive than plain denoising's: the size is "
            "read off them less well."
        ),
        source=f"{PAPER}, maps of the embeddings of 10,000 molecules of QM9 colored by atom count",
        paper=FIGURE,
        quantities=words() | words_gain("minima", coord=True),
        rule=RULE,
        judge=judge_extensivity,
        recipe=extensivity,
        precondition=mechanism_on("gain_minima", "minima of QM9"),
        profiles={
            "quick": QUICK | {"n_map": 100},
            "cpu": CPU | {"n_map": 10_000},
            "full": FULL | {"n_map": 10_000},
        },
        checkpoints={
            "scd-ct": f"Equilibrium geometries of n_pretrain molecules of QM9, {UNSEEN}",
            "coord-ct": f"Equilibrium geometries of n_pretrain molecules of QM9, {UNSEEN}",
        },
        checkpoint_tests={
            "scd-ct": {
                "test_noise_left_own": "left_own_minima",
                "test_noise_left_none": "left_none_minima",
            },
            "coord-ct": {"test_noise_left": "left_coord_minima"},
        },
        hours={"cpu": 0.5},
        worth=60,
    )
)

register(
    Claim(
        id="scd-extensivity-frames",
        lesson=4,
        title=(
            "Where the condition is used, SCD's embeddings are smooth and less extensive than "
            "plain denoising's."
        ),
        source=f"{PAPER}, maps of embeddings; here after pretraining on frames off equilibrium",
        paper=FIGURE,
        quantities=words() | words_gain("mixed"),
        rule="Pretrain on frames of ethanol, aspirin, isomers of C7H10O2 and alloys mixed, "
        "positions only; embed molecules of QM9 of H, C and O. " + RULE,
        judge=judge_extensivity,
        recipe=extensivity_frames,
        precondition=mechanism_on("gain_mixed", "frames of each kind"),
        profiles={
            "quick": QUICK | {"n_map": 200},
            "night": SIX | {"n_map": 10_000},
            "full": FULL | {"n_map": 10_000},
        },
        hours={"night": 0.4},
        worth=35,
    )
)
