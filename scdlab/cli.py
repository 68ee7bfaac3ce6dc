"""The `scdlab` command: lab | run | data | train | evaluate | claims | bench | doctor.

Every command imports what it needs when it runs, so that `scdlab --help` is instant. An error that
a person can mend is one sentence and exit code 1 (`scdlab --debug …` shows where it arose); a
command line that cannot be read, 2.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import scdlab


class Device(StrEnum):
    """Where to compute; "auto" takes a GPU when there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Augment(StrEnum):
    """How structures are turned in training; "auto" does as the model asks."""

    auto = "auto"
    none = "none"
    rotations = "rotations"
    full = "O(3)"


class _Group(typer.core.TyperGroup):
    """Turns the library's errors for people into one red sentence."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:  # OSError: files and connections
            if ctx.params.get("debug"):
                raise
            typer.secho(str(error), fg="red", err=True)
            raise typer.Exit(1) from error


options = {"no_args_is_help": True, "add_completion": False, "pretty_exceptions_enable": False}
app = typer.Typer(name="scdlab", cls=_Group, **options)
data_app = typer.Typer(
    help="The data sets: list them, make them again, download one.", invoke_without_command=True
)
claims_app = typer.Typer(
    help="What each paper claims and what was measured here.", invoke_without_command=True
)
app.add_typer(data_app, name="data")
app.add_typer(claims_app, name="claims")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"scdlab {scdlab.__version__}")
        raise typer.Exit


@app.callback()
def _about(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
):
    """Learn and research self-supervised learning on atoms."""


@app.command()
def lab(
    folder: Annotated[Path, typer.Option(help="Where an installed kit puts its lessons.")] = Path(
        "scdlab-lessons"
    ),
    port: Annotated[int, typer.Option(help="The next free one is taken when it is in use.")] = 8888,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Or only print the address.")
    ] = True,
):
    """Open the lessons in JupyterLab, at lesson 00. Nothing is asked of the network."""
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance(lab_arguments(lesson_folder(folder), port, browser))


def lesson_folder(folder: Path) -> Path:
    """The lessons to work in: the checkout's own, or, for an installed kit, copies in `folder`.

    A lesson that already stands in `folder` is left as it is: it may hold the learner's work.
    """
    import shutil

    from scdlab import files

    source = files.package_dir("notebooks")
    if not (source / "00_start_here.ipynb").is_file():
        raise FileNotFoundError(f"Lesson 00 is missing from {source}: install the kit again.")
    if source.name == "notebooks":
        return source
    for path in (path for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        copy = folder / path.relative_to(source)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return folder.resolve()


def lab_arguments(folder: Path, port: int, browser: bool) -> list[str]:
    """JupyterLab's arguments: this machine only, and no news, update or extension requests."""
    return [
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.allow_root=True",  # containers
        f"--ServerApp.port={port}",
        f"--ServerApp.open_browser={browser}",
        "--LabApp.default_url=/lab/tree/00_start_here.ipynb",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        # do not even offer to fetch news
        f"--LabApp.app_settings_dir={Path(__file__).with_name('lab_settings')}",
    ]


