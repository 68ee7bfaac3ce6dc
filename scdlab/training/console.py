"""What a run does at a terminal: Ctrl-C, the progress bar's output, durations in words."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from scdlab.log import show


class CtrlC:
    """Turns the first Ctrl-C into a flag that is looked at between steps; the second one interrupts
    at once."""

    def __init__(self) -> None:
        self.pressed = False
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def _press(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)


class Stdout:
    """The standard output of the moment: progress is no error, and notebooks color stderr red."""

    def write(self, text: str) -> None:
        """Write a piece of text."""
        show(text, end="")

    def flush(self) -> None:
        """Show what was written."""
        show("", end="")


def duration(seconds: float) -> str:
    """A time as people say it, such as "5 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
