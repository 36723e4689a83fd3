"""RoI align as one sparse matrix: a row per bin, a column per cell, and a product for all channels at once.

A bin of side b touches about (b + 2)^2 cells; building the matrix costs a few operations for each of them, and the
product one multiplication per channel. The transposed matrix is the way back. Neither depends on the size of the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

DTYPES = "fdFD"  # of the maps: what sparse matrices multiply


def align(x: np.ndarray, rows: np.ndarray, columns: np.ndarray, images: np.ndarray) -> np.ndarray:
    """x (N, C, H, W), weights (R, P, H) and (R, Q, W), the image of each box (R,) -> (R, C, P, Q)."""
    matrix = interpolation(rows, columns, images, len(x))
    cells = x.transpose(0, 2, 3, 1).reshape(matrix.shape[1], x.shape[1])  # (N, C, H, W) -> (N * H * W, C)
    y = matrix @ cells  # (R * P * Q, C)
    return _channels_second(y, (len(rows), rows.shape[1], columns.shape[1]))


def spread(
    g: np.ndarray, rows: np.ndarray, columns: np.ndarray, images: np.ndarray, size: Sequence[int]
) -> np.ndarray:
    """The adjoint of `align`: g (R, C, P, Q) -> size, (N, C, H, W)."""
    n, c, h, w = size
    matrix = interpolation(rows, columns, images, n)
    bins = g.transpose(0, 2, 3, 1).reshape(matrix.shape[0], c)  # (R, C, P, Q) -> (R * P * Q, C)
    return _channels_second(matrix.T @ bins, (n, h, w))


def _channels_second(y: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(A * B * D, C) -> (A, C, B, D)."""
    return np.ascontiguousarray(y.reshape(*shape, y.shape[1]).transpose(0, 3, 1, 2))


def interpolation(rows: np.ndarray, columns: np.ndarray, images: np.ndarray, n: int) -> Any:
    """The matrix (R * P * Q, N * H * W) with rows[r,p,i] * columns[r,q,j] for bin r,p,q and cell images[r],i,j."""
    from scipy.sparse import csr_matrix  # 0.1 s that nobody else should wait for

    (r, p, h), (_, q, w) = rows.shape, columns.shape
    of_row, i, a = _entries(rows.reshape(r * p, h))
    of_column, j, b = _entries(columns.reshape(r * q, w))
    shape = (r, p, q)
    row = np.broadcast_to(np.arange(r * p).reshape(r, p, 1), shape).reshape(-1)  # of each bin: (R * P * Q,)
    column = np.broadcast_to(np.arange(r * q).reshape(r, 1, q), shape).reshape(-1)
    across = np.diff(of_column)[column]
    starts = np.concatenate([[0], np.cumsum(np.diff(of_row)[row] * across)])  # bins take runs of entries, in order
    bins = np.repeat(np.arange(r * p * q), np.diff(starts))
    down, right = np.divmod(np.arange(starts[-1]) - starts[bins], across[bins])  # which row and column of the bin's
    down, right = down + of_row[row[bins]], right + of_column[column[bins]]
    cells = images[bins // max(p * q, 1)] * (h * w) + i[down] * w + j[right]
    return csr_matrix((a[down] * b[right], cells, starts), shape=(math.prod(shape), n * h * w))


def _entries(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The entries that are not 0, row by row: where each row starts among them, their columns, their values."""
    row, column = weights.nonzero()
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(weights)))])
    return starts, column, weights[row, column]
