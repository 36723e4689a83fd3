"""The expressions of a command line, one language for all commands: parsed, never evaluated as code.

Allowed are numbers, names, + - * / ** @ and brackets, functions by their names (``relu(x)``, ``F.relu(x)``) with
options (``sum(x, axis=0)``), methods and sizes of tensors (``x.sum()``, ``x.shape[0]``), and indices (``x[0]``).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor
from ..ops import reduce
from .terminal import UsageError, suggestion

OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.MatMult: operator.matmul, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
FUNCTIONS: dict[str, Callable] = {name: getattr(F, name) for name in F.__all__} | {
    "abs": F.absolute, "sum": reduce.sum, "mean": reduce.mean, "max": reduce.max, "min": reduce.min,
    "prod": reduce.prod, "var": reduce.var, "transpose": Tensor.transpose, "reshape": Tensor.reshape,
}  # fmt: skip
SIZES = ("T", "ndim", "shape", "size")
METHODS = (
    "abs", "astype", "broadcast_to", "clip", "detach", "exp", "expand_dims", "log", "logsumexp", "max", "mean", "min",
    "prod", "relu", "reshape", "sigmoid", "sqrt", "squeeze", "sum", "swapaxes", "tanh", "transpose", "var",
)  # fmt: skip
LARGEST_POWER = 1e6  # of two numbers: no expression is to take for ever
ALLOWED = (
    ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.List, ast.Subscript, ast.Slice, ast.Call,
    ast.keyword, ast.Attribute, ast.operator, ast.unaryop, ast.expr_context,
)  # fmt: skip
EXAMPLE = "'sum((a*b + sin(a))**2)' a=0.3 b=1,2,3"


class Expression:
    """An expression of ``names``, in the order in which they stand in it.

    Raises UsageError, in one line, for what is not allowed and, later, for what cannot be computed.
    """

    def __init__(self, text: str):
        self.text = text
        try:
            self.tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise UsageError(f"{text!r} is not an expression; an example: {EXAMPLE}") from None
        for node in ast.walk(self.tree):
            if not isinstance(node, ALLOWED):
                raise _refusal(node)
        self.names = tuple(dict.fromkeys(_names(self.tree)))

    def value(self, values: dict[str, Any]) -> Any:
        """The value, given one for each name."""
        with np.errstate(all="ignore"):
            return _value(self.tree, values)


def _names(node: ast.AST) -> Iterator[str]:
    """The names that need a value: all but those of functions."""
    if isinstance(node, ast.Name):
        yield node.id
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.Call) and child is node.func and _function(child)):
            yield from _names(child)


def _function(node: ast.expr) -> str:
    """NAME, where a call is one of ``NAME(...)`` or ``F.NAME(...)``; else ""."""
    match node:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="F"), attr=name):
            return name
    return ""


def _value(node: ast.expr, values: dict[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() | None | str()):
            return node.value
        case ast.Name():
            return values[node.id]
        case ast.BinOp() if type(node.op) in OPERATORS:
            return _operated(node, [_value(node.left, values), _value(node.right, values)])
        case ast.UnaryOp() if type(node.op) in OPERATORS:
            return _operated(node, [_value(node.operand, values)])
        case ast.Tuple() | ast.List():
            return tuple(_value(entry, values) for entry in node.elts)
        case ast.Subscript():
            return _called(node, operator.getitem, [_value(node.value, values), _index(node.slice, values)], {})
        case ast.Attribute(attr=name) if name in SIZES:
            return getattr(_value(node.value, values), name)
        case ast.Call(func=ast.Name() | ast.Attribute()):
            options = {k.arg: _value(k.value, values) for k in node.keywords if k.arg}
            return _called(node, _callee(node.func, values), [_value(x, values) for x in node.args], options)
    raise _refusal(node)


def _callee(node: ast.Name | ast.Attribute, values: dict[str, Any]) -> Callable:
    """The function, or the method of a tensor, that a call names."""
    if name := _function(node):
        if name not in FUNCTIONS:
            raise UsageError(f"{name} is not a function here{_known(name, FUNCTIONS)}")
        return FUNCTIONS[name]
    value = _value(node.value, values)
    if node.attr not in METHODS or not isinstance(value, Tensor):
        raise UsageError(f"{ast.unparse(node)} is not a method of a tensor here{_known(node.attr, METHODS)}")
    return getattr(value, node.attr)


def _known(name: str, names: Iterable[str]) -> str:
    return suggestion(name, names) or f"; there is {', '.join(sorted(names))}"


def _refusal(node: ast.AST) -> UsageError:
    allowed = "only numbers, names, + - * / ** @, functions, methods, indices; else FILE.py:FUNCTION"
    return UsageError(f"{ast.unparse(node)!r} is not allowed in an expression: {allowed}")


def _operated(node: ast.BinOp | ast.UnaryOp, values: list) -> Any:
    if isinstance(node.op, ast.Pow) and not any(isinstance(v, Tensor) for v in values):
        values = [float(v) if isinstance(v, (int, float)) else v for v in values]
        if any(abs(v) > LARGEST_POWER for v in values if isinstance(v, float)):
            raise UsageError(f"{ast.unparse(node)!r} is a power of numbers beyond {LARGEST_POWER:g}")
    return _called(node, OPERATORS[type(node.op)], values, {})


def _called(node: ast.expr, function: Callable, values: list, options: dict) -> Any:
    """The call; what it raises becomes one line that says where."""
    try:
        return function(*values, **options)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{ast.unparse(node)}: {error}") from error


def _index(node: ast.expr, values: dict[str, Any]) -> Any:
    match node:
        case ast.Slice():
            parts = (None if p is None else _value(p, values) for p in (node.lower, node.upper, node.step))
            return slice(*parts)
        case ast.Tuple():
            return tuple(_index(entry, values) for entry in node.elts)
    return _value(node, values)
