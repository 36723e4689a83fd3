"""A program as one Python function: a line for each instruction, nothing in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..nn.module import Module
from .program import Form, Instruction, Program, Ref


def prepared(program: Program) -> Callable:
    """The function ``f()`` that computes what is computed once, as a list."""
    given = [Ref(number) for number in program.from_once()]
    return compiled(Program(program.values, [], program.once, given))


def compiled(program: Program) -> Callable:
    """The function ``f(*arguments, *what is computed once)`` that runs the program and gives its result.

    A value is freed after its last use.
    """
    names: dict[str, Any] = {"Tensor": Tensor}

    def constant(x: Any) -> str:
        name = f"c{len(names)}"
        names[name] = np.broadcast_to(np.empty((), x.dtype), x.shape) if type(x) is Form else x
        return name

    last = {number: i for i, ins in enumerate(program.instructions) for number in (*ins.reads(), *ins.writes())}
    kept = program.kept()
    computed = program.from_once()  # these stay, so a copy is given away
    given = [ref.number for ref in program.arguments] + computed
    lines = [f"def program({', '.join(f'v{number}' for number in given)}):"]
    for i, instruction in enumerate(program.instructions):
        names[f"f{i}"] = instruction.run
        load = instruction.is_load and instruction.origin[1] != "grad"
        lines.append("    " + (attribute(instruction, constant) if load else call(f"f{i}", instruction, constant)))
        dead = {n for n in (*instruction.reads(), *instruction.writes()) if last[n] == i and n not in kept}
        if dead:
            lines.append("    " + " = ".join(f"v{n}" for n in sorted(dead)) + " = None")

    def returned(ref: Any) -> str:
        if type(ref) is Ref:
            value = f"v{ref.number}.copy()" if ref.number in computed else f"v{ref.number}"
            return f"Tensor({value})" if ref.number in program.tensors else value
        return constant(ref)

    lines.append(f"    return {written(program.result, returned)}")
    exec(compile("\n".join(lines), "<recorded step>", "exec"), names)
    return names["program"]


def attribute(instruction: Instruction, constant: Callable[[Any], str]) -> str:
    """``v3 = parameter.data``, ``v3 = vars(module)['running_mean']``"""
    owner, name = instruction.origin
    value = f"vars({constant(owner)})[{name!r}]" if isinstance(owner, Module) else f"{constant(owner)}.{name}"
    return f"v{instruction.output.number} = {value}"


def call(function: str, instruction: Instruction, constant: Callable[[Any], str]) -> str:
    """``v3 = f(v1, v2, eps=1e-05)``"""

    def leaf(x: Any) -> str:
        if type(x) is Ref:
            return f"v{x.number}"
        return repr(x) if x is None or type(x) in (bool, int, str) else constant(x)

    given = [written(x, leaf) for x in instruction.inputs]
    given += [f"{name}={written(x, leaf)}" for name, x in instruction.parameters.items()]
    result = written(instruction.output, lambda x: f"v{x.number}" if type(x) is Ref else "_")
    return ("" if instruction.output is None else f"{result} = ") + f"{function}({', '.join(given)})"


def written(structure: Any, leaf: Callable[[Any], str]) -> str:
    """A structure as Python writes it."""
    if type(structure) is tuple:
        parts = [written(part, leaf) for part in structure]
        return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
    if type(structure) is list:
        return "[" + ", ".join(written(part, leaf) for part in structure) + "]"
    if type(structure) is dict:
        return "{" + ", ".join(f"{name!r}: {written(part, leaf)}" for name, part in structure.items()) + "}"
    return leaf(structure)
