"""The live page in a real Chromium, opened from disk with the network cut: every stop answers."""

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlparse

import ase.io
import numpy as np
import pytest
from PIL import Image
from readers import serious_faults

import scdlab
from scdlab.site import write_live

pytestmark = pytest.mark.browser

WIDTHS = {"narrow": (390, 844), "wide": (1280, 800)}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return write_live(tmp_path_factory.mktemp("live") / "live.html").as_uri()


@pytest.fixture(scope="module")
def opener(browser, address):
    """A function that opens the page in a new window. Windows note what they ask for and complain
    of in `asked` and `errors`."""
    contexts = []

    def open_new(hash_="", width=1280, height=800, init="", **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.asked, page.errors = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        if init:
            page.add_init_script(init)
        page.goto(address + hash_)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_new
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def shared(opener):
    """A wide window for most of the tests: to decode five megabytes takes longer than they do."""
    return opener()


@pytest.fixture
def opened(opener, request):
    """A function that shows the page at an address, in the shared window, or where settings are
    given in a new one; everything it asked for and complained of is judged at the end."""
    used = []

    def open_at(hash_="", fresh=False, **settings):
        if fresh or settings:
            page = opener(hash_, **settings)
        else:
            page = request.getfixturevalue("shared")
            page.evaluate(FOLLOW, hash_)
            settled(page, "() => !scdlabPage.waiting")
        used.append(page)
        return page

    yield open_at
    for page in used:
        assert page.errors == []
        outside = [a for a in page.asked if not a.startswith(("file:", "blob:", "data:"))]
        assert outside == []


FOLLOW = """(hash) => {
    history.replaceState(null, "", location.pathname + hash);
    dispatchEvent(new HashChangeEvent("hashchange"));
    scdlabPage.state.settle();
    document.activeElement.blur();
    scrollTo(0, 0); }"""


def seen(page) -> SimpleNamespace:
    """What stands on the page: the picture, the numbers, the chart and the finding."""
    return SimpleNamespace(
        picture=page.evaluate("document.getElementById('view').toDataURL()"),
        chart=page.inner_html("#chart"),
        numbers=page.inner_text("#numbers"),
        finding=page.inner_text("#finding"),
        problem=page.inner_text("#problem-text") if page.is_visible("#problem") else "",
    )


def settled(page, expression: str) -> None:
    page.wait_for_function(expression)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")


def slide(page, name: str, value: float) -> None:
    """Move a slider as a reader does: input while it moves, change at the end."""
    page.evaluate(
        """([name, value]) => {
            const slider = document.getElementById(`of-${name}`);
            slider.value = value;
            slider.dispatchEvent(new Event("input"));
            slider.dispatchEvent(new Event("change")); }""",
        [name, value],
    )
    settled(page, "() => !scdlabPage.waiting")


def idle(page) -> None:
    """Wait until a long calculation has ended."""
    settled(page, "() => scdlabPage.running === null && !scdlabPage.waiting")


def place_of(page, atom: int) -> tuple[float, float]:
    """Where an atom is on the screen."""
    return page.evaluate(
        """(i) => {
            const { camera, scene, canvas } = scdlabPage.view;
            camera.ready();
            const p = camera.place(...scene.pos.slice(3 * i, 3 * i + 3));
            const box = canvas.getBoundingClientRect();
            return [box.left + p.x, box.top + p.y]; }""",
        atom,
    )


def drag(page, atom: int, dx: float, dy: float) -> None:
    x, y = place_of(page, atom)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()
    settled(page, "() => !scdlabPage.waiting")


def front_atom(page) -> int:
    """The atom that is nearest to the reader, which nothing hides."""
    return page.evaluate(
        """() => {
            const { camera, scene } = scdlabPage.view;
            camera.ready();
            const depth = Array.from(scene.z, (_, i) =>
                camera.place(...scene.pos.slice(3 * i, 3 * i + 3)).depth);
            return depth.indexOf(Math.max(...depth)); }"""
    )


def test_an_atom_is_pulled_and_the_network_answers(opened):
    page = opened()
    before = seen(page)
    atom = front_atom(page)
    drag(page, atom, 40, -25)
    after = seen(page)
    assert after.picture != before.picture and after.numbers != before.numbers
    assert after.chart != before.chart and "out of place" in after.finding
    scene = page.evaluate(
        "() => [Array.from(scdlabPage.structure().z), Array.from(scdlabPage.structure().pos)]"
    )
    atoms = ase.Atoms(scene[0], np.reshape(scene[1], (-1, 3)))
    atoms.calc = scdlab.Calculator(scdlab.load_pretrained("schnet-molecules"))
    largest = np.linalg.norm(atoms.get_forces(), axis=1).max()
    shown = float(re.search(r"Largest force\s+(\d+\.\d+)", after.numbers)[1])
    assert shown == pytest.approx(largest, abs=0.02)  # torch, for the structure on the page
    page.click("#undo")
    settled(page, "() => !scdlabPage.waiting")
    assert seen(page).numbers == before.numbers
    page.mouse.wheel(0, 0)
    drag(page, atom, 30, 10)
    page.keyboard.press("Control+z")
    settled(page, "() => !scdlabPage.waiting")
    assert seen(page).numbers == before.numbers


CONTROLS = {  # a stop's control, and two places of it
    2: ("distance", 1.1, 3.0),
    3: ("temperature", 100, 500),
    4: ("sigma", 0.04, 0.2),
    5: ("tolerance", -0.5, 1.0),
    6: ("mix", 0.1, 0.9),
    8: ("angle", 20, 200),
}


@pytest.mark.slow
@pytest.mark.parametrize("stop", CONTROLS)
def test_each_control_changes_numbers_and_picture(opened, stop):
    page = opened(f"#stop={stop}")
    name, one, other = CONTROLS[stop]
    idle(page)
    found = []
    for value in (one, other):
        slide(page, name, value)
        if stop == 3:
            page.click("#control >> text=100 fs further")
        idle(page)
        found.append(seen(page))
    assert found[0].picture != found[1].picture
    assert found[0].numbers != found[1].numbers
    assert found[0].finding and found[0].problem == found[1].problem == ""
    page.click("#undo")
    idle(page)
    assert page.evaluate("name => scdlabPage.values[name]", name) != other or stop == 3


def percent(text: str, label: str) -> float:
    return float(re.search(rf"{label}\s+([\d.]+)", text)[1])


@pytest.mark.slow
def test_energy_stays_where_forces_are_its_slope(opened):
    page = opened("#stop=3&time=300")
    idle(page)
    numbers = seen(page).numbers.replace("−", "-")
    slope = abs(float(re.search(r"slope\s+(-?[\d.]+)", numbers)[1]))
    direct = abs(float(re.search(r"direct\s+(-?[\d.]+)", numbers)[1]))
    assert re.search(r"Time\s+300", numbers)
    assert slope < 0.5 and direct > 5 * slope
    page.click("#control >> text=Let it move")
    page.wait_for_function(
        "() => Number(document.querySelector('dd').textContent.split(' ')[0]) > 310"
    )
    page.click("#control >> text=Pause")
    assert float(re.search(r"time=([\d.]+)", page.url)[1]) > 310


@pytest.mark.slow
def test_the_own_description_helps_and_another_does_not(opened):
    page = opened("#stop=6")
    idle(page)
    numbers = seen(page).numbers
    own = percent(numbers, "own hint")
    assert own < percent(numbers, "no hint")
    assert own < percent(numbers, "another's")


@pytest.mark.slow
def test_frames_mend_what_rotation_changes(opened):
    page = opened("#stop=8")
    idle(page)
    numbers = seen(page).numbers.replace("−", "-")
    plain = float(re.search(r"over the turn\s+([\d.]+)", numbers)[1])
    mended = float(re.search(r"with ECSE\s+([\d.e-]+)", numbers)[1])
    assert plain > 1 and mended < 1e-3


def test_the_map_leads_to_stop_one(opened):
    page = opened("#stop=7")
    before = seen(page)
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    settled(page, "() => !scdlabPage.waiting")
    after = seen(page)
    assert after.picture != before.picture and after.numbers != before.numbers
    molecule = page.evaluate("scdlabPage.from")
    assert molecule.startswith("qm9.")
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    settled(page, "() => !scdlabPage.waiting")
    beside = page.evaluate("scdlabPage.from")
    assert beside != molecule
    assert re.search(r"distance \d|\d times", page.inner_text("#verdict"))
    page.keyboard.press("Enter")
    settled(page, "() => scdlabPage.values.stop === 1")
    assert page.evaluate("scdlabPage.from") == beside and "forces" in page.inner_text("#caption")


def test_keyboard_alone(opened):
    page = opened(fresh=True)
    page.focus("#view")
    before = seen(page)
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    settled(page, "() => !scdlabPage.waiting")
    assert seen(page).numbers != before.numbers
    atom = page.evaluate("scdlabPage.values.atom")
    assert atom not in (-1, 3)  # the next one after the atom that the page pulled itself
    assert page.evaluate("atom => scdlabPage.values.moved[atom].length", atom) == 3
    page.focus("#next")
    page.keyboard.press("Enter")
    assert page.evaluate("scdlabPage.values.stop") == 2
    assert page.evaluate("document.activeElement.id") == "question"
    page.focus("#of-distance")
    page.keyboard.press("ArrowRight")
    settled(page, "() => !scdlabPage.waiting")
    assert page.evaluate("scdlabPage.values.distance") == pytest.approx(1.52)
    page.evaluate(
        """() => {
            globalThis.reached = [];
            addEventListener("focusin", (event) => reached.push(event.target.id));
            document.activeElement.blur(); }"""
    )
    for _ in range(25):
        page.keyboard.press("Tab")
    assert {"view", "of-distance", "structure", "paste", "link", "next"} <= set(
        page.evaluate("reached")
    )


def test_touch(opened):
    page = opened(width=390, height=844, has_touch=True, is_mobile=True)
    before = seen(page)
    atom = front_atom(page)
    x, y = place_of(page, atom)
    client = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x + 25, "y": y - 20}]),
        ("touchMove", [{"x": x + 30, "y": y - 30}]),
        ("touchEnd", []),
    ):
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    settled(page, "() => !scdlabPage.waiting")
    assert seen(page).numbers != before.numbers


