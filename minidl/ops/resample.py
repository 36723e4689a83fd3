"""Interpolation: each output entry is a fixed mixture of input entries, one spatial axis at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import device
from ..core.array_function import ArrayFunction, made_once
from ..core.primitive import primitive
from ..core.tensor import Tensor, as_tensor
from . import reach
from .shape import transpose_p
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
    return matmul_along_axis(g, axis=axis, matrix=transpose_p(Tensor(matrix), axes=(1, 0)).data)


@primitive(formula="y[..., o, ...] = x[..., index[o], ...]", kind="linear", saves=(), reach=reach.resampled)
def take(xp, x, *, axis, index):
    """The entries of x at `index` along one axis."""
    return xp.take(x, index, axis=axis)


@take.rule("x", formula="gx[..., i, ...] = sum over o with index[o] = i of g[..., o, ...]")
def take_x(g, y, x, *, axis, index):
    return matmul_along_axis(g, axis=axis, matrix=chosen(index, n=x.shape[axis]))


@ArrayFunction
def chosen(xp, index, *, n):
    """(n, O): is entry i the one that output o takes?"""
    return xp.arange(n)[:, None] == index


MODES = {  # and the only number of spatial axes that torch's names for some ranks go with
    "nearest": None, "nearest-exact": None, "area": None,
    "linear": None, "bilinear": 2, "trilinear": 3, "cubic": None, "bicubic": 2,
}  # fmt: skip


def interpolate(
    x: Tensor,
    *,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
    recompute_scale_factor: bool = False,
) -> Tensor:
    """x (N, C, *spatial), 1 to 3 spatial axes, sampled at another resolution: exactly torch's sampling points.

    Output entry o of an axis of length n, made m long, lies at ``s (o + 1/2) - 1/2``. Given `size`, m is the size and
    s = n / m; given `scale_factor`, m = floor(n * scale_factor) and s = 1 / scale_factor, or with
    `recompute_scale_factor` n / m again. Either is a number, or one number per spatial axis. Modes:

    - "linear": between the two entries around it, held inside the axis. "bilinear" and "trilinear" are the same. An
      axis that stays as long is copied, as torch does, whatever the `scale_factor`; "cubic" samples it.
    - "cubic", "bicubic": between the four around it, by Keys' kernel with a = -3/4; the border repeats.
    - "nearest-exact": the entry nearest to it. "nearest": the entry floor(s o), as older programs have it.
    - "area": the mean of the entries from floor(o n / m) up to ceil((o + 1) n / m): see adaptive_avg_pool.

    `align_corners` (linear, cubic): it lies at o (n - 1) / (m - 1). `antialias` (linear, cubic): where s > 1 the kernel
    is s times as wide, and the cubic's a is -1/2, as in image libraries; with `align_corners` it lies at s (o + 1/2).

    Raises ValueError unless exactly one of the two is given, for empty axes, and for options that a mode has not.
    Source: Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 4 (a = -1/2) and 16.

        >>> F.interpolate(md.tensor([[[1.0, 3.0]]]), scale_factor=2, mode="linear")
        tensor([[[1. , 1.5, 2.5, 3. ]]])
    """
    x = as_tensor(x)
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"interpolate needs x of shape (N, C, *spatial) with 1 to 3 spatial axes, got {x.shape}")
    if MODES.get(mode, 0) not in (None, x.ndim - 2):
        rank = f" needs {MODES[mode]} spatial axes, x has shape {x.shape}" if mode in MODES else " is unknown"
        raise ValueError(f"interpolate: mode {mode!r}{rank}; the modes are {', '.join(MODES)}")
    kind = mode.removeprefix("bi").removeprefix("tri")
    if (align_corners or antialias) and kind not in ("linear", "cubic"):
        raise ValueError(f"interpolate: align_corners and antialias are for linear and cubic modes, not {mode!r}")
    if not kind.startswith("nearest") and x.dtype.kind not in "fc":
        raise TypeError(f'interpolate: mode {mode!r} needs a float x, got {x.dtype}; use "nearest" or .astype(float)')
    lengths, steps = _geometry(x.shape[2:], size, scale_factor, recompute_scale_factor)
    for axis in sorted(range(2, x.ndim), key=lambda a: (lengths[a - 2] / x.shape[a], -a)):  # those that shrink first
        n, m, step = x.shape[axis], lengths[axis - 2], steps[axis - 2]
        if align_corners:
            step = (n - 1) / (m - 1) if m > 1 else 0.0
        if kind.startswith("nearest"):
            index = nearest_index(n, m, step, x.dtype == np.float32, exact=kind == "nearest-exact")
            x = take(x, axis=axis, index=device.to_device(index, x.device))
        elif n != m or antialias or (kind == "cubic" and step != 1):
            matrix = _matrix(kind, n, m, step, align_corners, antialias)
            x = matmul_along_axis(x, axis=axis, matrix=device.to_device(matrix, x.device))
    return x


def _geometry(
    shape: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool
) -> tuple[list[int], list[float]]:
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
        lengths = [math.floor(n * s) for n, s in zip(shape, factors)]
    else:
        lengths = list(per_axis("interpolate: size", size, len(shape), 1))
    if min(lengths) < 1 or min(shape) < 1:
        raise ValueError(f"interpolate: from spatial shape {shape} to {tuple(lengths)}: every length must be 1 or more")
    if size is None and not recompute:
        return lengths, [1 / s for s in factors]
    return lengths, [n / m for n, m in zip(shape, lengths)]


@made_once
def nearest_index(n: int, m: int, step: float, single: bool, exact: bool = False) -> np.ndarray:
    """The input entry that each of m samples takes: floor(step * o), or `exact` the one that holds step * (o + 1/2),
    within the axis.

    The position is computed in x's precision, and rounded to single before the floor, as torch has it: in double
    precision 49 * (1 / 49) is then 1, not a little less; in single 23 * (14 / 46) is a little less than 7.
    """
    dtype = np.float32 if single else np.float64
    o = np.arange(m, dtype=dtype)
    if exact:  # rounded once, as processors multiply and add
        position = (float(dtype(step)) * (o + 0.5).astype(float) - 0.5).astype(dtype).clip(0) + 0.5
    else:
        position = dtype(step) * o
    return np.minimum(np.floor(position.astype(np.float32)).astype(np.intp), n - 1)


# --- the weights of the samples, one row each


@made_once
def _matrix(kind: str, n: int, m: int, step: float, align_corners: bool, antialias: bool) -> np.ndarray:
    if kind == "area":
        return area_matrix(n, m)
    if antialias:
        return antialiased_matrix(n, m, step, *ANTIALIASED[kind])
    return (linear_matrix if kind == "linear" else cubic_matrix)(n, m, step, align_corners)


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


def cubic_matrix(n: int, m: int, step: float, align_corners: bool) -> np.ndarray:
    """(m, n): row o holds the four weights, adding up to 1, of the entries around sample o; the border repeats."""
    o = np.arange(m)
    position = step * o if align_corners else step * (o + 0.5) - 0.5
    low = np.minimum(np.floor(position).astype(np.intp), n - 1)
    matrix = np.zeros((m, n))
    for tap in range(-1, 3):
        np.add.at(matrix, (o, (low + tap).clip(0, n - 1)), keys_kernel((position - low).clip(0, 1) - tap, -0.75))
    return matrix


def antialiased_matrix(n: int, m: int, step: float, kernel: Callable, radius: float) -> np.ndarray:
    """(m, n): row o holds the weights, adding up to 1, of the entries under a kernel around sample o that is as wide as
    the samples are apart, but no narrower than the entries are."""
    width = max(step, 1.0)
    matrix = np.zeros((m, n))
    for o in range(m):
        centre = step * (o + 0.5)
        first = max(int(centre - radius * width + 0.5), 0)
        entries = np.arange(first, min(int(centre + radius * width + 0.5), n))
        weights = kernel((entries + 0.5 - centre) / width)
        matrix[o, entries] = weights / weights.sum()
    return matrix


@made_once
def area_matrix(n: int, m: int) -> np.ndarray:
    """(m, n): row o averages the entries from floor(o n / m) up to ceil((o + 1) n / m)."""
    matrix = np.zeros((m, n))
    for o, (start, stop) in enumerate(area_bounds(n, m)):
        matrix[o, start:stop] = 1 / (stop - start)
    return matrix


def area_bounds(n: int, m: int) -> list[tuple[int, int]]:
    """The entries, from and up to, that each of m outputs covers of an axis of length n."""
    return [(o * n // m, -(-(o + 1) * n // m)) for o in range(m)]


def keys_kernel(t: Any, a: float) -> Any:
    """Keys' cubic kernel at distances t: 1 at 0, and 0 at all other integers and beyond 2."""
    t = abs(t)
    near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((t - 5) * t + 8) * t * a - 4 * a
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


ANTIALIASED = {  # kernel and radius
    "linear": (lambda t: np.clip(1 - abs(t), 0, None), 1.0),
    "cubic": (lambda t: keys_kernel(t, -0.5), 2.0),
}
