"""Samples of the losses. Oracles: scipy.special, one position at a time."""

from __future__ import annotations

import numpy as np

from ...ops.cross_entropy import cross_entropy_p, soft_cross_entropy
from ...ops.loss import binary_cross_entropy_with_logits_p
from . import Sample, samples

LOGITS = ((3, 4), (1, 2, 3), (2, 3, 2, 2), (2, 1, 1, 2, 3), (0, 3, 2))  # batch 1, one class, every rank, empty


def log_probability(x, position):
    """The log probabilities of the classes at (n, s...)."""
    from scipy.special import log_softmax

    return log_softmax(x[(position[0], slice(None), *position[1:])])


def at_each_position(x, loss):
    y = np.zeros(x.shape[:1] + x.shape[2:])
    for position in np.ndindex(y.shape):
        y[position] = loss(position)
    return y


def class_oracle(x, *, target, scale):
    return at_each_position(x, lambda i: -scale[i] * log_probability(x, i)[target[i]])


def probability_oracle(x, t, *, weight=None):
    weight = np.ones(x.shape[1]) if weight is None else weight.ravel()
    return at_each_position(x, lambda i: -(weight * t[(i[0], slice(None), *i[1:])]) @ log_probability(x, i))


def binary_oracle(x, t, *, pos_weight=1.0):
    from scipy.special import log_expit  # log(sigmoid(x))

    return -pos_weight * t * log_expit(x) - (1 - t) * log_expit(-x)


@samples(cross_entropy_p, oracle=class_oracle)
def cross_entropy_samples(rng):
    for shape in LOGITS:
        target = rng.integers(shape[1], size=shape[:1] + shape[2:])
        yield Sample((rng.normal(size=shape) * 3,), {"target": target, "scale": rng.uniform(0.5, 2, target.shape)})
        kept = rng.random(target.shape) < 0.6
        yield Sample((rng.normal(size=shape),), {"target": target, "scale": kept * rng.uniform(0.5, 2, target.shape)})


@samples(soft_cross_entropy, oracle=probability_oracle)
def soft_cross_entropy_samples(rng):
    for shape in LOGITS:
        weight = rng.uniform(0.5, 2, (1, shape[1]) + (1,) * (len(shape) - 2))
        for parameters in ({}, {"weight": weight}):
            target = rng.uniform(size=shape)
            yield Sample((rng.normal(size=shape) * 3, target / target.sum(axis=1, keepdims=True)), parameters)


@samples(binary_cross_entropy_with_logits_p, oracle=binary_oracle)
def binary_cross_entropy_with_logits_samples(rng):
    for shape in ((1,), (3,), (2, 4), (1, 3, 2, 2), (0, 2)):
        x = rng.normal(size=shape) * 4
        yield Sample((x, rng.uniform(size=shape)))
        yield Sample((x, (rng.uniform(size=shape) < 0.5) * 1.0), {"pos_weight": 2.5})
    yield Sample((rng.normal(size=(2, 3)), rng.uniform(size=(2, 3))), {"pos_weight": rng.uniform(0.5, 3, 3)})
