"""What looks through a window: convolution, its two gradients, its transpose, pooling."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.signal import convolve2d, correlate2d

from ..piece import Case, Function, Piece, gradient

Sizes = tuple[str, tuple[int, ...], tuple[int, ...], int, int]  # words, shape of x, shape of w, stride, padding

SIZES: tuple[Sizes, ...] = (
    ("one channel, stride 1, no padding", (1, 1, 4, 5), (1, 1, 2, 2), 1, 0),
    ("an odd kernel", (1, 1, 4, 5), (1, 1, 3, 3), 1, 0),
    ("padding 1", (1, 1, 4, 4), (1, 1, 3, 3), 1, 1),
    ("several images", (3, 1, 4, 4), (1, 1, 3, 3), 1, 1),
    ("several channels", (2, 3, 4, 5), (2, 3, 3, 3), 1, 1),
    ("stride 2", (1, 1, 5, 7), (1, 1, 3, 3), 2, 0),
    ("stride 2 that leaves cells over", (1, 1, 6, 6), (1, 1, 3, 3), 2, 0),
    ("all of it, a kernel of 3 x 2", (2, 2, 6, 5), (3, 2, 3, 2), 2, 1),
)


def _conv(x: np.ndarray, w: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """By SciPy's correlation, which conjugates the kernel, and of which a stride keeps a part."""
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    maps = [
        [sum(correlate2d(image[c], k[c].conj(), "valid") for c in range(len(k))) for k in w] for image in x
    ]  # fmt: skip
    return np.array(maps)[:, :, ::stride, ::stride]


def _input(g, w, shape, stride, padding):
    return gradient(lambda z: _conv(z, w, stride, padding), np.zeros(shape), g)


def _weight(g, x, shape, stride, padding):
    return gradient(lambda z: _conv(x, z, stride, padding), np.zeros(shape), g)


def _transpose(x, w, stride, padding):
    """By SciPy's convolution of x with zeros between its entries."""
    spread = np.zeros((*x.shape[:2], *[(n - 1) * stride + 1 for n in x.shape[2:]]))
    spread[:, :, ::stride, ::stride] = x
    full = np.array([
        [sum(convolve2d(image[f], w[f, c]) for f in range(len(w))) for c in range(w.shape[1])] for image in spread
    ])  # fmt: skip
    return full[:, :, padding : full.shape[2] - padding, padding : full.shape[3] - padding]


def _flipped(w: np.ndarray) -> np.ndarray:
    return w[:, :, ::-1, ::-1]


def _once(g, w, shape, stride, padding):
    """Each cell holds what the last window brought."""
    out = np.zeros((*shape[:2], *[n + 2 * padding for n in shape[2:]]))
    kh, kw = w.shape[2:]
    for i in range(g.shape[2]):
        for j in range(g.shape[3]):
            patch = np.einsum("nf,fckl->nckl", g[:, :, i, j], w)
            out[:, :, stride * i : stride * i + kh, stride * j : stride * j + kw] = patch
    return out[:, :, padding : padding + shape[2], padding : padding + shape[3]]


def _once_by_taps(g, w, shape, stride, padding):
    """Each cell holds what the last tap brought."""
    out = np.zeros((*shape[:2], *[n + 2 * padding for n in shape[2:]]))
    rows, columns = (stride * n for n in g.shape[2:])
    for k, l in np.ndindex(*w.shape[2:]):  # noqa: E741
        out[:, :, k : k + rows : stride, l : l + columns : stride] = np.einsum("nfij,fc->ncij", g, w[:, :, k, l])
    return out[:, :, padding : padding + shape[2], padding : padding + shape[3]]


def _drawn(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, int, int]]:
    for words, size, kernel, stride, padding in SIZES:
        x, w = rng.standard_normal(size), rng.standard_normal(kernel)
        output = [(n + 2 * padding - k) // stride + 1 for n, k in zip(size[2:], kernel[2:])]
        yield words, x, w, rng.standard_normal((size[0], kernel[0], *output)), stride, padding


def _forward_cases(rng: np.random.Generator) -> Iterator[Case]:
    for words, x, w, _, stride, padding in _drawn(rng):
        yield words, (x, w, stride, padding)


def _input_cases(rng: np.random.Generator) -> Iterator[Case]:
    for words, x, w, g, stride, padding in _drawn(rng):
        yield words, (g, w, x.shape, stride, padding)


def _weight_cases(rng: np.random.Generator) -> Iterator[Case]:
    for words, x, w, g, stride, padding in _drawn(rng):
        yield words, (g, x, w.shape, stride, padding)


def _transpose_cases(rng: np.random.Generator) -> Iterator[Case]:
    for words, _, w, g, stride, padding in _drawn(rng):
        if "over" not in words:
            yield words, (g, w, stride, padding)


CONV = Piece("conv", "convolution", 4, (
    Function("conv", _conv, _forward_cases, mistakes={
        "the kernel is flipped: multiply w[..., k, l] with x[..., i + k, j + l]": lambda x, w, s, p: (
            _conv(x, _flipped(w), s, p)
        ),
        "padding is left out": lambda x, w, s, p: _conv(x, w, s, 0),
        "the stride is left out": lambda x, w, s, p: _conv(x, w, 1, p),
        "only the last channel counts: add up over the channels": lambda x, w, s, p: _conv(x[:, -1:], w[:, -1:], s, p),
        "only the first channel counts: add up over the channels": lambda x, w, s, p: _conv(x[:, :1], w[:, :1], s, p),
        "the padding repeats the border: it holds zeros": lambda x, w, s, p: (
            _conv(np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], "edge"), w, s, 0)
        ),
    }),
), drives=True)  # fmt: skip

