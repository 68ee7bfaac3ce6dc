"""A claim: what a paper states, the recipe that tests it here, and the rule that judges it.

A `Claim` is written down before anything is measured: the paper's statement and number, a recipe
built from the public names of `scdlab`, and the rule that turns measured values into a verdict.

Verdicts: *reproduced* (the paper's statement holds as the paper puts it), *same direction* (the
effect has the paper's sign under a weaker contrast or at a smaller scale), *tie* (the difference is
within the seeds' spread), *not seen at this scale* (the opposite, far from the paper's conditions),
*contradicted* (the opposite, under its conditions), *not tested: mechanism off* (what the claim
rests on did not act in the measured runs: its precondition does not hold).
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Settings = dict[str, Any]  # of a recipe, for one profile
Values = dict[str, float]  # what a recipe measured for one seed: name of a quantity -> value
Arrays = dict[str, np.ndarray]  # the same over seeds: name -> float64 [seeds]
Recipe = Callable[[Settings, int, str], Values]  # (settings, seed, device)
Judge = Callable[[Arrays, Settings], str]  # -> one of VERDICTS

PROFILES = ("quick", "cpu", "night", "full")
"""Sizes in which a claim can be measured: mechanics, two cores, hours on two cores, one GPU."""
RECORDED = PROFILES[1:]
"""The profiles that are recorded; the quick one never is."""
NOT_TESTED = "not tested: mechanism off"
"""The verdict where a claim's precondition does not hold."""
VERDICTS = (
    "reproduced",
    "same direction",
    "not seen at this scale",
    "contradicted",
    "tie",
    NOT_TESTED,
)
"""The verdicts that a measurement can have on a claim."""
REGISTRY: dict[str, "Claim"] = {}  # id -> claim, in the order of registration


@dataclasses.dataclass(frozen=True)
class Precondition:
    """What must be measured in the same run before a claim is tested at all.

    Parameters
    ----------
    text : str
        The condition in words, written before the measurement, one sentence.
    holds : callable (values, settings) -> bool
        The same in code: from values, name -> float64 [seeds]. It reads quantities of the claim.
    """

    text: str
    holds: Callable[[Arrays, Settings], bool]


