"""Sums over the positions of activations that lie channels last in memory."""

from __future__ import annotations

import numpy as np

from .layout import channels_last, is_channels_last

WIDE = 512  # entries in a row that NumPy adds at full speed
FEW = 1 << 10  # entries: with fewer the number of calls counts


def summed(x: np.ndarray, *, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The sum over some axes; over positions, with or without the samples, by rows of several positions."""
    if x.size < FEW or x.ndim < 3 or x.shape[1] >= WIDE or not is_channels_last(x):
        return x.sum(axis=axis, keepdims=keepdims)
    positions = tuple(range(2, x.ndim))
    if axis not in (positions, (0, *positions)):
        return x.sum(axis=axis, keepdims=keepdims)
    n, c = 1 if axis[0] == 0 else x.shape[0], x.shape[1]
    y = columns_sum(channels_last(x).reshape(n, -1, c))  # (N or 1, positions, C) -> (N or 1, C)
    if keepdims:
        return y.reshape(n, c, *(1 for _ in positions))
    return y.reshape(c) if axis[0] == 0 else y


def columns_sum(x: np.ndarray) -> np.ndarray:
    """(N, P, C) -> (N, C): k positions make a row of k C entries, such rows are added up, then its k pieces."""
    n, p, c = x.shape
    k = max(WIDE // c, 1)
    whole = p // k * k
    y = x[:, whole:].sum(axis=1)
    if whole:
        y += x[:, :whole].reshape(n, whole // k, k * c).sum(axis=1).reshape(n, k, c).sum(axis=1)
    return y
