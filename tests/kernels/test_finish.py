"""A bias, a residual and a relu that a convolution does block by block: the bits of three passes afterwards."""

import numpy as np
import pytest

import minidl as md
from minidl.kernels.cpu.convolution import convolve
from minidl.kernels.cpu.finish import Finish
from minidl.kernels.cpu.layout import empty
from minidl.ops.window import Window

CASES = {  # channels in and out, groups, size, kernel, stride: each takes another way, or has blocks that end early
    "winograd": (16, 24, 1, (19, 21), 3, 1),
    "depthwise": (16, 16, 16, (12, 13), 3, 2),
    "shifted": (32, 4, 1, (14, 9), 3, 1),
    "im2col": (16, 24, 2, (23, 17), 3, 2),
    "pieces": (64, 256, 1, (7, 7), 1, 1),
    "few channels": (3, 5, 1, (16, 15), 3, 1),
    "volume": (8, 16, 1, (6, 7, 8), 3, 1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_finished_in_blocks_is_finished_afterwards(case, dtype):
    inputs, outputs, groups, size, kernel, stride = CASES[case]
    rng = np.random.default_rng(0)
    window = Window.of(size, (kernel,) * len(size), stride=stride, padding=kernel // 2, function="conv")

    def normal(*shape):
        x = empty(shape, dtype)
        x[...] = rng.standard_normal(shape)
        return x

    x, w = normal(3, inputs, *size), normal(outputs, inputs // groups, *window.kernel)
    bias, residual = rng.standard_normal(outputs).astype(dtype), normal(3, outputs, *window.output)
    plain = convolve(x, w, window=window, groups=groups)
    column = bias.reshape(-1, *[1] * len(size))
    for finish, expected in (
        (Finish(bias), plain + column),
        (Finish(None, residual), plain + residual),
        (Finish(bias, residual, relu=True), np.maximum(plain + column + residual, 0)),
    ):
        assert np.array_equal(convolve(x, w, window=window, groups=groups, finish=finish), expected)


def test_kernels_may_be_transformed_before():
    from minidl.kernels.cpu import winograd

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 16, 20, 20), "float32"), rng.standard_normal((24, 16, 3, 3), "float32")
    window = Window.of((20, 20), (3, 3), padding=1, function="conv")
    with md.algorithm("winograd"):
        expected = convolve(x, w, window=window, groups=1)
    assert np.array_equal(winograd.convolve(x, w, window, kernels=winograd.transformed(w)), expected)
