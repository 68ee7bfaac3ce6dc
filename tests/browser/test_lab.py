"""Lessons in a real browser: Run All, move a slider, see the picture change; nothing asks for
another machine."""

import io
import json
from urllib.parse import urlparse

import matplotlib.image
import numpy as np
import pytest
from short_lessons import shorten

# lesson, the variable that holds its widget, the slider to move, the state that it must change, and
# the title of its picture: in the kernel, and on the page
FIGURE = ("figure.layout.title.text", ".widget-vbox .js-plotly-plot .gtitle")
LESSONS = [
    ("00_start_here", "explorer", "cutoff (Å)", "cutoff", *FIGURE),
    ("01_schnet", "filters", "channel", "channel", *FIGURE),
    (
        "02_denoising",
        "explorer",
        "σ (Å)",
        "sigma",
        "view.scene['title']",
        ".widget-vbox .scdlab-view .title",
    ),
    (
        "03_dens",
        "explorer",
        "frame",
        "frame",
        "view.scene['title']",
        ".widget-vbox .scdlab-view .title",
    ),
    (
        "04_self_conditioned",
        "explorer",
        "σ (Å)",
        "sigma",
        "view.scene['title']",
        ".widget-vbox .scdlab-view .title",
    ),
    ("05_ecse", "explorer", "moved (Å)", "moved", "words_text", ".widget-vbox table"),
]
ARROWS = {"02_denoising": "print([arrow['step'] for arrow in explorer.view.scene['arrows']])"}

RAN = """() => {
    const panel = jupyterapp.shell.currentWidget;
    const cells = panel.content.model.toJSON().cells.filter(
        c => c.cell_type == 'code' && c.source.length);
    const kernel = panel.sessionContext.session?.kernel;
    // After an error the rest is not run.
    const failed = cells.some(c => c.outputs.some(o => o.output_type == 'error'));
    return kernel?.status == 'idle' && (failed || cells.every(c => c.execution_count));
}"""
CODE_CELLS = """() => jupyterapp.shell.currentWidget.content.model.toJSON().cells
    .filter(c => c.cell_type == 'code')
    .map(c => ({source: String(c.source), outputs: c.outputs.map(o => ({
        type: o.output_type, name: o.name || '', text: String(o.text || o.evalue || '')}))}))"""
ASK = """async (code) => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({code, store_history: false});
    let answer = '';
    future.onIOPub = m => { if (m.header.msg_type == 'stream') answer += m.content.text;
                            if (m.header.msg_type == 'error') answer += m.content.evalue; };
    await future.done;
    return answer.trim();
}"""


def is_local(address: str) -> bool:
    parts = urlparse(address)
    return parts.scheme in ("data", "blob", "about") or parts.hostname == "127.0.0.1"


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize(("lesson", "widget", "slider", "trait", "title", "shown"), LESSONS)
def test_run_all_then_move_a_slider(
    page, lab, screens, whole, lesson, widget, slider, trait, title, shown
):
    page.goto(lab.format(f"{lesson}.ipynb"))
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.wait_for_function(
        """name => { const context = jupyterapp.shell.currentWidget?.context;
            return context?.path == name
                && context.sessionContext.session?.kernel?.status == 'idle'; }""",
        arg=f"{lesson}.ipynb",
    )
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(RAN, timeout=600_000)
    cells = page.evaluate(CODE_CELLS)
    assert len(cells) > 5
    code = "\n".join(cell["source"] for cell in cells)
    assert whole or shorten(code, lesson) == code  # it is the short copy that ran
    for cell in cells:
        for output in cell["outputs"]:
            assert output["type"] != "error", (cell["source"], output["text"])
            for trouble in ("Traceback", "Warning"):
                assert trouble not in output["text"], (cell["source"], output["text"])

    line = page.locator(".widget-slider", has=page.get_by_text(slider, exact=True))
    _scroll_to(page, widget)
    line.wait_for()
    view = page.locator(shown).first
    view.wait_for()
    before = page.evaluate(ASK, f"print({widget}.{trait})")
    told = view.text_content()
    assert_it_fits(page, view)
    arrows, pixels = _arrows(page, lesson)
    page.screenshot(path=screens / f"{lesson}_widget_before.png")
    handle = line.locator(".noUi-handle")
    handle.focus()
    for _ in range(10):
        handle.press("ArrowRight")
    for _ in range(
        120
    ):  # until the kernel has caught up with the slider, and the page with the kernel
        page.wait_for_timeout(500)
        drawn = page.evaluate(ASK, f"print({widget}.{title})")
        seen = view.text_content()
        if drawn == seen != told:
            break
    assert drawn == seen != told
    after = page.evaluate(ASK, f"print({widget}.{trait})")
    assert float(after) > float(before)
    assert page.evaluate(ASK, f"print({widget}.message.value)") == ""
    if lesson in ARROWS:
        page.wait_for_timeout(1000)
        new_arrows, new_pixels = _arrows(page, lesson)
        assert len(new_arrows) > 10 and new_arrows != arrows
        assert (np.abs(new_pixels - pixels).max(-1) > 0.1).sum() > 300
    page.screenshot(path=screens / f"{lesson}_widget_after.png")
    if whole:
        _photograph(page, screens, lesson)
    assert [address for address in page.asked if not is_local(address)] == []
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def assert_it_fits(page, view) -> None:
    """The whole explorer is seen at once in a window of 1,280 by 900, beside the file browser."""
    explorer = view.locator("xpath=ancestor::div[contains(@class, 'widget-vbox')]").first
    box = explorer.bounding_box()
    notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer")
    room = notebook.bounding_box()
    assert box["x"] + box["width"] <= room["x"] + room["width"], (box, room)
    assert box["height"] <= room["height"] - (page.viewport_size["height"] - 900), (box, room)


def _arrows(page, lesson: str):
    """The arrows that the kernel has sent to the 3-D view, and the view's pixels."""
    if lesson not in ARROWS:
        return None, None
    steps = json.loads(page.evaluate(ASK, ARROWS[lesson]))
    picture = page.locator(".widget-vbox .scdlab-view .stage").first.screenshot()
    return [number for kind in steps for number in kind], matplotlib.image.imread(
        io.BytesIO(picture), format="png"
    )


def _scroll_to(page, widget: str) -> None:
    """Bring the cell that shows the widget into view: JupyterLab draws only the cells that can be
    seen."""
    page.evaluate(
        """async (name) => {
            const notebook = jupyterapp.shell.currentWidget.content;
            const index = notebook.widgets.findIndex(
                c => c.model.type == 'code'
                    && c.model.sharedModel.source.trim().endsWith('\\n' + name));
            notebook.activeCellIndex = index;
            await notebook.scrollToItem(index, 'start');
        }""",
        widget,
    )


def _photograph(page, folder, lesson: str) -> None:
    """The whole lesson, screen by screen, for people to look at."""
    scroller = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer")
    scroller.evaluate("e => e.scrollTop = 0")
    for number in range(40):
        page.wait_for_timeout(700)
        page.screenshot(path=folder / f"{lesson}_{number:02d}.png")
        if scroller.evaluate(
            "e => { const t = e.scrollTop; e.scrollTop += 800; return e.scrollTop <= t + 1; }"
        ):
            break
