"""Two outputs side by side as one: equal to the definition, and where they are taken."""

import numpy as np
import pytest

from minidl.kernels.cpu import convolution, layout, pairs
from minidl.kernels.cpu.finish import Finish
from minidl.ops.conv import conv_p, conv_transpose_p, conv_weight
from minidl.ops.window import Window

WINDOWS = [
    Window.of((5, 6), 3, padding=1),
    Window.of((6, 7), (3, 4), padding=[(0, 0), (2, 0)], stride=(2, 1), dilation=(2, 1)),
    Window.of((4, 3, 8), (2, 3, 1), padding=(1, 1, 0)),
]


@pytest.mark.parametrize("window", WINDOWS)
def test_they_equal_the_definition(window):
    assert pairs.pay(9, 8, window, 1)
    rng = np.random.default_rng(0)
    x, w, u = (rng.normal(size=s) for s in ((2, 9, *window.size), (8, 9, *window.kernel), (2, 8, *window.output)))
    for lay in (layout.laid_out, np.ascontiguousarray):
        y, gw = pairs.gather(lay(x), w, window), pairs.correlate(x, lay(u), window)
        assert layout.is_channels_last(y)
        assert np.allclose(y, conv_p.forward(np, x, w, window=window, groups=1), rtol=0, atol=1e-12)
        assert np.allclose(gw, conv_weight.forward(np, x, u, window=window, groups=1), rtol=0, atol=1e-12)
    bias, residual = rng.normal(size=8), u
    finished = pairs.gather(x, w, window, Finish(bias, residual, relu=True))
    assert np.allclose(finished, np.maximum(y + bias.reshape(8, *[1] * window.rank) + u, 0), rtol=0, atol=1e-12)


def test_the_input_gradient_takes_them_where_few_channels_went_in():
    window = Window.of((5, 6), 3, padding=1)
    rng = np.random.default_rng(0)
    u, w = rng.normal(size=(30, 16, 5, 6)), rng.normal(size=(16, 8, 3, 3))
    expected = conv_transpose_p.forward(np, u, w, window=window, groups=1)
    assert np.allclose(convolution.transpose(u, w, window=window, groups=1), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e30])
def test_what_an_output_does_not_see_it_does_not_feel(value):
    window = Window.of((5, 6), 3, padding=1)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 8, 5, 6)).astype(np.float32), rng.normal(size=(8, 8, 3, 3)).astype(np.float32)
    before = pairs.gather(x, w, window)
    x[0, 3, 2, 0] = value
    after = pairs.gather(x, w, window)
    assert np.allclose(after[..., 2:], before[..., 2:], rtol=0, atol=1e-4)


def test_where_they_are_not_taken():
    def pay(inputs=8, outputs=8, size=(6, 6), kernel=3, groups=1, **options):
        return pairs.pay(inputs, outputs, Window.of(size, kernel, **options), groups)

    assert pay()
    assert not any([pay(outputs=16), pay(outputs=4), pay(inputs=4), pay(groups=2), pay(size=(6, 7)), pay(stride=2)])
    assert not any([pay(dilation=2), pay(size=(8,))])


def test_an_empty_batch():
    window, w = Window.of((5, 6), 3, padding=1), np.ones((8, 9, 3, 3))
    x, u = np.ones((0, 9, 5, 6)), np.ones((0, 8, 5, 6))
    assert pairs.gather(x, w, window).shape == u.shape
    assert np.array_equal(pairs.correlate(x, u, window), np.zeros(w.shape))
