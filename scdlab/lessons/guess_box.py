"""The box that takes a guess: a plain form, for the keyboard and for screen readers as well.

The browser's part is `static/guess.js`: a label for each field, groups with their legends, a note
that is read out when it changes, the fields in the order in which they are read.
"""

import html
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anywidget
import traitlets

from scdlab.files import package_text
from scdlab.lessons.guesses import SURENESS

static_file = partial(package_text, "scdlab.lessons", "static")


class GuessBox(anywidget.AnyWidget):
    """The form of one question.

    Parameters
    ----------
    question : str
        The question.
    unit : str
        Of a number; empty for a pure number and for choices.
    choices : sequence of str
        What can be chosen; empty for a number.
    answer, sure : str
        What the fields hold at first.
    note : str
        The sentence below the fields.
    closed : bool
        Whether the fields cannot be changed any more.
    submit : callable (answer, sure) -> bool
        Called with what the reader sends.
    """

    _esm = static_file("guess.js")
    _css = static_file("lessons.css")
    question = traitlets.Unicode().tag(sync=True)
    unit = traitlets.Unicode().tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    levels = traitlets.List().tag(sync=True)
    answer = traitlets.Unicode().tag(sync=True)
    sure = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    invalid = traitlets.Bool(False).tag(sync=True)
    closed = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        *,
        question: str,
        unit: str,
        choices: Sequence[str],
        answer: str,
        sure: str,
        note: str,
        closed: bool,
        submit: Callable[[str, str], bool],
    ):
        super().__init__(
            question=question,
            unit=unit,
            choices=list(choices),
            levels=[list(each) for each in SURENESS.items()],
            answer=answer,
            sure=sure,
            note=note,
            closed=closed,
        )
        self._submit = submit
        self.on_msg(self._receive)

    def send_answer(self, answer: str, sure: str) -> None:
        """Take an answer as the browser sends it.

        Parameters
        ----------
        answer : str
            What stands in the field, or the choice; empty without one.
        sure : str
            A key of `SURENESS`; empty where nothing was chosen.
        """
        self.answer = answer
        self.sure = sure
        self._submit(answer, sure)

    def still(self) -> str:
        """The question as html, for places without a kernel.

        Returns
        -------
        str
            The html.
        """
        choices = "".join(f"<li>{html.escape(each)}</li>" for each in self.choices)
        listed = f"<ul>{choices}</ul>" if choices else ""
        unit = f" (a number in {html.escape(self.unit)})" if self.unit else ""
        asked = {"question": self.question, "unit": self.unit, "choices": self.choices}
        return (
            f"<div class='scdlab-guess' data-asked='{html.escape(json.dumps(asked))}' "
            "style='border:1px solid #8C8C8C;border-radius:4px;padding:8px 12px;margin:4px 0'>"
            f"<p><b>Your guess?</b> {html.escape(self.question)}"
            f"{unit}</p>{listed}<p>In JupyterLab a box here keeps it. On this page, decide before "
            "you read on.</p></div>"
        )

    def _receive(self, widget: Any, content: Any, buffers: Any) -> None:
        """A message of the browser."""
        answer = content.get("answer") if isinstance(content, dict) else None
        sure = content.get("sure") if isinstance(content, dict) else None
        if isinstance(answer, str) and isinstance(sure, str):
            self.send_answer(answer, sure)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live box, and the question for places without a kernel."""
        live: Any = super()._repr_mimebundle_(**kwargs)
        data, about = live
        return data | {"text/html": self.still()}, about
