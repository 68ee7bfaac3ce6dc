"""A checkpoint knows what it was trained on, and a folder has one writer and one run."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

import scdlab
from scdlab import locks
from scdlab.objectives import CoordinateDenoising, EnergyForces, SelfConditionedDenoising
from scdlab.objectives.identity import as_text, from_text, identity

FIT = dict(steps=6, batch_size=4, lr=2e-3, device="cpu", progress=False, checkpoint_every=2)


@pytest.fixture(scope="module")
def ethanol():
    frames = scdlab.load_ethanol()
    return frames[:16], frames[16:20]


def small(**settings):
    torch.manual_seed(0)
    return scdlab.SchNet(**(dict(hidden_channels=8, num_layers=1, num_rbf=8) | settings))


def train(out, sets, model=None, objective=None, **settings):
    return scdlab.fit(
        model or small(), objective or EnergyForces(), *sets, out=out, **FIT | settings
    )


@dataclass
class Weighted(EnergyForces):
    """An objective whose repr does not show all it has."""

    weights: np.ndarray | None = None


def first(batch):
    return batch.z > 1


def with_labels(store, change):
    arrays = store.arrays()
    change(arrays)
    return scdlab.AtomStore.from_arrays(
        arrays["z"],
        arrays["pos"],
        arrays["ptr"],
        energy=arrays["energy"],
        forces=arrays["forces"],
    )


def test_other_structures_another_order_and_other_labels_are_refused(ethanol, tmp_path):
    train_set, val = ethanol
    train(tmp_path, ethanol)

    def one_force(arrays):
        arrays["forces"] = arrays["forces"].copy()
        arrays["forces"][0, 0] += 1e-4

    others = scdlab.load_ethanol()[100:116]
    for sets, which in (
        ((others, val), "training"),
        ((train_set[::-1], val), "training"),
        ((with_labels(train_set, one_force), val), "training"),
        ((train_set, val[::-1]), "validation"),
    ):
        with pytest.raises(ValueError, match=f"other structures or labels in the {which} set"):
            train(tmp_path, sets, resume=True)
    # the same content from another place is the same
    train_set.save(tmp_path / "copy")
    copied = scdlab.AtomStore.open(tmp_path / "copy")
    assert train(tmp_path, (copied, val), resume=True).steps == 6


def test_another_model_of_the_same_shape_is_refused(ethanol, tmp_path):
    train(tmp_path, ethanol)
    with pytest.raises(ValueError, match=r"another model \(cutoff was 5.0 and is 4.0\)"):
        train(tmp_path, ethanol, small(cutoff=4.0), resume=True)
    other = small()
    other.filter_table_size = 64
    with pytest.raises(ValueError, match="filter_table_size was 512 and is 64"):
        train(tmp_path, ethanol, other, resume=True)
    with pytest.raises(ValueError, match=r"precision was 'torch.float32' and is 'torch.float64'"):
        train(tmp_path, ethanol, small().double(), resume=True)


def test_another_objective_is_refused_though_it_looks_the_same(ethanol, tmp_path):
    weights = np.linspace(0, 1, 5000)
    train(tmp_path, ethanol, objective=Weighted(weights=weights))
    assert train(tmp_path, ethanol, objective=Weighted(weights=weights.copy()), resume=True)
    changed = weights.copy()
    changed[2500] += 1e-9
    assert repr(Weighted(weights=changed)) == repr(Weighted(weights=weights))
    with pytest.raises(ValueError, match=r"another objective \(weights.array was"):
        train(tmp_path, ethanol, objective=Weighted(weights=changed), resume=True)


def test_functions_are_known_by_what_they_do():
    one = identity(SelfConditionedDenoising(context=first))
    assert one == identity(SelfConditionedDenoising(context=first))
    lambdas = [lambda batch: batch.z > 1, lambda batch: batch.z > 6]
    a, b = (identity(SelfConditionedDenoising(context=each)) for each in lambdas)
    assert a != b
    assert json.loads(json.dumps(a)) == a


def test_an_objective_is_made_again_from_its_text():
    whole = CoordinateDenoising(sigma=0.02, supervised=EnergyForces(loss="norm"), weight=0.3)
    assert from_text(as_text(whole)) == whole
    assert as_text(SelfConditionedDenoising(context=first)) is None
    unknown = as_text(whole).replace("CoordinateDenoising", "os.system")
    assert from_text(unknown) is None
    with pytest.raises(ValueError, match="describes no objective"):
        from_text('{"objective": "EnergyForces", "settings": {"sigma": 1}}')


@pytest.mark.parametrize(
    "damage",
    ["a bit", "cut", "a tensor less", "a tensor more", "another number", "no settings", "other"],
)
def test_a_damaged_checkpoint_is_refused_in_a_sentence(ethanol, tmp_path, damage):
    train(tmp_path, ethanol)
    path = tmp_path / "checkpoint.safetensors"
    raw = bytearray(path.read_bytes())
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    about = json.loads(metadata["scdlab"])
    if damage == "a bit":
        raw[-5] ^= 1
        path.write_bytes(raw)
    elif damage == "cut":
        path.write_bytes(raw[:-7])
    elif damage == "other":
        safetensors.torch.save_file({"x": torch.zeros(2)}, path)
    else:
        if damage == "a tensor less":
            del tensors["average.2"]
        elif damage == "a tensor more":
            tensors["x"] = torch.zeros(1)
        elif damage == "another number":
            about["best"] = 0.0
        else:
            del about["settings"]
        metadata["scdlab"] = json.dumps(about)
        safetensors.torch.save_file(tensors, path, metadata=metadata)
    model = small()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=r"checkpoint.safetensors is .* delete it to start anew"):
        train(tmp_path, ethanol, model, resume=True)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert train(tmp_path, ethanol).steps == 6  # anew


def test_a_folder_that_another_run_writes_is_refused(ethanol, tmp_path):
    train(tmp_path / "run", ethanol)
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with (
        locks.locked(tmp_path / "run", inside=True),
        pytest.raises(locks.Busy, match=rf"written by process {os.getpid()}"),
    ):
        train(tmp_path / "run", ethanol, seed=3)
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


@pytest.mark.slow
def test_of_two_runs_in_one_folder_the_first_goes_on(tmp_path):
    code = f"""
