"""Winograd's convolution F(4x4, 3x3): 36 products for 16 outputs of a 3x3 kernel, where the definition takes 144.

A fast algorithm is a low-rank factorisation of the trilinear form of ops/conv.py. On a tile of 4x4 outputs u, which see
6x6 inputs x, with w the 3x3 kernel,

    T(x, w, u) = sum over r of  (A' u)[r] * (G' w)[r] * (B' x)[r],    r = 1 ... 36

where A' = A (x) A, G' = G (x) G, B' = B (x) B are Kronecker squares of three small matrices. The derivative with
respect to one argument is the transpose of its matrix, applied to the products of the other two:

    conv          y = A'^T [G' w * B' x]          conv_weight   w = G'^T [A' u * B' x], summed over tiles

and the transposed convolution, with stride 1, is a convolution with the mirrored kernel. The sum over channels goes
between: for each r one matrix product, tiles by channels. Tiles are worked on in blocks, which are shared among
threads. Only float32 comes here: rounding errors stay below 1e-5 of the largest output (a third of that as a rule), and
proofs in float64 should see the definition. What a window does not see, a hot pixel or a NaN, its output does not
feel: hot.py.

The matrices are those of Toom and Cook for the POINTS: products of polynomials, evaluated there and interpolated. These
points give a quarter of the rounding errors of 0, 1, -1, 2, -2.

Sources: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4.3; Barabasz et al.,
"Error analysis and improving the accuracy of Winograd convolution", ACM Transactions on Mathematical Software 46(4),
2020, on points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..window import mirrored_window, row_range
from . import layout
from .blocks import blocks, even
from .finish import nothing
from .hot import COTANGENTS, INPUTS, TAPS, TILE, Hot, cut, find
from .memory import empty, scratch
from .workers import MULTIPLY_ADDS, share

POINTS = (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)  # and infinity
ROOTS = [[q for q in POINTS if q != p] for p in POINTS]
A = np.vstack([np.vander(POINTS, 4, increasing=True), np.eye(4)[3]])
B = np.vstack([*(np.append(np.poly(roots)[::-1], 0) for roots in ROOTS), np.poly(POINTS)[::-1]])
G = np.vander(POINTS, 3, increasing=True) / [[np.prod(np.subtract(p, roots))] for p, roots in zip(POINTS, ROOTS)]
G = np.vstack([G, np.eye(3)[2]])
OUTPUT, INPUT = A.astype(np.float32), B.astype(np.float32)
KERNEL = np.kron(G, G).astype(np.float32)  # G' (36, 9)
SEEN = TILE + 2  # inputs that the outputs of a tile see, along an axis

# Transformed entries (36, tiles, channels) of a block: more leave the cache, with fewer threads wait for the GIL.
BLOCK = 1 << 19
FEWEST = 64  # tiles that a block has at least, if there are so many: a thin matrix product is a slow one
CHANNELS = 24  # with fewer, the transforms cost more than they save
POSITIONS = 256  # in the batch, at least
KERNELS = 340  # (F times C) for each position: with more, transforming and reading them takes longer than it saves
PATCHES = 1 << 20  # numbers in the patches of outputs that are computed by the definition, at a time
ROWS = 32  # input or output channels whose kernels are transformed at a time
PARTS = 4  # sums of weight gradients that are made apart and then added, whatever the number of threads
HEAVY = 1 << 20  # entries of such a sum above which there are half as many


def can(dtype: Any, window: Any, groups: int) -> bool:
    """Is this a float32 convolution 3x3 of stride and dilation 1?"""
    ones = (1, 1)
    return dtype == np.float32 and window.kernel == (3, 3) and window.stride == window.dilation == ones and groups == 1


def pays(n: int, inputs: int, outputs: int, window: Any) -> bool:
    """Are there channels and positions enough, and not too many kernels?"""
    positions = n * window.positions
    return min(inputs, outputs) >= CHANNELS and positions >= max(POSITIONS, inputs * outputs / KERNELS)


def convolve(
    x: np.ndarray, w: np.ndarray, window: Any, finish: Callable[..., None] = nothing, kernels: Any = None
) -> np.ndarray:
    """dT/du: x (N, C, *size), w (F, C, 3, 3) give (N, F, *output). `kernels`: ``transformed(w)``, if at hand."""
    return _convolve(x, _by_tap(w), window, INPUTS, finish, kernels)


def transformed(w: np.ndarray) -> np.ndarray:
    """G' w of the kernels (F, C, 3, 3): (36, C, F)."""
    return _kernels(_by_tap(w))


