"""`scdlab site`: the lessons with their results as pages that open without installing anything."""

from pathlib import Path
from typing import Annotated

import typer

from .app import command


@command()
def site(
    out: Annotated[Path, typer.Option(help="Folder of the site, which is replaced.")] = Path(
        "build/site"
    ),
    executed: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Executed lessons, as `scdlab run --out FOLDER` writes them: those that match "
            "their source are taken, the others are run.",
            show_default=False,
        ),
    ] = None,
    docs: Annotated[
        Path | None,
        typer.Option(
            help="The reference as `make docs` builds it; build/docs where it is there.",
            show_default=False,
        ),
    ] = None,
    may_run: Annotated[
        bool,
        typer.Option(
            "--run/--no-run", help="Run lessons that are missing, or say which they are and stop."
        ),
    ] = True,
) -> None:
    """Write the site: every lesson with its results, glossary, claims and search, all offline."""
    from scdlab.site import build_site

    built = Path("build/docs")
    if docs is None and (built / "objects.inv").is_file():
        docs = built
    build_site(out, executed=executed, docs=docs, may_run=may_run)
