"""Training: resuming, interrupting, logging, and what is said when it cannot work."""

import csv
import json
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

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
from scdlab.training.estimate import announcement
from scdlab.training.loop import Run
from scdlab.training.processes import share_gradients
from scdlab.training.sampler import BatchSampler, near
from scdlab.training.schedule import factor


@pytest.fixture(scope="module")
def ethanol():
    return scdlab.load_ethanol().split(40, 10, seed=0)


loop = sys.modules["scdlab.training.loop"]


def small(**kwargs):
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=16, num_layers=2, num_rbf=16, **kwargs)


def quick(model, train, val=None, objective=None, **kwargs):
    settings = (
        dict(steps=20, batch_size=8, lr=2e-3, progress=False, log_every=2, val_every=5) | kwargs
    )
    return scdlab.fit(model, objective or EnergyForces(), train, val, **settings)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.slow
def test_training_lowers_both_errors(ethanol):
    train, val, _ = ethanol
    before = small()
    EnergyForces().prepare(before, train)
    start = scdlab.evaluate(before, val)
    model = small()
    result = quick(model, train, val, steps=150, lr=1e-2)
    end = scdlab.evaluate(model, val)
    assert end["force_mae"] < 0.6 * start["force_mae"]
    assert result.steps == 150 and result.best == min(
        v for v in result.history["val_loss"] if v == v
    )
    assert not model.training


def test_the_weights_of_the_lowest_validation_loss_are_kept(ethanol):
    train, val, _ = ethanol
    model = small()
    result = quick(model, train, val, steps=60, lr=2e-2)
    assert scdlab.evaluate(model, val, EnergyForces(), batch_size=8)["loss"] == pytest.approx(
        result.best, rel=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [5, 10, 13])
def test_a_resumed_run_ends_with_the_same_weights(ethanol, tmp_path, monkeypatch, stop_at):
    train, val, _ = ethanol
    straight = small()
    whole = quick(straight, train, val, out=tmp_path / "a")

    advance = Run.advance

    def die(self):
        if self.state.step == stop_at:
            raise RuntimeError("the power went off")
        return advance(self)

    monkeypatch.setattr(Run, "advance", die)
    with pytest.raises(RuntimeError, match="power"):
        quick(small(), train, val, out=tmp_path / "b", checkpoint_every=3)
    monkeypatch.undo()
    resumed = small()
    again = quick(resumed, train, val, out=tmp_path / "b", checkpoint_every=3, resume=True)
    assert torch.equal(weights(straight), weights(resumed))
    assert again.steps == 20 and again.best == whole.best
    drop = {"seconds"}
    assert [{k: v for k, v in r.items() if k not in drop} for r in again.rows] == [
        {k: v for k, v in r.items() if k not in drop} for r in whole.rows
    ]


def test_the_same_seed_gives_the_same_run_and_another_does_not(ethanol):
    a = small()
    b = small()
    c = small()
    quick(a, ethanol[0], seed=3)
    torch.rand(7)  # the caller's random numbers do not matter
    quick(b, ethanol[0], seed=3)
    quick(c, ethanol[0], seed=4)
    assert torch.equal(weights(a), weights(b)) and not torch.equal(weights(a), weights(c))


def test_training_leaves_the_callers_random_numbers_alone(ethanol):
    model = small()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    quick(model, ethanol[0], steps=2)
    assert torch.equal(torch.rand(3), expected)


def test_the_estimate_changes_nothing(ethanol, caplog):
    caplog.set_level("INFO")
    a = small()
    b = small()
    quick(a, ethanol[0], progress=True)
    (message,) = [r.getMessage() for r in caplog.records if r.levelname == "INFO"]
    assert "Training SchNet on 40 structures, 20 steps of 8: about" in message
    quick(b, ethanol[0])
    assert torch.equal(weights(a), weights(b))


def test_every_structure_is_seen_once_an_epoch(ethanol):
    sampler = BatchSampler(ethanol[0].n_atoms, batch_size=12, seed=1)
    stream = np.concatenate([sampler(step) for step in range(10)])
    assert len(stream) == 120
    for epoch in range(3):
        assert sorted(stream[40 * epoch : 40 * epoch + 40]) == list(range(40))


