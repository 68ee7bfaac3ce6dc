"""The reader's prediction before a result, and the result beside it.

    guess = lessons.predict("How long is a C–H bond?", unit="Å", name="00-bond", stored=2.0)
    …
    guess.reveal(1.09)  # You said 2 Å (fairly sure); measured: 1.09 Å, 1.8 times less.

`predict` shows a box and goes on at once: nothing waits for the reader. What they write is kept in
their own folder (`scdlab.lessons.guesses`), so that a cell can be run again, and the lesson another
day. Where nobody is there to answer, the stored guess stands in.
"""

import html
import math
import numbers
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display

from scdlab.explore import style
from scdlab.lessons.guess_box import GuessBox
from scdlab.lessons.guess_marks import mark
from scdlab.lessons.guess_words import Unreadable, answer_text, read_number, sentence
from scdlab.lessons.guesses import RECORD, SURENESS, Kept, is_headless, keep, read_guesses
from scdlab.lessons.metrics import show_html, show_marked

_NAME = re.compile(r"\d\d[a-z]?-[a-z0-9]+(-[a-z0-9]+)*")


class Guess:
    """A question to the reader, their guess, and the sentence that compares it with the answer.

    Made by `predict`.

    Parameters
    ----------
    name : str
        Under which the guess is kept.
    asked : Kept
        The question, without a guess.
    stored : float or str
        The guess where no reader is there.

    Attributes
    ----------
    headless : bool
        Whether the stored guess stands for a reader's.
    box : GuessBox
        The box that takes the guess.
    """

    def __init__(self, name: str, asked: Kept, stored: float | str):
        self.name = name
        self.headless = is_headless()
        self._asked = asked
        self._stored = stored
        self._note = ""
        kept = self.kept
        self.box = GuessBox(
            question=asked.question,
            unit=asked.unit or "",
            choices=asked.choices or [],
            answer="" if kept.guess is None else _written(kept.guess),
            sure=kept.sure or "",
            note=self._standing(kept),
            closed=kept.counts(),
            submit=self.submit,
        )

    @property
    def kept(self) -> Kept:
        """What is kept of the question: the guess, and what was measured once it was revealed."""
        entries, note = read_guesses()
        self._note = note or self._note
        kept = entries.get(self.name, self._asked)
        if (kept.unit, kept.choices) != (self._asked.unit, self._asked.choices):
            kept = self._asked  # the lesson asks for something else now
        if self.headless and kept.guess is None:
            return replace(self._asked, guess=self._stored, measured=kept.measured)
        return replace(kept, question=self._asked.question, within=self._asked.within)

    @property
    def value(self) -> float | str | None:
        """The guess; None where there is none yet."""
        return self.kept.guess

    def submit(self, answer: str, sure: str) -> bool:
        """Take what the reader wrote into the box.

        Parameters
        ----------
        answer : str
            A number as text, or one of the choices.
        sure : {"guess", "fairly", "certain"}
            How sure they are.

        Returns
        -------
        bool
            Whether it was kept; where it was not, the box says why.
        """
        kept = self.kept
        if kept.counts():
            return self._say(self._standing(kept), closed=True)
        try:
            guess = self._read(answer)
            if sure not in SURENESS:
                raise Unreadable(
                    "How sure you are is missing: choose one of "
                    f"{', '.join(SURENESS.values())}, then keep the guess."
                )
        except Unreadable as problem:
            return self._say(str(problem), invalid=True)
        kept = replace(kept, guess=guess, sure=sure, late=kept.measured is not None)
        trouble = keep(self.name, kept, self.headless)
        self._note = ""
        self._say(" ".join(filter(None, [self._standing(kept), trouble])))
        return True

    def sentence(self, value: float | str) -> str:
        """What `reveal` says, without showing or keeping anything.

        Parameters
        ----------
        value : float or str
            What was found.

        Returns
        -------
        str
            One sentence.
        """
        return sentence(replace(self.kept, measured=self._checked(value)), self.headless)

    def reveal(self, value: float | str, figure: Any = None, axis: str = "x") -> None:
        """Show in one sentence how the guess compares with what was found, and draw it into a
        figure.

        Parameters
        ----------
        value : float or str
            What was found: a number in the unit of the question, or one of its choices.
        figure : plotly.graph_objects.Figure, optional
            Gets a line at the guess, or a mark at the choice; show it afterwards.
        axis : str, default "x"
            The figure's axis that a number lies on: "x", "y", or that of another panel, as "x2".

        Raises
        ------
        ValueError
            For a number that is not finite, a text that is no choice, or an unknown axis.
        TypeError
            For an answer of another kind, or a figure that is none of plotly's.
        """
        measured = self._checked(value)
        if figure is not None:
            mark(figure, self.value, self._asked.unit, axis, self.headless)
        kept = replace(self.kept, measured=measured)
        trouble = keep(self.name, kept, self.headless)
        words = sentence(kept, self.headless)
        shown = html.escape(" ".join(filter(None, [words, trouble])))
        record = None if self.headless else {RECORD: {self.name: asdict(kept)}}
        show_marked(shown, words, style.BLUE, "scdlab-reveal", record)
        if kept.counts() and not self.headless:
            self._say(self._standing(kept), closed=True)

    def show(self) -> None:
        """Show the box; where no reader is there, the question."""
        if self.headless:
            show_html(self.box.still(), f"Predict: {self._asked.question}")
        elif get_ipython() is not None:
            display(self.box)

    def _read(self, answer: str) -> float | str:
        """The reader's answer, or Unreadable."""
        choices = self._asked.choices
        if choices is None:
            return read_number(answer, self._asked.unit)
        if answer not in choices:
            raise Unreadable("Your guess is missing: choose one of the answers, then keep it.")
        return answer

    def _checked(self, value: Any) -> float | str:
        """What was found, of the kind that was asked for."""
        return _checked(value, self._asked.choices, f"The answer to {self.name!r}")

    def _standing(self, kept: Kept) -> str:
        """What the box says below a guess."""
        parts = [self._note]
        if kept.guess is not None and kept.sure is not None:
            said = f"{answer_text(kept.guess, kept.unit)} ({SURENESS[kept.sure]})"
            if kept.counts():
                parts.append(f"The answer has been shown, so your guess stays: {said}.")
            else:
                parts.append(f"Your guess is kept: {said}. Now run the next cells.")
        return " ".join(filter(None, parts))

    def _say(self, note: str, invalid: bool = False, closed: bool = False) -> bool:
        """Show a sentence in the box; returns False."""
        with self.box.hold_trait_notifications():
            self.box.note = note
            self.box.invalid = invalid
            self.box.closed = closed
        return False


