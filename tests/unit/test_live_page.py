"""The live page as it is written: one file that holds everything, made without torch."""

import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import scdlab
from scdlab import cli, files
from scdlab.site import export_model, live, stored, write_live

BLOCK = re.compile(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', re.DOTALL)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    path = write_live(tmp_path_factory.mktemp("page") / "live.html", home="index.html")
    return {name: json.loads(text) for name, text in BLOCK.findall(path.read_text("utf-8"))}


def numbers_of(about: dict) -> dict[str, np.ndarray]:
    data = base64.b64decode(about["data"])
    return {
        name: np.frombuffer(
            data, each["dtype"], int(np.prod(each["shape"], dtype=int)), each["offset"]
        ).reshape(each["shape"])
        for name, each in about["tensors"].items()
    }


@pytest.mark.parametrize("name", live.MODELS)
def test_a_stored_model_is_exported_as_one_in_memory(name):
    from_file = stored.export_stored(name)
    in_memory = json.loads(json.dumps(export_model(scdlab.load_pretrained(name))))
    here = numbers_of(from_file)
    there = numbers_of(in_memory)
    assert here.keys() == there.keys()
    for tensor, numbers in there.items():
        assert here[tensor].dtype == numbers.dtype, tensor
        assert np.array_equal(here[tensor], numbers), tensor
    for part in in_memory.keys() - {"data", "tensors"}:
        assert from_file[part] == in_memory[part], part


def test_damaged_checkpoints_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="No trained model called 'nett' comes with the kit"):
        stored.export_stored("nett")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    there = files.package_dir("data") / "checkpoints"
    for end in ("json", "safetensors"):
        content = (there / f"schnet-ethanol.{end}").read_bytes()
        (folder / f"schnet-ethanol.{end}").write_bytes(content)
    monkeypatch.setattr(stored, "package_dir", lambda name: tmp_path)
    assert stored.export_stored("schnet-ethanol")["model"] == "SchNet"
    content = bytearray((folder / "schnet-ethanol.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "schnet-ethanol.safetensors").write_bytes(bytes(content))
    with pytest.raises(ValueError, match="was edited or is damaged"):
        stored.export_stored("schnet-ethanol")


def test_the_page_is_one_file_with_all_that_it_needs(tmp_path, blocks):
    assert blocks.keys() == {"first", "data", *(f"weights-{name}" for name in live.MODELS)}
    assert blocks["first"]["home"] == "index.html"
    path = write_live(tmp_path / "new" / "live.html")
    text = path.read_text("utf-8")
    assert path.stat().st_size < 8e6
    outside = re.sub(BLOCK, "", text)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!#)", outside)
    assert "<!-- " not in outside  # every placeholder is filled
    assert "import(" not in outside and "fetch(" not in outside


def test_molecules_of_the_page_are_those_of_qm9(blocks):
    """Whole numbers of 0.001 Å, each a molecule of the kit's sample that no network has seen."""
    data = blocks["data"]
    size = np.frombuffer(base64.b64decode(data["qm9"]["size"]), np.uint8)
    pos = np.frombuffer(base64.b64decode(data["qm9"]["pos"]), "<i2").reshape(-1, 3) * data["unit"]
    z = np.frombuffer(base64.b64decode(data["qm9"]["z"]), np.uint8)
    assert len(size) == 2000 and size.sum() == len(z) == len(pos)
    import live_models

    unseen = live_models.sample().split(2500, 0, seed=0)[2]
    there = {}
    for k in range(len(unseen)):
        atoms = unseen.to_ase(k)
        there.setdefault(tuple(atoms.numbers), []).append(atoms.positions - atoms.positions.mean(0))
    for first, n in zip(np.cumsum(size) - size, size, strict=True):
        own = pos[first : first + n]
        others = there[tuple(z[first : first + n])]
        assert min(np.abs(own - x).max() for x in others) < 6e-4


def test_what_is_said_of_errors_is_what_was_measured(blocks):
    origin = scdlab.load_pretrained("schnet-molecules").provenance
    said = blocks["data"]["references"]["schnet-molecules"]["error"]
    assert f"{1e-3 * origin['test_force_mae_molecules_meV_per_A']:.2f} eV/Å" in said
    left = scdlab.load_pretrained("coord-et").provenance["test_noise_unexplained"]
    assert f"{100 * left:.0f}%" in blocks["data"]["references"]["coord-et"]["error"]
    for name in live.MODELS:
        about = blocks["data"]["references"][name]
        features = np.frombuffer(base64.b64decode(about["features"]), np.int8)
        width = len(about["mean"])
        assert features.size == len(about["z"]) * width and about["usual"] > 0


def test_most_molecules_of_the_map_are_as_near_as_unseen_ones_usually_are(blocks):
    data = blocks["data"]["qm9"]
    far = data["far_step"] * np.frombuffer(base64.b64decode(data["far"]), "<u2")
    farthest = np.frombuffer(base64.b64decode(data["farthest"]), np.uint8)
    size = np.frombuffer(base64.b64decode(data["size"]), np.uint8)
    assert len(far) == len(farthest) == len(size) and (farthest < size).all()
    assert 0.9 < (far <= 1.05).mean() < 0.99


def test_the_first_scene_is_the_models_own_answer(blocks):
    import ase

    first = blocks["first"]
    model = scdlab.load_pretrained("schnet-molecules")
    atoms = ase.Atoms(first["scene"]["z"], np.reshape(first["scene"]["pos"], (-1, 3)))
    atoms.calc = scdlab.Calculator(model)
    assert atoms.get_potential_energy() == pytest.approx(first["answer"]["start"], abs=1e-4)
    for atom, step in first["values"]["moved"].items():
        atoms.positions[int(atom)] += step
    assert atoms.get_potential_energy() == pytest.approx(first["answer"]["energy"], abs=1e-4)
    forces = np.reshape(first["answer"]["forces"], (-1, 3))
    assert np.abs(atoms.get_forces() - forces).max() < 1e-3


def test_the_command(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "page.html"
    result = CliRunner().invoke(cli.app, ["live", "--no-open", "--out", str(out)])
    assert result.exit_code == 0 and out.is_file() and not opened
    assert "page.html" in result.output
    result = CliRunner().invoke(cli.app, ["live"])
    assert result.exit_code == 0
    assert opened == [(tmp_path / "cache" / "live" / "live.html").as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    assert "double click" in CliRunner().invoke(cli.app, ["live"]).output


def test_writing_the_page_imports_no_torch(tmp_path):
    code = (
        "import sys; from scdlab.site import write_live; "
        f"write_live({str(tmp_path / 'live.html')!r}); "
        "print([m for m in ('torch', 'plotly', 'ase') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
