"""What the physics campaign examines: models, how they are trained, and structures."""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ase
import numpy as np
import torch
from ase.build import bulk, molecule
from ase.cell import Cell
from torch_geometric.data import Batch

import scdlab
from scdlab import objectives

SMALL = dict(hidden_channels=16, num_layers=2)
TRAINING = dict(batch_size=4, lr=2e-3, device="cpu", progress=False, estimate=False)


def _schnet(**settings) -> scdlab.nn.Model:
    return scdlab.SchNet(**SMALL, num_rbf=12, **settings)


def _et(**settings) -> scdlab.nn.Model:
    return scdlab.EquivariantTransformer(**SMALL, num_heads=2, num_rbf=12, **settings)


def _pet(**settings) -> scdlab.nn.Model:
    return scdlab.PET(
        hidden_channels=8,
        num_layers=1,
        num_attention_layers=1,
        num_heads=2,
        cutoff=3.5,
        **settings,
    )


def _official_ct(**settings) -> scdlab.nn.Model:
    return scdlab.nn.OfficialCT(emb_dim=16, num_layers=2, num_heads=2, num_rbf=12, **settings)


#: Name -> a fresh model.
MODELS: dict[str, Callable[[], scdlab.nn.Model]] = {
    "SchNet": _schnet,
    "SchNet, direct forces": lambda: _schnet(direct_forces=True),
    "SchNet, conditional": lambda: _schnet(conditional=True),
    "ET": _et,
    "ET, conditional": lambda: _et(conditional=True),
    "ET, force input": lambda: _et(force_input=True),
    "DimeNet": lambda: scdlab.DimeNet(**SMALL),
    "TensorProductNet": lambda: scdlab.TensorProductNet(**SMALL),
    "TensorProductNet, force input": lambda: scdlab.TensorProductNet(**SMALL, force_input=True),
    "PET": _pet,
    "PET, direct forces": lambda: _pet(direct_forces=True),
    "ECSE(PET)": lambda: scdlab.ECSE(_pet()),
    "ECSE(PET), pooled": lambda: scdlab.ECSE(_pet(), local=False),
    "official CT, as released": lambda: _official_ct(),
    "official CT": lambda: _official_ct(detach=False, vec_prenorm=False),
}

_LABELS = objectives.EnergyForces()
#: Name -> an objective that trains an energy (with labels beside it where it has none of its own),
#: and whether a model can be trained by it.
OBJECTIVES: dict[str, tuple[Callable[[], objectives.Objective], Callable]] = {
    "EnergyForces": (objectives.EnergyForces, lambda model: True),
    "EnergyForces, norms": (lambda: objectives.EnergyForces(loss="norm"), lambda model: True),
    "CoordinateDenoising": (
        lambda: objectives.CoordinateDenoising(supervised=_LABELS),
        lambda model: _denoises(model),
    ),
    "PairwiseDenoising": (
        # otherwise the loss has no gradient by the embeddings, on purpose
        lambda: objectives.PairwiseDenoising(freeze_element_embeddings=False),
        lambda model: not model.direct_forces,
    ),
    "DeNS": (
        lambda: objectives.DeNS(prob=1.0),
        lambda model: model.force_encoding is not None and _denoises(model),
    ),
    "SelfConditionedDenoising": (
        # likewise
        lambda: objectives.SelfConditionedDenoising(
            supervised=_LABELS, freeze_element_embeddings=False
        ),
        lambda model: model.mask_token is not None and _denoises(model),
    ),
    "PropertyRegression": (
        lambda: objectives.PropertyRegression("extent", kind="scalar_sum"),
        lambda model: True,
    ),
}


def _denoises(model: scdlab.nn.Model) -> bool:
    return model.noise_head is not None or not model.direct_forces


def conserves(model: scdlab.nn.Model) -> bool:
    """Whether forces are the gradient of the energy. They are not where they come from a head of
    their own, nor of the released CT, whose layer norms read a detached copy."""
    return not model.direct_forces and not model.config.get("detach", False)


def rotates(model: scdlab.nn.Model) -> bool:
    """Whether outputs rotate with the structure. Those of the released CT do not: it takes tanh of
    vectors."""
    exact = model.equivariant or isinstance(model, scdlab.ECSE)
    return exact and not model.config.get("vec_prenorm", False)


def fresh(name: str) -> scdlab.nn.Model:
    """A model of float64, in evaluation mode, with weights that are none of the special ones that
    networks start from."""
    torch.manual_seed(0)
    model = MODELS[name]().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@functools.cache
def ethanol() -> scdlab.AtomStore:
    """Labeled frames, with a property beside energies and forces."""
    store = scdlab.load_ethanol()[:64]
    arrays = store.arrays()
    extent = np.linalg.norm(arrays["pos"].reshape(len(store), -1), axis=1)
    return scdlab.AtomStore.from_arrays(
        **{key: arrays[key] for key in ("z", "pos", "ptr", "energy", "forces")},
        properties={"extent": extent},
    )