def _by_tap(w: np.ndarray) -> np.ndarray:
    """(F, C, 3, 3) -> (9, C, F)"""
    f, c = w.shape[:2]
    return layout.channels_last(w).reshape(f, 9, c).transpose(1, 2, 0)


def transpose(u: np.ndarray, w: np.ndarray, window: Any) -> np.ndarray:
    """dT/dx: u (N, F, *output), w (F, C, 3, 3) give (N, C, *size): convolution with the mirrored kernels."""
    f, c = w.shape[:2]
    w = layout.channels_last(w).reshape(f, 9, c).swapaxes(0, 1)  # (9, F, C)
    return _convolve(u, w[::-1], mirrored_window(window), COTANGENTS)


def _kernels(w: np.ndarray) -> np.ndarray:
    """G' w: (9, inputs, outputs) -> (36, inputs, outputs)."""
    kernels = empty((36, *w.shape[1:]), np.float32)

    def work(rows: slice) -> None:
        part = scratch("kernels", (9, rows.stop - rows.start, w.shape[2]), w)
        part[...] = w[:, rows]
        np.matmul(KERNEL, part.reshape(9, -1), out=kernels[:, rows].reshape(36, -1))

    share(work, [(rows,) for rows in even(w.shape[1], ROWS)], cost=16 * w.size)
    return kernels


