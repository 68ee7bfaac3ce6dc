"""The 3-D view in a real browser with the network cut: pixels, camera, keyboard, and pages without
a kernel."""

import io
import json
import urllib.request
from urllib.parse import parse_qs, urlparse

import matplotlib.image
import nbformat
import numpy as np
import pytest
from ase.build import bulk, molecule
from test_lab import ASK, is_local

from scdlab.explore import static_view, view_molecule
from scdlab.explore.view import MoleculeView

CELL = """import ipywidgets as widgets
import numpy as np
from ase.build import molecule
from scdlab.explore import static_view, view_molecule
atoms = molecule("CH3CH2OH")
forces = np.random.default_rng(0).normal(size=(9, 3))
view = view_molecule(atoms, {"force": {"vectors": forces, "unit": "eV/Å"}}, title="Ethanol")
water = view_molecule(molecule("H2O"), size=(240, 300), labels=True)
widgets.VBox([widgets.HTML("<b>two views</b>"), widgets.HBox([view, water])])"""
READY = """() => { const context = window.jupyterapp?.shell.currentWidget?.context;
    return context?.path == 'view.ipynb'
        && context.sessionContext.session?.kernel?.status == 'idle'; }"""
DRAWN = (
    "count => [...document.querySelectorAll('.scdlab-view .stage')].filter(e => "
    "e.dataset.camera).length >= count"
)
NO_WEBGL = """const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
    return kind.includes('webgl') ? null : real.call(this, kind, ...more); };"""
REQUIRE_JS = """() => { window.define = () => { throw Error('require.js took the module'); };
    window.define.amd = {}; window.exports = {}; window.module = {exports: {}}; }"""


@pytest.fixture
def offline(page):
    """The page, with every address beyond this machine unreachable."""

    def guard(route):
        address = route.request.url
        return (
            route.continue_() if is_local(address) or address.startswith("file:") else route.abort()
        )

    page.route("**/*", guard)
    page.shouted = []
    page.on("pageerror", lambda error: page.shouted.append(str(error)))
    return page


def image(png: bytes) -> np.ndarray:
    """The pixels [height, width, 3] of a screenshot, between 0 and 1."""
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def pixels(stage) -> np.ndarray:
    """What stands in the view, without its edge, where the focus is shown."""
    return image(stage.screenshot())[5:-5, 5:-5]


def amount(picture: np.ndarray, color: str) -> int:
    """How many pixels have this hue, lit or in shadow."""
    wanted = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)], float)
    bright = np.linalg.norm(picture, axis=-1)
    cosine = picture @ (wanted / np.linalg.norm(wanted)) / np.maximum(bright, 1e-9)
    return int(((cosine > 0.985) & (bright > 0.25)).sum())


def changed(a: np.ndarray, b: np.ndarray) -> int:
    return int((np.abs(a - b).max(-1) > 0.1).sum())


def camera(stage) -> np.ndarray:
    return np.array(stage.get_attribute("data-camera").split(), float)


def settle(page, kernel_call: str = "") -> str:
    """Ask the kernel, and wait until the first view has drawn what came of it."""
    page.evaluate(
        """() => { window.drawn = new Promise(done => document.querySelector('.scdlab-view .stage')
                   .addEventListener('drawn', () => requestAnimationFrame(() => done(true)),
                                     {once: true})); }"""
    )
    said = page.evaluate(ASK, kernel_call)
    assert page.evaluate(
        "Promise.race([window.drawn, new Promise(f => setTimeout(() => f(false), 20000))])"
    )
    return said


