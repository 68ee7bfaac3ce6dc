"""Grade a class: the checks of all exercises, and how good and how sure the guesses were."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from scdlab.lessons.classroom.answers import Verdict
from scdlab.lessons.classroom.exercises import Exercise, exercises_of, questions_of
from scdlab.lessons.classroom.fence import Limits
from scdlab.lessons.classroom.report import write_report
from scdlab.lessons.classroom.submissions import Submission, submissions
from scdlab.lessons.classroom.workers import Worker
from scdlab.lessons.guesses import Kept
from scdlab.lessons.listed import choose, list_lessons
from scdlab.log import show


@dataclass
class Grades:
    """What came of a class.

    Parameters
    ----------
    exercises : list of Exercise
        What was graded.
    questions : dict
        Name of a question -> the question.
    submissions : list of Submission
        What was handed in.
    verdicts : dict
        (student, check) -> the verdict; none for a lesson that the student did not hand in.
    limits : Limits
        What an answer might take.
    world : dict
        What the system gave: "forks", "offline", "read_only", "contained".
    """

    exercises: list[Exercise]
    questions: dict[str, Kept]
    submissions: list[Submission]
    verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    world: dict[str, bool] = field(default_factory=dict)

    def verdict(self, student: str, check: str) -> Verdict:
        """The verdict on a student's answer.

        Parameters
        ----------
        student : str
            The student.
        check : str
            Name of the check.

        Returns
        -------
        Verdict
            "missing" for a lesson that was not handed in.
        """
        return self.verdicts.get((student, check), Verdict("missing", ""))


def grade(
    folder: str | Path,
    out: str | Path | None = None,
    numbers: int | str | Sequence[int | str] | None = None,
    limits: Limits | None = None,
    processes: int = 2,
    tell: Callable[[str], None] = show,
) -> Grades:
    """Grade what a class handed in, and write what came of it.

    Parameters
    ----------
    folder : path
        A folder with a folder or a notebook for each student.
    out : path, optional
        Where class.csv, exercises.csv, guesses.csv and report.html go; nothing is written without.
    numbers : int, str or sequence of them, optional
        Which lessons; by default all that somebody handed in.
    limits : Limits, optional
        What an answer may take.
    processes : int, default 2
        How many answers run at a time.
    tell : callable (str), optional
        Told now and then how far it is.

    Returns
    -------
    Grades
        What came of it.

    Raises
    ------
    ValueError
        An unknown lesson.
    OSError
        The folder is missing, empty or no folder, `out` cannot be written, or no process starts.
    """
    paths = choose(numbers, list_lessons())
    questions = {name: asked for path in paths for name, asked in questions_of(path).items()}
    handed = submissions(Path(folder), [path.stem for path in paths], questions)
    there = {name for each in handed for name in each.cells}
    if numbers is not None:
        there |= {path.stem for path in paths}
    tasks = [each for path in paths if path.stem in there for each in exercises_of(path)]
    graded = {path.stem.partition("_")[0] for path in paths if path.stem in there}
    asked = {name: each for name, each in questions.items() if name.partition("-")[0] in graded}
    grades = Grades(tasks, asked, handed, limits=limits or Limits())
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)  # before anything runs
    _run(grades, processes, tell)
    if out is not None:
        write_report(grades, Path(out))
    return grades


def _run(grades: Grades, processes: int, tell: Callable[[str], None]) -> None:
    """Fill in the verdicts."""
    jobs = [(each, lesson) for each in grades.submissions for lesson in each.cells]
    if not jobs:
        return
    lock = threading.Lock()
    idle: queue.Queue[Worker] = queue.Queue()

    def one(job: tuple[Submission, str]) -> None:
        mine, lesson = job
        worker = idle.get()
        try:
            for task in grades.exercises:
                if task.lesson == lesson:
                    found = worker.grade(mine.cells[lesson], task)
                    with lock:
                        grades.verdicts[mine.student, task.check] = found
                        grades.world.update(worker.about)
            worker.between()
        finally:
            idle.put(worker)
        with lock:
            done.append(job)
            if len(done) % 10 == 0 or len(done) == len(jobs):
                tell(f"{len(done)} of {len(jobs)} notebooks are graded")

    done: list[tuple[Submission, str]] = []
    with ExitStack() as stack:
        for _ in range(min(processes, len(jobs))):
            idle.put(stack.enter_context(Worker(grades.limits)))
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(one, jobs))
