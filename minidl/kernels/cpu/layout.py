"""How activations lie in memory. NumPy works through an array in rows, and a row costs as much to start as forty
numbers to add: rows must be long. An image's own rows shrink as a network goes deeper while its channels grow, so
activations (N, C, *size) lie with the channels last, as (N, *size, C): their shape stays, their strides tell.

An array in any other layout is right too, only slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import memory

FEW = 8  # channels: with fewer, rows of an image are longer


def channels_last(x: np.ndarray) -> np.ndarray:
    """A view: (N, C, *size) -> (N, *size, C)."""
    return x.transpose(0, *range(2, x.ndim), 1)


def channels_first(x: np.ndarray) -> np.ndarray:
    """A view: (N, *size, C) -> (N, C, *size)."""
    return x.transpose(0, -1, *range(1, x.ndim - 1))


def empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An uninitialised array (N, C, *size): channels last in memory, unless they are few."""
    n, c, *size = shape
    if c < FEW or not size:
        return memory.empty(shape, dtype)
    return channels_first(memory.empty((n, *size, c), dtype))


def empty_like(x: np.ndarray, dtype: Any = None) -> np.ndarray:
    """An uninitialised array of the shape, order of axes and, if no other is given, dtype of x."""
    return shaped_as(x, x.shape, partial(memory.empty, dtype=dtype or x.dtype))


def concatenate(*arrays: np.ndarray, axis: int) -> np.ndarray:
    """Arrays of one dtype, one after another along an axis, all in C order, or channels last and joined by channels."""
    first = arrays[0]
    shape = [*first.shape[:axis], sum([a.shape[axis] for a in arrays]), *first.shape[axis + 1 :]]
    if any(a.dtype != first.dtype for a in arrays):
        return NotImplemented
    if all(a.flags.c_contiguous for a in arrays):
        y = memory.empty(shape, first.dtype)
    elif axis == 1 and all(is_channels_last(a) and not a.flags.c_contiguous for a in arrays):
        y = channels_first(memory.empty((shape[0], *shape[2:], shape[1]), first.dtype))
    else:
        return NotImplemented
    return np.concatenate(arrays, axis, out=y)


def laid_out(x: Any) -> Any:
    """x (N, C, *size) if it lies as `empty` has it, else a copy that does; a weight (F, C, *kernel) is F samples.

    In C order if it has no channels, or is on a GPU.
    """
    if not isinstance(x, np.ndarray) or x.ndim < 3 or x.shape[1] < FEW:
        return x if x.flags.c_contiguous else x.copy(order="C")
    if is_channels_last(x):
        return x
    copy = np.empty_like(empty(x.shape, x.dtype))  # not a view: an optimiser may write into it
    copy[...] = x
    return copy


def is_channels_last(x: np.ndarray) -> bool:
    """Does x (N, C, *size) lie in memory as (N, *size, C), without gaps?"""
    return x.ndim > 2 and channels_last(x).flags.c_contiguous


def pixels(x: np.ndarray) -> np.ndarray:
    """x (..., C), last axis without gaps, as an array (...) of whole pixels: NumPy copies each in one piece."""
    return x.view(_pixel(x.shape[-1] * x.itemsize))[..., 0]


@lru_cache(maxsize=64)
def _pixel(size: int) -> np.dtype:
    return np.dtype((np.void, size))


def strided(x: np.ndarray, shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """A view of x from its first entry on: `as_strided`, a tenth of its time where x has no gaps."""
    if x.flags.c_contiguous:
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return as_strided(x, shape, strides)


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Have two arrays of one shape also one dtype, and lie alike in memory?"""
    return a.dtype == b.dtype and (
        a.strides == b.strides or all(n == 1 or s == t for n, s, t in zip(a.shape, a.strides, b.strides))
    )


def memory_order(x: Any) -> tuple[int, ...]:
    """The axes of x from the slowest in memory to the fastest: ``x.transpose(memory_order(x))`` lies in C order."""
    return tuple(sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis])))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The order that puts transposed axes back."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def shaped_as(x: Any, shape: Sequence[int], make: Callable[[tuple[int, ...]], Any]) -> Any:
    """An array of this shape, made by ``make(shape in memory)``, whose axes lie in memory in the order of x's."""
    order = memory_order(x)
    return make(tuple([shape[axis] for axis in order])).transpose(inverse(order))
