"""Arithmetic of two arrays of one shape, in blocks that are shared among threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .activation import FEW, ZERO, blocks
from .layout import empty_like
from .workers import share


def _blockwise(function: np.ufunc, a: Any, b: Any) -> np.ndarray:
    if type(a) is not np.ndarray or type(b) is not np.ndarray or a.size < FEW or a.shape != b.shape:
        return NotImplemented
    if a.dtype != b.dtype or a.dtype not in ZERO or a.strides != b.strides or 0 in a.strides:
        return NotImplemented
    y = empty_like(a)
    share(lambda y, a, b: function(a, b, out=y), list(blocks(y, a, b)), 2 * a.size)
    return y


add: Callable = partial(_blockwise, np.add)
subtract: Callable = partial(_blockwise, np.subtract)
multiply: Callable = partial(_blockwise, np.multiply)
