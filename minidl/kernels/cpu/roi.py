"""RoI align as one sparse matrix: a row per bin, a column per cell, and a product for all channels at once; RoI pool by
looking up the largest cells of blocks.

A bin of side b touches about (b + 2)^2 cells; building the matrix costs a few operations for each of them, and the
product one multiplication per channel. The transposed matrix is the way back. Neither depends on the size of the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from ...ops.roi import Regions, sample_weights

DTYPES = "fdFD"  # of the maps: what sparse matrices multiply


def align(x: np.ndarray, *, regions: Regions) -> np.ndarray:
    """The mean over the samples of each bin: (N, C, H, W) -> (R, C, P, Q)."""
    if x.dtype.char not in DTYPES:
        return NotImplemented
    rows, columns = sample_weights(np, x, regions)
    matrix = interpolation(rows, columns, regions.images, len(x))
    cells = x.transpose(0, 2, 3, 1).reshape(matrix.shape[1], x.shape[1])  # (N, C, H, W) -> (N * H * W, C)
    y = matrix @ cells  # (R * P * Q, C)
    return _channels_second(y, (len(rows), rows.shape[1], columns.shape[1]))


def spread(g: np.ndarray, *, regions: Regions, size: Sequence[int]) -> np.ndarray:
    """The adjoint of `align`: g (R, C, P, Q) -> size, (N, C, H, W)."""
    if g.dtype.char not in DTYPES:
        return NotImplemented
    n, c, h, w = size
    matrix = interpolation(*sample_weights(np, np.broadcast_to(g.dtype.type(0), size), regions), regions.images, n)
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


# --- the largest cell


def largest(x: np.ndarray, *, regions: Regions) -> Any:
    """The largest cell of each bin and its flat position in its map, the first among equals: (N, C, H, W) ->
    2 x (R, C, P, Q).

    Any h x w cells are four blocks of 2^k x 2^l in its corners, which may overlap. The largest of every block is
    computed once, from two of half the size, and looked up: four cells per bin, not h w of them (the sparse table of
    Bender and Farach-Colton, "The LCA problem revisited", LATIN 2000, in two dimensions). NotImplemented if there is a
    NaN.
    """
    if x.dtype.kind != "f" or np.isnan(x).any():
        return NotImplemented
    _, c, h, w = x.shape
    rows, columns = (regions.ranges(k, x.shape[2 + k], x.dtype) for k in (0, 1))  # (R, P, 2), (R, Q, 2)
    images = regions.images
    bins = (len(rows), rows.shape[1], columns.shape[1])
    image, top, below, left, right = (
        np.broadcast_to(part, bins).reshape(-1)
        for part in (
            images[:, None, None], rows[:, :, None, 0], rows[:, :, None, 1],
            columns[:, None, :, 0], columns[:, None, :, 1],
        )
    )  # fmt: skip
    value, at = np.zeros((image.size, c), x.dtype), np.full((image.size, c), -1)
    tall, wide = (np.frexp(extent)[1] - 1 for extent in (below - top, right - left))  # 2^tall <= height < 2^(tall + 1)
    some = (below > top) & (right > left)
    cells = np.ascontiguousarray(x.transpose(0, 2, 3, 1))  # (N, C, H, W) -> (N, H, W, C)
    places = np.broadcast_to(np.arange(h * w, dtype=np.int32).reshape(1, h, w, 1), cells.shape)
    high = cells, places
    for k in range(tall[some].max(initial=-1) + 1):
        block = high = _first_largest(*([part[:, s] for part in high] for s in _halves(k - 1))) if k else high
        for m in range(wide[some].max(initial=-1) + 1):
            if m:
                block = _first_largest(*([part[:, :, s] for part in block] for s in _halves(m - 1)))
            chosen = (some & (tall == k) & (wide == m)).nonzero()[0]
            if chosen.size:
                value[chosen], at[chosen] = reduce(
                    _first_largest,
                    (
                        _looked_up(block, image[chosen], y[chosen], z[chosen])
                        for y in (top, below - 2**k) for z in (left, right - 2**m)
                    ),
                )  # fmt: skip
    return tuple(v.reshape(*bins, c).transpose(0, 3, 1, 2) for v in (value, at))  # (R, P, Q, C) -> (R, C, P, Q)


def _halves(k: int) -> tuple[slice, slice]:
    """Blocks of 2^k cells, and those behind them, along an axis."""
    return slice(None, -(2**k)), slice(2**k, None)


def _looked_up(block: Sequence[np.ndarray], *where: np.ndarray) -> list[np.ndarray]:
    """Largest cells and their positions at image, row, column."""
    return [part[where] for part in block]


def _first_largest(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of two largest cells, each with its position, the larger one; the first among equals."""
    other = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
    return np.where(other, b[0], a[0]), np.where(other, b[1], a[1])
