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
    if a.dtype != b.dtype or a.dtype not in ZERO:
        return NotImplemented
    like = b if 0 in a.strides else a
    y, one = empty_like(like), (0,) * a.ndim
    if not any(a.strides) and any(b.strides):  # one number, repeated
        share(lambda y, b: function(a[one], b, out=y), list(blocks(y, b)), 2 * a.size)
    elif not any(b.strides):
        share(lambda y, a: function(a, b[one], out=y), list(blocks(y, a)), 2 * a.size)
    else:
        share(lambda y, a, b: function(a, b, out=y), list(blocks(y, a, b)), 2 * a.size)
    return y


add: Callable = partial(_blockwise, np.add)
subtract: Callable = partial(_blockwise, np.subtract)
multiply: Callable = partial(_blockwise, np.multiply)
