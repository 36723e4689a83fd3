"""Selecting entries, joining tensors, borders: every primitive here is linear, and its rule is its adjoint."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import device
from ..core.array_function import ArrayFunction, made_once
from ..core.context import current
from ..core.first_primitives import stack_p
from ..core.primitive import primitive
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from . import reach
from .shape import full_like, normal_axes, position
from .window import Padding

BASIC = {slice, int, type(None), type(Ellipsis)}  # parts of an index as they are


@primitive(formula="x[index]", kind="linear", saves=(), reach=reach.indexed)
def getitem_p(xp, x, *, index):
    """The entries at a NumPy index: slices, integers, None, Ellipsis, integer arrays, masks."""
    return x[index]


@getitem_p.rule("x", formula="g added up at index, 0 elsewhere")
def getitem_x(g, y, x, *, index):
    return put(g, index=index, shape=x.shape)


@primitive(formula="y[index] += x, from zeros", kind="linear", reach=reach.placed)
def put(xp, x, *, index, shape):
    """Zeros of `shape` with x added at `index`; entries named twice add up. The adjoint of `take`."""
    return assigned(xp, xp.zeros(shape, x.dtype), index, x)


@put.rule("x", formula="g[index]")
def put_x(g, y, x, *, index, shape):
    return getitem_p(g, index=index)


def assigned(xp: Any, y: Any, index: Any, x: Any) -> Any:
    """y, zeros, with x added at `index`."""
    if _repeats(index):
        xp.add.at(y, index, x)
    else:
        y[index] = x
    return y


def _repeats(index: Any) -> bool:
    """May this index name an entry twice? Only integer arrays may."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(getattr(p, "ndim", 0) and p.dtype.kind in "iu" for p in parts if type(p) not in BASIC)


def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]`` as NumPy has it; tensors, lists and inner tuples in the index count as arrays."""
    parts = index if isinstance(index, tuple) else (index,)
    return getitem_p(x, index=tuple([p if type(p) in BASIC else _index_part(p, x) for p in parts]))


def _index_part(part: Any, x: Tensor) -> Any:
    if isinstance(part, Tensor):
        part = part.data
    if isinstance(part, (list, tuple, range)):
        part = listed(values=part)
    if (trace := current().trace) is not None and getattr(getattr(part, "dtype", None), "kind", "") == "b":
        trace.refuse("a mask takes as many entries as it has True: shapes depend on values; use F.where")
    return device.to_device(part, x.device) if isinstance(part, np.ndarray) else part


@ArrayFunction
def listed(xp, *, values):
    """Numbers, or True and False, as an index."""
    return np.asarray(values, dtype=None if len(values) else np.intp)


def flip(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """x with its entries in reverse order along these axes (all by default)."""
    axes = normal_axes(axis, x.ndim)
    return getitem_p(x, index=tuple(slice(None, None, -1 if a in axes else None) for a in range(x.ndim)))


@primitive(formula="x_0, x_1, ... one after another along axis", kind="linear", saves=(), reach=reach.channels)
def concat_p(xp, *tensors, axis):
    """The tensors one after another along an axis they already have."""
    return xp.concatenate(tensors, axis)


@concat_p.rule("tensors", formula="the slice of g that tensor index filled")
def concat_tensors(g, y, *tensors, axis, index):
    start = builtins.sum(t.shape[axis] for t in tensors[:index])
    stop = start + tensors[index].shape[axis]
    return getitem_p(g, index=(slice(None),) * axis + (slice(start, stop),))


def concat(tensors: Sequence[Tensor], axis: int = 1) -> Tensor:
    """The tensors one after another along an axis, channels by default; the other axes must agree.

        >>> F.concat([md.tensor([[1.0, 2.0]]), md.tensor([[3.0]])])
        tensor([[1., 2., 3.]])
    """
    tensors = [as_tensor(t) for t in tensors]
    if not tensors:
        raise ValueError("concat needs at least one tensor")
    axis = position(axis, tensors[0].ndim)
    try:
        return concat_p(*tensors, axis=axis)
    except ValueError as error:
        if len({t.shape[:axis] + t.shape[axis + 1 :] for t in tensors}) == 1:
            raise
        raise ValueError(
            f"concat along axis {axis}: the other axes must agree, got " + " and ".join(str(t.shape) for t in tensors)
        ) from error


def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis.

        >>> F.stack([md.tensor([1.0, 2.0]), md.tensor([3.0, 4.0])])
        tensor([[1., 2.],
                [3., 4.]])
    """
    tensors = [as_tensor(t) for t in tensors]
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(f"stack: the shapes must agree, got {' and '.join(str(t.shape) for t in tensors)}")
    if not tensors:
        raise ValueError("stack needs at least one tensor")
    return stack_p(*tensors, axis=position(axis, tensors[0].ndim + 1))


