"""A loss that is no number: what is said, what is kept, and what is left in the model."""

import json
import logging
import math
import re
import shlex
import signal
import subprocess
import sys

import pytest
import torch

import scdlab
from scdlab.objectives import CoordinateDenoising, EnergyForces, PropertyRegression
from scdlab.training import replay
from scdlab.training.guard import LastGood, NotFinite, Watch

FIT = dict(steps=12, batch_size=4, lr=2e-3, device="cpu", progress=False)


@pytest.fixture(scope="module")
def ethanol():
    frames = scdlab.load_ethanol()[10:42]
    return frames[:24], frames[24:]


def small(seed=0):
    torch.manual_seed(seed)
    return scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Broken(EnergyForces):
    """Gives a loss, or a gradient, that is no number at one of its calls."""

    calls = 0
    at = 7
    value = math.nan
    gradient = False

    def __call__(self, model, batch, generator=None):
        loss, parts = super().__call__(model, batch, generator)
        type(self).calls += model.training
        if type(self).calls != type(self).at or not model.training:
            return loss, parts
        if self.gradient:  # finite, with a derivative that is not
            zero = (next(model.parameters()).flatten()[0] * 0.0).sqrt()
            return loss + zero, parts
        return loss * self.value, parts


ISOLATED = EnergyForces(reference_energies={"H": -10.0, "C": -100.0, "O": -100.0})


def with_a_huge_energy(store):
    """Structure 5 has an energy whose square overflows."""
    arrays = store.arrays()
    huge = arrays["energy"].copy()
    huge[5] = 1e160
    return scdlab.AtomStore.from_arrays(
        arrays["z"], arrays["pos"], arrays["ptr"], energy=huge, forces=arrays["forces"]
    )


def broken(**settings):
    return type("Broken", (Broken,), {"calls": 0, **settings})()


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(value=math.nan), "loss is nan at step 7"),
        (dict(value=math.inf), "loss is inf at step 7"),
        (dict(gradient=True), "norm of the gradient is nan where the loss is"),
    ],
)
@pytest.mark.parametrize("grad_clip", [10.0, None])
def test_the_step_and_its_structures_are_named(ethanol, tmp_path, settings, said, grad_clip):
    model = small()
    with pytest.raises(ValueError, match=said) as error:
        scdlab.fit(
            model,
            broken(**settings),
            ethanol[0],
            out=tmp_path,
            checkpoint_every=3,
            grad_clip=grad_clip,
            **FIT,
        )
    text = str(error.value)
    assert "step 7" in text and "checkpoint.safetensors has those of step 6" in text
    found = re.search(r"structures (.*) of the training set \(by its index (.*?)\)", text)
    numbers, index = found.group(1, 2)
    numbers = [int(n) for n in re.findall(r"\d+", numbers)]
    assert len(numbers) == 4
    assert [int(n) for n in re.findall(r"\d+", index)] == [n + 10 for n in numbers]
    assert torch.isfinite(weights(model)).all() and not model.training
    about = json.loads((tmp_path / "failed" / "step.json").read_text())
    assert sorted(about["structures"]) == numbers and about["step"] == 7


def test_the_last_good_checkpoint_stays_and_is_resumed_bit_by_bit(ethanol, tmp_path):
    straight = small()
    scdlab.fit(straight, broken(at=-1), *ethanol, **FIT)
    with pytest.raises(ValueError, match="step 7"):
        scdlab.fit(small(), broken(), *ethanol, out=tmp_path, checkpoint_every=2, **FIT)
    resumed = small()
    again = scdlab.fit(resumed, broken(at=-1), *ethanol, out=tmp_path, resume=True, **FIT)
    assert again.steps == 12 and torch.equal(weights(straight), weights(resumed))


def test_the_weights_left_are_the_average_of_the_good_steps(ethanol):
    stopped = small()
    with pytest.raises(ValueError, match="step 7"):
        scdlab.fit(stopped, broken(), ethanol[0], schedule="constant", warmup=0, **FIT)
    six = small()
    settings = FIT | dict(steps=6, schedule="constant", warmup=0)
    scdlab.fit(six, broken(at=-1), ethanol[0], **settings)
    assert torch.equal(weights(stopped), weights(six))