import time, scdlab
from scdlab.objectives import EnergyForces
scdlab.fit(scdlab.SchNet(hidden_channels=8, num_layers=1), EnergyForces(),
           scdlab.load_ethanol()[:16], steps=20, batch_size=4, log_every=1, progress=False,
           device="cpu", out={str(tmp_path)!r}, callbacks=[lambda *a: time.sleep(0.2)])
"""
    with subprocess.Popen([sys.executable, "-c", code]) as first_run:
        while not (tmp_path / "run.json").is_file():
            time.sleep(0.05)
            assert first_run.poll() is None
        with pytest.raises(locks.Busy, match=rf"process {first_run.pid} on .* since"):
            train(tmp_path, (scdlab.load_ethanol()[:16],))
        assert first_run.wait(60) == 0
    assert json.loads((tmp_path / "log.json").read_text())["steps"] == 20


def test_an_earlier_run_is_put_aside_until_the_new_one_has_a_model(ethanol, tmp_path):
    train(tmp_path, ethanol, seed=1)
    old = (tmp_path / "model.safetensors").read_bytes()
    seen = []

    def look(step, row, model):
        names = {p.name for p in tmp_path.iterdir()}
        seen.append("model.json" in names)
        assert (tmp_path / "previous" / "model.safetensors").read_bytes() == old
        assert json.loads((tmp_path / "run.json").read_text())["settings"]["seed"] == 2

    train(tmp_path, ethanol, seed=2, callbacks=[look], log_every=1)
    assert seen and not any(seen) and not (tmp_path / "previous").exists()
    assert (tmp_path / "model.safetensors").read_bytes() != old


def test_nothing_of_an_earlier_run_is_touched_before_all_checks(ethanol, tmp_path, monkeypatch):
    train(tmp_path, ethanol)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    unlabeled = scdlab.AtomStore.from_ase([ethanol[0].to_ase(0)])
    bare = with_labels(ethanol[0], lambda arrays: arrays.update(forces=None))

    def interrupted(self, model, train):
        raise KeyboardInterrupt

    for sets, settings in (
        (ethanol, dict(steps="6")),
        (ethanol, dict(optimizer=lambda groups: None)),
        ((bare,), {}),
        ((unlabeled[:0],), {}),
    ):
        with pytest.raises((ValueError, TypeError)):
            train(tmp_path, sets, **settings)
    monkeypatch.setattr(EnergyForces, "prepare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, ethanol)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "new", ethanol)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_not_written(ethanol, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match=re.escape("must be a folder")):
        train(tmp_path / "file", ethanol)
    for name, content in (("run.json", "[1]"), ("model.json", "{}"), ("model.safetensors", "x")):
        folder = tmp_path / f"of {name}"
        folder.mkdir()
        (folder / name).write_text(content)
        with pytest.raises(FileExistsError, match="give another folder as out="):
            train(folder, ethanol)
        assert [p.name for p in folder.iterdir()] == [name]
        assert (folder / name).read_text() == content


def test_numbers_of_numpy_are_written_as_numbers(ethanol, tmp_path):
    settings = dict(steps=np.int64(4), batch_size=np.int32(4), lr=np.float32(1e-3))
    result = train(tmp_path, ethanol, seed=np.int64(3), **settings)
    assert result.steps == 4
    about = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert about["steps"] == 4 and about["seed"] == 3


def test_numbers_of_numpy_are_the_settings_of_an_objective():
    for objective in (EnergyForces(np.float64(0.01), np.int64(1)), EnergyForces(0.01, 1)):
        assert repr(objective).startswith("EnergyForces(energy_weight=0.01, forces_weight=1, ")
