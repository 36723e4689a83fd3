"""Few output channels: two outputs that lie side by side, as one with twice as many channels.

A matrix product with eight columns runs at half the speed of one with sixteen. Two outputs side by side see k + 1 cells
of a row where each sees k: for a kernel of 3 the columns (im2col.py) of both are two thirds of those of each, and the
product, which has zeros where an output does not see a cell, is a third larger. With the channels last in memory
nothing is moved: (N, *, W, F) is (N, *, W / 2, 2 F).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from . import im2col, layout
from .finish import nothing
from .workers import one_blas_thread

MOST = 12  # output channels: more make a product that is fast as it is


def pay(inputs: int, outputs: int, window: Any, groups: int) -> bool:
    """Are outputs few, even in number along the last axis, and side by side?"""
    few = layout.FEW <= outputs <= MOST and inputs >= layout.FEW and groups == 1
    return few and window.rank > 1 and window.stride[-1] == window.dilation[-1] == 1 and window.output[-1] % 2 == 0


def gather(x: np.ndarray, w: np.ndarray, window: Any, finish: Callable[..., None] = nothing) -> np.ndarray:
    """dT/du: x (N, C, *size), w (F, C, *kernel) give (N, F, *output)."""
    if not _finite(x):  # what an output does not see would be multiplied by 0, and be a NaN
        return im2col.gather(x, w, window, 1, finish)
    f, c, *kernel, k = w.shape
    both = layout.empty((2 * f, c, *kernel, k + 1), w.dtype)
    both[...] = 0
    both[:f, ..., :k] = both[f:, ..., 1:] = w

    def finish_both(block: np.ndarray, samples: slice, rows: slice, channels: slice) -> None:
        finish(block.reshape(*block.shape[:-2], 2 * block.shape[-2], f), samples, rows)  # channels: all of them

    y = layout.channels_last(im2col.gather(x, both, _of_pairs(window), 1, finish if finish is nothing else finish_both))
    return layout.channels_first(y.reshape(*y.shape[:-2], 2 * y.shape[-2], f))


def correlate(x: np.ndarray, u: np.ndarray, window: Any) -> np.ndarray:
    """dT/dw: x (N, C, *size), u (N, F, *output) give (F, C, *kernel)."""
    f = u.shape[1]
    u = np.ascontiguousarray(layout.channels_last(u))
    pairs = layout.channels_first(u.reshape(*u.shape[:-2], u.shape[-2] // 2, 2 * f))
    both = im2col.correlate(x, pairs, _of_pairs(window), 1)
    return both[:f, ..., :-1] + both[f:, ..., 1:]


def _finite(x: np.ndarray) -> bool:
    """Are all numbers finite, and their squares as well?"""
    flat = layout.channels_last(x).reshape(-1)
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(flat, flat)))


@lru_cache(maxsize=1024)
def _of_pairs(window: Any) -> Any:
    """The window of two outputs, one every two cells of the last axis."""
    kernel, stride = (*window.kernel[:-1], window.kernel[-1] + 1), (*window.stride[:-1], 2)
    return type(window)(window.size, kernel, stride, window.dilation, window.padding)
