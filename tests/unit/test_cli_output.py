"""Commands on outputs that cannot show a character, are closed, full, or no longer read."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import scdlab
from scdlab import log
from scdlab.cli import home

pytestmark = pytest.mark.slow
TINY = ["--steps", "2", "--hidden-channels", "4", "--num-layers", "1", "--device", "cpu"]


def command(*words, **options):
    """A command in a process of its own."""
    environment = {**os.environ, "COLUMNS": "150", **options.pop("env", {})}
    environment.pop("PYTHONUNBUFFERED", None)
    words = [sys.executable, "-m", "scdlab", *map(str, words)]
    options.setdefault("capture_output", "stdout" not in options)
    return subprocess.run(words, env=environment, timeout=300, **options)


# Many command lines in one process: torch is loaded once, not for each of them.
IN_TURN = """
import json, sys
from scdlab import cli
for words in json.loads(sys.argv[1]):
    sys.argv = ["scdlab", *words]
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    for stream in (sys.stdout, sys.stderr):
        print("[ended with " + str(code) + "]", file=stream, flush=True)
"""


def commands(*lines, env):
    """Commands in turn, in one process: of each (code, what it printed, its errors)."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            IN_TURN,
            json.dumps([[str(word) for word in line] for line in lines]),
        ],
        env={**os.environ, "COLUMNS": "150", **env},
        timeout=300,
        capture_output=True,
    )
    printed = re.split(rb"\[ended with (.*)\]\s*", done.stdout)
    errors = re.split(rb"\[ended with .*\]\s*", done.stderr)
    assert printed[-1] == b"" and len(printed) == 2 * len(lines) + 1, done.stderr
    return list(zip(map(int, printed[1::2]), printed[0::2], errors, strict=False))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Twenty frames with a property whose unit no old output can show."""
    frames = scdlab.load_ethanol()[:20]
    batch = frames.take(range(20))
    arrays = batch.z.numpy(), batch.pos.numpy(), batch.ptr.numpy()
    labels = {"flow": np.linspace(0, 1, 20)}
    meta = {"units": {"flow": "Å·μ⁻¹"}}
    path = tmp_path_factory.mktemp("data") / "sätze"
    scdlab.AtomStore.from_arrays(*arrays, properties=labels, meta=meta).save(path)
    return path


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_output_that_cannot_show_a_character(encoding, store, tmp_path):
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LANG": "C"}
    out = tmp_path / "läuft"
    run = ["train", "--data", store, "--property", "flow", "--out", out, *TINY]
    *fine, evaluated, missing = commands(
        ["claims", "--lesson", "1"],
        ["doctor"],
        run,
        ["evaluate", out / "model", "--data", store],
        ["evaluate", tmp_path / "fehlt-σ", "--data", store],
        env=env,
    )
    if encoding == "ascii":
        marks = fine[1][1].decode("ascii")
        assert "| ok" in marks and "| ?" not in marks, "marks of the doctor differ without signs"
    for code, printed, errors in [*fine, evaluated]:
        assert code == 0 and b"Traceback" not in errors, errors
        assert printed
    assert (out / "metrics.json").is_file() and (out / "test_index.npy").is_file()
    assert b"test flow_mae = " in fine[-1][1]
    assert b"flow_mae = " in evaluated[1]
    code, _, errors = missing
    assert code == 1 and len(errors.splitlines()) == 1, errors


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and signals of Linux")
class TestOutputs:
    def test_a_closed_output_is_none(self, tmp_path):
        code = f"exec '{sys.executable}' -m scdlab claims >&- 2>&-"
        assert subprocess.run(["sh", "-c", code], timeout=300, cwd=tmp_path).returncode == 0
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_is_a_sentence(self):
        with open("/dev/full", "w") as full:
            done = command("claims", stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1 and b"no space left" in done.stderr

    def test_a_reader_that_has_seen_enough_sees_no_error(self):
        code = f"'{sys.executable}' -m scdlab claims | head -n 1"
        done = subprocess.run(["sh", "-c", code], capture_output=True, timeout=300)
        assert done.stderr == b"" and b"Claims" in done.stdout

    def test_training_goes_on_without_its_output(self, store, tmp_path):
        run = ["train", "--data", store, "--property", "flow", "--out", tmp_path / "out", *TINY]
        with open("/dev/full", "w") as full:
            command(*run, stdout=full, stderr=subprocess.PIPE)
        assert (tmp_path / "out" / "metrics.json").is_file()

    def test_ctrl_c_is_exit_code_130_and_the_run_goes_on_later(self, store, tmp_path):
        out = tmp_path / "out"
        run = ["train", "--data", store, "--property", "flow", "--out", out, *TINY]
        words = [sys.executable, "-m", "scdlab", *map(str, run), "--steps", "1000000"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not (out / "run.json").is_file() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(2)  # into the loop, where a first Ctrl-C ends the step
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=120)
        assert process.returncode == 130, errors
        assert b"--resume goes on" in printed and b"Traceback" not in errors
        assert (out / "checkpoint.safetensors").is_file()


def test_messages_survive_their_output(monkeypatch, capsys):
    class Closed:
        encoding = "ascii"

        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    log.show("5 Å")
    log.logger.info("5 Å")
    monkeypatch.setattr(sys, "stdout", None)
    log.show("5 Å")


def test_a_user_without_a_home_gets_one_for_the_time_being(monkeypatch, tmp_path, capsys):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("HOME", str(tmp_path))
    home.prepare()
    assert os.environ["HOME"] == str(tmp_path) and not capsys.readouterr().err
    monkeypatch.setattr(Path, "home", none)
    monkeypatch.setattr(home.atexit, "register", lambda remove, folder, **options: None)
    monkeypatch.setattr(home.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "lent"))
    home.prepare()
    assert os.environ["HOME"] == str(tmp_path / "lent")
    assert "no home folder" in capsys.readouterr().err
