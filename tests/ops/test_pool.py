"""Pooling against loops over the cells of every window."""

import contextlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.check.samples.pool import POOLS, first_largest, largest, spread, total
from minidl.kernels.cpu import pool as kernel
from minidl.kernels.cpu import workers
from minidl.kernels.cpu.layout import laid_out
from minidl.ops.pool import gather_cells, max_pool_p, scatter_cells, to_largest, window_spread, window_sum
from minidl.ops.window import Window

from .test_window import drawn, seeds, windows


@st.composite
def pools(draw, dilations=(1, 2)):
    """A window that covers a cell of the input everywhere, with ceil_mode or without."""
    window = draw(windows(dilations=dilations))
    ceil_mode = draw(st.booleans())
    window = window.grown() if ceil_mode else window
    assume(not window.empty_positions())
    return window, ceil_mode


def options(window):
    return {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}


@pytest.mark.slow
@drawn
@given(pools(), st.integers(0, 2), st.booleans(), seeds)
def test_max_pool_and_its_indices(pool, n, ties, rng):
    window, _ = pool
    x = rng.integers(0, 2, (n, 2, *window.size)) + (0.0 if ties else rng.normal(size=(n, 2, *window.size)))
    y, indices = F.max_pool(x, window.kernel, **options(window), return_indices=True)
    np.testing.assert_array_equal(y.data, largest(x, window=window))
    np.testing.assert_array_equal(indices.data, first_largest(x, window))
    assert indices.dtype == np.int64 and not indices.requires_grad


@pytest.mark.slow
@drawn
@given(pools(), st.booleans(), seeds)
def test_the_gradient_of_max_pool_goes_to_the_first_largest_cell(pool, ties, rng):
    window, _ = pool
    x = rng.integers(0, 2, (2, 2, *window.size)) + (0.0 if ties else rng.normal(size=(2, 2, *window.size)))
    g = rng.normal(size=(2, 2, *window.output))
    expected = np.zeros_like(x)
    for at, index in np.ndenumerate(first_largest(x, window)):
        expected[at[:2]].flat[index] += g[at]
    _, pull = md.vjp(lambda x: F.max_pool(x, window.kernel, **options(window)), x)
    np.testing.assert_allclose(pull(g)[0].data, expected, atol=1e-13)


@pytest.mark.slow
@drawn
@given(pools(), seeds)
def test_max_pool_to_second_order(pool, rng):
    """f = sum of m^2 / 2 over the maxima m has the Hessian J^T J, J picking the largest cells."""
    window, _ = pool
    x, v = rng.normal(size=(2, 1, 2, *window.size))
    f = lambda x: (F.max_pool(x, window.kernel, **options(window)) ** 2).sum() / 2  # noqa: E731
    expected = np.zeros_like(x)
    for at, index in np.ndenumerate(first_largest(x, window)):
        expected[at[:2]].flat[index] += v[at[:2]].flat[index]
    np.testing.assert_allclose(md.hvp(f, x, v)[1].data, expected, atol=1e-12)


def test_max_pool_of_one_dtype_gives_it_back():
    for dtype in (np.float32, np.float64, np.int64, np.uint8, bool):
        x = np.arange(16).reshape(1, 1, 4, 4).astype(dtype)
        y = F.max_pool(x, 3, stride=2, padding=1)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.data, x[:, :, 1::2, 1::2])


