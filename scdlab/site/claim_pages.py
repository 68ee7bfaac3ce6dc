"""The claims on the site: a table of all, and a page for each with everything that its record
holds."""

import json
from collections import Counter
from dataclasses import dataclass, field

from scdlab import claims
from scdlab.claims import Claim, OutdatedRecord, Record, Withdrawn, curves, load_record
from scdlab.claims.record import number
from scdlab.claims.show import pending, unit
from scdlab.claims.withdrawn import withdrawn

from .lesson_page import Section
from .outputs import Part, figure_part

LOOKS = {
    "reproduced": ("good", "✓"),
    "same direction": ("near", "↗"),
    "tie": ("even", "="),
    "not seen at this scale": ("open", "○"),
    "contradicted": ("against", "✗"),
    "not tested: mechanism off": ("open", "–"),
}
"""Verdict -> class of its label, and a sign, so that color is not all that tells them apart."""
_CURVES = ("night", "cpu", "full")


@dataclass(frozen=True)
class Row:
    """A quantity of a claim.

    Parameters
    ----------
    meaning : str
        What it is, with its unit.
    is_arm : bool
        Whether it is one of the two that the claim compares.
    paper : str
        The paper's value; empty without one.
    mean : str
        Mean and spread over seeds.
    range : str
        The lowest and the highest seed.
    seeds : list of str
        Each seed's value.
    """

    meaning: str
    is_arm: bool
    paper: str
    mean: str
    range: str
    seeds: list[str]


@dataclass
class ClaimPage:
    """What the page of a claim shows.

    Parameters
    ----------
    claim : Claim
        The claim.
    record : Record or None
        The record of its largest profile.
    outdated : str
        Why a record no longer fits its claim; empty otherwise.
    command : str
        What measures it.
    rows : list of Row
        Its quantities; the values are empty without a record.
    settings : dict of str to str
        Name -> value, of the recipe as it was run, or as it will be.
    precondition : str
        Whether the precondition holds; empty without one, or without a record.
    history : list of (Withdrawn, list of str)
        Records that were withdrawn, with their values.
    curves : Part or None
        Errors during the trainings.
    """

    claim: Claim
    record: Record | None
    outdated: str
    command: str
    rows: list[Row] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    precondition: str = ""
    history: list[tuple[Withdrawn, list[str]]] = field(default_factory=list)
    curves: Part | None = None

    @property
    def name(self) -> str:
        """File name of the page."""
        return f"claim-{self.claim.id}.html"

    @property
    def lesson(self) -> str:
        """Number of the lesson that teaches it."""
        return f"{self.claim.lesson:02d}"

    @property
    def verdict(self) -> str:
        """The verdict, or that there is none yet."""
        return (self.record.verdict or "") if self.record else "to be measured"

    @property
    def paper(self) -> str:
        """What the paper says, as sentences."""
        return _sentence(self.claim.paper)

    @property
    def source(self) -> str:
        """Where the paper says it, as a sentence."""
        return _sentence(self.claim.source)

    @property
    def look(self) -> str:
        """Class of the verdict's label."""
        return LOOKS.get(self.verdict, ("waiting", ""))[0]

    @property
    def sign(self) -> str:
        """A sign before the verdict."""
        return LOOKS.get(self.verdict, ("", "…"))[1]

    @property
    def section(self) -> Section:
        """What the search reads of it."""
        texts = [self.claim.id, self.claim.title, self.claim.paper, self.claim.source, self.verdict]
        text = " ".join([*texts, self.claim.written_rule])
        return Section(self.claim.title, "", text, self.name)


def _sentence(text: str) -> str:
    """A text of the ledger with a capital and a period."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def claim_pages() -> list[ClaimPage]:
    """The pages of all claims, in the order of the lessons.

    Returns
    -------
    list of ClaimPage
        One for each.

    Raises
    ------
    ValueError
        A record cannot be trusted.
    """
    todo = pending()
    history = withdrawn()
    return [_page(claim, todo.get(claim.id, ""), history) for claim in claims.claims()]


def verdicts_in_words(pages: list[ClaimPage]) -> str:
    """How many claims have which verdict.

    Parameters
    ----------
    pages : list of ClaimPage
        All claims.

    Returns
    -------
    str
        Such as "8 reproduced, 4 ties"; empty where none was measured.
    """
    found = Counter(page.verdict for page in pages if page.record)
    words = {verdict: verdict for verdict in LOOKS} | {"tie": "ties" if found["tie"] > 1 else "tie"}
    return ", ".join(f"{found[name]} {text}" for name, text in words.items() if found[name])


def forgotten() -> list[tuple[Withdrawn, list[str]]]:
    """Withdrawn records of claims that are no longer in the ledger.

    Returns
    -------
    list of (Withdrawn, list of str)
        The records, with their values.
    """
    there = {claim.id for claim in claims.claims()}
    return [
        (each, values_of(each.record)) for each in withdrawn() if each.record.claim not in there
    ]


def _page(claim: Claim, command: str, history: list[Withdrawn]) -> ClaimPage:
    try:
        record, outdated = load_record(claim.id), ""
    except OutdatedRecord as error:
        record, outdated = None, str(error)
    page = ClaimPage(claim, record, outdated, record.command if record else command)
    page.rows = [_row(claim, name, record) for name in claim.quantities]
    settings = record.settings if record else claim.settings(command.rpartition(" ")[2])
    page.settings = {name: json.dumps(value) for name, value in settings.items()}
    if claim.precondition is not None and record is not None:
        holds, _ = claim.tested(record.values, record.settings)
        page.precondition = "holds" if holds else "fails"
    page.history = [
        (each, values_of(each.record)) for each in history if each.record.claim == claim.id
    ]
    page.curves = _curves(claim)
    return page


def _row(claim: Claim, name: str, record: Record | None) -> Row:
    """A quantity's row."""
    meaning = claim.quantities[name] + (f" ({unit(name)})" if unit(name) else "")
    paper = claim.paper_values.get(name, "")
    arm = name in claim.arms
    if record is None:
        return Row(meaning, arm, paper, "", "", [])
    about = record.summary[name]
    return Row(
        meaning,
        arm,
        paper,
        record.text(name),
        f"{number(about['min'])} to {number(about['max'])}",
        [number(values[name]) for values in record.values],
    )


def values_of(record: Record) -> list[str]:
    """The values of a record in words, for one whose claim may have changed.

    Parameters
    ----------
    record : Record
        The record.

    Returns
    -------
    list of str
        One line for each quantity.
    """
    return [f"{name}: {record.text(name)}" for name in record.summary]


def _curves(claim: Claim) -> Part | None:
    """Errors during a claim's trainings, where they were kept."""
    for profile in _CURVES:
        found = curves.load_curves(claim.id, profile)
        if found is not None:
            arms = ", ".join(arm.label for arm in found.arms.values())
            alt = (
                f"Error on validation structures against training steps, in {found.unit}: a thin "
                f"line for each of {len(found.seeds)} seeds, a thick one for their mean. Arms: "
                f"{arms}."
            )
            return figure_part(json.loads(found.figure(title="").to_json() or "{}"), alt)
    return None
