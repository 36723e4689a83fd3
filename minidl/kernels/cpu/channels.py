"""Sums and affine maps per channel, what batch normalisation is made of, in blocks that stay in a cache.

An array (N, C, *size) is worked on as a matrix, without being moved. In C order with large images a channel fills
rows of the matrix (N * C, P); otherwise its columns hold the channels, over and over if they are few: (A / k, k * C).
Coefficients are broadcast against the matrix, as a column or as a row. Sums are matrix products with a vector of ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from . import memory
from .activation import bits, constant
from .layout import channels_first, channels_last, is_channels_last
from .memory import scratch
from .workers import share

BLOCK = 1 << 18  # entries worked on at a time: with fewer, threads wait for the GIL more than they compute
ROW = 1 << 13  # entries of a row that coefficients are broadcast against: in shorter ones NumPy copies what it repeats
SUMMED = 1 << 10  # entries of a row of sums: adding few long rows is fast, and rounding errors stay small
IMAGE = 1 << 7  # entries: with fewer in a channel of an image, rows of all channels are better
COST = 4  # of one entry, in multiplications, to decide if sharing the work is worth it

Block = tuple[int, slice, slice]  # the group (sums of one group are of different channels), rows, columns


class Rows:
    """The matrix (N * C, P): each row belongs to one channel."""

    def __init__(self, n: int, channels: int, p: int):
        self.shape, self.channels, self.images = (n * channels, p), channels, n
        width = min(p, BLOCK)
        columns = list(enumerate(cuts(p, width)))
        self.blocks = [(i, rows, c) for rows in cuts(n * channels, max(1, BLOCK // width)) for i, c in columns]
        self.table_shape = len(columns), n * channels

    def part(self, matrix: np.ndarray, block: Block) -> np.ndarray:
        return matrix[block[1:]]

    def coefficients(self, v: np.ndarray) -> np.ndarray:
        """(C,) -> (N * C, 1)"""
        return np.tile(v, self.images)[:, None]

    def chosen(self, coefficients: np.ndarray, block: Block) -> np.ndarray:
        return coefficients[block[1]]

    def summed(self, part: np.ndarray) -> np.ndarray:
        return part

    def place(self, block: Block, part: np.ndarray) -> tuple[int, slice]:
        return block[:2]

    def count(self, part: np.ndarray) -> int:
        return part.shape[1]

    def dot(self, weights: np.ndarray, part: np.ndarray, out: np.ndarray) -> None:
        np.dot(part, weights, out=out)

    def along(self, v: np.ndarray) -> np.ndarray:
        return v[:, None]

    def by_channel(self, table: np.ndarray) -> np.ndarray:
        return table.reshape(-1, self.channels, 1)


class Columns:
    """The matrix (A, C * B): each column belongs to one channel. Blocks of short rows are read with k rows in one."""

    def __init__(self, a: int, channels: int, b: int):
        self.shape, self.channels, self.b = (a, channels * b), channels, b
        self.width = channels * b or 1
        a = a if channels * b else 0  # nothing to cut
        self.short = self.width * max(1, SUMMED // self.width)
        self.k = math.ceil(ROW / self.short) * self.short // self.width if self.width < ROW else 1
        width = self.width if self.k > 1 else max(1, ROW // 4 // b) * b  # of a block: whole channels
        whole = a - a % self.k
        rows = [*cuts(whole, self.k * max(1, BLOCK // (self.k * width))), *cuts(a, a, whole)]
        self.blocks = [(i, r, columns) for i, r in enumerate(rows) for columns in cuts(self.width, width)]
        self.table_shape = len(rows), self.short

    def part(self, matrix: np.ndarray, block: Block) -> np.ndarray:
        part = matrix[block[1:]]
        return part if self.k == 1 else part.reshape(-1, min(self.k, len(part)) * self.width)

    def coefficients(self, v: np.ndarray) -> np.ndarray:
        """(C,) -> (k * C * B,)"""
        table = np.empty((self.k, self.channels, self.b), v.dtype)
        table[...] = v[:, None]
        return table.reshape(-1)

    def chosen(self, coefficients: np.ndarray, block: Block) -> np.ndarray:
        rows, columns = block[1:]
        return coefficients[columns if self.k == 1 else slice((rows.stop - rows.start) * self.width)]

    def summed(self, part: np.ndarray) -> np.ndarray:
        """A block with shorter rows."""
        return part if self.k == 1 else part.reshape(-1, self.width if part.size % self.short else self.short)

    def place(self, block: Block, part: np.ndarray) -> tuple[int, slice]:
        return block[0], block[2] if self.k == 1 else slice(part.shape[1])

    def count(self, part: np.ndarray) -> int:
        return len(part)

    def dot(self, weights: np.ndarray, part: np.ndarray, out: np.ndarray) -> None:
        np.dot(weights, part, out=out)

    def along(self, v: np.ndarray) -> np.ndarray:
        return v

    def by_channel(self, table: np.ndarray) -> np.ndarray:
        return table.reshape(-1, self.channels, self.b)


def cuts(stop: int, step: int, start: int = 0) -> Iterator[slice]:
    return (slice(i, min(i + step, stop)) for i in range(start, stop, step or 1))


rows_of, columns_of = lru_cache(256)(Rows), lru_cache(256)(Columns)  # a plan follows from the shape alone


def as_matrix(x: np.ndarray) -> tuple[Rows | Columns, np.ndarray]:
    """How x (N, C, *size) is cut into blocks, and the matrix that they are blocks of (a copy if x has gaps)."""
    n, c, *size = x.shape
    p = math.prod(size)
    if not x.flags.c_contiguous and is_channels_last(x):
        return columns_of(n * p, c, 1), channels_last(x).reshape(n * p, c)
    plan = rows_of(n, c, p) if p >= IMAGE else columns_of(n, c, p)
    return plan, np.ascontiguousarray(x).reshape(plan.shape)


def as_matrix_like(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """g as a matrix with the memory layout of that of x: copied if it has another."""
    last = not x.flags.c_contiguous and is_channels_last(x)
    if not (is_channels_last(g) if last else g.flags.c_contiguous):
        same = empty(x, g.dtype)
        same[...] = g
        g = same
    return as_matrix(g)[1]


def empty(x: np.ndarray, dtype: Any) -> np.ndarray:
    """An uninitialised array of the shape and memory layout of x: channels last or in C order."""
    if not x.flags.c_contiguous and is_channels_last(x):
        return channels_first(memory.empty(channels_last(x).shape, dtype))
    return memory.empty(x.shape, dtype)


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the (biased) variance of each channel of x (N, C, *size), both (C,) in double precision.

    Each block is centred before it is squared, and the blocks' results are merged in double precision (Chan,
    Golub and LeVeque 1983, eq. 2.1): no cancellation, however large the mean is against the deviation.
    """
    plan, matrix = as_matrix(x)
    mean, rest, squares, count = (_filled(plan.table_shape, x.dtype, 0) for _ in range(4))

    def work(*block: Any) -> None:
        part = plan.summed(plan.part(matrix, block))
        place, n = plan.place(block, part), plan.count(part)
        centre, weights = mean[place], np.full(n, 1 / n, x.dtype)
        plan.dot(weights, part, centre)
        part = np.subtract(part, plan.along(centre), out=scratch("norm", part.shape, x))
        plan.dot(weights, part, rest[place])  # what rounding left of the mean
        part *= part
        plan.dot(weights, part, squares[place])
        count[place] = n

    share(work, plan.blocks, COST * x.size)
    wide = np.result_type(x, np.float64)
    return merged(*(plan.by_channel(_filled(v.shape, wide, v)) for v in (mean, rest, squares, count)))