def test_a_structure_that_is_the_reason_alone_is_named_alone(ethanol):
    class Hates(EnergyForces):
        def __call__(self, model, batch, generator=None):
            loss, parts = super().__call__(model, batch, generator)
            low = batch.energy.min() < ethanol[0].energy.min() + 1e-9
            return (loss / 0.0 if low else loss), parts

    lowest = int(ethanol[0].energy.argmin())
    said = rf"for structure {lowest} of the training set \(by its index {lowest + 10}\)"
    with pytest.raises(ValueError, match=said):
        scdlab.fit(small(), Hates(), ethanol[0], **FIT)


@pytest.mark.parametrize(
    "settings", [dict(), dict(augment="O(3)"), dict(anneal={"energy_weight": (0.01, 1.0)})]
)
def test_a_kept_step_is_repeated_to_the_last_bit(ethanol, tmp_path, settings):
    with pytest.raises(ValueError, match="for structure 5 of the training set") as error:
        scdlab.fit(
            small(), ISOLATED, with_a_huge_energy(ethanol[0]), out=tmp_path, **FIT | settings
        )
    again = replay(tmp_path / "failed")
    assert again.failed and not math.isfinite(again.loss)
    assert f"step {again.step}," in str(error.value) and 5 in again.structures
    store = scdlab.AtomStore.open(tmp_path / "failed" / "structures")
    assert len(store) == 4 and store.energy.max() == 1e160


def test_a_step_of_a_class_of_ones_own_needs_its_objective(ethanol, tmp_path):
    with pytest.raises(ValueError, match=r"scdlab\.training\.replay\('.*failed', objective=…\)"):
        scdlab.fit(small(), broken(), ethanol[0], out=tmp_path, **FIT)
    about = json.loads((tmp_path / "failed" / "step.json").read_text())
    assert about["objective_json"] is not None
    again = replay(tmp_path / "failed", EnergyForces())
    assert not again.failed and "finite now" in str(again)


def test_the_command_that_repeats_a_step_is_one_for_a_shell(ethanol, tmp_path):
    folder = tmp_path / "it's a run; really"
    energies = {8: -2040.0, 6: -1030.0, 1: -13.6}
    objective = EnergyForces(reference_energies=energies)
    with pytest.raises(ValueError) as error:
        scdlab.fit(small(), objective, with_a_huge_energy(ethanol[0]), out=folder, **FIT)
    command = str(error.value).partition("; scdlab ")[2].partition(" repeats the step")[0]
    assert shlex.split(command) == ["train", "--replay", str(folder / "failed")]
    assert replay(folder / "failed").failed


def test_labels_that_spoil_the_scale_of_all_are_named(ethanol, caplog):
    arrays = ethanol[0].arrays()
    forces = arrays["forces"].copy()
    forces[4 * 9] = 1e30
    store = scdlab.AtomStore.from_arrays(
        arrays["z"], arrays["pos"], arrays["ptr"], energy=arrays["energy"], forces=forces
    )
    with pytest.raises(ValueError, match="is inf"):
        scdlab.fit(small(), EnergyForces(), store, **FIT)
    assert "have forces beyond 1e+15 eV/Å (the first is number 4)" in caplog.text


def test_labels_without_a_scale_are_refused_before_the_model_is_changed(ethanol):
    arrays = with_a_huge_energy(ethanol[0]).arrays()
    large = scdlab.AtomStore.from_arrays(
        *(arrays[name] for name in ("z", "pos", "ptr")),
        energy=arrays["energy"],
        properties={"gap": arrays["energy"]},
    )
    for objective in (EnergyForces(forces=False), PropertyRegression("gap")):
        model = small()
        with pytest.raises(ValueError, match="that of structure 5 is of the size 1e"):
            scdlab.fit(model, objective, large, **FIT)
        assert all(t.isfinite().all() for t in model.state_dict().values())


