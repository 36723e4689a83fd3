"""Winograd's convolution F(4x4, 3x3): 36 products for 16 outputs of a 3x3 kernel, where the definition takes 144.

A fast algorithm is a low-rank factorisation of the trilinear form of ops/conv.py. On a tile of 4x4 outputs u, which see
6x6 inputs x, with w the 3x3 kernel,

    T(x, w, u) = sum over r of  (A' u)[r] * (G' w)[r] * (B' x)[r],    r = 1 ... 36

where A' = A (x) A, G' = G (x) G, B' = B (x) B are Kronecker squares of three small matrices. The derivative with
respect to one argument is the transpose of its matrix, applied to the products of the other two:

    conv          y = A'^T [G' w * B' x]          conv_weight   w = G'^T [A' u * B' x], summed over tiles

and the transposed convolution, with stride 1, is a convolution with the mirrored kernel. The sum over channels goes
between: for each r one matrix product, tiles by channels. Tiles are worked on in blocks, which are shared among
threads. Only float32 comes here: rounding errors stay below 5e-5 of the largest output (a tenth of that as a rule), and
proofs in float64 should see the definition.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4.3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..window import mirrored_window, row_range
from . import layout
from .blocks import blocks, even
from .memory import scratch
from .workers import MULTIPLY_ADDS, share

A = np.array([[1, 0, 0, 0], [1, 1, 1, 1], [1, -1, 1, -1], [1, 2, 4, 8], [1, -2, 4, -8], [0, 0, 0, 1]])
B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
OUTPUT, INPUT = A.astype(np.float32), B.astype(np.float32)
KERNEL = np.kron(G, G).astype(np.float32)  # G' (36, 9)
TILE, SEEN = 4, 6  # outputs of a tile along an axis, and the inputs that they see

BLOCK = 1 << 20  # transformed entries (36, tiles, channels) of a block: with fewer, threads wait for the GIL
FEWEST = 64  # tiles that a block has at least, if there are so many: a thin matrix product is a slow one
CHANNELS = 16  # with fewer, the transforms cost more than they save
POSITIONS = 256  # in the batch, at least
KERNELS = 340  # (F times C) for each position: with more, transforming and reading them takes longer than it saves
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


def convolve(x: np.ndarray, w: np.ndarray, window: Any) -> np.ndarray:
    """dT/du: x (N, C, *size), w (F, C, 3, 3) give (N, F, *output)."""
    f, c = w.shape[:2]
    w = layout.channels_last(w).reshape(f, 9, c).transpose(1, 2, 0)  # (9, C, F)
    return _convolve(x, _kernels(w, KERNEL), window)


def transpose(u: np.ndarray, w: np.ndarray, window: Any) -> np.ndarray:
    """dT/dx: u (N, F, *output), w (F, C, 3, 3) give (N, C, *size): convolution with the mirrored kernels."""
    f, c = w.shape[:2]
    w = layout.channels_last(w).reshape(f, 9, c).swapaxes(0, 1)  # (9, F, C)
    return _convolve(u, _kernels(w, KERNEL[:, ::-1]), mirrored_window(window))


def _kernels(w: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """G' w: (9, inputs, outputs) -> (36, inputs, outputs)."""
    kernels = np.empty((36, *w.shape[1:]), np.float32)

    def work(rows: slice) -> None:
        part = scratch("kernels", (9, rows.stop - rows.start, w.shape[2]), w)
        part[...] = w[:, rows]
        np.matmul(transform, part.reshape(9, -1), out=kernels[:, rows].reshape(36, -1))

    share(work, [(rows,) for rows in even(w.shape[1], ROWS)], cost=16 * w.size)
    return kernels


