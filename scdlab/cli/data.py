"""`scdlab data`: list the data sets, look at one, make them again, fetch one."""

from pathlib import Path
from typing import Annotated

import typer

import scdlab
from scdlab.log import show

from .app import Command, app
from .choices import SOURCES, open_data
from .options import EnergyKey, EnergyUnit, FileFormat, ForcesKey, Specorder, reading

data_app = typer.Typer(
    help="The data sets: list them, look at one, make them again, download one.",
    invoke_without_command=True,
)
app.add_typer(data_app, name="data")


@data_app.callback()
def _data(ctx: typer.Context) -> None:
    """List the data sets that are there."""
    if ctx.invoked_subcommand is None:
        from rich.console import Console

        from scdlab import doctor

        Console().print(doctor.examine("data"))


@data_app.command("show", cls=Command)
def show_data(
    source: Annotated[str, typer.Argument(metavar="DATA", help=f"{SOURCES}.")],
    energy_unit: EnergyUnit = None,
    energy: EnergyKey = None,
    forces: ForcesKey = None,
    file_format: FileFormat = None,
    specorder: Specorder = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Compare all of a store with its digests, also of a large one."
        ),
    ] = False,
) -> None:
    """Print what a data set, a saved store or a file holds, and which labels were found."""
    store = open_data(source, **reading(energy_unit, energy, forces, file_format, specorder))
    if verify:
        store.verify()
    show(str(store.summary()))
    if Path(source).is_dir():  # of a file the reader has said so
        for label, key in sorted(store.meta.get("labels", {}).items()):
            show(f"{label}: from {key!r}")
    if verify:
        show("verified: what is stored matches its digests")


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

    if out is not None:  # what cannot be written is known before anything is computed
        if out.exists() and not (out / "store.json").is_file() and not _is_empty(out):
            raise FileExistsError(
                f"{out} holds something else than a saved store: name another folder with --out."
            )
        out.parent.mkdir(parents=True, exist_ok=True)
    show(str(make(name, out).summary()))


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


@data_app.command("get", cls=Command)
def get_data(
    source: Annotated[str, typer.Argument(help="md17 or qm9.")],
    name: Annotated[str, typer.Argument(help="For md17: the molecule.")] = "ethanol",
) -> None:
    """Fetch or parse a published data set into the cache, and print what it holds."""
    loaders = {"md17": lambda: scdlab.load_md17(name), "qm9": lambda: scdlab.load_qm9()}
    if source not in loaders:
        raise ValueError(f"There is no source {source!r}: choose one of {', '.join(loaders)}.")
    show(str(loaders[source]().summary()))
