"""Slides of the lessons, one html file each that opens offline: nbconvert's, with reveal.js inside.

They are made of the same sources as the lessons. A heading begins a slide; what follows it goes on
below, in pieces that a screen holds. Code is left out but for the exercises, whose solutions are
not shown; figures and printed numbers are those of an executed lesson.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import DictLoader, pass_context
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs

from scdlab.files import atomic_file, package_text
from scdlab.lessons.html import markdown, still_notebook
from scdlab.lessons.listed import choose, lesson_number, list_lessons
from scdlab.lessons.notebook import read_notebook
from scdlab.lessons.solutions import TAG
from scdlab.log import show

_static = partial(package_text, "scdlab.lessons", "static", "reveal")

_LINES = 17  # that a slide holds
_WIDE = 88  # letters in a line
_PRINTED = 16  # lines of printed output
_NOT_SHOWN = ("lessons.quiz(", "lessons.calibration(", "lessons.yours(")

_TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block header -%}
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ nb.metadata.title | escape_html }}</title>
<style>{{ resources.own.reveal_css }}</style>
{{ resources.include_css("static/index.css") }}
{{ resources.include_css("static/theme-light.css") }}
<style>{{ resources.own.css }}</style>
{%- if resources.own.plotly %}<script>{{ resources.own.plotly }}</script>{% endif %}
</head>
{%- endblock header -%}
{%- block footer_js -%}
<script>{{ resources.own.reveal_js }}</script>
<script>
Reveal.initialize({
  width: 1120, height: 700, margin: 0.03, minScale: 0.2, center: false, hash: true,
  transition: "none", slideNumber: "c/t", keyboardCondition: null
});
function fit() {
  const slide = Reveal.getCurrentSlide();
  if (slide) slide.querySelectorAll(".plotly-graph-div").forEach(each => Plotly.Plots.resize(each));
}
Reveal.on("ready", fit);
Reveal.on("slidechanged", fit);
</script>
{%- endblock footer_js -%}
"""
_CSS = """
html, body, main { height: 100%; margin: 0; }
body { background: #fff; color: #262626; overflow: hidden; }
.reveal { font: 25px/1.42 Helvetica, Arial, 'DejaVu Sans', sans-serif; }
.reveal .slides { text-align: left; }
.reveal .slides section { max-height: 690px; overflow-y: auto; overflow-x: hidden;
  box-sizing: border-box; padding: 4px 22px; }
.reveal .jp-RenderedHTMLCommon { font: inherit; color: inherit; padding-right: 0; }
.reveal .jp-Cell { padding: 0; }
.reveal .jp-InputPrompt, .reveal .jp-OutputPrompt, .reveal .jp-InputCollapser,
.reveal .jp-OutputCollapser, .reveal .jp-Collapser { display: none; }
.reveal h1 { font-size: 1.9em; margin: 0.3em 0 0.6em; }
.reveal h2 { font-size: 1.45em; margin: 0.1em 0 0.5em; color: #0072B2; border: 0; }
.reveal h3 { font-size: 1.15em; margin: 0.1em 0 0.4em; }
.reveal p, .reveal li { margin-bottom: 0.45em; }
.reveal table { font-size: 0.8em; margin: 0.3em 0; }
.reveal pre, .reveal code { font-size: 20px; line-height: 1.35; }
.reveal .highlight pre { white-space: pre-wrap; }
.reveal img, .reveal svg { max-width: 100%; max-height: 620px; }
.reveal math[display="block"] { margin: 0.5em 0; font-size: 1.1em; }
.reveal .slide-number { right: auto; left: 12px; font-size: 15px; color: #4a4a4a; }
.reveal .slide-number { background: none; }
.reveal a { color: #0072B2; }
"""


