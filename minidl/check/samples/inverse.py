"""Samples of ops/inverse.py. Oracles: the sum over permutations, and the inverse of cofactors."""

from __future__ import annotations

import itertools

import numpy as np

from ...ops import inverse
from . import Sample, samples


def permuted(a):
    """The determinant, by its definition."""
    total = 0
    for p in itertools.permutations(range(len(a))):
        swaps = sum(p[i] > p[j] for i in range(len(p)) for j in range(i + 1, len(p)))
        total += (-1) ** swaps * np.prod([a[i, j] for i, j in enumerate(p)])
    return total


def each(function):
    def oracle(a):
        return np.array([function(m) for m in a.reshape(-1, *a.shape[-2:])])

    return oracle


@each
def cofactors(a):
    minors = [
        [(-1) ** (i + j) * permuted(np.delete(np.delete(a, j, 0), i, 1)) for j in range(len(a))] for i in range(len(a))
    ]
    return np.array(minors) / permuted(a)


@samples(inverse.inverse, oracle=lambda a: cofactors(a).reshape(a.shape))
def inverse_samples(rng):
    for shape in ((3, 3), (2, 2, 2), (1, 1)):
        yield Sample((rng.standard_normal(shape) + 4 * np.eye(shape[-1]),))


@samples(inverse.det, oracle=lambda a: each(permuted)(a).reshape(a.shape[:-2]))
def det_samples(rng):
    for shape in ((3, 3), (2, 2, 2)):
        yield Sample((rng.standard_normal(shape) + 2 * np.eye(shape[-1]),))
