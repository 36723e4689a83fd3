"""Pooling, block by block: all passes over a block while it is in the cache, blocks shared among threads.

The largest cell of each window is found by walking the taps in C order, with a mask of the windows that are still free:
the first tap that equals the maximum takes the window. Its gradient goes there as the bits of g under a mask of all
ones or all zeros: an infinity or a NaN in g stays where it belongs, as it would not under multiplication by 1 or 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...ops.pool import lowest
from ..window import row_range
from .blocks import block_size
from .layout import shaped_as
from .memory import empty, scratch
from .workers import share

BLOCK = 1 << 18  # cells of a block: a few stay in the cache; with smaller ones the calls of NumPy take over
COST = 8  # of a cell, in multiplications
MASK = np.empty(0, bool)  # what masks are like
BITS = {2: np.int16, 4: np.int32, 8: np.int64}  # by bytes: the integers that a number's bits are


def max_pool(x: np.ndarray, *, window: Any) -> np.ndarray:
    """The largest cell of each window: (N, C, *size) -> (N, C, *output)."""
    return _reduced(x, window, np.maximum, lowest(x.dtype))


def window_sum(x: np.ndarray, *, window: Any) -> np.ndarray:
    """The sum over each window: (N, C, *size) -> (N, C, *output)."""
    return _reduced(x, window, np.add, 0)


def _reduced(x: np.ndarray, window: Any, combine: np.ufunc, neutral: Any) -> np.ndarray:
    """The cells of each window combined (their maximum, or sum), axis by axis: (N, C, *size) -> (N, C, *output)."""
    y = _empty_as(x, window.output)

    def work(samples: slice, channels: slice, rows: slice, part: Any) -> None:
        block = x[samples, channels]
        for axis in range(window.rank):
            if axis < window.rank - 1:
                out = _scratch_as(block, f"reduced {axis}", (*part.output[: axis + 1], *part.size[axis + 1 :]), x)
            else:
                out = y[samples, channels, rows]
            _reduce_axis(block, out, part.axis_shifts(axis), 2 + axis, combine, neutral)
            block = out

    share(work, [block for group in _groups(x, window) for block in group], cost=COST * x.size, products=False)
    return y


def _reduce_axis(x: np.ndarray, out: np.ndarray, shifts: list, axis: int, combine: np.ufunc, neutral: Any) -> None:
    at = (slice(None),) * axis
    every = slice(0, out.shape[axis])
    shifts = sorted(shifts, key=lambda shift: shift[1] != every)  # those that meet all outputs first
    whole = [x[(*at, cells)] for _, outputs, cells in shifts[:2] if outputs == every]
    if len(whole) == 2:
        combine(*whole, out=out)
    else:
        out[...] = whole[0] if whole else neutral
    for _, outputs, cells in shifts[len(whole) :]:
        combine(out[(*at, outputs)], x[(*at, cells)], out=out[(*at, outputs)])


def window_spread(g: np.ndarray, *, window: Any) -> np.ndarray:
    """Each entry added to every cell of its window: (N, C, *output) -> (N, C, *size)."""
    gx = _empty_as(g, window.size)
    adds = not _tiles(window)

    def work(samples: slice, channels: slice, rows: slice, part: Any) -> None:
        block = g[samples, channels, rows]
        for axis in reversed(range(window.rank)):
            if axis:
                out = _scratch_as(block, f"spread {axis}", (*part.output[:axis], *part.size[axis:]), g)
                if adds:
                    out[...] = 0
            else:
                out = gx[samples, channels]
            for _, outputs, cells in part.axis_shifts(axis):
                o, i = (slice(None),) * (2 + axis) + (outputs,), (slice(None),) * (2 + axis) + (cells,)
                if adds:
                    np.add(out[i], block[o], out=out[i])
                else:
                    out[i] = block[o]
            block = out

    _share_cells(work, gx, window)
    return gx


def to_largest(g: np.ndarray, *, among: np.ndarray, largest: np.ndarray, window: Any) -> np.ndarray:
    """Each entry of g (N, C, *output) added to the first cell of its window of `among` that `largest` does not exceed.

    The result is (N, C, *size), and has the memory layout of `among`. An entry of g must have 2, 4 or 8 bytes.
    """
    if g.itemsize not in BITS:
        return NotImplemented
    x, y = among, largest
    gx = _empty_as(x, window.size, g.dtype)
    adds, bits = not _tiles(window), BITS[g.itemsize]

    def work(samples: slice, channels: slice, rows: slice, part: Any) -> None:
        block, into, highest = x[samples, channels], gx[samples, channels], y[samples, channels, rows]
        missed, takes, free = (_scratch_as(block, k, part.output, MASK) for k in ("missed", "takes", "free"))
        given, taken = (_scratch_as(block, k, part.output, g) for k in ("given", "taken"))
        ones, out = takes.view(np.int8), taken.view(bits)
        given[...] = g[samples, channels, rows]
        given = given.view(bits)
        free[...] = True
        nan = np.isnan(highest) if x.dtype.kind == "f" else None
        nan = nan if nan is not None and nan.any() else None
        for _, o, i in part.shifts():
            o, i = (..., *o), (..., *i)
            if missed[o].size < missed.size:
                missed[...] = True  # by a tap on padding
            np.less(block[i], highest[o], out=missed[o])
            if nan is not None:
                missed[o] |= nan[o] & ~np.isnan(block[i])
            np.greater(free, missed, out=takes)
            np.logical_and(free, missed, out=free)
            np.negative(ones, out=ones)  # 0 or -1, which is all ones
            if adds:
                np.bitwise_and(given, ones, out=out)
                np.add(into[i], taken[o], out=into[i])
            else:
                np.bitwise_and(given, ones, out=into[i].view(bits))

    _share_cells(work, gx, window)
    return gx


# --- blocks


def _share_cells(work: Callable[..., None], gx: np.ndarray, window: Any) -> None:
    """Blocks that add to gx, from zeros; those that may meet in a cell are one thread's, in order. If none meet and
    none leaves a cell out, they assign."""

    def add(*group: tuple) -> None:
        samples, channels, _, _ = group[0]
        gx[samples, channels] = 0
        for block in group:
            work(*block)

    groups = _groups(gx, window)
    if _tiles(window):
        share(work, [block for group in groups for block in group], cost=COST * gx.size, products=False)
    else:
        share(add, groups, cost=COST * gx.size, products=False)


def _tiles(window: Any) -> bool:
    """Is each cell in exactly one window, and each tap on a cell?"""
    exact = tuple(o * s for o, s in zip(window.output, window.stride))
    return (
        window.kernel == window.stride
        and max(window.dilation) == 1
        and window.size == exact
        and not any(map(any, window.padding))
    )


def _groups(x: np.ndarray, window: Any) -> list[list[tuple[slice, slice, slice, Any]]]:
    """Blocks (samples, channels, rows of the output, window of those rows) of x (N, C, *size), grouped by maps."""
    n, c = x.shape[:2]
    cells = math.prod(window.size)
    most = block_size(n * c * cells, BLOCK)
    samples = max(most // max(c * cells, 1), 1)
    channels = c if samples > 1 or _channels_inside(x) else max(most // cells, 1)
    height = max(most * window.output[0] // max(samples * channels * cells, 1), 1)
    starts = range(0, window.output[0], height)
    rows = [slice(r, min(r + height, window.output[0])) for r in starts]
    parts = [(r, row_range(window, r.start, r.stop)) for r in rows]
    return [
        [(slice(i, i + samples), slice(j, j + channels), *part) for part in parts]
        for i in range(0, n, samples)
        for j in range(0, c, max(channels, 1))
    ]


# --- memory order


def _channels_inside(x: np.ndarray) -> bool:
    """Do the channels of x (N, C, *size) lie next to each other in memory?"""
    return abs(x.strides[1]) < min(map(abs, x.strides[2:]))


def _empty_as(x: np.ndarray, size: Sequence[int], dtype: Any = None) -> np.ndarray:
    """An uninitialised array (N, C, *size), whose axes lie in memory in the order of those of x."""
    return shaped_as(x, (*x.shape[:2], *size), partial(empty, dtype=dtype or x.dtype))


def _scratch_as(x: np.ndarray, name: str, size: Sequence[int], like: np.ndarray) -> np.ndarray:
    """The same in this thread's scratch memory, of the dtype of `like`."""
    return shaped_as(x, (*x.shape[:2], *size), partial(scratch, f"pool {name}", like=like))
