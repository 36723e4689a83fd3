"""Samples of the normalisations. Oracle: NumPy's mean and variance, one channel at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...ops.norm import batch_norm_eval, batch_norm_p
from ...ops.sync_norm import shard_sum, sync_batch_norm_p
from . import Sample, samples


def by_channel(x, weight, bias, *, eps, statistics=None, relu=False):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        values = x[:, c]
        y[:, c] = (values - values.mean()) / np.sqrt(values.var() + eps)
        y[:, c] = y[:, c] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
    return np.where(y > 0, y, 0) if relu else y


def by_entry(x, weight, bias, *, mean, var, eps, relu=False):
    y = np.empty_like(x)
    for i in np.ndindex(x.shape):
        c = i[1]
        y[i] = (x[i] - mean[c]) * (var[c] + eps) ** -0.5
        y[i] = y[i] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
    return np.where(y > 0, y, 0) if relu else y


def cases(rng: np.random.Generator) -> Iterator[tuple]:
    """x, weight, bias: every rank, batch 1, one channel, each of weight and bias missing."""
    for shape, has_weight, has_bias in (
        ((4, 3), True, True),
        ((1, 2, 5), True, True),
        ((3, 1, 2, 3), True, False),
        ((2, 3, 3, 2), False, True),
        ((2, 2, 2, 1, 3), False, False),
    ):
        weight, bias = (rng.normal(size=shape[1]) if has else None for has in (has_weight, has_bias))
        yield rng.normal(size=shape) * rng.uniform(0.5, 3) + rng.normal(), weight, bias


@samples(batch_norm_p, oracle=by_channel)
def batch_norm_samples(rng):
    for relu in (False, True):
        for inputs in cases(rng):
            yield Sample(inputs, {"eps": float(rng.choice([1e-5, 1e-2])), "relu": relu})


@samples(sync_batch_norm_p, oracle=by_channel)
def sync_batch_norm_samples(rng):
    yield from batch_norm_samples(rng)


@samples(shard_sum, oracle=lambda x: x)
def shard_sum_samples(rng):
    yield Sample((rng.normal(size=(2, 3)),))


@samples(batch_norm_eval, oracle=by_entry)
def batch_norm_eval_samples(rng):
    empty = np.zeros((0, 2, 3)), rng.normal(size=2), rng.normal(size=2)
    for inputs in (*cases(rng), empty):
        channels = inputs[0].shape[1]
        mean, var = rng.normal(size=channels), rng.uniform(0.2, 3, channels)
        for relu in (False, True):
            yield Sample(inputs, {"mean": mean, "var": var, "eps": 1e-3, "relu": relu})