def test_a_run_leaves_its_log_and_its_splits(ethanol, tmp_path):
    train, val, _ = ethanol
    model = small()
    result = quick(model, train, val, out=tmp_path)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [int(r["step"]) for r in rows] == result.history["step"]
    assert rows[-1]["val_force_mae"] and {"loss", "energy_mae", "lr", "seconds"} <= set(rows[0])
    assert json.loads((tmp_path / "log.json").read_text())["steps"] == 20
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["lr"] == 2e-3
    np.testing.assert_array_equal(np.load(tmp_path / "train_index.npy"), train.index)
    assert not set(np.load(tmp_path / "train_index.npy")) & set(np.load(tmp_path / "val_index.npy"))
    assert torch.equal(weights(scdlab.load(tmp_path / "model")), weights(model))
    assert {p.name for p in tmp_path.iterdir()} == {
        "log.csv",
        "log.json",
        "run.json",
        "train_index.npy",
        "val_index.npy",
        "checkpoint.safetensors",
        "model.safetensors",
        "model.json",
    }


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(ethanol, tmp_path):
    train = ethanol[0]

    class Impatient(EnergyForces):
        steps = 0

        def __call__(self, *args):
            type(self).steps += 1
            if type(self).steps == 6:
                signal.raise_signal(signal.SIGINT)
            return super().__call__(*args)

    stopped = small()
    before = signal.getsignal(signal.SIGINT)
    result = quick(stopped, train, objective=Impatient(), out=tmp_path)
    assert result.interrupted and result.steps == 6
    assert signal.getsignal(signal.SIGINT) is before
    assert (tmp_path / "checkpoint.safetensors").is_file() and scdlab.load(tmp_path / "model")
    resumed = small()
    straight = small()
    again = quick(resumed, train, objective=Impatient(), out=tmp_path, resume=True)
    assert again.steps == 20 and not again.interrupted
    quick(straight, train)
    assert torch.equal(weights(resumed), weights(straight))


def test_training_works_outside_the_main_thread(ethanol):
    done = []
    thread = threading.Thread(target=lambda: done.append(quick(small(), ethanol[0], steps=2)))
    thread.start()
    thread.join()
    assert done[0].steps == 2


def test_early_stopping(ethanol):
    train, val, _ = ethanol
    result = quick(
        small(),
        train,
        val,
        steps=60,
        lr=1e-12,
        schedule="constant",
        warmup=0,
        ema_decay=None,
        patience=2,
        val_every=5,
    )
    assert result.stopped_early and result.steps < 60


def test_properties_are_learned_in_their_units():
    train, val, _ = scdlab.load_qm9(limit=300)[100:].split(150, 50, seed=1)
    model = small()
    quick(model, train, val, PropertyRegression("gap"), steps=100, batch_size=32, lr=1e-2)
    error = scdlab.evaluate(model, val)["gap_mae"]
    guess = np.abs(val.property("gap") - train.property("gap").mean()).mean()
    assert error < 0.7 * guess  # eV


def test_an_element_that_only_the_validation_set_has_is_found_before_training():
    store = scdlab.load_qm9(limit=30)  # CH4 first, NH3 second
    with pytest.raises(ValueError, match=r"trained on H, C only.*N"):
        quick(small(), store[[0]], store[[1]], EnergyForces(forces=False))


def test_reference_energies_take_off_nearly_all_of_a_total_energy():
    store = scdlab.load_qm9(limit=500)
    model = small()
    EnergyForces(forces=False).prepare(model, store)
    batch = store.take(range(500))
    rest = batch.energy - torch.zeros(500, dtype=torch.float64).index_add(
        0, batch.batch, model.energy_head.reference[batch.z]
    )
    assert batch.energy.std() > 500 and rest.std() < 5  # eV


