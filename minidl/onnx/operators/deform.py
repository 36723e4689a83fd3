"""Deformable convolution: taps that are moved by an offset of their own at each position."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...core.array_function import made_once
from ...ops.grid import sampled
from ...ops.shape import reshape
from .table import constant, operator
from .window import conv_macs


@operator("DeformConv", learns=("w", "b"), macs=conv_macs, ignores=("kernel_shape",))
def deform_conv(
    x, w, offset, b=None, mask=None, *, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1, offset_group=1
):
    """In two dimensions; `offset` is (N, offset groups * taps * 2, rows, columns), `mask` half of that.

    Source: Dai et al., "Deformable convolutional networks", ICCV 2017, eq. 2; with a mask Zhu et al., CVPR 2019, eq. 1.
    """
    n, c, *size = x.shape
    taps, (rows, columns) = math.prod(w.shape[2:]), offset.shape[2:]
    offset = reshape(offset, n, offset_group, taps, 2, rows, columns)
    window = w.shape[2:], tuple(strides), tuple(pads), tuple(dilations)
    positions = [offset[:, :, :, axis] + constant(taps_along(axis, rows, columns, *window), x) for axis in (0, 1)]
    positions = [reshape(p, n * offset_group, taps * rows, columns) for p in positions]
    cells = sampled(reshape(x, n * offset_group, c // offset_group, *size), positions)
    if mask is not None:
        cells = cells * reshape(mask, n * offset_group, 1, taps * rows, columns)
    cells = reshape(cells, n, group, c // group * taps, rows * columns)
    y = F.matmul(reshape(w, group, len(w) // group, -1), cells)  # (N, groups, F / groups, positions)
    y = reshape(y, n, len(w), rows, columns)
    return y if b is None else y + reshape(b, 1, -1, 1, 1)


@made_once
def taps_along(axis, rows, columns, kernel, strides, pads, dilations):
    """Where the taps of a convolution lie along an axis: (taps, rows, columns)."""
    tap = np.indices(kernel)[axis].reshape(-1, 1, 1) * dilations[axis]
    place = np.indices((rows, columns))[axis] * strides[axis] - pads[axis]
    return (tap + place).astype(np.float32)
