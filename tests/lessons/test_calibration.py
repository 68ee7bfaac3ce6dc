"""Calibration: how often guesses were right, by how sure they were."""

import json
from dataclasses import asdict

import pytest

from scdlab import lessons
from scdlab.lessons import calibrated, guesses
from scdlab.lessons.calibrated import Level, levels, summary
from scdlab.lessons.guesses import Kept


def one(sure, right, **more):
    return Kept("q", "Å", None, None, 1.0, sure, 1.0 if right else 9.0, **more)


def test_guesses_are_counted_by_sureness():
    found = levels(
        [
            one("certain", True),
            one("certain", False),
            one("fairly", True),
            one("fairly", True, late=True),  # after the answer
            Kept("q", "Å", guess=1.0, sure="guess"),  # not revealed yet
            Kept("q", "Å", measured=1.0),  # not guessed
            Kept("q", choices=["a", "b"], guess="a", sure="guess", measured="a"),
        ]
    )
    assert found == [Level("guess", 1, 1), Level("fairly", 1, 1), Level("certain", 1, 2)]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "None of your guesses has met its answer yet"),
        ([Level("guess", 1, 1)], "one guess, and it was right"),
        ([Level("certain", 1, 3)], "1 of your 3 guesses was right. That is too few"),
        ([Level("certain", 3, 5)], "When you said “certain”, you were right less often"),
        ([Level("fairly", 1, 4), Level("certain", 5, 5)], "“fairly sure”, you were right less"),
        ([Level("guess", 5, 5)], "“just guessing”, you knew more"),
        ([Level("guess", 1, 4), Level("certain", 9, 10)], "about as often right"),
    ],
)
def test_what_the_counts_say(found, words):
    assert words in summary(found)


def test_it_reads_the_kept_guesses(monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(guesses, "_unwritten", {})
    monkeypatch.setattr(calibrated, "is_headless", lambda: False)
    monkeypatch.setattr(calibrated, "show_html", lambda text, plain: shown.append((text, plain)))
    monkeypatch.setenv("SCDLAB_GUESSES", str(tmp_path / "g.json"))
    kept = {f"0{k}-q": asdict(one("certain", k < 2)) for k in range(5)}
    (tmp_path / "g.json").write_text(json.dumps({"format": 1, "guesses": kept}))
    lessons.calibration()
    lessons.calibration()  # the name stays the function
    text, plain = shown[0]
    assert "certain: 2 of 5 right" in plain
    assert "<td>2 of 5</td><td>85 % or more</td>" in text and "<th scope='row'" in text


def test_without_a_reader_it_counts_the_stored_ones(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(guesses, "_unwritten", {})
    monkeypatch.setenv("SCDLAB_GUESSES", str(tmp_path / "g.json"))
    lessons.predict("q", unit="Å", name="02-a", stored=1.0).reveal(1.1)
    lessons.predict("q", unit="Å", name="02-b", stored=1.0).reveal(9.0)
    lessons.calibration()
    assert "1 of its 2 stored guesses" in capsys.readouterr().out
