"""Normalisation of each example alone: layer, instance and root mean square. (Group normalisation is in norm.py.)"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.context import current
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from .elementwise import sqrt
from .norm import batch_norm, batch_norm_p, blend, check_channels, check_eps, moments, scaled
from .reduce import mean
from .shape import narrowed, reshape, widened


def layer_norm(
    x: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, *,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``, mean and (biased) var over the last axes of x.

    `normalized_shape` names the lengths of these axes, an int the last one's; weight and bias have that shape, or are
    None. It is batch normalisation of one image whose channels are the examples, and a scale after it. Raises
    ValueError for shapes that do not fit.
    Source: Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450, eq. 3 and 4.
    """
    x = as_tensor(x)
    shape = _last_axes("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    check_eps("layer_norm", eps)
    rows = math.prod(x.shape[: x.ndim - len(shape)])
    y = x
    if x.size:
        y = reshape(x, (1, rows, x.size // rows))  # (*, *shape) -> (1, examples, entries)
        y = reshape(batch_norm_p(y, None, None, eps=eps), x.shape)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rms_norm(
    x: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, *, eps: float | None = None
) -> Tensor:
    """``y = x / sqrt(mean of x^2 + eps) * weight``, the mean over the last axes of x.

    `normalized_shape` names the lengths of these axes, an int the last one's; weight has that shape, or is None. eps is
    the spacing of numbers at 1 if it is None. Half precision is squared and averaged in single. Raises ValueError for
    shapes that do not fit.
    Source: Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019, eq. 4.
    """
    x = as_tensor(x)
    shape = _last_axes("rms_norm", x, normalized_shape, weight=weight)
    wide = widened(x)
    eps = float(np.finfo(wide.dtype).eps) if eps is None else eps
    check_eps("rms_norm", eps)
    square = mean(wide * wide, tuple(range(-len(shape), 0)), keepdims=True) if x.size else 0.0 * wide
    y = narrowed(wide / sqrt(square + eps), x)
    return y if weight is None else y * weight


def _last_axes(name: str, x: Tensor, normalized_shape: Any, **arrays: Any) -> tuple[int, ...]:
    """The lengths of the axes that are normalised; refuses an x that does not have them, and other weights."""
    if x.dtype.kind not in "fc":
        raise TypeError(f"{name} needs a float x, got {x.dtype}; use .astype(float) first")
    shape = (normalized_shape,) if isinstance(normalized_shape, (int, np.integer)) else tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"{name}: normalized_shape is {shape}, the last axes of x {x.shape} must have these lengths")
    for label, v in arrays.items():
        if v is not None and as_array(v).shape != shape:
            raise ValueError(f"{name}: {label} has shape {as_array(v).shape}, it must be normalized_shape, {shape}")
    return shape


def instance_norm(
    x: Tensor, running_mean: Operand | None = None, running_var: Operand | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, *, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``, mean and (biased) var of each channel of each image.

    x is (N, C, *spatial); weight, bias and the running arrays are (C,) or None. With `use_input_stats` the running
    arrays, unless None, become ``(1 - momentum) * running + momentum * m`` in place, m the mean over the images of
    their means, and of their unbiased variances; without it they take the place of the images' own. Raises ValueError
    for shapes that do not fit and for maps of one pixel, whose variance is 0.
    Source: Ulyanov, Vedaldi and Lempitsky, "Instance normalization", arXiv:1607.08022, eq. 4.
    """
    x = as_tensor(x)
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    check_channels("instance_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_eps("instance_norm", eps)
    n = math.prod(x.shape[2:])
    if n == 1:
        raise ValueError(f"instance_norm needs maps of more than one pixel, x {x.shape} has variance 0 in each")
    y = x
    if x.size:
        y = reshape(x, (1, x.shape[0] * x.shape[1], n))  # (N, C, *spatial) -> (1, maps, pixels)
        statistics = moments(y.data)
        y = reshape(batch_norm_p(y, None, None, eps=eps, statistics=statistics), x.shape)
        for running, found, factor in zip((running_mean, running_var), statistics, (1, n / (n - 1))):
            if running is not None and not current().repeating:  # this batch has been counted
                blend(as_array(running), found.reshape(x.shape[:2]).mean(0), momentum=momentum, factor=factor)
    return scaled(y, *(None if v is None else as_tensor(v) for v in (weight, bias)))
