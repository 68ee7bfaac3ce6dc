"""Lesson 05: force models of ethanol and aspirin for dynamics, one equivariant and one not, and how
the claim on them is tested here.

    S. Pozdnyakov, M. Ceriotti, NeurIPS 2023, arXiv:2305.19302, which introduces PET

Frames and labels are the kit's own, GFN2-xTB at 500 K: `data/ethanol` and `data/aspirin`. Both
networks learn from the same frames, batches of one size and equally many steps, each with a
learning rate of its own, which trials of a few hundred steps with seed 0 chose (PET's batches are
rotated and mirrored at random). The models are kept and come with the kit, for dynamics in lessons.
"""

from pathlib import Path

import numpy as np
import torch

import scdlab
from scdlab.atoms import AtomStore
from scdlab.nn import PET, EquivariantTransformer
from scdlab.nn.model import Model
from scdlab.objectives import EnergyForces
from scdlab.training import FitResult

from .claim import Arrays, Claim, Settings, Values, get, register
from .common import draw, trained
from .directions import graded
from .ecse import PAPER, batch_of, exactly, rotated, spread
from .kept import keep
from .schnet import errors_of
from .schnet_dynamics import nve

MOLECULES = ("ethanol", "aspirin")
NETWORKS = ("pet", "et")
WORDS = {"pet": "PET", "et": "equivariant transformer"}
DECIDES = ("hidden_channels", "num_heads", "energy_weight", "batch_size", "n_val")
OWN = {
    "pet": ("pet_layers", "num_attention_layers", "pet_cutoff", "pet_lr"),
    "et": ("et_layers", "num_rbf", "et_cutoff", "et_lr"),
}
QUICK = {
    "seeds": 1,
    "n_ethanol": 20,
    "n_aspirin": 12,
    "n_val": 4,
    "n_test": 4,
    "hidden_channels": 16,
    "num_heads": 2,
    "pet_layers": 1,
    "num_attention_layers": 1,
    "pet_cutoff": 4.5,
    "pet_lr": 1.5e-3,
    "et_layers": 1,
    "num_rbf": 8,
    "et_cutoff": 5.0,
    "et_lr": 2e-3,
    "energy_weight": 0.02,
    "steps_ethanol": 4,
    "steps_aspirin": 4,
    "batch_size": 4,
    "n_turned": 2,
    "turns": 2,
    "temperature_K": 300,
    "timestep_fs": 0.5,
    "md_steps": 20,
}
NIGHT = QUICK | {
    "seeds": 3,
    "n_ethanol": 1500,
    "n_aspirin": 800,
    "n_val": 50,
    "n_test": 150,
    "hidden_channels": 64,
    "num_heads": 4,
    "pet_layers": 2,
    "num_attention_layers": 2,
    "et_layers": 3,
    "num_rbf": 32,
    "steps_ethanol": 5000,
    "steps_aspirin": 10_000,
    "batch_size": 8,
    "n_turned": 32,
    "turns": 8,
    "md_steps": 2000,
}
FULL = NIGHT | {
    "n_test": 150,
    "hidden_channels": 128,
    "num_heads": 8,
    "et_layers": 6,
    "pet_lr": 1e-3,
    "et_lr": 5e-4,
    "steps_ethanol": 60_000,
    "steps_aspirin": 60_000,
}


def frames(molecule: str, settings: Settings, seed: int) -> tuple[AtomStore, AtomStore, AtomStore]:
    """The frames of a molecule, drawn at random and disjoint.

    Parameters
    ----------
    molecule : {"ethanol", "aspirin"}
        Which one.
    settings : dict
        With n_ethanol, n_aspirin, n_val and n_test.
    seed : int
        Which frames.

    Returns
    -------
    train, val, test : AtomStore
        The three sets.
    """
    store = scdlab.load_ethanol() if molecule == "ethanol" else scdlab.load_aspirin()
    train, val, rest = store.split(settings[f"n_{molecule}"], settings["n_val"], seed=seed)
    return train, val, draw(rest, settings["n_test"], seed)


def fresh(network: str, settings: Settings) -> Model:
    """An untrained network.

    Parameters
    ----------
    network : {"pet", "et"}
        Which one.
    settings : dict
        With those named in DECIDES and OWN.

    Returns
    -------
    PET or EquivariantTransformer
        The network.
    """
    width = settings["hidden_channels"]
    heads = settings["num_heads"]
    if network == "pet":
        return PET(
            width,
            settings["pet_layers"],
            settings["num_attention_layers"],
            heads,
            settings["pet_cutoff"],
            noise_head=False,
        )
    return EquivariantTransformer(
        width,
        settings["et_layers"],
        heads,
        settings["num_rbf"],
        settings["et_cutoff"],
        noise_head=False,
    )


