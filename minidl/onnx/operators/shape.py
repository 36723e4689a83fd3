"""Other shapes of the same entries: reshaping, joining, cutting, repeating, borders."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...core.array_function import made_once
from ...ops import shape as shapes
from ...ops.indexing import getitem
from .arithmetic import DTYPES
from .table import Plain, constant, operator

PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


# --- what a shape is: plain arrays


@operator("Shape")
def shape_of(x, *, start=0, end=None):
    return np.array(x.shape[start:end], np.int64)


@operator("Size")
def size(x):
    return np.array(x.size, np.int64)


@operator("ConstantOfShape")
def constant_of_shape(shape: Plain, *, value=np.zeros(1, np.float32)):  # noqa: B008 (nobody writes to it)
    return np.full(tuple(shape.tolist()), value.reshape(-1)[0])


@operator("Range")
def range_of(start: Plain, limit: Plain, delta: Plain):
    dtype, (start, limit, delta) = start.dtype, (v.item() for v in (start, limit, delta))
    length = max(math.ceil((limit - start) / delta), 0)
    return (start + np.arange(length) * delta).astype(dtype)


@operator("EyeLike", only={"dtype": DTYPES})
def eye_like(x, *, dtype=None, k=0):
    return np.eye(*x.shape, k=k, dtype=DTYPES[dtype] if dtype else x.dtype)


# --- the same entries in another shape


@operator("Reshape", since=5, passes=1)
def reshape(x, shape: Plain, *, allowzero=0):
    lengths = [x.shape[a] if n == 0 and not allowzero else n for a, n in enumerate(shape.tolist())]
    return shapes.reshape(x, lengths)


@operator("Flatten", passes=1)
def flatten(x, *, axis=1):
    axis = axis + x.ndim if axis < 0 else axis
    return shapes.reshape(x, math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Squeeze", since=13, passes=1)
def squeeze(x, axes: Plain = None):
    return shapes.squeeze(x, None if axes is None else axes.tolist())


@operator("Squeeze", passes=1)
def squeeze_1(x, *, axes=None):
    return shapes.squeeze(x, axes)


@operator("Unsqueeze", since=13, passes=1)
def unsqueeze(x, axes: Plain):
    return shapes.expand_dims(x, axes.reshape(-1).tolist())


@operator("Unsqueeze", passes=1)
def unsqueeze_1(x, *, axes):
    return shapes.expand_dims(x, axes)


@operator("Transpose", passes=1)
def transpose(x, *, perm=None):
    return shapes.transpose(x, *perm or ())


@operator("DepthToSpace", only={"mode": ("DCR", "CRD")})
def depth_to_space(x, *, blocksize, mode="DCR"):
    n, c, h, w = x.shape
    b, rest = blocksize, c // blocksize**2
    if mode == "CRD":
        y = shapes.transpose(shapes.reshape(x, n, rest, b, b, h, w), 0, 1, 4, 2, 5, 3)  # (N, C, b, b, H, W)
    else:
        y = shapes.transpose(shapes.reshape(x, n, b, b, rest, h, w), 0, 3, 4, 1, 5, 2)  # (N, b, b, C, H, W)
    return shapes.reshape(y, n, rest, h * b, w * b)  # (N, C, H, b, W, b)


@operator("SpaceToDepth", only={"mode": ("DCR", "CRD")})
def space_to_depth(x, *, blocksize, mode="DCR"):
    n, c, h, w = x.shape
    b = blocksize
    y = shapes.reshape(x, n, c, h // b, b, w // b, b)
    y = shapes.transpose(y, *((0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)))
    return shapes.reshape(y, n, c * b * b, h // b, w // b)


# --- joined, cut


@operator("Concat", passes=1 << 16)
def concat(*tensors, axis):
    return F.concat(tensors, axis)


@operator("Split", since=13, passes=1)
def split(x, lengths: Plain = None, *, axis=0, num_outputs=None, count):
    n = x.shape[axis]
    if lengths is None:
        part = math.ceil(n / (num_outputs or count))
        return F.split(x, [min(part, n - at) for at in range(0, n, part)], axis)
    return F.split(x, lengths.tolist(), axis)


@operator("Split", passes=1)
def split_2(x, *, axis=0, split=None, count):
    return F.split(x, split or [x.shape[axis] // count] * count, axis)


@operator("Slice", since=10, passes=1)
def slice_of(x, starts: Plain, ends: Plain, axes: Plain = None, steps: Plain = None):
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    index = [slice(None)] * x.ndim
    for axis, *bounds in zip(axes, starts.tolist(), ends.tolist(), steps):
        index[axis] = slice(*bounds)
    return getitem(x, tuple(index))


@operator("Slice", passes=1)
def slice_1(x, *, starts, ends, axes=None):
    return slice_of(x, np.array(starts), np.array(ends), None if axes is None else np.array(axes))


@operator("CenterCropPad")
def center_crop_pad(x, shape: Plain, *, axes=None):
    pairs = [(0, 0)] * x.ndim
    for axis, n in zip(range(x.ndim) if axes is None else axes, shape.tolist()):
        more = n - x.shape[axis]
        pairs[axis] = (more // 2, more - more // 2) if more >= 0 else (-(-more // 2), more + -more // 2)
    return F.pad(x, pairs)


# --- repeated, with borders


@operator("Expand", passes=1)
def expand(x, shape: Plain):
    return shapes.broadcast_to(x, *np.broadcast_shapes(x.shape, tuple(shape.tolist())))


@operator("Tile")
def tile(x, repeats: Plain):
    return F.tile(x, repeats.tolist())


@operator("Pad", since=11, only={"mode": PAD_MODES})
def pad(x, pads: Plain, value: Plain = None, axes: Plain = None, *, mode="constant"):
    half = len(pads) // 2
    pairs = [(0, 0)] * x.ndim
    for axis, low, high in zip(range(half) if axes is None else axes.tolist(), pads.tolist(), pads[half:].tolist()):
        pairs[axis] = (low, high)
    y = F.pad(x, pairs, PAD_MODES[mode], 0.0 if value is None or not value.size else value.item())
    return y if y.dtype == x.dtype else y.astype(x.dtype)


@operator("Pad", only={"mode": PAD_MODES})
def pad_2(x, *, pads, mode="constant", value=0.0):
    return pad(x, np.array(pads), np.array(value), mode=mode)


@operator("Trilu")
def trilu(x, k: Plain = None, *, upper=1):
    inside = triangle(*x.shape[-2:], 0 if k is None else k.item(), bool(upper))
    return F.where(constant(inside, x), x, x.zeros_like())


@made_once
def triangle(rows, columns, k, upper):
    """True on the diagonal k and above it, or below."""
    return (np.triu if upper else np.tril)(np.ones((rows, columns), bool), k)
