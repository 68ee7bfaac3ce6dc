"""Force calls without autograd: the model's own numbers, and pairs that are none too few."""

import time

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.stress import full_3x3_to_voigt_6_stress
from numba import njit
from numba.core.event import trigger_event
from numba.extending import overload

import scdlab
from scdlab.atoms.neighbors import neighbor_list
from scdlab.compiling import announced
from scdlab.nn.inference import ForceCall, SkinList, Structures, covers

SMALL = dict(hidden_channels=16, num_layers=3, num_rbf=12)
MODELS = {
    "schnet": lambda: scdlab.SchNet(**SMALL),
    "schnet, one layer": lambda: scdlab.SchNet(hidden_channels=16, num_layers=1, num_rbf=12),
    "schnet, activated twice": lambda: scdlab.SchNet(**SMALL, filter_activation="twice"),
    "schnet, raw distance": lambda: scdlab.SchNet(**SMALL, basis="none"),
    "transformer": lambda: scdlab.EquivariantTransformer(**SMALL, num_heads=4),
    "transformer, one layer": lambda: scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=1, num_heads=2, num_rbf=12
    ),
    "schnet, ten features": lambda: scdlab.SchNet(hidden_channels=10, num_layers=2, num_rbf=12),
    "transformer, heads of six": lambda: scdlab.EquivariantTransformer(
        hidden_channels=18, num_layers=3, num_heads=3, num_rbf=12
    ),
    "transformer, two layers": lambda: scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=2, num_heads=1, num_rbf=12, noise_head=False
    ),
}


def structures() -> dict[str, ase.Atoms]:
    """A molecule, one atom, two far apart, a crystal whose atoms see their own images, a slab."""
    ethanol = molecule("CH3CH2OH")
    ethanol.rattle(0.1, seed=1)
    salt = bulk("NaCl", "rocksalt", a=5.6)  # two atoms: many images of a pair
    salt.rattle(0.1, seed=2)
    slab = bulk("Cu", cubic=True)
    slab.pbc = True, True, False
    slab.rattle(0.1, seed=3)
    return {
        "molecule": ethanol,
        "atom": ase.Atoms("O"),
        "far": ase.Atoms("OH", positions=[[0, 0, 0], [0, 0, 9.0]]),
        "crystal": salt,
        "slab": slab,
    }


@pytest.fixture(scope="module")
def trained():
    """A network of each kind after a short training: filters that are steep, and a scale."""
    models = {}
    train, _, _ = scdlab.load_ethanol().split(200, 20)
    for name, model in (
        ("schnet", scdlab.SchNet(**SMALL)),
        ("transformer", scdlab.EquivariantTransformer(**SMALL, num_heads=4)),
    ):
        objective = scdlab.objectives.EnergyForces()
        scdlab.fit(model, objective, train, steps=40, batch_size=8, lr=5e-3, progress=False)
        models[name] = model
    return models


def exact(model, atoms):
    """Energy, forces and, where there is one, stress by the model itself, in float64."""
    store = scdlab.AtomStore.geometry(atoms)
    batch = store.take([0])
    batch.pos = torch.from_numpy(atoms.positions).requires_grad_()
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    deform = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.T)
    moved = batch.clone()
    moved.pos = batch.pos @ deform
    if "cell" in batch:
        moved.cell = torch.from_numpy(atoms.cell.array)[None] @ deform
    out = model(moved)
    pos, strained = torch.autograd.grad(
        out.energy.sum(), (batch.pos, strain), allow_unused=True, materialize_grads=True
    )
    return float(out.energy.detach()), -pos.numpy(), strained.numpy()


def called(call, atoms):
    pairs = SkinList(call.cutoff)(as_structures(atoms))
    return call(atoms.numbers.astype(np.int64), *pairs)


def as_structures(*frames):
    return Structures(
        z=np.concatenate([atoms.numbers for atoms in frames]).astype(np.int64),
        pos=np.concatenate([atoms.positions for atoms in frames]),
        ptr=np.cumsum([0, *(len(atoms) for atoms in frames)]),
        cell=np.stack([atoms.cell.array for atoms in frames]),
        pbc=np.stack([atoms.pbc for atoms in frames]),
    )


@pytest.mark.parametrize("name", MODELS)
def test_it_gives_what_the_model_gives(name):
    torch.manual_seed(1)
    model = MODELS[name]().double().eval()
    compare(model, structures())


@pytest.mark.parametrize("name", ["schnet", "transformer"])
def test_it_gives_what_a_trained_model_gives(trained, name):
    model = trained[name].double().eval()
    ethanol = {"ethanol": scdlab.load_ethanol().to_ase(7)}
    compare(model, ethanol)


