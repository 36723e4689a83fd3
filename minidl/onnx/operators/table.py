"""The table of operators, and how a node finds its entry."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Node

Plain = np.ndarray  # the annotation of an input that the function reads: a shape, axes, pads
MANY = 1 << 16


@dataclass(frozen=True)
class Operator:
    """What computes an ONNX operator, from the opset `since` on until a later entry takes over."""

    name: str
    since: int
    run: Callable
    inputs: int  # how many at most
    required: int
    plain: frozenset[int]  # those that arrive as NumPy arrays, whatever they are
    keywords: frozenset[str]  # the attributes that the function takes, and "count" if it asks for that
    ignores: frozenset[str]  # attributes that change nothing here
    learns: frozenset[int]  # the inputs in whose place a constant is a weight
    passes: int  # how many of its inputs it hands on, rearranged at most: weights may come through these
    macs: Callable | None  # (arrays or tensors in, output) -> multiplications
    only: Mapping[str, Collection]  # the values of attributes that are supported, where not all are

    def refusal(self, node: Node) -> str | None:
        """What the node asks for that this entry has not; None if nothing."""
        given = [i for i, name in enumerate(node.inputs) if name]
        if given and given[-1] >= self.inputs:
            return f"an input {given[-1] + 1}"
        if missing := [i for i in range(self.required) if i not in given]:
            return f"no input {missing[0] + 1}"
        if unknown := sorted({*node.attributes} - self.keywords - self.ignores):
            return f"the attribute {', '.join(unknown)}"
        for name, values in self.only.items():
            asked = node.attributes.get(name)
            if not {*(asked if isinstance(asked, list) else [asked])} <= {*values, None}:
                return f"{name}={asked!r}, of which there is {', '.join(map(repr, values))}"
        return None


OPERATORS: dict[str, list[Operator]] = {}  # by name, the newest version first


def operator(
    name: str, since: int = 1, *, learns: tuple[str, ...] = (), passes: int = 0, macs: Callable | None = None,
    only: Mapping[str, Collection] | None = None, ignores: tuple[str, ...] = (),
) -> Callable[[Callable], Callable]:  # fmt: skip
    """Decorator: the function computes ONNX's operator `name` from opset `since` on.

    Its positional parameters are the inputs, as Tensors, None where one is left out, or NumPy arrays where they are
    annotated Plain; its keywords are the attributes, and `count`, the number of outputs. It gives a Tensor, a NumPy
    array that follows from shapes alone, or a tuple of them.

    `learns`: the inputs in whose place a constant is a weight. `passes`, `macs`, `only`, `ignores`: see Operator.
    """

    def register(function: Callable) -> Callable:
        parameters = inspect.signature(function).parameters.values()
        inputs = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        places = {p.name: i for i, p in enumerate(inputs)}
        many = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        entry = Operator(
            name, since, function,
            inputs=MANY if many else len(inputs),
            required=sum(p.default is p.empty for p in inputs),
            plain=frozenset(i for i, p in enumerate(inputs) if p.annotation == "Plain"),
            keywords=frozenset(keywords), ignores=frozenset(ignores),
            learns=frozenset(places[name] for name in learns),
            passes=passes, macs=macs, only=only or {},
        )  # fmt: skip
        OPERATORS[name] = sorted([*OPERATORS.get(name, []), entry], key=lambda o: -o.since)
        return function

    return register


def find(node: Node) -> Operator | None:
    """The entry for a node's operator at its opset."""
    return next((o for o in OPERATORS.get(node.operator, ()) if o.since <= node.opset), None)


def refusals(nodes: Any) -> list[str]:
    """A line for each node that cannot run: its operator and opset, its name, and why."""
    lines = []
    for node in nodes:
        entry = find(node)
        why = "no such operator here" if entry is None else entry.refusal(node)
        if why is not None:
            lines.append(f"{node.operator} (opset {node.opset}) of node {node.name!r}: {why}")
    return lines
