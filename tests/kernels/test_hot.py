"""Winograd's convolution is local: what a window does not see does not change its output."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.kernels.cpu import hot, layout, winograd
from minidl.ops.conv import conv_p, conv_transpose_p, conv_weight
from minidl.ops.window import Window

VALUES = [65535.0, -1e20, np.inf, np.nan]


def drawn(rng, *shape):
    """Positive: no output is small by cancellation."""
    return rng.uniform(0.5, 1, shape).astype(np.float32)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("n, channels, side", [(1, 16, 32), (2, 24, 19), (1, 64, 16), (3, 128, 14), (2, 256, 14)])
@pytest.mark.parametrize("kernel", [winograd.convolve, winograd.transpose])
def test_outputs_that_do_not_see_a_hot_pixel_stay(kernel, n, channels, side, value):
    rng = np.random.default_rng(0)
    window = Window.of((side, side), 3, padding=1)
    x, w = drawn(rng, n, channels, side, side), drawn(rng, channels, channels, 3, 3)
    clean = kernel(x, w, window)
    i, j = side // 2, side - 1
    x[0, 3, i, j] = value
    found = kernel(x, w, window)
    ordinary = np.ones(clean.shape, bool)
    ordinary[0, :, i - 1 : i + 2, j - 1 : j + 2] = False
    assert abs(found / clean - 1)[ordinary].max() <= 1e-6
    primitive = conv_p if kernel is winograd.convolve else conv_transpose_p
    with np.errstate(invalid="ignore"):
        exact = primitive.forward(np, x, w, window=window, groups=1)
    np.testing.assert_allclose(found[~ordinary], exact[~ordinary], rtol=1e-5)


def seen_by(primitive, a, b, window):
    """Which entries a marked entry of a has a part in."""
    return primitive.forward(np, a.astype(float), np.ones(b.shape), window=window, groups=1) > 0


@settings(deadline=None, max_examples=60)
@given(
    sides=st.tuples(st.integers(1, 14), st.integers(1, 14), *[st.integers(0, 4)] * 4),
    value=st.sampled_from(VALUES),
    pixels=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_in_any_window_and_derivative(sides, value, pixels, seed):
    """An entry that does not see the hot ones is right to rounding, one that does is as the definition has it."""
    height, width, top, bottom, left, right = sides
    size = (max(height, 3 - top - bottom), max(width, 3 - left - right))
    window = Window.of(size, 3, padding=[(top, bottom), (left, right)])
    rng = np.random.default_rng(seed)
    x, w, u = drawn(rng, 2, 5, *size), drawn(rng, 4, 5, 3, 3), drawn(rng, 2, 4, *window.output)
    forms = (conv_p, winograd.convolve, x, w), (conv_transpose_p, winograd.transpose, u, w)
    forms += (conv_weight, winograd.correlate, x, u), (conv_weight, winograd.correlate, u, x)
    if max(sides[2:]) > 1 or min(size) < 3 or any(length % 4 == 1 for length in window.output):
        forms = forms[:2]  # for a weight's gradient, a pixel that is alone in a tile cannot be compared with others
    for primitive, kernel, a, b in forms:
        at = rng.integers(a.size, size=pixels)
        a, marked = a.copy(), np.zeros(a.shape)
        a.flat[at], marked.flat[at] = value, 1
        pair = (a, b) if a.shape[1] == 5 or primitive is not conv_weight else (b, a)
        found = kernel(*pair, window)
        with np.errstate(invalid="ignore"):
            exact = primitive.forward(np, *(p.astype(np.float64) for p in pair), window=window, groups=1)
        if primitive is conv_weight:
            ones = (marked, np.ones(b.shape)) if pair[0] is a else (np.ones(b.shape), marked)
            sees = primitive.forward(np, *ones, window=window, groups=1) > 0
            sees |= ~np.isfinite(exact)  # a NaN of u times the zeros around x
        else:
            sees = seen_by(primitive, marked, b, window)
        np.testing.assert_allclose(found[~sees], exact[~sees], rtol=3e-6, atol=1e-7)
        np.testing.assert_allclose(found[sees], exact[sees], rtol=1e-5, err_msg=kernel.__name__)


def test_nothing_comes_from_nothing():
    rng = np.random.default_rng(0)
    x, w = np.zeros((1, 16, 21, 21), np.float32), drawn(rng, 16, 16, 3, 3)
    x[0, 2, 9, 9] = 1e-3
    window = Window.of((21, 21), 3, padding=3)
    assert np.array_equal(winograd.convolve(x, w, window) > 0, seen_by(conv_p, x > 0, w, window))


def test_several_in_a_tile_of_different_sizes():
    rng = np.random.default_rng(0)
    x, w = drawn(rng, 1, 16, 16, 16), drawn(rng, 16, 16, 3, 3)
    x[0, 0, 8, 8], x[0, 1, 8, 11], x[0, 2, 11, 8], x[0, 3, 11, 11] = 1e3, 1e6, np.inf, 1e12
    window = Window.of((16, 16), 3, padding=1)
    found = winograd.convolve(x, w, window)
    exact = conv_p.forward(np, x.astype(np.float64), w.astype(np.float64), window=window, groups=1)
    np.testing.assert_allclose(found, exact, rtol=3e-6)


def test_ordinary_data_have_none(monkeypatch):
    calls = []
    real = hot.find
    monkeypatch.setattr(winograd, "find", lambda *a: calls.append(real(*a)) or calls[-1])
    rng = np.random.default_rng(0)
    for scale, shift in ((1, 0), (64, 128), (1e-6, 0)):  # activations, bytes, small gradients
        x = layout.laid_out((rng.normal(size=(2, 32, 21, 21)) * scale + shift).clip(0, 255).astype(np.float32))
        w = md.tensor(rng.normal(size=(32, 32, 3, 3)).astype(np.float32), requires_grad=True)
        x = md.Tensor(x, requires_grad=True)
        y = F.conv(x, w, padding=1)
        y.backward(rng.normal(size=y.shape).astype(np.float32))
    assert calls and not any(calls)
