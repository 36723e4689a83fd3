"""Samples of ops/linear.py. Oracle: three loops."""

from __future__ import annotations

import math

import numpy as np

from ...ops import linear
from . import Sample, samples


def row_by_column(a, b):
    y = np.zeros((*a.shape[:-1], b.shape[-1]))
    for lead in np.ndindex(a.shape[:-2]):
        for i in range(a.shape[-2]):
            for j in range(b.shape[-1]):
                y[(*lead, i, j)] = math.fsum(a[(*lead, i, k)] * b[(*lead, k, j)] for k in range(a.shape[-1]))
    return y


@samples(linear.matmul_p, oracle=row_by_column)
def matmul_samples(rng):
    for lead, i, k, j in [
        ((), 3, 4, 2),
        ((), 3, 3, 3),
        ((2,), 2, 3, 4),
        ((2, 1), 1, 2, 2),
        ((), 1, 1, 1),
        ((), 2, 0, 3),
        ((0,), 2, 2, 2),
    ]:
        yield Sample((rng.standard_normal((*lead, i, k)), rng.standard_normal((*lead, k, j))))
