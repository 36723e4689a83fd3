"""A program as text, a line for each instruction."""

from __future__ import annotations

from typing import Any

import numpy as np

from .program import Form, Instruction, Program, Ref
from .replay import written


def as_text(program: Program) -> str:
    lines = [line(instruction, program) for instruction in program.once]
    lines = ["once:", *lines, ""] if lines else []
    lines.append(f"given {', '.join(f'v{ref.number}' for ref in program.arguments)}:")
    lines += [line(instruction, program) for instruction in program.instructions]
    return "\n".join([*lines, f"return {written(program.result, shown)}"])


def line(instruction: Instruction, program: Program) -> str:
    """``v3 = conv(v1, v2, window=..., groups=1)    float32 (4, 8, 14, 14)``"""
    result = written(instruction.output, shown)
    given = [written(x, shown) for x in instruction.inputs]
    given += [f"{name}={written(x, shown)}" for name, x in instruction.parameters.items()]
    text = f"{instruction.name}({', '.join(given)})"
    if instruction.output is None:
        return text
    forms = [f"{program.values[n].dtype} {program.values[n].shape}" for n in instruction.writes()]
    return f"{result} = {text}".ljust(70) + "  # " + ", ".join(forms)


def shown(x: Any) -> str:
    if type(x) is Ref:
        return f"v{x.number}"
    if type(x) is Form:
        return f"like({x.dtype}, {x.shape})"
    if isinstance(x, np.ndarray):
        return f"constant({x.dtype}, {x.shape})"
    if x is None or type(x) in (bool, int, float, str, slice):
        return repr(x)
    return getattr(x, "name", None) or str(x)
