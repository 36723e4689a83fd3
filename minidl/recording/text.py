"""A program as text, a line for each instruction."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.window import Window
from .program import Form, Instruction, Program, Ref
from .replay import written


def as_text(program: Program) -> str:
    return "\n".join(lines(program))


def lines(program: Program) -> list[str]:
    once = [line(instruction, program) for instruction in program.once]
    given = f"given {', '.join(f'v{ref.number}' for ref in program.arguments)}:"
    body = [line(instruction, program) for instruction in program.instructions]
    return [*(["once:", *once, ""] if once else []), given, *body, f"return {written(program.result, shown)}"]


def line(instruction: Instruction, program: Program) -> str:
    """``v3 = conv(v1, v2, 3x3 of 14x14, groups=1)    # float32 (4, 8, 14, 14)``"""
    result = written(instruction.output, shown)
    if instruction.is_load:
        text = f"{result} = {instruction.name}"
    else:
        given = [written(x, shown) for x in instruction.inputs]
        given += [f"{name}={written(x, shown)}" for name, x in instruction.parameters.items() if x is not None]
        text = f"{instruction.name}({', '.join(given)})"
        if instruction.output is None:
            return text
        text = f"{result} = {text}"
    forms = [f"{program.values[n].dtype} {program.values[n].shape}" for n in instruction.writes()]
    return f"{text:70}  # {', '.join(forms)}"


def shown(x: Any) -> str:
    if type(x) is Ref:
        return f"v{x.number}"
    if type(x) is Form:
        return f"like({x.dtype}, {x.shape})"
    if isinstance(x, np.ndarray):
        return f"constant({x.dtype}, {x.shape})"
    if isinstance(x, Window):
        return window_in_words(x)
    if isinstance(x, type):
        return x.__name__
    if isinstance(x, float):
        return f"{x:g}"
    if isinstance(x, slice):
        return ":".join("" if part is None else str(part) for part in (x.start, x.stop, x.step)[: 2 + bool(x.step)])
    return getattr(x, "name", None) or repr(x)


def window_in_words(w: Window) -> str:
    """3x3 over 56x56, stride 2, padding 1"""
    words = [f"{'x'.join(map(str, w.kernel))} over {'x'.join(map(str, w.size))}"]
    for name, values, usual in (("stride", w.stride, 1), ("dilation", w.dilation, 1), ("padding", w.padding, 0)):
        pairs = [v if isinstance(v, tuple) else (v, v) for v in values]
        if any(p != (usual, usual) for p in pairs):
            one = {str(low) if low == high else f"{low}+{high}": None for low, high in pairs}
            words.append(f"{name} {next(iter(one)) if len(one) == 1 else ' x '.join(one)}")
    return ", ".join(words)