@pytest.mark.parametrize("name", ["schnet", "transformer"])
def test_pairs_about_to_leave_the_cutoff(trained, name):
    model = trained[name].double().eval()
    distances = [4.99, 4.996, 4.999, 4.99999, 5.0, 5.001, 0.3]
    compare(model, {f"{r} Å": ase.Atoms("CO", [[0, 0, 0], [0, 0, r]]) for r in distances})


def compare(model, frames):
    call = ForceCall(model)
    for kind, atoms in frames.items():
        energy, forces, virial = exact(model, atoms)
        got = called(call, atoms)
        assert got.energies.sum() == pytest.approx(energy, rel=1e-10, abs=1e-10), kind
        size = max(np.abs(forces).max(), 1e-3)
        assert np.abs(got.forces - forces).max() < 1e-8 * size, kind
        size = max(np.abs(virial).max(), 1e-3)
        assert np.abs(got.virial() - virial).max() < 1e-8 * size, kind


@pytest.mark.parametrize("name", ["schnet", "transformer"])
def test_single_precision_is_as_good_as_its_digits(trained, name):
    model = trained[name].double().eval()
    atoms = scdlab.load_ethanol().to_ase(3)
    energy, forces, _ = exact(model, atoms)
    got = called(ForceCall(model, torch.float32), atoms)
    assert got.energies.dtype == got.forces.dtype == np.float64
    assert got.energies.sum() == pytest.approx(energy, abs=1e-3)  # of some hundred eV
    assert np.abs(got.forces - forces).max() < 1e-5 * np.abs(forces).max()


def test_forces_are_the_gradient_of_the_energy_that_is_called(trained):
    for model in trained.values():
        call = ForceCall(model.double().eval())
        atoms = scdlab.load_ethanol().to_ase(5)
        forces = called(call, atoms).forces
        for atom, axis in ((0, 0), (2, 1), (8, 2)):
            energies = []
            for step in (1e-5, -1e-5):
                moved = atoms.copy()
                moved.positions[atom, axis] += step
                energies.append(called(call, moved).energies.sum())
            slope = (energies[0] - energies[1]) / 2e-5
            assert forces[atom, axis] == pytest.approx(-slope, abs=1e-7)


@pytest.mark.parametrize("name", ["schnet", "transformer"])
def test_weights_that_are_no_float32_numbers_are_not_rounded(name):
    torch.manual_seed(2)
    model = MODELS[name]().double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 1 + 1e-4 * torch.rand_like(weight)
    compare(model, structures())


@pytest.mark.parametrize("name", ["schnet", "transformer"])
def test_threads_share_the_work_and_change_nothing(name, monkeypatch):
    torch.manual_seed(3)
    model = MODELS[name]().double().eval()
    atoms = structures()["crystal"] * (2, 2, 2)
    alone = called(ForceCall(model), atoms)
    monkeypatch.setattr("scdlab.nn.inference.shares._PAIRS", 20)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    call = ForceCall(model)
    for _ in range(2):  # the second in the room of the first
        shared = called(call, atoms)
        np.testing.assert_allclose(shared.energies, alone.energies, rtol=1e-12)
        np.testing.assert_allclose(shared.forces, alone.forces, atol=1e-12)
        np.testing.assert_allclose(shared.gradient, alone.gradient, atol=1e-12)


def test_a_call_leaves_the_answers_of_another_alone(trained):
    """Though it computes in the same room."""
    call = ForceCall(trained["transformer"].double().eval())
    first, second = (scdlab.load_ethanol().to_ase(k) for k in (3, 9))
    kept = called(call, first)
    before = [kept.energies.copy(), kept.forces.copy(), kept.gradient.copy()]
    called(call, second)
    for a, b in zip(before, (kept.energies, kept.forces, kept.gradient), strict=True):
        np.testing.assert_array_equal(a, b)


def test_several_structures_at_once(trained):
    frames = list(structures().values())
    torch.manual_seed(0)
    call = ForceCall(scdlab.EquivariantTransformer(**SMALL, num_heads=4).double().eval())
    together = as_structures(*frames)
    got = call(together.z, *SkinList(call.cutoff)(together))
    for atoms, start, end in zip(frames, together.ptr[:-1], together.ptr[1:], strict=True):
        alone = called(call, atoms)
        np.testing.assert_allclose(got.energies[start:end], alone.energies, rtol=1e-12)
        np.testing.assert_allclose(got.forces[start:end], alone.forces, atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        lambda: scdlab.SchNet(**SMALL, conditional=True),
        lambda: scdlab.SchNet(**SMALL, direct_forces=True),
        lambda: scdlab.EquivariantTransformer(**SMALL, num_heads=4, force_input=True),
        lambda: scdlab.PET(hidden_channels=16, num_layers=1, num_heads=2),
    ],
)
def test_what_it_does_not_cover_is_said(model):
    model = model()
    assert not covers(model)
    with pytest.raises(ValueError, match="has no force call of its own: call the model with"):
        ForceCall(model)


