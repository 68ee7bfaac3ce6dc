"""`scdlab doctor`: what is there is found, what is missing is named with its remedy, and nothing
else fails."""

import importlib.metadata
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest
import torch
from numba.core import caching
from typer.testing import CliRunner

from scdlab import doctor, files
from scdlab.cli import app
from scdlab.nn.ops import runtime
from scdlab.nn.ops.gpu import available


def found(report, name):
    (finding,) = [finding for finding in report.findings if finding.name == name]
    return finding


def test_this_machine_has_what_is_required():
    report = doctor.examine()
    assert report.ok, str(report)
    assert {finding.area for finding in report.findings} == set(doctor.AREAS)
    assert "torch 2." in found(report, "packages").text
    assert int(found(report, "cores").text) >= 1
    assert "GiB free" in found(report, "memory").text
    for finding in report.findings:
        assert bool(finding.remedy) == (finding.state != "ok"), (
            f"{finding.name}: a remedy exactly where it is needed"
        )


def test_a_missing_package_is_required_and_the_command_fails(monkeypatch):
    version = importlib.metadata.version

    def without_ase(name):
        if name == "ase":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_ase)
    finding = found(doctor.examine("software"), "ase")
    assert (finding.state, finding.text) == ("required", "not installed")
    assert 'pip install "ase' in finding.remedy
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "not installed" in result.output


def test_a_package_that_is_too_old_says_what_is_needed(monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "1.0" if name == "torch" else version(name)
    )
    finding = found(doctor.examine("software"), "torch")
    assert finding.state == "required"
    assert "1.0, needed" in finding.text


def test_without_qm9_cuda_chromium_and_a_cache_the_kit_is_still_well(monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "qm9pack" else find_spec(name)
    )
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.delenv("SCDLAB_CHROMIUM", raising=False)
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "no" / "such" / "folder"))
    report = doctor.examine()
    assert report.ok
    assert found(report, "QM9").state == "optional"
    assert "qm9pack" in found(report, "QM9").remedy
    assert found(report, "Chromium").state == "optional"
    assert not (tmp_path / "no").exists(), "looking must not make anything"


def test_own_data_are_found(monkeypatch, tmp_path):
    monkeypatch.setenv("SCDLAB_DATA", str(tmp_path))
    assert found(doctor.examine("data"), "rMD17").state == "optional"
    (tmp_path / "rmd17_ethanol.npz").write_bytes(b"")
    assert "rmd17_ethanol.npz" in found(doctor.examine("data"), "rMD17").text


def test_a_broken_installation_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "package_dir", lambda name: tmp_path / name)
    report = doctor.examine("data")
    assert not report.ok
    assert found(report, "lessons").state == found(report, "committed sets").state == "required"


@pytest.mark.parametrize("state", doctor.MARKS)
def test_the_report_prints_brackets_and_remedies_as_they_are(state):
    report = doctor.Report((doctor.Finding("data", "x", "a[1] of b", state, "pip install y[z]"),))
    assert "a[1] of b" in str(report)
    assert "pip install y[z]" in str(report)


@pytest.mark.parametrize(
    ("team", "words"), [(object(), "torch's OpenMP threads"), (None, "threads of their own")]
)
def test_the_fused_kernels_are_tried(team, words, monkeypatch):
    monkeypatch.setattr(runtime, "TEAM", team)
    finding = found(doctor.examine("machine"), "fused kernels")
    assert finding.state == "ok"
    assert f"numba compiles them; they run on {words}" in finding.text


def test_a_compiler_that_fails_is_named(monkeypatch):
    def broken(*arguments, **keywords):
        raise OSError("no LLVM\nhere")

    with monkeypatch.context() as patched:
        patched.setattr(numba, "cfunc", broken)
        finding = found(doctor.examine("machine"), "fused kernels")
    assert (finding.state, finding.text) == (
        "required",
        "numba does not compile them (OSError: no LLVM)",
    )
    assert "llvmlite" in finding.remedy
    with monkeypatch.context() as patched:  # it compiles, and to the wrong thing
        patched.setattr(
            numba, "cfunc", lambda *a, **k: lambda body: SimpleNamespace(ctypes=lambda data: None)
        )
        assert "products are wrong" in found(doctor.examine("machine"), "fused kernels").text
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # nowhere to write
    finding = found(doctor.examine("machine"), "fused kernels")
    assert (finding.state, finding.text) == ("optional", "compiled anew in each process")
    assert "NUMBA_CACHE_DIR" in finding.remedy


def test_the_kernels_of_each_gpu_are_tried(monkeypatch):
    reasons = [None, "the card GTX has compute capability 6.1"]
    card = SimpleNamespace(name="a card", total_memory=2**34)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda k: card)
    monkeypatch.setattr(available, "trouble", lambda device: reasons[device.index])
    report = doctor.examine("machine")
    good = found(report, "GPU kernels")
    assert good.state == "ok" and "Triton" in good.text
    bad = found(report, "GPU kernels, cuda:1")
    assert bad.state == "optional" and bad.text == reasons[1] and "plain torch" in bad.remedy
    assert report.ok


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SCDLAB_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    finding = found(doctor.examine("machine"), "disk")
    assert finding.state == "optional" and "SCDLAB_CACHE" in finding.remedy
    assert "rMD17" in [each.name for each in doctor.examine("data").findings]


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def broken():
        raise ImportError("libstdc++ is too old")
        yield

    monkeypatch.setitem(doctor.AREAS, "machine", (broken, *doctor.AREAS["machine"]))
    finding = found(doctor.examine("machine"), "broken")
    assert "ImportError: libstdc++" in finding.text and finding.state == "optional"
    with pytest.raises(ValueError, match="no area 'machines'"):
        doctor.examine("machines")


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "file" / "cache"))
    finding = found(doctor.examine("machine"), "cache")
    assert finding.state == "optional" and "SCDLAB_CACHE" in finding.remedy
    assert doctor.examine("data").findings


def test_kernel_locks_and_encodings_are_looked_at(monkeypatch, tmp_path):
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        '{"argv": ["no-such-program"], "display_name": "x", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert "no-such-program" in found(doctor.examine("software"), "kernel").text
    machine = doctor.examine("machine")
    assert found(machine, "locks").text == "work"
    assert "output" in found(machine, "encodings").text and found(machine, "home").text