CONV_INPUT = Piece("conv-input", "the gradient of a convolution with respect to its input", 4, (
    Function("conv_backward_input", _input, _input_cases, mistakes={
        "the kernel is flipped: g[i, j] * w[k, l] goes to x[i + k, j + l]": lambda g, w, shape, s, p: (
            _input(g, _flipped(w), shape, s, p)
        ),
        "windows overlap, and each overwrites the others: add up": _once,
        "windows overlap, and each tap overwrites the others: add up": _once_by_taps,
        "the padding is not cut off": lambda g, w, shape, s, p: (
            _input(g, w, (*shape[:2], shape[2] + 2 * p, shape[3] + 2 * p), s, 0)
        ),
    }),
), drives=True)  # fmt: skip

CONV_WEIGHT = Piece("conv-weight", "the gradient of a convolution with respect to its weight", 4, (
    Function("conv_backward_weight", _weight, _weight_cases, mistakes={
        "it is reversed: g[i, j] meets x[i + k, j + l]": lambda g, x, shape, s, p: (
            _flipped(_weight(g, x, shape, s, p))
        ),
        "it is divided by the number of images: a sum over them, no mean": lambda g, x, shape, s, p: (
            _weight(g, x, shape, s, p) / len(x)
        ),
        "only the first image counts: add up over the images": lambda g, x, shape, s, p: (
            _weight(g[:1], x[:1], shape, s, p)
        ),
        "only the last image counts: add up over the images": lambda g, x, shape, s, p: (
            _weight(g[-1:], x[-1:], shape, s, p)
        ),
    }),
), drives=True)  # fmt: skip

CONV_TRANSPOSE = Piece("conv-transpose", "upsampling that is learned", 8, (
    Function("conv_transpose", _transpose, _transpose_cases, mistakes={
        "the kernel is flipped: x[i, j] * w[k, l] goes to y[stride * i + k, stride * j + l]": lambda x, w, s, p: (
            _transpose(x, _flipped(w), s, p)
        ),
        "the padding is not cut off": lambda x, w, s, p: _transpose(x, w, s, 0),
        "the stride is left out": lambda x, w, s, p: _transpose(x, w, 1, p),
    }),
), drives=True)  # fmt: skip


# --- pooling


def _windows(x: np.ndarray, size: int, stride: int) -> Iterator[tuple[tuple, np.ndarray]]:
    """Each window of each map: (its place in y, its entries in reading order)."""
    rows, columns = ((n - size) // stride + 1 for n in x.shape[2:])
    for n, c, i, j in np.ndindex(*x.shape[:2], rows, columns):
        yield (n, c, i, j), x[n, c, stride * i : stride * i + size, stride * j : stride * j + size].ravel()


def _largest(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    y = np.zeros((*x.shape[:2], *((n - size) // stride + 1 for n in x.shape[2:])))
    for place, entries in _windows(x, size, stride):
        y[place] = sorted(entries)[-1]
    return y


def _to_largest(g, x, size, stride, chosen=lambda entries: [int(entries.argmax())], add=True):
    gx = np.zeros(x.shape)
    for (n, c, i, j), entries in _windows(x, size, stride):
        for k in chosen(entries):
            at = n, c, stride * i + k // size, stride * j + k % size
            gx[at] = g[n, c, i, j] + (gx[at] if add else 0)
    return gx


def _ties(entries: np.ndarray) -> list[int]:
    return list(np.flatnonzero(entries == entries.max()))


def _images(rng: np.random.Generator) -> Iterator[Case]:
    distinct = lambda *shape: rng.permutation(int(np.prod(shape))).reshape(shape) / 7.0 - 3  # noqa: E731
    yield "windows that touch", (distinct(1, 1, 4, 4), 2, 2)
    yield "negative entries only", (distinct(1, 1, 4, 4) - 9, 2, 2)
    yield "several images and channels", (distinct(2, 3, 4, 6), 2, 2)
    yield "cells left over", (distinct(1, 2, 5, 7), 2, 2)
    yield "windows that overlap", (distinct(1, 1, 5, 5), 3, 1)
    yield "equal entries", (rng.integers(0, 2, (2, 2, 6, 6)).astype(float), 2, 2)


def _images_and_g(rng: np.random.Generator) -> Iterator[Case]:
    for words, (x, size, stride) in _images(rng):
        shape = (*x.shape[:2], *((n - size) // stride + 1 for n in x.shape[2:]))
        yield words, (rng.standard_normal(shape), x, size, stride)


POOLING = Piece("pooling", "the largest of each window", 4, (
    Function("max_pool", _largest, _images, mistakes={
        "zero counts as an entry of each window": lambda x, size, stride: np.maximum(_largest(x, size, stride), 0),
    }),
    Function("max_pool_backward", _to_largest, _images_and_g, mistakes={
        "where entries are equal each gets all of g: the first one does": lambda *a: _to_largest(*a, chosen=_ties),
        "where entries are equal the last one gets g: the first one does": lambda *a: (
            _to_largest(*a, chosen=lambda e: _ties(e)[-1:])
        ),
        "windows overlap, and each overwrites the others: add up": lambda *a: _to_largest(*a, add=False),
    }),
), drives=True)  # fmt: skip