def put_notebook(lab: str, name: str, source: str) -> str:
    """Write a notebook of one cell into the folder of the lab; its address."""
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source)], metadata={"kernelspec": spec}
    )
    address = urlparse(lab)
    request = urllib.request.Request(
        f"{address.scheme}://{address.netloc}/api/contents/{name}",
        data=json.dumps({"type": "notebook", "format": "json", "content": notebook}).encode(),
        headers={"Authorization": f"token {parse_qs(address.query)['token'][0]}"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=30).close()
    return lab.format(name)


@pytest.mark.browser
@pytest.mark.slow
def test_a_view_in_jupyterlab(offline, lab, screens):
    page = offline
    page.goto(put_notebook(lab, "view.ipynb", CELL))
    page.wait_for_function(READY, timeout=120_000)
    page.evaluate(REQUIRE_JS)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(DRAWN, arg=2, timeout=120_000)
    stage = page.locator(".scdlab-view .stage").first
    page.wait_for_timeout(500)
    page.screenshot(path=screens / "view_in_lab.png")

    first = pixels(stage)
    assert amount(first, "#D55E00") > 200  # arrows
    assert changed(first, np.ones_like(first)) > 5_000  # a molecule on white
    assert "eV/Å" in page.locator(".scdlab-view ul").first.inner_text()
    about = stage.get_attribute("aria-label")
    assert stage.get_attribute("role") == "img" and "C2H6O" in about and "1 Å drawn" in about

    stage.focus()  # the keyboard turns the molecule, and JupyterLab leaves it the keys
    active = page.evaluate("() => jupyterapp.shell.currentWidget.content.activeCellIndex")
    before = camera(stage)
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    turned = camera(stage)
    assert np.abs(turned - before)[4:8].max() > 0.1 and turned[3] > before[3]
    assert changed(first, pixels(stage)) > 3_000
    assert page.evaluate("() => jupyterapp.shell.currentWidget.content.activeCellIndex") == active
    page.screenshot(path=screens / "view_turned.png")

    old = pixels(stage)  # other arrows: the picture changes, the camera does not
    told = settle(
        page,
        "view.show(arrows={'answer': {'vectors': -forces, 'unit': 'eV/Å', 'color': '#0072B2'}})",
    )
    assert told == ""
    new = pixels(stage)
    assert np.allclose(camera(stage), turned)
    assert amount(old, "#D55E00") > 200 > amount(new, "#D55E00")
    assert amount(new, "#0072B2") > 200 > amount(old, "#0072B2")
    page.screenshot(path=screens / "view_other_arrows.png")

    page.keyboard.press("Home")
    assert np.allclose(camera(stage), before, atol=1e-3)
    # a frame that has drifted away: the camera goes along, and Home does too
    settle(page, "far = atoms.copy(); far.positions += [4, 0, 0]; view.show(far)")
    assert np.allclose(camera(stage), before - 4 * np.eye(8)[0], atol=1e-3)
    assert changed(np.ones_like(first), pixels(stage)) > 5_000
    page.keyboard.press("Home")
    assert np.allclose(camera(stage), before - 4 * np.eye(8)[0], atol=1e-3)
    settle(page, "far.positions += [0.2, 0, 0]; view.show(far)")  # so little is noise
    assert np.allclose(camera(stage), before - 4 * np.eye(8)[0], atol=1e-3)
    settle(page, "view.show(molecule('C60'))")  # another molecule is fitted anew
    assert not np.allclose(camera(stage)[3], before[3], atol=0.1)
    assert (
        page.evaluate(ASK, "print(repr(view.problem), repr(water.problem), view.webgl)")
        == "'' '' True"
    )
    told = page.evaluate(ASK, "view.show(atoms, np.ones((3, 3)))")
    assert "shape (3, 3)" in told  # refused, and the picture stays
    page.evaluate(
        ASK, "good = view.scene; view.scene = good | {'frame': None}"
    )  # what Python would never send
    page.get_by_text("This picture failed").wait_for()
    assert page.evaluate(ASK, "print(len(view.problem) > 0)") == "True"
    settle(page, "view.scene = good")
    assert page.evaluate(ASK, "print(repr(view.problem))") == "''"
    assert [address for address in page.asked if not is_local(address)] == []
    assert page.shouted == []
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")


@pytest.mark.browser
@pytest.mark.slow
def test_jupyterlab_without_webgl_shows_the_still_picture(offline, lab, screens):
    page = offline
    page.add_init_script(NO_WEBGL)
    page.goto(put_notebook(lab, "view.ipynb", CELL))
    page.wait_for_function(READY, timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    picture = page.locator(".scdlab-view .stage svg")
    picture.nth(1).wait_for(timeout=120_000)  # the kernel draws it once it knows
    assert "no WebGL" in page.locator(".scdlab-view .note").first.inner_text()
    before = picture.first.inner_html()
    page.evaluate(ASK, "view.show(arrows={'force': {'vectors': -forces, 'unit': 'eV/Å'}})")
    page.wait_for_function(
        "old => document.querySelector('.scdlab-view .stage svg').innerHTML != old", arg=before
    )
    page.screenshot(path=screens / "view_in_lab_still.png")
    assert page.evaluate(ASK, "print(view.webgl, repr(view.problem))") == "False ''"
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def opened(page, view: MoleculeView, path):
    view.to_html(path)
    page.goto(path.as_uri())
    page.wait_for_function(
        "() => { const s = document.querySelector('.stage'); return s?.dataset.camera || "
        "s?.querySelector('svg'); }",
        timeout=60_000,
    )
    page.wait_for_timeout(300)
    return page.locator(".stage")


def only_itself(page, path) -> bool:
    return {address for address in page.asked if not address.startswith(("data:", "blob:"))} == {
        path.as_uri()
    }


@pytest.mark.browser
def test_a_page_without_a_kernel(offline, tmp_path, screens):
    rng = np.random.default_rng(1)
    kinds = {
        name: {"vectors": rng.normal(size=(9, 3)), "unit": "eV/Å"}
        for name in ("one", "two", "three", "four")
    }
    stage = opened(
        offline, view_molecule(molecule("CH3CH2OH"), kinds, labels=True), tmp_path / "view.html"
    )
    offline.screenshot(path=screens / "view_page.png")
    for color in ("#D55E00", "#0072B2", "#009E73", "#CC79A7"):
        assert amount(pixels(stage), color) > 100, color
    glyphs = offline.locator(".scdlab-view polygon")
    outlines = {glyphs.nth(k).get_attribute("points") for k in range(glyphs.count())}
    assert len(outlines) == 4  # told apart without color
    before = camera(stage)
    box = stage.bounding_box()
    box = {
        "x": box["x"] - 4,
        "y": box["y"] - 4,
        "width": box["width"] + 8,
        "height": box["height"] + 8,
    }
    calm = image(offline.screenshot(clip=box))
    offline.keyboard.press("Tab")
    assert changed(calm, image(offline.screenshot(clip=box))) > 2_000  # the focus can be seen
    offline.keyboard.press("ArrowUp")
    assert not np.allclose(before, camera(stage))
    assert only_itself(offline, tmp_path / "view.html") and offline.shouted == []


@pytest.mark.browser
def test_a_crystal_has_its_cell(offline, tmp_path, screens):
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    bare = salt.copy()
    bare.pbc = False
    bare_box = pixels(opened(offline, view_molecule(bare), tmp_path / "bare.html"))
    stage = opened(offline, view_molecule(salt), tmp_path / "cell.html")
    offline.screenshot(path=screens / "view_cell.png")
    assert changed(pixels(stage), bare_box) > 1_000


@pytest.mark.browser
def test_five_thousand_atoms_stay_usable(offline, tmp_path, screens):
    many = (bulk("Cu", cubic=True) * (11, 11, 11))[:5000]
    with pytest.warns(UserWarning, match="5,000 atoms"):
        view = view_molecule(many, np.random.default_rng(0).normal(size=(5000, 3)))
    stage = opened(offline, view, tmp_path / "large.html")
    offline.screenshot(path=screens / "view_large.png")
    assert "5,000 atoms" in offline.locator(".note").inner_text()
    before = pixels(stage)
    stage.press("ArrowLeft")
    assert changed(before, pixels(stage)) > 1_000


@pytest.mark.browser
def test_without_webgl_the_still_picture_stands_in(offline, tmp_path, screens):
    offline.add_init_script(NO_WEBGL)
    view = view_molecule(molecule("CH3CH2OH"), np.random.default_rng(1).normal(size=(9, 3)))
    stage = opened(offline, view, tmp_path / "still.html")
    offline.screenshot(path=screens / "view_still.png")
    assert "no WebGL" in offline.locator(".note").inner_text()
    assert amount(pixels(stage), "#D55E00") > 200
    assert offline.shouted == []


@pytest.mark.browser
def test_arrow_meshes_point_where_the_numbers_say(offline, tmp_path):
    """The tip of every mesh is start + step, nothing of it lies beyond, and its normals point
    outwards."""
    view = view_molecule(
        molecule("H2O"), np.random.default_rng(2).normal(size=(3, 3)), arrow_scale=0.7
    )
    opened(offline, view, tmp_path / "mesh.html")
    kind = view.scene["arrows"][0]
    mesh = offline.evaluate(
        """async ([text, kind]) => {
            const url = URL.createObjectURL(new Blob([text], {type: 'text/javascript'}));
            return (await import(url)).arrowMesh(kind.start, kind.step, kind.profile, 12);
        }""",
        [view._esm, kind],
    )
    points, normals, faces = (
        np.reshape(mesh[name], (-1, 3)) for name in ("vertices", "normals", "faces")
    )
    per_arrow = len(points) // 3
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    for k, (start, vector) in enumerate(
        zip(molecule("H2O").positions, view.arrows["arrows"]["vectors"], strict=True)
    ):
        own = points[k * per_arrow : (k + 1) * per_arrow] - start
        along = own @ vector / np.linalg.norm(vector)
        assert along.max() == pytest.approx(0.7 * np.linalg.norm(vector), abs=2e-4)
        assert along.min() == pytest.approx(0, abs=2e-4)
        assert np.linalg.norm(own[along.argmax()] - 0.7 * vector) < 3e-4
        assert (
            np.linalg.norm(own - along[:, None] * vector / np.linalg.norm(vector), axis=1).max()
            < 0.15
        )
    a, b, c = (points[faces[:, n]] for n in range(3))
    outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), normals[faces].sum(1))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    assert (outward[area > 1e-9] > 0).all()  # all triangles are turned the same way


@pytest.mark.browser
def test_a_static_view_by_py3dmol(offline, tmp_path, screens):
    view = static_view(molecule("CH3CH2OH"))
    path = tmp_path / "static.html"
    path.write_text(
        "<!doctype "
        f"html><html><head><script></script></head><body>{view._make_html()}</body></html>"
    )
    offline.goto(path.as_uri())
    offline.locator("canvas").first.wait_for(timeout=30_000)
    offline.wait_for_timeout(500)
    seen = image(offline.locator("canvas").first.screenshot())
    assert changed(seen, np.ones_like(seen)) > 5_000
    offline.screenshot(path=screens / "view_py3dmol.png")
    assert only_itself(offline, path) and offline.shouted == []
