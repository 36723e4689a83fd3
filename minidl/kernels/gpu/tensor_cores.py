"""Convolution on tensor cores: see tensor_cores.cu."""

from __future__ import annotations

import math
import sys
from typing import Any

from .source import BLOCK, empty, geometry, launch, maps, strides

ROWS, COLUMNS = 64, 128  # of the tile that a block computes
LEAST = 8  # channels on either side: with fewer, most of a tile would be zeros


def can(x: Any, w: Any, groups: int) -> bool:
    """Is there a kernel for these arrays?"""
    return groups == 1 and x.dtype.name == w.dtype.name == "float32" and min(*w.shape[:2]) >= LEAST


def convolve(x: Any, w: Any, window: Any) -> Any:
    """x (N, C, *size), w (F, C, *kernel) give (N, F, *output), channels outermost; factors are rounded to TF32."""
    x, (f, c) = maps(x), w.shape[:2]
    taps_outermost = sys.modules["cupy"].ascontiguousarray(w.reshape(f, c, -1).transpose(2, 0, 1))  # (taps, F, C)
    y = empty((len(x), f, *window.output), x.dtype)
    grid = (-(-len(x) * math.prod(window.output) // COLUMNS), -(-f // ROWS))
    arguments = x, taps_outermost, y, len(x), c, f, *strides(x)
    launch("tensor_cores", "convolve", x.dtype, geometry(window), grid, (BLOCK,), *arguments)
    return y
