"""The application that the commands belong to, and what they share."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
import typer.core

import scdlab
from scdlab.log import show
from scdlab.renames import RENAMED

from . import streams
from .problems import REPORT, ClickException, report_usage, sentence

ORDER = (
    "lab",
    "live",
    "run",
    "class",
    "data",
    "train",
    "evaluate",
    "claims",
    "bench",
    "site",
    "doctor",
)
LARGEST_SEED = 2**32 - 1  # numpy's legacy generator takes no larger one


class Device(StrEnum):
    """Where to compute; "auto" takes a GPU when there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Command(typer.core.TyperCommand):
    """A command that answers an old name of an option with the new one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Parameters
        ----------
        ctx : typer.Context
            Of this call.
        args : list of str
            Words of the command line.

        Returns
        -------
        list of str
            Words that are left over.
        """
        known = {name for param in self.params for name in param.opts}
        for word in args:
            option = word.partition("=")[0]
            old = option.removeprefix("--").replace("-", "_")
            new = f"--{RENAMED.get(old, '').replace('_', '-')}"
            if option.startswith("--") and option not in known and new in known:
                problem = f"{ctx.command_path} has no option {option}: it is now {new}."
                typer.secho(problem, fg="red", err=True)
                raise typer.Exit(2)
        return super().parse_args(ctx, args)


class Group(typer.core.TyperGroup):
    """The group of all commands.

    An error that a person can mend is one red sentence on the standard error: exit code 2 for a
    command line that cannot be read, 1 for anything else, 130 after Ctrl-C. An error of the program
    is a traceback that says where to report it.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, in the order in which `--help` lists them.

        Parameters
        ----------
        ctx : typer.Context
            Of this call.

        Returns
        -------
        list of str
            The names.
        """
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command of a command line, and end the process with its exit code.

        Parameters
        ----------
        args : sequence of str, optional
            Words of the command line; those of this process by default.
        prog_name : str, optional
            Name of the program, as `--help` shows it.
        complete_var : str, optional
            As typer has it.
        standalone_mode : bool, default True
            End the process; otherwise return.
        windows_expand_args : bool, default True
            Expand patterns of file names where the shell does not.
        **extra
            As typer has it.

        Returns
        -------
        Any
            What the command returned, where the process goes on.
        """
        code: Any = 0
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except ClickException as error:
            if not standalone_mode:
                raise
            code = report_usage(error)
        except typer.Abort:
            typer.secho("Nothing was answered: stopped.", fg="red", err=True)
            code = 1
        code = streams.finish(code)
        if standalone_mode:
            raise SystemExit(code if isinstance(code, int) else 0)
        return code

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named.

        Parameters
        ----------
        ctx : typer.Context
            Of this call.

        Returns
        -------
        Any
            What the command returned.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            typer.secho("Interrupted.", fg="red", err=True)
            raise typer.Exit(130) from error
        except BrokenPipeError as error:  # the reader of a pipe, such as head, has seen enough
            raise typer.Exit(streams.leave()) from error
        except (typer.Exit, typer.Abort, ClickException):
            raise
        except Exception as error:
            problem = sentence(error)
            if problem is None:
                error.add_note(REPORT)
            if problem is None or ctx.params.get("debug"):
                raise
            typer.secho(problem, fg="red", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    name="scdlab",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def command(name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a command of `scdlab`.

    Parameters
    ----------
    name : str, optional
        The command's name; the function's by default.

    Returns
    -------
    callable
        The decorator.
    """
    return app.command(name, cls=Command)


def _version(wanted: bool) -> None:
    if wanted:
        show(f"scdlab {scdlab.__version__}")
        raise typer.Exit


@app.callback()
def _about(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Learn and research self-supervised learning on atoms."""
