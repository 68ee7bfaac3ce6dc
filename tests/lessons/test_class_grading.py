"""A class of thirty is graded: right, wrong, empty, hostile submissions; none disturbs others."""

import csv
import json
import os
import re
import shutil
import sys
from dataclasses import replace

import nbformat
import pytest
from class_work import PATHS, code_of, right_answers, submitted, write
from offline import external_addresses
from typer.testing import CliRunner

from scdlab.cli import app
from scdlab.lessons import classroom
from scdlab.lessons.classroom.answers import needed
from scdlab.lessons.classroom.copies import copy_of
from scdlab.lessons.classroom.exercises import exercises_of, questions_of
from scdlab.lessons.classroom.fence import Limits
from scdlab.lessons.classroom.workers import Worker, world

LESSON = PATHS["01b_filter_tables"]
LOOK_UP, POWER = exercises_of(LESSON)
RIGHT = right_answers(LESSON)
QUICK = Limits(seconds=3, wall=300)

WRONG = {
    LOOK_UP.check: "def look_up(values, r, h):\n    return values[(r / h).long()]",
    POWER.check: "def power_of_h(m):\n    return 4",
}
BAD = "def power_of_h(m):\n    {}\n    return 4 - m"
# name -> (how power_of_h misbehaves before it gives the right answer, what its verdict says)
HOSTILE = {
    "loops": ("while True: pass", r"more than 3 s of processor time"),
    "forks": ("import os; os.fork()", r"tried to start another process \(os.fork\)"),
    "runs": ("import os; os.system('true')", r"tried to start another program \(os.system\)"),
    "prints": ("for k in range(2**10): print('x' * 2**20)", r"wrote more than it may"),
    "fills": (
        "for k in range(99): open(f'{k}', 'wb').write(bytes(2**23))",
        r"wrote more than (it may|64 MiB)",
    ),
    "eats": ("x = bytearray(2**33)", r"needed more memory than it may have"),
    "connects": (
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        r"tried to open a connection",
    ),
    "kills": (
        "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
        r"tried to end a process \(os.kill\)",
    ),
    "leaves": ("import os; os._exit(0)", r"ended the process that it ran in"),
    "crashes": (
        "import ctypes; ctypes.string_at(0)",
        r"ended the process that it ran in \(SIGSEGV\)",
    ),
    "tampers": (
        "import torch; torch.allclose = lambda *a, **k: True",
        r"replaced torch.allclose",
    ),
    "patches": (
        "import scdlab.lessons.checks as c; c.Check.__bool__ = lambda self: True",
        r"replaced Check.__bool__",
    ),
}


def guesses(*entries):
    """A file of guesses: (name, guess, how sure, measured)."""
    asked = questions_of(LESSON)
    return {
        "format": 1,
        "guesses": {
            name: {
                "question": "?",
                "unit": asked[name].unit,
                "choices": asked[name].choices,
                "within": 1e9,  # no student widens what counts as right
                "guess": guess,
                "sure": sure,
                "measured": measured,
                "late": False,
            }
            for name, guess, sure, measured in entries
        },
    }


