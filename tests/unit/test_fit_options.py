"""What `fit` offers beside its defaults: other optimizers, callbacks, a limit of time."""

import csv
import functools
import sys
import time
import types

import numpy as np
import pytest
import torch

import scdlab
from scdlab.objectives import CoordinateDenoising, EnergyForces
from scdlab.training import CsvWriter, TensorBoard
from scdlab.training.loop import Run

FIT = dict(steps=12, batch_size=4, lr=2e-3, log_every=2, val_every=6, device="cpu", progress=False)


@pytest.fixture(scope="module")
def ethanol():
    frames = scdlab.load_ethanol()[:30]
    return frames[:20], frames[20:]


def small():
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def stop_at(step):
    """A callback that fails after the checkpoint of a step."""

    def stop(now, row, model):
        if now == step:
            raise RuntimeError("the power went off")

    return stop


def nadam(groups):
    return torch.optim.NAdam(groups, weight_decay=0.01)


# ------------------------------------------------------------------------------------- optimizers


@pytest.mark.parametrize("make", [functools.partial(torch.optim.SGD, momentum=0.9), nadam])
def test_another_optimizer_trains_and_resumes_bitwise(ethanol, tmp_path, make):
    settings = FIT | dict(optimizer=make, checkpoint_every=3)
    straight = small()
    whole = scdlab.fit(straight, EnergyForces(), *ethanol, out=tmp_path / "a", **settings)
    with pytest.raises(RuntimeError, match="power"):
        stopping = settings | dict(callbacks=[stop_at(6)])
        scdlab.fit(small(), EnergyForces(), *ethanol, out=tmp_path / "b", **stopping)
    resumed = small()
    again = scdlab.fit(
        resumed, EnergyForces(), *ethanol, out=tmp_path / "b", resume=True, **settings
    )
    assert torch.equal(weights(straight), weights(resumed)) and again.best == whole.best
    by_default = small()
    scdlab.fit(by_default, EnergyForces(), *ethanol, **FIT)
    assert not torch.equal(weights(straight), weights(by_default))


def test_an_optimizer_gets_a_group_for_each_learning_rate(ethanol):
    seen = []

    def make(groups):
        seen.append([group["lr"] for group in groups])
        return torch.optim.SGD(groups, momentum=0.9)

    rates = {"head": 1e-3, "backbone": 1e-4}
    scdlab.fit(small(), EnergyForces(), *ethanol, optimizer=make, **FIT | dict(lr=rates))
    assert seen == [[1e-4, 1e-3]]


def test_a_run_is_not_resumed_with_another_optimizer(ethanol, tmp_path):
    scdlab.fit(small(), EnergyForces(), *ethanol, out=tmp_path, **FIT)
    with pytest.raises(ValueError, match=r"optimizer=None, and this run has optimizer=.*nadam"):
        scdlab.fit(
            small(), EnergyForces(), *ethanol, out=tmp_path, resume=True, optimizer=nadam, **FIT
        )
    with pytest.raises(ValueError, match="weight_decay is AdamW's"):
        scdlab.fit(small(), EnergyForces(), *ethanol, optimizer=nadam, weight_decay=0.1, **FIT)


# -------------------------------------------------------------------------------------- callbacks


def test_a_callback_gets_each_row_of_the_log_and_changes_nothing(ethanol):
    seen = []

    def watch(step, row, model):
        seen.append((step, row, model.training))
        row.clear()
        torch.rand(3)
        model.eval()

    watched = small()
    plain = small()
    seen.clear()
    result = scdlab.fit(watched, EnergyForces(), *ethanol, callbacks=[watch], **FIT)
    scdlab.fit(plain, EnergyForces(), *ethanol, **FIT)
    assert [step for step, *_ in seen] == result.history["step"] == [2, 4, 6, 8, 10, 12]
    assert all(training for *_, training in seen)
    assert torch.equal(weights(watched), weights(plain)) and "loss" in result.rows[0]


def test_the_csv_writer_writes_the_log_and_goes_on_after_a_resumption(ethanol, tmp_path):
    path = tmp_path / "logs" / "log.csv"
    stopping = [CsvWriter(path), stop_at(6)]
    with pytest.raises(RuntimeError, match="power"):
        scdlab.fit(
            small(), EnergyForces(), *ethanol, out=tmp_path / "run", callbacks=stopping, **FIT
        )
    result = scdlab.fit(
        small(),
        EnergyForces(),
        *ethanol,
        out=tmp_path / "run",
        resume=True,
        callbacks=[CsvWriter(path)],
        **FIT,
    )
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == result.history["step"]
    assert [float(row["loss"]) for row in rows] == result.history["loss"]
    assert float(rows[-1]["val_loss"]) == result.history["val_loss"][-1] and not rows[0]["val_loss"]


