"""Boxes: overlap, coding, and which to keep, against loops and hand-worked numbers."""

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.ops import boxes as module

rng = np.random.default_rng(0)
GRID = st.integers(0, 12).map(lambda n: n / 2)  # a coarse grid: equal boxes, touching boxes, boxes without area
BOX = st.tuples(GRID, GRID, GRID, GRID)
BOXES = st.lists(BOX, max_size=12).map(lambda boxes: np.array(boxes, float).reshape(-1, 4))
SETTINGS = settings(deadline=None, max_examples=100)


def area(b):
    return max(b[2] - b[0], 0) * max(b[3] - b[1], 0)


def iou(a, b):
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return shared / (area(a) + area(b) - shared) if shared else 0.0


def giou(a, b):
    union = area(a) + area(b) - area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    hull = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    return iou(a, b) - ((hull - union) / hull if hull else 0.0)


def kept(boxes, scores, threshold, classes):
    """The best one, then all it suppresses crossed out; by its definition."""
    left, found = sorted(range(len(boxes)), key=lambda i: (-scores[i], i)), []
    while left:
        best = left.pop(0)
        found.append(best)
        left = [i for i in left if classes[i] != classes[best] or not iou(boxes[best], boxes[i]) > threshold]
    return found


def ordered(boxes):
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


# --- overlap


@pytest.mark.slow
@SETTINGS
@given(BOXES, BOXES)
def test_iou_of_every_pair(a, b):
    truth = np.array([[iou(p, q) for q in b] for p in a]).reshape(len(a), len(b))
    np.testing.assert_allclose(F.box_iou(a, b).data, truth, rtol=1e-14)
    a, b = ordered(a), ordered(b)
    truth = np.array([[giou(p, q) for q in b] for p in a]).reshape(len(a), len(b))
    np.testing.assert_allclose(F.generalized_box_iou(a, b).data, truth, rtol=1e-13, atol=1e-14)


def test_iou_by_hand():
    a = [[0.0, 0.0, 4.0, 3.0], [1.0, 1.0, 1.0, 5.0], [9.0, 9.0, 10.0, 10.0]]
    assert F.box_iou(a, [[2.0, 1.0, 6.0, 4.0]]).data.tolist() == [[4 / 20], [0], [0]]
    assert F.generalized_box_iou(a, [[2.0, 1.0, 6.0, 4.0]]).data[0, 0] == pytest.approx(4 / 20 - 4 / 24)
    assert F.box_iou([[1.0, 1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0, 1.0]]).item() == 0
    assert math.isnan(F.box_iou([[0.0, 0.0, np.nan, 1.0]], [[0.0, 0.0, 1.0, 1.0]]).item())
    assert F.box_iou([[0, 0, 200, 100]], [[100, 0, 200, 100]]).item() == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("function", [F.box_iou, F.generalized_box_iou])
def test_overlap_is_differentiable(function):
    a = ordered(rng.uniform(0, 5, (2, 4))) + [0, 0, 1, 1]
    b = ordered(rng.uniform(0, 5, (3, 4))) + [0, 0, 1, 1]
    report = md.gradcheck(function, [a, b], order=2)
    assert report, report.text()
    flat = md.tensor([[1.0, 1.0, 1.0, 1.0]], requires_grad=True)
    function(flat, flat).sum().backward()
    assert np.isfinite(flat.grad.data).all()
    assert function(md.tensor(a, dtype="f"), md.tensor(b, dtype="f")).dtype == np.float32


def test_a_wrong_shape_is_said():
    for function in (F.box_iou, F.generalized_box_iou):
        with pytest.raises(ValueError, match=r"\(N, 4\) and \(M, 4\), x1, y1, x2, y2 each, got \(2, 5\) and \(1, 4\)"):
            function(np.zeros((2, 5)), np.zeros((1, 4)))
    for call in (lambda b: F.encode_boxes(b, b), lambda b: F.decode_boxes(b, b), lambda b: F.clip_boxes(b, (1, 1))):
        with pytest.raises(ValueError, match=r"\(\.\.\., 4\), four numbers each, got \(2, 5\)"):
            call(np.zeros((2, 5)))


# --- coding


CORNER_AND_SIDES = st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(0.5, 60)] * 2)
ANCHOR = CORNER_AND_SIDES.map(lambda a: (a[0], a[1], a[0] + a[2], a[1] + a[3]))
WEIGHTS = st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])


@SETTINGS
@given(st.lists(st.tuples(ANCHOR, ANCHOR), max_size=5), WEIGHTS)
def test_decoding_undoes_encoding(pairs, weights):
    boxes, anchors = np.array(pairs).reshape(-1, 2, 4).swapaxes(0, 1)
    sides = (boxes[:, 2:] - boxes[:, :2]) / (anchors[:, 2:] - anchors[:, :2])
    within = (sides <= 1000 / 16).all(axis=1)  # decoding makes no larger box
    back = F.decode_boxes(F.encode_boxes(boxes, anchors, weights), anchors, weights)
    np.testing.assert_allclose(back.data[within], boxes[within], atol=1e-9)


def test_codes_by_hand():
    anchor, box = [[0.0, 0.0, 10.0, 20.0]], [[5.0, 5.0, 25.0, 15.0]]  # centres 5, 10 and 15, 10
    assert F.encode_boxes(box, anchor).data[0].tolist() == pytest.approx([1, 0, math.log(2), math.log(0.5)])
    weighted = F.encode_boxes(box, anchor, (10.0, 10.0, 5.0, 5.0)).data[0].tolist()
    assert weighted == pytest.approx([10, 0, 5 * math.log(2), 5 * math.log(0.5)])


