"""The application that the commands belong to, and what they share."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer
import typer.core

import scdlab
from scdlab.renames import RENAMED

ORDER = ("lab", "run", "data", "train", "evaluate", "claims", "bench", "doctor")


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
    """The group of all commands; it prints the library's errors for people as one red sentence."""

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
        except (ValueError, OSError) as error:  # OSError: files and connections
            if ctx.params.get("debug"):
                raise
            typer.secho(str(error), fg="red", err=True)
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
        print(f"scdlab {scdlab.__version__}")
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
