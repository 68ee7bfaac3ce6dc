"""What a page does to readers: faults that axe-core finds, words of figures that are cut off."""

import pytest

RUN = """() => axe.run(document, { preload: false, resultTypes: ["violations"] }).then(found =>
    found.violations.filter(each => ["serious", "critical"].includes(each.impact))
        .map(each => [each.id, each.nodes.slice(0, 4).map(node => node.target.join(" "))]))"""


CUT_OFF = """() => [...document.querySelectorAll(".js-plotly-plot")].flatMap((plot) => {
    const box = plot.getBoundingClientRect();
    return [...plot.querySelectorAll("svg text")].filter((text) => {
        const own = text.getBoundingClientRect();
        return own.width > 0 && (own.left < box.left - 1 || own.right > box.right + 1
            || own.top < box.top - 1 || own.bottom > box.bottom + 1);
    }).map((text) => text.textContent); })"""
SQUEEZED = """() => [...document.querySelectorAll(".js-plotly-plot")].filter((plot) => {
    const inside = plot.querySelector(".cartesianlayer .plot, .bglayer .bg");
    return inside && inside.getBoundingClientRect().width < 0.5 * plot.clientWidth
        && !plot.classList.contains("panels");
    }).map((plot) => plot.textContent.slice(0, 80))"""


def cut_off(page) -> list[str]:
    """Words of drawn figures that leave their figure."""
    return page.evaluate(CUT_OFF)


def squeezed(page) -> list[str]:
    """Drawn figures of one panel that leave less than half of their width to the plot."""
    return page.evaluate(SQUEEZED)


def serious_faults(page) -> list:
    """Serious faults and where they are; skips the test where axe-core is not installed.

    preload: axe would ask for the style once more, which browsers refuse from disk.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    if page.evaluate("typeof globalThis.axe") == "undefined":
        page.evaluate(axe.Axe().axe_script)
    return page.evaluate(RUN)