def test_tensorboard_gets_each_number(ethanol, tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            written.append((self.folder, name, step, value))

        def flush(self):
            pass

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    board = TensorBoard(tmp_path)
    result = scdlab.fit(small(), EnergyForces(), *ethanol, callbacks=[board], **FIT)
    losses = [value for folder, name, _, value in written if name == "loss"]
    assert losses == result.history["loss"]
    assert {name for _, name, *_ in written} >= {"loss", "lr", "force_mae", "val_loss"}


def test_a_missing_tensorboard_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        TensorBoard(tmp_path)(1, {"loss": 1.0}, small())


# ------------------------------------------------------------------------------------------- time


def test_minutes_end_a_run_with_a_validation_and_it_can_be_resumed(ethanol, tmp_path, monkeypatch):
    straight = small()
    scdlab.fit(straight, EnergyForces(), ethanol[0], **FIT)
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: 10.0 * next(clock))  # ten seconds a look
    settings = FIT | dict(val_every=100, out=tmp_path, minutes=0.9)
    first = scdlab.fit(small(), EnergyForces(), *ethanol, **settings)
    assert first.stopped == "minutes" and 0 < first.steps < 12
    assert first.best == first.rows[-1]["val_loss"] and "stopped by time" in repr(first)
    monkeypatch.undo()
    model = small()
    again = scdlab.fit(model, EnergyForces(), *ethanol, resume=True, **settings)
    assert again.steps == 12 and again.stopped == "steps" and "val_loss" in again.rows[-1]
    assert again.history["lr"][-1] == pytest.approx(0.0, abs=1e-4)  # the schedule is one of steps


def test_a_run_that_time_stops_ends_with_the_weights_of_one_that_it_did_not(ethanol, tmp_path):
    straight = small()
    scdlab.fit(straight, EnergyForces(), ethanol[0], **FIT)
    pieces = small()
    for _ in range(40):
        result = scdlab.fit(
            pieces, EnergyForces(), ethanol[0], out=tmp_path, resume=True, minutes=1e-9, **FIT
        )
        if result.steps == 12:
            break
        assert result.stopped == "minutes"
    assert torch.equal(weights(straight), weights(pieces))


def test_the_estimate_can_be_left_out(ethanol, monkeypatch):
    steps = []
    gradient = Run._gradient
    monkeypatch.setattr(
        Run, "_gradient", lambda self, step: steps.append(step) or gradient(self, step)
    )
    scdlab.fit(
        small(), EnergyForces(), ethanol[0], estimate=False, **FIT | dict(steps=2, progress=True)
    )
    assert steps == [0, 1]


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(clip=1.0), "fit has no argument 'clip': clip is now grad_clip."),
        (dict(ema=0.9), "ema is now ema_decay"),
        (dict(step=3), "the nearest that it has is 'steps'"),
        (dict(objective=EnergyForces), r"objective must be .*got the class EnergyForces"),
        (dict(objective="EnergyForces"), "got 'EnergyForces'"),
        (dict(model=torch.nn.Linear(1, 1)), "model must be .*AtomisticModel.*got a Linear"),
    ],
)
def test_what_is_no_argument_or_no_objective_is_named(ethanol, arguments, message):
    arguments = {"model": small(), "objective": EnergyForces()} | arguments
    with pytest.raises(TypeError, match=message):
        scdlab.fit(train=ethanol[0], **arguments)


# ------------------------------------------------------------------------------ evaluation, files


def test_energies_per_atom_stand_beside_totals():
    qm9 = scdlab.load_qm9(limit=60)[30:]
    model = small()
    EnergyForces(forces=False).prepare(model, qm9)
    found = scdlab.evaluate(model, qm9, batch_size=7)
    batch = qm9.take(range(len(qm9)))
    with torch.no_grad():
        error = (model.eval()(batch).energy - batch.energy).abs()
    assert list(found) == ["energy_mae", "energy_mae_per_atom"]
    assert found["energy_mae"] == pytest.approx(float(error.mean()))
    assert found["energy_mae_per_atom"] == pytest.approx(float((error / batch.natoms).mean()))


class Tied(scdlab.SchNet):
    """Both layers of the network are one."""

    def __init__(self, hidden_channels: int = 8):
        super().__init__(hidden_channels=hidden_channels, num_layers=2, num_rbf=8)
        self.blocks[1] = self.blocks[0]


def test_tied_weights_train_and_resume(ethanol, tmp_path):
    straight = Tied()
    torch.manual_seed(0)
    torch.nn.init.normal_(straight.embedding.weight)
    start = {k: v.clone() for k, v in straight.state_dict().items()}
    scdlab.fit(straight, EnergyForces(), *ethanol, out=tmp_path / "a", **FIT)
    halved = Tied()
    halved.load_state_dict(start)
    with pytest.raises(RuntimeError, match="power"):
        stopping = FIT | dict(callbacks=[stop_at(6)])
        scdlab.fit(halved, EnergyForces(), *ethanol, out=tmp_path / "b", **stopping)
    resumed = Tied()
    scdlab.fit(resumed, EnergyForces(), *ethanol, out=tmp_path / "b", resume=True, **FIT)
    assert torch.equal(weights(straight), weights(resumed))
    assert resumed.blocks[1] is resumed.blocks[0]


@pytest.mark.slow
def test_a_callback_and_an_optimizer_go_to_other_processes(ethanol, tmp_path):
    path = tmp_path / "log.csv"
    two = small()
    settings = FIT | dict(steps=4, callbacks=[CsvWriter(path)], optimizer=nadam, devices=2)
    scdlab.fit(two, CoordinateDenoising(), ethanol[0], **settings)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [2, 4]
    assert np.isfinite([float(row["loss"]) for row in rows]).all()
