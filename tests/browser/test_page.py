"""A lesson's exported page in a real browser: every figure is drawn, and nothing is fetched."""

import pytest


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_of_lesson_00_draws_itself(page, ran, screens):
    address = ran(0).page.as_uri()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    figures = page.locator(".js-plotly-plot")
    page.wait_for_function(
        "() => document.querySelectorAll('.js-plotly-plot .main-svg').length > 0"
    )
    assert figures.count() == page.locator(".plotly-graph-div").count() >= 6
    for number in range(figures.count()):
        box = figures.nth(number).bounding_box()
        assert box["width"] > 300 and box["height"] > 200, number
    scenes = page.locator(".gl-container canvas")  # 3-D pictures
    assert scenes.count() >= 2
    assert page.locator("math").count() > 5
    solution = page.locator("details.solution").first
    assert not solution.locator(".highlight").is_visible()
    solution.locator("summary").click()
    assert solution.locator(".highlight").is_visible()
    assert errors == []
    assert page.asked == [address]
    page.screenshot(path=screens / "00_start_here_page.png", full_page=True)
