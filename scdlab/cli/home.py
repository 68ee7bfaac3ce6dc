"""A home folder for users without one, as in containers: ase and Jupyter do not start without."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import typer


def prepare() -> None:
    """Give this process a home folder that lasts as long as it does, where the user has none that
    can be written."""
    try:
        home = Path.home()
    except RuntimeError:
        home = None
    if home is not None and home.is_dir() and os.access(home, os.W_OK):
        return
    try:
        folder = tempfile.mkdtemp(prefix="scdlab-home-")
    except OSError as error:  # nothing can be written at all
        typer.secho(f"No temporary home folder can be made: {error}.", fg="yellow", err=True)
        return
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["HOME"] = folder
    what = "no home folder" if home is None else f"a home folder that cannot be written ({home})"
    typer.secho(
        f"This user has {what}, so a temporary one is used: set HOME to keep caches and settings.",
        fg="yellow",
        err=True,
    )
