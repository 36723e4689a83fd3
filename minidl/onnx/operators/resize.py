"""Resampling: Resize in all its modes, its predecessor Upsample, and sampling at the points of a grid."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...core.array_function import made_once
from ...device import to_device
from ...ops.resample import keys_kernel, matmul_along_axis, take
from .table import Plain, constant, operator

POSITIONS = {  # of output o of m, on an axis of n entries: scale is m / n or what was given
    "half_pixel": lambda o, n, m, scale, roi: (o + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda o, n, m, scale, roi: n / 2 * (1 - m / (n * scale)) + (o + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda o, n, m, scale, roi: (o + 0.5) / scale - 0.5 if m > 1 else 0.0 * o,
    "tf_half_pixel_for_nn": lambda o, n, m, scale, roi: (o + 0.5) / scale,
    "asymmetric": lambda o, n, m, scale, roi: o / scale,
    "align_corners": lambda o, n, m, scale, roi: o * (n - 1) / max(m - 1, 1),
    "tf_crop_and_resize": lambda o, n, m, scale, roi: (n - 1)
    * (roi[0] + o * (roi[1] - roi[0]) / (m - 1) if m > 1 else (roi[0] + roi[1]) / 2 + 0 * o),
}
NEAREST = {
    "round_prefer_floor": lambda p: np.ceil(p - 0.5),
    "round_prefer_ceil": lambda p: np.floor(p + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
MODES = ("nearest", "linear", "cubic")


@operator(
    "Resize", since=11,
    only={
        "mode": MODES, "coordinate_transformation_mode": POSITIONS, "nearest_mode": NEAREST,
        "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    },
)  # fmt: skip
def resize(
    x, roi: Plain = None, scales: Plain = None, sizes: Plain = None, *, mode="nearest",
    coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_floor", cubic_coeff_a=-0.75,
    exclude_outside=0, extrapolation_value=0.0, antialias=0, axes=None, keep_aspect_ratio_policy="stretch",
):  # fmt: skip
    axes = [a % x.ndim for a in axes or range(x.ndim)]
    lengths, scales = _lengths([x.shape[a] for a in axes], scales, sizes, keep_aspect_ratio_policy)
    crops = coordinate_transformation_mode == "tf_crop_and_resize"
    rois = zip(roi[: len(axes)].tolist(), roi[len(axes) :].tolist()) if crops else [None] * len(axes)
    inside = np.ones([1] * x.ndim, bool)
    for axis, m, scale, of_axis in zip(axes, lengths, scales, rois):
        n = x.shape[axis]
        place = coordinate_transformation_mode, n, m, scale, of_axis
        if np.array_equal(positions(*place), np.arange(n)):
            continue
        if crops:
            p = positions(*place).reshape(-1, *[1] * (x.ndim - 1 - axis))
            inside = inside & (p >= 0) & (p <= n - 1)
        if mode == "nearest":
            x = take(x, axis=axis, index=to_device(nearest_entries(*place, nearest_mode), x.device))
        else:
            kernel = "linear" if mode == "linear" else cubic_coeff_a
            matrix = mixture(*place, kernel, bool(exclude_outside), bool(antialias))
            x = matmul_along_axis(x, axis=axis, matrix=to_device(matrix, x.device))
    return x if inside.all() else F.where(constant(inside, x), x, extrapolation_value)


@operator("Resize", since=10, only={"mode": MODES[:2]})
def resize_10(x, scales: Plain, *, mode="nearest"):
    return resize(x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


operator("Upsample", since=9, only={"mode": MODES[:2]})(resize_10)


@operator("Upsample", only={"mode": MODES[:2]})
def upsample_7(x, *, scales, mode="nearest"):
    return resize_10(x, np.array(scales), mode=mode)


def _lengths(shape, scales, sizes, policy):
    """The output length of each axis, and its scale."""
    if sizes is None or not sizes.size:
        scales = scales.tolist()
        return [math.floor(n * s) for n, s in zip(shape, scales)], scales
    sizes = sizes.tolist()
    if policy == "stretch":
        return sizes, [m / n for n, m in zip(shape, sizes)]
    scale = (min if policy == "not_larger" else max)(m / n for n, m in zip(shape, sizes))
    return [math.floor(scale * n + 0.5) for n in shape], [scale] * len(shape)


@made_once
def positions(mode, n, m, scale, roi):
    """Where each of the m outputs lies on an axis of n entries, the first at 0."""
    return POSITIONS[mode](np.arange(m, dtype=float), n, m, scale, roi)


@made_once
def nearest_entries(mode, n, m, scale, roi, rounding):
    """The entry that each output takes."""
    return NEAREST[rounding](positions(mode, n, m, scale, roi)).clip(0, n - 1).astype(np.intp)


@made_once
def mixture(mode, n, m, scale, roi, kernel, exclude_outside, antialias):
    """(m, n): row o holds the weights of the entries around output o: "linear", or cubic with this `a`. Beyond the
    border its entry repeats, or, with exclude_outside, nothing is taken from there."""
    p = positions(mode, n, m, scale, roi)
    radius, weight = (1, _hat) if kernel == "linear" else (2, lambda t: keys_kernel(t, kernel))
    narrow = min(scale, 1.0) if antialias else 1.0  # a kernel as wide as the outputs are apart
    first = math.floor(-radius / narrow) + 1
    taps = np.arange(first, 2 - first)[None]
    low = np.floor(p)[:, None]
    weights = weight((taps - (p[:, None] - low)) * narrow)
    at = low + taps
    if exclude_outside:
        weights = weights * ((at >= 0) & (at < n))
    weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((m, n))
    np.add.at(matrix, (np.arange(m)[:, None], at.clip(0, n - 1).astype(np.intp)), weights)
    return matrix


def _hat(t):
    return np.clip(1 - abs(t), 0, None)


@operator("GridSample", only={"padding_mode": ("zeros", "border", "reflection")})
def grid_sample(x, grid, *, mode="bilinear", padding_mode="zeros", align_corners=0):
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    return F.grid_sample(x, grid, mode, padding_mode, bool(align_corners))


@operator("AffineGrid")
def affine_grid(theta, size: Plain, *, align_corners=0):
    return F.affine_grid(theta, size.tolist(), bool(align_corners))
