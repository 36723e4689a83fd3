"""Pooling against PyTorch: values, indices, gradients and gradients of gradients, in float64."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

from hypothesis import assume, given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from minidl import functional as F  # noqa: E402

from .test_conv import agree, compare, drawn, seeds  # noqa: E402

pytestmark = pytest.mark.reference


def theirs(name, rank):
    return getattr(torch.nn.functional, f"{name}{rank}d")


@st.composite
def pools(draw, dilations=(1, 2)):
    """Options that torch accepts: padding at most half of the kernel, a window that fits."""
    axes = []
    for _ in range(draw(st.integers(1, 3))):
        kernel, dilation = draw(st.integers(1, 3)), draw(st.sampled_from(dilations))
        padding = draw(st.integers(0, kernel // 2))
        size = draw(st.integers(max(dilation * (kernel - 1) + 1 - 2 * padding, padding + 1), 7))
        axes.append((size, kernel, draw(st.integers(1, 4)), padding, dilation))
    size, kernel, stride, padding, dilation = zip(*axes)
    options = {"stride": stride, "padding": padding, "ceil_mode": draw(st.booleans())}
    if len(dilations) > 1:
        options["dilation"] = dilation
    return size, kernel, options


@drawn
@given(pools(), st.booleans(), seeds)
def test_max_pool(pool, ties, rng):
    size, kernel, options = pool
    x = rng.integers(0, 2, (2, 2, *size)) + (0.0 if ties else rng.normal(size=(2, 2, *size)))
    torch_pool = theirs("max_pool", len(size))
    compare(lambda x: F.max_pool(x, kernel, **options), lambda x: torch_pool(x, kernel, **options), [x], rng)
    _, indices = F.max_pool(x, kernel, **options, return_indices=True)
    _, expected = torch_pool(torch.tensor(x), kernel, **options, return_indices=True)
    np.testing.assert_array_equal(indices.data, expected.numpy())


@drawn
@given(pools(dilations=(1,)), st.booleans(), seeds)
def test_avg_pool(pool, count_include_pad, rng):
    size, kernel, options = pool
    assume(len(size) < 3 or all(n >= k for n, k in zip(size, kernel)))  # torch's avg_pool3d refuses these
    options["count_include_pad"] = count_include_pad
    torch_pool = theirs("avg_pool", len(size))
    x = rng.normal(size=(2, 2, *size))
    compare(lambda x: F.avg_pool(x, kernel, **options), lambda x: torch_pool(x, kernel, **options), [x], rng)


@drawn
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3), st.data(), seeds)
def test_max_unpool(axes, data, rng):
    output, kernel = zip(*axes)
    size = tuple((o - 1) * k + k + data.draw(st.integers(0, k - 1)) for o, k in axes)
    x = rng.normal(size=(2, 2, *size))
    y, indices = F.max_pool(x, kernel, return_indices=True)
    assert y.shape == (2, 2, *output)
    for output_size in (size, (2, 2, *size)):
        compare(
            lambda y, output_size=output_size: F.max_unpool(y, indices, kernel, output_size=output_size),
            lambda y: theirs("max_unpool", len(size))(y, torch.tensor(indices.data), kernel, output_size=size),
            [y.data],
            rng,
        )


@drawn
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7) | st.none()), min_size=1, max_size=3), seeds)
def test_adaptive_avg_pool(axes, rng):
    size, output = zip(*axes)
    x = rng.normal(size=(2, 2, *size))
    torch_output = tuple(n if out is None else out for n, out in axes)
    torch_pool = theirs("adaptive_avg_pool", len(size))
    compare(lambda x: F.adaptive_avg_pool(x, output), lambda x: torch_pool(x, torch_output), [x], rng)


@drawn
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=3), st.booleans(), seeds)
def test_adaptive_max_pool(axes, ties, rng):
    size, output = zip(*axes)
    x = rng.integers(0, 2, (2, 2, *size)) + (0.0 if ties else rng.normal(size=(2, 2, *size)))
    torch_pool = theirs("adaptive_max_pool", len(size))
    compare(lambda x: F.adaptive_max_pool(x, output), lambda x: torch_pool(x, output), [x], rng)
    _, indices = F.adaptive_max_pool(x, output, return_indices=True)
    np.testing.assert_array_equal(indices.data, torch_pool(torch.tensor(x), output, return_indices=True)[1].numpy())


def test_divisor_override():
    options = {"stride": 2, "padding": 1, "ceil_mode": True, "divisor_override": 3}
    x, rng = np.random.default_rng(0).normal(size=(2, 2, 6, 5)), np.random.default_rng(1)
    torch_pool = torch.nn.functional.avg_pool2d
    compare(lambda x: F.avg_pool(x, 3, **options), lambda x: torch_pool(x, 3, **options), [x], rng)


def test_a_window_larger_than_the_input_in_ceil_mode():
    x = np.arange(4.0).reshape(1, 1, 2, 2)
    options = {"stride": 2, "ceil_mode": True}
    agree(F.max_pool(x, 3, **options), torch.nn.functional.max_pool2d(torch.tensor(x), 3, **options))
    agree(F.avg_pool(x, 3, **options), torch.nn.functional.avg_pool2d(torch.tensor(x), 3, **options))
