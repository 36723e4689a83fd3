"""Samples of ops/elementwise.py. Oracles: Python's math, number by number."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...ops import elementwise
from . import Sample, samples
from .arithmetic import each


def anywhere(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.standard_normal((3, 4)),))
    yield Sample((3 * rng.standard_normal((2, 1, 5)),))
    yield Sample((rng.standard_normal(()),))


def positive(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.uniform(0.1, 3, (3, 4)),))
    yield Sample((np.exp(3 * rng.standard_normal((2, 1, 5))),))
    yield Sample((rng.uniform(0.1, 3, ()),))


def wide(rng: np.random.Generator) -> Iterator[Sample]:
    """Where a careless form overflows: e^800 is infinite."""
    yield from anywhere(rng)
    yield Sample((np.array([-800.0, -40.0, 0.3, 40.0, 800.0]),))


samples(elementwise.exp, each(math.exp))(anywhere)
samples(elementwise.log, each(math.log))(positive)
samples(elementwise.sqrt, each(math.sqrt))(positive)
samples(elementwise.sin, each(math.sin))(anywhere)
samples(elementwise.cos, each(math.cos))(anywhere)
samples(elementwise.absolute, each(lambda x: x if x > 0 else -x))(anywhere)
samples(elementwise.relu, each(lambda x: x if x > 0 else 0.0))(anywhere)
samples(elementwise.tanh, each(math.tanh))(wide)


@each
def logistic(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


@each
def smooth_relu(x):
    return math.log1p(math.exp(x)) if x < 30 else x + math.exp(-x)


samples(elementwise.sigmoid, logistic)(wide)
samples(elementwise.softplus, smooth_relu)(wide)


@each
def between(x, low, high):
    if low is not None and x < low:
        return low
    return high if high is not None and x > high else x


@samples(elementwise.clip_p, oracle=lambda x, *, low, high: between(x, low, high))
def clip_samples(rng):
    yield Sample((rng.standard_normal((3, 4)),), {"low": -0.5, "high": 0.7})
    yield Sample((rng.standard_normal((2, 1, 5)),), {"low": None, "high": 0.1})
    yield Sample((rng.standard_normal((7,)),), {"low": 0.0, "high": None})


@samples(elementwise.leaky_relu_p, oracle=lambda x, *, slope: each(lambda v: v if v > 0 else slope * v)(x))
def leaky_relu_samples(rng):
    for slope in (0.01, 0.3, -0.5):
        yield Sample((rng.standard_normal((3, 4)),), {"slope": slope})


@samples(elementwise.gated, oracle=lambda x, *, gate, slope=0: each(lambda v, on: v if on > 0 else slope * v)(x, gate))
def gated_samples(rng):
    for shape, slope in (((3, 4), 0), ((2, 1, 5), 0.2), ((0, 3), 0), ((), -0.5)):
        yield Sample((rng.standard_normal(shape),), {"gate": rng.standard_normal(shape), "slope": slope})


@samples(
    elementwise.elu_p, oracle=lambda x, *, alpha: each(lambda v: v if v > 0 else alpha * math.expm1(v))(x)
)
def elu_samples(rng):
    for alpha in (1.0, 0.4):
        yield Sample((rng.standard_normal((3, 4)),), {"alpha": alpha})
    yield Sample((np.array([-800.0, -1e-3, 800.0]),), {"alpha": 1.0})
