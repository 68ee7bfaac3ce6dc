"""Models that the kit's claims do not train: the SchNets of the live page (`scdlab live`), and the
DeNS of lesson 06.

python tools/live_models.py            half an hour on one core; writes data/checkpoints
python tools/live_models.py NAME ...   these alone

`schnet-molecules` answers for molecules that a reader pulls at: it learns from geometries of many
molecules with all atoms rattled, and one of them pulled further, beside frames of the kit's own
trajectories. `schnet-ethanol` and `schnet-ethanol-direct` are a pair for dynamics, trained as those
of the claim schnet-nve-conservative: the same frames, batches and steps, forces as the gradient of
the energy or by a head of their own. `dens-molecules` is a transformer that learns from the same
structures as `schnet-molecules` by `DeNS`, half of them displaced as a whole, so that it can be
compared with denoisers of whole molecules. Labels are GFN2-xTB. Each model holds what it has seen
and its errors on structures that it has not.
"""

import argparse
import datetime
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import scdlab
from scdlab.atoms import AtomStore
from scdlab.atoms.gfn2 import gfn2, one_thread
from scdlab.claims import provenance
from scdlab.files import package_dir
from scdlab.nn import AtomisticModel, EquivariantTransformer, SchNet
from scdlab.nn.model import evaluating
from scdlab.objectives import DeNS, EnergyForces, Objective

RECIPE = "live-models"  # in the place of a claim's name
PROFILE = "cpu"
SETTINGS: dict[str, dict[str, Any]] = {
    "schnet-molecules": {
        "seeds": 1,
        "hidden_channels": 64,
        "num_layers": 3,
        "n_molecules": 2500,
        "n_test_molecules": 250,
        "rattled_A": [0.02, 0.12],
        "pulled_A": [0.1, 0.9],
        "closest_A": 0.65,
        "largest_force_eV_per_A": 25.0,
        "n_ethanol": 600,
        "n_aspirin": 400,
        "n_isomers": 1200,
        "energy_weight": 0.02,
        "loss": "norm",
        "steps": 9000,
        "batch_size": 16,
        "lr": 2e-3,
    },
    "schnet-ethanol": {
        "seeds": 1,
        "hidden_channels": 64,
        "num_layers": 3,
        "direct_forces": False,
        "n_train": 1000,
        "n_test": 300,
        "steps": 3000,
        "batch_size": 10,
        "lr": 3e-3,
    },
}
SETTINGS["schnet-ethanol-direct"] = SETTINGS["schnet-ethanol"] | {"direct_forces": True}
SETTINGS["dens-molecules"] = SETTINGS["schnet-molecules"] | {
    "num_rbf": 32,
    "num_heads": 8,
    "direct_forces": True,
    "prob": 0.5,
    "corrupt_ratio": 1.0,
    "sigma": 0.04,
    "denoising_weight": 1.0,
    "steps": 4000,
}
ETHANOL = (
    "Energies and forces of 1,000 of the 2,000 frames of data/ethanol, those of "
    "scdlab.load_ethanol().split(1000, 0, seed=0)[0]. The others, [2], are unseen."
)
MOLECULES = (
    "GFN2-xTB energies and forces of two geometries of each of 2,500 molecules of "
    "data/qm9-sample, those of its split(2500, 0, seed=0)[0]: all atoms rattled, and one atom "
    "pulled away besides; and of frames at 500 K: 600 of data/ethanol, 400 of data/aspirin and "
    "1,200 of data/isomers, those of split(n, 0, seed=0)[0]. The other 2,500 molecules and "
    "frames, [2], are unseen."
)
SEEN = {
    "schnet-molecules": MOLECULES,
    "dens-molecules": MOLECULES,
    "schnet-ethanol": ETHANOL,
    "schnet-ethanol-direct": ETHANOL,
}


def sample() -> AtomStore:
    """The kit's molecules of QM9."""
    return AtomStore.open(package_dir("data") / "qm9-sample")


def disturbed(store: AtomStore, settings: dict[str, Any], seed: int) -> AtomStore:
    """Two labeled geometries of each molecule of a store: rattled, and with one atom pulled too.

    Geometries with atoms in one another, without a converged density or with larger forces than a
    reader would look at are left out.
    """
    rng = np.random.default_rng(seed)
    found = []
    with one_thread():
        for k in range(len(store)):
            molecule = store.to_ase(k)
            for pulled in (False, True):
                atoms = molecule.copy()
                amount = rng.uniform(*settings["rattled_A"])
                atoms.positions += amount * rng.standard_normal(atoms.positions.shape)
                if pulled:
                    direction = rng.standard_normal(3)
                    length = rng.uniform(*settings["pulled_A"])
                    direction *= length / np.linalg.norm(direction)
                    atoms.positions[rng.integers(len(atoms))] += direction
                distances = atoms.get_all_distances()[np.triu_indices(len(atoms), 1)]
                if distances.min() < settings["closest_A"]:
                    continue
                atoms.calc = gfn2()
                try:
                    forces = atoms.get_forces()
                    atoms.get_potential_energy()
                except Exception as error:
                    if "converge" not in str(error).lower():
                        raise
                    continue
                if np.abs(forces).max() < settings["largest_force_eV_per_A"]:
                    found.append(atoms)
    return AtomStore.from_ase(found)