def test_a_link_gives_the_same_scene_again(opened):
    page = opened("#stop=1&from=qm9.5")
    drag(page, front_atom(page), 30, -20)
    page.keyboard.press("+")
    first = seen(page)
    again = opened("#" + page.url.partition("#")[2], fresh=True)
    second = seen(again)
    assert second.numbers == first.numbers and second.finding == first.finding
    assert again.evaluate("scdlabPage.from") == "qm9.5"


def test_an_address_that_changes_is_followed_and_undone(opened):
    page = opened("#stop=4")
    page.evaluate("location.hash = '#stop=2&distance=2.5'")
    settled(page, "() => scdlabPage.values.stop === 2")
    assert page.evaluate("scdlabPage.values.distance") == 2.5
    page.click("#undo")
    settled(page, "() => scdlabPage.values.stop === 4")


BROKEN = (
    "#stop=12",
    "#from=qm9.99999",
    "#moved=1:a",
    "#moved=99:1,0,0",
    "#sigma=lots&stop=4",
    "#from=pasted",
    "#%E0%A4",
)


@pytest.mark.parametrize("address_", BROKEN)
def test_a_broken_link_is_one_sentence(opened, address_):
    page = opened(address_, fresh=address_ == BROKEN[0])
    found = seen(page)
    assert re.fullmatch(r"The link's \".+\" cannot be read, [^.]+\.", found.problem)
    assert len(page.inner_text("#question")) > 10 and found.numbers


