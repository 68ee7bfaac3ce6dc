"""DeNS: what is corrupted, what is told, what is learned where, and what it reduces to."""

import copy
import math

import ase.build
import ase.constraints
import numpy as np
import pytest
import torch
from ase.calculators.emt import EMT

import scdlab
from scdlab.objectives import CoordinateDenoising, DeNS, EnergyForces, PropertyRegression


@pytest.fixture(scope="module")
def ethanol():
    return scdlab.load_ethanol()


@pytest.fixture
def batch(ethanol):
    return ethanol.take(range(0, 2000, 250))  # 8 structures


@pytest.fixture(scope="module")
def prepared(ethanol):
    torch.manual_seed(0)
    net = scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=2, num_heads=2, num_rbf=8, force_input=True
    )
    DeNS().prepare(net, ethanol[:100])
    return net.train()


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def slabs(frames=6, uneven=False):
    """A little slab of copper, its lower layer fixed, shaken, with EMT's labels; uneven: in some
    one atom more."""
    rng = np.random.default_rng(0)
    out = []
    for k in range(frames):
        slab = ase.build.fcc111("Cu", (2, 2, 2), vacuum=5.0, periodic=True)
        slab.positions += 0.05 * rng.normal(size=slab.positions.shape)
        slab.calc = EMT()
        slab.get_potential_energy()
        slab.get_forces()
        held = slab.get_tags() == 2
        held[-1] |= uneven and k % 3 == 0
        slab.set_constraint(ase.constraints.FixAtoms(mask=held))
        out.append(slab)
    return scdlab.AtomStore.from_ase(out)


# --- what is corrupted
# ---------------------------------------------------------------------------------------------


def test_shares_of_structures_and_of_atoms(ethanol):
    many = ethanol.take(range(1000))
    eps, mask, sigma, force_input, noisy = DeNS(prob=0.3, corrupt_ratio=0.5, sigma=0.07).corrupt(
        many, draw()
    )
    by_structure = mask.view(1000, 9).any(1)
    assert abs(by_structure.float().mean() - 0.3) < 0.05
    assert abs(mask.view(1000, 9)[by_structure].float().mean() - 0.5) < 0.05
    assert torch.equal(eps[~mask], torch.zeros_like(eps[~mask])) and torch.equal(
        noisy.pos, many.pos + eps
    )
    assert eps[mask].std() == pytest.approx(0.07, rel=0.05) and torch.equal(
        sigma, torch.full((9000,), 0.07)
    )
    assert torch.equal(force_input, many.forces * mask.unsqueeze(-1))


def test_all_of_every_structure_when_asked(batch):
    eps, mask, *_ = DeNS(prob=1, corrupt_ratio=1).corrupt(batch, draw())
    assert (
        mask.all() and eps.view(8, 9, 3).mean(1).abs().max() < 1e-7
    )  # centered, as nothing shows the mean


def test_sizes_of_noise_are_drawn_for_each_structure(ethanol):
    many = ethanol.take(range(1000))
    eps, mask, sigma, *_ = DeNS(prob=1, corrupt_ratio=0.5, sigma=(0.01, 0.5)).corrupt(many, draw())
    each = sigma.view(1000, 9)
    assert torch.equal(each.amin(1), each.amax(1))
    steps = 49 * (each[:, 0] / 0.01).log() / math.log(50)
    assert (steps - steps.round()).abs().max() < 1e-3 and set(steps.round().int().tolist()) == set(
        range(50)
    )
    assert (eps / sigma.unsqueeze(-1))[mask].std() == pytest.approx(1.0, rel=0.03)


def test_fixed_atoms_stay_and_do_not_count():
    store = slabs()
    batch = store.take(range(6))
    eps, mask, *_ = DeNS(prob=1, corrupt_ratio=1).corrupt(batch, draw())
    assert torch.equal(mask, ~batch.fixed.bool()) and torch.equal(
        eps[~mask], torch.zeros_like(eps[~mask])
    )
    torch.manual_seed(0)
    net = scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=1, num_heads=2, cutoff=4.0, force_input=True
    )
    objective = DeNS(prob=1, corrupt_ratio=0.5)
    objective.prepare(net, store)
    free = batch.forces[~batch.fixed.bool()]
    assert float(net.energy_head.scale) == pytest.approx(float(free.square().mean().sqrt()))
    before = objective(net, batch, draw())
    counts = before[1]["force_mae"].count + before[1]["noise_mse"].count
    assert counts == (~batch.fixed.bool()).sum()
    batch.forces = torch.where(batch.fixed.bool().unsqueeze(-1), 100.0, batch.forces)
    after = objective(net, batch, draw())
    assert torch.equal(before[0], after[0]) and before[1]["force_mae"] == after[1]["force_mae"]
    run = scdlab.fit(
        net, DeNS(prob=0.5), store, steps=3, batch_size=3, device="cpu", progress=False
    )
    assert math.isfinite(run.rows[-1]["loss"])


