"""What came of a class, as tables and as one page that opens offline."""

import csv
import html
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdlab.atomic import atomic_file
from scdlab.lessons.calibrated import EXPECTED, FEW, levels
from scdlab.lessons.classroom.answers import STATES
from scdlab.lessons.classroom.charts import calibration_svg, share_bar
from scdlab.lessons.guess_words import answer_text, is_right
from scdlab.lessons.guesses import SURENESS
from scdlab.lessons.listed import lesson_number

if TYPE_CHECKING:
    from scdlab.lessons.classroom.exercises import Exercise
    from scdlab.lessons.classroom.grading import Grades

_MARKS = {"right": "✓", "wrong": "✗", "empty": "…", "stopped": "■", "tampered": "!", "missing": "–"}
_VERDICTS = {
    -1: "less often right than that promises",
    0: "as it should be",
    1: "they know more than they think",
}
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #262626; --soft: #4a4a4a; --line: #dcdcdc;
  --bar: #0072B2; --right: #007a59; --wrong: #b34e00; --stopped: #9c4277; }
@media (prefers-color-scheme: dark) { :root { --paper: #17191c; --ink: #e8e8e8; --soft: #b9b9b9;
  --line: #43474d; --bar: #56B4E9; --right: #3fc79d; --wrong: #ff9350; --stopped: #e39cc3; } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #333; --line: #bbb;
  --bar: #0072B2; --right: #007a59; --wrong: #b34e00; --stopped: #9c4277; }
  body { font-size: 11pt; } main { max-width: none; padding: 0; } .wide { overflow: visible; }
  h2, h3 { break-after: avoid; } tr, li, svg { break-inside: avoid; }
  tr.led { break-after: avoid; } .bar { print-color-adjust: exact; } }
body { font: 16px/1.5 Helvetica, Arial, 'DejaVu Sans', sans-serif; margin: 0;
  color: var(--ink); background: var(--paper); }
main { max-width: 1000px; margin: 0 auto; padding: 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.25em; margin-top: 2em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92em; }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--line); text-align: left; }
th[scope=row], td { vertical-align: top; }
tr.led > td { border-bottom: 0; } .count { white-space: nowrap; }
td.mark, th.mark { text-align: center; padding: 4px 6px; font-weight: 600; }
th.mark { font-weight: 400; font-size: 0.8em; max-width: 7.5em; overflow-wrap: anywhere; }
.bar { display: inline-block; width: 110px; height: 10px; background: var(--line); }
.bar > span { display: block; height: 10px; background: var(--bar); }
.hint { padding-bottom: 12px; } .small { font-size: 0.88em; }
.hint, .small, .empty, .missing { color: var(--soft); } .right { color: var(--right); }
.wrong { color: var(--wrong); } .stopped, .tampered { color: var(--stopped); }
td.name { overflow-wrap: anywhere; min-width: 6em; max-width: 14em; }
svg { max-width: 100%; height: auto; }
@media (max-width: 600px) { th, td { padding: 3px 5px; } .bar { width: 60px; } }
"""


def write_report(grades: "Grades", out: Path) -> None:
    """Write class.csv, exercises.csv, guesses.csv and report.html.

    Parameters
    ----------
    grades : Grades
        What came of the class.
    out : Path
        The folder.
    """
    tables = {
        "class.csv": _students(grades),
        "exercises.csv": _exercises(grades),
        "guesses.csv": _guesses(grades),
    }
    for name, rows in tables.items():
        with (
            atomic_file(out / name) as new,
            open(
                new, "w", newline="", encoding="utf-8-sig"
            ) as file,  # spreadsheets know it by that
        ):
            csv.writer(file).writerows([_plain(value) for value in row] for row in rows)
    with atomic_file(out / "report.html") as new:
        new.write_text(page(grades), encoding="utf-8")


def page(grades: "Grades") -> str:
    """The report as one html file that loads nothing.

    Parameters
    ----------
    grades : Grades
        What came of the class.

    Returns
    -------
    str
        The page.
    """
    students = len(grades.submissions)
    lessons = list(dict.fromkeys(task.lesson for task in grades.exercises))
    told = Counter(grades.verdict(s.student, t.check).state for s, t in _cells(grades))
    answered = sum(told.values()) - told["missing"] - told["empty"]
    lead = (
        f"{students} {'student' if students == 1 else 'students'}, {len(grades.exercises)} "
        f"exercises of {len(lessons)} {'lesson' if len(lessons) == 1 else 'lessons'}: "
        f"{told['right']} of {answered} answers are right."
    )
    parts = [
        f"<h1>What the class handed in</h1><p>{_text(lead)}</p>",
        _most_wrong(grades),
        _calibration(grades),
        _table(grades, lessons),
        _trouble(grades),
        _how(grades),
    ]
    return (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>What the class handed in</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _cells(grades: "Grades") -> Iterator[tuple[Any, "Exercise"]]:
    for mine in grades.submissions:
        for task in grades.exercises:
            yield mine, task


def _number(task: "Exercise") -> str:
    return lesson_number(Path(f"{task.lesson}.ipynb"))


def _most_wrong(grades: "Grades") -> str:
    """Exercises by the share of answers that are not right, with the hint most of them got."""
    rows = []
    for task in grades.exercises:
        found = [grades.verdict(each.student, task.check) for each in grades.submissions]
        given = [each for each in found if each.state not in ("missing", "empty")]
        wrong = [each for each in given if each.state != "right"]
        empty = sum(each.state == "empty" for each in found)
        hints = Counter(each.message for each in wrong if each.state == "wrong").most_common(1)
        share = len(wrong) / len(given) if given else 0.0
        rows.append((share, len(wrong), len(given), empty, task, hints))
    rows.sort(key=lambda row: (-row[0], -row[1], -row[3]))
    lines = ""
    for share, wrong, given, empty, task, hints in rows:
        hint = ""
        if hints:
            times = f" ({hints[0][1]} times)" if hints[0][1] > 1 else ""
            words = f"read most often: “{_text(hints[0][0])}”{times}"
            hint = f"<tr><td></td><td class='hint' colspan='3'>{words}</td></tr>"
        led = " class='led'" * bool(hint)
        lines += (
            f"<tr{led}><td>{_number(task)}</td><td><code>{task.answer}</code><br>"
            f"<span class='small'>{_text(task.section)}</span></td>"
            f"<td class='count'>{share_bar(share)}<br>{wrong} of {given}</td>"
            f"<td>{empty}</td></tr>{hint}"
        )
    head = _head("lesson", "exercise", "not right", "no answer")
    return (
        "<h2>What was got wrong most</h2><div class='wide'>"
        f"<table>{head}<tbody>{lines}</tbody></table></div>"
    )


def _calibration(grades: "Grades") -> str:
    """How sure the class was, and how right."""
    own = [kept for each in grades.submissions for kept in each.guesses.values()]
    found = levels(own)
    total = sum(each.total for each in found)
    if not total:
        return "<h2>Guesses</h2><p>No guess that met its answer was handed in.</p>"
    right = sum(each.right for each in found)
    late = sum(each.late for each in own)
    lines = ""
    for level in found:
        low, high = EXPECTED[level.sure]
        share = f"{100 * level.right / level.total:.0f} %" if level.total else "–"
        lines += (
            f"<tr><th scope='row'>{SURENESS[level.sure]}</th><td class='count'>{level.right} of "
            f"{level.total}</td><td class='count'>{share}</td>"
            f"<td class='count'>{100 * low:.0f}–{100 * high:.0f} %</td>"
            f"<td>{_VERDICTS[level.off] if level.total >= FEW else 'too few to say'}</td></tr>"
        )
    head = _head("they said", "right", "share", "should be", "so")
    asked = []
    for name, question in grades.questions.items():
        mine = [each.guesses[name] for each in grades.submissions if name in each.guesses]
        mine = [each for each in mine if each.counts()]
        if mine:
            hits = sum(map(is_right, mine))
            lesson = name.partition("-")[0]
            words = question.question.replace("*", "")
            asked.append((hits / len(mine), len(mine), hits, lesson, words))
    asked.sort(key=lambda row: (row[0], -row[1]))
    rows = "".join(
        f"<tr><td>{_text(lesson)}</td><td>{_text(words)}</td>"
        f"<td class='count'>{share_bar(share)}<br>{hits} of {count}</td></tr>"
        for share, count, hits, lesson, words in asked
    )
    late_words = f" {late} more came after the answer had been shown and do not count." * bool(late)
    return (
        f"<h2>Guesses: how sure, how right</h2><p>{right} of {total} guesses were right."
        f"{late_words}</p>{calibration_svg(found)}"
        f"<div class='wide'><table>{head}<tbody>{lines}</tbody></table></div>"
        "<h2>Which guesses were off</h2><div class='wide'><table>"
        f"{_head('lesson', 'question', 'right')}<tbody>{rows}</tbody></table></div>"
    )


def _table(grades: "Grades", lessons: list[str]) -> str:
    """One row a student, one column an exercise."""
    key = ", ".join(
        f"<b class='{state}'>{_MARKS[state]}</b> {words}" for state, words in STATES.items()
    )
    parts = [f"<h2>Who solved what</h2><p class='small'>{key}.</p>"]
    for lesson in lessons:
        tasks = [task for task in grades.exercises if task.lesson == lesson]
        cells = "".join(f"<th class='mark' scope='col'>{task.answer}</th>" for task in tasks)
        rows = ""
        for mine in grades.submissions:
            if lesson not in mine.cells:
                continue
            marks = ""
            right = 0
            for task in tasks:
                found = grades.verdict(mine.student, task.check)
                right += found.state == "right"
                marks += (
                    f"<td class='mark {found.state}' title='{_text(found.message)}'>"
                    f"<span role='img' aria-label='{STATES[found.state]}'>"
                    f"{_MARKS[found.state]}</span></td>"
                )
            rows += (
                f"<tr><td class='name'>{_text(mine.student)}</td>"
                f"<td class='count'>{right} of {len(tasks)}</td>"
                f"{marks}</tr>"
            )
        if rows:
            parts.append(
                f"<h3>{_text(lesson)}</h3><div class='wide'><table><thead><tr><th scope='col'>"
                f"student</th><th scope='col'>right</th>{cells}</tr></thead><tbody>{rows}</tbody>"
                "</table></div>"
            )
    return "".join(parts)


def _trouble(grades: "Grades") -> str:
    """A sentence on each submission that could not be read, and each answer that was stopped."""
    lines = [
        f"<li><b>{_text(mine.student)}</b>: {_text(note)}</li>"
        for mine in grades.submissions
        for note in _notes(grades, mine)
    ]
    if not lines:
        return ""
    return f"<h2>What could not be graded</h2><ul>{''.join(lines)}</ul>"


def _notes(grades: "Grades", mine: Any) -> list[str]:
    """Sentences on one submission."""
    notes = list(mine.notes)
    for task in grades.exercises:
        found = grades.verdict(mine.student, task.check)
        if found.state in ("stopped", "tampered"):
            notes.append(f"{task.answer} (lesson {_number(task)}): {found.message}")
    return notes


def _how(grades: "Grades") -> str:
    """What ran, and what the system kept from the answers."""
    limits = grades.limits
    world = grades.world
    apart = "a process of its own" if world.get("forks") else "a process for each submission"
    sentences = [
        "Of each notebook only the statements ran that an answer needs; trainings and figures did "
        "not.",
        f"Answers ran in {apart}, with {limits.seconds:g} s of processor time, {limits.wall:g} s "
        f"on the clock, {limits.memory} MiB of memory and {limits.disk} MiB on the disk.",
    ]
    if world:
        sentences += [
            "They had no network."
            if world["offline"]
            else "This system could not take the network from them; within Python, connections "
            "were refused.",
            "All files but a folder of their own were read-only."
            if world["read_only"]
            else "This system could not make files read-only for them; within Python, writing "
            "elsewhere was refused.",
        ]
    sentences.append("Quizzes are not graded.")
    return f"<h2>How it was graded</h2><p>{_text(' '.join(sentences))}</p>"


def _students(grades: "Grades") -> Iterator[list[Any]]:
    lessons = dict.fromkeys(task.lesson for task in grades.exercises)
    names = ["right", "wrong", "empty", "stopped", "tampered"]
    yield ["student", "lesson", "exercises", *names, "guesses", "guesses_right", "notes"]
    for mine in grades.submissions:
        for lesson in mine.cells or ["-"]:
            tasks = [task for task in grades.exercises if task.lesson == lesson]
            if lesson not in lessons and mine.cells:
                continue
            told = Counter(grades.verdict(mine.student, task.check).state for task in tasks)
            own = [
                kept
                for name, kept in mine.guesses.items()
                if name.partition("-")[0] == lesson.partition("_")[0] and kept.counts()
            ]
            yield [
                mine.student,
                lesson,
                len(tasks),
                *(told[name] for name in names),
                len(own),
                sum(map(is_right, own)),
                " ".join(mine.notes),
            ]


def _exercises(grades: "Grades") -> Iterator[list[Any]]:
    yield ["student", "lesson", "exercise", "check", "result", "message"]
    for mine, task in _cells(grades):
        found = grades.verdict(mine.student, task.check)
        yield [mine.student, task.lesson, task.answer, task.check, found.state, found.message]


def _guesses(grades: "Grades") -> Iterator[list[Any]]:
    yield ["student", "question", "guess", "sure", "measured", "right", "in_time"]
    for mine in grades.submissions:
        for name, kept in sorted(mine.guesses.items()):
            if kept.guess is not None and name in grades.questions:
                known = kept.measured is not None
                yield [
                    mine.student,
                    name,
                    answer_text(kept.guess, kept.unit),
                    SURENESS.get(kept.sure or "", ""),
                    answer_text(kept.measured, kept.unit) if kept.measured is not None else "",
                    ("yes" if is_right(kept) else "no") if known else "",
                    "no" if kept.late else "yes",
                ]


def _head(*names: str) -> str:
    return "<thead><tr>" + "".join(f"<th scope='col'>{n}</th>" for n in names) + "</tr></thead>"


def _text(words: Iterable[str] | str) -> str:
    return html.escape(str(words), quote=True)


def _plain(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        value = "".join(sign for sign in value if sign.isprintable() or sign == "\n")
        if value.startswith(("=", "+", "-", "@", "\t")) and value != "-":
            return f"'{value}"
    return value
