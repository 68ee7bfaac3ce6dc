"""DeNS: the unit of the noise term, kept with the model, and labels of corrupted structures."""

import copy
import logging

import numpy as np
import pytest
import torch

import scdlab
from scdlab.objectives import CoordinateDenoising, DeNS, EnergyForces


@pytest.fixture(scope="module")
def ethanol():
    return scdlab.load_ethanol()


def transformer(**settings):
    torch.manual_seed(0)
    sizes = dict(hidden_channels=16, num_layers=2, num_heads=2, num_rbf=8)
    return scdlab.EquivariantTransformer(**sizes, **settings)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def waters():
    """Five structures of two compositions, with energies that can be summed by hand."""
    z = [1, 1, 8, 1, 1, 8, 1, 1, 8, 1, 1, 1, 1]
    pos = np.random.default_rng(0).normal(size=(13, 3)) * 2
    return scdlab.AtomStore.from_arrays(
        z,
        pos,
        [0, 3, 6, 9, 11, 13],
        energy=[-10.0, -11.0, -12.5, -3.0, -4.5],
        forces=np.ones((13, 3)),
    )


# --- the unit


def test_the_unit_is_the_spread_of_energies_less_their_references():
    references = {"H": -2.0, "O": -5.0}  # of H2O -9 eV, of H2 -4 eV
    left = np.array([-1.0, -2.0, -3.5, 1.0, -0.5])  # eV
    by_hand = np.sqrt(((left - left.mean()) ** 2).mean())
    net = transformer(force_input=True)
    labels = EnergyForces(energy_weight=1 / 80, loss="norm", reference_energies=references)
    DeNS(supervised=labels).prepare(net, waters())
    assert float(net.energy_head.spread) == pytest.approx(by_hand, rel=1e-12)
    assert float(net.energy_head.scale) == pytest.approx(1.0)  # of forces, which stays theirs
    fitted = transformer(force_input=True)
    DeNS().prepare(fitted, waters())  # two compositions, two references: their means are taken off
    own = np.array([7 / 6, 1 / 6, -4 / 3, 0.75, -0.75])
    assert float(fitted.energy_head.spread) == pytest.approx(own.std(), rel=1e-9)


def test_the_unit_of_frames_of_one_molecule_is_the_spread_of_their_energies(ethanol):
    net = transformer(force_input=True)
    DeNS().prepare(net, ethanol[:100])
    energies = ethanol[:100].take(range(100)).energy.numpy()
    assert float(net.energy_head.spread) == pytest.approx(energies.std(), rel=1e-6)
    assert float(net.energy_head.spread) < 0.5 * float(net.energy_head.scale)  # σ_F, eV/Å


@pytest.mark.parametrize(("loss", "power"), [("norm", 1), ("squared", 2)])
def test_the_noise_term_scales_with_the_unit(ethanol, loss, power):
    net = transformer(force_input=True).train()
    objective = DeNS(prob=1, denoising_weight=0.5, supervised=EnergyForces(loss=loss))
    objective.prepare(net, ethanol[:50])
    unit = float(net.energy_head.spread)
    batch = ethanol.take(range(8))
    losses = []
    for factor in (0.0, 1.0, 3.0):
        net.energy_head.set_spread(factor * unit)
        losses.append(float(objective(net, batch, draw())[0].detach()))
    noise = (losses[1] - losses[0]) / (0.5 * unit**power)
    assert losses[2] - losses[0] == pytest.approx(3**power * (losses[1] - losses[0]), rel=1e-5)
    assert 1.0 < noise < 3.0  # the length of a vector of unit spread, not yet learned


def test_the_defaults_are_the_released_weights():
    objective = DeNS()
    assert objective.supervised == EnergyForces(energy_weight=1 / 80, loss="norm")
    assert objective.denoising_weight == 5 / 80 and objective.labels_of_corrupted is True
    assert objective.anneal == {"denoising_weight": (5 / 80, 0.0)}


def test_energies_that_do_not_differ_give_a_unit_of_one_and_a_message(ethanol, caplog):
    net = transformer(force_input=True)
    with caplog.at_level(logging.WARNING, logger="scdlab"):
        DeNS().prepare(net, ethanol[[3]])
    assert float(net.energy_head.spread) == 1.0
    assert "do not differ beside their references" in caplog.text


def test_energies_that_are_too_large_have_no_unit():
    batch = waters().take(range(5))
    store = scdlab.AtomStore.from_arrays(
        batch.z.numpy(),
        batch.pos.numpy(),
        batch.ptr.numpy(),
        energy=np.array([1e200, -1e200, 0, 0, 0]),
        forces=batch.forces.numpy(),
        validate=False,
    )
    with pytest.raises(ValueError, match="energies of the training set are too large"):
        DeNS().prepare(transformer(force_input=True), store)


def test_a_model_that_was_not_prepared_can_be_measured(ethanol):
    net = transformer(force_input=True)
    assert net.energy_head.spread is None
    found = scdlab.evaluate(net, ethanol[:10], DeNS(prob=1))
    assert found["noise_mse"] > 0 and np.isfinite(list(found.values())).all()


# --- kept with the model


def test_the_unit_is_saved_loaded_and_copied(ethanol, tmp_path):
    net = transformer(force_input=True)
    plain = transformer(force_input=True)
    EnergyForces().prepare(plain, ethanol[:20])
    assert "energy_head.spread" not in plain.state_dict()  # files of other models stay as they are
    DeNS().prepare(net, ethanol[:20])
    unit = net.energy_head.spread
    assert unit.dtype == torch.float64 and net.float().energy_head.spread.dtype == torch.float64
    scdlab.save(net.eval(), tmp_path / "net")
    scdlab.save(plain.eval(), tmp_path / "plain")
    assert torch.equal(scdlab.load(tmp_path / "net").energy_head.spread, unit)
    assert scdlab.load(tmp_path / "plain").energy_head.spread is None
    assert torch.equal(copy.deepcopy(net).energy_head.spread, unit)


