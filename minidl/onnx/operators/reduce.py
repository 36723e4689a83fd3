"""Sums, means and other reductions over axes."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...core.tensor import Tensor
from ...ops.reduce import power_at_least_0
from .table import Plain, operator


def total(x, axes, keepdims):
    return x.sum(axes, keepdims).astype(x.dtype)


def largest(x, axes, keepdims):
    return x.max(axes, keepdims) if x.size else over_nothing(x, axes, keepdims, -math.inf)


def smallest(x, axes, keepdims):
    return x.min(axes, keepdims) if x.size else over_nothing(x, axes, keepdims, math.inf)


def over_nothing(x, axes, keepdims, value):
    if x.dtype.kind != "f":
        limits = np.iinfo(x.dtype) if x.dtype.kind in "iu" else None
        value = value > 0 if limits is None else limits.max if value > 0 else limits.min
    return Tensor(np.full(x.data.sum(axes, keepdims=keepdims).shape, value, x.dtype))


REDUCTIONS = {  # the opset from which on the axes are an input, and the function
    "ReduceSum": (13, total),
    "ReduceMean": (18, lambda x, axes, keepdims: x.mean(axes, keepdims).astype(x.dtype)),
    "ReduceMax": (18, largest),
    "ReduceMin": (18, smallest),
    "ReduceProd": (18, lambda x, axes, keepdims: x.prod(axes, keepdims).astype(x.dtype)),
    "ReduceL1": (18, lambda x, axes, keepdims: total(F.absolute(x), axes, keepdims)),
    "ReduceL2": (18, lambda x, axes, keepdims: power_at_least_0(total(x * x, axes, keepdims), 0.5).astype(x.dtype)),
    "ReduceSumSquare": (18, lambda x, axes, keepdims: total(x * x, axes, keepdims)),
    "ReduceLogSum": (18, lambda x, axes, keepdims: F.log(total(x, axes, keepdims))),
    "ReduceLogSumExp": (18, lambda x, axes, keepdims: x.logsumexp(axes, keepdims)),
}


def register(name, since, function):
    @operator(name, since=since)
    def reduce(x, axes: Plain = None, *, keepdims=1, noop_with_empty_axes=0):
        axes = None if axes is None or not axes.size else tuple(axes.tolist())
        return x if axes is None and noop_with_empty_axes else function(x, axes, bool(keepdims))

    @operator(name)
    def reduce_1(x, *, axes=None, keepdims=1):
        return function(x, None if axes is None else tuple(axes), bool(keepdims))


for name, (since, function) in REDUCTIONS.items():
    register(name, since, function)


@operator("ArgMax")
def arg_max(x, *, axis=0, keepdims=1, select_last_index=0):
    return place(F.argmax, x, axis, bool(keepdims), select_last_index)


@operator("ArgMin")
def arg_min(x, *, axis=0, keepdims=1, select_last_index=0):
    return place(F.argmin, x, axis, bool(keepdims), select_last_index)


def place(function, x, axis, keepdims, last):
    return x.shape[axis] - 1 - function(F.flip(x, axis), axis, keepdims) if last else function(x, axis, keepdims)


@operator("CumSum")
def cumsum(x, axis: Plain, *, exclusive=0, reverse=0):
    axis = axis.item()
    turned = F.flip(x, axis) if reverse else x
    y = F.cumsum(turned, axis)
    y = (y - turned if exclusive else y).astype(x.dtype)
    return F.flip(y, axis) if reverse else y
