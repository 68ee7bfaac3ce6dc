"""Options of commands that read files: keys of labels, formats, and models of one's own."""

import ase.build
import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

import scdlab
from scdlab import cli

TINY = ["--steps", 2, "--hidden-channels", 4, "--num-layers", 1, "--device", "cpu"]
NET = """
from scdlab import nn

class FileNet(nn.SchNet):
    pass

number = 5
"""


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(each) for each in arguments])


def sentence(result) -> str:
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    line = result.stderr.strip()
    assert line and "\n" not in line
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty shaken propenes with labels under two names, and files that define models."""
    rng = np.random.default_rng(0)
    molecules = []
    for _ in range(40):
        atoms = ase.build.molecule("C3H6_Cs")
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.info |= {"REF_energy": float(rng.normal()), "xtb": float(rng.normal())}
        atoms.arrays |= {"REF_forces": rng.normal(size=(9, 3)), "xtb_f": rng.normal(size=(9, 3))}
        molecules.append(atoms)
    path = tmp_path_factory.mktemp("reading")
    ase.io.write(path / "frames.extxyz", molecules)
    (path / "frames.extxyz").rename(path / "frames.dat")
    (path / "net.py").write_text(NET, encoding="utf-8")
    (path / "broken.py").write_text("def (", encoding="utf-8")
    (path / "needs.py").write_text("import no_such_package", encoding="utf-8")
    (path / "ends.py").write_text("raise SystemExit(3)", encoding="utf-8")
    return path


def test_the_keys_of_labels_are_printed_and_can_be_chosen(folder):
    how = ["--format", "extxyz"]
    found = call("data", "show", folder / "frames.dat", *how)
    assert found.exit_code == 0, found.output
    assert "40 structures" in found.output
    store = cli.open_data(str(folder / "frames.dat"), format="extxyz")
    assert store.meta["labels"]["energy"] == "REF_energy"
    chosen = cli.open_data(
        str(folder / "frames.dat"), format="extxyz", energy="xtb", forces="xtb_f"
    )
    assert chosen.meta["labels"]["energy"] == "xtb" and not np.allclose(chosen.energy, store.energy)
    result = call(
        "data", "show", folder / "frames.dat", *how, "--energy", "xtb", "--forces", "xtb_f"
    )
    assert result.exit_code == 0, result.output
    assert "dft" in sentence(call("data", "show", folder / "frames.dat", *how, "--energy", "dft"))


def test_training_and_evaluation_take_them(folder, tmp_path):
    how = ["--data", folder / "frames.dat", "--format", "extxyz", "--energy", "xtb"]
    how += ["--forces", "xtb_f"]
    result = call("train", *how, "--out", tmp_path / "run", *TINY)
    assert result.exit_code == 0, result.output
    result = call("evaluate", tmp_path / "run" / "model", *how, "--device", "cpu")
    assert result.exit_code == 0 and "frames.dat force_mae" in result.output, result.output
    line = sentence(call("train", *how, "--no-forces", "--out", tmp_path / "no", *TINY))
    assert "--no-forces" in line and not (tmp_path / "no").exists()


def test_elements_of_numbered_types_can_be_given(tmp_path):
    lines = ["ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", "2", "ITEM: BOX BOUNDS pp pp pp"]
    lines += ["0 5"] * 3 + ["ITEM: ATOMS id type x y z", "1 1 0 0 0", "2 2 1.5 0 0"]
    (tmp_path / "two.dump").write_text("\n".join(lines) + "\n", encoding="utf-8")
    how = ["--format", "lammps-dump-text", "--specorder"]
    result = call("data", "show", tmp_path / "two.dump", *how, "Cu,Zr")
    assert result.exit_code == 0 and "elements Cu Zr" in result.output, result.output
    for wrong in ("", "Cu,Xx", "29"):
        assert "--specorder" in sentence(call("data", "show", tmp_path / "two.dump", *how, wrong))


@pytest.mark.parametrize("option", ["--energy", "--forces", "--format", "--energy-unit"])
def test_a_set_with_labels_of_its_own_takes_none(option):
    assert option in sentence(call("data", "show", "ethanol", option, "eV"))


def test_a_store_is_verified(tmp_path):
    scdlab.load_ethanol()[:10].save(tmp_path / "store")
    result = call("data", "show", tmp_path / "store", "--verify")
    assert result.exit_code == 0 and "verified" in result.output, result.output
    path = tmp_path / "store" / "pos.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert "pos" in sentence(call("data", "show", tmp_path / "store", "--verify"))


def test_a_model_of_ones_own_is_named_by_its_file(folder, tmp_path, monkeypatch):
    data = ["--data", "ethanol@:40"]
    model = f"{folder / 'net.py'}:FileNet(cutoff=4.0)"
    result = call("train", *data, "--model", model, "--out", tmp_path / "run", *TINY)
    assert result.exit_code == 0, result.output
    own = ["--class", f"{folder / 'net.py'}:FileNet"]
    path = tmp_path / "run" / "model"
    result = call("evaluate", path, *data, *own, "--device", "cpu")
    assert result.exit_code == 0, result.output
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    assert type(cli.make_model("net:FileNet(num_layers=1)")).__name__ == "FileNet"
    assert type(cli.open_model(str(path), own="net:FileNet")).__name__ == "FileNet"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("FOLDER/nowhere.py:Net", "There is no file"),
        ("FOLDER/broken.py:Net", "SyntaxError"),
        ("FOLDER/needs.py:Net", "no_such_package"),
        ("FOLDER/ends.py:Net", "SystemExit"),
        ("FOLDER/net.py:number", "it defines FileNet"),
        ("FOLDER/net.py:Nothing", "it defines FileNet"),
        ("no_such_module:Net", "no_such_module"),
        ("FileNet", "path.py:Class"),
        (":", "path.py:Class"),
        ("", "path.py:Class"),
        ("FOLDER/net.py:FileNet(", "path.py:Class"),
    ],
)
def test_what_is_no_model_is_one_sentence(place, words, folder, tmp_path):
    scdlab.save(scdlab.SchNet(hidden_channels=4, num_layers=1), tmp_path / "model")
    place = place.replace("FOLDER", str(folder))
    line = sentence(call("evaluate", tmp_path / "model", "--data", "ethanol@:4", "--class", place))
    assert words in line


def test_the_class_of_a_model_belongs_to_a_trained_one(tmp_path):
    line = sentence(call("train", "--data", "ethanol@:9", "--class", "a.py:Net", "--out", tmp_path))
    assert "--init" in line and "--model a.py:Net" in line