def paste(page, text: str) -> str:
    """Paste a structure; what the page complains of."""
    page.click("#paste")
    page.fill("#paste-text", text)
    page.click("#paste-take")
    settled(page, "() => !scdlabPage.waiting")
    problem = page.inner_text("#paste-problem")
    if problem:
        assert page.input_value("#paste-text") == text  # nothing is lost
        page.click("text=Cancel")
    return problem


def test_pasted_structures(opened):
    page = opened("#stop=1")
    before = seen(page)
    many = "\n".join(f"C 0 0 {1.4 * k:.2f}" for k in range(300))
    for text, said in (
        ("dear molecule", "holds no atom"),
        ("", "empty"),
        (many, "300 atoms"),
        ("C 0 0 0\nH 0 0 0", "in the same place"),
        ("Xx 0 0 0", "which there is not"),
        ("C 0 0 here", "no number"),
        ('1\nLattice="0.1 0 0 0 0.1 0 0 0 0.1"\nC 0 0 0', "less than 1 Å thick"),
        ('1\nLattice="3 0 0 0 3 0 3 3 0"\nC 0 0 0', "less than 1 Å thick"),
    ):
        problem = paste(page, text)
        assert said in problem and problem.count(". ") <= 1, problem
    assert seen(page).numbers == before.numbers
    assert paste(page, "O,0,0,0.12;H,0,0.76,-0.47; H,0,-0.76,-0.47") == ""  # as a link has it
    assert page.evaluate("document.getElementById('structure').value") == "pasted"
    page.select_option("#structure", "qm9.3")
    page.select_option("#structure", "pasted")  # one comes back to it
    settled(page, "() => !scdlabPage.waiting")
    assert re.search(r"Atoms\s+3", seen(page).numbers)
    page.click("#undo")
    page.click("#undo")
    settled(page, "() => !scdlabPage.waiting")
    water = seen(page)
    link = "#" + page.url.partition("#")[2]
    assert re.search(r"Atoms\s+3", water.numbers) and "H2O" in page.inner_text("#caption")
    opened("#stop=1")
    assert seen(page).numbers != water.numbers
    opened(link)
    assert seen(page).numbers == water.numbers
    assert paste(page, "Si 0 0 0\nH 0 0 1.5\nS 2.1 0 0") == ""
    strange = seen(page)
    assert "never seen S and Si" in strange.finding or "never seen Si and S" in strange.finding
    page.click("#undo")
    settled(page, "() => !scdlabPage.waiting")
    assert seen(page).numbers == water.numbers


