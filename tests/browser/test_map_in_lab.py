"""The map of embeddings in a real browser: the pointer over a point brings its molecule."""

import pytest
from test_lab import ASK, assert_it_fits, is_local
from test_molecule_view import put_notebook

CELL = """import scdlab, torch
from scdlab.explore import EmbeddingExplorer
torch.manual_seed(0)
sizes = dict(hidden_channels=16, num_layers=1, num_rbf=16)
models = {name: scdlab.SchNet(**sizes) for name in ("one", "other")}
store = scdlab.AtomStore.open(scdlab.files.package_dir("data") / "qm9-sample")[:200]
explorer = EmbeddingExplorer(store, models, n=100, method="pca")
explorer"""
READY = """() => { const context = window.jupyterapp?.shell.currentWidget?.context;
    return context?.path == 'map.ipynb'
        && context.sessionContext.session?.kernel?.status == 'idle'; }"""
PLACE = """layout = explorer.figure.layout
[(x0, x1), (y0, y1)] = layout.xaxis.range, layout.yaxis.range
x, y = explorer.xy()[{point}]
print((x - x0) / (x1 - x0), (y1 - y) / (y1 - y0))"""


@pytest.mark.browser
@pytest.mark.slow
def test_the_pointer_chooses_a_structure(page, lab, screens):
    page.goto(put_notebook(lab, "map.ipynb", CELL))
    page.wait_for_function(READY)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    area = page.locator(".js-plotly-plot .nsewdrag").first
    area.wait_for()
    title = page.locator(".widget-vbox .scdlab-view .title").first
    title.wait_for()
    far = "import numpy as np; print(np.abs(explorer.xy() - explorer.xy()[0]).sum(1).argmax())"
    point = int(page.evaluate(ASK, far))
    assert_it_fits(page, title)
    before = title.text_content()
    across, down = map(float, page.evaluate(ASK, PLACE.format(point=point)).split())
    box = area.bounding_box()
    page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"], steps=4)
    page.wait_for_function(
        "before => document.querySelector('.widget-vbox .scdlab-view .title').textContent "
        "!= before",
        arg=before,
    )
    page.wait_for_timeout(1000)
    assert page.evaluate(ASK, "print(explorer.point)") == str(point)
    formula = page.evaluate(ASK, "print(explorer.state()['formula'])")
    assert (
        formula in title.text_content()
        and formula in page.locator(".hoverlayer .hovertext").first.text_content()
    )
    page.mouse.move(5, 5)
    page.screenshot(path=screens / "map_after_hover.png")

    menu = page.locator(".widget-dropdown", has=page.get_by_text("model", exact=True))
    menu.locator("select").press("ArrowDown")
    page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot .gtitle').textContent.startsWith('other')"
    )
    assert (
        page.evaluate(ASK, "print(explorer.model, explorer.point)") == f"other {point}"
    )  # the same structure
    assert formula in title.text_content()
    page.screenshot(path=screens / "map_of_another_model.png")
    assert [address for address in page.asked if not is_local(address)] == []
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
