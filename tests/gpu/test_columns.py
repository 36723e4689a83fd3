"""im2col and col2im as CUDA kernels, against their definitions on NumPy; faults that these tests must see."""

import numpy as np
import pytest
from hypothesis import given

from minidl.kernels.gpu import columns as kernel
from minidl.kernels.gpu import source
from minidl.kernels.gpu import window as windowed
from minidl.ops.window import Window, fold_p, unfold_p

from .planted import is_caught
from .windows import WINDOWS, batches, channels, drawn, dtypes, each_window, layouts, on, seeds


def require_columns(gpu, window, n, c, dtype, layout, rng):
    """Bit by bit: nothing is added up in im2col, and col2im adds up in the order of its definition."""
    x = rng.normal(size=(n, c, *window.size)).astype(dtype)
    y = kernel.im2col(on(gpu, x, layout), window=window)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.get(), unfold_p.forward(np, x, window=window))

    y = rng.normal(size=(n, c * window.taps, window.positions)).astype(dtype)
    x = kernel.col2im(on(gpu, y, layout), window=window)
    assert x.dtype == dtype
    np.testing.assert_array_equal(x.get(), fold_p.forward(np, y, window=window))


@each_window
@drawn
@given(n=batches, c=channels, dtype=dtypes, layout=layouts, rng=seeds)
def test_columns_are_those_of_the_definition(gpu, window, n, c, dtype, layout, rng):
    require_columns(gpu, window, n, c, dtype, layout, rng)


@each_window
@drawn
@given(n=batches, c=channels, dtype=dtypes, rng=seeds)
def test_one_is_the_adjoint_of_the_other(gpu, window, n, c, dtype, rng):
    """<im2col(x), y> = <x, col2im(y)>, exactly: small integers."""
    x = rng.integers(-9, 10, (n, c, *window.size)).astype(dtype)
    y = rng.integers(-9, 10, (n, c * window.taps, window.positions)).astype(dtype)
    forth = kernel.im2col(on(gpu, x), window=window).get()
    back = kernel.col2im(on(gpu, y), window=window).get()
    assert (forth * y).sum() == (x * back).sum()


def test_columns_lie_in_memory_as_one_matrix(gpu):
    window = WINDOWS["2-D asymmetric"]
    x = on(gpu, np.zeros((3, 2, *window.size)))
    columns = source.as_matrix(kernel.im2col(x, window=window))
    assert columns.shape == (2 * window.taps, 3 * window.positions)
    assert columns.flags.c_contiguous


def test_a_thread_goes_on_with_channels_beyond_the_grid(gpu, monkeypatch):
    monkeypatch.setattr(windowed, "ROWS", 2)
    require_columns(gpu, WINDOWS["2-D"], 2, 5, "float32", "C order", np.random.default_rng(0))


@pytest.mark.parametrize("shape", [(0, 2), (2, 0)])
def test_nothing_gives_nothing(gpu, shape):
    window = WINDOWS["2-D asymmetric"]
    n, c = shape
    columns = kernel.im2col(on(gpu, np.zeros((n, c, *window.size))), window=window)
    assert columns.shape == (n, c * window.taps, window.positions)
    assert kernel.col2im(columns, window=window).shape == (n, c, *window.size)


@pytest.mark.parametrize("dtype", ["int64", "float16", "complex128"])
def test_other_dtypes_take_the_definition(gpu, dtype):
    window = WINDOWS["2-D asymmetric"]
    x = np.arange(2 * 35).reshape(1, 2, *window.size).astype(dtype)
    assert kernel.im2col(on(gpu, x), window=window) is NotImplemented
    y = unfold_p.run(gpu, [on(gpu, x)], {"window": window})
    np.testing.assert_array_equal(y.get(), unfold_p.forward(np, x, window=window))


def test_a_map_too_large_for_an_int_is_not_taken():
    x = np.zeros(1, "float32")
    assert windowed.takes(Window.of((2**16, 2**15 - 1), 1), x)
    assert not windowed.takes(Window.of((2**16, 2**15), 1), x)
    assert not windowed.takes(Window.of((2**16, 2**14), 1, padding=2**14), x)  # its output


FAULTS = {  # window in which it shows, file, text, what becomes of it
    "a cell beyond the input": ("1-D", "window.cuh", "i2 < SIZE[2]", "i2 <= SIZE[2]"),
    "a cell before the input": ("2-D", "window.cuh", "0 <= i2", "-1 <= i2"),
    "a row beyond the input": ("2-D", "window.cuh", "i1 < SIZE[1]", "i1 <= SIZE[1]"),
    "a position beyond the output": ("1-D", "window.cuh", "o2 < OUTPUT[2]", "o2 <= OUTPUT[2]"),
    "a plane beyond the output": ("3-D", "window.cuh", "o0 < OUTPUT[0]", "o0 <= OUTPUT[0]"),
    "no dilation": ("2-D asymmetric", "window.cuh", "DILATION[2] * ", ""),
    "no dilation back": ("2-D cropped", "window.cuh", "LOW[1] - DILATION[1] * ", "LOW[1] - "),
    "padding of the wrong sign": ("1-D", "window.cuh", "- LOW[2]", "+ LOW[2]"),
    "padding of the wrong sign, back": ("2-D", "window.cuh", "+ LOW[1]", "- LOW[1]"),
    "no stride": ("1-D cropped", "window.cuh", "STRIDE[2] * (o", "(o"),
    "no stride back": ("2-D asymmetric", "window.cuh", "o1 /= STRIDE[1]", "o1 /= 1"),
    "between two positions": ("2-D cropped", "window.cuh", "o2 % STRIDE[2] == 0", "true"),
    "one thread too many": ("1-D", "columns.cu", "n >= samples", "n > samples"),
    "one tap left out": ("1-D", "columns.cu", "int k = 0; k < TAPS", "int k = 1; k < TAPS"),
    "the first sample only": ("1-D", "columns.cu", "n * x_n + ", ""),
    "the first channel only": ("1-D", "columns.cu", "c * TAPS * columns_row", "0"),
    "not added up": ("1-D", "columns.cu", "sum +=", "sum ="),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_seen(fault):
    window, name, old, new = fault

    def check(gpu):
        require_columns(gpu, WINDOWS[window], 2, 2, "float64", "C order", np.random.default_rng(0))

    file, _, suffix = name.partition(".")
    assert is_caught(check, file, old, new, suffix=suffix)
