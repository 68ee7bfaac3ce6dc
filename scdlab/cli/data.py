"""`scdlab data`: list the data sets, make them again, fetch one."""

from pathlib import Path
from typing import Annotated

import typer

import scdlab

from .app import Command, app

data_app = typer.Typer(
    help="The data sets: list them, make them again, download one.", invoke_without_command=True
)
app.add_typer(data_app, name="data")


@data_app.callback()
def _data(ctx: typer.Context) -> None:
    """List the data sets that are there."""
    if ctx.invoked_subcommand is None:
        from rich.console import Console

        from scdlab import doctor

        Console().print(doctor.examine("data"))


@data_app.command("make", cls=Command)
def make_data(
    name: Annotated[
        str, typer.Argument(help="A committed set: ethanol, isomers, alloys or qm9-sample.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for it; its own place in data/ by default.")
    ] = None,
) -> None:
    """Make a committed data set again."""
    from scdlab.atoms.make import make

    print(make(name, out).summary())


@data_app.command("get", cls=Command)
def get_data(
    source: Annotated[str, typer.Argument(help="md17 or qm9.")],
    name: Annotated[str, typer.Argument(help="For md17: the molecule.")] = "ethanol",
) -> None:
    """Fetch or parse a published data set into the cache, and print what it holds."""
    loaders = {"md17": lambda: scdlab.load_md17(name), "qm9": lambda: scdlab.load_qm9()}
    if source not in loaders:
        raise ValueError(f"There is no source {source!r}: choose one of {', '.join(loaders)}.")
    print(loaders[source]().summary())
