"""An expression that a user types, computed with tensors: parsed, never evaluated as code.

Allowed are numbers, names that were given a value, + - * / ** @ and brackets, calls of the functions below by their
names, with numbers as options (``sum(x, axis=0)``), and indices (``x[0]``).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ...core.tensor import Tensor, tensor
from ...ops import reduce
from ..terminal import UsageError, suggestion

OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.MatMult: operator.matmul, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
OF_F = (
    "absolute", "avg_pool", "binary_cross_entropy_with_logits", "clip", "conv", "conv_transpose", "cos",
    "cross_entropy", "elu", "exp", "flip", "global_avg_pool", "group_norm", "interpolate", "l1_loss", "leaky_relu",
    "linear", "local_response_norm", "log", "log_softmax", "logsumexp", "matmul", "max_pool", "maximum", "minimum",
    "mse_loss", "pad", "prelu", "relu", "sigmoid", "sin", "smooth_l1_loss", "soft_dice_loss", "softmax", "softplus",
    "sqrt", "tanh",
)  # fmt: skip
FUNCTIONS: dict[str, Callable] = {name: getattr(F, name) for name in OF_F} | {
    "abs": F.absolute, "sum": reduce.sum, "mean": reduce.mean, "max": reduce.max, "min": reduce.min,
    "prod": reduce.prod, "var": reduce.var, "transpose": Tensor.transpose, "reshape": Tensor.reshape,
}  # fmt: skip
LARGEST_POWER = 1e6  # of two numbers: no expression is to take for ever


def read(text: str, given: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """The value of an expression, and its tensors by name. given: NAME=VALUE texts, each a leaf.

    Raises UsageError in one line for what is not allowed, an unknown name, or a value that is not used.
    """
    tensors = dict(map(assigned, given))
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        example = "'sum((a*b + sin(a))**2)' a=0.3 b=1,2,3"
        raise UsageError(f"{text!r} is not an expression; an example: {example}") from None
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if unused := [name for name in tensors if name not in names]:
        raise UsageError(f"{unused[0]}={given[list(tensors).index(unused[0])].partition('=')[2]}: "
                         f"the expression {text!r} does not use {unused[0]}")  # fmt: skip
    with np.errstate(all="ignore"):
        value = _value(tree.body, tensors)
    if not isinstance(value, Tensor) or value.node is None:
        raise UsageError(f"{text!r} uses no name with a value: there is nothing to differentiate by; try a=0.3")
    return value, tensors


def assigned(text: str) -> tuple[str, Tensor]:
    """``b=1,2,3`` or ``W=1,2;3,4`` as a name and a leaf."""
    name, sign, values = text.partition("=")
    name = name.strip()
    if not sign or not name.isidentifier() or name in FUNCTIONS:
        raise UsageError(f"{text!r} is not NAME=VALUE, such as a=0.3, b=1,2,3 or W=1,2;3,4 (NAME no function)")
    rows = [row.split(",") for row in values.strip().strip("[]").split(";")]
    try:
        array = np.array([[float(entry) for entry in row] for row in rows])
    except ValueError:
        raise UsageError(
            f"{text!r}: {values!r} is not a number, a row such as 1,2,3 or rows of one length such as 1,2;3,4"
        ) from None
    if len(rows) == 1:
        array = array[0] if len(rows[0]) > 1 or "," in values or "[" in values else array[0, 0]
    return name, tensor(array, requires_grad=True)


def _value(node: ast.expr, tensors: dict[str, Tensor]) -> Any:
    match node:
        case ast.Constant(value=int() | float() | None | str()):
            return node.value
        case ast.Name():
            if node.id not in tensors:
                raise UsageError(f"{node.id} has no value; give it one after the expression: {node.id}=0.3")
            return tensors[node.id]
        case ast.BinOp() if type(node.op) in OPERATORS:
            return _operated(node, [_value(node.left, tensors), _value(node.right, tensors)])
        case ast.UnaryOp() if type(node.op) in OPERATORS:
            return _operated(node, [_value(node.operand, tensors)])
        case ast.Tuple() | ast.List():
            return tuple(_value(entry, tensors) for entry in node.elts)
        case ast.Subscript():
            return _value(node.value, tensors)[_index(node.slice, tensors)]
        case ast.Call(func=ast.Name(id=name)):
            if name not in FUNCTIONS:
                hint = suggestion(name, FUNCTIONS) or f"; there is {', '.join(sorted(FUNCTIONS))}"
                raise UsageError(f"{name} is not a function here{hint}")
            options = {k.arg: _value(k.value, tensors) for k in node.keywords if k.arg}
            return _called(node, FUNCTIONS[name], [_value(x, tensors) for x in node.args], options)
    raise UsageError(
        f"{ast.unparse(node)!r} is not allowed in an expression: only numbers, names, + - * / ** @, calls, indices"
    )


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


def _index(node: ast.expr, tensors: dict[str, Tensor]) -> Any:
    match node:
        case ast.Slice():
            parts = (None if p is None else _value(p, tensors) for p in (node.lower, node.upper, node.step))
            return slice(*parts)
        case ast.Tuple():
            return tuple(_index(entry, tensors) for entry in node.elts)
    return _value(node, tensors)
