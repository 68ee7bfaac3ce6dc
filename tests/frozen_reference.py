"""The frozen reference: what every model and objective gave before the code was rearranged, number
for number.

Each case is a function without arguments that builds something small from a seed and returns named
arrays. `unit/test_frozen_reference.py` compares them with `fixtures/frozen_reference.npz`, which

    python tests/frozen_reference.py

writes anew: to be done only where numbers are meant to change. With beginnings of names of cases,
such as `training/pairwise model/schnet`, it writes those anew and keeps the others as they stand.
Names of arrays are our own, and parameters are never taken by name or order, so that neither
renamed nor divided modules change what is compared.
"""

import copy
import itertools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

import scdlab
from scdlab import objectives, symmetry
from scdlab.nn import OfficialCT
from scdlab.objectives import (
    CoordinateDenoising,
    DeNS,
    EnergyForces,
    PairwiseDenoising,
    PropertyRegression,
    SelfConditionedDenoising,
)

ROOT = Path(__file__).parent
STORED = ROOT / "fixtures" / "frozen_reference.npz"
DATA = ROOT.parent / "data"

# --------------------------------------------------------------------------------------- structures


@cache
def molecules():
    """Two of QM9's molecules, a frame of ethanol, and HCN, whose atoms are in line.

    Energies are made up: small, so that no reference energy hides a difference.
    """
    sample = scdlab.AtomStore.open(DATA / "qm9-sample")
    smallest = np.argsort(sample.n_atoms, kind="stable")
    batch = scdlab.AtomStore.concat([sample[smallest[[0, 2]]], scdlab.load_ethanol()[[1500]]]).take(
        range(3)
    )
    z, pos, ptr = batch.z.numpy(), batch.pos.numpy(), batch.ptr.numpy()
    line = np.outer([-1.07, 0.0, 1.16], [0.6, 0.48, 0.64]).astype(np.float32)  # Å
    return scdlab.AtomStore.from_arrays(
        np.concatenate([z, [1, 6, 7]]),
        np.concatenate([pos, line]),
        np.concatenate([ptr, [ptr[-1] + 3]]),
        energy=np.array([0.3, -0.2, 0.5, -0.4]),  # eV
    )


def one_ethanol():
    return molecules()[[2]]


@cache
def crystals():
    """Three crystals of four atoms."""
    return scdlab.load_alloys()[[28, 35, 57]]


@cache
def small_molecules():
    """QM9's smallest molecules of a sample."""
    sample = scdlab.AtomStore.open(DATA / "qm9-sample")
    return sample[np.argsort(sample.n_atoms, kind="stable")[:40]]


@cache
def alloys():
    """Crystals of aluminium and nickel."""
    return scdlab.load_alloys()[[2, 7, 28, 29, 30, 31]]


@cache
def isomers():
    """Frames of different isomers of C7H10O2."""
    return scdlab.load_isomers()[::100]


@cache
def ethanol(fixed=()):
    """Frames of ethanol, energies less their mean; marks on heavy atoms, and on fixed ones."""
    frames = scdlab.load_ethanol()[::100]
    batch = frames.take(range(len(frames)))
    marks = {"heavy": batch.z.numpy() > 1}
    if fixed:
        marks["fixed"] = np.isin(np.arange(len(batch.z)) % 9, fixed)
    return scdlab.AtomStore.from_arrays(
        batch.z.numpy(),
        batch.pos.numpy(),
        batch.ptr.numpy(),
        energy=(batch.energy - batch.energy.mean()).numpy(),
        forces=batch.forces.numpy(),
        properties={"dipole": batch.dipole.numpy()},
        atom_properties=marks,
    )


# ------------------------------------------------------------------------------------------- models

CELLS = 16  # of the tables of filters: so few that small batches are read from them too


@dataclass
class Net:
    """How a model is built, what it takes, what it gives, and the structures it is given."""

    make: Callable
    conditional: bool = False
    takes_forces: bool = False
    vectors: bool = False
    noise: bool = True
    on: tuple = ("molecules", "crystals")


def schnet(**settings):
    model = scdlab.SchNet(hidden_channels=16, num_layers=2, num_rbf=8, cutoff=4.0, **settings)
    model.filter_table_size = CELLS
    return model


def transformer(**settings):
    model = scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=2, num_heads=2, num_rbf=8, cutoff=4.0, **settings
    )
    model.filter_table_size = CELLS
    return model


