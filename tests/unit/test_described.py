"""Alternative texts: what `described` gives a figure, screen readers and pages find."""

from html.parser import HTMLParser

import nbformat
import pytest

from scdlab import load_ethanol
from scdlab.explore import NeighborExplorer, alternative_text, described, path_plot, view_molecule
from scdlab.explore.svg import document
from scdlab.explore.words import DESCRIPTION, labeled, unseen
from scdlab.lessons.html import to_html

TEXT = 'Energy against angle: the fit wanders by 3 eV, "truth" < 1 meV.'


@pytest.fixture(scope="module")
def ethanol():
    return load_ethanol()


def test_a_figure_keeps_its_text():
    figure = path_plot([0, 1], {"a": [1.0, 2.0]})
    figure.layout.meta = {"with_still": True}
    assert alternative_text(figure) == ""
    assert described(figure, f"  {TEXT}\n ") is figure
    assert alternative_text(figure) == TEXT
    assert figure.layout.meta["with_still"]
    described(figure, "Another.")
    assert alternative_text(figure) == "Another."


class Labels(HTMLParser):
    """The labels of the pictures in a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        about = dict(attributes)
        if about.get("role") == "img" or tag == "img":
            self.found.append(about.get("aria-label") or about.get("alt"))


def page_of(*shown):
    """The page of a cell with these outputs."""
    outputs = [nbformat.v4.new_output("display_data", each) for each in shown]
    cell = nbformat.v4.new_code_cell(outputs=outputs)
    return to_html(nbformat.v4.new_notebook(cells=[cell]))


def test_the_page_of_a_figure_has_it():
    figure = described(path_plot([0, 1], {"a": [1.0, 2.0]}), TEXT)
    shown = (
        {"text/html": unseen(TEXT), DESCRIPTION: TEXT},
        {"application/vnd.plotly.v1+json": figure.to_plotly_json()},
    )
    page = page_of(*shown)
    assert Labels(page).found == [TEXT]
    assert "scdlab-unseen" not in page  # said once


def test_a_molecule_view_has_it_until_it_shows_something_else(ethanol):
    view = described(view_molecule(ethanol.to_ase(0)), TEXT)
    assert view.scene["aria"] == TEXT == alternative_text(view)
    assert Labels(view.to_svg()).found == [TEXT]
    data = view._repr_mimebundle_()[0]
    assert data[DESCRIPTION] == TEXT and Labels(data["image/svg+xml"]).found == [TEXT]
    page = page_of(data)
    assert Labels(page).found == [TEXT]
    view.show(ethanol.to_ase(1))
    assert alternative_text(view) == "" and "C2H6O" in view.scene["aria"]


def test_an_explorer_has_it_until_it_changes(ethanol):
    explorer = NeighborExplorer(ethanol)
    count = len(explorer.children)
    described(explorer, TEXT)
    described(explorer, TEXT)
    assert len(explorer.children) == count + 1
    assert alternative_text(explorer) == TEXT
    assert explorer.children[0].value == unseen(TEXT)
    data = explorer._repr_mimebundle_()
    assert data["application/vnd.plotly.v1+json"]["layout"]["meta"]["alt"] == TEXT
    assert Labels(data["image/svg+xml"]).found == [TEXT]
    assert data[DESCRIPTION] == TEXT
    explorer.cutoff = 3.0
    assert alternative_text(explorer) == "" and TEXT not in explorer.children[0].value


def test_a_picture_has_one_label():
    picture = document(10, 10, ["<g/>"], about="old")
    assert labeled(picture, "") == picture
    new = labeled(picture, 'a "b" <c>')
    assert new.count("aria-label=") == 1 == new.count('role="img"')
    assert 'aria-label="a &quot;b&quot; &lt;c>"' in new and new.endswith("<g/></svg>")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_text_must_say_something(text):
    with pytest.raises(ValueError, match="must say what the figure shows"):
        described(path_plot([0], {"a": [1.0]}), text)


def test_only_figures_are_described():
    with pytest.raises(TypeError, match="got dict"):
        described({}, TEXT)
    with pytest.raises(TypeError, match="must be text, got int"):
        described(path_plot([0], {"a": [1.0]}), 3)
