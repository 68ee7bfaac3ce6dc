"""The reader's own function: used when it is right, the library's otherwise."""

import pytest

from scdlab import lessons
from scdlab.lessons.checks import Wrong, call
from scdlab.lessons.checks import check as make_check


def doubled(x):
    return 2 * x


def _right(answer):
    if call(answer, 3) != 6:
        raise Wrong("It should double its input.")
    return "Doubled."


@pytest.fixture
def check(monkeypatch):
    monkeypatch.setattr("scdlab.lessons.checks._CHECKS", {})
    return make_check(_right)


def test_a_right_function_is_used(check, capsys):
    def own(x):
        return x + x

    assert lessons.yours(own, doubled, check=check) is own
    assert "the lesson uses your own." in capsys.readouterr().out


def test_a_wrong_function_is_not(check, capsys):
    def triple(x):
        return 3 * x

    assert lessons.yours(triple, doubled, check=check) is doubled
    out = capsys.readouterr().out
    assert "Your triple is not right yet" in out and "It should double its input." in out


def dots(x):
    return ...


def nothing(x):
    """To be written."""


def none(x):
    """To be written."""
    return None


def dots_alone(x): ...


@pytest.mark.parametrize("empty", [dots, nothing, none, dots_alone, ..., None])
def test_an_empty_cell_leaves_the_library(check, capsys, empty):
    assert lessons.yours(empty, doubled, check=check) is doubled
    assert "still to be written" in capsys.readouterr().out


def test_a_function_that_crashes(check, capsys):
    assert lessons.yours(lambda x: 1 / 0, doubled, check=check) is doubled
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_forgotten_return_is_no_empty_cell(check, capsys):
    def forgot(x):
        x = 2 * x

    assert lessons.yours(forgot, doubled, check=check) is doubled
    assert "is the `return` missing" in capsys.readouterr().out
    assert lessons.yours(lambda x: x, doubled, check=check) is doubled
    assert "It should double its input." in capsys.readouterr().out


@pytest.mark.parametrize(("library", "its_check"), [(None, _right), (doubled, None)])
def test_both_must_be_functions(library, its_check):
    with pytest.raises(TypeError, match="needs a function"):
        lessons.yours(doubled, library, check=its_check)
