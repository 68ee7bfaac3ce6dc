"""The quiz at the end of a lesson: five questions, and the reason why each answer is right or not.

The questions of lesson NN are the list `QUESTIONS` in `scdlab/lessons/quizzes/lessonNN.py`. What is
shown is plain html with a `<details>` element for each question and each answer: it works with the
keyboard, in JupyterLab and on an exported page, whether a kernel runs or not.
"""

import html
import importlib
import importlib.util
import random
import re
from dataclasses import dataclass

from scdlab.lessons.metrics import show_html

_LOOK = "border:1px solid #8C8C8C;border-radius:4px;padding:6px 12px;margin:6px 0;max-width:720px"


@dataclass(frozen=True)
class Question:
    """A question with its answers.

    Parameters
    ----------
    text : str
        The question, plain text.
    choices : dict
        Answer -> why it is right, for the first one, or wrong, for the others.
    """

    text: str
    choices: dict[str, str]

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise ValueError(f"A question must have words, got {self.text!r}.")
        if not isinstance(self.choices, dict) or len(self.choices) < 2:
            raise ValueError(
                f"The question {self.text!r} must have two or more choices, each with its reason, "
                f"got {self.choices!r}."
            )
        for choice, reason in self.choices.items():
            for words in (choice, reason):
                if not isinstance(words, str) or not words.strip():
                    raise ValueError(
                        f"Each choice of the question {self.text!r} must be a text with a reason, "
                        f"got {choice!r}: {reason!r}."
                    )

    @property
    def right(self) -> str:
        """The right answer."""
        return next(iter(self.choices))

    def shuffled(self, seed: int) -> list[str]:
        """The answers in the order in which they are shown.

        Parameters
        ----------
        seed : int
            The same seed gives the same order.

        Returns
        -------
        list of str
            All answers.
        """
        order = list(self.choices)
        random.Random(f"{seed}:{self.text}").shuffle(order)
        return order


def questions(lesson: str | int) -> list[Question]:
    """The questions of a lesson.

    Parameters
    ----------
    lesson : str or int
        Its number, as "02", 2 or "02b".

    Returns
    -------
    list of Question
        The questions.

    Raises
    ------
    ValueError
        For a lesson without a quiz.
    """
    number = f"{lesson:02d}" if isinstance(lesson, int) else str(lesson)
    name = f"scdlab.lessons.quizzes.lesson{number}"
    if not re.fullmatch(r"\d\d[a-z]?", number) or importlib.util.find_spec(name) is None:
        raise ValueError(
            f"The lesson of a quiz must be one that has one, such as '02', got {lesson!r}: the "
            "questions stand in scdlab/lessons/quizzes/lessonNN.py."
        )
    return importlib.import_module(name).QUESTIONS


def quiz(lesson: str | int) -> None:
    """Show the quiz of a lesson.

    Parameters
    ----------
    lesson : str or int
        Its number, as "02", 2 or "02b".

    Raises
    ------
    ValueError
        For a lesson without a quiz.
    """
    asked = questions(lesson)
    show_html(quiz_html(asked), quiz_text(asked))


def quiz_html(asked: list[Question], seed: int = 0) -> str:
    """The quiz as html: a `<details>` for each question, and within it one for each answer.

    Parameters
    ----------
    asked : list of Question
        The questions.
    seed : int, default 0
        Of the order of the answers.

    Returns
    -------
    str
        The html.
    """
    parts = []
    for number, question in enumerate(asked, start=1):
        answers = ""
        for choice in question.shuffled(seed):
            mark = "✓ Right." if choice == question.right else "✗ Not this one."
            answers += (
                f"<li style='margin:4px 0'><details><summary>{html.escape(choice)}</summary>"
                f"<p style='margin:2px 0 6px 16px'><b>{mark}</b> "
                f"{html.escape(question.choices[choice])}</p></details></li>"
            )
        parts.append(
            f"<details style='{_LOOK}'><summary><b>{number}.</b> {html.escape(question.text)}"
            f"</summary><ul style='list-style:none;padding-left:16px'>{answers}</ul></details>"
        )
    # JupyterLab's keys stay out of it: Enter opens an answer, and does not edit the cell
    return f"<div class='scdlab-quiz' data-lm-suppress-shortcuts='true'>{''.join(parts)}</div>"


def quiz_text(asked: list[Question], seed: int = 0) -> str:
    """The quiz as plain text: the questions with their answers, without the reasons.

    Parameters
    ----------
    asked : list of Question
        The questions.
    seed : int, default 0
        Of the order of the answers.

    Returns
    -------
    str
        The text.
    """
    lines = []
    for number, question in enumerate(asked, start=1):
        lines.append(f"{number}. {question.text}")
        lines += [f"   - {choice}" for choice in question.shuffled(seed)]
    return "\n".join(lines)