def schnet_as_it_comes():
    return scdlab.SchNet(hidden_channels=16, num_layers=2, num_rbf=8, cutoff=5.0)


def dimenet(**settings):
    return scdlab.DimeNet(
        hidden_channels=16,
        num_layers=2,
        int_emb_size=8,
        basis_emb_size=4,
        out_emb_channels=16,
        num_spherical=3,
        num_rbf=4,
        cutoff=3.5,
        **settings,
    )


def tensor_product(**settings):
    return scdlab.TensorProductNet(
        hidden_channels=8, num_layers=2, lmax=2, num_rbf=6, cutoff=4.0, **settings
    )


def pet(cutoff=3.5, **settings):
    settings = {"num_layers": 1, **settings}
    return scdlab.PET(
        hidden_channels=16,
        num_attention_layers=1,
        num_heads=2,
        cutoff=cutoff,
        cutoff_width=0.5,
        **settings,
    )


def official():
    return OfficialCT(emb_dim=16, num_layers=2, num_heads=2, num_rbf=8, cutoff_upper=4.0)


def ecse(cutoff=2.2, **settings):
    return scdlab.ECSE(
        pet(cutoff=cutoff, direct_forces=settings.pop("direct_forces", False)), **settings
    )


ONLY_MOLECULES = ("molecules",)
NETS = {
    "schnet": Net(schnet),
    "schnet-conditional": Net(partial(schnet, conditional=True), conditional=True),
    "schnet-direct": Net(partial(schnet, direct_forces=True), noise=False),
    "schnet-twice": Net(partial(schnet, filter_activation="twice")),
    "schnet-distance": Net(partial(schnet, basis="none"), on=ONLY_MOLECULES),
    "et": Net(transformer, vectors=True),
    "et-conditional": Net(partial(transformer, conditional=True), conditional=True, vectors=True),
    "et-force": Net(partial(transformer, force_input=True), takes_forces=True, vectors=True),
    "et-both": Net(
        partial(transformer, conditional=True, force_input=True),
        conditional=True,
        takes_forces=True,
        vectors=True,
    ),
    "et-gradient-noise": Net(
        partial(transformer, noise_head=False), vectors=True, on=ONLY_MOLECULES
    ),
    "dimenet": Net(dimenet, vectors=True),
    "tensor-product": Net(tensor_product, vectors=True),
    "tensor-product-force": Net(
        partial(tensor_product, force_input=True), takes_forces=True, vectors=True
    ),
    "pet": Net(pet, vectors=True),
    "pet-two-layers": Net(partial(pet, num_layers=2), vectors=True),
    "pet-direct": Net(partial(pet, direct_forces=True), vectors=True, on=ONLY_MOLECULES),
    "ecse": Net(ecse, vectors=True, on=ONLY_MOLECULES),
    "ecse-crystals": Net(partial(ecse, cutoff=3.2, group="SO(3)"), vectors=True, on=("crystals",)),
    "ecse-direct": Net(partial(ecse, direct_forces=True), vectors=True, on=ONLY_MOLECULES),
    "ecse-pooled": Net(partial(ecse, local=False, prunings=1), vectors=True, on=ONLY_MOLECULES),
    "random-rotations": Net(lambda: symmetry.RandomRotations(pet(), n=4), vectors=True),
    "quadrature": Net(
        lambda: symmetry.Quadrature(pet(), degree=1), vectors=True, on=ONLY_MOLECULES
    ),
    "pca-frames": Net(lambda: symmetry.PCAFrames(pet()), vectors=True, on=("ethanol",)),
    "nearest-pair": Net(lambda: symmetry.NearestPair(pet()), vectors=True, on=("ethanol",)),
    "qr-frames": Net(lambda: symmetry.QRFrames(pet()), vectors=True, on=("ethanol",)),
    "official-ct": Net(official, conditional=True, vectors=True),
}
STORES = {"molecules": molecules, "crystals": crystals, "ethanol": one_ethanol}
NUMBERS = {"extensive": "scalar_sum", "intensive": "scalar_mean", "each": "per_atom"}
VECTORS = {"arrow": "vector", "matrix": "tensor"}


