"""A lesson as an app: which cells speak, and what a person reads where none can be served."""

import contextlib
import socket
import sys

import nbformat
import pytest
from typer.testing import CliRunner

from scdlab import cli, lessons
from scdlab.lessons import served
from scdlab.lessons.classroom.exercises import exercises_of
from scdlab.lessons.served.page import SILENT

PATHS = lessons.list_lessons()


def call(*arguments):
    """What `scdlab` prints, in one line, and its exit code."""
    result = CliRunner().invoke(cli.app, list(arguments))
    return " ".join(result.output.split()), result.exit_code


def silent_sources(page):
    return [cell.source for cell in page.cells if SILENT in cell.metadata.get("tags", ())]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_all_cells_run_and_those_for_writers_are_silent(path):
    page = served.lesson_page(path)
    nbformat.validate(page)
    original = nbformat.read(path, as_version=4)
    code = [cell.source for cell in original.cells if cell.cell_type == "code"]
    assert [cell.source for cell in page.cells if cell.cell_type == "code"] == code
    silent = silent_sources(page)
    for task in exercises_of(path):
        assert any(f"lessons.{task.check}({task.answer})" in source for source in silent)
    assert [source for source in code if source.startswith("# Solution")] == [
        source for source in silent if source.startswith("# Solution")
    ]
    assert "lessons.calibration()" in silent
    summary = next(k for k, c in enumerate(page.cells) if c.source == "lessons.calibration()")
    assert page.cells[summary - 1].cell_type == "code"  # no heading above what is not shown
    assert not any("explore.described(" in source for source in silent)
    notes = [cell for cell in page.cells if cell.source.startswith("*Here the lesson has an")]
    assert 0 < len(notes) <= len(exercises_of(path))
    assert page.metadata["title"] in original.cells[0].source


def test_a_lesson_of_magics_is_one_sentence(tmp_path):
    cells = [nbformat.v4.new_code_cell("%matplotlib inline")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "07_x.ipynb")
    with pytest.raises(ValueError, match=r"must be plain Python, got '%matplotlib inline'"):
        served.lesson_page(tmp_path / "07_x.ipynb")


def test_the_last_lesson_is_served_unless_another_is_named(monkeypatch):
    asked = []
    monkeypatch.setattr(served, "serve", lambda *given, **more: asked.append(given))
    assert call("lab", "--app") == ("", 0)
    assert call("lab", "--app", "--lesson", "2b", "--port", "9000", "--no-browser") == ("", 0)
    assert asked[0][0] == PATHS[-1] and asked[0][2:] == (8866, True)
    assert asked[1][0].name.startswith("02b_") and asked[1][2:] == (9000, False)


def test_a_lesson_that_is_not_there_is_one_sentence():
    line, code = call("lab", "--app", "--lesson", "77")
    assert (code, line.partition(":")[0]) == (1, "There is no lesson 77")
    line, code = call("lab", "--app", "--lesson", "x")
    assert code == 2 and "A lesson has a number, such as 2 or 2b, got 'x'" in line


def test_a_port_in_use_is_one_sentence():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line, code = call("lab", "--app", "--no-browser", "--port", str(port))
    assert code == 1
    assert line.startswith(f"Port {port} of 127.0.0.1 cannot be used (")
    assert line.endswith("): end what runs there, or name another by --port.")


def test_without_voila_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "voila", None)
    for name in ("voila.app", "scdlab.lessons.served", "scdlab.lessons.served.server"):
        with contextlib.suppress(KeyError):
            monkeypatch.delitem(sys.modules, name)
    line, code = call("lab", "--app")
    assert code == 1
    assert line == (
        "This command needs voila, which is not installed: install scdlab with its extra "
        "'lessons', as in pip install '.[lessons]'."
    )


def test_jupyterlab_opens_the_lesson_that_was_named(tmp_path):
    assert "--LabApp.default_url=/lab/tree/03_dens.ipynb" in cli.lab_arguments(
        tmp_path, 8888, False, "03_dens.ipynb"
    )
