"""Pairs of files: the old one or the new one at every instant, whoever writes, reads or dies."""

import inspect
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from scdlab import files, pairs


def save(folder, text):
    pairs.write_pair(
        f"{folder}/m.bin",
        f"{folder}/m.json",
        lambda path: path.write_text(text),
        lambda sha256: {"format": "test", "weights_sha256": sha256, "text": text},
    )


WRITE = "import sys\nfrom scdlab import pairs\n" + inspect.getsource(save)


def opened(folder):
    return files.read_pair(
        folder / "m.bin", folder / "m.json", lambda about, path: (about["text"], path.read_text())
    )


def test_a_pair_comes_back_and_is_replaced(tmp_path):
    for text in ("one", "two"):
        save(tmp_path, text)
        assert opened(tmp_path) == (text, text)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="no signal ends a process at once there")
@pytest.mark.parametrize("old", [True, False])
def test_killed_at_each_rename(tmp_path, old):
    if old:
        save(tmp_path, "old")
    kill = (
        WRITE + "import os, signal\n"
        "real, left = os.replace, [int(sys.argv[2])]\n"
        "def replace(*names):\n"
        "    left[0] -= 1\n"
        "    if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(*names)\n"
        "os.replace = replace\n"
        "save(sys.argv[1], 'new')\n"
    )
    seen = []
    for k in range(4):
        done = subprocess.run([sys.executable, "-c", kill, str(tmp_path), str(k)], check=False)
        assert done.returncode == (-signal.SIGKILL if k < 3 else 0)
        if old or k >= 2:  # the first pair of all is there from its json on
            text, content = opened(tmp_path)
            assert text == content
            seen.append(text)
        if k == 2:
            save(tmp_path, "old")
            assert opened(tmp_path) == ("old", "old")
            assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.json"]
    assert seen == (["old", "old", "new", "new"] if old else ["new", "new"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.json"]


def test_readers_see_whole_pairs_while_one_writes(tmp_path):
    save(tmp_path, "0")
    done = threading.Event()

    def write():
        for k in range(30):
            save(tmp_path, str(k))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    n = 0
    while not done.is_set():
        text, content = opened(tmp_path)
        assert text == content
        n += 1
    writer.join()
    assert n > 1


def test_an_error_or_interrupt_leaves_the_old_pair(tmp_path, monkeypatch):
    save(tmp_path, "old")
    for at in ("write", "describe"):

        def write(path, at=at):
            path.write_text("new")
            if at == "write":
                raise KeyboardInterrupt

        def describe(sha256, at=at):
            if sha256 and at == "describe":
                raise KeyboardInterrupt
            return {"format": "test", "weights_sha256": sha256}

        with pytest.raises(KeyboardInterrupt):
            files.write_pair(tmp_path / "m.bin", tmp_path / "m.json", write, describe)
        assert opened(tmp_path) == ("old", "old")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.json"]

    def late(path, value, sync):
        files.write_json(path, value, sync=sync)
        raise KeyboardInterrupt  # after the rename that makes the new pair the one

    monkeypatch.setattr(pairs, "write_json", late)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, "new")
    assert opened(tmp_path) == ("new", "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.json"]


def test_nothing_else_is_replaced(tmp_path):
    (tmp_path / "m.bin").write_text("somebody's")
    with pytest.raises(FileExistsError, match=r"m\.bin stands there already, without the m\.json"):
        save(tmp_path, "new")
    (tmp_path / "m.json").write_text('{"name": "package"}')
    with pytest.raises(FileExistsError, match="holds something else"):
        save(tmp_path, "new")
    (tmp_path / "m.json").write_text("[")
    with pytest.raises(FileExistsError, match="cannot be read: remove it"):
        save(tmp_path, "new")
    assert (tmp_path / "m.bin").read_text() == "somebody's"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.json"]


def test_damage_is_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no description of a model .*m\.json"):
        opened(tmp_path)
    save(tmp_path, "text")
    (tmp_path / "m.bin").write_text("tExt")
    with pytest.raises(ValueError, match=r"m\.bin is damaged or belongs to another m\.json"):
        opened(tmp_path)
    (tmp_path / "m.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"There are no weights .*m\.bin for m\.json"):
        opened(tmp_path)
    for wrong in (None, 3, "abc", "../../../etc/passwd"):
        (tmp_path / "m.json").write_text(json.dumps({"format": "test", "weights_sha256": wrong}))
        with pytest.raises(ValueError, match=r"m\.json names no weights"):
            opened(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_is_no_file(tmp_path):
    save(tmp_path, "text")
    (tmp_path / "m.bin").unlink()
    os.mkfifo(tmp_path / "m.bin")
    with pytest.raises(FileNotFoundError, match=r"There are no weights .*m\.bin"):
        opened(tmp_path)


def test_links_to_another_disk_stay(tmp_path):
    (tmp_path / "disk").mkdir()
    for name in ("m.bin", "m.json"):
        os.symlink(tmp_path / "disk" / name, tmp_path / name)
    for text in ("one", "two"):
        save(tmp_path, text)
        assert opened(tmp_path) == (text, text)
    assert all((tmp_path / name).is_symlink() for name in ("m.bin", "m.json"))
    assert sorted(p.name for p in (tmp_path / "disk").iterdir()) == ["m.bin", "m.json"]