def asks(net: Net, batch, width: int, dtype) -> dict[str, dict]:
    """What the model is asked, by name: nothing but the structures, then with all that it takes."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    whole, of_atoms = draw(batch.num_graphs, width), draw(len(batch.z), width)
    felt = draw(len(batch.z), 3)
    felt[::3] = 0.0
    found = {"plain": {}}
    if net.conditional:
        found |= {
            "condition": dict(condition=whole),
            "condition-of-atoms": dict(condition=of_atoms),
        }
    if net.takes_forces:
        found |= {"force": dict(force_input=felt)}
    if net.conditional and net.takes_forces:
        found |= {"condition-force": dict(condition=whole, force_input=felt)}
    return found


def outputs(out) -> dict[str, torch.Tensor]:
    """All that a prediction holds, by names of our own."""
    found = {
        "energy": out.energy,
        "forces": out.forces,
        "noise": out.noise,
        "embedding": out.embedding,
        "atoms": out.atoms,
        "share-energy": out.per_atom["energy"],
    }
    for name, value in out.properties.items():
        found[f"property-{name}"] = value
        if value.shape != out.per_atom[name].shape:
            found[f"share-{name}"] = out.per_atom[name]
    return {name: value for name, value in found.items() if value is not None}


def numbers(out) -> dict[str, np.ndarray]:
    """The same as arrays to be kept; of the many features of atoms, every fourth."""
    found = {name: value.numpy() for name, value in outputs(out).items()}
    return found | {"atoms": found["atoms"][:, ::4]}


def wave(like: torch.Tensor) -> torch.Tensor:
    """Fixed numbers from -1 to 1, float64, in the shape of a tensor."""
    return torch.cos(1.0 + 0.7 * torch.arange(like.numel(), dtype=torch.float64)).view_as(like)


def scalar(out) -> torch.Tensor:
    """A fixed sum of all outputs, each weighted by a wave over its entries."""
    total = 0.0
    for _, value in sorted(outputs(out).items()):
        total = total + (value.double() * wave(value)).sum() / math.sqrt(value.numel())
    return total


def distance(out) -> torch.Tensor:
    """How far all outputs are from waves."""
    total = 0.0
    for _, value in sorted(outputs(out).items()):
        total = total + (1.0 + (value.double() - wave(value)).square()).sqrt().mean()
    return total


def square_sum(tensors) -> np.ndarray:
    """The sum of the squares of all entries, rounded once: it depends on no order."""
    entries = (x.detach().double().square().flatten().tolist() for x in tensors if x is not None)
    return np.array(math.fsum(itertools.chain.from_iterable(entries)))


def move(model, questions: list[dict], batch, noise: bool) -> None:
    """A few steps of training on all outputs: what starts at zero (gates, heads) takes part."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, eps=1e-6)
    for _ in range(4):
        optimizer.zero_grad()
        predictions = (model(batch, forces=True, noise=noise, **told) for told in questions)
        sum(map(distance, predictions)).backward()
        optimizer.step()


def batch_of(store, dtype):
    batch = store.take(range(len(store)))
    batch.pos = batch.pos.to(dtype)
    if batch.get("cell") is not None:
        batch.cell = batch.cell.to(dtype)
    return batch


