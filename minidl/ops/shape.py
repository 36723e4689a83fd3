"""Moving entries about: every primitive here is linear, and its rule is the move back."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import device
from ..core.primitive import primitive
from ..core.tensor import Tensor, as_array, as_tensor
from ..kernels.cpu.layout import shaped_as


@primitive(formula="x", kind="linear", elementwise=True)
def identity(xp, x):
    """The same value under a new name in the graph."""
    return x


@identity.rule("x", formula="g")
def _(g, y, x):
    return g


@primitive(formula="x as dtype", kind="linear", reads=())
def cast(xp, x, *, dtype):
    """x in another dtype."""
    return x.astype(dtype)


@cast.rule("x", formula="g as the dtype of x")
def _(g, y, x, *, dtype):
    return cast(g, dtype=x.dtype)


@primitive(formula="x on device", kind="linear")
def copy_to(xp, x, *, device_name):
    """x on another device."""
    return device.to_device(x, device_name)


@copy_to.rule("x", formula="g on the device of x")
def _(g, y, x, *, device_name):
    return copy_to(g, device_name=x.device)


@primitive(formula="x, read in C order into shape", kind="linear", reads=())
def reshaped(xp, x, *, shape):
    """The same entries in the same (C) order, in another shape."""
    return x.reshape(shape)


@reshaped.rule("x", formula="g, read in C order into the shape of x")
def _(g, y, x, *, shape):
    return reshaped(g, shape=x.shape)


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """The same entries in the same order, in another shape; one -1 is worked out from the rest."""
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    return reshaped(x, shape=tuple(shape))


@primitive(formula="y[i_axes[0], i_axes[1], ...] = x[i_0, i_1, ...]", kind="linear", reads=())
def permuted(xp, x, *, axes):
    """x with its axes in another order: axis `axes[k]` of x becomes axis k."""
    return x.transpose(axes)


@permuted.rule("x", formula="g with its axes put back")
def _(g, y, x, *, axes):
    return permuted(g, axes=tuple(sorted(range(len(axes)), key=axes.__getitem__)))


def transpose(x: Tensor, *axes: Any) -> Tensor:
    """x with its axes in another order, as numpy.transpose: reversed if none is given."""
    axes = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
    axes = [position(a, x.ndim) for a in axes] if axes else range(x.ndim)[::-1]
    return permuted(x, axes=tuple(axes))


def swapaxes(x: Tensor, a: int, b: int) -> Tensor:
    """x with two axes exchanged."""
    axes = list(range(x.ndim))
    try:
        axes[a], axes[b] = axes[b], axes[a]
    except IndexError:
        raise IndexError(f"axis {a} or {b} is out of range for a tensor with {x.ndim} axes") from None
    return permuted(x, axes=tuple(axes))


def squeeze(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """x without axes of length 1: all of them, or those named (which must have length 1)."""
    axes = normal_axes(axis, x.ndim)
    for a in axes if axis is not None else ():
        if x.shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} of {x.shape} has length {x.shape[a]}, not 1")
    return reshaped(x, shape=tuple(n for a, n in enumerate(x.shape) if n != 1 or a not in axes))


def expand_dims(x: Tensor, axis: int | Sequence[int]) -> Tensor:
    """x with new axes of length 1 at these positions of the result."""
    new = (axis,) if isinstance(axis, int) else tuple(axis)
    ndim = x.ndim + len(new)
    new = normal_axes(new, ndim)
    old = iter(x.shape)
    return reshaped(x, shape=tuple(1 if a in new else next(old) for a in range(ndim)))


SMALL = 256  # entries that are copied sooner than numpy.broadcast_to has made a view


@primitive(formula="y[..., i, ...] = x[..., i or 0, ...]", kind="linear", reads=())
def broadcast(xp, x, *, shape):
    """x repeated along axes of length 1, and along new leading axes: a view, unless it is small."""
    if math.prod(shape) > SMALL or x.ndim > len(shape):  # an assignment would drop leading axes of length 1
        return xp.broadcast_to(x, shape)
    y = xp.empty(shape, x.dtype)
    y[...] = x
    return y


@broadcast.rule("x", formula="g summed over the repeated axes")
def _(g, y, x, *, shape):
    return sum_to(g, x.shape)


def broadcast_to(x: Tensor, *shape: Any) -> Tensor:
    """x repeated along axes of length 1 (and new leading axes) to this shape, without a copy."""
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    return broadcast(x, shape=tuple(shape))


def sum_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """x summed over the axes along which `shape` was repeated to make x's: the adjoint of broadcast_to."""
    shape = tuple(shape)
    lead = x.ndim - len(shape)
    repeated = tuple([lead + a for a, n in enumerate(shape) if n == 1 and x.shape[lead + a] != 1])
    if repeated:
        x = summed(x, axis=repeated, keepdims=True)
    return summed(x, axis=tuple(range(lead)), keepdims=False) if lead else x


