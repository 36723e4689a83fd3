"""Samples of pooling. Oracles: loops over the cells of every window."""

from __future__ import annotations

import numpy as np

from ...ops.pool import from_largest, gather_cells, max_pool_p, scatter_cells, to_largest, window_spread, window_sum
from ...ops.window import Window
from . import Sample, samples
from .window import WINDOWS, cells


def largest(x, *, window):
    y = np.full(x.shape[:2] + window.output, -np.inf, x.dtype)
    for _, position, cell in cells(window):
        y[(..., *position)] = np.maximum(y[(..., *position)], x[(..., *cell)])
    return y


def total(x, *, window):
    y = np.zeros(x.shape[:2] + window.output, x.dtype)
    for _, position, cell in cells(window):
        y[(..., *position)] += x[(..., *cell)]
    return y


def spread(x, *, window):
    y = np.zeros(x.shape[:2] + window.size, x.dtype)
    for _, position, cell in cells(window):
        y[(..., *cell)] += x[(..., *position)]
    return y


def added(x, *, indices, size, repeats):
    y = np.zeros(x.shape[:2] + tuple(size), x.dtype)
    for at in np.ndindex(*x.shape):
        y[at[:2]].flat[indices[at]] += x[at]
    return y


def looked_up(x, *, indices, repeats):
    y = np.zeros(indices.shape, x.dtype)
    for at in np.ndindex(*indices.shape):
        y[at] = x[at[:2]].flat[indices[at]]
    return y


POOLS = (
    Window.of((4, 4), 2, stride=2),
    Window.of((5, 4), 3, stride=2, padding=1, ceil_mode=True),
    Window.of((7,), 2, dilation=3),
    Window.of((3, 3, 2), 2, padding=((1, 0), (0, 1), (0, 0))),
    Window.of((3, 3), 3, stride=5),  # kernel == input
)


@samples(max_pool_p, oracle=largest)
def max_pool_samples(rng):
    for window in POOLS:
        yield Sample((rng.normal(size=(2, 2, *window.size)),), {"window": window})
    yield Sample((np.zeros((0, 2, 4, 4)),), {"window": POOLS[0]})


def first_largest(x, window):
    """The flat position of the first largest cell of each window: (N, C, *size) -> (N, C, *output)."""
    indices = np.full(x.shape[:2] + window.output, -1)
    for n, c in np.ndindex(*x.shape[:2]):
        for _, position, cell in cells(window):  # taps in C order
            held = indices[(n, c, *position)]
            if held < 0 or x[(n, c, *cell)] > x[n, c].flat[held]:
                indices[(n, c, *position)] = np.ravel_multi_index(cell, window.size)
    return indices


def added_at_largest(x, *, among, largest, window):
    return added(x, indices=first_largest(among, window), size=window.size, repeats=True)


def looked_up_at_largest(x, *, among, largest, window):
    return looked_up(x, indices=first_largest(among, window), repeats=True)


def contests(rng):
    """Windows, and cells to choose the largest from: all different, and many alike."""
    for window in POOLS:
        for among in (rng.normal(size=(2, 2, *window.size)), rng.integers(0, 2, (1, 2, *window.size)) * 1.0):
            yield {"among": among, "largest": largest(among, window=window), "window": window}
    yield {"among": np.zeros((0, 2, 4, 4)), "largest": np.zeros((0, 2, 2, 2)), "window": POOLS[0]}


@samples(to_largest, oracle=added_at_largest)
def to_largest_samples(rng):
    for contest in contests(rng):
        yield Sample((rng.normal(size=contest["largest"].shape),), contest)


@samples(from_largest, oracle=looked_up_at_largest)
def from_largest_samples(rng):
    for contest in contests(rng):
        yield Sample((rng.normal(size=contest["among"].shape),), contest)


@samples(window_sum, oracle=total)
def window_sum_samples(rng):
    for window in WINDOWS + POOLS:
        yield Sample((rng.normal(size=(2, 1, *window.size)),), {"window": window})
    yield Sample((rng.normal(size=(1, 1, 1)),), {"window": Window.of((1,), 1, stride=2, padding=1)})  # padding only
    yield Sample((np.zeros((0, 2, 4, 4)),), {"window": POOLS[0]})


@samples(window_spread, oracle=spread)
def window_spread_samples(rng):
    for window in WINDOWS + POOLS:
        yield Sample((rng.normal(size=(2, 1, *window.output)),), {"window": window})
    yield Sample((np.zeros((0, 2, 2, 2)),), {"window": POOLS[0]})


CELLS = (((2, 2, 3), (5,)), ((1, 2, 2, 2), (3, 4)), ((2, 1, 1, 2, 2), (2, 2, 2)), ((0, 2, 2), (3,)))


def positions(rng, shape, size, repeats):
    n = int(np.prod(size))
    maps, entries = int(np.prod(shape[:2])), int(np.prod(shape[2:]))
    drawn = [rng.choice(n, entries, replace=repeats) for _ in range(maps)]
    return np.array(drawn, int).reshape(shape)


@samples(scatter_cells, oracle=added)
def scatter_cells_samples(rng):
    for shape, size in CELLS:
        for repeats in (False, True):
            indices = positions(rng, shape, size, repeats)
            yield Sample((rng.normal(size=shape),), {"indices": indices, "size": size, "repeats": repeats})


@samples(gather_cells, oracle=looked_up)
def gather_cells_samples(rng):
    for shape, size in CELLS:
        for repeats in (False, True):
            indices = positions(rng, shape, size, repeats)
            yield Sample((rng.normal(size=shape[:2] + size),), {"indices": indices, "repeats": repeats})