def test_atoms_in_one_another_are_one_sentence(opened):
    page = opened("#stop=1&from=pasted&xyz=" + "C,0,0,0;O,0,0,1.2&moved=1:0,0,-1.2")
    assert "in the same place" in seen(page).problem
    page.focus("#view")
    page.keyboard.press("n")
    page.keyboard.press("ArrowUp")
    settled(page, "() => !scdlabPage.waiting")
    assert seen(page).problem == "" and "eV" in seen(page).numbers


def test_a_crystal_is_drawn_and_its_elements_are_named(opened):
    page = opened("#stop=1&from=alloys.1")
    assert "never seen" in seen(page).finding
    page = opened("#stop=6&from=alloys.1")
    idle(page)
    assert "own hint" in seen(page).numbers


def test_far_from_the_training_set_is_said(opened):
    page = opened("#stop=1&from=ethanol.0")
    assert "Like what it was trained on" in page.inner_text("#verdict")
    assert "eV/Å" in page.inner_text("#trained")
    page = opened("#stop=1&moved=0:1.2,0.8,0")
    assert "Do not trust" in page.inner_text("#verdict")
    assert paste(page, "H 0 0 0\nC 0 0 1.1\nO 0 0 90") == ""
    assert page.inner_text("#verdict").startswith("O3 has no other atom within 5 Å")


def colors_of(file) -> int:
    """How many colors a picture has."""
    return len(Image.open(file).convert("RGB").getcolors(10**7))


def test_without_webgl(opened):
    """The page draws on plain canvases; a browser without WebGL shows the same."""
    none = """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind.startsWith("webgl") ? null : get.call(this, kind, ...rest); };"""
    page = opened(init=none)
    assert colors_of(io.BytesIO(base64.b64decode(seen(page).picture.split(",")[1]))) > 200
    drag(page, front_atom(page), 20, 20)
    assert "out of place" in seen(page).finding


def test_files_to_keep(opened):
    page = opened("#stop=1&from=qm9.3")
    drag(page, front_atom(page), 20, 15)
    with page.expect_download() as waiting:
        page.click("#save-xyz")
    text = waiting.value.path().read_text()
    atoms = ase.io.read(io.StringIO(text), format="xyz")
    shown = page.evaluate("Array.from(scdlabPage.structure().pos)")
    assert np.abs(atoms.positions.ravel() - shown).max() < 1e-9
    with page.expect_download() as waiting:
        page.click("#picture")
    picture = Image.open(waiting.value.path())
    assert picture.format == "PNG" and picture.size[0] > 300
    assert colors_of(waiting.value.path()) > 200


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [("narrow", "dark"), ("wide", "light")])
def test_each_stop_fits_its_screen_and_shuts_no_reader_out(opened, width, scheme):
    across, down = WIDTHS[width]
    page = opened(width=across, height=down, color_scheme=scheme, reduced_motion="reduce")
    for stop in range(1, 10):
        page.evaluate("stop => scdlabPage.enter(stop)", stop)
        settled(page, "() => !scdlabPage.waiting")
        assert page.evaluate("document.documentElement.scrollWidth") <= across, stop
        assert page.evaluate("document.getElementById('view').clientWidth") > 150
        if width == "narrow":
            small = page.evaluate(
                """() => [...document.querySelectorAll("button, select, input")]
                    .filter(e => e.offsetParent && e.getBoundingClientRect().height < 24)
                    .map(e => e.id || e.textContent)"""
            )
            assert small == [], stop
        else:
            end = page.evaluate("document.getElementById('steps').getBoundingClientRect().bottom")
            assert end <= down, stop
        assert serious_faults(page) == [], stop


def test_the_first_scene_is_there_before_the_weights(browser, address):
    """Without what stands below it, the page still shows the scene that was computed before."""
    source = Path(unquote(urlparse(address).path)).read_text("utf-8")
    blocks = r'<script type="application/json" id="(data|weights-[\w-]+)">.*?</script>'
    cut = re.sub(blocks, "", source, flags=re.DOTALL)
    cut = cut.replace("<script>scdlabLive.loaded();</script>", "")
    assert len(cut) < 0.1 * len(source)
    (first,) = re.findall(r'id="first">(.*?)</script>', source)
    answer = json.loads(first)["answer"]
    context = browser.new_context(offline=True)
    bare = context.new_page()
    bare.set_content(cut)
    assert f"{answer['energy'] - answer['start']:.2f}" in bare.inner_text("#numbers")
    assert "out of place" in bare.inner_text("#finding")
    context.close()
