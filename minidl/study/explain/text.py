"""The trace as a numbered list for a terminal, and as JSON.

The JSON of a trace, schema "minidl.explain/1". An *array* is {"shape", "dtype", "min", "max", "norm", "not_finite",
"values"}: statistics of the finite entries (null if there are none), how many are not finite, and the entries as nested
lists if there are at most 1000, else null. NaN and infinities are "nan", "inf" and "-inf".

    schema, output (name of a value), asked (its expression, "" if that is long), seed (array), scalar, overrides [name
    of a primitive], notes [text]
    values    oldest first: name, kind ("leaf", "constant", "operation"), expression, primitive (name or null),
              formula, parameters {name: text}, inputs [name of a value, or text of a number], module (dotted name or
              null), value (array), gradient (array or null)
    steps     in the order of the walk: number, value (name), primitive, gradient (array), fused, kink (null, or
              {"count", "size", "first" (index), "distance"}), contributions
      contributions   argument, position, to (name of a value), formula, replaced (by an override), contribution
              (array), before (array or null), after (array), summed_over [axis], local (d output / d input, or null)
    paths     for a graph of scalars, else {}: {leaf: {"count", "sum" (null unless all are listed), "listed":
              [{"through" [name], "factors", "product"}]}}
"""

from __future__ import annotations

from typing import Any

from ...table import table
from ..page import number
from . import arrays
from .arrays import brief, parameter_text, shape_label, size
from .expression import expression, forward_numbers, input_text, pretty, rule_numbers
from .trace import BackwardPass, Contribution, Step, Vertex

SCHEMA = "minidl.explain/1"


def text(trace: BackwardPass) -> str:
    """The values, the steps, the gradients and, for scalars, the paths."""
    lines = [f"{title(trace)}: {count(len(trace.steps), 'step')} back", *(f"note: {note}" for note in trace.notes)]
    lines += ["", "forward", *_table([_forward(v) for v in trace.vertices])]
    if trace.steps:
        lines += ["", f"backward, from d {trace.output.name} / d {trace.output.name} = {brief(trace.seed)}"]
    for step in trace.steps:
        lines += step_lines(step)
    kind = "not gradients: rules are replaced" if trace.overrides else "gradients"
    lines += ["", kind, *_table([(v.name, brief(v.gradient)) for v in trace.leaves])]
    for leaf, paths in trace.paths.items():
        lines += ["", f"paths from {leaf} to {trace.output.name}: {paths.count}"]
        lines += _table([(" -> ".join(v.name for v in p.vertices), f"{product(p)} = {number(p.product)}")
                         for p in paths.listed])  # fmt: skip
        lines.append(f"  {path_sum(paths)}")
    return "\n".join(lines)


def summary(trace: BackwardPass) -> str:
    """The loss, the notes and the gradients, a line each."""
    kind = "signal at" if trace.overrides else "gradient of"
    lines = [f"{title(trace)}: {count(len(trace.steps), 'step')} back", *(f"note: {note}" for note in trace.notes)]
    return "\n".join([*lines, *(f"{kind} {v.name}: {brief(v.gradient)}" for v in trace.leaves)])


def title(trace: BackwardPass) -> str:
    """loss = 3.06, loss = (a · b)² = 3.06, or output of shape 4x3."""
    value, asked = trace.output.value, pretty(trace.asked)
    name = f"{trace.output.name} = {asked}" if asked else trace.output.name
    return f"{name} = {brief(value)}" if value.size == 1 else f"{name}, {brief(value)}"


def count(n: int, thing: str) -> str:
    """1 step, 2 steps."""
    return f"{n} {thing}{'' if n == 1 else 's'}"


def step_lines(step: Step) -> list[str]:
    """One step, as `text` prints it."""
    vertex = step.vertex
    lines = [f"{step.number:3}. {vertex.name} = {pretty(expression(vertex))}   [{heading(vertex)}]"]
    lines.append(f"     gradient of {vertex.name} = {brief(step.gradient)}")
    if step.fused:
        lines.append(f"     fused: step {step.number} unfolds, print(trace.steps[{step.number - 1}].inside.text())")
    if step.kink:
        lines.append(f"     kink: {kink_text(step)}")
    for c in step.contributions:
        lines.append(f"     to {c.input.name}: {c.formula or 'by the kernel'} = {contribution_text(step, c)}")
        if c.summed_over:
            lines.append(f"        {broadcast_text(c)}")
        lines.append(f"        {accumulation(c)}")
    return lines


def heading(vertex: Vertex) -> str:
    """multiply: y = a * b; axis=(0,)"""
    parameters = ", ".join(f"{name}={parameter_text(value)}" for name, value in vertex.parameters.items())
    formula = vertex.primitive.formula
    formula = formula if "=" in formula.split("(")[0] else f"y = {formula}"
    return f"{vertex.primitive.name}: {formula}{'; ' + parameters if parameters else ''}"