@primitive(formula="x[index]", kind="linear", reads=())
def take(xp, x, *, index):
    """The entries at a NumPy index: slices, integers, None, Ellipsis, integer arrays, masks."""
    return x[index]


@take.rule("x", formula="g added up at index, 0 elsewhere")
def _(g, y, x, *, index):
    return put(g, index=index, shape=x.shape)


@primitive(formula="y[index] += x, from zeros", kind="linear")
def put(xp, x, *, index, shape):
    """Zeros of `shape` with x added at `index`; entries named twice add up. The adjoint of `take`."""
    zeros = partial(xp.zeros, dtype=x.dtype)
    y = shaped_as(x, shape, zeros) if x.ndim == len(shape) else zeros(shape)
    if _repeats(index):
        xp.add.at(y, index, x)
    else:
        y[index] = x
    return y


@put.rule("x", formula="g[index]")
def _(g, y, x, *, index, shape):
    return take(g, index=index)


def _repeats(index: Any) -> bool:
    """May this index name an entry twice? Only integer arrays may."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(getattr(p, "ndim", 0) and p.dtype.kind in "iu" for p in parts)


def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]`` as NumPy has it; tensors, lists and inner tuples in the index count as arrays."""
    parts = index if isinstance(index, tuple) else (index,)
    return take(x, index=tuple([_index_part(p, x) for p in parts]))


def _index_part(part: Any, x: Tensor) -> Any:
    if isinstance(part, Tensor):
        return part.data
    if isinstance(part, (list, tuple, range)):
        part = np.asarray(part, dtype=None if len(part) else np.intp)
    return device.to_device(part, x.device) if isinstance(part, np.ndarray) else part


