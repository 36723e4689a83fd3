"""From a recording to a graph, instruction by instruction."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...recording.program import Instruction, Ref, attribute, mapped, refs
from .graph import Graph, Node, Value
from .joins import joined
from .recording import Recording, Repeated, SaveError, place, sizes_in
from .writers import CHECKS, DEPENDENT, REASONS, WRITERS


def written(recording: Recording) -> tuple[Graph, list[Value], list[Value], list[Value]]:
    """The graph, its inputs and outputs, and what is known of the values between them.

    Raises SaveError, with the primitive and the module, for the first operation that cannot be written.
    """
    program = joined(recording.program)
    graph = Graph([*recording.weights.values(), *recording.inputs, *recording.outputs])
    known: dict[int, Any] = {}  # by number of the program's value
    for ref, name in zip(program.arguments, recording.inputs):
        form = program.values[ref.number]
        known[ref.number] = Value(name, form.dtype, form.shape)
    inputs = [known[ref.number] for ref in program.arguments]
    graph.first = inputs[recording.dynamic.index(True)] if True in recording.dynamic else None
    for instruction in program.instructions:
        _write(graph, instruction, recording, program.values, known)
    outputs = [_output(graph, known, x, name) for x, name in zip(program.result, recording.outputs)]
    _drop_unused(graph, {value.name for value in outputs})
    made = {name for node in graph.nodes for name in node.outputs}
    between = [v for v in known.values() if isinstance(v, Value) and v.name in made]
    return graph, inputs, outputs, between


def _write(graph: Graph, instruction: Instruction, recording: Recording, values: list, known: dict[int, Any]) -> None:
    if instruction.name in CHECKS:
        return
    if instruction.is_load:
        owner, name = instruction.origin
        array = attribute(owner, name)
        known[instruction.output.number] = graph.weight(recording.weights[instruction.output.number], array)
        return
    numbers = instruction.writes()
    graph.place = recording.places.get(numbers[0], "") if numbers else ""
    graph.out = mapped(lambda x: Value("", values[x.number].dtype, values[x.number].shape), instruction.output)
    where = f"{instruction.name}, {place(graph.place)}"
    given = (instruction.inputs, instruction.parameters)
    try:
        if instruction.name not in WRITERS:
            results = _constant(graph, instruction)
        else:
            _refuse_sizes(instruction)
            inputs, parameters = mapped(partial(_resolved, graph, known), given)
            results = WRITERS[instruction.name](graph, *inputs, **parameters)
    except SaveError as error:
        raise SaveError(f"save_onnx: {where}: {error}") from None
    for ref, result in zip(refs(instruction.output), results if type(results) is tuple else (results,), strict=True):
        form = values[ref.number]
        if isinstance(result, Value):
            result = graph.cast(result, form.dtype)
            result = Value(result.name, result.dtype, form.shape)
        known[ref.number] = result


def _resolved(graph: Graph, known: dict[int, Any], x: Any) -> Any:
    """What a writer gets for a leaf of a call."""
    if type(x) is Ref:
        return known[x.number]
    if isinstance(x, Repeated):
        expanded = graph.Expand(x.row, graph.ints(x.shape), dtype=x.row.dtype)
        return Value(expanded.name, x.row.dtype, x.shape)
    return x


def _constant(graph: Graph, instruction: Instruction) -> Any:
    """What an operation without a writer gives, if it reads nothing that changes."""
    reason = REASONS.get(instruction.name)
    if any(True for _ in refs((instruction.inputs, instruction.parameters))) or reason is not None:
        raise SaveError(reason or "it has no counterpart in ONNX yet; minidl/onnx/save/writers is where to add it")
    if sizes_in((instruction.inputs, instruction.parameters)):
        raise SaveError("its options depend on the batch; save with dynamic_batch=False")
    found = instruction.run(*instruction.inputs, **instruction.parameters)
    return tuple(map(graph.constant, found)) if type(found) is tuple else graph.constant(np.asarray(found))


def _refuse_sizes(instruction: Instruction) -> None:
    for name, value in instruction.parameters.items():
        if name not in DEPENDENT[instruction.name] and sizes_in(value):
            raise SaveError(f"{name}={value} depends on the batch; save with dynamic_batch=False")


def _output(graph: Graph, known: dict[int, Any], x: Any, name: str) -> Value:
    """An output under its name: the node that makes it gives it that name, if it has none yet."""
    value = graph.constant(x) if isinstance(x, np.ndarray) else known[x.number]
    shape = value.shape
    node = next((n for n in graph.nodes if value.name in n.outputs), None)
    if node is None or node.is_output:
        graph.place = ""
        value = graph.Identity(value)
        node = graph.nodes[-1]
    node.is_output = True
    for other in graph.nodes:
        other.inputs = [name if n == value.name else n for n in other.inputs]
    node.outputs = [name if n == value.name else n for n in node.outputs]
    result = Value(name, value.dtype, shape)
    for number, v in known.items():
        if isinstance(v, Value) and v.name == value.name:
            known[number] = result
    return result


def _drop_unused(graph: Graph, needed: set[str]) -> None:
    """Leave out nodes, and arrays, that nobody reads."""
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    graph.nodes = kept[::-1]
    graph.arrays = {name: array for name, array in graph.arrays.items() if name in needed}
