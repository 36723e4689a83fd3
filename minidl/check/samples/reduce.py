"""Samples of ops/reduce.py. Oracles: exact sums (math.fsum), Python's max, SciPy's softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import scipy.special

from ...ops import reduce
from . import Sample, samples


def over(function: Callable[[list], float]) -> Callable:
    """A function of a list of numbers, applied over some axes."""

    def reduced(x, *, axis, keepdims):
        kept = [1 if a in axis else n for a, n in enumerate(x.shape)]
        y = np.zeros(kept)
        for i in np.ndindex(*kept):
            block = x[tuple(slice(None) if a in axis else p for a, p in enumerate(i))]
            y[i] = function(block.ravel().tolist())
        return y if keepdims else y.reshape([n for a, n in enumerate(x.shape) if a not in axis])

    return reduced


def reductions(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, axis in [
        ((3, 4), (0,)),
        ((3, 4), (1,)),
        ((2, 3, 2), (0, 2)),
        ((2, 3), (0, 1)),
        ((5,), (0,)),
        ((2, 1, 3), (1,)),
        ((3,), ()),
        ((), ()),
    ]:
        for keepdims in (False, True):
            yield Sample((rng.standard_normal(shape),), {"axis": axis, "keepdims": keepdims})
    yield Sample((rng.standard_normal((0, 3)),), {"axis": (1,), "keepdims": False})


@samples(reduce.sum_p, oracle=over(math.fsum))
def sum_samples(rng):
    yield from reductions(rng)
    yield Sample((rng.standard_normal((0, 3)),), {"axis": (0,), "keepdims": True})


samples(reduce.max_p, over(max))(reductions)


def stacks(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, axis in [((3, 4), 1), ((3, 4), 0), ((2, 3, 2), 1), ((5,), 0), ((2, 1), 1), ((0, 3), 1)]:
        yield Sample((3 * rng.standard_normal(shape),), {"axis": axis})
    yield Sample(
        (np.array([[1000.0, 999.0, -1000.0], [-1000.0, -1001.0, -1000.5]]),), {"axis": 1}
    )  # e^1000 is infinite


samples(reduce.softmax_p, lambda x, *, axis: scipy.special.softmax(x, axis))(stacks)
samples(reduce.log_softmax_p, lambda x, *, axis: scipy.special.log_softmax(x, axis))(stacks)


def running_sums(x, *, axis):
    y = np.zeros(x.shape)
    for i in np.ndindex(*x.shape):
        y[i] = math.fsum(x[(*i[:axis], slice(i[axis] + 1), *i[axis + 1 :])].tolist())
    return y


samples(reduce.cumsum_p, running_sums)(stacks)
