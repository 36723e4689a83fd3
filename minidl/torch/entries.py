"""Entries of tensors by their places, by torch's names, of the engine's values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor as Value
from ..core.tensor import as_array, as_tensor
from ..ops.indexing import getitem_p
from .shaping import at_places


def gather(input: Value, dim: int, index: Value) -> Value:
    return F.gather(input, dim, index)


def scatter(
    input: Value, dim: int, index: Value, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Value:
    src = value if src is None else src
    if reduce is not None:
        named = {"add": "sum", "multiply": "prod"}
        return scatter_reduce(input, dim, index, src, named[reduce])
    if not isinstance(src, Value):
        src = Value(np.full(index.shape, src, input.dtype))
    return F.scatter(input, dim, index, src[tuple(slice(n) for n in index.shape)])


def scatter_reduce(
    input: Value, dim: int, index: Value, src: Any, reduce: str, *, include_self: bool = True
) -> Value:
    """Each entry of `input` joined with those of `src` that `index` sends to it. Refused for the products and extremes
    of tensors in a graph."""
    src = src if isinstance(src, Value) else Value(np.full(index.shape, src, input.dtype))
    src = src[tuple(slice(n) for n in index.shape)]
    hit = F.scatter(Value(np.zeros(input.shape, bool)), dim, index, Value(np.ones(index.shape, bool)))
    start = {"sum": 0, "mean": 0, "prod": 1, "amax": -np.inf, "amin": np.inf}
    if reduce not in start:
        raise RuntimeError(f"scatter_reduce: reduce={reduce!r} is none of {', '.join(start)}")
    if reduce in ("sum", "mean"):
        total = F.scatter_add(input if include_self else F.where(hit, 0, input).astype(input.dtype), dim, index, src)
        if reduce == "sum":
            return total
        ones = Value(np.full(input.shape, include_self, int))
        count = F.scatter_add(ones, dim, index, Value(np.ones(index.shape, int)))
        count = Value(np.maximum(count.data, 1).astype(input.dtype))
        return total / count if input.dtype.kind == "f" else Value(total.data // count.data)
    if input.node is not None or src.node is not None:
        raise NotImplementedError(f"scatter_reduce: {reduce} has no derivative here; a loop over the groups and "
                                  f"torch.{reduce} has")  # fmt: skip
    y = input.data.copy()
    if not include_self:
        limits = np.iinfo(y.dtype) if y.dtype.kind in "iu" else np.finfo(y.dtype)
        first = {"prod": 1, "amax": limits.min, "amin": limits.max}[reduce]
        y[hit.data] = first if y.dtype.kind in "iu" else start[reduce]
    places = list(np.indices(index.shape))
    places[dim] = index.data
    {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}[reduce].at(y, tuple(places), src.data)
    return Value(y)


def scatter_add(input: Value, dim: int, index: Value, src: Value) -> Value:
    return F.scatter_add(input, dim, index, src[tuple(slice(n) for n in index.shape)])


def index_select(input: Value, dim: int, index: Value) -> Value:
    return at_places(input, dim, index.data) if input.ndim else input


def _along(input: Value, dim: int, index: Value) -> Value:
    shape = [1] * input.ndim
    shape[dim] = -1
    target = list(input.shape)
    target[dim] = index.size
    return Value(np.broadcast_to(index.data.reshape(shape), target).copy())


def index_add(input: Value, dim: int, index: Value, source: Value, *, alpha: Any = 1) -> Value:
    return F.scatter_add(input, dim, _along(input, dim, index), source if alpha == 1 else alpha * source)


def index_copy(input: Value, dim: int, index: Value, source: Value) -> Value:
    return F.scatter(input, dim, _along(input, dim, index), source)


def index_fill(input: Value, dim: int, index: Value, value: Any) -> Value:
    return scatter(input, dim, _along(input, dim, index), value)


def index_put(input: Value, indices: tuple, values: Value, accumulate: bool = False) -> Value:
    places = np.arange(input.size).reshape(input.shape)[tuple(as_array(i) for i in indices)]
    values = as_tensor(values).astype(input.dtype).broadcast_to(places.shape).reshape(-1)
    join = F.scatter_add if accumulate else F.scatter
    return join(input.reshape(-1), 0, places.reshape(-1), values).reshape(input.shape)


def masked_fill(input: Value, mask: Value, value: Any) -> Value:
    value = value.item() if isinstance(value, Value) and value.node is None else value
    return F.masked_fill(input, mask.astype(bool), value)


def masked_select(input: Value, mask: Value) -> Value:
    shape = np.broadcast_shapes(input.shape, mask.shape)
    return getitem_p(input.broadcast_to(shape), index=(np.broadcast_to(mask.data, shape),))


def masked_scatter(input: Value, mask: Value, source: Value) -> Value:
    mask = np.broadcast_to(mask.data, input.shape)
    return index_put(input, (mask,), source.reshape(-1)[: int(mask.sum())])


def put(input: Value, index: Value, source: Value, accumulate: bool = False) -> Value:
    return index_put(input.reshape(-1), (index,), source, accumulate).reshape(input.shape)


def take(input: Value, index: Value) -> Value:
    return getitem_p(input.reshape(-1), index=(index.data,))


def take_along_dim(input: Value, indices: Value, dim: int | None = None) -> Value:
    return take(input, indices) if dim is None else F.gather(input, dim, indices)


def nonzero(input: Value, *, as_tuple: bool = False) -> Any:
    found = input.data.nonzero()
    return tuple(map(Value, found)) if as_tuple else Value(np.stack(found, 1) if found else np.zeros((0, 0), int))


FUNCTIONS: tuple[Callable, ...] = (
    gather, scatter, scatter_add, scatter_reduce, index_select, index_add, index_copy, index_fill, index_put,
    masked_fill, masked_select, masked_scatter, take, take_along_dim, put, nonzero,
)  # fmt: skip
TABLE: dict[str, Callable] = {**{f.__name__: f for f in FUNCTIONS}, "argwhere": nonzero}
