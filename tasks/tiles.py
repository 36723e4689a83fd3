"""A trained network on an image of any size, tile by tile: memory does not grow with the image.

The result is that of the whole image at once, because of two things. Each tile is given all the pixels that its logits
depend on; beyond the border of the image these are mirrored (Figure 2 of the U-Net paper), or, for a network whose
convolutions pad, what the network makes of the border. And tiles start at multiples of the network's period, 16 pixels
for a U-Net of depth 4: moved by less, max pooling would group other pixels together. The paper's output of 388 pixels
is therefore stepped by 384. What is left is rounding: a matrix product of another shape may add in another order.

Where there are many tiles, they are alike, and all but the first two are replayed by a recorded program (`md.record`),
in which batch norm is part of the convolution before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor
from minidl.device import to_device
from minidl.recording.recorded import Recorded

TILE = 388
MANY = 8  # tiles along an axis: with fewer, to be alike costs as much as recording saves


class Piece(NamedTuple):
    """Along one axis: the logits that a tile gives, the pixels that it sees, the place of the former in its output."""

    inner: slice
    outer: slice
    kept: slice


def predict(
    net: Any, image: np.ndarray, *, tile: int | None = TILE, device: str = "cpu", show: Callable | None = None,
    prepare: Callable[[np.ndarray], np.ndarray] = np.ascontiguousarray, finish: Callable = np.asarray,
    out: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """What a network gives for an image (C, H, W): (K, H, W), such as the logits of K classes.

    `net` says whether it is `padded` (its logits have the size of its input), its `period`, and its `radius` or, if it
    is not padded, `sizes` and `input_size`: UNet, FCN, SimpleNet and the denoisers do. `tile` is how many logits
    a tile gives along each axis: at least one period, rounded to what the network can do, None for one tile.
    ``show()`` is called after each tile, `count` says how many there are. ``prepare(part)`` makes of a part of the
    image what the network takes, ``finish(logits)`` of what it gives what is kept, in `out` if that is given: so a
    large picture may stay in bytes.
    """
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"predict needs an image of shape (C, H, W), got {image.shape}")
    rows, columns = (_pieces(net, n, tile) for n in image.shape[1:])
    if not net.padded:
        image = mirrored(net, image)
    many = max(len(rows), len(columns)) >= MANY  # and so alike
    step = Recorded(lambda x: net(x), strict=False) if many and device == "cpu" else net
    with net.inference():
        for row, column in product(rows, columns):
            x = prepare(image[:, row.outer, column.outer])[None]  # (C, h, w) -> (1, C, h, w)
            y = finish(step(Tensor(to_device(x, device))).numpy()[0])
            if out is None:
                out = np.empty((len(y), rows[-1].inner.stop, columns[-1].inner.stop), y.dtype)
            out[:, row.inner, column.inner] = y[:, row.kept, column.kept]
            if show is not None:
                show()
    return out


def count(net: Any, shape: tuple[int, int], tile: int | None = TILE) -> int:
    """How many tiles `predict` makes of an image of this height and width."""
    return math.prod(len(_pieces(net, n, tile)) for n in shape)


def mirrored(net: Any, image: np.ndarray) -> np.ndarray:
    """The image (C, H, W) with mirrored borders, so large that a network without padding gives logits for each pixel.

    The logits of pixel (0, 0) are the first; beyond the last pixels there may be some that belong to none.
    """
    pairs = [(0, 0)]
    for n in image.shape[1:]:
        size = net.input_size(n)
        low = (size - net.sizes(size).output) // 2
        pairs.append((low, size - n - low))
    return np.pad(image, pairs, mode="reflect")


def _pieces(net: Any, n: int, tile: int | None) -> list[Piece]:
    if n < 1 or (tile is not None and tile < 1):
        raise ValueError(f"predict needs an image of at least 1x1 and a tile of at least 1, got {n} and {tile}")
    return _padded(net, n, tile or n) if net.padded else _valid(net, n, tile or n)


def _padded(net: Any, n: int, tile: int) -> list[Piece]:
    """Tiles of whole periods, as even as can be, each with a margin of whole periods wherever the image goes on.

    If they are many, each sees as much as those in the middle.
    """
    period = net.period
    largest, margin = (period * math.ceil(m / period) for m in (tile, net.radius))
    number = math.ceil(n / largest)
    step = period * math.ceil(n / number / period)
    seen = step + 2 * margin
    pieces = []
    for start in range(0, n, step):
        stop, first = min(start + step, n), max(start - margin, 0)
        last = min(stop + margin, n)
        if number >= MANY:
            last = min(first + seen, n)
            first = min(first, period * math.ceil(max(n - seen, 0) / period))
        pieces.append(Piece(slice(start, stop), slice(first, last), slice(start - first, stop - first)))
    return pieces


def _valid(net: Any, n: int, tile: int) -> list[Piece]:
    """Tiles that start whole periods apart, the last one where the mirrored image ends."""
    whole = net.sizes(net.input_size(n)).output
    size = net.input_size(min(tile, n))
    while net.sizes(size).output < net.period:  # no step could be made
        size += net.period
    output = net.sizes(size).output
    if output >= whole:
        return [Piece(slice(0, n), slice(0, net.input_size(n)), slice(0, n))]
    step = output // net.period * net.period
    starts = [*range(0, whole - output, step), whole - output]
    return [Piece(slice(s, min(s + output, n)), slice(s, s + size), slice(0, min(output, n - s))) for s in starts]