def test_p_and_r_of_zero_leave_fixed_atoms_out_as_labels_do():
    store = slabs(uneven=True)
    net = scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=1, num_heads=2, cutoff=4.0, force_input=True
    )
    labels = EnergyForces()
    labels.prepare(net, store)
    plain = scdlab.evaluate(net, store, labels, batch_size=2)
    for off in ({"prob": 0}, {"corrupt_ratio": 0}):
        assert scdlab.evaluate(net, store, DeNS(supervised=labels, **off), batch_size=2) == plain
    beside = scdlab.evaluate(
        net, store, CoordinateDenoising(supervised=labels, sigma=1e-6), batch_size=2
    )
    assert beside["force_mae"] == pytest.approx(plain["force_mae"], rel=1e-3)
    assert DeNS(corrupt_ratio=0).corrupt(store.take([0]), draw()).mask.sum() == 0


def test_coordinate_denoising_leaves_fixed_atoms_where_they_are():
    store = slabs()
    net = scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=1, num_heads=2, cutoff=4.0, force_input=True
    )
    batch = store.take(range(6))
    ours = DeNS(prob=1, corrupt_ratio=1, loss="squared", sigma=0.04, force_encoding="none")
    ours.prepare(net, store)
    theirs = CoordinateDenoising(sigma=0.04)
    alone = theirs(net, batch, draw())[1]["noise_mse"]
    assert alone == ours(net, batch, draw())[1]["noise_mse"]
    assert theirs.loss_over == "noise_mse" and alone.count == (~batch.fixed.bool()).sum()


def test_whole_structures_can_be_measured_though_no_force_is_left(prepared, ethanol):
    found = scdlab.evaluate(prepared, ethanol[:10], DeNS(prob=1, corrupt_ratio=1))
    assert "force_mae" not in found and found["noise_mse"] > 0 and found["energy_mae"] > 0


def test_the_forces_of_fixed_atoms_do_not_make_a_structure_far_from_equilibrium():
    batch = slabs().take([0])
    batch.forces = torch.where(batch.fixed.bool().unsqueeze(-1), 9.0, 0.0)
    assert DeNS(prob=1, corrupt_ratio=1, max_rms_force=0.1).corrupt(batch, draw()).mask.any()


def test_only_structures_near_equilibrium(batch):
    size = batch.forces.view(8, -1).square().mean(1).sqrt()
    limit = float(size.median())
    _, mask, *_ = DeNS(prob=1, corrupt_ratio=1, max_rms_force=limit).corrupt(batch, draw())
    assert torch.equal(mask.view(8, 9).all(1), size <= limit) and torch.equal(
        mask.view(8, 9).any(1), size <= limit
    )


# --- what is told
# --------------------------------------------------------------------------------------------------


