"""A question, how an answer to it is marked, and how its answer is proved."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

LETTERS = "abcd"
NOTHING: Mapping[str, float] = MappingProxyType({})


class Marked(NamedTuple):
    """Is the answer right, and what there is to say of it."""

    right: bool
    comment: str


class Proof(NamedTuple):
    """What the lines of a proof gave: do they agree with the question's answer, and what they printed."""

    holds: bool
    printed: str


@dataclass(frozen=True)
class QuizQuestion:
    """A question with choices, or for a number.

    id: its name. quiz: which of the lecture's quizzes it is about. ask: the question.
    choices: what a, b, c, d stand for, and `right`, the letter; or `readings`, the right number of each reading of the
    question (one, if it has one meaning), and `mistakes`, numbers that others have come to, and how. tolerance: of a
    number, relative to it; 0 for a count. because: why. see: a command that shows it. proof: Python that leaves
    `answer`, the letter, or the numbers in the order of the readings.
    """

    id: str
    quiz: str
    ask: str
    because: str
    see: str
    proof: str
    choices: tuple[str, ...] = ()
    right: str = ""
    readings: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    mistakes: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    tolerance: float = 0.0

    def text(self) -> str:
        """The question, and its choices, each on a line of its own."""
        choices = (f"  {letter}) {choice}" for letter, choice in zip(LETTERS, self.choices))
        return "\n".join([wrapped(self.ask), *(wrapped(choice, indent=5) for choice in choices)])

    def mark(self, answer: str) -> Marked:
        """Mark an answer. Raises ValueError, in one line, for what is no letter or no number."""
        return self._mark_choice(answer) if self.choices else self._mark_number(answer)

    def _mark_choice(self, answer: str) -> Marked:
        letter = answer.strip().lower().rstrip(")")
        known = LETTERS[: len(self.choices)]
        if len(letter) != 1 or letter not in known:
            raise ValueError(f"{self.id}: {answer!r} is none of {', '.join(known)}")
        if letter == self.right:
            return Marked(True, f"right: {letter}")
        return Marked(False, f"not {letter}")

    def _mark_number(self, answer: str) -> Marked:
        value = number(answer)
        if value is None:
            raise ValueError(f"{self.id}: {answer!r} is not a number; write 12, 0.5, 1/3 or 25 %")
        for reading, wanted in self.readings.items():
            if self._is(value, wanted):
                named = f", as {reading}" if len(self.readings) > 1 else ""
                return Marked(True, f"right: {wanted:.6g}{named}")
        for mistake, found in self.mistakes.items():
            if self._is(value, found):
                return Marked(False, f"not {found:.6g}: that is {mistake}")
        return Marked(False, f"not {value:.6g}")

    def _is(self, value: float, wanted: float) -> bool:
        return abs(value - wanted) <= self.tolerance * abs(wanted)

    def answer(self) -> str:
        """The answer in words."""
        if self.choices:
            return f"{self.right}) {self.choices[LETTERS.index(self.right)]}"
        if len(self.readings) == 1:
            return f"{next(iter(self.readings.values())):.6g}"
        return "; ".join(f"{value:.6g} as {reading}" for reading, value in self.readings.items())

    def prove(self) -> Proof:
        """Run the lines of the proof."""
        stream = io.StringIO()
        namespace: dict[str, Any] = {"__name__": self.id}
        with redirect_stdout(stream):
            exec(compile(self.proof, f"the proof of {self.id}", "exec"), namespace)
        found = namespace["answer"]
        if self.choices:
            return Proof(found == self.right, stream.getvalue())
        found = found if isinstance(found, (list, tuple)) else [found]
        wanted = list(self.readings.values())
        holds = len(found) == len(wanted) and all(self._is(float(f), w) for f, w in zip(found, wanted))
        return Proof(holds, stream.getvalue())


def wrapped(text: str, indent: int = 0) -> str:
    """Text in lines of at most 100 characters, all but the first indented."""
    return textwrap.fill(text, 100, subsequent_indent=" " * indent)


def number(text: str) -> float | None:
    """The number that a text is: 12, 1,470, 0.5, 1/3, 25 %; None if it is none."""
    text = text.strip().replace(",", "")
    share = text.endswith("%")
    above, line, below = text.removesuffix("%").partition("/")
    try:
        value = float(above) / (float(below) if line else 1.0)
    except (ValueError, ZeroDivisionError):
        return None
    return value / 100 if share else value
