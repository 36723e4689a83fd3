"""Batch normalisation, forward and backward, as affine maps per channel: y = (x - high) * slope + shift.

The mean is split into ``high + low``, high in the dtype of x, so that x - high is exact where x is close to the mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import norm
from . import channels

FEW = 1 << 13  # entries of an array: with fewer, the definition is as fast


def moments(x: np.ndarray) -> Any:
    return channels.moments(x) if _takes(x) else NotImplemented


def training(
    x: Any, weight: Any, bias: Any, *, eps: float, statistics: Any = None, relu: bool = False, shortcut: Any = None
) -> Any:
    """`shortcut`, of the shape and dtype of the result, is added to it before the relu."""
    if not _takes(x):
        return NotImplemented
    return channels.affine(*_coefficients(x, weight, bias, *(statistics or norm.moments(x)), eps), relu, shortcut)


def training_backward(
    g: Any, y: Any, x: Any, weight: Any, bias: Any, *,
    needed: list[bool], eps: float, statistics: Any = None, relu: bool = False, whole: Any = None,
) -> Any:
    if not _takes(x):
        return NotImplemented
    mean, var = statistics or norm.moments(x)
    high, low = _split(mean, x.dtype)
    sum_g, sum_gx, g = channels.sums(g, x, high, _gate(x, weight, bias, mean, var, eps) if relu else None)
    sum_gx -= low * sum_g  # sum of g * (x - mean)
    inverse = 1 / np.sqrt(var + eps)
    gx = None
    if needed[0]:  # gx = k * (g + slope * (x - mean) - mean of g)
        n, all_g, all_gx = (whole or norm.whole_batch)(x, sum_g, sum_gx)
        slope = -(inverse**2) * all_gx / n
        k = inverse if weight is None else inverse * weight
        gx = channels.gradient(g, x, high, slope, -all_g / n - slope * low, k)
    return gx, *norm.affine_gradients(y, inverse * sum_gx, sum_g, needed)


def evaluation(x: Any, weight: Any, bias: Any, *, mean: Any, var: Any, eps: float, relu: bool = False) -> Any:
    if not _takes(x):
        return NotImplemented
    return channels.affine(*_coefficients(x, weight, bias, mean, var, eps), relu)


def evaluation_backward(
    g: Any, y: Any, x: Any, weight: Any, bias: Any, *,
    needed: list[bool], mean: Any, var: Any, eps: float, relu: bool = False,
) -> Any:
    if not _takes(x):
        return NotImplemented
    inverse = 1 / np.sqrt(var + eps)
    k = inverse if weight is None else inverse * weight
    sum_g = sum_gx = None
    if relu or needed[1] or needed[2]:
        high, low = _split(mean, x.dtype)
        sum_g, sum_gx, g = channels.sums(g, x, high, _gate(x, weight, bias, mean, var, eps) if relu else None)
        sum_gx = inverse * (sum_gx - low * sum_g)
    gx = channels.scaled(g, k) if needed[0] else None
    return gx, *norm.affine_gradients(y, sum_gx, sum_g, needed)


def _takes(x: Any) -> bool:
    return x.size >= FEW and x.dtype in (np.float32, np.float64)  # not half precision: it would add up in half


def _split(mean: Any, dtype: Any) -> tuple[Any, Any]:
    """`mean` as ``high + low``, high in `dtype`."""
    high = mean.astype(dtype)
    return high, mean - high


def _gate(*arguments: Any) -> tuple[Any, Any]:
    """The slope and the shift of `_coefficients`."""
    _, _, slope, shift, _ = _coefficients(*arguments)
    return slope, shift


def _coefficients(x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> tuple:
    """What `channels.affine` takes to do as `norm.standardise`, in the precision of the inputs but for the mean."""
    high, low = _split(mean, x.dtype)
    slope = 1 / np.sqrt(var + eps) * (1 if weight is None else weight)
    shift = -low * slope + (0 if bias is None else bias)
    return x, high, slope, shift, norm.common_dtype(x, weight, bias)
