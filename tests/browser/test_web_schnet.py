"""SchNet in JavaScript, in a page opened from disk without a network, against SchNet in torch."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from helpers import batch_of, perturbed, rattled, rotation, schnet
from web_models import WebModels, difference, plain

import scdlab
from scdlab.files import package_dir
from scdlab.nn.ops.filter_tables import Filters

WIDE = dict(hidden_channels=64, num_layers=3, num_rbf=50)


@pytest.fixture(scope="module")
def trained():
    """A SchNet that was trained for a few steps on aspirin, with references of -10⁴ eV."""
    store = scdlab.AtomStore.open(package_dir("data") / "aspirin")
    train, _, _ = store.split(64, 0, seed=0)
    torch.manual_seed(0)
    model = scdlab.SchNet(**WIDE)
    objective = scdlab.objectives.EnergyForces()
    scdlab.fit(model, objective, train, steps=12, batch_size=8, lr=1e-3, seed=0, device="cpu")
    return model.eval()


@pytest.fixture(scope="module")
def aspirin():
    return scdlab.AtomStore.open(package_dir("data") / "aspirin").to_ase(3)


def torch_answer(model, atoms, cells=None):
    """The original's answer in double precision, with filters from tables of so many cells."""
    model = model.double().eval()
    if cells is not None:
        model.filters = lambda r: Filters(model.basis, r, model.cutoff, cells)
    out = model(batch_of(atoms), forces=True)
    model.__dict__.pop("filters", None)
    model.float()
    return out


def compared(page_answer, original):
    assert difference([page_answer["energy"]], original.energy) < 1e-5
    return difference(page_answer["forces"], original.forces)


KINDS = {
    "plain": {},
    "twice": dict(filter_activation="twice", cutoff=4.0),
    "raw": dict(basis="none", num_layers=1),
    "direct": dict(direct_forces=True),
    "odd": dict(hidden_channels=11, num_rbf=7, num_layers=1),
}


@pytest.mark.browser
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_random_weights(window, tmp_path, precision):
    models = {kind: perturbed(schnet(**settings), 1) for kind, settings in KINDS.items()}
    web = WebModels(window, tmp_path, precision, **models)
    bound = 1e-5 if precision == "float32" else 1e-11
    structures = rattled("CH3CH2OH"), molecule("CO"), rattled(bulk("Cu", cubic=True), amount=0.1)
    for kind, model in models.items():
        for atoms in structures:
            there = torch_answer(model, atoms)
            here = web(kind, atoms, forces=True)
            assert compared(here, there) < bound, kind
            if precision == "float64":
                assert difference([here["energy"]], there.energy) < 1e-12
    assert web.files_alone()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("cells", [None, 512, 20])
def test_trained_weights_exact_and_from_tables(
    window, tmp_path, trained, aspirin, precision, cells
):
    web = WebModels(window, tmp_path, precision, net=trained)
    web.run("([cells]) => { models.net.filterTableSize = cells; }", cells)
    there = torch_answer(trained, aspirin, cells)
    energy = there.energy.item()
    assert abs(energy) > 500
    here = web("net", aspirin, forces=True)
    assert compared(here, there) < 1e-5
    own = energy - trained.energy_head.reference[aspirin.numbers].sum().item()
    assert abs(here["energy"] - energy) < 1e-5 * abs(own)  # of what the network adds to references
    closer = aspirin.copy()  # another place where the table starts, and back
    closer.positions[0] += 0.5 * (closer.positions[1] - closer.positions[0])
    assert compared(web("net", closer, forces=True), torch_answer(trained, closer, cells)) < 1e-5
    assert np.array_equal(web("net", aspirin, forces=True)["forces"], here["forces"])


@pytest.mark.browser
@pytest.mark.parametrize("cells", [None, 512])
@pytest.mark.parametrize("kind", ["plain", "twice", "wide"])
def test_forces_are_the_gradient(window, tmp_path, kind, cells):
    """Against differences of energies, of fourth order, in double precision."""
    model = perturbed(schnet(**(WIDE if kind == "wide" else KINDS[kind])), 2)
    web = WebModels(window, tmp_path, "float64", net=model)
    web.run("([cells]) => { models.net.filterTableSize = cells; }", cells)
    for atoms in (rattled("CH3CH2OH"), bulk("Cu", a=3.7) * (2, 1, 1)):
        atoms.rattle(0.1, seed=1)
        forces = web("net", atoms, forces=True)["forces"]
        slopes = web.run(
            """([structure]) => {
                const s = structureOf(structure);
                const h = 1e-4; // small beside the cells of a table
                const at = (k, x) => {
                    const kept = s.pos[k];
                    s.pos[k] += x;
                    const energy = models.net.forward(s).energy;
                    s.pos[k] = kept;
                    return energy; };
                return Array.from(s.pos, (_, k) =>
                    (8 * (at(k, h) - at(k, -h)) - at(k, 2 * h) + at(k, -2 * h)) / (12 * h)); }""",
            plain(atoms),
        )
        assert difference(-np.reshape(slopes, (-1, 3)), forces) < 1e-7


@pytest.mark.browser
def test_symmetry(window, tmp_path, aspirin):
    model = perturbed(schnet(**WIDE), 3)
    web = WebModels(window, tmp_path, "float64", net=model)
    here = web("net", aspirin, forces=True)
    other = aspirin.copy()
    q = -rotation(4)  # a reflection too
    order = np.random.default_rng(5).permutation(len(aspirin))
    other.positions = aspirin.positions @ q.T + [1.0, -2.0, 30.0]
    there = web("net", other[order], forces=True)
    assert abs(there["energy"] - here["energy"]) < 1e-10 * abs(here["energy"])
    assert difference(there["forces"], (here["forces"] @ q.T)[order]) < 1e-10
    assert np.abs(here["forces"].sum(0)).max() < 1e-10


@pytest.mark.browser
def test_filter_curves(window, tmp_path):
    model = perturbed(schnet(), 1)
    web = WebModels(window, tmp_path, "float64", net=model)
    r = np.linspace(0.5, 6.0, 23)
    curves = web.run(
        "([r]) => [0, 1].map(k => Array.from(models.net.filterCurves(k, Float64Array.from(r))))",
        r.tolist(),
    )
    there = model.double().filter_curves(torch.from_numpy(r))
    assert difference(np.reshape(curves, there.shape), there) < 1e-12


@pytest.mark.browser
def test_bad_input_is_one_sentence(window, tmp_path):
    web = WebModels(window, tmp_path, net=schnet())
    for atoms, said in (
        (molecule("H2O")[[0, 0, 1]], "Atoms 1 and 2 are in the same place"),
        (spoiled(molecule("H2O")), "no finite position"),
    ):
        with pytest.raises(Exception, match=said):
            web("net", atoms)
    with pytest.raises(Exception, match="span no volume"):
        flat = [[29], [0.0, 0.0, 0.0], [1.0, 0, 0, 0, 1, 0, 1, 1, 0]]
        web.run("([flat]) => answer('net', flat, {})", flat)


def spoiled(atoms):
    atoms.positions[1, 2] = np.inf
    return atoms