@app.command()
def run(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Lessons, such as 0 1; all when none is given.")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="quick (seconds) or full (minutes on a GPU).")
    ] = "quick",
    out: Annotated[Path, typer.Option(help="Folder for notebooks, pages and metrics.json.")] = Path(
        "runs/lessons"
    ),
    device: Annotated[Device, typer.Option()] = Device.auto,
    seed: Annotated[int | None, typer.Option(help="Instead of each lesson's own.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that one lesson may take.")] = None,
):
    """Run lessons without a browser; fails when any cell or widget callback failed."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from scdlab import lessons

    console = Console()
    with console.status(f"running lessons, profile {profile}"):
        results = lessons.run(
            numbers, profile=profile, out=out, device=device.value, seed=seed, timeout=timeout
        )
    table = Table("lesson", "seconds", "metrics", title=f"profile {profile}, results in {out}")
    for result in results:
        shown = Text("\n".join(f"{name} = {value:.4g}" for name, value in result.metrics.items()))
        table.add_row(
            result.name,
            f"{result.seconds:.0f}",
            shown if result.ok else Text(result.error, style="red"),
        )
    console.print(table)
    if not all(result.ok for result in results):
        raise typer.Exit(1)


@data_app.callback()
def _data(ctx: typer.Context):
    """List the data sets that are there."""
    if ctx.invoked_subcommand is None:
        from rich.console import Console

        from scdlab import doctor

        Console().print(doctor.examine("data"))


@data_app.command("make")
def make_data(
    name: Annotated[
        str, typer.Argument(help="A committed set: ethanol, isomers, alloys or qm9-sample.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for it; its own place in data/ by default.")
    ] = None,
):
    """Make a committed data set again."""
    from scdlab.atoms.make import make

    print(make(name, out).summary())


@data_app.command("get")
def get_data(
    source: Annotated[str, typer.Argument(help="md17 or qm9.")],
    name: Annotated[str, typer.Argument(help="For md17: the molecule.")] = "ethanol",
):
    """Fetch or parse a published data set into the cache, and say what it holds."""
    loaders = {"md17": lambda: scdlab.load_md17(name), "qm9": lambda: scdlab.load_qm9()}
    if source not in loaders:
        raise ValueError(f"There is no source {source!r}: choose one of {', '.join(loaders)}.")
    print(loaders[source]().summary())


def open_data(name: str):
    """The AtomStore called `name`: qm9, ethanol, isomers, alloys, md17:MOLECULE, a saved store, or
    a file that ASE reads; with @START:STOP:STEP behind it, as ASE has it, only those of its
    structures."""
    import re

    if "@" in name and not Path(name).exists():
        name, _, part = name.rpartition("@")
        found = re.fullmatch(r"(-?\d+)?:(-?\d+)?(?::([1-9]\d*))?", part)
        if not found:
            raise ValueError(
                "Behind @ stands START:STOP or START:STOP:STEP, as in qm9@:1000 or qm9@::10, not "
                f"{part!r}."
            )
        return open_data(name)[slice(*(int(n) if n else None for n in found.groups()))]
    sets = ("qm9", "ethanol", "isomers", "alloys")
    named = {each: getattr(scdlab, f"load_{each}") for each in sets}
    if name in named:
        return named[name]()
    if name.startswith("md17:"):
        return scdlab.load_md17(name.removeprefix("md17:"))
    if Path(name).is_dir():
        return scdlab.AtomStore.open(name)
    if Path(name).is_file():
        return scdlab.AtomStore.from_file(name)
    raise FileNotFoundError(
        f"There is no data set {name!r}: name {', '.join(named)}, md17:ethanol, or a file."
    )


SOURCES = "qm9, ethanol, isomers, alloys, md17:MOLECULE, a saved store, or any file ASE reads"

# What parts of a loss are measured in; a property has the unit of its labels.
_UNITS = {
    "energy_mae": "eV",
    "force_mae": "eV/Å",
    "noise_mse": "σ²",
    "noise_unexplained": "of the noise",
    "distance_mae": "Å",
    "blind_mae": "Å",
}


def open_model(name: str, device: str = "cpu"):
    """The model called `name`: one that comes with the kit, or a path that `scdlab.save` or `scdlab
    train` wrote."""
    from scdlab.training.checkpoint import pretrained_names

    return (scdlab.load_pretrained if name in pretrained_names() else scdlab.load)(name, device)


def parse_call(text: str, option: str) -> tuple[str, dict]:
    """The name in a text such as "SchNet" or "SchNet(cutoff=4.0)", and its settings, which are
    literals: no code is run. Raises ValueError for anything else."""
    import ast

    try:
        call = ast.parse(text, mode="eval").body
        named = call.func if isinstance(call, ast.Call) else call
        if not isinstance(named, ast.Name) or getattr(call, "args", []):
            raise ValueError
        return named.id, {k.arg: ast.literal_eval(k.value) for k in getattr(call, "keywords", [])}
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            f"--{option} is a name, or a name with settings that are plain values, as in "
            f"'Name(size=1)', not {text!r}."
        ) from error


def _chosen(name: str, module, fits, option: str):
    """The public class of that name in a module, of those that fit. Raises ValueError, with what
    there is, for another."""
    public = {each: getattr(module, each) for each in module.__all__}
    there = {each: cls for each, cls in public.items() if isinstance(cls, type) and fits(cls)}
    if name not in there:
        raise ValueError(f"There is no {option} called {name!r}; there are: {', '.join(there)}.")
    return there[name]


def _made(cls, settings: dict):
    """cls(**settings). Raises ValueError for a setting that it does not have, and for values it
    cannot take."""
    import inspect

    known = list(inspect.signature(cls).parameters)
    if unknown := [str(key) for key in settings if key not in known]:
        raise ValueError(
            f"{cls.__name__} has no setting {unknown[0]!r}; it has: {', '.join(known)}."
        )
    try:
        return cls(**settings)
    except TypeError as error:
        raise ValueError(
            f"{cls.__name__} cannot be made of {settings} ({error}): correct the settings."
        ) from error


def make_model(text: str, **sizes):
    """A fresh model of scdlab.nn, named with settings or without; sizes: more settings, None for
    its own."""
    from scdlab import nn

    name, settings = parse_call(text, "model")
    cls = _chosen(
        name,
        nn,
        lambda each: issubclass(each, nn.AtomisticModel) and each is not nn.AtomisticModel,
        "model",
    )
    return _made(
        cls, settings | {name: value for name, value in sizes.items() if value is not None}
    )


def make_objective(text: str, target: str, forces: bool = True):
    """The objective of a command line. text: its name, with settings or without, or nothing for
    labels alone; target: the property to learn, beside an objective that has a `main` one."""
    import inspect

    from scdlab import objectives

    if not text:
        return (
            objectives.PropertyRegression(target)
            if target
            else objectives.EnergyForces(forces=forces)
        )
    name, settings = parse_call(text, "objective")
    cls = _chosen(name, objectives, lambda each: hasattr(each, "prepare"), "objective")
    takes = inspect.signature(cls).parameters
    if "name" in takes and not target:
        raise ValueError(f"{name} needs --property, the name of what is to be learned.")
    if target and not {"name", "supervised"} & set(takes):
        raise ValueError(
            f"{name} learns no property: leave --property {target} out, or name another objective."
        )
    if target:
        settings |= (
            {"name": target}
            if "name" in takes
            else {"supervised": objectives.PropertyRegression(target)}
        )
    return _made(cls, settings)


def report(
    model, store, objective, out: Path | None, max_atoms: int | None, data: str = "test"
) -> None:
    """Print a model's errors with their units, and write them to metrics.json in the folder
    `out`."""
    from scdlab import files

    found = {}
    if len(store):
        size = 64 if max_atoms is None else None
        found = scdlab.evaluate(model, store, objective, batch_size=size, max_atoms=max_atoms)
        found.pop("loss", None)
    else:
        print("no structure is left to test on: --train and --val took them all")
    units = {}
    for name, value in found.items():
        target = name.removesuffix("_mae")
        named = target in (*store.property_names, *store.vector_names)
        units[name] = _UNITS.get(name) or (store.units(target) if named else "")
        print(
            f"{data} {name} = {value:.4g} {units[name] or '(no unit given)'} ({len(store)} "
            "structures)"
        )
    if out is not None:
        files.write_json(out / "metrics.json", {"structures": len(store), **found, "units": units})


_WHAT = {"rich_help_panel": "What is trained on what"}
_HOW = {"rich_help_panel": "How"}


@app.command()
def train(
    data: Annotated[
        list[str],
        typer.Option(
            help=f"{SOURCES}; every tenth structure with @::10 behind. Repeat it to mix several.",
            **_WHAT,
        ),
    ],
    objective: Annotated[
        str,
        typer.Option(
            help="Of scdlab.objectives, as 'CoordinateDenoising(sigma=0.04)'; labels by default.",
            **_WHAT,
        ),
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            "--property", help="A property to learn; energies and forces by default.", **_WHAT
        ),
    ] = "",
    forces: Annotated[
        bool,
        typer.Option(
            "--forces/--no-forces", help="Learn forces as well, where there are any.", **_WHAT
        ),
    ] = True,
    model: Annotated[
        str,
        typer.Option(
            help="A new one, of scdlab.nn, as 'SchNet(cutoff=4.0)'; SchNet by default.", **_WHAT
        ),
    ] = "",
    hidden_channels: Annotated[
        int | None,
        typer.Option(
            min=1, help="Its features per atom; the model's own default if not given.", **_WHAT
        ),
    ] = None,
    num_layers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Its interaction blocks; the model's own default likewise.", **_WHAT
        ),
    ] = None,
    init: Annotated[
        str,
        typer.Option(
            help="Instead of a new one: a path, as of --out with /model, or one of the kit's.",
            **_WHAT,
        ),
    ] = "",
    n_train: Annotated[
        int | None,
        typer.Option("--train", min=1, help="Training structures; 80 % by default.", **_HOW),
    ] = None,
    n_val: Annotated[
        int | None,
        typer.Option(
            "--val", min=0, help="Validation structures; half of the rest by default.", **_HOW
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Batches to learn from.", **_HOW)] = 2000,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Structures that a batch may hold; 32 without --max-atoms.", **_HOW
        ),
    ] = None,
    max_atoms: Annotated[
        int | None,
        typer.Option(help="Atoms that a batch may hold, which bounds the memory it takes.", **_HOW),
    ] = None,
    lr: Annotated[float, typer.Option(help="Largest learning rate.", **_HOW)] = 1e-3,
    head_lr: Annotated[
        float | None, typer.Option(help="That of the head for the labels; --lr by default.", **_HOW)
    ] = None,
    weight_decay: Annotated[float, typer.Option(min=0, help="AdamW's.", **_HOW)] = 0.0,
    drop_path: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Drop-path at the first step and at the last.", **_HOW),
    ] = None,
    augment: Annotated[
        Augment,
        typer.Option(
            help="Turn structures at random, with O(3) also mirrored; auto: if it asks.", **_HOW
        ),
    ] = Augment.auto,
    seed: Annotated[
        int, typer.Option(help="Of the split, the weights and the batches.", **_HOW)
    ] = 0,
    device: Annotated[Device, typer.Option(**_HOW)] = Device.auto,
    out: Annotated[
        Path, typer.Option(help="Folder for the model, its log and its checkpoint.", **_HOW)
    ] = Path("runs/train"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out.", **_HOW)
    ] = False,
):
    """Train a model, and print its errors on structures that it has not seen.

    \b
    Learn labels:
      scdlab train --data frames.extxyz --out runs/mine
    Pretrain:
      scdlab train --data a.xyz --data b.xyz --objective CoordinateDenoising --max-atoms 600 --out a
    Fine-tune:
      scdlab train --data qm9 --init a/model --property homo --head-lr 1e-3 --lr 1e-4
    """
    import numpy as np
    import torch

    from scdlab import files

    if init and (model or hidden_channels or num_layers):
        raise ValueError(
            "--init brings its own model: leave --model, --hidden-channels and --num-layers out."
        )
    if twice := [name for k, name in enumerate(data) if name in data[:k]]:
        raise ValueError(
            f"--data names {twice[0]!r} twice, and the model would be tested on what it learned "
            "from; name it once."
        )
    stores = [open_data(name) for name in data]
    store = stores[0] if len(stores) == 1 else scdlab.AtomStore.concat(stores)
    n_train = int(0.8 * len(store)) if n_train is None else n_train
    n_val = (len(store) - n_train) // 2 if n_val is None else n_val
    train_set, val_set, test_set = store.split(n_train, n_val, seed=seed)
    goal = make_objective(objective, target, forces and store.has_forces)
    torch.manual_seed(seed)
    net = (
        open_model(init)
        if init
        else make_model(model or "SchNet", hidden_channels=hidden_channels, num_layers=num_layers)
    )
    store.check_max_atoms(max_atoms)
    result = scdlab.fit(
        net,
        goal,
        train_set,
        val_set if n_val else None,
        out=out,
        resume=resume,
        steps=steps,
        batch_size=batch_size,
        max_atoms=max_atoms,
        lr=lr if head_lr is None else {"head": head_lr, "backbone": lr},
        seed=seed,
        weight_decay=weight_decay,
        device=device.value,
        anneal={"drop_path": drop_path} if drop_path else None,
        augment=None if augment == Augment.none else augment.value,
    )
    print(result)
    with files.atomic_file(out / "test_index.npy") as new, open(new, "wb") as file:
        np.save(file, test_set.index)
    # of labels, what the model says about the structures as they are: no noise, no condition
    report(net, test_set, getattr(goal, "supervised", None) or goal, out, max_atoms)
    print(f"load the model with scdlab.load({str(out / 'model')!r})")


@app.command("evaluate")
def evaluate_model(
    model: Annotated[
        str, typer.Argument(help="A path, such as runs/train/model, or a name of one of the kit's.")
    ],
    data: Annotated[str, typer.Option(help=f"{SOURCES}.")],
    objective: Annotated[
        str, typer.Option(help="As for train; by default all labels that the model predicts.")
    ] = "",
    max_atoms: Annotated[int | None, typer.Option(help="Atoms that a batch may hold.")] = None,
    device: Annotated[Device, typer.Option()] = Device.auto,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json.")] = None,
):
    """Print the errors of a trained model on other data."""
    import torch

    store = open_data(data)
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    net = open_model(model, auto if device == Device.auto else device.value)
    goal = make_objective(objective, "") if objective else None
    report(net, store, goal, out, max_atoms, Path(data).name)


@claims_app.callback()
def _claims(
    ctx: typer.Context,
    lesson: Annotated[int | None, typer.Option(help="Only this lesson's.")] = None,
):
    """Print the table: what each paper claims and what was measured here."""
    if ctx.invoked_subcommand is None:
        from rich.console import Console

        from scdlab import claims

        Console().print(claims.table(lesson))


@claims_app.command("run")
def run_claim(
    claim: Annotated[str, typer.Argument(metavar="ID")],
    profile: Annotated[
        str, typer.Option(help="quick (mechanics only), cpu (half an hour) or full.")
    ] = "quick",
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", help="Only these; repeat for several.")
    ] = None,
    device: Annotated[Device, typer.Option()] = Device.auto,
    out: Annotated[Path, typer.Option(help="Where each seed's result is kept.")] = Path(
        "runs/claims"
    ),
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="Run, and record nothing.")
    ] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder for the models that the claim hands on.")
    ] = None,
):
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


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Scripts in benchmarks/; all when none is given.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contestant takes.")] = 7,
):
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
        if subprocess.run(
            [sys.executable, str(scripts[name]), "--rounds", str(rounds)], check=False
        ).returncode:
            raise typer.Exit(1)


def _has_main(script: Path) -> bool:
    """Whether a script defines main(); the others in the folder are modules that benchmarks
    share."""
    import ast

    tree = ast.parse(script.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


@app.command()
def doctor():
    """Say what this machine has for the kit, what is missing, and how to get it."""
    from rich.console import Console

    from scdlab import doctor

    report = doctor.examine()
    Console().print(report)
    if not report.ok:
        raise typer.Exit(1)


def main():
    """Entry point of the `scdlab` command."""
    app()
