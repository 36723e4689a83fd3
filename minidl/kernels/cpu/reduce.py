"""Sums over any axes, in any layout. NumPy adds in pairs along rows of memory only; over the other axes it adds one
row to the next, and of a float32 sum of a million rows three digits are left. Here a few rows are added at a time, and
their sums in twice the precision. Short rows are read several as one, for NumPy is fast along long rows.
"""

from __future__ import annotations

import math

import numpy as np

from .blocks import even
from .layout import inverse, memory_order
from .workers import share

FEW = 128  # rows that may be added one to the next,
GROUP = 64  # or at a time if they are more; no more than FEW
SMALL = 1 << 12  # entries of an array that is added in twice the precision at once
WIDE = 1 << 10  # entries of a row that are added at full speed
SQUARES = 1 << 12  # entries whose squares are added in the precision of the array
SHARED = 64  # such blocks are one thread's at a time
TWICE = {
    np.dtype(t): np.dtype(wide)
    for t, wide in (("f4", "f8"), ("f8", np.longdouble), ("c8", "c16"), ("c16", np.clongdouble))
}


def summed(x: np.ndarray, *, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The sum over some axes, right to an eps or a few of the dtype."""
    if x.size <= FEW and x.itemsize != 2:
        return np.add.reduce(x, axis, keepdims=keepdims)  # what x.sum comes to
    if x.dtype == np.float16:
        return summed(x.astype(np.float32), axis=axis, keepdims=keepdims).astype(np.float16)
    n, wide, flags = math.prod([x.shape[a] for a in axis]), TWICE.get(x.dtype), x.flags
    row = (flags.c_contiguous and axis[:1] == (x.ndim - len(axis),)) or (flags.forc and len(axis) == x.ndim)
    if n <= FEW or row or wide is None or not x.size:
        return x.sum(axis=axis, keepdims=keepdims)
    if x.size <= SMALL:
        return x.sum(axis=axis, keepdims=keepdims, dtype=wide).astype(x.dtype)
    dtype = x.dtype
    for a in axis:
        if x.strides[a] <= 0:  # repeated, or backwards
            x = x[(slice(None),) * a + (slice(None, None, -1) if x.strides[a] else slice(1),)]
    n //= math.prod([x.shape[a] for a in axis])  # how often all is repeated
    order = memory_order(x)
    y = in_order(x.transpose(order), [k for k, a in enumerate(order) if a in axis]).transpose(inverse(order))
    y = (y if n == 1 else y * n).astype(dtype)
    return y if keepdims else y.reshape([m for a, m in enumerate(y.shape) if a not in axis])


def sum_of_squares(x: np.ndarray) -> np.ndarray:
    """``sum of x^2``, in double precision: each of many short blocks is added in the precision of x."""
    if x.dtype not in (np.float32, np.float64):
        return NotImplemented
    line = x.ravel("K")
    whole = line.size - line.size % SQUARES
    blocks, found = line[:whole].reshape(-1, SQUARES), np.empty(whole // SQUARES, x.dtype)

    def work(some: slice) -> None:
        np.matmul(blocks[some, None], blocks[some, :, None], out=found[some, None, None])  # a product for each block

    share(work, [(some,) for some in even(len(found), SHARED)], cost=line.size)
    return found.sum(dtype=float) + np.dot(line[whole:], line[whole:]).astype(float)


def in_order(x: np.ndarray, axes: list[int]) -> np.ndarray:
    """The sum over these axes, which stay, of an array whose axes lie in memory in C order, maybe with gaps."""
    runs: list[list[int]] = []  # of axes that can be read as one
    for a in axes:
        if runs and runs[-1][-1] == a - 1 and x.strides[a - 1] == x.strides[a] * x.shape[a]:
            runs[-1].append(a)
        else:
            runs.append([a])
    if len(runs) == 2 and len(axes) == x.ndim:  # all of rows with gaps: both axes at once are twice as fast
        x = x.reshape([math.prod([x.shape[a] for a in run]) for run in runs])
        n = len(x) - len(x) % GROUP
        groups = x[:n].reshape(-1, GROUP, x.shape[1]).sum(axis=(1, 2))
        return (groups.sum(dtype=TWICE[x.dtype]) + x[n:].sum()).reshape([1] * len(axes))
    for run in sorted(runs, key=lambda run: -math.prod([x.shape[a] for a in run])):  # the longest leaves least to do
        shape = [1 if a in run else m for a, m in enumerate(x.shape)]
        before, after = shape[: run[0]], shape[run[-1] + 1 :]
        n = math.prod([x.shape[a] for a in run])
        if math.prod(after) == 1:
            x = x.reshape(*before, n).sum(axis=-1).reshape(shape)
        else:
            x = rows(x.reshape(math.prod(before), n, math.prod(after))).reshape(shape)
    return x


def rows(x: np.ndarray) -> np.ndarray:
    """(A, R, B) -> (A, B): the sum of the rows, in twice the precision if they are many."""
    a, r, b = x.shape
    wide = TWICE.get(x.dtype, x.dtype)
    if r <= FEW:
        return x.sum(axis=1)
    if x.size <= SMALL:
        return x.sum(axis=1, dtype=wide)
    if x.strides[1:] == (b * x.itemsize, x.itemsize) and (k := min(WIDE // b, r // 32)) > 1:
        n = r - r % k  # k rows are read as one
        y = rows(rows(x[:, :n].reshape(a, n // k, k * b)).reshape(a, k, b))
    else:
        n = r - r % GROUP
        y = rows(x[:, :n].reshape(a, n // GROUP, GROUP, b).sum(axis=2).astype(wide))
    return y + rows(x[:, n:]) if n < r else y
