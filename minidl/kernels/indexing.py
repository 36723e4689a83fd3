"""Entries put into zeros that have the memory layout of the entries. NumPy and CuPy alike."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..device import namespace
from ..ops.indexing import assigned
from .cpu.layout import shaped_as


def put(x: Any, *, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape`, with the axes in the memory order of x, with x added at `index`."""
    if x.ndim != len(shape) or x.flags.c_contiguous:
        return NotImplemented
    xp = namespace([x])
    return assigned(xp, shaped_as(x, shape, partial(xp.zeros, dtype=x.dtype)), index, x)