def _convolve(
    x: np.ndarray, w: np.ndarray, window: Any, times: float, finish: Callable[..., None] = nothing, kernels: Any = None
) -> np.ndarray:
    """x (N, C, *size) and w (9, C, F) give (N, F, *output). Pixels so many `times` as large as others are hot."""
    _, c, f = w.shape
    kernels = _kernels(w) if kernels is None else kernels
    y = layout.empty((len(x), f, *window.output), np.float32)
    out, x = layout.channels_last(y), layout.channels_last(x)

    def work(samples: slice, rows: slice, part: Any) -> None:
        target, padded = out[samples, rows], _padded(x[samples], part)
        hot = _hot_inputs(x[samples], 3, part, target, times)
        tiles = _tiles(padded, SEEN, "odd")
        if hot:
            exact = np.empty((np.count_nonzero(hot.outputs), f), np.float32)
            for some, patches in _patches(padded, hot.outputs):
                np.matmul(patches, w.reshape(9 * c, f), out=exact[some])
            hot.leave_out(tiles)
        inputs = _both_axes(INPUT, tiles, "even", "odd").reshape(36, -1, c)
        products = scratch("even", (36, inputs.shape[1], f), y)
        np.matmul(inputs, kernels, out=products)
        outputs = _both_axes(OUTPUT.T, products.reshape(SEEN, SEEN, -1), "odd", "even")  # (4, 4, tiles * F)
        if hot:
            by_tile = outputs.reshape(*hot.outputs.shape, f)
            by_tile[hot.blank], by_tile[hot.outputs] = 0, exact
        _store(outputs, target)
        finish(target, samples, rows)

    share(work, _blocks(len(x), max(c, f), window), cost=4 * y.size * c // MULTIPLY_ADDS)
    return y


def correlate(x: np.ndarray, u: np.ndarray, window: Any) -> np.ndarray:
    """dT/dw: x (N, C, *size), u (N, F, *output) give (F, C, 3, 3)."""
    n, c, f = len(x), x.shape[1], u.shape[1]
    x, u = layout.channels_last(x), layout.channels_last(u)
    items = _blocks(n, max(c, f), window)
    most = PARTS if 36 * f * c < HEAVY else PARTS // 2
    parts = empty((max(min(most, len(items)), 1), 36, f, c), np.float32)
    exact: dict[int, np.ndarray] = {}  # what outputs that see hot pixels add to a part: (F, 9 * C)

    def work(k: int) -> None:
        if not items:
            parts[k] = 0
        for i, (samples, rows, part) in enumerate(items[k :: len(parts)]):
            padded, given = _padded(x[samples], part), u[samples, rows]
            whole, output = _whole(given, part), given.shape[1:3]
            hot_inputs = _hot_inputs(x[samples], 1, part, given, TAPS)
            inside = slice(0, output[0]), slice(0, output[1])
            hot = [hot_inputs, find(given, TILE, 1, inside, part.output, output, TAPS)]
            cotangents, inputs = _tiles(whole, TILE, "cotangents"), _tiles(padded, SEEN, "odd")
            if any(hot):
                outputs = np.logical_or.reduce([h.outputs for h in hot if h])
                by_tile = cotangents.reshape(*outputs.shape, f)
                values, by_tile[outputs] = by_tile[outputs], 0
                exact.setdefault(k, np.zeros((f, 9 * c), np.float32))
                for some, patches in _patches(padded, outputs):
                    exact[k] += values[some].T @ patches
            if hot_inputs:
                hot_inputs.leave_out(inputs)
            cotangents = _both_axes(OUTPUT, cotangents, "even", "cotangents").reshape(36, -1, f)
            inputs = _both_axes(INPUT, inputs, "even", "odd").reshape(36, -1, c)
            sums = scratch("even", (36, f, c), x) if i else parts[k]
            np.matmul(cotangents.swapaxes(1, 2), inputs, out=sums)
            if i:
                parts[k] += sums

    share(work, [(k,) for k in range(len(parts))], cost=4 * u.size * c // MULTIPLY_ADDS)
    w = empty((f, 9, c), np.float32)

    def finish(rows: slice) -> None:
        total = scratch("total", (36, rows.stop - rows.start, c), x)
        total[...] = parts[0, :, rows]
        for part in parts[1:]:
            total += part[:, rows]
        kernels = scratch("kernels", (9, rows.stop - rows.start, c), x)
        np.matmul(KERNEL.T, total.reshape(36, -1), out=kernels.reshape(9, -1))
        w[rows] = kernels.swapaxes(0, 1)  # (9, rows, C) -> (rows, 9, C)

    share(finish, [(rows,) for rows in even(f, ROWS)], cost=100 * f * c)
    for k in sorted(exact):
        w += exact[k].reshape(w.shape)
    return layout.channels_first(w.reshape(f, 3, 3, c))


@lru_cache(maxsize=1024)
def _blocks(n: int, channels: int, window: Any) -> list[tuple[slice, slice, Any]]:
    """(samples, rows of the output, window of those rows) for blocks of tiles; windows end with whole tiles."""
    whole = [-(-out // TILE) * TILE for out in window.output]
    pairs = [(low, out + 2 - size - low) for size, out, (low, _) in zip(window.size, whole, window.padding)]
    aligned = type(window)(window.size, window.kernel, window.stride, window.dilation, tuple(pairs))
    tall, wide = (out // TILE for out in whole)
    least = max(min(FEWEST, n * tall * wide // 2), FEWEST // 2)  # two blocks rather than one
    found = blocks(n, tall, wide, least, max(BLOCK // (36 * channels), least))
    bounds = [(samples, TILE * r.start, TILE * r.stop) for samples, r in found]
    return [(samples, slice(start, stop), row_range(aligned, start, stop)) for samples, start, stop in bounds]


def _padded(x: np.ndarray, part: Any) -> np.ndarray:
    """What a block sees of x (n, *size, C), with zeros around."""
    inside, cells = part.inner
    padded = scratch("even", (len(x), *part.padded, x.shape[-1]), x)
    rows, columns = inside
    padded[:, : rows.start] = padded[:, rows.stop :] = 0
    padded[:, rows, : columns.start] = padded[:, rows, columns.stop :] = 0
    padded[(slice(None), *inside)] = x[(slice(None), *cells)]
    return padded


def _hot_inputs(x: np.ndarray, window: int, part: Any, outputs: np.ndarray, times: float) -> Hot | None:
    """Of what a block sees of x (n, *size, C) for these outputs (n, rows, columns, F)."""
    inside, cells = part.inner
    return find(x[(slice(None), *cells)], SEEN, window, inside, part.padded, outputs.shape[1:3], times)


def _whole(u: np.ndarray, part: Any) -> np.ndarray:
    """u (n, rows, columns, F) with its pixels in one piece each, and zeros behind if it ends within a tile."""
    n, height, width, f = u.shape
    if (height, width) == part.output and u.strides[-1] == u.itemsize:
        return u
    whole = scratch("whole", (n, *part.output, f), u)
    whole[:, height:], whole[:, :, width:] = 0, 0
    whole[:, :height, :width] = u
    return whole


def _tiles(x: np.ndarray, side: int, name: str) -> np.ndarray:
    """What the tiles of a block see of x (n, rows, columns, C), a square each: (side, side, n * tiles * C)."""
    view = cut(x, side)
    tiles = scratch(name, view.shape, x)
    layout.pixels(tiles)[...] = layout.pixels(view)
    return tiles.reshape(side, side, -1)


def _patches(padded: np.ndarray, outputs: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """What some outputs, marked in (4, 4, n, tall, wide), see of padded (n, rows, columns, C), a few at a time:
    (which, their patches (outputs, 9 * C))."""
    a, b, sample, i, j = np.nonzero(outputs)
    c = padded.shape[-1]
    view = sliding_window_view(padded, (3, 3), (1, 2)).transpose(0, 1, 2, 4, 5, 3)  # (n, rows, columns, 3, 3, C)
    for some in even(len(a), PATCHES // (9 * c)):
        at = sample[some], TILE * i[some] + a[some], TILE * j[some] + b[some]
        yield some, view[at].reshape(-1, 9 * c)


def _both_axes(matrix: np.ndarray, tiles: np.ndarray, between: str, name: str) -> np.ndarray:
    """M t M^T for each of many tiles t: (k, k, R) -> (m, m, R), for M (m, k). This is M' of the definition above."""
    m, k = matrix.shape
    half = scratch(between, (k, m, tiles.shape[2]), tiles)
    np.matmul(matrix, tiles, out=half)  # along the second axis of the tiles
    whole = scratch(name, (m, m, tiles.shape[2]), tiles)
    np.matmul(matrix, half.swapaxes(0, 1), out=whole.swapaxes(0, 1))  # (m, k, R) -> (m, m, R): along the first
    return whole


def _store(outputs: np.ndarray, y: np.ndarray) -> None:
    """Tiles (4, 4, n * tiles * F) to their place in y (n, rows, columns, F), which may end within a tile."""
    n, height, width, f = y.shape
    tall, wide = -(-height // TILE), -(-width // TILE)
    # (4, 4, n, tall, wide) pixels -> (n, tall, 4, wide, 4)
    ordered = layout.pixels(outputs.reshape(TILE, TILE, n, tall, wide, f)).transpose(2, 3, 0, 4, 1)
    if (height, width) == (TILE * tall, TILE * wide) and y.flags.c_contiguous:
        layout.pixels(y).reshape(ordered.shape)[...] = ordered
        return
    whole = scratch("odd", (n, TILE * tall, TILE * wide, f), y)
    layout.pixels(whole).reshape(ordered.shape)[...] = ordered
    y[...] = whole[:, :height, :width]
