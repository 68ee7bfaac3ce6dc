"""The glossary, and that no lesson uses a term of it before it is defined."""

import pytest
from not_yet import NOT_YET
from sources import SOURCES, cells_of
from terms import EVERYDAY, GLOSSARY, Term, anchors, glossary, links, used_too_early
from test_teaching import judge

TERMS = glossary()
RBF = Term("radial basis", ("radial basis", "RBF"), ("00",))


@pytest.fixture(scope="module")
def early():
    """What each lesson uses too early, read in their order."""
    known = set()
    return {
        name: used_too_early(cells_of(path), TERMS, known) for name, path in sorted(SOURCES.items())
    }


@pytest.mark.parametrize("lesson", sorted(SOURCES))
def test_terms_are_defined_before_they_are_used(early, lesson):
    judge("terms", lesson, early[lesson])


@pytest.mark.parametrize("lesson", sorted(SOURCES))
def test_links_to_the_glossary_lead_somewhere(lesson):
    there = anchors(GLOSSARY.read_text(encoding="utf-8"))
    assert set(links(SOURCES[lesson])) <= there


def test_each_entry_is_whole():
    names = [term.name for term in TERMS]
    assert len(names) > 90
    forms = [form.lower() for term in TERMS for form in term.forms]
    assert sorted(set(forms)) == sorted(forms)  # nothing is explained twice
    assert [term.name for term in TERMS if not term.lessons] == []
    assert set(names) >= EVERYDAY
    lines = GLOSSARY.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []


def test_each_symbol_has_its_row():
    table = GLOSSARY.read_text(encoding="utf-8").split("## Symbols")[1]
    rows = [line for line in table.splitlines() if line.startswith("| $")]
    assert len(rows) > 25
    for row in rows:
        symbol, meaning, unit, lesson = (part.strip() for part in row.strip("|").split(" | "))
        assert symbol and meaning and unit and lesson[:2].isdigit(), row


PARAMETERS = '# %% tags=["parameters"]\nSEED = 0\n\n'


def lesson(*paragraphs, first="# A lesson on the RBF"):
    text = f"# %% [markdown]\n# {first}\n\n{PARAMETERS}"
    return cells_of(text + "".join(f"# %% [markdown]\n# {each}\n\n" for each in paragraphs))


EARLY = (
    ("The radial basis is wide.", "A **radial basis** is …"),
    ("Two RBFs, please.",),
    ("An RBF here.", "See the [radial basis](glossary.md#radial-basis)."),
)
IN_TIME = (
    ("A **radial basis** is …", "The RBF is wide."),
    ("A **radial\n# basis** (RBF) in one paragraph.",),
    ("See the [bumps](glossary.md#radial-basis).", "The RBF is wide."),
    ("Code: `RBF`, a title: *The RBF of today*, a formula: $RBF$.",),
    ("## The radial basis", "Then a **radial basis** is …"),
    ("Basically, sRBFx.",),
)


@pytest.mark.parametrize("paragraphs", EARLY)
def test_what_comes_too_early_is_found(paragraphs):
    assert len(used_too_early(lesson(*paragraphs), [RBF], set())) == 1


@pytest.mark.parametrize("paragraphs", IN_TIME)
def test_what_comes_in_time_passes(paragraphs):
    assert used_too_early(lesson(*paragraphs), [RBF], set()) == []


def test_a_definition_holds_for_later_lessons():
    known = set()
    assert used_too_early(lesson("A **radial basis** is …"), [RBF], known) == []
    assert known == {"radial basis"}
    assert used_too_early(lesson("The RBF is wide."), [RBF], known) == []
    assert used_too_early(lesson("The RBF is wide."), [RBF], set()) != []


def test_the_lists_are_of_lessons():
    assert set(NOT_YET["terms"]) <= set(SOURCES)
