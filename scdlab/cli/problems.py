"""Errors as a person reads them: one sentence, or a traceback that says where it belongs."""

import dis
import errno
import os
from pathlib import Path

import typer

import scdlab
from scdlab import extras

REPORT = (
    "This is an error in scdlab itself: please report it with the lines above, the command and "
    "what `scdlab doctor` prints."
)
# typer brings its own copy of click, or uses the one that is installed: taken from what it raises
ClickException: type[Exception] = typer.BadParameter.__mro__[2]
_PACKAGE = Path(scdlab.__file__).resolve().parent
_REMEDIES = {
    errno.ENOENT: "check its name",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "name a folder",
    errno.EEXIST: "name another place",
    errno.EACCES: "check its permissions, or name another place",
    errno.EPERM: "check its permissions, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOSPC: "make room, or name a place on another disk",
    errno.EDQUOT: "make room, or name a place on another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit with `ulimit -n`",
}


def sentence(error: BaseException, thing: str = "") -> str | None:
    """An error that a person can mend, as one sentence.

    Parameters
    ----------
    error : BaseException
        The error.
    thing : str, default ""
        What it is about, where the error does not name it.

    Returns
    -------
    str or None
        The sentence; None for an error of the program.
    """
    if isinstance(error, ModuleNotFoundError):
        return _missing(error)
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return (
            "The memory does not suffice: take smaller batches (--max-atoms), fewer structures or "
            "a smaller model."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error, thing)
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return "This user has no home folder: set the environment variables HOME and SCDLAB_CACHE."
    known = isinstance(error, (ValueError, OSError))
    if known or (isinstance(error, TypeError) and _is_raised_here(error)):
        return " ".join(str(error).split()) or type(error).__name__
    return None


def report_usage(error: Exception) -> int:
    """Print what is wrong with a command line.

    Parameters
    ----------
    error : ClickException
        The error.

    Returns
    -------
    int
        The exit code.
    """
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # pyright: ignore[reportAttributeAccessIssue]
        return 2
    text = " ".join(error.format_message().split())  # pyright: ignore[reportAttributeAccessIssue]
    text = text.rstrip(".?")
    where = context.command_path if context else "scdlab"
    typer.secho(f"{text}: see {where} --help.", fg="red", err=True)
    return getattr(error, "exit_code", 2)


def _missing(error: ModuleNotFoundError) -> str | None:
    """What to install; None when a module of scdlab itself is not there."""
    name = (error.name or "").partition(".")[0]
    if name in ("", "scdlab"):
        return None
    told = extras.missing("This command", error)
    if told is not error or "pip install" in str(error):
        return str(told)
    return f"This command needs {name}, which is not installed: python -m pip install {name}."


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation of torch failed; on the CPU its error has no class of its own."""
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or "allocate memory" in text


def _of_system(error: OSError, thing: str) -> str:
    """An error of the operating system."""
    if error.strerror is None:
        return " ".join(str(error).split())
    name = error.filename2 if error.filename2 is not None else error.filename
    what = thing or "A file or a connection"
    if isinstance(name, (str, bytes, os.PathLike)):
        what = os.fsdecode(name)
    reason = error.strerror[:1].lower() + error.strerror[1:]
    remedy = _REMEDIES.get(error.errno or 0, "`scdlab --debug` shows where it was needed")
    return f"{what} cannot be used ({reason}): {remedy}."


def _is_raised_here(error: BaseException) -> bool:
    """Whether a `raise` of scdlab's own made an error: it is then about an argument."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    if not Path(code.co_filename).resolve().is_relative_to(_PACKAGE):
        return False
    return code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
