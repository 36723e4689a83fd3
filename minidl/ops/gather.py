"""Entries by the positions that an array names: gather, scatter, masks, one-hot vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import device
from ..core.array_function import ArrayFunction
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from .indexing import getitem, put, where
from .ordering import along
from .shape import broadcasts, position, reshape


def gather(x: Tensor, axis: int, index: Operand) -> Tensor:
    """``y[i, j, k] = x[i, index[i, j, k], k]``, here for axis 1: y has the shape of `index`.

    `index` has as many axes as x, none longer but `axis`. Raises ValueError for another shape, IndexError for a
    position out of range.
    """
    x = as_tensor(x)
    return getitem(x, _places("gather", x, axis, index))


def scatter(x: Tensor, axis: int, index: Operand, src: Operand) -> Tensor:
    """x, but ``y[i, index[i, j, k], k] = src[i, j, k]``, here for axis 1; where `index` names a place twice, the last.

    `src` is a number, or a tensor that has no axis shorter than `index`; what is raised is as in `gather`. Gradients
    flow to x and src, each as far as it is seen in y.
    """
    x = as_tensor(x)
    places = _places("scatter", x, axis, index)
    shape = np.broadcast_shapes(*(p.shape for p in places))
    taken, source = sources(*places, shape=x.shape)
    if not isinstance(src, (int, float)):
        src = reshape(_part("scatter", src, shape), -1) if math.prod(shape) else x.zeros_like().reshape(-1)[:1]
        src = getitem(src, source)
    return where(taken, src, x)


@ArrayFunction
def sources(xp: Any, *places: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Of each entry of an array of this shape: is it named by `places`, an index, and which of them names it last?"""
    order = xp.arange(math.prod(np.broadcast_shapes(*(p.shape for p in places))))
    source = xp.full(shape, -1)
    xp.maximum.at(source, places, order.reshape(np.broadcast_shapes(*(p.shape for p in places))))
    return source >= 0, xp.maximum(source, 0)


def scatter_add(x: Tensor, axis: int, index: Operand, src: Tensor) -> Tensor:
    """x, and ``y[i, index[i, j, k], k] += src[i, j, k]``, here for axis 1; places that are named twice add up."""
    x = as_tensor(x)
    places = _places("scatter_add", x, axis, index)
    shape = np.broadcast_shapes(*(p.shape for p in places))
    return x + put(_part("scatter_add", src, shape), index=places, shape=x.shape)


def _places(name: str, x: Tensor, axis: int, index: Any) -> tuple:
    """The index of x that `index` stands for."""
    axis = position(axis, x.ndim)
    index = device.to_device(as_array(index), x.device)
    if index.dtype.kind not in "iu" and index.size:
        raise TypeError(f"{name}: the index must hold integers, got {index.dtype}")
    if index.ndim != x.ndim or any(n > m for a, (n, m) in enumerate(zip(index.shape, x.shape)) if a != axis):
        raise ValueError(
            f"{name} along axis {axis}: the index has shape {index.shape}; it needs {x.ndim} axes, none but "
            f"axis {axis} longer than those of x {x.shape}"
        )
    return along(places(index, name=name, axis=axis, x=x.shape), axis=axis)


@ArrayFunction
def places(xp: Any, index: Any, *, name: str, axis: int, x: tuple[int, ...]) -> Any:
    """The index, if all its entries are positions of that axis of an array of the shape x; else IndexError."""
    low, high = device.numbers([index.min(), index.max()]) if index.size else (0, -1)  # a GPU waits for this
    if low < 0 or high >= x[axis]:
        raise IndexError(
            f"{name}: the index names positions {low:.0f} to {high:.0f}, axis {axis} of x {x} has 0 to {x[axis] - 1}"
        )
    return index.astype(np.int64)


def _part(name: str, src: Any, shape: tuple[int, ...]) -> Tensor:
    """The entries of src that an index of this shape takes."""
    src = as_tensor(src)
    if src.ndim != len(shape) or any(n < m for n, m in zip(src.shape, shape)):
        raise ValueError(f"{name}: src has shape {src.shape}, the index {shape}: no axis of src may be shorter")
    return getitem(src, tuple(slice(n) for n in shape))


def masked_fill(x: Tensor, mask: Operand, value: Operand) -> Tensor:
    """x, but `value` (a number, or a tensor of one entry) where the mask, which broadcasts to x, is True."""
    x, mask = as_tensor(x), as_array(mask)
    if mask.dtype.kind != "b":
        raise TypeError(f"masked_fill: the mask must hold True and False, got {mask.dtype}; try mask != 0")
    if not broadcasts(mask.shape, x.shape) or as_array(value).size != 1:
        raise ValueError(
            f"masked_fill: the mask {mask.shape} must broadcast to x {x.shape}, and the value have one entry, "
            f"not shape {as_array(value).shape}"
        )
    value = value if isinstance(value, (int, float)) else as_tensor(value).reshape(()).astype(x.dtype)
    return where(device.to_device(mask, x.device), value, x)


def one_hot(target: Operand, num_classes: int = -1) -> Tensor:
    """Class numbers (*) as vectors (*, num_classes) of integers, 1 at the class and else 0; -1: as many as there are.

    Raises IndexError for a class out of range.

        >>> F.one_hot([0, 2], 3)
        tensor([[1, 0, 0],
                [0, 0, 1]], dtype=int64)
    """
    target = as_array(target)
    if target.dtype.kind not in "iu" and target.size:
        raise TypeError(f"one_hot: class numbers must be integers, got {target.dtype}")
    if num_classes == -1:
        num_classes = int(Tensor(target).max().item()) + 1 if target.size else 0
    return Tensor(one_hot_rows(target, classes=num_classes))


@ArrayFunction
def one_hot_rows(xp: Any, target: Any, *, classes: int) -> Any:
    low, high = device.numbers([target.min(), target.max()]) if target.size else (0, -1)
    if low < 0 or high >= classes:
        raise IndexError(f"one_hot: the classes are {low:.0f} to {high:.0f}, {classes} classes are 0 to {classes - 1}")
    return (target[..., None] == xp.arange(classes)).astype(np.int64)