def network(settings: dict[str, Any]) -> AtomisticModel:
    """A fresh network of these settings: one that denoises takes forces as an input."""
    torch.manual_seed(0)
    sizes = {
        "hidden_channels": settings["hidden_channels"],
        "num_layers": settings["num_layers"],
        "direct_forces": settings.get("direct_forces", False),
    }
    if "sigma" not in settings:
        return SchNet(**sizes)
    heads = settings["num_heads"]
    return EquivariantTransformer(
        **sizes, num_heads=heads, num_rbf=settings["num_rbf"], force_input=True
    )


def objective_of(settings: dict[str, Any]) -> Objective:
    """What a network of these settings minimizes."""
    labels = EnergyForces(
        energy_weight=settings.get("energy_weight", 0.01), loss=settings.get("loss", "squared")
    )
    if "sigma" not in settings:
        return labels
    names = ("prob", "corrupt_ratio", "sigma", "denoising_weight")
    return DeNS(**{name: settings[name] for name in names}, decay=False, supervised=labels)


def noise_left(model: AtomisticModel, test: AtomStore, settings: dict[str, Any]) -> float:
    """The share of the squared noise that is left, told the forces of structures displaced as a
    whole."""
    objective = DeNS(prob=1.0, corrupt_ratio=1.0, sigma=settings["sigma"])
    noisy = objective.corrupt(test.take(np.arange(len(test))), torch.Generator().manual_seed(0))
    with evaluating(model), torch.no_grad():
        answer = model(noisy.batch, noise=True, force_input=noisy.force_input).noise
    off = settings["sigma"] * answer - noisy.eps
    return float(off.square().sum() / noisy.eps.square().sum())


def of_molecules(settings: dict[str, Any]) -> tuple[AtomStore, dict[str, AtomStore]]:
    """What models of molecules learn from, and what they are tested on."""
    some, _, rest = sample().split(settings["n_molecules"], 0, seed=0)
    few = rest.sample(settings["n_test_molecules"], seed=0)
    parts = [disturbed(some, settings, seed=0)]
    test = {"molecules": disturbed(few, settings, seed=1)}
    for name, load in (
        ("ethanol", scdlab.load_ethanol),
        ("aspirin", scdlab.load_aspirin),
        ("isomers", scdlab.load_isomers),
    ):
        frames, _, others = load().split(settings[f"n_{name}"], 0, seed=0)
        parts.append(frames)
        test[name] = others.sample(200, seed=0)
    return AtomStore.concat(parts, meta={}), test


def of_ethanol(settings: dict[str, Any]) -> tuple[AtomStore, dict[str, AtomStore]]:
    """What the pair for dynamics learns from, and what it is tested on."""
    train, _, rest = scdlab.load_ethanol().split(settings["n_train"], 0, seed=0)
    return train, {"ethanol": rest.split(settings["n_test"], 0, seed=0)[0]}


def make(name: str, folder: Path) -> None:
    """Train a model, test it, and write it with what is known of it."""
    settings = SETTINGS[name]
    commit, dirty = provenance.checkout()
    if dirty:
        sys.exit("A model must name the commit that made it; commit your changes first.")
    train, tests = (of_molecules if "n_molecules" in settings else of_ethanol)(settings)
    print(f"{name}: {len(train):,} structures to learn from", flush=True)
    model = network(settings)
    scdlab.fit(
        model,
        objective_of(settings),
        train,
        steps=settings["steps"],
        batch_size=settings["batch_size"],
        lr=settings["lr"],
        seed=0,
        device="cpu",
        progress=False,
    )
    origin = {
        "claim": RECIPE,
        "profile": PROFILE,
        "settings": settings,
        "commit": commit,
        "source": provenance.source_digest(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware_of("cpu"),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seed": 0,
        "command": f"python tools/live_models.py {name}",
        "seen": SEEN[name],
    }
    for part, test in tests.items():
        errors = scdlab.evaluate(model, test)
        origin[f"test_force_mae_{part}_meV_per_A"] = 1e3 * errors["force_mae"]
        origin[f"test_energy_mae_{part}_meV"] = 1e3 * errors["energy_mae"]
    if "sigma" in settings:
        origin["test_noise_left"] = noise_left(model, tests["molecules"], settings)
    scdlab.save(model.eval(), folder / name, provenance=origin)
    print({key: value for key, value in origin.items() if key.startswith("test_")}, flush=True)


def main() -> int:
    """Make the models that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*SETTINGS, []], metavar="NAME")
    parser.add_argument("--out", type=Path, default=package_dir("data") / "checkpoints")
    options = parser.parse_args()
    for name in options.names or SETTINGS:
        make(name, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
