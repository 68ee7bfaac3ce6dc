"""`scdlab bench` and `scdlab doctor`: how fast this machine is, and what it has."""

from pathlib import Path
from typing import Annotated

import typer

from .app import command


@command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of scripts in benchmarks/; all when none is given."),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Timed runs of each contestant, interleaved.")
    ] = 7,
) -> None:
    """Time the models against their peers (in a checkout)."""
    import subprocess
    import sys

    from scdlab import files

    folder = files.package_dir("notebooks").parent / "benchmarks"
    scripts = {path.stem: path for path in sorted(folder.glob("*.py")) if _has_main(path)}
    if not scripts:
        raise FileNotFoundError(
            "The benchmarks come with a checkout of the kit: clone it and run `make bench` there."
        )
    if unknown := set(names or ()) - set(scripts):
        raise ValueError(
            f"There is no benchmark {min(unknown)!r}: choose from {', '.join(scripts)}."
        )
    for name in names or scripts:
        run = [sys.executable, str(scripts[name]), "--rounds", str(rounds)]
        if subprocess.run(run, check=False).returncode:
            raise typer.Exit(1)


def _has_main(script: Path) -> bool:
    """Whether a script defines main(); the others in the folder are modules that benchmarks
    share."""
    import ast

    tree = ast.parse(script.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


@command()
def doctor() -> None:
    """Print what this machine has for the kit, what is missing, and how to get it."""
    from rich.console import Console

    from scdlab import doctor

    report = doctor.examine()
    Console().print(report)
    if not report.ok:
        raise typer.Exit(1)
