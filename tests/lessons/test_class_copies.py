"""Copies of the lessons for a class: no solution, no result, and they run all the same."""

import ast
import json

import nbformat
import pytest
from typer.testing import CliRunner

from scdlab import lessons
from scdlab.cli import app, lesson_folder
from scdlab.lessons import classroom
from scdlab.lessons.classroom import copies
from scdlab.lessons.statements import bound, used

PATHS = lessons.list_lessons()


def sources(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_copy_shows_no_solution_and_keeps_the_names(path):
    original = nbformat.read(path, as_version=4)
    copy = copies.copy_of(path)
    nbformat.validate(copy)
    written = nbformat.writes(copy)
    solutions = [c for c in original.cells if "solution" in c.metadata.get("tags", ())]
    assert solutions
    for cell in solutions:
        body = cell.source.split("\n", 2)[2] if cell.cell_type == "code" else cell.source
        assert json.dumps(body)[1:60] not in written
    # each name that a cell reads is still bound somewhere, as in the original
    trees = [ast.parse(source) for source in sources(copy)]
    had = set().union(*(bound(each) for s in sources(original) for each in ast.parse(s).body))
    has = set().union(*(bound(each) for tree in trees for each in tree.body))
    assert (used(trees) & had) <= has
    assert all(not c.outputs for c in copy.cells if c.cell_type == "code")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_exercises_are_as_they_were(path):
    def checked(notebook):
        return [
            line for s in sources(notebook) for line in s.splitlines() if "lessons.check_" in line
        ]

    original = nbformat.read(path, as_version=4)
    open_ones = [line for line in checked(original) if not line.startswith("assert")]
    assert checked(copies.copy_of(path)) == open_ones


def test_a_solution_is_made_of_the_names_of_the_notebook():
    namespace = {"lessons": lessons}
    exec("import torch\nfrom torch import nn\nimport math", namespace)
    exec('made = lessons.solution("01", "ssp_solution")', namespace)
    assert lessons.check_ssp(namespace["made"], show=False)
    assert namespace["made"].__globals__ is namespace


def test_a_solution_that_is_not_there():
    with pytest.raises(ValueError, match="has no solution x: it has cfconv_solution, "):
        lessons.solution("01", "x")
    with pytest.raises(ValueError, match="There is no lesson 77"):
        lessons.solution("77", "x")


def test_a_folder_for_a_class(tmp_path):
    folder = tmp_path / "class"
    made = classroom.make(folder, ["1b"])
    assert [path.name for path in made] == ["01b_filter_tables.ipynb"]
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["01b_filter_tables.ipynb", "README.md", "glossary.md", "scdlab_class.json"]
    assert nbformat.read(made[0], as_version=4).metadata.scdlab.lesson == "01b_filter_tables"
    assert lesson_folder(folder) == folder.resolve()  # `scdlab lab` opens it as it is


@pytest.mark.slow
def test_a_copy_runs_from_end_to_end(tmp_path):
    classroom.make(tmp_path / "class", ["1b"])
    (result,) = lessons.run("1b", folder=tmp_path / "class", out=tmp_path / "ran")
    assert result.ok, result
    assert result.metrics


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["full"], "is not empty: name a new folder"),
        (["file"], "is a file, where the copies of the lessons need a folder"),
        (["new", "--lesson", "9"], "There is no lesson 9: the lessons are 00, 01"),
        (["new", "--lesson", "x"], "A lesson has a number"),
        (["file/below"], "cannot be"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, ["class", "make", *arguments])
    assert result.exit_code in (1, 2)
    assert words in result.output.replace("\n", " ")
    assert "Traceback" not in result.output
    assert not (tmp_path / "new").exists()
