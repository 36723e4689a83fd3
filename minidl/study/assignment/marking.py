"""Marking an answer: compared with every oracle in every case, and, where it is wrong, what the mistake is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ..page import number
from .diagnosis import SINGLE, TINY, Diagnosis, diagnose, same
from .question import Inputs, Outputs, Question
from .questions import QUESTIONS

CASES = 20  # seeds 0, 1, ... that an answer is tried on, unless more are asked for
VERDICTS = {"passed": 0, "wrong": 1, "failed": 3, "not answered": 4, "inconclusive": 4}  # and their exit codes


@dataclass(repr=False)
class Marking:
    """What a check found.

    verdict: a key of VERDICTS; "failed": the student's code raised, or was stopped at a limit. right: cases in which
    all is right, of `cases`. problems: what is wrong before numbers are compared. pattern: what parts the right
    cases from the wrong ones. worst: the entry that is farthest off. printed: what the student's code wrote, cut off.
    """

    question: str
    verdict: str
    right: int = 0
    cases: int = 0
    diagnoses: list[Diagnosis] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    pattern: str = ""
    worst: str = ""
    remarks: list[str] = field(default_factory=list)
    printed: str = ""

    @property
    def code(self) -> int:
        """The exit code of a command."""
        return VERDICTS[self.verdict]

    @property
    def share(self) -> str:
        """How many cases are right, "-" if none was compared."""
        return f"{self.right}/{self.cases}" if self.verdict == "passed" or not self.problems else "-"

    @property
    def summary(self) -> str:
        """The diagnosis in a few words, for a table."""
        if self.problems:
            return self.problems[0]
        if self.verdict == "wrong" and not self.diagnoses:
            return "differs, no known mistake matches"
        return " or ".join(dict.fromkeys(d.name + (f" (in {d.output})" if d.output else "") for d in self.diagnoses))

    def text(self) -> str:
        """What the command prints."""
        lines = [f"{self.question}: {self.verdict}"]
        if self.verdict == "passed":
            oracles = ", ".join(QUESTIONS[self.question].oracles)
            lines = [f"{self.question}: local checks passed ({self.right} of {self.cases})", f"  against: {oracles}"]
        elif self.verdict == "wrong" and not self.problems:
            lines = [f"{self.question}: wrong in {self.cases - self.right} of {self.cases} cases"]
            lines += self._mistakes()
        lines += [f"  {problem}" for problem in self.problems]
        lines += [f"  {remark}" for remark in self.remarks]
        lines += [f"  {self.pattern}"] if self.pattern else []
        lines += [f"  worst entry: {self.worst}"] if self.worst else []
        if self.printed:
            lines += ["  your code printed:", *(f"  | {line}" for line in self.printed.splitlines())]
        return "\n".join(lines)

    __repr__ = text

    def _mistakes(self) -> list[str]:
        if not self.diagnoses:
            return ["  It differs, and no known mistake matches: derive it again for the worst entry."]
        about = [d.output for d in self.diagnoses]
        if len(about) == len(set(about)):
            return [f"  {d}" for d in self.diagnoses]
        return ["  Each of these explains it:", *(f"  - {d}" for d in self.diagnoses)]

    def json(self) -> dict[str, Any]:
        """The same as what JSON can hold."""
        return {
            "question": self.question,
            "verdict": self.verdict,
            "right": self.right,
            "cases": self.cases,
            "diagnoses": [{"name": d.name, "words": d.words, "output": d.output or None} for d in self.diagnoses],
            "problems": self.problems,
            "remarks": self.remarks,
            "pattern": self.pattern or None,
            "worst": self.worst or None,
        }


@dataclass(frozen=True)
class Truth:
    """What cases 0, 1, ... of a question are compared with."""

    cases: list[Inputs]
    right: list[Outputs]
    complaint: str = ""  # if two oracles do not agree


@lru_cache(maxsize=256)
def truth(question: str, cases: int, secret: str = "") -> Truth:
    """The right answers are those of the first oracle, once all others have agreed with it."""
    q = QUESTIONS[question]
    inputs = [q.case(seed, secret) for seed in range(cases)]
    (first, way), *others = q.oracles.items()
    right = [q.values(way, case) for case in inputs]
    for name, other in others:
        for seed, (case, expected) in enumerate(zip(inputs, right, strict=True)):
            if not all(same(a, b) for a, b in zip(q.values(other, case), expected, strict=True)):
                complaint = f"{first} and {name} do not agree in case {seed}: there is nothing to compare with"
                return Truth(inputs, right, complaint)
    return Truth(inputs, right)


@lru_cache(maxsize=256)
def mistaken(question: str, cases: int, secret: str = "") -> dict[str, list[Outputs]]:
    """What each known mistake answers to cases 0, 1, ..."""
    q, found = QUESTIONS[question], {}
    for name, mistake in q.mistakes.items():
        # where solutions are withheld, one that asks a layer for what it cannot do is not known
        with nullcontext() if q.solved else suppress(ValueError):
            found[name] = [q.values(mistake.function, case) for case in truth(question, cases, secret).cases]
    return found


def mark(question: Question, answers: Sequence[Outputs], secret: str = "") -> Marking:
    """Compare the answers to cases 0, 1, ... with the right ones. secret: see `Question.case`."""
    true = truth(question.id, len(answers), secret)
    result = Marking(question.id, "inconclusive", cases=len(answers))
    if true.complaint or not answers:
        result.problems.append(true.complaint or "no case was tried")
        return result
    answers, result.remarks = read(question, answers, true.right)
    pairs = list(zip(answers, true.right, strict=True))
    fits = [all(same(a, b) for a, b in zip(got, want, strict=True)) for got, want in pairs]
    result.right = sum(fits)
    result.verdict = "passed" if all(fits) else "wrong"
    if not all(fits):
        known = mistaken(question.id, len(answers), secret)
        result.diagnoses = diagnose(question, true.cases, true.right, known, answers)
        if not result.diagnoses:
            result.problems += _form(question, true.right, answers)
            result.pattern = pattern(true.cases, fits)
            if result.pattern:  # then the wrong cases may have a mistake of their own
                wrong = [k for k, fit in enumerate(fits) if not fit]
                some = [[every[k] for k in wrong] for every in (true.cases, true.right, answers)]
                result.diagnoses = diagnose(question, some[0], some[1], {}, some[2])
        result.worst = _worst(question, true.cases, true.right, answers)
    return result


def read(question: Question, answers: Sequence[Outputs], right: Sequence[Outputs]) -> tuple[list[Outputs], list[str]]:
    """The answers without axes of length 1 that were not asked for, and remarks on those and on float32."""
    answers, remarks = list(answers), []
    for k, output in enumerate(question.outputs):
        got, want = [a[k] for a in answers], [b[k] for b in right]
        spare = [_spare(a, b) for a, b in zip(got, want, strict=True)]
        if any(spare) and all(s or a.shape == b.shape for s, a, b in zip(spare, got, want, strict=True)):
            answers = [(*a[:k], a[k].reshape(b.shape), *a[k + 1 :]) for a, b in zip(answers, want, strict=True)]
            seed = spare.index(True)
            wanted = f"an array of shape {want[seed].shape}" if want[seed].ndim else "a number"
            remarks.append(f"{output.name}: shape {got[seed].shape} in case {seed}, read as {wanted}")
        if any(a.dtype == np.float32 for a in got):
            remarks.append(f"{output.name}: float32, compared to {SINGLE:.0e} of the largest entry")
    return answers, remarks


def _spare(got: np.ndarray, want: np.ndarray) -> bool:
    """Do the shapes differ by axes of length 1 alone?"""
    long = [[n for n in a.shape if n != 1] for a in (got, want)]
    return got.ndim != want.ndim and got.size == want.size and long[0] == long[1]


def pattern(cases: Sequence[Inputs], fits: Sequence[bool]) -> str:
    """The one fact about the arguments that parts the right cases from the wrong ones, if there is one."""
    if not 1 < sum(fits) < len(fits) - 1:
        return ""
    table = [_facts(case) for case in cases]
    for fact in dict.fromkeys(fact for row in table for fact in row):
        holds = [fact in row for row in table]
        if holds == list(fits):
            return f"It is right exactly where {fact}."
        if holds == [not fit for fit in fits]:
            return f"It is wrong exactly where {fact}."
    return ""


def _facts(inputs: Inputs) -> list[str]:
    """What an answer may have to tell apart: choices, sizes, images that are empty."""
    facts = []
    for name, value in inputs.items():
        if isinstance(value, (str, int)):
            facts.append(f"{name} is {value!r}")
        elif isinstance(value, np.ndarray):
            facts += [f"{name}.shape[{axis}] is {n}" for axis, n in enumerate(value.shape)]
            if value.ndim > 1 and not value.reshape(len(value), -1).any(axis=1).all():
                facts.append(f"some {name}[i] is all zero")
    return facts


def _form(question: Question, right: Sequence[Outputs], answers: Sequence[Outputs]) -> list[str]:
    """Wrong shapes, and values that are not finite: one line for each output."""
    problems = []
    for k, output in enumerate(question.outputs):
        for seed, (got, want) in enumerate(zip(answers, right, strict=True)):
            if got[k].shape != want[k].shape:
                wanted = f"an array of shape {want[k].shape}" if want[k].ndim else "a number"
                right_numbers = got[k].size == want[k].size and same(got[k].ravel(), want[k].ravel())
                but = " of the right numbers" if right_numbers else ""
                problems.append(f"{output.name}: {wanted} is asked for in case {seed}, got shape {got[k].shape}{but}")
                break
            if bad := int((~np.isfinite(got[k])).sum()):
                words = f"{bad} of {got[k].size} values are not finite in case {seed}{_kinds(got[k])}"
                problems.append(f"{output.name}: {words}")
                break
    return problems


def _kinds(a: np.ndarray) -> str:
    return f" ({' and '.join(sorted(set(a[~np.isfinite(a)].astype(str))))}): a division by zero, or an overflow?"


def _worst(question: Question, cases: Sequence[Inputs], right: Sequence[Outputs], answers: Sequence[Outputs]) -> str:
    """The entry that is farthest off, relative to the largest of its array, and what kind of number is right there."""
    found, words = 0.0, ""
    for seed, k in np.ndindex(len(cases), len(question.outputs)):
        got, want = answers[seed][k], right[seed][k]
        if got.shape != want.shape or not got.size or same(got, want):
            continue
        with np.errstate(invalid="ignore"):
            off = np.nan_to_num(abs(got - want), nan=np.inf, posinf=np.inf) / (abs(want).max() or 1.0)
        if off.max() > found:
            found = off.max()
            at = np.unravel_index(int(off.argmax()), off.shape)
            output = question.outputs[k]
            place = ", ".join(f"{name} {i}" for name, i in zip(output.axes, at, strict=True))
            words = (
                f"{output.name}{f'[{place}]' if place else ''} in case {seed} ({describe(cases[seed])}): "
                f"got {number(got[at])}; {kind(float(got[at]), float(want[at]))}"
            )
    return words


def kind(got: float, want: float) -> str:
    """What kind of number is right, without saying which."""
    if not np.isfinite(got):
        return "a finite number is right"
    if abs(want) <= TINY:
        return "zero is right"
    sign = "positive" if want > 0 else "negative"
    if got * want <= 0:
        return f"a {sign} number is right"
    return f"a {sign} number {'larger' if abs(want) > abs(got) else 'smaller'} in size is right"


def describe(inputs: Inputs) -> str:
    """The arguments of a case in one line: shapes, and short values."""
    parts = []
    for name, value in inputs.items():
        if isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.size > 6):
            parts.append(f"{name} {'x'.join(map(str, value.shape))}")
        elif isinstance(value, np.ndarray):
            parts.append(f"{name} {value.tolist()}")
        else:
            parts.append(f"{name} {value!r}" if isinstance(value, str) else f"{name} {value:.6g}")
    return ", ".join(parts)
