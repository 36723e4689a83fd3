"""Choosing between two arrays by arithmetic on bits: the values of NumPy's where, infinities and NaN included."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.kernels.cpu import activation, select
from minidl.kernels.cpu.layout import laid_out
from minidl.ops.activation import held_between

SHAPE = (2, 9, 24, 31)
LAYOUTS = [np.ascontiguousarray, laid_out, np.asfortranarray, lambda x: np.repeat(x, 2, axis=-1)[..., ::2]]


def drawn(seed, dtype):
    x = np.random.default_rng(seed).normal(size=SHAPE).astype(dtype)
    x.flat[:6] = np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0
    return x


def same_bits(x, y):
    return x.dtype == y.dtype and np.array_equal(x.view(f"u{x.itemsize}"), y.view(f"u{y.itemsize}"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
def test_where(dtype, layout):
    a, b = (LAYOUTS[layout](drawn(seed, dtype)) for seed in (0, 1))
    condition = drawn(2, dtype) > 0
    for one, other in ((a, b), (a, 0.0), (0.0, b), (a, -0.0), (2, b), (a, np.inf), (np.nan, b)):
        found = select.where(one, other, condition=condition)
        assert same_bits(found, np.where(condition, one, other))


def test_minus_zero_is_not_zero():
    zero, condition = activation.constant(0.0, np.ones(9, "f")), np.zeros(SHAPE, bool)
    found = select.where(drawn(0, "float32"), -0.0, condition=condition)
    assert not np.signbit(zero).any() and np.signbit(found).all()
    assert not np.signbit(activation.constant(0.0, np.ones(9, "f"))).any()


def test_where_leaves_the_rest_to_numpy():
    a, condition = drawn(0, "float32"), drawn(1, "float32") > 0
    for one, other in ((a, a[:1]), (a, a.astype("float64")), (a, np.float64(1)), (1.0, 2.0), (a[0], 1.0)):
        assert select.where(one, other, condition=condition) is NotImplemented
    assert select.where(a[:1, :1], 0.0, condition=condition[:1, :1]) is NotImplemented  # few
    assert select.where(a, 0.0, condition=condition.astype(int)) is NotImplemented
    assert select.where(np.ones(SHAPE, int), 0, condition=condition) is NotImplemented


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_held_between(layout):
    x = layout(drawn(0, "float32"))
    inside, held = select.held_between(x, low=-0.5, high=1.0)
    for found, expected in zip((inside, held), held_between.forward(np, x, low=-0.5, high=1.0)):
        assert found.dtype == expected.dtype and found.strides == expected.strides
        np.testing.assert_array_equal(found, expected)


def test_relu6_and_its_gradient_are_those_of_the_definitions():
    x = 4 * drawn(0, "float32")

    def both():
        y, pull = md.vjp(F.relu6, md.Tensor(x))
        return y.data, pull(md.Tensor(x))[0].data

    found = both()
    with md.definitions():
        expected = both()
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)
