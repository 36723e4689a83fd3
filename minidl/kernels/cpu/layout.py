"""How activations lie in memory. NumPy works through an array in rows, and a row costs as much to start as forty
numbers to add: rows must be long. An image's own rows shrink as a network goes deeper while its channels grow, so
activations (N, C, *size) lie with the channels last, as (N, *size, C): their shape stays, their strides tell.

An array in any other layout is right too, only slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FEW = 8  # channels: with fewer, rows of an image are longer


def channels_last(x: np.ndarray) -> np.ndarray:
    """A view: (N, C, *size) -> (N, *size, C)."""
    return x.transpose(0, *range(2, x.ndim), 1)


def channels_first(x: np.ndarray) -> np.ndarray:
    """A view: (N, *size, C) -> (N, C, *size)."""
    return x.transpose(0, -1, *range(1, x.ndim - 1))


def empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array (N, C, *size) with anything in it: channels last in memory, unless they are few."""
    n, c, *size = shape
    if c < FEW or not size:
        return np.empty(shape, dtype)
    return channels_first(np.empty((n, *size, c), dtype))


def is_channels_last(x: np.ndarray) -> bool:
    """Does x (N, C, *size) lie in memory as (N, *size, C), without gaps?"""
    return x.ndim > 2 and channels_last(x).flags.c_contiguous
