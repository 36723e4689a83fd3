"""Samples of ops/arithmetic.py. Oracles: Python's own arithmetic, number by number."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator

import numpy as np

from ...ops import arithmetic
from . import Sample, samples


def each(function: Callable) -> Callable:
    """A function of Python numbers, applied entry by entry; shapes broadcast."""
    return np.vectorize(function, otypes=[float])


def pairs(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.standard_normal((3, 4)), rng.standard_normal((3, 4))))
    yield Sample((rng.standard_normal((2, 3, 1)), rng.standard_normal((4,))))
    yield Sample((rng.standard_normal((1, 1)), rng.standard_normal((5, 2))))
    yield Sample((rng.standard_normal(()), rng.standard_normal((3,))))
    yield Sample((rng.standard_normal((2, 0)), rng.standard_normal((2, 1))))
    yield Sample((rng.standard_normal((4,)), 1.5))
    yield Sample((-0.5, rng.standard_normal((4,))))


samples(arithmetic.add, each(operator.add))(pairs)
samples(arithmetic.subtract, each(operator.sub))(pairs)
samples(arithmetic.multiply, each(operator.mul))(pairs)
samples(arithmetic.maximum, each(lambda a, b: a if a > b else b))(pairs)
samples(arithmetic.minimum, each(lambda a, b: a if a < b else b))(pairs)


@samples(arithmetic.negative, oracle=each(operator.neg))
def negative_samples(rng):
    yield Sample((rng.standard_normal((3, 4)),))
    yield Sample((rng.standard_normal(()),))


@samples(arithmetic.divide, oracle=each(operator.truediv))
def divide_samples(rng):
    for s in pairs(rng):
        a, b = s.inputs
        yield Sample((a, np.where(np.asarray(b) < 0, -1.0, 1.0) * (abs(b) + 0.3)))
    yield Sample((2.0, rng.uniform(0.5, 2, (3, 2))))
    yield Sample((rng.standard_normal((3, 2)), 4))


@samples(arithmetic.power, oracle=each(math.pow))
def power_samples(rng):
    yield Sample((rng.uniform(0.3, 2, (3, 4)), rng.standard_normal((3, 4))))
    yield Sample((rng.uniform(0.3, 2, (2, 3, 1)), rng.standard_normal((4,))))
    yield Sample((rng.uniform(0.3, 2, (2, 3)), 0.5))
    for exponent in (-1, 0, 1, 2, 3):
        yield Sample((rng.standard_normal((2, 3)), exponent))
    yield Sample((np.array([-1.5, 0.7, 2.0]), np.array([2.0, -3.0, 0.0])), differentiate=(0,))
    yield Sample((1.7, rng.standard_normal((2, 3))))
    yield Sample((rng.uniform(0.3, 2, (0, 3)), rng.standard_normal((3,))))
