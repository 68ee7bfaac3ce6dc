"""A claim: what a paper states, the recipe that tests it here, and the rule that judges it.

A `Claim` is written down before anything is measured: the paper's statement and number, a recipe
built from the public names of `scdlab`, and the rule that turns measured values into a verdict.

Verdicts: *reproduced* (the paper's statement holds as the paper puts it), *same direction* (the
effect has the paper's sign under a weaker contrast or at a smaller scale), *tie* (the difference is
within the seeds' spread), *not seen at this scale* (the opposite, far from the paper's conditions),
*contradicted* (the opposite, under its conditions).
"""

import dataclasses
import difflib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Settings = dict[str, Any]  # of a recipe, for one profile
Values = dict[str, float]  # what a recipe measured for one seed: name of a quantity -> value
Arrays = dict[str, np.ndarray]  # the same over seeds: name -> float64 [seeds]
Recipe = Callable[[Settings, int, str], Values]  # (settings, seed, device)
Judge = Callable[[Arrays, Settings], str]  # -> one of VERDICTS

PROFILES = ("quick", "cpu", "full")
"""Sizes in which every claim can be measured: mechanics, two cores, one GPU."""
VERDICTS = ("reproduced", "same direction", "not seen at this scale", "contradicted", "tie")
"""The verdicts that a measurement can have on a claim."""
REGISTRY: dict[str, "Claim"] = {}  # id -> claim, in the order of registration


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement of a paper and how it is tested here.

    Parameters
    ----------
    id : str
        Short name, words joined by "-".
    lesson : int
        Number of the lesson that teaches it.
    title : str
        The statement, one sentence.
    source : str
        Paper, and where in it.
    paper : str
        The paper's number and conditions, in words; through `recalled` when it was not looked up.
    quantities : dict of str to str
        Name -> description of every number that the recipe gives; units end the name. The first two
        are the arms that the claim compares, the better one first.
    rule : str
        How values become a verdict, in words, written before the measurement.
    judge : callable (values, settings) -> str
        The same in code: from values, name -> float64 [seeds], to one of VERDICTS.
    recipe : callable (settings, seed, device) -> dict of str to float
        Measures all quantities for one seed.
    profiles : dict of str to dict
        Profile -> settings of the recipe; "seeds" is how many of them a run measures.
    paper_values : dict of str to str, default {}
        Name -> the paper's value as text, for the quantities that have one.
    checkpoints : dict of str to str, default {}
        Name of a model that the recipe keeps -> which structures it was trained on, and which not.

    Raises
    ------
    ValueError
        A profile is missing, or a paper's value belongs to no quantity.
    """

    id: str
    lesson: int
    title: str
    source: str
    paper: str
    quantities: dict[str, str]
    rule: str
    judge: Judge
    recipe: Recipe
    profiles: dict[str, Settings]
    paper_values: dict[str, str] = dataclasses.field(default_factory=dict)
    checkpoints: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.profiles) != set(PROFILES):
            raise ValueError(
                f"claim {self.id!r}: needs settings for each of {', '.join(PROFILES)}."
            )
        if unknown := set(self.paper_values) - set(self.quantities):
            raise ValueError(
                f"claim {self.id!r}: paper_values names unknown quantities {sorted(unknown)}."
            )

    @property
    def arms(self) -> list[str]:
        """The first two quantities: what the claim compares."""
        return list(self.quantities)[:2]

    def settings(self, profile: str) -> Settings:
        """The recipe's settings under a profile, as they come back from json (tuples are lists).

        Parameters
        ----------
        profile : {"quick", "cpu", "full"}
            Which profile.

        Returns
        -------
        dict
            Name of a setting -> value.

        Raises
        ------
        ValueError
            There is no such profile.
        """
        if profile not in PROFILES:
            raise ValueError(
                f"There is no profile {profile!r}; choose one of {', '.join(PROFILES)}."
            )
        return json.loads(json.dumps(self.profiles[profile]))

    def verdict(self, values: Sequence[Values], settings: Settings) -> str:
        """The rule's verdict.

        Parameters
        ----------
        values : sequence of dict
            For each seed: name of a quantity -> value.
        settings : dict
            Settings under which they were measured.

        Returns
        -------
        str
            One of VERDICTS.

        Raises
        ------
        ValueError
            The rule gave something else.
        """
        verdict = self.judge(
            {name: np.array([v[name] for v in values]) for name in self.quantities}, settings
        )
        if verdict not in VERDICTS:
            raise ValueError(
                f"claim {self.id!r}: judge gave {verdict!r}, which is none of "
                f"{', '.join(VERDICTS)}."
            )
        return verdict


def recalled(text: str) -> str:
    """A number of a paper that was written from memory: marked so wherever it is printed.

    Parameters
    ----------
    text : str
        The number and its conditions.

    Returns
    -------
    str
        The text with a remark behind it.
    """
    return f"{text} (recalled, unverified)"


def register(claim: Claim) -> Claim:
    """Add a claim to the ledger.

    Parameters
    ----------
    claim : Claim
        The claim, with an id of its own.

    Returns
    -------
    Claim
        The same claim.

    Raises
    ------
    ValueError
        Its id is taken.
    """
    if claim.id in REGISTRY:
        raise ValueError(
            f"Each claim needs an id of its own, got {claim.id!r} for a second one: choose another."
        )
    REGISTRY[claim.id] = claim
    return claim


def claims() -> list[Claim]:
    """Every claim, in the order of the lessons.

    Returns
    -------
    list of Claim
        All that are registered.
    """
    return sorted(REGISTRY.values(), key=lambda c: c.lesson)


def get(claim_id: str) -> Claim:
    """The claim of a name.

    Parameters
    ----------
    claim_id : str
        Its id.

    Returns
    -------
    Claim
        The claim.

    Raises
    ------
    ValueError
        There is none; the message names the nearest one.
    TypeError
        The name is no text.
    """
    if not isinstance(claim_id, str):
        raise TypeError(f"A claim is named by text, got {claim_id!r}: see `scdlab claims`.")
    if claim_id in REGISTRY:
        return REGISTRY[claim_id]
    near = difflib.get_close_matches(claim_id, REGISTRY, n=1, cutoff=0)
    nearest = f" (the nearest is {near[0]!r})" if near else ""
    raise ValueError(
        f"A claim must be one of those that `scdlab claims` lists, got {claim_id!r}{nearest}."
    )


# What rules have in common


def direction(better: Sequence[float] | np.ndarray, worse: Sequence[float] | np.ndarray) -> str:
    """Which way the gap between two arms points.

    A direction is seen when every seed shows it and the mean gap exceeds the standard deviation of
    the gap over seeds.

    Parameters
    ----------
    better : array-like [seeds]
        Errors of the arm that should have the lower ones.
    worse : array-like [seeds]
        Errors of the other arm, of the same seeds.

    Returns
    -------
    {"paper", "opposite", "tie"}
        "paper" when `better` is lower.
    """
    gap = np.asarray(worse, float) - np.asarray(better, float)
    spread = gap.std(ddof=1) if len(gap) > 1 else np.inf  # one seed has no spread to compare with
    if abs(gap.mean()) <= spread or not (np.all(gap > 0) or np.all(gap < 0)):
        return "tie"
    return "paper" if gap.mean() > 0 else "opposite"


def graded(seen: str, at_scale: bool) -> str:
    """The verdict on a `direction`.

    Parameters
    ----------
    seen : {"paper", "opposite", "tie"}
        The direction.
    at_scale : bool
        Whether it was tested at the paper's own scale.

    Returns
    -------
    str
        One of VERDICTS.
    """
    if seen == "paper":
        return "reproduced" if at_scale else "same direction"
    if seen == "opposite":
        return "contradicted" if at_scale else "not seen at this scale"
    return "tie"