@primitive(formula="where(condition, a, b)", kind="linear", elementwise=True, saves=())
def where_p(xp, a, b, *, condition):
    """a where the condition holds, b elsewhere."""
    return xp.where(condition, a, b)


@where_p.rule("a", formula="where(condition, g, 0)")
def where_a(g, y, a, b, *, condition):
    return where_p(g, 0.0, condition=condition)


@where_p.rule("b", formula="where(condition, 0, g)")
def where_b(g, y, a, b, *, condition):
    return where_p(0.0, g, condition=condition)


def where(condition: Operand, a: Operand, b: Operand) -> Tensor:
    """a where the condition holds, b elsewhere; all three broadcast. No gradient flows to the condition.

        >>> x = md.tensor([-1.0, 2.0])
        >>> F.where(x > 0, x, 0.0)
        tensor([0., 2.])
    """
    return where_p(a, b, condition=as_array(condition))


def _bordered(x: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """x with zeros around."""
    inner = tuple(slice(low, low + n) for n, (low, _) in zip(x.shape, pairs, strict=True))
    shape = tuple(n + low + high for n, (low, high) in zip(x.shape, pairs, strict=True))
    return put(x, index=inner, shape=shape)


def pad(x: Tensor, pairs: Padding, mode: str = "constant", value: float = 0.0) -> Tensor:
    """x with a border.

    `pairs`: an int (every spatial axis, both sides), one (low, high) per spatial axis (axes 2 on), or one per axis
    of x; or numbers alone as torch has them, low and high of the last axis, then of the one before, and so on. `mode`:
    "constant" (`value`), "reflect" (mirror without the edge), "replicate" (the edge again) or "circular". A negative
    width takes entries away. Raises ValueError for a border wider than the mode can fill.

        >>> F.pad(md.tensor([[[1.0, 2.0, 3.0]]]), [(1, 2)], mode="reflect")
        tensor([[[2., 1., 2., 3., 2., 1.]]])
    """
    x = as_tensor(x)
    pairs = pad_pairs(x, pairs)
    kept = tuple(slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in zip(x.shape, pairs, strict=True))
    if mode in ("constant", "circular") and min(map(min, pairs), default=0) < 0:
        x, pairs = getitem_p(x, index=kept), [(max(low, 0), max(high, 0)) for low, high in pairs]
    if mode == "constant":
        padded = _bordered(x, pairs)
        if value == 0:
            return padded
        one = x.form[tuple(slice(None) if low or high else slice(1) for low, high in pairs)]  # along the other axes
        return where(_bordered(Tensor(full_like(one, True, bool)), pairs), padded, float(value))
    for axis, (low, high) in enumerate(pairs):
        if low or high:
            n, at = x.shape[axis], (slice(None),) * axis
            source = Tensor(device.to_device(_border_source(mode, n, low, high), x.device))
            before = [getitem_p(x, index=(*at, source[:low].data))] if low > 0 else []
            after = [getitem_p(x, index=(*at, source[low + n :].data))] if high > 0 else []
            middle = x if low >= 0 <= high else getitem_p(x, index=(*at, kept[axis]))
            x = concat([*before, middle, *after], axis=axis)
    return x


def pad_pairs(x: Tensor, pairs: Any) -> list[tuple[int, int]]:
    """One (low, high) pair per axis of x, from what `pad` accepts."""
    if isinstance(pairs, int):
        pairs = [(pairs, pairs)] * max(x.ndim - 2, 0)
    pairs = list(pairs)
    if pairs and all(isinstance(p, (int, np.integer)) for p in pairs):
        return pad_pairs(x, _pairs_of_flat(x, [int(p) for p in pairs]))
    pairs = [(p, p) if isinstance(p, int) else tuple(int(q) for q in p) for p in pairs]
    if len(pairs) not in (x.ndim, x.ndim - 2) or any(len(p) != 2 for p in pairs):
        raise ValueError(
            f"pad: {pairs} is not a (low, high) pair per spatial axis or per axis of a tensor of shape {x.shape}"
        )
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    if any(n + min(low, 0) + min(high, 0) < 0 for n, (low, high) in zip(x.shape, pairs, strict=True)):
        raise ValueError(f"pad: the widths {pairs} take away more entries than x {x.shape} has")
    return pairs


def _pairs_of_flat(x: Tensor, flat: list[int]) -> list[tuple[int, int]]:
    """torch's flat widths, (low, high) from the last axis on, as one pair per axis."""
    if len(flat) % 2 or len(flat) > 2 * x.ndim:
        raise ValueError(
            f"pad: {tuple(flat)} has {len(flat)} numbers; low and high of each axis, from the last one on, are an even "
            f"number, at most {2 * x.ndim} for x {x.shape}"
        )
    pairs = list(zip(flat[::2], flat[1::2]))[::-1]
    return [(0, 0)] * (x.ndim - len(pairs)) + pairs


@made_once
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
