"""Layout: what comes channels last in memory leaves channels last, with the values that C order gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.kernels.cpu import layout
from minidl.kernels.cpu.layout import channels_first, channels_last, inverse, is_channels_last, memory_order, shaped_as

FUNCTIONS = {
    "concat of channels": lambda x: F.concat([x, x * 2, x[:, :3]]),
    "concat along a spatial axis": lambda x: F.concat([x, x], axis=2),
    "concat along the batch": lambda x: F.concat([x, x], axis=0),
    "pad": lambda x: F.pad(x, 1),
    "pad with a value": lambda x: F.pad(x, [(2, 0)] * (x.ndim - 2), value=3.0),
    "pad, reflect": lambda x: F.pad(x, [(2, 1)] * (x.ndim - 2), mode="reflect"),
    "pad, replicate": lambda x: F.pad(x, [(0, 2)] * (x.ndim - 2), mode="replicate"),
    "pad, circular": lambda x: F.pad(x, [(1, 3)] * (x.ndim - 2), mode="circular"),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest, smaller": lambda x: F.interpolate(x, size=2),
    "linear": lambda x: F.interpolate(x, scale_factor=1.5, mode="linear"),
    "linear, aligned corners": lambda x: F.interpolate(x, size=7, mode="linear", align_corners=True),
    "max_pool": lambda x: F.max_pool(x, 2),
    "max_pool, overlapping": lambda x: F.max_pool(x, 3, stride=2, padding=1),
    "avg_pool": lambda x: F.avg_pool(x, 2),
    "avg_pool, overlapping": lambda x: F.avg_pool(x, 3, stride=2, padding=1, count_include_pad=False),
    "adaptive_avg_pool, even": lambda x: F.adaptive_avg_pool(x, 2),
    "adaptive_avg_pool, uneven": lambda x: F.adaptive_avg_pool(x, 3),
}
SHAPES = [(2, 9, 4), (2, 9, 4, 4), (1, 8, 6, 4), (2, 10, 4, 5, 4)]


def both_layouts(shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape)
    return x, channels_first(np.ascontiguousarray(channels_last(x)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_channels_last_in_channels_last_out(name, shape):
    found = []
    for x in both_layouts(shape):
        y, pull = md.vjp(FUNCTIONS[name], md.Tensor(x))
        (g,) = [v for v in both_layouts(y.shape, 1) if is_channels_last(v) == is_channels_last(x)]
        found.append((y.data, pull(g)[0].data))
    (y, gx), (y_last, gx_last) = found
    assert y.flags.c_contiguous and is_channels_last(y_last)
    np.testing.assert_allclose(y_last, y, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gx_last, gx, rtol=1e-12, atol=1e-14)


PLACING = [name for name in FUNCTIONS if "concat" not in name]


@pytest.mark.parametrize("name", PLACING)
def test_gradients_are_channels_last_too(name):
    _, x = both_layouts((2, 9, 4, 4))
    y, pull = md.vjp(FUNCTIONS[name], md.Tensor(x))
    _, g = both_layouts(y.shape, 1)
    gx = pull(g)[0].data
    assert memory_order(gx) == memory_order(x)


def test_flip_is_a_view_and_its_gradient_keeps_the_layout():
    for x in both_layouts((2, 9, 4, 5)):
        y, pull = md.vjp(lambda x: F.flip(x, 3), md.Tensor(x))
        assert np.shares_memory(y.data, x)
        np.testing.assert_array_equal(y.data, x[..., ::-1])
        gx = pull(y)[0].data
        np.testing.assert_array_equal(gx, x)
        assert memory_order(gx) == memory_order(x)


def test_global_average_pooling_of_either_layout():
    x, last = both_layouts((3, 9, 5, 7))
    for pool in (F.global_avg_pool, lambda x: F.adaptive_avg_pool(x, 1)):
        for a in (x, last):
            y, pull = md.vjp(pool, md.Tensor(a))
            np.testing.assert_allclose(y.data.reshape(3, 9), x.mean(axis=(2, 3)), rtol=1e-12)
            g = np.arange(27.0).reshape(y.shape)
            expected = np.broadcast_to(g.reshape(3, 9, 1, 1), x.shape) / 35
            np.testing.assert_allclose(pull(g)[0].data, expected, rtol=1e-12)


@settings(deadline=None)
@given(st.integers(1, 5).flatmap(lambda ndim: st.permutations(range(ndim))), st.integers(2, 4))
def test_memory_order(order, length):
    x = np.zeros([length + axis for axis in order]).transpose(inverse(order))
    assert x.shape == tuple(length + axis for axis in range(x.ndim))
    assert memory_order(x) == tuple(order)
    assert x.transpose(memory_order(x)).flags.c_contiguous
    y = shaped_as(x, [n + 1 for n in x.shape], np.empty)
    assert memory_order(y) == tuple(order) and y.shape == tuple(n + 1 for n in x.shape)
    assert y.transpose(order).flags.c_contiguous


@pytest.mark.parametrize(
    "shape", [(2, 8, 5, 6), (2, 3, 5, 6), (1, 8, 1, 1), (2, 16, 1, 7), (3, 1, 4, 4), (2, 9, 4, 4, 3), (4, 8)]
)
def test_joined_arrays_lie_as_numpy_has_them(shape):
    rng = np.random.default_rng(0)
    for axis in range(len(shape)):
        a, b = (rng.normal(size=shape) for _ in range(2))
        for pair in ((a, b), (layout.laid_out(a), layout.laid_out(b)), (a, layout.laid_out(b))):
            y, expected = layout.concatenate(*pair, axis=axis), np.concatenate(pair, axis)
            if y is not NotImplemented:
                assert np.array_equal(y, expected)
                long = [i for i, n in enumerate(y.shape) if n > 1]
                assert [y.strides[i] for i in long] == [expected.strides[i] for i in long]
        assert layout.concatenate(a, a, axis=axis) is not NotImplemented