def seeded(net: Net, store, dtype):
    """The model as its seed makes it, in a precision in which random numbers are drawn too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        torch.manual_seed(0)
        model = net.make()
        for name, pool in (NUMBERS | (VECTORS if net.vectors else {})).items():
            model.add_property(name, pool)
    finally:
        torch.set_default_dtype(before)
    EnergyForces(forces=store.has_forces).prepare(model, store)
    return model.to(dtype).eval()


def built(net: Net, store):
    """The model in float64, moved from where its seed puts it."""
    model = seeded(net, store, torch.float64)
    batch = batch_of(store, torch.float64)
    width = model(batch).embedding.shape[1]
    move(model, list(asks(net, batch, width, torch.float64).values()), batch, net.noise)
    return model


def model_case(net: Net, where: str) -> dict[str, np.ndarray]:
    """What the seed gives; then, of the moved model, outputs and gradients in float64, in float32,
    and in training."""
    store = STORES[where]()
    model = seeded(net, store, torch.float32)
    with torch.no_grad():
        out = model(batch_of(store, torch.float32), forces=True, noise=net.noise)
    found = {"seeded/weights": square_sum(model.parameters())}
    found |= {f"seeded/{key}": value for key, value in numbers(out).items() if key in BRIEF}
    exact = built(net, store)
    for mode, dtype in (
        ("exact", torch.float64),
        ("single", torch.float32),
        ("training", torch.float32),
    ):
        model = copy.deepcopy(exact).to(dtype).train(mode == "training")
        batch = batch_of(store, dtype)
        width = model(batch).embedding.shape[1]
        for name, told in asks(net, batch, width, dtype).items():
            arrays = asked(model, batch, net.noise, told)
            if name != "plain" or mode == "training":
                arrays = {key: value for key, value in arrays.items() if key in BRIEF}
            elif mode == "single":
                arrays = {key: value for key, value in arrays.items() if key not in LARGE}
            found |= {f"{mode}/{name}/{key}": value for key, value in arrays.items()}
    return found


BRIEF = ("energy", "forces", "noise", "slope", "gradient", "inner-gradient")
LARGE = ("atoms", *(f"share-{name}" for name in NUMBERS | VECTORS))


def asked(model, batch, noise: bool, told: dict) -> dict[str, np.ndarray]:
    """Outputs without a graph; the slope of `scalar` by positions; and the square sum of its
    gradient by all parameters, with positions that carry a gradient ("gradient") and without
    ("inner-gradient")."""
    with torch.no_grad():
        found = numbers(model(batch, forces=True, noise=noise, **told))

    leaf = copy.copy(batch)
    leaf.pos = batch.pos.clone().requires_grad_()
    parameters = [leaf.pos, *model.parameters()]
    total = scalar(model(leaf, forces=True, noise=noise, **told))
    slope, *gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    found |= {"slope": slope.numpy(), "gradient": square_sum(gradients)}

    total = scalar(model(batch, forces=True, noise=noise, **told))
    gradients = torch.autograd.grad(total, parameters[1:], allow_unused=True)
    return found | {"inner-gradient": square_sum(gradients)}


# ----------------------------------------------------------------------------------------- training


@dataclass
class Training:
    """A short run of `fit`."""

    make: Callable
    objective: Callable
    store: Callable = ethanol
    settings: dict = field(default_factory=dict)
    steps: int = 20


def heavy(batch):
    return batch.z > 1


conditional = partial(transformer, conditional=True)
told_forces = partial(transformer, force_input=True)
scd = partial(Training, conditional)
TRAININGS = {
    "energy-forces": Training(schnet, EnergyForces),
    "energy-forces-norm": Training(
        transformer, partial(EnergyForces, loss="norm", energy_weight=0.05)
    ),
    "energy-forces-direct": Training(partial(schnet, direct_forces=True), EnergyForces),
    "energy-forces-dimenet": Training(dimenet, EnergyForces, steps=10),
    "energy-forces-turned": Training(pet, EnergyForces),
    "energy-forces-ecse": Training(ecse, EnergyForces, steps=4),
    "energy-forces-fixed": Training(transformer, EnergyForces, partial(ethanol, fixed=(0, 4))),
    "energy-forces-table": Training(
        schnet_as_it_comes, EnergyForces, isomers, dict(batch_size=12), steps=12
    ),
    "energy": Training(tensor_product, partial(EnergyForces, forces=False)),
    "number": Training(schnet, partial(PropertyRegression, "homo"), small_molecules),
    "number-sum": Training(
        transformer,
        partial(PropertyRegression, "alpha"),
        small_molecules,
        dict(lr={"head": 2e-3, "backbone": 5e-4}, warmup=5, weight_decay=0.01),
    ),
    "vector": Training(transformer, partial(PropertyRegression, "dipole", "vector")),
    "length": Training(
        dimenet, partial(PropertyRegression, "mu", "vector"), small_molecules, steps=10
    ),
    "coordinate": Training(transformer, CoordinateDenoising),
    "coordinate-gradient": Training(schnet, partial(CoordinateDenoising, sigma=0.1)),
    "coordinate-part": Training(
        tensor_product,
        partial(CoordinateDenoising, ratio=0.5, centered=False, normalized=False),
        small_molecules,
        steps=10,
    ),
    "coordinate-turned": Training(pet, CoordinateDenoising, settings=dict(augment="rotations")),
    "coordinate-torsional": Training(transformer, partial(CoordinateDenoising, kind="torsional")),
    "coordinate-main": Training(
        transformer, lambda: CoordinateDenoising(sigma=0.01, supervised=EnergyForces(), weight=0.1)
    ),
    "coordinate-fading": Training(
        schnet,
        lambda: CoordinateDenoising(sigma=0.01, supervised=PropertyRegression("homo"), weight=0.1),
        small_molecules,
        dict(anneal={"weight": (0.1, 0.0)}),
    ),
    "coordinate-crystals": Training(transformer, CoordinateDenoising, alloys),
    "pairwise": Training(transformer, PairwiseDenoising, small_molecules),
    "pairwise-coordinates": Training(
        dimenet, partial(PairwiseDenoising, output="coordinates"), small_molecules, steps=10
    ),
    "pairwise-batch": Training(schnet, partial(PairwiseDenoising, scope="batch"), small_molecules),
    "dens": Training(told_forces, partial(DeNS, prob=0.5)),
    "dens-tensor-product": Training(partial(tensor_product, force_input=True), DeNS, steps=10),
    "dens-fixed": Training(told_forces, partial(DeNS, prob=0.5), partial(ethanol, fixed=(0, 4))),
    "dens-none": Training(transformer, partial(DeNS, prob=0.5, force_encoding="none")),
    "dens-other": Training(
        told_forces, partial(DeNS, prob=0.7, corrupt_ratio=0.5, force_encoding="shuffled")
    ),
    "dens-sizes": Training(
        told_forces, partial(DeNS, prob=0.7, corrupt_ratio=0.5, sigma=(0.01, 0.3))
    ),
    "dens-squared": Training(
        told_forces,
        lambda: DeNS(
            prob=0.6,
            loss="squared",
            decay=False,
            max_rms_force=1.0,
            supervised=EnergyForces(energy_weight=0.1),
        ),
    ),
    "scd": scd(SelfConditionedDenoising),
    "scd-stop": scd(partial(SelfConditionedDenoising, stop_gradient=True)),
    "scd-other": scd(partial(SelfConditionedDenoising, condition="other"), small_molecules),
    "scd-atoms": scd(partial(SelfConditionedDenoising, condition="atoms", p_drop_condition=0.5)),
    "scd-part": scd(partial(SelfConditionedDenoising, context="heavy")),
    "scd-part-function": scd(
        partial(SelfConditionedDenoising, context=heavy, freeze_element_embeddings=False)
    ),
    "scd-main": scd(lambda: SelfConditionedDenoising(supervised=EnergyForces(), weight=0.2)),
    "scd-schnet": Training(
        partial(schnet, conditional=True), partial(SelfConditionedDenoising, reg_sigma=0.0)
    ),
}
LOG = {  # the log's names, and ours
    "loss": "loss",
    "lr": "rate",
    "lr_head": "rate-head",
    "energy_mae": "energy",
    "force_mae": "force",
    "noise_mse": "noise",
    "noise_unexplained": "noise-unexplained",
    "distance_mae": "distance",
    "blind_mae": "distance-blind",
    "homo_mae": "property",
    "alpha_mae": "property",
    "mu_mae": "property",
    "dipole_mae": "property",
    "val_loss": "val-loss",
    "val_energy_mae": "val-energy",
    "val_force_mae": "val-force",
    "val_noise_mse": "val-noise",
    "val_noise_unexplained": "val-noise-unexplained",
    "val_distance_mae": "val-distance",
    "val_blind_mae": "val-distance-blind",
    "val_homo_mae": "val-property",
    "val_alpha_mae": "val-property",
    "val_mu_mae": "val-property",
    "val_dipole_mae": "val-property",
}
LONG = ("atoms", "share")  # outputs that are not compared after training
ASIDE = ("step", "seconds")  # columns of the log that are not compared


def training_case(run: Training) -> dict[str, np.ndarray]:
    """The log by column, the outputs of the trained model, and what `evaluate` gives for it."""
    torch.manual_seed(0)
    model = run.make()
    objective, store = run.objective(), run.store()
    train, val, test = store.split(len(store) // 2, len(store) // 4, seed=0)
    settings = (
        dict(
            batch_size=4, lr=2e-3, ema_decay=0.9, log_every=run.steps // 4, val_every=run.steps // 2
        )
        | run.settings
    )
    result = scdlab.fit(
        model,
        objective,
        train,
        val,
        steps=run.steps,
        seed=0,
        device="cpu",
        progress=False,
        **settings,
    )
    found = {
        f"log/{LOG[name]}": np.array(column, dtype=float)
        for name, column in result.history.items()
        if name not in ASIDE
    }
    batch = test.take(range(len(test)))
    with torch.no_grad():
        out = numbers(model(batch, forces=True))
    found |= {f"trained/{name}": value for name, value in out.items() if not name.startswith(LONG)}
    errors = scdlab.evaluate(model, test, objective)
    found |= {f"evaluated/{LOG[name]}": np.array(value) for name, value in errors.items()}
    if isinstance(objective, EnergyForces | PropertyRegression | DeNS):
        errors = scdlab.evaluate(model, test)
        found |= {
            f"labels/{LOG[name]}": np.array(value) for name, value in errors.items() if name in LOG
        }
    return found


# ------------------------------------------------------------------- symmetry and pretrained models

REPORTS = {
    "schnet-direct": Net(partial(schnet, direct_forces=True), noise=False),
    "pet": Net(pet),
    "official-ct": Net(official, conditional=True),
    "random-rotations": Net(lambda: symmetry.RandomRotations(pet(), n=4)),
}
LAWS = {  # the report's names, and ours
    "rotation": "rotation",
    "reflection": "reflection",
    "translation": "translation",
    "permutation": "permutation",
    "force_consistency": "slope",
    "smoothness": "jump",
}


def report_case(net: Net) -> dict[str, np.ndarray]:
    store = molecules()
    report = scdlab.symmetry_report(built(net, store), store.to_ase(2), n_rotations=2)
    return {LAWS[name]: np.array(value) for name, value in report.as_dict().items()}


PRETRAINED = ("coord-ct", "coord-et", "dimenet-pairwise", "pet-ethanol", "scd-ct", "scd-ct-frames")


def pretrained_case(name: str) -> dict[str, np.ndarray]:
    model = scdlab.load_pretrained(name)
    store = one_ethanol() if name in ("pet-ethanol", "scd-ct-frames") else molecules()
    batch = store.take(range(len(store)))
    with torch.no_grad():
        return numbers(model(batch, forces=True))


def noise_case() -> dict[str, np.ndarray]:
    """What `sample_noise` draws, and where: the order of random numbers."""
    batch, found = ethanol().take(range(4)), {}
    for name, settings in {
        "gaussian": {},
        "free": dict(centered=False),
        "some": dict(ratio=0.5),
        "torsional": dict(kind="torsional"),
    }.items():
        generator = torch.Generator().manual_seed(3)
        eps, mask = objectives.sample_noise(batch, 0.1, generator, **settings)
        found |= {f"{name}/noise": eps.numpy(), f"{name}/mask": mask.numpy()}
    return found


# -------------------------------------------------------------------------------------------- cases


def cases() -> dict[str, Callable[[], dict[str, np.ndarray]]]:
    found = {
        f"model/{name}/{where}": partial(model_case, net, where)
        for name, net in NETS.items()
        for where in net.on
    }
    found |= {f"training/{name}": partial(training_case, run) for name, run in TRAININGS.items()}
    found |= {f"symmetry/{name}": partial(report_case, net) for name, net in REPORTS.items()}
    found |= {f"pretrained/{name}": partial(pretrained_case, name) for name in PRETRAINED}
    return found | {"noise": noise_case}


CASES = cases()


def write(found: dict[str, dict[str, np.ndarray]]) -> None:
    """case -> name -> array, on disk: the numbers of each kind in one row, and an index.

    A file of thousands of small arrays would consist of their headers.
    """
    index, rows = [], {}
    for case, arrays in found.items():
        for name, array in arrays.items():
            kind = str(array.dtype)
            index.append([case, name, kind, list(array.shape)])
            rows.setdefault(kind, []).append(array.ravel())
    STORED.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        STORED, index=json.dumps(index), **{kind: np.concatenate(row) for kind, row in rows.items()}
    )


def read() -> dict[str, dict[str, np.ndarray]]:
    """What `write` was given."""
    found, used = {}, {}
    with np.load(STORED) as file:
        rows = dict(file)
    for case, name, kind, shape in json.loads(str(rows["index"])):
        first = used.get(kind, 0)
        used[kind] = first + math.prod(shape)
        found.setdefault(case, {})[name] = rows[kind][first : used[kind]].reshape(shape)
    return found


def main(beginnings: list[str]) -> None:
    torch.set_num_threads(1)
    chosen = [case for case in CASES if not beginnings or case.startswith(tuple(beginnings))]
    found = read() if beginnings else {}
    found |= {case: CASES[case]() for case in chosen}
    write({case: found[case] for case in CASES if case in found})
    number = sum(map(len, found.values()))
    print(
        f"{STORED}: {number:,} arrays of {len(found)} cases, {STORED.stat().st_size / 1e3:.0f} kB"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
