"""Order: where the largest entries are, and sorting. Positions are constants; values carry gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import device
from ..core.array_function import ArrayFunction
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
    return Tensor(place_of(x.data, extreme=name, axis=axis, keepdims=keepdims))


@ArrayFunction
def place_of(xp: Any, x: Any, *, extreme: str, axis: int | None, keepdims: bool) -> Any:
    """Where the extreme, "argmax" or "argmin", stands."""
    return getattr(xp, extreme)(x, axis=axis, keepdims=keepdims)


def argsort(x: Tensor, axis: int = -1, descending: bool = False) -> Tensor:
    """The positions along `axis` of the entries in ascending (or descending) order; equal ones keep theirs. NaN is
    larger than anything."""
    x = as_tensor(x)
    if not x.ndim:
        return Tensor(device.namespace([x.data]).zeros((), int))
    axis = position(axis, x.ndim)
    return Tensor(order_of(x.data, axis=axis, descending=descending))


@ArrayFunction
def order_of(xp: Any, x: Any, *, axis: int, descending: bool) -> Any:
    """The positions along the axis of the entries in order."""
    if not descending:
        return x.argsort(axis, kind="stable")
    backwards = (slice(None),) * axis + (slice(None, None, -1),)
    return x.shape[axis] - 1 - x[backwards].argsort(axis, kind="stable")[backwards]  # equal ones reversed twice


def sort(x: Tensor, axis: int = -1, descending: bool = False) -> Ordered:
    """The entries along `axis` in ascending (or descending) order, ``.values``, and where each stood, ``.indices``.

    Equal entries keep their order; NaN is larger than anything. The gradient of a value goes to where it stood.
    """
    x = as_tensor(x)
    order = argsort(x, axis, descending)
    return Ordered(x if not x.ndim else getitem_p(x, index=along(order.data, axis=position(axis, x.ndim))), order)


def topk(x: Tensor, k: int, axis: int = -1, largest: bool = True) -> Ordered:
    """The k largest (or smallest) entries along `axis`, best first, and where each stood; as the first k of `sort`.

    Raises ValueError for a k that the axis has not got.
    """
    x = as_tensor(x)
    axis = position(axis, x.ndim)
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"topk: k={k} of axis {axis}, which has {x.shape[axis]} entries; x is {x.shape}")
    order = getitem_p(argsort(x, axis, largest), index=(slice(None),) * axis + (slice(k),))
    return Ordered(getitem_p(x, index=along(order.data, axis=axis)), order)


@ArrayFunction
def along(xp: Any, index: Any, *, axis: int) -> tuple:
    """The index of the entries ``x[i, j, index[i, j, k], ...]``, an array per axis of x, here for axis 2."""
    grid = list(xp.ix_(*(xp.arange(n) for n in index.shape)))
    grid[axis] = index
    return tuple(grid)
