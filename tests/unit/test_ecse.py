"""ECSE as a model: what it takes and refuses, the auxiliary model, what passes through to the
backbone, the parts of structures that atoms feel, and how far that is for each backbone."""

import warnings

import helpers
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from helpers import batch_of, perturbed, rattled

import scdlab
from scdlab.atoms import neighbor_list
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.nequip import TensorProductNet
from scdlab.nn.official_ct import OfficialCT
from scdlab.nn.pet import PET
from scdlab.objectives import EnergyForces
from scdlab.symmetry.clusters import receptive_fields
from scdlab.symmetry.ecse import ECSE
from scdlab.symmetry.frames import Frames
from scdlab.symmetry.symmetrized import Symmetrized


def random(net):
    """With weights that are larger than at the start, so that every part has an effect."""
    return perturbed(net, seed=2)


def pet(**kwargs):
    return random(helpers.pet(**kwargs))


def transformer(**kwargs):
    torch.manual_seed(0)
    small = dict(hidden_channels=8, num_layers=1, num_heads=2, num_rbf=6, cutoff=3.5)
    return random(scdlab.EquivariantTransformer(**{**small, **kwargs}))


def schnet(**kwargs):
    return random(helpers.schnet(**(dict(hidden_channels=8, num_rbf=6, cutoff=3.5) | kwargs)))


def dimenet(**kwargs):
    torch.manual_seed(0)
    return scdlab.DimeNet(**{**dict(hidden_channels=8, num_layers=1, cutoff=3.5), **kwargs})


