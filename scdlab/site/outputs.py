"""The outputs of a lesson's cells as parts of a page.

A figure and a 3-D view reach the page as data that its script draws; a widget that needs a kernel
is the picture it carries, with a link to the stop of the live page where the same can be tried; a
question of the quiz and a guess are forms.
"""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbconvert.filters.ansi import ansi2html

from scdlab.explore.words import DESCRIPTION, STRUCTURE
from scdlab.lessons.guesses import SURENESS
from scdlab.lessons.html import PLOTLY, WIDGET, image, is_seen
from scdlab.lessons.quizzes import Question, questions

from .course import Stop

SVG = "image/svg+xml"
PICTURES = ("image/png", "image/jpeg")
_3D = ("3d", "gl", "surface")
_ASKED = re.compile(r"class='scdlab-guess' data-asked='([^']*)'")


@dataclass
class Part:
    """One output on a page.

    Parameters
    ----------
    kind : {"figure", "view", "picture", "guess", "quiz", "html", "text", "error"}
        How the template draws it.
    content : str, default ""
        Html.
    data : str, default ""
        Json for the page's script, as `json_for_page` gives it.
    alt : str, default ""
        What it shows, for readers who do not see it.
    height : int, default 0
        Of a figure, in pixels.
    is_3d : bool, default False
        Whether a figure is drawn in 3-D, of which a browser holds only a few at a time.
    panels : bool, default False
        Whether a figure has several panels beside one another, and so scrolls in a narrow window.
    size : list of float
        Width, and height of a 3-D view, in pixels.
    stop : Stop, optional
        Where the same can be tried.
    questions : list of Question
        Those of a quiz.
    guess : dict
        Question, unit and choices of a guess, and levels of how sure one is.
    """

    kind: str
    content: str = ""
    data: str = ""
    alt: str = ""
    height: int = 0
    is_3d: bool = False
    panels: bool = False
    size: list[float] = field(default_factory=list)
    stop: Stop | None = None
    questions: list[Question] = field(default_factory=list)
    guess: dict[str, Any] = field(default_factory=dict)

    @property
    def is_seen(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.content or self.data or self.questions or self.guess)


def json_for_page(value: Any) -> str:
    """A value as json that may stand within a script element.

    Parameters
    ----------
    value : object
        What json can hold.

    Returns
    -------
    str
        The json, in which no tag begins.
    """
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def parts_of(
    outputs: list[Mapping[str, Any]],
    widgets: Mapping[str, Mapping[str, Any]],
    stop: Stop | None,
    number: str,
) -> list[Part]:
    """What a page shows of a cell's outputs.

    Parameters
    ----------
    outputs : list of dict
        The outputs, as the notebook has them.
    widgets : mapping
        Id of a widget -> what it holds.
    stop : Stop or None
        Where the widgets of this cell can be tried.
    number : str
        Of the lesson, for its quiz.

    Returns
    -------
    list of Part
        One for each output that is seen.
    """
    parts = []
    for output in outputs:
        if output["output_type"] == "stream":
            parts.append(Part("text", str(ansi2html(output["text"]))))
        elif output["output_type"] == "error":
            parts.append(Part("error", str(ansi2html("\n".join(output["traceback"])))))
        elif is_seen(output["data"]):
            parts += _parts_of_data(output["data"], widgets, stop, number)
    return [part for part in parts if part.is_seen]


def _parts_of_data(
    data: Mapping[str, Any],
    widgets: Mapping[str, Mapping[str, Any]],
    stop: Stop | None,
    number: str,
) -> list[Part]:
    """The parts of one output that has several forms: the one that shows most."""
    state = widgets.get(data.get(WIDGET, {}).get("model_id", ""), {})
    described = data.get(DESCRIPTION, "")
    if "scene" in state and "webgl" in state:
        return [_view(state, data, described)]
    live = stop if WIDGET in data else None
    if live is not None and STRUCTURE in data:
        live = live.showing(data[STRUCTURE])
    if PLOTLY in data:
        part = figure_part(data[PLOTLY], described)
        part.stop = live
        with_still = (data[PLOTLY].get("layout", {}).get("meta") or {}).get("with_still")
        still = [Part("picture", image(data[SVG]))] if with_still and SVG in data else []
        return [*still, part]
    if SVG in data:
        return [Part("picture", image(data[SVG]), stop=live)]
    for mime in PICTURES:
        if mime in data:
            source = f"data:{mime};base64,{data[mime].strip()}"
            return [Part("picture", f'<img alt="{html.escape(described)}" src="{source}">')]
    if "text/html" in data:
        return [_html(data["text/html"], live, number)]
    if "text/plain" in data:
        return [Part("text", html.escape(data["text/plain"]))]
    return []


def _html(written: str, live: Stop | None, number: str) -> Part:
    """A quiz and a guess as forms, other html as it is."""
    if "class='scdlab-quiz'" in written:
        return Part("quiz", questions=questions(number))
    if asked := _ASKED.search(written):
        return Part("guess", guess={**json.loads(html.unescape(asked[1])), "levels": SURENESS})
    return Part("html", written, stop=live)


def figure_part(content: Mapping[str, Any], described: str) -> Part:
    """A plotly figure, as wide as the page lets it be.

    Parameters
    ----------
    content : mapping
        Its data and layout, as plotly writes them.
    described : str
        Its alternative text; empty for the one that it carries.

    Returns
    -------
    Part
        The figure.
    """
    figure = {name: content[name] for name in ("data", "layout", "frames") if name in content}
    layout = figure["layout"] = dict(figure.get("layout", {}))
    width = layout.pop("width", None)
    meta = layout.get("meta") or {}
    alt = described or str(meta.get("alt", ""))
    size = [width] if width else []
    return Part(
        "figure",
        data=json_for_page(figure),
        alt=alt,
        height=int(layout.get("height") or 450),
        is_3d=any(str(trace.get("type", "")).endswith(_3D) for trace in figure["data"]),
        panels=_has_panels(layout),
        size=size,
    )


def _has_panels(layout: Mapping[str, Any]) -> bool:
    """Whether an axis, or a scene, begins right of the first third."""
    for name, axis in layout.items():
        if name.startswith(("xaxis", "scene")) and axis.get("domain"):
            along = axis["domain"]["x"] if name.startswith("scene") else axis["domain"]
            if along[0] > 1 / 3:
                return True
    return False


def _view(state: Mapping[str, Any], data: Mapping[str, Any], described: str) -> Part:
    """A molecule in 3-D, and its picture until it is drawn."""
    scene = state["scene"]
    return Part(
        "view",
        content=image(data[SVG]) if SVG in data else "",
        data=json_for_page(scene),
        alt=described or str(scene.get("aria", "")),
        size=list(scene["size"]),
    )
