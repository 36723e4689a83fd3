"""Batch normalisation on the device beside the array functions on NumPy, in double precision."""

from __future__ import annotations

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.kernels.gpu import norm as kernels
from minidl.ops import norm

from . import planted

DTYPES = ("float32", "float64")
SHAPES = [(5, 3), (1, 3, 15), (40, 3, 3, 5), (2, 2, 3, 1, 5)]  # maps of 1 and of 15 entries
LAYOUTS = ("C order", "channels outermost", "Fortran order", "gaps", "broadcast")


def laid_out(x, how):
    """The same values, in another place in memory."""
    if how == "channels outermost":
        return np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
    if how == "Fortran order":
        return np.asfortranarray(x)
    if how == "gaps":
        return np.repeat(x, 2, axis=0)[::2]
    return np.broadcast_to(x[:1], x.shape) if how == "broadcast" else x.copy()


def moved(gpu, x, how):
    """`laid_out` on the device."""
    if x is None:
        return None
    x = gpu.asarray(x)
    if how == "channels outermost":
        return gpu.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
    if how == "Fortran order":
        return x.astype(x.dtype, order="F")
    if how == "gaps":
        return gpu.repeat(x, 2, axis=0)[::2]
    return gpu.broadcast_to(x[:1], x.shape) if how == "broadcast" else x


def case(shape, dtype, seed=0, offset=0.0, has=(True, True)):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * 2 + offset).astype(dtype)
    weight, bias = (rng.normal(size=shape[1]).astype(dtype) if h else None for h in has)
    return rng, x, weight, bias


def assert_close(actual, expected, dtype, scale=1.0):
    assert actual.dtype == dtype and actual.shape == expected.shape
    tolerance = 2e-6 if np.dtype(dtype) == np.float32 else 1e-13
    error = abs(actual.get() - expected).max()
    assert error <= tolerance * scale * max(1.0, abs(expected).max())


def wide(a):
    return None if a is None else a.astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_moments_are_those_of_numpy(gpu, monkeypatch, shape, how, dtype):
    monkeypatch.setattr(kernels, "ENTRIES", 1)  # several slices out of 600 entries
    x = case(shape, dtype, offset=3.0)[1]
    expected = norm.moments.forward(np, wide(laid_out(x, how)))
    found = norm.moments.gpu(moved(gpu, x, how))
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, "float64")


@pytest.mark.parametrize("dtype, offset, tolerance", [("float32", 1e4, 1e-12), ("float64", 1e9, 1e-6)])
def test_the_variance_does_not_cancel(gpu, dtype, offset, tolerance):
    x = case((40, 3, 3, 5), dtype, offset=offset)[1]
    mean, var = norm.moments.gpu(gpu.asarray(x))
    exact = x.astype(np.longdouble)
    np.testing.assert_allclose(var.get(), exact.var((0, 2, 3)).astype(float), rtol=tolerance)
    np.testing.assert_allclose(mean.get(), exact.mean((0, 2, 3)).astype(float), rtol=1e-15)


def assert_as_on_numpy(gpu, shape, dtype, how, how_g, training, relu, has=(True, True), offset=0.0, needed=(1, 1, 1)):
    """Forward and backward of one primitive, by its kernels and by its array functions in double precision."""
    rng, x, weight, bias = case(shape, dtype, offset=offset, has=has)
    g = rng.normal(size=shape).astype(dtype)
    p = norm.batch_norm_p if training else norm.batch_norm_eval
    mean, var = rng.normal(size=shape[1]) + offset, rng.uniform(0.3, 2, shape[1])
    given = {} if training else {"mean": mean, "var": var}
    there = {name: gpu.asarray(v) for name, v in given.items()}
    options = {"eps": 0.1, "relu": relu}
    needed = [bool(n) and v is not None for n, v in zip(needed, (x, weight, bias))]

    exact_x, exact_g = wide(laid_out(x, how)), wide(laid_out(g, how_g))
    others = wide(weight), wide(bias)
    expected = p.forward(np, exact_x, *others, **given, **options)
    gradients = p.reverse.forward(np, exact_g, expected, exact_x, *others, needed=needed, **given, **options)

    arrays = [moved(gpu, x, how), *(moved(gpu, v, "C order") for v in (weight, bias))]
    y = p.gpu(*arrays, **there, **options)
    assert_close(y, expected, dtype)
    found = p.reverse.gpu(moved(gpu, g, how_g), y, *arrays, needed=needed, **there, **options)
    size = np.sqrt(x.size / shape[1])  # a gradient of weight or bias adds up this many entries' worth
    for a, b, need, scale in zip(found, gradients, needed, (4, size, size), strict=True):
        assert (a is not None) == (b is not None) == need
        if need:
            assert_close(a, b, dtype, scale)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_are_the_array_functions(gpu, monkeypatch, shape, dtype, training, relu):
    monkeypatch.setattr(kernels, "ENTRIES", 1)
    for i, how in enumerate(LAYOUTS[:4]):
        assert_as_on_numpy(gpu, shape, dtype, how, LAYOUTS[(i + relu + 1) % 5], training, relu)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("has", [(True, False), (False, True), (False, False)])
