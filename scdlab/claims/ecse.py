"""Lesson 05: what is claimed for equivariant coordinate system ensembles (ECSE), and how each claim
is tested here.

    S. Pozdnyakov, M. Ceriotti, NeurIPS 2023, arXiv:2305.19302 ("ECSE"), its method and its released
    protocol

The network is the Point-Edge Transformer (PET), which is not equivariant. It learns
energies and forces of ethanol as in lesson 03: frames of revised MD17, or, to try the mechanics
anywhere, the kit's own. Batches are rotated and mirrored at random. It is trained once for each
seed, and every claim symmetrizes the same network afterwards (`keep`); no symmetrization is
trained. All symmetry is measured in float64, on frames that no training has seen.

Error under rotation: each frame is rotated T times at random, which gives energies E_t and forces,
rotated back, F_t;

    √ mean over frames of var_t E_t          √ mean over frames, atoms and components of var_t F_t

Jump: a path is walked with steps h and h/10, and of the largest steps s of the energy

    J = (10 s(h/10) - s(h)) / 9

remains when all that is smooth is taken off. ECSE's weights are smooth, but steep: its largest
steps are followed to smaller h than those of other frames, which do not shrink.

The first two quantities of a claim are its arms, as expected: better, worse.
"""

import copy
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

import scdlab
from scdlab.atoms import AtomStore
from scdlab.atoms.batch import Batch
from scdlab.atoms.rotations import random_rotations
from scdlab.nn import PET
from scdlab.nn.model import Model
from scdlab.objectives import EnergyForces
from scdlab.symmetry.averaging import RandomRotations
from scdlab.training import FitResult

from .claim import Arrays, Claim, Settings, Values, get, register
from .common import trained_as_set
from .dens import frames
from .directions import graded
from .kept import keep

PAPER = "the ECSE paper (arXiv:2305.19302)"
DECIDES = (
    "data",
    "n_train",
    "n_val",
    "hidden_channels",
    "num_layers",
    "num_attention_layers",
    "num_heads",
    "cutoff",
    "energy_weight",
    "steps",
    "batch_size",
    "lr",
)
QUICK = {
    "seeds": 1,
    "data": "kit:ethanol",
    "n_train": 40,
    "n_val": 8,
    "n_test": 8,
    "hidden_channels": 16,
    "num_layers": 1,
    "num_attention_layers": 1,
    "num_heads": 2,
    "cutoff": 4.5,
    "energy_weight": 0.02,
    "steps": 5,
    "batch_size": 4,
    "lr": 2e-3,
}
CPU = {
    "seeds": 3,
    "data": "md17:ethanol",
    "n_train": 950,
    "n_val": 50,
    "n_test": 1000,
    "hidden_channels": 64,
    "num_layers": 1,
    "num_attention_layers": 2,
    "num_heads": 4,
    "cutoff": 4.5,
    "energy_weight": 0.02,
    "steps": 3000,
    "batch_size": 16,
    "lr": 5e-3,
}
FULL = CPU | {
    "hidden_channels": 128,
    "num_layers": 2,
    "steps": 120_000,
    "batch_size": 8,
    "lr": 5e-4,
}


Net = TypeVar("Net", bound=Model)


def profiles(quick: Settings, other: Settings) -> dict[str, Settings]:
    """The settings that all claims share, with those of one.

    Parameters
    ----------
    quick : dict
        Its settings for the profile "quick".
    other : dict
        Its settings for the others.

    Returns
    -------
    dict
        Profile -> settings.
    """
    return {"quick": QUICK | quick, "cpu": CPU | other, "full": FULL | other}


def fresh(settings: Settings) -> PET:
    """An untrained network.

    Parameters
    ----------
    settings : dict
        With hidden_channels, num_layers, num_attention_layers, num_heads and cutoff.

    Returns
    -------
    PET
        The network.
    """
    return PET(
        settings["hidden_channels"],
        settings["num_layers"],
        settings["num_attention_layers"],
        settings["num_heads"],
        settings["cutoff"],
        noise_head=False,
    )


