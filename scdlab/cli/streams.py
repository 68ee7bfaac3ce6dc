"""Standard input, output and error of the command: there, and able to take any text.

What a command prints is a by-product of what it does: an output that cannot show a character, a
closed one or a full disk must not end the work.
"""

import io
import os
import sys
from typing import Any

import typer

from .problems import sentence


def prepare() -> None:
    """Open what is closed, and replace characters that an output cannot show.

    A process that was started with a closed stream would give its number to the next file that it
    opens, and print into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdin = sys.stdin or io.TextIOWrapper(io.FileIO(os.devnull))
    sys.stdout = sys.stdout or io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    sys.stderr = sys.stderr or io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def leave() -> int:
    """Give up the standard output, so that the end of the process does not fail on it again.

    Returns
    -------
    int
        The exit code of a process whose reader has ended.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)
    return 128 + 13  # SIGPIPE, which Windows does not name


def finish(code: Any) -> Any:
    """Write out what the standard output still holds.

    Parameters
    ----------
    code : int or None
        The exit code so far.

    Returns
    -------
    int or None
        The exit code: another one where nothing had failed before, and this does.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return code or leave()
    except OSError as error:  # a full disk
        leave()
        if not code:
            typer.secho(sentence(error, "The standard output"), fg="red", err=True)
        return code or 1
    return code
