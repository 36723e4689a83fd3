"""Along one axis, in the order in which the axes lie in memory: the result lies as x does. NumPy and CuPy alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..device import namespace
from .cpu.layout import inverse, memory_order
from .cpu.product import product


def matmul_along_axis(x: Any, *, axis: int, matrix: Any) -> Any:
    """A matrix (O, I) applied along one axis of x, of length I."""
    order = memory_order(x)
    x, axis = x.transpose(order), order.index(axis)
    before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    xp = namespace([x])
    matrix = xp.asarray(matrix, dtype=x.dtype)
    if after == 1:  # one large product rather than many small ones
        left, right = x.reshape(before, x.shape[axis]), matrix.T  # (B, I) @ (I, O)
    else:
        left, right = matrix, x.reshape(before, x.shape[axis], after)  # (O, I) @ (B, I, A)
    if xp is np:
        y = product(np.broadcast_to(left, (*right.shape[:-2], *left.shape[-2:])), right)
    else:
        y = xp.matmul(left, right)
    return y.reshape(*x.shape[:axis], matrix.shape[0], *x.shape[axis + 1 :]).transpose(inverse(order))


def take(x: Any, *, axis: int, index: Any) -> Any:
    """The entries of x at `index` along one axis."""
    order = memory_order(x)
    return namespace([x]).take(x.transpose(order), index, axis=order.index(axis)).transpose(inverse(order))
