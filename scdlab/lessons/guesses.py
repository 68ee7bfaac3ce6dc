"""The reader's guesses, kept in a file of their own: `scdlab_guesses.json` beside the lessons.

The environment variable SCDLAB_GUESSES names another file, or a folder for it. A file that cannot
be read is set aside under a name that is said, never overwritten; where nothing can be written, the
guesses last as long as the kernel, and the box says so.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from IPython.core.getipython import get_ipython

from scdlab.files import read_json, write_json
from scdlab.locks import locked_in_turn

FILE = "scdlab_guesses.json"
RECORD = "application/vnd.scdlab.guess+json"  # in the output that shows an answer: the guess of it
SURENESS = {"guess": "just guessing", "fairly": "fairly sure", "certain": "certain"}

_unwritten: dict[str, "Kept"] = {}  # of this kernel alone: headless, or a folder without room


@dataclass(frozen=True)
class Kept:
    """What is kept of one question.

    Parameters
    ----------
    question : str
        The question.
    unit : str or None
        Of a number.
    choices : list of str or None
        What could be chosen.
    within : float or None
        How far from the measured number a guess counts as right; None: the rule of the unit.
    guess : float or str or None
        The reader's answer; None before there is one.
    sure : str or None
        A key of `SURENESS`.
    measured : float or str or None
        What was found; None before it was shown.
    late : bool
        Whether the guess came after the answer had been shown.
    """

    question: str
    unit: str | None = None
    choices: list[str] | None = None
    within: float | None = None
    guess: float | str | None = None
    sure: str | None = None
    measured: float | str | None = None
    late: bool = False

    def counts(self) -> bool:
        """Whether it is a guess made before its answer was shown."""
        return self.guess is not None and self.measured is not None and not self.late


def guess_file() -> Path:
    """Where the guesses are kept.

    Returns
    -------
    Path
        The file, which need not exist.
    """
    named = os.environ.get("SCDLAB_GUESSES")
    if not named:
        return Path.cwd() / FILE
    path = Path(os.path.expanduser(named))
    return path / FILE if path.is_dir() else path


def is_headless() -> bool:
    """Whether no reader is there to guess: plain Python, papermill, nbconvert.

    A front end that a reader sits at can answer `input()`, and says so with each cell that it runs.

    Returns
    -------
    bool
        Whether guesses are the stored ones.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return True
    return not kernel.get_parent().get("content", {}).get("allow_stdin", False)


def read_guesses() -> tuple[dict[str, Kept], str]:
    """All guesses, and what has to be said about their file.

    Returns
    -------
    dict
        Name of a question -> what is kept of it.
    str
        A sentence about a file that was damaged, empty otherwise.
    """
    path = guess_file()
    try:
        found = entries(read_json(path, "file of guesses"))
        note = ""
    except FileNotFoundError:
        found = {}
        note = ""
    except ValueError as error:
        found = {}
        note = _set_aside(path, str(error))
    except OSError as error:
        found = {}
        note = f"{error} Until then guesses last as long as this kernel."
    return found | _unwritten, note


def keep(name: str, kept: Kept, headless: bool = False) -> str:
    """Keep what is known of one question.

    Parameters
    ----------
    name : str
        The question's name.
    kept : Kept
        What is known.
    headless : bool, default False
        Whether no reader is there: then it is kept until the kernel ends, and in no file.

    Returns
    -------
    str
        Why nothing could be written, one sentence; empty where it was.
    """
    if headless:
        _unwritten[name] = kept
        return ""
    path = guess_file()
    try:
        with locked_in_turn(path, lambda busy: None, every=0.05):
            found, note = read_guesses()
            content = {key: asdict(value) for key, value in (found | {name: kept}).items()}
            write_json(path, {"format": 1, "guesses": content})
    except OSError as error:
        _unwritten[name] = kept
        reason = str(error).rstrip(".")
        return (
            f"It lasts only until this kernel ends, for the file {path} is not written ({reason})."
        )
    _unwritten.clear()
    return note


def entries(content: Mapping[str, Any]) -> dict[str, Kept]:
    """The guesses in a file's content, checked.

    Parameters
    ----------
    content : mapping
        What the file holds.

    Returns
    -------
    dict
        Name of a question -> what is kept of it.

    Raises
    ------
    ValueError
        It holds no guesses, or values of other kinds.
    """
    guesses = content.get("guesses")
    if not isinstance(guesses, dict):
        raise ValueError("It holds no guesses.")
    return {name: _kept(name, entry) for name, entry in guesses.items()}


def _kept(name: str, entry: Any) -> Kept:
    """One guess of a file, checked; entries of a later version are left out."""
    if not isinstance(entry, dict) or not isinstance(entry.get("question"), str):
        raise ValueError(f"The guess {name!r} is no object with a question.")
    known = {each.name for each in fields(Kept)}
    kept = Kept(**{key: value for key, value in entry.items() if key in known})
    choices = kept.choices
    numbers = (kept.within,) if choices is not None else (kept.within, kept.guess, kept.measured)
    words = (kept.guess, kept.measured) if choices is not None else ()
    good = (
        (choices is None or isinstance(choices, list))
        and all(value is None or _is_number(value) for value in numbers)
        and all(value is None or isinstance(value, str) for value in words)
        and kept.sure in (None, *SURENESS)
        and isinstance(kept.late, bool)
        and isinstance(kept.unit, str | None)
    )
    if not good:
        raise ValueError(f"The guess {name!r} holds values of other kinds.")
    return kept


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _set_aside(path: Path, reason: str) -> str:
    """Rename a damaged file; a sentence that says so."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        return f"The file of your guesses is damaged and cannot be set aside ({error})."
    return (
        f"The file of your guesses was damaged ({reason.rstrip('.')}); it is set aside as {aside}, "
        "and guesses start anew."
    )
