"""Rules of teaching that hold for every lesson, read off the sources: a guess before each answer,
a text for each figure, a term defined before it is used, a quiz at the end."""

import ast
import re

import pytest
from not_yet import NOT_YET
from sources import (
    SOURCES,
    cells_of,
    fronts_of_splits,
    unanswered_predictions,
    undescribed_figures,
    unused_functions,
)

from scdlab.lessons.quizzes import questions

LESSONS = sorted(SOURCES)
PREDICT = "# %% [markdown]\n# **Predict.** How many?\n\n# %%\n{}\n\n# %%\n{}\n"
BOX = 'many = lessons.predict("How many?", name="00-many", stored=3)'


def judge(rule, lesson, problems):
    """Fail for problems of a lesson that should keep a rule, and for a listed one that keeps it."""
    if lesson not in NOT_YET[rule]:
        assert not problems, f"{lesson}:\n" + "\n".join(problems)
    else:
        assert problems, f"{lesson} keeps the rule {rule!r}: take it off the list in not_yet.py."


def test_the_lists_name_lessons():
    assert {name for names in NOT_YET.values() for name in names} <= set(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_each_prediction_has_its_box_and_its_answer(lesson):
    judge("predictions", lesson, unanswered_predictions(cells_of(SOURCES[lesson])))


@pytest.mark.parametrize("lesson", LESSONS)
def test_each_figure_has_an_alternative_text(lesson):
    judge("described", lesson, undescribed_figures(cells_of(SOURCES[lesson])))


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_part_is_the_front_of_a_split(lesson):
    assert fronts_of_splits(cells_of(SOURCES[lesson])) == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_lesson_uses_what_the_reader_writes(lesson):
    assert unused_functions(cells_of(SOURCES[lesson])) == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_recap_has_five_points(lesson):
    prose = "\n".join(cell.text for cell in cells_of(SOURCES[lesson]) if cell.kind == "markdown")
    recap = re.search(r"^#+ .*take away\n(.*?)^#", prose, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(\d)\. ", recap[1], re.MULTILINE) == list("12345")


PARTS = {
    "what one will be able to do": r"after this lesson you can|you will be able to",
    "the time": r"\*\*Time\.?\*\*",
    "a link to the glossary": r"\]\(glossary\.md",
    "a heading “What to take away”": r"^#+ .*take away",
    "a heading “Where to go next”": r"^#+ .*next",
}
PARTS_OF_A_PAPER = {  # 00 has no paper, and an appendix has that of its lesson
    "a link to the paper": r"\]\(https?://|https?://",
    "something broken": r"^#+ .*break it",
    "a heading “Departures from the paper”": r"^#+ .*departures",
    "a heading “What is contested”": r"^#+ .*contested",
}


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_lesson_has_its_parts(lesson):
    cells = cells_of(SOURCES[lesson])
    prose = "\n".join(cell.text for cell in cells if cell.kind == "markdown")
    own = PARTS
    if re.match(r"(?!00)\d\d_", lesson):
        own = PARTS | PARTS_OF_A_PAPER
    problems = [
        f"it lacks {part}"
        for part, words in own.items()
        if not re.search(words, prose, re.MULTILINE | re.IGNORECASE)
    ]
    tags = [tag for cell in cells for tag in cell.tags]
    if tags.count("parameters") != 1 or "solution" not in tags:
        problems.append("it needs one cell tagged 'parameters', and folded solutions")
    code = "\n" + "\n".join(cell.text for cell in cells if cell.kind == "code")
    problems += [
        f"its parameters lack {name}"
        for name in ("PROFILE", "DEVICE", "SEED", "DATA")
        if f"\n{name} = " not in code
    ]
    judge("skeleton", lesson, problems)


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_quiz_stands_at_the_end(lesson):
    code = [cell.text for cell in cells_of(SOURCES[lesson]) if cell.kind == "code"]
    number = lesson.split("_")[0]
    problems = [
        f"no cell calls {call}"
        for call in (f'lessons.quiz("{number}")', "lessons.calibration()")
        if not any(call in text for text in code)
    ]
    try:
        count = len(questions(number))
    except ValueError as error:
        problems.append(str(error))
    else:
        problems += [] if count == 5 else [f"the quiz has {count} questions, not five"]
    judge("quiz", lesson, problems)


def test_what_is_right_passes():
    assert unanswered_predictions(cells_of(PREDICT.format(BOX, "many.reveal(4)"))) == []
    heading = PREDICT.replace("**Predict.** How many?", "## Predict: how many?")
    assert unanswered_predictions(cells_of(heading.format(BOX, "many.reveal(4)"))) == []


WRONG = {
    "no box": ("print(1)", "print(2)", "no lessons.predict follows"),
    "no reveal": (BOX, "print(2)", "many is not revealed in a later cell"),
    "revealed at once": (f"{BOX}\nmany.reveal(4)", "print(2)", "not revealed in a later cell"),
    "another is revealed": (BOX, "few.reveal(4)", "many is not revealed"),
    "not kept": (BOX.removeprefix("many = "), "many.reveal(4)", "not kept in a variable"),
    "overwritten": (f"{BOX}", f"{BOX.replace('00-many', '00-more')}", "many is never revealed"),
    "one name twice": (BOX, f"many.reveal(4)\nmore{BOX.removeprefix('many')}", "used twice"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_named(kind):
    first, second, message = WRONG[kind]
    assert message in "\n".join(unanswered_predictions(cells_of(PREDICT.format(first, second))))


def test_a_second_question_needs_its_own_box():
    text = "# %% [markdown]\n# **Predict.** One?\n\n" + PREDICT.format(BOX, "many.reveal(4)")
    assert unanswered_predictions(cells_of(text)) == [
        "cell 0: no lessons.predict follows “**Predict.** One?”"
    ]


DESCRIBED = (
    'explore.described(explore.path_plot(x, y), "A line.")',
    'fig = explore.path_plot(x, y)\nexplore.described(fig, "A line.")\nfig',
    'fig = explore.described(explore.path_plot(x, y), "A line.")\nmany.reveal(4, fig)\nfig',
    'def draw():\n    return explore.described(go.Figure(), "A line.")\ndraw()',
    "print(explore.path_plot(x, y))",
    "table",
)
BARE = (
    "explore.path_plot(x, y)",
    "explorer = explore.NoiseExplorer(store)\nexplorer",
    "fig = style.figure()\nfig",
    "fig = explore.path_plot(x, y)\nfig.show()",
    "fig = go.Figure()\ndisplay(fig)\nprint(1)",
    "def draw():\n    fig = go.Figure()\n    return fig\ndraw()",
    'fig = explore.described(go.Figure(), "A line.")\nfig = go.Figure()\nfig',
)


@pytest.mark.parametrize("code", DESCRIBED)
def test_figures_with_a_text_pass(code):
    assert undescribed_figures(cells_of(f"# %%\n{code}\n")) == []


@pytest.mark.parametrize("code", BARE)
def test_figures_without_a_text_are_named(code):
    ast.parse(code)
    assert len(undescribed_figures(cells_of(f"# %%\n{code}\n"))) == 1


FRONTS = (
    "train, val, test = store.split(9, 0, seed=0)\nfew = test[:5]",
    "parts = store.split(9, 0)[2]\nfew = parts[: len(parts) // 2]",
    "few = store.split(9, 0)[2][:5]",
)
DRAWN = (
    "train, val, test = store.split(9, 0, seed=0)\nfew = test.sample(5, seed=0)\nfirst = few[:2]",
    "test = store.split(9, 0)[2]\ntest = test.sample(5)\nfew = test[:2]",
    "test = store.split(9, 0)[2]\nend = test[5:]",
    "words = text.split(',')[0][:9]",
)


@pytest.mark.parametrize("code", FRONTS)
def test_the_front_of_a_split_is_named(code):
    assert len(fronts_of_splits(cells_of(f"# %%\n{code}\n"))) == 1


@pytest.mark.parametrize("code", DRAWN)
def test_what_is_drawn_passes(code):
    assert fronts_of_splits(cells_of("".join(f"# %%\n{line}\n" for line in code.split("\n")))) == []


ASKED = "# %%\ndef mine(x):\n    return ...\n\n\nlessons.check_it(mine)\n\n"
SOLVED = '# %% tags=["solution"]\nassert lessons.check_it(solution, show=False)\n\n'
USED = "# %%\nmine = lessons.yours(mine, solution, check=lessons.check_it)\n\n"


@pytest.mark.parametrize("text", [ASKED + SOLVED, ASKED + USED, ASKED + USED + SOLVED])
def test_a_function_that_is_not_used_is_named(text):
    assert len(unused_functions(cells_of(text))) == 1
    assert unused_functions(cells_of(ASKED + SOLVED + USED)) == []
