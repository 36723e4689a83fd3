"""Dead code: what nobody reads."""

from collections.abc import Iterable, Sequence

from ..program import Instruction, Program


def drop_unused(program: Program) -> Program:
    """Leave out instructions whose values neither the result nor another instruction reads."""
    return program.changed(used(program.instructions, program.kept()))


def used(instructions: Sequence[Instruction], needed: Iterable[int]) -> list[Instruction]:
    """Those that change something, or whose values are needed, by others of them or afterwards."""
    needed, kept = set(needed), []
    for instruction in reversed(instructions):
        if instruction.effect or not needed.isdisjoint(instruction.writes()):
            kept.append(instruction)
            needed.update(instruction.reads())
    return kept[::-1]
