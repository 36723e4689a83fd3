"""Sums over any axes."""

from __future__ import annotations

from typing import Any


def summed(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Over the last axes: CuPy adds what lies in one piece as a tree. Other axes are left to the definition, in double
    precision, for there each thread adds one entry to the next."""
    in_rows = x.flags.c_contiguous and axis == tuple(range(x.ndim - len(axis), x.ndim))
    return x.sum(axis=axis, keepdims=keepdims) if in_rows and x.dtype.char in "fdFD" else NotImplemented
