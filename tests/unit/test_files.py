"""Files written whole or not at all, and what their digests are of."""

import os
import stat
import sys

import pytest

from scdlab import files


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
