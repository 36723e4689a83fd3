"""Order: where the largest entries are, and sorting. Positions are constants; values carry gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import device
from ..core.tensor import Tensor, as_tensor
from .indexing import getitem_p
from .shape import position


class Ordered(NamedTuple):
    """Values in order, and where along the axis each of them stood."""

    values: Tensor
    indices: Tensor


def argmax(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the largest entry stands along `axis`, of all (in C order) if it is None; the first of equal ones."""
    return _extreme("argmax", x, axis, keepdims)


def argmin(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest entry stands along `axis`, of all (in C order) if it is None; the first of equal ones."""
    return _extreme("argmin", x, axis, keepdims)


def _extreme(name: str, x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    axis = None if axis is None else position(axis, x.ndim)
    if not (x.size if axis is None else x.shape[axis]):
        raise ValueError(f"{name} over nothing: shape {x.shape}, axis {axis}")
    return Tensor(getattr(device.namespace([x.data]), name)(x.data, axis=axis, keepdims=keepdims))


def argsort(x: Tensor, axis: int = -1, descending: bool = False) -> Tensor:
    """The positions along `axis` of the entries in ascending (or descending) order; equal ones keep theirs. NaN is
    larger than anything."""
    x = as_tensor(x)
    if not x.ndim:
        return Tensor(device.namespace([x.data]).zeros((), int))
    axis = position(axis, x.ndim)
    backwards = (slice(None),) * axis + (slice(None, None, -1),)
    if not descending:
        return Tensor(x.data.argsort(axis, kind="stable"))
    order = x.data[backwards].argsort(axis, kind="stable")[backwards]  # equal ones reversed twice
    return Tensor(x.shape[axis] - 1 - order)


def sort(x: Tensor, axis: int = -1, descending: bool = False) -> Ordered:
    """The entries along `axis` in ascending (or descending) order, ``.values``, and where each stood, ``.indices``.

    Equal entries keep their order; NaN is larger than anything. The gradient of a value goes to where it stood.
    """
    x = as_tensor(x)
    order = argsort(x, axis, descending)
    return Ordered(x if not x.ndim else getitem_p(x, index=along(position(axis, x.ndim), order.data)), order)


def topk(x: Tensor, k: int, axis: int = -1, largest: bool = True) -> Ordered:
    """The k largest (or smallest) entries along `axis`, best first, and where each stood; as the first k of `sort`.

    Raises ValueError for a k that the axis has not got.
    """
    x = as_tensor(x)
    axis = position(axis, x.ndim)
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"topk: k={k} of axis {axis}, which has {x.shape[axis]} entries; x is {x.shape}")
    order = argsort(x, axis, largest).data[(slice(None),) * axis + (slice(k),)]
    return Ordered(getitem_p(x, index=along(axis, order)), Tensor(order))


def along(axis: int, index: Any) -> tuple:
    """The index of the entries ``x[i, j, index[i, j, k], ...]``, an array per axis of x, here for axis 2."""
    xp = device.namespace([index])
    grid = list(xp.ix_(*(xp.arange(n) for n in index.shape)))
    grid[axis] = index
    return tuple(grid)
