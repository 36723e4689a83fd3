"""The same entries in another shape or order; entries by an index; joining."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Value
from ..recording import SaveError, Size
from .table import writer

SINGLE = (slice, int, np.integer, Size)  # parts of an index for one axis
BASIC = (*SINGLE, type(None), type(Ellipsis))
FAR = np.iinfo(np.int64).max


@writer("reshape", dependent=("shape",))
def reshape(g: Any, x: Any, *, shape: Any) -> Any:
    return g.Reshape(x, g.shape(g.out.shape))


@writer("transpose")
def transpose(g: Any, x: Any, *, axes: Any) -> Any:
    return g.Transpose(x, perm=[int(a) for a in axes]) if axes else g.Identity(x)


@writer("broadcast_to", dependent=("shape",))
def broadcast_to(g: Any, x: Any, *, shape: Any) -> Any:
    return g.Expand(x, g.ints(shape))


@writer("concat")
def concat(g: Any, *tensors: Any, axis: int) -> Any:
    return g.Concat(*[g.cast(t, g.out.dtype) for t in tensors], axis=axis)


@writer("stack")
def stack(g: Any, *tensors: Any, axis: int) -> Any:
    return g.Concat(*[g.Unsqueeze(g.cast(t, g.out.dtype), np.array([axis])) for t in tensors], axis=axis)


@writer("take")
def take(g: Any, x: Any, *, axis: int, index: Any) -> Any:
    return g.Gather(x, index, axis=axis)


@writer("places", dependent=("x",))
def places(g: Any, index: Any, **checked: Any) -> Any:
    return g.cast(index, np.int64)


@dataclass(frozen=True)
class Along:
    """What `along` makes for the other axes: with the positions on theirs, they look these up along one axis."""

    axis: int
    positions: Value


@writer("along")
def along(g: Any, index: Any, *, axis: int) -> Any:
    positions = g.cast(index, np.int64)
    return tuple([positions if i == axis else Along(axis, positions) for i in range(len(index.shape))])


# --- getitem


@writer("getitem", dependent=("index",))
def getitem(g: Any, x: Any, *, index: tuple) -> Any:
    index = tuple(_without_masks(index if isinstance(index, tuple) else (index,)))
    arrays = [p for p in index if not isinstance(p, BASIC)]
    if (at := next((p for p in index if isinstance(p, Along)), None)) is not None:
        return g.GatherElements(x, at.positions, axis=at.axis)
    index = _spread(index, len(x.shape))
    x = _sliced(g, x, [p for p in index if p is not None])
    if arrays:
        return _gathered(g, x, index)
    # integers drop their axis, None makes one
    drop = [a for a, p in enumerate(p for p in index if p is not None) if not isinstance(p, slice)]
    y = g.Squeeze(x, np.array(drop)) if drop else x
    new = [a for a, p in enumerate(p for p in index if p is None or isinstance(p, slice)) if p is None]
    y = g.Unsqueeze(y, np.array(new)) if new else y
    return y if y is not x or not drop else g.Identity(x)


def _without_masks(index: tuple) -> Iterator[Any]:
    """The index with the positions that are True in place of each mask, an array for each of its axes."""
    for part in index:
        if getattr(getattr(part, "dtype", None), "kind", "") != "b":
            yield part
        elif isinstance(part, Value):
            raise SaveError("a mask takes as many entries as it has True; use F.where")
        else:
            yield from part.nonzero()


def _spread(index: tuple, rank: int) -> list[Any]:
    """The index with a part for each axis; an Ellipsis stands for as many as are missing."""
    missing = rank - sum(p is not None and p is not Ellipsis for p in index)
    at = next((k for k, p in enumerate(index) if p is Ellipsis), len(index))
    return [*index[:at], *[slice(None)] * missing, *index[at + 1 :]]


def _sliced(g: Any, x: Value, parts: list[Any]) -> Value:
    """x cut by all slices and integers; the axes of integers stay, with length 1."""
    cuts = [(axis, *_bounds(p, x.shape[axis])) for axis, p in enumerate(parts) if isinstance(p, SINGLE)]
    cuts = [(axis, start, stop, step) for axis, start, stop, step in cuts if (start, stop, step) != (0, FAR, 1)]
    if not cuts:
        return x
    axes, starts, stops, steps = zip(*cuts)
    return g.Slice(x, g.ints(starts), g.ints(stops), g.ints(axes), g.ints(steps))


def _bounds(part: Any, length: Any) -> tuple[Any, Any, int]:
    """start, stop and step: ONNX counts negative ones from the end as well, and takes far ones for the ends."""
    if not isinstance(part, slice):
        stop = FAR if isinstance(part, (int, np.integer)) and part == -1 else _plus_one(part)
        return part, stop, 1
    step = 1 if part.step is None else part.step
    start = part.start if part.start is not None else (0 if step > 0 else FAR)
    if part.stop is None or (part.stop == length and step > 0):
        return start, FAR if step > 0 else -FAR, step
    return start, part.stop, step


def _plus_one(n: Any) -> Any:
    return Size(n.slope, n.offset + 1) if isinstance(n, Size) else n + 1


def _gathered(g: Any, x: Value, index: list[Any]) -> Any:
    """Integer arrays, and the integers among them, which NumPy counts as arrays; `x` is cut already."""
    parts = [p for p in index if p is not None]
    advanced = [a for a, p in enumerate(parts) if not isinstance(p, slice)]
    if any(p is None for p in index):
        raise SaveError("an index with arrays and None at once; index twice")
    arrays = [np.array(0) if isinstance(parts[a], BASIC) else parts[a] for a in advanced]
    if len(arrays) == 1:
        return g.Gather(x, g.cast(arrays[0], np.int64), axis=advanced[0])
    rest = [a for a in range(len(parts)) if a not in advanced]
    x = g.Transpose(x, perm=advanced + rest)  # the axes that are looked up first
    ndim = max(len(a.shape) for a in arrays)
    places = g.Concat(*[g.Unsqueeze(p, np.array([ndim])) for p in _broadcast(g, arrays)], axis=-1)
    y = g.GatherND(x, places)  # (*index, *rest)
    if advanced[-1] - advanced[0] + 1 != len(advanced):
        return y
    first = advanced[0]  # neighbours: the result has the new axes in their place
    order = [*range(ndim, ndim + first), *range(ndim), *range(ndim + first, ndim + len(rest))]
    return g.Transpose(y, perm=order)


def _broadcast(g: Any, arrays: list[Any]) -> list[Any]:
    """Index arrays of one shape."""
    constant = [isinstance(a, np.ndarray) for a in arrays]
    if all(constant):
        return [g.constant(a.astype(np.int64)) for a in np.broadcast_arrays(*arrays)]
    values = [g.cast(a, np.int64) for a in arrays]
    shape = values[0]
    for other in values[1:]:  # a sum has the shape that all have together
        shape = g.Add(shape, other)
    shape = g.Shape(shape)
    return [g.Expand(v, shape) for v in values]


# --- put


@writer("put", dependent=("index", "shape"))
def put(g: Any, x: Any, *, index: Any, shape: tuple) -> Any:
    index = index if isinstance(index, tuple) else (index,)
    arrays = [p for p in index if not isinstance(p, BASIC)]
    if not index:
        return g.Identity(x)
    if not arrays and None not in index:
        index = tuple(_spread(index, len(shape)))
        if axes := [i for i, p in enumerate(index) if isinstance(p, int)]:  # one entry is a slice of one
            index = tuple([slice(p, p + 1 or None) if isinstance(p, int) else p for p in index])
            lengths = list(x.shape)
            for axis in axes:
                lengths.insert(axis, 1)
            x = Value(g.Unsqueeze(x, np.array(axes)).name, x.dtype, tuple(lengths))
        pads = _pads(list(index), shape, g.out.shape, x)
        if pads is not None:
            lows, highs = pads
            if x.dtype == bool:
                return g.cast(g.Pad(g.cast(x, np.int32), g.ints([*lows, *highs])), bool)
            return g.Pad(x, g.ints([*lows, *highs]))
    if (at := next((p for p in index if isinstance(p, Along)), None)) is not None:
        zeros = g.Expand(g.value(0, x.dtype), g.ints(shape))
        return g.ScatterElements(zeros, at.positions, x, axis=at.axis, reduction="add")
    if any(isinstance(p, Value) for p in index) or any(isinstance(n, Size) for n in (*shape, *x.shape)):
        raise SaveError("entries added up at places that are computed; use scatter_add")
    cells = np.arange(math.prod(shape)).reshape(shape)[index].reshape(-1)  # where each entry of x goes
    flat = g.ScatterElements(
        np.zeros(math.prod(shape), x.dtype), cells, g.Reshape(x, np.array([-1])), axis=0, reduction="add"
    )
    return g.Reshape(flat, g.ints(shape))


def _pads(index: list[Any], shape: tuple, whole: tuple, x: Value) -> tuple[list, list] | None:
    """Zeros before and after along each axis, if the index is a block."""
    if not all(isinstance(p, slice) and p.step in (None, 1) for p in index):
        return None
    lows, highs = [], []
    for part, n, inner in zip(index, shape, x.shape):
        low = 0 if part.start is None else part.start
        if isinstance(low, int) and low < 0:
            low = n + low if isinstance(n, int) else low
        high = n - inner if low == 0 else n - inner - low
        if isinstance(low, int) and low < 0:
            return None
        lows.append(low)
        highs.append(high)
    return lows, highs

