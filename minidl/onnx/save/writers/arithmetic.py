"""Entry by entry: arithmetic, functions, activations, comparisons, choices, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Value
from .table import same_operator, writer

same_operator({
    "add": "Add", "subtract": "Sub", "negative": "Neg", "multiply": "Mul", "divide": "Div", "power": "Pow",
    "maximum": "Max", "minimum": "Min", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos",
    "absolute": "Abs", "sign": "Sign", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softplus": "Softplus",
    "erf": "Erf", "arctan": "Atan", "prelu": "PRelu", "matmul": "MatMul", "det": "Det",
})  # fmt: skip


@writer("identity", "to", "copied", "hooked")
def identity(g: Any, x: Any, **options: Any) -> Any:
    return g.Identity(g.cast(x, g.out.dtype))


@writer("astype", "cast")
def astype(g: Any, x: Any, *, dtype: Any) -> Any:
    return g.cast(x, dtype)


def _rounding(operator: str) -> Any:
    def write(g: Any, x: Any) -> Any:
        if x.dtype.kind != "f":
            return g.Identity(x)
        if operator == "Trunc":
            return g.Mul(g.Sign(x), g.Floor(g.Abs(x)))
        return g.node(operator, x)

    return write


for _name in ("floor", "ceil", "round", "trunc"):
    writer(_name)(_rounding(_name.capitalize()))


@writer("clip")
def clip(g: Any, x: Any, *, low: Any, high: Any) -> Any:
    x = g.cast(x, g.out.dtype)
    return g.Clip(x, low, high) if low is not None or high is not None else g.Identity(x)


@writer("held_between")
def held_between(g: Any, x: Any, *, low: Any, high: Any) -> Any:
    return g.And(g.Greater(x, low), g.Less(x, high)), g.Clip(x, low, high)


@writer("leaky_relu")
def leaky_relu(g: Any, x: Any, *, slope: float) -> Any:
    return g.LeakyRelu(g.cast(x, g.out.dtype), alpha=float(slope))


@writer("elu")
def elu(g: Any, x: Any, *, alpha: float) -> Any:
    return g.Elu(x, alpha=float(alpha))


@writer("gated")
def gated(g: Any, x: Any, *, gate: Any, slope: float = 0) -> Any:
    gate = g.value(gate)
    positive = gate if gate.dtype == bool else g.Greater(gate, 0)
    return g.Where(positive, x, g.Mul(x, slope) if slope else g.value(0, x.dtype))


@writer("erfc")
def erfc(g: Any, x: Any) -> Any:
    return g.Sub(g.value(1, x.dtype), g.Erf(x))


@writer("expm1")
def expm1(g: Any, x: Any) -> Any:
    """exp(x) - 1, near 0 as ``2 t / (1 - t)`` with t = tanh(x / 2), which keeps its last digits."""
    t = g.Tanh(g.Mul(x, 0.5))
    near = g.Div(g.Mul(t, 2.0), g.Sub(g.value(1, x.dtype), t))
    return g.Where(g.Less(g.Abs(x), 1.0), near, g.Sub(g.Exp(x), 1.0))


@writer("log1p")
def log1p(g: Any, x: Any) -> Any:
    """log(u), u = 1 + x, times ``x / (u - 1)``, which is 1 but for the rounding of u (Kahan; Goldberg 1991, th. 4)."""
    u = g.Add(x, 1.0)
    excess = g.Sub(u, 1.0)
    simple = g.Or(g.Equal(excess, 0.0), g.IsInf(excess))
    scaled = g.Mul(g.Log(u), g.Div(x, g.Where(simple, g.value(1, x.dtype), excess)))
    return g.Where(g.Equal(excess, 0.0), x, g.Where(g.IsInf(excess), g.Log(u), scaled))


# --- comparisons, masks, choices


def _comparison(operator: str, negated: bool = False) -> Any:
    def write(g: Any, a: Any, b: Any) -> Any:
        dtype = np.result_type(*[x.dtype if isinstance(x, Value | np.ndarray) else x for x in (a, b)])
        a, b = (g.cast(x, dtype) for x in (a, b))
        if operator == "Equal" or dtype.kind != "b":
            y = g.node(operator, a, b)
        else:  # bits are compared as numbers
            y = g.node(operator, g.cast(a, np.int32), g.cast(b, np.int32))
        return g.Not(y) if negated else y

    return write


for _name, _operator in {"lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}.items():
    writer(_name)(_comparison(_operator))
writer("eq", "equal")(_comparison("Equal"))
writer("ne")(_comparison("Equal", negated=True))


def _logic(name: str) -> Any:
    def write(g: Any, a: Any, b: Any) -> Any:
        return g.node(name if g.out.dtype == bool else f"Bitwise{name}", *[g.cast(x, g.out.dtype) for x in (a, b)])

    return write


for _name in ("and", "or", "xor"):
    writer(_name)(_logic(_name.capitalize()))


@writer("inverted")
def inverted(g: Any, x: Any) -> Any:
    return g.Not(x) if x.dtype == bool else g.BitwiseNot(x)


@writer("where")
def where(g: Any, a: Any, b: Any, *, condition: Any) -> Any:
    return g.Where(g.cast(condition, bool), g.cast(a, g.out.dtype), g.cast(b, g.out.dtype))


@writer("full", dependent=("shape",))
def full(g: Any, *, shape: tuple, value: Any, dtype: Any) -> Any:
    return g.Expand(g.cast(value, dtype), g.ints(shape))


@writer("one_hot_rows")
def one_hot_rows(g: Any, target: Any, *, classes: int) -> Any:
    rows = g.Equal(g.Unsqueeze(g.cast(target, np.int64), np.array([-1])), np.arange(classes))
    return g.cast(rows, np.int64)


# --- products


@writer("linear")
def linear(g: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    """``x @ weight.T + bias``"""
    return g.Gemm(*[None if v is None else g.cast(v, g.out.dtype) for v in (x, weight, bias)], transB=1)


@writer("matmul_along_axis")
def matmul_along_axis(g: Any, x: Any, *, axis: int, matrix: Any) -> Any:
    x, rank = g.cast(x, g.out.dtype), len(x.shape)
    if axis == rank - 2:
        return g.MatMul(g.cast(matrix, x.dtype), x)
    computed = isinstance(matrix, Value)
    transposed = g.cast(g.Transpose(matrix, perm=[1, 0]) if computed else matrix.T, x.dtype)
    if axis == rank - 1:
        return g.MatMul(x, transposed)
    order = [a for a in range(rank) if a != axis] + [axis]
    y = g.MatMul(g.Transpose(x, perm=order), transposed)
    return g.Transpose(y, perm=[order.index(a) for a in range(rank)])
