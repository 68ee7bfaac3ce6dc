"""`scdlab train` and `scdlab evaluate`: train a model on data, and measure its errors on others."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import scdlab
from scdlab.log import show

from .app import LARGEST_SEED, Device, command
from .choices import SOURCES, make_model, make_objective, open_data, open_model, refuse_empty
from .options import EnergyKey, EnergyUnit, FileFormat, ForcesKey, Specorder, reading
from .reports import report, write_rows

if TYPE_CHECKING:
    from scdlab.atoms import AtomStore
    from scdlab.nn.model import Model

_WHAT = "What is trained on what"
_HOW = "How"


class Augment(StrEnum):
    """How structures are rotated in training; "auto" does as the model needs."""

    auto = "auto"
    none = "none"
    rotations = "rotations"
    full = "O(3)"


class Schedule(StrEnum):
    """How the learning rate changes over a run."""

    cosine = "cosine"
    exponential = "exponential"
    constant = "constant"


def _repeat(folder: Path | None) -> None:
    if folder is not None:
        show(str(scdlab.training.replay(folder)))
        raise typer.Exit


@command()
def train(
    data: Annotated[
        list[str],
        typer.Option(
            help=f"{SOURCES}; every tenth structure with @::10 behind. Repeat it to mix several.",
            rich_help_panel=_WHAT,
        ),
    ],
    energy_unit: EnergyUnit = None,
    energy: EnergyKey = None,
    forces: ForcesKey = None,
    file_format: FileFormat = None,
    specorder: Specorder = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="Of scdlab.objectives, as 'CoordinateDenoising(sigma=0.04)'; labels by default.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--property",
            help="A property to learn; energies and forces by default.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    no_forces: Annotated[
        bool,
        typer.Option(
            "--no-forces",
            help="Learn energies alone, also where there are forces.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="A new model, as 'SchNet(cutoff=4.0)' or, of your own, 'net.py:Net'; SchNet by "
            "default.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    hidden_channels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2**20,
            help="Features per atom of the new model; its own default if not given.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    num_layers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Layers of the new model; its own default if not given.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="A trained model to start from: a path such as runs/train/model, or a name.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    own: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="FILE.py:CLASS",
            help="Where the class of --init is defined, for a model of your own.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    n_train: Annotated[
        int | None,
        typer.Option(
            "--train",
            min=1,
            help="Training structures; 80 % by default.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    n_val: Annotated[
        int | None,
        typer.Option(
            "--val",
            min=0,
            help="Validation structures; half of the rest by default.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(
            min=1,
            max=10**12,
            help="Batches to learn from.",
            rich_help_panel=_HOW,
        ),
    ] = 2000,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Stop after so many minutes of training, if --steps are not done by then.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10**12,
            help="Structures that a batch may hold; 32 without --max-atoms.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    max_atoms: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10**12,
            help="Atoms that a batch may hold, which bounds the memory it takes.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    lr: Annotated[
        float,
        typer.Option(
            help="Largest learning rate.",
            rich_help_panel=_HOW,
        ),
    ] = 1e-3,
    head_lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate of the label head; --lr by default.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    schedule: Annotated[
        Schedule,
        typer.Option(
            help="How the learning rate changes over the run.",
            rich_help_panel=_HOW,
        ),
    ] = Schedule.cosine,
    weight_decay: Annotated[
        float,
        typer.Option(
            min=0,
            help="Weight decay of AdamW.",
            rich_help_panel=_HOW,
        ),
    ] = 0.0,
    ema_decay: Annotated[
        float,
        typer.Option(
            help="Decay of the averaged weights; 0 for no averaging.",
            rich_help_panel=_HOW,
        ),
    ] = 0.99,
    grad_clip: Annotated[
        float,
        typer.Option(
            help="Largest norm of the gradient; 0 for no limit.",
            rich_help_panel=_HOW,
        ),
    ] = 10.0,
    drop_path: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Drop-path rate at the first step and at the last.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    augment: Annotated[
        Augment,
        typer.Option(
            help="Rotate structures at random, with O(3) also mirror; auto: as the model needs.",
            rich_help_panel=_HOW,
        ),
    ] = Augment.auto,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=LARGEST_SEED,
            help="Seed of the split, the weights and the batches.",
            rich_help_panel=_HOW,
        ),
    ] = 0,
    device: Annotated[
        Device,
        typer.Option(
            help="Where to compute; auto takes a GPU when there is one.",
            rich_help_panel=_HOW,
        ),
    ] = Device.auto,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for the model, its log and its checkpoint.",
            rich_help_panel=_HOW,
        ),
    ] = Path("runs/train"),
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the checkpoint in --out.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    replay: Annotated[
        Path | None,
        typer.Option(
            callback=_repeat,
            is_eager=True,
            help="Only repeat a step whose loss was no number: the folder failed of a run.",
            rich_help_panel=_HOW,
        ),
    ] = None,
) -> None:
    """Train a model, and print its errors on structures that it has not seen.

    \b
    Learn labels:
      scdlab train --data frames.extxyz --out runs/mine
    Pretrain:
      scdlab train --data a.xyz --data b.xyz --objective CoordinateDenoising --max-atoms 600 --out a
    Fine-tune:
      scdlab train --data qm9 --init a/model --property homo --head-lr 1e-3 --lr 1e-4
    """
    named = {"objective": objective, "property": target, "model": model, "init": init}
    refuse_empty(**named)
    if init and (model or hidden_channels or num_layers):
        raise ValueError(
            "--init brings its own model: leave --model, --hidden-channels and --num-layers out."
        )
    if own is not None and not init:
        raise ValueError(
            f"--class belongs to --init: name a new model of your own with --model {own}."
        )
    if no_forces and forces is not None:
        raise ValueError("--no-forces and --forces exclude one another: leave one of them out.")
    if resume and not (out / "checkpoint.safetensors").is_file():
        raise FileNotFoundError(
            f"There is no checkpoint in {out} to go on from: leave --resume out, or name the "
            "folder of the run with --out."
        )
    how = reading(energy_unit, energy, forces, file_format, specorder)
    store = _mixed(data, how)
    train_set, val_set, test_set = _parts(store, n_train, n_val, seed)
    goal = make_objective(objective or "", target or "", store.has_forces and not no_forces)
    net = _first_model(init, own, model, hidden_channels, num_layers, seed)
    store.check_max_atoms(max_atoms)
    result = scdlab.fit(
        net,
        goal,
        train_set,
        val_set,
        out=out,
        resume=resume,
        steps=steps,
        minutes=minutes,
        batch_size=batch_size,
        max_atoms=max_atoms,
        lr=lr if head_lr is None else {"head": head_lr, "backbone": lr},
        seed=seed,
        schedule=schedule.value,
        weight_decay=weight_decay,
        ema_decay=ema_decay or None,
        grad_clip=grad_clip or None,
        device=device.value,
        anneal={"drop_path": drop_path} if drop_path else None,
        augment=None if augment == Augment.none else augment.value,
    )
    write_rows(out / "test_index.npy", test_set)
    show(str(result))
    if result.interrupted:
        show(f"stopped at step {result.steps} of {steps}: the same command with --resume goes on")
        raise typer.Exit(130)
    # of labels, what the model predicts for the structures as they are: no noise, no condition
    report(net, test_set, goal.labeled or goal, out, max_atoms)
    show(f"load the model with scdlab.load({str(out / 'model')!r})")


def _mixed(names: list[str], how: dict[str, Any]) -> "AtomStore":
    """The structures of all data sets of a command line."""
    if twice := [name for k, name in enumerate(names) if name in names[:k]]:
        raise ValueError(
            f"--data names {twice[0]!r} twice, and the model would be tested on what it learned "
            "from; name it once."
        )
    stores = [open_data(name, **how) for name in names]
    return stores[0] if len(stores) == 1 else scdlab.AtomStore.concat(stores)


def _parts(
    store: "AtomStore", n_train: int | None, n_val: int | None, seed: int
) -> tuple["AtomStore", "AtomStore | None", "AtomStore"]:
    """The structures to train on, to validate on (None for none) and to test on."""
    n_train = int(0.8 * len(store)) if n_train is None else n_train
    n_val = max(0, len(store) - n_train) // 2 if n_val is None else n_val
    train, val, test = store.split(n_train, n_val, seed=seed)
    return train, val if n_val else None, test


def _first_model(
    init: str | None,
    own: str | None,
    name: str | None,
    hidden_channels: int | None,
    num_layers: int | None,
    seed: int,
) -> "Model":
    """The trained model that `init` names, or a new one with the seed's weights."""
    import torch

    torch.manual_seed(seed)
    if init:
        return open_model(init, own=own)
    return make_model(name or "SchNet", hidden_channels=hidden_channels, num_layers=num_layers)


