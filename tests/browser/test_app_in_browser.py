"""A lesson as an app: no code, a kernel for each page that ends with it, nothing from elsewhere."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import nbformat
import psutil
import pytest
from conftest import free_port, wait_for
from test_lab import is_local

from scdlab.files import package_dir

TEXT = "# A booth\n\nA distance $r_{ij}$, a term of the [glossary](glossary.md#cutoff)."
CELLS = (
    "import os\n\nimport scdlab\nfrom scdlab import explore, lessons\n\nhidden_name = 7",
    "lessons.check_pair_count(lambda n: ...)",
    'print("kernel", os.getpid())',
    "some = scdlab.AtomStore.from_ase([scdlab.load_ethanol().to_ase(0)])\n"
    "explorer = explore.NeighborExplorer(some)\n"
    'explore.described(explorer, "The neighbors of an atom.")\n'
    "explorer",
)
CODE = (
    "import sys; from scdlab.lessons.served import serve; "
    "serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), False, 'the-token', print)"
)
FOCUSED = "document.activeElement.closest('.widget-slider')?.textContent ?? ''"
TITLE = "#rendered_cells .js-plotly-plot .gtitle"


@pytest.fixture
def app(tmp_path):
    """The address of a short lesson, served as `scdlab lab --app` serves one."""
    cells = [nbformat.v4.new_markdown_cell(TEXT), *map(nbformat.v4.new_code_cell, CELLS)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path = tmp_path / "07_booth.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    port = free_port()
    glossary = package_dir("notebooks") / "glossary.md"
    log = tmp_path / "app.log"
    with open(log, "wb") as out:
        command = [sys.executable, "-c", CODE, str(path), str(glossary), str(port)]
        server = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        wait_for(f"http://127.0.0.1:{port}/login", server, log)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def kernel_of(page) -> int:
    """The process that computes a page, which it prints."""
    shown = page.get_by_text(re.compile(r"^kernel \d+"))
    shown.wait_for()
    return int(re.search(r"\d+", shown.text_content())[0])


def wait_until_gone(page, pid: int) -> None:
    """Wait for the end of a process; of one that is not waited for, nothing but its name stays."""
    for _ in range(240):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        page.wait_for_timeout(250)
    raise AssertionError(f"the kernel {pid} is still there")


@pytest.mark.browser
@pytest.mark.slow
def test_a_lesson_as_an_app(page, browser, app, screens):
    for wrong in (app, f"{app}?token=wrong"):
        with urllib.request.urlopen(wrong) as answer:
            assert answer.url.startswith(f"{app}login") and b"booth" not in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{app}api/kernels/00000000-0000-0000-0000-000000000000?token=wrong")

    page.goto(f"{app}?token=the-token", wait_until="commit")
    other = browser.new_page(viewport={"width": 800, "height": 1000})
    other.set_default_timeout(120_000)
    other.goto(f"{app}?token=the-token", wait_until="commit")
    pid = kernel_of(page)
    assert page.title() == "A booth" and page.locator("main math").count() == 1
    title = page.locator(TITLE)
    title.wait_for()
    told = title.text_content()
    assert "hidden_name" not in page.content() and page.locator(".cm-editor").count() == 0
    assert page.get_by_text("Here the lesson has an exercise").is_visible()
    assert page.get_by_text("pair_count").count() == 0  # what its check says is not for readers

    for _ in range(20):  # by keyboard alone
        page.keyboard.press("Tab")
        if "cutoff" in page.evaluate(FOCUSED):
            break
    assert "cutoff" in page.evaluate(FOCUSED)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "([path, told]) => document.querySelector(path).textContent != told", arg=[TITLE, told]
    )
    page.screenshot(path=screens / "app_1280.png")
    assert kernel_of(other) != pid
    other.locator(TITLE).wait_for()
    assert other.locator(TITLE).text_content() == told  # nobody moved a slider here
    other.screenshot(path=screens / "app_800.png")
    for each in (page, other):
        room = each.evaluate("innerWidth - document.documentElement.scrollWidth")
        assert room >= 0
    with page.expect_popup() as opened:
        page.get_by_role("link", name="glossary").click()
    assert "cutoff" in opened.value.content()

    left = kernel_of(other)
    other.close()  # its kernel ends with it …
    wait_until_gone(page, left)
    assert psutil.pid_exists(pid) and page.get_by_role("alert").count() == 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # … and a page says so when its kernel has ended
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "its controls no longer answer" in alert.text_content()
    page.screenshot(path=screens / "app_ended.png")
    assert [address for address in page.asked if not is_local(address)] == []
