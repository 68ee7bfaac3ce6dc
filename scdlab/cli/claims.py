"""`scdlab claims`: the table of claims, and the command that measures one."""

from pathlib import Path
from typing import Annotated

import typer

from .app import LARGEST_SEED, Command, Device, app

claims_app = typer.Typer(
    help="What each paper claims and what was measured here.", invoke_without_command=True
)
app.add_typer(claims_app, name="claims")


@claims_app.callback()
def _claims(
    ctx: typer.Context,
    lesson: Annotated[int | None, typer.Option(help="Only the claims of this lesson.")] = None,
) -> None:
    """Print the table: what each paper claims and what was measured here."""
    if ctx.invoked_subcommand is None:
        from rich.console import Console

        from scdlab import claims

        table = claims.table(lesson)
        if not table.rows:
            there = sorted({claim.lesson for claim in claims.claims()})
            raise ValueError(
                f"There are no claims of lesson {lesson}: those with claims are "
                f"{', '.join(map(str, there))}."
            )
        Console().print(table)


@claims_app.command("run", cls=Command)
def run_claim(
    claim: Annotated[str, typer.Argument(metavar="ID", help="Name of the claim.")],
    profile: Annotated[
        str, typer.Option(help="quick (mechanics only), cpu (half an hour) or full.")
    ] = "quick",
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            "--seed", min=0, max=LARGEST_SEED, help="Run only this seed; repeat it for several."
        ),
    ] = None,
    device: Annotated[
        Device, typer.Option(help="Where to compute; auto takes a GPU when there is one.")
    ] = Device.auto,
    out: Annotated[Path, typer.Option(help="Folder where each seed's result is kept.")] = Path(
        "runs/claims"
    ),
    allow_dirty: Annotated[
        bool,
        typer.Option(
            "--allow-dirty", help="Run with uncommitted changes, and do not write the record."
        ),
    ] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder for the models that the claim hands on.")
    ] = None,
) -> None:
    """Measure a claim and, for the profiles cpu and full, record what was found."""
    from rich.console import Console

    from scdlab import claims

    try:
        claims.run(
            claim,
            profile,
            seeds=seeds,
            device=device.value,
            out=out,
            allow_dirty=allow_dirty,
            checkpoints=checkpoints,
        )
    except RuntimeError as error:  # the working tree cannot be named in a record
        raise ValueError(str(error)) from error
    Console().print(claims.compare(claim))
