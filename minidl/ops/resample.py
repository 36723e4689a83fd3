"""Interpolation: each output entry is a fixed mixture of input entries, one spatial axis at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import device
from ..core.primitive import primitive
from ..core.tensor import Tensor, as_tensor
from . import reach
from .window import per_axis


@primitive(
    formula="y[..., o, ...] = sum over i of matrix[o, i] * x[..., i, ...]", kind="linear", saves=(),
    reach=reach.resampled,
    support=lambda n, x, *, axis, matrix: matmul_along_axis(n, axis=axis, matrix=(matrix != 0).T),
)  # fmt: skip
def matmul_along_axis(xp, x, *, axis, matrix):
    """A matrix (O, I) applied along one axis of x, of length I."""
    y = xp.tensordot(x, xp.asarray(matrix, dtype=x.dtype), axes=(axis, 1))  # (..., I, ...), (O, I) -> (..., ..., O)
    return xp.moveaxis(y, -1, axis)  # (..., O, ...)


@matmul_along_axis.rule("x", formula="gx[..., i, ...] = sum over o of matrix[o, i] * g[..., o, ...]")
def matmul_along_axis_x(g, y, x, *, axis, matrix):
    return matmul_along_axis(g, axis=axis, matrix=matrix.T)


@primitive(formula="y[..., o, ...] = x[..., index[o], ...]", kind="linear", saves=(), reach=reach.resampled)
def take(xp, x, *, axis, index):
    """The entries of x at `index` along one axis."""
    return xp.take(x, index, axis=axis)


@take.rule("x", formula="gx[..., i, ...] = sum over o with index[o] = i of g[..., o, ...]")
def take_x(g, y, x, *, axis, index):
    chosen = device.namespace([index]).arange(x.shape[axis])[:, None] == index  # (I, O)
    return matmul_along_axis(g, axis=axis, matrix=chosen)


def interpolate(
    x: Tensor,
    *,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Tensor:
    """x (N, C, *spatial), 1 to 3 spatial axes, sampled at another resolution: exactly torch's sampling points.

    Output entry o of an axis of length n, made m long, lies at s o ("nearest", rounded down) or s (o + 1/2) - 1/2
    ("linear", held inside the axis; bilinear and trilinear are linear along each axis), or with `align_corners`
    ("linear" only) at o (n - 1) / (m - 1). Given `size`, m is the size and s = n / m; given `scale_factor`,
    m = floor(n * scale_factor) and s = 1 / scale_factor. Either is a number, or one number per spatial axis.

    Raises ValueError unless exactly one of the two is given, and for empty axes. There is no anti-aliasing.
    """
    x = as_tensor(x)
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"interpolate needs x of shape (N, C, *spatial) with 1 to 3 spatial axes, got {x.shape}")
    if mode not in ("nearest", "linear"):
        raise ValueError(f'interpolate: mode {mode!r} is unknown: "nearest" or "linear" (whatever the rank)')
    if mode == "nearest" and align_corners:
        raise ValueError('interpolate: align_corners is for mode="linear" only')
    if mode == "linear" and x.dtype.kind not in "fc":
        raise TypeError(f'interpolate: mode="linear" needs a float x, got {x.dtype}; use "nearest" or .astype(float)')
    lengths, steps = _geometry(x.shape[2:], size, scale_factor)
    for axis in sorted(range(2, x.ndim), key=lambda a: (lengths[a - 2] / x.shape[a], -a)):  # those that shrink first
        n, m, step = x.shape[axis], lengths[axis - 2], steps[axis - 2]
        if mode == "nearest":
            index = nearest_index(n, m, step, x.dtype == np.float32)
            x = take(x, axis=axis, index=device.to_device(index, x.device))
        elif n != m:
            matrix = linear_matrix(n, m, (n - 1) / max(m - 1, 1) if align_corners else step, align_corners)
            x = matmul_along_axis(x, axis=axis, matrix=device.to_device(matrix, x.device))
    return x


def _geometry(shape: tuple[int, ...], size: Any, scale_factor: Any) -> tuple[list[int], list[float]]:
    """Per spatial axis: the output length, and the distance between samples measured in input entries."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate needs either size or scale_factor, got size={size}, scale_factor={scale_factor}")
    if size is None:
        factors = [scale_factor] * len(shape) if np.ndim(scale_factor) == 0 else list(scale_factor)
        if len(factors) != len(shape) or not all(isinstance(s, (int, float, np.number)) and s > 0 for s in factors):
            raise ValueError(
                f"interpolate: scale_factor must be a number above 0, or one per spatial axis of {shape}, "
                f"got {scale_factor!r}"
            )
        lengths, steps = [math.floor(n * s) for n, s in zip(shape, factors)], [1 / s for s in factors]
    else:
        lengths = list(per_axis("interpolate: size", size, len(shape), 1))
        steps = [n / m for n, m in zip(shape, lengths)]
    if min(lengths) < 1 or min(shape) < 1:
        raise ValueError(f"interpolate: from spatial shape {shape} to {tuple(lengths)}: every length must be 1 or more")
    return lengths, steps


def nearest_index(n: int, m: int, step: float, single: bool) -> np.ndarray:
    """The input entry that each of m samples takes: floor(step * o), within the axis.

    step * o is computed in x's precision, and rounded to single before the floor, as torch has it: in double
    precision 49 * (1 / 49) is then 1, not a little less; in single 23 * (14 / 46) is a little less than 7.
    """
    dtype = np.float32 if single else np.float64
    position = dtype(step) * np.arange(m, dtype=dtype)
    return np.minimum(np.floor(position.astype(np.float32)).astype(np.intp), n - 1)


def linear_matrix(n: int, m: int, step: float, align_corners: bool) -> np.ndarray:
    """(m, n): row o holds the two weights, adding up to 1, of the input entries that sample o lies between."""
    o = np.arange(m)
    position = step * o if align_corners else np.clip(step * (o + 0.5) - 0.5, 0, None)
    low = np.minimum(np.floor(position).astype(np.intp), n - 1)
    high = np.minimum(low + 1, n - 1)
    share = np.clip(position - low, 0, 1)
    matrix = np.zeros((m, n))
    matrix[o, low] = 1 - share
    matrix[o, high] += share
    return matrix
