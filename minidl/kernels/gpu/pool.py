"""Pooling: see pool.cu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .source import empty
from .window import run, takes


def max_pool(x: Any, *, window: Any) -> Any:
    """The largest entry of each window: (N, C, *size) -> (N, C, *output)."""
    return _at_positions("max_pool", window, x, numbers=(-math.inf,))


def argmax(x: Any, y: Any, *, window: Any) -> Any:
    """The flat position in its map of each window's maximum y: (N, C, *size), (N, C, *output) -> (N, C, *output)."""
    return _at_positions("argmax", window, x, y, dtype=np.dtype("int64"))


def from_largest(x: Any, *, among: Any, largest: Any, window: Any) -> Any:
    """The entry where each window of `among` has its largest: (N, C, *size) -> (N, C, *output)."""
    return _at_positions("from_largest", window, x, among, largest)


def to_largest(x: Any, *, among: Any, largest: Any, window: Any) -> Any:
    """Each entry added where its window of `among` has its largest: (N, C, *output) -> (N, C, *size)."""
    return _at_cells("to_largest", window, x, among, largest)


def window_sum(x: Any, *, window: Any) -> Any:
    """The sum over each window: (N, C, *size) -> (N, C, *output)."""
    return _at_positions("window_sum", window, x)


def window_spread(x: Any, *, window: Any) -> Any:
    """Each entry added to every cell of its window: (N, C, *output) -> (N, C, *size)."""
    return _at_cells("window_spread", window, x)


def _at_positions(name: str, window: Any, *arrays: Any, **options: Any) -> Any:
    return _filled(name, window, window.output, *arrays, **options)


def _at_cells(name: str, window: Any, *arrays: Any) -> Any:
    return _filled(name, window, window.size, *arrays)


def _filled(
    name: str, window: Any, size: tuple[int, ...], *arrays: Any, dtype: Any = None, numbers: tuple = ()
) -> Any:
    """The (N, C, *size) that the kernel makes of the arrays, of their dtype unless another is given."""
    if not takes(window, *arrays):
        return NotImplemented
    n, c = arrays[0].shape[:2]
    y = empty((n, c, *size), dtype or arrays[0].dtype)
    run("pool", name, window, (n, c, math.prod(size)), y, *arrays, numbers=numbers)
    return y
