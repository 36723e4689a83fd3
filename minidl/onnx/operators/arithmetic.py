"""Arithmetic of values that broadcast, comparisons, and functions of single entries that are no activations."""

from __future__ import annotations

import functools
import math

import numpy as np

from ... import functional as F
from ...core.tensor import Tensor
from ...ops import arithmetic, rounding
from .table import Plain, operator, without_derivative

LEARNS = {"learns": ("a", "b"), "formula": True}
DTYPES = {  # by ONNX's names, in lower case
    "float": "float32", "double": "float64", "float16": "float16", "bool": "bool", "int8": "int8", "int16": "int16",
    "int32": "int32", "int64": "int64", "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
}  # fmt: skip


# --- two values


operator("Add", **LEARNS)(arithmetic.add)
operator("Sub", **LEARNS)(arithmetic.subtract)
operator("Mul", **LEARNS)(arithmetic.multiply)


@operator("Div", **LEARNS)
def divide(a, b):
    return arithmetic.divide(a, b) if a.dtype.kind == "f" else truncated_quotient(a, b)


@without_derivative
def truncated_quotient(xp, a, b):
    """Of integers, towards 0."""
    quotient = a // b
    return (quotient + ((quotient < 0) & (quotient * b != a))).astype(a.dtype)


@operator("Pow", **LEARNS)
def power(a, b):
    if a.dtype.kind != "f":
        return integer_power(a, b)
    return arithmetic.power(a, b if b.dtype == a.dtype else b.astype(a.dtype))


@without_derivative
def integer_power(xp, a, b):
    return (a**b).astype(a.dtype)


@operator("Mod")
def mod(a, b, *, fmod=0):
    rest = remainder(a, b, like_c=bool(fmod))
    if a.dtype.kind != "f":
        return rest
    turns = F.round((a.detach() - rest) / b.detach())
    return a - b * turns if a.requires_grad or b.requires_grad else rest


@without_derivative
def remainder(xp, a, b, *, like_c):
    return (xp.fmod if like_c else xp.mod)(a, b)


def fold(function):
    """A function of two values as one of many."""
    return lambda *values: functools.reduce(function, values)


operator("Max")(fold(F.maximum))
operator("Min")(fold(F.minimum))
operator("Sum")(fold(arithmetic.add))


@operator("Mean")
def mean(*values):
    return functools.reduce(arithmetic.add, values) / len(values)


# --- comparisons, logic, bits: no derivatives


operator("Equal")(lambda a, b: a == b)
operator("Less")(lambda a, b: a < b)
operator("Greater")(lambda a, b: a > b)
operator("LessOrEqual")(lambda a, b: a <= b)
operator("GreaterOrEqual")(lambda a, b: a >= b)
for name in ("", "Bitwise"):
    operator(f"{name}And")(lambda a, b: a & b)
    operator(f"{name}Or")(lambda a, b: a | b)
    operator(f"{name}Xor")(lambda a, b: a ^ b)
    operator(f"{name}Not")(lambda a: ~a)


@operator("BitShift", only={"direction": ("LEFT", "RIGHT")})
def bit_shift(a, b, *, direction):
    return shifted_bits(a, b, left=direction == "LEFT")


@without_derivative
def shifted_bits(xp, a, b, *, left):
    return (xp.left_shift if left else xp.right_shift)(a, b)


@operator("IsNaN")
@without_derivative
def is_nan(xp, x):
    return xp.isnan(x)


@operator("IsInf")
def is_inf(x, *, detect_negative=1, detect_positive=1):
    return infinite(x, positive=bool(detect_positive), negative=bool(detect_negative))


@without_derivative
def infinite(xp, x, *, positive, negative):
    return (x == math.inf) & positive | (x == -math.inf) & negative


@operator("Where", **LEARNS)
def where(condition, a, b):
    return F.where(condition, a, b)


# --- one value


for name, function in {
    "Abs": F.absolute, "Neg": arithmetic.negative, "Exp": F.exp, "Log": F.log, "Sqrt": F.sqrt, "Sin": F.sin,
    "Cos": F.cos, "Tanh": F.tanh, "Erf": F.erf, "Sign": F.sign, "Ceil": F.ceil, "Floor": F.floor,
    "Round": rounding.round_p, "Atan": F.arctan,
}.items():  # fmt: skip
    operator(name)(function)


@operator("Reciprocal")
def reciprocal(x):
    return 1 / x


@operator("Tan")
def tan(x):
    return F.sin(x) / F.cos(x)


@operator("Asin")
def arcsin(x):
    return F.arctan(x / F.sqrt(1 - x * x))


@operator("Acos")
def arccos(x):
    return math.pi / 2 - arcsin(x)


@operator("Sinh")
def sinh(x):
    e = F.expm1(x)
    return (e + e / (e + 1)) / 2


@operator("Cosh")
def cosh(x):
    return (F.exp(x) + F.exp(-x)) / 2


@operator("Asinh")
def asinh(x):
    return F.sign(x) * F.log(F.absolute(x) + F.sqrt(x * x + 1))


@operator("Acosh")
def acosh(x):
    return F.log(x + F.sqrt(x * x - 1))


@operator("Atanh")
def atanh(x):
    return (F.log1p(x) - F.log1p(-x)) / 2


@operator("Cast", only={"to": DTYPES}, ignores=("saturate", "round_mode"))
def cast(x, *, to):
    return x if x.dtype == DTYPES[to] else x.astype(np.dtype(DTYPES[to]))


@operator("CastLike", ignores=("saturate", "round_mode"))
def cast_like(x, like):
    return x if x.dtype == like.dtype else x.astype(like.dtype)


@operator("Identity", passes=1)
def identity(x):
    return x


@operator("Dropout", since=12, ignores=("seed",))
def dropout(x, ratio: Plain = None, training_mode: Plain = None, *, count=1):
    if training_mode is not None and training_mode and (ratio is None or ratio > 0):
        raise ValueError("it drops entries at random (training_mode is true); export the network for inference")
    return (x, Tensor(np.ones(x.shape, bool))) if count > 1 else x


@operator("Dropout", ignores=("ratio", "seed", "is_test"))
def dropout_7(x, *, count=1):
    return (x, x.ones_like()) if count > 1 else x


@operator("Clip", since=11)
def clip(x, low: Plain = None, high: Plain = None):
    return F.clip(x, low, high)


@operator("Clip")
def clip_6(x, *, min=-3.4028234663852886e38, max=3.4028234663852886e38):
    return F.clip(x, min, max)
