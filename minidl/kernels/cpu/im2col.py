"""Convolution as a matrix product: the patches under the window become rows of a matrix, `columns`.

    gather       y = columns(x) @ W^T         conv
    scatter      x = what columns @ W adds up to, each patch where it came from (col2im): conv_transpose
    correlate    w = u^T @ columns(x)         conv_weight

The columns of a 3x3 kernel are nine times as large as x. They are made in blocks of positions that stay in the cache,
in memory that the next block uses again, and blocks are shared among threads. With the channels last in memory a patch
is copied in rows of kernel width times channels, at the speed of memory; of few channels (`layout.FEW`) the columns lie
the other way round, and the copy runs along the rows of the image, or where those are short along the samples.

Source: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..window import is_pointwise, row_range
from . import layout
from .blocks import blocks, even
from .finish import nothing
from .memory import empty, scratch
from .workers import MULTIPLY_ADDS, share

BLOCK = 1 << 20  # numbers in a block of columns, at most
ENOUGH = 192  # positions in a block, at least: a thin matrix product is a slow one
MORE = 256  # positions, where there are no columns to make: rather cut the output channels, and read each kernel once
ROW = 16  # entries of a row of the image: shorter ones had better be worked on for many samples at once
SHORT = 128  # rows of columns: with so few, the kernels had better be the matrix on the left
NARROW = 27  # columns of a product that is better turned afterwards, where as many are added up
PIECES = 2  # items of work, at least: else the output channels are cut as well
THIN = 64  # channels in such a piece, at least
GRAIN = 1 << 22  # multiply-adds of an item, at least: less is done before another thread has woken up
PARTS = 4  # sums of weight gradients that are made apart and then added
HEAVY = 1 << 19  # numbers in a weight above which there is one sum, and its rows are cut into pieces


def gather(
    x: np.ndarray, w: np.ndarray, window: Any, groups: int, finish: Callable[..., None] = nothing
) -> np.ndarray:
    """dT/du: x (N, C, *size), w (F, C/G, *kernel) give (N, F, *output)."""
    n, f, c = len(x), len(w), w.shape[1]
    y = layout.empty((n, f, *window.output), np.result_type(x, w))
    out = layout.channels_last(y)
    depth, each = c * window.taps, f // groups
    matrix = _matrix(w)  # (F, C/G * taps)
    found = position_blocks(n, window, depth, depth * each)

    def work(block: tuple, g: int, rows: slice) -> None:
        samples, at, part = block
        columns = _columns(x[samples, g * c : (g + 1) * c], part)
        target = out[samples, at][..., rows]  # (samples, *positions, rows)
        ordered = _in_order(target, c, part)
        into = None if len(columns) <= SHORT else _as_matrix(ordered)
        if into is None:
            product = scratch("product", (rows.stop - rows.start, len(columns)), y)
            np.matmul(matrix[rows], columns.T, out=product)
            ordered[...] = product.T.reshape(ordered.shape)
        else:
            np.matmul(columns, matrix[rows].T, out=into)
        finish(target, samples, at, rows)

    items = [
        (block, g, slice(g * each + rows.start, g * each + rows.stop))
        for block in found
        for g in range(groups)
        for rows in _pieces(each, len(found) * groups, y.size * depth)
    ]
    share(work, items, cost=y.size * depth // MULTIPLY_ADDS)
    return y


def scatter(
    u: np.ndarray, w: np.ndarray, window: Any, groups: int, finish: Callable[..., None] = nothing
) -> np.ndarray:
    """dT/dx: u (N, F, *output), w (F, C/G, *kernel) give (N, C, *size)."""
    n, c, f = len(u), w.shape[1], len(w) // groups
    depth = c * window.taps
    x = layout.empty((n, c * groups, *window.size), np.result_type(u, w))
    u = layout.channels_last(u)
    matrix = _matrix(w)  # (F, C/G * taps)
    enough = max(ENOUGH, min(GRAIN // max(depth * f, 1), BLOCK // depth))
    together = max(min(enough // max(window.positions, 1), n), 1)  # samples of an item
    batch = even(n, together)

    def work(samples: slice, cells: slice, positions: slice, strip: Any, g: int) -> None:
        channels = slice(g * c, (g + 1) * c)
        target = x[samples, channels, cells]
        target[...] = 0
        if strip is None:
            return finish(layout.channels_last(target), samples, cells, channels)
        values = u[samples, positions]
        whole = [(None, slice(None), strip)]
        for _, at, part in position_blocks(1, strip, depth, depth * f) if together == 1 else whole:
            rows = _rows(_in_order(values[:, at][..., g * f : (g + 1) * f], c, part))
            _put(rows, matrix[g * f : (g + 1) * f], target, part)
        finish(layout.channels_last(target), samples, cells, channels)

    strips = _strips(window, -(-PIECES // max(len(batch) * groups, 1)))
    items = [(s, *strip, g) for s in batch for strip in strips for g in range(groups)]
    share(work, items, cost=u.size * depth // MULTIPLY_ADDS)
    return x


def _strips(window: Any, count: int) -> list[tuple[slice, slice, Any]]:
    """The input in strips along its first axis: (cells, positions that meet them, window between those two or None)."""
    (low, _), s, span = window.padding[0], window.stride[0], window.span[0]
    strips = []
    for cells in even(window.size[0], -(-window.size[0] // count)):
        first = max(-((span - 1 - low - cells.start) // s), 0)
        stop = min((cells.stop - 1 + low) // s + 1, window.output[0])
        if first >= stop:
            strips.append((cells, slice(0, 0), None))
            continue
        size, before = cells.stop - cells.start, low + cells.start - s * first
        after = s * (stop - first - 1) + span - size - before
        sizes, padding = (size, *window.size[1:]), ((before, after), *window.padding[1:])
        part = type(window)(sizes, window.kernel, window.stride, window.dilation, padding)
        strips.append((cells, slice(first, stop), part))
    return strips


def _put(values: np.ndarray, matrix: np.ndarray, x: np.ndarray, part: Any) -> None:
    """Add the patches ``values @ matrix`` (P, c * taps) to x (n, c, *size), each at its place."""
    (n, c), rank = x.shape[:2], part.rank
    overlap = any(s < span for s, span in zip(part.stride, part.span))
    columns = scratch("columns", (len(values), matrix.shape[1]), x)
    if c < layout.FEW:  # (c * taps, P): one row for each channel and tap
        columns = columns.reshape(matrix.shape[1], len(values))
        if matrix.shape[1] <= NARROW <= len(matrix) and values.flags.c_contiguous:
            product = scratch("product", (len(values), matrix.shape[1]), x)
            columns[...] = np.matmul(values, matrix, out=product).T
        else:
            np.matmul(matrix.T, values.T, out=columns)
    if _samples_inside(n, c, part):
        columns = columns.reshape(c, *part.kernel, *part.output, n)
        columns = columns.transpose(2 * rank + 1, *range(2 * rank + 1))
        total = scratch("total", (c, *part.size, n), x)
        total[...] = 0
        cells_of = np.moveaxis(total, -1, 0)  # (n, c, *size)
    elif c < layout.FEW:
        columns = columns.reshape(c, *part.kernel, n, *part.output)
        columns = columns.transpose(rank + 1, 0, *range(1, rank + 1), *range(rank + 2, 2 * rank + 2))
        cells_of = x  # (n, c, *size)
    else:
        np.matmul(values, matrix, out=columns)
        columns = columns.reshape(n, *part.output, *part.kernel, c)
        columns = columns.transpose(0, *range(rank + 1, 2 * rank + 1), *range(1, rank + 1), 2 * rank + 1)
        columns = columns[:, None]  # (n, 1, *kernel, *output, c)
        cells_of = layout.channels_last(x)[:, None]  # (n, 1, *size, c)
    both = slice(None), slice(None)
    for tap, outputs, cells in part.shifts():
        target, patch = cells_of[(*both, *cells)], columns[(*both, *tap, *outputs)]
        if overlap:
            target += patch
        else:
            target[...] = patch
    if cells_of is not x and c < layout.FEW:
        x += cells_of


def correlate(x: np.ndarray, u: np.ndarray, window: Any, groups: int) -> np.ndarray:
    """dT/dw: x (N, C, *size), u (N, F, *output) give (F, C/G, *kernel)."""
    n, f, c = len(x), u.shape[1] // groups, x.shape[1] // groups
    depth, dtype = c * window.taps, np.result_type(x, u)
    u = layout.channels_last(u)
    found, heavy = position_blocks(n, window, depth, depth * f), f * groups * depth > HEAVY
    if is_pointwise(window) and n * window.positions * depth <= BLOCK:
        found = [(slice(n), slice(window.output[0]), window)]  # no columns to make, and no sums to add
    parts = empty((1 if heavy else max(min(PARTS, len(found)), 1), f * groups, depth), dtype)
    if not found:
        parts[...] = 0

    def work(k: int, g: int, rows: slice) -> None:
        into = parts[k, g * f + rows.start : g * f + rows.stop]
        for i, (samples, at, part) in enumerate(found[k :: len(parts)]):
            columns = _columns(x[samples, g * c : (g + 1) * c], part)
            values = _rows(_in_order(u[samples, at][..., g * f + rows.start : g * f + rows.stop], c, part))
            if not i:
                np.matmul(values.T, columns, out=into)
                continue
            product = scratch("product", into.shape, parts)
            np.matmul(values.T, columns, out=product)
            into += product

    pieces = _pieces(f, len(parts) * groups, u.size * depth)
    items = [(k, g, rows) for k in range(len(parts)) for g in range(groups) for rows in pieces]
    share(work, items, cost=u.size * depth // MULTIPLY_ADDS)
    w = parts[0]
    for part in parts[1:]:
        w += part
    if c < layout.FEW:
        return w.reshape(f * groups, c, *window.kernel)
    return layout.channels_first(w.reshape(f * groups, *window.kernel, c))


# --- columns and matrices


def _columns(x: np.ndarray, part: Any) -> np.ndarray:
    """The patches of x (n, C, *size) under the window, one a row: (P, taps * C), or of few channels (P, C * taps)."""
    n, c = x.shape[:2]
    few, inside = c < layout.FEW, _samples_inside(n, c, part)
    first = 2 if few and not inside else 1  # spatial axis
    if few:
        x = np.moveaxis(x, 0, -1 if inside else 1)  # (C, *size, n) or (C, n, *size)
    else:
        x = layout.channels_last(x)  # (n, *size, C)
    x = padded_input(x, part, first)
    strides = x.strides[first : first + part.rank]
    by_tap = tuple(step * d for step, d in zip(strides, part.dilation))
    by_position = tuple(step * s for step, s in zip(strides, part.stride))
    if inside:
        shape = (c, *part.kernel, *part.output, n)
        strides = (x.strides[0], *by_tap, *by_position, x.itemsize)
    elif few:
        shape = (c, *part.kernel, n, *part.output)
        strides = (x.strides[0], *by_tap, x.strides[1], *by_position)
    elif by_tap[-1] == c * x.itemsize:  # the pixels of a row of the kernel lie next to each other
        shape = (n, *part.output, *part.kernel[:-1], part.kernel[-1] * c)
        strides = (x.strides[0], *by_position, *by_tap[:-1], x.itemsize)
    else:
        shape = (n, *part.output, *part.kernel, c)
        strides = (x.strides[0], *by_position, *by_tap, x.itemsize)
    view = layout.strided(x, shape, strides)
    matrix = (c * part.taps, n * part.positions) if few else (n * part.positions, part.taps * c)
    if view.flags.c_contiguous:
        columns = view.reshape(matrix)
    else:
        columns = scratch("columns", view.shape, x)
        if few:
            columns[...] = view
        else:
            layout.pixels(columns)[...] = layout.pixels(view)
        columns = columns.reshape(matrix)
    return columns.T if few else columns


def _samples_inside(n: int, c: int, part: Any) -> bool:
    """Are few channels and short rows worked on for all samples at once, the samples innermost in columns?"""
    return c < layout.FEW and part.output[-1] < min(ROW, n)


def _in_order(u: np.ndarray, c: int, part: Any) -> np.ndarray:
    """u (n, *positions, F) with its positions in the order of the columns of c channels: maybe (*positions, n, F)."""
    return np.moveaxis(u, 0, -2) if _samples_inside(len(u), c, part) else u


def padded_input(x: np.ndarray, part: Any, first: int) -> np.ndarray:
    """What the window sees of x, whose spatial axes start at `first`: with zeros around, in memory without gaps."""
    inside, cells = part.inner
    lead = (slice(None),) * first
    view = x[(*lead, *cells)]
    if view.shape[first : first + part.rank] == part.padded and view.strides[-1] == view.itemsize:
        return view
    padded = scratch("padded", (*view.shape[:first], *part.padded, *view.shape[first + part.rank :]), x)
    for axis, (known, n) in enumerate(zip(inside, part.padded), first):
        others = (slice(None),) * axis
        if known.start:
            padded[(*others, slice(known.start))] = 0
        if known.stop < n:
            padded[(*others, slice(known.stop, n))] = 0
    padded[(*lead, *inside)] = view
    return padded


def _rows(u: np.ndarray) -> np.ndarray:
    """u (n, *positions, F) as a matrix (P, F) with rows (of few channels columns) in one piece: a view if possible."""
    matrix = _as_matrix(u)
    if matrix is not None:
        return matrix
    if u.shape[-1] < layout.FEW:
        u = np.moveaxis(u, -1, 0)
        copy = scratch("rows", u.shape, u)
        copy[...] = u
        return copy.reshape(len(u), -1).T
    copy = scratch("rows", u.shape, u)
    copy[...] = u
    return copy.reshape(-1, u.shape[-1])


def _as_matrix(u: np.ndarray) -> np.ndarray | None:
    """The view (P, F) of u (n, *positions, F), if there is one that a matrix product takes as it is."""
    if u.strides[-1] != u.itemsize and u.shape[-1] > 1:
        return None
    row = span = u.shape[-1] * u.itemsize
    axes = [(size, stride) for size, stride in zip(u.shape[:-1], u.strides[:-1]) if size > 1]
    for i, (size, stride) in enumerate(reversed(axes)):
        if i == 0:
            row = span = stride
        elif stride != span:
            return None
        span *= size
    return layout.strided(u, (math.prod(u.shape[:-1]), u.shape[-1]), (row, u.itemsize))


def _matrix(w: np.ndarray) -> np.ndarray:
    """The kernels as rows, in the order of the columns: (F, C, *kernel) -> (F, taps * C), or (F, C * taps)."""
    w = w if w.shape[1] < layout.FEW else layout.channels_last(w)
    if not w.flags.c_contiguous:
        w, given = empty(w.shape, w.dtype), w
        w[...] = given
    return w.reshape(len(w), -1)


# --- what is worked on at a time


@lru_cache(maxsize=1024)
def position_blocks(n: int, window: Any, depth: int, work: int) -> list[tuple[slice, slice, Any]]:
    """(samples, range of the first spatial axis, window of that range) for blocks whose columns fit the cache.

    A position has `depth` numbers in its column, and takes so much `work` (multiply-adds).
    """
    rows, columns = window.output[0], math.prod(window.output[1:])
    least = max(MORE if window.taps == 1 else ENOUGH, GRAIN // max(work, 1))
    found = blocks(n, rows, columns, least, max(BLOCK // depth, ENOUGH))
    return [(s, r, window if r == slice(0, rows) else row_range(window, r.start, r.stop)) for s, r in found]


def _pieces(channels: int, others: int, work: int) -> Sequence[slice]:
    """The channels in as many pieces as it takes to make, with `others`, items for all threads; work is that of all."""
    wanted = min(-(-PIECES // max(others, 1)), max(work // GRAIN, 1))
    return even(channels, max(-(-channels // wanted), THIN))
