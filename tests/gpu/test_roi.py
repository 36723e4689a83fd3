"""Regions of interest on the GPU against the path of NumPy, and planted faults that must be seen."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.kernels.gpu import source

SETTINGS = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
COORDINATES = st.one_of(st.floats(-12, 30, width=32), st.integers(-20, 50).map(lambda n: n / 2))
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
OPTIONS = ({"sampling_ratio": 2}, {}, {"aligned": False, "spatial_scale": 0.5}, {"sampling_ratio": 1})


def both(gpu, function, x, boxes, *args, **options):
    """The value and the gradient of x, by NumPy and on the device."""
    found = []
    for arrays in (np.asarray, gpu.asarray):
        leaf = md.Tensor(arrays(x), requires_grad=True)
        y = function(leaf, arrays(boxes), *args, **options)
        g = np.random.default_rng(1).normal(size=y.shape).astype(x.dtype)
        y.backward(arrays(g))
        assert y.device == leaf.grad.device == ("cpu" if arrays is np.asarray else "gpu")
        assert y.dtype == leaf.grad.dtype == x.dtype
        found.append((y.numpy(), leaf.grad.numpy()))
    return found


def assert_alike(gpu, function, x, boxes, *args, **options):
    (y, gx), (y_gpu, gx_gpu) = both(gpu, function, x, boxes, *args, **options)
    close = {"rtol": 0, "atol": TOLERANCE[x.dtype.name]}
    np.testing.assert_allclose(y_gpu, y, **{**close, "atol": close["atol"] * (abs(x).max(initial=0) + 1)})
    np.testing.assert_allclose(gx_gpu, gx, **{**close, "atol": close["atol"] * (abs(gx).max(initial=0) + 1)})


def boxes_of(count, images, seed=0):
    """Boxes of a map of about 9 x 8 cells, inside, across its border, outside; one has a sample at a height of 6."""
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(-4, 9, (count, 2)), rng.uniform(0.1, 8, (count, 2))
    boxes = np.concatenate([rng.integers(0, images, (count, 1)), corner, corner + side], axis=1)
    boxes[:1] = 0, 2.5, 3.5, 4.5, 7.5
    return boxes


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 1), *[COORDINATES] * 4), max_size=4), st.sampled_from(OPTIONS))
def test_any_boxes(gpu, boxes, options):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    boxes = np.array(boxes, float).reshape(-1, 5)
    assert_alike(gpu, F.roi_align, x, boxes, (2, 3), **options)
    assert_alike(gpu, F.roi_pool, x, boxes, (2, 3), spatial_scale=options.get("spatial_scale", 1.0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS)
def test_roi_align(gpu, dtype, options):
    x = np.random.default_rng(0).normal(size=(3, 2, 9, 8)).astype(dtype)
    assert_alike(gpu, F.roi_align, x, boxes_of(14, 3), 4, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_roi_pool(gpu, dtype):
    x = np.random.default_rng(0).integers(0, 9, (3, 2, 9, 8)).astype(dtype)  # many alike
    assert_alike(gpu, F.roi_pool, x, boxes_of(14, 3), (4, 3))
    x[0, 0, 4:] = np.nan
    y = [F.roi_pool(arrays(x), arrays(boxes_of(14, 3)), 3).numpy() for arrays in (np.asarray, gpu.asarray)]
    np.testing.assert_array_equal(*y)


@pytest.mark.parametrize("function", [F.roi_align, F.roi_pool])
def test_layouts_empty_batches_and_second_order(gpu, function):
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 5))
    boxes = boxes_of(5, 2)
    y = function(x, boxes, 2).data
    for axes in ((0, 2, 3, 1), (1, 0, 3, 2)):
        across = gpu.asarray(x.transpose(axes).copy()).transpose(np.argsort(axes).tolist())
        np.testing.assert_allclose(function(across, gpu.asarray(boxes), 2).numpy(), y, atol=1e-13)
    assert function(gpu.asarray(x), gpu.asarray(boxes[:0]), 2).shape == (0, 3, 2, 2)
    assert_alike(gpu, function, x, boxes[:0], 2)
    seconds = []
    for arrays in (np.asarray, gpu.asarray):
        leaf = md.Tensor(arrays(x), requires_grad=True)
        (gx,) = md.grad((function(leaf, arrays(boxes), 2) ** 3).sum(), [leaf], create_graph=True)
        seconds.append(md.grad((gx * gx).sum(), [leaf])[0].numpy())
    np.testing.assert_allclose(*seconds, rtol=1e-10, atol=1e-10)


def test_the_definitions_run_there_too(gpu):
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 5))
    with md.definitions():
        assert_alike(gpu, F.roi_align, x, boxes_of(5, 2), 2)
        assert_alike(gpu, F.roi_pool, x, boxes_of(5, 2), 2)


def test_the_same_bits_in_each_run(gpu):
    x = gpu.asarray(np.random.default_rng(0).normal(size=(1, 2, 9, 8)).astype("f"))
    boxes = gpu.asarray(boxes_of(30, 1))
    for function in (F.roi_align, F.roi_pool):
        runs = []
        for _ in range(2):
            leaf = md.Tensor(x, requires_grad=True)
            (function(leaf, boxes, 3) ** 2).sum().backward()
            runs.append(leaf.grad.numpy().tobytes())
        assert runs[0] == runs[1]


def test_boxes_of_the_host_go_to_the_device(gpu):
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 5))
    y = F.roi_align(gpu.asarray(x), boxes_of(3, 2).tolist(), 2)
    np.testing.assert_allclose(y.numpy(), F.roi_align(x, boxes_of(3, 2), 2).data, atol=1e-13)
    with pytest.raises(ValueError, match=r"box 0 is .*the number of an image"):
        F.roi_align(gpu.asarray(x), [[2, 0, 0, 1, 1]], 2)


FAULTS = {
    "samples outside count": ("if (position < -1 || position > cells) continue;", ""),
    "low border left out": ("position < 0 ? 0 : position > cells - 1", "position > cells - 1"),
    "high border left out": (": position > cells - 1 ? cells - 1 : position", ": position"),
    "range one cell short": ("end = high >= end ? high + 1 : end", "end = high >= end ? high : end"),
    "range one cell short backward": ("i >= rows[2 * p + 1]) continue", "i >= rows[2 * p + 1] - 1) continue"),
    "boxes of all images": ("if (images[r] != n) continue;", ""),
    "last box left out": ("r = 0; r < boxes; ++r", "r = 0; r < boxes - 1; ++r"),
    "a thread too many": ("if (r >= boxes) return;", "if (r > boxes) return;"),
    "last among equals": ("!(value <= largest)", "!(value < largest)"),
    "cell of another bin": ("p * Q + q] == cell", "p * Q + q] >= cell"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(stand_in, fault, monkeypatch):
    right, wrong = FAULTS[fault]
    read = source._read
    assert right in read("roi")
    monkeypatch.setattr(source, "_read", lambda *file: read(*file).replace(right, wrong))
    source._compiled.cache_clear(), source._module.cache_clear()
    x = np.random.default_rng(0).integers(0, 4, (2, 2, 6, 5)).astype(float)
    try:
        with pytest.raises((AssertionError, RuntimeError)):
            for options in OPTIONS:
                assert_alike(stand_in, F.roi_align, x, boxes_of(9, 2), 2, **options)
            assert_alike(stand_in, F.roi_pool, x, boxes_of(9, 2), 2)
    finally:
        source._compiled.cache_clear(), source._module.cache_clear()
