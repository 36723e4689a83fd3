"""A plan: a program after all passes, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..core.tensor import Parameter
from ..kernels.cpu.workers import one_blas_thread
from ..nn.module import Module
from .buffers import Buffers, observed
from .page import as_page
from .passes import PASSES
from .program import Program, attribute
from .replay import compiled, prepared
from .text import as_text

Pass = Callable[[Program], Program]


class Plan:
    """`stages`: the program as it was recorded, and after each pass, by name."""

    def __init__(self, program: Program, passes: Iterable[Pass] | None = None):
        self.stages: dict[str, Program] = {"recording": program}
        for improve in PASSES if passes is None else passes:
            program = self.stages[improve.__name__] = improve(program)
        self.program = program
        self.body, self.prepare = compiled(program), prepared(program)
        self.sources = [ins.origin for ins in program.once if ins.is_load]
        self.seen: list[tuple] = []
        self.held: list[np.ndarray] = []
        self.buffers: Buffers | None = None

    def run(self, *arrays: np.ndarray) -> Any:
        if self.program.once and not (self.held and self._is_fresh()):
            self.seen = [noted(*source) for source in self.sources]
            self.held = self.prepare()
        if self.buffers is None:
            result, self.buffers = observed(self.program, [*arrays, *self.held])
            return result
        with one_blas_thread(), self.buffers.in_use():
            return self.body(*arrays, *self.held)

    def _is_fresh(self) -> bool:
        """Are the parameters and buffers that `held` was computed of what they were?"""
        for owner, name, array, then in self.seen:
            if (owner.get(name) if type(owner) is dict else getattr(owner, name)) is not array:
                return False
            if type(then) is bytes:
                if array.tobytes() != then:
                    return False
            elif owner.updated != then or array.flags.writeable:
                return False
        return True

    def text(self, after: str | None = None) -> str:
        """The program as it is in the end, or `after` one of the passes ("recording" for none)."""
        if after is not None and after not in self.stages:
            raise ValueError(f"there is no stage {after!r}: {', '.join(self.stages)}")
        return as_text(self.program if after is None else self.stages[after])

    def html(self) -> str:
        return as_page(self.stages)


def noted(owner: Any, name: str) -> tuple:
    """(owner, name, array, what tells whether it has changed): a parameter's is made read-only, and notices a new one;
    of a buffer, which is small, all bytes. Of a module, the owner is its attributes."""
    array = attribute(owner, name)
    if isinstance(owner, Parameter) and array.base is None:
        array.flags.writeable = False
        return owner, name, array, owner.updated
    return vars(owner) if isinstance(owner, Module) else owner, name, array, array.tobytes()
