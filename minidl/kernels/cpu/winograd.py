"""Winograd's convolution F(4x4, 3x3): 36 products for 16 outputs of a 3x3 kernel, where the definition takes 144.

A fast algorithm is a low-rank factorisation of the trilinear form of ops/conv.py. On a tile of 4x4 outputs u, which see
6x6 inputs x, with w the 3x3 kernel,

    T(x, w, u) = sum over r of  (A' u)[r] * (G' w)[r] * (B' x)[r],    r = 1 ... 36

where A' = A (x) A, G' = G (x) G, B' = B (x) B are Kronecker squares of three small matrices. The derivative with
respect to one argument is the transpose of its matrix, applied to the products of the other two:

    conv          y = A'^T [G' w * B' x]          conv_weight   w = G'^T [A' u * B' x], summed over tiles

and the transposed convolution, with stride 1, is a convolution with the mirrored kernel. The sum over channels goes
between: for each r one matrix product, channels by tiles. Tiles are worked on in blocks that fit the second-level
cache, and blocks are shared among threads. Only float32 comes here: rounding errors stay below 5e-5 of the largest
output (a tenth of that as a rule), and proofs in float64 should see the definition.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4.3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .workers import one_blas_thread, scratch, share

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
OUTPUT, INPUT, KERNEL = (np.kron(m, m).astype(np.float32) for m in (A, B, G))  # A' (36, 16), B' (36, 36), G' (36, 9)
TILE, SEEN = 4, 6  # outputs of a tile along an axis, and the inputs that they see

BLOCK = 1 << 18  # transformed entries (36, channels, tiles) of a block: they should stay in the second-level cache
FEWEST = 64  # tiles that a block has at least, if there are so many: a thin matrix product is a slow one
CHANNELS = 16  # with fewer, the transforms cost more than they save
LARGEST = 1 << 14  # kernels (F times C): with more, their transforms do not stay in the cache
TILES = 128  # in the batch: with fewer, transforming the kernels is not worth it
PARTS = 4  # sums of weight gradients that are made apart and then added, whatever the number of threads


def suits(x: Any, other: Any, u_channels: int, window: Any, groups: int) -> bool:
    """Is this, of x with w or u, a float32 convolution 3x3 of stride and dilation 1, with channels and tiles enough?"""
    return (
        isinstance(x, np.ndarray)
        and x.dtype == other.dtype == np.float32
        and window.kernel == (3, 3)
        and window.stride == window.dilation == (1, 1)
        and groups == 1
        and min(x.shape[1], u_channels) >= CHANNELS
        and x.shape[1] * u_channels <= LARGEST
        and len(x) * math.prod(-(-out // TILE) for out in window.output) >= TILES
    )


def convolve(x: np.ndarray, w: np.ndarray, window: Any) -> np.ndarray:
    """dT/du: x (N, C, *size), w (F, C, 3, 3) give (N, F, *output)."""
    n, c, f = len(x), x.shape[1], len(w)
    y = np.empty((n, f, *window.output), np.float32)
    with one_blas_thread():
        kernels = (KERNEL @ w.reshape(f * c, 9).T).reshape(36, f, c)

    def work(samples: slice, rows: slice, part: Any) -> None:
        inputs = _input_tiles(x[samples], part)  # (36, C, tiles)
        tiles = inputs.shape[2]
        products = scratch("products", (36, f, tiles), x)
        np.matmul(kernels, inputs, out=products)
        outputs = scratch("outputs", (16, f * tiles), x)
        np.matmul(OUTPUT.T, products.reshape(36, f * tiles), out=outputs)
        _store(outputs, y[samples, :, rows])

    share(work, _blocks(n, max(c, f), window), cost=y.size * c)
    return y


def pair(x: np.ndarray, u: np.ndarray, window: Any) -> np.ndarray:
    """dT/dw: x (N, C, *size), u (N, F, *output) give (F, C, 3, 3)."""
    n, c, f = len(x), x.shape[1], u.shape[1]
    items = _blocks(n, max(c, f), window)
    parts = np.zeros((max(min(PARTS, len(items)), 1), 36, f, c), np.float32)

    def work(k: int) -> None:
        for samples, rows, part in items[k :: len(parts)]:
            cotangents = _output_tiles(u[samples, :, rows], part)  # (36, F, tiles)
            inputs = _input_tiles(x[samples], part)  # (36, C, tiles)
            sums = scratch("sums", (36, f, c), x)
            np.matmul(cotangents, inputs.swapaxes(1, 2), out=sums)
            parts[k] += sums

    share(work, [(k,) for k in range(len(parts))], cost=u.size * c)
    for part in parts[1:]:
        parts[0] += part
    with one_blas_thread():
        w = KERNEL.T @ parts[0].reshape(36, f * c)  # (9, F * C)
    return np.ascontiguousarray(w.T).reshape(f, c, 3, 3)


def _blocks(n: int, channels: int, window: Any) -> list[tuple[slice, slice, Any]]:
    """(samples, rows of the output, window of those rows) for blocks of tiles; windows end with whole tiles."""
    whole = [-(-out // TILE) * TILE for out in window.output]
    pairs = [(low, out + 2 - size - low) for size, out, (low, _) in zip(window.size, whole, window.padding)]
    aligned = type(window)(window.size, window.kernel, window.stride, window.dilation, tuple(pairs))
    tall, wide = (out // TILE for out in whole)
    tiles = max(BLOCK // (36 * channels), FEWEST)
    samples = max(tiles // (tall * wide), 1)
    height = max(tiles // (wide * samples), 1) if samples == 1 else tall
    rows = [(r, min(r + height, tall)) for r in range(0, tall, height)]
    return [
        (slice(i, min(i + samples, n)), slice(TILE * r, TILE * s), aligned.rows(TILE * r, TILE * s))
        for i in range(0, n, samples)
        for r, s in rows
    ]


def _input_tiles(x: np.ndarray, part: Any) -> np.ndarray:
    """B' x for the tiles of a block: (n, C, *size) -> (36, C, n * tiles)."""
    n, c = x.shape[:2]
    inside, cells = part.inner()
    padded = scratch("padded", (n, c, *part.padded), x)
    padded[...] = 0
    padded[(..., *inside)] = x[(..., *cells)]
    tall, wide = (out // TILE for out in part.output)
    by_sample, by_channel, by_row, by_column = padded.strides
    view = np.lib.stride_tricks.as_strided(
        padded,
        (SEEN, SEEN, c, n, tall, wide),
        (by_row, by_column, by_channel, by_sample, TILE * by_row, TILE * by_column),
    )
    tiles = scratch("tiles", view.shape, x)
    tiles[...] = view
    inputs = scratch("inputs", (36, c * n * tall * wide), x)
    np.matmul(INPUT, tiles.reshape(36, -1), out=inputs)
    return inputs.reshape(36, c, n * tall * wide)


def _output_tiles(u: np.ndarray, part: Any) -> np.ndarray:
    """A' u for the tiles of a block: (n, F, rows, columns) -> (36, F, n * tiles)."""
    n, f, height, width = u.shape
    whole = scratch("whole", (n, f, *part.output), u)
    whole[:, :, height:], whole[..., width:] = 0, 0
    whole[:, :, :height, :width] = u
    tall, wide = (out // TILE for out in part.output)
    tiles = scratch("tiles", (TILE, TILE, f, n, tall, wide), u)
    # (n, F, tall, 4, wide, 4) -> (4, 4, F, n, tall, wide)
    tiles[...] = whole.reshape(n, f, tall, TILE, wide, TILE).transpose(3, 5, 1, 0, 2, 4)
    cotangents = scratch("cotangents", (36, f * n * tall * wide), u)
    np.matmul(OUTPUT, tiles.reshape(16, -1), out=cotangents)
    return cotangents.reshape(36, f, n * tall * wide)


def _store(outputs: np.ndarray, y: np.ndarray) -> None:
    """Tiles (16, F * n * tiles) to their place in y (n, F, rows, columns), which may end within a tile."""
    n, f, height, width = y.shape
    tall, wide = -(-height // TILE), -(-width // TILE)
    # (4, 4, F, n, tall, wide) -> (n, F, tall, 4, wide, 4)
    ordered = outputs.reshape(TILE, TILE, f, n, tall, wide).transpose(3, 2, 4, 0, 5, 1)
    if (height, width) == (TILE * tall, TILE * wide):
        y.reshape(n, f, tall, TILE, wide, TILE)[...] = ordered
        return
    whole = scratch("whole", (n, f, TILE * tall, TILE * wide), y)
    whole.reshape(ordered.shape)[...] = ordered
    y[...] = whole[:, :, :height, :width]
