"""Messages of the library, such as what a long run will take: the logger "scdlab".

By default they are lines on the standard output, in notebooks, in scripts and on the command line.
A program that configures logging decides itself: once the root logger or this one has a handler,
records go there, at the levels that are set, and nothing is printed here.
`logging.getLogger("scdlab").setLevel("WARNING")` silences them.
"""

import logging
import sys

logger = logging.getLogger("scdlab")

_UNSET = 1  # the logger's level until a program sets one


def show(text: str, end: str = "\n") -> None:
    """Print on the standard output of the moment, that of a notebook's cell.

    What is printed is a by-product: characters that the output cannot show are replaced, and where
    nothing can be written any more (a closed pipe, a full disk) the text is lost and the work goes
    on.

    Parameters
    ----------
    text : str
        What is printed.
    end : str, default a line end
        Printed behind it.
    """
    out = sys.stdout
    if out is None:  # a program without a console
        return
    try:
        try:
            print(text, end=end, file=out, flush=True)
        except UnicodeEncodeError:
            encoding = getattr(out, "encoding", None) or "ascii"
            print(text.encode(encoding, "replace").decode(encoding), end=end, file=out, flush=True)
    except (OSError, ValueError):  # ValueError: it was closed
        return


class _Stdout(logging.Handler):
    """Prints messages to the standard output of the moment: that of a notebook's cell."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _has_handlers():
            show(self.format(record))


def enabled(level: str) -> bool:
    """Whether messages of a level are shown.

    Parameters
    ----------
    level : str
        Such as "INFO".
    """
    number = logging.getLevelNamesMapping()[level]
    record = logging.LogRecord(logger.name, number, "", 0, "", (), None)
    return logger.isEnabledFor(number) and _passes(record)


def _has_handlers() -> bool:
    """Whether the program has handlers of its own."""
    own = [handler for handler in logger.handlers if not isinstance(handler, _Stdout)]
    return bool(own or logging.getLogger().handlers)


def _passes(record: logging.LogRecord) -> bool:
    """Whether a record is of a level that the program sets; without one, from INFO up."""
    if logger.level != _UNSET:
        return True
    level = logging.getLogger().level if _has_handlers() else logging.INFO
    return record.levelno >= level


if logger.level == logging.NOTSET:
    logger.setLevel(_UNSET)
logger.addHandler(_Stdout())
logger.addFilter(_passes)
