"""Activations: kernels for the CPU against the plain functions, layouts, threads, infinities."""

from functools import partial
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.kernels.cpu import activation, layout, workers
from minidl.ops import elementwise

drawn = settings(deadline=None, max_examples=60)
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38]


def whole(x):
    return x


def channels_last(x):
    return layout.channels_first(layout.channels_last(x).copy()) if x.ndim > 2 else x


def gaps(x):
    return np.repeat(x, 2, axis=-1)[..., ::2]


def backwards(x):
    return x[::-1, ::-1].copy()[::-1, ::-1]


def repeated(x):
    return np.broadcast_to(x[:1], x.shape)


LAYOUTS = st.sampled_from([whole, channels_last, np.asfortranarray, gaps, backwards, repeated])


@st.composite
def arrays(draw):
    """Two arrays of one shape, some of their entries special, each in a layout of its own."""
    shape = draw(st.lists(st.integers(0, 5), min_size=2, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    x, gate = rng.normal(size=(2, *shape)).astype(dtype)
    for a in (x, gate):
        special = rng.random(shape) < 0.2
        a[special] = rng.choice(SPECIAL, special.sum()).astype(dtype)
    return draw(LAYOUTS)(x), draw(LAYOUTS)(gate)


def agrees(kernel, plain, block, few, x, *others):
    """The kernel gives the plain function's values and dtype, and if it works by blocks and x is dense, its layout."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(activation, "BLOCK", block)
        patch.setattr(activation, "FEW", few)
        y, expected = kernel(x, *others), plain(x, *others)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y, expected)
    if few == 0 and any(x.transpose(order).flags.c_contiguous for order in permutations(range(y.ndim))):
        assert activation.strides(y) == activation.strides(x)


@drawn
@given(arrays(), st.integers(1, 40), st.sampled_from([0, 10000]))
def test_relu_is_the_plain_function(pair, block, few):
    agrees(activation.relu, partial(elementwise.relu.forward, np), block, few, pair[0])


@drawn
@given(arrays(), st.integers(1, 40), st.sampled_from([0, 10000]), st.sampled_from([0.01, 0, 1, 0.3, -0.5, 2.5, np.inf]))
def test_leaky_relu_is_the_plain_function(pair, block, few, slope):
    kernel, plain = activation.leaky_relu, partial(elementwise.leaky_relu_p.forward, np)
    agrees(partial(kernel, slope=slope), partial(plain, slope=slope), block, few, pair[0])


@drawn
@given(arrays(), st.integers(1, 40), st.sampled_from([0, 10000]), st.sampled_from([0, 0.01, 0.3, 1, -0.5, 2.5, np.inf]))
def test_the_gate_is_the_plain_function(pair, block, few, slope):
    def plain(x, gate):
        return elementwise.gated.forward(np, x, gate=gate, slope=slope)

    agrees(lambda x, gate: activation.gated(x, gate=gate, slope=slope), plain, block, few, *pair)


@drawn
@given(arrays(), st.integers(1, 40))
def test_blocks_cover_arrays_once_at_the_same_places(pair, block):
    first = np.zeros_like(pair[0])
    second = np.arange(first.size).reshape(first.shape)
    if pair[1].shape and not pair[1].flags.c_contiguous:
        second = np.asfortranarray(second)
    seen = np.zeros_like(first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activation, "BLOCK", block)
        for a, b, c in activation.blocks(first, second, seen):
            assert a.shape == b.shape == c.shape and a.size <= block
            a += b
            c += 1
    assert (first == second).all() and (seen == 1).all()


@pytest.mark.parametrize("dtype", [int, np.uint8, bool, np.float16])
def test_relu_of_other_dtypes(dtype):
    x = np.arange(-9000, 9000).astype(dtype)
    y = F.relu(md.Tensor(x)).numpy()
    expected = np.maximum(x, 0)
    assert y.dtype == expected.dtype and (y == expected).all()


def test_numbers_are_taken_and_nothing_else_is():
    assert F.relu(3.0).item() == F.leaky_relu(3.0).item() == 3 and F.relu(-2).item() == 0
    assert F.leaky_relu(-2.0, 0.25).item() == -0.5
    for f in (F.relu, F.leaky_relu):
        with pytest.raises(TypeError):
            f(None)


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_the_derivative_is_selected_by_the_gate(slope):
    """Infinite and undefined cotangents pass as they are, or times the slope, or not at all; at any size."""
    for repeats in (1, 10000):
        x = md.tensor(np.tile([-1.0, 0.0, 2.0, -3.0], repeats), requires_grad=True)
        g = np.tile([np.inf, -np.inf, np.inf, 1.0], repeats)
        y = F.leaky_relu(x, slope) if slope else F.relu(x)
        expected = np.where(x.numpy() > 0, g, slope * g if slope else 0)
        (got,) = md.grad(y, x, g)
        np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("f", [F.relu, lambda x: F.leaky_relu(x, 0.2)])
@pytest.mark.parametrize("n", [6, 20000])
def test_higher_orders(f, n):
    rng = np.random.default_rng(0)
    x = md.tensor(rng.normal(size=n), requires_grad=True)
    (g,) = md.grad((f(x) ** 3).sum(), x, create_graph=True)
    (h,) = md.grad(g.sum(), x, create_graph=True)
    (third,) = md.grad(h.sum(), x)
    slope = f(md.Tensor(np.sign(x.numpy()))).numpy() * np.sign(x.numpy())
    np.testing.assert_allclose(h.numpy(), 6 * slope**3 * x.numpy(), rtol=1e-14)
    np.testing.assert_allclose(third.numpy(), 6 * slope**3, rtol=1e-14)


def test_the_same_bits_on_any_number_of_threads(monkeypatch):
    x = np.random.default_rng(0).normal(size=(3, 16, 70, 71)).astype("f")
    monkeypatch.setattr(workers, "WORTH_SHARING", 0)
    results = []
    for n in (1, 2, 3):
        monkeypatch.setattr(workers, "thread_count", lambda n=n: n)
        monkeypatch.setattr(workers, "_workers", None)
        t = md.tensor(x, requires_grad=True)
        y = F.leaky_relu(F.relu(t) - 0.5, 0.1)
        y.backward(np.cos(x))
        results.append((y.numpy().tobytes(), t.grad.numpy().tobytes()))
    assert results[0] == results[1] == results[2]
