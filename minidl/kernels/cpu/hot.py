"""Hot pixels: those too large for their tile, or not finite. Winograd's transforms would spread them.

A transform mixes the inputs of a tile and rounds in proportion to the largest: errors reach outputs whose windows do
not see it, and a NaN is everywhere. The size of a pixel is the sum of its absolute values over the channels. The
windows of a tile that see anything see a pixel of a certain size at least; one so many times as large is hot. What
makes it hot is left out of the tile, and outputs that see it are computed by the definition; those that see nothing
are 0. So an error is bounded by what the window of its output sees.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np

from .layout import strided
from .memory import scratch

TILE = 4  # outputs along an axis
# So many times as large is hot. Gradients vary more from pixel to pixel than activations. A tap, near a border, may see
# one pixel of a tile and not the next; but it sums over many tiles.
INPUTS, COTANGENTS, TAPS = 16, 64, 256
LARGEST = np.float32(1e30)  # of a size: larger numbers might overflow in a transform


class Hot(NamedTuple):
    """The hot pixels of tiles (side, side, n, tall, wide), and what depends on them."""

    pixels: np.ndarray  # which are: (side, side, n, tall, wide)
    limit: np.ndarray  # the largest size of the others: (n, tall, wide)
    outputs: np.ndarray  # those that see one: (TILE, TILE, n, tall, wide)
    blank: np.ndarray  # those that see nothing

    def leave_out(self, tiles: np.ndarray) -> None:
        """In tiles (side, side, n * tall * wide * C), put 0 for what makes a pixel hot."""
        at = np.nonzero(self.pixels)
        tiles = tiles.reshape(*self.pixels.shape, -1)
        values = tiles[at]  # (pixels, C)
        most = self.limit[at[2:]][:, None] / values.shape[-1]
        tiles[at] = np.where(abs(values) <= most, values, 0)


def find(
    x: np.ndarray, side: int, window: int, inside: tuple[slice, slice], padded: tuple[int, int],
    output: tuple[int, int], times: float,
) -> Hot | None:  # fmt: skip
    """The hot pixels of x (n, rows, columns, C) in tiles of `side`; None, as a rule, if there are none.

    They are too large for what windows of that side see. x lies `inside` of an area of the size `padded`, zero around
    it; there may be fewer rows and columns of `output` than the tiles have.
    """
    if not x.size:
        return None
    magnitudes = np.abs(x, out=scratch("odd", x.shape, x))
    pixels = np.dot(magnitudes.reshape(-1, x.shape[-1]), _ones(x.shape[-1]))
    largest, reach = pixels.max(), side - TILE + 1  # pixels that an output sees
    (top, bottom), (left, right) = ((cells.start < reach, cells.stop) for cells in inside)
    all_see = top and left and bottom >= output[0] and right >= output[1]
    if all_see and largest <= times * pixels.min() and largest <= LARGEST:
        return None
    if not largest <= LARGEST:
        pixels[~(pixels <= LARGEST)] = np.inf
    sizes = np.zeros((len(x), *padded), x.dtype)
    sizes[(slice(None), *inside)] = pixels.reshape(x.shape[:-1])
    seen = _over(np.maximum, sizes, 1, window).copy()
    rows, columns = (count + reach - window for count in output)
    seen[:, rows:] = seen[:, :, columns:] = np.inf
    if largest <= min(times * seen.min(), LARGEST):
        return None
    blank = seen == 0
    seen[blank] = np.inf
    limit = np.minimum(times * _over(np.minimum, seen, 1, side - window + 1, TILE), LARGEST)  # (n, tall, wide)
    pixels = cut(sizes[..., None], side)[..., 0] > limit
    if not pixels.any() and not blank.any():
        return None
    outputs = _over(np.logical_or, pixels, 0, reach)
    n, tall, wide = limit.shape
    exist = np.zeros((n, TILE * tall, TILE * wide, 1), bool)
    exist[:, : output[0], : output[1]] = True
    outputs &= cut(exist, TILE)[..., 0]
    return Hot(pixels, limit, outputs, cut(blank[..., None], side - window + 1)[..., 0])


@lru_cache(maxsize=64)
def _ones(count: int) -> np.ndarray:
    return np.ones(count, np.float32)


def cut(x: np.ndarray, side: int) -> np.ndarray:
    """What tiles see of x (n, rows, columns, C), a square each: a view (side, side, n, tall, wide, C)."""
    n, *axes, c = x.shape
    by_sample, by_row, by_column, by_channel = x.strides
    tall, wide = ((length - side) // TILE + 1 for length in axes)
    strides = (by_row, by_column, by_sample, TILE * by_row, TILE * by_column, by_channel)
    return strided(x, (side, side, n, tall, wide, c), strides)


def _over(combine: np.ufunc, x: np.ndarray, axis: int, side: int, step: int = 1) -> np.ndarray:
    """x combined over squares of `side` along `axis` and the next, one at every step."""
    for a in (axis, axis + 1):
        last = step * ((x.shape[a] - side) // step)
        x = reduce(combine, [x[(slice(None),) * a + (slice(i, i + last + 1, step),)] for i in range(side)])
    return x
