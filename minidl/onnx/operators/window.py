"""Operators that slide a window over the spatial axes: convolutions and pools."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...core.array_function import made_once
from ...ops.reduce import power_at_least_0
from .arithmetic import remainder, truncated_quotient
from .table import Plain, constant, operator


def padding(x, kernel, strides, dilations, pads, auto_pad):
    """The (low, high) pair of each spatial axis."""
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    if auto_pad == "NOTSET":
        pads = pads or [0] * 2 * rank
        return list(zip(pads[:rank], pads[rank:], strict=True))
    if auto_pad == "VALID":
        return [(0, 0)] * rank
    pairs = []
    for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations):  # as many outputs as ceil(n / s)
        total = max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        pairs.append((total // 2, total - total // 2) if auto_pad == "SAME_UPPER" else (total - total // 2, total // 2))
    return pairs


# --- convolutions


def conv_macs(inputs, y):
    return y.size * math.prod(inputs[1].shape[1:])


def conv_transpose_macs(inputs, y):
    return inputs[0].size * math.prod(inputs[1].shape[1:])


@operator("Conv", learns=("w", "b"), macs=conv_macs, ignores=("kernel_shape",))
def conv(x, w, b=None, *, strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET"):
    pairs = padding(x, w.shape[2:], strides, dilations, pads, auto_pad)
    return F.conv(x, w, b, stride=strides or 1, padding=pairs, dilation=dilations or 1, groups=group)


@operator("ConvTranspose", learns=("w", "b"), macs=conv_transpose_macs, ignores=("kernel_shape",))
def conv_transpose(
    x, w, b=None, *, strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET", output_padding=None,
    output_shape=None,
):  # fmt: skip
    rank = x.ndim - 2
    strides, dilations, extra = strides or [1] * rank, dilations or [1] * rank, output_padding or [0] * rank
    if output_shape is None and auto_pad.startswith("SAME"):
        output_shape = [n * s for n, s in zip(x.shape[2:], strides)]
    if output_shape is None:
        pairs = padding(x, w.shape[2:], strides, dilations, pads, auto_pad)
    else:
        full = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(x.shape[2:], strides, dilations, w.shape[2:])]
        surplus = [n + e - out for n, e, out in zip(full, extra, output_shape[-rank:])]
        extra = [e + max(-s, 0) for s, e in zip(surplus, extra)]
        halves = [(max(s, 0) // 2, max(s, 0) - max(s, 0) // 2) for s in surplus]
        pairs = [(low, high) if auto_pad == "SAME_UPPER" else (high, low) for low, high in halves]
    return F.conv_transpose(
        x, w, b, stride=strides, padding=pairs, output_padding=extra, dilation=dilations, groups=group
    )


@operator("Col2Im")
def col2im(x, image_shape: Plain, block_shape: Plain, *, strides=None, pads=None, dilations=None):
    size, block = image_shape.tolist(), block_shape.tolist()
    pads = pads or [0] * 2 * len(size)
    pairs = list(zip(pads[: len(size)], pads[len(size) :]))
    return F.fold(x, size, block, stride=strides or 1, padding=pairs, dilation=dilations or 1)


# --- pools; ONNX's stride is 1 where it is not given


@operator("MaxPool")
def max_pool(
    x, *, kernel_shape, strides=None, pads=None, dilations=None, ceil_mode=0, auto_pad="NOTSET", storage_order=0,
    count=1,
):  # fmt: skip
    pairs = padding(x, kernel_shape, strides, dilations, pads, auto_pad)
    options = {"stride": strides or 1, "padding": pairs, "dilation": dilations or 1, "ceil_mode": bool(ceil_mode)}
    if count == 1:
        return F.max_pool(x, kernel_shape, **options)
    y, at = F.max_pool(x, kernel_shape, **options, return_indices=True)
    size = x.shape[2:]
    if storage_order:  # the axes counted from the first one on
        at = columns_first(at, size)
    return y, at + constant(first_cells(x.shape), x)


def columns_first(at, size):
    """A position in a map laid out in C order, in Fortran's."""
    found, step = 0, 1
    for axis, n in enumerate(size):
        inner = math.prod(size[axis + 1 :])
        found = found + remainder(truncated_quotient(at, inner), n, like_c=False) * step
        step *= n
    return found


@made_once
def first_cells(shape):
    """Where each map of a tensor (N, C, *size) begins: (N, C, 1, ...)."""
    maps = np.arange(shape[0] * shape[1]) * math.prod(shape[2:])
    return maps.reshape(*shape[:2], *[1] * (len(shape) - 2))


@operator("MaxUnpool")
def max_unpool(x, indices, output_shape: Plain = None, *, kernel_shape, strides=None, pads=None):
    rank = x.ndim - 2
    strides, pads = strides or [1] * rank, pads or [0] * 2 * rank
    sizes = zip(x.shape[2:], kernel_shape, strides, pads[:rank], pads[rank:])
    size = [(n - 1) * s + k - low - high for n, k, s, low, high in sizes]
    cells = constant(first_cells((*x.shape[:2], *size)), x)
    y = F.max_unpool(x, indices - cells, kernel_shape, output_size=size)
    return y if output_shape is None else F.pad(y, [(0, out - n) for n, out in zip(y.shape, output_shape.tolist())])


@operator("AveragePool")
def average_pool(
    x, *, kernel_shape, strides=None, pads=None, dilations=None, ceil_mode=0, auto_pad="NOTSET", count_include_pad=0
):
    pairs = padding(x, kernel_shape, strides, dilations, pads, auto_pad)
    return F.avg_pool(
        x, kernel_shape, stride=strides or 1, padding=pairs, dilation=dilations or 1, ceil_mode=bool(ceil_mode),
        count_include_pad=bool(count_include_pad),
    )  # fmt: skip


@operator("LpPool")
def lp_pool(x, *, kernel_shape, strides=None, pads=None, dilations=None, ceil_mode=0, auto_pad="NOTSET", p=2):
    pairs = padding(x, kernel_shape, strides, dilations, pads, auto_pad)
    total = F.avg_pool(
        F.absolute(x) ** p, kernel_shape, stride=strides or 1, padding=pairs, dilation=dilations or 1,
        ceil_mode=bool(ceil_mode), divisor_override=1,
    )  # fmt: skip
    return power_at_least_0(total, 1 / p)


def spatial(x):
    return tuple(range(2, x.ndim))


@operator("GlobalAveragePool")
def global_average_pool(x):
    return x.mean(spatial(x), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(x):
    return x.max(spatial(x), keepdims=True)


@operator("GlobalLpPool")
def global_lp_pool(x, *, p=2):
    return power_at_least_0((F.absolute(x) ** p).sum(spatial(x), keepdims=True), 1 / p)