class _Slides(SlidesExporter):
    """nbconvert's slides with our template and our markdown."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        return markdown(source, context.get("cell", {}).get("attachments", {}))


@cache
def _exporter() -> _Slides:
    """The exporter, made once."""
    loader = DictLoader({"slides.html.j2": _TEMPLATE})
    return _Slides(extra_loaders=[loader], template_file="slides.html.j2")


def slides(
    numbers: int | str | Sequence[int | str] | None = None,
    out: str | Path = "runs/slides",
    executed: str | Path = "runs/lessons",
    tell: Callable[[str], None] = show,
) -> list[Path]:
    """Write slides of lessons.

    Parameters
    ----------
    numbers : int, str or sequence of them, optional
        Which lessons, such as 2 or "2b"; all by default.
    out : path, default "runs/slides"
        The folder for NN_name.slides.html.
    executed : path, default "runs/lessons"
        Where `scdlab run` left executed lessons, which have the figures.
    tell : callable (str), optional
        Told which lessons have none; printed by default.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ValueError
        An unknown lesson.
    OSError
        The folder cannot be written.
    """
    made = []
    for path in choose(numbers, list_lessons()):
        notebook = _executed(path, Path(executed) / path.name)
        if notebook is None:
            number = lesson_number(path)
            tell(
                f"lesson {number}: slides without figures, for {executed} has no executed lesson "
                f"that fits; make one with `scdlab run {number} --out {executed}`"
            )
            notebook = read_notebook(path)
        target = Path(out) / f"{path.stem}.slides.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as new:
            new.write_text(slides_html(notebook), encoding="utf-8")
        made.append(target)
    return made


def slides_html(notebook: NotebookNode) -> str:
    """The slides of one lesson.

    Parameters
    ----------
    notebook : NotebookNode
        The lesson, executed or not.

    Returns
    -------
    str
        One html file that loads nothing.
    """
    page, figures = still_notebook(notebook)
    page.cells = list(_slides(page.cells))
    own = {
        "css": _CSS,
        "reveal_css": _static("reveal.css"),
        "reveal_js": _static("reveal.js"),
        "plotly": get_plotlyjs() if figures else "",
    }
    written = _exporter().from_notebook_node(page, {"own": own})[0]
    # the glossary is no slide: its links stay words
    return re.sub(r'<a href="glossary\.md[^"]*">(.*?)</a>', r"\1", written, flags=re.DOTALL)


def _executed(path: Path, run: Path) -> NotebookNode | None:
    """An executed lesson whose code is that of the lesson; None where there is none."""
    try:
        notebook = read_notebook(run)
    except (OSError, ValueError):
        return None
    there = [cell.source for cell in notebook.cells]
    wanted = [cell.source for cell in read_notebook(path).cells]
    # papermill adds a cell with the values of the parameters
    return notebook if [each for each in there if each in wanted] == wanted else None


def _slides(cells: list[NotebookNode]) -> Iterator[NotebookNode]:
    """The cells of the slides, each marked as a slide, one below it or a part of one."""
    filled = float(_LINES)  # lines of the slide so far
    for cell in cells:
        if TAG in cell.metadata.get("tags", ()):
            continue
        if cell.cell_type == "markdown":
            for kind, text in pieces(cell.source):
                yield _marked(nbformat.v4.new_markdown_cell(text), kind)
                filled = sum(map(_size, _blocks(text)))
        elif cell.cell_type == "code":
            shown = _code(cell)
            if shown is not None:
                size = _code_size(shown)
                fits = filled + size <= _LINES
                yield _marked(shown, "-" if fits else "subslide")
                filled = filled + size if fits else size


def pieces(text: str) -> list[tuple[str, str]]:
    """A text as slides: pieces of what a screen holds.

    Parameters
    ----------
    text : str
        Markdown.

    Returns
    -------
    list of (str, str)
        "slide" for what begins with a heading of the first or second level, else "subslide"; and
        the text.
    """
    found: list[tuple[str, str]] = []
    kind, taken, size = "subslide", [], 0.0
    for block in _blocks(text):
        level = len(block) - len(block.lstrip("#")) if block.startswith("#") else 0
        lines = _size(block)
        only_heading = bool(taken) and all(each.startswith("#") for each in taken)
        if taken and (level or (size + lines > _LINES and not only_heading)):
            found.append((kind, "\n\n".join(taken)))
            kind, taken, size = "subslide", [], 0.0
        if level in (1, 2):
            kind = "slide"
        taken.append(block)
        size += lines
    if taken:
        found.append((kind, "\n\n".join(taken)))
    return found


def _blocks(text: str) -> list[str]:
    """Paragraphs, lists, tables and formulas of a markdown text."""
    blocks: list[str] = []
    is_open = False  # within a formula of several lines
    for part in re.split(r"\n\s*\n", text.strip()):
        if is_open:
            blocks[-1] += f"\n\n{part}"
        else:
            blocks.append(part)
        if part.count("$$") % 2:
            is_open = not is_open
    return blocks


def _size(block: str) -> float:
    """About how many lines a block takes on a slide."""
    if block.startswith("#"):
        return 2.0
    if block.startswith("|"):
        return 1.2 * block.count("\n") + 1.5
    if "$$" in block:
        return 3.0
    items = re.split(r"\n(?=[-*] |\d+\. )", block)
    return sum(len(item) // _WIDE + 1.25 for item in items)


def _code(cell: NotebookNode) -> NotebookNode | None:
    """What is shown of a code cell; None for nothing."""
    if any(word in cell.source for word in _NOT_SHOWN):
        cell.outputs = [each for each in cell.outputs if _is_figure(each)]
    if re.search(r"^lessons\.check_\w+\(", cell.source, re.MULTILINE):
        cell.outputs = []  # an exercise: its code is to be written
        return cell
    cell.outputs = [each for each in cell.outputs if each.output_type != "error"]
    for output in cell.outputs:
        if output.output_type == "stream":
            lines = output.text.splitlines()
            if len(lines) > _PRINTED:
                output.text = "\n".join([*lines[:_PRINTED], "…"])
    if not cell.outputs:
        return None
    cell.metadata["transient"] = {"remove_source": True}
    return cell


def _code_size(cell: NotebookNode) -> float:
    """About how many lines a code cell takes on a slide; a figure takes all."""
    if not cell.outputs:
        return cell.source.count("\n") + 2.0
    lines = 0.0
    for output in cell.outputs:
        if _is_figure(output):
            return _LINES
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        is_box = "scdlab-guess" in output.get("data", {}).get("text/html", "")
        lines += 6.0 if is_box else text.count("\n") + 2.0
    return lines


def _is_figure(output: NotebookNode) -> bool:
    shown = output.get("data", {}).get("text/html", "")
    return "plotly" in shown or "<img" in shown


def _marked(cell: NotebookNode, kind: str) -> NotebookNode:
    cell.metadata["slideshow"] = {"slide_type": kind}
    return cell
