"""Denoising of pairwise distances: what is compared, what the blind answer gets, which models can
do it."""

import math

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

import scdlab
from scdlab.atoms.neighbors import pairs_within
from scdlab.objectives import PairwiseDenoising, PropertyRegression

SMALL = dict(
    hidden_channels=16,
    num_layers=1,
    int_emb_size=8,
    basis_emb_size=4,
    out_emb_channels=16,
    num_spherical=3,
    num_rbf=3,
)


def store(*names):
    return scdlab.AtomStore.from_ase([molecule(name) for name in names])


def dimenet(**kwargs):
    torch.manual_seed(0)
    return scdlab.DimeNet(**{**SMALL, **kwargs})


def test_pairs_stay_within_their_molecule():
    batch = store("CH4", "O", "H2O").take(range(3))
    i, j = pairs_within(batch.ptr, batch.batch)
    expected = [
        (a, b) for a in range(9) for b in range(a + 1, 9) if batch.batch[a] == batch.batch[b]
    ]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected


def test_the_loss_by_hand():
    model = dimenet()
    train = store("CH4", "H2O")
    torch.nn.init.normal_(model.vectors.lin.weight, std=0.3)
    batch = train.take([0, 1])
    for scope, pairs in (
        ("molecule", list(zip(*pairs_within(batch.ptr, batch.batch), strict=True))),
        ("batch", [(a, b) for a in range(8) for b in range(a)]),
    ):
        objective = PairwiseDenoising(sigma=0.2, scope=scope)
        loss, parts = objective(model, batch, torch.Generator().manual_seed(3))
        noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(3))
        noisy = batch.clone()
        noisy.pos = batch.pos + 0.2 * noise
        fixed = noisy.pos - 0.2 * model(noisy).noise
        error = torch.stack(
            [(fixed[a] - fixed[b]).norm() - (batch.pos[a] - batch.pos[b]).norm() for a, b in pairs]
        )
        torch.testing.assert_close(loss, error.square().mean() / (2 * 0.2**2))
        torch.testing.assert_close(parts["distance_mae"].value, error.detach().abs().mean())
        loss.backward()
        assert model.vectors.lin.weight.grad.abs().max() > 0
        assert batch.pos.grad is None and not batch.pos.requires_grad


def test_the_blind_answer_costs_one_and_is_where_training_starts():
    train = scdlab.load_qm9(limit=200)
    objective = PairwiseDenoising(sigma=0.05)
    loss, parts = objective(dimenet(), train.take(range(200)), torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(1.0, abs=0.05)
    assert float(parts["distance_mae"]) == pytest.approx(float(parts["blind_mae"]), rel=0.05)
    normal = math.sqrt(2) * 0.05 * math.sqrt(2 / math.pi)  # of a normal variable of variance 2σ²
    assert float(parts["blind_mae"]) == pytest.approx(normal, rel=0.03)


def test_training_beats_the_blind_answer():
    train = store(*["CH4", "H2O", "NH3", "CH3OH", "C2H6", "C2H4"])
    model = dimenet(hidden_channels=32)
    scdlab.fit(model, PairwiseDenoising(), train, steps=80, batch_size=6, lr=3e-3, progress=False)
    errors = scdlab.evaluate(model, train, PairwiseDenoising())
    assert errors["distance_mae"] < 0.8 * errors["blind_mae"]


def test_invariant_coordinates_put_equivalent_atoms_on_one_point():
    model = dimenet()
    train = store("CH4", "C6H6")
    objective = PairwiseDenoising(output="coordinates")
    objective.prepare(model, train)
    batch = train.take([0])
    answer = objective.correct(model, batch)  # not disturbed: the symmetry is whole
    assert answer.shape == (5, 3)
    assert (answer[1:] - answer[1]).abs().max() < 1e-5 < (answer[0] - answer[1]).abs().max()
    turned = batch.clone()
    turned.pos = (
        batch.pos
        @ torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]).float()
    )
    torch.testing.assert_close(
        objective.correct(model, turned), answer, rtol=1e-3, atol=1e-5
    )  # they do not turn


