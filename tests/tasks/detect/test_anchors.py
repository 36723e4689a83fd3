"""Anchors, matching and suppression, against loops in exact arithmetic and the papers' tables."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import Tensor
from tasks.detect.losses.matching import IGNORED, NEGATIVE, POSITIVE, Match, draw, gathered, match, sample
from tasks.detect.models.anchors import (
    PYRAMID,
    RATIOS,
    SINGLE_MAP,
    Anchors,
    grid,
    per_anchor,
    shapes,
)
from tasks.detect.models.suppression import Candidates, best_of_each
from tasks.detect.show.explain.inference import suppression
from tests.tasks.detect.test_models import exact_iou, float32, target

# --- anchors


def test_shapes_have_the_area_of_their_size_and_the_ratio_height_by_width():
    found = shapes((10, 20))
    assert found.shape == (6, 2)
    for k, (w, h) in enumerate(found):
        assert w * h == pytest.approx((100, 400)[k // 3]) and h / w == pytest.approx(RATIOS[k % 3])


def test_anchors_are_centred_on_the_cells_in_the_order_of_the_maps():
    anchors = Anchors.of(((8,), (16, 32)), (4, 8), (1.0, 4.0))
    assert anchors.per_cell == (2, 4)
    boxes, level = anchors.boxes([(2, 3), (1, 2)], (8, 12))
    expected = []
    for (h, w), stride, sizes in (((2, 3), 4, (8,)), ((1, 2), 8, (16, 32))):
        for i in range(h):
            for j in range(w):
                for size in sizes:
                    for ratio in (1, 2):  # the root of 1 and 4
                        x, y, dx, dy = (j + 0.5) * stride, (i + 0.5) * stride, size / ratio / 2, size * ratio / 2
                        expected.append([x - dx, y - dy, x + dx, y + dy])
    np.testing.assert_array_equal(boxes, np.float32(expected))
    np.testing.assert_array_equal(level, [0] * 12 + [1] * 8)
    with pytest.raises(ValueError, match="1 levels, but 2 maps"):
        Anchors.of(((8,),), (4, 8))


def test_the_papers_anchors():
    single = Anchors.of(SINGLE_MAP, (16,))
    boxes, _ = single.boxes([(38, 63)], (600, 1000))  # "about 20,000 anchors" (Ren et al., section 3.1.1)
    assert single.per_cell == (9,) and len(boxes) == 38 * 63 * 9
    pyramid = Anchors.of(PYRAMID, (4, 8, 16, 32, 64))
    assert pyramid.per_cell == (3,) * 5


def test_channels_of_a_map_become_entries_in_the_order_of_the_anchors():
    n, k, e, h, w = 2, 3, 4, 5, 6
    x = np.random.default_rng(0).standard_normal((n, k * e, h, w))
    found = per_anchor(Tensor(x), e).data
    for i, j, a in np.ndindex(h, w, k):
        np.testing.assert_array_equal(found[:, (i * w + j) * k + a], x[:, a * e : (a + 1) * e, i, j])
    assert len(grid((h, w), (4, 4), shapes((8,)))) == h * w * k


# --- matching, against naive loops in exact arithmetic

COORDINATES = st.integers(0, 8)
BOX = st.tuples(COORDINATES, COORDINATES, st.integers(1, 6), st.integers(1, 6)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(BOX, min_size=1, max_size=8), st.lists(st.tuples(BOX, st.booleans()), max_size=5), st.booleans())
def test_matching_agrees_with_loops(boxes, objects, claimed):
    there = target([b for b, _ in objects], crowd=[c for _, c in objects])
    low, high = Fraction(3, 10), Fraction(7, 10)
    found = match(np.float32(boxes), there, positive=0.7, negative=0.3, best=True, claimed=claimed)
    for a, box in enumerate(boxes):
        ious = {k: exact_iou(box, b) for k, (b, crowd) in enumerate(objects) if not crowd}
        highest = max(ious.values(), default=Fraction(0))
        claims = [k for k in ious if ious[k] > 0 and ious[k] == max(exact_iou(o, objects[k][0]) for o in boxes)]
        assert found.iou[a] == np.float32(float(highest))
        if claims:
            assert found.best_for[a] == max(claims, key=lambda k: (ious[k], -k))
        else:
            assert found.best_for[a] == -1
        if ious:
            own = max(ious, key=lambda k: (ious[k], -k))
            assert found.truth[a] == (found.best_for[a] if claimed and claims else own)
        area = (box[2] - box[0]) * (box[3] - box[1])
        covered = False
        for region in (b for b, crowd in objects if crowd):
            width, height = (min(box[k + 2], region[k + 2]) - max(box[k], region[k]) for k in (0, 1))
            covered |= 2 * max(width, 0) * max(height, 0) > area
        if highest >= high or claims:
            expected = POSITIVE
        elif highest < low and not covered:
            expected = NEGATIVE
        else:
            expected = IGNORED
        assert found.labels[a] == expected


def test_without_objects_every_box_is_negative():
    found = match(float32([0, 0, 4, 4], [2, 2, 9, 9]), target([]), positive=0.7, negative=0.3, best=True)
    assert (found.labels == NEGATIVE).all() and (found.iou == 0).all() and (found.best_for == -1).all()
    assert match(np.zeros((0, 4), np.float32), target([[0, 0, 1, 1]]), positive=0.5, negative=0.5).labels.size == 0


def test_an_object_that_no_box_meets_claims_none():
    found = match(float32([0, 0, 4, 4]), target([[50, 50, 60, 60]]), positive=0.7, negative=0.3, best=True)
    assert found.labels.tolist() == [NEGATIVE]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([POSITIVE, NEGATIVE, IGNORED]), max_size=40), st.integers(1, 20), st.integers(0, 9))
def test_samples_hold_what_there_is_up_to_the_share(labels, count, seed):
    labels = np.array(labels, int)
    positive, negative = sample(labels, count, 0.25, np.random.default_rng(seed))
    assert (labels[positive] == POSITIVE).all() and (labels[negative] == NEGATIVE).all()
    assert len(set(positive)) == len(positive) == min((labels == POSITIVE).sum(), int(count * 0.25))
    assert len(set(negative)) == len(negative) == min((labels == NEGATIVE).sum(), count - len(positive))
    again = sample(labels, count, 0.25, np.random.default_rng(seed))
    assert np.array_equal(positive, again[0]) and np.array_equal(negative, again[1])


def test_every_candidate_is_sampled_as_often():
    labels, rng = np.array([POSITIVE] * 6 + [NEGATIVE] * 12), np.random.default_rng(0)
    times = np.zeros(18)
    for _ in range(3000):
        for part in sample(labels, 8, 0.5, rng):
            times[part] += 1
    expected = np.repeat([4 / 6, 4 / 12], [6, 12])  # of 4 positive and 4 negative ones
    deviation = np.sqrt(expected * (1 - expected) / 3000)
    assert (abs(times / 3000 - expected) < 5 * deviation).all()


def test_a_draw_keeps_images_apart():
    matches = [
        Match(np.zeros(3), np.array([5, 6, 7]), np.array([0, 1, -1]), np.full(3, -1)),
        Match(np.zeros(2), np.array([8, 9]), np.array([1, 0]), np.full(2, -1)),
    ]
    drawn = draw(matches, 10, 0.5, np.random.default_rng(0))
    assert [part.tolist() for part in drawn] == [[0, 0, 1, 1], [1, 0, 0, 1], [True, False] * 2, [6, 5, 8, 9]]
    rows = gathered([np.array([[1], [2]]), np.zeros((0, 1)), np.array([[3]])], np.array([2, 0]), np.array([0, 1]))
    assert rows.tolist() == [[3], [2]]


# --- suppression


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(BOX, st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=12))
def test_who_suppressed_whom_agrees_with_loops(drawn):
    boxes, scores, classes = (np.array(part) for part in zip(*drawn))
    every = np.arange(len(boxes))
    candidates = Candidates.suppressed(every, classes, np.float32(boxes), np.float32(scores), 0.5, len(boxes))
    found = suppression(candidates, 0.5)
    by, kept = {}, []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if i not in by:
            kept.append(i)
            for j in range(len(boxes)):
                if j not in by and j not in kept and classes[j] == classes[i] and exact_iou(*boxes[[i, j]]) > 0.5:
                    by[j] = i
    assert candidates.kept.tolist() == kept
    assert found.by.tolist() == [by.get(i, -1) for i in range(len(boxes))]
    ious = [float(exact_iou(boxes[i], boxes[by[i]])) if i in by else 0 for i in range(len(boxes))]
    np.testing.assert_array_equal(found.iou, np.float32(ious))


def test_the_best_of_each_level():
    scores, level = np.array([1.0, 3, 2, 9, 8, 7]), np.array([0, 0, 0, 1, 1, 1])
    assert best_of_each(scores, level, 2).tolist() == [1, 2, 3, 4]
