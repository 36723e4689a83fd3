"""The columns of a convolution and their adjoint: see columns.cu."""

from __future__ import annotations

import math
from typing import Any

from .source import empty
from .window import run, takes


def im2col(x: Any, *, window: Any) -> Any:
    """The patches of x as columns: (N, C, *size) -> (N, C*taps, positions), in memory (C*taps, N, positions)."""
    if not takes(window, x):
        return NotImplemented
    n, c = x.shape[:2]
    columns = empty((n, c * window.taps, window.positions), x.dtype)
    run("columns", "im2col", window, (n, c, window.positions), columns, x)
    return columns


def col2im(columns: Any, *, window: Any) -> Any:
    """Each column added back where it came from: (N, C*taps, positions) -> (N, C, *size)."""
    if not takes(window, columns):
        return NotImplemented
    n, c = columns.shape[0], columns.shape[1] // window.taps
    x = empty((n, c, *window.size), columns.dtype)
    run("columns", "col2im", window, (n, c, math.prod(window.size)), x, columns)
    return x
