"""Points for every student and question. Each is marked by itself: what goes wrong with one stops no other."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from ..marking import Marking, mistaken, truth
from ..questions import QUESTIONS
from ..runner import StudentProcess, judge
from .closed import Closed
from .submissions import Submission, legible

TOTAL = 6.0  # a student's time in all, as a multiple of that for one question
UNMARKED = ("missing", "not marked")  # verdicts beside those of marking.VERDICTS


@dataclass(frozen=True)
class Mark:
    """What one answer got. verdict: a key of marking.VERDICTS, or one of UNMARKED. words: for the student."""

    question: str
    verdict: str
    points: float
    of: float
    summary: str = ""
    words: str = ""
    file: str = ""


@dataclass(frozen=True)
class Graded:
    """A student's marks, one for each asked question in order."""

    submission: Submission
    marks: tuple[Mark, ...]

    @property
    def points(self) -> float:
        return sum(mark.points for mark in self.marks)

    @property
    def complete(self) -> bool:
        """Was every asked question marked?"""
        return all(mark.verdict not in UNMARKED for mark in self.marks)


@dataclass(frozen=True)
class Terms:
    """How a class is marked. asked: points by question. secret: the cases are drawn from it. late: share of the points
    that is left to a late student."""

    asked: Mapping[str, float]
    secret: str
    cases: int
    seconds: float
    memory: int
    late: float = 1.0


def grade(
    submissions: Sequence[Submission],
    terms: Terms,
    closed: Closed,
    jobs: int = 1,
    done: Callable[[int], None] = lambda count: None,
) -> list[Graded]:
    """Mark all, `jobs` students at a time, in the order given. done: called with how many are marked."""
    for question in terms.asked:
        truth(question, terms.cases, terms.secret)
        mistaken(question, terms.cases, terms.secret)
    with ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        free: SimpleQueue[StudentProcess] = SimpleQueue()
        for _ in range(jobs):
            free.put(stack.enter_context(closed.process()))
        lock, count = threading.Lock(), itertools.count(1)  # only students' code runs at the same time

        def one(submission: Submission) -> Graded:
            process = free.get()
            try:
                graded = grade_student(submission, terms, process, lock)
            finally:
                free.put(process)
            with lock:
                done(next(count))
            return graded

        return list(pool.map(one, submissions))


def grade_student(submission: Submission, terms: Terms, process: StudentProcess, lock: threading.Lock) -> Graded:
    """All asked questions of one student."""
    start, marks = time.monotonic(), []
    for question, most in terms.asked.items():
        left = TOTAL * terms.seconds - (time.monotonic() - start)
        path = submission.files.get(question)
        if path is None:
            marks.append(Mark(question, "missing", 0.0, most, "no file", f"{question}: no file answers this question"))
            continue
        name = legible(path.name)
        try:
            found = attempt(question, path, terms, process, lock, left)
            points = most * (terms.late if submission.late else 1.0) if found.verdict == "passed" else 0.0
            verdict = "not marked" if found.verdict == "inconclusive" else found.verdict
            mark = Mark(question, verdict, points, most, found.summary, found.text(), name)
        except Exception as error:  # whatever it is, the rest of the class is marked
            words = f"{type(error).__name__}: {error}"
            mark = Mark(question, "not marked", 0.0, most, words, f"{question}: not marked: {words}", name)
        marks.append(mark)
    return Graded(submission, tuple(marks))


def attempt(
    question: str, path: Path, terms: Terms, process: StudentProcess, lock: threading.Lock, left: float
) -> Marking:
    true = truth(question, terms.cases, terms.secret)
    if true.complaint:
        return Marking(question, "inconclusive", cases=terms.cases, problems=[true.complaint])
    if left <= 0:
        words = f"not run: the student's {TOTAL * terms.seconds:g} seconds for all questions were spent"
        return Marking(question, "failed", cases=terms.cases, problems=[words])
    run = process.run(QUESTIONS[question], path, true.cases, min(terms.seconds, left), terms.memory)
    with lock:
        return judge(QUESTIONS[question], run, terms.cases, terms.secret)
