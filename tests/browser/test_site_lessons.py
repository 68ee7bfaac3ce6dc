"""Pages of the real lessons on the site: at a telephone's width nothing leaves its place."""

import shutil

import pytest
from readers import cut_off, serious_faults, squeezed

from scdlab.files import package_dir
from scdlab.lessons.listed import lesson_number, list_lessons
from scdlab.site import build_site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LESSONS = {lesson_number(path): path for path in list_lessons(None)}


@pytest.mark.parametrize("number", [pytest.param(each, id=f"lesson_{each}") for each in LESSONS])
def test_the_page_of_a_lesson_fits_a_telephone(browser, ran, tmp_path, number):
    alone = tmp_path / "lessons"
    alone.mkdir()
    for path in (LESSONS[number], package_dir("notebooks") / "glossary.md"):
        shutil.copy(path, alone)
    executed = ran(number).page.parent
    site = build_site(tmp_path / "site", executed, folder=alone, may_run=False, say=str)
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, offline=True, is_mobile=True, has_touch=True
    )
    window = context.new_page()
    window.set_default_timeout(120_000)
    asked, errors = [], []
    window.on("request", lambda request: asked.append(request.url))
    window.on("pageerror", lambda error: errors.append(str(error)))
    window.goto((site / f"{LESSONS[number].stem}.html").as_uri())
    for plot in window.locator(".plot").all():
        plot.scroll_into_view_if_needed()
    window.wait_for_function(
        "() => [...document.querySelectorAll('.plot')].every(p => p.dataset.drawn === 'yes')"
    )
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
    assert cut_off(window) == [] and squeezed(window) == []
    assert serious_faults(window) == []
    assert errors == [] and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    context.close()