@pytest.mark.parametrize(
    "output, model",
    [
        ("noise", lambda: dimenet()),
        ("coordinates", lambda: dimenet()),
        ("noise", lambda: dimenet(noise_head=False)),
        (
            "noise",
            lambda: scdlab.EquivariantTransformer(
                hidden_channels=16, num_layers=2, num_heads=2, num_rbf=8
            ),
        ),
        ("noise", lambda: scdlab.SchNet(hidden_channels=16, num_layers=1)),
        ("coordinates", lambda: scdlab.SchNet(hidden_channels=16, num_layers=1)),
    ],
)
def test_every_backbone_can_be_pretrained_and_fine_tuned(output, model, tmp_path):
    train = scdlab.load_qm9(limit=40)
    model = model()
    objective = PairwiseDenoising(output=output)
    settings = dict(batch_size=8, progress=False, ema_decay=None, schedule="constant")
    scdlab.fit(model, objective, train, steps=4, out=tmp_path, **settings)
    scdlab.save(model, tmp_path / "pretrained")
    again = scdlab.load(tmp_path / "pretrained")  # with the head that was added
    batch = train.take(range(4))
    assert torch.equal(objective.correct(again, batch), objective.correct(model.eval(), batch))
    result = scdlab.fit(again, PropertyRegression("mu"), train, steps=3, **settings)
    assert math.isfinite(result.rows[-1]["mu_mae"])


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    train = scdlab.load_qm9(limit=40)
    settings = dict(batch_size=8, progress=False, checkpoint_every=3)
    objective = PairwiseDenoising(output="coordinates")
    whole = dimenet()
    halves = dimenet()
    scdlab.fit(whole, objective, train, steps=6, out=tmp_path / "whole", **settings)

    class Stop(PairwiseDenoising):
        calls = 0
        limit = 4

        def __call__(self, *args):
            self.calls += 1
            if self.calls > self.limit:
                raise InterruptedError
            return super().__call__(*args)

    stopping = Stop(output="coordinates")
    with pytest.raises(InterruptedError):
        scdlab.fit(halves, stopping, train, steps=6, out=tmp_path / "halves", **settings)
    halves = dimenet()
    Stop.limit = 100
    again = Stop(output="coordinates")
    scdlab.fit(halves, again, train, steps=6, out=tmp_path / "halves", resume=True, **settings)
    for (name, a), b in zip(whole.state_dict().items(), halves.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(
    "arguments, named",
    [
        (dict(sigma=0.0), "sigma"),
        (dict(sigma=math.nan), "sigma"),
        (dict(scope="all"), "'all'"),
        (dict(output="vectors"), "'vectors'"),
    ],
)
def test_bad_settings_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        PairwiseDenoising(**arguments)


def test_crystals_are_refused():
    with pytest.raises(ValueError, match="periodic"):
        PairwiseDenoising().prepare(
            dimenet(), scdlab.AtomStore.from_ase([bulk("MgO", "rocksalt", a=4.2)])
        )


def test_single_atoms_have_no_distance_and_do_not_count():
    model = dimenet()
    objective = PairwiseDenoising()
    mixed = store("CH4", "O")
    found = scdlab.evaluate(model, mixed, objective, batch_size=1)
    alone = scdlab.evaluate(model, mixed[:1], objective, batch_size=1)
    assert found == alone and math.isfinite(found["loss"])
    with pytest.raises(ValueError, match="single atoms only"):
        scdlab.fit(model, objective, store("O", "O"), steps=1, progress=False)


def test_a_head_keeps_its_pool():
    model = dimenet()
    model.add_property("mu", "scalar_mean")
    assert model.add_property("mu").kind == "scalar_mean"
    with pytest.raises(
        ValueError, match="has a head for 'mu' with kind='scalar_mean', not 'vector'"
    ):
        model.add_property("mu", "vector")
