"""Fine-tuning: a pretrained model, a new head, two learning rates, what is annealed, and units at
the end."""

import ase.build
import numpy as np
import pytest
import torch

import scdlab
from scdlab.objectives import (
    CoordinateDenoising,
    EnergyForces,
    PropertyRegression,
    SelfConditionedDenoising,
)
from scdlab.training.loop import Run

PRETRAIN = dict(steps=6, batch_size=8, progress=False)
TUNE = dict(steps=8, batch_size=8, progress=False, log_every=1, val_every=4)
RATES = {"head": 1e-2, "backbone": 1e-4}


@pytest.fixture(scope="module")
def molecules():
    return scdlab.load_qm9(limit=80)[20:].split(40, 10, seed=0)


@pytest.fixture(scope="module")
def pretrained(molecules, tmp_path_factory):
    """A transformer after a few steps of denoising, as `fit` leaves it on disk."""
    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(hidden_channels=16, num_layers=2, num_heads=2, num_rbf=8)
    out = tmp_path_factory.mktemp("pretrained")
    scdlab.fit(model, CoordinateDenoising(), molecules[0], out=out, **PRETRAIN)
    return out / "model"


def parts(model, name="homo"):
    """The weights of the property's head, and all others."""
    state = {k: p.detach().clone() for k, p in model.named_parameters()}
    head = {k: p for k, p in state.items() if k.startswith(f"property_heads.{name}.")}
    return head, {k: p for k, p in state.items() if k not in head}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow
def test_fine_tuning_in_three_lines(pretrained, molecules, tmp_path):
    train, val, test = molecules
    model = scdlab.load(pretrained)
    result = scdlab.fit(
        model,
        PropertyRegression("homo"),
        train,
        val,
        lr=RATES,
        out=tmp_path,
        **TUNE | {"steps": 60},
    )
    errors = scdlab.evaluate(model, test)
    assert errors.keys() == {"homo_mae"} and result.best is not None
    history = result.history
    assert history["lr_head"] == pytest.approx([100 * lr for lr in history["lr"]])
    assert (
        max(history["lr"]) == pytest.approx(1e-4) and history["loss"][-1] < 0.7 * history["loss"][0]
    )
    # one pass, without noise or condition, in the unit of the labels
    batch = test.take(range(len(test)))
    again = scdlab.load(tmp_path / "model")
    assert model.units == again.units == {"homo": "eV"}
    homo = again(batch).properties["homo"]
    assert float((homo - batch.homo).detach().abs().mean()) == pytest.approx(
        errors["homo_mae"], rel=1e-6
    )


def test_the_head_alone_is_new_and_learns_alone_when_the_body_has_no_rate(pretrained, molecules):
    before = parts(scdlab.load(pretrained))[1]
    model = scdlab.load(pretrained)
    PropertyRegression("homo").prepare(model, molecules[0])
    assert equal(parts(model)[1], before)
    head = parts(model)[0]
    scdlab.fit(
        model, PropertyRegression("homo"), molecules[0], lr={"head": 1e-2, "backbone": 0}, **TUNE
    )
    assert equal(parts(model)[1], before)
    assert not any(torch.equal(head[k], p) for k, p in parts(model)[0].items())


def test_equal_rates_for_head_and_body_are_one_rate(pretrained, molecules):
    one = scdlab.load(pretrained)
    two = scdlab.load(pretrained)
    scdlab.fit(one, PropertyRegression("homo"), molecules[0], lr=1e-3, **TUNE)
    scdlab.fit(
        two, PropertyRegression("homo"), molecules[0], lr={"head": 1e-3, "backbone": 1e-3}, **TUNE
    )
    assert equal({**parts(one)[0], **parts(one)[1]}, {**parts(two)[0], **parts(two)[1]})


def test_the_energy_head_has_a_rate_of_its_own_too():
    train = scdlab.load_ethanol()[:20]
    torch.manual_seed(0)
    model = scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    scdlab.fit(model, EnergyForces(), train, lr={"head": 1e-2, "backbone": 0}, **TUNE)
    moved = {k for k, p in model.named_parameters() if not torch.equal(before[k], p)}
    assert moved and all(k.startswith("energy_head.") for k in moved)