@functools.cache
def trained(name: str, objective: str, steps: int = 20) -> scdlab.nn.Model:
    """The same after a short training. It answers for all elements: which ones it was trained on is
    not what is examined."""
    made, _ = OBJECTIVES[objective]
    model = fresh(name).train()
    with quiet():
        scdlab.fit(model, made(), ethanol(), steps=steps, **TRAINING)
    return answering(model)


def answering(model: scdlab.nn.Model) -> scdlab.nn.Model:
    """The model in evaluation mode, with all elements among those that it answers for."""
    for each in model.modules():
        if isinstance(each, scdlab.nn.Model):
            each.trained_elements.zero_()
    return model.eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warning that the auxiliary model of an ECSE is untrained."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*auxiliary model")
        yield


def _rattled(atoms: ase.Atoms, amount: float = 0.1, seed: int = 0) -> ase.Atoms:
    atoms.rattle(amount, seed=seed)
    return atoms


def _crystal(cell, numbers=(8, 1, 6), pbc=(True, True, True), inside=True) -> ase.Atoms:
    """A few atoms at places of a cell that keep some distance."""
    places = [(0.1, 0.2, 0.3), (0.55, 0.7, 0.75), (0.6, 0.15, 0.85)][: len(numbers)]
    atoms = ase.Atoms(numbers, cell=cell, pbc=pbc)
    atoms.set_scaled_positions(np.array(places))
    if not inside:  # several cells away, each atom elsewhere
        atoms.positions += np.array([[2, -1, 3], [0, 4, -2], [-3, 0, 1]])[: len(atoms)] @ atoms.cell
    return atoms


SKEWED = [[3.6, 0.0, 0.0], [3.1, 2.6, 0.0], [1.2, -2.4, 3.3]]
LEFT = [[0.0, 3.4, 0.3], [3.8, 0.2, 0.0], [0.1, 0.0, 4.1]]

#: Name -> a structure.
STRUCTURES: dict[str, Callable[[], ase.Atoms]] = {
    "a molecule": lambda: _rattled(molecule("CH3CH2OH")),
    "one atom": lambda: molecule("O"),
    "two atoms": lambda: ase.Atoms("OH", positions=[[0.1, 0.2, 0.3], [0.5, 0.9, -0.2]]),
    "three in a line": lambda: ase.Atoms("CO2", positions=[[0, 0, 0], [0, 0, 1.2], [0, 0, -1.16]]),
    "a crystal of one atom": lambda: bulk("Cu"),
    "a crystal": lambda: _rattled(bulk("MgO", "rocksalt", a=4.2)),
    "a cell smaller than the cutoff": lambda: _crystal(Cell.new([2.1, 2.3, 2.2]), numbers=(8, 1)),
    "a skewed cell": lambda: _crystal(SKEWED),
    "a left-handed cell": lambda: _crystal(LEFT),
    "atoms outside the cell": lambda: _crystal(SKEWED, inside=False),
    "periodic along two vectors": lambda: _crystal(SKEWED, pbc=(True, False, True)),
    "periodic along one vector": lambda: _crystal(LEFT, pbc=(False, True, False)),
    "one vector, no others": lambda: ase.Atoms(
        "CH2",
        positions=[[0, 0, 0], [0.9, 0.6, 0.3], [-0.8, 0.7, 0.2]],
        cell=[[0, 0, 2.6], [0, 0, 0], [0, 0, 0]],
        pbc=(True, False, False),
    ),
    "a huge vacuum": lambda: _rattled(
        ase.Atoms("OH2", positions=molecule("H2O").positions, cell=[1e4] * 3, pbc=True)
    ),
}


def batch_of(*structures: ase.Atoms) -> Batch:
    """A batch in float64, with positions and cells to the last digit."""
    batch = scdlab.AtomStore.geometry(structures).take(range(len(structures)))
    batch.pos = torch.from_numpy(np.concatenate([each.positions for each in structures]))
    if batch.get("cell") is not None:
        batch.cell = torch.from_numpy(np.stack([each.cell.array for each in structures]))
    return batch


def extra(model: scdlab.nn.Model, batch: Batch, seed: int = 0) -> dict[str, torch.Tensor]:
    """A condition and forces as input, for models that take them."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    if model.mask_token is not None:
        shape = batch.num_graphs, model.hidden_channels
        found["condition"] = torch.randn(shape, generator=generator, dtype=torch.float64)
    if model.force_encoding is not None:
        found["force_input"] = torch.randn(
            batch.pos.shape, generator=generator, dtype=torch.float64
        )
    return found
