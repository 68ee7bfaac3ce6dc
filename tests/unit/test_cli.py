"""The `scdlab` command: every subcommand, what it passes on, and what a person sees when something
is wrong."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import ase.build
import ase.io
import numpy as np
import psutil
import pytest
from ase.calculators.emt import EMT
from typer.testing import CliRunner

import scdlab
from scdlab import claims, cli, files, lessons
from scdlab.units import KCAL_MOL


def call(*arguments):
    wide = {"COLUMNS": "200"}  # a name in a table is not folded
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env=wide)


def sentence(result) -> str:
    """The one line that a failed command printed."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), "the error reached the user as a traceback"
    (line,) = result.output.strip().splitlines()
    return line


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Forty shaken propenes with EMT energies and forces, as a file that ASE reads."""
    rng = np.random.default_rng(0)
    molecules = []
    for _ in range(40):
        atoms = ase.build.molecule("C3H6_Cs")
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_forces()
        molecules.append(atoms)
    path = tmp_path_factory.mktemp("frames") / "propene.extxyz"
    ase.io.write(path, molecules)
    return path


def test_help_is_instant_because_nothing_heavy_is_imported():
    code = (
        "import sys, scdlab.cli; print(*[m for m in ('torch', 'ase', 'plotly', 'jupyterlab') if m "
        "in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == ""
    )


def test_every_command_explains_itself():
    top = call("--help")
    assert top.exit_code == 0
    for command in ("lab", "live", "run", "data", "train", "evaluate", "claims", "bench", "doctor"):
        assert command in top.output
        assert call(command, "--help").exit_code == 0


def test_version():
    assert call("--version").output.strip() == f"scdlab {scdlab.__version__}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["trane"],
        ["run", "zero"],
        ["run", "b2"],
        ["train"],
        ["train", "--data", "x", "--steps", "0"],
    ],
)
def test_a_command_line_that_cannot_be_read_is_exit_code_2(arguments):
    assert call(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [("--hidden", "--hidden-channels"), ("--layers=2", "--num-layers"), ("--ema", "--ema-decay")],
)
def test_an_old_name_of_an_option_is_answered_with_the_new_one(old, new):
    result = call("train", "--data", "x", old, 8)
    assert result.exit_code == 2
    option = old.partition("=")[0]
    assert result.output.strip() == f"scdlab train has no option {option}: it is now {new}."


# --------------------------------------------------------------------------------------------------
# run


def test_run_prints_a_table_and_passes_everything_on(monkeypatch):
    asked = {}

    def run(numbers, **keywords):
        asked.update(keywords, numbers=numbers)
        return [
            SimpleNamespace(
                name="01_schnet", seconds=61.2, metrics={"mae": 0.01234}, ok=True, error=None
            )
        ]

    monkeypatch.setattr(lessons, "run", run)
    result = call(
        "run",
        "1",
        "--profile",
        "full",
        "--out",
        "here",
        "--device",
        "cpu",
        "--seed",
        3,
        "--timeout",
        9,
    )
    assert result.exit_code == 0
    assert (asked["numbers"], asked["profile"], str(asked["out"])) == (["1"], "full", "here")
    assert (asked["device"], asked["seed"], asked["timeout"]) == ("cpu", 3, 9)
    assert "01_schnet" in result.output
    assert "0.01234" in result.output


def test_run_fails_when_a_lesson_failed(monkeypatch):
    failed = SimpleNamespace(
        name="00_start_here", seconds=1.0, metrics={}, ok=False, error="cell 3: [boom]"
    )
    monkeypatch.setattr(lessons, "run", lambda numbers, **keywords: [failed])
    result = call("run")
    assert result.exit_code == 1
    assert "cell 3: [boom]" in result.output


@pytest.mark.parametrize("arguments", [["run", "77"], ["run", "0", "--profile", "fast"]])
def test_an_unknown_lesson_or_profile_is_one_sentence(arguments, tmp_path):
    line = sentence(call(*arguments, "--out", tmp_path / "out"))
    assert "77" in line or "fast" in line
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------------------------------------
# lab


@pytest.mark.slow
def test_lab_serves_lesson_00_to_this_machine_only_and_asks_nothing_of_the_network(tmp_path):
    (tmp_path / "00_start_here.ipynb").write_text(
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    code = "import sys, jupyterlab.labapp as lab; lab.LabApp.launch_instance(sys.argv[1:])"
    command = [sys.executable, "-c", code, *cli.lab_arguments(tmp_path, 8899, browser=False)]
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_TOKEN": "token",
    }
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        address = None
        for _ in range(600):  # until it is up; a server that fails to start ends the wait
            found = re.search(r"http://127\.0\.0\.1:\d+", (tmp_path / "log").read_text())
            if found or server.poll() is not None:
                address = found and found.group()
                break
            time.sleep(0.1)
        assert address, (tmp_path / "log").read_text()
        with urllib.request.urlopen(f"{address}/?token=token", timeout=60) as page:
            assert page.url.startswith(f"{address}/lab/tree/00_start_here.ipynb")
            html = page.read().decode()
        config = json.loads(
            re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', html, re.S).group(1)
        )
        assert config["news"] == {"disabled": True}
        assert config["extensionManager"]["can_install"] is False
        listening = [
            c.laddr.ip
            for c in psutil.Process(server.pid).net_connections()
            if c.status == psutil.CONN_LISTEN
        ]
        assert set(listening) == {"127.0.0.1"}
    finally:
        server.kill()
        server.wait()


def test_a_checkout_opens_its_own_lessons():
    assert cli.lesson_folder("unused") == files.package_dir("notebooks")


def test_an_installed_kit_copies_its_lessons_and_keeps_work_that_is_there(monkeypatch, tmp_path):
    packed = tmp_path / "_notebooks"
    (packed / "src").mkdir(parents=True)
    for name in (
        "00_start_here.ipynb",
        "01_schnet.ipynb",
        "src/00_start_here.py",
        "src/00_start_here.pyc",
    ):
        (packed / name).write_text("new", encoding="utf-8")
    monkeypatch.setattr(files, "package_dir", lambda name: packed)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "01_schnet.ipynb").write_text("my work", encoding="utf-8")
    assert cli.lesson_folder(mine) == mine
    assert (mine / "00_start_here.ipynb").read_text(encoding="utf-8") == "new"
    assert [path.name for path in (mine / "src").iterdir()] == ["00_start_here.py"]
    assert (mine / "01_schnet.ipynb").read_text(encoding="utf-8") == "my work"


def test_missing_lessons_are_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "package_dir", lambda name: tmp_path)
    assert "Lesson 00 is missing" in sentence(call("lab"))


# --------------------------------------------------------------------------------------------------
# train


def test_train_learns_writes_and_resumes(frames, tmp_path):
    out = tmp_path / "run"
    settings = [
        "--hidden-channels",
        8,
        "--num-layers",
        1,
        "--batch-size",
        8,
        "--device",
        "cpu",
        "--out",
        out,
    ]
    result = call("train", "--data", frames, "--steps", 6, *settings)
    assert result.exit_code == 0, result.output
    errors = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert errors["structures"] == 4 and errors["units"] == {
        "energy_mae": "eV",
        "force_mae": "eV/Å",
    }
    assert np.isfinite([errors["energy_mae"], errors["force_mae"]]).all()
    assert f"test force_mae = {errors['force_mae']:.4g} eV/Å (4 structures)" in result.output
    assert type(scdlab.load(out / "model")).__name__ == "SchNet"
    parts = [np.load(out / f"{part}_index.npy") for part in ("train", "val", "test")]
    assert sorted(np.concatenate(parts)) == list(range(40))

    again = call("train", "--data", frames, "--steps", 6, "--resume", *settings)
    assert again.exit_code == 0, again.output
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8")) == errors


def test_train_ends_when_its_minutes_are_over(frames, tmp_path):
    run = ["train", "--data", frames, "--minutes", 0.01, "--out", tmp_path / "out", "--no-forces"]
    tiny = ["--hidden-channels", 4, "--num-layers", 1, "--batch-size", 2, "--device", "cpu"]
    start = time.perf_counter()
    result = call(*run, *tiny, "--steps", 10**7)
    assert result.exit_code == 0, result.output
    assert time.perf_counter() - start < 60
    assert "minutes" in sentence(call(*run, *tiny, "--minutes", 0))


def test_optional_parts_of_the_training_are_turned_off_with_zero(frames, tmp_path):
    settings = ["--ema-decay", 0, "--grad-clip", 0, "--schedule", "constant", "--steps", 2]
    result = call("train", "--data", frames, "--out", tmp_path, *settings, "--device", "cpu")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert (found["ema_decay"], found["grad_clip"], found["schedule"]) == (None, None, "constant")


def test_evaluate_gives_energies_of_atoms_beside_totals(frames, tmp_path):
    model = scdlab.SchNet(hidden_channels=4, num_layers=1, num_rbf=4)
    scdlab.objectives.EnergyForces().prepare(model, scdlab.AtomStore.from_file(frames))
    scdlab.save(model, tmp_path / "model")
    result = call("evaluate", tmp_path / "model", "--data", frames, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "metrics.json").read_text())
    # every propene has nine atoms
    assert found["energy_mae_per_atom"] == pytest.approx(found["energy_mae"] / 9)
    assert found["units"]["energy_mae_per_atom"] == "eV/atom"


def test_train_without_forces_or_on_a_property(frames, tmp_path):
    settings = ["--steps", 2, "--hidden-channels", 4, "--num-layers", 1, "--device", "cpu"]
    result = call(
        "train", "--data", frames, "--no-forces", "--out", tmp_path / "energies", *settings
    )
    assert result.exit_code == 0, result.output
    assert "force_mae" not in result.output
    store = scdlab.AtomStore.from_file(frames)
    z = store.take(np.arange(40)).z
    pos = store.take(np.arange(40)).pos
    arrays = z.numpy(), pos.numpy(), np.arange(0, 40 * 9 + 1, 9)
    labeled = scdlab.AtomStore.from_arrays(
        *arrays, properties={"mu": np.linspace(0, 1, 40)}, meta={"units": {"mu": "D"}}
    )
    labeled.save(tmp_path / "store")
    result = call(
        "train",
        "--data",
        tmp_path / "store",
        "--property",
        "mu",
        "--out",
        tmp_path / "mu",
        *settings,
    )
    assert result.exit_code == 0, result.output
    assert "test mu_mae = " in result.output
    assert " D (4 structures)" in result.output


def test_train_on_vectors_with_turned_structures(tmp_path):
    rng = np.random.default_rng(0)
    water = ase.build.molecule("H2O")
    pos = water.positions + rng.normal(0, 0.05, (40, 3, 3))
    arrays = np.tile(water.numbers, 40), pos.reshape(-1, 3), np.arange(0, 121, 3)
    dipole = np.einsum("a,nai->ni", [-2.0, 1.0, 1.0], pos)
    store = scdlab.AtomStore.from_arrays(
        *arrays, properties={"dipole": dipole}, meta={"units": {"dipole": "e Å"}}
    )
    store.save(tmp_path / "store")
    model = "EquivariantTransformer(hidden_channels=8, num_layers=1, num_heads=2)"
    run = [
        "train",
        "--data",
        tmp_path / "store",
        "--property",
        "dipole",
        "--steps",
        2,
        "--device",
        "cpu",
        "--model",
        model,
    ]
    vector = ["--objective", "PropertyRegression(kind='vector')"]
    for number, (given, kept) in enumerate(
        (("O(3)", "O(3)"), ("rotations", "rotations"), ("none", None), ("", None))
    ):
        augment = ["--augment", given] if given else []
        result = call(*run, *vector, *augment, "--out", tmp_path / str(number))
        assert result.exit_code == 0, result.output
        assert " e Å (4 structures)" in result.output
        assert (
            json.loads((tmp_path / str(number) / "run.json").read_text())["settings"]["augment"]
            == kept
        )
    assert "'dipole' is a vector in this training set" in sentence(
        call(*run, "--out", tmp_path / "refused")
    )
    assert call(*run, *vector, "--augment", "mirror").exit_code == 2


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """The same propenes with a number each, as a file that ASE reads."""
    folder = tmp_path_factory.mktemp("labeled")
    rng = np.random.default_rng(1)
    molecules = []
    for k in range(40):
        atoms = ase.build.molecule("C3H6_Cs")
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.info |= {"gap": 5 + rng.normal()} | ({"hardness": 1.0} if k < 30 else {})
        molecules.append(atoms)
    ase.io.write(folder / "gaps.extxyz", molecules)
    return folder / "gaps.extxyz"


TINY = ["--steps", 3, "--hidden-channels", 8, "--num-layers", 1, "--device", "cpu"]


def test_pretrain_fine_tune_evaluate(labeled, tmp_path):
    network = "EquivariantTransformer(num_rbf=8, num_heads=2, conditional=True)"
    denoising = "SelfConditionedDenoising(sigma=0.1)"
    result = call(
        "train",
        "--data",
        labeled,
        "--objective",
        denoising,
        "--max-atoms",
        64,
        "--model",
        network,
        "--out",
        tmp_path / "first",
        *TINY,
    )
    assert result.exit_code == 0, result.output
    assert re.search(r"^test noise_mse = \S+ σ² \(4 structures\)$", result.output, re.M), (
        result.output
    )
    first = scdlab.load(tmp_path / "first/model")
    assert (type(first).__name__, first.config["num_rbf"], first.config["hidden_channels"]) == (
        "EquivariantTransformer",
        8,
        8,
    )
    assert json.loads((tmp_path / "first/run.json").read_text())["settings"]["max_atoms"] == 64

    beside = "CoordinateDenoising(sigma=0.005, weight=0.1)"
    result = call(
        "train",
        "--data",
        labeled,
        "--init",
        tmp_path / "first/model",
        "--property",
        "gap",
        "--lr",
        "1e-4",
        "--head-lr",
        "1e-3",
        "--drop-path",
        0.1,
        0.0,
        "--objective",
        beside,
        "--steps",
        3,
        "--device",
        "cpu",
        "--out",
        tmp_path / "tuned",
    )
    assert result.exit_code == 0, result.output
    assert re.search(
        r"^test gap_mae = \S+ \(no unit given\) \(4 structures\)$", result.output, re.M
    ), result.output
    settings = json.loads((tmp_path / "tuned/run.json").read_text())["settings"]
    assert settings["lr"] == {"head": 1e-3, "backbone": 1e-4} and settings["anneal"] == {
        "drop_path": [0.1, 0.0]
    }
    metrics = json.loads((tmp_path / "tuned/metrics.json").read_text())
    assert metrics.keys() == {
        "structures",
        "gap_mae",
        "units",
    }  # the structures as they are: no noise to measure

    test = scdlab.AtomStore.from_file(labeled)[np.load(tmp_path / "tuned/test_index.npy")]
    ase.io.write(tmp_path / "test.extxyz", [test.to_ase(k) for k in range(len(test))])
    result = call(
        "evaluate",
        tmp_path / "tuned/model",
        "--data",
        tmp_path / "test.extxyz",
        "--out",
        tmp_path / "again",
        "--device",
        "cpu",
    )
    assert result.exit_code == 0, result.output
    assert f"test.extxyz gap_mae = {metrics['gap_mae']:.4g}" in result.output
    assert json.loads((tmp_path / "again/metrics.json").read_text())["gap_mae"] == pytest.approx(
        metrics["gap_mae"]
    )


def test_molecules_and_crystals_from_several_files_are_mixed(labeled, tmp_path):
    ase.io.write(
        tmp_path / "crystals.extxyz", [ase.build.bulk("Cu", cubic=True) for _ in range(10)]
    )
    result = call(
        "train",
        "--data",
        labeled,
        "--data",
        tmp_path / "crystals.extxyz",
        "--max-atoms",
        30,
        "--objective",
        "CoordinateDenoising",
        "--model",
        "SchNet(num_rbf=8)",
        "--out",
        tmp_path / "out",
        *TINY,
    )
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out/metrics.json").read_text())["structures"] == 5
    model = scdlab.load(tmp_path / "out/model")
    assert model.trained_elements.nonzero().flatten().tolist() == [1, 6, 29]


def test_a_part_of_a_set_is_named_as_in_ase(labeled, tmp_path, monkeypatch):
    whole = scdlab.AtomStore.from_file(labeled)
    for part, expected in (
        ("@:7", slice(7)),
        ("@5:", slice(5, None)),
        ("@1:30:10", slice(1, 30, 10)),
        ("@-3:", slice(-3, None)),
    ):
        some = cli.open_data(f"{labeled}{part}")
        np.testing.assert_array_equal(some.property("gap"), whole.property("gap")[expected])
    assert len(cli.open_data("alloys@::100")) == 7
    monkeypatch.chdir(tmp_path)
    (tmp_path / "at@home.extxyz").write_bytes(
        labeled.read_bytes()
    )  # a name of that kind is still a name
    assert (
        len(cli.open_data("at@home.extxyz")) == 40 and len(cli.open_data("at@home.extxyz@:2")) == 2
    )


def test_an_npz_file_needs_the_unit_of_its_energies(frames, tmp_path):
    store = scdlab.AtomStore.from_file(frames)
    batch = store.take(range(40))
    arrays = {
        "z": batch.z[:9].numpy(),
        "R": batch.pos.view(40, 9, 3).numpy(),
        "E": batch.energy.numpy() / KCAL_MOL,
        "F": batch.forces.view(40, 9, 3).numpy() / KCAL_MOL,
    }
    np.savez(tmp_path / "frames.npz", **arrays)
    run = ["train", "--data", tmp_path / "frames.npz", "--out", tmp_path / "out", *TINY]
    assert "energy_unit" in sentence(call(*run))
    assert call(*run, "--energy-unit", "kcal/mol").exit_code == 0
    found = cli.open_data(str(tmp_path / "frames.npz"), "kcal/mol")
    np.testing.assert_allclose(found.energy, store.energy, rtol=1e-6)
    line = sentence(call("train", "--data", "ethanol", "--energy-unit", "kcal/mol", *TINY))
    assert "--energy-unit" in line and "'ethanol'" in line


def test_what_a_mixture_leaves_out_is_reported(frames, labeled, tmp_path, caplog):
    both = ["--data", frames, "--data", labeled, "--objective", "CoordinateDenoising"]
    result = call("train", *both, "--out", tmp_path / "out", *TINY)
    assert result.exit_code == 0, result.output
    left_out = caplog.text + result.output
    assert all(name in left_out for name in ("energy", "forces", "gap"))


def test_a_pretrained_model_of_the_kit_can_be_the_start(monkeypatch):
    monkeypatch.setattr(scdlab, "load_pretrained", lambda name, device: (name, device))
    assert cli.open_model("coord-et", "cpu") == ("coord-et", "cpu")


def test_everything_that_has_a_name_can_be_named():
    from scdlab import nn, objectives

    for name in ("SchNet", "DimeNet", "EquivariantTransformer"):
        assert type(cli.make_model(name)) is getattr(nn, name)
    for name in objectives.__all__:
        if not isinstance(cls := getattr(objectives, name), type):
            continue
        if issubclass(cls, objectives.Objective) and not cls.__abstractmethods__:
            target = "homo" if name == "PropertyRegression" else ""
            assert type(cli.make_objective(name, target)) is cls
    beside = cli.make_objective("CoordinateDenoising(weight=0.5)", "homo")
    assert beside.supervised.name == "homo" and beside.weight == 0.5
    assert cli.make_objective("PropertyRegression(kind='scalar_sum')", "homo").kind == "scalar_sum"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere.xyz"], ["nowhere.xyz", "ethanol"]),
        (["--data", "FRAMES", "--property", "homo"], ["homo"]),
        (["--data", "FRAMES", "--train", "400"], ["40"]),
        (["--data", "FRAMES", "--lr", "-1"], ["lr"]),
        (["--data", "GAPS", "--property", "hardness"], ["Only 30 of the structures", "hardness"]),
        (
            ["--data", "FRAMES", "--data", "GAPS", "--property", "gap"],
            ["Only 40 of the structures", "gap"],
        ),
        (["--data", "FRAMES", "--data", "FRAMES"], ["twice"]),
        (["--data", "FRAMES@"], ["START:STOP", "''"]),
        (["--data", "FRAMES@3"], ["START:STOP", "'3'"]),
        (["--data", "FRAMES@::0"], ["START:STOP", "'::0'"]),
        (["--data", "nowhere.xyz@:3"], ["'nowhere.xyz'", "ethanol"]),
        (["--data", "FRAMES@9:9"], ["0 structures"]),
        (["--data", "FRAMES", "--model", "SkyNet"], ["SkyNet", "SchNet", "EquivariantTransformer"]),
        (["--data", "FRAMES", "--model", "AdaLN"], ["The model must be one of", "got 'AdaLN'"]),
        (["--data", "FRAMES", "--model", "SchNet(depth=3)"], ["depth", "num_layers"]),
        (["--data", "FRAMES", "--model", "SchNet(cutoff='far')"], ["SchNet", "far"]),
        (["--data", "FRAMES", "--model", "SchNet(cutoff=print())"], ["plain values"]),
        (["--data", "FRAMES", "--model", "SchNet("], ["--model", "plain values"]),
        (["--data", "FRAMES", "--objective", "Denoise"], ["Denoise", "CoordinateDenoising"]),
        (["--data", "FRAMES", "--objective", "PropertyRegression"], ["--property"]),
        (
            ["--data", "GAPS", "--objective", "PairwiseDenoising", "--property", "gap"],
            ["leave --property gap out"],
        ),
        (["--data", "FRAMES", "--init", "x", "--model", "SchNet"], ["--init", "--model"]),
        (["--data", "FRAMES", "--init", "nowhere"], ["nowhere"]),
        (
            ["--data", "FRAMES", "--max-atoms", "8"],
            ["Structure 0 (C3H6) has 9 atoms", "max_atoms=8"],
        ),
        (
            ["--data", "FRAMES", "--drop-path", "0.1", "0"],
            ["drop_path", "SchNet", "EquivariantTransformer"],
        ),
        (
            ["--data", "FRAMES", "--head-lr", "0.1", "--objective", "CoordinateDenoising"],
            ["no labels"],
        ),
    ],
)
def test_bad_training_input_is_one_sentence_and_leaves_nothing(
    arguments, words, frames, labeled, tmp_path
):
    arguments = [
        each.replace("FRAMES", str(frames)).replace("GAPS", str(labeled)) for each in arguments
    ]
    line = sentence(call("train", *arguments, "--steps", 2, "--out", tmp_path / "out"))
    assert all(word in line for word in words), line
    assert not list(tmp_path.rglob("*.safetensors"))


def test_molecules_whose_label_is_not_a_number_are_counted_and_named(labeled, tmp_path):
    molecules = ase.io.read(labeled, ":")
    for k in (5, 17, 31):
        molecules[k].info["gap"] = float("nan")
    ase.io.write(tmp_path / "some.extxyz", molecules)
    run = [
        "train",
        "--data",
        tmp_path / "some.extxyz",
        "--property",
        "gap",
        "--out",
        tmp_path / "out",
        *TINY,
    ]
    line = sentence(call(*run, "--train", 40))
    assert "3 of 40 structures have no 'gap' (number 5, 17, 31)" in line
    model = scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)
    model.add_property("gap")
    scdlab.save(model, tmp_path / "model")
    line = sentence(
        call("evaluate", tmp_path / "model", "--data", f"{tmp_path / 'some.extxyz'}@10:")
    )
    assert "2 of 30 structures have no 'gap' (number 17, 31)" in line
    assert not (tmp_path / "out").exists()


def test_evaluating_what_the_model_does_not_predict_is_one_sentence(labeled, tmp_path):
    model = scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)
    scdlab.save(model, tmp_path / "model")
    assert "predicts nothing" in sentence(call("evaluate", tmp_path / "model", "--data", labeled))
    assert "nowhere" in sentence(call("evaluate", tmp_path / "nowhere", "--data", labeled))
    model.add_property("gap")
    model.units = {"gap": "eV"}
    scdlab.save(model, tmp_path / "model")
    store = scdlab.AtomStore.from_file(labeled)
    store.meta["units"] = {"gap": "Ha"}
    store.save(tmp_path / "store")
    line = sentence(call("evaluate", tmp_path / "model", "--data", tmp_path / "store"))
    assert "in eV" in line and "in Ha" in line


def test_help_shows_how_to_pretrain_and_to_fine_tune():
    text = CliRunner(env={"COLUMNS": "120"}).invoke(cli.app, ["train", "--help"]).output
    lines = [line.strip() for line in text.splitlines()]
    pretrain = lines[lines.index("Pretrain:") + 1]
    fine_tune = lines[lines.index("Fine-tune:") + 1]
    assert "--objective CoordinateDenoising --max-atoms 600" in pretrain
    assert fine_tune.endswith("--head-lr 1e-3 --lr 1e-4")


def test_debug_shows_where_an_error_arose():
    result = call("--debug", "train", "--data", "nowhere.xyz")
    assert isinstance(result.exception, FileNotFoundError)


# ------------------------------------------------------------------------------------------- data,
# claims, benchmarks


def test_data_lists_what_is_there():
    result = call("data")
    assert result.exit_code == 0
    assert all(name in result.output for name in ("alloys", "ethanol", "isomers", "qm9-sample"))
    assert "QM9" in result.output


def test_an_unknown_source_or_set_is_one_sentence(tmp_path):
    assert "md17" in sentence(call("data", "get", "md18"))
    assert "ethanol" in sentence(call("data", "make", "methanol", "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_claims_prints_the_table():
    result = call("claims")
    assert result.exit_code == 0
    assert claims.claims()[0].id in result.output


def test_claims_run_passes_everything_on(monkeypatch):
    claim = claims.claims()[0]
    asked = {}
    monkeypatch.setattr(
        claims, "run", lambda *arguments, **keywords: asked.update(keywords, arguments=arguments)
    )
    result = call(
        "claims", "run", claim.id, "--profile", "cpu", "--seed", 1, "--seed", 2, "--allow-dirty"
    )
    assert result.exit_code == 0, result.output
    assert asked["arguments"] == (claim.id, "cpu")
    assert (asked["seeds"], asked["allow_dirty"], asked["device"]) == ([1, 2], True, "auto")


def test_bad_claims_are_one_sentence(monkeypatch):
    assert "nope" in sentence(call("claims", "run", "nope"))
    assert "fast" in sentence(call("claims", "run", claims.claims()[0].id, "--profile", "fast"))

    def dirty(*arguments, **keywords):
        raise RuntimeError("commit your changes first")

    monkeypatch.setattr(claims, "run", dirty)
    assert (
        sentence(call("claims", "run", claims.claims()[0].id, "--profile", "cpu"))
        == "commit your changes first"
    )


def test_an_unknown_benchmark_is_one_sentence():
    assert "schnet" in sentence(call("bench", "nope"))


def test_benchmarks_are_the_scripts_with_a_main(monkeypatch, tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    run = (
        "import sys\n"
        "\n"
        "\n"
        "def main():\n"
        "    open(__file__ + '.ran', 'w').write(' '.join(sys.argv[1:]))\n"
        "\n"
        "\n"
        "main()\n"
    )
    (folder / "quick.py").write_text(run, encoding="utf-8")
    (folder / "shared.py").write_text(
        "class Peer:\n    def main(self):\n        pass\n", encoding="utf-8"
    )
    monkeypatch.setattr(files, "package_dir", lambda name: tmp_path / name)
    assert call("bench", "--rounds", 3).exit_code == 0
    assert {path.name: path.read_text() for path in folder.glob("*.ran")} == {
        "quick.py.ran": "--rounds 3"
    }
    assert sentence(call("bench", "shared")).endswith("choose from quick.")


def test_what_benchmarks_share_is_no_benchmark():
    line = sentence(call("bench", "nope"))
    assert (
        "schnet" in line
        and "two_pass" in line
        and "obvious_et" not in line
        and "harness" not in line
    )
