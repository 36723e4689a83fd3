"""Indexing is that of NumPy, and its gradient that of what was taken."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as md
from minidl.core.tensor import Tensor

rng = np.random.default_rng(0)


def leaf(*shape, dtype=np.float64):
    return md.tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype)


# --- indexing, against NumPy

INDICES = [
    0, -1, slice(None), slice(1, 3), slice(None, None, -1), slice(3, 0, -2), slice(2, 2), None, Ellipsis, (),
    (0, 1), (slice(None), -1), (Ellipsis, 0), (None, 1, Ellipsis, None), (slice(None, None, 2), slice(None, None, -1)),
    [0, 2, 2], [], np.array([[0, 1], [3, 3]]), (np.array([0, 1]), np.array([2, 2])), ([0, 3], slice(0, 2)),
    (slice(None), [1, 0, 1]), (0, slice(None), [1, 1]), ([0, 1], slice(None), [1, 0]), (np.array([[0], [3]]), [1, 2]),
    np.arange(4) % 2 == 0, (slice(None), np.array([True, False, True])), md.tensor([1, 1]), (np.int64(2), 1),
    [True, False, True, True], True, np.array(2),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_indexing_is_that_of_numpy(index):
    x = leaf(4, 3, 2)
    plain = np.asarray(index) if isinstance(index, Tensor) else index
    plain = np.asarray(plain, int) if isinstance(plain, list) and not plain else plain
    y = x[index]
    expected = x.numpy()[plain]
    np.testing.assert_array_equal(y, expected)
    u = rng.standard_normal(y.shape)
    y.backward(u)
    truth = np.zeros(x.shape)
    np.add.at(truth, plain, u)
    np.testing.assert_allclose(x.grad, truth, rtol=1e-14)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_basic_indexing_is_that_of_numpy(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    x = leaf(*shape)
    y = x[index]
    np.testing.assert_array_equal(y, x.numpy()[index])
    u = rng.standard_normal(y.shape)
    y.backward(u)
    truth = np.zeros(shape)
    truth[index] = u
    np.testing.assert_array_equal(x.grad, truth)


def test_masks_and_their_gradient():
    x = md.tensor([[1.0, -2.0], [-3.0, 4.0]], requires_grad=True)
    y = x[x > 0]
    assert y.tolist() == [1.0, 4.0]
    (y * y).sum().backward()
    assert x.grad.tolist() == [[2.0, 0.0], [0.0, 8.0]]


def test_bad_indices_are_named():
    for index, error in [(7, IndexError), ((0, 0, 0, 0), IndexError), ("a", IndexError), (1.5, IndexError)]:
        with pytest.raises(error):
            leaf(4, 3)[index]


# --- what users type


def test_a_tuple_or_a_range_in_an_index_counts_as_an_array():
    x = md.tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert md.grad(x[(0, 0, 2),].sum(), x)[0].tolist() == [2, 0, 1]
    assert md.grad(x[range(1, 3),].sum(), x)[0].tolist() == [0, 1, 1]
    y = md.tensor(np.eye(2), requires_grad=True)
    assert md.grad(y[(0, 0), (1, 1)].sum(), y)[0].tolist() == [[0, 2], [0, 0]]