class Spy(torch.nn.Module):
    """Notes what a model is told."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.told = []
        self.energy_head = model.energy_head
        self.force_encoding = model.force_encoding

    def forward(self, batch, **options):
        self.told.append(options.get("force_input"))
        return self.model(batch, **options)


def test_own_none_or_another_atoms_force(prepared, batch):
    spy = Spy(prepared)
    for told in ("true", "none", "shuffled"):
        DeNS(prob=1, corrupt_ratio=0.5, force_encoding=told)(spy, batch, draw())
    own, none, other = spy.told
    assert none is None
    corrupted = own.norm(dim=-1) > 0
    assert (
        torch.equal(corrupted, other.norm(dim=-1) > 0) and corrupted.any() and not corrupted.all()
    )
    for k in corrupted.nonzero().flatten().tolist():
        same = (batch.forces == other[k]).all(-1).nonzero().flatten().tolist()
        assert len(same) == 1 and same != [k] and batch.batch[same[0]] == batch.batch[k]


def test_a_lone_atom_is_told_nothing_of_others():
    store = scdlab.AtomStore.from_arrays(
        [1, 1, 6], np.eye(3), [0, 1, 3], energy=[0.0, 0.0], forces=np.eye(3) + 1
    )
    force_input = (
        DeNS(prob=1, corrupt_ratio=1, force_encoding="shuffled", centered=False)
        .corrupt(store.take([0, 1]), draw())
        .force_input
    )
    torch.testing.assert_close(force_input, torch.tensor([[0.0, 0, 0], [1, 1, 2], [1, 2, 1]]))


def test_a_model_without_an_encoding_can_be_trained_when_nothing_is_told(ethanol):
    plain = scdlab.EquivariantTransformer(hidden_channels=16, num_layers=1, num_heads=2)
    with pytest.raises(ValueError, match="takes no force input"):
        DeNS().prepare(plain, ethanol[:10])
    run = scdlab.fit(
        plain,
        DeNS(1.0, force_encoding="none"),
        ethanol[:8],
        steps=2,
        batch_size=4,
        device="cpu",
        progress=False,
    )
    assert run.rows[-1]["noise_mse"] > 0


# --- what is learned where
# -----------------------------------------------------------------------------------------


def test_forces_of_atoms_that_stayed_noise_of_those_that_did_not_energies_of_all(prepared, batch):
    objective = DeNS(prob=1, corrupt_ratio=0.5, force_encoding="none")
    loss, parts = objective(prepared, batch, draw())
    mask = objective.corrupt(batch, draw()).mask
    changed = copy.copy(batch)
    changed.forces = torch.where(
        mask.unsqueeze(-1), batch.forces + 1.0, batch.forces
    )  # labels of corrupted atoms
    assert torch.equal(objective(prepared, changed, draw())[0], loss)
    changed.forces = batch.forces.clone()
    changed.forces[(~mask).nonzero()[0]] += 1.0
    assert not torch.equal(objective(prepared, changed, draw())[0], loss)
    changed.forces = batch.forces
    changed.energy = batch.energy + torch.eye(8, dtype=torch.float64)[3]
    assert objective(prepared, changed, draw())[1]["energy_mae"] != parts["energy_mae"]
    out = prepared(objective.corrupt(batch, draw()).batch, forces=True, noise=True)
    by_hand = (out.forces - batch.forces)[~mask].abs().mean()
    torch.testing.assert_close(parts["force_mae"].value, by_hand.detach())


@pytest.mark.parametrize("loss", ["norm", "squared"])
@pytest.mark.parametrize("labels", ["norm", "squared"])
def test_the_loss_is_the_sum_of_its_three_terms(prepared, batch, loss, labels):
    main = EnergyForces(energy_weight=0.3, loss=labels)
    objective = DeNS(
        prob=1,
        corrupt_ratio=0.5,
        sigma=(0.02, 0.1),
        denoising_weight=0.7,
        loss=loss,
        supervised=main,
    )
    eps, mask, sigma, force_input, noisy = objective.corrupt(batch, draw())
    out = prepared(noisy, forces=True, noise=True, force_input=force_input)
    left = (out.noise - eps / sigma.unsqueeze(-1))[mask]
    energy = (out.energy - batch.energy).abs()
    power = 1 if labels == "norm" else 2
    force = (out.forces - batch.forces)[~mask].norm(dim=-1)
    noise = left.norm(dim=-1).mean() if loss == "norm" else left.square().mean()
    total = (
        0.3 * (energy**power).mean()
        + (force**power).mean()
        + 0.7 * prepared.energy_head.spread**power * noise
    )
    torch.testing.assert_close(objective(prepared, batch, draw())[0], total, rtol=1e-6, atol=0)


def test_nothing_corrupted_is_no_noise_loss(prepared, batch):
    objective = DeNS(prob=1, max_rms_force=0.0)
    loss, parts = objective(prepared, batch, draw())
    torch.testing.assert_close(loss, objective.supervised(prepared, batch)[0], rtol=1e-6, atol=0)
    assert parts["noise_mse"] == 0 and parts["noise_mse"].count == 0


# --- what it reduces to
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"prob": 0}, {"corrupt_ratio": 0}])
def test_without_corruption_it_is_supervised_learning_exactly(prepared, batch, settings):
    ours = DeNS(**settings)
    labels = EnergyForces(energy_weight=1 / 80, loss="norm")
    (loss, parts), (plain, plain_parts) = (each(prepared, batch, draw()) for each in (ours, labels))
    assert torch.equal(loss, plain) and parts == plain_parts
    a = gradients(prepared, loss)
    b = gradients(prepared, plain)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_all_corrupted_without_forces_it_is_coordinate_denoising(prepared, batch):
    batch.forces = torch.zeros_like(batch.forces)
    ours = DeNS(
        prob=1,
        corrupt_ratio=1,
        sigma=0.04,
        denoising_weight=0.8,
        loss="squared",
        supervised=EnergyForces(),
    )
    theirs = CoordinateDenoising(sigma=0.04, freeze_element_embeddings=False)
    weight = 0.8 * float(prepared.energy_head.spread) ** 2
    _, mask, _, force_input, noisy = ours.corrupt(batch, draw())
    assert mask.all() and torch.equal(force_input, torch.zeros_like(force_input))
    out = prepared(noisy, forces=True, noise=True, force_input=force_input)
    energy = 0.01 * (out.energy - batch.energy).square().mean()
    (loss, parts), (noise, noise_parts) = (
        ours(prepared, batch, draw()),
        theirs(prepared, batch, draw()),
    )
    assert parts["noise_mse"] == noise_parts["noise_mse"]
    assert (
        parts["noise_unexplained"] == noise_parts["noise_unexplained"] and parts["force_mae"] == 0
    )
    torch.testing.assert_close(loss, energy + weight * noise, rtol=1e-6, atol=0)
    a = gradients(prepared, ours(prepared, batch, draw())[0])
    b = gradients(prepared, energy + weight * theirs(prepared, batch, draw())[0])
    for name in b:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-7)
    assert all(not a[name].any() for name in a if name.startswith("force_encoding"))


# --- in a training run
# ---------------------------------------------------------------------------------------------


def test_the_weight_falls_to_zero_and_validation_is_by_labels(prepared, ethanol):
    objective = DeNS(prob=1, denoising_weight=0.5)
    seen = []
    call = DeNS.__call__

    class Watched(DeNS):
        def __call__(self, *arguments):
            seen.append(self.denoising_weight)
            return call(self, *arguments)

    objective.__class__ = Watched
    net = copy.deepcopy(prepared)
    run = scdlab.fit(
        net,
        objective,
        ethanol[:16],
        ethanol[16:24],
        steps=5,
        batch_size=4,
        device="cpu",
        progress=False,
    )
    assert (
        seen == pytest.approx([0.5, 0.375, 0.25, 0.125, 0.0]) and objective.denoising_weight == 0.5
    )
    assert {"val_energy_mae", "val_force_mae"} <= set(
        run.history
    ) and "val_noise_mse" not in run.history
    assert DeNS(decay=False).anneal == {}


def test_the_log_averages_over_what_was_corrupted(prepared, ethanol, monkeypatch):
    objective = DeNS(prob=0.3)
    seen = []
    call = DeNS.__call__

    class Watched(DeNS):
        def __call__(self, *arguments):
            loss, parts = call(self, *arguments)
            seen.append((float(parts["noise_mse"]), int(parts["noise_mse"].count)))
            return loss, parts

    objective.__class__ = Watched
    run = scdlab.fit(
        copy.deepcopy(prepared),
        objective,
        ethanol[:20],
        steps=8,
        batch_size=2,
        log_every=8,
        device="cpu",
        progress=False,
    )
    values, counts = np.array(seen).T
    assert 0 in counts and counts.sum() > 0  # some steps corrupt nothing
    assert run.rows[-1]["noise_mse"] == pytest.approx((values * counts).sum() / counts.sum())


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(prepared, ethanol, tmp_path):
    def run(steps, out, resume):
        net = scdlab.EquivariantTransformer(
            hidden_channels=8, num_layers=1, num_heads=2, num_rbf=8, force_input=True
        )
        torch.manual_seed(0)
        with torch.no_grad():
            for p in net.parameters():
                p.normal_(std=0.1)
        objective = DeNS(prob=1, denoising_weight=0.5)
        call = DeNS.__call__

        class Stopped(DeNS):
            def __call__(self, *arguments):
                if len(told) == steps:
                    raise KeyboardInterrupt
                told.append(self.denoising_weight)
                return call(self, *arguments)

        told = []
        objective.__class__ = Stopped
        try:
            scdlab.fit(
                net,
                objective,
                ethanol[:16],
                steps=6,
                batch_size=4,
                device="cpu",
                progress=False,
                out=out,
                resume=resume,
                checkpoint_every=1,
            )
        except KeyboardInterrupt:
            assert len(told) == steps
        return net, told

    whole, weights = run(99, tmp_path / "whole", False)
    run(3, tmp_path / "parts", False)
    again, rest = run(99, tmp_path / "parts", True)
    assert rest == weights[3:]
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_encoding_takes_the_scale_of_the_forces(prepared, ethanol):
    forces = ethanol[:100].take(range(100)).forces
    assert float(prepared.force_encoding.scale) == pytest.approx(
        float(forces.square().mean().sqrt()), rel=1e-6
    )


# --- bad input
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corrupt_ratio": 1.2}, "corrupt_ratio must be between 0 and 1, got 1.2."),
        ({"corrupt_ratio": -0.1}, "corrupt_ratio must be between 0 and 1"),
        ({"prob": float("nan")}, "prob must be between 0 and 1"),
        ({"sigma": 0.0}, "sigma must be a positive length in Å, such as 0.05, got 0.0."),
        ({"sigma": (0.5, 0.01)}, "the smaller one first"),
        ({"force_encoding": "all"}, "must be 'true', 'none' or 'shuffled', got 'all'"),
        ({"loss": "huber"}, "loss must be 'norm' or 'squared', got 'huber'"),
        ({"denoising_weight": -1.0}, "denoising_weight must be a finite number of at least 0"),
        ({"max_rms_force": -1.0}, "max_rms_force must be a force of at least 0 eV/Å"),
        ({"supervised": PropertyRegression("homo")}, "supervised must learn energies and forces"),
        ({"supervised": EnergyForces(forces=False)}, "supervised must learn energies and forces"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        DeNS(**settings)


def test_labels_that_are_missing_or_no_numbers(prepared, ethanol):
    net = copy.deepcopy(prepared)
    one = ethanol.take(range(4))
    arrays = dict(
        z=one.z.numpy(), pos=one.pos.numpy(), ptr=one.ptr.numpy(), energy=one.energy.numpy()
    )
    with pytest.raises(ValueError, match="needs forces, and the training set has none"):
        scdlab.fit(
            net,
            DeNS(),
            scdlab.AtomStore.from_arrays(**arrays),
            steps=1,
            device="cpu",
            progress=False,
        )
    del one.forces
    with pytest.raises(
        ValueError,
        match="needs the forces of the structures before the noise, and this batch has none",
    ):
        DeNS()(net, one, draw())
    forces = ethanol.take(range(4)).forces.numpy().copy()
    forces[20] = np.nan
    wrong = scdlab.AtomStore.from_arrays(**arrays, forces=forces, validate=False)
    with pytest.raises(
        ValueError, match=r"have forces that are not finite numbers \(the first is number 2\)"
    ):
        DeNS().prepare(net, wrong)


def test_a_structure_in_which_nothing_may_move():
    store = slabs(frames=3)
    batch = store.take(range(3))
    fixed = batch.fixed.numpy().copy()
    fixed[8:16] = True
    wrong = scdlab.AtomStore.from_arrays(
        batch.z.numpy(),
        batch.pos.numpy(),
        batch.ptr.numpy(),
        cell=batch.cell.numpy(),
        energy=batch.energy.numpy(),
        forces=batch.forces.numpy(),
        atom_properties={"fixed": fixed},
    )
    net = scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=1, num_heads=2, cutoff=4.0, force_input=True
    )
    with pytest.raises(ValueError, match="All atoms of structure 1 of the training set are fixed"):
        DeNS().prepare(net, wrong)
    with pytest.raises(ValueError, match="Torsional noise needs atoms that are all free"):
        scdlab.objectives.sample_noise(
            scdlab.load_ethanol().take([0]), 0.1, draw(), kind="torsional", free=torch.ones(9) > 0
        )
