"""Samples of unfold and fold. Oracle: a loop over taps and positions, cell by cell."""

from __future__ import annotations

import numpy as np

from ...ops.window import Window, fold_p, unfold_p
from . import Sample, samples


def cells(window):
    """Every (tap, position, cell) whose cell lies inside of the input: the definition of a window."""
    for tap in np.ndindex(*window.kernel):
        for position in np.ndindex(*window.output):
            cell = tuple(
                s * o + d * k - low
                for s, o, d, k, (low, _) in zip(window.stride, position, window.dilation, tap, window.padding)
            )
            if all(0 <= i < n for i, n in zip(cell, window.size)):
                yield tap, position, cell


def one_by_one(x, *, window):
    columns = np.zeros(x.shape[:2] + window.kernel + window.output, x.dtype)
    for tap, position, cell in cells(window):
        columns[(..., *tap, *position)] = x[(..., *cell)]
    return columns.reshape(x.shape[0], x.shape[1] * window.taps, window.positions)


def one_by_one_back(columns, *, window):
    n, c = columns.shape[0], columns.shape[1] // window.taps
    columns = columns.reshape(n, c, *window.kernel, *window.output)
    y = np.zeros((n, c, *window.size), columns.dtype)
    for tap, position, cell in cells(window):
        y[(..., *cell)] += columns[(..., *tap, *position)]
    return y


WINDOWS = (
    Window.of((5,), 3),
    Window.of((4,), 4),  # kernel == input
    Window.of((6,), 2, stride=3, padding=[(1, 2)]),  # stride > kernel
    Window.of((4, 5), (2, 3), padding=((0, 1), (2, 0)), dilation=(1, 2)),
    Window.of((5, 4), 2, stride=2),  # a stride that does not end at the border
    Window.of((3, 2, 3), (2, 1, 2), stride=(1, 2, 1), padding=(1, 0, 0)),
)


@samples(unfold_p, oracle=one_by_one)
def unfold_samples(rng):
    for window in WINDOWS:
        yield Sample((rng.normal(size=(2, 2, *window.size)),), {"window": window})
    yield Sample((np.zeros((0, 2, 5)),), {"window": WINDOWS[0]})


@samples(fold_p, oracle=one_by_one_back)
def fold_samples(rng):
    for window in WINDOWS:
        yield Sample((rng.normal(size=(2, 2 * window.taps, window.positions)),), {"window": window})
    yield Sample((np.zeros((0, 6, 3)),), {"window": WINDOWS[0]})
