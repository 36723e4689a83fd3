"""Entries by the positions that an input names."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...core.array_function import made_once
from ...ops.indexing import getitem
from ...ops.shape import broadcast_to, reshape
from .table import Plain, constant, operator


def from_start(index, n):
    """Positions that may be counted from the end, from the start."""
    return F.where(index < 0, index + n, index)


def grid(lengths, x):
    """The positions along axes of these lengths, in tensors that broadcast, where x is."""
    return [constant(counting(n).reshape(-1, *[1] * (len(lengths) - 1 - a)), x) for a, n in enumerate(lengths)]


@made_once
def counting(n):
    return np.arange(n)


@operator("Gather", learns=("x",))
def gather(x, index, *, axis=0):
    return getitem(x, (slice(None),) * (axis % x.ndim) + (index,))


@operator("GatherElements")
def gather_elements(x, index, *, axis=0):
    return F.gather(x, axis, from_start(index, x.shape[axis]))


@operator("GatherND")
def gather_nd(x, indices, *, batch_dims=0):
    """`indices` (*batch, *, k) names the first k axes after the batch."""
    places = grid(indices.shape[:-1], x)[:batch_dims]
    return getitem(x, (*places, *(indices[..., k] for k in range(indices.shape[-1]))))


@operator("ScatterElements", only={"reduction": ("none", "add", "max", "min")})
def scatter_elements(x, index, updates, *, axis=0, reduction="none"):
    places = grid(index.shape, x)
    places[axis] = from_start(index, x.shape[axis])
    return scattered(x, places, updates, reduction)


operator("Scatter")(lambda x, index, updates, *, axis=0: scatter_elements(x, index, updates, axis=axis))


@operator("ScatterND", only={"reduction": ("none", "add", "max", "min")})
def scatter_nd(x, indices, updates, *, reduction="none"):
    k, inner = indices.shape[-1], x.shape[indices.shape[-1] :]
    outer = [
        reshape(from_start(indices[..., a], x.shape[a]), (*indices.shape[:-1], *[1] * len(inner))) for a in range(k)
    ]
    return scattered(x, [*outer, *grid(inner, x)], updates, reduction)


def scattered(x, places, updates, reduction):
    """x with `updates` at these places, an array of indices per axis that broadcast."""
    steps = [index * math.prod(x.shape[axis + 1 :]) for axis, index in enumerate(places)]
    at = reshape(broadcast_to(sum(steps[1:], steps[0]), *updates.shape), -1)
    flat, src = reshape(x, -1), reshape(updates, -1)
    if reduction == "add":
        return reshape(F.scatter_add(flat, 0, at, src), x.shape)
    if reduction == "none":
        return reshape(F.scatter(flat, 0, at, src), x.shape)
    order = F.argsort(src, descending=reduction == "min")  # of those at one place the last one counts
    best = F.scatter(flat, 0, at[order], src[order])
    return reshape((F.maximum if reduction == "max" else F.minimum)(flat, best), x.shape)


@operator("OneHot")
def one_hot(indices, depth: Plain, values, *, axis=-1):
    axis = axis % (indices.ndim + 1)
    classes = constant(counting(depth.item()).reshape(-1, *[1] * (indices.ndim - axis)), indices)
    indices = indices.astype(np.int64)
    spread = reshape(from_start(indices, depth.item()), (*indices.shape[:axis], 1, *indices.shape[axis:]))
    return F.where(spread == classes, values[1], values[0])


@operator("Compress")
def compress(x, condition: Plain, *, axis=None):
    x, axis = (reshape(x, -1), 0) if axis is None else (x, axis)
    return getitem(x, (slice(None),) * (axis % x.ndim) + (np.flatnonzero(condition),))


@operator("NonZero")
def non_zero(x: Plain):
    return np.stack(np.nonzero(x)).astype(np.int64)


@operator("ReverseSequence")
def reverse_sequence(x, lengths: Plain, *, batch_axis=1, time_axis=0):
    time = np.arange(x.shape[time_axis])[:, None]
    source = np.where(time < lengths, lengths - 1 - time, time)  # (time, batch)
    batch = np.arange(len(lengths))[None]
    return getitem(x, (source, batch)) if time_axis == 0 else getitem(x, (batch.T, source.T))


# --- order


@operator("TopK", since=10)
def top_k(x, k: Plain, *, axis=-1, largest=1, sorted=1):
    return tuple(F.topk(x, k.item(), axis, bool(largest)))


@operator("TopK")
def top_k_1(x, *, k, axis=-1):
    return tuple(F.topk(x, k, axis))


@operator("Unique")
def unique(x: Plain, *, axis=None, sorted=1):
    y, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    if not sorted:  # in the order in which they come
        order = np.argsort(first)
        y, first, counts = np.take(y, order, axis or 0), first[order], counts[order]
        inverse = np.argsort(order)[inverse]
    return y, first, inverse.reshape(-1), counts