def _convolve(x: np.ndarray, kernels: np.ndarray, window: Any) -> np.ndarray:
    _, c, f = kernels.shape
    y = layout.empty((len(x), f, *window.output), np.float32)
    out, x = layout.channels_last(y), layout.channels_last(x)

    def work(samples: slice, rows: slice, part: Any) -> None:
        inputs = _input_tiles(x[samples], part)  # (36, tiles, C)
        tiles = inputs.shape[1]
        products = scratch("even", (36, tiles, f), y)
        np.matmul(inputs, kernels, out=products)
        outputs = _both_axes(OUTPUT.T, products.reshape(SEEN, SEEN, tiles * f), "odd", "even")  # (4, 4, tiles * F)
        _store(outputs, out[samples, rows])

    share(work, _blocks(len(x), max(c, f), window), cost=4 * y.size * c // MULTIPLY_ADDS)
    return y


def correlate(x: np.ndarray, u: np.ndarray, window: Any) -> np.ndarray:
    """dT/dw: x (N, C, *size), u (N, F, *output) give (F, C, 3, 3)."""
    n, c, f = len(x), x.shape[1], u.shape[1]
    x, u = layout.channels_last(x), layout.channels_last(u)
    items = _blocks(n, max(c, f), window)
    most = PARTS if 36 * f * c < HEAVY else PARTS // 2
    parts = np.empty((max(min(most, len(items)), 1), 36, f, c), np.float32)

    def work(k: int) -> None:
        if not items:
            parts[k] = 0
        for i, (samples, rows, part) in enumerate(items[k :: len(parts)]):
            cotangents = _output_tiles(u[samples, rows], part)  # (36, tiles, F)
            inputs = _input_tiles(x[samples], part)  # (36, tiles, C)
            sums = scratch("even", (36, f, c), x) if i else parts[k]
            np.matmul(cotangents.swapaxes(1, 2), inputs, out=sums)
            if i:
                parts[k] += sums

    share(work, [(k,) for k in range(len(parts))], cost=4 * u.size * c // MULTIPLY_ADDS)
    w = np.empty((f, 9, c), np.float32)

    def finish(rows: slice) -> None:
        total = scratch("total", (36, rows.stop - rows.start, c), x)
        total[...] = parts[0, :, rows]
        for part in parts[1:]:
            total += part[:, rows]
        kernels = scratch("kernels", (9, rows.stop - rows.start, c), x)
        np.matmul(KERNEL.T, total.reshape(36, -1), out=kernels.reshape(9, -1))
        w[rows] = kernels.swapaxes(0, 1)  # (9, rows, C) -> (rows, 9, C)

    share(finish, [(rows,) for rows in even(f, ROWS)], cost=100 * f * c)
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


def _input_tiles(x: np.ndarray, part: Any) -> np.ndarray:
    """B' x for the tiles of a block: (n, *size, C) -> (36, n * tiles, C)."""
    n, c = len(x), x.shape[-1]
    inside, cells = part.inner
    padded = scratch("even", (n, *part.padded, c), x)
    padded[...] = 0
    padded[(slice(None), *inside)] = x[(slice(None), *cells)]
    inputs = _both_axes(INPUT, _tiles(padded, SEEN, part, "odd"), "even", "odd")
    return inputs.reshape(36, -1, c)


def _output_tiles(u: np.ndarray, part: Any) -> np.ndarray:
    """A' u for the tiles of a block: (n, rows, columns, F) -> (36, n * tiles, F)."""
    n, height, width, f = u.shape
    whole = u
    if (height, width) != part.output:
        whole = scratch("odd", (n, *part.output, f), u)
        whole[:, height:], whole[:, :, width:] = 0, 0
        whole[:, :height, :width] = u
    cotangents = _both_axes(OUTPUT, _tiles(whole, TILE, part, "cotangents"), "even", "cotangents")
    return cotangents.reshape(36, -1, f)


def _tiles(x: np.ndarray, side: int, part: Any, name: str) -> np.ndarray:
    """What the tiles of a block see of x (n, rows, columns, C), a square each: (side, side, n * tiles * C)."""
    by_sample, by_row, by_column, by_channel = x.strides
    view = np.lib.stride_tricks.as_strided(
        x,
        (side, side, len(x), *(out // TILE for out in part.output), x.shape[-1]),
        (by_row, by_column, by_sample, TILE * by_row, TILE * by_column, by_channel),
    )
    tiles = scratch(name, view.shape, x)
    tiles[...] = view
    return tiles.reshape(side, side, -1)


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
    # (4, 4, n, tall, wide, F) -> (n, tall, 4, wide, 4, F)
    ordered = outputs.reshape(TILE, TILE, n, tall, wide, f).transpose(2, 3, 0, 4, 1, 5)
    if (height, width) == (TILE * tall, TILE * wide) and y.flags.c_contiguous:
        y.reshape(n, tall, TILE, wide, TILE, f)[...] = ordered
        return
    whole = scratch("odd", (n, TILE * tall, TILE * wide, f), y)
    whole.reshape(ordered.shape)[...] = ordered
    y[...] = whole[:, :height, :width]
