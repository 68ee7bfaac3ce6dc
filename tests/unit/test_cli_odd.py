"""Odd arguments and files for every command: one sentence on the standard error, no traceback."""

import os
import subprocess
import sys

import ase.build
import ase.io
import pytest
from typer.testing import CliRunner

import scdlab
from scdlab import claims, cli
from scdlab.cli import problems

TINY = ["--steps", "2", "--hidden-channels", "4", "--num-layers", "1", "--device", "cpu"]
TRAIN = ["train", "--data", "ethanol@:20", "--out", "out", *TINY]
EVALUATE = ["evaluate", "model", "--data", "ethanol@:4", "--device", "cpu"]
FILES = {
    "empty": b"",
    "bytes": bytes(range(256)) * 3,
    "half.json": b"{",
    "null.json": b"null",
    "junk.npz": b"PK\x03\x04junk",
    "header.npy": b"\x93NUMPY",
    "half.extxyz": b"3\nLattice=\nH 0 0\n",
    "many.xyz": b"99999999999\n\nH 0 0 0\n",
    "none.cif": b"data_\n",
    "text.txt": b"hello",
    "half.traj": b"- of Ulm\x00\xff",
    "half.vasp": b"a\n1\n",
    "half.pdb": b"ATOM\n",
}
NUMBERS = ["0", "-1", "1.5", "nan", "inf", "1e400", "x", "", "9" * 40]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder of odd files, a good model and a damaged one."""
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder2").mkdir()
    (tmp_path / "folder2" / "store.json").write_text("[]", encoding="utf-8")
    ase.io.write("one.extxyz", ase.build.molecule("CH4"))
    scdlab.save(scdlab.SchNet(hidden_channels=4, num_layers=1), "model")
    (tmp_path / "damaged.json").write_text("null", encoding="utf-8")
    (tmp_path / "damaged.safetensors").write_bytes(b"x")
    return tmp_path


def refused(words) -> str:
    """The sentence with which a command line is refused."""
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, [str(word) for word in words])
    assert result.exit_code in (1, 2), (words, result.output, result.exception)
    assert isinstance(result.exception, SystemExit), (words, repr(result.exception))
    line = result.stderr.strip()
    assert line and "\n" not in line and ".)" not in line, (words, line)
    return line


@pytest.mark.slow
def test_files_that_hold_no_structures():
    for name in [
        *FILES,
        "nowhere",
        "folder",
        "folder2",
        "/dev/null",
        "",
        " ",
        "@",
        "@:",
        "a" * 300,
    ]:
        refused(["data", "show", name])
        refused(["train", "--data", name, *TRAIN[3:]])
        refused(["evaluate", "model", "--data", name])
    refused(["train", "--data", "one.extxyz", *TRAIN[3:]])  # nothing to learn
    assert not os.path.exists("out")


def test_more_to_train_on_than_there_is():
    line = refused(["train", "--data", "ethanol@:20", "--train", "1000", "--out", "out"])
    assert line.startswith("Cannot split 20 structures into 1,000 for training and 0 for valid")


@pytest.mark.parametrize(
    "part", ["", "1", "5:5", "a:b", "::0", "999999:", "-3:-9", "1:2:3:4", "::" + "9" * 30]
)
def test_parts_of_a_set_that_are_none(part):
    refused(["data", "show", f"ethanol@{part}"])


@pytest.mark.slow
def test_models_that_are_none():
    for name in [*FILES, "nowhere", "folder", "damaged", "", "http://x/y", "/", "SchNet"]:
        refused(["evaluate", name, *EVALUATE[2:]])
        refused(["train", "--data", "ethanol@:20", "--init", name, "--out", "out"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "SchNet(",
        "SchNet(1)",
        "SchNet(x=1)",
        "SchNet(cutoff=-1)",
        "SchNet(cutoff=1e400)",
        "SchNet(cutoff='x')",
        "SchNet(cutoff={[]: 1})",
        "SchNet(**{'a': 1})",
        "SchNet(cutoff=1, cutoff=2)",
        "SchNet(cutoff=print())",
        "(" * 500,
        "SchNet(" + "[" * 300,
        "lambda: 1",
        "AtomisticModel",
        "Model",
        "scdlab.SchNet",
    ],
)
def test_models_and_objectives_that_cannot_be_made(text):
    for option in ("--model", "--objective"):
        refused([*TRAIN, option, text])
    assert not os.path.exists("out")


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    [
        "--train",
        "--steps",
        "--batch-size",
        "--max-atoms",
        "--seed",
        "--hidden-channels",
        "--num-layers",
        "--device",
        "--schedule",
        "--augment",
    ],
)
def test_numbers_of_a_training(option):
    for number in NUMBERS:
        if (option, number) not in {("--seed", "0"), ("--batch-size", "9" * 40)}:
            refused([*TRAIN, option, number])
    assert not os.path.exists("out")


@pytest.mark.parametrize(
    "option", ["--lr", "--head-lr", "--weight-decay", "--ema-decay", "--grad-clip", "--minutes"]
)
def test_real_numbers_of_a_training(option):
    for number in ("-1", "nan", "inf", "x", ""):
        refused([*TRAIN, option, number])


@pytest.mark.parametrize(
    "words",
    [
        ["lab", "--port", "0"],
        ["lab", "--port", "65536"],
        ["lab", "extra"],
        ["run", "77"],
        ["run", "0", "--profile", "fast"],
        ["run", "0", "--timeout", "nan"],
        ["run", "0", "--timeout", "0"],
        ["run", "0", "--out", "empty"],
        ["data", "nothing"],
        ["data", "get", "qm8"],
        ["data", "get", "md17", "../../etc/passwd"],
        ["data", "make", "nothing"],
        ["data", "make", "ethanol", "--out", "empty"],
        ["data", "make", "ethanol", "--out", "empty/below"],
        ["data", "make", "ethanol", "--out", "."],
        ["claims", "--lesson", "99"],
        ["claims", "--lesson", "x"],
        ["claims", "run"],
        ["claims", "run", "nothing"],
        ["claims", "run", "ecse-cost", "--seed", "99"],
        ["claims", "run", "ecse-cost", "--seed", "-1"],
        ["claims", "run", "ecse-cost", "--profile", "fast"],
        ["claims", "run", "ecse-cost", "--out", "empty"],
        ["claims", "run", "ecse-cost", "--device", "tpu"],
        ["claims", "run", "ecse-cost", "--profile", "night"],
        ["claims", "run", "ecse-cost", "nothing"],
        ["claims", "run", "ecse-cost", "ecse-smooth", "--seed", "0"],
        ["claims", "run", "--profile", "night"],
        ["claims", "run", "--hours", "2"],
        ["claims", "run", "--hours", "0", "--profile", "cpu"],
        ["claims", "run", "--hours", "-1", "--profile", "cpu"],
        ["claims", "run", "--hours", "nan", "--profile", "cpu"],
        ["claims", "run", "--hours", "x", "--profile", "cpu"],
        ["claims", "run", "--hours", "1", "--profile", "cpu", "--jobs", "0"],
        ["claims", "run", "--hours", "1", "--profile", "cpu", "--seed", "0"],
        ["claims", "run", "nothing", "--hours", "1", "--profile", "cpu"],
        ["bench", "nothing"],
        ["bench", "schnet", "--rounds", "0"],
        ["doctor", "extra"],
        ["train"],
        ["train", "--nothing"],
        ["train", "--data"],
        [*TRAIN, "--train", "5000"],
        [*TRAIN, "--resume"],
        [*TRAIN, "--init", "model"],
        [*TRAIN, "--out", "empty"],
        [*TRAIN, "--out", "empty/below"],
        [*TRAIN, "--data", "ethanol@:20"],
        [*TRAIN, "--no-forces", "--forces", "F"],
        [*TRAIN, "--property", "nothing"],
        [*TRAIN, "--property", ""],
        ["evaluate"],
        ["evaluate", "model"],
        [*EVALUATE, "--out", "empty"],
        [*EVALUATE, "--max-atoms", "0"],
        [*EVALUATE, "--max-atoms", "1"],
        [*EVALUATE, "--objective", "Nothing"],
        [*EVALUATE, "--objective", ""],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done(words):
    refused(words)


def test_the_usage_names_the_help():
    assert refused(["train", "--nothing"]).endswith("see scdlab train --help.")
    assert "Did you mean 'train'" in refused(["trane"])


def test_an_error_of_the_program_is_a_traceback_that_asks_for_a_report(monkeypatch):
    def broken(lesson):
        return {}["key"]

    monkeypatch.setattr(claims, "table", broken)
    result = CliRunner().invoke(cli.app, ["claims"])
    assert isinstance(result.exception, KeyError)
    assert result.exception.__notes__ == [problems.REPORT]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4 bytes"), "mem"),
        (RuntimeError("Could not determine home directory."), "SCDLAB_CACHE"),
        (OSError(28, "No space left on device", "a/b"), "a/b cannot be used (no space left"),
        (OSError(13, "Permission denied", b"a"), "a cannot be used (permission denied)"),
        (OSError("a sentence of ours"), "a sentence of ours"),
        (ValueError("two\nlines"), "two lines"),
        (ValueError(), "ValueError"),
        (ModuleNotFoundError("x", name="papermill"), "extra 'lessons'"),
        (ModuleNotFoundError("x", name="foo.bar"), "pip install foo"),
        (KeyError("x"), None),
        (TypeError("x"), None),
        (ModuleNotFoundError("x", name="scdlab.nothing"), None),
    ],
)
def test_errors_as_sentences(error, words):
    found = problems.sentence(error)
    assert found is None if words is None else words in found


def test_an_error_about_an_argument_is_told_from_one_of_the_program():
    with pytest.raises(TypeError) as ours:
        claims.get(5)
    assert problems.sentence(ours.value) == str(ours.value)
    with pytest.raises(TypeError) as theirs:
        claims.claim.seeds_of(*[1, 2, 3])
    assert problems.sentence(theirs.value) is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a folder that nobody can write")
def test_a_place_that_cannot_be_written_is_one_sentence(folder):
    words = [sys.executable, "-m", "scdlab", "train", "--data", "ethanol@:20", *TINY]
    done = subprocess.run(words, cwd="/proc", capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "cannot be used" in done.stderr or "runs" in done.stderr
