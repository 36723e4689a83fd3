"""A plan: a program after all passes, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .program import Program
from .replay import compiled
from .text import as_text

Pass = Callable[[Program], Program]
PASSES: list[Pass] = []


class Plan:
    def __init__(self, program: Program, passes: Iterable[Pass] | None = None):
        self.stages: dict[str, Program] = {"recording": program}
        for improve in PASSES if passes is None else passes:
            program = self.stages[improve.__name__] = improve(program)
        self.program = program
        self.run = compiled(program)

    def text(self, after: str | None = None) -> str:
        return as_text(self.program if after is None else self.stages[after])
