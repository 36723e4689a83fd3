"""Formulas with names or numbers put in: ``a * b`` becomes ``x1 * x2``, or ``2 * 0.3``."""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np

from ..page import number
from .trace import Contribution, Step, Vertex

EXPONENTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def expression(vertex: Vertex) -> str:
    """What the vertex is in terms of its inputs' names: ``a * b``, ``relu(v1)``; its own name if it has no inputs."""
    if vertex.primitive is None:
        return vertex.name
    texts = [getattr(x, "name", None) or input_text(x) for x in vertex.inputs]
    primitive, formula = vertex.primitive, vertex.primitive.formula
    if primitive.elementwise and "(" not in formula and set("+-*/") & set(formula):  # an operator: a + b
        return substituted(formula, dict(zip(primitive.arguments, texts))) or ""
    return f"{vertex.primitive.name}({', '.join(texts)})"


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
