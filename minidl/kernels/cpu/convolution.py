"""Which way a convolution is computed. There are several, equal up to rounding, and each is the fastest somewhere:

    im2col      patches become rows of a matrix, then one matrix product: always possible            im2col.py
                (few output channels: two outputs side by side are one)                              pairs.py
    shifted     one matrix product for all taps, whose parts are then shifted and added: where few
                channels come out, and so few parts are added (kn2row, Anderson et al. 2017)         im2col.py
    winograd    36 products for 16 outputs of a 3x3 kernel instead of 144, in float32                winograd.py
    depthwise   a multiplication and an addition for each tap, where a channel sees itself alone     depthwise.py

`choose` decides by shape and dtype alone, so equal inputs give equal bits; `md.algorithm` overrules it.

Rounding: all but Winograd's add up the n products of the definition, in some order, and err by at most n eps times the
sum of their absolute values (Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.1); eps is 6e-8
in float32, 1e-16 in float64. Winograd's, in float32 only, errs by less than 1e-5 of the largest output, and a pixel
that is too large for its surroundings, or not finite, changes only what sees it (hot.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.context import current
from ..window import live_taps, mirrored_window
from . import depthwise, im2col, layout, pairs, winograd
from .finish import nothing

SMALL_MAPS = 8  # positions of a batch for each channel below which kernels had better stay as they lie in memory


def choose(n: int, inputs: int, outputs: int, dtype: Any, window: Any, groups: int) -> str:
    """The way to convolve n samples of so many channels, or to correlate them with so many."""
    stride_1 = all(s == 1 for s in window.stride)
    possible = {
        "im2col": True,
        "shifted": stride_1,
        "winograd": winograd.can(dtype, window, groups),
        "depthwise": depthwise.suits(inputs, outputs, window, groups),
    }
    way = current().algorithm
    if possible.get(way):
        return way
    if possible["depthwise"]:
        return "depthwise"
    if possible["winograd"] and winograd.pays(n, inputs, outputs, window):
        return "winograd"
    if stride_1 and window.taps > 1 and (2 if outputs < layout.FEW else 4) * outputs <= inputs:
        return "shifted"
    return "im2col"


def convolve(
    x: np.ndarray, w: np.ndarray, *, window: Any, groups: int, finish: Callable[..., None] = nothing
) -> np.ndarray:
    """dT/du: x (N, C, *size), w (F, C/G, *kernel) give (N, F, *output), of which each block is finished: finish.py."""
    taps, live = live_taps(window)
    if live is not window:
        return convolve(x, w[(..., *taps)], window=live, groups=groups, finish=finish)
    way = choose(len(x), x.shape[1], len(w), np.result_type(x, w), window, groups)
    if way == "winograd":
        return winograd.convolve(x, w, window, finish)
    if way == "depthwise":
        return depthwise.convolve(x, w, window, finish)
    if way == "shifted":
        return im2col.scatter(x, mirrored(w, groups), mirrored_window(window), groups, finish)
    return _gather(x, w, window, groups, finish)


def transpose(u: np.ndarray, w: np.ndarray, *, window: Any, groups: int) -> np.ndarray:
    """dT/dx: u (N, F, *output), w (F, C/G, *kernel) give (N, C, *size)."""
    taps, live = live_taps(window)
    if live is not window:
        return transpose(u, w[(..., *taps)], window=live, groups=groups)
    inputs, outputs = len(w), w.shape[1] * groups
    stride_1 = all(s == 1 for s in window.stride)
    seen = mirrored_window(window) if stride_1 else window
    way = choose(len(u), inputs, outputs, np.result_type(u, w), seen, groups)
    if way == "depthwise":
        return depthwise.transpose(u, w, window)
    if not stride_1:
        return im2col.scatter(u, w, window, groups)
    if way == "winograd":
        return winograd.transpose(u, w, window)
    if way == "shifted" or len(u) * window.positions < SMALL_MAPS * outputs:
        return im2col.scatter(u, w, window, groups)
    return _gather(u, mirrored(w, groups), mirrored_window(window), groups)


def correlate(x: np.ndarray, u: np.ndarray, *, window: Any, groups: int) -> np.ndarray:
    """dT/dw: x (N, C, *size), u (N, F, *output) give (F, C/G, *kernel)."""
    taps, live = live_taps(window)
    if live is not window:
        w = layout.empty((u.shape[1], x.shape[1] // groups, *window.kernel), np.result_type(x, u))
        w[...] = 0
        w[(..., *taps)] = correlate(x, u, window=live, groups=groups)
        return w
    way = choose(len(x), x.shape[1], u.shape[1], np.result_type(x, u), window, groups)
    if way == "winograd":
        return winograd.correlate(x, u, window)
    if way == "depthwise":
        return depthwise.correlate(x, u, window)
    if way == "shifted":  # the few channels of u give the columns
        return mirrored(im2col.correlate(u, x, mirrored_window(window), groups), groups)
    if pairs.pay(x.shape[1], u.shape[1], window, groups):
        return pairs.correlate(x, u, window)
    return im2col.correlate(x, u, window, groups)


def _gather(
    x: np.ndarray, w: np.ndarray, window: Any, groups: int, finish: Callable[..., None] = nothing
) -> np.ndarray:
    if pairs.pay(x.shape[1], len(w), window, groups):
        return pairs.gather(x, w, window, finish)
    return im2col.gather(x, w, window, groups, finish)


def mirrored(w: np.ndarray, groups: int) -> np.ndarray:
    """The kernel of the mirrored window, a view: (F, C/G, *kernel) -> (C, F/G, *kernel), each axis reversed.

    With stride 1, T(x, w, u) over a window is T(u, mirrored w, x) over the mirrored one.
    """
    f, c, *kernel = w.shape
    w = w.reshape(groups, f // groups, c, *kernel).swapaxes(1, 2)  # (G, C/G, F/G, *kernel)
    return w.reshape(groups * c, f // groups, *kernel)[(..., *(slice(None, None, -1) for _ in kernel))]
