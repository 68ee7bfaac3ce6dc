"""Which atoms of a structure lie outside of what a network has seen.

    d_i = min over training atoms j of the same element of |h_i − h_j|,   each channel in its spread
    outside: d_i > u

with the network's own features h of each atom, and u, the largest distance that 95 of 100 unseen
structures *like those of the training* have at one of their atoms. The training atoms are some
hundred for each network, kept with the live page (`data/live/live.json`, `tools/live_data.py`).

The distance is one of inputs. It says that the network has to guess, not that it guesses badly.
"""

import base64
import functools
import json
from typing import Any, NamedTuple

import ase
import numpy as np
import torch

from scdlab.analysis.inputs import batch_at
from scdlab.files import package_dir
from scdlab.nn.model import AtomisticModel, evaluating


class TrainingAtoms(NamedTuple):
    """Atoms that a network was trained on, as it describes them.

    Attributes
    ----------
    z : numpy.ndarray
        Atomic numbers [m].
    features : numpy.ndarray
        [m, d], minus the mean, in units of the spread.
    mean, spread : numpy.ndarray
        Of each channel [d].
    usual : float
        The distance u.
    """

    z: np.ndarray
    features: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    usual: float


@functools.cache
def training_atoms() -> dict[str, TrainingAtoms]:
    """What ships of the training atoms of networks.

    Returns
    -------
    dict
        Name of a shipped model -> its training atoms; not every shipped model has some.
    """
    path = package_dir("data") / "live" / "live.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["references"]
    return {name: _decoded(about) for name, about in kept.items()}


def _decoded(about: dict[str, Any]) -> TrainingAtoms:
    whole = np.frombuffer(base64.b64decode(about["features"]), np.int8)
    features = whole.reshape(len(about["z"]), -1) * about["step"]
    mean = np.array(about["mean"])
    spread = np.array(about["spread"])
    return TrainingAtoms(np.array(about["z"]), features, mean, spread, about["usual"])


def distances(model: AtomisticModel, atoms: ase.Atoms, known: TrainingAtoms) -> np.ndarray:
    """How far each atom is from the nearest training atom of its element, in units of `usual`.

    Parameters
    ----------
    model : AtomisticModel
        The network; a conditional one is told nothing, as when its training atoms were kept.
    atoms : ase.Atoms
        The structure.
    known : TrainingAtoms
        Of this network.

    Returns
    -------
    numpy.ndarray
        [n]: above 1 an atom is farther than is usual; infinite for an element without training
        atoms.

    Raises
    ------
    ValueError
        For elements that the network was not trained on.
    """
    batch = batch_at(model, atoms, atoms.positions)
    with evaluating(model), torch.no_grad():
        h = model(batch, noise=False).atoms.double().cpu().numpy()
    own = (h - known.mean) / known.spread
    nearest = np.full(len(own), np.inf)
    for i, (z, row) in enumerate(zip(atoms.numbers, own, strict=True)):
        same = known.features[known.z == z]
        if len(same):
            nearest[i] = np.sqrt(((same - row) ** 2).sum(1).min())
    return nearest / known.usual
