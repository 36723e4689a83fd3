"""Reductions over any axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..core.array_function import ArrayFunction
from ..core.primitive import primitive
from ..core.tensor import Tensor, as_tensor
from . import reach
from .elementwise import exp, gated, log
from .indexing import concat, flip, where
from .shape import (
    as_float,
    broadcast_to_p,
    narrowed,
    normal_axes,
    position,
    reduced_shape,
    reshape_p,
    sum_p,
    total,
    transpose,
    widened,
)  # fmt: skip

Axis = int | Sequence[int] | None


def count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """How many entries are reduced to one."""
    return math.prod([shape[a] for a in axes])


def sum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis` (an int, several, negative ones too, or None for all)."""
    return sum_p(x, axis=normal_axes(axis, x.ndim), keepdims=keepdims)


def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`: the sum over the number of entries. A mean over nothing is an error."""
    axes = normal_axes(axis, x.ndim)
    n = count(x.shape, axes)
    if n == 0:
        raise ValueError(f"mean over nothing: shape {x.shape}, axis {axis}")
    return narrowed(sum_p(widened(x), axis=axes, keepdims=keepdims) / n, x)


def var(x: Tensor, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The variance over `axis`: ``sum((x - mean)^2) / (n - ddof)``, ddof 0 as in NumPy."""
    n = count(x.shape, normal_axes(axis, x.ndim))
    if n - ddof <= 0:
        raise ValueError(f"var needs more than ddof={ddof} entries, got {n}")
    wide = widened(x)
    centred = wide - mean(wide, axis, keepdims=True)
    return narrowed(sum(centred * centred, axis, keepdims) / (n - ddof), x)


def std(x: Tensor, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The standard deviation, the square root of `var`; its derivative where all entries are equal is taken as 0."""
    return narrowed(power_at_least_0(var(widened(x), axis, keepdims, ddof), 0.5), x)


def power_at_least_0(x: Tensor, p: float) -> Tensor:
    """``x ** p`` of an x of 0 or more, p above 0. Its derivatives at 0, where they may be infinite, are taken as 0."""
    zero = x == 0
    return where(zero, 0.0, where(zero, 1.0, x) ** p)


def _gap_to_largest(x, *, axis, keepdims):
    """How far the largest entry stands from the next one, at each result."""
    rest = [n for a, n in enumerate(x.shape) if a not in axis]
    x = np.moveaxis(x, axis, range(len(axis))).reshape(count(x.shape, axis), *rest)
    x = np.sort(x, axis=0)
    return x[-1] - x[-2] if len(x) > 1 else np.full(x.shape[1:], np.inf)


@primitive(
    formula="y = max over axis of x", kind="piecewise", kink=_gap_to_largest, reach=reach.channels,
    support=lambda n, x, *, axis, keepdims: broadcast_to_p(
        reshape_p(n, shape=reduced_shape(x.shape, axis)), shape=x.shape
    ),
)  # fmt: skip
def max_p(xp, x, *, axis, keepdims):
    """The largest entry over some axes; equal largest entries share the gradient."""
    return x.max(axis=axis, keepdims=keepdims)


@max_p.rule("x", formula="g where x is largest, shared among equals")
def max_x(g, y, x, *, axis, keepdims):
    shape = reduced_shape(x.shape, axis)
    at, count = where_largest(x.data, y.data, axis=axis, shape=shape)
    share = reshape_p(g, shape=shape) / Tensor(count)
    return gated(broadcast_to_p(share, shape=x.shape), gate=at)


@ArrayFunction
def where_largest(xp, x, y, *, axis, shape):
    """Which entries of x are the largest, y, over these axes, and how many are."""
    at = (x == y.reshape(shape)) | (x != x)  # a NaN is larger than anything
    return at, at.sum(axis=axis, keepdims=True).astype(x.dtype)


def max(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest entry over `axis`; where several are largest they share the gradient equally."""
    axes = normal_axes(axis, x.ndim)
    if count(x.shape, axes) == 0:
        raise ValueError(f"max over nothing: shape {x.shape}, axis {axis}")
    return max_p(x, axis=axes, keepdims=keepdims)


def min(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest entry over `axis`; where several are smallest they share the gradient equally."""
    axes = normal_axes(axis, x.ndim)
    if count(x.shape, axes) == 0:
        raise ValueError(f"min over nothing: shape {x.shape}, axis {axis}")
    if x.dtype.kind in "iub":  # not all of these have an opposite
        return Tensor(smallest(x.data, axis=axes, keepdims=keepdims))
    return -max_p(-x, axis=axes, keepdims=keepdims)


@ArrayFunction
def smallest(xp, x, *, axis, keepdims):
    return x.min(axis=axis, keepdims=keepdims)


@ArrayFunction
def product_of(xp, x, *, axis, keepdims):
    return x.prod(axis=axis, keepdims=keepdims)


def prod(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`, by a tree of multiplications: exact derivatives of any order, zeros included."""
    axes = normal_axes(axis, x.ndim)
    if x.dtype.kind in "iub":
        return Tensor(product_of(x.data, axis=axes, keepdims=keepdims))
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    shape = tuple(x.shape[a] for a in rest)
    y = transpose(x, axes + rest) if x.ndim else x  # (axes..., rest...)
    y = reshape_p(y, shape=(count(x.shape, axes), *shape))  # (n, rest...)
    if not len(y):
        y = sum(y, axis=0, keepdims=True).astype(x.dtype) + 1  # no factors: 1, and a gradient without entries
    while len(y) > 1:
        half = len(y) // 2
        pairs = y[:half] * y[half : 2 * half]
        y = concat([pairs, y[2 * half :]], axis=0) if len(y) % 2 else pairs
    return reshape_p(y, shape=reduced_shape(x.shape, axes) if keepdims else shape)


def any(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Is any entry over `axis` other than 0? A constant: True and False have no derivative."""
    x = as_tensor(x)
    return Tensor(any_along(x.data, axis=normal_axes(axis, x.ndim), keepdims=keepdims))


