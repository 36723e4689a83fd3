"""Convolution by columns and one product of matrices, against the definition on NumPy; a network on the stand-in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.kernels.gpu import convolution as kernel
from minidl.ops.conv import conv_p, conv_transpose_p, conv_weight
from minidl.ops.window import Window

from .windows import WINDOWS, batches, drawn, dtypes, each_window, layouts, on, seeds

FORM = ((kernel.convolve, conv_p), (kernel.transpose, conv_transpose_p), (kernel.correlate, conv_weight))


def operands(window, n, c, f, groups, dtype, rng):
    """x, w and u of the form, such that groups see c and f channels each."""
    shapes = (n, c * groups, *window.size), (f * groups, c, *window.kernel), (n, f * groups, *window.output)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def require_form(gpu, window, groups, x, w, u, layout):
    """Each derivative of the form, to within n eps times the sum of the absolute values of its n products."""
    for (function, definition), pair in zip(FORM, ((x, w), (u, w), (x, u))):
        y = function(*(on(gpu, a, layout) for a in pair), window=window, groups=groups)
        exact, size = (
            definition.forward(np, *(f(a.astype("float64")) for a in pair), window=window, groups=groups)
            for f in (np.positive, np.abs)
        )
        assert y.dtype == x.dtype and y.shape == exact.shape
        products = max(w[0].size, len(w) * window.taps, u[:, 0].size) + 2
        assert (np.abs(y.get() - exact) <= products * np.finfo(x.dtype).eps * size).all()


@each_window
@drawn
@given(
    n=batches, c=st.integers(1, 4), f=st.integers(1, 4), groups=st.integers(1, 2), dtype=dtypes, layout=layouts,
    rng=seeds,
)  # fmt: skip
def test_the_form_is_that_of_the_definition(gpu, window, n, c, f, groups, dtype, layout, rng):
    require_form(gpu, window, groups, *operands(window, n, c, f, groups, dtype, rng), layout)


@pytest.mark.parametrize("c, f", [(1, 3), (3, 1), (2, 2)])
@pytest.mark.parametrize("name", ["2-D", "2-D asymmetric", "2-D pointwise"])
def test_a_batch_in_portions_is_the_whole_batch(gpu, monkeypatch, name, c, f):
    window = WINDOWS[name]
    x, w, u = operands(window, 5, c, f, 1, "float64", np.random.default_rng(0))
    monkeypatch.setattr(kernel, "COLUMNS", 2 * 8 * window.taps * window.positions)  # two samples of one channel
    require_form(gpu, window, 1, x, w, u, "channels outermost")


@pytest.mark.parametrize("budget, portions", [(8 * 9 * 30 * 4, [2, 2, 1]), (1, [1] * 5), (2**40, [5])])
def test_portions_keep_to_the_budget(monkeypatch, budget, portions):
    """Columns of 2 channels, 9 taps and 30 positions in float64, two samples of which take the first budget."""
    monkeypatch.setattr(kernel, "COLUMNS", budget)
    found = kernel._portions(5, 2, Window.of((5, 6), 3, padding=1), 8)
    assert [len(range(5)[s]) for s in found] == portions
    assert [i for s in found for i in range(5)[s]] == list(range(5))


def columns_made(gpu, monkeypatch, function, *arrays, window):
    """How many columns a function makes of any of its arguments."""
    made = []

    def counted(name):
        original = getattr(kernel, name)

        def wrapper(a, *, window):
            y = original(a, window=window)
            made.append(max(a.size, y.size))
            return y

        monkeypatch.setattr(kernel, name, wrapper)

    counted("im2col"), counted("col2im")
    function(*(on(gpu, a) for a in arrays), window=window, groups=1)
    return sum(made)


@pytest.mark.parametrize("c, f", [(1, 6), (6, 1)])
@pytest.mark.parametrize("which", range(3))
def test_columns_are_made_of_the_side_with_fewer_channels(gpu, monkeypatch, which, c, f):
    window = Window.of((5, 6), 3, padding=1)
    x, w, u = operands(window, 2, c, f, 1, "float64", np.random.default_rng(0))
    pair = ((x, w), (u, w), (x, u))[which]
    assert columns_made(gpu, monkeypatch, FORM[which][0], *pair, window=window) == 9 * 2 * 30


@pytest.mark.parametrize("which", range(3))
def test_one_tap_on_every_cell_needs_no_columns(gpu, monkeypatch, which):
    window = WINDOWS["2-D pointwise"]
    x, w, u = operands(window, 2, 3, 2, 1, "float64", np.random.default_rng(0))
    pair = ((x, w), (u, w), (x, u))[which]
    assert columns_made(gpu, monkeypatch, FORM[which][0], *pair, window=window) == 0


def test_channels_come_out_outermost(gpu):
    """So the next convolution reads its input as one matrix without copying it."""
    for window in (WINDOWS["2-D"], WINDOWS["2-D asymmetric"], WINDOWS["2-D pointwise"]):
        x, w, u = (on(gpu, a) for a in operands(window, 3, 2, 2, 1, "float32", np.random.default_rng(0)))
        for y in (
            kernel.convolve(x, w, window=window, groups=1),
            kernel.transpose(u, w, window=window, groups=1),
        ):
            assert y.swapaxes(0, 1).flags.c_contiguous


@pytest.mark.parametrize("n, c, f", [(0, 2, 2), (2, 0, 2), (2, 2, 0)])
def test_nothing_takes_the_definition(gpu, n, c, f):
    window = WINDOWS["2-D"]
    x, w, u = operands(window, n, c, f, 1, "float64", np.random.default_rng(0))
    for (_, definition), pair in zip(FORM, ((x, w), (u, w), (x, u))):
        y = definition.run(gpu, [on(gpu, a) for a in pair], {"window": window, "groups": 1})
        np.testing.assert_array_equal(y.get(), definition.forward(np, *pair, window=window, groups=1))


@pytest.mark.parametrize("dtypes", [("complex128", "complex128"), ("float32", "float64"), ("float16", "float16")])
def test_other_dtypes_take_the_definition(gpu, dtypes):
    window = WINDOWS["2-D"]
    x, w, _ = operands(window, 1, 2, 2, 1, "float64", np.random.default_rng(0))
    x, w = x.astype(dtypes[0]), w.astype(dtypes[1])
    assert kernel.convolve(on(gpu, x), on(gpu, w), window=window, groups=1) is NotImplemented


# --- a network


def network(x, *weights):
    """Convolutions of every kind, and every pool."""
    first, dilated, grouped, up, pointwise, head = weights
    y = F.tanh(F.conv(x, first, stride=2, padding=[(1, 0), (0, 1)]))
    y = F.tanh(F.conv(y, dilated, dilation=2, padding=2))
    y = F.max_pool(F.conv(y, grouped, groups=2, padding=1), 3, stride=2, padding=1)
    y = F.conv_transpose(F.tanh(y), up, stride=2, padding=1, output_padding=1)
    y = F.avg_pool(F.conv(y, pointwise), 2, stride=1, padding=1)
    y = F.fold(F.unfold(y, 2, stride=2), (5, 7), 2, stride=2) + F.conv(y, head, padding="same")
    return (F.tanh(y) ** 2).sum()


SHAPES = ((4, 3, 3, 3), (4, 4, 3, 3), (6, 2, 3, 3), (6, 4, 3, 3), (2, 4, 1, 1), (1, 2, 3, 3))


def gradients(arrays, device):
    tensors = [md.Tensor(a, requires_grad=True).to(device) for a in arrays]
    value, pull = md.vjp(network, *tensors)
    return [t.data if device == "cpu" else t.data.get() for t in (value, *pull(md.Tensor(1.0).to(device)))]


def test_a_network_and_its_gradients_are_those_of_the_cpu(gpu):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(2, 3, 9, 10)), *(rng.normal(size=shape) / 2 for shape in SHAPES)]
    for on_cpu, on_gpu in zip(gradients(arrays, "cpu"), gradients(arrays, "gpu"), strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=0, atol=1e-10 * np.abs(on_cpu).max())