def test_a_resumed_run_keeps_both_rates_and_what_is_annealed(
    pretrained, molecules, tmp_path, monkeypatch
):
    train, val, _ = molecules
    objective = CoordinateDenoising(sigma=0.005, supervised=PropertyRegression("homo"), weight=0.1)
    settings = TUNE | dict(lr=RATES, anneal={"weight": (0.2, 0.0)}, weight_decay=0.01)
    straight = scdlab.load(pretrained)
    resumed = scdlab.load(pretrained)
    scdlab.fit(straight, objective, train, val, out=tmp_path / "a", **settings)
    advance = Run.advance

    def die(self):
        if self.state.step == 5:
            raise RuntimeError("the power went off")
        return advance(self)

    monkeypatch.setattr(Run, "advance", die)
    with pytest.raises(RuntimeError, match="power"):
        scdlab.fit(scdlab.load(pretrained), objective, train, val, out=tmp_path / "b", **settings)
    assert objective.weight == 0.1
    monkeypatch.undo()
    scdlab.fit(resumed, objective, train, val, out=tmp_path / "b", resume=True, **settings)
    assert equal(
        {**parts(straight)[0], **parts(straight)[1]}, {**parts(resumed)[0], **parts(resumed)[1]}
    )
    changes = [
        ("lr", {"head": 1e-2, "backbone": 1e-3}),
        ("lr", 1e-2),
        ("anneal", None),
        ("anneal", {"weight": (0.2, 0.1)}),
    ]
    for name, value in changes:
        model = scdlab.load(pretrained)
        other = settings | {name: value}
        with pytest.raises(ValueError, match=f"{name}=.*resume with the same settings"):
            scdlab.fit(model, objective, train, val, out=tmp_path / "b", resume=True, **other)


@pytest.mark.parametrize(
    "anneal, expected", [(None, [0.1] * 8), ({"weight": (0.7, 0.0)}, np.linspace(0.7, 0, 8))]
)
def test_auxiliary_denoising_keeps_its_weight_or_fades(pretrained, molecules, anneal, expected):
    seen = []

    class Watched(CoordinateDenoising):
        def __call__(self, model, batch, generator=None):
            loss, found = super().__call__(model, batch, generator)
            seen.append((model.training, self.weight))
            return loss, found

    objective = Watched(sigma=0.005, supervised=PropertyRegression("homo"), weight=0.1)
    model = scdlab.load(pretrained)
    result = scdlab.fit(model, objective, molecules[0], molecules[1], anneal=anneal, **TUNE)
    assert [weight for training, weight in seen if training] == pytest.approx(list(expected))
    assert {weight for training, weight in seen if not training} == {
        expected[-1]
    }  # validations compare
    assert objective.weight == 0.1
    assert {"loss", "homo_mae", "noise_mse", "val_homo_mae"} <= result.history.keys()


def test_the_loss_is_the_main_one_plus_its_weight_times_the_denoising_one(pretrained, molecules):
    model = scdlab.load(pretrained)
    batch = molecules[0].take(range(8))
    main = PropertyRegression("homo")
    main.prepare(model, molecules[0])

    def loss(weight):
        objective = CoordinateDenoising(sigma=0.005, supervised=main, weight=weight)
        loss, parts = objective(model, batch, torch.Generator().manual_seed(0))
        return loss.detach(), parts

    (none, parts_of), (some, _) = loss(0.0), loss(0.1)
    assert float(some) == pytest.approx(float(none) + 0.1 * float(parts_of["noise_mse"]), rel=1e-5)


def test_drop_path_changes_evenly_and_is_put_back(pretrained, molecules):
    seen = []

    class Watched(PropertyRegression):
        def __call__(self, model, batch, generator=None):
            seen.append(model.drop_path)
            return super().__call__(model, batch, generator)

    model = scdlab.load(pretrained)
    model.drop_path = 0.05
    scdlab.fit(model, Watched("homo"), molecules[0], anneal={"drop_path": (0.15, 0.1)}, **TUNE)
    assert seen == pytest.approx(list(np.linspace(0.15, 0.1, 8))) and model.drop_path == 0.05


def test_a_subclass_that_fixes_its_arguments_has_drop_path_to_change(molecules):
    class Small(scdlab.EquivariantTransformer):
        def __init__(self):
            super().__init__(hidden_channels=8, num_layers=1, num_heads=2, num_rbf=8)

    model = Small()
    objective = PropertyRegression("homo")
    scdlab.fit(model, objective, molecules[0], anneal={"drop_path": (0.2, 0.1)}, **TUNE)
    assert model.drop_path == 0.0 and "drop_path" not in model.config