def _filled(shape: tuple[int, ...], dtype: Any, values: Any) -> np.ndarray:
    y = memory.empty(shape, dtype)
    y[...] = values
    return y


def merged(mean: np.ndarray, rest: np.ndarray, squares: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of what came in parts: `count` values each, ``mean + rest`` and mean squares around `mean`."""
    n = count.sum((0, 2))
    mean += rest
    whole = (count * mean).sum((0, 2)) / n
    rest *= rest
    mean -= whole[:, None]
    mean *= mean
    return whole, (count * (squares - rest + mean)).sum((0, 2)) / n


def affine(
    x: np.ndarray, centre: np.ndarray, slope: np.ndarray, shift: np.ndarray, dtype: Any, relu: bool = False,
    shortcut: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """``(x - centre) * slope + shift``, the coefficients per channel (C,), plus a `shortcut` of the shape of x, if
    there is one; with `relu` the positive part of it."""
    plan, matrix = as_matrix(x)
    y = empty(x, dtype)
    out = as_matrix(y)[1]
    added = None if shortcut is None else as_matrix_like(x, shortcut)
    centre, slope, shift = map(plan.coefficients, (centre, slope.astype(dtype), shift.astype(dtype)))

    def work(*block: Any) -> None:
        part = plan.part(out, block)
        np.subtract(plan.part(matrix, block), plan.chosen(centre, block), out=part)
        part *= plan.chosen(slope, block)
        part += plan.chosen(shift, block)
        if added is not None:
            part += plan.part(added, block)
        if relu:
            np.maximum(part, constant(0.0, part[:1]), out=part)

    share(work, plan.blocks, COST * x.size, products=False)
    return y


def gradient(
    g: np.ndarray, x: np.ndarray, centre: np.ndarray, slope: np.ndarray, shift: np.ndarray, k: np.ndarray
) -> np.ndarray:
    """``((x - centre) * slope + shift + g) * k``, the coefficients per channel (C,), in the dtype of g."""
    plan, matrix = as_matrix(x)
    y = empty(x, g.dtype)
    out, g = as_matrix(y)[1], as_matrix_like(x, g)
    centre = plan.coefficients(centre)
    slope, shift, k = (plan.coefficients(v.astype(g.dtype)) for v in (slope, shift, k))

    def work(*block: Any) -> None:
        part = plan.part(out, block)
        np.subtract(plan.part(matrix, block), plan.chosen(centre, block), out=part)
        part *= plan.chosen(slope, block)
        part += plan.chosen(shift, block)
        part += plan.part(g, block)
        part *= plan.chosen(k, block)

    share(work, plan.blocks, COST * x.size, products=False)
    return y


def scaled(g: np.ndarray, k: np.ndarray) -> np.ndarray:
    """``g * k``, k per channel (C,), in the dtype of g."""
    plan, matrix = as_matrix(g)
    y = empty(g, g.dtype)
    out, k = as_matrix(y)[1], plan.coefficients(k.astype(g.dtype))

    def work(*block: Any) -> None:
        np.multiply(plan.part(matrix, block), plan.chosen(k, block), out=plan.part(out, block))

    share(work, plan.blocks, g.size, products=False)
    return y


def sums(
    g: np.ndarray, x: np.ndarray, centre: np.ndarray, gate: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sums of g and of ``g * (x - centre)`` over each channel, in double precision, and g.

    With a gate (slope, shift) g is 0 first where `affine`, ``(x - centre) * slope + shift``, is not positive: it has
    come through a relu.
    """
    plan, matrix = as_matrix(x)
    given, gated = as_matrix_like(x, g), None
    if gate is not None:
        g = empty(x, g.dtype)
        gated = as_matrix(g)[1]
        slope, shift = (plan.coefficients(v.astype(g.dtype)) for v in gate)
    plain, weighted = (_filled(plan.table_shape, g.dtype, 0) for _ in range(2))
    centre = plan.coefficients(centre)

    def work(*block: Any) -> None:
        part = plan.part(given, block)
        product = scratch("norm", part.shape, part)
        np.subtract(plan.part(matrix, block), plan.chosen(centre, block), out=product)
        if gated is not None:
            value = np.multiply(product, plan.chosen(slope, block), out=scratch("value", part.shape, part))
            value += plan.chosen(shift, block)
            np.multiply(bits(part), value > 0, out=bits(plan.part(gated, block)))
            part = plan.part(gated, block)
        product *= part
        part, product = plan.summed(part), plan.summed(product)
        place, ones = plan.place(block, part), np.ones(plan.count(part), part.dtype)
        plan.dot(ones, part, plain[place])
        plan.dot(ones, product, weighted[place])

    share(work, plan.blocks, COST * x.size)
    wide = np.result_type(plain.dtype, np.float64)
    return *(plan.by_channel(v).sum((0, 2), dtype=wide) for v in (plain, weighted)), g
