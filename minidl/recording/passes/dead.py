"""Dead code: what nobody reads."""

from ..program import Program


def drop_unused(program: Program) -> Program:
    """Leave out instructions whose values neither the result nor another instruction reads."""
    needed, kept = program.kept(), []
    for instruction in reversed(program.instructions):
        if instruction.effect or not needed.isdisjoint(instruction.writes()):
            kept.append(instruction)
            needed.update(instruction.reads())
    return program.changed(kept[::-1])