def test_max_pool_passes_a_nan_on():
    x = np.array([[[1.0, np.nan, 2.0, 3.0]]])
    y, indices = F.max_pool(x, 2, return_indices=True)
    np.testing.assert_array_equal(y.data, [[[np.nan, 3.0]]])
    assert indices.tolist() == [[[1, 3]]]


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("rank, channels", [(1, 2), (2, 2), (2, 9), (3, 2)])
def test_the_gradient_of_a_window_with_a_nan_goes_to_the_nan(rank, channels, kernels):
    """An infinity before it is no rival."""
    rng = np.random.default_rng(0)
    geometries = {}, {"stride": 2, "padding": 1}, {"stride": 1, "dilation": 2}
    pools = [lambda x, options=options: F.max_pool(x, 3, **options) for options in geometries]
    for pool in (*pools, lambda x: F.adaptive_max_pool(x, 3)):
        x = rng.normal(size=(2, channels, *[7] * rank))
        x[(1, 1, *[2] * rank)], x[(1, 1, *[1] * rank)] = np.nan, np.inf
        x = md.Tensor(laid_out(x), requires_grad=True)
        with contextlib.nullcontext() if kernels else md.definitions():
            y = pool(x)
            y.backward(np.isnan(y.data).astype(float))
        assert np.isnan(y.data).any()
        assert np.array_equal(x.grad.data, np.where(np.isnan(x.data), np.isnan(y.data).sum(), 0))


def test_max_pool_of_minus_infinity_stays_inside_of_the_input():
    y, indices = F.max_pool(np.full((1, 1, 3, 3), -np.inf), 2, padding=1, return_indices=True)
    assert (y.data == -np.inf).all()
    assert indices.tolist() == [[[[0, 1], [3, 4]]]]


@pytest.mark.slow
@drawn
@given(pools(dilations=(1,)), seeds)
def test_max_unpool_puts_the_maxima_back(pool, rng):
    window, _ = pool
    x = rng.normal(size=(2, 2, *window.size))
    y, indices = F.max_pool(x, window.kernel, **options(window), return_indices=True)
    back = F.max_unpool(y, indices, window.kernel, output_size=window.size).data
    chosen = np.zeros(x.shape, bool)
    for at, index in np.ndenumerate(indices.data):
        chosen[at[:2]].flat[index] = True
    np.testing.assert_array_equal(back, np.where(chosen, x, 0))


def test_max_unpool_of_a_repeated_position_keeps_the_last_and_its_gradient():
    x = md.tensor([[[1.0, 2.0, 3.0]]], requires_grad=True)
    y = F.max_unpool(x, [[[4, 0, 4]]], 2)
    assert y.tolist() == [[[2, 0, 0, 0, 3, 0]]]
    assert md.grad(y, [x], y * 10)[0].tolist() == [[[0, 20, 30]]]


def test_max_unpool_sizes():
    x, indices = np.ones((1, 1, 2, 2)), np.array([[[[0, 1], [2, 3]]]], np.uint8)
    assert F.max_unpool(x, indices, 2).shape == (1, 1, 4, 4)
    assert F.max_unpool(x, indices, 3, stride=2, padding=1).shape == (1, 1, 3, 3)
    assert F.max_unpool(x, indices, 2, output_size=(5, 4)).shape == (1, 1, 5, 4)
    assert F.max_unpool(x, indices, 2, output_size=(1, 1, 5, 4)).shape == (1, 1, 5, 4)


@pytest.mark.slow
@drawn
@given(windows(dilations=(1,)), st.booleans(), st.booleans(), seeds)
def test_avg_pool_divides_by_the_cells_that_count(window, ceil_mode, count_include_pad, rng):
    walked = window.grown() if ceil_mode else window
    assume(not walked.empty_positions())
    x = rng.normal(size=(2, 2, *window.size))
    y = F.avg_pool(
        x, window.kernel, stride=window.stride, padding=window.padding, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )
    assert y.shape == (2, 2, *walked.output)
    expected = np.zeros(y.shape)
    for position in np.ndindex(*walked.output):
        axes = []
        for o, n, k, s, (low, high) in zip(position, window.size, window.kernel, window.stride, window.padding):
            taps = range(s * o - low, s * o - low + k)
            inside = [i for i in taps if 0 <= i < n]
            axes.append((inside, len([i for i in taps if i < n + high]) if count_include_pad else len(inside)))
        entries = [x[(..., *cell)] for cell in itertools.product(*(inside for inside, _ in axes))]
        expected[(..., *position)] = sum(entries) / math.prod(count for _, count in axes)
    np.testing.assert_allclose(y.data, expected, atol=1e-13)


