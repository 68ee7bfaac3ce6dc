"""Predictions: a guess is kept, compared and drawn; what is no guess gets a sentence."""

import json

import plotly.graph_objects as go
import pytest

from scdlab.explore import alternative_text, compare_bars, described, path_plot
from scdlab.lessons import guesses as kept_guesses
from scdlab.lessons import predict, predictions
from scdlab.lessons.guess_words import compared, is_right, number_text, quantity
from scdlab.lessons.guesses import FILE, Kept, read_guesses


@pytest.fixture
def reader(monkeypatch, tmp_path):
    """A reader at the front end, with a folder of their own; what was shown to them."""
    shown = []
    monkeypatch.setattr(predictions, "is_headless", lambda: False)
    monkeypatch.setattr(predictions, "show_html", lambda text, plain: shown.append(plain))
    monkeypatch.setattr(predictions, "show_marked", lambda text, plain, *look: shown.append(plain))
    monkeypatch.setattr(kept_guesses, "_unwritten", {})
    monkeypatch.setenv("SCDLAB_GUESSES", str(tmp_path / FILE))
    return shown


def sigma(**options):
    return predict("How large?", unit="Å", name="02-sigma", stored=0.2, **options)


def test_a_guess_is_compared_with_what_was_measured(reader):
    guess = sigma()
    guess.box.send_answer("0.2", "fairly")
    assert guess.value == 0.2
    assert guess.box.note == "Your guess is kept: 0.2 Å (fairly sure). Now run the next cells."
    guess.reveal(0.06)
    assert reader == ["You said 0.2 Å (fairly sure); measured: 0.06 Å, 3.3 times less."]
    assert guess.box.closed and "your guess stays: 0.2 Å" in guess.box.note


def test_a_choice_is_compared_with_the_answer(reader):
    guess = predict("Which?", choices=["ball", "disc"], name="03-shape", stored="ball")
    guess.box.send_answer("", "certain")
    assert guess.box.invalid and "choose one of the answers" in guess.box.note
    guess.box.send_answer("ball", "certain")
    assert guess.sentence("ball") == "You said “ball” (certain), and that is the answer."
    guess.reveal("disc")
    assert reader == ["You said “ball” (certain); the answer is “disc”."]


