"""Convolution of each channel with its own kernel (groups = channels). No matrix product has anything to do here:
nothing is summed over channels. With the channels last in memory, a tap meets a row of the image as one piece, cells
times channels; `einsum` multiplies and adds along it, and a row is still in the cache when the next tap comes.

In a transposed convolution with a stride, the cells of the result that leave the same remainder are a convolution with
stride 1, of the taps that reach them.

Source: Sifre, "Rigid-motion scattering for image classification", PhD thesis 2014, section 6.2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..window import row_range
from . import layout
from .blocks import blocks, joined
from .finish import nothing
from .im2col import padded_input
from .memory import scratch
from .workers import share

BLOCK = 1 << 18  # numbers worked on at a time: with fewer, threads wait for the GIL
LEAST = 1 << 17  # of a block, if there are so many
PIECE = 1 << 10  # numbers in a piece of a row, at least: the shorter, the more often einsum starts anew
LONG = 1 << 8  # channels that weight gradients are summed over at once, cell by cell
PARTS = 4  # sums of weight gradients that are made apart and then added

LETTERS = {1: ("no", "a"), 2: ("nyo", "ab"), 3: ("nzyo", "abc")}  # of positions (sample, rows, pieces) and taps


def suits(inputs: int, outputs: int, window: Any, groups: int) -> bool:
    return groups == inputs == outputs >= layout.FEW


def convolve(x: np.ndarray, w: np.ndarray, window: Any, finish: Callable[..., None] = nothing) -> np.ndarray:
    """dT/du: x (N, C, *size), w (C, 1, *kernel) give (N, C, *output)."""
    y = layout.empty((*x.shape[:2], *window.output), np.result_type(x, w))
    share(_convolve, _items(layout.channels_last(y), x, w, window, finish), cost=y.size * window.taps)
    return y


def transpose(u: np.ndarray, w: np.ndarray, window: Any) -> np.ndarray:
    """dT/dx: u (N, C, *output), w (C, 1, *kernel) give (N, C, *size)."""
    y = layout.empty((*u.shape[:2], *window.size), np.result_type(u, w))
    items = []
    for parts in itertools.product(*(_remainders(window, axis) for axis in range(window.rank))):
        cells, taps, kernel, dilation, padding = zip(*parts)
        target = layout.channels_last(y)[(slice(None), *cells)]
        if not all(kernel):  # no tap reaches these cells
            target[...] = 0
        elif target.size:
            part = type(window)(window.output, kernel, (1,) * window.rank, dilation, padding)
            items += _items(target, u, w[(..., *taps)], part, nothing)
    share(_convolve, items, cost=u.size * window.taps)
    return y


def _remainders(window: Any, axis: int) -> Iterator[tuple[slice, slice, int, int, tuple[int, int]]]:
    """For the cells ``i = s m + r`` of each r: (cells, the taps that reach them, and kernel, dilation and padding of
    the convolution over o that they are). From ``s o + d k - low = i`` follows ``o = m + (r + low - d k) / s``."""
    n, k, s, d = (field[axis] for field in (window.size, window.kernel, window.stride, window.dilation))
    low, out = window.padding[axis][0], window.output[axis]
    for r in range(s):
        taps = [tap for tap in range(k) if (r + low - d * tap) % s == 0]
        step = s // math.gcd(s, d)  # from one of these taps to the next
        if not taps:
            yield slice(r, None, s), slice(0), 0, 1, (0, 0)
            continue
        before = (d * taps[-1] - r - low) // s  # the last tap sees the first output
        dilation = d * step // s
        after = len(range(r, n, s)) + dilation * (len(taps) - 1) - out - before
        backwards = slice(taps[-1], taps[0] - 1 if taps[0] else None, -step)
        yield slice(r, None, s), backwards, len(taps), dilation, (before, after)


def correlate(x: np.ndarray, u: np.ndarray, window: Any) -> np.ndarray:
    """dT/dw: x (N, C, *size), u (N, C, *output) give (C, 1, *kernel)."""
    n, c = x.shape[:2]
    x, u = layout.channels_last(x), layout.channels_last(u)
    found = _blocks(n, c, window)
    parts = np.zeros((max(min(PARTS, len(found)), 1), *window.kernel, c), np.result_type(x, u))
    positions, taps = LETTERS[window.rank]

    def work(k: int) -> None:
        for samples, at, part in found[k :: len(parts)]:
            cells = part.output[-1] if part.stride[-1] == 1 and c < LONG else 1
            view = _seen(x[samples], part, cells)
            sums = scratch("sums", view.shape[-1 - part.rank :], parts)
            np.einsum(f"{positions}{taps}i,{positions}i->{taps}i", view, _pieces(u[samples, at], cells), out=sums)
            parts[k] += np.ones(cells, sums.dtype) @ sums.reshape(*part.kernel, cells, c)

    share(work, [(k,) for k in range(len(parts))], cost=u.size * window.taps)
    return np.ascontiguousarray(np.moveaxis(parts.sum(axis=0), -1, 0))[:, None]


def _items(y: np.ndarray, x: np.ndarray, w: np.ndarray, window: Any, finish: Callable[..., None]) -> list[tuple]:
    """What `_convolve` takes to fill y (N, *output, C) from x (N, C, *size) and w (C, 1, *kernel), block by block."""
    c, found = y.shape[-1], _blocks(*y.shape[:: y.ndim - 1], window)
    most = max([_cells(part, c) for *_, part in found], default=0)
    kernels = np.empty((*window.kernel, most, c), y.dtype)
    kernels[...] = np.moveaxis(w[:, 0], 0, -1)[..., None, :]  # (*kernel, C), over and over
    kernels, x = kernels.reshape(*window.kernel, -1), layout.channels_last(x)
    return [(y[samples, at], x[samples], kernels, part, finish, samples, at) for samples, at, part in found]


def _convolve(
    y: np.ndarray, x: np.ndarray, kernels: np.ndarray, part: Any, finish: Callable[..., None], *place: slice
) -> None:
    """y (n, *output, C) from x (n, *size, C) and kernels (*kernel, numbers of a piece)."""
    total = y if y.flags.c_contiguous else scratch("total", y.shape, y)
    positions, taps = LETTERS[part.rank]
    cells = _cells(part, y.shape[-1])
    view, into = _seen(x, part, cells), _pieces(total, cells)
    np.einsum(f"{positions}{taps}i,{taps}i->{positions}i", view, kernels[..., : into.shape[-1]], out=into)
    if total is not y:
        y[...] = total
    finish(y, *place)


def _cells(part: Any, c: int) -> int:
    """Cells of a row that are worked on in one piece: a divisor of their number; 1 if they are not neighbours."""
    return joined(part.output[-1], c, PIECE) if part.stride[-1] == 1 else 1


def _seen(x: np.ndarray, part: Any, cells: int) -> np.ndarray:
    """What the taps see of x (n, *size, C), rows of the output in pieces of so many cells: a view
    (n, *rows, pieces, *taps, numbers of a piece)."""
    x = np.ascontiguousarray(padded_input(x, part, 1))
    by_position = [step * s for step, s in zip(x.strides[1:], part.stride)]
    by_tap = [step * d for step, d in zip(x.strides[1:], part.dilation)]
    strides = (x.strides[0], *by_position[:-1], cells * by_position[-1], *by_tap, x.itemsize)
    shape = (len(x), *part.output[:-1], part.output[-1] // cells, *part.kernel, cells * x.shape[-1])
    return np.ndarray(shape, x.dtype, x, 0, strides)


def _pieces(u: np.ndarray, cells: int) -> np.ndarray:
    """u (n, *output, C) in such pieces: (n, *rows, pieces, numbers); a view if u lies without gaps."""
    return u.reshape(*u.shape[:-2], u.shape[-2] // cells, cells * u.shape[-1])


@lru_cache(maxsize=1024)
def _blocks(n: int, c: int, window: Any) -> list[tuple[slice, slice, Any]]:
    """(samples, range of the first spatial axis, window of that range)."""
    rows, columns = window.output[0], math.prod(window.output[1:])
    cells = c * math.prod(window.stride)  # that come for a position
    found = blocks(n, rows, columns, LEAST // cells, max(BLOCK // cells, 1))
    return [(s, r, window if r == slice(0, rows) else row_range(window, r.start, r.stop)) for s, r in found]