def test_weight_and_bias_may_be_missing(gpu, has, training):
    assert_as_on_numpy(gpu, (40, 3, 3, 5), "float64", "C order", "C order", training, True, has)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("needed", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_gradients_that_are_not_needed_are_none(gpu, needed, training):
    for relu in (False, True):
        assert_as_on_numpy(gpu, (5, 3), "float64", "C order", "C order", training, relu, needed=needed)


@pytest.mark.parametrize("training", [True, False])
def test_single_precision_holds_with_a_large_mean(gpu, training):
    for relu in (False, True):
        assert_as_on_numpy(gpu, (40, 3, 3, 5), "float32", "C order", "broadcast", training, relu, offset=1e4)


def test_many_slices_and_more_entries_than_a_thread_takes_at_once(gpu, monkeypatch):
    monkeypatch.setattr(kernels, "SLICES", 3)
    monkeypatch.setattr(kernels, "ENTRIES", 1)
    x = case((130, 2, 15), "float64")[1]
    assert kernels.cut(x) == (1950, 3, 650)
    assert_as_on_numpy(gpu, (130, 2, 15), "float64", "C order", "C order", True, True)


@pytest.mark.parametrize("shape", [(3, 2, 15), (33, 64, 56, 56), (1, 1, 4096, 4096), (128, 1), (2, 3, 1)])
def test_slices_hold_each_entry_once(shape):
    count, slices, span = kernels.cut(np.broadcast_to(np.float32(0), shape))
    assert count == np.prod(shape) // shape[1] and 1 <= slices <= kernels.SLICES
    assert (slices - 1) * span < count <= slices * span


def test_other_arrays_are_left_to_the_array_functions(gpu):
    x = gpu.asarray(case((5, 3), "float64")[1])
    for refused in (x.astype("float16"), x[:0]):
        assert norm.moments.gpu(refused) is NotImplemented
        assert norm.batch_norm_p.gpu(refused, None, None, eps=0.1) is NotImplemented
    mixed = gpu.asarray(np.ones(3, "float32"))
    assert norm.batch_norm_p.gpu(x, mixed, None, eps=0.1) is NotImplemented


@pytest.mark.parametrize("relu", [False, True])
def test_a_layer_learns_as_on_the_cpu(gpu, relu):
    results = []
    for device in ("cpu", "gpu"):
        layer = nn.BatchNorm2d(3).to("float64").to(device)
        for step in range(3):
            rng = np.random.default_rng(step)
            x = md.tensor(rng.normal(size=(4, 3, 3, 5)) + step, requires_grad=True, device=device)
            y = layer(x, relu=relu)
            y.backward(md.tensor(rng.normal(size=y.shape), device=device))
        layer.eval()
        z = layer(x, relu=relu)
        results.append([y, z, x.grad, layer.weight.grad, layer.bias.grad, *layer.state_dict().values()])
    for a, b in zip(*results, strict=True):
        a, b = (v.numpy() if isinstance(v, md.Tensor) else v for v in (a, b))
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
def test_a_replaced_rule_of_relu_reaches_the_fused_one(gpu, rule):
    rng = np.random.default_rng(0)
    arrays = gpu.asarray(rng.normal(size=(4, 3, 15))), gpu.asarray(rng.normal(size=(4, 3, 15)))
    mean, var = gpu.zeros(3), gpu.ones(3)
    found = []
    for fused in (True, False):
        x = md.Tensor(arrays[0], requires_grad=True)
        y = F.batch_norm(x, mean, var, relu=fused)
        y = y if fused else F.relu(y)
        with md.relu_rule(rule):
            y.backward(arrays[1])
        found.append(x.grad.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-13)


# --- planted faults


def whole(gpu):
    """Several slices, every kernel, both modes: what the tests above ask, in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "ENTRIES", 1)
        for training in (True, False):
            assert_as_on_numpy(gpu, (40, 2, 15), "float64", "C order", "channels outermost", training, True)
        test_the_variance_does_not_cancel(gpu, "float64", 1e9, 1e-6)


FAULTS = {
    "barrier": ("__syncthreads();", ""),
    "last slice of the sum": ("t < slices ? partial[c", "t < slices - 1 ? partial[c"),
    "last slice of the weighted sum": ("t < slices ? partial[(gridDim.x", "t < slices - 1 ? partial[(gridDim.x"),
    "pivot": ("x[at(xs, i)] - pivot", "x[at(xs, i)] - 0"),
    "pivot of the mean": ("mean[c] = x[c * xc] + d", "mean[c] = d"),
    "last entry of a slice": ("(slice + 1) * span)", "(slice + 1) * span - 1)"),
    "one entry too many": ("i < count; i += step", "i <= count; i += step"),
    "half of the tree": ("half > 0", "half > 1"),
    "stride of the channel": ("{c * stride_c,", "{c * stride_n,"),
    "relu of the sums": ("if (relu && !(apply(f, value) > 0)) continue;", ""),
    "relu of the gradient": ("if (relu && !(apply(f, value) > 0)) share = 0;", ""),
    "relu": ("relu && value < 0", "false"),
    "mean of g": ("wide_shift = -k * sums[c] / count", "wide_shift = 0"),
}


def test_the_check_for_faults_passes_without_one():
    assert planted.passes(whole, "norm")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault):
    assert planted.is_caught(whole, "norm", *FAULTS[fault])


def test_all_barriers_are_among_the_faults():
    from minidl.kernels.gpu import source

    assert source._read("norm").count("__syncthreads();") == 1
