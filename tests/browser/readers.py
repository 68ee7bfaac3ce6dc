"""What axe-core finds on a page that shuts readers out."""

import pytest

RUN = """() => axe.run(document, { preload: false, resultTypes: ["violations"] }).then(found =>
    found.violations.filter(each => ["serious", "critical"].includes(each.impact))
        .map(each => [each.id, each.nodes.slice(0, 4).map(node => node.target.join(" "))]))"""


def serious_faults(page) -> list:
    """Serious faults and where they are; skips the test where axe-core is not installed.

    preload: axe would ask for the style once more, which browsers refuse from disk.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    if page.evaluate("typeof globalThis.axe") == "undefined":
        page.evaluate(axe.Axe().axe_script)
    return page.evaluate(RUN)