@ArrayFunction
def any_along(xp, x, *, axis, keepdims):
    return x.any(axis=axis, keepdims=keepdims)


def all(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Is every entry over `axis` other than 0? A constant: True and False have no derivative."""
    x = as_tensor(x)
    return Tensor(all_along(x.data, axis=normal_axes(axis, x.ndim), keepdims=keepdims))


@ArrayFunction
def all_along(xp, x, *, axis, keepdims):
    return x.all(axis=axis, keepdims=keepdims)


@primitive(formula="y_i = sum over j <= i along axis of x_j", kind="linear", saves=(), reach=reach.channels)
def cumsum_p(xp, x, *, axis):
    """The running sum along an axis. Floats add up in double precision."""
    if x.dtype.kind not in "fc":
        return xp.cumsum(x, axis)
    return xp.cumsum(x, axis, dtype=np.result_type(x.dtype, np.float64)).astype(x.dtype)


@cumsum_p.rule("x", formula="sum over j >= i along axis of g_j")
def cumsum_x(g, y, x, *, axis):
    return flip(cumsum_p(flip(g, axis), axis=axis), axis)


def cumsum(x: Tensor, axis: int) -> Tensor:
    """The running sum along `axis`: entry i is the sum of entries 0 to i. Booleans and small integers become int64."""
    x = as_tensor(x)
    return cumsum_p(x, axis=position(axis, x.ndim))


def logsumexp(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``log sum over axis of exp(x)``, shifted by the largest entry so that nothing overflows."""
    given = as_float(x)
    x = widened(given)
    axes = normal_axes(axis, x.ndim)
    shift = Tensor(finite_largest(x.data, axis=axes))
    y = narrowed(log(sum(exp(x - shift), axes, keepdims=True)) + shift, given)
    return y if keepdims else reshape_p(y, shape=tuple(n for a, n in enumerate(x.shape) if a not in axes))


@ArrayFunction
def finite_largest(xp, x, *, axis):
    """The largest entry over these axes, which stay with length 1; 0 where it is infinite, or there is none."""
    shift = xp.asarray(x.max(axis=axis, keepdims=True) if x.size else x.sum(axis=axis, keepdims=True))
    shift[abs(shift) == math.inf] = 0  # all -inf: exp gives 0, log -inf
    return shift


def _all_along(n, x, *, axis):
    """Each entry of a softmax depends on all along the axis."""
    return broadcast_to_p(sum_p(n, axis=(axis,), keepdims=True), shape=x.shape)


@primitive(formula="exp(x) / sum over axis of exp(x)", reach=reach.channels, support=_all_along, floats=True)
def softmax_p(xp, x, *, axis):
    """Softmax."""
    e = xp.exp(widened(x - x.max(axis=axis, keepdims=True)))
    return narrowed(e / total(e, (axis,), True), x)


@softmax_p.rule("x", formula="y * (g - sum over axis of g * y)")
def softmax_x(g, y, x, *, axis):
    return y * (g - sum(g * y, axis, keepdims=True))


def softmax(x: Tensor, axis: int) -> Tensor:
    """``exp(x) / sum over axis of exp(x)``: probabilities along `axis`, shifted so that nothing overflows.

        >>> F.softmax(md.tensor([0.0, 0.0, np.log(2.0)]), axis=0)
        tensor([0.25, 0.25, 0.5 ])
    """
    axis = normal_axes(axis, x.ndim)[0]
    return softmax_p(x, axis=axis) if x.shape[axis] else exp(x)  # without entries: nothing to take a largest of


@primitive(formula="x - log(sum over axis of exp(x))", reach=reach.channels, support=_all_along, floats=True)
def log_softmax_p(xp, x, *, axis):
    """The logarithm of softmax."""
    shifted = widened(x - x.max(axis=axis, keepdims=True))
    return narrowed(shifted - xp.log(total(xp.exp(shifted), (axis,), True)), x)


@log_softmax_p.rule("x", formula="g - exp(y) * sum over axis of g")
def log_softmax_x(g, y, x, *, axis):
    return g - exp(y) * sum(g, axis, keepdims=True)


def log_softmax(x: Tensor, axis: int) -> Tensor:
    """``x - log sum over axis of exp(x)``: log probabilities along `axis`, accurate where softmax underflows."""
    axis = normal_axes(axis, x.ndim)[0]
    return log_softmax_p(x, axis=axis) if x.shape[axis] else exp(x)


softmax.primitive, log_softmax.primitive, cumsum.primitive = softmax_p, log_softmax_p, cumsum_p
