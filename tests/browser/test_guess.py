"""A guess by keyboard: the box takes it, the reveal compares it, the notebook gets no key."""

import json

import nbformat
import pytest
from conftest import running_lab
from test_lab import CODE_CELLS, is_local

CELLS = (
    "from scdlab import explore, lessons",
    'size = lessons.predict("How long is a C–H bond?", unit="Å", name="00-bond", stored=2.0)',
    'shape = lessons.predict("Which?", choices=["disc", "needle"], name="00-shape", stored="disc")',
    'figure = explore.path_plot([0, 1, 2], {"energy": [2.0, 1.0, 1.5]}, title="A bond")\n'
    'explore.described(figure, "The energy is lowest at 1 Å.")\n'
    "size.reveal(1.09, figure)\n"
    "figure",
    'shape.reveal("needle")',
    "lessons.display_metrics(secret_eV=0.125)",
    "lessons.calibration()",
    "from scdlab.lessons.quizzes import Question, quiz_html\n"
    "from IPython.display import HTML, display\n"
    'question = Question("Unit of a force?", {"eV/Å": "Energy over length.", "eV": "An energy."})\n'
    "display(HTML(quiz_html([question])))",
)
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


@pytest.fixture
def notebook(tmp_path):
    """A JupyterLab with one short lesson; the folder of the notebook and its address."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    lesson = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    nbformat.write(lesson, folder / "guess.ipynb")
    with running_lab(tmp_path) as address:
        yield folder, address.format("guess.ipynb")


def run_cells(page, first, last):
    """Run cells with Shift + Enter, from `first` to before `last`, and wait for them."""
    page.locator(".jp-NotebookPanel .jp-Cell").nth(first).locator(".jp-InputPrompt").click()
    for _ in range(first, last):
        page.keyboard.press("Shift+Enter")
    page.wait_for_function(
        """last => { const panel = jupyterapp.shell.currentWidget;
            const cell = panel.content.model.toJSON().cells[last - 1];
            return cell.execution_count
                && panel.sessionContext.session.kernel.status == 'idle'; }""",
        arg=last,
    )


def note(page, number, part):
    """What the box says once it holds these words."""
    found = page.locator("form.scdlab-guess .note").nth(number)
    found.filter(has_text=part).wait_for()
    return found.text_content()


@pytest.mark.browser
@pytest.mark.slow
def test_a_guess_by_keyboard(page, notebook, screens):
    folder, address = notebook
    page.goto(address)
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.wait_for_function(
        "() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"
    )
    run_cells(page, 0, 3)
    page.locator("form.scdlab-guess").nth(1).wait_for()
    cells = len(page.evaluate(CODE_CELLS))

    box = page.get_by_label("Your guess, in Å")  # the field has its label …
    box.focus()
    page.keyboard.type("abc")
    page.keyboard.press("Enter")
    assert (
        note(page, 0, "got")
        == "Your guess must be a number in Å, got “abc”: write one, such as 0.5."
    )
    assert box.get_attribute("aria-invalid") == "true"
    page.keyboard.press("Control+a")
    page.keyboard.type("0.5")
    page.keyboard.press("Tab")  # … and the order of the keys is that of the page
    assert page.evaluate("document.activeElement.value") == "guess"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.value") == "fairly"
    page.keyboard.press("Enter")
    assert (
        note(page, 0, "kept") == "Your guess is kept: 0.5 Å (fairly sure). Now run the next cells."
    )
    assert box.get_attribute("aria-invalid") == "false"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Keep my guess"
    described = page.locator("form.scdlab-guess [aria-describedby]").first
    for name in described.get_attribute("aria-describedby").split():
        assert page.locator(f"[id='{name}']").count() == 1
    assert page.locator("form.scdlab-guess [role=status]").count() == 2

    page.locator("form.scdlab-guess").nth(1).get_by_label("needle").focus()
    page.keyboard.press("Space")
    page.keyboard.press("b")  # in a notebook, "insert a cell below"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert "kept: “needle” (certain)" in note(page, 1, "kept")
    assert len(page.evaluate(CODE_CELLS)) == cells

    run_cells(page, 3, len(CELLS))
    shown = page.locator(".scdlab-reveal")
    said = "You said 0.5 Å (fairly sure); measured: 1.09 Å, 2.2 times more."
    assert shown.first.text_content() == said
    assert shown.nth(1).text_content() == "You said “needle” (certain), and that is the answer."
    figure = page.locator(".js-plotly-plot")
    assert "your guess" in figure.text_content()
    text = "Figure: The energy is lowest at 1 Å. Marked: your guess, 0.5 Å."
    unseen = page.locator(".scdlab-unseen")
    assert unseen.text_content() == text and unseen.bounding_box()["width"] <= 1
    assert page.get_by_text("secret_eV").count() == 1  # in the code alone
    assert "1 of your 2 guesses was right" in page.locator(".scdlab-calibration").text_content()
    page.locator(".scdlab-quiz summary").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".scdlab-quiz li details[open] b").wait_for()
    page.screenshot(path=screens / "guess.png")
    kept = json.loads((folder / "scdlab_guesses.json").read_text(encoding="utf-8"))["guesses"]
    assert (kept["00-bond"]["guess"], kept["00-bond"]["measured"]) == (0.5, 1.09)
    assert [address for address in page.asked if not is_local(address)] == []
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
