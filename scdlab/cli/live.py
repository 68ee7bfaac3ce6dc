"""`scdlab live`: the live page, in the browser at once."""

from pathlib import Path
from typing import Annotated

import typer

from .app import command


@command()
def live(
    out: Annotated[
        Path | None, typer.Option(help="The html file to write; by default one in the cache.")
    ] = None,
    open_it: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Open a page on which trained networks answer: no kernel, no server, no network."""
    import webbrowser

    from scdlab.files import cache_dir
    from scdlab.log import show
    from scdlab.site import write_live

    path = write_live(cache_dir() / "live" / "live.html" if out is None else out).resolve()
    show(f"The live page is {path} ({path.stat().st_size / 1e6:.1f} MB, one file).")
    if open_it and not webbrowser.open(path.as_uri()):
        show("No browser could be started; open the file by a double click.")
