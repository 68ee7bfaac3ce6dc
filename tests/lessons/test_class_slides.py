"""Slides of the lessons: of the same sources, in pieces that a screen holds, without a request."""

import hashlib

import nbformat
import plotly.graph_objects as go
import pytest
from class_work import PATHS
from offline import external_addresses

from scdlab.files import package_text
from scdlab.lessons import classroom
from scdlab.lessons.classroom.reveal import pieces, slides_html
from scdlab.lessons.html import PLOTLY
from scdlab.lessons.notebook import read_notebook

PATH = PATHS["01b_filter_tables"]


@pytest.fixture
def executed():
    """The lesson as if it had run: a figure and a printed line."""
    notebook = read_notebook(PATH)
    figure = {"data": [], "layout": {"title": {"text": "A figure"}, "meta": {"alt": "A line."}}}
    figure["data"] = [go.Scatter(x=[1, 2], y=[3, 4]).to_plotly_json()]
    shown = nbformat.v4.new_output("display_data", {PLOTLY: figure})
    printed = nbformat.v4.new_output("stream", name="stdout", text="a printed line\n" * 40)
    cell = nbformat.v4.new_code_cell("show()")
    cell.outputs = [shown, printed]
    notebook.cells.append(cell)
    return notebook


def test_a_lesson_as_slides(executed):
    page = slides_html(executed)
    assert external_addresses(page) == []
    assert page.count("<section>") > 10
    assert page.count("Plotly.newPlot") == 1 and page.count("plotly.js v") == 1
    assert page.count("a printed line") < 20
    assert "<math" in page and "glossary.md" not in page
    # an exercise is shown with its dots, a solution is not
    assert "look_up" in page and "look_up_solution" not in page
    assert "the node below" not in page


def test_without_a_figure_no_plotly():
    page = slides_html(read_notebook(PATH))
    assert "plotly.js v" not in page and "Reveal.initialize" in page


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_headings_begin_slides_and_nothing_is_lost(path):
    for cell in read_notebook(path).cells:
        if cell.cell_type == "markdown":
            found = pieces(cell.source)
            whole = "".join("\n\n".join(text for _, text in found).split())
            assert whole == "".join(cell.source.split())
            for kind, text in found:
                assert (kind == "slide") == text.startswith(("# ", "## "))
                assert text.count("$$") % 2 == 0


def test_executed_lessons_are_used_where_they_fit(tmp_path, executed):
    told = []
    (tmp_path / "run").mkdir()
    out = tmp_path / "out"
    classroom.slides("1b", out, tmp_path / "run", told.append)
    assert "slides without figures" in told[0] and "scdlab run 01b" in told[0]
    nbformat.write(executed, tmp_path / "run" / PATH.name)
    (page,) = classroom.slides("1b", out, tmp_path / "run", told.append)
    assert len(told) == 1 and "Plotly.newPlot" in page.read_text(encoding="utf-8")
    executed.cells[1].source += "\nanother = 1"
    nbformat.write(executed, tmp_path / "run" / PATH.name)
    classroom.slides("1b", out, tmp_path / "run", told.append)
    assert len(told) == 2


def test_unknown_lessons_have_no_slides(tmp_path):
    with pytest.raises(ValueError, match="There is no lesson 9: the lessons are 00, 01, "):
        classroom.slides("9", tmp_path)


def test_reveal_is_the_released_one():
    """What npm's reveal.js 5.2.1 has as dist/reveal.js and dist/reveal.css, byte for byte."""
    digests = {
        "reveal.js": "46538b52db48724192f59bf46f5e851a18e302777c46f4a34c32709d010d6a29",
        "reveal.css": "68f915a11ebf7203c0446576b7e952ff61c5dd02134a8a226ffaf62ed42136d2",
    }
    for name, digest in digests.items():
        text = package_text("scdlab.lessons", "static", "reveal", name)
        assert hashlib.sha256(text.encode()).hexdigest() == digest
    assert "Hakim El Hattab" in package_text("scdlab.lessons", "static", "reveal", "LICENSE.txt")
