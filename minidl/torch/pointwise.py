"""Functions entry by entry, by torch's names, of the engine's values. `TABLE` is what torch.* and its tensors get."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from .. import functional as F
from ..core.context import current
from ..core.tensor import Tensor as Value
from ..core.tensor import as_array, as_tensor
from ..ops.special import arctan
from . import dtypes
from .dtypes import result_type, to_float
from .special import SPECIAL


def together(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands in their common dtype; numbers stay numbers if they do not change it."""
    if isinstance(a, Value) and isinstance(b, Value):
        if a.data.dtype == b.data.dtype:
            return a, b
    elif isinstance(b, np.ndarray | np.generic):
        return together(a, b.item() if b.ndim == 0 else Value(b))
    elif isinstance(a, np.ndarray | np.generic):
        return together(a.item() if a.ndim == 0 else Value(a), b)
    elif getattr(a, "dtype", getattr(b, "dtype", None)).kind == "f" and not isinstance(a, complex | Value) | isinstance(
        b, complex | Value
    ):
        return a, b
    kind = result_type(a, b)
    return tuple([x.astype(kind) if isinstance(x, Value) and x.dtype != kind else x for x in (a, b)])


def binary(on_values: Callable, name: str, real: bool = False) -> Callable:
    """An arithmetic operator of two tensors, or a tensor and a number, in torch's common dtype."""

    def function(input: Any, other: Any) -> Value:
        if type(other) is float and type(input) is not int and input.data.dtype.kind == "f":
            return on_values(input, other)
        input, other = together(input, other)
        if real:
            input, other = to_float(input), to_float(other)
        if not isinstance(input, Value) and not isinstance(other, Value):
            input = Value(np.asarray(input))
        return on_values(input, other)

    function.__name__ = name
    return function


def constant(on_arrays: Callable, name: str) -> Callable:
    """A function without derivative (bits, counts): of arrays, in their common dtype."""

    def function(*inputs: Any) -> Value:
        if len(inputs) == 2:
            inputs = together(*inputs)
        arrays = [as_array(x) if isinstance(x, Value) else x for x in inputs]
        if (trace := current().trace) is not None and any(map(trace.made, arrays)):
            trace.refuse(f"{name} of values is not repeated by a program; use comparisons and arithmetic")
        return Value(np.asarray(on_arrays(*arrays)))

    function.__name__ = name
    return function


def comparison(name: str) -> Callable:
    """The engine's, in the common dtype."""
    on_values = getattr(operator, name)

    def function(input: Any, other: Any) -> Value:
        return on_values(*together(input, other))

    function.__name__ = name
    return function


_add = binary(operator.add, "add")
_subtract = binary(operator.sub, "sub")
mul = binary(operator.mul, "mul")
_divide = binary(operator.truediv, "div", real=True)


def add(input: Any, other: Any, *, alpha: Any = 1) -> Value:
    if alpha == 1 and isinstance(input, Value) and isinstance(other, Value) and input.dtype == other.dtype == bool:
        return Value(input.data | other.data)
    return _add(input, other if alpha == 1 else mul(as_tensor(other), alpha))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Value:
    return _subtract(input, other if alpha == 1 else mul(as_tensor(other), alpha))


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Value:
    return _subtract(other, input if alpha == 1 else mul(input, alpha))


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode is None:
        return _divide(input, other)
    return floor_divide(input, other) if rounding_mode == "floor" else _whole(input, other, np.trunc)