def test_the_calculator_gives_stress_with_the_forces(trained):
    model = trained["schnet"]
    atoms = scdlab.load_alloys().to_ase(3)
    atoms.numbers[:] = 6
    calc = scdlab.Calculator(model)
    calc.calculate(atoms, ["energy", "forces"])
    _, _, virial = exact(model.double().eval(), atoms)
    right = full_3x3_to_voigt_6_stress(virial / atoms.cell.volume)
    np.testing.assert_allclose(calc.results["stress"], right, atol=1e-10)


# pairs that are kept


def within(cutoff, i, j, vectors):
    inside = np.linalg.norm(vectors, axis=1) < cutoff
    rows = np.column_stack([i, j, np.round(vectors, 6)])[inside]
    return rows[np.lexsort(rows.T)]


def searched(structures, cutoff):
    fresh = SkinList(cutoff, skin=0.0)
    return within(cutoff, *fresh(structures))


def test_no_pair_is_missed_on_a_walk():
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    pairs = SkinList(4.0, skin=0.6)
    for _ in range(60):
        atoms.positions += rng.normal(0, 0.02, atoms.positions.shape)
        now = as_structures(atoms)
        np.testing.assert_array_equal(within(4.0, *pairs(now)), searched(now, 4.0))
    assert 1 < pairs.searches < 30


def test_no_pair_is_missed_while_the_cell_breathes_and_shears():
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    molecule_beside = molecule("H2O")
    pairs = SkinList(4.0, skin=0.6)
    for _ in range(60):
        strain = np.eye(3) + rng.normal(0, 0.012, (3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(0, 0.005, atoms.positions.shape)
        now = as_structures(atoms, molecule_beside)
        np.testing.assert_array_equal(within(4.0, *pairs(now)), searched(now, 4.0))
    assert 1 < pairs.searches < 40


def test_wrapped_atoms_and_other_atoms_are_searched_anew():
    atoms = bulk("Cu", cubic=True)
    pairs = SkinList(4.0)
    pairs(as_structures(atoms))
    atoms.positions[0] += atoms.cell[0]
    now = as_structures(atoms)
    np.testing.assert_array_equal(within(4.0, *pairs(now)), searched(now, 4.0))
    assert pairs.searches == 2
    for change in (lambda: atoms.set_pbc(False), lambda: atoms.numbers.__setitem__(0, 47)):
        change()
        now = as_structures(atoms)
        np.testing.assert_array_equal(within(4.0, *pairs(now)), searched(now, 4.0))
    assert pairs.searches == 4


def test_atoms_that_meet_or_are_nowhere_are_named_though_the_list_holds():
    atoms = molecule("CH3CH2OH")
    pairs = SkinList(5.0, skin=50.0)
    pairs(as_structures(atoms))
    atoms.positions[3] = atoms.positions[5]
    with pytest.raises(ValueError, match="atoms 3 and 5 at the same position"):
        pairs(as_structures(atoms))
    atoms.positions[3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        pairs(as_structures(atoms))


def test_pairs_are_those_of_the_neighbor_list():
    atoms = structures()["crystal"]
    batch = scdlab.AtomStore.geometry(atoms).take([0])
    batch.pos = torch.from_numpy(atoms.positions)
    batch.cell = torch.from_numpy(atoms.cell.array)[None]
    right = neighbor_list(batch, 5.0)
    i, j, vectors = SkinList(5.0)(as_structures(atoms))
    assert len(within(5.0, i, j, vectors)) == len(right)


@pytest.mark.parametrize("compiling", [True, False])
def test_a_call_that_compiles_says_so(caplog, compiling):
    name = "numba:compile" if compiling else "numba:run_pass"
    with caplog.at_level("INFO", logger="scdlab"), announced(seconds=0.01), trigger_event(name):
        time.sleep(0.3)
    said = [record.message for record in caplog.records if "once" in record.message]
    assert len(said) == compiling


def test_a_call_that_is_quick_says_nothing(caplog):
    with caplog.at_level("INFO", logger="scdlab"), announced(0.2), trigger_event("numba:compile"):
        pass
    time.sleep(0.4)
    assert not caplog.records


def test_numba_tells_what_it_compiles(caplog):
    def part():
        raise NotImplementedError

    @overload(part)
    def compiled_part():
        time.sleep(0.5)  # while it is compiled, not when it runs
        return lambda: 1

    @njit
    def slow_to_compile():
        return part()

    for said in (1, 0):  # the second call finds it compiled
        caplog.clear()
        with caplog.at_level("INFO", logger="scdlab"), announced(0.1):
            assert slow_to_compile() == 1
        assert len([r for r in caplog.records if "once" in r.message]) == said
