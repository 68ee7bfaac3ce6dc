"""How well the reader knows what they know: how often they were right when they were sure.

Who is well calibrated is right more often the surer they are: `EXPECTED` says how often at least.
"""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scdlab.lessons.guess_words import is_right
from scdlab.lessons.guesses import SURENESS, Kept, is_headless, read_guesses
from scdlab.lessons.metrics import show_html

# share of right guesses that the words stand for: from, to
EXPECTED = {"guess": (0.0, 0.6), "fairly": (0.5, 0.9), "certain": (0.85, 1.0)}
FEW = 4  # from so many guesses of one kind on, something can be concluded
_VERDICTS = {
    -1: "less often right than that promises",
    0: "as it should be",
    1: "you know more than you think",
}


@dataclass(frozen=True)
class Level:
    """What became of the guesses of one sureness.

    Parameters
    ----------
    sure : str
        A key of `SURENESS`.
    right : int
        How many were right.
    total : int
        How many there are.
    """

    sure: str
    right: int
    total: int

    @property
    def off(self) -> int:
        """Whether right ones are rarer than the word promises, -1, or more frequent, 1; else 0,
        also where there are too few."""
        if self.total < FEW:
            return 0
        low, high = EXPECTED[self.sure]
        share = self.right / self.total
        return int(share > high) - int(share < low)

    @property
    def verdict(self) -> str:
        """What the share of right ones says, in a few words."""
        if self.total < FEW:
            return "too few to say"
        return _VERDICTS[self.off]


def levels(guesses: Iterable[Kept]) -> list[Level]:
    """Right guesses by how sure they were, of those made before the answer was shown.

    Parameters
    ----------
    guesses : iterable of Kept
        The guesses.

    Returns
    -------
    list of Level
        One for each sureness, from guessing to certain.
    """
    counted = [each for each in guesses if each.counts()]
    found = []
    for sure in SURENESS:
        own = [is_right(each) for each in counted if (each.sure or "guess") == sure]
        found.append(Level(sure, sum(own), len(own)))
    return found


def summary(found: list[Level]) -> str:
    """What the guesses say of the reader, in one or two sentences.

    Parameters
    ----------
    found : list of Level
        As `levels` gives them.

    Returns
    -------
    str
        The sentences.
    """
    total = sum(each.total for each in found)
    if not total:
        return (
            "None of your guesses has met its answer yet: guess in the boxes of the lessons before "
            "you run the cells below them."
        )
    right = sum(each.right for each in found)
    start = f"So far {right} of your {total} guesses {'was' if right == 1 else 'were'} right."
    if total == 1:
        start = f"So far you have made one guess, and it was {'right' if right else 'not right'}."
    too_sure = [SURENESS[each.sure] for each in found if each.off < 0]
    modest = [SURENESS[each.sure] for each in found if each.off > 0]
    if too_sure:
        return (
            f"{start} When you said “{too_sure[-1]}”, you were right less often than that promises."
        )
    if modest:
        return f"{start} When you said “{modest[0]}”, you knew more than you thought."
    if any(each.total >= FEW for each in found):
        return f"{start} You were about as often right as your words promise."
    return f"{start} That is too few to say how well calibrated you are."


def calibration() -> None:
    """Show how often the reader was right at each level of sureness, over all lessons so far.

    A number counts as right within a factor of two of what was measured (percentages within 10
    points, angles within 15°), unless its question says otherwise; a choice if it was the answer.
    """
    guesses, note = read_guesses()
    if is_headless():
        show_html(*_headless(guesses))
        return
    found = levels(guesses.values())
    words = " ".join(filter(None, [summary(found), note]))
    rows = "".join(
        f"<tr><th scope='row' style='text-align:left'>{SURENESS[each.sure]}</th>"
        f"<td>{each.right} of {each.total}</td><td>{_promise(each.sure)}</td>"
        f"<td style='text-align:left'>{each.verdict if each.total else '—'}</td></tr>"
        for each in found
    )
    head = "".join(
        f"<th scope='col'>{name}</th>" for name in ("you said", "right", "should be", "so")
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    plain = "\n".join(
        [words, *(f"{SURENESS[each.sure]}: {each.right} of {each.total} right" for each in found)]
    )
    show_html(f"<div class='scdlab-calibration'><p>{html.escape(words)}</p>{table}</div>", plain)


def _headless(guesses: Mapping[str, Kept]) -> tuple[str, str]:
    """What stands there without a reader, as html and as text."""
    counted = [each for each in guesses.values() if each.counts()]
    right = sum(is_right(each) for each in counted)
    words = (
        f"Nobody guessed in this run: {right} of its {len(counted)} stored guesses were right. In "
        "JupyterLab this cell shows how often you were, and how sure you had been."
    )
    return f"<p class='scdlab-calibration'>{html.escape(words)}</p>", words


def _promise(sure: str) -> str:
    """How often who says so should be right."""
    low, high = EXPECTED[sure]
    if low == 0:
        return f"up to {100 * high:.0f} %"
    return f"{100 * low:.0f} % or more" if high == 1 else f"{100 * low:.0f} to {100 * high:.0f} %"