def test_a_damaged_record_of_a_step_is_refused(ethanol, tmp_path):
    with pytest.raises(FileNotFoundError, match="failed"):
        replay(tmp_path / "failed")
    with pytest.raises(ValueError, match="step 7"):
        scdlab.fit(small(), broken(), ethanol[0], out=tmp_path, **FIT)
    path = tmp_path / "failed" / "step.json"
    path.write_text(path.read_text().replace('"step": 7', '"step": 8'))
    with pytest.raises(ValueError, match="digest differs"):
        replay(tmp_path / "failed")


def test_an_optimizer_that_skips_by_itself_is_looked_at_one_step_later(ethanol):
    """As on a GPU, where nobody waits for a step before the next one."""
    model = small()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    watch = Watch(list(model.parameters()), optimizer, later=True)
    for step, value in enumerate([1.0, math.nan, 1.0]):
        before = weights(model)
        optimizer.zero_grad()
        loss = (weights_of(model) ** 2).sum() * value
        loss.backward()
        if step == 2:
            with pytest.raises(NotFinite) as wrong:
                watch.look(step, loss, 10.0)
            assert wrong.value.step == 1 and math.isnan(wrong.value.loss)
            break
        watch.look(step, loss, 10.0)
        optimizer.step()
        assert torch.equal(before, weights(model)) == (value != 1.0)
        assert torch.isfinite(weights(model)).all()
    watch.settle()  # nothing waits any more


def weights_of(model):
    return torch.cat([p.flatten() for p in model.parameters()])


def test_buffers_that_a_step_has_spoiled_are_brought_back():
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    good = LastGood(net)
    net(torch.full((4, 3), math.nan))
    assert not torch.isfinite(net[1].running_mean).all()
    good.restore([[torch.full_like(p, math.inf) for p in net.parameters()]])
    assert all(torch.isfinite(t).all() for t in net.state_dict().values())


def spoil(groups):
    """An optimizer that makes NaN of good gradients."""

    class Spoil(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.data.fill_(math.nan)

    return Spoil(groups)


@pytest.mark.parametrize("folder", [True, False])
def test_weights_that_are_no_numbers_are_never_handed_back(ethanol, tmp_path, folder):
    model = small()
    out = tmp_path / "run" if folder else None
    with pytest.raises(ValueError, match="no longer finite numbers after step 1"):
        settings = FIT | dict(steps=1, optimizer=spoil, out=out)
        scdlab.fit(model, EnergyForces(), ethanol[0], **settings)
    assert torch.isfinite(weights(model)).all()
    assert not folder or not (out / "checkpoint.safetensors").exists()
    model.embedding.weight.data[0] = math.nan
    with pytest.raises(ValueError, match="not all finite numbers, so it cannot be trained"):
        scdlab.fit(model, EnergyForces(), ethanol[0], **FIT)


def test_files_of_a_run_may_be_read_by_others(ethanol, tmp_path):
    scdlab.fit(small(), EnergyForces(), ethanol[0], out=tmp_path, **FIT)
    (tmp_path / "mine").write_text("")
    expected = (tmp_path / "mine").stat().st_mode
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {expected}


def test_a_validation_loss_that_is_no_number_is_never_the_best(ethanol, caplog):
    class Silent(EnergyForces):
        calls = 0

        @property
        def validation_objective(self):
            return Nan()

    class Nan(EnergyForces):
        calls = 0

        def __call__(self, *args):
            type(self).calls += 1
            loss, parts = super().__call__(*args)
            return (loss * math.nan if type(self).calls in (1, 3) else loss), parts

    result = scdlab.fit(small(), Silent(), *ethanol, val_every=3, **FIT)
    measured = [value for value in result.history["val_loss"] if value == value]
    assert len(measured) == 2 and result.best == min(measured)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len([text for text in warned if "validation loss is nan at step 3" in text]) == 1


def test_a_callback_that_raises_finds_its_step_on_disk(ethanol, tmp_path):
    def stop(step, row, model):
        if step == 5:
            raise RuntimeError("enough")

    model = small()
    settings = FIT | dict(log_every=1, checkpoint_every=12)
    with pytest.raises(RuntimeError, match="enough"):
        scdlab.fit(model, EnergyForces(), *ethanol, out=tmp_path, callbacks=[stop], **settings)
    assert torch.isfinite(weights(model)).all() and not model.training
    seen = []
    resumed = small()
    scdlab.fit(
        resumed,
        EnergyForces(),
        *ethanol,
        out=tmp_path,
        resume=True,
        callbacks=[lambda step, row, model: seen.append(step)],
        **settings,
    )
    assert seen[0] == 6
    straight = small()
    scdlab.fit(straight, EnergyForces(), *ethanol, **settings)
    assert torch.equal(weights(straight), weights(resumed))


def test_the_second_ctrl_c_leaves_a_model_that_can_be_used(ethanol, tmp_path):
    class Twice(EnergyForces):
        calls = 0

        def __call__(self, *args):
            type(self).calls += 1
            if type(self).calls == 6:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return super().__call__(*args)

    model = small()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        scdlab.fit(model, Twice(), *ethanol, out=tmp_path, checkpoint_every=2, **FIT)
    assert signal.getsignal(signal.SIGINT) is before
    assert not model.training and math.isfinite(scdlab.evaluate(model, ethanol[1])["force_mae"])
    resumed = small()
    Twice.calls = 100
    again = scdlab.fit(resumed, Twice(), *ethanol, out=tmp_path, resume=True, **FIT)
    straight = small()
    scdlab.fit(straight, Twice(), *ethanol, **FIT)
    assert again.steps == 12 and torch.equal(weights(straight), weights(resumed))


def test_a_checkpoint_that_cannot_be_written_costs_no_training(
    ethanol, tmp_path, monkeypatch, caplog
):
    folder = sys.modules["scdlab.training.folder"]

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "write_checkpoint", full)
    model = small()
    result = scdlab.fit(model, EnergyForces(), *ethanol, out=tmp_path, checkpoint_every=3, **FIT)
    assert result.steps == 12 and torch.equal(
        weights(scdlab.load(tmp_path / "model")), weights(model)
    )
    assert "The checkpoint of step 3 could not be written" in caplog.text
    monkeypatch.setattr(folder.checkpoint, "save", full)
    with pytest.raises(OSError, match="it is in the model that was given to fit"):
        scdlab.fit(model := small(), EnergyForces(), *ethanol, out=tmp_path / "b", **FIT)
    assert torch.equal(weights(model), weights(scdlab.load(tmp_path / "model")))


