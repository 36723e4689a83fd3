"""Convolution of each channel with its own kernel (groups = channels): one multiplication and one addition for each
tap, over a strip of the image at a time. No matrix product has anything to do here: nothing is summed over channels.

Source: Sifre, "Rigid-motion scattering for image classification", PhD thesis 2014, section 6.2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import layout
from .blocks import even
from .finish import nothing
from .im2col import padded_input, position_blocks
from .memory import scratch
from .workers import share

BLOCK = 1 << 15  # numbers of the output worked on at a time
PARTS = 4  # sums of weight gradients that are made apart and then added


def suits(inputs: int, outputs: int, window: Any, groups: int) -> bool:
    return groups == inputs == outputs >= layout.FEW


def convolve(x: np.ndarray, w: np.ndarray, window: Any, finish: Callable[..., None] = nothing) -> np.ndarray:
    """dT/du: x (N, C, *size), w (C, 1, *kernel) give (N, C, *output)."""
    n, c = x.shape[:2]
    y = layout.empty((n, c, *window.output), np.result_type(x, w))
    out = layout.channels_last(y)
    # repeated along the last axis, so that the kernels of a tap meet whole rows of the image
    wide = window.output[-1] if window.rank > 1 else 1
    kernels = np.tile(w.reshape(c, window.taps).T, (1, wide)).reshape(window.taps, wide, c).astype(y.dtype, copy=False)

    def work(samples: slice, at: slice, part: Any) -> None:
        target = out[samples, at]
        product = scratch("product", target.shape, y)
        for i, (kernel, view) in enumerate(zip(kernels, _taps(x[samples], part))):
            np.multiply(view, kernel, out=product if i else target)
            if i:
                target += product
        finish(target, samples, at)

    share(work, _strips(n, c, window), cost=y.size * window.taps)
    return y


def transpose(u: np.ndarray, w: np.ndarray, window: Any) -> np.ndarray:
    """dT/dx: u (N, C, *output), w (C, 1, *kernel) give (N, C, *size).

    With a stride, cells whose places leave the same remainder see the same taps: the sum over these, of u shifted, is
    made in a block of its own and then spread.
    """
    n, c = u.shape[:2]
    y = layout.empty((n, c, *window.size), np.result_type(u, w))
    cells, cotangent = layout.channels_last(y), layout.channels_last(u)
    kernels = w.reshape(c, window.taps).T.reshape(*window.kernel, c).astype(y.dtype, copy=False)
    wide = np.repeat(kernels[..., None, :], -(-window.size[-1] // window.stride[-1]), axis=-2)  # (*kernel, cells, C)

    def work(sample: int, rows: slice, remainders: tuple[int, ...]) -> None:
        target = cells[(sample, *(slice(r, None, s) for r, s in zip(remainders, window.stride)))][rows]
        total = scratch("total", target.shape, y)
        total[...] = 0
        lengths = (total.shape[0], *total.shape[1:-1])
        seen = [_seen(window, axis, r) for axis, r in enumerate(remainders)]
        for taps in itertools.product(*seen):
            tap, shifts = zip(*taps)
            shifts = (shifts[0] + rows.start, *shifts[1:])
            bounds = [(max(0, -q), min(m, o - q)) for q, m, o in zip(shifts, lengths, window.output)]
            if all(a < b for a, b in bounds):
                here = tuple(slice(a, b) for a, b in bounds)
                there = tuple(slice(a + q, b + q) for (a, b), q in zip(bounds, shifts))
                product = scratch("product", total[here].shape, y)
                kernel = wide[(*tap, slice(here[-1].stop - here[-1].start))]
                np.multiply(cotangent[(sample, *there)], kernel, out=product)
                total[here] += product
        target[...] = total

    items = []
    for remainders in np.ndindex(*window.stride):
        rows, *others = (len(range(r, n, s)) for r, n, s in zip(remainders, window.size, window.stride))
        if rows and all(others):
            strips = even(rows, BLOCK // (math.prod(others) * c))
            items += [(sample, strip, remainders) for sample in range(n) for strip in strips]
    share(work, items, cost=u.size * window.taps)
    return y


def _seen(window: Any, axis: int, remainder: int) -> list[tuple[int, int]]:
    """The taps that a cell ``stride * m + remainder`` of the axis is seen through, and from which output: m + shift."""
    place, stride, dilation = remainder + window.padding[axis][0], window.stride[axis], window.dilation[axis]
    shifts = [(k, place - dilation * k) for k in range(window.kernel[axis])]
    return [(k, shift // stride) for k, shift in shifts if shift % stride == 0]


def correlate(x: np.ndarray, u: np.ndarray, window: Any) -> np.ndarray:
    """dT/dw: x (N, C, *size), u (N, C, *output) give (C, 1, *kernel)."""
    n, c = x.shape[:2]
    cotangent = layout.channels_last(u)
    items = _strips(n, c, window)
    parts = np.zeros((max(min(PARTS, len(items)), 1), window.taps, c), np.result_type(x, u))

    def work(k: int) -> None:
        for samples, at, part in items[k :: len(parts)]:
            values = cotangent[samples, at]
            product = scratch("product", values.shape, parts)
            ones = np.ones(product.size // c, product.dtype)
            for i, view in enumerate(_taps(x[samples], part)):
                np.multiply(view, values, out=product)
                parts[k, i] += ones @ product.reshape(-1, c)

    share(work, [(k,) for k in range(len(parts))], cost=u.size * window.taps)
    return np.ascontiguousarray(parts.sum(axis=0).T).reshape(c, 1, *window.kernel)


def _taps(x: np.ndarray, part: Any) -> Any:
    """What each tap sees of x (n, C, *size), in C order: views (n, *output, C)."""
    padded = padded_input(layout.channels_last(x), part, 1)
    for tap in np.ndindex(*part.kernel):
        starts = [k * d for k, d in zip(tap, part.dilation)]
        cells = (slice(a, a + s * (o - 1) + 1, s) for a, s, o in zip(starts, part.stride, part.output))
        yield padded[(slice(None), *cells)]


def _strips(n: int, c: int, window: Any) -> list[tuple[slice, slice, Any]]:
    return position_blocks(n, window, 2 * c, 1 << 14)
