"""Lesson 04: what the rules of the claims on self-conditioned denoising (SCD) have in common.

See `self_conditioned` for the paper and for what the claims of the lesson share.
"""

from .claim import Arrays, Precondition
from .directions import graded, paired_direction

LEAST_GAIN = 0.02
"""Gain of the condition, 1 - own/none, from which on the mechanism counts as on."""
WHERE = {"minima": "unseen molecules of QM9", "mixed": "unseen frames of all kinds"}


def words_gain(where: str, coord: bool = False) -> dict[str, str]:
    """Descriptions of what `gain_in_domain` measures.

    Parameters
    ----------
    where : {"minima", "mixed"}
        Which domain.
    coord : bool, default False
        Whether Coord is among it.

    Returns
    -------
    dict of str to str
        Name of a quantity -> description.
    """
    own = {
        f"left_own_{where}": f"noise left on {WHERE[where]}, own embedding as condition",
        f"left_none_{where}": f"noise left on {WHERE[where]}, no condition",
        f"gain_{where}": f"gain of the condition on {WHERE[where]}, 1 - own/none",
    }
    plain = {f"left_coord_{where}": f"noise left on {WHERE[where]}, Coord, equal passes"}
    return own | plain if coord else own


def mechanism_on(gain: str, domain: str) -> Precondition:
    """The condition acts: what claims on the worth of SCD rest on.

    Parameters
    ----------
    gain : str
        The quantity that measures it.
    domain : str
        On which structures, in words.

    Returns
    -------
    Precondition
        A mean gain over seeds of LEAST_GAIN or more.
    """
    return Precondition(
        f"the condition is used: on {domain}, which no training has seen, SCD's own embedding "
        f"lowers the noise left by at least {100 * LEAST_GAIN:.0f} % of what is left without a "
        "condition, on average over seeds.",
        lambda values, settings: bool(values[gain].mean() >= LEAST_GAIN),
    )


def judge_order(values: Arrays, names: tuple[str, str, str], at_scale: bool) -> str:
    """The rule of ORDER, in code.

    Parameters
    ----------
    values : dict of str to ndarray [seeds]
        What was measured.
    names : tuple of three str
        Errors of three arms, in the order that is expected: best, second, worst.
    at_scale : bool
        Whether this is the paper's scale.

    Returns
    -------
    str
        One of VERDICTS: the first against the second; with the expected direction the first must
        beat the third as well.
    """
    best, second, worst = (values[name] for name in names)
    seen = paired_direction(best, second)
    if seen == "paper" and paired_direction(best, worst) != "paper":
        return "tie"
    return graded(seen, at_scale)


ORDER = (
    "With the expected direction, and scratch worse than SCD in the same sense: reproduced at the "
    "paper's scale (100,000 labels), else same direction; a tie when scratch is not worse. With "
    "the opposite direction: contradicted at that scale, else not seen at this scale. "
)
