"""Activations, in blocks that are shared among threads. No branches: NumPy's `where` on signs that are as good as
random is ten times as slow as a product or a maximum. So a selection is a product as well, of the bits with 0 or 1."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from .blocks import block_size
from .layout import empty_like
from .workers import share

BLOCK = 1 << 18  # entries worked on at a time, at most
FEW = 1 << 15  # entries: with fewer, the plain function is as fast
ZERO = {np.dtype(t): np.zeros((), t) for t in (np.float16, np.float32, np.float64)}  # faster than Python's 0
UNSIGNED = {t: np.dtype(f"u{t.itemsize}") for t in ZERO}


def relu(x: np.ndarray) -> np.ndarray:
    """``max(x, 0)``; x may be a number, too."""
    if not isinstance(x, np.ndarray):
        return np.maximum(x, 0)
    if x.size < FEW or x.dtype not in ZERO:
        return np.maximum(x, ZERO.get(x.dtype, 0))
    y = empty_like(x)

    def work(y: np.ndarray, x: np.ndarray) -> None:
        np.maximum(x, constant(0.0, x), out=y)

    share(work, list(blocks(y, x)), x.size, products=False)
    return y


def leaky_relu(x: np.ndarray, *, slope: float) -> np.ndarray:
    """x where positive, ``slope * x`` elsewhere: the larger of the two, or the smaller if the slope is above 1.

    x may be a number, too.
    """
    plain = not isinstance(x, np.ndarray) or x.size < FEW or x.dtype not in ZERO
    if plain or not 0 < abs(slope) < np.inf:  # a product with 0 is not always 0
        return np.where(x > 0, x, slope * x)
    y, choose = empty_like(x), np.minimum if slope > 1 else np.maximum

    def work(y: np.ndarray, x: np.ndarray) -> None:
        np.multiply(x, slope, out=y)
        choose(x, y, out=y)

    share(work, list(blocks(y, x)), 2 * x.size, products=False)
    return y


def gated(x: np.ndarray, *, gate: np.ndarray, slope: float = 0) -> np.ndarray:
    """x where the gate is positive, ``slope * x`` elsewhere."""
    if x.size < FEW and not slope and x.dtype in ZERO:
        return (bits(x) * (gate > ZERO.get(gate.dtype, 0))).view(x.dtype)
    y = empty_like(x)
    if x.dtype not in ZERO or not 0 <= slope <= 1 or x.size < FEW:
        y[...] = np.where(gate > 0, x, slope * x if slope else 0)
        return y

    def work(y: np.ndarray, x: np.ndarray, gate: np.ndarray) -> None:
        if slope:
            np.greater(gate, 0, out=y)
            np.maximum(y, constant(slope, x), out=y)
        else:
            y, x = bits(y), bits(x)
            np.greater(gate, 0, out=y)
        y *= x

    share(work, list(blocks(y, x, gate)), 2 * x.size, products=False)
    return y


def bits(x: np.ndarray) -> np.ndarray:
    """The same memory as unsigned integers: times 0 it is the number 0, whatever the number was."""
    return x.view(UNSIGNED[x.dtype])


def constant(value: float, like: np.ndarray) -> np.ndarray:
    """An array of the shape of a block: NumPy takes the maximum with it five times as fast as with a number."""
    return _held(float(value).hex(), like.dtype, BLOCK)[: like.size].reshape(like.shape)


@lru_cache(maxsize=8)
def _held(value: str, dtype: Any, size: int) -> np.ndarray:
    """Of a number in hexadecimal, which tells 0 from -0."""
    values = np.full(size, float.fromhex(value), dtype)
    values.flags.writeable = False
    return values


def blocks(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """The same blocks, of at most BLOCK entries, of arrays of one shape, along the memory of the first."""
    lines = [a.ravel("K") for a in arrays]
    alike = all(strides(a) == strides(arrays[0]) for a in arrays)
    most = block_size(arrays[0].size, BLOCK)
    if alike and all(np.may_share_memory(a, line) for a, line in zip(arrays, lines, strict=True)):
        for i in range(0, lines[0].size, most):
            yield tuple(line[i : i + most] for line in lines)
    else:
        order = sorted(range(arrays[0].ndim), key=lambda axis: -arrays[0].strides[axis])
        yield from _cut(tuple(a.transpose(order) for a in arrays), most)


def strides(a: np.ndarray) -> list[int]:
    """Of the axes that have a length."""
    return [step for step, n in zip(a.strides, a.shape, strict=True) if n > 1]


def _cut(arrays: tuple[np.ndarray, ...], most: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Blocks by the first axis, and where a slice of it is too much by the next ones."""
    n, size = len(arrays[0]), arrays[0].size
    if size > most * n:
        for i in range(n):
            yield from _cut(tuple(a[i] for a in arrays), most)
    elif size:
        step = most * n // size
        for i in range(0, n, step):
            yield tuple(a[i : i + step] for a in arrays)