def same(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------------------------------
# bad input


def test_what_is_no_backbone_is_refused():
    with pytest.raises(ValueError, match=r"ECSE takes a backbone, an AtomisticModel, got a Linear"):
        ECSE(torch.nn.Linear(3, 1))
    with pytest.raises(ValueError, match=r"ECSE takes a backbone, got one that is in an ECSE alr"):
        ECSE(ECSE(pet()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(outer_radius=3.4), r"outer radius is 3\.4 Å.*cutoff less the width, 3\.35 Å"),
        (dict(outer_radius=3.5, radius_width=0.2), "outer radius is 3.5 Å"),
        (dict(outer_radius=0.1), "outer radius is 0.1 Å"),
        (dict(group="SE(3)"), r"must be O\(3\) or SO\(3\), got 'SE\(3\)'"),
        (dict(radius_width=0.0), "width > 0"),
        (dict(beta=-1.0), "beta > 0"),
        (dict(sin2_min=0.1), "sin2_min=0.1"),
        (dict(sin2_min=0.9), r"sin2_min \+ sin2_width < 1"),
        (dict(sin2_width=0.0), "sin2_width=0.0"),
        (dict(prunings=-1), "prunings of ECSE must be at least 0, got -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ECSE(pet(), **settings)


def test_the_largest_outer_radius_is_taken():
    for exact in (ECSE(pet(), outer_radius=3.35), ECSE(pet())):
        assert exact.outer_radius == pytest.approx(3.35)
    assert ECSE(pet(), outer_radius=2.0, radius_width=0.3).outer_radius == 2.0


@pytest.mark.parametrize("local", [True, False])
def test_without_an_auxiliary_model_a_line_is_refused_by_name(local):
    exact = ECSE(pet(), auxiliary=None, local=local).double().eval()
    water = rattled("H2O")
    line = molecule("C2H2")
    assert exact(batch_of(water), forces=True).forces.isfinite().all()
    where = " of atom 0" if local else ""
    with pytest.raises(
        ValueError, match=rf"neighbors{where} in structure 1 of the batch \(C2H2\).*auxiliary"
    ):
        exact(batch_of(water, line))


def test_positions_that_cannot_be_are_refused():
    exact = ECSE(pet()).double().eval()
    twice = batch_of(molecule("H2O"), molecule("CO2"))
    nowhere = batch_of(molecule("H2O"), molecule("CO2"))
    twice.pos[4] = twice.pos[5]
    nowhere.pos[3, 1] = float("nan")
    with pytest.raises(
        ValueError, match="Structure 1 of the batch has atoms 1 and 2 at the same position"
    ):
        exact(twice)
    with pytest.raises(ValueError, match="Structure 1 of the batch has a position that is NaN"):
        exact(nowhere)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_weights_that_make_no_mean_are_refused(bad):
    class Broken(Symmetrized):
        def frames(self, batch):
            eye = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
            return Frames(eye, torch.tensor([1.0, bad], dtype=torch.float64), torch.arange(2))

    with pytest.raises(
        ValueError, match=r"frames of structure 1 of the batch are not finite, positive"
    ):
        Broken(pet()).double().eval()(batch_of(molecule("H2O"), molecule("CO2")))


def test_what_the_backbone_does_not_take_is_refused_as_there():
    exact = ECSE(pet()).double().eval()
    batch = batch_of(rattled("H2O"))
    with pytest.raises(ValueError, match="PET takes no condition"):
        exact(batch, condition=torch.zeros(1, 16))
    with pytest.raises(ValueError, match="PET takes no force input"):
        exact(batch, force_input=torch.zeros(3, 3))
    direct = ECSE(pet(direct_forces=True, noise_head=False)).double().eval()
    with pytest.raises(ValueError, match="no noise head"):
        direct(batch, noise=True)
    known = ECSE(pet()).double().eval()
    known.model.trained_elements[[1, 6]] = True
    with pytest.raises(ValueError, match=r"trained on H, C only and cannot predict anything for O"):
        known(batch)


# -------------------------------------------------------------------------------------------------
# the auxiliary model


def shifted(store, level):
    """Energies moved by so much for each atom, eV."""
    batch = store.take(range(len(store)))
    energy = batch.energy.numpy() + level * store.n_atoms
    return scdlab.AtomStore.from_arrays(
        batch.z.numpy(),
        batch.pos.numpy(),
        batch.ptr.numpy(),
        energy=energy,
        forces=batch.forces.numpy(),
    )


def labeled(z, n=12):
    """n structures of one linear molecule, stretched: E = Σ z + 3 Σ (r - 1.2)², for the bonds r of
    neighbors."""
    structures = []
    for k, stretch in enumerate(np.linspace(-0.1, 0.1, n)):
        x = np.zeros((len(z), 3))
        x[:, 2] = np.arange(len(z)) * (1.2 + stretch)
        atoms = Atoms(z, x)
        atoms.rotate(37 * k, (1, 2, 3))
        e = float(sum(z)) + 3.0 * stretch**2 * (len(z) - 1)
        atoms.calc = SinglePointCalculator(atoms, energy=e, forces=np.zeros_like(x))
        structures.append(atoms)
    return scdlab.AtomStore.from_ase(structures)


def test_the_default_auxiliary_model_warns_when_only_the_model_was_trained():
    exact = ECSE(pet()).double().eval()
    batch = batch_of(molecule("CO2"), rattled("H2O"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody was trained, and nobody is blamed
        assert float(exact(batch).energy[0].detach()) == 0.0
        exact.model.trained_elements[[1, 6, 8]] = True
        exact.model.energy_head.reference[[6, 8]] = torch.tensor(
            [-10.0, -20.0], dtype=torch.float64
        )
        exact(batch_of(rattled("H2O")), forces=True)  # has frames
    with pytest.warns(
        UserWarning, match=r"structure 0 of the batch \(CO2\) are in line.*fit\(exact,"
    ):
        out = exact(batch, forces=True)
    assert float(out.energy[0].detach()) == -50.0
    assert float(out.forces[:3].abs().max()) == 0.0
    assert float(out.forces[3:].abs().max()) > 1e-3


def test_the_default_auxiliary_model_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(5)
    before = torch.rand(3)
    torch.manual_seed(5)
    ECSE(PET(hidden_channels=8, num_layers=1, num_heads=2).requires_grad_(False))
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), before)
    first, second = (ECSE(pet()).auxiliary.state_dict() for _ in range(2))
    assert all(torch.equal(x, second[name]) for name, x in first.items())


def test_a_trained_auxiliary_model_is_what_lines_have_for_an_energy():
    exact = ECSE(pet())
    ethanol = scdlab.load_ethanol().split(20, 0)[0]
    scdlab.fit(exact.model, EnergyForces(), ethanol, steps=2, batch_size=4, progress=False)
    scdlab.fit(
        exact.auxiliary,
        EnergyForces(energy_weight=1.0),
        labeled([8, 6, 8]),
        steps=10,
        lr=5e-3,
        progress=False,
    )
    exact.double().eval()
    told = exact.auxiliary
    batch = labeled([8, 6, 8]).take(range(4))
    batch.pos = batch.pos.double()
    alone = told(batch, forces=True)
    assert (alone.energy.detach() - batch.energy).abs().max() < 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = exact(batch, forces=True)
    same(out.energy, alone.energy, 1e-9)
    same(out.forces, alone.forces, 1e-9)
    ethanol = batch_of(rattled())
    framed = exact(ethanol).energy.detach() - exact.model(ethanol).energy.detach()
    assert (
        abs(float(framed)) < 50
    )  # with the references of the model, some thousands of eV, not of the auxiliary one


def test_an_auxiliary_model_of_ones_own_answers_for_all_there_is():
    exact = ECSE(pet(), auxiliary=transformer())
    for name, pool in dict(
        dipole="vector", alpha="tensor", gap="scalar_mean", pull="per_atom"
    ).items():
        exact.add_property(name, pool)
    exact.double().eval()
    line = batch_of(molecule("CO2"))
    out = exact(line, forces=True)
    told = exact.auxiliary(line, forces=True)
    same(out.energy, told.energy)
    same(out.forces, told.forces)
    same(out.noise, told.noise)
    same(out.atoms, exact.features(told.atoms))
    for name in ("dipole", "alpha", "gap"):
        same(out.properties[name], told.properties[name])


@pytest.mark.parametrize("local", [True, False])
def test_the_auxiliary_model_is_asked_about_those_who_need_it_alone(local):
    exact = ECSE(pet(), auxiliary=random(transformer()), local=local).eval()
    exact.auxiliary.trained_elements[[6, 8]] = True  # it has not met hydrogen
    both = exact(batch_of(rattled("H2O"), molecule("CO2"), rattled("H2O", seed=1)))
    alone = [
        exact(batch_of(one)) for one in (rattled("H2O"), molecule("CO2"), rattled("H2O", seed=1))
    ]
    same(both.energy, torch.cat([one.energy for one in alone]))
    same(both.atoms, torch.cat([one.atoms for one in alone]))


def test_an_auxiliary_model_that_learned_with_the_model_does_not_warn():
    exact = ECSE(pet())
    scdlab.fit(
        exact, EnergyForces(energy_weight=1.0), labeled([8, 6, 8]), steps=3, lr=5e-3, progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact.eval()(batch_of(molecule("CO2")))


@pytest.mark.parametrize("kind", ["scalar_sum", "scalar_mean", "vector"])
def test_a_trained_auxiliary_model_speaks_of_properties_in_its_own_units(kind):
    exact = ECSE(pet(), auxiliary=random(transformer())).double()
    exact.add_property("y", kind)
    for head, mean, std in (
        (exact.model.property_heads["y"], 3.0, 2.0),
        (exact.auxiliary.property_heads["y"], 5.0, 7.0),
    ):
        head.mean.fill_(mean), head.std.fill_(std)
    line = batch_of(molecule("CO2"), molecule("C2H2"))
    exact.eval().auxiliary.trained_elements[[1, 6, 8]] = True
    same(exact(line).properties["y"], exact.auxiliary(line).properties["y"])


def test_the_model_stays_as_it_was():
    """Its own settings have names that ours have too: PET has a width, the one of its cutoff."""
    net = pet().eval()
    batch = batch_of(rattled())
    before = dict(vars(net))
    state = {k: v.clone() for k, v in net.state_dict().items()}
    energy = net(batch).energy
    exact = ECSE(net, radius_width=0.3, beta=3.0, sin2_min=0.3)
    exact(batch, forces=True)
    assert {k: v for k, v in vars(net).items() if isinstance(v, float)} == {
        k: v for k, v in before.items() if isinstance(v, float)
    }
    assert net.state_dict().keys() == state.keys() and all(
        torch.equal(net.state_dict()[k], state[k]) for k in state
    )
    assert (
        torch.equal(net(batch).energy, energy)
        and exact.radius_width == 0.3
        and net.width == net.config["cutoff_width"]
    )


def test_numbers_of_atoms_that_do_not_turn_are_left_alone():
    net = schnet()
    batch = batch_of(rattled())
    net.add_property("q", "per_atom")
    same(ECSE(net).eval()(batch).properties["q"], net.eval()(batch).properties["q"], 1e-6)


@pytest.mark.parametrize("rows", [5, 20])
def test_a_condition_of_the_wrong_length_is_refused_as_there(rows):
    net = transformer(conditional=True)
    batch = batch_of(rattled(), rattled("H2O"))
    with pytest.raises(ValueError, match="condition"):
        ECSE(net)(batch, condition=torch.zeros(rows, net.hidden_channels))


def test_an_auxiliary_model_of_ones_own_must_know_what_the_model_knows():
    net = pet()
    net.add_property("g")
    exact = ECSE(net, auxiliary=transformer()).eval()
    assert exact(batch_of(molecule("CO2"))).properties["g"].shape == (1,)
    with pytest.raises(ValueError, match="auxiliary SchNet has no head"):
        ECSE(pet(noise_head=True), auxiliary=schnet())


def test_references_are_those_of_the_last_training():
    exact = ECSE(pet())
    for level in (-1000.0, -10.0):
        store = labeled([8, 6, 8])
        store = scdlab.AtomStore.concat([shifted(store, level), shifted(labeled([8, 1, 1]), level)])
        scdlab.fit(
            exact, EnergyForces(energy_weight=1.0, forces=False), store, steps=2, progress=False
        )
        assert scdlab.evaluate(exact, store, EnergyForces(forces=False))["energy_mae"] < 5
        exact.eval()(batch_of(molecule("H2")))  # of an element that only other structures have


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("local", [True, False])
def test_forces_without_a_graph_are_those_with_one(dtype, local):
    exact = ECSE(random(pet(num_layers=2)), local=local).to(dtype).eval()
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=0)
    batch = batch_of(rattled(), crystal, molecule("CO2"), rattled("H2O"))
    batch.pos = batch.pos.to(dtype)
    with torch.no_grad():
        without = exact(batch, forces=True).forces
    assert without.abs().max() > 0.1
    same(without, exact(batch, forces=True).forces, 1e-3 if dtype == torch.float32 else 1e-10)


def test_forces_without_a_graph_keep_nothing_of_the_copies(monkeypatch):
    """What is alive when a chunk begins does not grow with the chunks that went before."""
    alive = [0]
    at_start = []

    class Kept:
        def __init__(self, x):
            self.x = x
            self.size = x.numel()
            alive[0] += self.size

        def __del__(self):
            alive[0] -= self.size

    exact = ECSE(pet()).double().eval()
    batch = batch_of(rattled(), rattled(seed=1))
    represent = type(exact.model).represent

    def counted(self, *args, **kwargs):
        at_start.append(alive[0])
        return represent(self, *args, **kwargs)

    monkeypatch.setattr(type(exact.model), "represent", counted)
    monkeypatch.setattr("scdlab.symmetry.copies.CHUNK", 60)
    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.x):
        exact(batch, forces=True)
    assert len(at_start) > 15
    growth = (at_start[-1] - at_start[5]) / (len(at_start) - 6)
    assert (
        growth < 20 * 60 / 9
    )  # numbers for each frame of a chunk, of about 60 atoms; not for each atom, each pair


def test_it_is_in_the_mode_of_its_model_and_no_average_of_an_average():
    assert not ECSE(pet().eval()).training and ECSE(pet().train()).training
    with pytest.raises(ValueError, match="already"):
        ECSE(ECSE(pet()))


# --------------------------------------------------------------------------------------------------
# the signature


def generic():
    """Structures in which every atom has a frame."""
    return batch_of(rattled(), rattled("H2O", 1), rattled("CH3CONH2", 2))


EQUIVARIANT = {
    "SchNet": schnet,
    "EquivariantTransformer": transformer,
    "conditional": lambda: transformer(conditional=True),
    "DimeNet": dimenet,
    "direct forces": lambda: schnet(direct_forces=True),
}


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("make", EQUIVARIANT.values(), ids=EQUIVARIANT)
def test_a_model_that_is_equivariant_already_is_left_as_it_is(make, local):
    net = make()
    net.add_property("gap", "scalar_mean")
    if net.has_vectors:
        net.add_property("dipole", "vector")
        net.add_property("alpha", "tensor")
    exact = ECSE(net, local=local).double().eval()
    batch = generic()
    noise = not exact.direct_forces
    ours = exact(batch, forces=True, noise=noise)
    plain = net(batch, forces=True, noise=noise)
    for name in ("energy", "forces", "noise", "atoms", "embedding"):
        if getattr(plain, name) is not None:
            same(getattr(ours, name), getattr(plain, name))
    assert {*ours.properties} == {*plain.properties}
    for name, x in plain.properties.items():
        same(ours.properties[name], x)
        same(ours.per_atom[name], plain.per_atom[name])


def test_noise_is_given_when_asked_for_or_when_there_is_a_head():
    batch = generic()
    with_head = ECSE(pet()).double().eval()
    without = ECSE(schnet()).double().eval()
    assert with_head(batch).noise.shape == batch.pos.shape
    assert with_head(batch, noise=False).noise is None and with_head(batch).forces is None
    assert without(batch).noise is None
    without.model.energy_head.scale.fill_(0.25)
    out = without(batch, forces=True, noise=True)
    same(out.noise, -out.forces / 0.25)


def test_a_condition_is_passed_on_of_structures_and_of_atoms():
    net = transformer(conditional=True)
    exact = ECSE(net).double().eval()
    batch = generic()
    gen = torch.Generator().manual_seed(0)
    base = exact(batch).energy
    for rows in (batch.num_graphs, len(batch.z)):
        condition = torch.randn(rows, net.hidden_channels, generator=gen, dtype=torch.float64)
        ours, plain = (m(batch, condition=condition, forces=True) for m in (exact, net))
        for name in ("energy", "forces", "noise", "embedding"):
            same(getattr(ours, name), getattr(plain, name))
        assert (ours.energy - base).abs().min() > 1e-6


def test_a_clue_is_turned_into_the_frames():
    net = transformer(force_input=True)
    exact = ECSE(net).double().eval()
    batch = generic()
    force_input = torch.randn(
        batch.pos.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    force_input[::2] = 0.0
    ours, plain = (m(batch, force_input=force_input, forces=True) for m in (exact, net))
    for name in ("energy", "forces", "noise"):
        same(getattr(ours, name), getattr(plain, name))
    assert (ours.energy - exact(batch).energy).abs().min() > 1e-6


def test_direct_forces_of_a_plain_model_turn():
    exact = ECSE(pet(direct_forces=True)).double().eval()
    batch = generic()
    q = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )[0]
    other = batch.clone()
    other.pos = batch.pos @ q.T
    a = exact(batch, forces=True)
    b = exact(other, forces=True)
    same(b.forces @ q, a.forces)
    assert a.forces.abs().max() > 1e-2
    line = exact(batch_of(molecule("CO2")), forces=True).forces
    assert line.shape == (3, 3) and line.isfinite().all()


def test_means_and_spreads_of_properties_count_once():
    exact = ECSE(pet())
    head = exact.add_property("gap", "scalar_mean")
    head.mean.fill_(5.0)
    head.std.fill_(2.0)
    exact.double().eval()
    batch = generic()
    out = exact(batch)
    mean = torch.stack(
        [x.mean() for x in out.per_atom["gap"].double().split(batch.ptr.diff().tolist())]
    )
    same(out.properties["gap"], 5.0 + 2.0 * mean)
    assert out.per_atom["energy"].dtype == out.energy.dtype == torch.float64


def test_a_model_in_float32_is_exact_to_float32():
    exact = ECSE(pet(num_layers=2), auxiliary=transformer()).eval()
    batch = generic()
    single = exact(batch, forces=True)
    double = exact.double()(batch, forces=True)
    assert single.forces.dtype == torch.float32 and single.energy.dtype == torch.float64
    same(single.energy, double.energy, 1e-5)
    same(single.forces.double(), double.forces, 1e-4)


def test_the_callers_batch_stays_as_it_is():
    exact = ECSE(pet()).double().eval()
    batch = generic()
    before = batch.clone()
    exact(batch, forces=True)
    assert {*batch.keys()} == {*before.keys()} and not batch.pos.requires_grad
    assert torch.equal(batch.pos, before.pos)


# --------------------------------------------------------------------------------------------------
# delegation


def test_what_the_model_has_is_reached_through_it():
    exact = ECSE(transformer(drop_path=0.1, conditional=True))
    exact.drop_path = 0.3
    exact.filter_table_size = 64
    exact.units = {"gap": "eV"}
    assert (exact.model.drop_path, exact.model.filter_table_size) == (0.3, 64)
    assert exact.drop_path == 0.3 and exact.cutoff == 3.5 and exact.n_hops == exact.model.n_hops
    assert (
        exact.mask_token is exact.model.mask_token and exact.energy_head is exact.model.energy_head
    )
    assert (
        exact.trained_elements is exact.model.trained_elements
        and exact.hidden_channels == exact.model.hidden_channels
    )
    exact.group = "SO(3)"
    assert exact.group == "SO(3)" and not hasattr(exact.model, "group")
    with pytest.raises(ValueError, match="8 cells or more"):
        exact.filter_table_size = 3
    with pytest.raises(AttributeError, match="no_such_thing"):
        exact.no_such_thing  # noqa: B018
    assert not ECSE(pet()).augment and pet().augment  # what is exact needs no turned examples
    names = {name.split(".")[0] for name, _ in exact.named_parameters()}
    assert names == {"model", "auxiliary", "features"}


def test_a_property_is_given_to_both_models():
    exact = ECSE(pet())
    exact.add_property("dipole", "vector")
    exact.add_property("pull", "per_atom")
    assert {name: h.kind for name, h in exact.auxiliary.property_heads.items()} == {
        "dipole": "vector",
        "pull": "vector",
    }
    late = ECSE(exact.model)
    assert {*late.auxiliary.property_heads} == {"dipole", "pull"}
    with pytest.raises(ValueError, match="has a head for 'dipole'"):
        exact.add_property("dipole", "scalar_mean")


def test_it_is_trained_as_any_model():
    exact = ECSE(pet())
    result = scdlab.fit(
        exact,
        EnergyForces(),
        scdlab.load_ethanol().split(8, 0)[0],
        steps=6,
        batch_size=4,
        lr=5e-3,
        ema_decay=None,
        progress=False,
        log_every=1,
    )
    assert bool(exact.model.trained_elements[[1, 6, 8]].all())
    assert all(np.isfinite(x) for x in result.history["loss"])
    first, last = (np.mean(result.history["loss"][k]) for k in (slice(0, 2), slice(-2, None)))
    assert last < first


# -------------------------------------------------------------------------------------------------
# fields of the atoms


def walked(batch, pairs, center, n_hops):
    """Nodes (atom, image) within so many steps of an atom, by walking: {node: steps}."""
    edges = {}
    shifts = (
        [(0, 0, 0)] * len(pairs)
        if pairs.shift is None
        else [tuple(map(round, s)) for s in pairs.shift.tolist()]
    )
    for i, j, s in zip(pairs.i.tolist(), pairs.j.tolist(), shifts, strict=True):
        edges.setdefault(i, []).append((j, s))
        edges.setdefault(j, []).append((i, tuple(-x for x in s)))
    steps = {(center, (0, 0, 0)): 0}
    level = [(center, (0, 0, 0))]
    while level and (n_hops is None or steps[level[0]] < n_hops):
        reached = []
        for atom, image in level:
            for other, s in edges.get(atom, []):
                node = (other, tuple(a + b for a, b in zip(image, s, strict=True)))
                if node not in steps:
                    steps[node] = steps[atom, image] + 1
                    reached.append(node)
        level = reached
    return steps, edges


FIELDS = {
    "molecules": lambda: batch_of(
        rattled(), molecule("CO2"), Atoms("O"), Atoms("HH", [[0, 0, 0], [0, 0, 9.0]])
    ),
    "crystal": lambda: batch_of(rattled(bulk("MgO", "rocksalt", a=4.2))),
    "sheet and molecule": lambda: batch_of(
        Atoms(
            "BN",
            [[0, 0, 0], [1.25, 0.72, 0.2]],
            cell=[[2.5, 0, 0], [1.25, 2.165, 0], [0, 0, 0]],
            pbc=[1, 1, 0],
        ),
        rattled("H2O"),
    ),
}


@pytest.mark.parametrize("n_hops", [0, 1, 2, 3, None])
@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_what_a_walk_finds(name, n_hops):
    batch = FIELDS[name]()
    pairs = neighbor_list(batch, 2.4)
    if n_hops is None and name != "molecules":
        with pytest.raises(ValueError, match="attribute `n_hops`"):
            receptive_fields(batch, pairs, n_hops)
        return
    fields = receptive_fields(batch, pairs, n_hops)
    image = (
        torch.zeros(len(fields.atom), 3, dtype=torch.long) if fields.image is None else fields.image
    )
    nodes = list(zip(fields.atom.tolist(), map(tuple, image.tolist()), strict=True))
    for center in range(len(batch.z)):
        steps, edges = walked(batch, pairs, center, n_hops)
        start, end = fields.ptr[center : center + 2].tolist()
        mine = dict(zip(nodes[start:end], fields.hop[start:end].tolist(), strict=True))
        assert mine == steps and len(mine) == end - start
        assert (
            nodes[start] == (center, (0, 0, 0)) and fields.structure[center] == batch.batch[center]
        )
        first, last = fields.pair_ptr[center : center + 2].tolist()
        ends = zip(fields.i[first:last].tolist(), fields.j[first:last].tolist(), strict=True)
        found = [frozenset((nodes[a], nodes[b])) for a, b in ends]
        needed = set()  # pairs with an end that passes on what it hears
        for (atom, at), far in steps.items():
            if n_hops is None or far < n_hops:
                for other, s in edges.get(atom, []):
                    needed.add(
                        frozenset(
                            ((atom, at), (other, tuple(a + b for a, b in zip(at, s, strict=True))))
                        )
                    )
        assert len(found) == len(set(found)) and set(found) == needed


class InFields(Symmetrized):
    """No frames but the axes of space, one for each atom: the model on the fields of atoms, of so
    many hops."""

    def __init__(self, model, n_hops):
        super().__init__(model)
        self.reach = n_hops

    def frames(self, batch):
        n = len(batch.z)
        eye = torch.eye(3, dtype=torch.float64).expand(n, 3, 3)
        return Frames(eye, torch.ones(n, dtype=torch.float64), torch.arange(n))

    def clusters(self, batch, pairs):
        return receptive_fields(batch, pairs, self.reach)


BACKBONES = {
    "SchNet": lambda: schnet(cutoff=2.4),
    "SchNet, direct forces": lambda: schnet(cutoff=2.4, direct_forces=True),
    "EquivariantTransformer": lambda: transformer(cutoff=2.4, num_layers=2),
    "DimeNet": lambda: random(dimenet(cutoff=2.4)),
    "TensorProductNet": lambda: random(
        TensorProductNet(hidden_channels=8, num_layers=2, lmax=1, num_rbf=4, cutoff=2.4)
    ),
    "PET": lambda: pet(cutoff=2.4, num_layers=2, direct_forces=True),
    "PET, three layers": lambda: pet(cutoff=2.4, num_layers=3),
    "OfficialCT": lambda: random(
        OfficialCT(
            emb_dim=8, num_layers=2, num_heads=2, num_rbf=6, inv_post_norm=True, cutoff_upper=2.4
        )
    ),
}


@pytest.mark.parametrize("make", BACKBONES.values(), ids=BACKBONES)
def test_an_atom_feels_as_far_as_its_model_says_and_no_less_far(make):
    """A crooked chain, in which who is k neighbors away is k bonds away; and a periodic one."""
    net = make().double().eval()
    x = np.array([[1.25 * k, 0.5 * (-1) ** k, 0.1 * k * k % 0.7] for k in range(12)])
    chain = Atoms("CNOF" * 3, x)
    ring = Atoms("CNO", x[:3], cell=[4.0, 0, 0], pbc=[True, False, False])
    assert neighbor_list(batch_of(chain), 2.4).i.tolist() == list(range(11))
    for batch in (batch_of(chain), batch_of(ring)):
        whole = net(batch, forces=True)
        part = InFields(net, net.n_hops)(batch, forces=True)
        for name in ("energy", "forces", "noise"):
            if getattr(whole, name) is not None:
                same(getattr(part, name), getattr(whole, name))
        same(part.per_atom["energy"], whole.per_atom["energy"])
    nearer, whole = (m(batch_of(chain), forces=True) for m in (InFields(net, net.n_hops - 1), net))
    off = [
        (nearer.per_atom["energy"] - whole.per_atom["energy"]).abs().max(),
        (nearer.forces - whole.forces).abs().max(),
    ]
    assert max(x.item() for x in off) > 1e-11, "hops is larger than it need be"


def test_a_backbone_without_hops_sees_all_that_is_connected():
    class Endless(AtomisticModel):
        """Messages travel on until every connected atom has been heard."""

        linear = True

        def represent(self, batch, pairs, condition=None, vectors=False):
            r = pairs.vectors(batch.pos, batch)
            x = torch.zeros(len(batch.z), 3, dtype=r.dtype)
            for _ in range(len(batch.z)):
                x = torch.tanh(
                    x.index_add(0, pairs.i, 0.5 * x[pairs.j] + r).index_add(
                        0, pairs.j, 0.5 * x[pairs.i] - r
                    )
                )
            return Features(x)

    torch.manual_seed(0)
    net = Endless(3, 2.0).double().eval()
    batch = batch_of(rattled(), rattled("CH3OH"))
    same(
        InFields(net, net.n_hops)(batch).per_atom["energy"].shape,
        net(batch).per_atom["energy"].shape,
    )
    clusters = ECSE(net).clusters(batch, neighbor_list(batch, 2.0))
    assert clusters.ptr.diff().tolist() == [9] * 9 + [6] * 6
