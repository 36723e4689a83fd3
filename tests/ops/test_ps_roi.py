"""Position-sensitive regions of interest against loops over bins, samples and cells (Dai et al. 2016, equation 1)."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.check.samples import roi as oracle
from minidl.onnx.save.file import as_model
from minidl.ops.roi import Regions

from ..onnx.written import by_reference
from .test_roi import problems

BOXES = [  # inside, across borders, outside, without a side, back to front, up to the last row and column
    [1, 0.2, -1.4, 5.3, 3.9], [0, 2.2, 1.1, 2.4, 6.8], [1, 20, 20, 25, 30], [0, 2, 3, 2, 5], [0, 3, 3, 3, 3],
    [1, 4, 5, 1, 2], [0, 1, 0, 6, 5],
]  # fmt: skip
FUNCTIONS = [F.ps_roi_align, F.ps_roi_pool]
SETTINGS = settings(deadline=None, max_examples=20)
rng = np.random.default_rng(0)


def widened(x, output):
    """Channels for each bin: (N, C, H, W) -> (N, C * P * Q, H, W), all different."""
    n, c, h, w = x.shape
    return np.random.default_rng(1).normal(size=(n, c * math.prod(output), h, w)).astype(x.dtype)


def sampled(x, boxes, output, scale, ratio):
    """The entries of roi_align whose channel is the bin's own."""
    p, q = output
    y = oracle.align(x, regions=Regions(np.asarray(boxes, float), output, scale, ratio, True))
    y = y.reshape(len(y), y.shape[1] // (p * q), p * q, p * q)[:, :, np.arange(p * q), np.arange(p * q)]
    return y.reshape(*y.shape[:2], p, q)


def averaged(x, boxes, output, scale):
    """The mean over the whole cells of each bin, cell by cell."""
    number, (p, q), (h, w) = x.dtype.type, output, x.shape[2:]
    y = np.zeros((len(boxes), x.shape[1] // (p * q), p, q))

    def rounded(v):
        v = number(v) * number(scale)
        return int(math.copysign(math.floor(abs(v) + number(0.5)), v))

    for r, (image, *corners) in enumerate(boxes):
        x1, y1, x2, y2 = map(rounded, corners)
        bin_h, bin_w = number(max(y2 - y1, 1)) / number(p), number(max(x2 - x1, 1)) / number(q)
        for c, i, j in np.ndindex(*y.shape[1:]):
            rows = range(y1 + math.floor(number(i) * bin_h), y1 + math.ceil(number(i + 1) * bin_h))
            columns = range(x1 + math.floor(number(j) * bin_w), x1 + math.ceil(number(j + 1) * bin_w))
            inside = [(a, b) for a in rows for b in columns if 0 <= a < h and 0 <= b < w]
            y[r, c, i, j] = np.mean([x[int(image), (c * p + i) * q + j, a, b] for a, b in inside] or [0])
    return y


@SETTINGS
@given(problems(), st.sampled_from([-1, 0, 1, 2]))
def test_ps_roi_align_is_roi_align_in_the_channels_of_each_bin(problem, ratio):
    x, boxes, output, scale = problem
    x = widened(x, output)
    for mode in (md.definitions, nullcontext):
        with mode():
            y = F.ps_roi_align(x, boxes, output, scale, ratio)
        np.testing.assert_allclose(y.data, sampled(x, boxes, output, scale, ratio), rtol=1e-11, atol=1e-12)


@SETTINGS
@given(problems(), st.sampled_from([np.float32, np.float64]))
def test_ps_roi_pool_is_the_mean_of_whole_cells(problem, dtype):
    x, boxes, output, scale = problem
    x = widened(x, output).astype(dtype)
    y = F.ps_roi_pool(x, boxes, output, scale)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.data, averaged(x, boxes, output, scale), rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_edges():
    x = rng.normal(size=(2, 12, 5, 6))
    np.testing.assert_allclose(F.ps_roi_align(x, BOXES, (2, 3)).data, sampled(x, BOXES, (2, 3), 1.0, -1), atol=1e-12)
    pooled = F.ps_roi_pool(x, BOXES, (2, 3)).data
    np.testing.assert_allclose(pooled, averaged(x, BOXES, (2, 3), 1.0), atol=1e-12)
    assert not pooled[2].any() and not F.ps_roi_align(x, BOXES, (2, 3)).data[[2, 4]].any()  # outside; no side
    np.testing.assert_allclose(pooled[6, :, 1, 2], x[0, 5::6, 2:, 4:].mean(axis=(1, 2)))  # the last cells count


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_of_first_and_second_order(function):
    x = rng.normal(size=(1, 4, 3, 3))
    boxes = [[0, -0.8, 0.3, 1.9, 2.6], [0, 1.2, 1.1, 4.0, 3.0]]
    report = md.gradcheck(lambda x: function(x, boxes, 2, 0.9).tanh(), [x], order=2)
    assert report, report.text()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_float32_lists_tensors_other_layouts_and_nothing_at_all(function):
    x = rng.normal(size=(2, 8, 6, 5)).astype(np.float32)
    y = function(x, BOXES, 2)
    assert y.dtype == np.float32 and y.shape == (7, 2, 2, 2)
    boxes = np.float32(BOXES)
    assert (function(md.Tensor(x), md.tensor(boxes), (2, 2)).data == function(x, boxes, 2).data).all()
    assert (function(np.asfortranarray(x), np.array(BOXES), [2, 2]).data == y.data).all()
    leaf = md.tensor(x, requires_grad=True)
    assert function(leaf, np.zeros((0, 5)), 2).shape == (0, 2, 2, 2)
    function(leaf, np.zeros((0, 5)), 2).sum().backward()
    assert not leaf.grad.data.any()
    assert function(x[:, :0], BOXES, 2).shape == (7, 0, 2, 2)
    assert function(x[:0], np.zeros((0, 5)), 2).shape == (0, 2, 2, 2)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_does_not_fit_is_said(function):
    name, x = function.__name__, np.zeros((2, 8, 4, 4))
    with pytest.raises(ValueError, match=f"{name}: 3 x 3 bins need a multiple of 9 channels, got 8; the nearest is 9"):
        function(x, [[0, 0, 0, 1, 1]], 3)
    with pytest.raises(ValueError, match=f"{name}: box 0 is .*number of an image, 0 to 1"):
        function(x, [[2, 0, 0, 1, 1]], 2)
    with pytest.raises(TypeError, match=f"{name} needs a float x, got int64"):
        function(x.astype(int), [[0, 0, 0, 1, 1]], 2)
    with pytest.raises(ValueError, match="spatial_scale"):
        function(x, [[0, 0, 0, 1, 1]], 2, 0)


def test_what_it_depends_on_is_refused_by_name():
    with pytest.raises(TypeError, match="'roi_align' depends on is not known"):
        md.receptive_field(lambda x: F.ps_roi_align(x, [[0, 0, 0, 4, 4]], 2), (1, 4, 6, 6)).exact()


@pytest.mark.parametrize(("function", "options"), [(F.ps_roi_align, (0.5, 2)), (F.ps_roi_pool, (0.5,))])
def test_it_is_saved_as_onnx(function, options):
    pytest.importorskip("onnx")
    x = rng.normal(size=(2, 8, 6, 5)).astype(np.float32)
    boxes = np.array(BOXES)[[0, 1, 6]] * [1, 2, 2, 2, 2]
    proto = as_model(lambda x: function(x, boxes, 2, *options), (x,))
    assert [node.op_type for node in proto.graph.node].count("RoiAlign") == 1
    (found,) = by_reference(proto, {proto.graph.input[0].name: x})
    np.testing.assert_allclose(found, function(x, boxes, 2, *options).data, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="give it a sampling_ratio"):
        as_model(lambda x: F.ps_roi_align(x, boxes, 2), (x,))
