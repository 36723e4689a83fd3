"""Other dtypes, devices and shapes of the same entries; broadcasting, and its adjoint, the sum over axes.

Every primitive here is linear, and its rule is its adjoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import device
from ..core.array_function import ArrayFunction
from ..core.primitive import primitive
from ..core.tensor import Tensor, as_tensor
from . import reach

HALF = np.dtype(np.float16)


@primitive(formula="x as dtype", kind="linear", saves=(), reach=reach.same)
def astype_p(xp, x, *, dtype):
    """x in another dtype."""
    return x.astype(dtype)


@astype_p.rule("x", formula="g as the dtype of x")
def astype_x(g, y, x, *, dtype):
    return astype_p(g, dtype=x.dtype)


def as_float(x: Any) -> Tensor:
    """`x` as a Tensor that can carry a gradient: integers become double precision."""
    x = as_tensor(x)
    return x if x.dtype.kind in "fc" else astype_p(x, dtype=np.dtype(float))


def widened(x: Any) -> Any:
    """A tensor or an array, in single precision if it is in half, in which sums and squares soon overflow."""
    return x.astype(np.float32) if x.dtype == HALF else x


def narrowed(y: Any, x: Any) -> Any:
    """What was computed of ``widened(x)``, as precise as x."""
    return y.astype(x.dtype) if x.dtype == HALF else y


@ArrayFunction
def cast(xp: Any, x: Any, *, dtype: Any) -> Any:
    """A copy of an array that is data, in this dtype."""
    return x.astype(dtype)


@ArrayFunction
def full(xp: Any, *, shape: tuple[int, ...], value: float, dtype: Any) -> Any:
    """An array that holds one value."""
    return xp.full(shape, value, dtype)


def full_like(x: Any, value: float, dtype: Any = None) -> Any:
    """An array of the shape, device and dtype of x (or another) that holds one value."""
    return full.run(device.namespace([x]), [], {"shape": x.shape, "value": value, "dtype": dtype or x.dtype})


@primitive(formula="x on device", kind="linear", reach=reach.same)
def to_p(xp, x, *, device_name):
    """x on another device."""
    return device.to_device(x, device_name)


@to_p.rule("x", formula="g on the device of x")
def to_x(g, y, x, *, device_name):
    return to_p(g, device_name=x.device)


@primitive(formula="x, read in C order into shape", kind="linear", saves=(), reach=reach.same)
def reshape_p(xp, x, *, shape):
    """The same entries in the same (C) order, in another shape."""
    return x.reshape(shape)


@reshape_p.rule("x", formula="g, read in C order into the shape of x")
def reshape_x(g, y, x, *, shape):
    return reshape_p(g, shape=x.shape)


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """The same entries in the same order, in another shape; one -1 is computed from the rest."""
    shape = tuple(shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)
    try:
        return reshape_p(x, shape=shape)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"reshape: the {x.size} entries of shape {x.shape} do not fit the shape {shape}: its lengths must be ints "
            f"whose product is {x.size}; one may be -1, which is computed from the others"
        ) from None


@primitive(formula="y[i_axes[0], i_axes[1], ...] = x[i_0, i_1, ...]", kind="linear", saves=())
def transpose_p(xp, x, *, axes):
    """x with its axes in another order: axis `axes[k]` of x becomes axis k."""
    return x.transpose(axes)


@transpose_p.rule("x", formula="g with its axes put back")
def transpose_x(g, y, x, *, axes):
    return transpose_p(g, axes=tuple(sorted(range(len(axes)), key=axes.__getitem__)))


def transpose(x: Tensor, *axes: Any) -> Tensor:
    """x with its axes in another order, as numpy.transpose: reversed if none is given."""
    axes = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
    axes = [position(a, x.ndim) for a in axes] if axes else range(x.ndim)[::-1]
    return transpose_p(x, axes=tuple(axes))


def swapaxes(x: Tensor, a: int, b: int) -> Tensor:
    """x with two axes exchanged."""
    axes = list(range(x.ndim))
    try:
        axes[a], axes[b] = axes[b], axes[a]
    except IndexError:
        raise IndexError(f"axis {a} or {b} is out of range for a tensor with {x.ndim} axes") from None
    return transpose_p(x, axes=tuple(axes))


def squeeze(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """x without axes of length 1: all of them, or those named (which must have length 1)."""
    axes = normal_axes(axis, x.ndim)
    for a in axes if axis is not None else ():
        if x.shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} of {x.shape} has length {x.shape[a]}, not 1")
    return reshape_p(x, shape=tuple(n for a, n in enumerate(x.shape) if n != 1 or a not in axes))


def expand_dims(x: Tensor, axis: int | Sequence[int]) -> Tensor:
    """x with new axes of length 1 at these positions of the result."""
    new = (axis,) if isinstance(axis, int) else tuple(axis)
    ndim = x.ndim + len(new)
    new = normal_axes(new, ndim)
    old = iter(x.shape)
    return reshape_p(x, shape=tuple(1 if a in new else next(old) for a in range(ndim)))


SMALL = 256  # entries that are copied sooner than numpy.broadcast_to has made a view


@primitive(formula="y[..., i, ...] = x[..., i or 0, ...]", kind="linear", saves=(), reach=reach.same)
def broadcast_to_p(xp, x, *, shape):
    """x repeated along axes of length 1, and along new leading axes: a view, unless it is small."""
    if math.prod(shape) > SMALL or x.ndim > len(shape):  # an assignment would drop leading axes of length 1
        return xp.broadcast_to(x, shape)
    y = xp.empty(shape, x.dtype)
    y[...] = x
    return y


@broadcast_to_p.rule("x", formula="g summed over the repeated axes")
def broadcast_to_x(g, y, x, *, shape):
    return sum_to(g, x.shape)


@primitive(formula="y = sum over axis of x", kind="linear", saves=(), reach=reach.channels)
def sum_p(xp, x, *, axis, keepdims):
    """The sum over some axes, in double precision, as that of x; of integers, as NumPy has it."""
    if x.dtype.kind not in "fc":
        return x.sum(axis=axis, keepdims=keepdims)
    return x.sum(axis=axis, keepdims=keepdims, dtype=np.result_type(x.dtype, np.float64)).astype(x.dtype)


@sum_p.rule("x", formula="g repeated along axis")
def sum_x(g, y, x, *, axis, keepdims):
    leading = axis == tuple(range(len(axis)))  # then g broadcasts as it is
    return broadcast_to_p(g if leading else reshape_p(g, shape=reduced_shape(x.shape, axis)), shape=x.shape)


def total(x: Any, axis: tuple[int, ...], keepdims: bool = False) -> Any:
    """The sum of an array, as precise as that of a tensor."""
    return sum_p.run(device.namespace([x]), [x], {"axis": axis, "keepdims": keepdims})


def reduced_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after a reduction with keepdims."""
    return tuple(1 if a in axes else n for a, n in enumerate(shape))


