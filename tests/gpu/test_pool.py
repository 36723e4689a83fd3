"""The kernels of pooling, against their definitions on NumPy; faults that these tests must see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.kernels.gpu import pool as kernel
from minidl.ops import pool
from minidl.ops.window import Window

from .planted import is_caught
from .windows import WINDOWS, batches, channels, drawn, dtypes, each_window, layouts, on, seeds

levels = st.sampled_from([2, 100])  # how many values there are: with two, most windows have several largest entries


def entries(rng, shape, dtype, levels):
    """Whole numbers, in a map all below zero or all above, and here and there a NaN or an infinity."""
    x = rng.choice([-1, 1], shape[:2] + (1,) * len(shape[2:])) * rng.integers(1, 1 + levels, shape)
    return np.where(rng.random(shape) < 0.1, rng.choice([np.nan, np.inf, -np.inf], shape), x).astype(dtype)


def require_largest(gpu, window, n, c, dtype, layout, rng, levels):
    """Bit by bit, ties, NaN and infinities included; sums come in the order of the definition."""
    x = entries(rng, (n, c, *window.size), dtype, levels)
    y = pool.max_pool_p.forward(np, x, window=window)
    at = pool.window_argmax.forward(np, x, y, window=window)
    on_gpu = [on(gpu, a, layout) for a in (x, y)]

    largest = kernel.max_pool(on_gpu[0], window=window)
    assert largest.dtype == dtype
    np.testing.assert_array_equal(largest.get(), y)
    found = kernel.argmax(*on_gpu, window=window)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found.get(), at)

    where, where_on_gpu = [dict(zip(("among", "largest"), pair), window=window) for pair in ((x, y), on_gpu)]
    g = rng.normal(size=y.shape).astype(dtype)
    back = kernel.to_largest(on(gpu, g, layout), **where_on_gpu)
    np.testing.assert_array_equal(back.get(), pool.to_largest.forward(np, g, **where))
    g = rng.normal(size=x.shape).astype(dtype)
    forth = kernel.from_largest(on(gpu, g, layout), **where_on_gpu)
    np.testing.assert_array_equal(forth.get(), pool.from_largest.forward(np, g, **where))
    assert back.dtype == forth.dtype == dtype


def require_sums(gpu, window, n, c, dtype, layout, rng):
    for function, definition, size in (
        (kernel.window_sum, pool.window_sum, window.size),
        (kernel.window_spread, pool.window_spread, window.output),
    ):
        x = rng.normal(size=(n, c, *size))
        y = function(on(gpu, x.astype(dtype), layout), window=window)
        assert y.dtype == dtype
        error = np.abs(y.get() - definition.forward(np, x.astype(dtype).astype("float64"), window=window))
        bound = window.taps * np.finfo(dtype).eps * definition.forward(np, np.abs(x), window=window)
        assert (error <= bound).all()


@each_window
@drawn
@given(n=batches, c=channels, dtype=dtypes, layout=layouts, rng=seeds, levels=levels)
def test_the_largest_are_those_of_the_definition(gpu, window, n, c, dtype, layout, rng, levels):
    require_largest(gpu, window, n, c, dtype, layout, rng, levels)


@each_window
@drawn
@given(n=batches, c=channels, dtype=dtypes, layout=layouts, rng=seeds)
def test_sums_are_those_of_the_definition(gpu, window, n, c, dtype, layout, rng):
    require_sums(gpu, window, n, c, dtype, layout, rng)


def test_without_a_cell_the_largest_is_minus_infinity(gpu):
    window = Window.of((3,), 2, padding=3)
    assert window.empty_positions()
    x = np.ones((1, 1, *window.size))
    y = kernel.max_pool(on(gpu, x), window=window).get()
    np.testing.assert_array_equal(y, pool.max_pool_p.forward(np, x, window=window))
    assert np.isneginf(y).any()


def test_long_rows_of_equal_entries_are_added_up_well(gpu):
    """Of 90 x 100 entries 0.1 in float32: one after the other, the error would be 8e-5 of the sum."""
    window = Window.of((90, 100), (90, 100))
    y = kernel.window_sum(on(gpu, np.full((1, 1, 90, 100), 0.1, "float32")), window=window)
    assert abs(y.get().item() / 900 - 1) < 3e-6


@pytest.mark.parametrize("shape", [(0, 2), (2, 0)])
def test_nothing_gives_nothing(gpu, shape):
    window = WINDOWS["2-D asymmetric"]
    x, y = (on(gpu, np.zeros((*shape, *size))) for size in (window.size, window.output))
    where = {"among": x, "largest": y, "window": window}
    assert kernel.max_pool(x, window=window).shape == kernel.from_largest(x, **where).shape == y.shape
    assert kernel.to_largest(y, **where).shape == kernel.window_spread(y, window=window).shape == x.shape


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool"])
def test_other_dtypes_take_the_definition(gpu, dtype):
    window = WINDOWS["2-D asymmetric"]
    x = np.arange(2 * 35).reshape(1, 2, *window.size).astype(dtype)
    assert kernel.max_pool(on(gpu, x), window=window) is NotImplemented
    y = pool.max_pool_p.run(gpu, [on(gpu, x)], {"window": window})
    np.testing.assert_array_equal(y.get(), pool.max_pool_p.forward(np, x, window=window))


FAULTS = {  # window in which it shows, file, text, what becomes of it
    "the last among equals": ("2-D", "pool.cu", "int k = 0; k < TAPS; ++k", "int k = TAPS - 1; k >= 0; --k"),
    "all among equals": ("2-D", "pool.cu", "return false;", "return true;"),
    "an equal one before is not seen": ("2-D", "pool.cu", "while (--k >= 0)", "while (--k > 0)"),
    "ties belong to nobody": ("2-D", "pool.cu", "!misses(mine, largest[o])", "mine > largest[o]"),
    "a NaN has no position": ("2-D", "pool.cu", " && x == x", ""),
    "in the order of the taps": ("2-D", "pool.cu", "int k = TAPS - 1; k >= 0; --k", "int k = 0; k < TAPS; ++k"),
    "NaN loses": ("2-D", "pool.cu", " || map[i] != map[i]", ""),
    "padding counts as zero": ("2-D", "pool.cu", "T largest = lowest", "T largest = 0"),
    "a position beyond the output": ("2-D", "window.cuh", "o2 < OUTPUT[2]", "o2 <= OUTPUT[2]"),
    "a cell beyond the input": ("2-D", "window.cuh", "i1 < SIZE[1]", "i1 <= SIZE[1]"),
    "no dilation": ("2-D cropped", "window.cuh", "DILATION[1] * ", ""),
    "padding of the wrong sign": ("2-D", "window.cuh", "- LOW[2]", "+ LOW[2]"),
    "between two positions": ("2-D asymmetric", "window.cuh", "o1 % STRIDE[1] == 0", "true"),
    "half a row": ("2-D", "pool.cu", "k < first + KERNEL[2]", "k < first + KERNEL[2] - 1"),
    "one thread too many": ("2-D", "pool.cu", "n >= samples", "n > samples"),
    "the first channel only": ("2-D", "pool.cu", "c * y_c", "0"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_seen(fault):
    window, name, old, new = fault

    def check(gpu):
        rng = np.random.default_rng(0)
        require_largest(gpu, WINDOWS[window], 4, 3, "float64", "C order", rng, 2)
        require_sums(gpu, WINDOWS[window], 4, 3, "float64", "C order", rng)

    file, _, suffix = name.partition(".")
    assert is_caught(check, file, old, new, suffix=suffix)
