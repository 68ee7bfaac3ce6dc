"""A notebook in a JupyterLab and a real Chromium, as a reader has them: what the benchmarks that
look at it share."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
READY = """name => { const context = window.jupyterapp?.shell.currentWidget?.context;
    return context?.path == name && context.sessionContext.session?.kernel?.status == 'idle'; }"""


@contextlib.contextmanager
def lab_and_browser() -> Iterator[tuple[str, Any]]:
    """The address of a JupyterLab on an empty folder, and a Chromium."""
    sys.path[:0] = [str(ROOT / "tests" / "browser"), str(ROOT / "tools")]
    from conftest import launched, running_lab

    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        (Path(folder) / "notebooks").mkdir()
        with running_lab(Path(folder)) as lab:
            yield lab, browser


@contextlib.contextmanager
def ran(browser: Any, lab: str, name: str, source: str) -> Iterator[Any]:
    """The page of a notebook of one cell, which is being run; its kernel ends with it."""
    from test_molecule_view import put_notebook

    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(300_000)
    page.goto(put_notebook(lab, name, source))
    page.wait_for_function(READY, arg=name)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    yield page
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