@drawn
@given(windows(), seeds)
def test_window_sum_and_spread_are_adjoint(window, rng):
    x, v = rng.normal(size=(2, 2, *window.size)), rng.normal(size=(2, 2, *window.output))
    y, a = window_sum(x, window=window).data, window_spread(v, window=window).data
    np.testing.assert_allclose(y, total(x, window=window), atol=1e-12)
    np.testing.assert_allclose(a, spread(v, window=window), atol=1e-12)
    assert abs((y * v).sum() - (x * a).sum()) <= 1e-12 * (1 + (abs(y) * abs(v)).sum())
    np.testing.assert_array_equal(md.vjp(lambda x: window_sum(x, window=window), x)[1](v)[0].data, a)
    np.testing.assert_array_equal(md.vjp(lambda v: window_spread(v, window=window), v)[1](x)[0].data, y)


@drawn
@given(st.integers(0, 2), st.integers(1, 4), st.integers(1, 7), st.booleans(), seeds)
def test_scatter_and_gather_are_adjoint(n, entries, size, repeats, rng):
    assume(repeats or entries <= size)
    indices = np.array([rng.choice(size, entries, replace=repeats) for _ in range(2 * n)], int).reshape(n, 2, entries)
    x, v = rng.normal(size=indices.shape), rng.normal(size=(n, 2, size))
    y = scatter_cells(x, indices=indices, size=(size,), repeats=repeats).data
    a = gather_cells(v, indices=indices, repeats=repeats).data
    assert abs((y * v).sum() - (x * a).sum()) <= 1e-12 * (1 + abs(x * a).sum())


@drawn
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 8)), min_size=1, max_size=3), seeds)
def test_adaptive_avg_pool_is_the_mean_of_the_cells_it_covers(axes, rng):
    size, output = zip(*axes)
    x = rng.normal(size=(2, 2, *size))
    expected = np.zeros((2, 2, *output))
    for position in np.ndindex(*output):
        covered = tuple(
            slice(math.floor(o * n / out), math.ceil((o + 1) * n / out)) for o, n, out in zip(position, size, output)
        )
        expected[(..., *position)] = x[(..., *covered)].mean(axis=tuple(range(2, x.ndim)))
    np.testing.assert_allclose(F.adaptive_avg_pool(x, output).data, expected, atol=1e-13)


def test_avg_pool_with_dilation():
    x = np.arange(36.0).reshape(1, 1, 6, 6)
    y = F.avg_pool(x, 2, stride=1, dilation=(2, 3), padding=[(0, 0), (0, 1)], count_include_pad=False)
    wide = np.pad(x, [(0, 0)] * 3 + [(0, 1)], constant_values=np.nan)
    taps = [wide[..., i : i + 4, j : j + 4] for i in (0, 2) for j in (0, 3)]
    np.testing.assert_allclose(y.data, np.nanmean(taps, axis=0))


def test_adaptive_avg_pool_reads_ints_and_none():
    x = np.arange(24.0).reshape(1, 1, 4, 6)
    np.testing.assert_array_equal(F.adaptive_avg_pool(x, 2).data, F.avg_pool(x, (2, 3)).data)
    np.testing.assert_array_equal(F.adaptive_avg_pool(x, (None, 1)).data, x.mean(axis=3, keepdims=True))
    np.testing.assert_allclose(F.adaptive_avg_pool(x.astype(int), (4, 5)).data, F.adaptive_avg_pool(x, (4, 5)).data)


@drawn
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 2), seeds)
def test_global_avg_pool(size, n, rng):
    x = rng.normal(size=(n, 3, *size))
    y, pull = md.vjp(F.global_avg_pool, x)
    np.testing.assert_allclose(y.data, x.reshape(n, 3, math.prod(size)).mean(axis=2), atol=1e-14)
    g = rng.normal(size=(n, 3))
    expected = np.broadcast_to(g.reshape(n, 3, *(1 for _ in size)), x.shape) / math.prod(size)
    np.testing.assert_allclose(pull(g)[0].data, expected, atol=1e-14)