def predict(
    question: str,
    unit: str | None = None,
    choices: Sequence[str] | None = None,
    *,
    name: str,
    stored: float | str,
    within: float | None = None,
) -> Guess:
    """Show a box that takes the reader's guess, before the lesson shows the answer.

    Parameters
    ----------
    question : str
        The question, plain text.
    unit : str, optional
        Of the number that is asked for; a pure number without unit and choices.
    choices : sequence of str, optional
        Answers to choose from, in place of a number.
    name : str
        Under which the guess is kept: the lesson's number and words, as "02-bond-sigma".
    stored : float or str
        The guess where no reader is there: plausible, and not always right.
    within : float, optional
        How far from the measured number a guess still counts as right; by default within 10 points
        of percentages, 15 degrees, and a factor of two of anything else.

    Returns
    -------
    Guess
        Its `reveal(value)` shows the answer beside the guess.

    Raises
    ------
    ValueError
        An empty question, a name of another form, both a unit and choices, fewer than two choices
        or equal ones, a stored guess that is none of them or not finite, or a bad tolerance.
    TypeError
        An argument of another kind.
    """
    if not isinstance(question, str):
        raise TypeError(f"The question must be text, got {type(question).__name__}.")
    if not question.strip():
        raise ValueError("The question must have words, got an empty text.")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"The name of a guess must be a lesson's number and words, as '02-bond-sigma', got "
            f"{name!r}."
        )
    if unit is not None and not isinstance(unit, str):
        raise TypeError(f"The unit must be text, got {type(unit).__name__}.")
    if unit is not None and choices is not None:
        raise ValueError("A question has a unit or choices, got both: leave one out.")
    listed = _listed(choices)
    if within is not None:
        within = float(_checked(within, None, "within"))
        if within < 0:
            raise ValueError(f"within must not be negative, got {within}.")
    checked = _checked(stored, listed, "The stored guess")
    guess = Guess(name, Kept(question.strip(), unit, listed, within), checked)
    guess.show()
    return guess


def _listed(choices: Sequence[str] | None) -> list[str] | None:
    """The choices as a list, checked."""
    if choices is None:
        return None
    if isinstance(choices, str) or not all(isinstance(each, str) for each in choices):
        raise TypeError(f"The choices must be several texts, got {choices!r}.")
    listed = list(choices)
    if len(listed) < 2 or len(set(listed)) < len(listed):
        raise ValueError(f"The choices must be two or more different texts, got {listed}.")
    return listed


def _checked(value: Any, choices: list[str] | None, what: str) -> float | str:
    """A number as a finite float, or one of the choices."""
    if choices is not None:
        if value not in choices:
            raise ValueError(f"{what} must be one of {', '.join(choices)}, got {value!r}.")
        return value
    if hasattr(value, "item"):  # numpy scalars and 0-d tensors
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} must be a number, got {type(value).__name__}.")
    if not math.isfinite(value):
        raise ValueError(f"{what} must be a finite number, got {value}.")
    return float(value)


def _written(guess: float | str) -> str:
    """A guess as it stands in the box."""
    return guess if isinstance(guess, str) else f"{guess:.12g}"
