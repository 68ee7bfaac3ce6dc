"""What a run does at a terminal: signals, the progress bar's output, durations in words."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from scdlab.log import show


class Interrupts:
    """Turns the first Ctrl-C or SIGTERM into a flag that is looked at between steps; the second one
    interrupts at once.

    Parameters
    ----------
    terminate : bool, default True
        Whether SIGTERM is taken as well.
    """

    def __init__(self, terminate: bool = True) -> None:
        self.pressed = False
        self.terminated = False
        self._signals = [signal.SIGINT, signal.SIGTERM] if terminate else [signal.SIGINT]
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                # what the program ignores stays ignored, and what is not Python's own stays
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._press)
        return self

    def _press(self, number: int, frame: FrameType | None) -> None:
        terminated = number == signal.SIGTERM
        if self.pressed:
            raise SystemExit(128 + number) if terminated else KeyboardInterrupt
        self.pressed = True
        self.terminated = terminated

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


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
