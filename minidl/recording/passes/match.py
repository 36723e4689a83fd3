"""Finding groups of instructions that can become one."""

from __future__ import annotations

from typing import Any

from ..program import Instruction, Program, Ref, Value


class Matcher:
    """Where each value of a program comes from, and where it is read."""

    def __init__(self, program: Program):
        self.program = program
        self.uses = program.uses()
        self.maker = {number: ins for ins in program.instructions for number in ins.writes()}
        self.values = list(program.values)

    def made_by(self, x: Any, name: str) -> Instruction | None:
        """The instruction of that name that made x."""
        maker = self.maker.get(x.number) if type(x) is Ref else None
        return maker if maker is not None and maker.name == name else None

    def only_for_this(self, x: Any, name: str) -> Instruction | None:
        """The same, if x is read once: whoever asks is the only reader."""
        return self.made_by(x, name) if type(x) is Ref and self.uses[x.number] == 1 else None

    def per_channel(self, x: Any, ndim: int) -> Ref | None:
        """The v (F,) of an ``x = reshape(v, (1, F, 1, ...))`` with so many axes."""
        made = self.made_by(x, "reshape")
        if made is None or type(made.inputs[0]) is not Ref:
            return None
        old, new = self.values[made.inputs[0].number].shape, self.values[x.number].shape
        return made.inputs[0] if len(old) == 1 and new == (1, *old, *[1] * (ndim - 2)) else None

    def form(self, x: Any) -> Value | None:
        return self.values[x.number] if type(x) is Ref else None

    def alike(self, x: Any, y: Any) -> bool:
        """Have they one shape and dtype?"""
        a, b = self.form(x), self.form(y)
        return a is not None and b is not None and a.shape == b.shape and a.dtype == b.dtype

    def stands_for(self, x: Any, y: Any) -> bool:
        """Have they one layout, too? Sums that follow are added in the order of memory."""
        a, b = self.form(x), self.form(y)
        if not self.alike(x, y) or a.strides is None:
            return self.alike(x, y)
        return all(s == t for s, t, n in zip(a.strides, b.strides, a.shape) if n > 1)

    def new_value(self, shape: tuple[int, ...], dtype: Any) -> Ref:
        self.values.append(Value(shape, dtype, None, len(self.values)))
        return Ref(len(self.values) - 1)

    def replaced(self, changes: dict[int, list[Instruction]], removed: set[int]) -> Program:
        """The program with instructions replaced by lists, or removed; both by their ``id``."""
        found: list[Instruction] = []
        for instruction in self.program.instructions:
            if id(instruction) in changes:
                found += changes[id(instruction)]
            elif id(instruction) not in removed:
                found.append(instruction)
        return self.program.changed(found, self.values)