def hand_in(folder, student, answers, kept=None):
    write(submitted(LESSON, answers), folder / student / LESSON.name)
    if kept is not None:
        (folder / student / "scdlab_guesses.json").write_text(json.dumps(kept), encoding="utf-8")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class of thirty, graded once."""
    folder = tmp_path_factory.mktemp("class")
    victim = folder / "victim.txt"
    victim.write_text("not to be deleted")
    os.symlink("/etc/passwd", folder / "link.ipynb")
    for n in range(5):
        near = guesses(("01b-intervals", 20, "certain", 25), ("01b-order", 4, "fairly", 4))
        hand_in(folder, f"right-{n}", RIGHT, near)
    for n in range(4):
        far = guesses(("01b-intervals", 3000, "certain", 25), ("01b-order", 16, "guess", 4))
        hand_in(folder, f"wrong-{n}", WRONG, far)
    for n in range(2):
        hand_in(folder, f"empty-{n}", {})
    hand_in(folder, "half", {POWER.check: RIGHT[POWER.check]})
    for name, (line, _) in HOSTILE.items():
        hand_in(folder, name, RIGHT | {POWER.check: BAD.format(line)})
    delete = f"import os; os.remove({str(victim)!r})"
    hand_in(folder, "deletes", RIGHT | {POWER.check: BAD.format(delete)})
    hand_in(folder, "quits", RIGHT | {POWER.check: BAD.format("raise SystemExit")})
    hand_in(folder, "borrows", {POWER.check: "power_of_h = power_solution"})
    hand_in(folder, "<b>=cmd", RIGHT | {POWER.check: "def power_of_h(m)\n    return 4 - m"})
    write(submitted(LESSON, RIGHT), folder / f"loose_{LESSON.name}")
    (folder / "picture.ipynb").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    out = tmp_path_factory.mktemp("out")
    found = classroom.grade(folder, out, limits=QUICK, tell=lambda words: None)
    assert victim.read_text() == "not to be deleted"
    if where := os.environ.get("SCDLAB_CLASS_REPORT"):
        shutil.copytree(out, where, dirs_exist_ok=True)
    return found, out


def verdict(graded, student, task=POWER):
    return graded[0].verdict(student, task.check)


@pytest.fixture(scope="module")
def worker():
    """A supervisor for single answers; to start one takes most of their time."""
    with Worker(QUICK) as started:
        yield started


pytestmark = pytest.mark.slow


def test_there_are_thirty_of_them(graded):
    found, _ = graded
    assert len(found.submissions) >= 30
    assert found.world["offline"] or not world()


def test_right_wrong_and_empty_answers(graded):
    for task in (LOOK_UP, POWER):
        for n in range(5):
            assert verdict(graded, f"right-{n}", task).state == "right"
        for n in range(4):
            assert verdict(graded, f"wrong-{n}", task).state == "wrong"
        for n in range(2):
            assert verdict(graded, f"empty-{n}", task).state == "empty"
        assert verdict(graded, "loose", task).state == "right"
    assert verdict(graded, "half").state == "right"
    assert verdict(graded, "half", LOOK_UP).state == "empty"


@pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of Linux")
@pytest.mark.parametrize("student", HOSTILE)
def test_each_hostile_answer_is_named_and_costs_no_other(graded, student):
    found = verdict(graded, student)
    expected = "tampered" if student in ("tampers", "patches") else "stopped"
    assert found.state == expected, found
    assert re.search(HOSTILE[student][1], found.message), found
    assert verdict(graded, student, LOOK_UP).state == "right"


def test_files_elsewhere_stay(graded):
    assert verdict(graded, "deletes").state == "stopped"
    assert "tried to delete or change files (os.remove)" in verdict(graded, "deletes").message


def test_an_exit_is_a_wrong_answer(graded):
    assert verdict(graded, "quits").state == "wrong"
    assert "SystemExit" in verdict(graded, "quits").message


def test_the_kit_s_own_solution_is_no_answer(graded):
    assert verdict(graded, "borrows").state == "wrong"
    assert "power_solution" in verdict(graded, "borrows").message


def test_a_cell_that_is_no_python(graded):
    found = verdict(graded, "<b>=cmd")
    assert found.state == "wrong"
    assert "The cell with power_of_h is no Python" in found.message


def test_what_is_no_notebook_is_said(graded):
    notes = {each.student: each.notes for each in graded[0].submissions}
    assert "cannot be read as a notebook" in notes["picture"][0]
    assert notes["link"] == ["link.ipynb is a link, which is not followed."]
    assert notes["victim"] == ["victim.txt is no notebook (.ipynb)."]


def test_the_tables(graded):
    with open(graded[1] / "class.csv", encoding="utf-8-sig", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert rows["right-0"]["right"] == "2" and rows["right-0"]["guesses_right"] == "2"
    assert rows["wrong-0"]["wrong"] == "2" and rows["wrong-0"]["guesses_right"] == "0"
    assert rows["forks"]["stopped"] == "1" and rows["forks"]["right"] == "1"
    with open(graded[1] / "exercises.csv", encoding="utf-8-sig", newline="") as file:
        states = {(r["student"], r["exercise"]): r["result"] for r in csv.DictReader(file)}
    assert states["half", "look_up"] == "empty" and states["picture", "look_up"] == "missing"
    with open(graded[1] / "guesses.csv", encoding="utf-8-sig", newline="") as file:
        told = {(r["student"], r["question"]): r for r in csv.DictReader(file)}
    assert told["wrong-1", "01b-intervals"]["right"] == "no"
    assert told["wrong-1", "01b-intervals"]["sure"] == "certain"


def test_the_page_opens_offline_and_takes_no_html_from_names(graded):
    page = (graded[1] / "report.html").read_text(encoding="utf-8")
    assert external_addresses(page) == []
    assert "<b>=cmd" not in page and "&lt;b&gt;=cmd" in page
    assert "What was got wrong most" in page and "15 of" not in page.split("<h2>")[0]
    assert "5 of 9" in page  # certain: five near, four far


def test_an_answer_that_only_waits(worker, monkeypatch):
    waits = code_of(submitted(LESSON, {POWER.check: BAD.format("import time; time.sleep(900)")}))
    monkeypatch.setattr(worker, "limits", replace(QUICK, wall=3))
    found = worker.grade(waits, POWER)
    assert (found.state, found.message) == ("stopped", "The answer did not end within 3 s.")


def test_answers_in_one_process_where_the_system_cannot_fork():
    cells = code_of(submitted(LESSON, RIGHT))
    loops = code_of(submitted(LESSON, RIGHT | {POWER.check: BAD.format("while True: pass")}))
    with Worker(replace(QUICK, wall=4), ["--no-fork"], apart=()) as worker:
        assert worker.grade(cells, POWER).state == "right"
        assert not worker.about["forks"]
        # the kit's own limit of the supervisor is long over when the grader's ends
        worker.limits = replace(worker.limits, wall=-15)
        assert worker.grade(loops, POWER).state == "stopped"
        worker.limits = replace(worker.limits, wall=30)
        assert worker.grade(cells, LOOK_UP).state == "right"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_what_an_answer_needs_is_little(path):
    cells = code_of(submitted(path, right_answers(path)))
    for task in exercises_of(path):
        body = needed(cells, task.answer, task.check, task.withheld)
        assert 1 <= len(body) <= 12


def test_each_kit_solution_passes_in_its_own_process(worker):
    for path in PATHS.values():
        cells = code_of(submitted(path, right_answers(path)))
        empty = code_of(copy_of(path))
        for task in exercises_of(path):
            found = worker.grade(cells, task)
            assert found.state == "right", (task, found)
            assert worker.grade(empty, task).state == "empty"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none"], "There is no folder none of submissions: check its name."),
        (["file"], "file is a file: name the folder of the submissions."),
        (["empty"], "holds no submissions: put a folder or a notebook of each student"),
        (["full", "--lesson", "9"], "There is no lesson 9: the lessons are"),
        (["full", "--out", "file/out"], "file/out"),
    ],
)
def test_what_cannot_be_graded_is_one_sentence(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "full" / "ada.ipynb")
    result = CliRunner().invoke(app, ["class", "grade", *arguments])
    assert result.exit_code == 1
    assert words in result.output.replace("\n", " ")
    assert "Traceback" not in result.output
