"""What depends on parameters, buffers and constants alone: computed once, and again when one of them has changed."""

from __future__ import annotations

from ..program import Instruction, Program
from .dead import used


def unchanging(program: Program) -> set[int]:
    """The values that do not depend on the arguments; none in a program that changes anything, as training does."""
    if any(instruction.effect for instruction in program.instructions):
        return set()
    found: set[int] = set()
    for instruction in program.instructions:
        if found.issuperset(instruction.reads()):
            found.update(instruction.writes())
    return found


def compute_once(program: Program) -> Program:
    """Take what does not depend on the arguments out of the program, to be computed before it."""
    constant = unchanging(program)

    def moves(instruction: Instruction) -> bool:
        return bool(instruction.writes()) and constant.issuperset(instruction.writes())

    once = [instruction for instruction in program.instructions if moves(instruction)]
    rest = [instruction for instruction in program.instructions if not moves(instruction)]
    moved = program.changed(rest, once=[*program.once, *once])
    return moved.changed(rest, once=used(moved.once, moved.from_once()))
