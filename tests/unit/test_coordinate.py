"""Coordinate denoising: what the noise is, what of it can be seen, and that training with it
works."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import schnet, seeded
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.transform import Rotation

import scdlab
from scdlab.atoms import rotatable_bonds
from scdlab.objectives import (
    CoordinateDenoising,
    EnergyForces,
    PropertyRegression,
    noise_floor,
    sample_noise,
)
from scdlab.training.loop import Run


@pytest.fixture(scope="module")
def qm9():
    return scdlab.load_qm9(limit=600)


def et(**kwargs):
    torch.manual_seed(0)
    return scdlab.EquivariantTransformer(
        **(dict(hidden_channels=16, num_layers=2, num_heads=4, num_rbf=12) | kwargs)
    )


def shifted(batch, pos):
    new = copy.copy(batch)
    new.pos = pos
    return new


def means(eps, batch):
    return torch.stack([e.mean(0) for e in eps.split(batch.ptr.diff().tolist())])


def store_of(*smiles):
    return scdlab.AtomStore.from_ase([scdlab.from_smiles(s) for s in smiles])


# -- the noise
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.005, 0.04, 0.5])
def test_gaussian_noise_is_normal_with_standard_deviation_sigma(qm9, sigma):
    batch = qm9.take(np.arange(400))
    eps, mask = sample_noise(batch, sigma, seeded(), centered=False)
    assert mask.all() and eps.shape == batch.pos.shape
    x = (eps / sigma).double().flatten().numpy()
    assert stats.kstest(x, "norm").pvalue > 1e-3
    low, high = stats.chi2.ppf([5e-4, 1 - 5e-4], len(x))
    assert low < np.square(x).sum() < high


@given(seed=st.integers(0, 10**6), sigma=st.floats(1e-3, 1.0), n=st.integers(1, 20))
def test_centered_noise_leaves_every_mean_in_place(qm9, seed, sigma, n):
    batch = qm9.take(np.arange(n))
    batch.pos = batch.pos.double()
    eps, mask = sample_noise(batch, sigma, seeded(seed))
    assert eps.dtype == torch.float64
    assert means(eps, batch).abs().max() < 1e-15
    raw, _ = sample_noise(batch, sigma, seeded(seed), centered=False)
    torch.testing.assert_close(eps, raw - means(raw, batch)[batch.batch])
    assert mask.all()


def test_centered_noise_has_the_variance_of_n_minus_one(qm9):
    batch = qm9.take(np.arange(600))
    eps, _ = sample_noise(batch, 1.0, seeded())
    freedom = 3 * int((batch.ptr.diff() - 1).sum())  # Σ|ε - ε̄|² is χ² with 3(N - 1) degrees
    low, high = stats.chi2.ppf([5e-4, 1 - 5e-4], freedom)
    assert low < float(eps.double().square().sum()) < high


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_the_mask_has_its_ratio_and_only_masked_atoms_move(qm9, ratio):
    batch = qm9.take(np.arange(600))
    eps, mask = sample_noise(batch, 0.04, seeded(), ratio=ratio)
    n = len(mask)
    assert stats.binomtest(int(mask.sum()), n, ratio).pvalue > 1e-3
    assert torch.equal((eps != 0).any(1), mask)


def test_only_structures_whose_atoms_all_move_are_centered(qm9):
    batch = qm9.take([0, 2, 3, *range(100, 160)])  # methane, water and acetylene among them
    eps, mask = sample_noise(batch, 0.04, seeded(3), ratio=0.8)
    raw, same = sample_noise(batch, 0.04, seeded(3), ratio=0.8, centered=False)
    whole = torch.stack([m.all() for m in mask.split(batch.ptr.diff().tolist())])
    assert whole.any() and not whole.all() and torch.equal(mask, same)
    assert means(eps, batch)[whole].abs().max() < 1e-8
    partly = ~whole[batch.batch]
    assert torch.equal(eps[partly], raw[partly])


def test_a_generator_determines_the_noise(qm9):
    batch = qm9.take(np.arange(500, 510))
    for kind in ("gaussian", "torsional"):
        draws = [sample_noise(batch, 0.04, seeded(s), kind, ratio=0.7) for s in (5, 5, 6)]
        assert torch.equal(draws[0][0], draws[1][0]) and torch.equal(draws[0][1], draws[1][1])
        assert not torch.equal(draws[0][0], draws[2][0])
    a, _ = sample_noise(batch, 0.04, seeded())
    b, _ = sample_noise(batch, 0.08, seeded())
    torch.testing.assert_close(b, 2 * a)  # the same noise at another σ


def test_a_lone_atom_cannot_be_shaken_in_place():
    batch = store_of("[He]", "CCO").take([0, 1])
    eps, mask = sample_noise(batch, 0.04, seeded())
    assert not mask[0] and (eps[0] == 0).all() and mask[1:].all()
    assert sample_noise(batch, 0.04, seeded(), centered=False)[1].all()


# -- torsional noise
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.04, 0.4])
@pytest.mark.parametrize("centered", [True, False])
def test_torsions_keep_lengths_and_angles_and_move_what_they_should(sigma, centered):
    store = store_of("CCO", "CC(=O)Nc1ccccc1CCN", "OCC#CC", "c1ccccc1")
    batch = store.take(np.arange(4))
    batch.pos = batch.pos.double()
    eps, mask = sample_noise(batch, sigma, seeded(), "torsional", centered)
    for k, (first, last) in enumerate(zip(batch.ptr[:-1], batch.ptr[1:], strict=True)):
        old = batch.pos[first:last]
        new = (batch.pos + eps)[first:last]
        z = batch.z[first:last]
        bonds = scdlab.atoms.molecules.bonds(z, old)
        i, j = torch.from_numpy(bonds).T
        torch.testing.assert_close(
            (new[i] - new[j]).norm(dim=1), (old[i] - old[j]).norm(dim=1), atol=1e-9, rtol=0
        )
        near = torch.zeros(len(z), len(z), dtype=torch.bool)
        near[i, j] = near[j, i] = True
        a, b = torch.nonzero(
            (near.long() @ near.long() > 0).triu(1)
        ).T  # atoms with a common neighbor: angles
        torch.testing.assert_close(
            (new[a] - new[b]).norm(dim=1), (old[a] - old[b]).norm(dim=1), atol=1e-9, rtol=0
        )
        turning = rotatable_bonds(z, old)
        assert bool(turning) == (k != 3)
        expected = set().union(*(moved.tolist() for _, _, moved in turning)) if turning else set()
        if centered:
            assert (
                mask[first:last].all() == bool(turning)
                and eps[first:last].mean(0).abs().max() < 1e-12
            )
        else:
            assert set(mask[first:last].nonzero().flatten().tolist()) == expected
        assert (eps[first:last][~mask[first:last]] == 0).all()
    assert eps.abs().max() > sigma / 10


def test_float32_torsions_keep_bond_lengths(qm9):
    batch = qm9.take(np.arange(300, 400))
    eps, mask = sample_noise(batch, 0.1, seeded(), "torsional")
    new = batch.pos + eps
    for first, last in zip(batch.ptr[:-1], batch.ptr[1:], strict=True):
        i, j = scdlab.atoms.molecules.bonds(batch.z[first:last], batch.pos[first:last]).T + int(
            first
        )
        change = (new[i] - new[j]).norm(dim=1) - (batch.pos[i] - batch.pos[j]).norm(dim=1)
        assert change.abs().max() <= 1e-5
    assert 0 < mask.float().mean() < 1


def test_a_torsion_takes_atoms_about_as_far_as_gaussian_noise():
    batch = store_of(*["OO"]).take(
        np.zeros(1, int).repeat(4000)
    )  # one bond that turns, one atom moved
    eps, mask = sample_noise(batch, 0.04, seeded(), "torsional", centered=False)
    assert mask.sum() == 4000
    far = eps[mask].double().square().sum(1).mean().sqrt() / 0.04
    assert float(far) == pytest.approx(math.sqrt(3), rel=0.05)


def test_a_share_of_the_bonds_is_turned():
    batch = store_of("OO").take(np.zeros(2000, int))
    _, mask = sample_noise(batch, 0.04, seeded(), "torsional", ratio=0.3, centered=False)
    assert stats.binomtest(int(mask.sum()), 2000, 0.3).pvalue > 1e-3


def test_crystals_have_no_torsions():
    from ase.build import bulk

    batch = scdlab.AtomStore.from_ase([bulk("Cu", cubic=True)]).take([0])
    sample_noise(batch, 0.04, seeded())
    with pytest.raises(ValueError, match="periodic structures: use kind='gaussian'"):
        sample_noise(batch, 0.04, seeded(), "torsional")


# -- the floor
# --------------------------------------------------------------------------------------------------


def invisible(pos, rotations):
    """An orthonormal basis of the directions of the noise that move the structure as a whole: [3N,
    3 or 6]."""
    n = len(pos)
    moves = [np.tile(axis, (n, 1)) for axis in np.eye(3)]
    moves += [np.cross(axis, pos - pos.mean(0)) for axis in np.eye(3)] if rotations else []
    return np.linalg.qr(np.stack(moves).reshape(len(moves), -1).T)[0]


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("rotations", [False, True])
def test_the_floor_is_what_the_best_predictor_leaves(centered, rotations):
    """The conditional expectation of ε given all that can be seen is its projection off the
    invisible directions."""
    batch = store_of("OCC=O").take(np.zeros(3000, int))
    n = int(batch.ptr[1])
    eps, _ = sample_noise(batch, 1.0, seeded(), centered=centered)
    eps = eps.double().numpy().reshape(-1, 3 * n)
    basis = invisible(batch.pos[:n].double().numpy(), rotations)
    left = np.square(eps @ basis).sum() / eps.size
    assert left == pytest.approx(noise_floor(n, centered, rotations), rel=0.05, abs=1e-12)
    assert noise_floor(n) == 1 / n


def test_the_answer_of_a_translation_invariant_model_cannot_beat_the_floor(qm9):
    """Even an oracle that is told ε up to a shift: any shift of its answer that does not see ε̄
    does no better."""
    batch = qm9.take(np.arange(300, 500))
    n = batch.ptr.diff()

    class Oracle(torch.nn.Module):
        def forward(self, noisy, noise=None):
            seen = (noisy.pos - batch.pos).double() / 0.04
            return scdlab.Prediction(noise=seen - means(seen, noisy)[noisy.batch])

    floor = float((n * noise_floor(n)).sum() / n.sum())  # mean over atoms
    loss, parts = CoordinateDenoising(0.04, centered=False)(Oracle(), batch, seeded())
    freedom = 3 * len(n)  # Σ N|ε̄|² is χ²
    assert float(loss) / floor == pytest.approx(1.0, abs=4 * math.sqrt(2 / freedom))
    centered, parts = CoordinateDenoising(0.04)(Oracle(), batch, seeded())
    assert float(centered) < 1e-9 and float(parts["noise_unexplained"]) < 1e-9


def test_a_rigidly_known_molecule_cannot_be_denoised_below_its_rotations():
    """Kabsch: the molecule known up to a rigid motion, and the best superposition taken as the
    answer."""
    batch = store_of("OCC=O").take(np.zeros(2000, int))
    n = int(batch.ptr[1])
    clean = batch.pos[: int(batch.ptr[1])].double().numpy()
    clean = clean - clean.mean(0)
    eps, _ = sample_noise(batch, 0.02, seeded(), centered=True)
    left = 0.0
    for e in eps.double().numpy().reshape(-1, n, 3):
        turn, _ = Rotation.align_vectors(clean + e, clean)
        left += np.square(
            turn.apply(clean) - clean
        ).sum()  # what the superposition cannot tell from the truth
    assert left / 0.02**2 / (3 * n * 2000) == pytest.approx(
        noise_floor(n, centered=True, rotations=True), rel=0.1
    )


# -- the loss
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"ratio": 0.4}, {"centered": False}, {"kind": "torsional"}]
)
@pytest.mark.parametrize("normalized", [True, False])
def test_the_loss_is_the_mean_square_over_corrupted_atoms(qm9, settings, normalized):
    model = et().eval()
    batch = qm9.take(np.arange(300, 330))
    objective = CoordinateDenoising(0.05, normalized=normalized, **settings)
    before = batch.pos.clone()
    loss, parts = objective(model, batch, seeded(1))
    eps, mask = sample_noise(batch, 0.05, seeded(1), **settings)
    target = eps / 0.05 if normalized else eps
    answer = model(shifted(batch, batch.pos + eps), noise=True).noise
    expected = (answer - target)[mask].square().mean()
    torch.testing.assert_close(loss, expected)
    unit = 1.0 if normalized else 0.05
    torch.testing.assert_close(parts["noise_mse"].value, (expected / unit**2).detach())
    torch.testing.assert_close(
        parts["noise_unexplained"].value, (expected / target[mask].square().mean()).detach()
    )
    assert torch.equal(batch.pos, before)


def test_the_blind_guess_explains_nothing(qm9):
    blind = type(
        "Blind",
        (torch.nn.Module,),
        {"forward": lambda self, b, noise: scdlab.Prediction(noise=0 * b.pos)},
    )
    _, parts = CoordinateDenoising()(blind(), qm9.take(np.arange(50)), seeded())
    assert float(parts["noise_unexplained"]) == pytest.approx(1.0)
    assert float(parts["noise_mse"]) < 1.0  # 1 - 1/N of it is left when the noise is centered


@pytest.mark.parametrize("net", [et, schnet])
def test_the_loss_does_not_turn(qm9, net):
    """Rotate structures and noise together: the same loss, to float64."""
    model = net().double()
    batch = qm9.take(np.arange(100, 110))
    batch.pos = batch.pos.double()
    turn = torch.from_numpy(Rotation.random(rng=1).as_matrix())
    eps, mask = sample_noise(batch, 0.04, seeded())
    answers = [
        model(shifted(batch, p), noise=True).noise
        for p in (batch.pos + eps, (batch.pos + eps) @ turn.T + 3.0)
    ]
    losses = [
        (answer - target)[mask].square().mean()
        for answer, target in zip(answers, (eps / 0.04, eps @ turn.T / 0.04), strict=True)
    ]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-10, atol=0)
    assert losses[0] > 0.1


@pytest.mark.parametrize("kind", ["gaussian", "torsional"])
def test_nothing_corrupted_is_no_loss_and_no_nan(kind):
    store = store_of("[He]", "[Ne]")
    objective = CoordinateDenoising(kind=kind)
    loss, parts = objective(et(), store.take([0, 1]), seeded())
    assert float(loss.detach()) == 0.0 and all(float(v) == 0.0 for v in parts.values())
    loss.backward()
    benzene = store_of("c1ccccc1").take([0])
    assert float(CoordinateDenoising(kind="torsional")(et(), benzene, seeded())[0].detach()) == 0.0


@pytest.mark.parametrize("net", [et, schnet])
def test_the_gradient_reaches_all_that_noise_is_made_of(qm9, net):
    model = net()
    objective = CoordinateDenoising(freeze_element_embeddings=False)
    objective.prepare(model, qm9)
    objective(model.train(), qm9.take(np.arange(300, 320)), seeded())[0].backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    if net is et:  # energies are not asked for
        assert without and all(name.startswith("energy_head") for name in without)
    else:  # a constant has no gradient by position
        assert without <= {"energy_head.mlp.2.bias"}


@pytest.mark.parametrize("net", [et, schnet])
def test_evaluation_works_under_no_grad_and_gives_the_same_noise_each_time(qm9, net):
    model = net()
    objective = CoordinateDenoising(ratio=0.5)
    objective.prepare(model, qm9)
    first, second = (scdlab.evaluate(model, qm9[:40], objective, batch_size=16) for _ in range(2))
    assert first == second and set(first) == {"loss", "noise_mse", "noise_unexplained"}
    assert first["loss"] == pytest.approx(first["noise_mse"])


def test_float64_batches_train_a_float32_model(qm9):
    batch = qm9.take(np.arange(10))
    batch.pos = batch.pos.double()
    loss, _ = CoordinateDenoising()(et(), batch, seeded())
    assert loss.dtype == torch.float32 and torch.isfinite(loss)


# -- beside another objective
# -----------------------------------------------------------------------------------------


class Counting(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.calls = 0

    def forward(self, *args, **kwargs):
        self.calls += 1
        return self.model(*args, **kwargs)

    @property
    def property_heads(self):
        return self.model.property_heads


@pytest.mark.parametrize("net", [et, schnet])
def test_an_auxiliary_loss_is_the_sum_on_one_forward_pass(qm9, net):
    model = net()
    batch = qm9.take(np.arange(300, 320))
    main = PropertyRegression("homo")
    both = CoordinateDenoising(0.01, supervised=main, weight=0.1)
    both.prepare(model, qm9)
    counting = Counting(model)
    loss, parts = both(counting, batch, seeded(2))
    assert counting.calls == 1
    noise, noise_parts = CoordinateDenoising(0.01)(model, batch, seeded(2))
    eps, _ = sample_noise(batch, 0.01, seeded(2))
    label, label_parts = main(model, shifted(batch, batch.pos + eps))
    torch.testing.assert_close(loss, label + 0.1 * noise)
    assert (
        set(parts) == {*noise_parts, *label_parts} == {"noise_mse", "noise_unexplained", "homo_mae"}
    )


def test_an_auxiliary_loss_beside_energies_and_forces():
    store = scdlab.load_ethanol()[:40]
    model = et()
    main = EnergyForces()
    both = CoordinateDenoising(0.005, supervised=main, weight=0.1)
    both.prepare(model, store)
    loss, parts = both(model, store.take(np.arange(8)), seeded())
    assert set(parts) == {"energy_mae", "force_mae", "noise_mse", "noise_unexplained"}
    assert both.loss_over is None and parts["force_mae"].count == 72
    assert {name for name, part in parts.items() if part.selected} == {
        "noise_mse",
        "noise_unexplained",
    }
    loss.backward()
    assert torch.isfinite(loss)


# -- training
# --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("net", [et, schnet])
def test_a_model_learns_to_denoise(qm9, net):
    # rows of QM9 in order are alike, so that few steps show it
    model = net()
    few = qm9[100:130]
    result = scdlab.fit(
        model, CoordinateDenoising(0.04), few, steps=80, batch_size=10, lr=5e-3, progress=False
    )
    history = result.history["noise_unexplained"]
    assert history[-1] < 0.9 * history[0]


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"ratio": 0.5}, {"kind": "torsional"}, {"supervised": PropertyRegression("homo")}]
)
def test_a_resumed_run_ends_with_the_same_weights(qm9, tmp_path, monkeypatch, settings):
    train = qm9[300:360]
    val = qm9[360:380]
    train_with = dict(steps=8, batch_size=8, lr=2e-3, progress=False, log_every=2, val_every=4)
    straight = et()
    resumed = et()
    scdlab.fit(
        straight, CoordinateDenoising(**settings), train, val, out=tmp_path / "a", **train_with
    )
    advance = Run.advance

    def die(self):
        if self.state.step == 5:
            raise RuntimeError("the power went off")
        return advance(self)

    more = dict(out=tmp_path / "b", checkpoint_every=3)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        patch.setattr(Run, "advance", die)
        scdlab.fit(et(), CoordinateDenoising(**settings), train, val, **more, **train_with)
    scdlab.fit(
        resumed, CoordinateDenoising(**settings), train, val, **more, resume=True, **train_with
    )
    assert torch.equal(weights(straight), weights(resumed))


# -- what is said when it cannot work
# ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sigma": 0}, "sigma must be a positive length in Å"),
        ({"sigma": -0.1}, "sigma must be a positive length in Å"),
        ({"sigma": math.nan}, "sigma must be a positive length in Å"),
        ({"sigma": math.inf}, "sigma must be a positive length in Å"),
        ({"ratio": 0}, "ratio must be above 0"),
        ({"ratio": 1.5}, "ratio must be above 0"),
        ({"ratio": math.nan}, "ratio must be above 0"),
        ({"kind": "cauchy"}, "kind must be 'gaussian' or 'torsional', got 'cauchy'"),
        ({"weight": -1.0}, "weight must be a finite number of at least 0, got -1.0"),
        ({"supervised": "homo"}, "supervised must be an objective"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        CoordinateDenoising(**settings)


def test_a_model_that_cannot_denoise_is_refused(qm9):
    with pytest.raises(ValueError, match="no noise head"):
        scdlab.fit(
            schnet(direct_forces=True), CoordinateDenoising(), qm9[:20], steps=1, progress=False
        )


def test_its_name_gives_all_settings():
    text = repr(
        CoordinateDenoising(0.1, ratio=0.5, supervised=PropertyRegression("homo"), weight=0.2)
    )
    for piece in (
        "sigma=0.1",
        "centered=True",
        "normalized=True",
        "ratio=0.5",
        "kind='gaussian'",
        "weight=0.2",
    ):
        assert piece in text
    assert (
        "PropertyRegression(name='homo'" in text
        and eval(repr(CoordinateDenoising(0.1))).sigma == 0.1
    )


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_validation_is_a_mean_over_corrupted_atoms_whatever_the_batches(batch_size):
    store = store_of("CO", *["C"] * 7)  # methanol has a bond that turns, methane none
    model = et()
    objective = CoordinateDenoising(kind="torsional")
    objective.prepare(model, store)
    found = scdlab.evaluate(model, store, objective, batch_size=batch_size)
    assert found["noise_unexplained"] == pytest.approx(
        1.0, abs=0.05
    )  # an untrained network explains nothing


def test_nothing_to_measure_is_told():
    methane = store_of("C", "O")
    objective = CoordinateDenoising(kind="torsional")
    with pytest.raises(ValueError, match="needs a rotatable bond"):
        scdlab.fit(et(), objective, methane, steps=1, progress=False)
    with pytest.raises(ValueError, match="No structure of the 2 to evaluate on"):
        scdlab.evaluate(et(), methane, objective)


def test_noise_by_gradient_can_be_trained_in_evaluation_mode_too(qm9):
    model = scdlab.EquivariantTransformer(16, 1, 2, num_rbf=8, noise_head=False).eval()
    loss, _ = CoordinateDenoising()(model, qm9.take([0, 1]), seeded())
    loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
