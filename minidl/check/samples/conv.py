"""Samples of the convolution family. Oracles: scipy.signal, and loops over the definition.

Each sample differentiates both arguments; the windows lead through every way of computing that conv.py chooses from.
"""

from __future__ import annotations

import numpy as np

from ...ops.conv import conv_p, conv_transpose_p, conv_weight
from ...ops.window import Window
from . import Sample, samples
from .window import cells


def by_signal(x, w, *, window, groups):
    """Each output channel by scipy.signal.convolve with the dilated kernel, flipped; then every s-th position."""
    from scipy.signal import convolve

    f, c = w.shape[:2]
    sparse = np.zeros((f, c, *window.span), w.dtype)
    sparse[(..., *(slice(None, None, d) for d in window.dilation))] = w
    flipped = sparse[(..., *(slice(None, None, -1) for _ in window.kernel))]
    padded = np.pad(x, ((0, 0), (0, 0), *window.padding))
    y = np.zeros((len(x), f, *window.output), np.result_type(x, w))
    strided = tuple(slice(None, None, s) for s in window.stride)
    for n, j, i in np.ndindex(len(x), f, c):
        channel = j // (f // groups) * c + i
        y[n, j] += convolve(padded[n, channel], flipped[j, i], mode="valid", method="direct")[strided]
    return y


def one_by_one_back(u, w, *, window, groups):
    f, c = w.shape[:2]
    x = np.zeros((len(u), groups * c, *window.size), np.result_type(u, w))
    for tap, position, cell in cells(window):
        for j in range(f):
            channels = slice(j // (f // groups) * c, j // (f // groups) * c + c)
            x[(slice(None), channels, *cell)] += np.outer(u[(slice(None), j, *position)], w[(j, slice(None), *tap)])
    return x


def one_by_one_weight(x, u, *, window, groups):
    f, c = u.shape[1], x.shape[1] // groups
    w = np.zeros((f, c, *window.kernel), np.result_type(x, u))
    for tap, position, cell in cells(window):
        for j in range(f):
            channels = slice(j // (f // groups) * c, j // (f // groups) * c + c)
            w[(j, slice(None), *tap)] += u[(slice(None), j, *position)] @ x[(slice(None), channels, *cell)]
    return w


CASES = (  # batch, channels in and out, groups, window
    (2, 2, 3, 1, Window.of((5,), 3)),
    (1, 1, 1, 1, Window.of((4,), 4)),  # kernel == input
    (2, 2, 2, 1, Window.of((7,), 2, stride=4, padding=[(1, 0)])),  # stride > kernel, inexact
    (2, 4, 1, 1, Window.of((5,), 2, padding="causal", dilation=2)),  # few outputs
    (1, 2, 3, 1, Window.of((3, 4), 3, padding="same")),
    (1, 2, 2, 1, Window.of((3, 3), 1)),  # pointwise
    (2, 2, 2, 1, Window.of((2, 3), 1, padding=1)),  # padding beyond the span: its mirror crops
    (1, 4, 1, 1, Window.of((3, 3), 2, padding=((1, 0), (0, 1)))),
    (1, 4, 6, 2, Window.of((4, 4), (3, 2), stride=(2, 1), padding=((1, 0), (0, 2)), dilation=(1, 2))),
    (2, 3, 3, 3, Window.of((4, 3), 2, stride=2)),  # depthwise, a row that no tap meets
    (1, 8, 2, 2, Window.of((3, 3), 2)),  # few outputs in groups
    (2, 1, 2, 1, Window.of((3, 2, 3), 2, padding=(0, 1, 0))),
    (1, 2, 2, 2, Window.of((3, 3, 2), (2, 1, 2), stride=(2, 1, 1))),
    (1, 1, 2, 1, Window.of((9, 8), 2)),  # enough positions for one product per sample
    (2, 1, 1, 1, Window.of((9, 9), 2)),
    (0, 2, 3, 1, Window.of((5,), 3)),  # an empty batch
)


def tensors(rng, n, c, f, groups, window):
    x = rng.normal(size=(n, c, *window.size))
    w = rng.normal(size=(f, c // groups, *window.kernel))
    u = rng.normal(size=(n, f, *window.output))
    return x, w, u, {"window": window, "groups": groups}


@samples(conv_p, oracle=by_signal)
def conv_samples(rng):
    for case in CASES:
        x, w, _, parameters = tensors(rng, *case)
        yield Sample((x, w), parameters)


@samples(conv_transpose_p, oracle=one_by_one_back)
def conv_transpose_samples(rng):
    for case in CASES:
        _, w, u, parameters = tensors(rng, *case)
        yield Sample((u, w), parameters)


@samples(conv_weight, oracle=one_by_one_weight)
def conv_weight_samples(rng):
    for case in CASES:
        x, _, u, parameters = tensors(rng, *case)
        yield Sample((x, u), parameters)
