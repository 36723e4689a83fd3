"""Arithmetic of two arrays that lie alike in memory, in blocks that are shared among threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .activation import FEW, ZERO, blocks
from .layout import empty_like
from .workers import share


def _blockwise(function: np.ufunc, a: Any, b: Any) -> np.ndarray:
    """Of arrays of one shape, dtype and layout, one of which may be a number that is repeated: the result has that
    layout, too, as NumPy's has."""
    if type(a) is not np.ndarray or type(b) is not np.ndarray or a.size < FEW or a.shape != b.shape:
        return NotImplemented
    of_a, of_b = any(a.strides), any(b.strides)
    if a.dtype != b.dtype or a.dtype not in ZERO or (a.strides != b.strides if of_a and of_b else of_a == of_b):
        return NotImplemented
    like, first = a if of_a else b, (0,) * a.ndim
    y = empty_like(like)
    if y.strides != like.strides:
        return NotImplemented
    if not of_a:
        share(lambda y, b: function(a[first], b, out=y), list(blocks(y, b)), 2 * a.size, products=False)
    elif not of_b:
        share(lambda y, a: function(a, b[first], out=y), list(blocks(y, a)), 2 * a.size, products=False)
    else:
        share(lambda y, a, b: function(a, b, out=y), list(blocks(y, a, b)), 2 * a.size, products=False)
    return y


add: Callable = partial(_blockwise, np.add)
subtract: Callable = partial(_blockwise, np.subtract)
multiply: Callable = partial(_blockwise, np.multiply)
