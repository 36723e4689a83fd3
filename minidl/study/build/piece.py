"""A piece of the engine: what is to be written, and how it is marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...check.slopes import TINY
from .diagnosis import SINGLE, explain, returned, same
from .student import NotWritten, Student, StudentError, limited

Case = tuple[str, tuple]  # what is special about it, and the arguments
CHAPTERS = {
    1: "01-reverse-mode.md", 3: "03-gradient-descent.md", 4: "04-convolution-as-a-matrix.md",
    7: "07-networks-and-transfer.md", 8: "08-upsampling-and-denoising.md", 9: "09-dice.md",
}  # fmt: skip


@dataclass(frozen=True)
class Function:
    """One function that is to be written.

    right: the oracle, of the same arguments; known to nobody who writes. cases: the simplest first, so that the first
    one that fails says what is not yet understood. outputs: names of what is returned. mistakes: {a clause that names
    it: a wrong function of the same arguments}.
    """

    name: str
    right: Callable[..., Any]
    cases: Callable[[np.random.Generator], Iterable[Case]]
    outputs: tuple[str, ...] = ("the result",)
    mistakes: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def drawn(self) -> list[Case]:
        return list(self.cases(np.random.default_rng(0)))

    def problem(self, student: Student) -> str | None:
        """What is wrong with the student's function, in one clause; None if nothing is."""
        passed: list[str] = []
        for words, arguments in self.drawn():
            if problem := self._in_case(student, arguments):
                before = f"right in the case of {passed[-1]}, but with " if passed else "with "
                return f"{before}{words}: {problem}"
            passed.append(words)
        return self._in_single(student, self.drawn()[-1][1])

    def _in_case(self, student: Student, arguments: tuple) -> str | None:
        right = self._answers(self.right, arguments)
        given = copied(arguments)
        value = student.call(self.name, *given)
        if not all(np.array_equal(a, b) for a, b in zip(arguments, given)):
            return "it changes its arguments: work on a copy"
        try:
            got = returned(value, self.outputs)
        except ValueError as error:
            return str(error)
        for k, (a, b) in enumerate(zip(got, right)):
            if not same(a, b):
                name = f"{self.outputs[k]}: " if len(self.outputs) > 1 else ""
                return name + explain(a.astype(float), b, self._guesses(arguments, k))
        return None

    def _guesses(self, arguments: tuple, k: int) -> dict[str, np.ndarray]:
        """What the known mistakes give; some of them cannot be made with every shape."""
        found = {}
        for words, wrong in self.mistakes.items():
            with suppress(ValueError, IndexError):
                found[words] = self._answers(wrong, arguments)[k]
        return found

    def _in_single(self, student: Student, arguments: tuple) -> str | None:
        """Float32 in, float32 out, and the same numbers?"""
        single = tuple(a.astype(np.float32) if _floating(a) else a for a in arguments)
        got = returned(student.call(self.name, *copied(single)), self.outputs)
        for name, a, b in zip(self.outputs, got, self._answers(self.right, arguments)):
            if a.dtype != np.float32:
                return f"{name} is {a.dtype} where the arguments are float32: keep their dtype"
            if not same(a.astype(float), b, SINGLE):
                return f"{name} is right in float64, and wrong in float32"
        return None

    def _answers(self, function: Callable, arguments: tuple) -> list[np.ndarray]:
        value = function(*copied(arguments))
        return [np.asarray(v) for v in (value if len(self.outputs) > 1 else (value,))]


@dataclass(frozen=True)
class Mark:
    """What came of a piece: "right", "wrong", "raises", "begun" or "not written", and why."""

    piece: str
    verdict: str
    words: str = ""
    read: str = ""

    def json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Piece:
    """Functions that belong together, and checks of what is no function of arrays: ``check(student)`` yields clauses
    that say what is wrong."""

    name: str
    title: str
    chapter: int
    functions: tuple[Function, ...] = ()
    checks: tuple[Callable[[Student], Iterator[str]], ...] = ()
    drives: bool = False  # does a network that trains call it?

    @property
    def read(self) -> str:
        return f"docs/chapters/{CHAPTERS[self.chapter]}"

    def mark(self, student: Student) -> Mark:
        """Try everything; the first thing that is wrong, if anything is."""
        missing, tried = [], 0
        attempts = [("", lambda check=check: next(check(student), None)) for check in self.checks]
        attempts += [(f.name, lambda f=f: f.problem(student)) for f in self.functions]
        for name, attempt in attempts:
            try:
                with limited(), np.errstate(all="ignore"):
                    problem = attempt()
            except NotWritten as waiting:
                missing.append(str(waiting))
                continue
            except StudentError as error:
                return Mark(self.name, "raises", str(error), self.read)
            if problem:
                label = f"{name}: " if name and len(attempts) > 1 else ""
                return Mark(self.name, "wrong", label + problem, self.read)
            tried += 1
        if missing:
            return Mark(self.name, "begun" if tried else "not written", missing[0] if tried else "", self.read)
        return Mark(self.name, "right")


def gradient(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The derivative of the sum of g * f(x) by each entry of x, by the complex step: exact to rounding, and it knows
    no rule."""
    found = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        z = x.astype(complex)
        z[i] += 1j * TINY
        found[i] = (g * f(z)).sum().imag / TINY
    return found


def copied(arguments: tuple) -> tuple:
    return tuple(a.copy() if isinstance(a, np.ndarray) else a for a in arguments)


def _floating(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"
