"""Expressions on entries, block by block: several passes over a block in cache, one over memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .layout import memory_order
from .workers import share

BLOCK = 1 << 17  # entries
PASSES = 8  # multiplications: so long an entry takes to come from memory and go back


def blockwise(function: Callable[..., None], *arrays: np.ndarray) -> None:
    """``function(*blocks)``, which writes into some of them, for equal blocks of all the arrays.

    The arrays have one shape, and lie in memory alike and without gaps.
    """
    order = memory_order(arrays[0])
    flat = [a.transpose(order).reshape(-1) for a in arrays]  # views

    def work(start: int) -> None:
        function(*[a[start : start + BLOCK] for a in flat])

    size = arrays[0].size
    share(work, [(start,) for start in range(0, size, BLOCK)], PASSES * size)
