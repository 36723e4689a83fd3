"""Formulas with names or numbers put in: ``a * b`` becomes ``x1 * x2``, or ``2 * 0.3``."""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ..page import number
from .arrays import parameter_text
from .trace import Contribution, Step, Vertex

LONGEST = 90  # characters of an expression that a title holds
FORMULAS = {"matmul": "a @ b"}  # written as an operator, though not elementwise
EXPONENTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def expression(vertex: Vertex, texts: Mapping[Vertex, str] = MappingProxyType({})) -> str:
    """What the vertex is in terms of its inputs' names, or `texts`: ``a * b``, ``relu(v1)``; its own without inputs."""
    if vertex.primitive is None:
        return vertex.name
    inputs = [(texts.get(x) or x.name) if isinstance(x, Vertex) else input_text(x) for x in vertex.inputs]
    primitive, formula = vertex.primitive, FORMULAS.get(vertex.primitive.name, vertex.primitive.formula)
    if primitive.name == "getitem":
        index = vertex.parameters["index"]
        return f"{inputs[0]}[{', '.join(map(parameter_text, index)) if isinstance(index, tuple) else index}]"
    if (primitive.elementwise or primitive.name in FORMULAS) and "(" not in formula and set("+-*/@") & set(formula):
        return substituted(formula, dict(zip(primitive.arguments, inputs))) or ""
    return f"{primitive.name}({', '.join(inputs)}{_axis(vertex)})"


def _axis(vertex: Vertex) -> str:
    """Along which axes, where that is not all of them."""
    axis = vertex.parameters.get("axis", ())
    axes = axis if isinstance(axis, tuple) else (axis,)
    [first, *_] = vertex.inputs
    if not axes or vertex.value.ndim == 0 or len(axes) == np.ndim(getattr(first, "value", first)):
        return ""
    return f", axis={axes[0] if len(axes) == 1 else axes}"


def statement(output: Vertex, vertices: list[Vertex], named: Container[Vertex]) -> str:
    """The output in terms of leaves, constants and what else is `named`; "" if that is long, or it is a leaf."""
    texts: dict[Vertex, str] = {}
    places = {f"v{i}_": vertex.name for i, vertex in enumerate(vertices)}  # a name need not be an identifier
    for place, vertex in zip(places, vertices, strict=True):  # inputs come first
        if vertex.kind == "constant" and vertex.value.size == 1 and vertex not in named:
            texts[vertex] = number(vertex.value.item())
        elif vertex.primitive is None or (vertex is not output and vertex in named):
            texts[vertex] = place
        elif all(len(texts[x]) < LONGEST for x in vertex.inputs if isinstance(x, Vertex)):
            texts[vertex] = expression(vertex, texts)
        else:
            texts[vertex] = "…" * LONGEST
    whole = re.sub(r"v\d+_", lambda place: places[place[0]], texts[output])
    return whole if output.primitive and len(whole) < LONGEST else ""


def input_text(value: Any) -> str:
    """An input that is no tensor: a number, or None."""
    return number(value) if isinstance(value, (int, float, complex)) and not isinstance(value, bool) else str(value)


def pretty(text: str) -> str:
    """An expression as a person writes it: · for *, − for -, a raised exponent."""
    text = re.sub(r" \*\* (\d+)\b(?!\.)", lambda power: power[1].translate(EXPONENTS), text)
    return text.replace(" ** ", "^").replace(" * ", " · ").replace(" - ", " − ")


def substituted(formula: str, texts: dict[str, str]) -> str | None:
    """The formula with names replaced by expressions; None if the formula is no expression."""
    try:
        tree = ast.parse(formula, mode="eval")
    except SyntaxError:
        return None
    return ast.unparse(_Substitute(texts).visit(tree))


class _Substitute(ast.NodeTransformer):
    """Puts an expression, or a name that need not be an identifier, in the place of names."""

    def __init__(self, texts: dict[str, str]):
        self.texts = texts

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.args = [self.visit(x) for x in node.args]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        text = self.texts.get(node.id)
        if text is None:
            return node
        try:
            return ast.parse(text, mode="eval").body
        except SyntaxError:
            return ast.Name(text)


def forward_numbers(vertex: Vertex) -> str | None:
    """The forward formula with numbers: ``2 * 0.3``. None if something in it is no scalar."""
    if vertex.primitive is None or not vertex.primitive.elementwise:
        return None
    texts = _numbers(vertex)
    return None if texts is None else substituted(vertex.primitive.formula, texts)


def rule_numbers(step: Step, contribution: Contribution) -> str | None:
    """The derivative's formula with numbers: ``1 * 0.3``. None if something in it is no scalar, or it was replaced."""
    vertex = step.vertex
    if not vertex.primitive.elementwise or contribution.replaced or not contribution.formula:
        return None
    texts = _numbers(vertex)
    if texts is None or step.gradient.size != 1:
        return None
    texts |= {"g": number(step.gradient.item()), "y": number(vertex.value.item())}
    return substituted(contribution.formula, texts)


def _numbers(vertex: Vertex) -> dict[str, str] | None:
    """Each argument and parameter as a number; None if one is an array of several."""
    inputs = [getattr(x, "value", x) for x in vertex.inputs]
    values = {**dict(zip(vertex.primitive.arguments, inputs)), **vertex.parameters, "y": vertex.value}
    if any(np.size(v) != 1 for v in values.values()):
        return None
    return {name: input_text(v.item() if isinstance(v, np.ndarray) else v) for name, v in values.items()}


def for_mathml(text: str) -> str:
    """Names such as v3 with their number as an index."""
    return re.sub(r"\b([a-z])(\d+)\b", r"\1_\2", text)