def test_the_bar_follows_the_level_of_the_logger(ethanol, capsys):
    logger = logging.getLogger("scdlab")
    level = logger.level
    settings = FIT | dict(progress=True, estimate=False)
    try:
        logger.setLevel("INFO")
        scdlab.fit(small(), CoordinateDenoising(), ethanol[0], **settings)
        shown = capsys.readouterr().out
        logger.setLevel("WARNING")
        scdlab.fit(small(), CoordinateDenoising(), ethanol[0], **settings)
    finally:
        logger.setLevel(level)
    assert "12/12" in shown and not capsys.readouterr().out


@pytest.mark.slow
def test_sigterm_leaves_all_that_was_learned_and_then_ends_the_process(tmp_path):
    code = f"""
import os, signal, scdlab
from scdlab.objectives import EnergyForces
def watch(step, row, model):
    if step == 5:
        os.kill(os.getpid(), signal.SIGTERM)
scdlab.fit(scdlab.SchNet(hidden_channels=8, num_layers=1), EnergyForces(),
           scdlab.load_ethanol()[:20], steps=500, batch_size=4, log_every=1, progress=False,
           device="cpu", out={str(tmp_path)!r}, callbacks=[watch])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGTERM
    assert 5 <= json.loads((tmp_path / "log.json").read_text())["steps"] <= 6
    assert scdlab.load(tmp_path / "model") and (tmp_path / "checkpoint.safetensors").is_file()
    assert not (tmp_path / ".lock").exists()


@pytest.mark.slow
def test_a_step_is_repeated_on_the_command_line(ethanol, tmp_path):
    with pytest.raises(ValueError, match="is inf"):
        scdlab.fit(small(), ISOLATED, with_a_huge_energy(ethanol[0]), out=tmp_path, **FIT)
    command = [sys.executable, "-m", "scdlab", "train", "--replay", str(tmp_path / "failed")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "as when it was kept" in done.stdout
