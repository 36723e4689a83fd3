"""Winograd's convolution: the factorisation is exact, and float32 gives what the definition gives, to rounding."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.kernels.cpu import layout, winograd
from minidl.ops.conv import conv_p, conv_transpose_p, conv_weight
from minidl.ops.window import Window

BOUND = 1e-5  # of the largest output: the docstring's promise, with room for unlucky draws


def test_the_factorisation_of_the_one_dimensional_form_is_exact():
    """sum over o, k of u[o] w[k] x[o + k] for units u, w, x, from 6 products: 1 where x's place is o + k, else 0."""
    for o, k, i in itertools.product(range(4), range(3), range(6)):
        value = (winograd.A[:, o] * winograd.G[:, k] * winograd.B[:, i]).sum()
        assert abs(value - (i == o + k)) < 1e-12


def test_the_square_of_it_is_the_two_dimensional_one():
    rng = np.random.default_rng(0)
    u, w, x = rng.normal(size=(4, 4)), rng.normal(size=(3, 3)), rng.normal(size=(6, 6))
    by_definition = sum(u[o] * w[k] * x[o[0] + k[0], o[1] + k[1]] for o in np.ndindex(4, 4) for k in np.ndindex(3, 3))
    squares = (np.kron(m, m) for m in (winograd.A, winograd.G, winograd.B))
    products = np.prod([m @ array.ravel() for m, array in zip(squares, (u, w, x))], axis=0)
    assert abs(products.sum() - by_definition) < 1e-12 * abs(products).sum()


windows = st.tuples(st.integers(1, 14), st.integers(1, 14), *[st.integers(0, 3)] * 4)


@settings(deadline=None, max_examples=60)
@given(
    sides=windows,
    batch=st.integers(0, 5),
    channels=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    block=st.sampled_from([1, 1 << 12, 1 << 18]),
    lay=st.sampled_from([np.ascontiguousarray, layout.laid_out, np.asfortranarray]),
    seed=st.integers(0, 99),
)
def test_it_equals_the_definition(sides, batch, channels, block, lay, seed):
    height, width, top, bottom, left, right = sides
    size = (max(height, 3 - top - bottom), max(width, 3 - left - right))
    window = Window.of(size, 3, padding=[(top, bottom), (left, right)])
    rng = np.random.default_rng(seed)
    c, f = channels
    x, w = rng.normal(size=(batch, c, *size)), rng.normal(size=(f, c, 3, 3))
    u = rng.normal(size=(batch, f, *window.output))
    single = [lay(array.astype(np.float32)) for array in (x, w, u)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "BLOCK", block)
        patch.setattr(winograd, "FEWEST", 1 if block < 1 << 18 else winograd.FEWEST)
        patch.setattr(winograd, "_blocks", winograd._blocks.__wrapped__)  # the other one remembers
        found = (
            winograd.convolve(*single[:2], window),
            winograd.transpose(single[2], single[1], window),
            winograd.correlate(single[0], single[2], window),
        )
    exact = (
        conv_p.forward(np, x, w, window=window, groups=1),
        conv_transpose_p.forward(np, u, w, window=window, groups=1),
        conv_weight.forward(np, x, u, window=window, groups=1),
    )
    for a, b in zip(found, exact):
        assert a.dtype == np.float32 and a.shape == b.shape
        assert abs(a - b).max(initial=0) <= BOUND * abs(b).max(initial=0)


@pytest.mark.parametrize("size, channels", [(40, 64), (23, 128), (25, 32)])
def test_the_three_derivatives_of_a_layer_agree_with_double_precision(size, channels):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, channels, size, size)), rng.normal(size=(channels, channels, 3, 3))
    u = rng.normal(size=x.shape)
    results = []
    for dtype in (np.float32, np.float64):
        xt, wt = md.tensor(x.astype(dtype), requires_grad=True), md.tensor(w.astype(dtype), requires_grad=True)
        y = F.conv(xt, wt, padding=1)
        y.backward(u.astype(dtype))
        results.append((y.data, xt.grad.data, wt.grad.data))
    for single, double in zip(*results):
        assert single.dtype == np.float32
        assert abs(single - double).max() <= BOUND * abs(double).max()


@pytest.mark.parametrize("wide", ["x", "w", "u"])
def test_mixed_dtypes_are_promoted_as_elsewhere(wide):
    rng = np.random.default_rng(0)
    window = Window.of((40, 40), 3, padding=1)
    arrays = {"x": rng.normal(size=(2, 32, 40, 40)), "w": rng.normal(size=(32, 32, 3, 3))}
    arrays["u"] = rng.normal(size=arrays["x"].shape)
    mixed = {name: array if name == wide else array.astype(np.float32) for name, array in arrays.items()}
    for function, names in ((conv_p.cpu, "xw"), (conv_weight.cpu, "xu"), (conv_transpose_p.cpu, "uw")):
        found = function(*(mixed[n] for n in names), window=window, groups=1)
        exact = function(*(arrays[n] for n in names), window=window, groups=1)
        assert found.dtype == (np.float64 if wide in names else np.float32)
        assert abs(found - exact).max() <= BOUND * abs(exact).max()


def test_strided_arrays_are_taken_as_they_are():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 18, 3, 32)).astype(np.float32).transpose(2, 3, 0, 1)[:, ::2]  # (3, 16, 9, 18)
    w = rng.normal(size=(3, 3, 16, 16)).astype(np.float32).transpose(2, 3, 0, 1)
    window = Window.of((9, 18), 3, padding=1)
    assert np.array_equal(
        winograd.convolve(x, w, window), winograd.convolve(x.copy(), np.ascontiguousarray(w), window)
    )
    u = rng.normal(size=(3, 18, 9, 16)).astype(np.float32).swapaxes(1, 3)
    plain = winograd.correlate(x.copy(), np.ascontiguousarray(u), window)
    assert np.array_equal(winograd.correlate(x, u, window), plain)