@settings(drawn, max_examples=30)
@given(pools(dilations=(1,)), seeds)
def test_float32_stays_and_inputs_too(pool, rng):
    window, _ = pool
    x = rng.normal(size=(2, 2, *window.size)).astype("f4")
    before = x.copy()
    kept = md.tensor(x, requires_grad=True)
    results = [
        F.max_pool(kept, window.kernel, **options(window)),
        F.avg_pool(kept, window.kernel, stride=window.stride, padding=window.padding),
        F.adaptive_avg_pool(kept, 2),
        F.global_avg_pool(kept),
    ]
    for y in results:
        assert y.dtype == np.float32
        assert md.grad(y.sum(), [kept])[0].dtype == np.float32
    strided = np.repeat(x, 2, axis=-1)[..., ::2]
    np.testing.assert_array_equal(F.max_pool(strided, window.kernel, **options(window)).data, results[0].data)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("window", POOLS)
def test_an_empty_batch_passes(window):
    x = md.tensor(np.zeros((0, 3, *window.size)), requires_grad=True)
    y = max_pool_p(x, window=window)
    assert y.shape == (0, 3, *window.output)
    assert md.grad(y.sum(), [x])[0].shape == x.shape
    y, indices = F.max_pool(x, 2, return_indices=True)
    assert F.max_unpool(y, indices, 2, output_size=window.size).shape == x.shape
    assert F.avg_pool(x, 2, padding=1).shape[0] == 0
    assert F.adaptive_avg_pool(x, 3).shape == (0, 3, *(3 for _ in window.size))


# --- the kernels


ORDERS = {  # how axes (N, C, *size) lie in memory, by name: given their number, from the slowest to the fastest
    "C": lambda ndim: range(ndim),
    "channels last": lambda ndim: (0, *range(2, ndim), 1),
    "reversed": lambda ndim: range(ndim)[::-1],
}


def lying(x, order):
    """A copy of x with its axes in memory in this order; "strided" leaves gaps."""
    if order == "strided":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    axes = tuple(ORDERS[order](x.ndim))
    return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))


@st.composite
def contests(draw):
    """x with ties or without, and what to hand to its largest cells, in any layouts; and the cells of a block."""
    window, _ = draw(pools())
    rng, shape = draw(seeds), (draw(st.integers(0, 3)), draw(st.integers(1, 9)))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    x = rng.integers(0, 3, (*shape, *window.size)) + draw(st.booleans()) * rng.normal(size=(*shape, *window.size))
    g = rng.integers(-9, 10, (*shape, *window.output))  # sums of them are exact
    if draw(st.booleans()) and x.size:
        x.flat[rng.integers(x.size)], g.flat[rng.integers(g.size)] = np.nan, 0
    orders = st.sampled_from([*ORDERS, "strided"])
    x, g = lying(x.astype(dtype), draw(orders)), lying(g.astype(dtype), draw(orders))
    return window, x, g, draw(st.sampled_from([1, 16, 200, kernel.BLOCK]))


@pytest.fixture
def blocks(monkeypatch):
    return lambda cells: monkeypatch.setattr(kernel, "BLOCK", cells)