def _whole(input: Any, other: Any, rounding: Callable) -> Value:
    input, other = together(input, other)
    kind = result_type(input, other)
    if kind.kind == "f":
        return (F.floor if rounding is np.floor else F.trunc)(as_tensor(input / other))
    a, b = as_array(input), as_array(other)
    return Value(np.asarray(a // b if rounding is np.floor else (abs(a) // abs(b)) * np.sign(a) * np.sign(b), kind))


def floor_divide(input: Any, other: Any) -> Value:
    return _whole(input, other, np.floor)


def remainder(input: Any, other: Any) -> Value:
    """What is left of the division, with the sign of `other`."""
    input, other = together(input, other)
    if result_type(input, other).kind != "f":
        return Value(np.asarray(as_array(input) % as_array(other)))
    return input - F.floor(as_tensor(input / other)) * other


def fmod(input: Any, other: Any) -> Value:
    """What is left of the division, with the sign of `input`."""
    input, other = together(input, other)
    if result_type(input, other).kind != "f":
        return Value(np.fmod(as_array(input), as_array(other)))
    return input - F.trunc(as_tensor(input / other)) * other


def pow(input: Any, exponent: Any) -> Value:
    if isinstance(exponent, int | float) and isinstance(input, Value):
        if isinstance(exponent, float):
            input = to_float(input)
        return input**exponent
    a, b = together(input, exponent)
    return a**b


def float_power(input: Any, exponent: Any) -> Value:
    a, b = (x.astype(np.float64) if isinstance(x, Value) else float(x) for x in (input, exponent))
    return a**b


def square(input: Value) -> Value:
    return input * input


def rsqrt(input: Value) -> Value:
    return 1 / F.sqrt(to_float(input))


def reciprocal(input: Value) -> Value:
    return 1 / to_float(input)


def neg(input: Value) -> Value:
    return -input


def positive(input: Value) -> Value:
    return input


def exp2(input: Value) -> Value:
    return F.exp(to_float(input) * math.log(2))


def log2(input: Value) -> Value:
    return F.log(to_float(input)) / math.log(2)


def log10(input: Value) -> Value:
    return F.log(to_float(input)) / math.log(10)


def tan(input: Value) -> Value:
    return F.sin(to_float(input)) / F.cos(to_float(input))


def sinh(input: Value) -> Value:
    x = to_float(input)
    return (F.expm1(x) - F.expm1(-x)) / 2


def cosh(input: Value) -> Value:
    x = to_float(input)
    return (F.exp(x) + F.exp(-x)) / 2


def asin(input: Value) -> Value:
    x = to_float(input)
    return arctan(x / F.sqrt((1 - x) * (1 + x)))


def acos(input: Value) -> Value:
    x = to_float(input)
    return 2 * arctan(F.sqrt((1 - x) / (1 + x)))


def atan(input: Value) -> Value:
    return arctan(to_float(input))


def atan2(input: Value, other: Any) -> Value:
    """The angle of the point (other, input), between -pi and pi."""
    y, x = map(to_float, together(input, other))
    x = as_tensor(x)
    origin, upright = (x == 0) & (y == 0), abs(x) < abs(y)
    flat = arctan(y / F.where(upright | origin, 1.0, x))
    steep = F.where(y > 0, math.pi / 2, -math.pi / 2) - arctan(x / F.where(upright, y, 1.0))
    flat = flat + F.where(x < 0, F.where(y < 0, -math.pi, math.pi), 0.0)
    return F.where(upright, steep, flat).astype(x.dtype)


def asinh(input: Value) -> Value:
    x = to_float(input)
    return F.sign(x) * F.log(abs(x) + F.sqrt(x * x + 1))


def acosh(input: Value) -> Value:
    x = to_float(input)
    return F.log(x + F.sqrt(x * x - 1))


def atanh(input: Value) -> Value:
    x = to_float(input)
    return 0.5 * F.log1p(2 * x / (1 - x))


def frac(input: Value) -> Value:
    return input - F.trunc(input)


def logit(input: Value, eps: float | None = None) -> Value:
    p = to_float(input) if eps is None else F.clip(to_float(input), eps, 1 - eps)
    return F.log(p / (1 - p))


def round(input: Value, *, decimals: int = 0) -> Value:
    return F.round(input, decimals)


def clamp(input: Value, min: Any = None, max: Any = None) -> Value:
    if isinstance(min, Value) or isinstance(max, Value):
        input = input if min is None else maximum(input, min)
        return input if max is None else minimum(input, max)
    if input.dtype.kind in "iu" and any(isinstance(b, float) for b in (min, max)):
        input = to_float(input)
    return F.clip(input, min, max)


def clamp_min(input: Value, min: Any) -> Value:
    return clamp(input, min=min)


def clamp_max(input: Value, max: Any) -> Value:
    return clamp(input, max=max)


maximum = binary(F.maximum, "maximum")
minimum = binary(F.minimum, "minimum")


def where(condition: Value, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, other elsewhere; the condition alone: where it holds, an array per dimension."""
    if input is None:
        return tuple([Value(i) for i in condition.data.nonzero()])
    kind = result_type(input, other)
    a, b = (x.astype(kind) if isinstance(x, Value) else np.asarray(x, kind) for x in (input, other))
    return F.where(condition, a, b).astype(kind)


def lerp(input: Value, end: Any, weight: Any) -> Value:
    return input + weight * (end - input)


def addcmul(input: Value, tensor1: Value, tensor2: Value, *, value: Any = 1) -> Value:
    return input + value * tensor1 * tensor2


def addcdiv(input: Value, tensor1: Value, tensor2: Value, *, value: Any = 1) -> Value:
    return input + value * (tensor1 / tensor2)


def hypot(input: Value, other: Value) -> Value:
    return F.sqrt(input * input + other * other)


def logaddexp(input: Value, other: Value) -> Value:
    larger = Value(np.maximum(input.data, other.data))
    return larger + F.log(F.exp(input - larger) + F.exp(other - larger))


def xlogy(input: Any, other: Any) -> Value:
    a, b = (to_float(as_tensor(x)) for x in (input, other))
    return F.where(a == 0, 0.0, a * F.log(F.where(a == 0, 1.0, b)))


def nan_to_num(input: Value, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Value:
    limits = np.finfo(input.dtype)
    high, low = (limits.max if posinf is None else posinf), (limits.min if neginf is None else neginf)
    x = input.data
    y = F.where(np.isnan(x), nan, input)
    return F.where(x == np.inf, float(high), F.where(x == -np.inf, float(low), y))


def deg2rad(input: Value) -> Value:
    return to_float(input) * (math.pi / 180)


def rad2deg(input: Value) -> Value:
    return to_float(input) * (180 / math.pi)


def heaviside(input: Value, values: Value) -> Value:
    return Value(np.heaviside(input.data, values.data))


def copysign(input: Value, other: Any) -> Value:
    return abs(input) * Value(np.copysign(np.ones((), input.dtype), as_array(other)))


def sinc(input: Value) -> Value:
    x = to_float(input) * math.pi
    zero = x == 0
    return F.where(zero, 1.0, F.sin(x) / F.where(zero, 1.0, x))


def abs_(input: Value) -> Value:
    return abs(input)


def isclose(input: Value, other: Value, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Value:
    return Value(np.isclose(input.data, other.data, rtol, atol, equal_nan))


def _on_floats(function: Callable) -> Callable:
    """A function of real numbers: integers count as torch's default dtype."""

    @wraps(function)
    def of_input(input: Value) -> Value:
        return function(to_float(input))

    return of_input


def _also_of_integers(function: Callable) -> Callable:
    """A rounding: integers are round."""

    @wraps(function)
    def of_input(input: Value) -> Value:
        return input if input.data.dtype.kind in "iub" else function(input)

    return of_input


def ldexp(input: Value, other: Value) -> Value:
    return to_float(input) * Value(np.exp2(as_array(other), dtype=np.float64).astype(to_float(input).dtype))


def angle(input: Value) -> Value:
    x = to_float(input)
    return Value(np.angle(x.data)) if x.dtype.kind == "c" else F.where(x < 0, math.pi, 0.0).astype(x.dtype)


def conj(input: Value) -> Value:
    return Value(input.data.conj()) if input.dtype.kind == "c" else input


COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
TABLE: dict[str, Callable] = {
    **{n: _on_floats(getattr(F, n)) for n in ("exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "erf", "erfc",
                                              "expm1", "log1p")},
    **{n: _also_of_integers(getattr(F, n)) for n in ("floor", "ceil", "trunc")},
    **{f.__name__: f for f in (
        add, sub, rsub, mul, div, floor_divide, remainder, fmod, pow, float_power, square, rsqrt, reciprocal, neg,
        positive, exp2,
        log2, log10, tan, sinh, cosh, asin, acos, atan, atan2, asinh, acosh, atanh, frac, logit, round, clamp,
        clamp_min,
        clamp_max, maximum, minimum, lerp, addcmul, addcdiv, hypot, logaddexp, xlogy, nan_to_num, deg2rad, rad2deg,
        heaviside, copysign, sinc, isclose, ldexp, angle, conj,
    )},
    **SPECIAL,
    "abs": abs_, "sign": F.sign, "relu": F.relu, "where": where,
    "subtract": sub, "multiply": mul, "divide": div, "true_divide": div, "negative": neg, "absolute": abs_,
    "fix": F.trunc,
    "clip": clamp, "arcsin": asin, "arccos": acos, "arctan": atan, "arctan2": atan2, "sgn": F.sign,
    "fmax": maximum, "fmin": minimum,
    **{n: comparison(n) for n in COMPARISONS},
    **{n: comparison(of) for n, of in {"greater": "gt", "less": "lt", "not_equal": "ne", "greater_equal": "ge",
                                       "less_equal": "le"}.items()},
    **{f"logical_{n}": constant(getattr(np, f"logical_{n}"), n) for n in ("and", "or", "xor", "not")},
    "bitwise_and": constant(operator.and_, "and"), "bitwise_or": constant(operator.or_, "or"),
    "bitwise_xor": constant(operator.xor, "xor"), "bitwise_not": constant(operator.inv, "not"),
    "bitwise_left_shift": constant(operator.lshift, "shift"),
    "bitwise_right_shift": constant(operator.rshift, "shift"),
    **{n: constant(getattr(np, n), n) for n in ("nextafter", "isnan", "isinf", "isfinite", "signbit", "gcd", "lcm")},
}  # fmt: skip
FUNCTIONS_ONLY = {"where"}  # their first argument is no tensor to be a method of, or of another order
__all__ = ["TABLE", "dtypes"]