def contribution_text(step: Step, c: Contribution) -> str:
    """1 * 0.3 = 0.3, or the array in brief."""
    numbers = rule_numbers(step, c)
    value = brief(c.value if c.unsummed is None else c.unsummed)
    return f"{pretty(numbers)} = {value}" if numbers not in (None, value) else value


def broadcast_text(c: Contribution) -> str:
    """How broadcasting was undone."""
    axes = ", ".join(map(str, c.summed_over))
    name = "axis" if len(c.summed_over) == 1 else "axes"
    return (
        f"summed over {name} {axes}, along which {c.input.name} was repeated: "
        f"{shape_label(c.unsummed.shape)} -> {shape_label(c.value.shape)}"
    )


def accumulation(c: Contribution) -> str:
    """0.30 + 0.12 = 0.42, or that this is the first."""
    name = f"gradient of {c.input.name}"
    if c.before is None:
        return f"{name}: this, the first to arrive"
    return f"{name}: {size(c.before)} + {size(c.value)} = {size(c.after)}"


def kink_text(step: Step) -> str:
    """How many entries are at a kink, and where."""
    kink = step.kink
    name = step.vertex.primitive.name
    near = f"at a kink of {name}" if kink.distance == 0 else f"within {number(kink.distance)} of a kink of {name}"
    verb = "are" if kink.count > 1 else "is"
    entries = f"{kink.count} of {kink.size} entries {verb}" if kink.first else "the value is"
    where = f", the first at {list(kink.first)}" if kink.first else ""
    return f"{entries} {near}{where}: there is no derivative there, the rule chooses one"


def product(path: Any) -> str:
    """2 · 0.3 · 1, in the order from the leaf to the loss; a seed that is not 1 comes last."""
    factors = [*path.factors, *([path.seed] if path.seed != 1 else [])]
    texts = [number(f) for f in factors]
    return " · ".join(f"({s})" if s.startswith("-") and i else s for i, s in enumerate(texts)) or "1"


def path_sum(paths: Any) -> str:
    """What the paths add up to, or that not all are listed."""
    gradient = number(paths.leaf.gradient.item())
    if paths.sum is None:
        return (
            f"{len(paths.listed)} of {paths.count} paths are listed; all together they add up to the gradient, "
            f"{gradient}: the backward pass gets it without listing them"
        )
    return f"sum {number(paths.sum)}, the gradient {gradient}"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    return table(rows, indent="  ", most=40) if rows else ["  none"]


def _forward(v: Vertex) -> tuple[str, ...]:
    what = v.kind if v.primitive is None else pretty(expression(v))
    numbers = forward_numbers(v)
    module = v.calls[0].title if v.calls else ""
    return v.name, what, (f"{pretty(numbers)} = " if numbers else "") + brief(v.value), module


def content(trace: BackwardPass) -> dict[str, Any]:
    """The trace in the schema that the docstring of this module describes."""
    return {
        "schema": SCHEMA,
        "output": trace.output.name,
        "asked": trace.asked,
        "seed": arrays.as_json(trace.seed),
        "scalar": trace.scalar,
        "overrides": trace.overrides,
        "notes": trace.notes,
        "values": [_value(v) for v in trace.vertices],
        "steps": [_step(step) for step in trace.steps],
        "paths": {name: _paths(paths) for name, paths in trace.paths.items()},
    }


def _value(v: Vertex) -> dict[str, Any]:
    return {
        "name": v.name,
        "kind": v.kind,
        "expression": expression(v),
        "primitive": v.primitive.name if v.primitive else None,
        "formula": v.primitive.formula if v.primitive else None,
        "parameters": {name: parameter_text(value) for name, value in v.parameters.items()},
        "inputs": [getattr(x, "name", None) or input_text(x) for x in v.inputs],
        "module": v.calls[0].name if v.calls else None,
        "value": arrays.as_json(v.value),
        "gradient": None if v.gradient is None else arrays.as_json(v.gradient),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "value": step.vertex.name,
        "primitive": step.vertex.primitive.name,
        "gradient": arrays.as_json(step.gradient),
        "fused": step.fused,
        "kink": vars(step.kink) if step.kink else None,
        "contributions": [
            {
                "argument": c.argument,
                "position": c.position,
                "to": c.input.name,
                "formula": c.formula,
                "replaced": c.replaced,
                "contribution": arrays.as_json(c.value),
                "before": None if c.before is None else arrays.as_json(c.before),
                "after": arrays.as_json(c.after),
                "summed_over": c.summed_over,
                "local": c.local,
            }
            for c in step.contributions
        ],
    }


def _paths(paths: Any) -> dict[str, Any]:
    listed = [
        {"through": [v.name for v in p.vertices], "factors": p.factors, "product": p.product} for p in paths.listed
    ]
    return {"count": paths.count, "sum": paths.sum, "listed": listed}