def test_without_a_reader_the_stored_guess_stands_in(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(kept_guesses, "_unwritten", {})
    monkeypatch.setenv("SCDLAB_GUESSES", str(tmp_path / FILE))
    guess = sigma()
    assert guess.headless and guess.value == 0.2
    guess.reveal(0.06)
    assert "The stored guess is 0.2 Å; measured: 0.06 Å, 3.3 times less." in capsys.readouterr().out
    assert not (tmp_path / FILE).exists()


WRONG = {
    "abc": "got “abc”",
    "": "the box is empty",
    "  ": "the box is empty",
    "nan": "a finite number in Å, got “nan”",
    "inf": "a finite number in Å, got “inf”",
    "1e999": "a finite number in Å, got “1e999”",
    "0,2": "with a decimal point, got “0,2”: write 0.2",
    "1_000": "got “1_000”",
    "0.2 eV": "got “0.2 eV”",
    "x" * 99: "…”",
}


@pytest.mark.parametrize("answer", WRONG)
def test_what_is_no_number_gets_one_sentence(reader, tmp_path, answer):
    guess = sigma()
    guess.box.send_answer(answer, "certain")
    assert guess.box.invalid
    assert WRONG[answer] in guess.box.note
    assert guess.box.note.startswith("Your guess must be a") and len(guess.box.note) < 160
    assert guess.value is None and not (tmp_path / FILE).exists()
    guess.box.send_answer("0.3", "guess")  # and the next one is taken
    assert not guess.box.invalid and guess.value == 0.3


@pytest.mark.parametrize("answer", ["0.2", " 0.2 ", "0.2 Å", "0.2Å", "2e-1", "+.2"])
def test_numbers_as_people_write_them(reader, answer):
    guess = sigma()
    guess.box.send_answer(answer, "guess")
    assert guess.value == 0.2


def test_how_sure_is_asked_for(reader):
    guess = sigma()
    guess.box.send_answer("0.2", "")
    assert guess.box.invalid and "How sure you are is missing" in guess.box.note
    assert guess.value is None


def test_running_a_cell_again_keeps_the_guess(reader):
    sigma().box.send_answer("0.2", "certain")
    again = sigma()
    assert (again.value, again.box.answer, again.box.sure) == (0.2, "0.2", "certain")
    again.box.send_answer("0.3", "fairly")  # still open: nothing was revealed
    assert sigma().value == 0.3
    again.reveal(0.1)
    later = sigma()
    assert later.box.closed
    later.box.send_answer("0.1", "certain")
    assert later.value == 0.3 and "your guess stays: 0.3 Å" in later.box.note
    later.reveal(0.1)
    assert reader[-1] == "You said 0.3 Å (fairly sure); measured: 0.1 Å, 3 times less."


def test_a_guess_after_the_answer_does_not_count(reader):
    guess = sigma()
    guess.reveal(0.06)
    assert reader == ["You have not guessed here; measured: 0.06 Å."]
    guess.box.send_answer("0.06", "certain")
    kept = read_guesses()[0]["02-sigma"]
    assert kept.late and not kept.counts()
    guess.reveal(0.06)
    assert reader[-1].startswith("You said 0.06 Å, after the answer was shown; measured: 0.06 Å")


def test_another_unit_is_another_question(reader):
    sigma().box.send_answer("0.2", "certain")
    assert predict("How large?", unit="pm", name="02-sigma", stored=20).value is None


def test_guesses_of_several_lessons_share_a_file(reader, tmp_path):
    sigma().box.send_answer("0.2", "certain")
    other = predict("Which?", choices=["a", "b"], name="03-which", stored="a")
    other.box.send_answer("b", "guess")
    content = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert content["guesses"]["02-sigma"]["guess"] == 0.2
    assert content["guesses"]["03-which"]["guess"] == "b"
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


DAMAGED = {
    "cut short": '{"format": 1, "guesses": {"02-si',
    "a list": "[1, 2]",
    "without guesses": "{}",
    "no object": '{"guesses": {"02-sigma": 3}}',
    "another kind": '{"guesses": {"02-sigma": {"question": "q", "guess": "much"}}}',
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_set_aside(reader, tmp_path, kind):
    content = DAMAGED[kind]
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / FILE).write_bytes(content)
    guess = sigma()
    aside = tmp_path / "scdlab_guesses.damaged-1.json"
    assert aside.read_bytes() == content
    assert "was damaged" in guess.box.note and str(aside) in guess.box.note
    guess.box.send_answer("0.2", "fairly")
    assert sigma().value == 0.2
    (tmp_path / FILE).write_bytes(b"{")
    sigma()
    assert aside.read_bytes() == content  # an earlier one is not overwritten
    assert (tmp_path / "scdlab_guesses.damaged-2.json").read_bytes() == b"{"


def test_where_nothing_can_be_written_the_guess_lasts_as_the_kernel(reader, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCDLAB_GUESSES", str(tmp_path / "file" / FILE))
    guess = sigma()
    guess.box.send_answer("0.2", "certain")
    assert "only until this kernel ends" in guess.box.note
    assert sigma().value == 0.2


def test_a_number_is_drawn_as_a_line(reader):
    guess = sigma()
    guess.box.send_answer("3", "certain")
    figure = described(path_plot([0, 1, 2], {"a": [1.0, 2.0, 4.0]}), "A curve that rises.")
    figure.update_xaxes(range=[0, 2])
    guess.reveal(1.0, figure)
    line = figure.layout.shapes[0]
    assert (line.x0, line.x1, line.xref, line.yref) == (3, 3, "x", "y domain")
    assert line.label.text == "your guess"
    assert figure.layout.xaxis.range[1] > 3  # room was made for it
    assert alternative_text(figure) == "A curve that rises. Marked: your guess, 3 Å."
    described(figure, "A line that rises.")  # said again, after the guess was drawn
    assert alternative_text(figure) == "A line that rises. Marked: your guess, 3 Å."
    guess.reveal(1.0, figure, axis="y")
    assert (figure.layout.shapes[1].y0, figure.layout.shapes[1].xref) == (3, "x domain")


@pytest.mark.parametrize(
    ("answer", "settings", "anchor"),
    [
        ("0.5", {}, "left"),
        ("1.9", {}, "right"),  # its words would leave the figure
        ("1.9", {"range": [0, 10]}, "left"),
        ("1.2", {"type": "log"}, "right"),
    ],
)
def test_the_words_at_a_line_stay_in_the_figure(reader, answer, settings, anchor):
    guess = sigma()
    guess.box.send_answer(answer, "certain")
    figure = path_plot([0.01, 1, 2], {"a": [1.0, 2.0, 4.0]})
    figure.update_xaxes(**settings)
    guess.reveal(1.0, figure)
    assert figure.layout.shapes[0].label.xanchor == anchor


def test_a_number_that_the_axis_cannot_hold_is_written(reader):
    guess = sigma()
    guess.box.send_answer("-1", "certain")
    figure = path_plot([1, 10], {"a": [1.0, 2.0]})
    figure.update_xaxes(type="log")
    guess.reveal(1.0, figure)
    assert not figure.layout.shapes
    assert figure.layout.annotations[0].text == "your guess: −1 Å"


def test_a_choice_is_marked_at_its_bar(reader):
    guess = predict("Which?", choices=["ball", "disc", "none"], name="03-shape", stored="ball")
    guess.box.send_answer("disc", "certain")
    figure = compare_bars({"ball": 1.0, "disc": 100.0}, "error", log=True)
    guess.reveal("ball", figure)
    note = figure.layout.annotations[0]
    assert (note.x, note.y, note.text) == ("disc", 2, "▼ your guess")  # 10² on this axis


@pytest.mark.parametrize(("name", "found"), [("b", True), ("b, training", True), ("bc", False)])
def test_a_choice_is_marked_at_the_end_of_its_curve(reader, name, found):
    guess = predict("Which?", choices=["a", "b"], name="02-which", stored="a")
    guess.box.send_answer("b", "fairly")
    figure = path_plot([0, 1, 2], {"a": [1.0, 2.0, 4.0], name: [3.0, 2.0, 1.0]})
    guess.reveal("a", figure)
    note = figure.layout.annotations[0]
    assert note.text == ("▼ your guess" if found else "your guess: “b”")
    assert not found or (note.x, note.y) == (2, 1.0)


def test_what_cannot_be_drawn_on(reader):
    guess = sigma()
    with pytest.raises(TypeError, match="into a plotly figure, got str"):
        guess.reveal(1.0, "figure")
    with pytest.raises(ValueError, match="axis must be 'x'"):
        guess.reveal(1.0, go.Figure(), axis="z")
    assert reader == []  # nothing was revealed


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(question="", name="02-a", stored=1), ValueError, "must have words"),
        (dict(question="q", name="2-a", stored=1), ValueError, "number and words"),
        (dict(question="q", name="02 a", stored=1), ValueError, "number and words"),
        (dict(question="q", name="02-a", stored="1"), TypeError, "must be a number, got str"),
        (dict(question="q", name="02-a", stored=float("nan")), ValueError, "finite number"),
        (
            dict(question="q", name="02-a", stored="c", choices=["a", "b"]),
            ValueError,
            "one of a, b",
        ),
        (dict(question="q", name="02-a", stored="a", choices=["a"]), ValueError, "two or more"),
        (dict(question="q", name="02-a", stored="a", choices=["a", "a"]), ValueError, "different"),
        (dict(question="q", name="02-a", stored="a", choices="ab"), TypeError, "several texts"),
        (
            dict(question="q", name="02-a", stored="a", choices=["a", "b"], unit="m"),
            ValueError,
            "got both",
        ),
        (dict(question="q", name="02-a", stored=1, within=-1), ValueError, "not be negative"),
    ],
)
def test_questions_that_are_none(reader, options, error, message):
    with pytest.raises(error, match=message):
        predict(options.pop("question"), **options)


