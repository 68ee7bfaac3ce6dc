"""Quizzes: every answer has its reason, on a page without a kernel as well."""

import re
from html.parser import HTMLParser

import pytest

from scdlab import lessons
from scdlab.lessons.quizzes import Question, questions, quiz_html, quiz_text

SHAPE = Question("2 < 3?", {"yes": "3 is larger.", "no": "Count.", "maybe": "It is certain."})
FORCE = Question("Is F = −dE/dx?", {"Yes": "By definition.", "No": "It is."})


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.open = []
        self.seen = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_each_question_and_each_answer_unfolds():
    page = quiz_html([SHAPE, FORCE])
    tags = Tags(page).seen
    assert tags.count("details") == 2 + 3 + 2 == tags.count("summary")
    assert "2 &lt; 3?" in page and "script" not in tags
    for question in (SHAPE, FORCE):
        for reason in question.choices.values():
            assert reason in page
    assert page.count("✓ Right.") == 2 and page.count("✗") == 3
    assert re.search(r"<summary>yes</summary><p[^>]*><b>✓ Right.</b> 3 is larger.", page)


def test_the_order_is_mixed_and_always_the_same():
    many = [Question(f"{k}?", {"a": "r", "b": "w", "c": "w"}) for k in range(20)]
    orders = [question.shuffled(0) for question in many]
    assert orders == [question.shuffled(0) for question in many]
    assert {order[0] for order in orders} == {"a", "b", "c"}
    assert SHAPE.right == "yes"


def test_as_text_it_shows_no_reasons():
    text = quiz_text([SHAPE])
    assert "1. 2 < 3?" in text and "   - maybe" in text and "Count." not in text


@pytest.mark.parametrize(
    ("text", "choices"),
    [("", {"a": "r", "b": "w"}), ("q", {"a": "r"}), ("q", {"a": "r", "b": ""}), ("q", ["a", "b"])],
)
def test_a_question_needs_reasons(text, choices):
    with pytest.raises(ValueError, match="must"):
        Question(text, choices)


@pytest.mark.parametrize("lesson", [77, "77", "x", "../../00"])
def test_a_lesson_without_a_quiz(lesson):
    with pytest.raises(ValueError, match=r"such as '02', got"):
        lessons.quiz(lesson)
    with pytest.raises(ValueError, match="lessonNN"):
        questions(lesson)
