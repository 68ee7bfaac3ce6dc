"""Turned structures: uniform rotations, labels that turn along, and training that can be
repeated."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from helpers import seeded

import scdlab
from scdlab.atoms import AtomStore
from scdlab.atoms.neighbors import neighbor_list
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.nn.model import Prediction
from scdlab.objectives import EnergyForces, PropertyRegression
from scdlab.objectives.augment import random_rotate, random_rotations
from scdlab.training.loop import Run


def dipoles(n=40, seed=0):
    """Shaken water with charges of -2 and +1 e: energy, forces and dipole moments of the same
    structures."""
    rng = np.random.default_rng(seed)
    water = molecule("H2O")
    pos = water.positions + rng.normal(0, 0.1, (n, 3, 3))
    charge = np.array([-2.0, 1.0, 1.0])
    return AtomStore.from_arrays(
        np.tile(water.numbers, n),
        pos.reshape(-1, 3),
        np.arange(0, 3 * n + 1, 3),
        energy=rng.normal(size=n),
        forces=rng.normal(size=(3 * n, 3)),
        properties={"dipole": np.einsum("a,nai->ni", charge, pos), "mu": rng.random(n)},
        atom_properties={"spin": rng.normal(size=(3 * n, 3))},
        meta={"units": {"dipole": "e Å"}},
    )


@pytest.fixture(scope="module")
def store():
    return dipoles()


def small(cls=scdlab.SchNet, **settings):
    torch.manual_seed(0)
    return cls(**{"hidden_channels": 8, "num_layers": 1, "num_rbf": 8, **settings})


def painn():
    return small(scdlab.EquivariantTransformer, num_heads=2)


# --------------------------------------------------------------------------------------------------
# rotations


def test_rotations_are_uniform():
    rotations = random_rotations(20_000, seeded())  # (n, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).double().expand_as(rotations))
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(20_000).double())
    # standard errors: √(1/3n) = 0.004 of R_ij, 0.002 of its square
    assert (
        rotations.mean(0).abs().max() < 0.02
        and (rotations.square().mean(0) - 1 / 3).abs().max() < 0.01
    )
    trace = rotations.diagonal(dim1=1, dim2=2).sum(
        1
    )  # a character of SO(3): its mean is 0, that of its square is 1
    assert trace.mean().abs() < 0.03 and trace.square().mean() == pytest.approx(1.0, abs=0.05)


def test_each_structure_turns_as_a_whole_and_by_its_own_rotation(store):
    batch = store.take(range(40))
    before = {name: batch[name].clone() for name in batch.keys()}  # noqa: SIM118 (a batch iterates over its fields)
    turned = random_rotate(batch, seeded())
    for name, value in before.items():
        assert torch.equal(batch[name], value) and turned[name].dtype == value.dtype, name
        assert torch.equal(turned[name], value) == (name not in ("pos", "forces", "dipole")), name
    frames = torch.cat(
        [batch.pos.view(40, 3, 3).double(), batch.forces.view(40, 3, 3).double()], 1
    )  # six vectors each
    new = torch.cat([turned.pos.view(40, 3, 3).double(), turned.forces.view(40, 3, 3).double()], 1)
    rotation = torch.linalg.lstsq(frames, new).solution.mT  # the one linear map that explains them
    torch.testing.assert_close(frames @ rotation.mT, new, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        rotation @ rotation.mT, torch.eye(3).double().expand_as(rotation), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        (rotation @ batch.dipole[:, :, None])[:, :, 0], turned.dipole, rtol=0, atol=1e-5
    )
    assert (rotation[1:] - rotation[:-1]).flatten(1).norm(dim=1).min() > 1e-2


@pytest.mark.parametrize("inversion, share", [(True, 0.5), (False, 0.0)])
def test_half_of_the_structures_are_mirrored_where_asked_for(inversion, share):
    many = AtomStore.concat([dipoles(50)] * 40).take(
        range(2000)
    )  # water is flat, but its forces are not
    signs = [
        torch.linalg.det(b.forces.view(-1, 3, 3)).sign()
        for b in (many, random_rotate(many, seeded(1), inversion))
    ]
    flipped = (signs[0] != signs[1]).double()
    assert flipped.mean() == pytest.approx(
        share, abs=0.05 if share else 1e-3
    )  # standard error 0.011


def test_the_same_generator_turns_the_same_way(store):
    batch = store.take(range(5))
    one, two, other = (random_rotate(batch, seeded(k)) for k in (3, 3, 4))
    assert torch.equal(one.pos, two.pos) and torch.equal(one.dipole, two.dipole)
    assert not torch.equal(one.pos, other.pos)


def distances(batch):
    """Of all pairs within 5 Å, sorted. Beyond 4.9 Å a pair may be in or out by rounding."""
    r = neighbor_list(batch, 5.0).vectors(batch.pos, batch).norm(dim=1).sort().values
    return r[r < 4.9]


def test_neighbors_in_a_turned_crystal_are_as_far_as_before():
    sheet = Atoms("Cu", cell=[3.0, 3.5, 0], pbc=[True, True, False])
    batch = AtomStore.from_ase([bulk("Cu") * (2, 1, 1), bulk("Zn"), molecule("CH4"), sheet]).take(
        range(4)
    )
    before = distances(batch)
    mirrored = set()
    assert len(before) > 50
    for seed in range(5):
        turned = random_rotate(batch, seeded(seed))
        assert torch.equal(turned.pbc, batch.pbc) and turned.cell.dtype == torch.float32
        assert (turned.cell[:2] - batch.cell[:2]).abs().amax((1, 2)).min() > 0.1
        mirrored |= set(
            (torch.linalg.det(turned.cell[:2]) / torch.linalg.det(batch.cell[:2])).sign().tolist()
        )
        torch.testing.assert_close(distances(turned), before, rtol=0, atol=1e-4)
    assert mirrored == {1.0, -1.0}


# --------------------------------------------------------------------------------------------------
# losses


@pytest.mark.parametrize(
    "objective", [EnergyForces(), PropertyRegression("dipole", "vector")], ids=repr
)
def test_the_loss_of_an_equivariant_network_stays(store, objective):
    model = painn().double()
    batch = store.take(range(20))
    objective.prepare(model, store)
    with torch.no_grad():
        before, after = (
            float(objective(model, each)[0]) for each in (batch, random_rotate(batch, seeded(5)))
        )
    assert after == pytest.approx(before, rel=1e-5) and before > 0


class Moments:
    """Dipole moments of half the charges in `dipoles`; its axes of space may be longer than
    others."""

    def __init__(self, *axes):
        self.axes = torch.tensor(axes)
        self.property_heads = {"dipole": SimpleNamespace(std=1.0)}

    def __call__(self, batch, noise):
        charge = torch.where(batch.z == 8, -1.0, 0.5)
        return Prediction(
            properties={"dipole": self.axes * sum_over_atoms(charge[:, None] * batch.pos, batch)}
        )


def test_labels_turn_along_and_a_model_that_knows_an_axis_is_told_by_its_loss(store):
    objective = PropertyRegression("dipole", "vector")
    batch = store.take(range(20))
    turned = random_rotate(batch, seeded(5))
    left = random_rotate(batch, seeded(5))
    left.dipole = batch.dipole
    before, after, wrong = (
        float(objective(Moments(1.0, 1.0, 1.0), each)[0]) for each in (batch, turned, left)
    )
    assert before == pytest.approx(after, rel=1e-5) and wrong > 2 * before
    before, after = (float(objective(Moments(1.0, 2.0, 3.0), each)[0]) for each in (batch, turned))
    assert abs(after - before) > 0.1 * before


def test_vectors_are_learned_by_their_components(store):
    train = store[:30]
    objective = PropertyRegression("dipole", "vector")
    model = painn()
    objective.prepare(model, train)
    head = model.property_heads["dipole"]
    y = torch.from_numpy(train.property("dipole"))
    assert float(head.mean) == 0 and float(head.std) == pytest.approx(
        float(y.square().mean().sqrt())
    )
    assert model.units == {"dipole": "e Å"}
    batch = train.take(range(30))
    with torch.no_grad():
        error = model(batch).properties["dipole"] - batch.dipole
        loss, parts = objective(model, batch)
    assert float(loss) == pytest.approx(float((error / head.std).square().mean()))
    assert float(parts["dipole_mae"]) == pytest.approx(float(error.abs().mean()))
    before = scdlab.evaluate(model, store[30:])["dipole_mae"]
    scdlab.fit(model, objective, train, steps=60, batch_size=10, lr=1e-2, progress=False)
    assert scdlab.evaluate(model, store[30:])["dipole_mae"] < 0.5 * before


def test_vectors_that_cannot_be_learned_are_named(store):
    with pytest.raises(
        ValueError, match=r"'dipole' is a vector.*PropertyRegression\('dipole', 'vector'\)"
    ):
        PropertyRegression("dipole").prepare(painn(), store)
    numbers = AtomStore.concat([store])
    numbers._names = ("dipole",)
    numbers._vectors = ()
    model = painn()
    PropertyRegression("dipole").prepare(model, numbers)
    with pytest.raises(ValueError, match="gives 'dipole' as a number, and the labels are vectors"):
        scdlab.evaluate(model, store)
    gone = AtomStore.concat([store])
    gone._arrays["vectors"][4, 0, 1] = np.nan
    remedy = r"np\.isfinite\(store\.property\('dipole'\)\)\.all\(1\)"
    for refused in (
        lambda: PropertyRegression("dipole", "vector").prepare(painn(), gone),
        lambda: scdlab.fit(
            painn(), PropertyRegression("dipole", "vector"), gone, steps=1, progress=False
        ),
    ):
        with pytest.raises(
            ValueError, match=rf"1 of 40 structures have no 'dipole' .*number 4.*{remedy}"
        ):
            refused()
    kept = gone[np.isfinite(gone.property("dipole")).all(1)]
    PropertyRegression("dipole", "vector").prepare(painn(), kept)
    assert len(kept) == 39


# --------------------------------------------------------------------------------------------------
# training


class Asking(scdlab.SchNet):
    """A model that wants its structures turned."""

    augment = True


def quick(model, store, **settings):
    settings = dict(steps=12, batch_size=8, lr=2e-3, progress=False, val_every=4) | settings
    return scdlab.fit(model, EnergyForces(), store[:30], store[30:], **settings)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def recorded(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))["settings"]["augment"]


@pytest.mark.slow
def test_models_that_ask_are_shown_turned_structures_in_training_alone(
    store, tmp_path, monkeypatch
):
    turns = []
    module = sys.modules["scdlab.training.loop"]

    def spy(batch, generator, inversion):
        turns.append(inversion)
        return random_rotate(batch, generator, inversion)

    monkeypatch.setattr(module, "random_rotate", spy)
    for cls, asked, expected in (
        (scdlab.SchNet, "auto", None),
        (Asking, "auto", "O(3)"),
        (Asking, None, None),
        (scdlab.SchNet, "rotations", "rotations"),
        (scdlab.SchNet, "O(3)", "O(3)"),
    ):
        quick(small(cls), store, augment=asked, out=tmp_path)
        assert recorded(tmp_path) == expected
        assert turns == ([] if expected is None else 12 * [expected == "O(3)"])
        turns.clear()
    with pytest.raises(
        ValueError, match="augment must be 'auto', 'rotations' or 'O\\(3\\)', got 'mirror'"
    ):
        quick(small(), store, augment="mirror")


def test_a_resumed_run_turns_alike_and_another_setting_is_refused(store, tmp_path, monkeypatch):
    straight = small(Asking)
    quick(straight, store)
    advance = Run.advance

    def die(self):
        if self.state.step == 7:
            raise RuntimeError("the power went off")
        return advance(self)

    monkeypatch.setattr(Run, "advance", die)
    with pytest.raises(RuntimeError, match="power"):
        quick(small(Asking), store, out=tmp_path, checkpoint_every=3)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"augment='O\(3\)', and this run has augment='rotations'"):
        quick(small(Asking), store, out=tmp_path, resume=True, augment="rotations")
    resumed = small(Asking)
    quick(resumed, store, out=tmp_path, resume=True)
    assert torch.equal(weights(straight), weights(resumed))


def test_a_run_is_not_resumed_with_another_augmentation(store, tmp_path):
    quick(small(), store, out=tmp_path)
    assert quick(small(), store, out=tmp_path, resume=True).steps == 12
    with pytest.raises(ValueError, match=r"augment=None, and this run has augment='O\(3\)'"):
        quick(small(), store, out=tmp_path, resume=True, augment="O(3)")