@pytest.mark.parametrize("value", [float("inf"), "much", None, True, [1]])
def test_an_answer_must_be_a_number(reader, value):
    with pytest.raises((ValueError, TypeError), match="The answer to '02-sigma' must be a"):
        sigma().reveal(value)


@pytest.mark.parametrize(
    ("guess", "measured", "unit", "words"),
    [
        (0.2, 0.06, "Å", "3.3 times less"),
        (2.0, 6.0, "Å", "3 times more"),
        (1.0, 1.12, "Å", "12 % more"),
        (999.0, 1000.0, "Å", "less than 1 % more"),
        (1.0, 1.004, "Å", "just that"),
        (50.0, 65.0, "%", "15 points more"),
        (90.0, 30.0, "°", "60° less"),
        (-2.0, 3.0, "meV", "5 meV more"),
        (0.0, 3.0, "meV", "3 meV more"),
        (1.0, 123456.0, None, "120,000 times more"),
        (1.0, 1e-9, "eV", "10⁹ times less"),
    ],
)
def test_words_of_a_comparison(guess, measured, unit, words):
    assert compared(guess, measured, unit) == words


def test_numbers_as_text():
    texts = [number_text(x) for x in (0, 0.0612, -3, 1234.5, 1e-7, 2.5e-7, 3e8, 999_999)]
    assert texts == ["0", "0.0612", "−3", "1,230", "10⁻⁷", "2.5 × 10⁻⁷", "3 × 10⁸", "10⁶"]
    assert [quantity(90, "°"), quantity(65, "%"), quantity(2)] == ["90°", "65 %", "2"]


@pytest.mark.parametrize(
    ("guess", "measured", "unit", "within", "right"),
    [
        (0.2, 0.1, "Å", None, True),
        (0.2, 0.09, "Å", None, False),
        (55.0, 65.0, "%", None, True),
        (54.0, 65.0, "%", None, False),
        (90.0, 100.0, "°", None, True),
        (-1.0, 1.0, "eV", None, False),
        (0.0, 0.0, "eV", None, True),
        (5.0, 6.0, "eV", 0.5, False),
        (5.0, 5.4, "eV", 0.5, True),
    ],
)
def test_what_counts_as_right(guess, measured, unit, within, right):
    assert is_right(Kept("q", unit, None, within, guess, "guess", measured)) is right
