"""Convolution as one product of matrices: y = W @ columns.

Shapes, for the whole batch and one group: W (F, C*taps), columns (C*taps, N*P), so y (F, N*P) has its channels
outermost in memory, and is read like that by the next layer. The two adjoints are products with the same matrices:

    convolve     (F, C*taps) @ (C*taps, N*P)      columns = im2col(x)
    transpose    (C*taps, F) @ (F, N*P)           then col2im
    correlate    (F, N*P) @ (N*P, C*taps)         columns = im2col(x)

Columns are `taps` times as large as what they are made of, so they are never kept: the backward pass makes them again,
and of a large batch they are made for some samples at a time. At stride 1 they may be made of either side, since a
convolution is then the transpose of another one, over the mirrored window: of the side that makes fewer. A window of
one tap that meets every cell needs none: the input is its own columns.

``md.algorithm("tensor_cores")`` asks for the kernel that needs no columns at all and rounds its factors to TF32.

Source: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...core.context import current
from ...device import namespace
from ..cpu.convolution import mirrored
from ..window import is_pointwise, live_taps, mirrored_window
from . import tensor_cores
from .columns import col2im, im2col
from .source import as_matrix, empty
from .window import takes

COLUMNS = 512 * 2**20  # bytes of columns that are made at once


def convolve(x: Any, w: Any, *, window: Any, groups: int) -> Any:
    """dT/du: x (N, C, *size), w (F, C/G, *kernel) give (N, F, *output)."""
    if not _takes(window, x, w):
        return NotImplemented
    taps, live = live_taps(window)
    if live is not window:
        return convolve(x, w[(..., *taps)], window=live, groups=groups)
    if _on_tensor_cores(x, w, groups):
        return tensor_cores.convolve(x, w, window)
    if _mirrors(window, x.shape[1], len(w)):
        return _scatter(x, mirrored(w, groups), mirrored_window(window), groups)
    return _gather(x, w, window, groups)


def transpose(u: Any, w: Any, *, window: Any, groups: int) -> Any:
    """dT/dx: u (N, F, *output), w (F, C/G, *kernel) give (N, C, *size)."""
    if not _takes(window, u, w):
        return NotImplemented
    taps, live = live_taps(window)
    if live is not window:
        return transpose(u, w[(..., *taps)], window=live, groups=groups)
    if _stride_1(window) and _on_tensor_cores(u, w, groups):
        return tensor_cores.convolve(u, mirrored(w, groups), mirrored_window(window))
    if _mirrors(window, w.shape[1] * groups, len(w)):
        return _gather(u, mirrored(w, groups), mirrored_window(window), groups)
    return _scatter(u, w, window, groups)


def correlate(x: Any, u: Any, *, window: Any, groups: int) -> Any:
    """dT/dw: x (N, C, *size), u (N, F, *output) give (F, C/G, *kernel)."""
    if not _takes(window, x, u):
        return NotImplemented
    taps, live = live_taps(window)
    if live is not window:
        w = namespace([x]).zeros((u.shape[1], x.shape[1] // groups, *window.kernel), x.dtype)
        w[(..., *taps)] = correlate(x, u, window=live, groups=groups)
        return w
    if _mirrors(window, x.shape[1], u.shape[1]):
        return mirrored(_correlate(u, x, mirrored_window(window), groups), groups)
    return _correlate(x, u, window, groups)


def _takes(window: Any, *arrays: Any) -> bool:
    return takes(window, *arrays) and all(a.size for a in arrays)


def _mirrors(window: Any, inputs: int, outputs: int) -> bool:
    """Are there fewer columns the other way round?"""
    fewer = outputs * math.prod(window.size) < inputs * window.positions
    return fewer and _stride_1(window) and not is_pointwise(window)


def _stride_1(window: Any) -> bool:
    return all(s == 1 for s in window.stride)


def _on_tensor_cores(x: Any, w: Any, groups: int) -> bool:
    return current().algorithm == "tensor_cores" and tensor_cores.can(x, w, groups)


# --- the three products


def _gather(x: Any, w: Any, window: Any, groups: int) -> Any:
    """W @ columns: x (N, C, *size), w (F, C/G, *kernel) -> (N, F, *output)"""
    kernels = _kernels(w, groups)

    def convolved(x: Any) -> Any:
        return _as_maps(_product(kernels, _columns(x, window, groups)), len(x), window.output)

    return _joined(convolved, x, len(w), window.output, _portions(len(x), x.shape[1], window, x.itemsize))


def _scatter(u: Any, w: Any, window: Any, groups: int) -> Any:
    """col2im(W^T @ u): u (N, F, *output), w (F, C/G, *kernel) -> (N, C, *size)"""
    kernels = _kernels(w, groups).swapaxes(1, 2)  # (G, C/G * taps, F/G)
    c = w.shape[1] * groups

    def transposed(u: Any) -> Any:
        columns = _product(kernels, _grouped(u, groups))
        if is_pointwise(window):
            return _as_maps(columns, len(u), window.size)
        return col2im(_as_maps(columns, len(u), (window.positions,)), window=window)

    return _joined(transposed, u, c, window.size, _portions(len(u), c, window, u.itemsize))


def _correlate(x: Any, u: Any, window: Any, groups: int) -> Any:
    """u @ columns^T, the portions of the batch added up in order: -> (F, C/G, *kernel)"""
    w = None
    for samples in _portions(len(x), x.shape[1], window, x.itemsize):
        part = _product(_grouped(u[samples], groups), _columns(x[samples], window, groups).swapaxes(1, 2))
        w = part if w is None else w + part
    return w.reshape(u.shape[1], x.shape[1] // groups, *window.kernel)


def _product(a: Any, b: Any) -> Any:
    """(G, L, M) @ (G, M, N). One group is a product of two matrices: a batched one would copy what is transposed."""
    return a[0] @ b[0] if len(a) == 1 else a @ b


# --- matrices, one for each group


def _kernels(w: Any, groups: int) -> Any:
    """(F, C/G, *kernel) -> (G, F/G, C/G * taps)"""
    return w.reshape(groups, len(w) // groups, -1)


def _columns(x: Any, window: Any, groups: int) -> Any:
    """(N, C, *size) -> (G, C/G * taps, N*P)"""
    return _grouped(x if is_pointwise(window) else im2col(x, window=window), groups)


def _grouped(u: Any, groups: int) -> Any:
    """(N, F, *size) -> (G, F/G, N*P), a view if the channels lie outermost in memory"""
    return as_matrix(u).reshape(groups, u.shape[1] // groups, -1)


def _as_maps(matrix: Any, n: int, size: tuple[int, ...]) -> Any:
    """(F, N*P) or (G, F/G, N*P) -> (N, F, *size), a view"""
    return matrix.reshape(-1, n, *size).swapaxes(0, 1)


# --- portions of a batch


def _portions(n: int, channels: int, window: Any, itemsize: int) -> list[slice]:
    """The samples of a batch whose columns are made together."""
    columns = 0 if is_pointwise(window) else channels * window.taps * window.positions * itemsize
    samples = max(COLUMNS // columns, 1) if columns else n
    return [slice(start, start + samples) for start in range(0, n, samples)]


def _joined(function: Callable, x: Any, channels: int, size: tuple[int, ...], portions: list[slice]) -> Any:
    """function(x) (N, channels, *size), for each portion of the batch by itself."""
    if len(portions) == 1:
        return function(x)
    y = empty((len(x), channels, *size), x.dtype)
    for samples in portions:
        y[samples] = function(x[samples])
    return y
