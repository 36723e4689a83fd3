"""What the page shows next to the graph: a panel for each step, leaf, constant and module, as HTML."""

from __future__ import annotations

import inspect
import textwrap
from html import escape

import numpy as np

from ..page import capital, heat_table, mathml, number, scroll
from .arrays import is_finite, magnitudes, parameter_text, shape_label, shape_text, size, statistics_text
from .diagram import Box, Diagram, diagram, diagram_inside
from .drawing import drawing
from .expression import expression, for_mathml, forward_numbers, input_text, pretty, rule_numbers
from .text import broadcast_text, count, kink_text, path_sum, product
from .trace import BackwardPass, Contribution, Step, Vertex

GLANCE = 12  # entries


class Panels:
    """The panels of one trace; arrays are shown up to `most` rows and columns."""

    def __init__(self, trace: BackwardPass, graph: Diagram, steps: list[Step], most: int):
        self.trace, self.graph, self.steps, self.most = trace, graph, steps, most
        self.place = {step: i for i, step in enumerate(steps, 1)}
        self.step_of = {step.vertex: step for step in steps}

    # --- what a box opens

    def start(self) -> str:
        output = self.trace.output
        words = f"""<p>The backward pass starts at <b>{escape(output.name)}</b>: its gradient with respect to itself is
{"what was given" if not _is_one(self.trace.seed) else "1"}. Each step takes the newest operation whose gradient is
complete, applies its derivative rules, and adds what they give to the gradients of its inputs.</p>"""
        figures = self.figures([("value", output.value), ("gradient", self.trace.seed)])
        return self._panel("step-0", "Start", words + figures)

    def step(self, step: Step) -> str:
        """One step: the operation forward, the gradient that came in, and what each rule gave."""
        vertex, place = step.vertex, self.place[step]
        parts = [self._forward(vertex)]
        if vertex.primitive.name in self.trace.overrides:
            parts.append('<p class="warn"><b>Replaced rule.</b> What it gives is not a gradient.</p>')
        if step.kink:
            parts.append(f'<p class="warn"><b>Kink.</b> {escape(capital(kink_text(step)))}.</p>')
        parts += [
            self.figures([*_inputs(vertex), ("value", vertex.value), ("gradient", step.gradient)]),
            *(self._contribution(step, c) for c in step.contributions),
            self._inside(step),
        ]
        title = f"Step {place} of {len(self.steps)}: {vertex.primitive.name}"
        return self._panel(f"step-{place}", title, "".join(parts))

    def value(self, vertex: Vertex) -> str:
        """A leaf or a constant: what it holds, and how its gradient came together."""
        words = {
            "leaf": "A leaf: a gradient was asked for.",
            "constant": "A constant: no gradient flows here.",
        }.get(vertex.kind, "Its step is not on this page.")
        arrays = [("value", vertex.value)] + ([("gradient", vertex.gradient)] if vertex.gradient is not None else [])
        arrived = [(s, c) for s in self.trace.steps for c in s.contributions if c.input is vertex]
        parts = [f"<p>{words}</p>", self.figures(arrays), self._sum(arrived), self._paths(vertex)]
        return self._panel(f"value-{self.graph.of[vertex].key}", vertex.name, "".join(parts))

    def group(self, box: Box) -> str:
        """A module: what it made, its parameters, and its own graph."""
        operations = [v for v in box.members if v in self.step_of]
        words = f"<p>{count(len(operations), 'operation')} made in this call of the module.</p>"
        buttons = "".join(self._button(self.step_of[v]) for v in reversed(operations))
        inside = drawing(diagram_inside(self.trace, box.members), f"Inside {box.title}")
        tables = [
            f"<h3>{escape(v.name)}</h3>{self.figures([('value', v.value), ('gradient', v.gradient)])}"
            for v in box.members
            if v.kind == "leaf"
        ]
        parts = [words, f'<p class="choices">{buttons}</p>', scroll(inside, f"graph inside {box.title}"), *tables]
        return self._panel(f"group-{box.key}", box.title, "".join(parts))

    # --- their parts

    def figures(self, arrays: list[tuple[str, np.ndarray]]) -> str:
        """Arrays side by side."""
        return f'<div class="figures">{"".join(self.figure(a, label) for label, a in arrays)}</div>'

    def figure(self, array: np.ndarray, label: str, largest: float | None = None) -> str:
        """A number large, an array as a heat table of its first rows and columns, with statistics."""
        kind = label.split()[0]
        if not array.ndim:
            value = number(array.item())
            return f'<div class="one {kind}"><span class="label">{escape(label)}</span><b>{value}</b></div>'
        part, at = excerpt(array)
        whole = f" {at} of {shape_text(array.shape)}" if at else ""
        sizes = ", sizes" if array.dtype.kind == "c" else ""
        table = heat_table(part, f"{label}{whole}{sizes}", most=self.most, largest=largest)
        note = "" if _is_plain(array) else f'<p class="note">{escape(statistics_text(array))}</p>'
        return f'<div class="{kind}">{table}{note}</div>'

    def _panel(self, key: str, title: str, body: str) -> str:
        return f'<section class="panel" id="{key}" hidden><h2 tabindex="-1">{escape(title)}</h2>{body}</section>'

    def _forward(self, vertex: Vertex) -> str:
        """Forward: the expression with names, with numbers if they are scalars, and the primitive's own formula."""
        numbers = forward_numbers(vertex)
        lines = [f'<div class="formula">{equation(vertex)}</div>']
        if numbers:
            worked = f"{for_mathml(vertex.name)} = {numbers}"
            worked += f" = {number(vertex.value.item())}" if numbers != number(vertex.value.item()) else ""
            lines.append(f'<div class="formula small">{mathml(worked, block=True)}</div>')
        inputs = [x.name if isinstance(x, Vertex) else input_text(x) for x in vertex.inputs]
        arguments = vertex.primitive.arguments
        if vertex.primitive.variadic:
            arguments = tuple(f"{arguments[-1]}[{i}]" for i in range(len(inputs)))
        shapes = [shape_label(x.value.shape) if isinstance(x, Vertex) else "number" for x in vertex.inputs]
        rows = [("y", vertex.name, shape_label(vertex.value.shape)), *zip(arguments, inputs, shapes)]
        formula = vertex.primitive.formula
        formula = formula if "=" in formula.split("(")[0] else f"y = {formula}"
        terms = [(a, escape(x), f' <span class="note">{escape(shape)}</span>') for a, x, shape in rows]
        terms += [(name, escape(parameter_text(value)), "") for name, value in vertex.parameters.items()]
        terms += [("module", escape(vertex.calls[0].title), "")] if vertex.calls else []
        listed = "".join(f"<div><dt>{escape(a)}</dt><dd>{x}{note}</dd></div>" for a, x, note in terms)
        label = f'<span class="label">the primitive <b>{escape(vertex.primitive.name)}</b></span>'
        return f'{"".join(lines)}<div class="rule">{label} {mathml(formula)}</div><dl class="names">{listed}</dl>'

    def _contribution(self, step: Step, c: Contribution) -> str:
        """One rule: its formula, with numbers if they are scalars; the sum over repeated axes; the accumulation."""
        rule = mathml(c.formula) if c.formula else "worked out by the same kernel"
        label = '<span class="label">rule</span>'
        lines = [f'<h3>To {escape(c.input.name)}</h3><div class="rule">{label} {rule}</div>']
        numbers = rule_numbers(step, c)
        value = number(c.value.item()) if c.value.size == 1 else ""
        if numbers and numbers != value:
            lines.append(f'<div class="formula small">{mathml(f"{numbers} = {value}", block=True)}</div>')
        if c.summed_over:
            lines.append(self.figures([("before the sum", c.unsummed)]))
            lines.append(f'<p class="sum">{escape(capital(broadcast_text(c)))}.</p>')
        if c.local is not None:
            ratio = f"d {step.vertex.name} / d {c.input.name}"
            lines.append(f'<p class="worked">local derivative {escape(ratio)} = <b>{number(c.local)}</b></p>')
        lines.append(self.accumulation(c))
        return f'<div class="contribution">{"".join(lines)}</div>'

    def accumulation(self, c: Contribution) -> str:
        """before + contribution = after, as numbers or as tables in one scale of colours."""
        name = escape(c.input.name)
        if c.before is None:
            figure = self.figure(c.value, f"gradient of {c.input.name}")
            return f'<div class="figures">{figure}</div><p class="note">The first to arrive at {name}.</p>'
        arrays = {"before": c.before, "contribution": c.value, "after": c.after}
        if not c.value.ndim:
            before, value, after = (number(a.item()) for a in arrays.values())
            value = f"({value})" if value.startswith("-") else value
            words = f'<span class="label">gradient of {name}</span>'
            return f'<p class="accumulation">{words} <b>{before} + {value} = <mark>{after}</mark></b></p>'
        largest = max((float(np.abs(a[np.isfinite(a)]).max(initial=0)) for a in arrays.values()), default=0.0)
        tables = [self.figure(a, label, largest=largest) for label, a in arrays.items()]
        signs = ["", '<span class="sign">+</span>', '<span class="sign">=</span>']
        parts = "".join(sign + table for sign, table in zip(signs, tables))
        return f'<p class="note">Added to what had arrived at {name}:</p><div class="figures sums">{parts}</div>'

    def _sum(self, arrived: list[tuple[Step, Contribution]]) -> str:
        """The contributions in the order of their arrival."""
        if not arrived:
            return ""
        rows = "".join(
            f"<tr><td>{self._button(step) if step in self.place else step.number}</td><td>{mathml(c.formula)}</td>"
            f"<td>{escape(size(c.value))}</td><td>{escape(size(c.after))}</td></tr>"
            for step, c in arrived
        )
        head = "<tr><th>step</th><th>rule</th><th>contribution</th><th>gradient so far</th></tr>"
        return f"<h3>How its gradient came together</h3>{scroll(f'<table>{head}{rows}</table>', 'contributions')}"

    def _paths(self, vertex: Vertex) -> str:
        """The paths to the loss, each a button that lights it up."""
        paths = self.trace.paths.get(vertex.name)
        if paths is None:
            return ""
        rows = []
        for path in paths.listed:
            boxes = [self.graph.of.get(v) for v in path.vertices]
            keys = " ".join(box.key for box in boxes if box)
            way = " → ".join(v.name for v in path.vertices)
            rows.append(
                f'<tr><td><button class="path" aria-pressed="false" data-boxes="{keys}">{escape(way)}</button></td>'
                f'<td>{escape(product(path))}</td><td class="number">{number(path.product)}</td></tr>'
            )
        head = "<tr><th>path</th><th>derivatives along it</th><th>product</th></tr>"
        table = scroll(f"<table>{head}{''.join(rows)}</table>", f"paths from {vertex.name}")
        words = f"{count(paths.count, 'path')} to {self.trace.output.name}: the gradient is the sum of their products"
        total = f'<p class="sum">{escape(capital(path_sum(paths)))}.</p>'
        return f"<h3>The chain rule</h3><p>{escape(words)}.</p>{table}{total}"

    def _button(self, step: Step) -> str:
        place = self.place[step]
        return f'<button class="to" data-step="{place}">step {place}: {escape(step.vertex.name)}</button> '

    def _inside(self, step: Step) -> str:
        """The definition of a fused primitive: its text, its graph, and its own steps."""
        inside = step.inside
        if inside is None:
            return ""
        name = step.vertex.primitive.name
        graph = scroll(drawing(diagram(inside), f"definition of {name}"), f"graph of the definition of {name}", "inner")
        rows = "".join(_row(s, c) for s in inside.steps for c in s.contributions)
        titles = ("step", "value", "rule", "to", "contribution", "gradient so far")
        head = f"<tr>{''.join(f'<th>{t}</th>' for t in titles)}</tr>"
        table = scroll(f"<table>{head}{rows}</table>", f"steps of the definition of {name}")
        gap = max((_gap(c, inside) for c in step.contributions), default=0.0)
        words = f"<p>The definition's gradients and the kernel's differ by at most {number(gap)}.</p>"
        summary = f"Unfold {escape(name)}: {count(len(inside.steps), 'step')} of its definition"
        return f"<details><summary>{summary}</summary>{source(step)}{graph}{words}{table}</details>"


