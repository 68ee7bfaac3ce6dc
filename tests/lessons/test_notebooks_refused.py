"""Lessons that cannot be run: what is no notebook, and kernels that never start."""

import json
import sys

import nbformat
import pytest

from scdlab import lessons
from scdlab.lessons import kernel

PARAMETERS = "PROFILE = 'quick'\nSEED: int = 0"


def cell(source, **metadata):
    return {
        "cell_type": "code",
        "id": "a",
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def notebook(*cells, **change):
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}
    return whole | change


GOOD = cell(PARAMETERS, tags=["parameters"])
BROKEN = {
    "half of it": '{"cells": [',
    "no text": b"\xff\xfe\x00",
    "empty": "",
    "a number": "5",
    "null": "null",
    "a list": "[]",
    "an empty object": "{}",
    "nested too deeply": "[" * 100_000,
    "another format": json.dumps(notebook(GOOD, nbformat=9)),
    "the format as text": json.dumps(notebook(GOOD, nbformat="4")),
    "no cells": json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}}),
    "cells that are none": json.dumps(notebook(5)),
    "cells as text": json.dumps(notebook(cells="x")),
    "metadata that is none": json.dumps(notebook(GOOD, metadata=5)),
    "a kernel that is none": json.dumps(notebook(GOOD, metadata={"kernelspec": 5})),
    "tags that are none": json.dumps(notebook(cell(PARAMETERS, tags=5))),
    "a source that is none": json.dumps(notebook(cell(7, tags=["parameters"]))),
    "an entry twice": '{"nbformat": 4, "nbformat": 4}',
    "a magic among the parameters": json.dumps(
        notebook(cell(f"%pylab\n{PARAMETERS}", tags=["parameters"]))
    ),
    "a parameter that is no Python": json.dumps(notebook(cell("PROFILE =", tags=["parameters"]))),
    "no parameters": json.dumps(notebook(cell("x = 1"))),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_lesson_is_one_sentence(kind, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    content = BROKEN[kind]
    content = content if isinstance(content, bytes) else content.encode()
    (folder / "00_tiny.ipynb").write_bytes(content)
    with pytest.raises(ValueError, match="00_tiny") as caught:
        lessons.run(0, folder=folder, out=tmp_path / "out")
    assert caught.traceback[-1].path.is_relative_to(kernel.__file__.rpartition("lessons")[0])
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (dict(numbers=1.5), TypeError, "1.5"),
        (dict(numbers="²"), ValueError, "²"),
        (dict(numbers=[None]), ValueError, "None"),
        (dict(numbers="9" * 5000), ValueError, "no lesson 999"),
        (dict(timeout=float("nan")), ValueError, "nan"),
        (dict(timeout=float("inf")), ValueError, "inf"),
        (dict(timeout="long"), TypeError, "long"),
        (dict(parameters=[1]), TypeError, "parameters"),
        (dict(profile=None), ValueError, "None"),
    ],
)
def test_wrong_arguments_are_one_sentence(options, kind, words, tmp_path):
    with pytest.raises(kind, match=words):
        lessons.run(**options, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_lessons_is_one_sentence(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="no lessons"):
            lessons.run(folder=folder, out=tmp_path / "out")


@pytest.fixture
def two_lessons(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("00_one", "01_two"):
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook(GOOD)), encoding="utf-8")
    return folder


def test_an_output_that_is_a_file_is_known_before_a_lesson_runs(two_lessons, tmp_path):
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(OSError):
        lessons.run(folder=two_lessons, out=tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import time; time.sleep(100)", ""),
        ("import sys; sys.exit('no such kernel')", "it printed: no such kernel"),
    ],
)
def test_a_kernel_that_never_starts_is_known_soon_and_tried_once(
    code, said, two_lessons, tmp_path, monkeypatch
):
    (tmp_path / "ipykernel_launcher.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("scdlab.lessons.runner.START_LIMIT", 2)
    started = []
    launch = kernel.LessonKernel.manager_class
    monkeypatch.setattr(
        kernel.LessonKernel, "manager_class", lambda self: started.append(1) or launch(self)
    )
    results = lessons.run(folder=two_lessons, out=tmp_path / "out")
    assert len(started) == 1 and len(results) == 2
    for result in results:
        assert not result.ok and result.error.startswith("No kernel answered within")
        assert said in result.error and sys.executable in result.error
        shown = nbformat.read(result.notebook, as_version=4)
        assert "No kernel answered" in shown.cells[0].source and result.page.is_file()


def test_the_limit_of_a_start_leaves_a_minute():
    assert kernel.START_LIMIT <= 50