def flip(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """x with its entries in reverse order along these axes (all by default)."""
    axes = normal_axes(axis, x.ndim)
    return take(x, index=tuple(slice(None, None, -1 if a in axes else None) for a in range(x.ndim)))


@primitive(formula="x_0, x_1, ... one after another along axis", kind="linear", reads=())
def concatenated(xp, *tensors, axis):
    """The tensors one after another along an axis they already have."""
    return xp.concatenate(tensors, axis)


@concatenated.rule("tensors", formula="the slice of g that tensor index filled")
def _(g, y, *tensors, axis, index):
    start = builtins.sum(t.shape[axis] for t in tensors[:index])
    stop = start + tensors[index].shape[axis]
    return take(g, index=(slice(None),) * axis + (slice(start, stop),))


def concat(tensors: Sequence[Tensor], axis: int = 1) -> Tensor:
    """The tensors one after another along an axis, channels by default; the other axes must agree."""
    tensors = [as_tensor(t) for t in tensors]
    if not tensors:
        raise ValueError("concat needs at least one tensor")
    axis = normal_axes(axis, tensors[0].ndim)[0]
    for t in tensors[1:]:
        if t.shape[:axis] + t.shape[axis + 1 :] != tensors[0].shape[:axis] + tensors[0].shape[axis + 1 :]:
            raise ValueError(
                f"concat along axis {axis}: the other axes must agree, got "
                + " and ".join(str(t.shape) for t in tensors)
            )
    return concatenated(*tensors, axis=axis)


def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis."""
    tensors = [as_tensor(t) for t in tensors]
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(f"stack: the shapes must agree, got {' and '.join(str(t.shape) for t in tensors)}")
    if not tensors:
        raise ValueError("stack needs at least one tensor")
    return concat([expand_dims(t, axis) for t in tensors], axis=axis)


@primitive(formula="where(condition, a, b)", kind="linear", elementwise=True, reads=())
def select(xp, a, b, *, condition):
    """a where the condition holds, b elsewhere."""
    return xp.where(condition, a, b)


@select.rule("a", formula="where(condition, g, 0)")
def _(g, y, a, b, *, condition):
    return select(g, 0.0, condition=condition)


@select.rule("b", formula="where(condition, 0, g)")
def _(g, y, a, b, *, condition):
    return select(0.0, g, condition=condition)


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where the condition holds, b elsewhere; all three broadcast. No gradient flows to the condition."""
    return select(a, b, condition=as_array(condition))


def pad(x: Tensor, pairs: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """x with a border.

    `pairs`: an int (every spatial axis, both sides), one (low, high) per spatial axis (axes 2 on), or one per axis
    of x. `mode`: "constant" (`value`), "reflect" (mirror without the edge), "replicate" (the edge again) or
    "circular". Raises ValueError for a negative border, or one wider than the mode can fill.
    """
    pairs = pad_pairs(x, pairs)
    if mode == "constant":
        inner = tuple(slice(low, low + n) for n, (low, _) in zip(x.shape, pairs, strict=True))
        shape = tuple(n + low + high for n, (low, high) in zip(x.shape, pairs, strict=True))
        padded = put(x, index=inner, shape=shape)
        if value == 0:
            return padded
        border = shaped_as(x.data, shape, partial(np.ones, dtype=bool))
        border[inner] = False
        return where(device.to_device(border, x.device), float(value), padded)
    for axis, (low, high) in enumerate(pairs):
        if low or high:
            n, at = x.shape[axis], (slice(None),) * axis
            source = device.to_device(_border_source(mode, n, low, high), x.device)
            before = [take(x, index=(*at, source[:low]))] if low else []
            after = [take(x, index=(*at, source[low + n :]))] if high else []
            x = concat([*before, x, *after], axis=axis)
    return x


def pad_pairs(x: Tensor, pairs: Any) -> list[tuple[int, int]]:
    """One (low, high) pair per axis of x, from what `pad` accepts."""
    if isinstance(pairs, int):
        pairs = [(pairs, pairs)] * max(x.ndim - 2, 0)
    pairs = [(p, p) if isinstance(p, int) else tuple(int(q) for q in p) for p in pairs]
    if len(pairs) not in (x.ndim, x.ndim - 2) or any(len(p) != 2 for p in pairs):
        raise ValueError(
            f"pad: {pairs} is not a (low, high) pair per spatial axis or per axis of a tensor of shape {x.shape}"
        )
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    if any(q < 0 for p in pairs for q in p):
        raise ValueError(f"pad: widths must be 0 or more, got {pairs}; slice to make a tensor smaller")
    return pairs


def _border_source(mode: str, n: int, low: int, high: int) -> np.ndarray:
    """For each position of the padded axis, the position of the axis that it repeats."""
    i = np.arange(-low, n + high)
    widest = {"reflect": n - 1, "circular": n, "replicate": None if n else 0}
    if mode not in widest:
        raise ValueError(f'pad mode {mode!r} is unknown: "constant", "reflect", "replicate" or "circular"')
    if widest[mode] is not None and max(low, high) > widest[mode]:
        raise ValueError(
            f"pad: {mode} of an axis of length {n} can add at most {widest[mode]}, asked for {(low, high)}"
        )
    if mode == "replicate":
        return np.clip(i, 0, n - 1)
    if mode == "circular":
        return i % n
    i = np.abs(i)  # mirror at 0, then at n - 1
    return np.where(i < n, i, 2 * (n - 1) - i)


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


from .reduce import summed  # noqa: E402  (the two files need each other)
