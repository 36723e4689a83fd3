"""Regions of interest against loops over samples and cells, and against closed forms."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.check.samples import roi as oracle
from minidl.kernels.cpu import roi as kernel
from minidl.ops.roi import Regions, largest_of_bins

rng = np.random.default_rng(0)
COORDINATES = st.one_of(
    st.floats(-30, 30, width=32),
    st.integers(-40, 60).map(lambda n: n / 2),  # halves and whole numbers: borders, ties of rounding
)
SETTINGS = settings(deadline=None, max_examples=60)


@st.composite
def problems(draw):
    """A map, boxes anywhere, bins, a scale."""
    n, c, h, w = (draw(st.integers(1, top)) for top in (3, 2, 7, 7))
    count = draw(st.integers(0, 4))
    boxes = [[draw(st.integers(0, n - 1)), *(draw(COORDINATES) for _ in range(4))] for _ in range(count)]
    if draw(st.booleans()):  # the usual order of corners
        boxes = [[b[0], min(b[1], b[3]), min(b[2], b[4]), max(b[1], b[3]), max(b[2], b[4])] for b in boxes]
    x = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(n, c, h, w))
    output = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return x, np.array(boxes).reshape(-1, 5), output, draw(st.sampled_from([1.0, 0.5, 0.25, 0.3]))


@SETTINGS
@given(problems(), st.sampled_from([-1, 0, 1, 2, 3]), st.booleans())
def test_roi_align_is_the_mean_of_its_samples(problem, ratio, aligned):
    x, boxes, output, scale = problem
    y = F.roi_align(x, boxes, output, spatial_scale=scale, sampling_ratio=ratio, aligned=aligned)
    truth = oracle.align(x, regions=Regions(boxes, output, scale, ratio, aligned))
    np.testing.assert_allclose(y.data, truth, rtol=1e-11, atol=1e-12)
    assert y.shape == (len(boxes), x.shape[1], *output)


@SETTINGS
@given(problems(), st.sampled_from([np.float32, np.float64]))
def test_roi_pool_is_the_largest_cell_of_each_bin(problem, dtype):
    x, boxes, output, scale = problem
    x = x.astype(dtype)
    y = F.roi_pool(x, boxes, output, spatial_scale=scale)
    np.testing.assert_array_equal(y.data, oracle.largest(x, regions=Regions(boxes, output, scale)))
    assert y.dtype == dtype


@SETTINGS
@given(problems(), st.sampled_from([-1, 2]), st.booleans())
def test_the_sparse_product_is_the_definition_forward_and_backward(problem, ratio, aligned):
    x, boxes, output, scale = problem
    g, found = rng.normal(size=(len(boxes), x.shape[1], *output)), []
    for mode in (md.definitions, nullcontext):
        leaf = md.tensor(x, requires_grad=True)
        with mode():
            y = F.roi_align(leaf, boxes, output, spatial_scale=scale, sampling_ratio=ratio, aligned=aligned)
            y.backward(g)
        found.append((y.data, leaf.grad.data))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-11, atol=1e-12)


def test_a_bin_per_cell_and_a_sample_in_its_middle_give_the_map_back():
    x = rng.normal(size=(2, 3, 4, 6))
    boxes = [[n, 0, 0, 6, 4] for n in (1, 0)]
    np.testing.assert_array_equal(F.roi_align(x, boxes, (4, 6)).data, x[::-1])
    np.testing.assert_array_equal(F.roi_pool(x, boxes - np.array([0, 0, 0, 1, 1]), (4, 6)).data, x[::-1])


@pytest.mark.parametrize("ratio", [-1, 1, 2, 5])
@pytest.mark.parametrize("aligned", [True, False])
def test_on_a_ramp_a_bin_gives_the_value_at_its_middle(ratio, aligned):
    """Bilinear samples of a linear function are exact, and so is their mean."""
    i, j = np.meshgrid(np.arange(12.0), np.arange(15.0), indexing="ij")
    box = np.array([0, 6.0, 4.4, 20.5, 17.0])
    options = {"spatial_scale": 0.5, "sampling_ratio": ratio, "aligned": aligned}
    y = F.roi_align((3 * i - 2 * j)[None, None], box[None], (2, 3), **options)
    x1, y1, x2, y2 = box[1:] / 2 - 0.5 * aligned
    p, q = np.meshgrid(np.arange(2) + 0.5, np.arange(3) + 0.5, indexing="ij")
    truth = 3 * (y1 + p * (y2 - y1) / 2) - 2 * (x1 + q * (x2 - x1) / 3)
    np.testing.assert_allclose(y.data[0, 0], truth, rtol=1e-12)


def test_outside_a_sample_counts_nothing_beyond_one_cell():
    x = np.ones((1, 1, 4, 4))
    at = lambda y: F.roi_align(x, [[0, 1, y - 0.5, 2, y + 0.5]], 1, sampling_ratio=1, aligned=False).item()  # noqa: E731
    assert [at(y) for y in (-1.001, -1.0, -0.5, 3.5, 4.0, 4.001)] == [0, 1, 1, 1, 1, 0]


def test_aligned_is_half_a_cell_and_allows_small_boxes():
    x = rng.normal(size=(1, 1, 9, 9))
    moved = F.roi_align(x, [[0, 2.5, 3.5, 6.5, 7.5]], 2, sampling_ratio=2)
    assert (moved.data == F.roi_align(x, [[0, 2, 3, 6, 7]], 2, sampling_ratio=2, aligned=False).data).all()
    forced = F.roi_align(x, [[0, 2, 3, 2.1, 3.1]], 2, aligned=False)
    assert (forced.data == F.roi_align(x, [[0, 2, 3, 3, 4]], 2, aligned=False).data).all()


def test_a_box_back_to_front_has_no_samples_unless_their_number_is_given():
    x = rng.normal(size=(1, 2, 8, 8))
    box = [[0, 6.0, 5.0, 2.0, 1.0]]
    assert not F.roi_align(x, box, 2).data.any()
    straight = F.roi_align(x, [[0, 2.0, 1.0, 6.0, 5.0]], 2, sampling_ratio=2)
    reverse = F.roi_align(x, box, 2, sampling_ratio=2)
    np.testing.assert_allclose(reverse.data, straight.data[..., ::-1, ::-1], rtol=1e-12)


def test_bins_of_roi_pool_end_where_the_maps_precision_puts_them():
    """7 * (57 / 7) is a little more than 57 in float32, 7 * (29 / 7) a little more than 29 in float64."""
    for dtype, rows, late in ((np.float32, 57, 1), (np.float64, 57, 0), (np.float32, 29, 0), (np.float64, 29, 1)):
        x = np.arange(70, dtype=dtype).reshape(1, 1, 70, 1)
        assert F.roi_pool(x, [[0, 0, 0, 0, rows - 1]], (7, 1)).data[0, 0, -1, 0] == rows - 1 + late


def test_roi_pool_ties_empty_bins_and_nan():
    x = md.tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
    y = F.roi_pool(x, [[0, 1, 1, 2, 2], [0, 9, 9, 12, 12]], 1)
    assert y.data.tolist() == [[[[0.0]]], [[[0.0]]]]
    y.backward(np.array([[[[2.0]]], [[[5.0]]]]))
    assert x.grad.data[0, 0, 1, 1] == 2  # the first among equals; the empty bin has none
    assert x.grad.data.sum() == 2
    below = F.roi_pool(np.full((1, 1, 4, 4), -3.0), [[0, 2, 2, 9, 9]], 2).data[0, 0]
    assert below.tolist() == [[-3, 0], [0, 0]]
    values = np.arange(16.0).reshape(1, 1, 4, 4)
    values[0, 0, 1, 2] = np.nan
    x = md.tensor(values, requires_grad=True)
    F.roi_pool(x, [[0, 0, 0, 3, 3]], 1).sum().backward()
    assert x.grad.data[0, 0, 1, 2] == 1 == x.grad.data.sum()


@SETTINGS
@given(st.integers(0, 10**6), st.sampled_from([np.float32, np.float64]), st.integers(1, 4))
def test_blocks_that_are_looked_up_hold_what_the_definition_finds(seed, dtype, bins):
    draw = np.random.default_rng(seed)  # large bins, many equal cells: the first of them has to be found
    x = draw.integers(-2, 3, (2, 3, 23, 37)).astype(dtype)
    corners = draw.uniform(-5, 45, (9, 4)).round(1)
    regions = Regions(np.insert(corners, 0, draw.integers(0, 2, 9), axis=1), (bins, bins + 1), 0.9)
    found = largest_of_bins(x, regions=regions)
    for got, truth in zip(found, largest_of_bins.forward(np, x, regions=regions)):
        np.testing.assert_array_equal(got, truth)
        assert got.dtype == truth.dtype
    assert kernel.largest(x * np.nan, regions=regions) is NotImplemented


BOXES = [[1, 0.2, -1.4, 5.3, 3.9], [0, 2.2, 1.1, 2.4, 6.8], [1, 1.1, 1.2, 3.4, 2.9]]


@pytest.mark.slow
@pytest.mark.parametrize("function", [F.roi_align, F.roi_pool])
def test_gradients_of_first_and_second_order(function):
    x = rng.normal(size=(2, 2, 5, 6))
    report = md.gradcheck(lambda x: function(x, BOXES, (2, 3)).tanh(), [x], order=2)
    assert report, report.text()


@pytest.mark.parametrize("function", [F.roi_align, F.roi_pool])
def test_float32_lists_tensors_other_layouts_and_repeats(function):
    x = rng.normal(size=(2, 4, 6, 5)).astype(np.float32)
    y = function(x, BOXES, 2)
    assert y.dtype == np.float32
    assert (function(md.Tensor(x), md.tensor(BOXES), (2, 2)).data == y.data).all()
    assert (function(np.asfortranarray(x), np.array(BOXES), [2, 2]).data == y.data).all()
    across = np.repeat(x, 2, axis=3)[..., ::2]
    assert (function(across, BOXES, 2).data == y.data).all()
    leaf = md.tensor(x, requires_grad=True)
    many = [[0, *box[1:]] for box in BOXES] * 20
    grads = [md.grad(function(leaf, many, 3).sum(), [leaf])[0].data for _ in range(2)]
    assert grads[0].tobytes() == grads[1].tobytes() and grads[0].dtype == np.float32


@pytest.mark.parametrize("function", [F.roi_align, F.roi_pool])
def test_no_boxes_no_channels_no_images(function):
    none = np.zeros((0, 5))
    x = md.tensor(rng.normal(size=(2, 3, 4, 4)), requires_grad=True)
    y = function(x, none, (2, 3))
    assert y.shape == (0, 3, 2, 3)
    y.sum().backward()
    assert not x.grad.data.any()
    assert function(np.zeros((0, 3, 4, 4)), none, 2).shape == (0, 3, 2, 2)
    assert function(np.zeros((1, 0, 4, 4)), [[0, 0, 0, 1, 1]], 2).shape == (1, 0, 2, 2)


@pytest.mark.parametrize("function", [F.roi_align, F.roi_pool])
def test_what_does_not_fit_is_said(function):
    x = np.zeros((2, 1, 4, 4))
    for number in (2, -1, 0.5, np.nan):
        with pytest.raises(ValueError, match=r"box 1 is .*number of an image, 0 to 1 for x of shape \(2, 1, 4, 4\)"):
            function(x, [[0, 0, 0, 1, 1], [number, 0, 0, 1, 1]], 2)
    with pytest.raises(ValueError, match=r"box 0 is .* the others finite"):
        function(x, [[0, 0, 0, np.inf, 1]], 2)
    with pytest.raises(ValueError, match=r"shape \(R, 5\).*got \(1, 4\)"):
        function(x, [[0, 0, 1, 1]], 2)
    with pytest.raises(ValueError, match=r"\(N, C, H, W\) with cells in it, got \(1, 4, 4\)"):
        function(x[0], [[0, 0, 0, 1, 1]], 2)
    with pytest.raises(ValueError, match="output_size"):
        function(x, [[0, 0, 0, 1, 1]], (2, 0))
    with pytest.raises(ValueError, match="spatial_scale=0 must be a positive number"):
        function(x, [[0, 0, 0, 1, 1]], 2, spatial_scale=0)


def test_integers():
    with pytest.raises(TypeError, match="needs a float x, got int64"):
        F.roi_align(np.zeros((1, 1, 4, 4), int), [[0, 0, 0, 1, 1]], 2)
    assert F.roi_pool(np.arange(16).reshape(1, 1, 4, 4), [[0, 0, 0, 3, 3]], 2).data.tolist() == [[[[5, 7], [13, 15]]]]