def learned(network: str, molecule: str, settings: Settings, seed: int, device: str) -> Model:
    """A network after training on energies and forces of a molecule.

    Parameters
    ----------
    network : {"pet", "et"}
        Which network.
    molecule : {"ethanol", "aspirin"}
        Which molecule.
    settings : dict
        With those named in DECIDES and OWN, and how many frames and steps.
    seed : int
        Of frames, weights and batches.
    device : {"auto", "cpu", "cuda"}
        Where to train.

    Returns
    -------
    Model
        The trained model, kept as "NETWORK-MOLECULE-gfn2".
    """
    names = (*DECIDES, *OWN[network], f"n_{molecule}", f"steps_{molecule}")
    decides = {name: settings[name] for name in names}

    def train(folder: Path | None) -> FitResult:
        torch.manual_seed(seed)
        few, val, _ = frames(molecule, settings, seed)
        return trained(
            fresh(network, decides),
            EnergyForces(decides["energy_weight"], loss="norm"),
            few,
            decides[f"steps_{molecule}"],
            decides["batch_size"],
            decides[f"{network}_lr"],
            seed,
            device,
            val=val,
            out=folder,
            resume=folder is not None,
        )

    return keep(f"{network}-{molecule}-gfn2", decides, seed, train)


def force_models(settings: Settings, seed: int, device: str) -> Values:
    """Errors on unseen frames of both networks for both molecules, what they change when the frames
    are rotated, and how dynamics at constant energy conserve it."""
    values = {}
    for network in NETWORKS:
        for molecule in MOLECULES:
            name = f"{network}_{molecule}"
            model = learned(network, molecule, settings, seed, device)
            test = frames(molecule, settings, seed)[2]
            energy, force = errors_of(model, test)
            values[f"energy_mae_{name}_meV"] = energy
            values[f"force_mae_{name}_meV_per_A"] = force
            _, forces = rotated(
                exactly(model),
                batch_of(test[: settings["n_turned"]]),
                settings["turns"],
                seed,
                forces=True,
                mirror=True,
            )
            values[f"turned_force_{name}_meV_per_A"] = 1e3 * spread(forces)
            drift, _, length = nve(model, test.to_ase(0), settings, seed)
            values[f"drift_{name}_meV_per_atom_per_ps"] = drift
            values[f"simulated_{name}_ps"] = length
        values[f"force_mae_{network}_meV_per_A"] = float(
            np.mean([values[f"force_mae_{network}_{m}_meV_per_A"] for m in MOLECULES])
        )
    return {name: values[name] for name in get("pet-et-forces").quantities}


def judge_force_models(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    ratio = values["force_mae_pet_meV_per_A"] / values["force_mae_et_meV_per_A"]
    if np.all(ratio <= 1.1):
        return graded("paper", at_scale=False)
    return graded("opposite" if np.all(ratio > 1.1) else "tie", at_scale=False)


PAIRS = {
    f"{network}_{molecule}": f"{WORDS[network]}, {molecule}"
    for network in NETWORKS
    for molecule in MOLECULES
}
SEEN_FRAMES = {
    "ethanol": (
        "1,500 of the 2,000 frames of data/ethanol with energies and forces, those of "
        "scdlab.load_ethanol().split(1500, 50, seed=0)[0]; 50 more, [1] of the same split, watched "
        "its training. The others, [2], are unseen."
    ),
    "aspirin": (
        "800 of the 1,000 frames of data/aspirin with energies and forces, those of "
        "scdlab.load_aspirin().split(800, 50, seed=0)[0]; 50 more, [1] of the same split, watched "
        "its training. The others, [2], are unseen."
    ),
}

register(
    Claim(
        id="pet-et-forces",
        lesson=5,
        title="A network that is not equivariant reaches the accuracy of one that is.",
        source=f"{PAPER}, what it states of PET",
        paper=(
            "in words: PET is not equivariant, and reaches the accuracy of the best models on sets "
            "of molecules and solids"
        ),
        quantities={
            "force_mae_pet_meV_per_A": "force error, PET, mean of both molecules",
            "force_mae_et_meV_per_A": "force error, equivariant transformer, mean of both",
            **{f"force_mae_{name}_meV_per_A": f"force error, {w}" for name, w in PAIRS.items()},
            **{f"energy_mae_{name}_meV": f"energy error, {w}" for name, w in PAIRS.items()},
            **{
                f"turned_force_{name}_meV_per_A": f"error of forces under rotation, {w}"
                for name, w in PAIRS.items()
            },
            **{
                f"drift_{name}_meV_per_atom_per_ps": f"drift of the total energy, {w}"
                for name, w in PAIRS.items()
            },
            **{f"simulated_{name}_ps": f"simulated time, {w}" for name, w in PAIRS.items()},
        },
        rule=(
            "Both networks learn energies and forces of ethanol and of aspirin from the same "
            "frames in equally many steps; compare the force errors on unseen frames, the mean of "
            "both molecules. Same direction when in every seed that of PET is at most 1.1 times "
            "that of the equivariant transformer; not seen at this scale when it is larger in "
            "every seed; else a tie. Errors under rotation and the drift of the total energy in "
            "dynamics are reported and not judged."
        ),
        judge=judge_force_models,
        recipe=force_models,
        profiles={"quick": QUICK, "night": NIGHT, "full": FULL},
        checkpoints={
            f"{network}-{molecule}-gfn2": SEEN_FRAMES[molecule]
            for network in NETWORKS
            for molecule in MOLECULES
        },
        checkpoint_tests={
            f"{network}-{molecule}-gfn2": {
                "test_force_mae_meV_per_A": f"force_mae_{network}_{molecule}_meV_per_A",
                "test_energy_mae_meV": f"energy_mae_{network}_{molecule}_meV",
            }
            for network in NETWORKS
            for molecule in MOLECULES
        },
        hours={"night": 2.7},
        worth=40,
    )
)
