"""Errors of a model, written and printed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import scdlab
from scdlab.log import show

if TYPE_CHECKING:
    from scdlab.atoms import AtomStore
    from scdlab.nn.model import Model
    from scdlab.objectives import Objective

# What parts of a loss are measured in; a property has the unit of its labels.
_UNITS = {
    "energy_mae": "eV",
    "energy_mae_per_atom": "eV/atom",
    "force_mae": "eV/Å",
    "noise_mse": "σ²",
    "noise_unexplained": "of the noise",
    "distance_mae": "Å",
    "blind_mae": "Å",
}


def write_rows(path: Path, store: "AtomStore") -> None:
    """Write which rows of the whole data a part holds.

    Parameters
    ----------
    path : Path
        The .npy file.
    store : AtomStore
        The part.
    """
    import numpy as np

    from scdlab import files

    with files.atomic_file(path) as new, open(new, "wb") as file:
        np.save(file, store.index)


def report(
    model: "Model",
    store: "AtomStore",
    objective: "Objective | None",
    out: Path | None,
    max_atoms: int | None,
    data: str = "test",
) -> None:
    """Print a model's errors with their units, and write them to metrics.json.

    Parameters
    ----------
    model : Model
        The model.
    store : AtomStore
        Structures that it has not seen.
    objective : Objective or None
        Whose parts are measured; None for all labels that the model predicts.
    out : Path or None
        Folder for metrics.json; None to write nothing.
    max_atoms : int or None
        Atoms that a batch may hold.
    data : str, default "test"
        Name of the structures, as printed.
    """
    from scdlab import files

    found: dict[str, Any] = {}
    if len(store):
        size = 64 if max_atoms is None else None
        found = scdlab.evaluate(model, store, objective, batch_size=size, max_atoms=max_atoms)
        found.pop("loss", None)
    units = {}
    for name in found:
        target = name.removesuffix("_mae")
        named = target in (*store.property_names, *store.vector_names)
        units[name] = _UNITS.get(name) or (store.units(target) if named else "")
    if out is not None:  # before anything is printed: an output may fail
        files.write_json(out / "metrics.json", {"structures": len(store), **found, "units": units})
    if not found:
        show("no structure is left to test on: --train and --val took them all")
    for name, value in found.items():
        unit = units[name] or "(no unit given)"
        show(f"{data} {name} = {value:.4g} {unit} ({len(store)} structures)")
