"""Along one axis, in the order in which the axes lie in memory: the result lies as x does. NumPy and CuPy alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..device import namespace
from .cpu.layout import inverse, memory_order
from .cpu.memory import empty
from .cpu.product import product
from .cpu.workers import MULTIPLY_ADDS, share

WIDE = 128  # columns from which on it is worth looking for a band
ROWS = 32  # of a matrix in one product
GAIN = 3  # how many times fewer columns a block needs than there are, at least


def matmul_along_axis(x: Any, *, axis: int, matrix: Any) -> Any:
    """A matrix (O, I) applied along one axis of x, of length I."""
    order = memory_order(x)
    x, axis = x.transpose(order), order.index(axis)
    before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    xp = namespace([x])
    matrix = xp.asarray(matrix, dtype=x.dtype)
    if after == 1:  # one large product rather than many small ones
        left, right = x.reshape(before, x.shape[axis]), matrix.T  # (B, I) @ (I, O)
    else:
        left, right = matrix, x.reshape(before, x.shape[axis], after)  # (O, I) @ (B, I, A)
    if xp is not np:
        y = xp.matmul(left, right)
    elif (blocks := banded(matrix)) is not None:
        y = empty((before, len(matrix)) if after == 1 else (before, len(matrix), after), x.dtype)
        by_blocks(x.reshape(before, -1, after), matrix, y.reshape(before, -1, after), blocks)
    else:
        y = product(np.broadcast_to(left, (*right.shape[:-2], *left.shape[-2:])), right)
    return y.reshape(*x.shape[:axis], matrix.shape[0], *x.shape[axis + 1 :]).transpose(inverse(order))


def banded(matrix: np.ndarray) -> list[tuple[slice, slice]] | None:
    """Rows of a matrix, `ROWS` at a time, and the columns in which they are not 0; None where most of them are not.

    So are the matrices of interpolation and of area means: a sample is a mixture of a few entries near it.
    """
    rows, columns = matrix.shape
    if columns < WIDE or rows < 2:
        return None
    used = np.logical_or.reduceat(matrix != 0, range(0, rows, ROWS), axis=0)  # (blocks, I)
    first, last = used.argmax(axis=1), columns - used[:, ::-1].argmax(axis=1)
    if (last - first).mean() > columns / GAIN:
        return None
    spans = zip(range(0, rows, ROWS), first.tolist(), last.tolist())
    return [(slice(row, row + ROWS), slice(start, stop)) for row, start, stop in spans]


def by_blocks(x: np.ndarray, matrix: np.ndarray, y: np.ndarray, blocks: list[tuple[slice, slice]]) -> None:
    """``y[b, o, a] = sum over i of matrix[o, i] x[b, i, a]``, each block of rows o with the columns i that it needs."""
    if x.shape[2] == 1:  # (B, i) @ (i, o)
        parts = [(x[:, columns, 0], matrix[rows, columns].T, y[:, rows, 0]) for rows, columns in blocks]
    else:  # (o, i) @ (B, i, A)
        parts = [(matrix[rows, columns], x[:, columns], y[:, rows]) for rows, columns in blocks]
    cost = sum(matrix[block].size for block in blocks) * x.shape[0] * x.shape[2]
    share(lambda left, right, out: np.matmul(left, right, out=out), parts, cost // MULTIPLY_ADDS)


def take(x: Any, *, axis: int, index: Any) -> Any:
    """The entries of x at `index` along one axis."""
    order = memory_order(x)
    return namespace([x]).take(x.transpose(order), index, axis=order.index(axis)).transpose(inverse(order))
