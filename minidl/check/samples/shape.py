"""Samples of ops/shape.py. Oracles: loops over positions."""

from __future__ import annotations

import itertools

import numpy as np

from ...core.first_primitives import identity, stack_p
from ...ops import indexing, shape
from ...ops.hook import hooked_p
from . import Sample, samples


def entries(x: np.ndarray) -> list:
    """The entries in C order."""
    return [x[i] for i in np.ndindex(x.shape)]


@samples(hooked_p, oracle=lambda x, *, hook: x)
def hooked_samples(rng):
    yield Sample((rng.normal(size=(2, 3)),), {"hook": _looks})
    yield Sample((rng.normal(size=()),), {"hook": _looks})


def _looks(g):
    """A hook that leaves the gradient as it is."""


@samples(identity, oracle=lambda x: x)
def identity_samples(rng):
    yield Sample((rng.standard_normal((2, 3)),))


@samples(shape.astype_p, oracle=lambda x, *, dtype: np.array(x.tolist(), dtype).reshape(x.shape), keeps_dtype=False)
def astype_samples(rng):
    yield Sample((rng.standard_normal((2, 3)),), {"dtype": np.float64})
    yield Sample((rng.standard_normal((0, 3)),), {"dtype": np.float64})
    yield Sample((rng.standard_normal((4,)),), {"dtype": np.float32}, differentiate=())


@samples(shape.to_p, oracle=lambda x, *, device_name: x)
def to_samples(rng):
    yield Sample((rng.standard_normal((2, 3)),), {"device_name": "cpu"})


def read_in_order(x, *, shape):
    y = np.zeros(shape)
    for position, value in zip(np.ndindex(shape), entries(x), strict=True):
        y[position] = value
    return y


@samples(shape.reshape_p, oracle=read_in_order)
def reshape_samples(rng):
    for before, after in [((2, 6), (3, 4)), ((12,), (1, 2, 6)), ((1,), ()), ((0, 3), (3, 0, 2)), ((2, 3, 2), (12,))]:
        yield Sample((rng.standard_normal(before),), {"shape": after})


def exchange(x, *, axes):
    y = np.zeros([x.shape[a] for a in axes])
    for i in np.ndindex(x.shape):
        y[tuple(i[a] for a in axes)] = x[i]
    return y


@samples(shape.transpose_p, oracle=exchange)
def transpose_samples(rng):
    for axes in [(1, 0), (0, 2, 1), (2, 0, 1), (3, 1, 2, 0), (0,), ()]:
        yield Sample((rng.standard_normal((2, 3, 4, 2)[: len(axes)]),), {"axes": axes})
    yield Sample((rng.standard_normal((0, 2)),), {"axes": (1, 0)})
    yield Sample((rng.standard_normal((3, 3)),), {"axes": (1, 0)})


def repeat(x, *, shape):
    y = np.zeros(shape)
    lead = len(shape) - x.ndim
    for i in np.ndindex(shape):
        y[i] = x[tuple(0 if n == 1 else p for p, n in zip(i[lead:], x.shape, strict=True))]
    return y


@samples(shape.broadcast_to_p, oracle=repeat)
def broadcast_to_samples(rng):
    for before, after in [
        ((3, 1), (3, 4)),
        ((4,), (2, 3, 4)),
        ((1, 2, 1), (3, 2, 2)),
        ((), (2, 2)),
        ((2, 3), (2, 3)),
        ((1, 3), (0, 3)),
    ]:
        yield Sample((rng.standard_normal(before),), {"shape": after})


