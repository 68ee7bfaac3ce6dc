"""Files written whole or not at all, and what their digests are of."""

import enum
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scdlab import atomic, files, plain


def test_a_file_is_whole_or_as_before(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    with files.atomic_file(path) as new:
        new.write_text("first")
    with pytest.raises(KeyboardInterrupt), files.atomic_file(path) as new:
        new.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "first"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_a_folder_is_whole_or_as_before(tmp_path):
    path = tmp_path / "folder"
    for name in ("one", "two"):  # the second replaces the first
        with files.atomic_folder(path) as new:
            (new / name).write_text("")
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(path) as new:
        (new / "half").write_text("")
        raise KeyboardInterrupt
    assert [each.name for each in path.iterdir()] == ["two"]
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_results_are_ordinary_files_that_others_may_read(tmp_path):
    mask = os.umask(0o022)
    try:
        files.write_json(tmp_path / "a.json", {"Å": 1})
        with files.atomic_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o755
    assert '"Å": 1' in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_the_digest_of_content_leaves_itself_out():
    content = {"b": 1.5, "a": ["ü", None]}
    digest = files.content_digest(content)
    assert digest == files.content_digest({"a": ["ü", None], "digest": digest, "b": 1.5})
    assert digest != files.content_digest({"a": ["u", None], "b": 1.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.content_digest({"a": float("nan")})


@pytest.mark.parametrize(
    "content, found",
    [
        ({"path": "/data/x"}, True),
        ({"path": "C:\\data"}, True),
        ({"path": "~/x"}, True),
        ({"command": "run --out /home/me/x"}, True),
        ({"command": "scdlab run 1/2", "unit": "eV/Å"}, False),
    ],
)
def test_paths_of_a_machine_are_found(content, found):
    assert files.has_absolute_path(content) is found


def test_folders_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SCDLAB_DATA", str(tmp_path))
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "cache"))
    assert files.user_data() == tmp_path and files.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("SCDLAB_DATA")
    monkeypatch.delenv("SCDLAB_CACHE")
    assert files.user_data() is None and files.cache_dir().name == "scdlab"
    assert (files.package_dir("data") / "README.md").is_file()


def test_numbers_of_numpy_paths_and_enumerations_become_plain(tmp_path):
    class Kind(enum.Enum):
        ONE = "one"

    value = {
        "n": np.int64(3),
        "x": np.float32(0.5),
        "yes": np.bool_(True),
        "list": (np.arange(2), Path("a") / "b"),
        Kind.ONE: {np.int64(4): None},
    }
    found = files.plain(value)
    assert found == {
        "n": 3,
        "x": 0.5,
        "yes": True,
        "list": [[0, 1], os.path.join("a", "b")],
        "one": {"4": None},
    }
    assert type(found["n"]) is int and type(found["yes"]) is bool
    assert type(files.plain(np.float64(1.0))) is float
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == found
    with pytest.raises(TypeError, match=r"a.json\['deep'\]\[1\] is a set, which json cannot hold"):
        files.write_json(tmp_path / "a.json", {"deep": [1, {2}]})
    assert files.read_json(tmp_path / "a.json") == found  # nothing was written


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"{", "Expecting"),
        (b"", "Expecting"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[1]", "holds a list"),
        (b"3", "holds a int"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b'{"a": {"b": NaN}}', "holds NaN"),
        (b'{"a": -Infinity}', "holds -Infinity"),
        (b'{"a": 1e999}', "infinite"),
        (b'{"a": "\\ud800"}', "not UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_json_that_cannot_be_used_is_one_sentence(tmp_path, content, reason):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"a.json is no readable thing \(.*{reason}.*\): mend it\."
    ):
        files.read_json(path, "thing", "mend it")


def test_json_that_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no thing .*a.json: check the path"):
        files.read_json(tmp_path / "a.json", "thing")
    with pytest.raises(ValueError, match="it is no file"):
        files.read_json(tmp_path, "thing")
    (tmp_path / "b.json").write_text('{"x": NaN, "smile": "\\ud83d\\ude00"}')
    found = files.read_json(tmp_path / "b.json", finite=False)
    assert found["x"] != found["x"] and found["smile"] == "😀"


def test_links_stay_links(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.json").symlink_to(tmp_path / "disk" / "real.json")
    files.write_json(tmp_path / "a.json", {"x": 1})
    files.write_json(tmp_path / "a.json", {"x": 2})
    assert (tmp_path / "a.json").is_symlink()
    assert files.read_json(tmp_path / "disk" / "real.json") == {"x": 2}
    (tmp_path / "folder").symlink_to(tmp_path / "disk" / "set")
    for name in ("one", "two"):
        with files.atomic_folder(tmp_path / "folder") as new:
            (new / name).write_text("")
    assert (tmp_path / "folder").is_symlink()
    assert [p.name for p in (tmp_path / "disk" / "set").iterdir()] == ["two"]
    assert sorted(p.name for p in (tmp_path / "disk").iterdir()) == ["real.json", "set"]


def test_places_that_cannot_be_written_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "a.json", tmp_path / "file" / "b" / "a.json"):
        with pytest.raises(
            OSError, match=r"a\.json cannot be written \(.*file.*\): choose another"
        ):
            files.write_json(path, {})
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OSError, match=r"folder\.json cannot be written \(is a directory\)"):
        files.write_json(tmp_path / "folder.json", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.json"]


def test_a_full_disk_is_one_sentence_and_leaves_the_old(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    for code in (errno.ENOSPC, errno.EFBIG):
        with pytest.raises(OSError, match="make room") as caught, files.atomic_file(path) as new:
            new.write_bytes(b"half")
            raise OSError(code, os.strerror(code))
        assert caught.value.errno == code
    with pytest.raises(OSError, match="make room"), files.atomic_file(path):
        raise OSError("4096 requested and 12 written")  # as numpy puts it
    with pytest.raises(OSError, match="make room") as caught, files.atomic_file(path):
        raise RuntimeError(
            "I/O error: No space left on device (os error 28)"
        )  # as safetensors does
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(RuntimeError, match=r"^something else$"), files.atomic_file(path):
        raise RuntimeError("something else")
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no signal ends a process at once there")
def test_what_killed_writers_left_is_swept(tmp_path):
    code = (
        "import os, signal, sys; from scdlab import files\n"
        "with files.atomic_file(sys.argv[1] + '/a.json') as new:\n"
        "    with files.atomic_folder(sys.argv[1] + '/set') as folder:\n"
        "        (folder / 'x').write_text('half')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert [name.split(".")[1] for name in left] == ["a", "set"]
    assert all(name.endswith(".tmp") for name in left)
    (tmp_path / ".set.json").write_text("no leftover")
    with files.atomic_folder(tmp_path / "set") as alive:
        files.sweep(tmp_path / "set")
        files.sweep(tmp_path / "a.json")
        assert alive.is_dir()  # its writer lives
    assert sorted(p.name for p in tmp_path.iterdir()) == [".set.json", "set"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_exchanged_or_put_back(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(atomic, "_exchanged", lambda one, two: False)
    path = tmp_path / "set"
    for name in ("one", "two"):
        with files.atomic_folder(path) as new:
            (new / name).write_text("")
    assert [p.name for p in path.iterdir()] == ["two"]
    # killed between the two renames of a file system that cannot exchange
    path.rename(tmp_path / ".set.abcdefgh.old")
    (tmp_path / ".set.abcdefgh.tmp").mkdir()
    assert files.was_cut_short(path)
    files.sweep(path)
    assert [p.name for p in path.iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("a" * 250)
    with files.atomic_file(path) as new:
        new.write_text("x")
    assert path.read_text() == "x"


# --------------------------------------------------------------------------------------------------
# the cache


def kept(name, made):
    def read(path):
        text = path.read_text()
        if text == "damaged":
            raise ValueError("damaged")
        return None if text == "stale" else text

    def make():
        made.append(name)
        return "value"

    def write(path, value):
        with files.atomic_file(path) as new:
            new.write_text(value)

    return files.cached(name, make, read, write)


def test_the_cache_keeps_and_mends_its_entries(tmp_path, monkeypatch):
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path))
    made = []
    for _ in range(2):
        assert kept("maps/a", made) == "value"
    assert made == ["maps/a"]
    for text in ("damaged", "stale"):
        (tmp_path / "maps" / "a").write_text(text)
        assert kept("maps/a", made) == "value"
        assert (tmp_path / "maps" / "a").read_text() == "value"
    (tmp_path / "maps" / "b").mkdir()  # no file at all
    assert kept("maps/b", made) == "value" and (tmp_path / "maps" / "b").is_file()


def test_a_cache_that_cannot_be_written_costs_one_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(files, "_WARNED", set())
    made = []
    for _ in range(2):
        assert kept("a", made) == "value"
    assert made == ["a", "a"]
    assert len(caplog.records) == 1 and "set SCDLAB_CACHE" in caplog.text


def test_a_user_without_a_home_has_no_cache(monkeypatch, caplog):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SCDLAB_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(files, "_WARNED", set())
    with pytest.raises(FileNotFoundError, match="no home folder for the cache: set SCDLAB_CACHE"):
        files.cache_dir()
    assert kept("a", []) == "value"
    assert "no home folder" in caplog.text


def test_a_user_without_a_home_reads_structures(tmp_path):
    code = """
import os, pwd

def unknown(uid):
    raise KeyError(uid)

pwd.getpwuid = unknown
import scdlab
assert os.path.expanduser("~") == "~"
assert len(scdlab.load_ethanol().to_ase(0)) == 9
"""
    without = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=without, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("depth", [50, 95, 110, 900, 100_000])
def test_json_that_is_nested_too_deeply_is_refused(tmp_path, depth):
    path = tmp_path / "a.json"
    path.write_text('{"a": ' + "[" * depth + "]" * depth + "}")
    if depth < 100:
        assert plain.plain(plain.read_json(path))["a"] is not None
        return
    with pytest.raises(ValueError, match=r"a\.json is no readable file"):
        plain.read_json(path)
