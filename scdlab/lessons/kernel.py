"""The kernel of one lesson: this very interpreter, watched and limited."""

import contextlib
import logging
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO, Any, cast

import psutil
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.kernelspec import KernelSpec, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager, KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient.exceptions import DeadKernelError
from traitlets import Type

from scdlab.lessons import metrics


class _ShellChannel(AsyncZMQSocketChannel):
    """The channel on which a cell's reply comes, and on which Output widgets send their state to
    the kernel.

    Such a message may swallow the socket's signal that the reply is there, and the run would wait
    for it for ever.
    """

    def send(self, msg: dict[str, Any]) -> None:
        """Send a message, then look once more for what has arrived."""
        super().send(msg)
        _ = self.socket.events  # reading them makes the socket look


START_LIMIT = 45
"""Seconds in which a kernel must answer; a loaded machine takes ten."""


class _Client(AsyncKernelClient):
    shell_channel_class = Type(_ShellChannel)


class LessonKernel:
    """The kernel of one lesson: this very interpreter, its standard error kept, its life limited.

    As a context it swallows the error that papermill raises when the kernel died or was killed.

    Parameters
    ----------
    stderr : binary file
        Where the kernel's standard error goes.
    limit : float
        Seconds that it may live.

    Attributes
    ----------
    timed_out : bool
        Whether it was killed because it lived too long.
    died : bool
        Whether it ended by itself.
    started : bool
        Whether it has answered.
    """

    def __init__(self, stderr: IO[bytes], limit: float) -> None:
        self.stderr = stderr
        self.limit = limit
        self.timed_out = False
        self.died = False
        self.started = False
        self._pid: int | None = None
        self._timer = threading.Timer(limit, self._kill)
        self._timer.daemon = True

    def __enter__(self) -> "LessonKernel":
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._timer.cancel()
        if kind is None:
            return False
        if not self.started:  # nbclient's error for that is a RuntimeError
            return issubclass(kind, RuntimeError) or (
                self.timed_out and issubclass(kind, Exception)
            )
        self.died = issubclass(kind, DeadKernelError)
        return self.died or (self.timed_out and issubclass(kind, Exception))

    def start_problem(self, printed: str) -> str:
        """Why the kernel did not start.

        Parameters
        ----------
        printed : str
            What its process wrote to its standard error.

        Returns
        -------
        str
            One sentence.
        """
        said = (printed.strip().splitlines() or [""])[-1].strip()
        reason = f"; it printed: {said[-200:]}" if said else ""
        limit = f"{min(self.limit, START_LIMIT):g} s"
        return (
            f"No kernel answered within {limit} ({sys.executable} -m ipykernel_launcher{reason}): "
            "`scdlab doctor` says what is missing."
        )

    def _kill(self) -> None:
        """End the kernel and what it started. A kill cannot be blocked by a cell; an interrupt
        can."""
        self.timed_out = True
        if self._pid is None:  # it is still starting, and is killed when it has started
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._pid)
            for each in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()

    def manager_class(self) -> type[AsyncKernelManager]:
        """A kernel manager that starts sys.executable, whatever "python3" means elsewhere.

        Returns
        -------
        type
            For papermill's `kernel_manager_class`.
        """
        kernel = self

        class Client(_Client):
            async def wait_for_ready(self, timeout: float | None = None) -> None:
                await super().wait_for_ready(timeout)
                kernel.started = True

        class Manager(AsyncKernelManager):
            client_factory = Type(Client)

            @property
            def kernel_spec(self):
                argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
                return KernelSpec(
                    argv=argv,
                    display_name="Python 3 (ipykernel)",
                    language="python",
                    env={metrics.ASKED: "1"},
                )

            async def _async_launch_kernel(self, kernel_cmd, **options):
                await super()._async_launch_kernel(
                    kernel_cmd, **options | {"stderr": kernel.stderr}
                )
                kernel._pid = cast(LocalProvisioner, self.provisioner).pid
                if kernel.timed_out:  # the limit passed while the kernel was starting
                    kernel._kill()

            _launch_kernel = _async_launch_kernel

        return Manager


def start_problem(name: str = "python3", limit: float = START_LIMIT) -> str | None:
    """Start a kernel as JupyterLab does, see whether it answers, and end it.

    Parameters
    ----------
    name : str, default "python3"
        Its name among the installed kernels: the lessons' own.
    limit : float, default START_LIMIT
        Seconds in which it must answer.

    Returns
    -------
    str or None
        Why none answers, one sentence; None when it did.
    """
    manager = KernelManager(kernel_name=name)
    remedy = "`python -m ipykernel install --sys-prefix` installs it"
    with tempfile.TemporaryFile() as log:
        try:
            manager.start_kernel(stdout=log, stderr=log)
        except (OSError, RuntimeError, ValueError, NoSuchKernel) as error:
            return f"The lessons' kernel {name!r} cannot be started ({error}): {remedy}."
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=limit)
        except RuntimeError as error:
            log.seek(0)
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            said = f"; it printed: {lines[-1].strip()[-200:]}" if lines else ""
            return f"The lessons' kernel {name!r} does not start ({error}{said}): {remedy}."
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    return None


@contextlib.contextmanager
def quiet_papermill() -> Iterator[None]:
    """papermill and its kernel client log what we report ourselves."""
    loggers = [logging.getLogger(name) for name in ("papermill", "traitlets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
