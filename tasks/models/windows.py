"""Attention within windows, as in Swin and MaxViT: each pixel looks at those of its window, with a learnt number for
each distance between two of them.

Source: Liu et al., "Swin transformer: hierarchical vision transformer using shifted windows", ICCV 2021, section 3.2.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from minidl import Tensor


def windows(x: Tensor, side: int) -> Tensor:
    """(N, H, W, C) -> (N, windows, side * side, C)."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // side, side, width // side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, (height // side) * (width // side), side * side, channels)


def together(x: Tensor, side: int, height: int, width: int) -> Tensor:
    """The inverse: (N, windows, side * side, C) -> (N, height, width, C)."""
    n, channels = len(x), x.shape[-1]
    x = x.reshape(n, height // side, width // side, side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, height, width, channels)


@lru_cache
def distances(side: int) -> np.ndarray:
    """Of each two pixels of a window, (side^2, side^2): the number of the row, of (2 side - 1)^2, that is for the
    vertical and the horizontal distance between them."""
    y, x = (place.ravel() for place in np.indices((side, side)))
    down, right = (place[:, None] - place + side - 1 for place in (y, x))
    return down * (2 * side - 1) + right


def heads(x: Tensor, count: int) -> list[Tensor]:
    """Queries, keys and values one after another in (..., T, 3 C): each as (..., heads, T, C / heads)."""
    *lead, tokens, channels = x.shape
    axes = len(lead)
    x = x.reshape(*lead, tokens, 3, count, channels // (3 * count))
    x = x.transpose(axes + 1, *range(axes), axes + 2, axes, axes + 3)  # (..., T, 3, heads, D) -> (3, ..., heads, T, D)
    return [x[i] for i in range(3)]


def of_heads(x: Tensor) -> Tensor:
    """(..., heads, T, D) -> (..., T, heads * D)."""
    x = x.swapaxes(-2, -3)
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def bias_of(table: Tensor, index: np.ndarray, tokens: int) -> Tensor:
    """What is added to the scores, (heads, T, T), of a table (distances, heads) and the `distances`, flat or not."""
    return table[index].reshape(tokens, tokens, -1).transpose(2, 0, 1)
