"""An executed lesson as one html file that opens offline: no script, style, font or image comes
from anywhere else.

nbconvert's own pages fetch require.js, MathJax, mermaid and the widget manager from the network.
Here formulas become MathML when the page is written, plotly figures are drawn by one copy of
plotly.js inside the page, a widget is replaced by the static picture it carries (image/svg+xml or
text/html beside its view), and cells tagged `solution` are folded.
"""

import base64
import copy
import html
import json
import re
from functools import cache
from typing import Any

import nbformat
import plotly.io as pio
from jinja2 import DictLoader, pass_context
from latex2mathml import converter
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from plotly.offline import get_plotlyjs

from scdlab.explore.words import DESCRIPTION, STRUCTURE
from scdlab.lessons.metrics import MIME as METRICS

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
# numbers for the runner, and what figures and panels carry on a page themselves
_UNSEEN = {METRICS, DESCRIPTION, STRUCTURE}

_TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}
{%- if resources.plotly %}<script>{{ resources.plotly }}</script>{% endif %}
{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}<style>
main { max-width: 1000px; margin: 0 auto; padding: 1em; }
math[display="block"] { margin: 0.8em 0; font-size: 1.1em; }
details.solution { margin: 0.5em 0 0.5em 70px; border-left: 4px solid #0072B2; padding: 4px 12px; }
details.solution > summary { cursor: pointer; font-weight: 600; }
</style>{%- endblock -%}
{%- block any_cell -%}
{%- if 'solution' in cell.metadata.get('tags', []) -%}
<details class="solution"><summary>Solution</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock -%}
"""


def mathml(latex: str, display: bool) -> str:
    """A LaTeX formula as MathML, which browsers draw by themselves.

    Parameters
    ----------
    latex : str
        The formula.
    display : bool
        Whether it stands on a line of its own.

    Returns
    -------
    str
        The `math` element.

    Raises
    ------
    ValueError
        The formula cannot be converted.
    """
    try:
        return converter.convert(latex.strip(), display="block" if display else "inline")
    except Exception as error:  # the converter has no error class of its own
        raise ValueError(
            f"The formula {latex!r} cannot be drawn on the page ({error!r}): write it more simply."
        ) from error


class MathRenderer(IPythonRenderer):
    """Markdown as nbconvert renders it, but with formulas as MathML, and headings that links reach
    as they do in JupyterLab."""

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        name = html.escape(re.sub(r"<[^>]*>", "", text).strip().replace(" ", "-"))
        written = super().heading(text, level, **attributes)
        return written.replace(f"<h{level}", f'<h{level} id="{name}"', 1)

    def block_math(self, body: str) -> str:
        return mathml(body, display=True)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", display=True)

    def inline_math(self, body: str) -> str:
        return mathml(body, display=False)


def markdown(text: str, attachments: dict[str, Any] | None = None) -> str:
    """Markdown as html, formulas as MathML.

    Parameters
    ----------
    text : str
        The text.
    attachments : dict, optional
        Pictures that came with its cell.

    Returns
    -------
    str
        The html.

    Raises
    ------
    ValueError
        A formula cannot be converted.
    """
    renderer = MathRenderer(escape=False, attachments=attachments or {}, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(text)


class _Exporter(HTMLExporter):
    """nbconvert's exporter with our page template and our markdown."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        return markdown(source, context.get("cell", {}).get("attachments", {}))


@cache
def _exporter() -> _Exporter:
    """The exporter, made once."""
    loader = DictLoader({"page.html.j2": _TEMPLATE})
    return _Exporter(extra_loaders=[loader], template_file="page.html.j2")


def still_notebook(
    notebook: nbformat.NotebookNode, title: str = ""
) -> tuple[nbformat.NotebookNode, int]:
    """A notebook whose outputs are what a page without a kernel shows of them.

    Parameters
    ----------
    notebook : NotebookNode
        The executed notebook, left as it is.
    title : str, default ""
        Title of the page; its first heading by default.

    Returns
    -------
    NotebookNode
        The notebook; its figures need plotly.js on the page.
    int
        How many figures there are.
    """
    page = copy.deepcopy(notebook)
    page.metadata.pop("widgets", None)
    page.metadata["title"] = title or first_heading(page)
    figures = 0
    for cell in page.cells:
        if "outputs" in cell:
            cell.outputs = [each for each in cell.outputs if is_seen(each.get("data", {}))]
        for output in cell.get("outputs", ()):
            if "data" in output:
                figures += PLOTLY in output.data
                output["data"] = _still(output.data, f"figure-{figures}")
    return page, figures


def to_html(notebook: nbformat.NotebookNode, title: str = "") -> str:
    """The page of an executed notebook.

    Parameters
    ----------
    notebook : NotebookNode
        The notebook, left as it is.
    title : str, default ""
        Title of the page; its first heading by default.

    Returns
    -------
    str
        One html file that loads nothing.
    """
    page, figures = still_notebook(notebook, title)
    resources = {"plotly": get_plotlyjs()} if figures else {}
    written = _exporter().from_notebook_node(page, resources)[0]
    return written.replace('href="glossary.md', 'href="glossary.html')


def markdown_to_html(text: str) -> str:
    """The page of a markdown text, such as the glossary.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    str
        One html file that loads nothing.
    """
    return to_html(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]))


def is_seen(data: dict[str, Any]) -> bool:
    """Whether a page shows an output: neither numbers for the runner, nor a figure's text alone.

    Parameters
    ----------
    data : dict
        Mime type -> content.

    Returns
    -------
    bool
        False for what no reader is to see.
    """
    return not _UNSEEN & data.keys() or bool({PLOTLY, WIDGET, "image/svg+xml"} & data.keys())


def _still(data: dict[str, Any], name: str) -> dict[str, Any]:
    """What is left of one output on a page: a plotly figure as html, a widget's own picture,
    anything else as it is."""
    if PLOTLY in data:
        figure = {key: data[PLOTLY][key] for key in ("data", "layout") if key in data[PLOTLY]}
        figure = json.loads(json.dumps(figure))
        drawn = pio.to_html(
            figure, full_html=False, include_plotlyjs=False, div_id=name, validate=False
        )
        meta = figure["layout"].get("meta") or {}
        if about := meta.get("alt"):
            drawn = f'<div role="img" aria-label="{html.escape(about)}">{drawn}</div>'
        if meta.get("with_still"):  # a widget that shows more than its figure
            drawn = data.get("image/svg+xml", "") + drawn
        return {"text/html": drawn}
    data = {
        mime: value
        for mime, value in data.items()
        if mime not in (WIDGET, "application/javascript", DESCRIPTION, STRUCTURE)
    }
    if "image/svg+xml" in data:  # a picture shows more than the text/html beside it
        return {"text/html": image(data["image/svg+xml"])}
    return data


def image(svg: str) -> str:
    """An svg picture as an image of its own, with its label as alternative text.

    Parameters
    ----------
    svg : str
        The picture.

    Returns
    -------
    str
        The `img` element.
    """
    label = re.match(r'\s*<svg\b[^>]* aria-label="([^"]*)"', svg)
    content = base64.b64encode(svg.encode()).decode()
    about = label[1] if label else ""
    return f'<img alt="{about}" src="data:image/svg+xml;base64,{content}">'


def first_heading(notebook: nbformat.NotebookNode) -> str:
    """The title of a lesson.

    Parameters
    ----------
    notebook : NotebookNode
        The lesson.

    Returns
    -------
    str
        The text of its first heading, "Lesson" without one.
    """
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            return cell.source.splitlines()[0].removeprefix("# ")
    return "Lesson"