def _inputs(vertex: Vertex) -> list[tuple[str, np.ndarray]]:
    """The inputs that are arrays, each once."""
    used = dict.fromkeys(x for x in vertex.inputs if isinstance(x, Vertex) and x.value.ndim)
    return [(f"input {x.name}", x.value) for x in used]


def equation(vertex: Vertex) -> str:
    """v3 = a * b as MathML; as text if a name in it, such as conv1.weight, is no symbol."""
    names = [vertex.name, *(x.name for x in vertex.inputs if isinstance(x, Vertex))]
    if all(name.isidentifier() for name in names):
        return mathml(f"{for_mathml(vertex.name)} = {for_mathml(expression(vertex))}", block=True)
    return f"<code>{escape(pretty(f'{vertex.name} = {expression(vertex)}'))}</code>"


def _row(step: Step, c: Contribution) -> str:
    what = pretty(f"{step.vertex.name} = {expression(step.vertex)}")
    cells = [f"<td>{step.number}</td><td>{escape(what)}</td><td>{mathml(c.formula)}</td>"]
    cells += [f"<td>{escape(text)}</td>" for text in (c.input.name, size(c.value), size(c.after))]
    return f"<tr>{''.join(cells)}</tr>"


def _gap(c: Contribution, inside: BackwardPass) -> float:
    """How far what the kernel gave is from the gradient inside the definition."""
    found = inside.gradients.get(c.argument)
    return float(np.abs(found - c.value).max(initial=0)) if found is not None else 0.0


def source(step: Step) -> str:
    """The definition as Python text, where it can be read."""
    try:
        text = textwrap.dedent(inspect.getsource(step.vertex.primitive.definition))
    except (OSError, TypeError):
        return ""
    return scroll(f"<pre><code>{escape(text.rstrip())}</code></pre>", "text of the definition")


def excerpt(array: np.ndarray) -> tuple[np.ndarray, str]:
    """The first matrix of an array of more axes, and its index as text."""
    array = magnitudes(array)
    if array.ndim <= 2 or not array.size:
        return array.reshape(array.shape[-2:]) if array.ndim > 2 else array, ""
    index = (0,) * (array.ndim - 2)
    return array[index], str(list(index))


def _is_plain(array: np.ndarray) -> bool:
    """Is it readable at one glance, without statistics?"""
    return array.ndim < 3 and array.size <= GLANCE and is_finite(array)


def _is_one(seed: np.ndarray) -> bool:
    return seed.size == 1 and seed.item() == 1
