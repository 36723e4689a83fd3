"""Samples of interpolation. Oracles: numpy.tensordot, and a loop over the samples."""

from __future__ import annotations

import numpy as np

from ...ops.resample import linear_matrix, matmul_along_axis, nearest_index, take
from . import Sample, samples


def contraction(x, *, axis, matrix):
    return np.moveaxis(np.tensordot(matrix, x, axes=(1, axis)), 0, axis)  # (O, rest...) -> (..., O, ...)


def one_by_one(x, *, axis, index):
    return np.stack([x[(slice(None),) * axis + (int(i),)] for i in index], axis=axis)


CASES = (  # shape, axis, output length: larger, smaller, equal, from 1, to 1, empty batch
    ((2, 3, 4), 2, 7),
    ((1, 2, 5, 3), 2, 2),
    ((2, 1, 3, 3), 3, 3),
    ((1, 2, 1, 2), 2, 4),
    ((2, 2, 2, 3, 2), 3, 1),
    ((0, 2, 3), 2, 5),
)


@samples(matmul_along_axis, oracle=contraction)
def matmul_along_axis_samples(rng):
    for shape, axis, m in CASES:
        n = shape[axis]
        x = rng.normal(size=shape)
        yield Sample((x,), {"axis": axis, "matrix": linear_matrix(n, m, n / m, False)})
        yield Sample((x,), {"axis": axis, "matrix": rng.normal(size=(m, n))})


@samples(take, oracle=one_by_one)
def take_samples(rng):
    for shape, axis, m in CASES:
        n = shape[axis]
        x = rng.normal(size=shape)
        yield Sample((x,), {"axis": axis, "index": nearest_index(n, m, n / m, False)})
        yield Sample((x,), {"axis": axis, "index": rng.integers(n, size=m)})