def test_a_file_with_a_damaged_unit_is_refused(ethanol, tmp_path):
    net = transformer(force_input=True)
    DeNS().prepare(net, ethanol[:20])
    net.energy_head.set_spread(float("nan"))
    with pytest.raises(ValueError, match="NaN or infinity"):
        scdlab.save(net, tmp_path / "net")


def run(net, store, out, stop_at=None, resume=False):
    """A short run of `fit`, interrupted before one of its steps."""
    settings = dict(steps=6, batch_size=4, device="cpu", progress=False, checkpoint_every=1)
    objective = DeNS(prob=0.5, labels_of_corrupted=False)
    call = DeNS.__call__
    done = []

    class Watched(DeNS):
        def __call__(self, *arguments):
            if len(done) == stop_at:
                raise KeyboardInterrupt
            done.append(1)
            return call(self, *arguments)

    objective.__class__ = Watched
    try:
        scdlab.fit(net, objective, store, out=out, resume=resume, **settings)
    except KeyboardInterrupt:
        assert len(done) == stop_at
    return net


def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(ethanol, tmp_path):
    whole = run(transformer(force_input=True), ethanol[:16], tmp_path / "whole")
    run(transformer(force_input=True), ethanol[:16], tmp_path / "parts", stop_at=3)
    again = run(transformer(force_input=True), ethanol[:16], tmp_path / "parts", resume=True)
    ours = again.state_dict()
    assert "energy_head.spread" in ours and sorted(ours) == sorted(whole.state_dict())
    assert all(torch.equal(ours[name], value) for name, value in whole.state_dict().items())


# --- labels of corrupted structures


@pytest.mark.parametrize("direct", [False, True])
def test_labels_left_out_give_no_gradient_from_corrupted_structures(ethanol, direct):
    net = transformer(force_input=True, direct_forces=direct).train()
    labels = EnergyForces(energy_weight=0.1)  # squared: the gradient grows with the error
    objective = DeNS(prob=0.5, denoising_weight=0.0, labels_of_corrupted=False, supervised=labels)
    objective.prepare(net, ethanol[:50])
    batch = ethanol.take(range(0, 800, 100))  # 8 structures
    corrupted = objective.corrupt(batch, draw()).mask.view(8, 9).any(1)
    assert 0 < int(corrupted.sum()) < 8

    def gradient(of):
        net.zero_grad()
        objective(net, of, draw())[0].backward()
        found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        return torch.cat([g.flatten() for g in found])

    before = gradient(batch)
    other = copy.copy(batch)
    other.energy = torch.where(corrupted, batch.energy + 5.0, batch.energy)
    assert torch.equal(gradient(other), before)
    clean = ethanol.take((100 * np.arange(8))[~corrupted.numpy()])
    net.zero_grad()
    objective.supervised(net, clean)[0].backward()
    alone = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    scale = alone.abs().max()
    assert (before[before != 0] - alone[alone != 0]).abs().max() < 1e-4 * scale
    # as released, these labels count
    objective.labels_of_corrupted = True
    kept = gradient(batch)
    assert not torch.equal(gradient(other), kept)


def test_the_log_counts_the_structures_whose_labels_are_learned(ethanol):
    net = transformer(force_input=True).train()
    objective = DeNS(prob=0.5, labels_of_corrupted=False)
    objective.prepare(net, ethanol[:50])
    batch = ethanol.take(range(8))
    corrupted = objective.corrupt(batch, draw()).mask.view(8, 9).any(1)
    parts = objective(net, batch, draw())[1]
    assert int(parts["energy_mae"].count) == 8 - int(corrupted.sum())
    assert int(parts["force_mae"].count) == 9 * (8 - int(corrupted.sum()))
    assert parts["energy_mae"].selected


def test_with_all_structures_corrupted_only_the_noise_is_learned(ethanol):
    net = transformer(force_input=True).train()
    objective = DeNS(
        prob=1,
        corrupt_ratio=0.8,
        labels_of_corrupted=False,
        loss="squared",
        denoising_weight=0.5,
    )
    objective.prepare(net, ethanol[:50])
    batch = ethanol.take(range(4))
    loss, parts = objective(net, batch, draw())
    noise = 0.5 * net.energy_head.spread * float(parts["noise_mse"])
    assert float(loss.detach()) == pytest.approx(float(noise), rel=1e-5)
    assert parts["energy_mae"].count == 0 and parts["force_mae"].count == 0


def test_where_nothing_is_corrupted_the_option_changes_nothing(ethanol):
    net = transformer(force_input=True).train()
    batch = ethanol.take(range(4))
    losses = [
        DeNS(prob=1, max_rms_force=0.0, labels_of_corrupted=kept)(net, batch, draw())[0].detach()
        for kept in (True, False)
    ]
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)


def test_the_option_must_be_a_switch():
    with pytest.raises((TypeError, ValueError), match="labels_of_corrupted"):
        DeNS(labels_of_corrupted="no")


def test_other_objectives_set_no_unit(ethanol):
    net = transformer()
    CoordinateDenoising(supervised=EnergyForces()).prepare(net, ethanol[:10])
    assert net.energy_head.spread is None
