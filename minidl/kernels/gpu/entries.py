"""Sums and relus of maps, which keep channels outermost in memory: see entries.cu."""

from __future__ import annotations

import math
from typing import Any

from .source import BLOCK, ROWS, blocks, empty, launch, maps, strides, supported

CELLS = 2**31  # an index within a map is an int


def add(a: Any, b: Any) -> Any:
    """``a + b``: two arrays (N, C, *size), or one and a vector (1, C, 1, ...)."""
    if not (hasattr(a, "ndim") and hasattr(b, "ndim")) or not _are_maps(a, a) or not supported(a, b):
        return NotImplemented
    if b.shape == a.shape:
        return _run("added", a.shape, a, b)
    if b.shape == (1, a.shape[1], *[1] * (a.ndim - 2)):
        return _run("shifted", a.shape, a, numbers=(b, strides(b)[1]))
    return NotImplemented


def relu(x: Any) -> Any:
    """``max(x, 0)``."""
    return _run("rectified", x.shape, x) if hasattr(x, "ndim") and _are_maps(x, x) else NotImplemented


def gated(x: Any, *, gate: Any, slope: float = 0) -> Any:
    """x where `gate` is positive, ``slope * x`` elsewhere."""
    if not hasattr(gate, "ndim") or not _are_maps(x, gate):
        return NotImplemented
    return _run("gated", x.shape, x, gate, numbers=(float(slope),))


def _are_maps(x: Any, like: Any) -> bool:
    """Is x (N, C, *size), of the shape and dtype of `like`? Arrays without axes after the channels are left to CuPy."""
    return x.ndim > 2 and x.shape == like.shape and supported(x, like) and math.prod(x.shape[2:]) < CELLS


def _run(name: str, shape: tuple[int, ...], *arrays: Any, numbers: tuple = ()) -> Any:
    y = empty(shape, arrays[0].dtype)
    if y.size:
        n, c, cells = *shape[:2], math.prod(shape[2:])
        arguments = [argument for a in (y, *map(maps, arrays)) for argument in (a, *strides(a))]
        grid = (blocks(n * cells), min(c, ROWS))
        launch("entries", name, y.dtype, {"CELLS": cells}, grid, (BLOCK,), *arguments, *numbers, n, c)
    return y