class _Noted(dict[str, np.ndarray]):
    """Values that note which of them were read, in order."""

    def __init__(self, values: Arrays) -> None:
        super().__init__(values)
        self.read: dict[str, None] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        self.read[name] = None
        return super().__getitem__(name)


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
        The paper's number and conditions, in words.
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
        Profile -> settings of the recipe, for "quick" and at least one more of PROFILES; "seeds" is
        how many of them a run measures, counted from 0, or a list of those that it measures.
    paper_values : dict of str to str, default {}
        Name -> the paper's value as text, for the quantities that have one.
    checkpoints : dict of str to str, default {}
        Name of a model that the recipe keeps -> which structures it was trained on, and which not.
    precondition : Precondition, optional
        What must hold for the claim to be tested; where it does not, the verdict is NOT_TESTED.
        None by default.
    hours : dict of str to float, default {}
        Profile -> estimated core hours of all its seeds.
    worth : int, default 0
        How much the result matters; a night measures claims of larger worth for an hour first.
    checkpoint_tests : dict of str to dict, default {}
        Name of a checkpoint -> what its provenance holds beside: name of an entry -> quantity, such
        as its error on structures that it has not seen.

    Raises
    ------
    ValueError
        There are no settings for "quick" or none beside them, a profile is unknown, a paper's value
        belongs to no quantity, the hours are no positive numbers of profiles that the claim has, or
        a test belongs to no quantity or no checkpoint.
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
    precondition: Precondition | None = None
    hours: Mapping[str, float] = dataclasses.field(default_factory=dict)
    worth: int = 0
    checkpoint_tests: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        given = set(self.profiles)
        if "quick" not in given or len(given) < 2 or not given <= set(PROFILES):
            raise ValueError(
                f"claim {self.id!r}: needs settings for quick and at least one more of "
                f"{', '.join(RECORDED)}, and for no other profile; got "
                f"{', '.join(map(repr, self.profiles)) or 'none'}."
            )
        for profile, hours in self.hours.items():
            if profile not in given or not (math.isfinite(hours) and hours > 0):
                raise ValueError(
                    f"claim {self.id!r}: hours must be positive numbers for profiles that it has "
                    f"settings for, got {profile!r}: {hours!r}."
                )
        if unknown := set(self.paper_values) - set(self.quantities):
            raise ValueError(
                f"claim {self.id!r}: paper_values names unknown quantities {sorted(unknown)}."
            )
        if unknown := set(self.checkpoint_tests) - set(self.checkpoints):
            raise ValueError(
                f"claim {self.id!r}: checkpoint_tests names unknown checkpoints {sorted(unknown)}."
            )
        tested = {name for tests in self.checkpoint_tests.values() for name in tests.values()}
        if unknown := tested - set(self.quantities):
            raise ValueError(
                f"claim {self.id!r}: checkpoint_tests names unknown quantities {sorted(unknown)}."
            )

    @property
    def arms(self) -> list[str]:
        """The first two quantities: what the claim compares."""
        return list(self.quantities)[:2]

    @property
    def written_rule(self) -> str:
        """The rule with the precondition before it, as records hold it."""
        if self.precondition is None:
            return self.rule
        return f"Precondition: {self.precondition.text} {self.rule}"

    def settings(self, profile: str) -> Settings:
        """The recipe's settings under a profile, as they come back from json (tuples are lists).

        Parameters
        ----------
        profile : {"quick", "cpu", "night", "full"}
            Which profile.

        Returns
        -------
        dict
            Name of a setting -> value.

        Raises
        ------
        ValueError
            There is no such profile, or the claim has no settings for it.
        """
        if profile not in PROFILES:
            raise ValueError(
                f"There is no profile {profile!r}; choose one of {', '.join(PROFILES)}."
            )
        if profile not in self.profiles:
            there = [name for name in PROFILES if name in self.profiles]
            raise ValueError(
                f"The claim {self.id!r} has no settings for the profile {profile!r}: choose one of "
                f"{', '.join(there)}."
            )
        return json.loads(json.dumps(self.profiles[profile]))

    def verdict(self, values: Sequence[Values], settings: Settings) -> str:
        """The rule's verdict, where the precondition holds.

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
            A quantity is missing or not finite, or the rule gave something else.
        """
        arrays = self._arrays(values)
        if not self.tested(values, settings)[0]:
            return NOT_TESTED
        verdict = self.judge(arrays, settings)
        if verdict not in VERDICTS:
            raise ValueError(
                f"claim {self.id!r}: judge gave {verdict!r}, which is none of "
                f"{', '.join(VERDICTS)}."
            )
        return verdict

    def tested(self, values: Sequence[Values], settings: Settings) -> tuple[bool, list[str]]:
        """Whether the precondition holds, and which quantities decided that.

        Parameters
        ----------
        values : sequence of dict
            For each seed: name of a quantity -> value.
        settings : dict
            Settings under which they were measured.

        Returns
        -------
        holds : bool
            True for a claim without a precondition.
        names : list of str
            The quantities that it was read from, in the order of the claim.

        Raises
        ------
        ValueError
            It cannot be measured: a quantity is missing or not finite, it reads one that the claim
            does not have, or it gives neither true nor false.
        """
        if self.precondition is None:
            return True, []
        noted = _Noted(self._arrays(values))
        try:
            holds = self.precondition.holds(noted, settings)
        except KeyError as error:
            raise ValueError(
                f"The precondition of {self.id!r} cannot be measured: it reads {error.args[0]!r}, "
                f"which is neither a quantity of the claim ({', '.join(self.quantities)}) nor one "
                "of its settings."
            ) from error
        if not isinstance(holds, bool | np.bool_):
            raise ValueError(
                f"The precondition of {self.id!r} must be true or false, got "
                f"{type(holds).__name__} {holds!r}: reduce it over the seeds, as in bool((x > 2)"
                ".all())."
            )
        return bool(holds), [name for name in self.quantities if name in noted.read]

    def _arrays(self, values: Sequence[Values]) -> Arrays:
        """Values over seeds; ValueError for one that is missing or not finite."""
        for name in self.quantities:
            if not all(name in v and math.isfinite(v[name]) for v in values):
                raise ValueError(
                    f"There is no verdict on {self.id!r}: its recipe must measure {name} as a "
                    "finite number for every seed."
                )
        return {name: np.array([v[name] for v in values]) for name in self.quantities}


def seeds_of(settings: Settings) -> list[int]:
    """The seeds that settings ask for.

    Parameters
    ----------
    settings : dict
        With "seeds": how many, counted from 0, or a list of them.

    Returns
    -------
    list of int
        The seeds, in order.
    """
    seeds = settings["seeds"]
    return list(seeds) if isinstance(seeds, list | tuple) else list(range(seeds))


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
