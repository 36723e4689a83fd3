"""Convolution of each channel with its own kernel (groups = channels): one multiplication and one addition for each
tap, over a strip of the image at a time. No matrix product has anything to do here: nothing is summed over channels.

Source: Sifre, "Rigid-motion scattering for image classification", PhD thesis 2014, section 6.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import layout
from .im2col import padded_input, position_blocks
from .memory import scratch
from .workers import share

BLOCK = 1 << 15  # numbers of the output worked on at a time
PARTS = 4  # sums of weight gradients that are made apart and then added


def suits(inputs: int, outputs: int, window: Any, groups: int) -> bool:
    return groups == inputs == outputs >= layout.FEW


def convolve(x: np.ndarray, w: np.ndarray, window: Any) -> np.ndarray:
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

    share(work, _strips(n, c, window), cost=y.size * window.taps)
    return y


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