kernels = settings(drawn, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.slow
@kernels
@given(contests())
def test_the_kernels_equal_the_array_functions(blocks, contest):
    window, x, g, cells = contest
    blocks(cells)
    y = max_pool_p.forward(np, x, window=window)
    parameters = {"among": x, "largest": y, "window": window}
    pairs = [
        (max_pool_p.cpu(x, window=window), y),
        (to_largest.run(np, [g], parameters), to_largest.forward(np, g, **parameters)),
        (window_spread.cpu(g, window=window), window_spread.forward(np, g, window=window)),
    ]
    for found, expected in pairs:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    totals = window_sum.cpu(x, window=window), window_sum.forward(np, x, window=window)
    assert totals[0].dtype == totals[1].dtype
    found, expected = (total.astype(np.float64) for total in totals)
    sizes = window_sum.forward(np, abs(x).astype(np.float64), window=window)
    roundings = 2 * np.prod(window.kernel) * np.finfo(x.dtype).eps  # of all terms: they may cancel
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert not (abs(found - expected) > roundings * sizes).any()


@pytest.mark.slow
@kernels
@given(pools(), st.sampled_from([np.int64, np.uint8, bool]), st.sampled_from([1, 50]), seeds)
def test_the_kernel_takes_the_largest_of_whole_numbers(blocks, pool, dtype, cells, rng):
    window, _ = pool
    blocks(cells)
    x = rng.integers(-3, 4, (2, 3, *window.size)).astype(dtype)
    found, expected = max_pool_p.cpu(x, window=window), max_pool_p.forward(np, x, window=window)
    assert found.dtype == expected.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_infinities_and_nans_of_a_cotangent_stay_where_they_belong():
    x = np.array([[[1.0, 2.0, 4.0, 3.0]]])
    for kernel_size, stride in ((2, 2), (2, 1)):
        _, pull = md.vjp(lambda x, k=kernel_size, s=stride: F.max_pool(x, k, stride=s), x)
        g = np.array([np.inf, np.nan] if stride == 2 else [np.inf, np.nan, 1])[None, None]
        expected = [[[0, np.inf, np.nan, 0]]]
        np.testing.assert_array_equal(pull(g)[0].data, expected)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"stride": 1, "dilation": 2}])
@pytest.mark.parametrize("order", ORDERS)
def test_pooling_has_the_same_bits_on_any_number_of_threads(monkeypatch, options, order):
    rng = np.random.default_rng(0)
    x = lying(rng.normal(size=(5, 9, 60, 61)).astype("f"), order)
    assert x.size * kernel.COST > workers.WORTH_SHARING
    monkeypatch.setattr(kernel, "BLOCK", 1 << 13)
    window = Window.of(x.shape[2:], 3, **{"stride": 3, **options})
    g = lying(rng.normal(size=(5, 9, *window.output)).astype("f"), order)
    results = []
    for n in (1, 2):
        monkeypatch.setattr(workers, "thread_count", lambda n=n: n)
        monkeypatch.setattr(workers, "_workers", None)
        y = kernel.max_pool(x, window=window)
        found = [y, kernel.to_largest(g, among=x, largest=y, window=window)]
        found += [kernel.window_sum(x, window=window), kernel.window_spread(g, window=window)]
        results.append([a.tobytes() for a in found])
    assert results[0] == results[1]


X = np.zeros((1, 2, 4, 4))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: F.max_pool(X, 5), r"= \(4 \+ 0 \+ 0 - 1 \* \(5 - 1\) - 1\) // 5 \+ 1 = 0"),
        (lambda: F.max_pool(X, 2, padding=2), r"position 0 of spatial axis 0 covers padding only: size 4, kernel 2"),
        (lambda: F.avg_pool(X, 1, padding=1, count_include_pad=False), r"avg_pool: the window at position 0"),
        (lambda: F.avg_pool(X, 2, padding=4), r"avg_pool: the window at position 0"),
        (lambda: F.max_pool(X[0, 0], 2), r"max_pool: x must have shape"),
        (lambda: F.max_pool(X, (2, 2, 2)), r"3 entries for 2 spatial axes"),
        (lambda: F.max_pool(X, 2, stride=0), r"stride=0 must be at least 1"),
        (lambda: F.avg_pool(X[0], 0), r"kernel_size=0 must be at least 1"),
        (lambda: F.adaptive_avg_pool(X, (1, 2, 3)), r"3 entries for 2 spatial axes"),
        (lambda: F.adaptive_avg_pool(X, 0), r"lengths must be at least 1"),
        (lambda: F.global_avg_pool(X[0, 0]), r"global_avg_pool: x must have shape"),
        (lambda: F.max_unpool(X, np.zeros((1, 2, 4, 3), int), 2), r"x's shape \(1, 2, 4, 4\), got int64 \(1, 2, 4,"),
        (lambda: F.max_unpool(X, np.full(X.shape, 64), 2), r"from 64 to 64, a map of \(8, 8\) has .* 0 to 63"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