def broadcast_to(x: Tensor, *shape: Any) -> Tensor:
    """x repeated along axes of length 1 (and new leading axes) to this shape, without a copy."""
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    return broadcast_to_p(x, shape=tuple(shape))


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Does an array of this shape broadcast to the other one?"""
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1]))


def sum_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """x summed over the axes along which `shape` was repeated to make x's: the adjoint of broadcast_to."""
    shape, ndim = tuple(shape), x.ndim
    if not shape:
        return sum_p(x, axis=tuple(range(ndim)), keepdims=False)
    lead = ndim - len(shape)
    repeated = tuple([lead + a for a, n in enumerate(shape) if n == 1 and x.shape[lead + a] != 1]) if lead >= 0 else ()
    y = sum_p(x, axis=repeated, keepdims=True) if repeated else x
    y = sum_p(y, axis=tuple(range(lead)), keepdims=False) if lead > 0 else y
    if y.shape != shape:
        raise ValueError(f"sum_to: {shape} does not broadcast to {x.shape}, so {x.shape} has no sum of that shape")
    return y


def normal_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Axes as a sorted tuple of numbers in [0, ndim); None means all."""
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    axes = tuple(sorted([position(a, ndim) for a in axes]))
    if len(axes) > 1 and len(set(axes)) < len(axes):
        raise ValueError(f"axis {axis} names an axis twice")
    return axes


def position(axis: int, ndim: int) -> int:
    """The number in [0, ndim) of an axis that may be counted from the end."""
    if not -ndim <= axis < ndim:
        raise IndexError(f"axis {axis} is out of range for a tensor with {ndim} axes")
    return int(axis) % ndim
