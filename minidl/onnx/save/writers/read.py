"""What `load_onnx` has functions of its own for is written as what was read."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import same_operator, writer

same_operator({"truncated_quotient": "Div", "integer_power": "Pow"})


@writer("first_largest")
def first_largest(g: Any, x: Any, *, axis: int) -> Any:
    return g.Hardmax(x, axis=axis)


@writer("remainder")
def remainder(g: Any, a: Any, b: Any, *, like_c: bool) -> Any:
    return g.Mod(g.cast(a, g.out.dtype), g.cast(b, g.out.dtype), fmod=int(like_c))


@writer("shifted_bits")
def shifted_bits(g: Any, a: Any, b: Any, *, left: bool) -> Any:
    return g.BitShift(g.cast(a, g.out.dtype), g.cast(b, g.out.dtype), direction="LEFT" if left else "RIGHT")


@writer("is_nan")
def is_nan(g: Any, x: Any) -> Any:
    return g.IsNaN(x)


@writer("infinite")
def infinite(g: Any, x: Any, *, positive: Any, negative: Any) -> Any:
    return g.IsInf(x, detect_positive=int(positive), detect_negative=int(negative))


@writer("quantized")
def quantized(g: Any, x: Any, *, scale: Any, zero: Any, dtype: Any) -> Any:
    limits = np.iinfo(dtype)
    steps = g.Add(g.Round(g.Div(x, g.cast(scale, x.dtype))), g.cast(zero, x.dtype))
    return g.cast(g.Clip(steps, float(limits.min), float(limits.max)), dtype)
