"""Pages: nothing is fetched, formulas are MathML, figures share one plotly.js, widgets are still
pictures."""

import nbformat
import plotly.graph_objects as go
import pytest
from offline import external_addresses

from scdlab.lessons.html import mathml, to_html

VIEW = "application/vnd.jupyter.widget-view+json"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="3"/></svg>'


def code(*bundles, source="x", **metadata):
    outputs = [nbformat.v4.new_output("display_data", data) for data in bundles]
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata=metadata)


def page_of(*cells, **metadata):
    return to_html(nbformat.v4.new_notebook(cells=list(cells), metadata=metadata))


def test_formulas_are_mathml():
    text = (
        "# A title\n\nEnergy $E_i = \\frac{1}{2}$ and\n\n$$ r_{ij} = \\lVert r_j - r_i \\rVert $$"
    )
    page = page_of(nbformat.v4.new_markdown_cell(text))
    assert page.count("<math") == 2 and "<mfrac>" in page and 'display="block"' in page
    assert "<title>A title</title>" in page
    assert external_addresses(page) == []
    assert "plotly" not in page  # a page without figures does not carry the library


def test_figures_share_one_library():
    figure = {
        "application/vnd.plotly.v1+json": {"data": [{"y": [1, 2]}], "layout": {}},
        "text/plain": "Figure",
    }
    notebook = nbformat.v4.new_notebook(cells=[code(figure), code(figure)])
    before = nbformat.writes(notebook)
    page = to_html(notebook)
    assert page.count("Plotly.newPlot(") >= 2 and page.count("plotly.js v") == 1
    assert 'id="figure-1"' in page and 'id="figure-2"' in page
    assert external_addresses(page) == []
    assert nbformat.writes(notebook) == before  # the notebook is left as it was
    assert go.Figure(notebook.cells[0].outputs[0].data["application/vnd.plotly.v1+json"])


def test_a_widget_leaves_its_still_picture():
    view = {
        VIEW: {"model_id": "m", "version_major": 2, "version_minor": 0},
        "text/plain": "Widget()",
    }
    state = {
        "application/vnd.jupyter.widget-state+json": {
            "state": {},
            "version_major": 2,
            "version_minor": 0,
        }
    }
    page = page_of(
        code(view | {"image/svg+xml": SVG}),
        code(view | {"text/html": "<b>still</b>"}),
        widgets=state,
    )
    assert VIEW not in page and "html-manager" not in page
    assert "data:image/svg+xml" in page or SVG in page
    assert "<b>still</b>" in page
    assert external_addresses(page) == []


def test_solutions_are_folded():
    page = page_of(code(source="answer = 42", tags=["solution"]), code(source="question = 6"))
    folded = page.split("<details")[1].split("</details>")[0]
    assert "42" in folded and "Solution</summary>" in folded
    assert "question" not in folded and page.count("<details") == 1


def test_a_formula_that_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match=r"formula .* cannot be drawn"):
        mathml("\\left( x", display=False)


def test_the_finder_of_addresses_finds():
    page = (
        '<script src="https://a.b/c.js"></script><style>@import "x.css"; p {background: '
        "url(//d/e.png)}</style>"
    )
    assert external_addresses(page) == ["https://a.b/c.js", "x.css", "//d/e.png"]
    assert (
        external_addresses('<a href="https://a.b">a link is followed by the reader only</a>') == []
    )