@pytest.mark.parametrize(
    "settings, named",
    [
        (dict(anneal={"drop_path": (0.1, 0.0)}), r"drop_path.*SchNet.*EquivariantTransformer"),
        (dict(anneal={"wieght": (0.1, 0.0)}), r"'wieght'.*PropertyRegression"),
        (dict(anneal={"name": (0.1, 0.0)}), r"'name'.*no such number"),
        (
            dict(objective=CoordinateDenoising(), anneal={"weight": (0.1, -1.0)}),
            "weight.*at least 0",
        ),
        (dict(objective=CoordinateDenoising(), anneal={"weight": (0.1,)}), "first and at the last"),
        (dict(lr={"head": 1e-3}), '"head".*"backbone"'),
        (dict(lr={"head": 1e-3, "backbone": -1e-3}), "each a number of at least 0"),
        (dict(lr={"head": 0, "backbone": 0}), "lr must be above 0"),
        (dict(objective=CoordinateDenoising(), lr=RATES), "no labels"),
    ],
)
def test_impossible_settings_are_named_before_anything_is_written(
    molecules, tmp_path, settings, named
):
    settings = {"objective": PropertyRegression("homo")} | settings
    model = scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)
    with pytest.raises(ValueError, match=named):
        scdlab.fit(model, train=molecules[0], out=tmp_path / "out", **TUNE | settings)
    assert not (tmp_path / "out").exists()


def test_a_label_that_is_missing_for_some_molecules_is_named():
    rng = np.random.default_rng(0)
    gap = np.array([1.0, 2.0, np.nan, 4.0, np.nan])
    arrays = np.ones(10), rng.normal(size=(10, 3)), np.arange(0, 11, 2)
    store = scdlab.AtomStore.from_arrays(*arrays, properties={"gap": gap})
    model = scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)
    objective = PropertyRegression("gap")
    known = store[np.isfinite(store.property("gap"))]
    with pytest.raises(
        ValueError, match=r"2 of 5 structures have no 'gap' \(number 2, 4\).*isfinite"
    ):
        scdlab.fit(model, objective, store, **TUNE)
    with pytest.raises(
        ValueError, match=r"1 of 2 structures have no 'gap' \(number 4\)"
    ):  # as the whole set counts
        scdlab.fit(model, SelfConditionedDenoising(supervised=objective), known, store[3:], **TUNE)
    assert "gap" not in model.property_heads
    scdlab.fit(model, objective, known, **TUNE)
    with pytest.raises(ValueError, match=r"2 of 5 structures have no 'gap'"):
        scdlab.evaluate(model, store)
    with pytest.raises(ValueError, match="no property 'gap'"):
        scdlab.fit(model, objective, known, scdlab.AtomStore.from_arrays(*arrays), **TUNE)


def test_one_recipe_pretrains_on_all_domains_at_once_and_is_fine_tuned_on_one(molecules):
    crystals = [ase.build.bulk("Cu", cubic=True), ase.build.bulk("NaCl", "rocksalt", a=5.64)]
    large = [ase.build.molecule("C60")]
    stores = [
        molecules[0],
        scdlab.load_ethanol()[:20],
        *map(scdlab.AtomStore.from_ase, (crystals, large)),
    ]
    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=2, num_heads=2, num_rbf=8, conditional=True
    )
    everything = scdlab.AtomStore.concat(stores)
    told = parts(model)[1]
    result = scdlab.fit(
        model, SelfConditionedDenoising(), everything, steps=12, max_atoms=80, progress=False
    )
    assert np.isfinite(result.history["loss"]).all()
    learned = parts(model)[1]
    assert not torch.equal(learned["mask_token"], told["mask_token"])
    scdlab.fit(
        model,
        PropertyRegression("homo"),
        molecules[0],
        lr=RATES,
        anneal={"drop_path": (0.15, 0.1)},
        **TUNE,
    )
    after = parts(model)[1]
    # one pass without a condition: the mask token is what it is told, and the embedding head is not
    # asked
    assert all(torch.equal(after[k], learned[k]) for k in after if k.startswith("embedding_head."))
    assert not torch.equal(after["mask_token"], learned["mask_token"])
    assert scdlab.evaluate(model, molecules[2]).keys() == {"homo_mae"}
