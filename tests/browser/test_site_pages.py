"""The static site in a real Chromium, from disk: it draws, finds, answers and asks nobody."""

import base64
import re

import pytest
import tiny_site
from readers import cut_off, serious_faults, squeezed

from scdlab.site import build_site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDTHS = (390, 1280)
PAGES = (
    "index.html",
    "00_tiny.html",
    "02_tiny.html",
    "glossary.html",
    "take-aways.html",
    "claims.html",
    "claim-ecse-cost.html",
    "claim-dens-tuned.html",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    lessons = tiny_site.write_lessons(folder / "lessons")
    executed = tiny_site.write_executed(folder / "executed")
    return build_site(folder / "out", executed=executed, folder=lessons, may_run=False, say=str)


@pytest.fixture(scope="module")
def opener(browser, site):
    """Opens a page of the site in a window without a network; a function with all its `windows`."""
    windows = []

    def opened(name, width=1280, before="", **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        context.set_offline(True)
        window = context.new_page()
        window.set_default_timeout(120_000)
        window.asked = []
        window.errors = []
        window.on("request", lambda request: window.asked.append(request.url))
        window.on("websocket", lambda channel: window.asked.append(channel.url))
        window.on("pageerror", lambda error: window.errors.append(str(error)))
        window.on(
            "console",
            lambda message: message.type == "error" and window.errors.append(message.text),
        )
        window.add_init_script(before)
        window.goto((site / name).as_uri())
        windows.append(window)
        return window

    opened.windows = windows
    return opened


@pytest.fixture(autouse=True)
def asks_nobody(opener):
    """After each test: nothing was asked of anybody, and no error was reported."""
    yield
    for window in opener.windows:
        assert window.errors == []
        assert [
            url for url in window.asked if not url.startswith(("file:", "data:", "blob:"))
        ] == []


@pytest.fixture
def open_page(opener):
    """Opens a page of the site, in a window that is closed after the test."""
    before = len(opener.windows)
    yield opener
    for window in opener.windows[before:]:
        window.context.close()


@pytest.fixture(scope="module")
def lesson(opener):
    """A window on the first lesson, for tests that leave it where it is."""
    return opener("00_tiny.html")


def drawn(window, place):
    window.locator(place).first.scroll_into_view_if_needed()
    window.wait_for_function(
        "place => document.querySelector(place).dataset.drawn === 'yes'", arg=place
    )


def test_figures_are_drawn_when_one_comes_near(lesson):
    window = lesson
    drawn(window, ".plot")
    box = window.locator(".plot .main-svg").first.bounding_box()
    assert box["width"] > 400 and box["height"] > 200
    assert window.locator(".bars path").count() == 2
    assert "Two bars" in window.locator("figure.figure").get_attribute("aria-label")
    assert window.locator("math").count() == 2


def test_a_molecule_turns_without_a_kernel(lesson):
    window = lesson
    drawn(window, ".view")
    stage = window.locator(".stage-3d .stage")
    assert stage.locator("canvas").count() == 1
    assert not window.locator(".view .still").is_visible()
    assert inks(window, stage) > 200
    before = stage.get_attribute("data-camera")
    stage.focus()
    window.keyboard.press("ArrowRight")
    assert stage.get_attribute("data-camera") != before
    assert "atoms" in stage.get_attribute("aria-label")


def test_a_live_panel_takes_the_place_of_a_picture(open_page):
    window = open_page("02_tiny.html")
    button = window.locator("[data-live]")
    picture = window.locator("figure:has([data-live]) img")
    assert picture.is_visible()
    button.click()
    assert not picture.is_visible()
    panel = window.frame_locator("iframe.panel")
    panel.locator("body[data-ready]").wait_for()
    assert panel.locator("#question").inner_text().startswith("Somebody shook the atoms")
    assert not panel.locator("header").is_visible()
    before = panel.locator("#numbers").inner_text()
    panel.locator("#of-sigma").focus()
    for _ in range(3):
        window.keyboard.press("ArrowRight")
    window.wait_for_function(
        "() => document.querySelector('iframe.panel').style.height !== '760px'"  # it said its own
    )
    panel.locator("output", has_text="0.115 Å").wait_for()
    assert panel.locator("#numbers").inner_text() != before
    button.click()
    assert picture.is_visible() and window.locator("iframe").count() == 0


def inks(window, place) -> int:
    """How many pixels of a drawing are not white, of a coarse grid of them."""
    return window.evaluate(
        """async ([data, step]) => {
          const image = new Image();
          image.src = `data:image/png;base64,${data}`;
          await image.decode();
          const canvas = Object.assign(document.createElement("canvas"),
            { width: image.width, height: image.height });
          const context = canvas.getContext("2d", { willReadFrequently: true });
          context.drawImage(image, 0, 0);
          const { data: pixels } = context.getImageData(0, 0, image.width, image.height);
          let count = 0;
          for (let k = 0; k < pixels.length; k += 4 * step) count += pixels[k] < 230;
          return count;
        }""",
        [base64.b64encode(place.screenshot()).decode(), 7],
    )


def test_without_webgl_the_picture_stays(open_page):
    window = open_page(
        "00_tiny.html", before="HTMLCanvasElement.prototype.getContext = () => null;"
    )
    window.locator(".view").scroll_into_view_if_needed()
    window.wait_for_function("() => document.querySelector('.stage-3d .note')?.textContent")
    assert "no WebGL" in window.locator(".stage-3d .note").inner_text()
    assert window.locator(".stage-3d img").is_visible()


def test_search_finds_a_word_and_leads_to_it(open_page):
    window = open_page("00_tiny.html")
    window.keyboard.press("/")
    assert window.evaluate("document.activeElement.type") == "search"
    window.keyboard.type("zircon")
    window.wait_for_function("() => document.querySelectorAll('.hits a').length === 1")
    assert window.locator(".count").inner_text() == "1 place"
    assert window.locator(".hits mark").inner_text() == "zirconium"
    window.keyboard.press("ArrowDown")
    window.keyboard.press("Enter")
    window.wait_for_url(re.compile(r"02_tiny\.html#Zirconium-appears-here$"))
    window.locator("[data-search]").click()
    window.locator("#search-field").fill("no such word anywhere")
    window.wait_for_function("() => /Nothing/.test(document.querySelector('.count').textContent)")
    window.keyboard.press("Escape")
    assert not window.locator("dialog").is_visible()


def test_search_reads_claims_and_the_glossary(open_page):
    window = open_page("index.html")
    window.locator("[data-search]").click()
    window.locator("#search-field").fill("kcal/mol")
    window.wait_for_function("() => document.querySelector('.hits a')")
    assert window.locator(".hits a").first.get_attribute("href") == "glossary.html#kcal/mol"
    window.locator("#search-field").fill("ecse-cost")
    window.wait_for_function(
        "() => document.querySelector('.hits a')?.getAttribute('href') === 'claim-ecse-cost.html'"
    )


def test_the_quiz_says_why_by_keyboard_alone(lesson):
    window = lesson
    question = window.locator(".quiz fieldset").first
    wrong = question.locator("button:not([data-right])").first
    wrong.focus()
    window.keyboard.press("Enter")
    assert wrong.get_attribute("aria-expanded") == "true"
    reason = question.locator(".reason:visible")
    assert reason.inner_text().startswith("Not this one. ") and len(reason.inner_text()) > 40
    assert question.locator("[role=status]").text_content() == reason.text_content()
    window.keyboard.press("Enter")
    assert question.locator(".reason:visible").count() == 0
    for button in window.locator(".quiz [data-right]").all():
        button.click()
    assert window.locator(".quiz .reason:visible").count() == 5
    assert window.locator(".score").inner_text() == "4 of 5 right at the first try."


def test_a_guess_is_kept(open_page):
    window = open_page("02_tiny.html")
    form = window.locator("form.guess")
    note = form.locator(".note")
    form.locator("input[type=text]").fill("much")
    form.locator("button").click()
    assert note.inner_text() == "Please write a number, such as 0.05."
    form.locator("input[type=text]").fill("0,05")
    form.locator("button").click()
    assert note.inner_text() == "Please say how sure you are, too."
    form.get_by_label("fairly sure").check()
    form.locator("button").click()
    assert note.inner_text().startswith("Kept in this browser: 0.05, fairly sure.")
    window.reload()
    assert note.inner_text() == "Your guess was: 0.05, fairly sure."


def ink_and_page(window):
    return window.evaluate(
        "() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; }"
    )


def brightness(color: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3


def test_dark_by_the_system_and_by_the_switch(open_page):
    light = ink_and_page(open_page("glossary.html", color_scheme="light"))
    dark = ink_and_page(open_page("glossary.html", color_scheme="dark"))
    assert brightness(light[0]) < 80 and brightness(light[1]) > 230
    assert brightness(dark[0]) > 200 and brightness(dark[1]) < 50
    window = open_page("glossary.html", color_scheme="light")
    switch = window.locator("[data-theme-switch]")
    switch.click()
    assert "Dark" in switch.inner_text() and ink_and_page(window) == dark
    window.goto(window.url.replace("glossary", "take-aways"))  # the next page keeps it
    assert ink_and_page(window) == dark
    switch.click()
    assert ink_and_page(window) == light


def test_on_paper_everything_is_unfolded_and_black_on_white(open_page):
    window = open_page("02_tiny.html", color_scheme="dark")
    window.emulate_media(media="print", color_scheme="dark")
    window.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert window.locator("main details:not([open])").count() == 0
    color, paper = ink_and_page(window)
    assert brightness(color) < 80 and brightness(paper) == 255
    assert not window.locator(".bar").is_visible()
    assert window.locator(".solution .highlight").is_visible()
    window.evaluate("dispatchEvent(new Event('afterprint'))")
    assert window.locator("main details:not([open])").count() > 0


def test_motion_is_reduced_where_a_reader_asks_for_it(open_page):
    behavior = "() => getComputedStyle(document.documentElement).scrollBehavior"
    assert open_page("index.html").evaluate(behavior) == "smooth"
    assert open_page("index.html", reduced_motion="reduce").evaluate(behavior) == "auto"


def test_words_of_figures_stay_in_them_at_every_width(open_page):
    window = open_page("02_tiny.html", 390)
    for width in (390, 800, 390):  # the figures follow a window that changes
        window.set_viewport_size({"width": width, "height": 900})
        for k in range(2):
            window.locator(".plot").nth(k).scroll_into_view_if_needed()
        window.wait_for_function(
            "() => [...document.querySelectorAll('.plot')].every(p => p.dataset.drawn === 'yes')"
        )
        window.wait_for_timeout(500)  # plotly waits itself before it follows
        assert cut_off(window) == [] and squeezed(window) == [], width
    title = window.locator(".gtitle").first
    assert title.locator("tspan").count() > 1
    assert window.locator(".legend .traces").count() == 3
    names = window.locator(".plot").nth(1).locator(".xtick text")
    assert [each.locator("tspan").count() for each in names.all()] == [2] * 4  # lines of each


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_their_window_and_shut_no_reader_out(open_page, site, screens, width):
    window = open_page(PAGES[0], width, color_scheme="light", reduced_motion="reduce")
    for name in PAGES:
        window.goto((site / name).as_uri())
        for place in (".plot", ".view"):
            if window.locator(place).count():
                drawn(window, place)
        for button in window.locator(".quiz button").all()[:3]:
            button.click()
        wide = window.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= width, name
        window.screenshot(path=screens / f"site_{name.split('.')[0]}_{width}.png")
        for scheme in ("light", "dark"):
            window.emulate_media(color_scheme=scheme)
            assert serious_faults(window) == [], (name, scheme)
        window.emulate_media(color_scheme="light")