@pytest.mark.slow
def test_two_processes_train_as_one(ethanol):
    train = ethanol[0]
    one = small()
    two = small()
    quick(one, train, steps=6, objective=EnergyForces())
    result = quick(
        two, train, steps=6, objective=EnergyForces(), devices=2, device="cpu", progress=True
    )
    assert result.steps == 6
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_weight_decay_leaves_what_has_no_gradient_alone_in_two_processes_too():
    """Frozen embeddings of elements and the energy head, which denoising does not ask: of no
    process a gradient."""
    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(
        hidden_channels=8, num_layers=1, num_heads=2, num_rbf=8, conditional=True
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train = scdlab.load_qm9(limit=40)[20:]
    quick(
        model,
        train,
        None,
        SelfConditionedDenoising(),
        steps=3,
        weight_decay=0.5,
        devices=2,
        device="cpu",
        ema_decay=None,
    )
    same = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert {"embedding.weight", "neighbor_embedding.embedding.weight"} <= same
    assert all(
        name.startswith("energy_head")
        for name in same - {n for n in same if "embedding.weight" in n}
    ), same
    assert all(
        (p - before[name]).abs().max() > 0
        for name, p in model.named_parameters()
        if name.startswith("blocks")
    )


def test_a_gradient_that_one_process_lacks_is_the_mean_with_zero():
    model = small()
    parameters = list(model.parameters())
    first, second, third = parameters[:3]
    first.grad = torch.ones_like(first)
    second.grad = None

    def with_another(mine, reduce_op):  # a process that has a gradient of 3 for `second` alone
        n = len(parameters)
        other = torch.zeros_like(mine)
        other[1] = 1.0
        other[n + first.numel() : n + first.numel() + second.numel()] = 3.0
        return (mine + other) / 2

    share_gradients(parameters, SimpleNamespace(world_size=2, all_reduce=with_another))
    assert (first.grad == 0.5).all() and (second.grad == 1.5).all()
    assert second.grad.shape == second.shape and third.grad is None


def test_a_batch_too_small_for_the_objective_is_refused_before_training(ethanol):
    class Pairs(EnergyForces):
        smallest_batch = 2

    with pytest.raises(ValueError, match="batch_size >= 2, got 1"):
        quick(small(), ethanol[0], objective=Pairs(), batch_size=1)
    with pytest.raises(ValueError, match="batch_size >= 4, got 3"):
        quick(small(), ethanol[0], objective=Pairs(), batch_size=3, devices=2)
    quick(small(), ethanol[0], objective=Pairs(), batch_size=2, steps=2)


@pytest.mark.slow
def test_a_head_that_was_added_in_other_processes_comes_home():
    train = scdlab.load_qm9(limit=60)[20:]
    one = small()
    two = small()
    options = dict(objective=PropertyRegression("homo"), steps=3, ema_decay=None)
    quick(one, train, **options, max_atoms=2 * int(train.n_atoms.max()), device="cpu")
    quick(
        two,
        train,
        **options,
        max_atoms=int(train.n_atoms.max()),
        batch_size=1,
        devices=2,
        device="cpu",
    )
    assert two.units == one.units == {"homo": "eV"} and weights(one).shape == weights(two).shape
    assert float(two.property_heads["homo"].mean) == pytest.approx(train.property("homo").mean())
    assert np.isfinite(scdlab.evaluate(two, train)["homo_mae"])


def test_schedules():
    cosine = [factor("cosine", t, 100, 10) for t in range(100)]
    assert (
        cosine[0] == pytest.approx(1 / 11)
        and max(cosine) == cosine[10] == 1.0
        and cosine[-1] < 1e-3
    )
    assert factor("exponential", 100_000, 10**6, 0) == pytest.approx(0.96)
    assert factor("constant", 5, 10, 0) == 1.0
    with pytest.raises(ValueError, match="'exponential' or 'constant', got 'linear'"):
        factor("linear", 0, 1, 0)


@pytest.mark.parametrize(
    "arguments, named",
    [
        (dict(steps=0), "steps must be above 0, got 0"),
        (dict(lr=-1.0), "lr must be above 0"),
        (dict(batch_size=0), "batch_size must be above 0"),
        (dict(minutes=0.0), "minutes must be above 0"),
        (dict(ema_decay=1.0), "ema_decay"),
        (dict(schedule="step"), "schedule"),
        (dict(device="tpu"), "device"),
        (dict(resume=True), "out="),
    ],
)
def test_impossible_settings_are_named(ethanol, arguments, named):
    with pytest.raises(ValueError, match=named):
        quick(small(), ethanol[0], **arguments)


def test_a_missing_gpu_is_said(ethanol, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="sees no GPU"):
        quick(small(), ethanol[0], device="cuda")


def test_missing_labels_are_named():
    qm9 = scdlab.load_qm9(limit=20)
    with pytest.raises(ValueError, match="needs forces"):
        quick(small(), qm9)
    with pytest.raises(ValueError, match=r"no property 'color'.*homo"):
        quick(small(), qm9, objective=PropertyRegression("color"))
    with pytest.raises(ValueError, match="empty"):
        quick(small(), qm9.split(20, 0)[2])


def test_a_checkpoint_of_another_run_is_refused(ethanol, tmp_path):
    quick(small(), ethanol[0], out=tmp_path, steps=4)
    with pytest.raises(ValueError, match=r"lr=0.002.*lr=0.1"):
        quick(small(), ethanol[0], out=tmp_path, steps=4, lr=0.1, resume=True)
    with pytest.raises(ValueError, match="another model"):
        torch.manual_seed(0)
        quick(
            scdlab.SchNet(hidden_channels=8, num_layers=2, num_rbf=16),
            ethanol[0],
            out=tmp_path,
            steps=4,
            resume=True,
        )
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        quick(small(), ethanol[0], out=tmp_path, steps=4, resume=True)


def test_a_loss_that_is_not_a_number_stops_the_run(ethanol):
    class Broken(EnergyForces):
        def __call__(self, *args):
            loss, parts = super().__call__(*args)
            return loss * float("nan"), parts

    with pytest.raises(ValueError, match="smaller learning rate"):
        quick(small(), ethanol[0], objective=Broken())


def test_batches_cut_from_a_devices_memory_train_the_same(ethanol, monkeypatch):
    train, val, _ = ethanol
    from_disk = small()
    from_device = small()
    one = quick(from_disk, train, val)
    taken = []

    class Resident(type(train.to("cpu"))):
        def take(self, index):
            taken.append(len(index))
            return super().take(index)

    monkeypatch.setattr(loop, "near", Resident)
    other = quick(from_device, train, val)
    assert (
        taken.count(8) >= 20 and sum(taken) > 8 * 20
    )  # the batches of training, and those of validation
    assert torch.equal(weights(from_disk), weights(from_device))
    assert other.best == one.best


@pytest.mark.slow
def test_one_process_loads_nothing_that_only_several_need():
    code = """
import sys
import scdlab
model = scdlab.SchNet(hidden_channels=4, num_layers=1, num_rbf=4)
data = scdlab.load_ethanol()[:4]
scdlab.fit(model, scdlab.objectives.EnergyForces(), data, steps=1, device="cpu", progress=False)
print(sorted({"lightning_fabric", "torchmetrics", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_set_goes_to_a_gpu_where_it_takes_a_quarter_of_its_free_memory_at_most(
    ethanol, monkeypatch
):
    store = ethanol[0]
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(scdlab.AtomStore, "to", lambda self, device: device)
    for free, expected in ((4 * store.nbytes, gpu), (4 * store.nbytes - 1, store)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**12))
        assert near(store, gpu) is expected
    assert near(store, torch.device("cpu")) is store


def test_the_estimate_says_when_a_gpu_cannot_hold_the_set(ethanol):
    settings = SimpleNamespace(steps=2, batch_size=4, max_atoms=None)
    run = Run(small(), EnergyForces(), ethanol[0], None, settings)
    run.fabric = SimpleNamespace(world_size=1)
    run.device = torch.device("cuda")
    for batches, end in (
        (run.train, "about 2 s on one GPU, batches from the processor's memory."),
        (None, "about 2 s on one GPU."),
    ):
        run.batches = batches
        assert announcement(run, step_time=1.0).endswith(end)


@pytest.fixture(scope="module")
def mixed():
    """Molecules of a few atoms and crystals, and what each batch of them may hold."""
    crystals = [
        ase.build.bulk("Cu", cubic=cubic) * (1, 1, k) for k in (1, 2, 3) for cubic in (True, False)
    ]
    molecules = scdlab.load_qm9(limit=60)
    return scdlab.AtomStore.concat([molecules, scdlab.AtomStore.from_ase(crystals)])


def budgeted(mixed, rank=0, world=1, **settings):
    settings = {"seed": 1, "batch_size": len(mixed), "max_atoms": 40} | settings
    return BatchSampler(mixed.n_atoms, rank=rank, world_size=world, **settings)


def test_batches_of_a_budget_are_full_and_show_every_structure_once_an_epoch(mixed):
    sampler = budgeted(mixed)
    batches = [sampler(step) for step in range(60)]
    atoms = [int(mixed.n_atoms[batch].sum()) for batch in batches]
    assert max(atoms) <= 40
    assert all(
        a + mixed.n_atoms[after[0]] > 40 for a, after in zip(atoms, batches[1:], strict=False)
    )
    stream = np.concatenate(batches)
    for epoch in range(len(stream) // len(mixed)):
        part = stream[epoch * len(mixed) : (epoch + 1) * len(mixed)]
        assert sorted(part) == list(range(len(mixed)))
    assert max(map(len, (budgeted(mixed, batch_size=2)(step) for step in range(20)))) == 2


def test_a_batch_of_a_budget_depends_on_its_step_alone(mixed):
    one = budgeted(mixed)
    batches = [one(step) for step in range(30)]
    np.testing.assert_array_equal(budgeted(mixed)(29), batches[29])  # as after a resumption
    np.testing.assert_array_equal(one(3), batches[3])
    for rank in (0, 1):
        two = budgeted(mixed, rank=rank, world=2)
        for step in range(15):
            np.testing.assert_array_equal(two(step), batches[2 * step + rank])


def test_a_run_under_a_budget_holds_it_in_validation_too_and_resumes_bitwise(
    mixed, tmp_path, monkeypatch
):
    train, val, _ = mixed.split(50, 16, seed=0)
    taken = []
    take = scdlab.AtomStore.take
    monkeypatch.setattr(
        scdlab.AtomStore, "take", lambda self, k: taken.append(b := take(self, k)) or b
    )
    objective = CoordinateDenoising(sigma=0.04)
    settings = dict(objective=objective, batch_size=None, max_atoms=40, steps=12, val_every=4)
    whole = quick(straight := small(), train, val, out=tmp_path / "a", **settings)
    sizes = [batch.num_nodes for batch in taken]
    assert max(sizes) <= 40 and len({batch.num_graphs for batch in taken}) > 2
    advance = Run.advance

    def die(self):
        if self.state.step == 7:
            raise RuntimeError("the power went off")
        return advance(self)

    monkeypatch.setattr(Run, "advance", die)
    with pytest.raises(RuntimeError, match="power"):
        quick(small(), train, val, out=tmp_path / "b", checkpoint_every=3, **settings)
    monkeypatch.setattr(Run, "advance", advance)
    again = quick(resumed := small(), train, val, out=tmp_path / "b", resume=True, **settings)
    assert torch.equal(weights(straight), weights(resumed)) and again.best == whole.best
    with pytest.raises(ValueError, match=r"max_atoms=40.*max_atoms=50"):
        quick(small(), train, val, out=tmp_path / "b", resume=True, **settings | dict(max_atoms=50))


def test_a_structure_larger_than_the_budget_is_found_before_training(mixed, tmp_path):
    for sets in ((mixed, None), (mixed[:30], mixed)):
        with pytest.raises(ValueError, match=r"Structure \d+ \(\w+\) has \d+ atoms.*max_atoms=10"):
            quick(small(), *sets, CoordinateDenoising(), max_atoms=10, out=tmp_path / "out")
    with pytest.raises(ValueError, match="max_atoms=10"):
        scdlab.evaluate(small(), mixed, CoordinateDenoising(), max_atoms=10)
    assert not (tmp_path / "out").exists()


def test_the_estimate_names_the_budget(mixed, caplog):
    caplog.set_level("INFO")
    quick(
        small(),
        mixed,
        mixed[:5],
        CoordinateDenoising(),
        max_atoms=64,
        batch_size=None,
        steps=2,
        progress=True,
    )
    assert "2 steps of up to 64 atoms: about" in caplog.text


def test_a_loss_over_a_budget_of_batches_is_the_mean_over_all(mixed):
    few = scdlab.load_ethanol()[:30]
    model = small()
    EnergyForces().prepare(model, few)
    whole = scdlab.evaluate(model, few, EnergyForces(), batch_size=30)
    assert scdlab.evaluate(
        model, few, EnergyForces(), batch_size=None, max_atoms=20
    ) == pytest.approx(whole, rel=1e-5)
