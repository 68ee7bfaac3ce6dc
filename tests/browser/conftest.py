"""A JupyterLab on this machine, and a real Chromium that notes every address it asks for."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from short_lessons import shorten_all

from scdlab import cli
from scdlab.files import package_dir

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
)


@pytest.fixture(scope="session")
def browser():
    """A Chromium from the system, else the one that playwright has installed."""
    with launched() as chromium:
        yield chromium


@contextlib.contextmanager
def launched():
    """The Chromium of the tests; where there is none, the test is skipped with the reason."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the Python package playwright is not installed"
    )
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        path = found or playwright.chromium.executable_path
        if not Path(path).is_file():
            pytest.skip("no Chromium found: install one, or run `playwright install chromium`")
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def whole():
    """Whether lessons run at their whole quick size and are photographed, for people:
    SCDLAB_SCREENS=1."""
    return os.environ.get("SCDLAB_SCREENS", "0") != "0"


@pytest.fixture(scope="session")
def lab(browser, tmp_path_factory, whole):
    """The address of a JupyterLab on a copy of the lessons, shortened, started as `scdlab lab`
    starts it."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(
        package_dir("notebooks"),
        folder / "notebooks",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
    )
    if not whole:
        shorten_all(folder / "notebooks")
    with running_lab(folder) as address:
        yield address


@contextlib.contextmanager
def running_lab(folder: Path):
    """A JupyterLab on `folder`/notebooks, its settings and its log in `folder`; yields its
    address."""
    port = free_port()
    token = secrets.token_hex(8)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        *cli.lab_arguments(folder / "notebooks", port, False),
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
    ]
    own = {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")
    }
    log = folder / "lab.log"
    with open(log, "wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | own)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server, log)
        # reset: no tabs left over from another test
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}&reset"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def free_port() -> int:
    """A port of this machine that nothing uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(address: str, server, log: Path) -> None:
    """Wait until a server answers. Raises RuntimeError, with its log, where it ended instead."""
    for _ in range(240):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.5)
    raise RuntimeError("The server did not start:\n" + log.read_text(errors="replace")[-3000:])


@pytest.fixture
def page(browser):
    """A fresh window; `page.asked` lists every address it asked for."""
    with _window(browser) as page:
        yield page


@pytest.fixture(scope="module")
def window(browser):
    """The same for all tests of a module, for those that each open a page of their own in it."""
    with _window(browser) as page:
        yield page


@contextlib.contextmanager
def _window(browser):
    window = browser.new_page(viewport={"width": 1280, "height": 1000})
    window.set_default_timeout(120_000)  # ms: a slow machine is no fault
    window.asked = []
    window.on("request", lambda request: window.asked.append(request.url))
    window.on("websocket", lambda channel: window.asked.append(channel.url))
    yield window
    window.close()


@pytest.fixture(scope="session")
def screens():
    """Where screenshots go: an ignored folder of the checkout, for people to look at."""
    folder = Path(__file__).resolve().parents[2] / "runs" / "screens"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
