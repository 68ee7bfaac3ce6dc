"""`scdlab claims`: the table of claims, and the commands that measure and withdraw them."""

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
    history: Annotated[
        bool, typer.Option("--history", help="The records that were withdrawn, and why.")
    ] = False,
) -> None:
    """Print the table: what each paper claims and what was measured here."""
    if ctx.invoked_subcommand is None:
        from rich.console import Console

        from scdlab import claims

        there = sorted({claim.lesson for claim in claims.claims()})
        if lesson is not None and lesson not in there:
            raise ValueError(
                f"There are no claims of lesson {lesson}: those with claims are "
                f"{', '.join(map(str, there))}."
            )
        Console().print(claims.history(lesson) if history else claims.table(lesson))


@claims_app.command("run", cls=Command)
def run_claims(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...",
            help="Names of claims; with --hours or --jobs, by default all that have the profile "
            "and no valid record of it.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(help="quick (mechanics only), cpu (half an hour), night (hours) or full."),
    ] = "quick",
    hours: Annotated[
        float | None,
        typer.Option(
            help="Take claims in order of worth, seeds side by side, and stop after these hours; "
            "the same command goes on where it stopped."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Seeds to measure side by side, one process with one thread each; 2 with --hours.",
            show_default=False,
        ),
    ] = None,
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
    """Measure claims and, for the profiles cpu, night and full, record what was found."""
    from rich.console import Console

    from scdlab import claims

    console = Console()
    names = ids or []
    at_night = hours is not None or jobs is not None
    if at_night and (seeds or checkpoints is not None):
        raise ValueError(
            "--hours and --jobs measure all seeds of a claim, and hand on no models: leave out "
            "--seed and --checkpoints."
        )
    if not at_night and not names:
        raise ValueError(
            "Name a claim of those that `scdlab claims` lists, or give --hours to measure all "
            "that have the profile and no record."
        )
    if len(names) > 1 and (seeds or checkpoints is not None):
        raise ValueError("--seed and --checkpoints go with one claim: name one alone.")
    try:
        if at_night:
            found = claims.run_night(
                names,
                profile,
                hours=hours,
                jobs=2 if jobs is None else jobs,
                device=device.value,
                out=out,
                allow_dirty=allow_dirty,
                draw=console.print,
            )
            if found.skipped:
                raise typer.Exit(1)
            return
        for name in names:
            claims.run(
                name,
                profile,
                seeds=seeds,
                device=device.value,
                out=out,
                allow_dirty=allow_dirty,
                checkpoints=checkpoints,
            )
            console.print(claims.compare(name))
    except RuntimeError as error:  # the working tree cannot be named in a record
        raise ValueError(str(error)) from error


@claims_app.command("withdraw", cls=Command)
def withdraw_claims(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Names of claims.")],
    reason: Annotated[
        str, typer.Option(help="What has changed since they were measured.", show_default=False)
    ],
    profile: Annotated[
        str | None,
        typer.Option(help="Withdraw the record of this profile only: cpu, night or full."),
    ] = None,
) -> None:
    """Move records that no longer stand to the history, which keeps them with the reason."""
    from scdlab import claims
    from scdlab.log import show

    for path in claims.withdraw(ids, reason, profile):
        show(f"{path.name} is withdrawn; `scdlab claims --history` shows it.")
