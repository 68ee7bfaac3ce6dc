"""One seed of a claim in a process of its own: `python -m scdlab.claims.worker JSON`.

`scdlab.claims.night` starts such processes side by side. The process ends when its standard input
does, so that it never outlives the one that started it: a training writes its checkpoint first, and
the next run goes on from there.
"""

import importlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

import torch

from scdlab.log import show

from .claim import REGISTRY, get
from .measure import measure


def main(text: str) -> int:
    """Measure one seed, and keep what it gave.

    Parameters
    ----------
    text : str
        json of an object: claim, profile, seed, device, out, and modules, which register a claim
        that is none of the package's own.

    Returns
    -------
    int
        The exit code: 0 when the seed is whole, 1 for an error, whose sentence is the last line of
        the standard error.
    """
    asked = json.loads(text)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    torch.set_num_threads(1)
    try:
        for name in asked["modules"]:
            if asked["claim"] not in REGISTRY and name != "__main__":
                importlib.import_module(name)
        measure(
            get(asked["claim"]),
            asked["profile"],
            asked["seed"],
            asked["device"],
            Path(asked["out"]),
            show,
            in_turn=True,
        )
    except (
        ValueError,
        OSError,
        ImportError,
    ) as error:  # what a person can mend; all else is a traceback
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


def _end_with_stdin() -> None:
    """Ask this process to end when the one that started it has ended."""
    while os.read(0, 1):  # not sys.stdin: its lock would be in the way of a normal end
        continue
    if sys.platform == "win32":  # there SIGTERM cannot be caught
        os._exit(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