@command("evaluate")
def evaluate_model(
    model: Annotated[
        str, typer.Argument(help="A path, such as runs/train/model, or the name of a kit's model.")
    ],
    data: Annotated[
        str,
        typer.Option(
            help=f"{SOURCES}.",
        ),
    ],
    energy_unit: EnergyUnit = None,
    energy: EnergyKey = None,
    forces: ForcesKey = None,
    file_format: FileFormat = None,
    specorder: Specorder = None,
    own: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="FILE.py:CLASS",
            help="Where the model's class is defined, for a model of your own.",
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="As for train; by default all labels that the model predicts.",
        ),
    ] = None,
    max_atoms: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10**12,
            help="Atoms that a batch may hold.",
        ),
    ] = None,
    device: Annotated[
        Device,
        typer.Option(
            help="Where to compute; auto takes a GPU when there is one.",
        ),
    ] = Device.auto,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for metrics.json.",
        ),
    ] = None,
) -> None:
    """Print the errors of a trained model on other data.

    The keys that labels were found under are printed, and a large store is compared with its
    digests first.
    """
    import torch

    refuse_empty(objective=objective)
    store = open_data(data, **reading(energy_unit, energy, forces, file_format, specorder))
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # what cannot be written is known before the work
    net = open_model(model, auto if device == Device.auto else device.value, own)
    goal = make_objective(objective, "") if objective else None
    report(net, store, goal, out, max_atoms, Path(data).name)
