"""What depends on parameters, buffers and constants alone: computed once, and again when one of them has changed."""

from __future__ import annotations

import numpy as np

from ..program import Instruction, Program, leaves
from .dead import used


def unchanging(program: Program) -> set[int]:
    """The values that do not depend on the arguments, nor on arrays that others may write into; none in a program that
    changes anything, as training does."""
    if any(instruction.effect for instruction in program.instructions):
        return set()
    found: set[int] = set()
    for instruction in program.instructions:
        if found.issuperset(instruction.reads()) and not _reads_what_may_change(instruction):
            found.update(instruction.writes())
    return found


def _reads_what_may_change(instruction: Instruction) -> bool:
    """Does it read an array from outside that somebody may write into?"""
    if instruction.is_load:
        return False  # that is looked up
    given = leaves((instruction.inputs, instruction.parameters))
    return any(isinstance(x, np.ndarray) and x.flags.writeable for x in given)


def compute_once(program: Program) -> Program:
    """Take what does not depend on the arguments out of the program, to be computed before it."""
    constant = unchanging(program)

    def moves(instruction: Instruction) -> bool:
        return bool(instruction.writes()) and constant.issuperset(instruction.writes())

    once = [instruction for instruction in program.instructions if moves(instruction)]
    rest = [instruction for instruction in program.instructions if not moves(instruction)]
    moved = program.changed(rest, once=[*program.once, *once])
    return moved.changed(rest, once=used(moved.once, moved.from_once()))