def test_a_side_grows_to_a_limit_beyond_which_it_has_no_gradient():
    deltas = md.tensor([[0.0, 0.0, 100.0, 1.0]], requires_grad=True)
    y = F.decode_boxes(deltas, [[0.0, 0.0, 16.0, 16.0]])
    assert (y[0, 2] - y[0, 0]).item() == pytest.approx(1000)
    (y[0, 2] - y[0, 0] + y[0, 3] - y[0, 1]).backward()
    assert deltas.grad.data[0].tolist() == pytest.approx([0, 0, 0, 16 * math.e])


@pytest.mark.slow
def test_coding_is_differentiable_and_classes_broadcast():
    anchors = ordered(rng.uniform(0, 9, (2, 4))) + [0, 0, 1, 1]
    boxes = ordered(rng.uniform(0, 9, (2, 4))) + [0, 0, 1, 1]
    deltas = rng.normal(size=(2, 3, 4))
    encode, decode = (lambda x: F.encode_boxes(x, anchors)), (lambda x: F.decode_boxes(x, anchors[:, None]))
    for f, x in ((encode, boxes), (decode, deltas)):
        report = md.gradcheck(f, [x], order=2)
        assert report, report.text()
    apart = np.stack([F.decode_boxes(deltas[:, k], anchors).data for k in range(3)], axis=1)
    np.testing.assert_array_equal(F.decode_boxes(deltas, anchors[:, None]).data, apart)


def test_clip():
    boxes = md.tensor([[-3.0, 2.0, 50.0, 40.0], [5.0, -1.0, 6.0, 7.0]], requires_grad=True)
    y = F.clip_boxes(boxes, (20, 30))  # height, width
    assert y.data.tolist() == [[0, 2, 30, 20], [5, 0, 6, 7]]
    y.sum().backward()
    assert boxes.grad.data.tolist() == [[0, 1, 0, 0], [1, 0, 1, 1]]


# --- non-maximum suppression


@pytest.mark.slow
@pytest.mark.parametrize("block", [1, 3, module.BLOCK])  # boxes at once
@SETTINGS
@given(BOXES, st.data())
def test_nms_keeps_what_its_definition_keeps(block, boxes, data):
    n = len(boxes)
    scores = data.draw(st.lists(st.integers(-2, 2), min_size=n, max_size=n))  # many equal ones
    classes = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    threshold = data.draw(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]))  # values that boxes on a grid do have
    with mock.patch.object(module, "BLOCK", block):
        for dtype in (np.float32, np.float64):
            found = F.nms(boxes.astype(dtype), np.array(scores, dtype), threshold)
            assert found.dtype == np.int64
            assert found.tolist() == kept(boxes.tolist(), scores, threshold, [0] * n)
        found = F.batched_nms(boxes, scores, classes, threshold).tolist()
    assert found == kept(boxes.tolist(), scores, threshold, classes)


def test_nms_agrees_with_box_iou_on_many_boxes():
    corner = rng.uniform(0, 100, (700, 2))
    boxes, scores = np.concatenate([corner, corner + rng.uniform(5, 40, (700, 2))], axis=1), rng.random(700)
    table, left, truth = F.box_iou(boxes, boxes).data, np.ones(700, bool), []
    for i in np.argsort(-scores):
        if left[i]:
            truth.append(i)
            left &= ~(table[i] > 0.3)
    assert F.nms(boxes, scores, 0.3).tolist() == truth


def test_equal_scores_thresholds_and_nothing():
    same = [[0.0, 0.0, 2.0, 2.0]] * 3
    assert F.nms(same, [0.5, 0.5, 0.5], 0.5).tolist() == [0]
    assert F.nms(same, [0.5, 0.5, 0.5], 1.0).tolist() == [0, 1, 2]  # an IoU of 1 is not larger than 1
    assert F.nms(same, [0.1, 0.9, 0.9], 0.0).tolist() == [1]
    touching = [[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0]]
    assert F.nms(touching, [0.1, 0.2], 0.0).tolist() == [1, 0]
    assert F.nms([[0, 0, 3, 1], [0, 0, 3, 1], [0, 0, 1, 1]], [1, 3, 2], 1 / 3).tolist() == [1, 2]  # exactly a third
    assert F.nms(np.zeros((0, 4)), [], 0.5).shape == F.nms([], [], 0.5).shape == (0,)
    assert F.batched_nms([], [], [], 0.5).dtype == np.int64
    assert F.nms(same, [-np.inf, np.inf, 0], 1.0).tolist() == [1, 2, 0]
    assert F.nms(md.tensor(same), md.tensor([3, 1, 2]), 1.0).tolist() == [0, 2, 1]


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match=r"box 1 is .* with score nan"):
        F.nms(np.zeros((2, 4)), [0.0, np.nan], 0.5)
    with pytest.raises(ValueError, match=r"box 0 is \[nan, 0.0, 0.0, 0.0\] with score 1.0"):
        F.nms([[np.nan, 0, 0, 0]], [1.0], 0.5)
    for shapes in (((2, 4), (3,)), ((2, 5), (2,)), ((4,), (4,)), ((2, 4), (2, 1)), ((2, 0), (2,))):
        with pytest.raises(ValueError, match=r"nms needs boxes \(N, 4\), a score and a class for each"):
            F.nms(*map(np.zeros, shapes), 0.5)
    with pytest.raises(ValueError, match=r"got \(2, 4\), \(2,\), \(3,\)"):
        F.batched_nms(np.zeros((2, 4)), np.zeros(2), [0, 1, 2], 0.5)
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="must be an IoU, 0 to 1"):
            F.nms(np.zeros((2, 4)), np.zeros(2), threshold)
