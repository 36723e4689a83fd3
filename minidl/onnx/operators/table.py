"""The table of operators, and how a node finds its entry."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np

from ...core.array_function import ArrayFunction
from ...core.tensor import Tensor
from ...device import to_device
from ..graph import Graph, Node

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
    needed: frozenset[str]  # those without which it cannot run
    ignores: frozenset[str]  # attributes that change nothing here
    learns: frozenset[int]  # the inputs in whose place a constant is a weight,
    formula: bool  # except for a single number, which is part of a formula: the 3 and the 6 of hard swish
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
        if missing := sorted(self.needed - {*node.attributes}):
            return f"no attribute {', '.join(missing)}"
        if unknown := sorted({*node.attributes} - self.keywords - self.ignores):
            return f"the attribute {', '.join(unknown)}"
        for name, values in self.only.items():
            asked = node.attributes.get(name)
            if not {*(asked if isinstance(asked, list) else [asked])} <= {*values, None}:
                return f"{name}={asked!r}, of which there is {', '.join(map(repr, values))}"
        return None


OPERATORS: dict[str, list[Operator]] = {}  # by name, the newest version first


def operator(
    name: str, since: int = 1, *, learns: tuple[str, ...] = (), formula: bool = False, passes: int = 0,
    macs: Callable | None = None, only: Mapping[str, Collection] | None = None, ignores: tuple[str, ...] = (),
) -> Callable[[Callable], Callable]:  # fmt: skip
    """Decorator: the function computes ONNX's operator `name` from opset `since` on.

    Its positional parameters are the inputs, as Tensors, None where one is left out, or NumPy arrays where they are
    annotated Plain; its keywords are the attributes, and `count`, the number of outputs. It gives a Tensor, a NumPy
    array that follows from shapes alone, or a tuple of them.

    `learns`: the inputs in whose place a constant is a weight. The other options: see Operator.
    """

    def register(function: Callable) -> Callable:
        parameters = inspect.signature(function).parameters.values()
        inputs = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        places = {p.name: i for i, p in enumerate(inputs)}
        many = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        entry = Operator(
            name, since, function,
            inputs=MANY if many else len(inputs),
            required=sum(p.default is p.empty for p in inputs),
            plain=frozenset(i for i, p in enumerate(inputs) if p.annotation == "Plain"),
            keywords=frozenset(p.name for p in keywords),
            needed=frozenset(p.name for p in keywords if p.default is p.empty) - {"count"},
            ignores=frozenset(ignores),
            learns=frozenset(places[name] for name in learns), formula=formula,
            passes=passes, macs=macs, only=only or {},
        )  # fmt: skip
        OPERATORS[name] = sorted([*OPERATORS.get(name, []), entry], key=lambda o: -o.since)
        return function

    return register


def find(node: Node) -> Operator | None:
    """The entry for a node's operator at its opset."""
    return next((o for o in OPERATORS.get(node.operator, ()) if o.since <= node.opset), None)


def refusals(graph: Graph) -> list[str]:
    """A line for each thing in a graph that cannot run: of a node its operator, its opset, its name, and why."""
    lines = [f"the input {v}: no such dtype here" for v in graph.inputs if v.dtype is not None and not _known(v.dtype)]
    lines += [f"the constant {n!r}: no dtype {a.dtype} here" for n, a in graph.constants.items() if not _known(a.dtype)]
    for node in graph.nodes:
        entry = find(node)
        if entry is None:
            versions = OPERATORS.get(node.operator)
            why = f"it is here from opset {versions[-1].since} on" if versions else "no such operator here"
        else:
            why = entry.refusal(node)
        if why is not None:
            lines.append(f"{node.operator} (opset {node.opset}) of node {node.name!r}: {why}")
        for branch in node.branches.values():
            lines += refusals(branch)
    return lines


def _known(dtype: np.dtype) -> bool:
    """Is it one of NumPy's own, for numbers? Not bfloat16, float8, int4, text."""
    return dtype.kind in "fiub" and type(dtype).__module__.startswith("numpy")


def constant(array: np.ndarray, x: Tensor) -> Tensor:
    """An array as a tensor where x is."""
    return Tensor(to_device(array, x.device))


def without_derivative(function: Callable) -> Callable:
    """Decorator: a function of arrays ``f(xp, *arrays, **parameters)`` as one of Tensors, which gives a constant."""
    on_arrays = ArrayFunction(function)

    @wraps(function)
    def call(*inputs: Any, **parameters: Any) -> Any:
        found = on_arrays(*[x.data if isinstance(x, Tensor) else x for x in inputs], **parameters)
        return tuple(map(Tensor, found)) if isinstance(found, tuple) else Tensor(found)

    signature = inspect.signature(function)
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values()][1:])
    return call