def learned(settings: Settings, seed: int, device: str) -> PET:
    """The network after training on energies and forces.

    Parameters
    ----------
    settings : dict
        With those named in DECIDES.
    seed : int
        Of frames and weights.
    device : {"auto", "cpu", "cuda"}
        Where to train.

    Returns
    -------
    PET
        The trained model, shared by all claims.
    """
    settings = {name: settings[name] for name in DECIDES}

    def train(folder: Path | None) -> FitResult:
        torch.manual_seed(seed)
        few, val, _ = frames({**settings, "n_test": 1}, seed)
        return trained_as_set(
            fresh(settings),
            EnergyForces(settings["energy_weight"], loss="norm"),
            few,
            settings,
            seed,
            device,
            val=val,
            out=folder,
            resume=folder is not None,
        )

    return cast(PET, keep("pet-ethanol", settings, seed, train))


def exactly(model: Net) -> Net:
    """A float64 copy on the CPU, where a law that holds differs from one that nearly does.

    Parameters
    ----------
    model : Model
        A model, left as it is.

    Returns
    -------
    Model
        Its copy, in eval mode.
    """
    return copy.deepcopy(model).cpu().double().eval()


def batch_of(store: AtomStore) -> Batch:
    """The structures of a store as one batch with float64 positions.

    Parameters
    ----------
    store : AtomStore
        B structures.

    Returns
    -------
    Batch
        All of them.
    """
    batch = store.take(np.arange(len(store)))
    batch.pos = batch.pos.double()
    return batch


# Errors under rotation


def rotated(
    model: Model,
    batch: Batch,
    turns: int,
    seed: int,
    forces: bool = False,
    mirror: bool = False,
) -> tuple[Tensor, Tensor]:
    """Energies and forces of structures that are rotated at random.

    Parameters
    ----------
    model : Model
        Gives energies and forces.
    batch : Batch
        B structures, N atoms in all.
    turns : int
        How often each structure is rotated.
    seed : int
        Of the rotations.
    forces : bool, default False
        Compute forces as well.
    mirror : bool, default False
        Also mirror every second time.

    Returns
    -------
    energy : Tensor [turns, B]
        In eV.
    forces : Tensor [turns, N, 3]
        In eV/Å, rotated back; [turns, 0, 3] when they are not computed.
    """
    generator = torch.Generator().manual_seed(seed)
    copied = copy.copy(batch)
    energies = []
    back = []
    for turn in range(turns):
        sign = -1.0 if mirror and turn % 2 else 1.0
        per_structure = sign * random_rotations(batch.num_graphs, generator)  # (B, 3, 3)
        rotation = per_structure.index_select(0, batch.batch)  # (N, 3, 3)
        copied.pos = (rotation @ batch.pos.unsqueeze(-1)).squeeze(-1)
        with torch.no_grad():
            out = model(copied, forces=forces, noise=False)
        energies.append(out.energy)
        if forces:
            back.append((rotation.mT @ out.forces.unsqueeze(-1)).squeeze(-1))
    return torch.stack(energies), torch.stack(back) if forces else batch.pos.new_zeros(turns, 0, 3)


def spread(x: Tensor) -> float:
    """Standard deviation over rotations, root mean square over the rest.

    Parameters
    ----------
    x : Tensor [turns, …]
        The same quantities after each rotation.

    Returns
    -------
    float
        In the unit of x.
    """
    return float(x.var(0).mean().sqrt())


def relative_error(energy: Tensor, forces: Tensor) -> float:
    """The larger of two relative errors under rotation.

    Parameters
    ----------
    energy : Tensor [turns, B]
        Energies, compared with their spread over structures.
    forces : Tensor [turns, N, 3]
        Forces, rotated back, compared with their root mean square.

    Returns
    -------
    float
        Without unit.
    """
    return max(
        spread(energy) / float(energy.mean(0).std()),
        spread(forces) / float(forces.square().mean().sqrt()),
    )


