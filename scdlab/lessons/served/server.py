"""The server of an app: Voilà on this machine alone, with a token, without a request elsewhere.

Each page that opens has a kernel of its own, which runs the lesson; it ends with its page. Voilà's
own page would fetch icons, mermaid and MathJax from the network: ours (`templates/index.html.j2`)
loads what the server has, formulas are MathML, and a content security policy forbids the rest.
"""

import asyncio
import logging
import secrets
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from voila.app import Voila
from voila.exporter import VoilaMarkdownRenderer

from scdlab.lessons.html import MathRenderer, markdown_to_html
from scdlab.lessons.served.page import lesson_page

PORT = 8866
"""Port of an app, unless another is named."""

HOST = "127.0.0.1"
LEFT = 5
"""Seconds after which the kernel of a page that was closed ends."""

IDLE = 120
"""Seconds without work after which a kernel ends that no page is connected to."""

_EXTENSIONS = (
    "@jupyter-widgets/jupyterlab-manager",
    "@voila-dashboards/widgets-manager8",
    "anywidget",
    "jupyterlab-plotly",
)
_OWN = "'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


class PageKernels(AsyncMappingKernelManager):
    """Kernels that end with their pages."""

    def notify_disconnect(self, kernel_id: str) -> None:
        """A page has left its kernel: end it, unless the page is soon back.

        Parameters
        ----------
        kernel_id : str
            The kernel.
        """
        super().notify_disconnect(kernel_id)
        loop = asyncio.get_running_loop()
        loop.call_later(LEFT, lambda: loop.create_task(self._end_if_left(kernel_id)))

    async def _end_if_left(self, kernel_id: str) -> None:
        if kernel_id in self and not self._kernel_connections.get(kernel_id, 0):
            await self.shutdown_kernel(kernel_id)


class PageRenderer(MathRenderer, VoilaMarkdownRenderer):
    """The lessons' markdown, as Voilà asks for it."""

    def __init__(self, contents_manager: Any = None, **settings: Any) -> None:
        super().__init__(contents_manager, **settings, exclude_anchor_links=True)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link; the glossary's opens a window of its own, for a page's state ends with it.

        Parameters
        ----------
        text : str
            What is clicked.
        url : str
            Where it leads.
        title : str, optional
            Its title.

        Returns
        -------
        str
            The `a` element.
        """
        if url.startswith("glossary.md"):
            url = url.replace("glossary.md", "voila/files/glossary.html", 1)
        return super().link(text, url, title).replace("<a ", '<a target="_blank" ', 1)


class LessonApp(Voila):
    """Voilà with our page, and without the user's own settings of Voilà."""

    def _config_file_paths_default(self) -> list[str]:
        return []

    def setup_template_dirs(self) -> None:
        """Put our page before Voilà's."""
        super().setup_template_dirs()
        self.template_paths.insert(0, str(Path(__file__).with_name("templates")))


def serve(
    lesson: str | Path,
    glossary: str | Path,
    port: int = PORT,
    browser: bool = True,
    token: str | None = None,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve a lesson as an app, until Ctrl-C or SIGTERM.

    Parameters
    ----------
    lesson : path
        Its notebook.
    glossary : path
        The text that its links to terms lead to.
    port : int, default 8866
        Port on 127.0.0.1.
    browser : bool, default True
        Open a browser.
    token : str, optional
        What a page must name; a random one by default.
    tell : callable (str)
        Told the address.

    Raises
    ------
    OSError
        The port is in use, or the lesson is missing.
    ValueError
        The lesson is no notebook, or one of magics.
    """
    check_port(port)
    token = token or secrets.token_hex(16)
    page = lesson_page(lesson)
    with tempfile.TemporaryDirectory(prefix="scdlab-app-") as folder:
        path = Path(folder) / Path(lesson).name
        nbformat.write(page, path)
        terms = markdown_to_html(Path(glossary).read_text(encoding="utf-8"))
        (Path(folder) / "glossary.html").write_text(terms, encoding="utf-8")
        address = f"http://{HOST}:{port}/?token={token}"
        tell(f"{page.metadata['title']}, without code: {address}\nCtrl-C ends it.")
        if browser:
            threading.Timer(1, webbrowser.open, [address]).start()
        app = LessonApp(log_level=logging.ERROR)
        app.initialize(app_arguments(path, port, token))
        app.tornado_settings = {"headers": {"Content-Security-Policy": content_policy(port)}}
        app.start()


def check_port(port: int) -> None:
    """See whether a port is free.

    Parameters
    ----------
    port : int
        Port on 127.0.0.1.

    Raises
    ------
    OSError
        It is in use, or may not be used.
    """
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            raise OSError(
                f"Port {port} of {HOST} cannot be used ({error.strerror}): end what runs there, or "
                "name another by --port."
            ) from error


def content_policy(port: int) -> str:
    """What a page may load: what this server has, and nothing else.

    Parameters
    ----------
    port : int
        Port of the server.

    Returns
    -------
    str
        The header of this name.
    """
    sockets = f"ws://{HOST}:{port}"
    return f"default-src {_OWN}; connect-src {_OWN} {sockets}; frame-ancestors 'self'"


def app_arguments(path: Path, port: int, token: str) -> list[str]:
    """Voilà's arguments: this machine only, no code, and no file but the glossary.

    Parameters
    ----------
    path : Path
        The notebook to serve, alone with the glossary in its folder.
    port : int
        Port of the server.
    token : str
        What a page must name.

    Returns
    -------
    list of str
        Words of its command line.
    """
    kernels = f"{PageKernels.__module__}.{PageKernels.__name__}"
    return [
        str(path),
        f"--Voila.ip={HOST}",
        f"--Voila.port={port}",
        "--Voila.port_retries=0",
        f"--Voila.token={token}",
        "--Voila.open_browser=False",
        "--VoilaConfiguration.template=lab",
        "--VoilaConfiguration.allow_template_override=NO",
        "--VoilaConfiguration.allow_theme_override=NO",
        "--VoilaConfiguration.strip_sources=True",
        "--VoilaConfiguration.file_allowlist=glossary\\.html",
        *(f"--VoilaConfiguration.extension_allowlist={name}" for name in _EXTENSIONS),
        f"--VoilaConfiguration.multi_kernel_manager_class={kernels}",
        "--VoilaExecutor.cell_error_instruction=Open the lesson by `scdlab lab` to see it.",
        f"--VoilaExporter.markdown_renderer_class={PageRenderer.__module__}.PageRenderer",
        f"--{PageKernels.__name__}.cull_idle_timeout={IDLE}",
        f"--{PageKernels.__name__}.cull_interval=30",
        # a kernel that died is not started again: its page has lost what it showed
        "--KernelRestarter.restart_limit=0",
    ]
