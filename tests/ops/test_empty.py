"""Tensors without entries, and without axes: what every function of their kind gives for them."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn


@pytest.mark.parametrize("shape, axis", [((5, 0, 0), -1), ((5, 0), 1), ((0, 3), 1), ((0,), 0)])
@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_probabilities_of_nothing_are_nothing(function, shape, axis):
    x = md.tensor(np.zeros(shape, np.float32), requires_grad=True)
    y = function(x, axis)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape and y.dtype == x.grad.dtype == np.float32


@pytest.mark.parametrize("shape, axis, value", [((0,), None, 1.0), ((3, 0), 1, [1.0] * 3), ((0, 2), 0, [1.0] * 2)])
def test_a_product_of_nothing_is_1_and_has_a_gradient_without_entries(shape, axis, value):
    x = md.tensor(np.zeros(shape, np.float32), requires_grad=True)
    y = x.prod(axis=axis)
    assert y.numpy().tolist() == value and y.dtype == np.float32
    y.sum().backward()
    assert x.grad.shape == shape and x.grad.dtype == np.float32


def test_layers_of_a_number():
    x = md.tensor(-3.0, dtype="float32", requires_grad=True)
    y = nn.PReLU()(x)
    y.backward()
    assert (y.shape, y.item(), x.grad.item()) == ((), -0.75, 0.25)
    drop = nn.Dropout(0.5, rng=0)
    found = {(y.shape, y.item()) for y in [drop(md.tensor(3.0)) for _ in range(20)]}
    assert found == {((), 0.0), ((), 6.0)}