# Accuracy


def accuracy(settings: Settings, seed: int, device: str) -> Values:
    """Errors of the same network as it is, with ECSE and averaged over random rotations."""
    model = learned(settings, seed, device)
    test = frames(settings, seed)[2]
    values = {}
    few = batch_of(test[: settings["n_turned"]])
    for name, wrap in {
        "ecse": scdlab.ECSE,
        "pruned": lambda net: scdlab.ECSE(net, prunings=4),
        "raw": lambda net: net,
        "average": lambda net: RandomRotations(net, settings["rotations"], seed=seed),
    }.items():
        found = scdlab.evaluate(wrap(model), test, EnergyForces())
        values[f"force_mae_{name}_meV_per_A"] = 1e3 * found["force_mae"]
        values[f"energy_mae_{name}_meV"] = 1e3 * found["energy_mae"]
        energy, forces = rotated(
            wrap(exactly(model)), few, settings["turns"], seed, forces=True, mirror=True
        )
        values[f"turned_{name}_meV"] = 1e3 * spread(energy)
        values[f"turned_force_{name}_meV_per_A"] = 1e3 * spread(forces)
        values[f"turned_relative_{name}"] = relative_error(energy, forces)
    return {name: values[name] for name in get("ecse-accuracy").quantities}


def judge_accuracy(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    exact = np.all(values["turned_relative_ecse"] <= 1e-9)
    kept = np.all(values["force_mae_ecse_meV_per_A"] <= 1.1 * values["force_mae_raw_meV_per_A"])
    return graded("paper" if exact and kept else "opposite", settings["steps"] >= 100_000)


ARMS = {
    "ecse": "ECSE",
    "raw": "PET as it is",
    "pruned": "ECSE with four prunings",
    "average": "mean over random rotations",
}

register(
    Claim(
        id="ecse-accuracy",
        lesson=5,
        title="ECSE makes a trained network exactly symmetric, and its forces stay as accurate.",
        source=f"{PAPER}, its method applied after training",
        paper="in words: any backbone becomes exactly equivariant after training",
        quantities={
            **{
                f"force_mae_{name}_meV_per_A": f"force error, {words}"
                for name, words in ARMS.items()
            },
            **{f"energy_mae_{name}_meV": f"energy error, {words}" for name, words in ARMS.items()},
            **{
                f"turned_{name}_meV": f"error of the energy under rotation, {words}"
                for name, words in ARMS.items()
            },
            **{
                f"turned_force_{name}_meV_per_A": f"error of forces under rotation, {words}"
                for name, words in ARMS.items()
            },
            **{
                f"turned_relative_{name}": f"the larger of both, relative, {words}"
                for name, words in ARMS.items()
            },
        },
        rule=(
            "Train PET once, then ask it as it is and through ECSE on the same unseen frames. In "
            "every seed the relative error of ECSE's energies and forces under rotations and "
            "mirrors is at most 1e-9 in float64, and its force error at most 1.1 times that of PET "
            "as it is: reproduced when training took at least 100,000 steps, else same direction. "
            "Otherwise: contradicted after so many steps, else not seen at this scale."
        ),
        judge=judge_accuracy,
        recipe=accuracy,
        profiles=profiles(
            {"rotations": 4, "n_turned": 2, "turns": 2},
            {"rotations": 16, "n_turned": 32, "turns": 8},
        ),
        checkpoints={
            "pet-ethanol": (
                "n_train frames of revised MD17 ethanol with energies and forces, drawn at random "
                "with the seed; n_val others watched its training. All others are unseen."
            )
        },
        checkpoint_tests={
            "pet-ethanol": {
                "test_force_mae_meV_per_A": "force_mae_raw_meV_per_A",
                "test_energy_mae_meV": "energy_mae_raw_meV",
            }
        },
    )
)