INDICES = [
    ((5, 4), (slice(1, 4), slice(None, None, 2))),
    ((5, 4), (slice(None, None, -1), slice(3, 0, -2))),
    ((5, 4), (2,)),
    ((5, 4), (-1, -2)),
    ((5, 4), (Ellipsis, None, 1)),
    ((5, 4), (None, slice(2, 2))),
    ((5, 4), (np.array([0, 3, 3, -1]),)),  # an entry named twice
    ((5, 4), (np.array([[0], [4]]), np.array([1, 1, 2]))),
    ((2, 3, 4), (slice(None), np.array([2, 0]), slice(1, 3))),
    ((2, 3, 4), (np.array([1, 0]), slice(None), np.array([3, 3]))),  # the indexed axes go first
    ((3, 4), (np.arange(12).reshape(3, 4) % 3 == 0,)),
    ((3, 4), (np.array([True, False, True]), slice(None))),
    ((3, 4), (np.zeros((3, 4), bool),)),
    ((), ()),
]


def pick(x, *, index):
    """The positions are indexed in place of the values, then looked up one by one."""
    positions = np.arange(x.size).reshape(x.shape)[index]
    values = entries(x)
    return np.array([values[p] for p in np.ravel(positions)], float).reshape(np.shape(positions))


@samples(indexing.getitem_p, oracle=pick)
def getitem_samples(rng):
    for size, index in INDICES:
        yield Sample((rng.standard_normal(size),), {"index": index})


def scatter(x, *, index, shape):
    y = [0.0] * int(np.prod(shape))
    positions = np.arange(len(y)).reshape(shape)[index]
    for p, value in zip(np.ravel(positions), entries(x), strict=True):
        y[p] += value
    return np.array(y).reshape(shape)


@samples(indexing.put, oracle=scatter)
def put_samples(rng):
    for size, index in INDICES:
        yield Sample((rng.standard_normal(np.zeros(size)[index].shape),), {"index": index, "shape": size})


def one_after_another(*tensors, axis):
    before, after = tensors[0].shape[:axis], tensors[0].shape[axis + 1 :]
    slices = [t[(slice(None),) * axis + (i,)] for t in tensors for i in range(t.shape[axis])]
    y = np.zeros((*before, len(slices), *after))
    for i, part in enumerate(slices):
        for b, a in itertools.product(np.ndindex(before), np.ndindex(after)):
            y[(*b, i, *a)] = part[b + a]
    return y


@samples(indexing.concat_p, oracle=one_after_another)
def concat_samples(rng):
    for axis, lengths in [(0, (2, 1, 3)), (1, (2, 2)), (2, (1,)), (1, (0, 3, 1))]:
        sizes = [tuple(n if a == axis else 2 for a in range(3)) for n in lengths]
        yield Sample(tuple(rng.standard_normal(size) for size in sizes), {"axis": axis})


def side_by_side(*tensors, axis):
    return one_after_another(*(t.reshape((*t.shape[:axis], 1, *t.shape[axis:])) for t in tensors), axis=axis)


@samples(stack_p, oracle=side_by_side)
def stack_samples(rng):
    for axis, size, count in [(0, (2, 3), 3), (1, (2, 3), 1), (2, (2, 3), 2), (0, (), 4), (1, (2, 0), 2)]:
        yield Sample(tuple(rng.standard_normal(size) for _ in range(count)), {"axis": axis})


def choose(a, b, *, condition):
    a, b, condition = np.broadcast_arrays(a, b, condition)
    return np.array(
        [x if c else y for x, y, c in zip(entries(a), entries(b), entries(condition), strict=True)], float
    ).reshape(a.shape)


@samples(indexing.where_p, oracle=choose)
def where_samples(rng):
    for a, b, c in [
        ((3, 4), (3, 4), (3, 4)),
        ((3, 1), (4,), (3, 4)),
        ((2, 3), (2, 3), (3,)),
        ((2,), (2,), (3, 2)),
        ((0, 2), (1, 2), (0, 2)),
    ]:
        yield Sample((rng.standard_normal(a), rng.standard_normal(b)), {"condition": rng.random(c) > 0.5})
    yield Sample((rng.standard_normal((3, 2)), 0.0), {"condition": rng.random((3, 2)) > 0.5})
    yield Sample((1.0, rng.standard_normal((3, 2))), {"condition": rng.random((3, 2)) > 0.5})
