"""Matrix products, shared among our threads: BLAS's own would go on waiting in a loop after them."""

from __future__ import annotations

import numpy as np

from .memory import empty
from .workers import one_blas_thread, share

# multiplications
ONE_THREAD = 1 << 18  # so few OpenBLAS itself does on one thread,
ONE_THREAD_VECTOR = 1 << 13  # or with a vector
SHARED = 1 << 22  # so many are worth waking threads
GRAIN = 1 << 21  # in a part, at least
PARTS = 8  # at most; by the shape alone, so that bits do not depend on the number of threads


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Stacks of matrices with equal leading axes: (..., I, K) and (..., K, J) give (..., I, J)."""
    cost = a.size * b.shape[-1]
    if cost <= (ONE_THREAD_VECTOR if a.shape[-2] == 1 or b.shape[-1] == 1 else ONE_THREAD):
        return np.matmul(a, b)
    a, b = readable(a), readable(b)
    if cost < SHARED or a.dtype != b.dtype:
        with one_blas_thread():
            return np.matmul(a, b)
    y = empty(a.shape[:-1] + b.shape[-1:], a.dtype)
    share(lambda *parts: np.matmul(parts[0], parts[1], out=parts[2]), split(a, b, y), cost)
    return y


def readable(x: np.ndarray) -> np.ndarray:
    """x, or a copy if BLAS cannot read it: it wants rows or columns without gaps that do not overlap."""
    (rows, columns), (i, j) = x.strides[-2:], x.shape[-2:]
    gapless = (columns == x.itemsize and rows >= j * columns) or (rows == x.itemsize and columns >= i * rows)
    return x if gapless else np.ascontiguousarray(x)


def split(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Parts of one product: some matrices of the stack if they are many, else some rows or columns of each."""
    count = max(min(PARTS, y.size * a.shape[-1] // GRAIN), 1)
    axis = max(range(y.ndim - 2), key=y.shape.__getitem__, default=None)
    if axis is None or y.shape[axis] < PARTS:
        axis = y.ndim - 2 if y.shape[-2] >= y.shape[-1] else y.ndim - 1
    step = -(-y.shape[axis] // count)
    parts = []
    for start in range(0, y.shape[axis], step):
        part = (slice(None),) * axis + (slice(start, start + step),)
        parts.append((a if axis == y.ndim - 1 else a[part], b if axis == y.ndim - 2 else b[part], y[part]))
    return parts
